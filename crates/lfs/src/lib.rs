//! Git LFS: large objects from the batch that asks for them to the sweep that deletes them.
//!
//! It owns the life of an object, stored whole or in xorbs: what a batch grants and by which kind of upload ([`modes`]), the proof that bytes are
//! what they are announced to be, the wait for a running proof, the sweep of what nobody needs. Bytes lie in
//! `storage`, rows in `database`; [`wire`] speaks the protocol without I/O. It never trusts that something lies in a
//! bucket, never serves an object by its id alone (a *link* of the repository decides), and knows no HTTP.
//!
//! Start at [`batch`], then [`receive`]: every other way in ends as that one does.

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod actions;
mod adopt;
mod batch;
mod body;
mod check;
mod complete;
mod config;
mod counters;
mod download;
mod errors;
mod flights;
mod inline;
mod landings;
mod lane;
mod modes;
mod offer;
mod parts;
mod publish;
mod read_back;
mod receive;
mod require;
mod resolve;
mod sweep;
mod take_in;
mod verify;
mod whole;
pub mod wire;
mod xorbs;

use std::sync::Arc;

use auth::transfer::TransferKeys;
use database::Database;
use storage::ObjectStore;

pub use batch::{Batched, Batching, Client};
pub use body::Body;
pub use check::{CheckReport, Finding, Problem};
pub use config::Config;
pub use counters::Counters;
pub use download::Object;
pub use errors::{BatchError, OpenError, ReceiveError};
pub use inline::sha256;
pub use modes::{Engine, Mode, mode};
pub use parts::ReceivingPart;
pub use receive::Receiving;
pub use require::{Unmet, Why};
pub use resolve::Resolved;
pub use sweep::{SweepError, SweepReport};
pub use xorbs::ShardError;

/// Large objects over one set of rows and bytes. Cheap to clone.
#[derive(Clone)]
pub struct Objects(Arc<Inner>);

struct Inner {
    database: Database,
    store: ObjectStore,
    xet: xet::Cas,
    keys: TransferKeys,
    settings: auth::Settings,
    config: Config,
    counters: Counters,
    /// Bodies that are being received.
    uploads: auth::shares::Shares,
    /// Links to parts, of answers that are being made or sent.
    parts_held: auth::shares::Shares,
    flights: flights::Flights,
    turns: flights::Turns,
    landings: landings::Landings,
    assemblies: parts::Assemblies,
    read_backs: read_back::ReadBacks,
    wholes: whole::Wholes,
    /// One sweep at a time.
    sweeping: tokio::sync::Mutex<()>,
}

impl Objects {
    pub fn new(
        database: Database,
        store: ObjectStore,
        keys: TransferKeys,
        settings: auth::Settings,
        config: Config,
    ) -> Objects {
        let uploads = auth::shares::Shares::new(config.uploads_max);
        let parts_held = auth::shares::Shares::new(offer::PARTS_HELD_MAX);
        let assemblies = parts::Assemblies::new(config.uploads_max);
        let xet = xet::Cas::new(database.clone(), store.clone(), config.xet.clone());
        Objects(Arc::new(Inner {
            database,
            store,
            xet,
            keys,
            settings,
            counters: Counters::default(),
            uploads,
            parts_held,
            flights: flights::Flights::default(),
            turns: flights::Turns::default(),
            landings: landings::Landings::default(),
            assemblies,
            read_backs: read_back::ReadBacks::default(),
            wholes: whole::Wholes::default(),
            sweeping: tokio::sync::Mutex::default(),
            config,
        }))
    }

    pub fn database(&self) -> &Database {
        &self.0.database
    }

    pub fn store(&self) -> &ObjectStore {
        &self.0.store
    }

    /// Those that are stored in xorbs.
    pub fn xet(&self) -> &xet::Cas {
        &self.0.xet
    }

    pub fn keys(&self) -> &TransferKeys {
        &self.0.keys
    }

    /// By which transfer tokens are redeemed.
    pub fn settings(&self) -> auth::Settings {
        self.0.settings
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    fn now_ms(&self) -> i64 {
        self.0.database.clock().now_ms()
    }
}
