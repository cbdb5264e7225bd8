//! What a change needs beside git objects: large objects for its LFS pointers, and that nobody else has locked what it
//! changes.

use std::collections::{BTreeMap, HashMap, HashSet};

use database::{DbError, Lock, Oid, Repo, Sha256};
use lfs::Unmet;
use repository::pointer::Pointer;
use repository::{Kind, ReadError, Snapshot, object, walk};
use tokio::time::Instant;

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
    /// Which of `objects` the repository lacks. Waits for proofs under way until `deadline`, so no permit is held
    /// meanwhile.
    pub(crate) async fn unmet(
        &self,
        repo: &Repo,
        objects: &[(Sha256, u64)],
        deadline: Instant,
    ) -> Result<Vec<Unmet>, DbError> {
        if objects.is_empty() || repo.lfs_incomplete {
            return Ok(Vec::new());
        }
        self.0.objects.require_by(repo.id, objects, deadline).await
    }

    /// The pointers of the live packs whose objects were removed, or proved to be other ones. None are looked for if the
    /// repository never lost an object.
    pub(crate) fn lost_pointers(&self, snapshot: &Snapshot) -> Result<Vec<Pointer>, DbError> {
        if snapshot.repo().lfs_incomplete {
            return Ok(Vec::new());
        }
        let lost: HashSet<Sha256> = self.0.database.links_lost(snapshot.repo().id)?.into_iter().collect();
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        let pointers = snapshot.packs().iter().flat_map(|pack| pack.pointers());
        let is_lost = |pointer: &Pointer| pointer.size > 0 && lost.contains(&Sha256(pointer.sha256));
        let mut pointers: Vec<_> = pointers.filter(is_lost).collect();
        pointers.sort_unstable();
        pointers.dedup();
        Ok(pointers)
    }
}

/// Which of the blobs `lost` stand in the tree of the commit `new` where the branch did not have them: git sends no blob
/// that the repository has already, so such a pointer is in no new pack. A new branch is compared with where it left the
/// default branch. Goes down only where the trees differ.
pub(crate) fn used_again(
    overlay: &Snapshot,
    old: Option<Oid>,
    new: Oid,
    lost: &[Pointer],
) -> Result<HashSet<Oid>, ReadError> {
    if lost.is_empty() {
        return Ok(HashSet::new());
    }
    let (before, after) = trees(overlay, old, new)?;
    let lost: HashSet<Oid> = lost.iter().map(|pointer| pointer.blob).collect();
    let (mut found, mut open) = (HashSet::new(), vec![(before, after)]);
    while let Some((before, after)) = open.pop() {
        if before == Some(after) {
            continue;
        }
        let before = match before {
            Some(before) => entries(overlay, before)?,
            None => HashMap::new(),
        };
        for (name, (is_tree, oid)) in entries(overlay, after)? {
            let same_name = before.get(&name).copied();
            if is_tree {
                open.push((same_name.filter(|(is_tree, _)| *is_tree).map(|(_, oid)| oid), oid));
            } else if lost.contains(&oid) && same_name != Some((false, oid)) {
                found.insert(oid);
            }
        }
    }
    Ok(found)
}

/// By name: whether it is a tree, and which.
fn entries(overlay: &Snapshot, tree: Oid) -> Result<HashMap<Vec<u8>, (bool, Oid)>, ReadError> {
    let mut data = Vec::new();
    overlay.read_as(&tree, Kind::Tree, &mut data)?;
    let corrupt = |error: object::ObjectError| ReadError::Corrupt { oid: tree, reason: error.to_string() };
    let entry = |entry: Result<object::TreeEntry<'_>, _>| {
        let entry = entry.map_err(corrupt)?;
        Ok((entry.name.to_vec(), (entry.is_tree(), entry.oid)))
    };
    object::tree_entries(&data).map(entry).collect()
}

/// Of the commit before, if there is one, and of the commit after a branch moves.
fn trees(overlay: &Snapshot, old: Option<Oid>, new: Oid) -> Result<(Option<Oid>, Oid), ReadError> {
    let before = match old {
        Some(old) => Some(old),
        None => fork_point(overlay, new),
    };
    let tree = |commit: Oid| overlay.commit(&commit).map(|commit| commit.tree);
    Ok((before.map(tree).transpose()?, tree(new)?))
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
    let (before, after) = trees(overlay, old, new)?;
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
