//! Xorbs: up to 8192 chunks one after another, each with a header of eight bytes and packed as it is smallest.
//!
//! [`Reader`] takes what a client uploads and proves it, [`Decoder`] turns stored chunks back into the bytes of files,
//! [`Writer`] makes xorbs. All take and give bytes as they come. Below them, `Header` is what stands before a chunk.
//!
//! A xorb is stored as the chunks alone. Some clients send a footer after them, which holds what [`Index`] does: it is
//! not read, and must not be served, since it tells the hashes of chunks.
//!
//! [`Index`]: crate::Index

mod decoder;
mod frame;
mod planes;
mod reader;
mod splitter;
mod writer;

pub use decoder::{DecodeError, Decoder};
pub use frame::BadFrame;
pub use reader::{Reader, XorbError};
pub use writer::{Compression, FullError, Writer};

use crate::chunker::CHUNK_MAX;

const HEADER_LEN: usize = 8;
/// Clients have one version.
const VERSION: u8 = 0;

/// What is taken of a xorb; more is refused. All content there can be, and all that is serialized, has less than 4 GiB: by
/// default 1 GiB, in a body of a few MiB. To unpack and hash that takes a second, and is not bounded further: some clients
/// fill xorbs by what is serialized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub chunks: u32,
    /// Of one chunk as it is packed. Clients refuse to read more than this.
    pub packed_bytes: u32,
    /// Of the content of one chunk.
    pub raw_bytes: u32,
    /// Of all chunks with their headers. Clients count 64 MiB of content, so headers come on top.
    pub serialized_bytes: u32,
    /// Of what some clients send after the chunks: 40 bytes a chunk, and some.
    pub footer_bytes: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        const CHUNKS: u32 = 8192;
        Limits {
            chunks: CHUNKS,
            packed_bytes: 2 * CHUNK_MAX as u32,
            raw_bytes: CHUNK_MAX as u32,
            serialized_bytes: 64 * 1024 * 1024 + CHUNKS * HEADER_LEN as u32,
            footer_bytes: 512 * 1024,
        }
    }
}

/// How the content of a chunk is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// As it is.
    None,
    /// As an LZ4 frame.
    Lz4,
    /// As an LZ4 frame of every fourth byte, then those next to them, and so on: the bytes of equal weight of floating
    /// point numbers are alike.
    Bg4Lz4,
}

impl Scheme {
    fn from_byte(byte: u8) -> Option<Scheme> {
        match byte {
            0 => Some(Scheme::None),
            1 => Some(Scheme::Lz4),
            2 => Some(Scheme::Bg4Lz4),
            _ => None,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Scheme::None => 0,
            Scheme::Lz4 => 1,
            Scheme::Bg4Lz4 => 2,
        }
    }
}

/// What stands before a chunk, within limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    scheme: Scheme,
    packed_len: u32,
    raw_len: u32,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_LEN], limits: &Limits) -> Result<Header, ChunkError> {
        let &[version, p0, p1, p2, scheme, r0, r1, r2] = bytes;
        if version != VERSION {
            return Err(ChunkError::Version(version));
        }
        let packed_len = u32::from_le_bytes([p0, p1, p2, 0]);
        if packed_len > limits.packed_bytes {
            return Err(ChunkError::PackedLen { len: packed_len, max: limits.packed_bytes });
        }
        let scheme = Scheme::from_byte(scheme).ok_or(ChunkError::Scheme(scheme))?;
        let raw_len = u32::from_le_bytes([r0, r1, r2, 0]);
        if raw_len == 0 || raw_len > limits.raw_bytes {
            return Err(ChunkError::RawLen { len: raw_len, max: limits.raw_bytes });
        }
        if scheme == Scheme::None && packed_len != raw_len {
            return Err(ChunkError::Lengths { packed: packed_len, raw: raw_len });
        }
        Ok(Header { scheme, packed_len, raw_len })
    }

    fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [p0, p1, p2, _] = self.packed_len.to_le_bytes();
        let [r0, r1, r2, _] = self.raw_len.to_le_bytes();
        [VERSION, p0, p1, p2, self.scheme.byte(), r0, r1, r2]
    }

    /// Unpacks into `raw`, which has `raw_len` bytes. `planes` is room to work in.
    fn unpack(&self, packed: &[u8], raw: &mut [u8], planes: &mut Vec<u8>) -> Result<(), ChunkError> {
        match self.scheme {
            Scheme::None => raw.copy_from_slice(packed),
            Scheme::Lz4 => frame::decode(packed, raw)?,
            Scheme::Bg4Lz4 => {
                planes.resize(raw.len(), 0);
                frame::decode(packed, planes)?;
                planes::join(planes, raw);
            }
        }
        Ok(())
    }
}

/// What is wrong with one chunk. The message goes on after "chunk 7: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("its version is {0}, but only 0 is known")]
    Version(u8),
    #[error("its compression scheme is {0}, but only 0, 1 and 2 are known")]
    Scheme(u8),
    #[error("it takes {len} bytes, more than the {max} that are taken")]
    PackedLen { len: u32, max: u32 },
    #[error("it has {len} bytes of content, but 1 to {max} are taken")]
    RawLen { len: u32, max: u32 },
    #[error("it is not compressed and takes {packed} bytes, but has {raw} of content")]
    Lengths { packed: u32, raw: u32 },
    #[error("its content is compressed, but {0}")]
    Frame(#[from] BadFrame),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: [u8; 8]) -> Result<Header, ChunkError> {
        Header::parse(&bytes, &Limits::default())
    }

    #[test]
    fn headers_hold_three_byte_lengths() {
        for (bytes, scheme, packed_len, raw_len) in [
            ([0, 1, 0, 0, 0, 1, 0, 0], Scheme::None, 1, 1),
            ([0, 0x34, 0x12, 0, 1, 0x78, 0x56, 0], Scheme::Lz4, 0x1234, 0x5678),
            ([0, 0, 0, 4, 2, 0, 0, 2], Scheme::Bg4Lz4, 256 * 1024, 128 * 1024),
        ] {
            let header = Header { scheme, packed_len, raw_len };
            assert_eq!(parse(bytes), Ok(header));
            assert_eq!(header.to_bytes(), bytes);
        }
    }

    #[test]
    fn headers_are_bounded() {
        assert_eq!(parse([1, 1, 0, 0, 0, 1, 0, 0]), Err(ChunkError::Version(1)));
        assert_eq!(parse([0, 1, 0, 0, 3, 1, 0, 0]), Err(ChunkError::Scheme(3)));
        let (len, max) = (256 * 1024 + 1, 256 * 1024);
        assert_eq!(parse([0, 1, 0, 4, 1, 1, 0, 0]), Err(ChunkError::PackedLen { len, max }));
        let max = 128 * 1024;
        assert_eq!(parse([0, 1, 0, 0, 1, 0, 0, 0]), Err(ChunkError::RawLen { len: 0, max }));
        assert_eq!(parse([0, 1, 0, 0, 1, 1, 0, 2]), Err(ChunkError::RawLen { len: max + 1, max }));
        assert_eq!(parse([0, 2, 0, 0, 0, 3, 0, 0]), Err(ChunkError::Lengths { packed: 2, raw: 3 }));
    }
}
