//! The way of an object to the disk: hashed and written on blocking threads, piece by piece, while the next piece is
//! gathered; flushed while it is still being received.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use database::Sha256;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::disk::{DiskObjects, blocking};
use super::{Hasher, StoreError};
use crate::{Disk, TempFile};

/// A body up to here is held, and makes one hop in all.
const HELD_MAX: usize = 64 * 1024;
/// Gathered before the disk, being idle, gets it: what a slow upload holds.
const PIECE_MIN: usize = 128 * 1024;
/// Gathered at most while the disk is busy.
const PIECE_MAX: usize = 512 * 1024;
/// What comes in smaller frames is copied: a frame may keep alive a buffer much larger than itself.
const FRAME_MIN: usize = 16 * 1024;
/// Small frames are copied into pieces of up to this.
const TAIL_MAX: usize = 32 * 1024;
/// Written between two flushes. Left to the kernel, most of a file would be flushed at its end, with everybody waiting.
const FLUSH_EVERY: u64 = 64 * 1024 * 1024;

pub(super) struct DiskWriter {
    disk: Disk,
    key: String,
    size: u64,
    written: u64,
    gathered: Gathered,
    state: State,
}

enum State {
    /// Nothing was written to a file yet.
    Held,
    Busy(JoinHandle<Result<Staged, StoreError>>),
    Failed,
}

pub(super) struct DiskComplete {
    disk: Disk,
    key: String,
    size: u64,
    sha256: Sha256,
    content: Content,
}

enum Content {
    Held(Vec<Bytes>),
    Staged(Staged),
}

impl DiskObjects {
    pub(super) fn writer(&self, key: &str, size: u64) -> DiskWriter {
        let (disk, key) = (self.disk().clone(), key.to_owned());
        DiskWriter { disk, key, size, written: 0, gathered: Gathered::default(), state: State::Held }
    }
}

impl DiskWriter {
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        if bytes.len() as u64 > self.size - self.written {
            return Err(StoreError::TooLong { size: self.size });
        }
        self.written += bytes.len() as u64;
        self.gathered.push(bytes);
        let is_busy = matches!(&self.state, State::Busy(job) if !job.is_finished());
        if self.gathered.len >= if is_busy { PIECE_MAX } else { PIECE_MIN } {
            self.write_out().await?;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<DiskComplete, StoreError> {
        let (content, sha256) = if matches!(self.state, State::Held) && self.gathered.len <= HELD_MAX {
            let pieces = self.gathered.take();
            let mut hasher = Hasher::new();
            pieces.iter().for_each(|piece| hasher.update(piece));
            (Content::Held(pieces), hasher.finish())
        } else {
            if self.gathered.len > 0 {
                self.write_out().await?;
            }
            match self.settle().await? {
                None => return Err(failed()),
                Some(staged) => {
                    let sha256 = staged.hasher.clone().finish();
                    (Content::Staged(staged), sha256)
                }
            }
        };
        Ok(DiskComplete { disk: self.disk, key: self.key, size: self.written, sha256, content })
    }

    /// Gives what was gathered to a blocking thread, once it is done with what it has.
    async fn write_out(&mut self) -> Result<(), StoreError> {
        let staged = self.settle().await?;
        let pieces = self.gathered.take();
        let disk = self.disk.clone();
        self.state = State::Busy(tokio::task::spawn_blocking(move || {
            let mut staged = match staged {
                Some(staged) => staged,
                None => Staged::create(&disk)?,
            };
            staged.append(&pieces)?;
            Ok(staged)
        }));
        Ok(())
    }

    /// The file, if there is one yet, once nothing is being written to it. Leaves `Failed` behind. May be dropped and
    /// called again.
    async fn settle(&mut self) -> Result<Option<Staged>, StoreError> {
        if let State::Busy(job) = &mut self.state {
            let done = job.await.map_err(|panic| StoreError::Io(io::Error::other(panic)));
            self.state = State::Failed;
            return done?.map(Some);
        }
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Held => Ok(None),
            State::Busy(_) | State::Failed => Err(failed()),
        }
    }
}

fn failed() -> StoreError {
    StoreError::Io(io::Error::other("an earlier write failed"))
}

impl DiskComplete {
    pub(super) fn sha256(&self) -> Sha256 {
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
                Content::Held(pieces) => {
                    let staged = Staged::create(&disk)?;
                    write_all(staged.file(), &pieces)?;
                    staged
                }
            };
            Ok(staged.publish(&disk, &key)?)
        })
        .await
    }
}

/// What came in and is not on its way to the disk yet.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    /// Small frames, after `pieces`.
    tail: BytesMut,
    len: usize,
}

impl Gathered {
    fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if bytes.len() < FRAME_MIN {
            if self.tail.len() + bytes.len() > TAIL_MAX {
                self.end_tail();
            }
            return self.tail.extend_from_slice(&bytes);
        }
        self.end_tail();
        self.pieces.push(bytes);
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.end_tail();
        self.len = 0;
        std::mem::take(&mut self.pieces)
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(std::mem::take(&mut self.tail).freeze());
        }
    }
}

/// A file in the staging directory, and the hash of what is in it.
struct Staged {
    /// `None` once it was published.
    file: Option<TempFile>,
    hasher: Hasher,
    unflushed: u64,
    flush: Flush,
}

impl Staged {
    fn create(disk: &Disk) -> io::Result<Staged> {
        Ok(Staged {
            file: Some(disk.temp_file()?),
            hasher: Hasher::new(),
            unflushed: 0,
            flush: Flush::default(),
        })
    }

    fn file(&self) -> &File {
        self.file.as_ref().expect("because it leaves only when published").as_file()
    }

    fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        pieces.iter().for_each(|piece| self.hasher.update(piece));
        write_all(self.file(), pieces)?;
        self.unflushed += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
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

fn write_all(mut file: &File, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
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
