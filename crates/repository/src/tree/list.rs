//! What lies below a folder, page by page.

use std::sync::Arc;

use database::Oid;

use super::{Found, read_tree, unreadable};
use crate::object::{TreeEntry, tree_entries};
use crate::{ReadError, Snapshot};

/// A file or a folder. Its path is that from the root of the repository, as the tree has it: not always UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub path: Vec<u8>,
    pub found: Found,
}

/// Deeper folders are not entered: a tree can be made that is its own grandchild in all but name, but nobody's files
/// lie as deep.
const DEPTH_MAX: usize = 1024;

/// At most `max` items below the folder `tree`, whose path is `folder`: those behind the item `after`, if that is given.
/// Folders come right before what is in them, if `recursive`; otherwise only what lies in the folder itself is listed.
/// The order is git's, which is that of the bytes of the paths if each folder's ends in a slash.
pub fn list(
    s: &Snapshot,
    tree: Oid,
    folder: &[u8],
    recursive: bool,
    after: Option<&[u8]>,
    max: usize,
) -> Result<Vec<Item>, ReadError> {
    let mut items = Vec::new();
    let mut open = vec![Level::open(s, tree, folder)?];
    while let Some(level) = open.last_mut() {
        if items.len() == max {
            break;
        }
        let Some(entry) = level.next()? else {
            open.pop();
            continue;
        };
        let (path, found) = entry;
        let key = key(&path, &found);
        let is_behind = after.is_none_or(|after| key.as_slice() > after);
        let enters = recursive && found.is_tree() && open.len() < DEPTH_MAX;
        // A folder that was listed before may hold what was not.
        if enters && (is_behind || after.is_some_and(|after| after.starts_with(&key))) {
            open.push(Level::open(s, found.oid, &path)?);
        }
        if is_behind {
            items.push(Item { path, found });
        }
    }
    Ok(items)
}

impl Item {
    /// To be given as `after` for what follows.
    pub fn key(&self) -> Vec<u8> {
        key(&self.path, &self.found)
    }
}

fn key(path: &[u8], found: &Found) -> Vec<u8> {
    let slash: &[u8] = if found.is_tree() { b"/" } else { b"" };
    [path, slash].concat()
}

/// A folder that is being listed.
struct Level {
    tree: Oid,
    data: Arc<[u8]>,
    at: usize,
    /// With a slash behind it, unless it is the root.
    prefix: Vec<u8>,
}

impl Level {
    fn open(s: &Snapshot, tree: Oid, path: &[u8]) -> Result<Level, ReadError> {
        let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
        Ok(Level { tree, data: read_tree(s, tree)?, at: 0, prefix: [path, slash].concat() })
    }

    fn next(&mut self) -> Result<Option<(Vec<u8>, Found)>, ReadError> {
        let rest = &self.data[self.at..];
        let mut entries = tree_entries(rest);
        let Some(entry) = entries.next() else { return Ok(None) };
        let TreeEntry { mode, name, oid } = entry.map_err(|error| unreadable(self.tree, &error))?;
        self.at = self.data.len() - entries.remaining();
        Ok(Some(([&self.prefix, name].concat(), Found { mode, oid })))
    }
}
