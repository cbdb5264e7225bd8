//! Sees every new object once: what is wrong with it, what it refers to, whether it is an LFS pointer.

use std::collections::{HashMap, HashSet};

use database::Oid;

use super::{IngestError, Limits};
use crate::fsck::{self, Defect, Problem};
use crate::object;
use crate::pack::section::Row;
use crate::pointer::{self, Pointer};
use crate::snapshot::Snapshot;
use crate::{Kind, Pack, walk};

/// What has been seen so far.
pub(super) struct Check<'a> {
    base: &'a Snapshot,
    blob_bytes_max: u64,
    pub(super) pointers: Vec<Pointer>,
    edges: Edges,
    /// Blobs that some tree names `.gitmodules`.
    gitmodules: HashSet<Oid>,
    oversized: Vec<(Oid, u64)>,
}

impl<'a> Check<'a> {
    pub(super) fn new(base: &'a Snapshot, limits: &Limits) -> Check<'a> {
        Check {
            base,
            blob_bytes_max: limits.blob_bytes.min(limits.object_bytes),
            pointers: Vec::new(),
            edges: Edges::default(),
            gitmodules: HashSet::new(),
            oversized: Vec::new(),
        }
    }

    /// How many objects the pack has: no more distinct edges can lead into it.
    pub(super) fn expect_objects(&mut self, objects: u32) {
        self.edges.objects = objects as usize;
        self.edges.settle_at = (2 * objects as usize).max(SETTLE_MIN);
    }

    /// A new object.
    pub(super) fn object(&mut self, kind: Kind, oid: Oid, data: &[u8]) -> Result<(), IngestError> {
        let refuse = |problem: Problem| IngestError::Defect(Defect { oid, problem });
        match kind {
            Kind::Blob => {
                self.blob_size(oid, data.len() as u64);
                self.blob_content(oid, data);
            }
            Kind::Tree => {
                let mut added = Ok(());
                let (edges, gitmodules, base) = (&mut self.edges, &mut self.gitmodules, self.base);
                fsck::check_tree(data, |entry| {
                    if let (Some(kind), Ok(())) = (entry.kind(), &added) {
                        added = edges.add(entry.oid, kind, base);
                        if fsck::is_gitmodules(entry.name) {
                            gitmodules.insert(entry.oid);
                        }
                    }
                })
                .map_err(refuse)?;
                added?;
            }
            Kind::Commit => {
                fsck::check_commit(data).map_err(refuse)?;
                let commit = object::parse_commit(data).map_err(|_| refuse(UNREADABLE))?;
                self.edges.add(commit.tree, Kind::Tree, self.base)?;
                commit
                    .parents
                    .iter()
                    .try_for_each(|parent| self.edges.add(*parent, Kind::Commit, self.base))?;
            }
            Kind::Tag => {
                fsck::check_tag(data).map_err(refuse)?;
                let tag = object::parse_tag(data).map_err(|_| refuse(UNREADABLE))?;
                self.edges.add(tag.target, tag.target_kind, self.base)?;
            }
        }
        Ok(())
    }

    /// A blob that the written pack will hold.
    pub(super) fn blob_content(&mut self, oid: Oid, data: &[u8]) {
        if let Some(target) = pointer::parse(data) {
            self.pointers.push(Pointer { blob: oid, sha256: target.sha256, size: target.size });
        }
    }

    /// The size of a new blob, which is all that is looked at if it is too large to be an LFS pointer.
    pub(super) fn blob_size(&mut self, oid: Oid, size: u64) {
        if size > self.blob_bytes_max {
            self.oversized.push((oid, size));
        }
    }

    /// Every edge leads to an object of `rows` (sorted by id) or of the snapshot, and to one of the right kind. Returns
    /// the edges into the snapshot.
    pub(super) fn connected(&self, rows: &[Row]) -> Result<Vec<(Oid, Kind)>, IngestError> {
        let (mut external, mut missing) = (Vec::new(), Vec::new());
        for (&oid, edge) in &self.edges.seen {
            let new = rows.binary_search_by_key(&oid, |row| row.oid).ok().map(|at| rows[at].kind);
            match new.or_else(|| self.base.kind(&oid)) {
                None => missing.push(oid),
                Some(actual) if actual != edge.kind => {
                    return Err(IngestError::WrongKind { oid, expected: edge.kind, actual });
                }
                Some(kind) if new.is_none() => external.push((oid, kind)),
                Some(_) => {}
            }
        }
        if missing.is_empty() { Ok(external) } else { Err(refuse_missing(missing)) }
    }

    /// What can only be said once all objects can be read: `.gitmodules` and the paths of blobs that are too large.
    pub(super) fn blobs(&mut self, pack: &Pack, overlay: &Snapshot) -> Result<(), IngestError> {
        self.oversized.retain(|(oid, _)| !self.base.contains(oid));
        if let Some(&(oid, size)) = self.oversized.first() {
            let path = walk::paths_in_pack(pack, overlay, &[oid]).remove(&oid);
            let (max, others) = (self.blob_bytes_max, self.oversized.len() - 1);
            return Err(IngestError::BlobTooLarge { oid, path, size, max, others });
        }
        let mut data = Vec::new();
        for &oid in &self.gitmodules {
            overlay.read_as(&oid, Kind::Blob, &mut data)?;
            fsck::check_gitmodules(&data).map_err(|problem| Defect { oid, problem })?;
        }
        Ok(())
    }
}

const UNREADABLE: Problem =
    Problem { id: "unknownType", message: std::borrow::Cow::Borrowed("the object cannot be read") };
const SETTLE_MIN: usize = 1 << 14;

/// What the new objects refer to, each once.
#[derive(Default)]
struct Edges {
    seen: HashMap<Oid, Edge>,
    /// How many objects the pack has.
    objects: usize,
    /// Look at what has come together once there are so many.
    settle_at: usize,
}

#[derive(Clone, Copy)]
struct Edge {
    kind: Kind,
    /// Found in the snapshot.
    external: bool,
}

impl Edges {
    fn add(&mut self, oid: Oid, kind: Kind, base: &Snapshot) -> Result<(), IngestError> {
        let seen = self.seen.entry(oid).or_insert(Edge { kind, external: false });
        // One object has one kind, so one of the two must be wrong.
        if seen.kind != kind {
            return Err(IngestError::WrongKind { oid, expected: kind, actual: seen.kind });
        }
        if self.seen.len() > self.settle_at { self.settle(base) } else { Ok(()) }
    }

    /// A small pack can name many objects that exist nowhere (a delta makes a large tree of a few bytes). More edges
    /// than the pack has objects must lead into the snapshot; otherwise the pack is refused here, before they fill
    /// the memory.
    fn settle(&mut self, base: &Snapshot) -> Result<(), IngestError> {
        let mut open = 0;
        for (oid, edge) in &mut self.seen {
            edge.external = edge.external || base.kind(oid) == Some(edge.kind);
            open += usize::from(!edge.external);
        }
        if open > self.objects {
            let missing = self.seen.iter().filter(|(_, edge)| !edge.external).map(|(oid, _)| *oid);
            return Err(refuse_missing(missing.collect()));
        }
        self.settle_at = self.seen.len() * 2;
        Ok(())
    }
}

fn refuse_missing(mut oids: Vec<Oid>) -> IngestError {
    oids.sort_unstable();
    let total = oids.len();
    oids.truncate(3);
    IngestError::Missing { oids, total }
}
