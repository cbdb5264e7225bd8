//! Finds names for blobs, so that people are told which files are meant.

use std::collections::{HashMap, HashSet};

use database::Oid;

use crate::object::tree_entries;
use crate::{Kind, Pack, Snapshot};

/// Tree entries that are looked at before the rest stays without a name.
const ENTRIES_MAX: usize = 20_000_000;
/// Longer paths are nobody's files.
const PATH_BYTES_MAX: usize = 4096;

/// A path for each of `blobs` that stands in the tree of a commit of `pack`. Only trees of the pack are looked at: a
/// new blob stands in a new tree. `overlay` must have the pack.
pub fn paths_in_pack(pack: &Pack, overlay: &Snapshot, blobs: &[Oid]) -> HashMap<Oid, String> {
    let positions = (0..pack.objects()).map(|nth| pack.in_pack_order(nth));
    let commits = positions.filter(|&at| pack.kind_of(at) == Kind::Commit).map(|at| pack.oid(at));
    search(overlay, commits, blobs, &|tree| pack.find(tree).is_some())
}

/// A path for each of `blobs` that stands in the tree of a ref.
pub fn paths_at_tips(s: &Snapshot, blobs: &[Oid]) -> HashMap<Oid, String> {
    let tips = s.refs().iter().map(|row| row.peeled.unwrap_or(row.oid));
    search(s, tips, blobs, &|_| true)
}

/// What cannot be read has no name.
fn search(
    s: &Snapshot,
    commits: impl Iterator<Item = Oid>,
    blobs: &[Oid],
    enters: &dyn Fn(&Oid) -> bool,
) -> HashMap<Oid, String> {
    let mut sought: HashSet<Oid> = blobs.iter().copied().collect();
    let (mut seen, mut found, mut data) = (HashSet::new(), HashMap::new(), Vec::new());
    let mut entries_left = ENTRIES_MAX;
    for root in commits.filter_map(|commit| Some(s.commit(&commit).ok()?.tree)) {
        let mut open = vec![(root, Vec::new())];
        while let Some((tree, directory)) = open.pop() {
            if !enters(&tree) || !seen.insert(tree) || s.read_as(&tree, Kind::Tree, &mut data).is_err() {
                continue;
            }
            for entry in tree_entries(&data).map_while(Result::ok) {
                if sought.is_empty() || entries_left == 0 {
                    return found;
                }
                entries_left -= 1;
                let path = || [&directory, entry.name].concat();
                if sought.remove(&entry.oid) {
                    found.insert(entry.oid, String::from_utf8_lossy(&path()).into_owned());
                }
                if entry.is_tree() && directory.len() + entry.name.len() < PATH_BYTES_MAX {
                    let mut path = path();
                    path.push(b'/');
                    open.push((entry.oid, path));
                }
            }
        }
    }
    found
}
