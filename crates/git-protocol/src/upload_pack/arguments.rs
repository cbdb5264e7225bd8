//! What a fetch asks for, and the argument lines that all protocol versions share.

use std::collections::HashSet;

use database::Oid;
use repository::walk::Filter;

use super::{RequestError, filter};
use crate::Limits;
use crate::sideband::Framing;
use crate::text::quote;

/// A parsed fetch, of any protocol version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Each object once, in the order of the request.
    pub wants: Vec<Oid>,
    /// Refs wanted by name, sorted; the server says what they are. v2 only.
    pub want_refs: Vec<String>,
    /// What the client claims to have, in the order of the request.
    pub haves: Vec<Oid>,
    /// Commits whose parents the client does not have.
    pub shallow: Vec<Oid>,
    pub deepen: Option<Deepen>,
    pub filter: Option<FilterSpec>,
    /// The pack may hold deltas on objects that the client has.
    pub thin: bool,
    /// Deltas may name their base by offset.
    pub ofs_delta: bool,
    /// Tags of what is sent come along.
    pub include_tag: bool,
    pub no_progress: bool,
    /// The client has no more to tell: the pack follows.
    pub done: bool,
    pub dialect: Dialect,
}

/// How far history is to be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deepen {
    /// This many commits (at least 1) from the wants, or if `relative` from where the client's history ends now.
    Commits { depth: u32, relative: bool },
    /// Without commits older than `since_seconds` and those that the refs `not` (names as the client gave them) reach.
    Revisions { since_seconds: Option<i64>, not: Vec<String> },
}

/// A filter, and its spec as the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterSpec {
    pub filter: Filter,
    pub spec: String,
}

/// What only one of the protocol versions has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    V2 {
        /// Never say `ready`; the client only wants to learn what is common.
        wait_for_done: bool,
    },
    /// v1 as well.
    V0 {
        acks: Acks,
        /// After `ready` the pack follows at once.
        no_done: bool,
        framing: Framing,
        /// The body goes on after the wants. If not, the client only asked where history will be cut.
        negotiates: bool,
    },
}

/// How v0 acknowledges a `have`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acks {
    Single,
    /// `multi_ack`
    Multi,
    /// `multi_ack_detailed`
    Detailed,
}

/// Collects a [`Fetch`] line by line.
pub(super) struct Arguments<'a> {
    pub(super) fetch: Fetch,
    limits: &'a Limits,
    wanted: HashSet<Oid>,
    depth: Option<u32>,
    pub(super) relative: bool,
    since_seconds: Option<i64>,
    not: Vec<String>,
}

impl<'a> Arguments<'a> {
    pub(super) fn new(dialect: Dialect, limits: &'a Limits) -> Arguments<'a> {
        let fetch = Fetch {
            wants: Vec::new(),
            want_refs: Vec::new(),
            haves: Vec::new(),
            shallow: Vec::new(),
            deepen: None,
            filter: None,
            thin: false,
            ofs_delta: false,
            include_tag: false,
            no_progress: false,
            done: false,
            dialect,
        };
        let wanted = HashSet::new();
        Arguments {
            fetch,
            limits,
            wanted,
            depth: None,
            relative: false,
            since_seconds: None,
            not: Vec::new(),
        }
    }

    pub(super) fn want(&mut self, oid: Oid) -> Result<(), RequestError> {
        if self.wanted.insert(oid) {
            bound("wants", self.fetch.wants.len() + self.fetch.want_refs.len(), self.limits.wants_max)?;
            self.fetch.wants.push(oid);
        }
        Ok(())
    }

    /// Duplicates are found in [`Arguments::finish`].
    pub(super) fn want_ref(&mut self, name: &[u8]) -> Result<(), RequestError> {
        bound("wants", self.fetch.wants.len() + self.fetch.want_refs.len(), self.limits.wants_max)?;
        // A name that is no UTF-8 is no ref here; it stays unknown whatever replaces the bytes.
        self.fetch.want_refs.push(String::from_utf8_lossy(name).into_owned());
        Ok(())
    }

    /// `have <oid>`; false if the line is something else.
    pub(super) fn have(&mut self, line: &[u8]) -> Result<bool, RequestError> {
        let Some(hex) = line.strip_prefix(b"have ") else { return Ok(false) };
        let oid = leading_oid(hex).ok_or_else(|| RequestError::Have(quote(hex)))?;
        bound("haves", self.fetch.haves.len(), self.limits.haves_max)?;
        self.fetch.haves.push(oid);
        Ok(true)
    }

    /// The lines about shallow history; false if the line is something else.
    pub(super) fn history(&mut self, line: &[u8]) -> Result<bool, RequestError> {
        if let Some(hex) = line.strip_prefix(b"shallow ") {
            let oid = leading_oid(hex).ok_or_else(|| RequestError::Shallow(quote(line)))?;
            bound("shallow commits", self.fetch.shallow.len(), self.limits.shallow_max)?;
            self.fetch.shallow.push(oid);
        } else if let Some(depth) = line.strip_prefix(b"deepen ") {
            let depth = number(depth).filter(|depth| (1..=i64::from(i32::MAX)).contains(depth));
            let depth = depth.and_then(|depth| u32::try_from(depth).ok());
            self.depth = Some(depth.ok_or_else(|| RequestError::Deepen(quote(line)))?);
        } else if let Some(seconds) = line.strip_prefix(b"deepen-since ") {
            self.since_seconds = Some(number(seconds).ok_or_else(|| RequestError::DeepenSince(quote(line)))?);
        } else if let Some(name) = line.strip_prefix(b"deepen-not ") {
            bound("deepen-not lines", self.not.len(), self.limits.deepen_not_max)?;
            self.not.push(String::from_utf8_lossy(name).into_owned());
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    pub(super) fn filter(&mut self, spec: &[u8]) -> Result<(), RequestError> {
        if self.fetch.filter.is_some() {
            return Err(RequestError::SecondFilter);
        }
        self.fetch.filter = Some(filter::parse(spec, self.limits)?);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Fetch, RequestError> {
        let mut fetch = self.fetch;
        let revisions = self.since_seconds.is_some() || !self.not.is_empty();
        fetch.deepen = match self.depth {
            Some(_) if revisions => return Err(RequestError::DeepenConflict),
            Some(depth) => Some(Deepen::Commits { depth, relative: self.relative }),
            None if revisions => Some(Deepen::Revisions { since_seconds: self.since_seconds, not: self.not }),
            None => None,
        };
        fetch.want_refs.sort_unstable();
        if let Some([name, _]) = fetch.want_refs.array_windows().find(|[name, next]| name == next) {
            return Err(RequestError::DuplicateWantRef(quote(name.as_bytes())));
        }
        let mut seen = HashSet::new();
        fetch.shallow.retain(|oid| seen.insert(*oid));
        Ok(fetch)
    }
}

/// The object id a line starts with. What follows it is ignored, as git does.
pub(super) fn leading_oid(text: &[u8]) -> Option<Oid> {
    Oid::from_hex(text.get(..40)?).ok()
}

/// An error if there are `max` of `what` already.
pub(super) fn bound(what: &'static str, count: usize, max: usize) -> Result<(), RequestError> {
    if count < max { Ok(()) } else { Err(RequestError::TooMany { what, max }) }
}

/// Decimal digits and nothing else, up to `i64::MAX`.
fn number(text: &[u8]) -> Option<i64> {
    let digits = Some(text).filter(|text| text.iter().all(u8::is_ascii_digit))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
