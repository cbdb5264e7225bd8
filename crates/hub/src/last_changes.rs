//! Which commit changed what lies in a folder last.
//!
//! Most of a folder was changed long ago, so the history is walked for all of it at once, and what was found is kept: the
//! next page, and whoever else looks at the folder, has it at once.

use std::collections::HashMap;

use database::{Oid, RepoId};
use repository::tree::{self, Item};
use repository::{Kind, log, object};

use crate::at::At;
use crate::kept::Kept;
use crate::{Hub, HubError, blocking};

/// Commits looked at to find who changed a file last. Where that is not enough, the file has no last commit.
const COMMITS_MAX: usize = 20_000;
/// Of a folder with more, only what is shown is looked for.
const FOLDER_MAX: usize = 20_000;
/// All folders that are kept take that many bytes.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// What an entry takes beside its name, in bytes.
const ENTRY_BYTES: usize = 80;

/// Commits by the path of what they changed last.
type Folder = HashMap<Vec<u8>, Oid>;

/// By repository, and what names a folder of a commit.
pub(crate) type LastChanges = Kept<Option<Folder>>;

pub(crate) fn last_changes() -> LastChanges {
    Kept::new(KEPT_BYTES_MAX)
}

impl Hub {
    /// Of each of `items`, which lie in the folder `path` itself.
    pub(crate) async fn last_changes_in(
        &self,
        at: &At,
        path: &str,
        items: &[Item],
    ) -> Result<Vec<Option<Oid>>, HubError> {
        let (folder, owned) = (at.clone(), path.to_owned());
        let walk = || async move {
            let found = blocking(move || folder.last_changes_of(&owned)).await?;
            let weight = |folder: &Folder| folder.keys().map(|path| path.len() + ENTRY_BYTES).sum();
            let bytes = found.as_ref().map_or(0, weight);
            Ok((found, bytes))
        };
        let kept = self.0.last_changes.get(key(at, path), walk).await?;
        match kept.as_ref() {
            Some(folder) => Ok(items.iter().map(|item| folder.get(&item.path).copied()).collect()),
            None => {
                let (at, items) = (at.clone(), items.to_vec());
                blocking(move || at.last_changes(&items)).await
            }
        }
    }
}

impl At {
    /// Of each of `items`, wherever they lie.
    pub(crate) fn last_changes(&self, items: &[Item]) -> Result<Vec<Option<Oid>>, HubError> {
        let paths: Vec<_> = items.iter().map(|item| String::from_utf8_lossy(&item.path)).collect();
        let paths: Vec<&str> = paths.iter().map(AsRef::as_ref).collect();
        Ok(log::last_changes(&self.snapshot, &self.commit, &paths, COMMITS_MAX)?)
    }

    /// Of all in the folder; `None` if that is too much.
    fn last_changes_of(&self, path: &str) -> Result<Option<Folder>, HubError> {
        let found = self.find(path)?.ok_or_else(|| self.no_entry(path))?;
        let items = tree::list(&self.snapshot, found.oid, path.as_bytes(), false, None, FOLDER_MAX + 1)?;
        if items.len() > FOLDER_MAX {
            return Ok(None);
        }
        let last = self.last_changes(&items)?;
        let found = items.into_iter().zip(last).filter_map(|(item, last)| Some((item.path, last?)));
        Ok(Some(found.collect()))
    }
}

/// A path alone is not enough, nor a tree: the same content may have come by other commits.
fn key(at: &At, path: &str) -> (RepoId, Oid) {
    let named = [&at.commit.0[..], path.as_bytes()].concat();
    (at.snapshot.repo().id, object::hash(Kind::Blob, &named))
}
