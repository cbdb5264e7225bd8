//! The bounds.

use std::time::Duration;

use crate::{shard, xorb};

/// What an administrator set, and what tests shrink.
#[derive(Clone, Debug)]
pub struct Config {
    pub xorb: xorb::Limits,
    pub shard: shard::Limits,
    /// Of one file.
    pub file_bytes_max: u64,
    /// Xorbs that are received at once, each in a few MiB of memory, and half of them from one user; more are told to come
    /// back.
    pub xorbs_max: usize,
    /// Xorbs of one repository that clients may put into the bucket themselves and that did not come yet; others pass
    /// through the hub.
    pub grants_max: u32,
    /// Shards that are proven at once; more wait. Each may take twice its size in memory.
    pub shards_max: usize,
    /// For how long one waits for its turn before it is told to come back.
    pub turn_wait: Duration,
    /// Of indexes kept in memory.
    pub index_bytes_max: usize,
    /// Of the addresses of ranges of xorbs, and of those to which clients put xorbs. They ask for new ones when they expire.
    pub address_lifetime: Duration,
    pub dedup_scope: DedupScope,
    /// Xorbs named in one answer to whether a chunk is here.
    pub dedup_xorbs_max: u32,
    /// For how long clients may believe such an answer. Shorter than the lease.
    pub dedup_lifetime: Duration,
    /// A key by which chunks' hashes are given out is replaced after this.
    pub key_lifetime: Duration,
    /// For how long a xorb is kept that no file needs, since a client was last told of it: they remember for three weeks,
    /// and never ask again.
    pub lease: Duration,
    /// Between the end of the lease and the deletion.
    pub grace: Duration,
    /// How long a sweep deletes before it leaves the rest for the next.
    pub sweep_wait: Duration,
}

/// Among whose chunks a client's are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupScope {
    /// Those of the repository it uploads to.
    Repo,
    /// Those of all repositories it may read.
    Readable,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Config {
    fn default() -> Config {
        Config {
            xorb: xorb::Limits::default(),
            shard: shard::Limits::default(),
            file_bytes_max: 5 << 40,
            xorbs_max: 512,
            grants_max: 1024,
            shards_max: 4,
            turn_wait: Duration::from_secs(30),
            index_bytes_max: 64 << 20,
            address_lifetime: Duration::from_secs(3600),
            dedup_scope: DedupScope::Readable,
            dedup_xorbs_max: 64,
            dedup_lifetime: 7 * DAY,
            key_lifetime: 7 * DAY,
            lease: 28 * DAY,
            grace: 7 * DAY,
            sweep_wait: Duration::from_secs(30),
        }
    }
}
