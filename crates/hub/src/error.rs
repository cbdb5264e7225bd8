//! Why not: one variant per thing a client can do about it.

use auth::{AuthError, ReauthorizeError};
use change::{CommitError, RefError, RepoError};
use database::{CreateError, DbError, Oid};
use lfs::OpenError;
use repository::ReadError;
use repository::snapshot::SnapshotError;
use repository::walk::WalkError;
use storage::StoreError;

/// The texts are for users; some of them are looked for by clients.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error(transparent)]
    Denied(#[from] auth::Denied),
    #[error("Repository not found")]
    RepoNotFound,
    #[error("Invalid rev id: {0}")]
    RevisionNotFound(String),
    /// Of a revision that is there.
    #[error("{message}")]
    EntryNotFound { message: String, commit: Oid },
    /// What was sent cannot be meant.
    #[error("{0}")]
    Invalid(String),
    /// It can be meant, but not done.
    #[error("{0}")]
    Unprocessable(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    /// It was here, and was deleted for good.
    #[error("{0}")]
    Gone(String),
    #[error("{0}")]
    Conflict(String),
    /// The one that is there already, by its path.
    #[error("You already created this {kind} repo: {path}")]
    Exists { kind: &'static str, path: database::RepoPath },
    #[error("You already created this bucket: {path}")]
    BucketExists { path: database::BucketPath },
    /// Of a bucket.
    #[error("{0}")]
    NoSuchFile(String),
    /// Of the same title.
    #[error("this collection is there already: {slug}")]
    CollectionExists { slug: String },
    /// The branch moved since the client looked.
    #[error("{0}")]
    Stale(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    QuotaExceeded(String),
    /// Passes soon.
    #[error("{0}")]
    Busy(String),
    /// Of the Hub's API, but not of this hub's.
    #[error("{0}")]
    NotImplemented(String),
    #[error("nothing can be written at the moment: the disk is full")]
    Full,
    #[error(transparent)]
    Store(StoreError),
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl HubError {
    pub fn internal(error: impl std::error::Error + Send + Sync + 'static) -> HubError {
        HubError::Internal(Box::new(error))
    }
}

impl From<DbError> for HubError {
    fn from(error: DbError) -> HubError {
        match error {
            DbError::Full => HubError::Full,
            other => HubError::internal(other),
        }
    }
}

impl From<SnapshotError> for HubError {
    fn from(error: SnapshotError) -> HubError {
        match error {
            SnapshotError::Gone => HubError::RepoNotFound,
            other => HubError::internal(other),
        }
    }
}

impl From<ReadError> for HubError {
    fn from(error: ReadError) -> HubError {
        HubError::internal(error)
    }
}

impl From<WalkError> for HubError {
    fn from(error: WalkError) -> HubError {
        match error {
            WalkError::TooManyCommits { max } => {
                HubError::Unprocessable(format!("the history has more than {max} commits"))
            }
            other => HubError::internal(other),
        }
    }
}

impl From<StoreError> for HubError {
    fn from(error: StoreError) -> HubError {
        match error {
            StoreError::Full => HubError::Full,
            other => HubError::Store(other),
        }
    }
}

impl From<OpenError> for HubError {
    fn from(error: OpenError) -> HubError {
        match error {
            OpenError::Store(error) => error.into(),
            OpenError::Db(error) => error.into(),
            OpenError::Unverified => HubError::Busy(error.to_string()),
            OpenError::Removed => HubError::Gone(error.to_string()),
            other => HubError::NotFound(other.to_string()),
        }
    }
}

impl From<CreateError> for HubError {
    fn from(error: CreateError) -> HubError {
        match error {
            CreateError::Db(error) => error.into(),
            CreateError::Taken => HubError::Conflict(error.to_string()),
            CreateError::NoUser => HubError::NotFound("there is no such user or organisation".to_owned()),
            CreateError::NoRepo => HubError::RepoNotFound,
            CreateError::OtherKind => HubError::Invalid(error.to_string()),
        }
    }
}

impl From<ReauthorizeError> for HubError {
    fn from(error: ReauthorizeError) -> HubError {
        match error {
            ReauthorizeError::Db(error) | ReauthorizeError::Credential(AuthError::Db(error)) => error.into(),
            ReauthorizeError::RepoGone => HubError::RepoNotFound,
            ReauthorizeError::Credential(_) => HubError::Denied(auth::Denied::Unauthenticated),
            ReauthorizeError::Denied(denied) => HubError::Denied(denied),
        }
    }
}

impl From<RepoError> for HubError {
    fn from(error: RepoError) -> HubError {
        match error {
            RepoError::Database(error) => error.into(),
            RepoError::Gone => HubError::RepoNotFound,
            RepoError::Purge(_) | RepoError::Moved => HubError::Busy(error.to_string()),
            RepoError::Manifest(_) => HubError::internal(error),
        }
    }
}

impl From<RefError> for HubError {
    fn from(error: RefError) -> HubError {
        let text = error.to_string();
        match error {
            RefError::Invalid(_) | RefError::Refused(_) => HubError::Invalid(text),
            RefError::Exists(_) => HubError::Conflict(text),
            RefError::Missing(name) => HubError::RevisionNotFound(name),
            RefError::Default(_) | RefError::Locked(_) => HubError::Forbidden(text),
            RefError::Revoked => HubError::Denied(auth::Denied::Forbidden),
            RefError::Contended => HubError::Busy(text),
            RefError::Full => HubError::Full,
            RefError::Internal(source) => HubError::Internal(source),
        }
    }
}

impl HubError {
    /// `branch` as the client named it; `commit` is what it stood at.
    pub(crate) fn of_commit(error: CommitError, branch: &str, commit: Option<Oid>) -> HubError {
        let text = error.to_string();
        match error {
            CommitError::Revoked => HubError::Denied(auth::Denied::Forbidden),
            CommitError::NoBranch(_) => HubError::RevisionNotFound(branch.to_owned()),
            CommitError::NoParent(parent) => HubError::RevisionNotFound(parent),
            CommitError::Forbidden(_) => HubError::Forbidden(text),
            CommitError::Nothing => HubError::Invalid(text),
            CommitError::Stale { .. } => HubError::Stale(text),
            CommitError::Edit(repository::edit::EditError::Missing(_)) => {
                HubError::EntryNotFound { message: text, commit: commit.unwrap_or(Oid::NULL) }
            }
            CommitError::Edit(repository::edit::EditError::Path { .. }) => HubError::Unprocessable(text),
            CommitError::Edit(_) | CommitError::Ref(_) | CommitError::ObjectsMissing(_) => {
                HubError::Invalid(text)
            }
            CommitError::TooLarge { .. } => HubError::TooLarge(text),
            CommitError::Locked(_) => HubError::Forbidden(text),
            CommitError::Verifying | CommitError::Contended => HubError::Busy(text),
            CommitError::Full => HubError::Full,
            CommitError::Internal(source) => HubError::Internal(source),
        }
    }
}
