//! What to send: everything that is wanted and not there already.

use std::collections::{HashMap, HashSet};

use database::{Oid, PackKind};

use super::commits::{Commits, Node};
use super::filter::{Filter, Rules};
use super::trees::{Reference, TreeWalk};
use super::{Interrupted, Marks, Numbering, Shallow, Ticker, WalkError, WalkLimits};
use crate::snapshot::Location;
use crate::{Kind, ReadError, Snapshot};

/// What a client asks for and what it has.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Objects of any kind. All must exist. They are sent even if the filter excludes them.
    pub wants: Vec<Oid>,
    /// The client has these and all they reach, down to `client_shallow`. Those that do not exist here are ignored.
    pub haves: Vec<Oid>,
    /// Commits whose parents the client does not have.
    pub client_shallow: Vec<Oid>,
    /// What [`deepen`](super::deepen) answered, if the client asked for a depth.
    pub shallow: Option<Shallow>,
    pub filter: Option<Filter>,
    /// Annotated tags under `refs/tags/` are sent along with what they point at.
    pub include_tag: bool,
    /// Deltas on objects that the client has are welcome.
    pub thin: bool,
}

/// What to send, in the order of writing. Belongs to the snapshot it was made from.
///
/// It holds everything that is reached from the wants and not from the haves, and nothing that the wants do not reach
/// (apart from `include_tag`). Without haves it is exactly what git sends.
#[derive(Clone, Debug)]
pub struct Selection {
    entries: Vec<Location>,
    numbering: Numbering,
    selected: Marks,
    client: Marks,
    previous: HashMap<usize, Location>,
}

/// A commit without a parent to compare with is compared with so many trees of the client at most.
const FALLBACK_REFERENCES: usize = 8;
const REFERENCES_MAX: usize = 8;

/// Finds what to send. `progress` is called now and then with the number of objects looked at.
pub fn select(
    s: &Snapshot,
    query: &Query,
    limits: &WalkLimits,
    progress: &mut dyn FnMut(u64) -> Result<(), Interrupted>,
) -> Result<Selection, WalkError> {
    let mut ticker = Ticker::new(progress);
    let rules = Rules::new(query.filter.as_ref());
    let mut walk = TreeWalk::new(s, rules);
    let mut commits = Commits::new(s, limits);
    let changes = query.shallow.as_ref();
    let cuts = changes.map_or(&[][..], |shallow| &shallow.shallow);
    commits.cut(query.client_shallow.iter().chain(cuts).copied());

    let mut haves = Roots::default();
    let unshallowed = changes.map_or(&[][..], |shallow| &shallow.unshallow);
    for oid in unshallowed.iter().chain(&query.haves).filter(|oid| s.contains(oid)) {
        haves.add(s, &mut commits, oid)?;
    }
    let mut wants = Roots::default();
    for oid in &query.wants {
        wants.add(s, &mut commits, oid)?;
    }
    let asked_for: HashSet<Node> = wants.commits.iter().copied().collect();
    for oid in unshallowed.iter().filter(|oid| s.contains(oid)) {
        for parent in s.commit(oid)?.parents {
            wants.add(s, &mut commits, &parent)?;
        }
    }

    let numbering = Numbering::new(s);
    for (oid, kind) in haves.objects(s) {
        walk.give(&oid, kind, &mut ticker)?;
    }
    for oid in unshallowed.iter().filter(|oid| s.contains(oid)) {
        // What is wanted now lies before these, so no comparison with parents would find what they have in common.
        walk.give(&s.commit(oid)?.tree, Kind::Tree, &mut ticker)?;
    }
    let found = commits.paint(&wants.commits, &haves.commits, None, &mut ticker)?;
    commits.collect_uninteresting(&mut walk.client);

    let sent = found.iter().filter(|node| rules.commits() || asked_for.contains(node));
    let mut entries: Vec<Location> = sent.map(|&node| commits.location(node)).collect();
    let tags = wants.tags.iter().filter(|tag| !walk.client.contains(numbering.number(**tag)));
    entries.extend(tags);
    for location in &entries {
        walk.selected.insert(numbering.number(*location));
    }
    let mut explicit = Marks::default();
    for &tree in &wants.trees {
        explicit.insert(numbering.number(tree));
        walk.explicit(tree, &mut ticker)?;
    }
    for &blob in &wants.blobs {
        explicit.insert(numbering.number(blob));
        walk.select_blob(blob);
    }
    if rules.below(0) {
        walk_commits(s, &mut commits, &found, &haves.commits, &mut walk, &mut ticker)?;
    }

    let TreeWalk { mut selected, client, trees, blobs, mut previous, .. } = walk;
    // The walk went from old to new and learned on the way what the client has.
    let content = trees.into_iter().rev().chain(blobs.into_iter().rev());
    let content: Vec<_> = content
        .filter(|location| {
            let number = numbering.number(*location);
            let sends = explicit.contains(number) || !client.contains(number);
            if !sends {
                selected.remove(number);
            }
            sends
        })
        .collect();
    if query.include_tag {
        include_tags(s, &numbering, &mut selected, &mut entries)?;
    }
    entries.extend(content);
    if !query.thin {
        previous.clear();
    }
    Ok(Selection { entries, numbering, selected, client, previous })
}

impl Selection {
    /// What to send, in this order.
    pub fn entries(&self) -> &[Location] {
        &self.entries
    }

    pub fn into_entries(self) -> Vec<Location> {
        self.entries
    }

    /// `location` must be where [`Snapshot::locate`] finds the object.
    pub fn contains(&self, location: Location) -> bool {
        self.selected.contains(self.numbering.number(location))
    }

    /// Whether the client certainly has this object, so that a thin pack may hold deltas on it. `location` must be
    /// where [`Snapshot::locate`] finds it.
    pub fn is_thin_base(&self, location: Location) -> bool {
        self.client.contains(self.numbering.number(location))
    }

    /// The position in [`Snapshot::packs`] of the one pack whose whole content this is, if so, and if that pack has no
    /// deltas on objects of others: it can be sent as it is to a client that takes deltas by offset.
    pub fn whole_pack(&self, s: &Snapshot) -> Option<u32> {
        let position = self.entries.first()?.pack;
        let pack = s.packs().get(position as usize)?;
        let whole = pack.kind() != PackKind::Api
            && pack.objects() as usize == self.entries.len()
            && self.entries.iter().all(|entry| entry.pack == position);
        whole.then_some(position)
    }

    pub(crate) fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    pub(crate) fn selected(&self) -> &Marks {
        &self.selected
    }

    /// What the client has at the path where the selection changes `location`; known only if thin packs are welcome.
    pub(crate) fn previous(&self, location: Location) -> Option<Location> {
        if self.previous.is_empty() {
            return None;
        }
        self.previous.get(&self.numbering.number(location)).copied()
    }
}

/// Objects that were named, by kind, with tags followed to what they point at.
#[derive(Default)]
struct Roots {
    commits: Vec<Node>,
    tags: Vec<Location>,
    trees: Vec<Location>,
    blobs: Vec<Location>,
    seen: HashSet<Location>,
}

impl Roots {
    fn add(&mut self, s: &Snapshot, commits: &mut Commits<'_>, oid: &Oid) -> Result<(), WalkError> {
        let mut oid = *oid;
        loop {
            let location = s.locate(&oid).ok_or(ReadError::Missing(oid))?;
            if !self.seen.insert(location) {
                return Ok(());
            }
            match kind_at(s, location) {
                Kind::Commit => self.commits.push(commits.get(&oid)?),
                Kind::Tree => self.trees.push(location),
                Kind::Blob => self.blobs.push(location),
                Kind::Tag => {
                    self.tags.push(location);
                    oid = s.tag(&oid)?.target;
                    continue;
                }
            }
            return Ok(());
        }
    }

    /// Those that are not commits.
    fn objects<'a>(&'a self, s: &'a Snapshot) -> impl Iterator<Item = (Oid, Kind)> {
        let locations = self.tags.iter().chain(&self.trees).chain(&self.blobs);
        locations.map(|&location| (s.oid_at(location), kind_at(s, location)))
    }
}

/// Walks the trees of `found` (newest first) from old to new, each compared with those of its parents.
fn walk_commits(
    s: &Snapshot,
    commits: &mut Commits<'_>,
    found: &[Node],
    haves: &[Node],
    walk: &mut TreeWalk<'_>,
    ticker: &mut Ticker<'_>,
) -> Result<(), WalkError> {
    let reference = |commits: &Commits<'_>, node: Node, client: bool| {
        let tree = s.locate(&commits.tree(node)).filter(|&tree| kind_at(s, tree) == Kind::Tree)?;
        Some(Reference { tree, client })
    };
    let fallback: Vec<_> = haves.iter().filter_map(|&have| reference(commits, have, true)).collect();
    let fallback = &fallback[..fallback.len().min(FALLBACK_REFERENCES)];
    // Dates can make a commit come before its parent here; such a parent is not to be relied on.
    let mut done = HashSet::new();
    let mut last = None;
    for &node in found.iter().rev() {
        let mut references = Vec::new();
        let mut has_ours = false;
        for edge in commits.edges(node).take(REFERENCES_MAX) {
            let Some(parent) = commits.known_parent(edge) else { continue };
            let client = commits.is_uninteresting(parent);
            // What one parent of ours has, the bits know of all of them.
            if client || (!has_ours && done.contains(&parent)) {
                references.extend(reference(commits, parent, client));
                has_ours |= !client;
            }
        }
        if references.is_empty() {
            references.extend_from_slice(fallback);
            references.extend(last);
        }
        walk.root(&commits.tree(node), references, ticker)?;
        done.insert(node);
        last = reference(commits, node, false);
    }
    Ok(())
}

/// Adds the tags under `refs/tags/` that lead to something selected, with the tags between.
fn include_tags(
    s: &Snapshot,
    numbering: &Numbering,
    selected: &mut Marks,
    entries: &mut Vec<Location>,
) -> Result<(), WalkError> {
    let first = s.refs().partition_point(|row| row.name.as_str() < "refs/tags/");
    for row in s.refs()[first..].iter().take_while(|row| row.name.starts_with("refs/tags/")) {
        let target = row.peeled.and_then(|peeled| s.locate(&peeled));
        if !target.is_some_and(|target| selected.contains(numbering.number(target))) {
            continue;
        }
        let mut oid = row.oid;
        loop {
            let location = s.locate(&oid).ok_or(ReadError::Missing(oid))?;
            if kind_at(s, location) != Kind::Tag || !selected.insert(numbering.number(location)) {
                break;
            }
            entries.push(location);
            oid = s.tag(&oid)?.target;
        }
    }
    Ok(())
}

fn kind_at(s: &Snapshot, location: Location) -> Kind {
    s.packs()[location.pack as usize].kind_of(location.index)
}
