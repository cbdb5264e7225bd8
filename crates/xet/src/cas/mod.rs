//! The content-addressed store: bytes lie in `storage`, rows in `database`, and what is said of either is proven here.

mod address;
mod adopt;
mod check;
mod commit;
mod config;
mod dedup;
mod epoch;
mod errors;
mod grant;
mod indexes;
mod keys;
mod receive;
mod reconstruct;
mod register;
mod stream;
mod sweep;

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use auth::shares::Shares;
use database::{Database, XorbId};
use storage::ObjectStore;
use tokio::sync::Semaphore;

pub use address::{Addresses, FetchError, LocalFetch};
pub use adopt::{AdoptError, Recipe};
pub use check::{XetCheckReport, XetFinding, XetProblem};
pub use commit::RegisteredFile;
pub use config::{Config, DedupScope};
pub use epoch::begin_epoch;
pub use errors::{
    AddressError, CommitError, DedupError, ReadError, ReconstructError, ShardRefused, XorbRefused,
};
pub use grant::{Grant, Granted};
pub use keys::KeysError;
pub use receive::{ReceivedXorb, ReceivingXorb};
pub use reconstruct::{Fetch, FetchRange, Reconstruction, Term};
pub use register::{CheckedFile, CheckedObjects, CheckedShard, Progress};
pub use stream::Stream;
pub use sweep::XetSweepReport;

/// Xorbs and files over one set of rows and bytes. Cheap to clone.
#[derive(Clone)]
pub struct Cas(Arc<Inner>);

struct Inner {
    database: Database,
    store: ObjectStore,
    config: Config,
    indexes: indexes::Indexes,
    keys: keys::Keys,
    /// Xorbs that are being received.
    xorbs: Shares,
    /// Shards that are being proven.
    shards: Arc<Semaphore>,
    /// Staged xorbs that somebody writes: the sweep leaves them alone.
    flights: Mutex<HashSet<XorbId>>,
    /// One sweep at a time.
    sweeping: tokio::sync::Mutex<()>,
}

impl Cas {
    pub fn new(database: Database, store: ObjectStore, config: Config) -> Cas {
        Cas(Arc::new(Inner {
            database,
            store,
            indexes: indexes::Indexes::new(config.index_bytes_max),
            keys: keys::Keys::default(),
            xorbs: Shares::new(config.xorbs_max),
            shards: Arc::new(Semaphore::new(config.shards_max)),
            flights: Mutex::default(),
            sweeping: tokio::sync::Mutex::default(),
            config,
        }))
    }

    pub fn database(&self) -> &Database {
        &self.0.database
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// A xorb on its way in.
    fn fly(&self, id: XorbId) -> Flight {
        self.0.flights.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        Flight { cas: self.clone(), id, landed: false }
    }

    fn flies(&self, id: XorbId) -> bool {
        self.0.flights.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }
}

/// A staged xorb that is being written. If it does not land, its row says that there may be litter.
struct Flight {
    cas: Cas,
    id: XorbId,
    landed: bool,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Flight { cas, id, landed } = self;
        cas.0.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let (false, Ok(runtime)) = (*landed, tokio::runtime::Handle::try_current()) {
            let (cas, id) = (cas.clone(), *id);
            // If this fails, the sweep does it once the row is old.
            runtime.spawn(async move { cas.0.database.give_up_xorb(id).await });
        }
    }
}

/// Runs `work` to its end whether or not the client stays.
async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(value) => value,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

/// Runs blocking `work` off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}
