//! Finds names for blobs, so that people are told which files are meant.

use std::collections::{HashMap, HashSet};

use database::{Oid, RefRow};

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
    let found = search(overlay, commits, blobs, &|tree| pack.find(tree).is_some());
    found.into_iter().map(|(blob, (path, _))| (blob, path)).collect()
}

/// A path for each of `blobs` that stands in the tree of a ref.
pub fn paths_at_tips(s: &Snapshot, blobs: &[Oid]) -> HashMap<Oid, String> {
    let tips = s.refs().iter().map(|row| row.peeled.unwrap_or(row.oid));
    search(s, tips, blobs, &|_| true).into_iter().map(|(blob, (path, _))| (blob, path)).collect()
}

/// A path for each of `blobs`, and the full name of the ref in whose tree it stands; the default branch comes first. What
/// stands in none has the path that it has, or had, in some commit.
pub fn places(s: &Snapshot, blobs: &[Oid]) -> HashMap<Oid, (String, Option<String>)> {
    let mut refs: Vec<&RefRow> = s.refs().iter().collect();
    refs.sort_by_key(|row| row.name != s.repo().head_ref);
    let tips = refs.iter().map(|row| row.peeled.unwrap_or(row.oid));
    let found = search(s, tips, blobs, &|_| true).into_iter();
    let name = |nth: usize| refs.get(nth).map(|row| row.name.clone());
    let mut places: HashMap<Oid, _> = found.map(|(blob, (path, nth))| (blob, (path, name(nth)))).collect();
    let rest: Vec<Oid> = blobs.iter().filter(|blob| !places.contains_key(blob)).copied().collect();
    if !rest.is_empty() {
        let commits = s.packs().iter().flat_map(|pack| {
            (0..pack.objects()).filter(|&at| pack.kind_of(at) == Kind::Commit).map(|at| pack.oid(at))
        });
        let found = search(s, commits, &rest, &|_| true).into_iter();
        places.extend(found.map(|(blob, (path, _))| (blob, (path, None))));
    }
    places
}

/// And which of the commits has it. What cannot be read has no name.
fn search(
    s: &Snapshot,
    commits: impl Iterator<Item = Oid>,
    blobs: &[Oid],
    enters: &dyn Fn(&Oid) -> bool,
) -> HashMap<Oid, (String, usize)> {
    let mut sought: HashSet<Oid> = blobs.iter().copied().collect();
    let (mut seen, mut found, mut data) = (HashSet::new(), HashMap::new(), Vec::new());
    let mut entries_left = ENTRIES_MAX;
    let roots = commits.enumerate().filter_map(|(nth, commit)| Some((nth, s.commit(&commit).ok()?.tree)));
    for (nth, root) in roots {
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
                    found.insert(entry.oid, (String::from_utf8_lossy(&path()).into_owned(), nth));
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
