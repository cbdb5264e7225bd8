//! A revision of a repository that is being read.

use std::sync::Arc;

use auth::{Authorized, Right};
use database::{Oid, Repo};
use repository::revision::{self, RevisionError};
use repository::tree::{self, Found};
use repository::{Kind, ReadError, Snapshot};

use crate::{Hub, HubError, blocking};

/// One commit, and everything that is in it. Nothing changes under it.
#[derive(Clone, Debug)]
pub struct At {
    pub snapshot: Arc<Snapshot>,
    pub commit: Oid,
    pub tree: Oid,
}

impl Hub {
    /// As the repository is now. One that is in memory costs no thread.
    pub async fn snapshot(&self, repo: &Repo) -> Result<Arc<Snapshot>, HubError> {
        if let Some(cached) = self.0.repositories.cached(repo) {
            return Ok(cached);
        }
        let (repositories, repo) = (Arc::clone(&self.0.repositories), repo.clone());
        Ok(blocking(move || repositories.snapshot(&repo)).await?)
    }

    /// `revision` as clients name it: see [`repository::revision`].
    pub async fn at<A: Right>(&self, access: &Authorized<A>, revision: &str) -> Result<At, HubError> {
        let snapshot = self.snapshot(access.repo()).await?;
        At::resolve(snapshot, revision)
    }

    /// The default branch; `None` while it is unborn.
    pub async fn head<A: Right>(&self, access: &Authorized<A>) -> Result<Option<At>, HubError> {
        let snapshot = self.snapshot(access.repo()).await?;
        let Some(commit) = snapshot.head_target().map(|row| row.oid) else { return Ok(None) };
        At::of(snapshot, commit).map(Some)
    }
}

impl At {
    pub fn resolve(snapshot: Arc<Snapshot>, text: &str) -> Result<At, HubError> {
        let found = revision::resolve(&snapshot, text).map_err(|error| match error {
            RevisionError::NotFound => HubError::RevisionNotFound(shown(text)),
            RevisionError::Ambiguous => HubError::RevisionNotFound(format!("{}: {error}", shown(text))),
            RevisionError::Read(error) => error.into(),
        })?;
        At::of(snapshot, found.commit)
    }

    pub(crate) fn of(snapshot: Arc<Snapshot>, commit: Oid) -> Result<At, HubError> {
        let tree = snapshot.commit(&commit)?.tree;
        Ok(At { snapshot, commit, tree })
    }

    pub fn find(&self, path: &str) -> Result<Option<Found>, ReadError> {
        tree::find(&self.snapshot, self.tree, path)
    }

    /// The file, if it is one and not larger than `max` bytes.
    pub(crate) fn small_file(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(found) = self.find(path)?.filter(Found::is_blob) else { return Ok(None) };
        if self.snapshot.size(&found.oid).is_none_or(|size| size > max) {
            return Ok(None);
        }
        self.blob(&found.oid).map(Some)
    }

    pub fn blob(&self, oid: &Oid) -> Result<Vec<u8>, ReadError> {
        let mut content = Vec::new();
        self.snapshot.read_as(oid, Kind::Blob, &mut content)?;
        Ok(content)
    }

    pub(crate) fn no_entry(&self, path: &str) -> HubError {
        let message = format!("Entry not found: {}", shown(path));
        HubError::EntryNotFound { message, commit: self.commit }
    }
}

/// Part of a message: not longer than a line.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    match text.chars().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some(_) => text.chars().take(CHARS_MAX).chain("...".chars()).collect(),
    }
}
