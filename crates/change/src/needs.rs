//! What a change needs beside git objects: large objects for its LFS pointers, and that nobody else has locked what it
//! changes.

use std::collections::{BTreeMap, HashMap};

use database::{DbError, Lock, Oid, Repo, Sha256};
use lfs::Unmet;
use repository::pointer::Pointer;
use repository::{ReadError, Snapshot, walk};

use crate::Changes;

/// Named to the pusher; the rest is counted.
const NAMED_MAX: usize = 10;

/// The reason beside each ref whose push lacks large objects.
pub(crate) const OBJECTS_MISSING: &str = "LFS objects are missing";

/// Large objects and sizes, each once. A pointer of size 0 needs none: empty objects are never stored.
pub(crate) fn objects_of(pointers: &[Pointer]) -> Vec<(Sha256, u64)> {
    let needed = pointers.iter().filter(|pointer| pointer.size > 0);
    let mut needed: Vec<_> = needed.map(|pointer| (Sha256(pointer.sha256), pointer.size)).collect();
    needed.sort_unstable();
    needed.dedup();
    needed
}

impl Changes {
    /// Which of `objects` the repository lacks. Waits for proofs under way, so no permit is held meanwhile.
    pub(crate) async fn unmet(&self, repo: &Repo, objects: &[(Sha256, u64)]) -> Result<Vec<Unmet>, DbError> {
        if objects.is_empty() || repo.lfs_incomplete {
            return Ok(Vec::new());
        }
        self.0.objects.require(repo.id, objects).await
    }
}

/// The pointer blobs of the first of `unmet`, for which names are to be found.
pub(crate) fn blobs_to_name(unmet: &[Unmet], pointers: &[Pointer]) -> Vec<Oid> {
    let blob_of: HashMap<_, _> =
        pointers.iter().map(|pointer| ((Sha256(pointer.sha256), pointer.size), pointer.blob)).collect();
    let named = unmet.iter().take(NAMED_MAX);
    named.filter_map(|unmet| blob_of.get(&(unmet.sha256, unmet.size)).copied()).collect()
}

/// What is wrong, file by file, and what to do.
pub(crate) fn describe(unmet: &[Unmet], pointers: &[Pointer], paths: &HashMap<Oid, String>) -> Vec<String> {
    let by_object: BTreeMap<_, _> =
        pointers.iter().map(|pointer| ((Sha256(pointer.sha256), pointer.size), pointer.blob)).collect();
    let mut lines: Vec<String> = unmet
        .iter()
        .take(NAMED_MAX)
        .map(|unmet| {
            let blob = by_object.get(&(unmet.sha256, unmet.size));
            let path = blob.and_then(|blob| paths.get(blob)).map_or("(no path)", String::as_str);
            format!("{path}: LFS object {} {}", unmet.sha256, unmet.why)
        })
        .collect();
    if unmet.len() > NAMED_MAX {
        lines.push(format!("… and {} more", unmet.len() - NAMED_MAX));
    }
    lines
}

/// Those of `locks` whose paths are not the same before and after a branch moves to the commit `new`. `overlay` has the
/// new objects. A new branch is compared with where it left the default branch.
pub(crate) fn locked<'l>(
    overlay: &Snapshot,
    old: Option<Oid>,
    new: Oid,
    locks: &'l [Lock],
) -> Result<Vec<&'l Lock>, ReadError> {
    if locks.is_empty() {
        return Ok(Vec::new());
    }
    let before = match old {
        Some(old) => Some(old),
        None => fork_point(overlay, new),
    };
    let tree = |commit: Oid| overlay.commit(&commit).map(|commit| commit.tree);
    let (before, after) = (before.map(tree).transpose()?, tree(new)?);
    let paths: Vec<&str> = locks.iter().map(|lock| lock.path.as_str()).collect();
    let changed = walk::changed_paths(overlay, before, Some(after), &paths)?;
    Ok(changed.into_iter().map(|at| &locks[at]).collect())
}

/// `None` if the commit has nothing in common with the default branch. What cannot be told is as if it had not: then
/// every locked path that it has counts.
fn fork_point(overlay: &Snapshot, commit: Oid) -> Option<Oid> {
    let default = overlay.head_target()?;
    walk::merge_base(overlay, &default.oid, &commit, &walk::WalkLimits::default()).ok().flatten()
}

/// The reason beside a ref that touches locked files.
pub(crate) fn locked_by(locks: &[&Lock]) -> String {
    let Some(first) = locks.first() else { return String::new() };
    match locks.len() - 1 {
        0 => format!("locked by {}: {}", first.owner_name, first.path),
        more => format!("locked by {}: {} (and {more} more)", first.owner_name, first.path),
    }
}

#[cfg(test)]
mod tests {
    use lfs::Why;

    use super::*;

    fn pointer(n: u8, size: u64) -> Pointer {
        Pointer { blob: Oid([n; 20]), sha256: [n; 32], size }
    }

    #[test]
    fn each_object_is_needed_once_and_empty_ones_never() {
        let twice = Pointer { blob: Oid([9; 20]), ..pointer(1, 5) };
        let needed = objects_of(&[pointer(2, 7), pointer(1, 5), twice, pointer(3, 0)]);
        assert_eq!(needed, [(Sha256([1; 32]), 5), (Sha256([2; 32]), 7)]);
    }

    #[test]
    fn so_many_are_named() {
        let pointers: Vec<_> = (0..12).map(|n| pointer(n, 1)).collect();
        let unmet: Vec<_> = pointers
            .iter()
            .map(|pointer| Unmet { sha256: Sha256(pointer.sha256), size: 1, why: Why::Missing })
            .collect();
        let paths = HashMap::from([(Oid([0; 20]), "a/b.bin".to_owned())]);
        let lines = describe(&unmet, &pointers, &paths);
        assert_eq!(lines.len(), 11);
        let oid = Sha256([0; 32]);
        assert_eq!(lines[0], format!("a/b.bin: LFS object {oid} was not uploaded to this repository"));
        assert!(lines[1].starts_with("(no path): LFS object 0101"));
        assert_eq!(lines[10], "… and 2 more");
        assert_eq!(blobs_to_name(&unmet, &pointers).len(), 10);
    }
}
