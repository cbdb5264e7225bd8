//! The files that differ between two trees.

use std::cmp::Ordering;
use std::sync::Arc;

use database::Oid;

use crate::object::{self, TreeEntry};
use crate::tree::{Found, read_tree, unreadable};
use crate::walk::{after_first, by_name, skip_equal};
use crate::{ReadError, Snapshot};

/// A file that is not the same in both trees. Never a folder; a symbolic link and a commit of another repository count
/// as files. Modes are those that git knows: `0o100644`, `0o100755`, `0o120000`, `0o160000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As the trees have it: not always UTF-8.
    pub path: Vec<u8>,
    /// `None`: it is new.
    pub old: Option<Found>,
    /// `None`: it is deleted.
    pub new: Option<Found>,
}

/// The changes between two trees, in git's order. Goes down only where the trees differ.
pub struct Changes {
    snapshot: Arc<Snapshot>,
    open: Vec<Level>,
    entries: u64,
}

/// A folder that is being compared.
struct Level {
    /// With a slash behind it, unless it is the root.
    prefix: Vec<u8>,
    old: Side,
    new: Side,
}

struct Side {
    tree: Oid,
    data: Arc<[u8]>,
    at: usize,
}

/// Deeper folders are not entered, as in [`crate::tree::list`].
const DEPTH_MAX: usize = 1024;

impl Changes {
    /// `None` is the empty tree.
    pub fn new(snapshot: Arc<Snapshot>, old: Option<Oid>, new: Option<Oid>) -> Result<Changes, ReadError> {
        let mut changes = Changes { snapshot, open: Vec::new(), entries: 0 };
        if old != new {
            changes.enter(Vec::new(), old, new)?;
        }
        Ok(changes)
    }

    /// Of trees, looked at so far: what the walk has cost. There are trees of few kilobytes in which nobody comes to an
    /// end, so whoever goes on bounds this.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The next change; `Ok(None)` at the end, or once more than `entries_max` entries were looked at.
    pub fn next(&mut self, entries_max: u64) -> Result<Option<Change>, ReadError> {
        while let Some(level) = self.open.last_mut() {
            if self.entries > entries_max {
                return Ok(None);
            }
            self.entries += 1;
            let Some((name, old, new)) = level.next()? else {
                self.open.pop();
                continue;
            };
            if old == new {
                continue;
            }
            let path = [&level.prefix[..], &name].concat();
            let tree = |found: Option<Found>| found.filter(Found::is_tree).map(|found| found.oid);
            if tree(old).is_none() && tree(new).is_none() {
                return Ok(Some(Change { path, old, new }));
            }
            if self.open.len() < DEPTH_MAX {
                self.enter([&path[..], b"/"].concat(), tree(old), tree(new))?;
            }
        }
        Ok(None)
    }

    fn enter(&mut self, prefix: Vec<u8>, old: Option<Oid>, new: Option<Oid>) -> Result<(), ReadError> {
        let (old, new) = (Side::open(&self.snapshot, old)?, Side::open(&self.snapshot, new)?);
        self.open.push(Level { prefix, old, new });
        Ok(())
    }
}

type Pair = (Vec<u8>, Option<Found>, Option<Found>);

impl Level {
    /// What both trees have under the next name, or one of them: a file and a folder of the same name are two things.
    fn next(&mut self) -> Result<Option<Pair>, ReadError> {
        let (mut old, mut new) = (self.old.rest(), self.new.rest());
        skip_equal(&mut old, &mut new);
        let (a, b) = (self.old.first(old)?, self.new.first(new)?);
        let order = match (&a, &b) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => by_name(a, b),
        };
        let a = a.filter(|_| order != Ordering::Greater);
        let b = b.filter(|_| order != Ordering::Less);
        let name = a.or(b).map(|entry| entry.name.to_vec()).unwrap_or_default();
        let (old_rest, new_rest) = (
            if a.is_some() { after_first(old).len() } else { old.len() },
            if b.is_some() { after_first(new).len() } else { new.len() },
        );
        let pair = (name, a.map(found), b.map(found));
        self.old.at = self.old.data.len() - old_rest;
        self.new.at = self.new.data.len() - new_rest;
        Ok(Some(pair))
    }
}

impl Side {
    fn open(s: &Snapshot, tree: Option<Oid>) -> Result<Side, ReadError> {
        match tree {
            Some(tree) => Ok(Side { tree, data: read_tree(s, tree)?, at: 0 }),
            None => Ok(Side { tree: Oid::NULL, data: Arc::from([]), at: 0 }),
        }
    }

    fn rest(&self) -> &[u8] {
        &self.data[self.at..]
    }

    fn first<'a>(&self, rest: &'a [u8]) -> Result<Option<TreeEntry<'a>>, ReadError> {
        object::tree_entries(rest).next().transpose().map_err(|error| unreadable(self.tree, &error))
    }
}

/// With the mode that git takes it for.
fn found(entry: TreeEntry<'_>) -> Found {
    let mode = match entry.mode & 0o170000 {
        0o40000 => 0o40000,
        0o120000 => 0o120000,
        0o100000 if entry.mode & 0o100 != 0 => 0o100755,
        0o100000 => 0o100644,
        _ => 0o160000,
    };
    Found { mode, oid: entry.oid }
}
