//! Everything that can be reached.

use database::Oid;

use super::select::{Query, select};
use super::{WalkError, WalkLimits};
use crate::Snapshot;
use crate::snapshot::Location;

/// Where all objects lie that the roots (objects of any kind) reach, the roots included, each once: commits newest
/// first, tags, trees, blobs. Gitlinks are ignored. A missing object is an error that names it. Unlimited: this is for
/// garbage collection and proofs, where half an answer would be none.
pub fn closure(s: &Snapshot, roots: &[Oid]) -> Result<Vec<Location>, WalkError> {
    let query = Query { wants: roots.to_vec(), ..Query::default() };
    let limits = WalkLimits { commits_max: usize::MAX };
    select(s, &query, &limits, &mut |_| Ok(())).map(|selection| selection.into_entries())
}
