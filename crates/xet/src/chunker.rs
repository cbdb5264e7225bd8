//! Where files are cut into chunks: after the byte at which a rolling hash of the last 64 has its upper 16 bits clear.
//!
//! Clients cut so, and what we convert must be cut as theirs is to be shared with it.

use gearhash::Hasher;

/// No cut before so many bytes, except at the end of the file.
pub const CHUNK_MIN: usize = 8 * 1024;
/// A cut after so many bytes.
pub const CHUNK_MAX: usize = 128 * 1024;

const MASK: u64 = 0xffff_0000_0000_0000;

/// Bytes that the rolling hash depends on. A test needs that many; those before need not be looked at.
const WINDOW: usize = 64;
const SKIP: usize = CHUNK_MIN - WINDOW;

/// Finds where the chunks of a stream end, and keeps none of it.
#[derive(Clone, Debug, Default)]
pub struct Boundaries {
    gear: Hasher<'static>,
    /// Of the chunk that is open.
    len: usize,
}

impl Boundaries {
    /// How many of these bytes are the rest of the open chunk; the next call goes on after them. None if it goes on
    /// beyond all of them.
    pub fn next(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if self.len < SKIP {
            at = bytes.len().min(SKIP - self.len);
        }
        // Up to one byte before the first that may be the last of a chunk.
        if self.len + at < CHUNK_MIN - 1 {
            let end = bytes.len().min(CHUNK_MIN - 1 - self.len);
            self.gear.update(&bytes[at..end]);
            at = end;
        }
        let end = bytes.len().min(CHUNK_MAX - self.len);
        let cut = match self.gear.next_match(&bytes[at..end], MASK) {
            Some(len) => at + len,
            None if self.len + end == CHUNK_MAX => end,
            None => {
                self.len += end;
                return None;
            }
        };
        *self = Boundaries::default();
        Some(cut)
    }
}

/// Cuts a stream that comes in pieces of any size into chunks.
#[derive(Clone, Debug, Default)]
pub struct Chunker {
    boundaries: Boundaries,
    /// The beginning of the open chunk.
    open: Vec<u8>,
}

impl Chunker {
    /// Hands out each chunk that ends within the piece. Those that also begin in it are not copied.
    pub fn push(&mut self, mut piece: &[u8], mut chunk: impl FnMut(&[u8])) {
        while let Some(len) = self.boundaries.next(piece) {
            let (end, rest) = piece.split_at(len);
            if self.open.is_empty() {
                chunk(end);
            } else {
                self.open.extend_from_slice(end);
                chunk(&self.open);
                self.open.clear();
            }
            piece = rest;
        }
        self.open.extend_from_slice(piece);
    }

    /// Hands out what is left.
    pub fn finish(self, chunk: impl FnOnce(&[u8])) {
        if !self.open.is_empty() {
            chunk(&self.open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(bytes: &[u8], piece: usize) -> Vec<usize> {
        let mut lens = Vec::new();
        let mut chunker = Chunker::default();
        for piece in bytes.chunks(piece) {
            chunker.push(piece, |chunk| lens.push(chunk.len()));
        }
        chunker.finish(|chunk| lens.push(chunk.len()));
        lens
    }

    #[test]
    fn what_never_matches_is_cut_at_the_maximum() {
        for piece in [1, 1000, CHUNK_MAX, usize::MAX] {
            assert_eq!(lens(&[], piece), [0usize; 0]);
            assert_eq!(lens(&[7], piece), [1]);
            assert_eq!(lens(&vec![0; CHUNK_MAX], piece), [CHUNK_MAX]);
            assert_eq!(lens(&vec![0; CHUNK_MAX + 1], piece), [CHUNK_MAX, 1]);
        }
    }

    /// Byte by byte, the hash over all of the chunk.
    fn plainly(bytes: &[u8]) -> Vec<usize> {
        let (mut lens, mut hash, mut len) = (Vec::new(), 0u64, 0);
        for &byte in bytes {
            hash = (hash << 1).wrapping_add(gearhash::DEFAULT_TABLE[usize::from(byte)]);
            len += 1;
            if len >= CHUNK_MIN && (hash & MASK == 0 || len == CHUNK_MAX) {
                lens.push(len);
                (hash, len) = (0, 0);
            }
        }
        lens.extend((len > 0).then_some(len));
        lens
    }

    #[test]
    fn pieces_make_no_difference() {
        let mut random = 1u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as u8
        })
        .take(3_000_000)
        .collect();
        let expected = plainly(&bytes);
        assert!(expected.len() > 20);
        for piece in [1, 63, 64, 65, 4096, 8191, 8192, 8193, 65_537, 1 << 20, usize::MAX] {
            assert_eq!(lens(&bytes, piece), expected, "{piece}");
        }
    }
}
