//! Repositories and large files made of others'.

use auth::{Authorized, Identity, Read, Write};
use change::{DuplicateError, RepoError};
use database::{CreateError, NewRepo, Quota, Repo, Sha256, Visibility};
use serde::{Deserialize, Serialize};

use crate::repos::{exists, kind_name, visibility};
use crate::{Hub, HubError};

/// What is to be made of a repository.
#[derive(Debug, Deserialize)]
pub struct Duplicate {
    /// With or without its namespace.
    pub repository: String,
    pub visibility: Option<String>,
    pub private: Option<bool>,
}

/// A large file of one repository that another is to have.
#[derive(Debug, Deserialize)]
pub struct Shared {
    pub sha256: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct NotShared {
    pub sha256: String,
    pub error: String,
}

/// Named in one request.
pub const SHARED_MAX: usize = 1000;

impl Hub {
    /// A new repository of the same kind with the branches and tags of `source`. Nobody is let into it who was not let into
    /// that, unless they say so.
    pub async fn duplicate(
        &self,
        identity: &Identity,
        source: Authorized<Read>,
        duplicate: Duplicate,
    ) -> Result<Repo, HubError> {
        let principal = identity.principal().ok_or(auth::Denied::Unauthenticated)?;
        let from = source.repo();
        let kind = from.path.kind;
        let path = self.path_of(identity, kind, &duplicate.repository, None)?;
        if let Err(denied) = auth::may_create(identity, &path.namespace.folded()) {
            return Err(match denied {
                auth::Denied::Forbidden => HubError::Forbidden(format!(
                    "You don't have the rights to create a {} under the namespace \"{}\"",
                    kind_name(kind),
                    path.namespace
                )),
                other => other.into(),
            });
        }
        let default = match from.visibility {
            Visibility::Public => self.0.settings.default_visibility,
            Visibility::Private => Visibility::Private,
        };
        let new = NewRepo {
            path: path.clone(),
            visibility: visibility(duplicate.visibility.as_deref(), duplicate.private)?.unwrap_or(default),
            mirror: false,
            blob_bytes_max: from.blob_bytes_max,
            lfs_incomplete: from.lfs_incomplete,
        };
        let made = self.0.database.create_repo_by(new, Some(principal.user.id)).await;
        let repo = match made {
            Err(CreateError::Taken) => return Err(exists(&path)),
            other => other?,
        };
        if let Err(error) = self.fill(identity, source, &repo).await {
            // Half a repository would be in the way of the next try.
            match self.0.changes.discard_repo(&repo).await {
                Ok(()) | Err(RepoError::Gone) => {}
                Err(error) => tracing::warn!(repo = %repo.path, %error, "half a duplicate stays"),
            }
            return Err(error);
        }
        Ok(repo)
    }

    async fn fill(&self, identity: &Identity, source: Authorized<Read>, repo: &Repo) -> Result<(), HubError> {
        let to = auth::authorize::<Write>(self.0.settings.auth, identity, repo.clone())?;
        Ok(self.0.changes.duplicate(source, to, Quota::Default(self.0.settings.quota)).await?)
    }

    /// Lets files of another repository point at large files of this one. Those that could not be shared, and why.
    pub async fn share(
        &self,
        source: Authorized<Read>,
        to: Authorized<Write>,
        files: &[Shared],
    ) -> Result<Vec<NotShared>, HubError> {
        if files.len() > SHARED_MAX {
            return Err(HubError::Invalid(format!("at most {SHARED_MAX} files can be copied at once")));
        }
        let parse = |file: &Shared| {
            file.sha256.parse::<Sha256>().map_err(|_| {
                HubError::Invalid(format!(
                    "\"{}\" is no SHA-256 of 64 digits",
                    crate::at::shown(&file.sha256)
                ))
            })
        };
        let objects = files.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let quota = Quota::Default(self.0.settings.quota);
        let outcomes = self.0.changes.share_objects(source, to, objects.clone(), quota).await?;
        let failed = objects.iter().zip(outcomes).filter_map(|(sha256, outcome)| {
            let error = outcome.err()?.to_string();
            Some(NotShared { sha256: sha256.to_string(), error })
        });
        Ok(failed.collect())
    }
}

impl From<DuplicateError> for HubError {
    fn from(error: DuplicateError) -> HubError {
        let text = error.to_string();
        match error {
            DuplicateError::SourceGone => HubError::RepoNotFound,
            DuplicateError::Revoked => HubError::Denied(auth::Denied::Forbidden),
            DuplicateError::Missing(_) => HubError::Unprocessable(text),
            DuplicateError::OverQuota { .. } => HubError::QuotaExceeded(text),
            DuplicateError::Verifying | DuplicateError::Contended => HubError::Busy(text),
            DuplicateError::Full => HubError::Full,
            DuplicateError::Internal(source) => HubError::Internal(source),
        }
    }
}
