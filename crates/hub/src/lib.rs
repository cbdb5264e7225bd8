//! The Hub's use cases: what `huggingface_hub` and its kin ask for, without HTTP. Repositories and who owns them, files
//! by path, history, commits made of single files, discussions and pull requests, cards and what follows from them, lists, webhooks.
//!
//! Answers are plain data that serialise to the JSON clients parse; the names of their fields are the clients'. It moves
//! no ref itself (`change` does), decides no permission (`auth` did, every entry point takes the proof), and knows no
//! route and no header.
//!
//! Start at [`Hub`], then [`at`] (a revision that is being read) and [`upload`] (a commit on its way in).

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

pub mod access;
pub mod at;
pub mod buckets;
pub mod card;
pub mod collections;
pub mod commit_lines;
pub mod compare;
pub mod copies;
mod dates;
mod defaults;
pub mod discussions;
pub mod downloads;
mod error;
pub mod facts;
pub mod files;
mod gated_fields;
pub mod history;
pub mod info;
mod kept;
pub mod large_files;
mod last_changes;
pub mod likes;
pub mod listing;
pub mod people;
pub mod preupload;
pub mod refs;
pub mod repos;
pub mod resolve;
mod rules;
pub mod search;
pub mod upload;
pub mod webhooks;

use std::sync::{Arc, LazyLock};

use change::Changes;
use database::{Database, Visibility};
use lfs::Objects;
use repository::Repositories;
use tokio::sync::Semaphore;

pub use error::HubError;
pub use rules::check_card;

/// The hub over one set of rows and bytes. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    database: Database,
    repositories: Arc<Repositories>,
    changes: Changes,
    objects: Objects,
    settings: Settings,
    facts: facts::State,
    orders: history::Orders,
    last_changes: last_changes::LastChanges,
    downloads: downloads::Downloads,
}

/// What an administrator set.
#[derive(Clone, Debug)]
pub struct Settings {
    pub auth: auth::Settings,
    /// Of repositories created by somebody who did not say.
    pub default_visibility: Visibility,
    /// A file that is not in LFS.
    pub blob_bytes_max: u64,
    /// Of large objects, of namespaces that have none of their own.
    pub quota: Option<u64>,
}

impl Hub {
    pub fn new(
        database: Database,
        repositories: Arc<Repositories>,
        changes: Changes,
        objects: Objects,
        settings: Settings,
    ) -> Hub {
        let facts = facts::State::default();
        let (orders, last_changes) = (history::orders(), last_changes::last_changes());
        let downloads = downloads::Downloads::default();
        Hub(Arc::new(Inner {
            database,
            repositories,
            changes,
            objects,
            settings,
            facts,
            orders,
            last_changes,
            downloads,
        }))
    }

    pub fn database(&self) -> &Database {
        &self.0.database
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }
}

/// Of this process: what readers ask for must not take all cores from everybody else for long.
static COMPUTING: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new(2 * cores)
});

/// Runs `work` off the async threads: what computes for more than a moment. Not to be called from within.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let permit = COMPUTING.acquire().await.expect("because it is never closed");
    let computed = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    match computed.await {
        Ok(value) => value,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}
