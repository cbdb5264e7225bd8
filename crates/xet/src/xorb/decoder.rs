//! Chunks back to the bytes of files.

use super::splitter::{Next, Splitter};
use super::{ChunkError, Limits};

/// Unpacks a run of serialized chunks, one by one. It checks no hash: what is stored was proven when it came.
#[derive(Debug, Default)]
pub struct Decoder {
    splitter: Splitter,
    planes: Vec<u8>,
    limits: Limits,
    chunks: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("chunk {number} of the range: {why}")]
    Chunk { number: u32, why: ChunkError },
    #[error("the range ends {bytes} bytes into a chunk")]
    Truncated { bytes: u64 },
}

impl Decoder {
    /// Appends the content of the next chunk to `raw` and says how long it is. Takes from the beginning of `input`,
    /// which goes on where it ended last time, and none of what is beyond that chunk. None: all is taken, and the
    /// chunk goes on.
    pub fn next_chunk(&mut self, input: &mut &[u8], raw: &mut Vec<u8>) -> Result<Option<usize>, DecodeError> {
        let number = self.chunks;
        let failed = |why| DecodeError::Chunk { number, why };
        match self.splitter.next(input, &self.limits).map_err(failed)? {
            Next::Chunk(header, packed) => {
                let start = raw.len();
                raw.resize(start + header.raw_len as usize, 0);
                if let Err(why) = header.unpack(packed, &mut raw[start..], &mut self.planes) {
                    raw.truncate(start);
                    return Err(failed(why));
                }
                self.chunks += 1;
                Ok(Some(header.raw_len as usize))
            }
            Next::Footer => Err(failed(ChunkError::Version(b'X'))),
            Next::More => Ok(None),
        }
    }

    /// There is no more input: no chunk may be open. Returns how many there were.
    pub fn finish(self) -> Result<u32, DecodeError> {
        match self.splitter.open_len() {
            0 => Ok(self.chunks),
            bytes => Err(DecodeError::Truncated { bytes: bytes as u64 }),
        }
    }
}
