//! What can go wrong, one enum per operation.

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use crate::{Conflict, Copied, DiscussionStatus, Lock, Sha256, XorbId};

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the database was written by a newer granary (schema {found}, this one knows {known}); use that version"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "the file system cannot hold the database (journal mode '{mode}' instead of 'wal'); use a local one"
    )]
    NoWal { mode: String },
    #[error("cannot start the database's writer: {0}")]
    Thread(#[source] std::io::Error),
    #[error("cannot open the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// The unexpected: I/O error, full disk, corruption. Opaque to users.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("the disk is full")]
    Full,
    #[error("database: {0}")]
    Sqlite(#[source] rusqlite::Error),
    #[error("database: {0}")]
    Io(#[from] std::io::Error),
    #[error("database: a row does not hold what its column promises: {0}")]
    Corrupt(String),
    #[error("database: a write panicked; nothing of it was kept")]
    Panicked,
    #[error("the database is closed")]
    Closed,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("the name is taken")]
    Taken,
    #[error("no such user or organisation")]
    NoUser,
    #[error("no such repository")]
    NoRepo,
    #[error("a repository cannot become one of another kind")]
    OtherKind,
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("the repository is gone")]
    RepoGone,
    /// It is closed, or was never announced for this object; or what it brought is no link of the repo any more. The key
    /// must be left alone: it may be condemned, or serve another repo.
    #[error("the upload is closed")]
    UploadGone,
    /// It was announced with room for less than it takes now, and there is no more, in bytes of the namespace.
    #[error("the namespace has used {used} of {quota} bytes")]
    OverQuota { used: u64, quota: u64 },
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Nothing was linked.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("the source is gone, or who may read it was changed")]
    SourceMoved,
    #[error("the repository is gone, or who may write to it was changed")]
    TargetMoved,
    #[error("an object of the source cannot be shared")]
    Object { sha256: Sha256, copied: Copied },
    #[error("the namespace has used {used} of {quota} bytes")]
    OverQuota { used: u64, quota: u64 },
    #[error("the repository was changed meanwhile")]
    Conflict(Conflict),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<ApplyError> for CopyError {
    fn from(error: ApplyError) -> CopyError {
        match error {
            ApplyError::Conflict(conflict) => CopyError::Conflict(conflict),
            ApplyError::Db(error) => CopyError::Db(error),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("the repository is gone")]
    RepoGone,
    /// It is condemned, or deleted, since it was looked up.
    #[error("a xorb is no longer stored")]
    XorbGone(XorbId),
    #[error("the namespace has used {used} of {quota} bytes")]
    OverQuota { used: u64, quota: u64 },
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("the bucket is gone")]
    Gone,
    /// Who may do what in the bucket is not as it was.
    #[error("access to the bucket was changed meanwhile")]
    Moved,
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("the file is locked")]
    Exists(Box<Lock>),
    #[error("the lock is somebody else's")]
    NotOwner(Box<Lock>),
    #[error("there is no such lock")]
    NotFound,
    #[error("the repository is gone")]
    RepoGone,
    #[error("the repository has reached its limit of {max} locks")]
    TooMany { max: u64 },
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug, thiserror::Error)]
pub enum DiscussionError {
    #[error("the repository is gone")]
    RepoGone,
    /// Who may do what in the repo is not as it was.
    #[error("access to the repository was changed meanwhile")]
    Moved,
    #[error("there is no such discussion")]
    Gone,
    /// Or it is hidden.
    #[error("there is no such comment")]
    NoComment,
    /// It has this status, from which that other one cannot be reached.
    #[error("it is {} already", .0.name())]
    Status(DiscussionStatus),
    #[error("there is no room for more in this discussion; open another one")]
    Full,
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("there is no such webhook")]
    Gone,
    #[error("there is no such delivery")]
    NoDelivery,
    /// What it is to watch is gone, or was never there.
    #[error("there is nothing of that name to watch")]
    NoTarget,
    #[error("a user has at most {max} webhooks: delete one that is not needed")]
    TooMany { max: i64 },
    #[error("it is watched by {max} webhooks already, which is all that may")]
    Crowded { max: i64 },
    /// Nothing is sent again before it is enabled.
    #[error("the webhook is disabled: enable it first")]
    Disabled,
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> DbError {
        use rusqlite::Error;
        match error {
            // Growing the shared-memory file is where a full disk may strike first.
            Error::SqliteFailure(e, _)
                if e.code == ErrorCode::DiskFull || e.extended_code == SQLITE_IOERR_SHMSIZE =>
            {
                DbError::Full
            }
            Error::InvalidColumnType(..)
            | Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..) => DbError::Corrupt(error.to_string()),
            other => DbError::Sqlite(other),
        }
    }
}

impl DbError {
    /// The same once more, for the next job of a batch that failed as a whole.
    pub(super) fn again(&self) -> DbError {
        match self {
            DbError::Full => DbError::Full,
            DbError::Sqlite(rusqlite::Error::SqliteFailure(e, text)) => {
                DbError::Sqlite(rusqlite::Error::SqliteFailure(*e, text.clone()))
            }
            DbError::Sqlite(other) => DbError::Io(std::io::Error::other(other.to_string())),
            DbError::Io(e) => DbError::Io(std::io::Error::new(e.kind(), e.to_string())),
            DbError::Corrupt(what) => DbError::Corrupt(what.clone()),
            DbError::Panicked => DbError::Panicked,
            DbError::Closed => DbError::Closed,
        }
    }
}

/// What a write may fail with: the writer must be able to put its own failures in, and to see them.
pub(super) trait WriteError: From<DbError> + Send + 'static {
    fn database(&self) -> Option<&DbError>;
}

impl WriteError for DbError {
    fn database(&self) -> Option<&DbError> {
        Some(self)
    }
}

macro_rules! write_errors {
    ($($name:ident),*) => {$(
        impl From<rusqlite::Error> for $name {
            fn from(error: rusqlite::Error) -> $name {
                $name::Db(error.into())
            }
        }

        impl WriteError for $name {
            fn database(&self) -> Option<&DbError> {
                match self {
                    $name::Db(error) => Some(error),
                    _ => None,
                }
            }
        }
    )*};
}

write_errors!(
    BatchError,
    CreateError,
    ApplyError,
    PublishError,
    RegisterError,
    LockError,
    DiscussionError,
    WebhookError,
    CopyError
);
