//! Why not. One enum per operation; the texts are read by the users of git-lfs and `hf`.

use auth::ReauthorizeError;
use database::{DbError, PublishError, Sha256};
use storage::StoreError;

/// A whole batch that cannot be answered. What concerns one object is in the answer.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("the repository is gone")]
    RepoGone,
    /// Worth another try in a moment.
    #[error("too many uploads in parts are being prepared; try again")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A download that cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The token is for something else.
    #[error("this URL is not for downloading this object; ask for a new one")]
    Grant,
    #[error("the object is not in this repository")]
    NotFound,
    #[error("the object was removed from this repository")]
    Removed,
    #[error("the bytes that were uploaded are not those of the object; upload it again")]
    Corrupt,
    #[error("the object is still being verified")]
    Unverified,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// An upload that did not succeed. Nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The token is for something else.
    #[error("this URL is not for this operation; ask for a new one")]
    Grant,
    /// Its time is over, or it was swept.
    #[error("this upload is no longer open; push again")]
    Closed,
    #[error("the repository is gone")]
    RepoGone,
    /// The right to write was taken away while the bytes arrived.
    #[error(transparent)]
    Denied(ReauthorizeError),
    /// Worth another try in a moment.
    #[error("too many uploads at once; try again")]
    Busy,
    #[error("more bytes were sent than the {size} announced; nothing was stored")]
    TooLong { size: u64 },
    #[error("{received} bytes were received, not the {size} announced; nothing was stored")]
    TooShort { received: u64, size: u64 },
    #[error("the bytes received have SHA-256 {actual}, not {expected} as announced; nothing was stored")]
    WrongBytes { expected: Sha256, actual: Sha256 },
    /// Found out earlier.
    #[error("the bytes uploaded for {sha256} have another SHA-256; upload the object again")]
    Corrupt { sha256: Sha256 },
    /// What lies in the bucket.
    #[error("{stored} bytes were uploaded, not the {size} announced; upload the object again")]
    WrongSize { stored: u64, size: u64 },
    /// What the client says of the object is not what it announced.
    #[error("{sha256} of {size} bytes is not the object this URL was made for")]
    OtherObject { sha256: Sha256, size: u64 },
    #[error("the namespace has used {used} of {quota} bytes; this object does not fit, nothing was stored")]
    OverQuota { used: u64, quota: u64 },
    #[error("nothing was uploaded for {sha256}; upload it again")]
    NotUploaded { sha256: Sha256 },
    /// Parts on disk are forgotten by a restart.
    #[error(
        "the parts of {sha256} are no longer known (the server was restarted, or they expired); push again"
    )]
    PartsForgotten { sha256: Sha256 },
    /// The list of parts is wrong; says how.
    #[error("{0}")]
    Parts(String),
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<StoreError> for ReceiveError {
    fn from(error: StoreError) -> ReceiveError {
        match error {
            StoreError::InvalidParts(message) => ReceiveError::Parts(message),
            other => ReceiveError::Store(other),
        }
    }
}

impl From<ReauthorizeError> for ReceiveError {
    fn from(error: ReauthorizeError) -> ReceiveError {
        match error {
            ReauthorizeError::RepoGone => ReceiveError::RepoGone,
            ReauthorizeError::Db(error) => ReceiveError::Db(error),
            other => ReceiveError::Denied(other),
        }
    }
}

impl From<PublishError> for ReceiveError {
    fn from(error: PublishError) -> ReceiveError {
        match error {
            PublishError::RepoGone => ReceiveError::RepoGone,
            PublishError::UploadGone => ReceiveError::Closed,
            PublishError::OverQuota { used, quota } => ReceiveError::OverQuota { used, quota },
            PublishError::Db(error) => ReceiveError::Db(error),
        }
    }
}

impl From<PublishError> for BatchError {
    fn from(error: PublishError) -> BatchError {
        match error {
            PublishError::RepoGone | PublishError::UploadGone => BatchError::RepoGone,
            // Nothing is published by a batch.
            PublishError::OverQuota { .. } => BatchError::Busy,
            PublishError::Db(error) => BatchError::Db(error),
        }
    }
}
