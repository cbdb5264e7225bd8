//! What a process that owns a data directory consists of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use auth::transfer::{KeysError, TransferKeys};
use change::Changes;
use database::{Clock, Database};
use hub::Hub;
use lfs::Objects;
use repository::Repositories;
use storage::Disk;
use tokio::sync::Notify;

use crate::config::Config;
use crate::datadir::DataDir;
use crate::free::{FreeSpace, Full};
use crate::place::{self, PlaceError};
use crate::webhooks::Webhooks;

/// The parts, opened in order and connected. `serve` and commands without a server are made of the same.
pub struct Node {
    pub config: Config,
    pub database: Database,
    pub disk: Disk,
    pub repositories: Arc<Repositories>,
    /// Large objects.
    pub objects: Objects,
    pub changes: Changes,
    pub hub: Hub,
    pub auth: auth::Settings,
    pub webhooks: Webhooks,
    /// By the shared clock.
    pub started_ms: i64,
    /// Woken when maintenance may be due earlier than its interval: after a push, after the clock was moved.
    pub maintenance: Notify,
    /// `GRANARY_DEBUG=1`: the clock may be moved.
    pub debug: bool,
    answers_epoch: AtomicU64,
    /// Told after a purge: whoever keeps answers forgets them.
    pub answers_dropped: Notify,
    /// What every file that grows asks.
    pub free: FreeSpace,
    /// Of the file system where large objects are; `None` if they are in a bucket.
    objects_free: Option<FreeSpace>,
    data_dir: DataDir,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Disk(#[from] storage::OpenError),
    #[error(transparent)]
    Database(#[from] database::OpenError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl Node {
    /// Creates what is not there, removes what a crash left in staging, migrates the database.
    pub async fn open(config: Config, data_dir: DataDir) -> Result<Arc<Node>, OpenError> {
        Node::open_as(config, data_dir, false).await
    }

    /// As [`Node::open`], also if large objects are elsewhere than they were.
    pub async fn open_anywhere(config: Config, data_dir: DataDir) -> Result<Arc<Node>, OpenError> {
        Node::open_as(config, data_dir, true).await
    }

    async fn open_as(config: Config, data_dir: DataDir, anywhere: bool) -> Result<Arc<Node>, OpenError> {
        let clock = Clock::default();
        // First, since it refuses the network file systems on which SQLite must not be opened.
        let disk = Disk::open(data_dir.path())?;
        let database = Database::open(&data_dir.database_path(), clock.clone())?;
        let auth = auth::Settings { anonymous_read: config.auth.anonymous_read };
        let store = match anywhere {
            false => place::open(&config, &disk, &database).await?,
            true => place::open_anywhere(&config, &disk, &database).await?,
        };
        let keys = TransferKeys::open(&database).await?;
        let objects = Objects::new(database.clone(), store.clone(), keys, auth, config.objects_config());
        if let Err(error) = objects.xet().make_keys().await {
            // They are made when they are needed.
            tracing::error!(%error, "the keys of addresses of xorbs cannot be made");
        }
        let repositories = Arc::new(Repositories::new(database.clone(), disk.clone(), config.cache_limits()));
        let changes = Changes::new(
            database.clone(),
            disk.clone(),
            Arc::clone(&repositories),
            objects.clone(),
            config.change_limits(),
            ::hub::check_card,
        );
        let hub = Hub::new(
            database.clone(),
            Arc::clone(&repositories),
            changes.clone(),
            objects.clone(),
            config.hub_settings(),
        );
        let free_on = |disk: &Disk| FreeSpace::new(disk.clone(), config.storage.min_free, clock.clone());
        let free = free_on(&disk);
        let objects_free = match (&config.storage.url, store.local()) {
            (None, _) => Some(free.clone()),
            (Some(_), local) => local.map(free_on),
        };
        let webhooks = Webhooks::new(&config);
        Ok(Arc::new(Node {
            config,
            database,
            disk,
            repositories,
            objects,
            changes,
            hub,
            auth,
            webhooks,
            started_ms: clock.now_ms(),
            maintenance: Notify::new(),
            debug: std::env::var_os("GRANARY_DEBUG").is_some_and(|value| value == "1"),
            answers_epoch: AtomicU64::new(0),
            answers_dropped: Notify::new(),
            free,
            objects_free,
            data_dir,
        }))
    }

    pub fn clock(&self) -> &Clock {
        self.database.clock()
    }

    pub fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }

    /// To be asked before a write begins, so that a full disk is met by a clear refusal instead of by SQLite.
    pub fn writable(&self) -> Result<(), Full> {
        self.free.take(0)
    }

    /// To be asked before an upload begins: whether there is room for rows, and for so many bytes of an object.
    pub fn objects_writable(&self, bytes: u64) -> Result<(), Full> {
        self.writable()?;
        self.objects_free.as_ref().map_or(Ok(()), |free| free.fits(bytes))
    }

    /// To be told of the bytes of an object that are about to be stored.
    pub fn objects_taken(&self, bytes: u64) -> Result<(), Full> {
        self.objects_free.as_ref().map_or(Ok(()), |free| free.take(bytes))
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
}
