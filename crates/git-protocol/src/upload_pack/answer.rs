//! The answer to a fetch, written from front to back.

use std::io::{self, Write};
use std::time::Instant;

use database::Oid;
use repository::Snapshot;
use repository::walk::{self, Depth, Query, Shallow, WalkError};
use repository::write::{self, PackOptions, PackStats, WriteError};

use super::negotiate::{self, Negotiation, RoundV0};
use super::stream::PackStream;
use super::{Deepen, Dialect, Fetch, fetch};
use crate::sideband::Framing;
use crate::{Limits, pktline};

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
    Pack(WriteError),
    /// Nobody takes the answer any more.
    #[error("the answer cannot be written: {0}")]
    Io(#[from] io::Error),
}

impl From<WriteError> for FetchError {
    fn from(error: WriteError) -> FetchError {
        match error {
            WriteError::Io(error) => FetchError::Io(error),
            other => FetchError::Pack(other),
        }
    }
}

impl FetchError {
    /// What the client is told. What went wrong inside is for the log: the client only learns that it did.
    pub fn message(&self) -> String {
        if self.is_refusal() {
            self.to_string()
        } else {
            "git upload-pack: the server cannot read this repository".to_owned()
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
    let selection = walk::select(snapshot, query, &limits.walk, &mut |count| stream.tick(Some(count)))?;
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
    let stats = write::write_pack(snapshot, &selection, &options, &mut out, &mut |_| stream.tick(None))?;
    let PackStats { objects, deltas, reused, .. } = stats;
    stream.progress(&format!("Total {objects} (delta {deltas}), reused {reused}\n"))?;
    Ok(())
}
