//! Writes a plain git pack whose number of objects is known beforehand.

use std::io::{self, Write};

use database::Oid;

use crate::Kind;
use crate::object::PackHasher;
use crate::pack::build::pack_header;
use crate::pack::entry::{deflate, encode_header, encode_ofs};

/// Entry numbers of gitformat-pack(5).
const OFS_DELTA: u8 = 6;

pub(super) struct PackWriter<W> {
    out: W,
    hasher: PackHasher,
    offset: u64,
    /// One entry; kept for its allocation.
    entry: Vec<u8>,
}

impl<W: Write> PackWriter<W> {
    pub fn new(out: W, objects: u32) -> io::Result<PackWriter<W>> {
        let mut writer = PackWriter { out, hasher: PackHasher::new(), offset: 0, entry: Vec::new() };
        writer.entry.extend(pack_header(objects));
        writer.flush_entry()?;
        Ok(writer)
    }

    /// Returns the offset of the new entry, as do the others.
    pub fn whole(&mut self, kind: Kind, data: &[u8]) -> io::Result<u64> {
        encode_header(kind as u8, data.len() as u64, &mut self.entry);
        deflate(data, &mut self.entry)?;
        self.flush_entry()
    }

    /// `compressed` is the zlib stream of a whole object of `inflated_size` bytes.
    pub fn whole_compressed(&mut self, kind: Kind, inflated_size: u64, compressed: &[u8]) -> io::Result<u64> {
        encode_header(kind as u8, inflated_size, &mut self.entry);
        self.entry.extend_from_slice(compressed);
        self.flush_entry()
    }

    /// `compressed` is the zlib stream of a delta of `inflated_size` bytes on the entry at `base_offset`.
    pub fn delta_compressed(
        &mut self,
        base_offset: u64,
        inflated_size: u64,
        compressed: &[u8],
    ) -> io::Result<u64> {
        encode_header(OFS_DELTA, inflated_size, &mut self.entry);
        encode_ofs(self.offset - base_offset, &mut self.entry);
        self.entry.extend_from_slice(compressed);
        self.flush_entry()
    }

    /// Writes the trailer. Returns the length of the pack in bytes and its checksum.
    pub fn finish(mut self) -> io::Result<(u64, Oid)> {
        let sum = self.hasher.finish().map_err(io::Error::other)?;
        self.out.write_all(&sum.0)?;
        self.out.flush()?;
        Ok((self.offset + sum.0.len() as u64, sum))
    }

    fn flush_entry(&mut self) -> io::Result<u64> {
        let start = self.offset;
        self.hasher.update(&self.entry);
        self.out.write_all(&self.entry)?;
        self.offset += self.entry.len() as u64;
        self.entry.clear();
        Ok(start)
    }
}
