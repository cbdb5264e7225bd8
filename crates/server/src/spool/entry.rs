//! One answer: who writes it and who reads it.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use storage::map_file;

use super::{Key, Spool};

/// Why an answer did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Too many answers are being computed or wait for it.
    #[error("too many fetches are being prepared")]
    Busy,
    /// Answers under way take all the bytes they may.
    #[error("the room for answers under way is used up")]
    NoRoom,
    /// Its file would take what `storage.min_free` keeps back.
    #[error("the disk is nearly full")]
    DiskFull,
    /// What went wrong was logged by the producer.
    #[error("its production failed")]
    Failed,
}

/// Reads an answer from its beginning, whether it is finished or grows.
#[derive(Debug)]
pub struct Reader {
    entry: Arc<Entry>,
    position: u64,
}

/// Writes an answer. Dropped without [`Writer::finish`], it breaks the answer for all its readers.
///
/// To be used where blocking is allowed. Bytes reach the readers in chunks, or a moment after they were written.
pub struct Writer {
    spool: Spool,
    key: Option<Key>,
    entry: Arc<Entry>,
    pending: Vec<u8>,
    published: Instant,
    file: Option<File>,
    /// Set by the first failure: whatever is written after it would follow a gap.
    broken: Option<(io::ErrorKind, Broken)>,
    finished: bool,
}

/// Where a finished answer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Memory,
    Disk,
}

#[derive(Debug)]
pub(super) struct Entry {
    content: Mutex<Content>,
    readers: AtomicUsize,
    charged: AtomicU64,
    /// The sum of `charged` over all entries.
    held: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Content {
    /// What lies in the file, or all of a finished answer.
    settled: Bytes,
    /// What follows it, in memory.
    tail: Vec<Bytes>,
    tail_len: usize,
    outcome: Option<Result<Place, Broken>>,
    waiting: Vec<Waker>,
}

/// Chunks in which an answer reaches its readers.
const CHUNK: usize = 64 * 1024;
/// What a reader takes at a time of what is there.
const SLICE: usize = 1 << 20;
/// A short write is passed on with the next one after this time: progress lines and keepalives.
const LINGER: Duration = Duration::from_millis(100);

impl Reader {
    pub(super) fn new(entry: &Arc<Entry>) -> Reader {
        entry.readers.fetch_add(1, Ordering::Relaxed);
        Reader { entry: Arc::clone(entry), position: 0 }
    }

    /// Resolves once there is a first byte or the end, so that a production that never begins is still told by a status.
    pub async fn started(&self) -> Result<(), Broken> {
        poll_fn(|cx| {
            let mut content = self.entry.content.lock();
            match content.outcome {
                _ if content.len() > 0 => Poll::Ready(Ok(())),
                Some(outcome) => Poll::Ready(outcome.map(drop)),
                None => content.wait(cx),
            }
        })
        .await
    }

    /// The next bytes, a MiB at most; `None` at the end of a complete answer.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let mut content = self.entry.content.lock();
        if let Some(bytes) = content.after(self.position) {
            self.position += bytes.len() as u64;
            return Poll::Ready(Some(Ok(bytes)));
        }
        match content.outcome {
            Some(Ok(_)) => Poll::Ready(None),
            Some(Err(broken)) => Poll::Ready(Some(Err(broken))),
            None => content.wait(cx),
        }
    }

    /// Bytes not read yet, if the answer is complete.
    pub fn remaining(&self) -> Option<u64> {
        let content = self.entry.content.lock();
        matches!(content.outcome, Some(Ok(_))).then(|| content.len() - self.position)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.entry.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Writer {
    pub(super) fn new(spool: Spool, key: Option<Key>, entry: Arc<Entry>) -> Writer {
        let (pending, published) = (Vec::new(), Instant::now());
        Writer { spool, key, entry, pending, published, file: None, broken: None, finished: false }
    }

    /// The answer is complete, and kept for the next who asks if it has a key.
    pub fn finish(mut self) -> io::Result<()> {
        self.settle()?;
        if let Some(key) = self.key {
            self.spool.0.index.lock().keep(key, &self.entry);
        }
        Ok(())
    }

    /// The answer is complete and goes to those who read it now: it tells of an error that may not last.
    pub fn finish_unkept(mut self) -> io::Result<()> {
        // Forgotten first: nobody must find it once it is complete.
        self.forget();
        self.settle()
    }

    /// There will be no (more) answer.
    pub fn fail(mut self, broken: Broken) {
        self.broken = Some((io::ErrorKind::Other, broken));
    }

    fn settle(&mut self) -> io::Result<()> {
        let place = self.unless_broken(|writer| {
            writer.give()?;
            Ok(match writer.file {
                Some(_) => writer.spill().map(|()| Place::Disk)?,
                None => Place::Memory,
            })
        })?;
        let whole = self.entry.content.lock().joined();
        self.entry.complete(whole, place);
        self.finished = true;
        Ok(())
    }

    /// Once a step has failed, every further one fails as well: a producer may go on, to tell its client of an error, but
    /// what it writes then must not make an answer with a gap look complete.
    fn unless_broken<T>(&mut self, step: impl FnOnce(&mut Writer) -> io::Result<T>) -> io::Result<T> {
        if let Some((kind, broken)) = self.broken {
            return Err(io::Error::new(kind, broken));
        }
        let done = step(self);
        if let Err(error) = &done {
            let told = error.get_ref().and_then(|cause| cause.downcast_ref().copied());
            let broken = told.unwrap_or(match error.kind() {
                io::ErrorKind::StorageFull => Broken::DiskFull,
                _ => Broken::Failed,
            });
            self.broken = Some((error.kind(), broken));
        }
        done
    }

    /// Gives the readers what is pending.
    fn publish(&mut self) -> io::Result<()> {
        self.unless_broken(Writer::give)
    }

    fn give(&mut self) -> io::Result<()> {
        self.published = Instant::now();
        self.stop_if_unread()?;
        if self.pending.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::from(std::mem::take(&mut self.pending));
        if !self.spool.has_room(bytes.len() as u64) {
            return Err(full(Broken::NoRoom));
        }
        self.entry.charge(bytes.len() as u64);
        let tail_len = self.entry.append(bytes);
        if tail_len > self.spool.0.limits.memory_per_answer {
            self.spill()?;
        }
        Ok(())
    }

    /// Moves what is in memory to the file.
    fn spill(&mut self) -> io::Result<()> {
        let (tail, tail_len) = {
            let content = self.entry.content.lock();
            (content.tail.clone(), content.tail_len)
        };
        self.spool.0.free.take(tail_len as u64).map_err(|_| full(Broken::DiskFull))?;
        let file = match &mut self.file {
            Some(file) => file,
            // Without a name from the start, so that nothing is left of it.
            None => self.file.insert(self.spool.0.disk.temp_file()?.into_file()),
        };
        for chunk in &tail {
            file.write_all(chunk)?;
        }
        let mapped = map_file(file)?;
        self.entry.content.lock().moved_to(mapped);
        Ok(())
    }

    fn stop_if_unread(&mut self) -> io::Result<()> {
        let unread = match &self.key {
            Some(key) => self.spool.0.index.lock().forget_unread(key, &self.entry),
            None => !self.entry.has_readers(),
        };
        match unread {
            true => Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads this answer any more")),
            false => Ok(()),
        }
    }

    fn forget(&self) {
        if let Some(key) = &self.key {
            self.spool.0.index.lock().forget(key, &self.entry);
        }
    }
}

fn full(broken: Broken) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, broken)
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        if self.pending.len() == CHUNK || self.published.elapsed() > LINGER {
            self.publish()?;
        }
        Ok(taken)
    }

    /// Passes on what is pending. Fails if nobody reads the answer any more.
    fn flush(&mut self) -> io::Result<()> {
        self.publish()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            self.forget();
            self.entry.content.lock().end(Err(self.broken.map_or(Broken::Failed, |(_, broken)| broken)));
        }
    }
}

impl Entry {
    pub(super) fn new(held: Arc<AtomicU64>) -> Entry {
        Entry { content: Mutex::default(), readers: AtomicUsize::new(0), charged: AtomicU64::new(0), held }
    }

    pub(super) fn charge(&self, bytes: u64) {
        self.charged.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    /// Place and length of a complete answer.
    pub(super) fn finished(&self) -> Option<(Place, u64)> {
        let content = self.content.lock();
        Some((content.outcome?.ok()?, content.len()))
    }

    pub(super) fn complete(&self, whole: Bytes, place: Place) {
        let mut content = self.content.lock();
        content.moved_to(whole);
        content.end(Ok(place));
    }

    /// Returns how many bytes are in memory now.
    fn append(&self, bytes: Bytes) -> usize {
        let mut content = self.content.lock();
        content.tail_len += bytes.len();
        content.tail.push(bytes);
        content.wake();
        content.tail_len
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.held.fetch_sub(*self.charged.get_mut(), Ordering::Relaxed);
    }
}

impl Content {
    fn len(&self) -> u64 {
        (self.settled.len() + self.tail_len) as u64
    }

    /// What is there from `position` on, in one piece.
    fn after(&self, position: u64) -> Option<Bytes> {
        let mut position = usize::try_from(position).ok()?;
        if position < self.settled.len() {
            return Some(self.settled.slice(position..self.settled.len().min(position + SLICE)));
        }
        position -= self.settled.len();
        for chunk in &self.tail {
            if position < chunk.len() {
                return Some(chunk.slice(position..));
            }
            position -= chunk.len();
        }
        None
    }

    fn joined(&self) -> Bytes {
        match self.tail.as_slice() {
            [] => self.settled.clone(),
            chunks => {
                let mut whole = Vec::with_capacity(self.settled.len() + self.tail_len);
                whole.extend_from_slice(&self.settled);
                chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
                whole.into()
            }
        }
    }

    /// `settled` holds what was in memory as well.
    fn moved_to(&mut self, settled: Bytes) {
        self.settled = settled;
        self.tail = Vec::new();
        self.tail_len = 0;
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn end(&mut self, outcome: Result<Place, Broken>) {
        self.outcome = Some(outcome);
        self.wake();
    }
}
