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
    /// The client waits for `100 Continue`, which the first read sends.
    expects_continue: bool,
    touched: bool,
    ended: bool,
    began: Instant,
    /// It has to come to an end, not only to make progress.
    hurried: bool,
    /// By when [`PROGRESS_BYTES`] must have come.
    window_end: Instant,
    window: Duration,
    window_bytes: u64,
    received: Arc<AtomicU64>,
}

/// Each window of `server.body_timeout` must bring this much of a body: far below any line, far above a client that
/// only means to occupy a connection.
const PROGRESS_BYTES: u64 = 1024;
/// In all, a hurried body may take so many windows, and a second more for each so many bytes that came: anybody may send
/// one, and what it inflates to is held until its end.
const HURRIED_WINDOWS: u32 = 2;
const HURRIED_BYTES_PER_SECOND: u64 = 16 * 1024;
/// Inflated at a time.
const INFLATED_PIECE: usize = 64 * 1024;
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

    /// Reads the body to its end, for which it has a limited time. A small one stays in memory, a larger one is a mapped
    /// file; both count against the cap of `staging` until the last clone is dropped.
    pub(crate) async fn stage(&mut self, staging: &Staging) -> Result<Bytes, Error> {
        let max = self.body_max;
        if self.body.incoming.size_hint().lower() > max {
            return Err(Error::TooLarge { max });
        }
        self.body.hurried = true;
        let mut upload = staging.begin();
        self.fill(&mut upload, max).await?;
        Ok(upload.finish().await?)
    }

    /// Reads the body to its end, into `upload`, which after an error holds what fitted.
    pub(crate) async fn fill(&mut self, upload: &mut Upload, max: u64) -> Result<(), Error> {
        if is_gzip(&self.head.headers)? {
            return self.body.inflate(upload, max).await;
        }
        while let Some(bytes) = self.body.receive().await? {
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
            expects_continue,
            touched: false,
            began: Instant::now(),
            hurried: false,
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
        timeout(time, all).await.unwrap_or(false)
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

    async fn inflate(&mut self, upload: &mut Upload, max: u64) -> Result<(), Error> {
        let broken = || Error::BadRequest("the gzip encoding of the request is broken");
        let mut inflater = Inflater::new();
        loop {
            if inflater.is_hungry() {
                let deflated = self.receive().await?;
                // Nothing at all is what a client sends that has nothing to say.
                if deflated.is_none() && self.received.load(Ordering::Relaxed) == 0 {
                    return Ok(());
                }
                inflater.feed(deflated);
            }
            let room = usize::try_from(max - upload.len()).unwrap_or(usize::MAX).min(INFLATED_PIECE);
            let mut complete = false;
            if room > 0 {
                let inflate = |space: &mut [u8]| {
                    let inflated = inflater.next(space).map_err(|_| broken())?;
                    complete = inflated.is_none();
                    Ok::<_, Error>(inflated.unwrap_or(0))
                };
                upload.write_with(room, inflate).await?;
            } else {
                // One more byte is one too many, but there may be none.
                match inflater.next(&mut [0]).map_err(|_| broken())? {
                    None => complete = true,
                    Some(0) => {}
                    Some(_) => return Err(Error::TooLarge { max }),
                }
            }
            if complete {
                let more = self.receive().await?;
                return if more.is_none() { Ok(()) } else { Err(broken()) };
            }
        }
    }

    /// How long it says it is; nothing if it comes in chunks.
    pub(crate) fn len(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// The next bytes as they were sent.
    pub(crate) async fn receive(&mut self) -> Result<Option<Bytes>, Error> {
        self.touched = true;
        loop {
            if self.ended {
                return Ok(None);
            }
            let end = self.end();
            let until = end.map_or(self.window_end, |end| end.min(self.window_end));
            match timeout_at(until, self.incoming.frame()).await {
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
                Err(_) if end == Some(until) => return Err(Error::Slow),
                Err(_) if self.window_bytes >= PROGRESS_BYTES => {
                    self.window_bytes = 0;
                    self.window_end = Instant::now() + self.window;
                }
                Err(_) => return Err(Error::Slow),
            }
        }
    }

    /// By when a hurried body must be there if no more of it comes.
    fn end(&self) -> Option<Instant> {
        let for_bytes = self.received.load(Ordering::Relaxed) / HURRIED_BYTES_PER_SECOND;
        let time = self.window * HURRIED_WINDOWS + Duration::from_secs(for_bytes);
        self.hurried.then(|| self.began + time)
    }
}

/// Whether the body is deflated.
fn is_gzip(headers: &HeaderMap) -> Result<bool, Error> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let coding = match (codings.next(), codings.next()) {
        (None, _) => return Ok(false),
        (Some(coding), None) => coding.as_bytes(),
        (Some(_), Some(_)) => b"several",
    };
    match coding.to_ascii_lowercase().as_slice() {
        b"gzip" | b"x-gzip" => Ok(true),
        b"identity" | b"" => Ok(false),
        other => Err(Error::Encoding(String::from_utf8_lossy(other).into_owned())),
    }
}
