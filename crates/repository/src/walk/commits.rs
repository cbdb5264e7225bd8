//! The graph of commits: walked newest first, from what is wanted and from what is there already.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::ops::Range;

use database::Oid;

use super::{Marks, Numbering, Ticker, WalkError, WalkLimits};
use crate::object;
use crate::snapshot::Location;
use crate::{Kind, ReadError, Snapshot};

/// Whether `ancestor` is `descendant` or one of its ancestors; both must be commits. Right whatever their dates say.
pub fn is_ancestor(
    s: &Snapshot,
    ancestor: &Oid,
    descendant: &Oid,
    limits: &WalkLimits,
) -> Result<bool, WalkError> {
    let mut commits = Commits::new(s, limits);
    let (old, new) = (commits.get(ancestor)?, commits.get(descendant)?);
    if old == new {
        return Ok(true);
    }
    let newer = commits.paint(&[new], &[old], None, &mut Ticker::new(&mut |_| Ok(())))?;
    // No commit between the two is an ancestor of `old` (that would be a circle), so all of them are in `newer`.
    Ok(newer.into_iter().any(|node| commits.edges(node).any(|edge| commits.known_parent(edge) == Some(old))))
}

/// Whether every commit of `wants` is or reaches one of `common`: then no further `have` can make a fetch much
/// smaller. Wants that are not commits (behind tags) do not count. False where finding out would take more than the
/// limits allow, or where dates mislead: going on negotiating is never wrong.
pub fn reaches(s: &Snapshot, wants: &[Oid], common: &[Oid], limits: &WalkLimits) -> Result<bool, WalkError> {
    let mut commits = Commits::new(s, limits);
    match commits.all_reach(wants, common) {
        Err(WalkError::TooManyCommits { .. }) => Ok(false),
        other => other,
    }
}

/// A commit of a [`Commits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node(u32);

/// The commits that were met so far, each parsed once.
pub(super) struct Commits<'s> {
    snapshot: &'s Snapshot,
    numbering: Numbering,
    nodes: Vec<Details>,
    edges: Vec<Edge>,
    by_number: HashMap<usize, Node>,
    /// Have no parents here: the client has, or gets, only the commits themselves.
    cut: HashSet<Oid>,
    commits_max: usize,
    buffer: Vec<u8>,
}

struct Details {
    location: Location,
    tree: Oid,
    date: i64,
    edges: (u32, u32),
    flags: u8,
}

struct Edge {
    parent: Oid,
    node: Option<Node>,
}

/// Was put into the queue.
const SEEN: u8 = 1;
/// Is in the queue.
const QUEUED: u8 = 2;
/// Has been taken out of it, its parents are known.
const EXPANDED: u8 = 4;
/// Is reached from what is there already.
const UNINTERESTING: u8 = 8;

/// How many more commits are looked at when nothing of interest is left, in case dates mislead. As in git.
const SLOP: u32 = 5;

impl<'s> Commits<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, limits: &WalkLimits) -> Commits<'s> {
        Commits {
            snapshot,
            numbering: Numbering::new(snapshot),
            nodes: Vec::new(),
            edges: Vec::new(),
            by_number: HashMap::new(),
            cut: HashSet::new(),
            commits_max: limits.commits_max,
            buffer: Vec::new(),
        }
    }

    /// From now on these have no parents. To be called before any of them is met.
    pub(super) fn cut(&mut self, commits: impl IntoIterator<Item = Oid>) {
        self.cut.extend(commits);
    }

    pub(super) fn get(&mut self, oid: &Oid) -> Result<Node, WalkError> {
        let location = self.snapshot.locate(oid).ok_or(ReadError::Missing(*oid))?;
        let number = self.numbering.number(location);
        if let Some(&node) = self.by_number.get(&number) {
            return Ok(node);
        }
        if self.nodes.len() >= self.commits_max {
            return Err(WalkError::TooManyCommits { max: self.commits_max });
        }
        let actual = self.snapshot.read_at(location, &mut self.buffer)?;
        if actual != Kind::Commit {
            return Err(ReadError::WrongKind { oid: *oid, expected: Kind::Commit, actual }.into());
        }
        let commit = object::parse_commit(&self.buffer)
            .map_err(|error| ReadError::Corrupt { oid: *oid, reason: error.to_string() })?;
        let first = self.edges.len() as u32;
        if self.cut.is_empty() || !self.cut.contains(oid) {
            self.edges.extend(commit.parents.into_iter().map(|parent| Edge { parent, node: None }));
        }
        let node = Node(self.nodes.len() as u32);
        self.nodes.push(Details {
            location,
            tree: commit.tree,
            date: commit.committer_seconds,
            edges: (first, self.edges.len() as u32),
            flags: 0,
        });
        self.by_number.insert(number, node);
        Ok(node)
    }

    /// Names the edges to a commit's parents, for [`Commits::parent`].
    pub(super) fn edges(&self, node: Node) -> Range<u32> {
        let (start, end) = self.details(node).edges;
        start..end
    }

    pub(super) fn parent(&mut self, edge: u32) -> Result<Node, WalkError> {
        if let Some(node) = self.known_parent(edge) {
            return Ok(node);
        }
        let parent = self.edges[edge as usize].parent;
        let node = self.get(&parent)?;
        self.edges[edge as usize].node = Some(node);
        Ok(node)
    }

    /// The parent, if the walk has come to it.
    pub(super) fn known_parent(&self, edge: u32) -> Option<Node> {
        self.edges[edge as usize].node
    }

    pub(super) fn location(&self, node: Node) -> Location {
        self.details(node).location
    }

    pub(super) fn tree(&self, node: Node) -> Oid {
        self.details(node).tree
    }

    pub(super) fn date(&self, node: Node) -> i64 {
        self.details(node).date
    }

    pub(super) fn oid(&self, node: Node) -> Oid {
        self.snapshot.oid_at(self.location(node))
    }

    pub(super) fn is_uninteresting(&self, node: Node) -> bool {
        self.details(node).flags & UNINTERESTING != 0
    }

    /// Adds every commit that was found to be reached from what is there already.
    pub(super) fn collect_uninteresting(&self, marks: &mut Marks) {
        for details in self.nodes.iter().filter(|details| details.flags & UNINTERESTING != 0) {
            marks.insert(self.numbering.number(details.location));
        }
    }

    /// What `wants` reach and `haves` do not, newest first. Commits older than `since` (seconds) do not count, nor what
    /// is reached only through them. Dates that mislead can leave commits in the answer that `haves` reach far back.
    pub(super) fn paint(
        &mut self,
        wants: &[Node],
        haves: &[Node],
        since: Option<i64>,
        ticker: &mut Ticker<'_>,
    ) -> Result<Vec<Node>, WalkError> {
        let mut queue = Queue::default();
        for &node in haves {
            self.mark_uninteresting(node, &mut queue);
        }
        for &node in haves.iter().chain(wants) {
            self.enqueue(node, &mut queue);
        }
        let mut found: Vec<Node> = Vec::new();
        let mut slop = SLOP;
        while let Some(node) = queue.pop() {
            ticker.tick()?;
            let details = &mut self.nodes[node.0 as usize];
            details.flags = details.flags & !QUEUED | EXPANDED;
            if details.flags & UNINTERESTING == 0 {
                queue.interesting -= 1;
                if since.is_some_and(|since| details.date < since) {
                    details.flags |= UNINTERESTING;
                    // Git goes no further here; only where haves make it look for a frontier, it goes on and counts
                    // as reached what this commit reaches.
                    if haves.is_empty() {
                        continue;
                    }
                }
            }
            let interesting = details.flags & UNINTERESTING == 0;
            for edge in self.edges(node) {
                let parent = self.parent(edge)?;
                if !interesting {
                    self.mark_uninteresting(parent, &mut queue);
                }
                self.enqueue(parent, &mut queue);
            }
            if interesting {
                found.push(node);
            }
            if queue.interesting > 0 {
                slop = SLOP;
            } else if let (Some(date), Some(&oldest)) = (queue.date(), found.last()) {
                slop = if date >= self.date(oldest) { SLOP } else { slop - 1 };
                if slop == 0 {
                    break;
                }
            } else {
                break;
            }
        }
        found.retain(|&node| !self.is_uninteresting(node));
        Ok(found)
    }

    fn enqueue(&mut self, node: Node, queue: &mut Queue) {
        let details = &mut self.nodes[node.0 as usize];
        if details.flags & SEEN == 0 {
            details.flags |= SEEN | QUEUED;
            queue.interesting += usize::from(details.flags & UNINTERESTING == 0);
            queue.push(details.date, node);
        }
    }

    /// Passes on to everything below that the walk has been at.
    fn mark_uninteresting(&mut self, node: Node, queue: &mut Queue) {
        let mut pending = vec![node];
        while let Some(node) = pending.pop() {
            let details = &mut self.nodes[node.0 as usize];
            if details.flags & UNINTERESTING != 0 {
                continue;
            }
            details.flags |= UNINTERESTING;
            queue.interesting -= usize::from(details.flags & QUEUED != 0);
            if details.flags & EXPANDED != 0 {
                pending.extend(self.edges(node).filter_map(|edge| self.known_parent(edge)));
            }
        }
    }

    fn all_reach(&mut self, wants: &[Oid], common: &[Oid]) -> Result<bool, WalkError> {
        #[derive(Clone, Copy, PartialEq)]
        enum Reach {
            Unknown,
            No,
            Yes,
        }
        let mut reach = Vec::new();
        let mut oldest = i64::MAX;
        for oid in common.iter().filter(|oid| self.snapshot.contains(oid)) {
            if let Some(node) = self.commit_behind(oid)? {
                reach.resize(self.nodes.len().max(reach.len()), Reach::Unknown);
                reach[node.0 as usize] = Reach::Yes;
                oldest = oldest.min(self.date(node));
            }
        }
        if reach.is_empty() {
            return Ok(false);
        }
        // The path from the want to where the search is, with the edges still to be tried.
        let mut path: Vec<(Node, Range<u32>)> = Vec::new();
        for oid in wants {
            let Some(want) = self.commit_behind(oid)? else { continue };
            path.push((want, self.edges(want)));
            while let Some((node, untried)) = path.last_mut() {
                reach.resize(self.nodes.len(), Reach::Unknown);
                let state = &mut reach[node.0 as usize];
                if *state == Reach::Yes {
                    path.drain(..).for_each(|(node, _)| reach[node.0 as usize] = Reach::Yes);
                    break;
                }
                *state = Reach::No;
                let Some(edge) = untried.next() else {
                    path.pop();
                    continue;
                };
                let parent = self.parent(edge)?;
                let known = reach.get(parent.0 as usize).copied().unwrap_or(Reach::Unknown);
                if known != Reach::No && self.date(parent) >= oldest {
                    path.push((parent, self.edges(parent)));
                }
            }
            if reach[want.0 as usize] != Reach::Yes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The commit that `oid` is or that its tags lead to; `None` for anything else.
    pub(super) fn commit_behind(&mut self, oid: &Oid) -> Result<Option<Node>, WalkError> {
        let target = self.snapshot.peel(oid)?;
        match self.snapshot.kind(&target) {
            Some(Kind::Commit) => self.get(&target).map(Some),
            _ => Ok(None),
        }
    }

    fn details(&self, node: Node) -> &Details {
        &self.nodes[node.0 as usize]
    }
}

/// Commits, newest first; those of the same second in the order they came.
#[derive(Default)]
struct Queue {
    heap: BinaryHeap<(i64, Reverse<u32>, Node)>,
    pushed: u32,
    /// How many of those in the queue are not uninteresting.
    interesting: usize,
}

impl Queue {
    fn push(&mut self, date: i64, node: Node) {
        self.heap.push((date, Reverse(self.pushed), node));
        self.pushed += 1;
    }

    fn pop(&mut self) -> Option<Node> {
        self.heap.pop().map(|(_, _, node)| node)
    }

    /// Of the next commit.
    fn date(&self) -> Option<i64> {
        self.heap.peek().map(|&(date, _, _)| date)
    }
}
