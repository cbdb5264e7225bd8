//! Why an operation was not done. Its text is what the command prints.

use auth::{ImportError, IssueError};
use database::{CreateError, DbError, RepoPath, Sha256};

use crate::free::Full;

#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error("there is no user '{0}'; `user list` shows them, `user create` makes one")]
    NoUser(String),
    #[error("there is no user or organisation '{0}'; `user list` and `org list` show them")]
    NoNamespace(String),
    #[error("there is no organisation '{0}'; `org list` shows them, `org create` makes one")]
    NoOrg(String),
    #[error("'{user}' is not a member of {org}, or its last administrator")]
    LastAdmin { org: String, user: String },
    #[error("there is no token {0}; `token list USER` shows them")]
    NoToken(String),
    #[error("there is no repository {0}")]
    NoRepo(RepoPath),
    #[error("{from} was renamed to {to}; use that name")]
    Renamed { from: RepoPath, to: RepoPath },
    #[error("a renamed repository stays what it is: a model, a dataset or a Space")]
    OtherKind,
    #[error("there is no object {oid} in {repo}")]
    NoObject { repo: RepoPath, oid: Sha256 },
    #[error("the repository is gone")]
    RepoGone,
    #[error("'{0}' is taken")]
    Taken(String),
    #[error(
        "{0} exists; --public, --private, --mirror, --blob-max and --lfs-incomplete are for a repository that is created"
    )]
    Exists(RepoPath),
    #[error(transparent)]
    Name(#[from] database::NameError),
    #[error("the clock can be moved only if the server was started with GRANARY_DEBUG=1")]
    DebugOff,
    #[error(transparent)]
    Full(#[from] Full),
    #[error(transparent)]
    TokenIssue(#[from] IssueError),
    #[error(transparent)]
    TokenImport(#[from] ImportError),
    #[error(transparent)]
    TransferKeys(#[from] auth::transfer::KeysError),
    #[error(transparent)]
    Repo(#[from] change::RepoError),
    #[error(transparent)]
    Import(#[from] change::ImportError),
    #[error(transparent)]
    Export(#[from] change::ExportError),
    #[error(transparent)]
    Fsck(#[from] change::FsckError),
    #[error(transparent)]
    Gc(#[from] change::GcError),
    #[error(transparent)]
    Maintain(#[from] change::MaintainError),
    #[error(transparent)]
    Hub(#[from] hub::HubError),
    #[error(transparent)]
    Backup(#[from] change::BackupError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl OperationError {
    /// `name` is what was to be created, `user` the one it was to belong to.
    pub(super) fn from_create(error: CreateError, name: &str, user: &str) -> OperationError {
        match error {
            CreateError::Taken => OperationError::Taken(name.to_owned()),
            CreateError::NoUser => OperationError::NoUser(user.to_owned()),
            CreateError::NoRepo => OperationError::RepoGone,
            CreateError::OtherKind => OperationError::OtherKind,
            CreateError::Db(error) => OperationError::Db(error),
        }
    }

    /// The text with its causes, for the administrator at the other end.
    pub fn full_text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let next = error.to_string();
            // Some texts quote their cause already.
            if !text.ends_with(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        text
    }
}
