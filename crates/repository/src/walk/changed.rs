//! Which of some paths differ between two trees.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use database::Oid;

use super::compare::{after_first, by_name, skip_equal};
use crate::object::{self, TreeEntry};
use crate::{Kind, ReadError, Snapshot};

/// The positions of those `paths` that are not the same in both trees, sorted. See [`Paths::changed`].
pub fn changed_paths(
    s: &Snapshot,
    old: Option<Oid>,
    new: Option<Oid>,
    paths: &[&str],
) -> Result<Vec<usize>, ReadError> {
    let changed = Paths::new(paths).changed(s, old, new)?;
    Ok(changed.into_iter().map(|position| position as usize).collect())
}

/// Paths that are looked for in many pairs of trees, by their parts. A path names a file or a directory, its parts
/// separated by slashes; a directory differs if anything in it does.
pub struct Paths<'p> {
    /// The first is the root.
    nodes: Vec<Node<'p>>,
}

#[derive(Default)]
struct Node<'p> {
    /// Positions of the paths that end here.
    ends: Vec<u32>,
    below: HashMap<&'p [u8], usize>,
}

/// Two trees, and the paths that lead into them.
struct Pair {
    node: usize,
    old: Option<Oid>,
    new: Option<Oid>,
}

impl<'p> Paths<'p> {
    /// At most `u32::MAX` of them, which are told apart by their positions.
    pub fn new(paths: &[&'p str]) -> Paths<'p> {
        let mut nodes = vec![Node::default()];
        for (path, position) in paths.iter().zip(0..) {
            let mut node = 0;
            for part in path.split('/').filter(|part| !part.is_empty()) {
                let next = nodes.len();
                let below = *nodes[node].below.entry(part.as_bytes()).or_insert(next);
                if below == next {
                    nodes.push(Node::default());
                }
                node = below;
            }
            nodes[node].ends.push(position);
        }
        Paths { nodes }
    }

    /// The positions of those that are not the same in both trees, sorted. `None` is the empty tree.
    ///
    /// Goes down only where the trees differ and only towards the paths: what is the same costs a comparison of bytes,
    /// however many paths there are.
    pub fn changed(&self, s: &Snapshot, old: Option<Oid>, new: Option<Oid>) -> Result<Vec<u32>, ReadError> {
        let mut changed = Vec::new();
        let mut open = vec![Pair { node: 0, old, new }];
        while let Some(pair) = open.pop() {
            if pair.old == pair.new {
                continue;
            }
            let node = &self.nodes[pair.node];
            if pair.node == 0 {
                // The whole tree is meant.
                changed.extend(&node.ends);
            }
            if node.below.is_empty() {
                continue;
            }
            let (before, after) = (read(s, pair.old)?, read(s, pair.new)?);
            differences(&before, &after, |old, new| {
                let name = old.or(new).map_or(&b""[..], |entry| entry.name);
                let Some(&below) = node.below.get(name) else { return };
                changed.extend(&self.nodes[below].ends);
                let tree = |entry: Option<&TreeEntry<'_>>| {
                    entry.filter(|entry| entry.is_tree()).map(|entry| entry.oid)
                };
                open.push(Pair { node: below, old: tree(old), new: tree(new) });
            })
            .ok_or_else(|| corrupt(pair.old.or(pair.new)))?;
        }
        changed.sort_unstable();
        // A file that gives way to a directory of its name is two differences.
        changed.dedup();
        Ok(changed)
    }
}

/// Calls `found` for each entry that is not the same in both trees. `None` if one is no tree.
fn differences(
    mut old: &[u8],
    mut new: &[u8],
    mut found: impl FnMut(Option<&TreeEntry<'_>>, Option<&TreeEntry<'_>>),
) -> Option<()> {
    loop {
        skip_equal(&mut old, &mut new);
        let before = object::tree_entries(old).next().transpose().ok()?;
        let after = object::tree_entries(new).next().transpose().ok()?;
        let order = match (&before, &after) {
            (None, None) => return Some(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => by_name(before, after),
        };
        match order {
            Ordering::Less => found(before.as_ref(), None),
            Ordering::Greater => found(None, after.as_ref()),
            Ordering::Equal if before == after => {}
            Ordering::Equal => found(before.as_ref(), after.as_ref()),
        }
        if order != Ordering::Greater {
            old = after_first(old);
        }
        if order != Ordering::Less {
            new = after_first(new);
        }
    }
}

/// Nothing for the empty tree.
fn read(s: &Snapshot, tree: Option<Oid>) -> Result<Arc<[u8]>, ReadError> {
    let Some(tree) = tree else { return Ok(Arc::from([])) };
    let location = s.locate(&tree).ok_or(ReadError::Missing(tree))?;
    match s.read_shared_at(location)? {
        (Kind::Tree, data) => Ok(data),
        (actual, _) => Err(ReadError::WrongKind { oid: tree, expected: Kind::Tree, actual }),
    }
}

fn corrupt(tree: Option<Oid>) -> ReadError {
    let reason = "it is no tree, or what it is compared with".to_owned();
    ReadError::Corrupt { oid: tree.unwrap_or(Oid::NULL), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths() {
        let ends = |path: &str| {
            let paths = Paths::new(&["a/bc/d", path]);
            paths.nodes.iter().position(|node| node.ends.contains(&1)).unwrap()
        };
        assert_eq!(ends("a/bc/d"), 3);
        assert_eq!(ends("a"), 1);
        assert_eq!(ends("/a//bc"), 2);
        assert_eq!(ends("a/"), 1, "a directory may be written with a slash");
        assert_eq!(ends(""), 0, "the whole tree");
        assert_eq!(ends("b"), 4);
    }

    #[test]
    fn differences_are_told_once() {
        let tree = |entries: &[(&str, &str, u8)]| -> Vec<u8> {
            let entry = |(mode, name, id): &(&str, &str, u8)| {
                [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &[*id; 20]].concat()
            };
            entries.iter().flat_map(entry).collect()
        };
        let check = |old: &[(&str, &str, u8)], new: &[(&str, &str, u8)], expected: &str| {
            let mut told = Vec::new();
            let name = |entry: Option<&TreeEntry<'_>>| {
                entry.map_or("-".to_owned(), |entry| String::from_utf8_lossy(entry.name).into_owned())
            };
            let found = |old: Option<&TreeEntry<'_>>, new: Option<&TreeEntry<'_>>| {
                told.push(format!("{}>{}", name(old), name(new)));
            };
            differences(&tree(old), &tree(new), found).unwrap();
            assert_eq!(told.join(" "), expected);
        };
        let (file, folder) = ("100644", "40000");
        check(&[], &[], "");
        check(&[(file, "a", 1), (file, "b", 1)], &[(file, "a", 1), (file, "b", 1)], "");
        check(&[(file, "a", 1), (file, "b", 1)], &[(file, "a", 1), (file, "b", 2)], "b>b");
        check(&[(file, "a", 1), (file, "c", 1)], &[(file, "b", 1), (file, "c", 1)], "a>- ->b");
        check(&[(file, "a", 1)], &[("100755", "a", 1)], "a>a");
        check(&[(folder, "a", 1)], &[("040000", "a", 1)], "");
        check(&[(file, "a", 1)], &[(folder, "a", 1)], "a>- ->a");
        check(&[], &[(file, "a", 1), (folder, "b", 1)], "->a ->b");
        assert_eq!(differences(b"100644 a", b"", |_, _| ()), None);
    }
}
