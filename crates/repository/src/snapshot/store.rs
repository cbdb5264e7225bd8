//! All repositories of the process: which snapshots are loaded, which packs are open.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};

use database::{Database, DbError, PackId, PackRow, Repo, RepoId};
use parking_lot::Mutex;
use storage::Disk;

use super::cache::{Generations, ObjectCache};
use super::{OBJECT_BYTES_MAX, Snapshot};
use crate::Pack;
use crate::pack::PackError;

/// Bounds of what is kept in memory.
#[derive(Clone, Debug)]
pub struct CacheLimits {
    /// Loaded snapshots and their packs, counted together; each stored pack is one memory mapping, of which Linux
    /// allows a process 65,530.
    pub snapshots_and_packs: usize,
    /// Inflated commits, trees and delta bases, in bytes.
    pub objects_bytes: usize,
    /// Larger objects are not read into memory.
    pub object_bytes_max: u64,
}

impl Default for CacheLimits {
    fn default() -> Self {
        CacheLimits {
            snapshots_and_packs: 16_384,
            objects_bytes: 64 << 20,
            object_bytes_max: OBJECT_BYTES_MAX,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the repository is gone")]
    Gone,
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("pack {pack:?} cannot be opened: {source}")]
    Io { pack: PackId, source: io::Error },
    #[error("pack {pack:?}: {source}")]
    Pack { pack: PackId, source: PackError },
}

/// Hands out snapshots. Share it in an `Arc`.
pub struct Repositories {
    database: Database,
    disk: Disk,
    limits: CacheLimits,
    objects: Arc<ObjectCache>,
    snapshots: Mutex<Generations<RepoId, Arc<Snapshot>>>,
    packs: Mutex<HashMap<PackId, Weak<Pack>>>,
}

impl Repositories {
    pub fn new(database: Database, disk: Disk, limits: CacheLimits) -> Repositories {
        Repositories {
            database,
            disk,
            objects: Arc::new(ObjectCache::new(limits.objects_bytes)),
            snapshots: Mutex::new(Generations::new(limits.snapshots_and_packs)),
            packs: Mutex::new(HashMap::new()),
            limits,
        }
    }

    /// The snapshot at `repo`'s generation or a later one. Runs no SQL if the cached one still fits the row.
    pub fn snapshot(&self, repo: &Repo) -> Result<Arc<Snapshot>, SnapshotError> {
        let cached = self.snapshots.lock().get(&repo.id);
        if let Some(snapshot) = cached.filter(|cached| fits(cached.repo(), repo)) {
            return Ok(snapshot);
        }
        let rows = self.database.snapshot(repo.id)?.ok_or(SnapshotError::Gone)?;
        let packs = rows.packs.iter().map(|row| self.pack(row)).collect::<Result<Vec<_>, _>>()?;
        let objects = Arc::clone(&self.objects);
        let snapshot =
            Arc::new(Snapshot::new(rows.repo, rows.refs, packs, objects, self.limits.object_bytes_max));
        let mut snapshots = self.snapshots.lock();
        // Another thread may have loaded a newer one meanwhile.
        if let Some(other) =
            snapshots.get(&repo.id).filter(|other| other.generation() > snapshot.generation())
        {
            return Ok(other);
        }
        snapshots.insert(repo.id, Arc::clone(&snapshot), 1 + snapshot.packs().len());
        Ok(snapshot)
    }

    /// Forgets a repository that was deleted, so that its packs are unmapped.
    pub fn forget(&self, repo: RepoId) {
        self.snapshots.lock().remove(&repo);
    }

    /// Opens a pack, or reuses it if it is open already.
    pub fn pack(&self, row: &PackRow) -> Result<Arc<Pack>, SnapshotError> {
        let open = self.packs.lock().get(&row.id).and_then(Weak::upgrade);
        let blob = match (open, &row.inline) {
            (Some(pack), _)
                if pack.is_closure() == row.closure && pack.added_generation() == row.added_generation =>
            {
                return Ok(pack);
            }
            // The same pack, seen by another repository or after its closure was proven.
            (Some(pack), _) => pack.blob().clone(),
            (None, Some(inline)) => inline.clone(),
            (None, None) => self
                .disk
                .map(&row.id.storage_key())
                .map_err(|source| SnapshotError::Io { pack: row.id, source })?,
        };
        let pack = Pack::from_blob(row.id, row.kind, row.closure, row.added_generation, blob)
            .map_err(|source| SnapshotError::Pack { pack: row.id, source })?;
        let pack = Arc::new(pack);
        let mut packs = self.packs.lock();
        if packs.len() == packs.capacity() {
            packs.retain(|_, pack| pack.strong_count() > 0);
        }
        packs.insert(row.id, Arc::downgrade(&pack));
        Ok(pack)
    }
}

/// Whether a snapshot with the row `cached` answers for a repository that was just seen as `seen`.
fn fits(cached: &Repo, seen: &Repo) -> bool {
    cached.generation > seen.generation || cached == seen
}
