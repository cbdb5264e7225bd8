//! Files and folders of a commit: one by its path, or all below a folder in pages.

mod list;

use database::Oid;

pub use list::{Item, list};

use crate::object::{TreeEntry, tree_entries};
use crate::{Kind, ReadError, Snapshot};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// As stored: `0o100644`, `0o40000`, …
    pub mode: u32,
    pub oid: Oid,
}

impl Found {
    pub fn is_tree(&self) -> bool {
        TreeEntry { mode: self.mode, name: b"", oid: self.oid }.is_tree()
    }

    /// What is named is a blob: a file or a symbolic link. Neither a folder nor a commit of another repository.
    pub fn is_blob(&self) -> bool {
        TreeEntry { mode: self.mode, name: b"", oid: self.oid }.kind() == Some(Kind::Blob)
    }
}

/// What stands at `path` below `tree`; the tree itself at the empty path. `None` if nothing does: also if a file stands
/// where `path` has a folder, or if a part of it is empty.
pub fn find(s: &Snapshot, tree: Oid, path: &str) -> Result<Option<Found>, ReadError> {
    let mut found = Found { mode: 0o40000, oid: tree };
    if path.is_empty() {
        return Ok(Some(found));
    }
    for name in path.split('/') {
        if !found.is_tree() || name.is_empty() {
            return Ok(None);
        }
        let data = read_tree(s, found.oid)?;
        match entry(&data, found.oid, name.as_bytes())? {
            Some(next) => found = next,
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// The content of a tree.
pub(crate) fn read_tree(s: &Snapshot, tree: Oid) -> Result<std::sync::Arc<[u8]>, ReadError> {
    let location = s.locate(&tree).ok_or(ReadError::Missing(tree))?;
    match s.read_shared_at(location)? {
        (Kind::Tree, data) => Ok(data),
        (actual, _) => Err(ReadError::WrongKind { oid: tree, expected: Kind::Tree, actual }),
    }
}

pub(crate) fn unreadable(tree: Oid, error: &crate::object::ObjectError) -> ReadError {
    ReadError::Corrupt { oid: tree, reason: error.to_string() }
}

/// In git's order of names, in which that of a folder ends in a slash.
pub(crate) fn entry(data: &[u8], tree: Oid, wanted: &[u8]) -> Result<Option<Found>, ReadError> {
    for entry in tree_entries(data) {
        let TreeEntry { mode, name, oid } = entry.map_err(|error| unreadable(tree, &error))?;
        if name == wanted {
            return Ok(Some(Found { mode, oid }));
        }
        // Behind it are only names that begin with it, as `a.b` stands before the folder `a`.
        if name > wanted && !name.starts_with(wanted) {
            break;
        }
    }
    Ok(None)
}
