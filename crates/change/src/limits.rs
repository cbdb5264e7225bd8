//! What one change may cost, and how long things are kept.

use repository::ingest;

const SECOND_MS: i64 = 1000;
const HOUR_MS: i64 = 3600 * SECOND_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

#[derive(Clone, Debug)]
pub struct Limits {
    pub ingest: ingest::Limits,
    /// Refs in one repository.
    pub refs_max: u64,
    /// Bytes of a full ref name.
    pub ref_name_bytes_max: usize,
    /// Pushes, imports and maintenance runs that compute at the same time.
    pub concurrent_changes: usize,
    /// How long a pack replaced by compaction is kept for readers that still hold its list.
    pub superseded_ms: i64,
    /// How long what no ref reaches stays: roots of a collection are the ref log of this time, and the packs that a
    /// collection replaces are kept this long.
    pub gc_retention_ms: i64,
    /// A staged pack older than this belongs to a writer that died.
    pub staged_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            ingest: ingest::Limits::default(),
            refs_max: 1_000_000,
            ref_name_bytes_max: 1024,
            concurrent_changes: std::thread::available_parallelism().map_or(2, usize::from).max(2),
            superseded_ms: HOUR_MS,
            gc_retention_ms: 14 * DAY_MS,
            staged_ms: DAY_MS,
        }
    }
}
