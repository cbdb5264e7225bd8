//! Request bodies on their way in: small ones in memory, larger ones in a file without a name, all within one cap.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use storage::Disk;

use crate::free::{FreeSpace, Full};

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one body in memory; beyond it, it goes to a file.
    pub memory_per_body: usize,
    /// Bytes of all bodies in memory; beyond it, each goes to a file at once.
    pub memory_max: u64,
    /// Bytes of all bodies.
    pub bytes_max: u64,
    /// The part of `bytes_max` that is for bodies up to `memory_per_body` alone, so that a few large ones do not keep
    /// out the many small ones.
    pub bytes_for_small: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Staging(Arc<Shared>);

struct Shared {
    disk: Disk,
    free: FreeSpace,
    limits: Limits,
    bytes: Counter,
    memory: Counter,
}

/// A body that is being received. What it took is given back when it is dropped.
pub struct Upload {
    staging: Staging,
    /// Not yet in the file, if there is one.
    memory: Vec<u8>,
    file: Option<File>,
    len: u64,
    charged: Charge,
    memory_charged: Charge,
}

#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// Bodies under way take all the bytes they may.
    #[error("the room for uploads under way is used up")]
    NoRoom,
    #[error(transparent)]
    Full(#[from] Full),
    #[error("staging: {0}")]
    Io(#[from] io::Error),
}

/// Buffered at most before each write to a file, so that a body costs few switches of thread.
const FILE_CHUNK: usize = 256 * 1024;

impl Staging {
    /// Files are made in the staging directory of `disk`, which is emptied at the next start, and grow as long as there
    /// is `free` space.
    pub fn new(disk: Disk, free: FreeSpace, limits: Limits) -> Staging {
        let (bytes, memory) = (Counter::default(), Counter::default());
        Staging(Arc::new(Shared { disk, free, limits, bytes, memory }))
    }

    pub fn begin(&self) -> Upload {
        let (charged, memory_charged) = (self.0.bytes.charge(), self.0.memory.charge());
        Upload { staging: self.clone(), memory: Vec::new(), file: None, len: 0, charged, memory_charged }
    }

    /// Bytes of bodies that somebody still holds.
    pub fn held_bytes(&self) -> u64 {
        self.0.bytes.0.load(Ordering::Relaxed)
    }
}

impl Upload {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StagingError> {
        let in_memory = self.charge(bytes.len())?;
        self.memory.extend_from_slice(bytes);
        self.appended(bytes.len(), in_memory).await
    }

    /// Appends what `fill` puts at the start of a slice of `max` bytes; it returns how many. They are charged before
    /// they are there.
    pub async fn write_with<E: From<StagingError>>(
        &mut self,
        max: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let in_memory = self.charge(max)?;
        let start = self.memory.len();
        self.memory.resize(start + max, 0);
        let filled = fill(&mut self.memory[start..]);
        let count = *filled.as_ref().unwrap_or(&0);
        self.memory.truncate(start + count);
        filled?;
        Ok(self.appended(count, in_memory).await?)
    }

    /// The whole body: in memory, or a mapping of the file. It counts against the cap until the last clone is dropped.
    pub async fn finish(mut self) -> Result<Bytes, StagingError> {
        if self.file.is_some() {
            self.write_out().await?;
        }
        let Upload { memory, file, len, mut charged, mut memory_charged, .. } = self;
        charged.shrink_to(len);
        memory_charged.shrink_to(memory.len() as u64);
        let content = match file {
            Some(file) => storage::map_file(&file)?,
            None => Bytes::from(memory),
        };
        Ok(Bytes::from_owner(Staged { content, _charged: charged, _memory_charged: memory_charged }))
    }

    /// Charges for `bytes` more. False if they may not stay in memory.
    fn charge(&mut self, bytes: usize) -> Result<bool, StagingError> {
        let limits = self.staging.0.limits;
        let is_large = self.len > limits.memory_per_body as u64;
        let for_small = if is_large { limits.bytes_for_small } else { 0 };
        if !self.charged.grow_to(self.len + bytes as u64, limits.bytes_max.saturating_sub(for_small)) {
            return Err(StagingError::NoRoom);
        }
        Ok(self.memory_charged.grow_to((self.memory.len() + bytes) as u64, limits.memory_max))
    }

    async fn appended(&mut self, count: usize, in_memory: bool) -> Result<(), StagingError> {
        let memory_max = self.staging.0.limits.memory_per_body;
        self.len += count as u64;
        if self.file.is_none() {
            if in_memory && self.memory.len() <= memory_max {
                return Ok(());
            }
            // Without a name from the start, so that nothing is left of it.
            self.file = Some(self.staging.0.disk.temp_file()?.into_file());
        }
        // What may not stay in memory goes at once: then it is one piece for each connection at most.
        if !in_memory || self.memory.len() >= memory_max.min(FILE_CHUNK) {
            self.write_out().await?;
        }
        Ok(())
    }

    async fn write_out(&mut self) -> Result<(), StagingError> {
        self.staging.0.free.take(self.memory.len() as u64)?;
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let memory = std::mem::take(&mut self.memory);
        let written = tokio::task::spawn_blocking(move || {
            file.write_all(&memory)?;
            Ok::<_, io::Error>(file)
        });
        self.file = Some(written.await.map_err(io::Error::other)??);
        self.memory_charged.shrink_to(0);
        Ok(())
    }
}

/// The body and what it takes of the caps.
struct Staged {
    content: Bytes,
    _charged: Charge,
    _memory_charged: Charge,
}

impl AsRef<[u8]> for Staged {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl Counter {
    fn charge(&self) -> Charge {
        Charge { counter: self.clone(), bytes: 0 }
    }
}

/// A share of a counter, given back on drop.
struct Charge {
    counter: Counter,
    bytes: u64,
}

impl Charge {
    /// False, and nothing is charged, if the counter would exceed `max`. What was charged already counts.
    fn grow_to(&mut self, bytes: u64, max: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let grown = self.counter.0.try_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
            total.checked_add(more).filter(|&total| total <= max)
        });
        if grown.is_ok() {
            self.bytes += more;
        }
        grown.is_ok()
    }

    fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.counter.0.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Size;

    const LIMITS: Limits =
        Limits { memory_per_body: 100_000, memory_max: 250_000, bytes_max: 2_000_000, bytes_for_small: 0 };

    fn staging() -> (tempfile::TempDir, Staging) {
        staging_with(LIMITS, Size(0))
    }

    fn staging_with(limits: Limits, min_free: Size) -> (tempfile::TempDir, Staging) {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let free = FreeSpace::new(disk.clone(), min_free, database::Clock::default());
        (directory, Staging::new(disk, free, limits))
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 3) as u8 ^ at as u8).collect()
    }

    #[tokio::test]
    async fn bodies_come_out_as_they_went_in() {
        let (_directory, staging) = staging();
        for len in [0, 1, 100_000, 100_001, FILE_CHUNK, 1_500_000] {
            for step in [997, 70_000, 1_500_000] {
                let mut upload = staging.begin();
                for part in pattern(len).chunks(step) {
                    upload.write(part).await.unwrap();
                }
                assert_eq!(upload.len(), len as u64);
                assert_eq!(upload.file.is_some(), len > LIMITS.memory_per_body, "{len} by {step}");
                let body = upload.finish().await.unwrap();
                assert!(body == pattern(len), "{len} by {step}");
                let slice = body.slice(body.len() / 2..);
                drop(body);
                assert_eq!(staging.held_bytes(), len as u64, "as long as a part is held");
                drop(slice);
                assert_eq!(staging.held_bytes(), 0);
            }
        }
    }

    #[tokio::test]
    async fn many_small_bodies_do_not_add_up_in_memory() {
        let (_directory, staging) = staging();
        let mut uploads = Vec::new();
        for _ in 0..4 {
            let mut upload = staging.begin();
            upload.write(&pattern(90_000)).await.unwrap();
            uploads.push(upload);
        }
        let in_files = uploads.iter().filter(|upload| upload.file.is_some()).count();
        assert_eq!(in_files, 2, "the third and fourth found 180000 of 250000 bytes taken");
        for upload in uploads {
            assert!(upload.finish().await.unwrap() == pattern(90_000));
        }
        assert_eq!(staging.0.memory.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_cap_is_for_all_together_and_is_given_back() {
        let (_directory, staging) = staging();
        let mut first = staging.begin();
        first.write(&pattern(1_500_000)).await.unwrap();
        let mut second = staging.begin();
        second.write(&pattern(500_000)).await.unwrap();
        assert!(matches!(second.write(b"x").await, Err(StagingError::NoRoom)));
        drop(first);
        second.write(b"x").await.unwrap();
        drop(second);
        assert_eq!(staging.held_bytes(), 0);
    }

    #[tokio::test]
    async fn what_is_not_there_yet_is_charged_and_given_back() {
        let (_directory, staging) = staging();
        let mut upload = staging.begin();
        for _ in 0..2 {
            let held = Ok::<_, StagingError>;
            upload
                .write_with(60_000, |space| (space.len() == 60_000).then_some(10).map_or(held(0), held))
                .await
                .unwrap();
            assert!(staging.held_bytes() >= 60_000);
        }
        assert_eq!((upload.len(), upload.file.is_some()), (20, false));
        let refused = upload.write_with(3_000_000, |_| panic!("before it is charged")).await;
        assert!(matches!(refused, Err(StagingError::NoRoom)));
        let body = upload.finish().await.unwrap();
        assert_eq!((body.len(), staging.held_bytes()), (20, 20));
        assert_eq!(staging.0.memory.0.load(Ordering::Relaxed), 20);
        drop(body);
        assert_eq!(staging.held_bytes() + staging.0.memory.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn large_bodies_leave_room_for_small_ones() {
        let limits = Limits { bytes_for_small: 500_000, ..LIMITS };
        let (_directory, staging) = staging_with(limits, Size(0));
        let mut large = staging.begin();
        large.write(&pattern(200_000)).await.unwrap();
        large.write(&pattern(1_300_000)).await.unwrap();
        assert!(matches!(large.write(b"x").await, Err(StagingError::NoRoom)));
        let mut small = staging.begin();
        small.write(&pattern(100_000)).await.unwrap();
        assert_eq!(staging.held_bytes(), 1_600_000);
    }

    #[tokio::test]
    async fn files_do_not_grow_when_the_disk_is_nearly_full() {
        let (_directory, staging) = staging_with(LIMITS, Size(u64::MAX / 2));
        let mut upload = staging.begin();
        upload.write(&pattern(100_000)).await.unwrap();
        assert!(matches!(upload.write(b"x").await, Err(StagingError::Full(_))), "its first byte in a file");
        drop(upload);
        assert_eq!(staging.held_bytes(), 0);
    }
}
