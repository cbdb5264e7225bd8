//! Where a client's history is to end: what `deepen…` lines ask for, computed as git's upload-pack does.

use std::collections::HashSet;

use database::Oid;

use super::commits::{Commits, Node};
use super::{Ticker, WalkError, WalkLimits};
use crate::{Kind, Snapshot};

/// A depth that means "everything"; `git fetch --unshallow` sends it.
pub const INFINITE_DEPTH: u32 = 0x7fff_ffff;

/// How deep the client's history shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Depth {
    /// `deepen n`: the wanted commits themselves have depth 1. `relative` (`deepen-relative`): `depth` more than the
    /// client has now.
    Commits { depth: u32, relative: bool },
    /// `deepen-since t`: no commit older than this many seconds since the epoch.
    Since { seconds: i64 },
    /// `deepen-not ref`: nothing that these reach.
    Not { exclude: Vec<Oid> },
    /// Both.
    SinceAndNot { seconds: i64, exclude: Vec<Oid> },
}

/// What changes for the client. Both are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shallow {
    /// Their parents will be missing from now on (a `shallow` line each).
    pub shallow: Vec<Oid>,
    /// Were shallow at the client and are so no longer (an `unshallow` line each): their parents must be sent.
    pub unshallow: Vec<Oid>,
}

/// Computes the answer to `deepen…`. `client_shallow` are the commits whose parents the client does not have; those
/// that are not commits of the snapshot are ignored.
pub fn deepen(
    s: &Snapshot,
    wants: &[Oid],
    client_shallow: &[Oid],
    depth: &Depth,
    limits: &WalkLimits,
) -> Result<Shallow, WalkError> {
    let mut commits = Commits::new(s, limits);
    let client = commits_among(s, &mut commits, client_shallow)?;
    let reached = match depth {
        Depth::Commits { depth: INFINITE_DEPTH, .. } => {
            Reached { inner: client.iter().copied().collect(), border: HashSet::new() }
        }
        Depth::Commits { depth, relative: false } => {
            let tips = commit_tips(&mut commits, wants)?;
            by_depth(&mut commits, &tips, *depth)?
        }
        Depth::Commits { depth, relative: true } => {
            let tips = reachable_from_refs(s, &mut commits, &client)?;
            by_depth(&mut commits, &tips, depth.saturating_add(1))?
        }
        Depth::Since { seconds } => by_selection(&mut commits, wants, Some(*seconds), &[])?,
        Depth::Not { exclude } => by_selection(&mut commits, wants, None, exclude)?,
        Depth::SinceAndNot { seconds, exclude } => {
            by_selection(&mut commits, wants, Some(*seconds), exclude)?
        }
    };
    let client: HashSet<_> = client.into_iter().collect();
    let oids = |nodes: &mut dyn Iterator<Item = &Node>| {
        let mut oids: Vec<_> = nodes.map(|&node| commits.oid(node)).collect();
        oids.sort_unstable();
        oids
    };
    Ok(Shallow {
        shallow: oids(&mut reached.border.difference(&client)),
        unshallow: oids(&mut reached.inner.intersection(&client)),
    })
}

/// Commits that the client will have with all their parents, and commits that it will have without.
struct Reached {
    inner: HashSet<Node>,
    border: HashSet<Node>,
}

fn by_depth(commits: &mut Commits<'_>, tips: &[Node], depth: u32) -> Result<Reached, WalkError> {
    let mut inner = HashSet::new();
    let mut level: HashSet<Node> = tips.iter().copied().collect();
    for _ in 1..depth {
        let mut next = HashSet::new();
        for node in level {
            if inner.insert(node) {
                for edge in commits.edges(node) {
                    next.insert(commits.parent(edge)?);
                }
            }
        }
        next.retain(|node| !inner.contains(node));
        level = next;
        if level.is_empty() {
            break;
        }
    }
    Ok(Reached { inner, border: level })
}

/// By what a walk selects: the border are those with a parent that is not selected.
fn by_selection(
    commits: &mut Commits<'_>,
    wants: &[Oid],
    since: Option<i64>,
    exclude: &[Oid],
) -> Result<Reached, WalkError> {
    let (wants, exclude) = (commit_tips(commits, wants)?, commit_tips(commits, exclude)?);
    let found = commits.paint(&wants, &exclude, since, &mut Ticker::new(&mut |_| Ok(())))?;
    if found.is_empty() {
        return Err(WalkError::NothingSelected);
    }
    let selected: HashSet<_> = found.into_iter().collect();
    let whole = |node: &Node| {
        let mut parents = commits.edges(*node).map(|edge| commits.known_parent(edge));
        parents.all(|parent| parent.is_some_and(|parent| selected.contains(&parent)))
    };
    let (inner, border) = selected.iter().partition(|node| whole(node));
    Ok(Reached { inner, border })
}

fn commit_tips(commits: &mut Commits<'_>, oids: &[Oid]) -> Result<Vec<Node>, WalkError> {
    oids.iter().filter_map(|oid| commits.commit_behind(oid).transpose()).collect()
}

fn commits_among(s: &Snapshot, commits: &mut Commits<'_>, oids: &[Oid]) -> Result<Vec<Node>, WalkError> {
    let known = oids.iter().filter(|oid| s.kind(oid) == Some(Kind::Commit));
    known.map(|oid| commits.get(oid)).collect()
}

/// Git deepens relative to those of the client's boundaries that a ref still reaches.
fn reachable_from_refs(
    s: &Snapshot,
    commits: &mut Commits<'_>,
    nodes: &[Node],
) -> Result<Vec<Node>, WalkError> {
    let mut wanted: HashSet<_> = nodes.iter().copied().collect();
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut pending = Vec::new();
    for row in s.refs() {
        pending.extend(commits.commit_behind(&row.peeled.unwrap_or(row.oid))?);
    }
    while let Some(node) = pending.pop() {
        if wanted.is_empty() {
            break;
        }
        if seen.insert(node) {
            if wanted.remove(&node) {
                found.push(node);
            }
            for edge in commits.edges(node) {
                pending.push(commits.parent(edge)?);
            }
        }
    }
    Ok(found)
}
