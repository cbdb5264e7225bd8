//! The way of an object to the disk: hashed and written on blocking threads, side by side, while the next bytes are
//! gathered; flushed while it is still being received.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use database::Sha256;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use super::buffers::{BLOCK, Buffer, Buffers};
use super::disk::{DiskObjects, blocking};
use super::{Hasher, StoreError};
use crate::{Disk, TempFile};

/// A body up to here is held, and makes one hop in all.
const HELD_MAX: u64 = 64 * 1024;
/// Gathered before the disk, being idle, gets it: what a slow upload holds.
const PIECE_MIN: usize = BLOCK;
/// Gathered at most while the disk is busy.
const PIECE_MAX: usize = 1024 * 1024;
/// Written between two flushes. Left to the kernel, most of a file would be flushed at its end, with everybody waiting.
const FLUSH_EVERY: u64 = 64 * 1024 * 1024;

pub(super) struct DiskWriter {
    disk: Disk,
    key: String,
    size: u64,
    written: u64,
    gathered: Gathered,
    hashes: bool,
    state: State,
}

enum State {
    /// Nothing was written to a file yet.
    Held,
    Busy {
        /// `None`: nobody wants to know.
        hashing: Option<Job<Hasher>>,
        writing: Job<Result<Staged, StoreError>>,
    },
    Failed,
}

pub(super) struct DiskComplete {
    disk: Disk,
    key: String,
    size: u64,
    sha256: Option<Sha256>,
    content: Content,
}

enum Content {
    Held(Vec<Buffer>),
    Staged(Staged),
}

impl DiskObjects {
    pub(super) fn writer(&self, key: &str, size: u64) -> DiskWriter {
        let gathered = Gathered { blocks: Vec::new(), len: 0, buffers: self.blocks.clone() };
        let (disk, key) = (self.disk().clone(), key.to_owned());
        DiskWriter { disk, key, size, written: 0, gathered, hashes: true, state: State::Held }
    }
}

impl DiskWriter {
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Before the first byte.
    pub(super) fn without_sha256(self) -> DiskWriter {
        DiskWriter { hashes: false, ..self }
    }

    pub(super) async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        if bytes.len() as u64 > self.size - self.written {
            return Err(StoreError::TooLong { size: self.size });
        }
        while !bytes.is_empty() {
            let remaining = self.size - self.written;
            let taken = self.gathered.fill(&bytes, remaining);
            self.written += taken as u64;
            let _ = bytes.split_to(taken);
            if self.size > HELD_MAX && self.gathered.len >= if self.is_busy() { PIECE_MAX } else { PIECE_MIN }
            {
                self.write_out().await?;
            }
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<DiskComplete, StoreError> {
        let is_held = matches!(self.state, State::Held) && self.gathered.len as u64 <= HELD_MAX;
        let (content, sha256) = if is_held {
            let blocks = self.gathered.take();
            let sha256 = self.hashes.then(|| {
                let mut hasher = Hasher::new();
                blocks.iter().for_each(|block| hasher.update(block.as_ref()));
                hasher.finish()
            });
            (Content::Held(blocks), sha256)
        } else {
            if self.gathered.len > 0 {
                self.write_out().await?;
            }
            match self.settle().await? {
                None => return Err(failed()),
                Some((staged, hasher)) => (Content::Staged(staged), hasher.map(Hasher::finish)),
            }
        };
        Ok(DiskComplete { disk: self.disk, key: self.key, size: self.written, sha256, content })
    }

    fn is_busy(&self) -> bool {
        match &self.state {
            State::Busy { hashing, writing } => {
                !(hashing.as_ref().is_none_or(Job::is_over) && writing.is_over())
            }
            State::Held | State::Failed => false,
        }
    }

    /// Gives what was gathered to blocking threads, once they are done with what they have.
    async fn write_out(&mut self) -> Result<(), StoreError> {
        let (staged, hasher) = match self.settle().await? {
            Some((staged, hasher)) => (Some(staged), hasher),
            None => (None, self.hashes.then(Hasher::new)),
        };
        let blocks = Arc::new(self.gathered.take());
        let (disk, same_blocks) = (self.disk.clone(), Arc::clone(&blocks));
        self.state = State::Busy {
            hashing: hasher.map(|mut hasher| {
                Job::spawn(move || {
                    same_blocks.iter().for_each(|block| hasher.update(block.as_ref()));
                    hasher
                })
            }),
            writing: Job::spawn(move || {
                let mut staged = match staged {
                    Some(staged) => staged,
                    None => Staged::create(&disk)?,
                };
                staged.append(&blocks)?;
                Ok(staged)
            }),
        };
        Ok(())
    }

    /// The file, if there is one yet, and the hash of what is in it, once nothing is being written to it. Leaves `Failed`
    /// behind. May be dropped and called again.
    async fn settle(&mut self) -> Result<Option<(Staged, Option<Hasher>)>, StoreError> {
        if let State::Busy { hashing, writing } = &mut self.state {
            if let Some(hashing) = hashing {
                hashing.wait().await;
            }
            writing.wait().await;
        }
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Held => {
                self.state = State::Held;
                Ok(None)
            }
            State::Busy { hashing, writing } => {
                Ok(Some((writing.end()??, hashing.map(Job::end).transpose()?)))
            }
            State::Failed => Err(failed()),
        }
    }
}

fn failed() -> StoreError {
    StoreError::Io(io::Error::other("an earlier write failed"))
}

/// Work on a blocking thread, and what came of it.
struct Job<T> {
    handle: JoinHandle<T>,
    outcome: Option<Result<T, JoinError>>,
}

impl<T: Send + 'static> Job<T> {
    fn spawn(work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        Job { handle: tokio::task::spawn_blocking(work), outcome: None }
    }

    fn is_over(&self) -> bool {
        self.outcome.is_some() || self.handle.is_finished()
    }

    /// May be dropped and called again.
    async fn wait(&mut self) {
        if self.outcome.is_none() {
            self.outcome = Some((&mut self.handle).await);
        }
    }

    /// After [`Job::wait`].
    fn end(self) -> Result<T, StoreError> {
        let outcome = self.outcome.expect("because it was waited for");
        outcome.map_err(|panic| StoreError::Io(io::Error::other(panic)))
    }
}

impl DiskComplete {
    pub(super) fn sha256(&self) -> Option<Sha256> {
        self.sha256
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) async fn publish(self) -> Result<(), StoreError> {
        let DiskComplete { disk, key, content, .. } = self;
        blocking(move || {
            let staged = match content {
                Content::Staged(staged) => staged,
                Content::Held(blocks) => {
                    let mut staged = Staged::create(&disk)?;
                    staged.append(&blocks)?;
                    staged
                }
            };
            Ok(staged.publish(&disk, &key)?)
        })
        .await
    }
}

/// What came in and is not on its way to the disk yet.
struct Gathered {
    /// Full, but for the last.
    blocks: Vec<Buffer>,
    len: usize,
    buffers: Buffers,
}

impl Gathered {
    /// Takes the first bytes of `bytes`. `remaining` are to come in all.
    fn fill(&mut self, bytes: &[u8], remaining: u64) -> usize {
        if self.blocks.last().is_none_or(Buffer::is_full) {
            self.blocks.push(self.buffers.take(remaining));
        }
        let taken = self.blocks.last_mut().map_or(0, |block| block.fill(bytes));
        self.len += taken;
        taken
    }

    fn take(&mut self) -> Vec<Buffer> {
        self.len = 0;
        std::mem::take(&mut self.blocks)
    }
}

/// A file in the staging directory.
struct Staged {
    /// `None` once it was published.
    file: Option<TempFile>,
    unflushed: u64,
    flush: Flush,
}

impl Staged {
    fn create(disk: &Disk) -> io::Result<Staged> {
        Ok(Staged { file: Some(disk.temp_file()?), unflushed: 0, flush: Flush::default() })
    }

    fn file(&self) -> &File {
        self.file.as_ref().expect("because it leaves only when published").as_file()
    }

    fn append(&mut self, blocks: &[Buffer]) -> io::Result<()> {
        write_all(self.file(), blocks)?;
        self.unflushed += blocks.iter().map(|block| block.as_ref().len() as u64).sum::<u64>();
        if self.unflushed >= FLUSH_EVERY && self.flush.start(self.file())? {
            self.unflushed = 0;
        }
        Ok(())
    }

    fn publish(mut self, disk: &Disk, key: &str) -> io::Result<()> {
        let file = self.file.take().expect("because it leaves only when published");
        self.flush.end(|| disk.publish(file, key))
    }
}

/// Unlinking a large file takes long enough to be kept off the async threads.
impl Drop for Staged {
    fn drop(&mut self) {
        if let (Some(file), Ok(runtime)) = (self.file.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

/// Flushes of a file beside the writes to it. The kernel tells each error once, to whoever flushes next: so the errors
/// are kept, and never do two flush at a time.
#[derive(Clone, Default)]
struct Flush(Arc<Mutex<Option<io::Error>>>);

impl Flush {
    /// False if one is running.
    fn start(&self, file: &File) -> io::Result<bool> {
        let Ok(mut error) = self.0.try_lock() else { return Ok(false) };
        if let Some(error) = error.take() {
            return Err(error);
        }
        let (flush, file) = (self.clone(), file.try_clone()?);
        tokio::task::spawn_blocking(move || {
            let mut error = flush.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(failure) = file.sync_data() {
                error.get_or_insert(failure);
            }
        });
        Ok(true)
    }

    /// Runs the last flush, and what depends on it, if all before it went well.
    fn end<T>(&self, last: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut error = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match error.take() {
            Some(error) => Err(error),
            None => last(),
        }
    }
}

fn write_all(mut file: &File, blocks: &[Buffer]) -> io::Result<()> {
    let mut slices: Vec<_> = blocks.iter().map(|block| IoSlice::new(block.as_ref())).collect();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
