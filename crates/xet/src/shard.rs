//! Shards: in which xorbs the chunks of files are. Clients send one for what they upload, and are sent one as the answer
//! to whether somebody has a chunk.
//!
//! All is records of 48 bytes: a header, the files, a bookend, the xorbs, a bookend. What follows is a footer and tables,
//! which some clients send, some only announce, and nobody needs: shards are read from the front.

use crate::index::Index;
use crate::{Hash, hash};

const RECORD_LEN: usize = 48;
type Record = [u8; RECORD_LEN];

const TAG: &[u8; 32] = b"HFRepoMetaData\0UigEj{\x81W\x83\xa5\xbd\xd9\\\xcd\xd1J\xa9";
const VERSION: u64 = 2;
const FOOTER_VERSION: u64 = 1;
const FOOTER_LEN: u64 = 200;

const BOOKEND: Record = {
    let mut record = [0; RECORD_LEN];
    let mut at = 0;
    while at < 32 {
        record[at] = 0xff;
        at += 1;
    }
    record
};

/// Each term of the file has a record with the hash of its range of chunks.
const FILE_VERIFICATION: u32 = 1 << 31;
/// The file has a record with its SHA-256.
const FILE_SHA256: u32 = 1 << 30;

/// What is taken of a shard; more is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub bytes: usize,
    /// In a xorb.
    pub chunks: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 64 * 1024 * 1024, chunks: 8192 }
    }
}

/// A shard whose records are all there. What they say is not proven by that.
#[derive(Clone, Copy, Debug)]
pub struct Shard<'a> {
    files: &'a [Record],
    xorbs: &'a [Record],
}

/// A file as a client describes it.
#[derive(Clone, Copy)]
pub struct File<'a> {
    pub hash: Hash,
    terms: &'a [Record],
    verification: Option<&'a [Record]>,
    sha256: Option<[u8; 32]>,
}

/// A part of a file: the content of a range of chunks of a xorb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    pub xorb_hash: Hash,
    pub raw_bytes: u32,
    /// Less than `chunk_end`.
    pub chunk_start: u32,
    /// Exclusive.
    pub chunk_end: u32,
}

/// A xorb as a client describes it.
#[derive(Clone, Copy)]
pub struct Xorb<'a> {
    pub hash: Hash,
    pub raw_bytes: u32,
    pub bytes_on_disk: u32,
    chunks: &'a [Record],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub hash: Hash,
    pub raw_start: u32,
    pub raw_len: u32,
    pub flags: u32,
}

impl Chunk {
    /// The client wants others to find it, since it begins a file.
    pub const IS_DEDUP_KEY: u32 = 1 << 31;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    #[error("the shard has {bytes} bytes, more than the {max} that are taken")]
    TooLarge { bytes: usize, max: usize },
    #[error("the body does not begin as a shard")]
    Tag,
    #[error("the version of the shard is {0}, but only {VERSION} is known")]
    Version(u64),
    #[error("the shard ends before its list of files does")]
    FilesTruncated,
    #[error("the shard ends before its list of xorbs does")]
    XorbsTruncated,
    #[error("file {file} has flags that are not known: {flags:#010x}")]
    FileFlags { file: Hash, flags: u32 },
    #[error("term {term} of file {file}, chunks {start} to {end}, is not a range of up to {max} chunks")]
    Term { file: Hash, term: u32, start: u32, end: u32, max: u32 },
    #[error("xorb {xorb} has {chunks} chunks, more than the {max} that are taken")]
    TooManyChunks { xorb: Hash, chunks: u32, max: u32 },
}

impl ShardError {
    /// The body has more than is taken, rather than something else.
    pub fn is_too_large(&self) -> bool {
        matches!(self, ShardError::TooLarge { .. })
    }
}

impl<'a> Shard<'a> {
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Shard<'a>, ShardError> {
        if bytes.len() > limits.bytes {
            return Err(ShardError::TooLarge { bytes: bytes.len(), max: limits.bytes });
        }
        let (records, _) = bytes.as_chunks();
        let (header, records) = records.split_first().ok_or(ShardError::Tag)?;
        if !header.starts_with(TAG) {
            return Err(ShardError::Tag);
        }
        let version = u64_at(header, 32);
        if version != VERSION {
            return Err(ShardError::Version(version));
        }
        let mut rest = records;
        while File::take(&mut rest, limits)?.is_some() {}
        let files = &records[..records.len() - rest.len()];
        let records = rest;
        while Xorb::take(&mut rest, limits)?.is_some() {}
        let xorbs = &records[..records.len() - rest.len()];
        Ok(Shard { files, xorbs })
    }

    /// In the order of the shard.
    pub fn files(&self) -> impl Iterator<Item = File<'a>> + use<'a> {
        let mut rest = self.files;
        // They were taken before, so this fails no more.
        std::iter::from_fn(move || File::take(&mut rest, &UNLIMITED).ok().flatten())
    }

    /// In the order of the shard.
    pub fn xorbs(&self) -> impl Iterator<Item = Xorb<'a>> + use<'a> {
        let mut rest = self.xorbs;
        std::iter::from_fn(move || Xorb::take(&mut rest, &UNLIMITED).ok().flatten())
    }
}

const UNLIMITED: Limits = Limits { bytes: usize::MAX, chunks: u32::MAX };

impl<'a> File<'a> {
    /// None at the bookend, which is taken.
    fn take(rest: &mut &'a [Record], limits: &Limits) -> Result<Option<File<'a>>, ShardError> {
        let truncated = ShardError::FilesTruncated;
        let [header] = take(rest, 1).ok_or(truncated)? else { return Err(truncated) };
        if is_bookend(header) {
            return Ok(None);
        }
        let (hash, flags, count) = (hash_of(header), u32_at(header, 32), u32_at(header, 36));
        if flags & !(FILE_VERIFICATION | FILE_SHA256) != 0 {
            return Err(ShardError::FileFlags { file: hash, flags });
        }
        let terms = take(rest, count).ok_or(truncated)?;
        for (number, term) in terms.iter().map(Term::read).enumerate() {
            let Term { chunk_start: start, chunk_end: end, .. } = term;
            if start >= end || end > limits.chunks {
                let max = limits.chunks;
                return Err(ShardError::Term { file: hash, term: number as u32, start, end, max });
            }
        }
        let verification = match flags & FILE_VERIFICATION {
            0 => None,
            _ => Some(take(rest, count).ok_or(truncated)?),
        };
        let sha256 = match flags & FILE_SHA256 {
            0 => None,
            _ => take(rest, 1).ok_or(truncated)?.first().map(|record| hash_of(record).to_sha256()),
        };
        Ok(Some(File { hash, terms, verification, sha256 }))
    }

    pub fn terms(&self) -> impl ExactSizeIterator<Item = Term> + use<'a> {
        self.terms.iter().map(Term::read)
    }

    /// One for each term: what [`Index::range_hash`] says of its chunks.
    pub fn verification(&self) -> Option<impl ExactSizeIterator<Item = Hash> + use<'a>> {
        self.verification.map(|records| records.iter().map(hash_of))
    }

    /// The plain digest, as the client claims it.
    pub fn sha256(&self) -> Option<[u8; 32]> {
        self.sha256
    }
}

impl Term {
    fn read(record: &Record) -> Term {
        Term {
            xorb_hash: hash_of(record),
            raw_bytes: u32_at(record, 36),
            chunk_start: u32_at(record, 40),
            chunk_end: u32_at(record, 44),
        }
    }
}

impl<'a> Xorb<'a> {
    /// None at the bookend, which is taken.
    fn take(rest: &mut &'a [Record], limits: &Limits) -> Result<Option<Xorb<'a>>, ShardError> {
        let truncated = ShardError::XorbsTruncated;
        let [header] = take(rest, 1).ok_or(truncated)? else { return Err(truncated) };
        if is_bookend(header) {
            return Ok(None);
        }
        let (hash, count) = (hash_of(header), u32_at(header, 36));
        if count > limits.chunks {
            return Err(ShardError::TooManyChunks { xorb: hash, chunks: count, max: limits.chunks });
        }
        let chunks = take(rest, count).ok_or(truncated)?;
        let (raw_bytes, bytes_on_disk) = (u32_at(header, 40), u32_at(header, 44));
        Ok(Some(Xorb { hash, raw_bytes, bytes_on_disk, chunks }))
    }

    pub fn chunks(&self) -> impl ExactSizeIterator<Item = Chunk> + use<'a> {
        self.chunks.iter().map(|record| Chunk {
            hash: hash_of(record),
            raw_start: u32_at(record, 32),
            raw_len: u32_at(record, 36),
            flags: u32_at(record, 40),
        })
    }
}

/// Writes a shard as clients send it.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    files: Vec<u8>,
    xorbs: Vec<u8>,
}

impl Writer {
    /// `verification` has a hash for each term.
    pub fn push_file(
        &mut self,
        hash: &Hash,
        terms: &[Term],
        verification: Option<&[Hash]>,
        sha256: Option<[u8; 32]>,
    ) {
        let mut flags = 0;
        if let Some(verification) = verification {
            assert_eq!(verification.len(), terms.len(), "because each term has a hash");
            flags |= FILE_VERIFICATION;
        }
        if sha256.is_some() {
            flags |= FILE_SHA256;
        }
        record(&mut self.files, hash, [flags, terms.len() as u32, 0, 0]);
        for term in terms {
            let numbers = [0, term.raw_bytes, term.chunk_start, term.chunk_end];
            record(&mut self.files, &term.xorb_hash, numbers);
        }
        for hash in verification.unwrap_or_default() {
            record(&mut self.files, hash, [0; 4]);
        }
        if let Some(sha256) = sha256 {
            record(&mut self.files, &Hash::from_sha256(sha256), [0; 4]);
        }
    }

    pub fn push_xorb(
        &mut self,
        hash: &Hash,
        bytes_on_disk: u32,
        chunks: impl ExactSizeIterator<Item = Chunk>,
    ) {
        push_xorb(&mut self.xorbs, hash, bytes_on_disk, chunks);
    }

    pub fn finish(self) -> Vec<u8> {
        shard(&self.files, &self.xorbs, 0)
    }
}

/// Writes the answer to a client that asks for a chunk: the chunks of some xorbs, each hash under a key that the answer
/// names. The client finds in it what it has, and learns nothing of the rest.
#[derive(Clone, Debug)]
pub struct DedupAnswer {
    key: [u8; 32],
    xorbs: Vec<u8>,
}

impl DedupAnswer {
    /// A key of zeros would tell clients that hashes are not keyed, so it is none.
    pub fn new(key: [u8; 32]) -> DedupAnswer {
        DedupAnswer { key, xorbs: Vec::new() }
    }

    pub fn push_xorb(&mut self, index: &Index) {
        let Ok(chunks) = index.iter(0..index.chunks()) else { return };
        let chunks = chunks.map(|chunk| Chunk {
            hash: hash::keyed(&chunk.hash, &self.key),
            raw_start: chunk.raw_start,
            raw_len: chunk.raw_len,
            flags: 0,
        });
        push_xorb(&mut self.xorbs, &index.xorb_hash(), index.serialized_len(), chunks);
    }

    /// How large it is so far.
    pub fn bytes(&self) -> usize {
        3 * RECORD_LEN + self.xorbs.len() + FOOTER_LEN as usize
    }

    /// Times are in seconds of the Unix epoch; clients forget the answer when the key expires.
    pub fn finish(self, created: u64, expires: u64) -> Vec<u8> {
        let mut bytes = shard(&[], &self.xorbs, FOOTER_LEN);
        let footer_at = bytes.len() as u64;
        let (files_at, xorbs_at) = (RECORD_LEN as u64, 2 * RECORD_LEN as u64);
        let mut numbers =
            |numbers: &[u64]| numbers.iter().for_each(|n| bytes.extend_from_slice(&n.to_le_bytes()));
        numbers(&[FOOTER_VERSION, files_at, xorbs_at]);
        // Three tables by which to search, none with an entry.
        numbers(&[footer_at, 0, footer_at, 0, footer_at, 0]);
        bytes.extend_from_slice(&self.key);
        let mut numbers =
            |numbers: &[u64]| numbers.iter().for_each(|n| bytes.extend_from_slice(&n.to_le_bytes()));
        numbers(&[created, expires]);
        // Reserved; then sums over all, which nobody reads.
        numbers(&[0; 6]);
        numbers(&[0; 3]);
        numbers(&[footer_at]);
        bytes
    }
}

fn shard(files: &[u8], xorbs: &[u8], footer_len: u64) -> Vec<u8> {
    let len = 3 * RECORD_LEN + files.len() + xorbs.len() + footer_len as usize;
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(TAG);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&footer_len.to_le_bytes());
    bytes.extend_from_slice(files);
    bytes.extend_from_slice(&BOOKEND);
    bytes.extend_from_slice(xorbs);
    bytes.extend_from_slice(&BOOKEND);
    bytes
}

fn push_xorb(
    xorbs: &mut Vec<u8>,
    hash: &Hash,
    bytes_on_disk: u32,
    chunks: impl ExactSizeIterator<Item = Chunk>,
) {
    let header = xorbs.len();
    let count = chunks.len() as u32;
    record(xorbs, hash, [0; 4]);
    let mut raw_bytes = 0u32;
    for chunk in chunks {
        raw_bytes = raw_bytes.wrapping_add(chunk.raw_len);
        record(xorbs, &chunk.hash, [chunk.raw_start, chunk.raw_len, chunk.flags, 0]);
    }
    let numbers = [0, count, raw_bytes, bytes_on_disk].map(u32::to_le_bytes);
    xorbs[header + 32..header + RECORD_LEN].copy_from_slice(numbers.as_flattened());
}

fn record(records: &mut Vec<u8>, hash: &Hash, numbers: [u32; 4]) {
    records.extend_from_slice(hash.as_bytes());
    records.extend_from_slice(numbers.map(u32::to_le_bytes).as_flattened());
}

fn take<'a>(rest: &mut &'a [Record], count: u32) -> Option<&'a [Record]> {
    let (taken, after) = rest.split_at_checked(count as usize)?;
    *rest = after;
    Some(taken)
}

fn is_bookend(record: &Record) -> bool {
    record.starts_with(&BOOKEND[..32])
}

fn hash_of(record: &Record) -> Hash {
    Hash::from_bytes(*record.first_chunk().expect("because a record is longer"))
}

fn u32_at(record: &Record, at: usize) -> u32 {
    u32::from_le_bytes(*record[at..].first_chunk().expect("because a record is longer"))
}

fn u64_at(record: &Record, at: usize) -> u64 {
    u64::from_le_bytes(*record[at..].first_chunk().expect("because a record is longer"))
}
