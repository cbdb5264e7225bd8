//! A file as the bytes that it is, made of its xorbs while they are read.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use database::{XetFile, XetFileId, XetTerm};
use storage::{Reader, StoreError};
use tokio::task::JoinHandle;

use super::Cas;
use super::errors::ReadError;
use crate::xorb::Decoder;

/// Readers opened ahead of the one that is read.
const AHEAD: usize = 2;
/// Terms whose xorbs are looked up at once.
const LOOKUP: usize = 64;

/// A range of a file on its way out, piece by piece. Memory is that of a few pieces. A chunk is unpacked where it is
/// asked for: that takes some hundred microseconds at most, and a thread of its own would cost more.
pub struct Stream {
    cas: Cas,
    remaining: u64,
    /// What of the first chunks comes before the range.
    skip: u64,
    terms: Arc<[XetTerm]>,
    /// The next that is to become a part.
    next_term: usize,
    parts: VecDeque<Part>,
    ahead: VecDeque<Opening>,
    current: Option<Current>,
    failed: bool,
}

/// Chunks of a xorb that lie together.
struct Part {
    key: String,
    bytes: Range<u64>,
    raw_bytes: u64,
}

struct Opening {
    raw_bytes: u64,
    reader: JoinHandle<Result<Reader, StoreError>>,
}

struct Current {
    reader: Reader,
    decoder: Decoder,
    input: Bytes,
    raw_left: u64,
}

impl Cas {
    /// The bytes of `range`, which lies within the file.
    pub async fn stream(&self, file: &XetFile, range: Range<u64>) -> Result<Stream, ReadError> {
        self.stream_terms(&file.terms, range).await
    }

    /// As [`Cas::stream`]. Whoever asks found the file's id in a link.
    pub async fn stream_file(&self, id: XetFileId, range: Range<u64>) -> Result<Stream, ReadError> {
        let file = self.0.database.xet_file(id)?.ok_or(ReadError::XorbGone)?;
        self.stream_terms(&file.terms, range).await
    }

    /// As [`Cas::stream`], of what may be no file yet.
    pub async fn stream_terms(&self, terms: &[XetTerm], range: Range<u64>) -> Result<Stream, ReadError> {
        let (terms, skip) = match range.is_empty() {
            true => (Vec::new(), 0),
            false => self.terms_of(terms, range.clone()).await?,
        };
        Ok(Stream {
            cas: self.clone(),
            remaining: range.end.saturating_sub(range.start),
            skip,
            terms: terms.into(),
            next_term: 0,
            parts: VecDeque::new(),
            ahead: VecDeque::new(),
            current: None,
            failed: false,
        })
    }
}

impl Stream {
    /// Bytes of the range that did not come yet.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The next piece, never empty. `None` after the last byte of the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Stream::next`], for bodies of answers.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StoreError>> {
        if self.failed {
            return Poll::Ready(Err(ReadError::Size.into()));
        }
        let next = ready!(self.poll(cx));
        self.failed = next.is_err();
        Poll::Ready(next.map_err(StoreError::from))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        while self.remaining > 0 {
            self.open_ahead()?;
            if self.current.is_none() {
                let Some(opening) = self.ahead.front_mut() else {
                    return Poll::Ready(Err(ReadError::Size));
                };
                let opened = ready!(Pin::new(&mut opening.reader).poll(cx));
                let raw_left = opening.raw_bytes;
                self.ahead.pop_front();
                let reader = opened.map_err(|panic| StoreError::Io(io::Error::other(panic)))??;
                self.current =
                    Some(Current { reader, decoder: Decoder::default(), input: Bytes::new(), raw_left });
            }
            let Some(current) = &mut self.current else { continue };
            match ready!(current.poll_chunk(cx))? {
                None => self.current = None,
                Some(mut chunk) => {
                    let skipped = self.skip.min(chunk.len() as u64);
                    self.skip -= skipped;
                    // Neither is more than the chunk has.
                    let _ = chunk.split_to(skipped as usize);
                    if self.remaining < chunk.len() as u64 {
                        chunk.truncate(self.remaining as usize);
                    }
                    self.remaining -= chunk.len() as u64;
                    if !chunk.is_empty() {
                        return Poll::Ready(Ok(Some(chunk)));
                    }
                }
            }
        }
        Poll::Ready(Ok(None))
    }

    /// Begins to read the parts that come next.
    fn open_ahead(&mut self) -> Result<(), ReadError> {
        while self.ahead.len() < AHEAD {
            if self.parts.is_empty() {
                self.look_up()?;
            }
            let Some(Part { key, bytes, raw_bytes }) = self.parts.pop_front() else { return Ok(()) };
            let store = self.cas.0.store.clone();
            let reader = tokio::spawn(async move { store.reader(&key, bytes).await });
            self.ahead.push_back(Opening { raw_bytes, reader });
        }
        Ok(())
    }

    /// Where the bytes of the next terms are.
    fn look_up(&mut self) -> Result<(), ReadError> {
        let end = self.terms.len().min(self.next_term + LOOKUP);
        let terms = &self.terms[self.next_term..end];
        if terms.is_empty() {
            return Ok(());
        }
        let mut ids: Vec<_> = terms.iter().map(|term| term.xorb).collect();
        ids.sort_unstable();
        ids.dedup();
        let xorbs = self.cas.0.database.xorbs(&ids)?;
        let mut last: Option<&XetTerm> = None;
        for term in terms {
            let (start, end) = (u64::from(term.byte_start), u64::from(term.byte_end));
            let goes_on = last.is_some_and(|last| last.xorb == term.xorb && last.byte_end == term.byte_start);
            match self.parts.back_mut().filter(|_| goes_on) {
                Some(part) => {
                    part.bytes.end = end;
                    part.raw_bytes += u64::from(term.raw_bytes);
                }
                None => {
                    let place = ids.binary_search(&term.xorb).ok();
                    let xorb = place.and_then(|place| xorbs[place]).ok_or(ReadError::XorbGone)?;
                    let (key, raw_bytes) = (xorb.storage_key(), u64::from(term.raw_bytes));
                    self.parts.push_back(Part { key, bytes: start..end, raw_bytes });
                }
            }
            last = Some(term);
        }
        self.next_term = end;
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.ahead.iter().for_each(|opening| opening.reader.abort());
    }
}

impl Current {
    /// `None` after the last.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        loop {
            if !self.input.is_empty() {
                let (mut rest, mut raw) = (&self.input[..], Vec::new());
                let found = self.decoder.next_chunk(&mut rest, &mut raw)?;
                let taken = self.input.len() - rest.len();
                let _ = self.input.split_to(taken);
                if found.is_some() {
                    self.raw_left = self.raw_left.checked_sub(raw.len() as u64).ok_or(ReadError::Size)?;
                    return Poll::Ready(Ok(Some(raw.into())));
                }
            }
            match ready!(self.reader.poll_next(cx))? {
                Some(piece) => self.input = piece,
                None => {
                    std::mem::take(&mut self.decoder).finish()?;
                    return Poll::Ready(match self.raw_left {
                        0 => Ok(None),
                        _ => Err(ReadError::Size),
                    });
                }
            }
        }
    }
}

/// Bodies know one kind of error.
impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> StoreError {
        match error {
            ReadError::Store(error) => error,
            other => StoreError::Io(io::Error::new(io::ErrorKind::InvalidData, other)),
        }
    }
}
