//! Request bodies: bounded in size, bounded in time, inflated where they came deflated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header, request};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};

use super::gzip::Inflater;
use crate::error::Error;
use crate::staging::{Staging, Upload};

/// A request whose route is known.
pub(crate) struct Request {
    pub head: request::Parts,
    pub body: RequestBody,
    /// What the route accepts, after inflating.
    pub body_max: u64,
}

/// The body as it arrives. What was not read of it when the response is ready is the service's to discard.
pub(crate) struct RequestBody {
    incoming: Incoming,
    inflater: Option<Inflater>,
    /// Deflated bytes that were received and not inflated yet.
    deflated: Bytes,
    /// The client waits for `100 Continue`, which the first read sends.
    expects_continue: bool,
    touched: bool,
    ended: bool,
    /// By when `progress` has to be made.
    window_end: Instant,
    window: Duration,
    window_bytes: u64,
    received: Arc<AtomicU64>,
}

/// Each window of `server.body_timeout` must bring this much of a body: far below any line, far above a client that
/// only means to occupy a connection.
const PROGRESS_BYTES: u64 = 1024;
/// Read and thrown away before a response that was ready early, so that the connection can be used again.
const DISCARD_BYTES: u64 = 1 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(2);

impl Request {
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Refuses a `Content-Type` other than `expected`, whatever its parameters.
    pub(crate) fn require_type(&self, expected: &'static str) -> Result<(), Error> {
        let given = self.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split(';').next()).map(str::trim);
        match given {
            Some(given) if given.eq_ignore_ascii_case(expected) => Ok(()),
            _ => Err(Error::MediaType(expected)),
        }
    }

    /// Reads the body to its end. A small one stays in memory, a larger one is a mapped file; both count against the
    /// cap of `staging` until the last clone is dropped.
    pub(crate) async fn stage(&mut self, staging: &Staging) -> Result<Bytes, Error> {
        let max = self.body_max;
        if self.body.incoming.size_hint().lower() > max {
            return Err(Error::TooLarge { max });
        }
        let mut upload = staging.begin();
        self.fill(&mut upload, max).await?;
        Ok(upload.finish().await?)
    }

    /// Reads the body to its end, into `upload`, which after an error holds what fitted.
    pub(crate) async fn fill(&mut self, upload: &mut Upload, max: u64) -> Result<(), Error> {
        self.body.decode(&self.head.headers)?;
        while let Some(bytes) = self.body.next().await? {
            let room = usize::try_from(max - upload.len()).unwrap_or(usize::MAX);
            upload.write(&bytes[..bytes.len().min(room)]).await?;
            if bytes.len() > room {
                return Err(Error::TooLarge { max });
            }
        }
        Ok(())
    }
}

impl RequestBody {
    /// `window` is the time in which some progress must be made.
    pub(crate) fn new(
        incoming: Incoming,
        headers: &HeaderMap,
        window: Duration,
        received: Arc<AtomicU64>,
    ) -> RequestBody {
        let expect = headers.get(header::EXPECT);
        let expects_continue =
            expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        RequestBody {
            ended: incoming.is_end_stream(),
            incoming,
            inflater: None,
            deflated: Bytes::new(),
            expects_continue,
            touched: false,
            window_end: Instant::now() + window,
            window,
            window_bytes: 0,
            received,
        }
    }

    /// Reads up to `max` bytes and keeps none of them. True if that was all, so that a response now reaches a client
    /// that reads only after it has written.
    pub(crate) async fn discard(&mut self, max: u64, time: Duration) -> bool {
        let all = async {
            let mut left = max;
            while !self.ended {
                match self.receive().await {
                    Ok(Some(bytes)) if bytes.len() as u64 <= left => left -= bytes.len() as u64,
                    Ok(None) => break,
                    _ => return false,
                }
            }
            true
        };
        let ended = timeout(time, all).await;
        self.deflated = Bytes::new();
        ended.unwrap_or(false)
    }

    /// To be called when the response is ready. False if the connection cannot be used for another request.
    pub(crate) async fn settle(&mut self) -> bool {
        if self.ended {
            return true;
        }
        // Such a client has sent nothing yet, and will not once it reads the response; to read would ask it to.
        if self.expects_continue && !self.touched {
            return false;
        }
        self.incoming.size_hint().lower() <= DISCARD_BYTES && self.discard(DISCARD_BYTES, DISCARD_TIME).await
    }

    fn decode(&mut self, headers: &HeaderMap) -> Result<(), Error> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let coding = match (codings.next(), codings.next()) {
            (None, _) => return Ok(()),
            (Some(coding), None) => coding.as_bytes(),
            (Some(_), Some(_)) => b"several",
        };
        match coding.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => self.inflater = Some(Inflater::new()),
            b"identity" | b"" => {}
            other => return Err(Error::Encoding(String::from_utf8_lossy(other).into_owned())),
        }
        Ok(())
    }

    /// The next bytes, inflated; never empty.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let broken = |_| Error::BadRequest("the gzip encoding of the request is broken");
        loop {
            if let Some(inflater) = &mut self.inflater
                && !self.deflated.is_empty()
            {
                let bytes = inflater.next(&mut self.deflated).map_err(broken)?;
                if !bytes.is_empty() {
                    return Ok(Some(bytes));
                }
                continue;
            }
            match (self.receive().await?, &mut self.inflater) {
                (Some(bytes), Some(_)) => self.deflated = bytes,
                (Some(bytes), None) => return Ok(Some(bytes)),
                (None, Some(inflater)) => {
                    // Nothing at all is what a client sends that has nothing to say.
                    if self.received.load(Ordering::Relaxed) == 0 {
                        return Ok(None);
                    }
                    let last = inflater.finish().map_err(broken)?;
                    self.inflater = None;
                    return Ok(Some(last).filter(|last| !last.is_empty()));
                }
                (None, None) => return Ok(None),
            }
        }
    }

    /// The next bytes as they were sent.
    async fn receive(&mut self) -> Result<Option<Bytes>, Error> {
        self.touched = true;
        loop {
            if self.ended {
                return Ok(None);
            }
            match timeout_at(self.window_end, self.incoming.frame()).await {
                Ok(Some(Ok(frame))) => {
                    // Trailers say nothing to us.
                    let Ok(bytes) = frame.into_data() else { continue };
                    self.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    self.window_bytes += bytes.len() as u64;
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
                Ok(Some(Err(_))) => return Err(Error::CutShort),
                Ok(None) => self.ended = true,
                Err(_) if self.window_bytes >= PROGRESS_BYTES => {
                    self.window_bytes = 0;
                    self.window_end = Instant::now() + self.window;
                }
                Err(_) => return Err(Error::Slow),
            }
        }
    }
}
