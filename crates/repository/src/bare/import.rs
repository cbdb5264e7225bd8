//! One complete pack of everything the refs of a [`Source`] reach.
//!
//! Two passes: the first walks commits, trees and tags and thereby knows the number of objects and every broken link;
//! the second writes. What lies packed is copied as it is, its delta included when the base is reached as well; only
//! loose objects and deltas whose base is not wanted are compressed anew. Nothing is verified here: the pack goes
//! through the same checks as one that was pushed.

use std::collections::HashMap;
use std::collections::hash_map;
use std::fmt;
use std::io::{self, Write};

use database::Oid;
use gix::objs::Exists as _;
use gix::odb::pack::Find as _;

use super::source::{Source, from_gix, to_gix};
use super::writer::PackWriter;
use crate::object::{self, ObjectError};
use crate::pack::entry::{self, EntryHeader};
use crate::{Kind, delta};

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    pub objects: u32,
    /// Length of the pack in bytes.
    pub bytes: u64,
}

/// Who names an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Referrer {
    Ref(String),
    Object(Oid),
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("object {oid} is missing, though {referrer} points at it; the source repository is incomplete")]
    Missing { oid: Oid, referrer: Referrer },
    #[error("object {oid} is a {actual}, though {referrer} says it is a {expected}")]
    WrongKind { oid: Oid, actual: &'static str, expected: &'static str, referrer: Referrer },
    #[error("object {oid} is malformed: {reason}")]
    Malformed { oid: Oid, reason: ObjectError },
    #[error("object {oid} cannot be read: {source}")]
    Unreadable { oid: Oid, source: Box<gix::Error> },
    #[error("object {oid} is larger than the {max} bytes allowed")]
    TooLarge { oid: Oid, max: u64 },
    #[error("the repository has more objects than a pack can hold")]
    TooManyObjects,
    #[error("interrupted")]
    Interrupted,
    #[error("cannot write the pack: {0}")]
    Write(#[from] io::Error),
}

impl fmt::Display for Referrer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Referrer::Ref(name) => write!(f, "ref {name}"),
            Referrer::Object(oid) => write!(f, "object {oid}"),
        }
    }
}

impl Source {
    /// Writes a pack of all objects that the refs reach; its deltas have their bases in it. A repository without refs
    /// gives a pack of no objects. `keepgoing` is asked often; once it says no, the answer is
    /// [`ImportError::Interrupted`].
    pub fn write_pack(&self, out: impl Write, keepgoing: &dyn Fn() -> bool) -> Result<Imported, ImportError> {
        let mut walk = Walk { source: self, seen: HashMap::new(), found: Default::default(), keepgoing };
        walk.run()?;
        let order = walk.found.concat();
        let objects = u32::try_from(order.len()).map_err(|_| ImportError::TooManyObjects)?;
        let places = order.iter().zip(0..).map(|(found, place)| (found.oid, place)).collect();
        let mut copy = Copy {
            source: self,
            places,
            states: vec![State::Waiting; order.len()],
            order,
            packs: HashMap::new(),
            pack: PackWriter::new(io::BufWriter::with_capacity(1 << 18, out), objects)?,
            buffer: Vec::new(),
            keepgoing,
        };
        for place in 0..objects {
            copy.write(place)?;
        }
        let (bytes, _) = copy.pack.finish()?;
        Ok(Imported { objects, bytes })
    }
}

#[derive(Clone, Copy)]
struct Found {
    oid: Oid,
    kind: Kind,
}

/// The first pass.
struct Walk<'a> {
    source: &'a Source,
    seen: HashMap<Oid, Kind>,
    /// Commits, tags, trees, blobs: the order in which git writes packs.
    found: [Vec<Found>; 4],
    keepgoing: &'a dyn Fn() -> bool,
}

/// An object that is named but was not looked at yet.
struct Edge {
    oid: Oid,
    /// A ref may name any kind.
    kind: Option<Kind>,
    from: Option<Oid>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), ImportError> {
        let mut buffer = Vec::new();
        let mut edges = Vec::new();
        let source = self.source;
        for row in source.refs() {
            edges.push(Edge { oid: row.oid, kind: None, from: None });
            while let Some(edge) = edges.pop() {
                self.visit(edge, &row.name, &mut buffer, &mut edges)?;
            }
        }
        Ok(())
    }

    fn visit(
        &mut self,
        edge: Edge,
        ref_name: &str,
        buffer: &mut Vec<u8>,
        edges: &mut Vec<Edge>,
    ) -> Result<(), ImportError> {
        let Edge { oid, kind: expected, from } = edge;
        let referrer = || from.map_or_else(|| Referrer::Ref(ref_name.to_owned()), Referrer::Object);
        if let hash_map::Entry::Occupied(seen) = self.seen.entry(oid) {
            return require(oid, *seen.get(), expected, referrer);
        }
        if !(self.keepgoing)() {
            return Err(ImportError::Interrupted);
        }
        let (kind, data) = match expected {
            // What a tree calls a blob is not read: that would be most of the repository.
            Some(Kind::Blob) if self.source.objects.exists(&to_gix(oid)) => (Kind::Blob, &[][..]),
            _ => self.source.read(oid, referrer, buffer)?,
        };
        require(oid, kind, expected, referrer)?;
        self.seen.insert(oid, kind);
        let list = match kind {
            Kind::Commit => 0,
            Kind::Tag => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
        };
        self.found[list].push(Found { oid, kind });
        self.edges(oid, kind, data, edges).map_err(|reason| ImportError::Malformed { oid, reason })
    }

    fn edges(&self, oid: Oid, kind: Kind, data: &[u8], edges: &mut Vec<Edge>) -> Result<(), ObjectError> {
        let mut push = |target: Oid, kind: Kind| {
            // Most edges lead to what was seen; those whose kind fits need no turn on the stack.
            if self.seen.get(&target) != Some(&kind) {
                edges.push(Edge { oid: target, kind: Some(kind), from: Some(oid) });
            }
        };
        match kind {
            Kind::Blob => {}
            Kind::Tag => {
                let tag = object::parse_tag(data)?;
                push(tag.target, tag.target_kind);
            }
            Kind::Commit => {
                let commit = object::parse_commit(data)?;
                commit.parents.iter().rev().for_each(|&parent| push(parent, Kind::Commit));
                push(commit.tree, Kind::Tree);
            }
            Kind::Tree => {
                for entry in object::tree_entries(data) {
                    let entry = entry?;
                    if let Some(kind) = entry.kind() {
                        push(entry.oid, kind);
                    }
                }
            }
        }
        Ok(())
    }
}

fn require(
    oid: Oid,
    actual: Kind,
    expected: Option<Kind>,
    referrer: impl FnOnce() -> Referrer,
) -> Result<(), ImportError> {
    match expected {
        Some(expected) if expected != actual => Err(ImportError::WrongKind {
            oid,
            actual: actual.name(),
            expected: expected.name(),
            referrer: referrer(),
        }),
        _ => Ok(()),
    }
}

/// The second pass.
struct Copy<'a, W> {
    source: &'a Source,
    order: Vec<Found>,
    places: HashMap<Oid, u32>,
    states: Vec<State>,
    /// Per source pack, who lies where: sorted by offset.
    packs: HashMap<u32, Vec<(u64, Oid)>>,
    pack: PackWriter<W>,
    buffer: Vec<u8>,
    keepgoing: &'a dyn Fn() -> bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// Its base is being written first. Two packs may hold two objects as deltas on each other; the second of them
    /// finds the first open and becomes a whole object.
    Open,
    Written {
        offset: u64,
    },
}

/// A packed object that is copied as it is.
struct Stored {
    place: u32,
    data: Vec<u8>,
    header: entry::Header,
    /// The place of the delta's base.
    base: Option<u32>,
}

impl<W: Write> Copy<'_, W> {
    /// Writes an object behind all the bases it needs.
    fn write(&mut self, place: u32) -> Result<(), ImportError> {
        let mut stack = Vec::new();
        let mut next = Some(place);
        loop {
            if let Some(place) = next.take()
                && let Some(stored) = self.begin(place)?
            {
                let waiting = stored.base.filter(|&base| self.states[base as usize] == State::Waiting);
                stack.push(stored);
                if waiting.is_some() {
                    next = waiting;
                    continue;
                }
            }
            let Some(stored) = stack.pop() else { return Ok(()) };
            self.copy(&stored)?;
        }
    }

    /// Writes what needs no base; otherwise returns what is to be copied once its base is written.
    fn begin(&mut self, place: u32) -> Result<Option<Stored>, ImportError> {
        if self.states[place as usize] != State::Waiting {
            return Ok(None);
        }
        if !(self.keepgoing)() {
            return Err(ImportError::Interrupted);
        }
        let Found { oid, kind } = self.order[place as usize];
        if let Some(mut stored) = self.stored(place, oid)? {
            match stored.header.entry {
                EntryHeader::Whole(stored_kind) if stored_kind == kind => {
                    self.copy(&stored)?;
                    return Ok(None);
                }
                EntryHeader::Whole(actual) => {
                    let (actual, expected) = (actual.name(), kind.name());
                    let referrer = Referrer::Object(oid);
                    return Err(ImportError::WrongKind { oid, actual, expected, referrer });
                }
                _ => {
                    stored.base = stored.base.filter(|&base| self.states[base as usize] != State::Open);
                    if stored.base.is_some() {
                        self.states[place as usize] = State::Open;
                        return Ok(Some(stored));
                    }
                }
            }
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let (actual, data) = self.source.read(oid, || Referrer::Object(oid), &mut buffer)?;
        require(oid, actual, Some(kind), || Referrer::Object(oid))?;
        let offset = self.pack.whole(kind, data)?;
        self.states[place as usize] = State::Written { offset };
        self.buffer = buffer;
        Ok(None)
    }

    fn copy(&mut self, stored: &Stored) -> Result<(), ImportError> {
        let compressed = &stored.data[stored.header.length..];
        let kind = self.order[stored.place as usize].kind;
        let size = stored.header.inflated_size;
        let offset = match stored.base {
            None => self.pack.whole_compressed(kind, size, compressed)?,
            Some(base) => {
                let State::Written { offset: base } = self.states[base as usize] else {
                    unreachable!("a base is written before what needs it");
                };
                self.pack.delta_compressed(base, size, compressed)?
            }
        };
        self.states[stored.place as usize] = State::Written { offset };
        Ok(())
    }

    /// The packed form of an object, if it lies in a pack.
    fn stored(&mut self, place: u32, oid: Oid) -> Result<Option<Stored>, ImportError> {
        let unreadable = |source| ImportError::Unreadable { oid, source: Box::new(source) };
        let objects = &self.source.objects;
        let location = objects.location_by_oid(&to_gix(oid), &mut self.buffer).map_err(unreadable)?;
        let Some(location) = location else { return Ok(None) };
        let Some(found) = objects.entry_by_location(&location) else { return Ok(None) };
        let Ok(header) = entry::decode(&found.data, location.pack_offset) else { return Ok(None) };
        // The buffer holds the inflated entry: a delta tells the size of what it makes.
        let size = match header.entry {
            EntryHeader::Whole(_) => header.inflated_size,
            _ => delta::sizes(&self.buffer).map_or(0, |(_, result)| result),
        };
        if size > self.source.object_bytes_max {
            return Err(ImportError::TooLarge { oid, max: self.source.object_bytes_max });
        }
        let base = match header.entry {
            EntryHeader::Whole(_) => None,
            EntryHeader::RefDelta { base } => Some(base),
            EntryHeader::OfsDelta { base_offset } => {
                self.oid_at(location.pack_id, base_offset).map_err(unreadable)?
            }
        };
        let base = base.and_then(|base| self.places.get(&base).copied());
        Ok(Some(Stored { place, data: found.data, header, base }))
    }

    fn oid_at(&mut self, pack: u32, offset: u64) -> Result<Option<Oid>, gix::Error> {
        let by_offset = match self.packs.entry(pack) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(unknown) => {
                let rows = self.source.objects.pack_offsets_and_oid(pack)?.unwrap_or_default();
                let mut rows: Vec<_> = rows.into_iter().map(|(offset, id)| (offset, from_gix(&id))).collect();
                rows.sort_unstable();
                unknown.insert(rows)
            }
        };
        let found = by_offset.binary_search_by_key(&offset, |&(offset, _)| offset);
        Ok(found.ok().map(|at| by_offset[at].1))
    }
}
