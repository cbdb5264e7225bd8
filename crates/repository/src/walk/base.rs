//! Where two histories part.

use std::cmp::Reverse;

use database::Oid;

use super::commits::{Commits, Node};
use super::{Ticker, WalkError, WalkLimits, is_ancestor};
use crate::Snapshot;

/// More candidates than this are not compared with each other.
const CANDIDATES_MAX: usize = 32;

/// The newest commit that is, or is an ancestor of, both `a` and `b`, and no ancestor of another such one; `None` if
/// they have nothing in common. Both must be commits.
pub fn merge_base(s: &Snapshot, a: &Oid, b: &Oid, limits: &WalkLimits) -> Result<Option<Oid>, WalkError> {
    let mut commits = Commits::new(s, limits);
    let (a, b) = (commits.get(a)?, commits.get(b)?);
    if a == b {
        return Ok(Some(commits.oid(a)));
    }
    let only_a = commits.paint(&[a], &[b], None, &mut Ticker::new(&mut |_| Ok(())))?;
    if only_a.is_empty() {
        return Ok(Some(commits.oid(a)));
    }
    // What `b` reaches just below what it does not.
    let edges = only_a.iter().flat_map(|&node| commits.edges(node));
    let parents = edges.filter_map(|edge| commits.known_parent(edge));
    let mut candidates: Vec<Node> = parents.filter(|&parent| commits.is_uninteresting(parent)).collect();
    candidates.sort_unstable_by_key(|&node| (Reverse(commits.date(node)), node));
    candidates.dedup();
    let oids: Vec<Oid> = candidates.iter().map(|&node| commits.oid(node)).collect();
    if oids.len() > 1 && oids.len() <= CANDIDATES_MAX {
        for candidate in &oids {
            let mut others = oids.iter().filter(|other| *other != candidate);
            let below = others.try_fold(false, |below, other| {
                Ok::<_, WalkError>(below || is_ancestor(s, candidate, other, limits)?)
            })?;
            if !below {
                return Ok(Some(*candidate));
            }
        }
    }
    Ok(oids.first().copied())
}
