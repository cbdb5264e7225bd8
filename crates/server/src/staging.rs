//! Request bodies on their way in: small ones in memory, larger ones in a file without a name, all within one cap.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use storage::Disk;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one body in memory; beyond it, it goes to a file.
    pub memory_per_body: usize,
    /// Bytes of all bodies in memory; beyond it, each goes to a file at once.
    pub memory_max: u64,
    /// Bytes of all bodies.
    pub bytes_max: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Staging(Arc<Shared>);

struct Shared {
    disk: Disk,
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
    #[error("staging: {0}")]
    Io(#[from] io::Error),
}

/// Buffered before each write to a file, so that a body costs few switches of thread.
const FILE_CHUNK: usize = 256 * 1024;

impl Staging {
    /// Files are made in the staging directory of `disk`, which is emptied at the next start.
    pub fn new(disk: Disk, limits: Limits) -> Staging {
        Staging(Arc::new(Shared { disk, limits, bytes: Counter::default(), memory: Counter::default() }))
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
        let limits = self.staging.0.limits;
        if !self.charged.grow(bytes.len() as u64, limits.bytes_max) {
            return Err(StagingError::NoRoom);
        }
        self.len += bytes.len() as u64;
        if self.file.is_none() {
            let small = self.memory.len() + bytes.len() <= limits.memory_per_body;
            if small && self.memory_charged.grow(bytes.len() as u64, limits.memory_max) {
                self.memory.extend_from_slice(bytes);
                return Ok(());
            }
            // Without a name from the start, so that nothing is left of it.
            self.file = Some(self.staging.0.disk.temp_file()?.into_file());
        }
        self.memory.extend_from_slice(bytes);
        if self.memory.len() >= FILE_CHUNK {
            self.write_out().await?;
        }
        Ok(())
    }

    /// The whole body: in memory, or a mapping of the file. It counts against the cap until the last clone is dropped.
    pub async fn finish(mut self) -> Result<Bytes, StagingError> {
        if self.file.is_some() {
            self.write_out().await?;
        }
        let Upload { memory, file, charged, memory_charged, .. } = self;
        let content = match file {
            Some(file) => storage::map_file(&file)?,
            None => Bytes::from(memory),
        };
        Ok(Bytes::from_owner(Staged { content, _charged: charged, _memory_charged: memory_charged }))
    }

    async fn write_out(&mut self) -> io::Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let memory = std::mem::take(&mut self.memory);
        let written = tokio::task::spawn_blocking(move || {
            file.write_all(&memory)?;
            Ok::<_, io::Error>((file, memory))
        });
        let (file, mut memory) = written.await.map_err(io::Error::other)??;
        memory.clear();
        memory.shrink_to(FILE_CHUNK);
        self.memory = memory;
        self.file = Some(file);
        self.memory_charged.release();
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
    /// False, and nothing is charged, if the counter would exceed `max`.
    fn grow(&mut self, bytes: u64, max: u64) -> bool {
        let grown = self.counter.0.try_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
            total.checked_add(bytes).filter(|&total| total <= max)
        });
        if grown.is_ok() {
            self.bytes += bytes;
        }
        grown.is_ok()
    }

    fn release(&mut self) {
        self.counter.0.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { memory_per_body: 100_000, memory_max: 250_000, bytes_max: 2_000_000 };

    fn staging() -> (tempfile::TempDir, Staging) {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        (directory, Staging::new(disk, LIMITS))
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
}
