//! Downloads that pass through this process, and the read-back: a range as one request, continued by further ones if
//! the connection breaks.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use database::Sha256;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use super::Bucket;
use super::client::store_error;
use crate::StoreError;
use crate::objects::Hasher;

/// Requests that may fail one after the other, none of them giving [`PROGRESS`].
const FAILURES_MAX: u32 = 4;
const PROGRESS: u64 = 256 * 1024;
/// Hashed at a time when an object is read back.
const HASHED: usize = 1024 * 1024;

pub(crate) struct S3Reader {
    bucket: Bucket,
    key: String,
    offset: u64,
    end: u64,
    source: Source,
    /// Without a byte until then, the connection counts as broken. Runs only while somebody waits: a slow client is not
    /// the bucket's fault.
    deadline: Pin<Box<Sleep>>,
    is_waiting: bool,
    failures: u32,
    /// Where the last failure was.
    failed_at: u64,
    /// Of the first answer: the others have to be of the same bytes.
    etag: Option<String>,
}

enum Source {
    Body(Body),
    Opening(JoinHandle<Result<Body, StoreError>>),
    Ended,
}

struct Body {
    stream: ByteStream,
    /// Bytes that precede the range: not every server knows ranges.
    skip: u64,
    etag: Option<String>,
}

impl Bucket {
    pub(crate) async fn reader(&self, key: &str, range: Range<u64>) -> Result<S3Reader, StoreError> {
        let mut etag = None;
        let source = match range.is_empty() {
            true => {
                let size = self.head_object(key).await?.ok_or(StoreError::NotFound)?.size;
                if let missing @ 1.. = range.end.saturating_sub(size) {
                    return Err(StoreError::Truncated { missing });
                }
                Source::Ended
            }
            false => {
                let body = self.body(key, range.clone(), None).await?;
                etag.clone_from(&body.etag);
                Source::Body(body)
            }
        };
        let deadline = Box::pin(tokio::time::sleep(self.0.config.timeout));
        let (offset, end) = (range.start, range.end.max(range.start));
        let key = key.to_owned();
        Ok(S3Reader {
            bucket: self.clone(),
            key,
            offset,
            end,
            source,
            deadline,
            is_waiting: false,
            failures: 0,
            failed_at: offset,
            etag,
        })
    }

    /// Reads an object back.
    pub(crate) async fn sha256(&self, key: &str) -> Result<(Sha256, u64), StoreError> {
        let size = self.head_object(key).await?.ok_or(StoreError::NotFound)?.size;
        let mut reader = self.reader(key, 0..size).await?;
        let mut hashing = tokio::task::spawn_blocking(Hasher::new);
        let mut gathered = BytesMut::new();
        loop {
            let piece = std::future::poll_fn(|cx| reader.poll_next(cx)).await?;
            let is_last = piece.is_none();
            gathered.extend_from_slice(&piece.unwrap_or_default());
            if is_last || gathered.len() >= HASHED {
                let mut hasher = hashing.await.map_err(StoreError::unavailable)?;
                let bytes = std::mem::take(&mut gathered).freeze();
                hashing = tokio::task::spawn_blocking(move || {
                    hasher.update(&bytes);
                    hasher
                });
            }
            if is_last {
                return Ok((hashing.await.map_err(StoreError::unavailable)?.finish(), size));
            }
        }
    }

    /// `etag`: of the answer that this one continues.
    async fn body(&self, key: &str, range: Range<u64>, etag: Option<String>) -> Result<Body, StoreError> {
        let wanted = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.0.client.get_object().bucket(&self.0.config.bucket).key(self.object_name(key));
        let other = || StoreError::Refused(format!("{key} has other bytes than when it began to be read"));
        let request = request.range(wanted).set_if_match(etag.clone()).customize();
        match Box::pin(request.config_override(self.download_timeouts()).send()).await {
            Ok(answer) => {
                // Not every server looks at If-Match.
                if etag.is_some() && answer.e_tag != etag {
                    return Err(other());
                }
                let skip = bytes_before(&answer, &range)?;
                Ok(Body { skip, etag: answer.e_tag, stream: answer.body })
            }
            Err(error) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 412) => {
                Err(other())
            }
            Err(error) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 416) => {
                let size = self.head_object(key).await?.ok_or(StoreError::NotFound)?.size;
                Err(StoreError::Truncated { missing: range.end.saturating_sub(size).max(1) })
            }
            Err(error) => Err(store_error(error)),
        }
    }
}

/// How many bytes of the answer's body precede `range`. By what the answer says of itself, not by its status: there are
/// servers that answer 200 with a part.
fn bytes_before(answer: &GetObjectOutput, range: &Range<u64>) -> Result<u64, StoreError> {
    let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
    let (start, end) = match answer.content_range() {
        Some(text) => content_range(text)
            .ok_or_else(|| StoreError::unavailable(format!("an answer with Content-Range {text:?}")))?,
        // The whole object, then; of which a part at the front looks like one.
        None => (0, length.unwrap_or(range.end)),
    };
    if start > range.start {
        return Err(StoreError::unavailable(format!("bytes from {start}, not from {}", range.start)));
    }
    match range.end.saturating_sub(end) {
        0 => Ok(range.start - start),
        missing => Err(StoreError::Truncated { missing }),
    }
}

/// `bytes FIRST-LAST/TOTAL` as a range.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, _total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse::<u64>().ok()?.checked_add(1)?))
}

impl S3Reader {
    pub(crate) fn remaining(&self) -> u64 {
        self.end - self.offset
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StoreError>> {
        while self.remaining() > 0 {
            match &mut self.source {
                Source::Ended => return Poll::Ready(Ok(None)),
                Source::Opening(job) => {
                    let opened = ready!(Pin::new(job).poll(cx)).map_err(StoreError::unavailable);
                    self.source = Source::Ended;
                    match opened? {
                        Ok(body) => self.source = Source::Body(body),
                        Err(error @ StoreError::Unavailable(_)) => self.open_again(error)?,
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                Source::Body(body) => match body.poll_next(cx) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        self.is_waiting = false;
                        let Some(bytes) = self.in_range(bytes) else { continue };
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                    Poll::Ready(Some(Err(error))) => self.open_again(StoreError::unavailable(error))?,
                    Poll::Ready(None) => {
                        self.open_again(StoreError::unavailable("an answer ended early"))?;
                    }
                    Poll::Pending => {
                        if !std::mem::replace(&mut self.is_waiting, true) {
                            self.deadline.as_mut().reset(Instant::now() + self.bucket.0.config.timeout);
                        }
                        ready!(self.deadline.as_mut().poll(cx));
                        self.open_again(StoreError::unavailable("an answer does not go on"))?;
                    }
                },
            }
        }
        Poll::Ready(Ok(None))
    }

    /// What of `bytes` is in the range. `None`: nothing.
    fn in_range(&mut self, mut bytes: Bytes) -> Option<Bytes> {
        if let Source::Body(body) = &mut self.source {
            let skipped = body.skip.min(bytes.len() as u64);
            body.skip -= skipped;
            bytes = bytes.split_off(skipped as usize);
        }
        bytes.truncate(usize::try_from(self.remaining()).unwrap_or(usize::MAX));
        self.offset += bytes.len() as u64;
        if bytes.is_empty() { None } else { Some(bytes) }
    }

    /// Asks for the rest, unless that failed too often. `error` is what is wrong with the answer at hand.
    fn open_again(&mut self, error: StoreError) -> Result<(), StoreError> {
        if self.offset - self.failed_at >= PROGRESS {
            self.failures = 0;
        }
        self.failures += 1;
        self.failed_at = self.offset;
        self.is_waiting = false;
        self.source = Source::Ended;
        if self.failures >= FAILURES_MAX {
            return Err(error);
        }
        tracing::debug!(key = self.key, offset = self.offset, %error, "the rest is asked for again");
        let (bucket, key, range) = (self.bucket.clone(), self.key.clone(), self.offset..self.end);
        let etag = self.etag.clone();
        self.source = Source::Opening(tokio::spawn(async move { bucket.body(&key, range, etag).await }));
        Ok(())
    }
}

impl Body {
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, aws_sdk_s3::primitives::ByteStreamError>>> {
        Pin::new(&mut self.stream).poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(range: Range<u64>, content_range: Option<&str>, length: i64) -> Result<u64, StoreError> {
        let answer = GetObjectOutput::builder()
            .set_content_range(content_range.map(str::to_owned))
            .content_length(length)
            .build();
        bytes_before(&answer, &range)
    }

    #[test]
    fn an_answer_says_what_it_holds() {
        assert_eq!(before(10..20, Some("bytes 10-19/100"), 10).unwrap(), 0);
        assert_eq!(before(10..20, None, 100).unwrap(), 10, "the whole object");
        assert_eq!(before(0..20, None, 20).unwrap(), 0);
        assert_eq!(
            before(5_000_000_000..5_000_000_001, Some("bytes 5000000000-5000000000/6000000000"), 1).unwrap(),
            0
        );
        let short = before(10..20, Some("bytes 10-14/15"), 5);
        assert!(matches!(short, Err(StoreError::Truncated { missing: 5 })), "{short:?}");
        let short = before(10..20, None, 10);
        assert!(matches!(short, Err(StoreError::Truncated { missing: 10 })), "{short:?}");
        for strange in ["bytes 11-19/100", "bytes x", "bytes 3-18446744073709551615/*", "lines 10-19/100"] {
            assert!(
                matches!(before(10..20, Some(strange), 10), Err(StoreError::Unavailable(_))),
                "{strange}"
            );
        }
    }
}
