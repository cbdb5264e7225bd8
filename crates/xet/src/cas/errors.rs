//! Why not. One enum per operation; the texts are read by the users of `hf`.

use auth::ReauthorizeError;
use database::{DbError, PublishError, RegisterError, XorbId};
use storage::StoreError;

use crate::Hash;
use crate::cas::KeysError;
use crate::index::IndexError;
use crate::shard::ShardError;
use crate::xorb::{DecodeError, XorbError};

/// A xorb that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum XorbRefused {
    #[error(transparent)]
    Xorb(#[from] XorbError),
    /// What was put into the bucket has another size than was granted.
    #[error("the xorb has {stored} bytes, but {granted} were announced")]
    Size { stored: u64, granted: u64 },
    /// It lies in the bucket as it came, and nothing but chunks may be served.
    #[error("{bytes} bytes follow the chunks of the xorb; upload it without a footer")]
    Footer { bytes: u64 },
    /// Worth another try in a moment.
    #[error("too many uploads at once; try again")]
    Busy,
    #[error("the repository is gone")]
    RepoGone,
    /// The right to write was taken away while the bytes arrived.
    #[error(transparent)]
    Denied(ReauthorizeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<ReauthorizeError> for XorbRefused {
    fn from(error: ReauthorizeError) -> XorbRefused {
        match error {
            ReauthorizeError::RepoGone => XorbRefused::RepoGone,
            ReauthorizeError::Db(error) => XorbRefused::Db(error),
            other => XorbRefused::Denied(other),
        }
    }
}

impl From<PublishError> for XorbRefused {
    fn from(error: PublishError) -> XorbRefused {
        match error {
            PublishError::RepoGone => XorbRefused::RepoGone,
            // It took so long that it was thought to be given up.
            PublishError::UploadGone | PublishError::OverQuota { .. } => XorbRefused::Busy,
            PublishError::Db(error) => XorbRefused::Db(error),
        }
    }
}

/// A shard that says what is not so, or cannot be proven now.
#[derive(Debug, thiserror::Error)]
pub enum ShardRefused {
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// Never uploaded, or collected since the client last heard of it.
    #[error(
        "xorb {xorb} is not stored here (any more); if it was uploaded weeks ago, your client remembers it longer than \
         it was kept: delete its cache (HF_XET_CACHE, by default ~/.cache/huggingface/xet) and upload again"
    )]
    MissingXorb { xorb: Hash },
    #[error("file {file} has no verification hashes")]
    NoVerification { file: Hash },
    #[error("file {file} has no SHA-256")]
    NoSha256 { file: Hash },
    #[error("file {file} has no terms")]
    NoTerms { file: Hash },
    #[error("file {file} has more than {max} bytes")]
    TooLarge { file: Hash, max: u64 },
    #[error("term {term} of file {file} names chunks {start} to {end}, but xorb {xorb} has {chunks}")]
    Range { file: Hash, term: u32, xorb: Hash, start: u32, end: u32, chunks: u32 },
    #[error("term {term} of file {file} has {actual} bytes, not {claimed}")]
    RawBytes { file: Hash, term: u32, claimed: u32, actual: u32 },
    #[error("the verification hash of term {term} of file {file} is wrong")]
    Verification { file: Hash, term: u32 },
    #[error("the chunks of file {file} make up file {actual}")]
    FileHash { file: Hash, actual: Hash },
    /// Worth another try in a moment.
    #[error("too many uploads at once; try again")]
    Busy,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Files that are proven and cannot be linked.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("the repository is gone")]
    RepoGone,
    /// The right to write was taken away while the shard was proven.
    #[error(transparent)]
    Denied(ReauthorizeError),
    /// Collected in this very moment.
    #[error("a xorb is no longer stored here; delete your client's cache (HF_XET_CACHE) and upload again")]
    XorbGone(XorbId),
    #[error("the namespace has used {used} of {quota} bytes; this upload does not fit, nothing was stored")]
    OverQuota { used: u64, quota: u64 },
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<ReauthorizeError> for CommitError {
    fn from(error: ReauthorizeError) -> CommitError {
        match error {
            ReauthorizeError::RepoGone => CommitError::RepoGone,
            ReauthorizeError::Db(error) => CommitError::Db(error),
            other => CommitError::Denied(other),
        }
    }
}

impl From<RegisterError> for CommitError {
    fn from(error: RegisterError) -> CommitError {
        match error {
            RegisterError::RepoGone => CommitError::RepoGone,
            RegisterError::XorbGone(xorb) => CommitError::XorbGone(xorb),
            RegisterError::OverQuota { used, quota } => CommitError::OverQuota { used, quota },
            RegisterError::Db(error) => CommitError::Db(error),
        }
    }
}

/// What is stored cannot be read, or is not what its rows say: nobody's fault but ours.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the index of a xorb: {0}")]
    Index(#[from] IndexError),
    #[error("the index is that of another xorb")]
    OtherIndex,
    #[error("a term names what its xorb has not")]
    Term,
    #[error("a xorb that a file names is gone")]
    XorbGone,
    #[error("a xorb: {0}")]
    Decode(#[from] DecodeError),
    #[error("the chunks of a term have another size than it says")]
    Size,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug, thiserror::Error)]
pub enum ReconstructError {
    /// The repository has no such file, whoever else has it.
    #[error("file not found")]
    NotFound,
    /// Clients ask beyond the end to find it.
    #[error("the file has {size} bytes")]
    Beyond { size: u64 },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug, thiserror::Error)]
pub enum DedupError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
