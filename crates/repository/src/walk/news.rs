//! What a ref that moves brings.

use database::Oid;

use super::commits::Commits;
use super::{Ticker, WalkError, WalkLimits};
use crate::Snapshot;

/// The commits that `tip` reaches and none of `known` does, oldest first. All must be commits.
pub fn new_commits(
    s: &Snapshot,
    tip: &Oid,
    known: &[Oid],
    limits: &WalkLimits,
) -> Result<Vec<Oid>, WalkError> {
    let mut commits = Commits::new(s, limits);
    let tip = commits.get(tip)?;
    let known = known.iter().map(|oid| commits.get(oid)).collect::<Result<Vec<_>, _>>()?;
    if known.contains(&tip) {
        return Ok(Vec::new());
    }
    let news = commits.paint(&[tip], &known, None, &mut Ticker::new(&mut |_| Ok(())))?;
    Ok(news.iter().rev().map(|&node| commits.oid(node)).collect())
}
