//! All repositories of the process: which snapshots are loaded, which packs are open.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use database::{Database, DbError, PackId, PackRow, RefRow, Repo, RepoId, SnapshotRows};
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
    /// Refs of loaded snapshots and the packs in their rows, in bytes. What alone needs more than half of it is shared
    /// while it is in use, but not kept.
    pub snapshot_bytes: usize,
    /// Inflated commits, trees and delta bases, in bytes.
    pub objects_bytes: usize,
    /// Larger objects are not read into memory.
    pub object_bytes_max: u64,
}

impl Default for CacheLimits {
    fn default() -> Self {
        CacheLimits {
            snapshots_and_packs: 16_384,
            snapshot_bytes: 256 << 20,
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
    loads: Mutex<HashMap<RepoId, Arc<Load>>>,
    packs: Mutex<HashMap<PackId, Weak<Pack>>>,
}

/// Locked while a repository's snapshot is loaded, so that it is loaded once for all who wait for it. Holds the one that
/// was loaded last, as long as somebody uses it.
type Load = Mutex<Weak<Snapshot>>;

impl Repositories {
    pub fn new(database: Database, disk: Disk, limits: CacheLimits) -> Repositories {
        Repositories {
            database,
            disk,
            objects: Arc::new(ObjectCache::new(limits.objects_bytes)),
            snapshots: Mutex::new(Generations::new(limits.snapshot_bytes)),
            loads: Mutex::new(HashMap::new()),
            packs: Mutex::new(HashMap::new()),
            limits,
        }
    }

    /// The snapshot at `repo`'s generation or a later one. Runs no SQL if the cached one still fits the row; otherwise
    /// blocks while it is loaded, by this thread or by another.
    pub fn snapshot(&self, repo: &Repo) -> Result<Arc<Snapshot>, SnapshotError> {
        if let Some(snapshot) = self.cached(repo) {
            return Ok(snapshot);
        }
        let load = self.load_of(repo.id);
        let mut last = load.lock();
        // Another thread may have loaded it meanwhile.
        let in_use = || last.upgrade().filter(|snapshot| fits(snapshot.repo(), repo));
        if let Some(snapshot) = self.cached(repo).or_else(in_use) {
            return Ok(snapshot);
        }
        let (snapshot, weight) = self.load(|| self.database.snapshot(repo.id)?.ok_or(SnapshotError::Gone))?;
        *last = Arc::downgrade(&snapshot);
        let mut snapshots = self.snapshots.lock();
        snapshots.remove(&repo.id);
        snapshots.insert(repo.id, Arc::clone(&snapshot), weight);
        Ok(snapshot)
    }

    /// What [`Repositories::snapshot`] would return if it is cached: never blocks on I/O.
    pub fn cached(&self, repo: &Repo) -> Option<Arc<Snapshot>> {
        let cached = self.snapshots.lock().get(&repo.id);
        cached.filter(|cached| fits(cached.repo(), repo))
    }

    /// Forgets a repository that was deleted, so that its packs are unmapped.
    pub fn forget(&self, repo: RepoId) {
        self.loads.lock().remove(&repo);
        self.snapshots.lock().remove(&repo);
    }

    fn load_of(&self, repo: RepoId) -> Arc<Load> {
        let mut loads = self.loads.lock();
        if loads.len() == loads.capacity() {
            // Only what nobody else has is locked here, so this waits for nobody.
            loads.retain(|_, load| Arc::strong_count(load) > 1 || load.lock().strong_count() > 0);
        }
        Arc::clone(loads.entry(repo).or_default())
    }

    /// Makes a snapshot of `rows()`; returns its weight too. If a pack was superseded after the rows were read, and its
    /// blob swept before it was opened, newer rows name what took its place.
    fn load(
        &self,
        rows: impl Fn() -> Result<SnapshotRows, SnapshotError>,
    ) -> Result<(Arc<Snapshot>, usize), SnapshotError> {
        match self.open(rows()?) {
            Err(SnapshotError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.open(rows()?)
            }
            result => result,
        }
    }

    fn open(&self, rows: SnapshotRows) -> Result<(Arc<Snapshot>, usize), SnapshotError> {
        let packs = rows.packs.iter().map(|row| self.pack(row)).collect::<Result<Vec<_>, _>>()?;
        let weight = self.weight(&rows);
        let objects = Arc::clone(&self.objects);
        let snapshot = Snapshot::new(rows.repo, rows.refs, packs, objects, self.limits.object_bytes_max);
        Ok((Arc::new(snapshot), weight))
    }

    /// In bytes. A snapshot or pack counts for at least its share of [`CacheLimits::snapshot_bytes`], so that this one
    /// bound keeps the other.
    fn weight(&self, rows: &SnapshotRows) -> usize {
        let names: usize = rows.refs.iter().map(|row| row.name.capacity()).sum();
        let refs = rows.refs.capacity() * size_of::<RefRow>() + names;
        let packs =
            rows.packs.iter().map(|row| size_of::<Pack>() + row.inline.as_ref().map_or(0, Bytes::len));
        let bytes = size_of::<Snapshot>() + refs + packs.sum::<usize>();
        let share = self.limits.snapshot_bytes.div_ceil(self.limits.snapshots_and_packs.max(1));
        bytes.max(share.saturating_mul(1 + rows.packs.len()))
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use database::{Clock, NewRepo, PackKind, Visibility};

    use super::*;

    #[tokio::test]
    async fn a_pack_that_was_just_swept_is_looked_up_again() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("rows.db"), Clock::default()).unwrap();
        let disk = Disk::open(&directory.path().join("blobs")).unwrap();
        database.create_user("acme".parse().unwrap(), false).await.unwrap();
        let path = "acme/model".parse().unwrap();
        let new = NewRepo {
            path,
            visibility: Visibility::Public,
            mirror: false,
            blob_bytes_max: None,
            lfs_incomplete: false,
        };
        let repo = database.create_repo(new).await.unwrap();
        let fresh = database.snapshot(repo.id).unwrap().unwrap();
        let swept = PackRow {
            id: PackId::new(),
            kind: PackKind::Receive,
            objects: 1,
            bytes: 100_000,
            closure: false,
            inline: None,
            added_generation: 1,
        };
        let stale = SnapshotRows { packs: vec![swept], ..fresh.clone() };
        let repositories = Repositories::new(database, disk, CacheLimits::default());

        let reads = Cell::new(0);
        let read = |stale_reads: usize| {
            let nth = reads.replace(reads.get() + 1);
            Ok(if nth < stale_reads { stale.clone() } else { fresh.clone() })
        };
        let (snapshot, _) = repositories.load(|| read(1)).unwrap();
        assert_eq!((snapshot.packs().len(), reads.get()), (0, 2));

        // A pack that is really lost is not looked for for ever.
        reads.set(0);
        assert!(matches!(repositories.load(|| read(9)), Err(SnapshotError::Io { .. })));
        assert_eq!(reads.get(), 2);
    }
}
