//! The answer to a fetch, written from front to back.

use std::cell::RefCell;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use database::Oid;
use repository::Snapshot;
use repository::walk::{self, Depth, Interrupted, Query, Shallow, WalkError};
use repository::write::{self, PackOptions, PackStats, WriteError};

use super::negotiate::{self, Negotiation, RoundV0};
use super::{Deepen, Dialect, Fetch, fetch};
use crate::sideband::{Framing, Sideband};
use crate::{Limits, pktline};

/// Proxies and clients give up on a silent connection, some after as little as ten seconds.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);

/// Why a fetch has no (complete) answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("upload-pack: not our ref {0}")]
    NotOurRef(Oid),
    #[error("unknown ref {0}")]
    UnknownRef(String),
    #[error("invalid shallow object {0}")]
    InvalidShallow(Oid),
    #[error("git upload-pack: ambiguous deepen-not: deepen-not {0}")]
    AmbiguousDeepenNot(String),
    #[error(transparent)]
    Walk(#[from] WalkError),
    #[error(transparent)]
    Pack(#[from] WriteError),
    /// Nobody takes the answer any more.
    #[error("the answer cannot be written: {0}")]
    Io(#[from] io::Error),
}

impl FetchError {
    /// What the client is told. What went wrong inside is for the log: the client only learns that it did.
    pub fn message(&self) -> String {
        match self {
            FetchError::NotOurRef(_)
            | FetchError::UnknownRef(_)
            | FetchError::InvalidShallow(_)
            | FetchError::AmbiguousDeepenNot(_)
            | FetchError::Walk(WalkError::NothingSelected | WalkError::TooManyCommits { .. }) => {
                self.to_string()
            }
            _ => "git upload-pack: the server cannot read this repository".to_owned(),
        }
    }

    /// Whether the request is to blame, not the server.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            FetchError::NotOurRef(_)
                | FetchError::UnknownRef(_)
                | FetchError::InvalidShallow(_)
                | FetchError::AmbiguousDeepenNot(_)
                | FetchError::Walk(WalkError::NothingSelected | WalkError::TooManyCommits { .. })
        )
    }
}

/// Writes the complete answer to `out`.
///
/// On an error the client has been told in the stream, as far as that is possible: by an `ERR` packet before the pack,
/// on band 3 within it. A pack without side band just ends early, so the connection must not end well. `now` is read
/// to keep quiet connections alive; nothing is written behind the caller's back.
pub fn answer(
    snapshot: &Snapshot,
    request: &Fetch,
    limits: &Limits,
    out: &mut dyn Write,
    now: &dyn Fn() -> Instant,
) -> Result<(), FetchError> {
    let mut head = Vec::new();
    match negotiated(snapshot, request, limits, &mut head) {
        Ok(None) => Ok(out.write_all(&head)?),
        Ok(Some(query)) => {
            out.write_all(&head)?;
            send_pack(snapshot, request, limits, &query, out, now)
        }
        Err(error) => {
            head.clear();
            pktline::error(&mut head, &error.message());
            out.write_all(&head)?;
            Err(error)
        }
    }
}

/// Writes everything before the pack to `head`. `None` if no pack follows.
fn negotiated(
    snapshot: &Snapshot,
    request: &Fetch,
    limits: &Limits,
    head: &mut Vec<u8>,
) -> Result<Option<Query>, FetchError> {
    let wants = request.resolve_wants(snapshot)?;
    let common = match request.dialect {
        Dialect::V2 { wait_for_done } if wants.is_empty() && !wait_for_done => return Ok(None),
        Dialect::V0 { .. } if wants.is_empty() => return Ok(None),
        Dialect::V2 { wait_for_done } => {
            let mut negotiation = Negotiation::new(snapshot, &wants, &limits.walk);
            if request.done || request.haves.is_empty() {
                for oid in &request.haves {
                    negotiation.have(oid)?;
                }
            } else if !negotiate::acknowledge_v2(head, &mut negotiation, &request.haves, wait_for_done)? {
                return Ok(None);
            }
            negotiation.into_common()
        }
        // In v0 the shallow commits come before the acknowledgments, in v2 after them.
        Dialect::V0 { .. } => Vec::new(),
    };
    let client_shallow = request.shallow_known(snapshot)?;
    let shallow = deepen(snapshot, request, &wants, &client_shallow, limits)?;
    let common = match request.dialect {
        Dialect::V2 { .. } => {
            if shallow.is_some() || !client_shallow.is_empty() {
                pktline::text(head, "shallow-info");
                shallow_lines(head, shallow.as_ref());
                head.extend_from_slice(pktline::DELIM);
            }
            wanted_refs_section(head, &request.wanted_refs(snapshot)?);
            pktline::text(head, "packfile");
            common
        }
        Dialect::V0 { acks, no_done, negotiates, .. } => {
            if shallow.is_some() {
                shallow_lines(head, shallow.as_ref());
                head.extend_from_slice(pktline::FLUSH);
            }
            let mut negotiation = Negotiation::new(snapshot, &wants, &limits.walk);
            let round = RoundV0 { acks, no_done, haves: &request.haves, done: request.done };
            if !negotiates || !negotiate::acknowledge_v0(head, &mut negotiation, &round)? {
                return Ok(None);
            }
            negotiation.into_common()
        }
    };
    Ok(Some(Query {
        wants,
        haves: common,
        client_shallow,
        shallow,
        filter: request.filter.as_ref().map(|filter| filter.filter.clone()),
        include_tag: request.include_tag,
        thin: request.thin,
    }))
}

/// Writes the section that says what the refs wanted by name are, if there are any. It comes after `shallow-info`, the
/// order in which git's client reads them.
pub(super) fn wanted_refs_section(out: &mut Vec<u8>, refs: &[(&str, Oid)]) {
    if refs.is_empty() {
        return;
    }
    pktline::text(out, "wanted-refs");
    for (name, oid) in refs {
        pktline::text(out, &format!("{oid} {name}"));
    }
    out.extend_from_slice(pktline::DELIM);
}

fn deepen(
    snapshot: &Snapshot,
    request: &Fetch,
    wants: &[Oid],
    client_shallow: &[Oid],
    limits: &Limits,
) -> Result<Option<Shallow>, FetchError> {
    let depth = match &request.deepen {
        None => return Ok(None),
        Some(Deepen::Commits { depth, relative }) => Depth::Commits { depth: *depth, relative: *relative },
        Some(Deepen::Revisions { since_seconds, not }) => {
            let exclude = fetch::resolve_names(snapshot, not)?;
            match *since_seconds {
                Some(seconds) if exclude.is_empty() => Depth::Since { seconds },
                Some(seconds) => Depth::SinceAndNot { seconds, exclude },
                None => Depth::Not { exclude },
            }
        }
    };
    Ok(Some(walk::deepen(snapshot, wants, client_shallow, &depth, &limits.walk)?))
}

fn shallow_lines(out: &mut Vec<u8>, shallow: Option<&Shallow>) {
    let Some(shallow) = shallow else { return };
    for oid in &shallow.shallow {
        pktline::data(out, format!("shallow {oid}").as_bytes());
    }
    for oid in &shallow.unshallow {
        pktline::data(out, format!("unshallow {oid}").as_bytes());
    }
}

fn send_pack(
    snapshot: &Snapshot,
    request: &Fetch,
    limits: &Limits,
    query: &Query,
    out: &mut dyn Write,
    now: &dyn Fn() -> Instant,
) -> Result<(), FetchError> {
    let framing = match request.dialect {
        Dialect::V2 { .. } => Framing::Large,
        Dialect::V0 { framing, .. } => framing,
    };
    let stream = PackStream::new(out, framing, !request.no_progress, now);
    let written = select_and_write(snapshot, request, limits, query, &stream);
    match stream.take_failure().map_or(written, |failure| Err(failure.into())) {
        Ok(()) => Ok(stream.finish()?),
        Err(error) => {
            // If the client cannot be told, that is no news: the error is reported either way.
            let _ = stream.error(&error.message());
            Err(error)
        }
    }
}

fn select_and_write(
    snapshot: &Snapshot,
    request: &Fetch,
    limits: &Limits,
    query: &Query,
    stream: &PackStream<'_>,
) -> Result<(), FetchError> {
    let selection = walk::select(snapshot, query, &limits.walk, &mut |_| stream.tick())?;
    let objects = selection.entries().len();
    stream.progress(&format!("Enumerating objects: {objects}, done.\n"))?;
    let mut out = stream;
    let whole = selection.whole_pack(snapshot).filter(|_| request.ofs_delta);
    if let Some(pack) = whole.and_then(|position| snapshot.packs().get(position as usize)) {
        out.write_all(&pack.pack_bytes())?;
        stream.progress(&format!("Total {objects}, pack-reused {objects} (from 1)\n"))?;
        return Ok(());
    }
    let options = PackOptions { ofs_delta: request.ofs_delta, thin: request.thin };
    let stats = write::write_pack(snapshot, &selection, &options, &mut out, &mut |_| stream.tick())?;
    let PackStats { objects, deltas, reused, .. } = stats;
    stream.progress(&format!("Total {objects} (delta {deltas}), reused {reused}\n"))?;
    Ok(())
}

/// The pack's stream, shared by the writer of the pack and the callbacks that keep the connection alive.
struct PackStream<'a> {
    sideband: RefCell<Sideband<Timed<'a>>>,
    /// Why a callback asked to stop.
    failure: RefCell<Option<io::Error>>,
    progress: bool,
}

impl<'a> PackStream<'a> {
    fn new(
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

    /// Called now and then while there may be nothing to write.
    fn tick(&self) -> Result<(), Interrupted> {
        let mut sideband = self.sideband.borrow_mut();
        if !sideband.get_ref().is_quiet() {
            return Ok(());
        }
        sideband.keepalive().map_err(|error| {
            *self.failure.borrow_mut() = Some(error);
            Interrupted
        })
    }

    fn progress(&self, text: &str) -> io::Result<()> {
        if self.progress { self.sideband.borrow_mut().progress(text) } else { Ok(()) }
    }

    fn error(self, text: &str) -> io::Result<()> {
        self.sideband.into_inner().error(text)
    }

    fn take_failure(&self) -> Option<io::Error> {
        self.failure.take()
    }

    fn finish(self) -> io::Result<()> {
        self.sideband.into_inner().finish()
    }
}

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
    fn is_quiet(&self) -> bool {
        (self.now)().saturating_duration_since(self.last) >= KEEPALIVE_AFTER
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
