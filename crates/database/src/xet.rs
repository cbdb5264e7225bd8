//! Xet as plain data: stored xorbs, files as lists of terms over them, and what is registered in one go.

use std::fmt;

use crate::{BackingId, HolderId, Proof, Quota, RepoId, RepoPath, Sha256, UploadId, UserId};

/// Names a stored xorb. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct XorbId(pub i64);

/// Names a file. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct XetFileId(pub i64);

/// Of a xorb or a file, as it stands in binary formats. In text each group of eight bytes is turned round, as clients
/// have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct XetHash(pub [u8; 32]);

impl XetHash {
    /// Of nothing, as clients have it.
    pub const EMPTY: XetHash = XetHash([0; 32]);
}

impl fmt::Display for XetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_chunks().0.iter().try_for_each(|group| write!(f, "{:016x}", u64::from_le_bytes(*group)))
    }
}

impl fmt::Debug for XetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A xorb, and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xorb {
    pub id: XorbId,
    pub hash: XetHash,
    pub upload: UploadId,
    pub chunks: u32,
    /// Of the content of all chunks.
    pub raw_bytes: u64,
    /// Under its key.
    pub stored_bytes: u64,
}

impl Xorb {
    pub fn storage_key(&self) -> String {
        xorb_key(&self.hash, self.upload)
    }

    pub fn index_key(&self) -> String {
        xorb_index_key(&self.hash, self.upload)
    }
}

/// `xorbs/<first two digits>/<hash>/<upload>`: where an upload puts the chunks of a xorb.
pub fn xorb_key(hash: &XetHash, upload: UploadId) -> String {
    let hex = hash.to_string();
    format!("xorbs/{}/{hex}/{upload}", &hex[..2])
}

/// Where the index is that is kept beside it.
pub fn xorb_index_key(hash: &XetHash, upload: UploadId) -> String {
    xorb_key(hash, upload) + ".idx"
}

/// `xorb-drafts/<grant>`: where a client puts a xorb that is to be taken from there.
pub fn xorb_draft_key(grant: UploadId) -> String {
    format!("xorb-drafts/{grant}")
}

/// A xorb that a client of somebody may put into the store's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XorbGrant {
    pub holder: HolderId,
    pub hash: XetHash,
    /// Of its bytes as they are stored.
    pub size: u64,
    /// Of the address to put it to.
    pub expires_ms: i64,
}

/// What became known of a staged xorb: its chunks and their index are durable under their keys.
#[derive(Clone, Debug)]
pub struct ProvenXorb {
    pub id: XorbId,
    pub chunks: u32,
    pub raw_bytes: u64,
    pub stored_bytes: u64,
    /// The first halves of the hashes of chunks that clients ask for.
    pub dedup_keys: Vec<[u8; 16]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XorbPlaced {
    Live(Xorb),
    /// Another has come first, and is linked; this one is condemned, due at once.
    Duplicate(Xorb),
}

/// A part of a file: a range of chunks of a xorb, and where in its bytes they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XetTerm {
    pub xorb: XorbId,
    pub chunk_start: u32,
    /// Exclusive.
    pub chunk_end: u32,
    /// Of the content of the chunks.
    pub raw_bytes: u32,
    /// In the stored xorb.
    pub byte_start: u32,
    /// Exclusive.
    pub byte_end: u32,
}

impl XetTerm {
    const BYTES: usize = 28;

    pub(crate) fn encode(terms: &[XetTerm]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(terms.len() * XetTerm::BYTES);
        for term in terms {
            bytes.extend_from_slice(&term.xorb.0.to_le_bytes());
            let XetTerm { chunk_start, chunk_end, raw_bytes, byte_start, byte_end, .. } = *term;
            let numbers = [chunk_start, chunk_end, raw_bytes, byte_start, byte_end];
            bytes.extend_from_slice(numbers.map(u32::to_le_bytes).as_flattened());
        }
        bytes
    }

    /// `None`: those are no terms.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<XetTerm>> {
        let (terms, []) = bytes.as_chunks::<{ XetTerm::BYTES }>() else { return None };
        let term = |bytes: &[u8; XetTerm::BYTES]| {
            let (xorb, numbers) = bytes.split_first_chunk()?;
            let (&[chunk_start, chunk_end, raw_bytes, byte_start, byte_end], []) = numbers.as_chunks() else {
                return None;
            };
            Some(XetTerm {
                xorb: XorbId(i64::from_le_bytes(*xorb)),
                chunk_start: u32::from_le_bytes(chunk_start),
                chunk_end: u32::from_le_bytes(chunk_end),
                raw_bytes: u32::from_le_bytes(raw_bytes),
                byte_start: u32::from_le_bytes(byte_start),
                byte_end: u32::from_le_bytes(byte_end),
            })
        };
        terms.iter().map(term).collect()
    }
}

/// A file and how to make it of xorbs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XetFile {
    pub id: XetFileId,
    pub hash: XetHash,
    /// In bytes.
    pub size: u64,
    pub terms: Vec<XetTerm>,
}

/// A file whose chunks its uploader proved to have.
#[derive(Clone, Debug)]
pub struct NewXetFile {
    pub hash: XetHash,
    pub size: u64,
    pub terms: Vec<XetTerm>,
    /// The first half of the hash of its first chunk, for which clients ask.
    pub dedup_key: Option<[u8; 16]>,
}

/// Such a file that is to be a large object of a repo.
#[derive(Clone, Debug)]
pub struct NewXetObject {
    pub file: NewXetFile,
    /// As the client says, unless `proof` says more.
    pub sha256: Sha256,
    /// [`Proof::Possessed`] or [`Proof::Verified`].
    pub proof: Proof,
}

/// All files of one shard.
#[derive(Clone, Debug)]
pub struct XetRegistration {
    pub repo: RepoId,
    pub by: Option<UserId>,
    pub quota: Quota,
    /// Those that the shard names apart from terms.
    pub xorbs: Vec<XorbId>,
    pub objects: Vec<NewXetObject>,
}

/// What a repo has of a file now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XetRegistered {
    pub backing: BackingId,
    pub proof: Proof,
    /// It had it before, by these bytes or others.
    pub was_here: bool,
}

/// A file in xorbs whose SHA-256 is still to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Possessed {
    pub backing: BackingId,
    pub file: XetFileId,
    /// The one repo that may read it meanwhile.
    pub repo: RepoId,
    pub sha256: Sha256,
    pub size: u64,
    pub by: Option<UserId>,
}

/// Totals of what is stored in xorbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XetStats {
    pub xorbs: u64,
    pub raw_bytes: u64,
    pub stored_bytes: u64,
    pub files: u64,
    /// Of the files, as if each were stored whole.
    pub file_bytes: u64,
}

/// What a collection lets go of, or would: files that nothing links, and xorbs that no other file needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XetGarbage {
    pub files: u64,
    pub xorbs: u64,
    /// Of the xorbs, as they are stored.
    pub stored_bytes: u64,
}

/// What a repository has of large objects, or all have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LargeStats {
    pub objects: u64,
    /// Of the objects, as they are read.
    pub logical_bytes: u64,
    /// Of whole objects and of xorbs that nobody else needs, as they are stored.
    pub own_bytes: u64,
    /// Of those that other repositories need as well.
    pub shared_bytes: u64,
}

impl LargeStats {
    pub fn stored_bytes(&self) -> u64 {
        self.own_bytes + self.shared_bytes
    }
}

/// Of all live repositories that have large objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllLargeStats {
    /// In order of kind and name.
    pub repos: Vec<(RepoPath, LargeStats)>,
    /// What several repositories need counts once, as shared.
    pub all: LargeStats,
    /// Of xorbs that no file needs, and that are kept since clients may remember them.
    pub kept_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_keys_are_as_clients_have_them() {
        let hash = XetHash(std::array::from_fn(|at| at as u8));
        let text = "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918";
        assert_eq!(hash.to_string(), text);
        let upload: UploadId = "01jd00000000000000000000ab".parse().unwrap();
        assert_eq!(xorb_index_key(&hash, upload), format!("xorbs/07/{text}/{upload}.idx"));
    }

    #[test]
    fn terms_are_read_as_they_were_written() {
        let term = |n: u32| XetTerm {
            xorb: XorbId(i64::MAX - i64::from(n)),
            chunk_start: n,
            chunk_end: n + 1,
            raw_bytes: n + 2,
            byte_start: n + 3,
            byte_end: u32::MAX,
        };
        let terms = [term(0), term(1)];
        let bytes = XetTerm::encode(&terms);
        assert_eq!(bytes.len(), 56);
        assert_eq!(XetTerm::decode(&bytes).unwrap(), terms);
        assert_eq!(XetTerm::decode(&bytes[1..]), None);
    }
}
