//! What is kept beside a xorb: the hash of each chunk and where it ends, packed and unpacked.
//!
//! 40 bytes a chunk, in columns, so that the hashes of a range lie together:
//!
//! ```text
//! "XETINDEX"  version u32  chunks u32  xorb hash [32]
//! hash [32] of each    end in the serialized xorb u32 of each    end in the content u32 of each
//! blake3 of all that [32]
//! ```
//!
//! Numbers are little-endian. It holds hashes of chunks, so it is never given to clients.

use std::ops::Range;

use crate::Hash;
use crate::hash;
use crate::merkle::Tree;

const MAGIC: &[u8; 8] = b"XETINDEX";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 48;
const SEAL_LEN: usize = 32;
const CHUNK_LEN: usize = 40;

/// Of one xorb. In memory it is as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Index(Box<[u8]>);

/// A chunk within its xorb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub hash: Hash,
    /// In the content of the whole xorb.
    pub raw_start: u32,
    pub raw_len: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    #[error("it does not begin as the index of a xorb")]
    Magic,
    #[error("its version is {0}, but only {VERSION} is known")]
    Version(u32),
    #[error("it has {bytes} bytes, but {chunks} chunks take another number")]
    Len { bytes: usize, chunks: u32 },
    #[error("it does not match its checksum")]
    Seal,
    #[error("chunk {0} ends where it begins, or before")]
    Ends(u32),
}

/// A range that reaches beyond the xorb, or holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chunks {start} to {end} are not a range within the xorb, which has {chunks} chunks")]
pub struct NoSuchChunks {
    pub start: u32,
    pub end: u32,
    pub chunks: u32,
}

impl Index {
    /// As it was stored.
    pub fn parse(bytes: impl Into<Box<[u8]>>) -> Result<Index, IndexError> {
        let bytes: Box<[u8]> = bytes.into();
        if !bytes.starts_with(MAGIC) || bytes.len() < HEADER_LEN + SEAL_LEN {
            return Err(IndexError::Magic);
        }
        let version = u32_at(&bytes, 8);
        if version != VERSION {
            return Err(IndexError::Version(version));
        }
        let chunks = u32_at(&bytes, 12);
        if bytes.len() as u64 != Index::stored_len(chunks) || chunks == 0 {
            return Err(IndexError::Len { bytes: bytes.len(), chunks });
        }
        let (sealed, seal) = bytes.split_at(bytes.len() - SEAL_LEN);
        if blake3::hash(sealed).as_bytes() != seal {
            return Err(IndexError::Seal);
        }
        let index = Index(bytes);
        for ends in [index.serialized_ends(), index.raw_ends()] {
            let mut before = 0;
            for (number, end) in ends.iter().enumerate() {
                let end = u32::from_le_bytes(*end);
                if end <= before {
                    return Err(IndexError::Ends(number as u32));
                }
                before = end;
            }
        }
        Ok(index)
    }

    /// Of the index of so many chunks, in bytes.
    pub fn stored_len(chunks: u32) -> u64 {
        (HEADER_LEN + SEAL_LEN) as u64 + u64::from(chunks) * CHUNK_LEN as u64
    }

    /// As it is to be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn xorb_hash(&self) -> Hash {
        let hash = self.0[16..].first_chunk().expect("because the header has it");
        Hash::from_bytes(*hash)
    }

    /// At least one.
    pub fn chunks(&self) -> u32 {
        u32_at(&self.0, 12)
    }

    /// Of all chunks with their headers: the size of the xorb as it is stored.
    pub fn serialized_len(&self) -> u32 {
        start(self.serialized_ends(), self.chunks())
    }

    /// Of the content of all chunks.
    pub fn raw_len(&self) -> u32 {
        start(self.raw_ends(), self.chunks())
    }

    /// Where in the stored xorb a range of chunks lies.
    pub fn serialized_range(&self, chunks: Range<u32>) -> Result<Range<u32>, NoSuchChunks> {
        let Range { start: first, end } = self.checked(chunks)?;
        Ok(start(self.serialized_ends(), first)..start(self.serialized_ends(), end))
    }

    /// Where in the content of the xorb a range of chunks lies.
    pub fn raw_range(&self, chunks: Range<u32>) -> Result<Range<u32>, NoSuchChunks> {
        let Range { start: first, end } = self.checked(chunks)?;
        Ok(start(self.raw_ends(), first)..start(self.raw_ends(), end))
    }

    /// By which a client proves that it has had a range of chunks.
    pub fn range_hash(&self, chunks: Range<u32>) -> Result<Hash, NoSuchChunks> {
        let chunks = self.checked(chunks)?;
        Ok(hash::range_hash(&self.hashes()[chunks.start as usize..chunks.end as usize]))
    }

    /// The chunk in which a byte of the content lies.
    pub fn chunk_at(&self, raw_offset: u32) -> Option<u32> {
        let chunk = self.raw_ends().partition_point(|end| u32::from_le_bytes(*end) <= raw_offset) as u32;
        (chunk < self.chunks()).then_some(chunk)
    }

    /// A range of chunks, in order.
    pub fn iter(&self, chunks: Range<u32>) -> Result<impl ExactSizeIterator<Item = Chunk>, NoSuchChunks> {
        let Range { start: first, end } = self.checked(chunks)?;
        let mut raw_start = start(self.raw_ends(), first);
        let range = first as usize..end as usize;
        Ok(self.hashes()[range.clone()].iter().zip(&self.raw_ends()[range]).map(move |(hash, raw_end)| {
            let raw_end = u32::from_le_bytes(*raw_end);
            let chunk = Chunk { hash: Hash::from_bytes(*hash), raw_start, raw_len: raw_end - raw_start };
            raw_start = raw_end;
            chunk
        }))
    }

    /// Of the chunks that clients ask for wherever they find them.
    pub(crate) fn dedup_keys(&self) -> Vec<[u8; 16]> {
        let hashes = self.hashes().iter().map(|hash| Hash::from_bytes(*hash));
        let mut keys: Vec<_> = hashes.filter(Hash::is_dedup_key).map(|hash| hash.dedup_key()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Of one chunk.
    pub(crate) fn hash(&self, chunk: u32) -> Option<Hash> {
        self.hashes().get(chunk as usize).map(|hash| Hash::from_bytes(*hash))
    }

    fn checked(&self, chunks: Range<u32>) -> Result<Range<u32>, NoSuchChunks> {
        if chunks.start < chunks.end && chunks.end <= self.chunks() {
            return Ok(chunks);
        }
        Err(NoSuchChunks { start: chunks.start, end: chunks.end, chunks: self.chunks() })
    }

    fn hashes(&self) -> &[[u8; 32]] {
        let (hashes, _) = self.0[HEADER_LEN..].as_chunks();
        &hashes[..self.chunks() as usize]
    }

    fn serialized_ends(&self) -> &[[u8; 4]] {
        self.column(0)
    }

    fn raw_ends(&self) -> &[[u8; 4]] {
        self.column(1)
    }

    /// Of the numbers that follow the hashes.
    fn column(&self, number: usize) -> &[[u8; 4]] {
        let chunks = self.chunks() as usize;
        let (numbers, _) = self.0[HEADER_LEN + chunks * 32..].as_chunks();
        &numbers[chunks * number..chunks * (number + 1)]
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("xorb_hash", &self.xorb_hash())
            .field("chunks", &self.chunks())
            .finish_non_exhaustive()
    }
}

/// An index that is being made of chunks in their order.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    tree: Tree,
    hashes: Vec<[u8; 32]>,
    serialized_ends: Vec<[u8; 4]>,
    raw_ends: Vec<[u8; 4]>,
    serialized_len: u32,
    raw_len: u32,
}

impl Builder {
    /// The limits of xorbs keep both sums below 4 GiB.
    pub(crate) fn push(&mut self, hash: Hash, serialized_len: u32, raw_len: u32) {
        self.tree.push(hash, u64::from(raw_len));
        self.serialized_len += serialized_len;
        self.raw_len += raw_len;
        self.hashes.push(*hash.as_bytes());
        self.serialized_ends.push(self.serialized_len.to_le_bytes());
        self.raw_ends.push(self.raw_len.to_le_bytes());
    }

    pub(crate) fn chunks(&self) -> u32 {
        self.hashes.len() as u32
    }

    pub(crate) fn serialized_len(&self) -> u32 {
        self.serialized_len
    }

    /// There is at least one chunk.
    pub(crate) fn finish(self) -> Index {
        let chunks = self.chunks();
        debug_assert!(chunks > 0);
        let mut bytes = Vec::with_capacity(HEADER_LEN + SEAL_LEN + self.hashes.len() * CHUNK_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&chunks.to_le_bytes());
        bytes.extend_from_slice(self.tree.xorb_hash().as_bytes());
        bytes.extend_from_slice(self.hashes.as_flattened());
        bytes.extend_from_slice(self.serialized_ends.as_flattened());
        bytes.extend_from_slice(self.raw_ends.as_flattened());
        let seal = blake3::hash(&bytes);
        bytes.extend_from_slice(seal.as_bytes());
        Index(bytes.into())
    }
}

/// Where a chunk begins: where the one before it ends.
fn start(ends: &[[u8; 4]], chunk: u32) -> u32 {
    match chunk.checked_sub(1) {
        Some(before) => u32::from_le_bytes(ends[before as usize]),
        None => 0,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("because the header was seen to be whole"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::chunk_hash;

    const PACKED: [u32; 4] = [9, 108, 20, 1008];
    const RAW: [u32; 4] = [1, 100, 5000, 1000];

    fn index() -> Index {
        let mut builder = Builder::default();
        for (number, (packed, raw)) in PACKED.into_iter().zip(RAW).enumerate() {
            builder.push(chunk_hash(&[number as u8]), packed, raw);
        }
        builder.finish()
    }

    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let end = bytes.len() - SEAL_LEN;
        let seal = blake3::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(seal.as_bytes());
        bytes
    }

    #[test]
    fn what_was_stored_reads_the_same() {
        let index = index();
        assert_eq!(index.as_bytes().len(), 80 + 4 * 40);
        let read = Index::parse(index.as_bytes()).unwrap();
        assert_eq!(read, index);
        assert_eq!((read.chunks(), read.serialized_len(), read.raw_len()), (4, 1145, 6101));
        let chunks: Vec<_> = read.iter(0..4).unwrap().collect();
        assert_eq!(chunks[2], Chunk { hash: chunk_hash(&[2]), raw_start: 101, raw_len: 5000 });
        let root = crate::merkle::xorb_hash(chunks.iter().map(|chunk| (chunk.hash, chunk.raw_len.into())));
        assert_eq!(read.xorb_hash(), root);
    }

    #[test]
    fn ranges_are_within_the_xorb() {
        let index = index();
        assert_eq!(index.serialized_range(0..4), Ok(0..1145));
        assert_eq!(index.serialized_range(1..3), Ok(9..137));
        assert_eq!(index.raw_range(3..4), Ok(5101..6101));
        let [one, two] = [1, 2].map(|number| *chunk_hash(&[number]).as_bytes());
        assert_eq!(index.range_hash(1..3), Ok(hash::range_hash(&[one, two])));
        assert_eq!(index.iter(1..3).unwrap().map(|chunk| chunk.raw_start).collect::<Vec<_>>(), [1, 101]);
        for (start, end) in [(0, 0), (0, 5), (4, 5), (4, 4), (3, 2), (u32::MAX, u32::MAX), (0, u32::MAX)] {
            let refused = NoSuchChunks { start, end, chunks: 4 };
            assert_eq!(index.serialized_range(start..end), Err(refused));
            assert_eq!(index.raw_range(start..end), Err(refused));
            assert_eq!(index.range_hash(start..end), Err(refused));
            assert_eq!(index.iter(start..end).err(), Some(refused));
        }
    }

    #[test]
    fn each_byte_of_the_content_lies_in_a_chunk() {
        let index = index();
        for (offset, chunk) in [
            (0, Some(0)),
            (1, Some(1)),
            (100, Some(1)),
            (101, Some(2)),
            (5100, Some(2)),
            (5101, Some(3)),
            (6100, Some(3)),
            (6101, None),
            (u32::MAX, None),
        ] {
            assert_eq!(index.chunk_at(offset), chunk, "{offset}");
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let bytes = index().as_bytes().to_vec();
        let parse = |bytes: &[u8]| Index::parse(bytes).err();
        for end in 0..80 {
            assert_eq!(parse(&bytes[..end]), Some(IndexError::Magic));
        }
        for end in 80..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Some(IndexError::Len { bytes: end, chunks: 4 }));
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(parse(&longer), Some(IndexError::Len { bytes: bytes.len() + 1, chunks: 4 }));
        let with = |at: usize, change: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + change.len()].copy_from_slice(change);
            sealed(bytes)
        };
        assert_eq!(parse(&with(0, b"x")), Some(IndexError::Magic));
        assert_eq!(parse(&with(8, &[2])), Some(IndexError::Version(2)));
        let len = IndexError::Len { bytes: bytes.len(), chunks: u32::MAX };
        assert_eq!(parse(&with(12, &[0xff; 4])), Some(len));
        let none = sealed([&with(12, &[0; 4])[..48], &[0; 32]].concat());
        assert_eq!(parse(&none), Some(IndexError::Len { bytes: 80, chunks: 0 }));
        for at in 16..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(parse(&bytes), Some(IndexError::Seal), "{at}");
        }
        let (packed, raw) = (48 + 4 * 32, 48 + 4 * 36);
        assert_eq!(parse(&with(packed, &[0; 4])), Some(IndexError::Ends(0)));
        assert_eq!(parse(&with(packed + 4, &9u32.to_le_bytes())), Some(IndexError::Ends(1)));
        assert_eq!(parse(&with(raw + 12, &5100u32.to_le_bytes())), Some(IndexError::Ends(3)));
    }
}
