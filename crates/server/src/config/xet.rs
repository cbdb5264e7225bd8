//! `[xet]`

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units::Span;

/// `[xet]`: large files as today's `hf` sends them, in chunks that are stored once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Xet {
    /// Among whose chunks those of an upload are looked for, so that they are not sent again: `readable`, all repositories
    /// that the uploader may read, or `repo`, the one that is uploaded to. What is sent is stored once either way.
    pub dedup_scope: DedupScope,
    /// How long chunks that no file needs any more stay since a client was last told of them. Clients remember for three
    /// weeks; with less than that, uploads can be refused once, and `hf` has to be told to forget (its `xet` cache).
    pub lease: Span,
    /// Uploads of xorbs (up to 64 MiB each) at the same time, half of them from one user; those beyond it are answered 429.
    pub uploads: NonZeroUsize,
    /// Uploads whose files are being registered at the same time; more wait. Each may take 128 MiB of memory.
    pub shards: NonZeroUsize,
    /// Of the addresses of chunks that downloads are given, and of those in a bucket to which uploads go. Clients ask for new
    /// ones.
    pub address_lifetime: Span,
    /// Of the tokens that clients upload and download chunks with. They ask for another half a minute before it ends, so it
    /// is 40 seconds at least.
    pub token_lifetime: Span,
    /// Clients that know nothing of chunks (browsers, `git lfs`, older `hf`) get these files through Granary. In a bucket,
    /// when so many times the size of a file was read that way since the start, all of it is stored as one object besides,
    /// and they are sent there. That takes its size once more (but counts against no quota), for as long as the file is
    /// there. 0: never, and such copies are deleted a week later.
    pub whole_after: u32,
}

/// So that there is time between two of them.
const TOKEN_LIFETIME_MIN: Duration = auth::xet::REFRESHED_BEFORE.saturating_add(Duration::from_secs(10));

impl Xet {
    pub fn token_lifetime(&self) -> Duration {
        self.token_lifetime.duration().max(TOKEN_LIFETIME_MIN)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DedupScope {
    Repo,
    Readable,
}

impl Default for Xet {
    fn default() -> Self {
        let nonzero = |n| NonZeroUsize::new(n).expect("because defaults are not 0");
        Xet {
            dedup_scope: DedupScope::Readable,
            lease: Span::days(28),
            uploads: nonzero(512),
            shards: nonzero(4),
            address_lifetime: Span::hours(1),
            token_lifetime: Span::hours(1),
            whole_after: 8,
        }
    }
}

impl From<DedupScope> for ::xet::DedupScope {
    fn from(scope: DedupScope) -> Self {
        match scope {
            DedupScope::Repo => ::xet::DedupScope::Repo,
            DedupScope::Readable => ::xet::DedupScope::Readable,
        }
    }
}
