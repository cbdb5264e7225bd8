//! Writes a pack blob, entry by entry.

use std::io::{self, Write};

use database::Oid;

use super::entry::{self, EntryHeader};
use super::section::{self, Row};
use super::{HEADER_BYTES, TRAILER_BYTES};
use crate::Kind;
use crate::object::PackHasher;
use crate::pointer::Pointer;

/// Streams a pack blob to `out`: the entries as they come, then trailer, index and footer. Holds some tens of bytes
/// per object and nothing of their content. `out` should be buffered.
pub struct BlobBuilder<W: Write> {
    out: W,
    trailer: PackHasher,
    offset: u64,
    announced: u32,
    rows: Vec<Row>,
    pointers: Vec<Pointer>,
    header: Vec<u8>,
    compressed: Vec<u8>,
}

/// An entry that is copied: its zlib stream is taken as it is, its header is written anew.
#[derive(Clone, Copy, Debug)]
pub struct EntrySource<'a> {
    /// As it is to stand in the new pack; an `OfsDelta` names an offset of the new pack.
    pub header: EntryHeader,
    /// Of what the zlib stream holds, in bytes: the object, or the delta.
    pub inflated_size: u64,
    pub compressed: &'a [u8],
}

/// A finished pack blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    pub objects: u32,
    /// The whole blob.
    pub bytes: u64,
    /// The git pack at its start.
    pub pack_len: u64,
}

impl<W: Write> BlobBuilder<W> {
    /// Exactly `objects` entries must follow: their number stands in the pack's header, which is written now.
    pub fn new(out: W, objects: u32) -> io::Result<BlobBuilder<W>> {
        let mut builder = BlobBuilder {
            out,
            trailer: PackHasher::new(),
            offset: 0,
            announced: objects,
            rows: Vec::new(),
            pointers: Vec::new(),
            header: Vec::new(),
            compressed: Vec::new(),
        };
        builder.write(&pack_header(objects))?;
        Ok(builder)
    }

    /// Where the next entry will start.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Adds an object as it is, deflated; returns the entry's offset.
    pub fn whole(&mut self, oid: Oid, kind: Kind, data: &[u8]) -> io::Result<u64> {
        let mut compressed = std::mem::take(&mut self.compressed);
        compressed.clear();
        entry::deflate(data, &mut compressed)?;
        let inflated_size = data.len() as u64;
        let source = EntrySource { header: EntryHeader::Whole(kind), inflated_size, compressed: &compressed };
        let offset = self.raw(oid, kind, inflated_size, source)?;
        self.compressed = compressed;
        Ok(offset)
    }

    /// Adds an entry whose zlib stream exists already; returns its offset. `kind` and `size` (bytes) are those of the
    /// object behind all deltas.
    pub fn raw(&mut self, oid: Oid, kind: Kind, size: u64, source: EntrySource<'_>) -> io::Result<u64> {
        let offset = self.offset;
        let mut header = std::mem::take(&mut self.header);
        header.clear();
        match source.header {
            EntryHeader::Whole(kind) => entry::encode_header(kind as u8, source.inflated_size, &mut header),
            EntryHeader::OfsDelta { base_offset } => {
                let distance = offset.checked_sub(base_offset).filter(|&distance| distance > 0);
                let distance =
                    distance.ok_or_else(|| invalid("a delta's base must stand before it in the pack"))?;
                entry::encode_header(6, source.inflated_size, &mut header);
                entry::encode_ofs(distance, &mut header);
            }
            EntryHeader::RefDelta { base } => {
                entry::encode_header(7, source.inflated_size, &mut header);
                header.extend_from_slice(&base.0);
            }
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header);
        crc.update(source.compressed);
        self.write(&header)?;
        self.write(source.compressed)?;
        self.header = header;
        self.rows.push(Row { oid, kind, crc32: crc.finalize(), offset, size });
        Ok(offset)
    }

    /// Records that a blob of this pack is an LFS pointer.
    pub fn pointer(&mut self, pointer: Pointer) {
        self.pointers.push(pointer);
    }

    /// Writes what follows the entries and flushes. An error if the number of entries is not the announced one or an
    /// object was added twice.
    pub fn finish(mut self) -> io::Result<Built> {
        if self.rows.len() != self.announced as usize {
            return Err(invalid("the pack holds another number of objects than its header says"));
        }
        let trailer = self.trailer.finish().map_err(io::Error::other)?;
        self.out.write_all(&trailer.0)?;
        let pack_len = self.offset + TRAILER_BYTES as u64;
        let behind = section::write(&mut self.out, pack_len, &mut self.rows, &mut self.pointers)?;
        self.out.flush()?;
        Ok(Built { objects: self.announced, bytes: pack_len + behind, pack_len })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.trailer.update(bytes);
        self.offset += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// The header of a version 2 pack.
pub(crate) fn pack_header(objects: u32) -> [u8; HEADER_BYTES] {
    let mut header = *b"PACK\0\0\0\x02\0\0\0\0";
    header[8..].copy_from_slice(&objects.to_be_bytes());
    header
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.to_owned())
}
