//! Changes of a repository as a whole that touch more than its row.

use database::{AsOf, Repo, RepoSettings, Set, Visibility};

use crate::{Changes, GcError, GcOptions};

#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    #[error(transparent)]
    Database(#[from] database::DbError),
    #[error("the repository is gone")]
    Gone,
    #[error("the repository's settings were changed meanwhile")]
    Moved,
    #[error("before a repository is shown to more people, what its refs no longer reach is dropped: {0}")]
    Purge(#[from] GcError),
    #[error("the repository is deleted, but its manifest could not be marked so: {0}")]
    Manifest(String),
}

impl Changes {
    /// Frees the name at once. The packs stay for the retention of garbage, then the sweep deletes them.
    pub async fn delete_repo(&self, repo: &Repo) -> Result<(), RepoError> {
        self.delete_as_of(repo, None).await
    }

    /// Of a repository that was made a moment ago, unless somebody put something into it: that was acknowledged, and stays.
    pub async fn discard_repo(&self, made: &Repo) -> Result<(), RepoError> {
        self.delete_as_of(made, Some(made.generation)).await
    }

    async fn delete_as_of(&self, repo: &Repo, generation: Option<i64>) -> Result<(), RepoError> {
        let until_ms = self.0.database.clock().now_ms() + self.0.limits.gc_retention_ms;
        if !self.0.database.delete_repo_as_of(repo.id, until_ms, generation).await? {
            return Err(RepoError::Gone);
        }
        self.0.repositories.forget(repo.id);
        self.bury_manifest(repo.id).await.map_err(|error| RepoError::Manifest(error.to_string()))
    }

    pub async fn set_visibility(&self, repo: &Repo, visibility: Visibility) -> Result<(), RepoError> {
        let settings = RepoSettings { visibility: Some(visibility), ..RepoSettings::default() };
        self.set_repo(repo, settings, None).await
    }

    /// All at once. More visible only after a collection with zero retention: everything in a pack list can be fetched
    /// by id, also what was removed by force from the branches. An object that only an upload under way has brought is
    /// found by nobody who does not know it.
    ///
    /// `acl_version`: as rights were when this was allowed.
    pub async fn set_repo(
        &self,
        repo: &Repo,
        settings: RepoSettings,
        acl_version: Option<i64>,
    ) -> Result<(), RepoError> {
        let is_shown = |now: &Repo| {
            settings.visibility == Some(Visibility::Public) && now.visibility == Visibility::Private
        };
        for _ in 0..ATTEMPTS_MAX {
            let now = self.0.database.repo(repo.id)?.ok_or(RepoError::Gone)?;
            if acl_version.is_some_and(|known| known != now.acl_version) {
                return Err(RepoError::Moved);
            }
            // Nothing was there to be dropped in the state that is shown.
            if is_shown(&now) && !self.purge(&now).await? {
                continue;
            }
            let as_of = AsOf { acl_version: Some(now.acl_version), generation: Some(now.generation) };
            match self.0.database.set_repo_settings(repo.id, settings, as_of).await? {
                Set::Done => return Ok(()),
                Set::Gone => return Err(RepoError::Gone),
                Set::Moved => {}
            }
        }
        Err(RepoError::Purge(GcError::Busy(repo.path.to_string())))
    }

    /// True if nothing was found.
    async fn purge(&self, repo: &Repo) -> Result<bool, RepoError> {
        let options =
            GcOptions { repo: Some(repo.clone()), purge: true, spares_uploads: true, ..GcOptions::default() };
        let report = self.gc(options).await?;
        match report.skipped.is_empty() {
            true => Ok(report.objects_dropped == 0 && report.large_dropped == 0),
            false => Err(RepoError::Purge(GcError::Busy(repo.path.to_string()))),
        }
    }
}

/// Each but the last found something to drop, or a push came between.
const ATTEMPTS_MAX: u32 = 5;
