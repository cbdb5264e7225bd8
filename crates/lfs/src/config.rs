//! The bounds.

use std::time::Duration;

/// What an administrator set, and what tests shrink.
#[derive(Clone, Debug)]
pub struct Config {
    /// Larger objects go in parts if the client offers that, in bytes.
    pub multipart_from: u64,
    /// Of a part, at least, in bytes; very large objects get larger parts (see [`Config::part_bytes`]).
    pub part_size: u64,
    pub batch_objects_max: usize,
    pub object_bytes_max: u64,
    /// Bodies received at once; more are told to come back.
    pub uploads_max: usize,
    /// How long a client waits for its object to be read back, or to become durable; it is told "done" either way.
    /// Clients give up after 30 s of silence.
    pub verify_wait: Duration,
    /// How long a push waits for read-backs that it needs.
    pub require_wait: Duration,
    /// Between the tries of a read-back while the bucket is away, or while the bytes are.
    pub read_back_pauses: Vec<Duration>,
    /// A client that asks whether an object is here is about to push what needs it. A link that is older than this is
    /// made new then, lest it be collected between the two. Well below the retention.
    pub touch_after: Duration,
    /// How long a sweep clears away unfinished uploads before it leaves the rest for the next.
    pub sweep_wait: Duration,
    /// So many times its size has to be read of a file in xorbs before it is stored as one object besides, in a bucket.
    /// 0: never, and such copies go.
    pub whole_after: u32,
    pub xet: xet::Config,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            multipart_from: 64 * MIB,
            part_size: 16 * MIB,
            batch_objects_max: 5000,
            object_bytes_max: 5 << 40,
            uploads_max: 512,
            verify_wait: Duration::from_secs(20),
            require_wait: Duration::from_secs(3600),
            read_back_pauses: [1, 4, 15, 60, 180].map(Duration::from_secs).to_vec(),
            touch_after: Duration::from_secs(24 * 3600),
            sweep_wait: Duration::from_secs(30),
            whole_after: 8,
            xet: xet::Config::default(),
        }
    }
}

impl Config {
    /// The part size for an object of `size` bytes, `least` or more. S3 takes 10,000 parts; some are left as a margin.
    pub fn part_bytes(&self, size: u64, least: u64) -> u64 {
        match size.div_ceil(PARTS_MAX).max(least) {
            needed if needed <= self.part_size => self.part_size,
            needed => needed.next_multiple_of(MIB),
        }
    }
}

pub(crate) const MIB: u64 = 1 << 20;
const PARTS_MAX: u64 = 9000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_never_too_many() {
        let config = Config { part_size: 5600 * 1024, ..Config::default() };
        assert_eq!((64 * MIB + 1).div_ceil(config.part_bytes(64 * MIB + 1, MIB)), 12);
        assert_eq!(config.part_bytes(1, 0), 5600 * 1024);
        for size in [PARTS_MAX * config.part_size, PARTS_MAX * config.part_size + 1, 5 << 40] {
            let part = config.part_bytes(size, 0);
            assert!(size.div_ceil(part) <= PARTS_MAX, "{size} in parts of {part}");
            assert!(part <= 5 << 30, "S3 takes no larger part");
        }
        assert_eq!(config.part_bytes(1, 5600 * 1024 + 1), 6 * MIB);
    }
}
