//! The pack on its way to the client, with signs of life while it is being made.

use std::cell::RefCell;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use repository::walk::Interrupted;

use crate::sideband::{Framing, Sideband};

/// Who waits wants to see that something happens.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);
/// Proxies and clients give up on a silent connection, some after as little as ten seconds.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);

/// Shared by the writer of the pack and the callbacks that keep the connection alive.
pub(super) struct PackStream<'a> {
    sideband: RefCell<Sideband<Timed<'a>>>,
    /// Why a callback asked to stop.
    failure: RefCell<Option<io::Error>>,
    progress: bool,
}

impl<'a> PackStream<'a> {
    pub(super) fn new(
        out: &'a mut dyn Write,
        framing: Framing,
        progress: bool,
        now: &'a dyn Fn() -> Instant,
    ) -> PackStream<'a> {
        let timed = Timed { out, now, last: now() };
        PackStream {
            sideband: RefCell::new(Sideband::new(timed, framing)),
            failure: RefCell::new(None),
            progress,
        }
    }

    /// Called now and then while there may be nothing to write; `enumerated` objects so far, while that is the work.
    pub(super) fn tick(&self, enumerated: Option<u64>) -> Result<(), Interrupted> {
        let mut sideband = self.sideband.borrow_mut();
        let quiet = sideband.get_ref().quiet();
        let sent = match enumerated.filter(|_| self.progress && quiet >= PROGRESS_AFTER) {
            Some(count) => sideband.progress(&format!("Enumerating objects: {count}\r")),
            None if quiet >= KEEPALIVE_AFTER => sideband.keepalive(),
            None => Ok(()),
        };
        sent.map_err(|error| {
            *self.failure.borrow_mut() = Some(error);
            Interrupted
        })
    }

    /// Text for the user, if the client wants any.
    pub(super) fn progress(&self, text: &str) -> io::Result<()> {
        if self.progress { self.sideband.borrow_mut().progress(text) } else { Ok(()) }
    }

    /// Ends the stream early, and says why if the framing allows.
    pub(super) fn error(self, text: &str) -> io::Result<()> {
        self.sideband.into_inner().error(text)
    }

    /// Why [`PackStream::tick`] interrupted the work, if it did.
    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.failure.take()
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.sideband.into_inner().finish()
    }
}

/// Takes the pack's bytes.
impl Write for &PackStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sideband.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sideband.borrow_mut().flush()
    }
}

/// Knows when something was written last.
struct Timed<'a> {
    out: &'a mut dyn Write,
    now: &'a dyn Fn() -> Instant,
    last: Instant,
}

impl Timed<'_> {
    /// For how long nothing was written.
    fn quiet(&self) -> Duration {
        (self.now)().saturating_duration_since(self.last)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.last = (self.now)();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
