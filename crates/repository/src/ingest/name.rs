//! Finds a name for a blob, so that the one who pushed it knows which file is meant.

use std::collections::HashSet;

use database::Oid;

use crate::object::tree_entries;
use crate::snapshot::Snapshot;
use crate::{Kind, Pack};

/// A path under which `blob` stands in some commit of `pack`. Only trees of the pack are looked at: a new blob stands
/// in a new tree.
pub(super) fn path_of(pack: &Pack, overlay: &Snapshot, blob: &Oid) -> Option<String> {
    let mut seen = HashSet::new();
    let commits =
        (0..pack.objects()).map(|nth| pack.in_pack_order(nth)).filter(|&at| pack.kind_of(at) == Kind::Commit);
    let roots = commits.filter_map(|at| Some(overlay.commit(&pack.oid(at)).ok()?.tree));
    let mut data = Vec::new();
    for root in roots {
        let mut open = vec![(root, Vec::new())];
        while let Some((tree, directory)) = open.pop() {
            if pack.find(&tree).is_none() || !seen.insert(tree) || overlay.read(&tree, &mut data).is_err() {
                continue;
            }
            for entry in tree_entries(&data).map_while(Result::ok) {
                let path = || [&directory, entry.name].concat();
                if entry.oid == *blob {
                    return Some(String::from_utf8_lossy(&path()).into_owned());
                }
                if entry.is_tree() {
                    let mut path = path();
                    path.push(b'/');
                    open.push((entry.oid, path));
                }
            }
        }
    }
    None
}
