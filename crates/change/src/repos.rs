//! Changes of a repository as a whole that touch more than its row.

use database::{Repo, Visibility};

use crate::{Changes, GcError, GcOptions};

#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    #[error(transparent)]
    Database(#[from] database::DbError),
    #[error("the repository is gone")]
    Gone,
    #[error("before a repository is shown to more people, what its refs no longer reach is dropped: {0}")]
    Purge(#[from] GcError),
    #[error("the repository is deleted, but its manifest could not be marked so: {0}")]
    Manifest(String),
}

impl Changes {
    /// Frees the name at once. The packs stay for the retention of garbage, then the sweep deletes them.
    pub async fn delete_repo(&self, repo: &Repo) -> Result<(), RepoError> {
        let until_ms = self.0.database.clock().now_ms() + self.0.limits.gc_retention_ms;
        if !self.0.database.delete_repo(repo.id, until_ms).await? {
            return Err(RepoError::Gone);
        }
        self.0.repositories.forget(repo.id);
        self.bury_manifest(repo.id).await.map_err(|error| RepoError::Manifest(error.to_string()))
    }

    /// More visible only after a collection with zero retention: everything in a pack list can be fetched by id, also
    /// what was removed by force from the branches.
    pub async fn set_visibility(&self, repo: &Repo, visibility: Visibility) -> Result<(), RepoError> {
        if visibility == Visibility::Public && repo.visibility == Visibility::Private {
            let options = GcOptions { repo: Some(repo.clone()), dry_run: false, purge: true };
            let report = self.gc(options).await?;
            if !report.skipped.is_empty() {
                return Err(RepoError::Purge(GcError::Busy(repo.path.to_string())));
            }
        }
        match self.0.database.set_visibility(repo.id, visibility).await? {
            true => Ok(()),
            false => Err(RepoError::Gone),
        }
    }
}
