//! Xorbs of our own making.

use std::fmt;

use lz4_flex::block::CompressTable;

use super::{HEADER_LEN, Header, Limits, Scheme, frame, planes};
use crate::Index;
use crate::chunker::CHUNK_MAX;
use crate::hash::chunk_hash;
use crate::index;

/// What is tried on a chunk. Whatever is not smaller than the content itself is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Lz4,
    Bg4Lz4,
    /// Both, and the smaller is taken.
    Smallest,
}

/// Packs chunks into a xorb in memory.
pub struct Writer {
    limits: Limits,
    bytes: Vec<u8>,
    index: index::Builder,
    table: CompressTable,
    planes: Vec<u8>,
    other: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FullError {
    #[error("a chunk of {len} bytes is not between one byte and the largest that is taken")]
    Chunk { len: usize },
    #[error("the xorb takes no more chunks")]
    Full,
}

impl Writer {
    pub fn new(limits: Limits) -> Writer {
        Writer {
            limits,
            bytes: Vec::new(),
            index: index::Builder::default(),
            table: CompressTable::large(),
            planes: Vec::new(),
            other: Vec::new(),
        }
    }

    /// Appends a chunk, or leaves the xorb as it was: with [`FullError::Full`] it is to be finished, and the chunk
    /// goes into the next.
    pub fn push(&mut self, raw: &[u8], compression: Compression) -> Result<(), FullError> {
        let raw_max = self.limits.raw_bytes.min(self.limits.packed_bytes) as usize;
        if raw.is_empty() || raw.len() > raw_max.min(CHUNK_MAX) {
            return Err(FullError::Chunk { len: raw.len() });
        }
        if self.index.chunks() == self.limits.chunks {
            return Err(FullError::Full);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER_LEN]);
        let scheme = self.pack(raw, compression);
        let len = self.bytes.len() - start;
        if self.bytes.len() > self.limits.serialized_bytes as usize {
            self.bytes.truncate(start);
            return Err(FullError::Full);
        }
        let packed_len = (len - HEADER_LEN) as u32;
        let header = Header { scheme, packed_len, raw_len: raw.len() as u32 };
        self.bytes[start..start + HEADER_LEN].copy_from_slice(&header.to_bytes());
        self.index.push(chunk_hash(raw), len as u32, header.raw_len);
        Ok(())
    }

    pub fn chunks(&self) -> u32 {
        self.index.chunks()
    }

    pub fn serialized_len(&self) -> u32 {
        self.index.serialized_len()
    }

    /// The chunks as they are stored and sent, and what is kept beside them. None if there are none.
    pub fn finish(self) -> Option<(Vec<u8>, Index)> {
        (self.index.chunks() > 0).then(|| (self.bytes, self.index.finish()))
    }

    /// Appends what is smallest of what is to be tried.
    fn pack(&mut self, raw: &[u8], compression: Compression) -> Scheme {
        let Writer { bytes, table, planes, other, .. } = self;
        let start = bytes.len();
        let lz4 = matches!(compression, Compression::Lz4 | Compression::Smallest)
            && frame::encode(raw, raw.len(), table, bytes);
        if matches!(compression, Compression::Bg4Lz4 | Compression::Smallest) {
            let best = if lz4 { bytes.len() - start } else { raw.len() };
            planes.resize(raw.len(), 0);
            planes::split(raw, planes);
            other.clear();
            if frame::encode(planes, best, table, other) {
                bytes.truncate(start);
                bytes.extend_from_slice(other);
                return Scheme::Bg4Lz4;
            }
        }
        if lz4 {
            return Scheme::Lz4;
        }
        bytes.extend_from_slice(raw);
        Scheme::None
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("index", &self.index).finish_non_exhaustive()
    }
}
