//! Which of some paths differ between two trees.

use std::collections::HashMap;

use database::Oid;

use crate::object::{self, TreeEntry};
use crate::{Kind, ReadError, Snapshot};

/// The positions of those `paths` that are not the same in both trees, sorted. A path names a file or a directory, its
/// parts separated by slashes; a directory differs if anything in it does. `None` is the empty tree.
///
/// Goes down only where the trees differ and only towards the paths, so the cost is that of the paths and of the trees
/// on their way, not that of the repository.
pub fn changed_paths(
    s: &Snapshot,
    old: Option<Oid>,
    new: Option<Oid>,
    paths: &[&str],
) -> Result<Vec<usize>, ReadError> {
    let mut changed = Vec::new();
    let parts = |path: &&str| path.len() - path.trim_start_matches('/').len();
    let all = paths.iter().enumerate().map(|(position, path)| Sought { position, from: parts(path) });
    let mut open = vec![Pair { old, new, sought: all.collect() }];
    while let Some(pair) = open.pop() {
        if pair.old == pair.new {
            continue;
        }
        let mut names: HashMap<&[u8], Vec<Sought>> = HashMap::new();
        for sought in pair.sought {
            let (name, below) = next_part(paths[sought.position], sought.from);
            match name {
                // The whole tree is meant.
                "" => changed.push(sought.position),
                name => {
                    names.entry(name.as_bytes()).or_default().push(Sought { from: below, ..sought });
                }
            }
        }
        let before = entries(s, pair.old, &names)?;
        let after = entries(s, pair.new, &names)?;
        for (name, sought) in names {
            let (before, after) = (before.get(name).copied(), after.get(name).copied());
            if before == after {
                continue;
            }
            let (here, below): (Vec<_>, Vec<_>) = sought
                .into_iter()
                .partition(|sought| next_part(paths[sought.position], sought.from).0.is_empty());
            changed.extend(here.iter().map(|sought| sought.position));
            if !below.is_empty() {
                let tree = |entry: Option<Entry>| entry.filter(Entry::is_tree).map(|entry| entry.oid);
                open.push(Pair { old: tree(before), new: tree(after), sought: below });
            }
        }
    }
    changed.sort_unstable();
    Ok(changed)
}

struct Pair {
    old: Option<Oid>,
    new: Option<Oid>,
    sought: Vec<Sought>,
}

#[derive(Clone, Copy)]
struct Sought {
    /// In the list of paths.
    position: usize,
    /// Where the part begins that is looked for next.
    from: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    mode: u32,
    oid: Oid,
}

impl Entry {
    fn is_tree(&self) -> bool {
        TreeEntry { mode: self.mode, name: b"", oid: self.oid }.is_tree()
    }
}

/// The part of `path` at `from`, and where the one behind it begins.
fn next_part(path: &str, from: usize) -> (&str, usize) {
    let rest = &path[from..];
    let name = rest.split('/').next().unwrap_or_default();
    let behind = rest[name.len()..].trim_start_matches('/');
    (name, path.len() - behind.len())
}

/// What the tree has under these names.
fn entries<'n>(
    s: &Snapshot,
    tree: Option<Oid>,
    names: &HashMap<&'n [u8], Vec<Sought>>,
) -> Result<HashMap<&'n [u8], Entry>, ReadError> {
    let mut found = HashMap::new();
    let Some(tree) = tree else { return Ok(found) };
    let location = s.locate(&tree).ok_or(ReadError::Missing(tree))?;
    let (actual, data) = s.read_shared_at(location)?;
    if actual != Kind::Tree {
        return Err(ReadError::WrongKind { oid: tree, expected: Kind::Tree, actual });
    }
    for entry in object::tree_entries(&data) {
        let TreeEntry { mode, name, oid } =
            entry.map_err(|error| ReadError::Corrupt { oid: tree, reason: error.to_string() })?;
        if let Some((&name, _)) = names.get_key_value(name) {
            found.insert(name, Entry { mode, oid });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths() {
        assert_eq!(next_part("a/bc/d", 0), ("a", 2));
        assert_eq!(next_part("a/bc/d", 2), ("bc", 5));
        assert_eq!(next_part("a/bc/d", 5), ("d", 6));
        assert_eq!(next_part("a/bc/d", 6), ("", 6));
        assert_eq!(next_part("a//b", 0), ("a", 3));
        assert_eq!(next_part("a/", 0), ("a", 2), "a directory may be written with a slash");
    }
}
