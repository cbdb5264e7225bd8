//! The rows in one SQLite file: WAL, `synchronous=FULL`, many readers inline, one writer thread.
//!
//! [`Database`]'s methods are spread over the files here by theme; each is a few lines around its SQL. Reads
//! take a connection from `readers`; writes are closures sent to `writer`, which commits in groups. `apply`
//! is the one that moves refs. Every row is written through `checksum`.

mod access;
mod apply;
mod buckets;
mod check;
mod checksum;
mod codec;
mod collections;
mod copy;
mod discussions;
mod downloads;
mod error;
mod likes;
mod listing;
mod locks;
mod maintenance;
mod moved;
mod objects;
mod orgs;
mod packs;
mod ranks;
mod readers;
mod recent;
mod repos;
mod schema;
mod search;
mod snapshot;
mod storage;
mod users;
mod webhooks;
mod writer;
mod xet;

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

pub use error::{
    ApplyError, BatchError, CopyError, CreateError, DbError, DiscussionError, LockError, OpenError,
    PublishError, RegisterError, WebhookError,
};
pub use repos::{Found, NewRepo};
pub use storage::RepoStorage;

use crate::{Clock, Link, Membership, Repo, RepoId, RepoKind, Sha256, Token, TokenId, UserId};
use checksum::SEQUENCE;
use error::WriteError;
use moved::Moved;
use readers::Readers;
use recent::{Commits, Recent};
use writer::Writer;

/// The rows of one data directory. Cheap to clone. When the last clone is dropped, queued writes are
/// finished.
///
/// Reads run on the calling thread and take microseconds (more where said). A write's future may be dropped
/// once it was polled: what is queued is done all the same.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    clock: Clock,
    // Before `writer`: the last connection to go is the writer's, which then removes the WAL file.
    readers: Readers,
    writer: Writer,
    known: Known,
    moved: Moved,
    /// Notified after a commit that queued deliveries of webhooks.
    queued: Arc<tokio::sync::Notify>,
}

/// What every request asks for: whose token it is, what they belong to, which repository is meant, and which object of it.
struct Known {
    tokens: Recent<[u8; 32], Token>,
    tokens_by_id: Recent<TokenId, (Token, [u8; 32])>,
    memberships: Recent<UserId, Arc<[Membership]>>,
    admissions: Recent<UserId, Arc<[RepoId]>>,
    repos: Recent<(RepoKind, String), Found>,
    repos_by_id: Recent<RepoId, Repo>,
    links: Recent<(RepoId, Sha256), Link>,
}

/// Totals of the node, for metrics. Live repos and packs only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub users: u64,
    pub repos: u64,
    pub refs: u64,
    pub packs: u64,
    /// Of the packs' blobs.
    pub bytes: u64,
    /// Large objects, each once however many repos link it.
    pub objects: u64,
    pub objects_bytes: u64,
    /// Batches that may still bring something.
    pub uploads_open: u64,
    /// Deliveries of webhooks.
    pub webhooks_waiting: u64,
}

impl Database {
    /// Opens or creates `path` (WAL, synchronous=FULL) and migrates it to the current schema.
    pub fn open(path: &Path, clock: Clock) -> Result<Database, OpenError> {
        let conn = schema::open_writer(path)?;
        let commits = Commits::default();
        let queued = Arc::<tokio::sync::Notify>::default();
        let writer = Writer::start(conn, commits.clone(), Arc::clone(&queued)).map_err(OpenError::Thread)?;
        let known = Known {
            tokens: Recent::new(commits.clone()),
            tokens_by_id: Recent::new(commits.clone()),
            repos_by_id: Recent::new(commits.clone()),
            links: Recent::new(commits.clone()),
            memberships: Recent::new(commits.clone()),
            admissions: Recent::new(commits.clone()),
            repos: Recent::new(commits.clone()),
        };
        let moved = Moved::new(commits);
        let readers = Readers::new(path.to_owned());
        Ok(Database(Arc::new(Inner { clock, readers, writer, known, moved, queued })))
    }

    pub fn schema_version(&self) -> i64 {
        schema::VERSION
    }

    pub fn sqlite_version(&self) -> &'static str {
        rusqlite::version()
    }

    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Waits for queued writes, checkpoints, and stops the writer: later writes fail with
    /// [`DbError::Closed`].
    pub async fn close(&self) {
        self.0.readers.drain();
        self.0.writer.stop().await;
    }

    /// One scan of the repos and one of the uploads: milliseconds per ten thousand of them.
    pub fn stats(&self) -> Result<Stats, DbError> {
        self.read(|conn| {
            let sql = "SELECT (SELECT count(*) FROM account), count(*), coalesce(sum(refs_count), 0),
                              coalesce(sum(packs_count), 0), coalesce(sum(packs_bytes), 0),
                              (SELECT value FROM total WHERE name = 'objects'),
                              (SELECT value FROM total WHERE name = 'objects_bytes'),
                              (SELECT count(*) FROM upload WHERE closed = 0),
                              (SELECT coalesce(sum(waiting), 0) FROM webhook)
                       FROM repo WHERE state = 0";
            let stats = conn.prepare_cached(sql)?.query_row([], |row| {
                Ok(Stats {
                    users: row.get(0)?,
                    repos: row.get(1)?,
                    refs: row.get(2)?,
                    packs: row.get(3)?,
                    bytes: row.get(4)?,
                    objects: row.get(5)?,
                    objects_bytes: row.get(6)?,
                    uploads_open: row.get(7)?,
                    webhooks_waiting: row.get(8)?,
                })
            })?;
            Ok(stats)
        })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, DbError>) -> Result<T, DbError> {
        self.0.readers.read(work)
    }

    /// Runs `work` in a transaction, alone; it gets the time. An error undoes what it did.
    async fn write<T, E>(
        &self,
        work: impl FnOnce(&Connection, i64) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError,
    {
        let clock = self.0.clock.clone();
        self.0.writer.run(writer::Sort::Plain, move |conn| work(conn, clock.now_ms())).await
    }
}

/// The next id of a table. Never given twice, even after the row with the highest one is gone.
fn next_id(conn: &Connection, table: &str) -> rusqlite::Result<i64> {
    let sequence = SEQUENCE.record(conn, "name = ?1", [table])?;
    let mut sequence = sequence.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let next: i64 = sequence.get("next")?;
    sequence.set("next", next + 1)?;
    sequence.write(conn)?;
    Ok(next)
}

/// Collects the rows of one prepared query.
fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, DbError> {
    Ok(conn.prepare_cached(sql)?.query_map(params, row)?.collect::<rusqlite::Result<_>>()?)
}
