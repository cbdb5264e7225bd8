//! Trees and blobs, walked as differences.
//!
//! A tree is compared with reference trees whose content is dealt with already (those of parent commits, as a rule):
//! entries that are equal in one of them are skipped without being looked up, and a subtree is compared with those of
//! the same name. A commit costs what it changed, plus one comparison of bytes per changed tree. Nothing recurses: a
//! hostile tree may be a million levels deep.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use database::Oid;

use super::compare::{Cursor, after_first, skip_equal};
use super::filter::Rules;
use super::{Marks, Numbering, Ticker, WalkError};
use crate::object::{self, TreeEntry};
use crate::snapshot::Location;
use crate::{Kind, ReadError, Snapshot};

/// A tree that need not be walked because everything in it is selected already, or lies at the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    pub(super) tree: Location,
    /// The client has all of it.
    pub(super) client: bool,
}

pub(super) struct TreeWalk<'s> {
    snapshot: &'s Snapshot,
    numbering: Numbering,
    rules: Rules,
    /// What the walk has come to and the filter lets through.
    pub(super) selected: Marks,
    /// What the client certainly has. Not all it has: what no comparison came across is not here.
    pub(super) client: Marks,
    /// In the order they were come to; each once.
    pub(super) trees: Vec<Location>,
    pub(super) blobs: Vec<Location>,
    /// By the number of a changed object: what the client has at the same path.
    pub(super) previous: HashMap<usize, Location>,
    visited: Visited,
    pending: Vec<Visit>,
    /// The large trees visited last, for what is compared with them next.
    recent: Vec<(Location, Arc<[u8]>)>,
}

/// The cache of objects does not keep very large trees, and may have to drop others at any time.
const RECENT: usize = 4;
const RECENT_BYTES_MIN: usize = 16 << 10;

struct Visit {
    tree: Location,
    /// Of the tree itself; a commit's root tree has 0.
    depth: u64,
    /// Asked for by its id: sent whatever the filter says, and its entries have depth 0, as in git.
    explicit: bool,
    references: Vec<Reference>,
}

/// Which trees need no second visit. Where a filter bounds the depth, a tree is visited again if it is met higher up.
enum Visited {
    Once(Marks),
    /// The smallest depth of the entries so far.
    AtDepth(HashMap<usize, u64>),
}

impl<'s> TreeWalk<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, rules: Rules) -> TreeWalk<'s> {
        TreeWalk {
            snapshot,
            numbering: Numbering::new(snapshot),
            rules,
            selected: Marks::default(),
            client: Marks::default(),
            trees: Vec::new(),
            blobs: Vec::new(),
            previous: HashMap::new(),
            visited: match rules.depth_matters() {
                true => Visited::AtDepth(HashMap::new()),
                false => Visited::Once(Marks::default()),
            },
            pending: Vec::new(),
            recent: Vec::new(),
        }
    }

    /// Selects what the root tree of a commit holds beyond its references.
    pub(super) fn root(
        &mut self,
        tree: &Oid,
        references: Vec<Reference>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), WalkError> {
        let tree = self.require(tree, Kind::Tree)?;
        self.walk(Visit { tree, depth: 0, explicit: false, references }, ticker)
    }

    /// Selects a tree that was asked for by its id, and what it holds.
    pub(super) fn explicit(&mut self, tree: Location, ticker: &mut Ticker<'_>) -> Result<(), WalkError> {
        self.walk(Visit { tree, depth: 0, explicit: true, references: Vec::new() }, ticker)
    }

    pub(super) fn select_blob(&mut self, blob: Location) {
        if self.selected.insert(self.numbering.number(blob)) {
            self.blobs.push(blob);
        }
    }

    /// Notes that the client has this object and everything in it. What does not exist here is ignored.
    pub(super) fn give(&mut self, oid: &Oid, kind: Kind, ticker: &mut Ticker<'_>) -> Result<(), WalkError> {
        let mut pending = Vec::new();
        self.give_one(oid, kind, &mut pending);
        while let Some(tree) = pending.pop() {
            ticker.tick()?;
            let (_, data) = self.snapshot.read_shared_at(tree)?;
            for entry in object::tree_entries(&data) {
                let entry = entry.map_err(|error| self.corrupt(tree, &error))?;
                if let Some(kind) = entry.kind() {
                    self.give_one(&entry.oid, kind, &mut pending);
                }
            }
        }
        Ok(())
    }

    fn give_one(&mut self, oid: &Oid, kind: Kind, trees: &mut Vec<Location>) {
        if let Some(location) = self.snapshot.locate(oid)
            && self.client.insert(self.numbering.number(location))
            && kind == Kind::Tree
            && self.kind(location) == Kind::Tree
        {
            trees.push(location);
        }
    }

    fn walk(&mut self, visit: Visit, ticker: &mut Ticker<'_>) -> Result<(), WalkError> {
        self.pending.push(visit);
        while let Some(visit) = self.pending.pop() {
            ticker.tick()?;
            self.visit(&visit, ticker)?;
        }
        Ok(())
    }

    fn visit(&mut self, visit: &Visit, ticker: &mut Ticker<'_>) -> Result<(), WalkError> {
        for reference in visit.references.iter().filter(|reference| reference.client) {
            self.client.insert(self.numbering.number(reference.tree));
        }
        let number = self.numbering.number(visit.tree);
        if self.client.contains(number) && !visit.explicit {
            return Ok(());
        }
        let selects = visit.explicit || self.rules.tree(visit.depth);
        if selects && self.selected.insert(number) {
            self.trees.push(visit.tree);
        }
        let entries_depth = if visit.explicit { 0 } else { visit.depth.saturating_add(1) };
        if !self.rules.below(entries_depth) || !self.visited.enter(number, entries_depth) {
            return Ok(());
        }
        // References first: a large one may be among the recent ones.
        let references = visit.references.iter().map(|reference| self.read(reference.tree));
        let references = references.collect::<Result<Vec<_>, _>>()?;
        let data = self.read(visit.tree)?;
        let cursor = |(reference, data): (&Reference, _)| Cursor { rest: data, client: reference.client };
        let cursors = visit.references.iter().zip(references.iter().map(|data| &**data)).map(cursor);
        self.compare(visit.tree, entries_depth, &data, cursors.collect(), ticker)
    }

    fn read(&mut self, tree: Location) -> Result<Arc<[u8]>, ReadError> {
        if let Some((_, data)) = self.recent.iter().find(|(recent, _)| *recent == tree) {
            return Ok(Arc::clone(data));
        }
        let (_, data) = self.snapshot.read_shared_at(tree)?;
        if data.len() >= RECENT_BYTES_MIN {
            if self.recent.len() == RECENT {
                self.recent.remove(0);
            }
            self.recent.push((tree, Arc::clone(&data)));
        }
        Ok(data)
    }

    /// Selects the blobs that no reference has at their place, and queues the trees.
    fn compare(
        &mut self,
        tree: Location,
        depth: u64,
        data: &[u8],
        mut references: Vec<Cursor<'_>>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), WalkError> {
        let first_child = self.pending.len();
        let mut rest = data;
        loop {
            if let Some(reference) = references.first_mut() {
                skip_equal(&mut rest, &mut reference.rest);
            }
            let Some(entry) = object::tree_entries(rest).next() else { break };
            let entry = entry.map_err(|error| self.corrupt(tree, &error))?;
            rest = after_first(rest);
            self.entry(&entry, depth, &mut references, ticker)?;
        }
        for reference in &mut references {
            while let Some(entry) = reference.next() {
                self.only_in_reference(&entry, reference.client, ticker)?;
            }
        }
        // The last one queued is the first one visited.
        self.pending[first_child..].reverse();
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &TreeEntry<'_>,
        depth: u64,
        references: &mut [Cursor<'_>],
        ticker: &mut Ticker<'_>,
    ) -> Result<(), WalkError> {
        // What the references have under the same name; a reference of the client's comes first.
        let mut others: Vec<(Oid, bool)> = Vec::new();
        let mut equal = false;
        for reference in references {
            while let Some((other, order)) = reference.peek_before(entry) {
                reference.rest = after_first(reference.rest);
                if order == Ordering::Equal {
                    equal |= other.oid == entry.oid;
                    others.push((other.oid, reference.client));
                    break;
                }
                self.only_in_reference(&other, reference.client, ticker)?;
            }
        }
        let Some(kind) = entry.kind() else { return Ok(()) };
        if equal {
            return Ok(());
        }
        ticker.tick()?;
        match kind {
            Kind::Tree => {
                if self.rules.tree(depth) || self.rules.below(depth.saturating_add(1)) {
                    let tree = self.require(&entry.oid, Kind::Tree)?;
                    let references = self.references(&others, Kind::Tree);
                    self.note_previous(tree, &references);
                    self.pending.push(Visit { tree, depth, explicit: false, references });
                }
            }
            _ => {
                if self.rules.blobs(depth) {
                    let blob = self.require(&entry.oid, Kind::Blob)?;
                    if self.rules.blob_size(self.size(blob)) {
                        self.select_blob(blob);
                        let references = self.references(&others, Kind::Blob);
                        self.note_previous(blob, &references);
                    }
                }
                for (other, client) in others {
                    if client {
                        self.give_one(&other, Kind::Blob, &mut Vec::new());
                    }
                }
            }
        }
        Ok(())
    }

    /// An entry of a reference that has no counterpart of its name: the client has it, and may be about to get it again
    /// under another name.
    fn only_in_reference(
        &mut self,
        entry: &TreeEntry<'_>,
        client: bool,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), WalkError> {
        match entry.kind() {
            Some(kind) if client => self.give(&entry.oid, kind, ticker),
            _ => Ok(()),
        }
    }

    fn references(&self, others: &[(Oid, bool)], kind: Kind) -> Vec<Reference> {
        let located = others.iter().filter_map(|&(oid, client)| {
            let tree = self.snapshot.locate(&oid)?;
            Some(Reference { tree, client })
        });
        located.filter(|reference| self.kind(reference.tree) == kind).collect()
    }

    fn note_previous(&mut self, object: Location, references: &[Reference]) {
        if let Some(reference) = references.iter().find(|reference| reference.client) {
            self.previous.entry(self.numbering.number(object)).or_insert(reference.tree);
        }
    }

    /// Where an object is that must exist and be of this kind.
    fn require(&self, oid: &Oid, expected: Kind) -> Result<Location, WalkError> {
        let location = self.snapshot.locate(oid).ok_or(ReadError::Missing(*oid))?;
        let actual = self.kind(location);
        if actual != expected {
            return Err(ReadError::WrongKind { oid: *oid, expected, actual }.into());
        }
        Ok(location)
    }

    fn kind(&self, location: Location) -> Kind {
        self.snapshot.packs()[location.pack as usize].kind_of(location.index)
    }

    fn size(&self, location: Location) -> u64 {
        self.snapshot.packs()[location.pack as usize].size_of(location.index)
    }

    fn corrupt(&self, tree: Location, error: &object::ObjectError) -> WalkError {
        ReadError::Corrupt { oid: self.snapshot.oid_at(tree), reason: error.to_string() }.into()
    }
}

impl Visited {
    /// Whether a tree must be visited whose entries have this depth.
    fn enter(&mut self, number: usize, depth: u64) -> bool {
        match self {
            Visited::Once(marks) => marks.insert(number),
            Visited::AtDepth(depths) => {
                let known = depths.entry(number).or_insert(u64::MAX);
                let higher = depth < *known;
                *known = depth.min(*known);
                higher
            }
        }
    }
}
