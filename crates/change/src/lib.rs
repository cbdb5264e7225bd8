//! The only code that moves a ref: push, commit, merge, import, compaction, garbage collection; and what keeps the result safe:
//! sweep, manifests, backup, fsck.
//!
//! Each operation prepares its bytes first (durable in storage, or small enough for a row), then hands one
//! [`database::Change`] to [`database::Database::apply`]. It decides *what* may change and in which order things
//! become durable; it knows no HTTP and parses no protocol.
//!
//! Start at [`push`], the shape of every other operation.

mod backup;
mod collect;
mod commit;
mod duplicate;
mod exchange;
mod fsck;
mod history;
mod large;
mod limits;
mod maintain;
mod manifest;
mod needs;
mod policy;
mod pulls;
mod push;
mod refs;
mod repos;
mod rows;
mod store;
mod turns;

use std::sync::Arc;

use database::Database;
use repository::Repositories;
use storage::Disk;
use tokio::sync::Semaphore;

pub use backup::{BackupError, BackupReport, RestoreError, RestoreReport, restore};
pub use collect::{GcError, GcOptions, GcReport};
pub use commit::{CommitError, Committed, NewCommit, Proposal};
pub use duplicate::{CopyFailure, DuplicateError};
pub use exchange::{ExportError, ExportReport, ImportError, ImportReport};
pub use fsck::{FsckError, FsckReport};
pub use limits::Limits;
pub use maintain::{MaintainError, MaintainReport};
pub use manifest::{RebuildError, RebuildReport, rebuild};
pub use pulls::PullError;
pub use push::PushError;
pub use refs::{RefError, Start};
pub use repos::RepoError;

/// What is wrong with a card, the `README.md` in the root of a repository of that kind: a new one is refused for it.
pub type CheckCard = fn(&[u8], database::RepoKind) -> Result<(), String>;

/// Everything that changes repositories, over one set of rows and bytes. Cheap to clone.
#[derive(Clone)]
pub struct Changes(Arc<Inner>);

struct Inner {
    database: Database,
    disk: Disk,
    repositories: Arc<Repositories>,
    objects: lfs::Objects,
    limits: Limits,
    check_card: CheckCard,
    /// Permits for pushes and imports. No holder waits for a network peer.
    workers: Arc<Semaphore>,
    /// Permits for what may take hours (backup, fsck, compaction), so that no push waits for it.
    background: Arc<Semaphore>,
    /// Held for reading by a backup, for writing by a sweep: what a backup copies is not deleted meanwhile.
    sweeping: tokio::sync::RwLock<()>,
    /// One compaction or collection at a time; they compete for the same cores and the same pack lists.
    maintaining: tokio::sync::Mutex<()>,
    journal: manifest::Journal,
    bucket_journal: manifest::BucketJournal,
    /// Of commits over HTTP.
    turns: turns::Turns,
}

impl Changes {
    pub fn new(
        database: Database,
        disk: Disk,
        repositories: Arc<Repositories>,
        objects: lfs::Objects,
        limits: Limits,
        check_card: CheckCard,
    ) -> Changes {
        let workers = Arc::new(Semaphore::new(limits.concurrent_changes));
        let background = Arc::new(Semaphore::new(BACKGROUND));
        let sweeping = tokio::sync::RwLock::new(());
        let maintaining = tokio::sync::Mutex::new(());
        let journal = manifest::Journal::default();
        Changes(Arc::new(Inner {
            database,
            disk,
            repositories,
            objects,
            limits,
            check_card,
            workers,
            background,
            sweeping,
            maintaining,
            journal,
            bucket_journal: manifest::BucketJournal::default(),
            turns: turns::Turns::default(),
        }))
    }

    pub fn database(&self) -> &Database {
        &self.0.database
    }

    pub fn disk(&self) -> &Disk {
        &self.0.disk
    }

    pub fn repositories(&self) -> &Arc<Repositories> {
        &self.0.repositories
    }

    pub fn objects(&self) -> &lfs::Objects {
        &self.0.objects
    }

    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Runs blocking `work` of a push or import, off the async threads.
    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        under(Arc::clone(&self.0.workers), work).await
    }

    /// Runs blocking `work` that no push should wait for.
    async fn compute_behind<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        under(Arc::clone(&self.0.background), work).await
    }
}

/// One for maintenance, one for a backup, an fsck or an export.
const BACKGROUND: usize = 2;

async fn under<T: Send + 'static>(permits: Arc<Semaphore>, work: impl FnOnce() -> T + Send + 'static) -> T {
    let permit = permits.acquire_owned().await.expect("because it is never closed");
    let result = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    match result.await {
        Ok(value) => value,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}
