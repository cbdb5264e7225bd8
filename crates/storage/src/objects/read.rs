//! The way of an object from the disk: what the page cache holds is read on the spot, or left to the kernel to send;
//! anything else is read on blocking threads, one piece ahead of the reader.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::fs::{Advice, fstat, sendfile};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::task::JoinHandle;

use super::StoreError;
use super::buffers::Buffers;
use super::disk::{DiskObjects, blocking};
use super::opened::KEPT_BYTES_MAX;

pub(super) struct DiskReader {
    file: Arc<File>,
    offset: u64,
    end: u64,
    buffers: Buffers,
    source: Source,
    /// False where the kernel has no way to ask for cached bytes only.
    may_try: bool,
}

/// Bytes that the kernel holds in its page cache, for it to send: they are never copied to us.
#[derive(Clone, Debug)]
pub struct Cached {
    file: Arc<File>,
    range: Range<u64>,
}

/// Left to the kernel at a time.
const SENT_AT_ONCE: u64 = 1024 * 1024;
/// The kernel reads ahead by no less, so what it holds has no smaller gaps; were there one, a send would wait for the disk.
const PROBE_STEP: u64 = 128 * 1024;

/// Where the next piece comes from.
enum Source {
    Cache,
    Ready(Piece),
    Ahead(JoinHandle<Result<Piece, StoreError>>),
}

struct Piece {
    bytes: Bytes,
    /// It was there without waiting, so the next may be too.
    was_cached: bool,
}

impl DiskObjects {
    pub(super) async fn reader(&self, key: &str, range: Range<u64>) -> Result<DiskReader, StoreError> {
        let may_try = self.disk().network().is_none();
        if let Some(file) = self.opened(key, &range)? {
            return Ok(self.reading(file, range, Source::Cache, may_try));
        }
        let (path, buffers) = (self.disk().path(key), self.buffers.clone());
        let (file, range, piece) = blocking(move || {
            let file = File::open(path)?;
            check_length(file.metadata()?.len(), &range)?;
            // Only a hint.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
            let piece = read(&file, range.clone(), &buffers, may_try)?;
            Ok((Arc::new(file), range, piece))
        })
        .await?;
        Ok(self.reading(file, range, Source::Ready(piece), may_try))
    }

    /// The file under `key`, which holds `range`, if no waiting is needed for it.
    fn opened(&self, key: &str, range: &Range<u64>) -> Result<Option<Arc<File>>, StoreError> {
        if let Some(file) = self.opened.get(key) {
            let stat = fstat(&*file)?;
            if stat.st_nlink > 0 {
                check_length(stat.st_size as u64, range)?;
                return Ok(Some(file));
            }
            // Somebody removed it behind our back.
            self.opened.forget(key);
        }
        let Some(file) = self.open_cached(key)?.map(Arc::new) else { return Ok(None) };
        let len = fstat(&*file)?.st_size as u64;
        check_length(len, range)?;
        if len <= KEPT_BYTES_MAX {
            self.opened.keep(key, &file);
            if fstat(&*file)?.st_nlink == 0 {
                self.opened.forget(key);
            }
        }
        Ok(Some(file))
    }

    fn reading(&self, file: Arc<File>, range: Range<u64>, source: Source, may_try: bool) -> DiskReader {
        let buffers = self.buffers.clone();
        DiskReader { file, offset: range.start, end: range.end.max(range.start), buffers, source, may_try }
    }
}

impl DiskReader {
    pub(super) fn remaining(&self) -> u64 {
        self.end - self.offset
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StoreError>> {
        if self.remaining() == 0 {
            return Poll::Ready(Ok(None));
        }
        if matches!(self.source, Source::Cache) {
            if let Some(bytes) = self.read_cached()? {
                self.offset += bytes.len() as u64;
                return Poll::Ready(Ok(Some(bytes)));
            }
            self.read_ahead();
        }
        if let Source::Ahead(job) = &mut self.source {
            let done =
                ready!(Pin::new(job).poll(cx)).map_err(|panic| StoreError::Io(io::Error::other(panic)));
            self.source = Source::Cache;
            self.source = Source::Ready(done??);
        }
        let Source::Ready(piece) = std::mem::replace(&mut self.source, Source::Cache) else {
            return Poll::Ready(Ok(None));
        };
        self.offset += piece.bytes.len() as u64;
        if !piece.was_cached && self.remaining() > 0 {
            self.read_ahead();
        }
        Poll::Ready(Ok(Some(piece.bytes)))
    }

    /// The next bytes, if they can be left to the kernel.
    pub(super) fn cached(&mut self) -> Result<Option<Cached>, StoreError> {
        if !matches!(self.source, Source::Cache) {
            return Ok(None);
        }
        let range = self.offset..self.end.min(self.offset + SENT_AT_ONCE);
        let mut known = range.start;
        while self.may_try && known < range.end {
            let next = if known == range.start { known } else { range.end.min(known + PROBE_STEP) - 1 };
            match try_read(&self.file, &mut [0], next) {
                Ok(0) => return Err(StoreError::Truncated { missing: self.end - next }),
                Ok(_) => known = next + 1,
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.may_try = false,
                Err(errno) => return Err(errno.into()),
            }
        }
        // The first probe says nothing of what follows.
        if !self.may_try || known <= range.start + 1 && range.end > known {
            return Ok(None);
        }
        self.offset = known;
        Ok(Some(Cached { file: Arc::clone(&self.file), range: range.start..known }))
    }

    /// What of the next piece is in the page cache. `None`: nothing.
    fn read_cached(&mut self) -> Result<Option<Bytes>, StoreError> {
        if !self.may_try {
            return Ok(None);
        }
        let remaining = self.remaining();
        let mut buffer = self.buffers.take(remaining);
        match try_read(&self.file, buffer.space(remaining), self.offset) {
            Ok(0) => Err(StoreError::Truncated { missing: remaining }),
            Ok(read) => Ok(Some(buffer.freeze(read))),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.may_try = false;
                Ok(None)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn read_ahead(&mut self) {
        let (file, buffers, may_try) = (Arc::clone(&self.file), self.buffers.clone(), self.may_try);
        let range = self.offset..self.end;
        self.source =
            Source::Ahead(tokio::task::spawn_blocking(move || read(&file, range, &buffers, may_try)));
    }
}

impl Cached {
    pub fn remaining(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Sends up to `bytes_max` to a socket that does not block; what was sent is taken off. Never `Ok(0)`.
    pub fn send(&mut self, socket: impl AsFd, bytes_max: usize) -> io::Result<usize> {
        let wanted = bytes_max.min(usize::try_from(self.remaining()).unwrap_or(usize::MAX));
        let mut offset = self.range.start;
        match sendfile(socket, &*self.file, Some(&mut offset), wanted)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut short")),
            sent => {
                self.range.start += sent as u64;
                Ok(sent)
            }
        }
    }
}

/// The first piece of `range`, with waiting.
fn read(file: &File, range: Range<u64>, buffers: &Buffers, may_try: bool) -> Result<Piece, StoreError> {
    let remaining = range.end.saturating_sub(range.start);
    let mut buffer = buffers.take(remaining);
    let space = buffer.space(remaining);
    let wanted = space.len();
    let mut filled = match may_try {
        true => try_read(file, space, range.start).unwrap_or(0),
        false => 0,
    };
    let was_cached = filled == wanted;
    while filled < wanted {
        match file.read_at(&mut space[filled..], range.start + filled as u64) {
            Ok(0) => return Err(StoreError::Truncated { missing: remaining - filled as u64 }),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Piece { bytes: buffer.freeze(filled), was_cached })
}

/// Reads what is in the page cache.
fn try_read(file: &File, space: &mut [u8], offset: u64) -> Result<usize, Errno> {
    preadv2(file, &mut [IoSliceMut::new(space)], offset, ReadWriteFlags::NOWAIT)
}

fn check_length(len: u64, range: &Range<u64>) -> Result<(), StoreError> {
    match range.end.saturating_sub(len) {
        0 => Ok(()),
        missing => Err(StoreError::Truncated { missing }),
    }
}
