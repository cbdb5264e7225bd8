//! A xorb as a client uploads it, proven while it arrives.

use super::splitter::{Next, Splitter};
use super::{ChunkError, HEADER_LEN, Header, Limits, Scheme};
use crate::Hash;
use crate::hash::chunk_hash;
use crate::index::{self, Index};

/// Takes a body in pieces and unpacks, checks and hashes each chunk as soon as it is there. Memory is that of one chunk,
/// and 40 bytes for each that was seen.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    splitter: Splitter,
    chunks: Chunks,
    /// Once the footer has begun.
    footer_bytes: Option<usize>,
}

/// Those that were proven, and room to prove another.
#[derive(Debug, Default)]
struct Chunks {
    index: index::Builder,
    raw: Vec<u8>,
    planes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XorbError {
    #[error("chunk {number} of the xorb: {why}")]
    Chunk { number: u32, why: ChunkError },
    #[error("the xorb has more than {max} chunks")]
    TooManyChunks { max: u32 },
    #[error("the xorb has more than {max} bytes")]
    TooLarge { max: u32 },
    #[error("the footer of the xorb has more than {max} bytes")]
    FooterTooLarge { max: u32 },
    #[error("the xorb has no chunks")]
    Empty,
    #[error("the xorb ends {bytes} bytes into a chunk")]
    Truncated { bytes: u64 },
    #[error("the xorb is {found}, but was announced as {expected}")]
    Mismatch { found: Hash, expected: Hash },
}

impl XorbError {
    /// The body has more than is taken, rather than something else.
    pub fn is_too_large(&self) -> bool {
        use XorbError::{FooterTooLarge, TooLarge, TooManyChunks};
        matches!(self, TooManyChunks { .. } | TooLarge { .. } | FooterTooLarge { .. })
    }
}

impl Reader {
    pub fn new(limits: Limits) -> Reader {
        Reader { limits, splitter: Splitter::default(), chunks: Chunks::default(), footer_bytes: None }
    }

    /// The next piece of the body. After an error there is nothing more to do but to tell it.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), XorbError> {
        let Reader { limits, splitter, chunks, footer_bytes } = self;
        while footer_bytes.is_none() {
            let number = chunks.index.chunks();
            match splitter.next(&mut piece, limits).map_err(|why| XorbError::Chunk { number, why })? {
                Next::Chunk(header, packed) => chunks.prove(header, packed, limits)?,
                // Its beginning may have come with pieces before this one.
                Next::Footer => *footer_bytes = Some(splitter.open_len()),
                Next::More => return Ok(()),
            }
        }
        if let Some(bytes) = footer_bytes {
            *bytes = bytes.saturating_add(piece.len());
            if *bytes > limits.footer_bytes as usize {
                return Err(XorbError::FooterTooLarge { max: limits.footer_bytes });
            }
        }
        Ok(())
    }

    /// How many of the bytes so far are chunks that were proven. At the end that is what is to be kept: the rest is a
    /// footer.
    pub fn serialized_len(&self) -> u32 {
        self.chunks.index.serialized_len()
    }

    /// The body has ended: whether it is what it was announced to be. The index says how much of it are the chunks.
    pub fn finish(self, expected: &Hash) -> Result<Index, XorbError> {
        let open = self.splitter.open_len();
        if open > 0 && self.footer_bytes.is_none() {
            return Err(XorbError::Truncated { bytes: open as u64 });
        }
        if self.chunks.index.chunks() == 0 {
            return Err(XorbError::Empty);
        }
        let index = self.chunks.index.finish();
        if index.xorb_hash() != *expected {
            return Err(XorbError::Mismatch { found: index.xorb_hash(), expected: *expected });
        }
        Ok(index)
    }
}

impl Chunks {
    fn prove(&mut self, header: Header, packed: &[u8], limits: &Limits) -> Result<(), XorbError> {
        let number = self.index.chunks();
        if number == limits.chunks {
            return Err(XorbError::TooManyChunks { max: limits.chunks });
        }
        let len = HEADER_LEN as u32 + header.packed_len;
        if len > limits.serialized_bytes - self.index.serialized_len() {
            return Err(XorbError::TooLarge { max: limits.serialized_bytes });
        }
        let content = if header.scheme == Scheme::None {
            packed
        } else {
            self.raw.resize(header.raw_len as usize, 0);
            let unpacked = header.unpack(packed, &mut self.raw, &mut self.planes);
            unpacked.map_err(|why| XorbError::Chunk { number, why })?;
            &self.raw
        };
        self.index.push(chunk_hash(content), len, header.raw_len);
        Ok(())
    }
}
