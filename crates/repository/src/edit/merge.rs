//! Brings together what two commits made of a third, file by file: a path that only one of them changed is as that one has
//! it, and one that both changed, each in its own way, is a conflict.
//!
//! Goes down only where all three differ, so it costs what was changed on both sides, not what the repository holds.

use std::collections::BTreeMap;
use std::io;

use database::Oid;
use storage::TempFile;

use super::apply::{Changed, Entry, Work, tree_of};
use super::{Description, EditError, Made, write};
use crate::Snapshot;
use crate::object::{TreeEntry, tree_entries};
use crate::tree::{Found, read_tree, unreadable};

/// Where both sides changed the same, differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts {
    /// At most [`CONFLICTS_MAX`]; what is no UTF-8 in them is replaced.
    pub paths: Vec<String>,
    /// There may be more.
    pub more: bool,
}

/// So many paths are named.
pub const CONFLICTS_MAX: usize = 1000;
/// Folders within folders. What lies deeper, and differs everywhere, is left to be merged by hand.
const DEPTH_MAX: usize = 128;

impl Conflicts {
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

/// Makes the commit that merges `theirs` into `ours`, which both came from `base` (or from nothing in common): its parents are
/// the two, in this order. The pack goes to a file that `out` opens, or to memory if it is small.
pub fn merge(
    s: &Snapshot,
    base: Option<Oid>,
    [ours, theirs]: [Oid; 2],
    description: &Description,
    out: impl FnOnce() -> io::Result<TempFile>,
) -> Result<Result<Made, Conflicts>, EditError> {
    Ok(match merge_trees(s, base, [ours, theirs])? {
        Ok(changed) => Ok(write::write(s, &[ours, theirs], changed, description, out)?),
        Err(conflicts) => Err(conflicts),
    })
}

/// What stands in the way of [`merge`].
pub fn conflicts(s: &Snapshot, base: Option<Oid>, sides: [Oid; 2]) -> Result<Conflicts, EditError> {
    Ok(merge_trees(s, base, sides)?.err().unwrap_or_default())
}

fn merge_trees(
    s: &Snapshot,
    base: Option<Oid>,
    [ours, theirs]: [Oid; 2],
) -> Result<Result<Changed, Conflicts>, EditError> {
    let tree = |commit: Oid| s.commit(&commit).map(|commit| commit.tree);
    let sides = [base.map(tree).transpose()?, Some(tree(ours)?), Some(tree(theirs)?)];
    let mut merging = Merging { work: Work::new(s), s, conflicts: Conflicts::default() };
    let root = match merging.folder(sides, "", 0)? {
        Some(root) => root,
        // Both sides deleted what the other left.
        None => merging.work.add_tree(Vec::new(), sides[1], "")?,
    };
    let Merging { work, conflicts, .. } = merging;
    Ok(if conflicts.is_empty() { Ok(work.finish(root)) } else { Err(conflicts) })
}

struct Merging<'s> {
    s: &'s Snapshot,
    work: Work<'s>,
    conflicts: Conflicts,
}

/// The base, ours, theirs.
type Sides<T> = [Option<T>; 3];

/// The one that was changed, if the other was not, or in the same way.
fn pick<T: Copy + PartialEq>([base, ours, theirs]: Sides<T>) -> Option<Option<T>> {
    match () {
        () if ours == theirs || base == theirs => Some(ours),
        () if base == ours => Some(theirs),
        () => None,
    }
}

/// A file whose content was changed on one side and whose mode on the other has both.
fn pick_file(sides: Sides<Found>) -> Option<Option<Found>> {
    pick(sides).or_else(|| match sides {
        [Some(_), Some(_), Some(_)] => {
            let oid = pick(sides.map(|side| side.map(|found| found.oid)))??;
            let mode = pick(sides.map(|side| side.map(|found| found.mode)))??;
            Some(Some(Found { mode, oid }))
        }
        _ => None,
    })
}

impl Merging<'_> {
    /// The tree that `sides` become; `None` if nothing is left of it.
    fn folder(&mut self, sides: Sides<Oid>, path: &str, depth: usize) -> Result<Option<Oid>, EditError> {
        if let Some(picked) = pick(sides) {
            return Ok(picked);
        }
        if depth > DEPTH_MAX {
            self.conflict(path);
            return Ok(None);
        }
        let mut trees = [const { None }; 3];
        for (tree, side) in trees.iter_mut().zip(sides) {
            *tree = side.map(|oid| Ok::<_, EditError>((oid, read_tree(self.s, oid)?))).transpose()?;
        }
        let mut names: BTreeMap<&[u8], Sides<Found>> = BTreeMap::new();
        for (side, tree) in trees.iter().enumerate() {
            let Some((tree, data)) = tree else { continue };
            for entry in tree_entries(data) {
                let TreeEntry { mode, name, oid } = entry.map_err(|error| unreadable(*tree, &error))?;
                names.entry(name).or_default()[side] = Some(Found { mode, oid });
            }
        }
        let mut entries = Vec::with_capacity(names.len());
        for (name, sides) in names {
            if self.conflicts.more {
                break;
            }
            if let Some(found) = self.entry(sides, name, path, depth)? {
                entries.push(Entry { name, found });
            }
        }
        if entries.is_empty() || !self.conflicts.is_empty() {
            return Ok(None);
        }
        self.work.add_tree(tree_of(entries), sides[1], path).map(Some)
    }

    /// A file and a folder of the same name are merged apart, and exclude each other in the end.
    fn entry(
        &mut self,
        sides: Sides<Found>,
        name: &[u8],
        folder: &str,
        depth: usize,
    ) -> Result<Option<Found>, EditError> {
        if let Some(picked) = pick(sides) {
            return Ok(picked);
        }
        let name = String::from_utf8_lossy(name);
        let path = if folder.is_empty() { name.into_owned() } else { format!("{folder}/{name}") };
        let Some(file) = pick_file(sides.map(|side| side.filter(|found| !found.is_tree()))) else {
            self.conflict(&path);
            return Ok(None);
        };
        let trees = sides.map(|side| side.filter(Found::is_tree).map(|found| found.oid));
        let tree = self.folder(trees, &path, depth + 1)?.map(|oid| Found { mode: 0o40000, oid });
        match (file, tree) {
            (Some(_), Some(_)) => {
                self.conflict(&path);
                Ok(None)
            }
            (file, tree) => Ok(file.or(tree)),
        }
    }

    fn conflict(&mut self, path: &str) {
        match self.conflicts.paths.len() < CONFLICTS_MAX {
            true => self.conflicts.paths.push(path.to_owned()),
            false => self.conflicts.more = true,
        }
    }
}
