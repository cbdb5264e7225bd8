//! Git's own pack index, version 2 (gitformat-pack(5)), from what a pack blob knows.

use std::io::{self, Write};

use crate::Pack;
use crate::object::PackHasher;
use crate::pack::TRAILER_BYTES;

const MAGIC_AND_VERSION: [u8; 8] = *b"\xfftOc\0\0\0\x02";
/// Offsets from here on stand in a table of their own, with 64 bits.
const LARGE_OFFSET: u64 = 1 << 31;

/// Writes the `.idx` of the pack at the start of this blob.
pub fn write_idx(pack: &Pack, out: impl Write) -> io::Result<()> {
    let mut out = Sum { out, hasher: PackHasher::new(), buffer: Vec::new() };
    out.bytes(&MAGIC_AND_VERSION)?;
    let mut counts = [0u32; 256];
    for index in 0..pack.objects() {
        counts[usize::from(pack.oid(index).0[0])] += 1;
    }
    let mut sum = 0;
    for count in counts {
        sum += count;
        out.bytes(&sum.to_be_bytes())?;
    }
    for index in 0..pack.objects() {
        out.bytes(&pack.oid(index).0)?;
    }
    for index in 0..pack.objects() {
        out.bytes(&pack.crc32_of(index).to_be_bytes())?;
    }
    let mut large = Vec::new();
    for index in 0..pack.objects() {
        let offset = pack.offset_of(index);
        if offset < LARGE_OFFSET {
            out.bytes(&(offset as u32).to_be_bytes())?;
        } else {
            out.bytes(&(LARGE_OFFSET as u32 | large.len() as u32).to_be_bytes())?;
            large.push(offset);
        }
    }
    for offset in large {
        out.bytes(&offset.to_be_bytes())?;
    }
    let bytes = pack.pack_bytes();
    out.bytes(&bytes[bytes.len() - TRAILER_BYTES..])?;
    out.finish()
}

/// Buffers and sums up.
struct Sum<W> {
    out: W,
    hasher: PackHasher,
    buffer: Vec<u8>,
}

impl<W: Write> Sum<W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 1 << 16 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hasher.update(&self.buffer);
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        let sum = self.hasher.finish().map_err(io::Error::other)?;
        self.out.write_all(&sum.0)?;
        self.out.flush()
    }
}
