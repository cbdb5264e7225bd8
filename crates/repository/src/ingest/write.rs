//! Writes the blob of a checked pack: the pack as it came, the bases it lacked, index and sidecar.

use std::io::{self, Write};

use bytes::Bytes;
use storage::TempFile;

use super::IngestError;
use super::resolve::Resolved;
use crate::object::PackHasher;
use crate::pack::section::{self, Row};
use crate::pack::{Blob, BlobWriter, EntryHeader, HEADER_BYTES, TRAILER_BYTES, build, entry};
use crate::pointer::Pointer;
use crate::snapshot::{ReadError, Snapshot};

/// `resolved.rows` are sorted by id. A pack of version 2 that lacked nothing is copied byte by byte, trailer included.
pub(super) fn write(
    pack: &Bytes,
    resolved: Resolved,
    pointers: &mut [Pointer],
    base: &Snapshot,
    open: impl FnOnce() -> io::Result<TempFile>,
) -> Result<Blob, IngestError> {
    let Resolved { mut rows, thin } = resolved;
    let mut spool = BlobWriter::new(open);
    let header = build::pack_header(rows.len() as u32);
    let mut pack_len = pack.len() as u64;
    if pack.starts_with(&header) {
        let estimate = pack_len + section::section_len(pack_len, &rows, pointers.len());
        spool.expect(estimate)?;
        spool.write_all(pack)?;
    } else {
        let mut out = Hashed { out: &mut spool, hasher: PackHasher::new(), written: 0 };
        out.write_all(&header)?;
        out.write_all(&pack[HEADER_BYTES..pack.len() - TRAILER_BYTES])?;
        for base_row in &thin {
            let row = append(base_row, base, &mut out)?;
            let at = rows.binary_search_by_key(&row.oid, |row| row.oid);
            rows[at.map_err(|_| ReadError::Missing(row.oid))?] = row;
        }
        pack_len = out.written + TRAILER_BYTES as u64;
        let trailer = out.hasher.finish().map_err(io::Error::other)?;
        spool.write_all(&trailer.0)?;
    }
    section::write(&mut spool, pack_len, &mut rows, pointers)?;
    Ok(spool.finish()?)
}

/// Appends an object of the snapshot as a whole one; its zlib stream is copied if it is stored like that.
fn append(row: &Row, base: &Snapshot, out: &mut Hashed<'_, impl Write>) -> Result<Row, IngestError> {
    let corrupt =
        |error: crate::pack::PackError| ReadError::Corrupt { oid: row.oid, reason: error.to_string() };
    let (pack, index) = base.locate_pack(&row.oid).ok_or(ReadError::Missing(row.oid))?;
    let stored = pack.entry(index).map_err(corrupt)?;
    let mut bytes = Vec::new();
    entry::encode_header(row.kind as u8, row.size, &mut bytes);
    if stored.header == EntryHeader::Whole(row.kind) {
        bytes.extend_from_slice(stored.compressed);
    } else {
        let mut data = Vec::new();
        base.read(&row.oid, &mut data)?;
        entry::deflate(&data, &mut bytes)?;
    }
    let offset = out.written;
    out.write_all(&bytes)?;
    Ok(Row { crc32: crc32fast::hash(&bytes), offset, ..*row })
}

struct Hashed<'a, W> {
    out: &'a mut W,
    hasher: PackHasher,
    written: u64,
}

impl<W: Write> Hashed<'_, W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}
