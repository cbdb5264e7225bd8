//! A socket with deadlines, so that no client holds a connection without doing something with it; and one that lets the
//! kernel send what it has of a file.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For the head of a request; counted from its first byte, and on a new connection from the start.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For each [`WRITE_PROGRESS_BYTES`] of a response, of the time that the client keeps us waiting.
    pub write: Duration,
}

/// What a connection waits for. Shared by its socket and the requests on it.
#[derive(Debug)]
pub(crate) struct Phase(Mutex<State>);

/// Parts of files between what hyper writes to a connection. hyper writes memory only, so for a part of a file it is
/// given as many bytes of [`STAND_IN`] ([`Files::stand_in`]): where one of those comes to the socket, the kernel sends
/// as many of the file in their place. hyper queues what it is given without looking at it, as long as the connection
/// says that it writes vectors.
#[derive(Debug, Default)]
pub(crate) struct Files(Mutex<VecDeque<storage::Cached>>);

/// Stands for bytes of files. Nothing reads it.
static STAND_IN: [u8; 1 << 20] = [0; 1 << 20];

impl Files {
    /// To be called in the order in which the stand-ins are handed to hyper.
    pub(crate) fn push(&self, part: storage::Cached) {
        self.0.lock().push_back(part);
    }

    /// As many bytes as `remaining`, or as there are to be had.
    pub(crate) fn stand_in(remaining: u64) -> &'static [u8] {
        &STAND_IN[..usize::try_from(remaining).unwrap_or(usize::MAX).min(STAND_IN.len())]
    }

    fn is_stand_in(slice: &[u8]) -> bool {
        STAND_IN.as_ptr_range().contains(&slice.as_ptr()) && !slice.is_empty()
    }

    /// Sends up to `bytes_max` of the first file.
    fn send(&self, stream: &TcpStream, cx: &mut Context<'_>, bytes_max: usize) -> Poll<io::Result<usize>> {
        let mut parts = self.0.lock();
        let Some(part) = parts.front_mut() else {
            return Poll::Ready(Err(io::Error::other("no file to send in place of its stand-in")));
        };
        let sent = loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, || part.send(stream, bytes_max)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => break sent?,
            }
        };
        if part.remaining() == 0 {
            parts.pop_front();
        }
        Poll::Ready(Ok(sent))
    }
}

/// The socket under hyper.
pub(crate) struct Connection {
    stream: TcpStream,
    timeouts: Timeouts,
    phase: Arc<Phase>,
    files: Arc<Files>,
    read_deadline: Deadline,
    write_deadline: Deadline,
    reader: Pace,
    written: Instant,
    linger: Option<Linger>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    waiting: Waiting,
    /// Part of a request body was left in the socket.
    body_left: bool,
}

#[derive(Clone, Copy, Debug)]
enum Waiting {
    /// For the first byte of a request.
    Idle(Instant),
    /// For the rest of its head.
    Head(Instant),
    /// For a handler, or for the request body, whose reader has its own deadline.
    Handler,
}

impl Phase {
    pub(crate) fn new() -> Arc<Phase> {
        let waiting = Waiting::Head(Instant::now());
        Arc::new(Phase(Mutex::new(State { waiting, body_left: false })))
    }

    /// A request's head is complete.
    pub(crate) fn handling(&self) {
        self.0.lock().waiting = Waiting::Handler;
    }

    /// A response is complete.
    pub(crate) fn idle(&self) {
        self.0.lock().waiting = Waiting::Idle(Instant::now());
    }

    /// The response is given though the request was not read to its end, so the connection ends after it.
    pub(crate) fn body_left(&self) {
        self.0.lock().body_left = true;
    }

    fn received(&self) {
        let mut state = self.0.lock();
        if let Waiting::Idle(_) = state.waiting {
            state.waiting = Waiting::Head(Instant::now());
        }
    }
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        timeouts: Timeouts,
        phase: Arc<Phase>,
        files: Arc<Files>,
    ) -> Connection {
        Connection {
            stream,
            timeouts,
            phase,
            files,
            read_deadline: Deadline::default(),
            write_deadline: Deadline::default(),
            reader: Pace::default(),
            written: Instant::now(),
            linger: None,
        }
    }

    /// `written` is what the socket said: keeps the time for which it says "not now".
    fn guard_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        if let Poll::Ready(written) = written {
            self.reader.takes(now, *written.as_ref().unwrap_or(&0));
            self.written = now;
            return Poll::Ready(written);
        }
        let deadline = self.reader.waits(now, self.timeouts.write);
        ready!(self.write_deadline.poll(cx, deadline));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A client may be slow, but not so slow that it only means to hold what was prepared for it.
const WRITE_PROGRESS_BYTES: usize = 64 * 1024;

/// How fast a client takes a response. Time in which there is nothing for it to take does not count.
#[derive(Debug, Default)]
struct Pace {
    /// Since when it takes nothing.
    blocked: Option<Instant>,
    /// How long it took nothing before, and how much it took, since it last made progress.
    waited: Duration,
    taken: usize,
}

impl Pace {
    fn takes(&mut self, now: Instant, count: usize) {
        if let Some(since) = self.blocked.take() {
            self.waited += now - since;
        }
        self.taken += count;
        if self.taken >= WRITE_PROGRESS_BYTES {
            *self = Pace::default();
        }
    }

    /// By when it must take something.
    fn waits(&mut self, now: Instant, at_most: Duration) -> Instant {
        *self.blocked.get_or_insert(now) + at_most.saturating_sub(self.waited)
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if read.is_ready() {
            this.phase.received();
            return read;
        }
        let state = *this.phase.0.lock();
        match state.waiting {
            Waiting::Handler => Poll::Pending,
            // The end of a response may still be on its way, long after its body was handed over.
            Waiting::Idle(_) if this.reader.blocked.is_some() => {
                ready!(this.read_deadline.poll(cx, Instant::now() + this.timeouts.idle));
                Poll::Pending
            }
            Waiting::Idle(since) => {
                let since = since.max(this.written);
                ready!(this.read_deadline.poll(cx, since + this.timeouts.idle));
                // The end, as if the client had closed: there is nothing to complain of.
                Poll::Ready(Ok(()))
            }
            Waiting::Head(since) => {
                ready!(this.read_deadline.poll(cx, since + this.timeouts.head));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let memory = bufs.iter().position(|buf| Files::is_stand_in(buf)).unwrap_or(bufs.len());
        let written = match bufs.get(memory) {
            Some(stand_in) if memory == 0 => this.files.send(&this.stream, cx, stand_in.len()),
            _ => Pin::new(&mut this.stream).poll_write_vectored(cx, &bufs[..memory]),
        };
        this.guard_write(cx, written)
    }

    /// On which [`Files`] relies.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.phase.0.lock().body_left {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_default().poll(cx, &mut this.stream)
    }
}

/// Reads and discards after the response, for a while. To close a socket that holds unread bytes resets the
/// connection, and the client might lose the response that says why.
struct Linger {
    left: usize,
    until: Instant,
    deadline: Deadline,
}

const LINGER_BYTES: usize = 16 << 20;
const LINGER_TIME: Duration = Duration::from_secs(5);

impl Default for Linger {
    fn default() -> Self {
        Linger { left: LINGER_BYTES, until: Instant::now() + LINGER_TIME, deadline: Deadline::default() }
    }
}

impl Linger {
    fn poll(&mut self, cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<io::Result<()>> {
        let mut scratch = [0; 8192];
        while self.left > 0 {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
                Poll::Pending => return self.deadline.poll(cx, self.until).map(Ok),
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.left = self.left.saturating_sub(buf.filled().len());
                    // A sender faster than this loop must not hold it.
                    if Instant::now() >= self.until {
                        break;
                    }
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A timer that is made when first needed and moved only when it went off too early: deadlines move with each byte,
/// timers should not.
#[derive(Default)]
struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_little_at_a_time_gains_no_time() {
        let minute = Duration::from_secs(60);
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.waits(start, 5 * minute), start + 5 * minute);
        assert_eq!(pace.waits(start + minute, 5 * minute), start + 5 * minute);
        pace.takes(start + 2 * minute, 1);
        // Nothing to take for an hour: that is not its fault.
        let later = start + 62 * minute;
        assert_eq!(pace.waits(later, 5 * minute), later + 3 * minute);
        pace.takes(later + 2 * minute, WRITE_PROGRESS_BYTES - 2);
        assert_eq!(pace.waits(later + 2 * minute, 5 * minute), later + 3 * minute, "a byte below the bound");
        pace.takes(later + 3 * minute, 1);
        assert_eq!(pace.waits(later + 3 * minute, 5 * minute), later + 8 * minute, "at the bound");
    }
}
