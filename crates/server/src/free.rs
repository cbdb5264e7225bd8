//! How much of the disk is free, and how much of that may be taken.

use std::io;
use std::sync::Arc;

use database::Clock;
use parking_lot::Mutex;
use storage::Disk;

use crate::config::Size;

/// The file system of the data directory, and what is kept back on it. Cheap to clone.
#[derive(Clone)]
pub struct FreeSpace(Arc<Shared>);

struct Shared {
    disk: Disk,
    min: Size,
    clock: Clock,
    reading: Mutex<Option<Reading>>,
}

/// Refused: too little room to finish safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk is nearly full: {} free, {min} are kept back (storage.min_free)", in_mib(*.free))]
pub struct Full {
    /// `None` if the file system did not say.
    pub free: Option<Size>,
    pub min: Size,
}

struct Reading {
    /// What the file system said, less what was taken since; `None` if it did not say.
    bytes: Option<u64>,
    at_ms: i64,
}

/// How long a reading counts.
const READING_FOR_MS: i64 = 1000;

impl FreeSpace {
    /// `min` is kept back: see `storage.min_free`.
    pub fn new(disk: Disk, min: Size, clock: Clock) -> FreeSpace {
        FreeSpace(Arc::new(Shared { disk, min, clock, reading: Mutex::new(None) }))
    }

    /// To be asked before `bytes` are written into a file; 0 asks whether writes are welcome at all. The file system is
    /// read at most once a second, and what was taken since counts as written, so that a second's worth of writes cannot
    /// go below what is kept back.
    pub fn take(&self, bytes: u64) -> Result<(), Full> {
        self.look(bytes, true)
    }

    /// Whether so many bytes could be taken now.
    pub fn fits(&self, bytes: u64) -> Result<(), Full> {
        self.look(bytes, false)
    }

    fn look(&self, bytes: u64, take: bool) -> Result<(), Full> {
        let Shared { disk, min, clock, reading } = &*self.0;
        let now_ms = clock.now_ms();
        let mut reading = reading.lock();
        let reading = match &mut *reading {
            Some(fresh) if (0..READING_FOR_MS).contains(&(now_ms - fresh.at_ms)) => fresh,
            stale => stale.insert(Reading { bytes: read(disk), at_ms: now_ms }),
        };
        match reading.bytes.and_then(|free| free.checked_sub(bytes)) {
            Some(left) if left >= min.bytes() => {
                if take {
                    reading.bytes = Some(left);
                }
                Ok(())
            }
            _ => Err(Full { free: reading.bytes.map(Size), min: *min }),
        }
    }
}

fn read(disk: &Disk) -> Option<u64> {
    let bytes: io::Result<u64> = disk.free_bytes();
    if let Err(error) = &bytes {
        let path = disk.root().display();
        tracing::warn!(%path, %error, "cannot read the free space; writes are refused");
    }
    bytes.ok()
}

fn in_mib(size: Option<Size>) -> String {
    size.map_or_else(|| "an unknown number of bytes".to_owned(), |size| format!("{} MiB", size.bytes() >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_counts_until_the_next_reading() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let clock = Clock::default();
        // Others may write to the same file system, but hardly half of what is free.
        let free = disk.free_bytes().unwrap();
        let space = FreeSpace::new(disk, Size(free / 2), clock.clone());
        assert_eq!(space.take(0), Ok(()));
        assert_eq!(space.fits(free / 3), Ok(()));
        assert_eq!(space.take(free / 3), Ok(()), "to ask takes nothing");
        assert!(space.fits(free / 3).is_err());
        let full = space.take(free / 3).unwrap_err();
        assert!(full.to_string().contains("storage.min_free"), "{full}");
        assert_eq!(space.take(0), Ok(()), "a refusal takes nothing");
        clock.advance_ms(READING_FOR_MS);
        assert_eq!(space.take(free / 3), Ok(()), "none of it was written");
        assert!(space.take(u64::MAX).is_err());
    }
}
