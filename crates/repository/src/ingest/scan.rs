//! Walks the entries of a pack from its first byte to its last.

use database::Oid;

use super::check::Check;
use super::{IngestError, Limits, Work};
use crate::Kind;
use crate::object::{ObjectHasher, PackHasher, try_hash};
use crate::pack::section::Row;
use crate::pack::{EntryError, EntryHeader, HEADER_BYTES, TRAILER_BYTES, entry};

/// What a pack holds. The rows of deltas have the null id until they are resolved.
pub(super) struct Scanned {
    /// In pack order.
    pub(super) rows: Vec<Row>,
    /// (offset of the base, position of the delta in `rows`)
    pub(super) ofs_deltas: Vec<(u64, u32)>,
    /// (id of the base, position of the delta in `rows`)
    pub(super) ref_deltas: Vec<(Oid, u32)>,
}

/// Blobs and deltas up to this size are inflated in one piece, which is faster.
const PIECE_BYTES_MAX: u64 = 1 << 20;
const CHUNK_BYTES: usize = 64 * 1024;
/// One byte of header, and the shortest zlib stream.
const ENTRY_BYTES_MIN: usize = 9;

/// Verifies header, entries and trailer; hands every whole object to `check`.
pub(super) fn scan(
    pack: &[u8],
    limits: &Limits,
    check: &mut Check<'_>,
    work: &mut Work<'_>,
) -> Result<Scanned, IngestError> {
    let objects = header(pack, limits)?;
    let entries = &pack[..pack.len() - TRAILER_BYTES];
    if objects as usize > (entries.len() - HEADER_BYTES) / ENTRY_BYTES_MIN {
        return Err(IngestError::Truncated);
    }
    check.expect_objects(objects);
    let mut scanned = Scanned {
        rows: Vec::with_capacity(objects as usize),
        ofs_deltas: Vec::new(),
        ref_deltas: Vec::new(),
    };
    let mut entry = EntryScan { limits, check, work, data: Vec::new(), chunk: vec![0; CHUNK_BYTES] };
    let mut trailer = PackHasher::new();
    trailer.update(&entries[..HEADER_BYTES]);
    let mut offset = HEADER_BYTES;
    for position in 0..objects {
        let length = entry.scan(&entries[offset..], offset as u64, position, &mut scanned)?;
        let bytes = &entries[offset..offset + length];
        trailer.update(bytes);
        if let Some(row) = scanned.rows.last_mut() {
            row.crc32 = crc32fast::hash(bytes);
        }
        offset += length;
    }
    if offset != entries.len() {
        return Err(IngestError::Garbage);
    }
    match trailer.finish() {
        Ok(sha1) if sha1.0 == pack[offset..] => Ok(scanned),
        _ => Err(IngestError::Checksum),
    }
}

/// The number of objects.
fn header(pack: &[u8], limits: &Limits) -> Result<u32, IngestError> {
    if pack.len() as u64 > limits.pack_bytes {
        return Err(IngestError::PackTooLarge { bytes: pack.len() as u64, max: limits.pack_bytes });
    }
    if pack.len() < HEADER_BYTES + TRAILER_BYTES {
        return Err(if b"PACK".starts_with(&pack[..pack.len().min(4)]) {
            IngestError::Truncated
        } else {
            IngestError::NotAPack
        });
    }
    let number = |at: usize| u32::from_be_bytes([pack[at], pack[at + 1], pack[at + 2], pack[at + 3]]);
    match (&pack[..4], number(4), number(8)) {
        // Version 3 differs in nothing but its number.
        (b"PACK", 2 | 3, objects) if objects <= limits.objects => Ok(objects),
        (b"PACK", 2 | 3, objects) => Err(IngestError::TooManyObjects { objects, max: limits.objects }),
        (b"PACK", version, _) => Err(IngestError::Version(version)),
        _ => Err(IngestError::NotAPack),
    }
}

struct EntryScan<'a, 'c, 'w> {
    limits: &'a Limits,
    check: &'a mut Check<'c>,
    work: &'a mut Work<'w>,
    data: Vec<u8>,
    chunk: Vec<u8>,
}

impl EntryScan<'_, '_, '_> {
    /// Adds the row of the entry that starts `bytes`; returns the entry's length.
    fn scan(
        &mut self,
        bytes: &[u8],
        offset: u64,
        position: u32,
        scanned: &mut Scanned,
    ) -> Result<usize, IngestError> {
        let bad_entry = |source| IngestError::Entry { offset, source };
        let header = entry::decode(bytes, offset).map_err(bad_entry)?;
        let (compressed, size) = (&bytes[header.length..], header.inflated_size);
        self.work.add(size)?;
        let (kind, max) = match header.entry {
            // Not held, hence not bounded here: `check` refuses it by name.
            EntryHeader::Whole(Kind::Blob) => (None, u64::MAX),
            EntryHeader::Whole(kind) => (Some(kind), self.limits.bytes_of(kind)),
            // Of what kind it is shows once its base is known; until then it is not held either.
            EntryHeader::OfsDelta { .. } | EntryHeader::RefDelta { .. } => (None, self.limits.object_bytes),
        };
        if size > max {
            return Err(IngestError::ObjectTooLarge { offset, kind, size, max });
        }
        let mut row = Row { oid: Oid::NULL, kind: Kind::Blob, crc32: 0, offset, size };
        let stream = match header.entry {
            EntryHeader::Whole(Kind::Blob) if size > PIECE_BYTES_MAX => {
                let mut hasher = ObjectHasher::new(Kind::Blob, size);
                let stream =
                    entry::inflate_chunks(compressed, size, &mut self.chunk, |chunk| hasher.update(chunk));
                row.oid = hasher.finish().map_err(|source| IngestError::Object { offset, source })?;
                self.check.blob_size(row.oid, size);
                stream.map_err(bad_entry)?
            }
            EntryHeader::Whole(kind) => {
                let stream = entry::inflate(compressed, size, &mut self.data).map_err(bad_entry)?;
                row.oid =
                    try_hash(kind, &self.data).map_err(|source| IngestError::Object { offset, source })?;
                row.kind = kind;
                self.check.object(kind, row.oid, &self.data)?;
                stream
            }
            EntryHeader::OfsDelta { base_offset } => {
                scanned.ofs_deltas.push((base_offset, position));
                self.pass(compressed, size).map_err(bad_entry)?
            }
            EntryHeader::RefDelta { base } => {
                scanned.ref_deltas.push((base, position));
                self.pass(compressed, size).map_err(bad_entry)?
            }
        };
        scanned.rows.push(row);
        Ok(header.length + stream)
    }

    /// Inflates what is not looked at yet, to see that it is sound; returns the length of the zlib stream.
    fn pass(&mut self, compressed: &[u8], size: u64) -> Result<usize, EntryError> {
        if size > PIECE_BYTES_MAX {
            entry::inflate_chunks(compressed, size, &mut self.chunk, |_| {})
        } else {
            entry::inflate(compressed, size, &mut self.data)
        }
    }
}
