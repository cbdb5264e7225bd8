//! What a process that owns a data directory consists of.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use change::Changes;
use database::{Clock, Database};
use parking_lot::Mutex;
use repository::Repositories;
use storage::Disk;
use tokio::sync::Notify;

use crate::config::{Config, Size};
use crate::datadir::DataDir;

/// The parts, opened in order and connected. `serve` and commands without a server are made of the same.
pub struct Node {
    pub config: Config,
    pub database: Database,
    pub disk: Disk,
    pub repositories: Arc<Repositories>,
    pub changes: Changes,
    pub auth: auth::Settings,
    /// By the shared clock.
    pub started_ms: i64,
    /// Woken when maintenance may be due earlier than its interval: after a push, after the clock was moved.
    pub maintenance: Notify,
    /// `GRANARY_DEBUG=1`: the clock may be moved.
    pub debug: bool,
    answers_epoch: AtomicU64,
    /// Told after a purge: whoever keeps answers forgets them.
    pub answers_dropped: Notify,
    free: Mutex<Option<Free>>,
    data_dir: DataDir,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Disk(#[from] storage::OpenError),
    #[error(transparent)]
    Database(#[from] database::OpenError),
}

/// Writes are refused: too little room to finish them safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk is nearly full: {} free, {min} are kept back (storage.min_free)", in_mib(*.free))]
pub struct Full {
    /// `None` if the file system did not say.
    pub free: Option<Size>,
    pub min: Size,
}

/// How long a reading of the free space counts.
const FREE_FOR_MS: i64 = 1000;

struct Free {
    /// `None` if the file system did not say.
    bytes: Option<u64>,
    at_ms: i64,
}

impl Node {
    /// Creates what is not there, removes what a crash left in staging, migrates the database.
    pub fn open(config: Config, data_dir: DataDir) -> Result<Arc<Node>, OpenError> {
        let clock = Clock::default();
        // First, since it refuses the network file systems on which SQLite must not be opened.
        let disk = Disk::open(data_dir.path())?;
        let database = Database::open(&data_dir.database_path(), clock.clone())?;
        let repositories = Arc::new(Repositories::new(database.clone(), disk.clone(), config.cache_limits()));
        let changes =
            Changes::new(database.clone(), disk.clone(), Arc::clone(&repositories), config.change_limits());
        let auth = auth::Settings { anonymous_read: config.auth.anonymous_read };
        Ok(Arc::new(Node {
            config,
            database,
            disk,
            repositories,
            changes,
            auth,
            started_ms: clock.now_ms(),
            maintenance: Notify::new(),
            debug: std::env::var_os("GRANARY_DEBUG").is_some_and(|value| value == "1"),
            answers_epoch: AtomicU64::new(0),
            answers_dropped: Notify::new(),
            free: Mutex::new(None),
            data_dir,
        }))
    }

    pub fn clock(&self) -> &Clock {
        self.database.clock()
    }

    pub fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }

    /// To be asked before a write begins, so that a full disk is met by a clear refusal instead of by SQLite. The free
    /// space is read at most once a second.
    pub fn writable(&self) -> Result<(), Full> {
        let min = self.config.storage.min_free;
        match self.free_bytes() {
            Some(free) if free >= min.bytes() => Ok(()),
            free => Err(Full { free: free.map(Size), min }),
        }
    }

    /// Cached answers were made under this number; those of another are not to be used, and are to be dropped.
    pub fn answers_epoch(&self) -> u64 {
        self.answers_epoch.load(Ordering::Acquire)
    }

    /// After a purge: cached answers may hold what is not to be seen any more.
    pub fn drop_cached_answers(&self) {
        self.answers_epoch.fetch_add(1, Ordering::AcqRel);
        self.answers_dropped.notify_one();
    }

    /// Finishes queued writes and closes the database. The directory is free once the node is dropped.
    pub async fn close(&self) {
        self.database.close().await;
    }

    fn free_bytes(&self) -> Option<u64> {
        let now_ms = self.clock().now_ms();
        let mut free = self.free.lock();
        if let Some(free) = &*free
            && (0..FREE_FOR_MS).contains(&(now_ms - free.at_ms))
        {
            return free.bytes;
        }
        let bytes = self.disk.free_bytes();
        if let Err(error) = &bytes {
            warn_unreadable(self.data_dir.path(), error);
        }
        let bytes = bytes.ok();
        *free = Some(Free { bytes, at_ms: now_ms });
        bytes
    }
}

fn warn_unreadable(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "cannot read the free space; writes are refused");
}

fn in_mib(size: Option<Size>) -> String {
    size.map_or_else(|| "an unknown number of bytes".to_owned(), |size| format!("{} MiB", size.bytes() >> 20))
}
