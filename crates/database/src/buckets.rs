//! Buckets as plain data: files by path without history, each of which is in xorbs.

use crate::{
    BucketId, BucketPath, NewXetFile, Quota, RepoId, RepoState, UserId, Visibility, XetFileId, XetHash,
    XorbId,
};

/// One bucket's row. `acl_version` counts changes of who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub id: BucketId,
    pub path: BucketPath,
    pub visibility: Visibility,
    pub state: RepoState,
    pub acl_version: i64,
    /// `None` if nobody in particular made it.
    pub creator: Option<UserId>,
    pub created_ms: i64,
    pub files: u64,
    /// Of all files, each as often as it has a path.
    pub bytes: u64,
}

#[derive(Clone, Debug)]
pub struct NewBucket {
    pub path: BucketPath,
    pub visibility: Visibility,
    pub creator: Option<UserId>,
}

/// A file at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketFile {
    /// Up to 1024 bytes of UTF-8, in segments divided by slashes.
    pub path: String,
    /// `None`: it is empty.
    pub file: Option<XetFileId>,
    /// [`XetHash::EMPTY`] if it is empty.
    pub hash: XetHash,
    /// In bytes.
    pub size: u64,
    /// As whoever put it here said.
    pub mtime_ms: Option<i64>,
    pub uploaded_ms: i64,
    /// As whoever put it here said.
    pub content_type: Option<String>,
}

/// What is listed: a file, or what stands for all of those below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketEntry {
    File(BucketFile),
    /// Without a slash at its end.
    Folder(String),
}

impl BucketEntry {
    pub fn path(&self) -> &str {
        match self {
            BucketEntry::File(file) => &file.path,
            BucketEntry::Folder(path) => path,
        }
    }
}

/// What is to be done at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketEdit {
    pub path: String,
    pub act: BucketAct,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketAct {
    /// Put it there, whatever is there.
    Put(BucketPut),
    /// What is not there is deleted as well.
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPut {
    pub hash: XetHash,
    pub from: BucketSource,
    pub mtime_ms: Option<i64>,
    pub content_type: Option<String>,
}

/// Why it may be put here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketSource {
    /// It was uploaded to this bucket, or is in it.
    Here,
    /// It is in another place that may be read, whose version of that right is this.
    Other { holder: HolderId, acl_version: i64 },
    /// As [`BucketSource::Here`], in a bucket that is made anew: it was put there at that time.
    Again { uploaded_ms: i64 },
}

/// Edits in their order, in one transaction.
#[derive(Clone, Debug)]
pub struct BucketBatch {
    pub bucket: BucketId,
    pub acl_version: i64,
    pub quota: Quota,
    pub edits: Vec<BucketEdit>,
}

/// Why one edit was not made; the others were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketRefusal {
    #[error("there is no such file in the bucket: upload it first")]
    NotUploaded,
    #[error("the source does not have this file any more, or may no longer be read")]
    NotInSource,
    #[error(
        "the namespace has used {used} of {quota} bytes; delete large files, or ask the administrator for more"
    )]
    OverQuota { used: u64, quota: u64 },
    #[error("a bucket holds 8 PiB at most; use another one")]
    Full,
}

/// Files of one shard that come to a bucket.
#[derive(Clone, Debug)]
pub struct BucketRegistration {
    pub bucket: BucketId,
    pub quota: Quota,
    /// Those that the shard names apart from terms.
    pub xorbs: Vec<XorbId>,
    pub files: Vec<NewXetFile>,
}

/// A bucket whose journal tells of an older version than it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketBehind {
    pub id: BucketId,
    /// A deleted one waits for its journal to say so.
    pub state: RepoState,
    /// How long it takes to tell of it goes by that.
    pub files: u64,
}

/// What the journal says in front of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketHead {
    pub version: i64,
    pub path: BucketPath,
    /// The namespace is an organisation's.
    pub of_org: bool,
    pub visibility: Visibility,
}

/// Whose journal is to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketJournaled {
    pub id: BucketId,
    pub path: BucketPath,
    /// The version that its journal tells of, or an older one than it does; -1: it need not be there.
    pub journaled: i64,
}

/// What the journal says of one file.
#[derive(Clone, Debug)]
pub struct BucketLine {
    pub file: BucketFile,
    /// What it is made of, at the first of its paths: of each term the xorb, its first chunk, and the one behind the last.
    pub terms: Option<Vec<(XetHash, u32, u32)>>,
}

/// Whoever has files in xorbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HolderId {
    Repo(RepoId),
    Bucket(BucketId),
}

impl HolderId {
    /// One number for both: a bucket's is negative.
    pub fn code(self) -> i64 {
        match self {
            HolderId::Repo(id) => id.0,
            HolderId::Bucket(id) => -id.0,
        }
    }

    pub fn from_code(code: i64) -> HolderId {
        match code {
            0.. => HolderId::Repo(RepoId(code)),
            _ => HolderId::Bucket(BucketId(code.saturating_neg())),
        }
    }
}

impl From<RepoId> for HolderId {
    fn from(id: RepoId) -> HolderId {
        HolderId::Repo(id)
    }
}

impl From<BucketId> for HolderId {
    fn from(id: BucketId) -> HolderId {
        HolderId::Bucket(id)
    }
}

/// A bucket of a list, by name.
#[derive(Clone, Debug)]
pub struct BucketListing<'a> {
    /// Folded.
    pub namespace: &'a str,
    /// In the name, folded; all if empty.
    pub search: &'a str,
    /// Public ones only.
    pub public: bool,
    /// Folded path; exclusive.
    pub after: Option<&'a str>,
    pub limit: u32,
}
