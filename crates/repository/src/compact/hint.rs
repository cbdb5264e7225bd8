//! Path hints: which objects are likely to resemble each other, because they have had the same path.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::items::{ItemId, Items};
use super::{CompactError, Context};
use crate::object::{self, TreeEntry};
use crate::{Kind, Snapshot};

/// What of the trees walked last is kept to compare the next with, in bytes.
const PREVIOUS_BYTES_MAX: usize = 64 << 20;

/// A number for each object, made of the last characters of the first path it is found under (as git's is), so that
/// equal paths have equal numbers and paths with the same ending lie near each other. 0 where there is no path.
pub(super) fn path_hints(
    s: &Snapshot,
    items: &Items,
    context: &Context<'_>,
) -> Result<Vec<u32>, CompactError> {
    let mut walk = Walk {
        s,
        items,
        context,
        hints: vec![0; items.list.len()],
        visited: vec![false; items.list.len()],
        previous: HashMap::new(),
        previous_bytes: 0,
    };
    let mut commits = Vec::new();
    for item in items.list.iter().filter(|item| item.kind == Kind::Commit) {
        commits.push(s.commit(&item.chosen.oid)?);
    }
    commits.sort_by_key(|commit| Reverse(commit.committer_seconds));
    for commit in commits {
        if let Some(root) = items.find(&commit.tree) {
            walk.tree(root)?;
        }
    }
    // Trees whose commits are elsewhere: taken as roots, their names are still right.
    for id in items.ids().filter(|&id| items.get(id).kind == Kind::Tree) {
        walk.tree(id)?;
    }
    Ok(walk.hints)
}

struct Walk<'a> {
    s: &'a Snapshot,
    items: &'a Items,
    context: &'a Context<'a>,
    hints: Vec<u32>,
    visited: Vec<bool>,
    /// By hint. Histories change a tree in few places; what it shares with its predecessor has its hints.
    previous: HashMap<u32, Vec<u8>>,
    previous_bytes: usize,
}

impl Walk<'_> {
    fn tree(&mut self, root: ItemId) -> Result<(), CompactError> {
        let mut stack = vec![root];
        let mut data = Vec::new();
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut self.visited[id as usize], true) {
                continue;
            }
            if !(self.context.keepgoing)() {
                return Err(CompactError::Interrupted);
            }
            let hint = self.hints[id as usize];
            self.s.read_at(self.items.get(id).chosen.location(), &mut data)?;
            let previous = self.previous.remove(&hint).unwrap_or_default();
            for entry in fresh_entries(&previous, &data) {
                let Some(child) = self.find(&entry) else { continue };
                if self.visited[child as usize] || self.hints[child as usize] != 0 {
                    continue;
                }
                self.hints[child as usize] = extend(extend(hint, b"/"), entry.name);
                if entry.is_tree() {
                    stack.push(child);
                }
            }
            self.previous_bytes -= previous.len();
            self.remember(hint, std::mem::replace(&mut data, previous));
        }
        Ok(())
    }

    fn find(&self, entry: &TreeEntry<'_>) -> Option<ItemId> {
        entry.kind()?;
        self.items.find(&entry.oid)
    }

    fn remember(&mut self, hint: u32, data: Vec<u8>) {
        if self.previous_bytes + data.len() > PREVIOUS_BYTES_MAX {
            self.previous.clear();
            self.previous_bytes = 0;
        }
        self.previous_bytes += data.len();
        self.previous.insert(hint, data);
    }
}

/// Goes on with a hint: the later a character, the more it counts; white space does not.
fn extend(hint: u32, text: &[u8]) -> u32 {
    // Each step halves the weight twice: what is 16 characters back has left the number.
    let text = &text[text.len().saturating_sub(32)..];
    let solid = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    solid.fold(hint, |hint, &byte| (hint >> 2).wrapping_add(u32::from(byte) << 24))
}

/// The entries of the tree `new` that `old` does not have. Both are sorted alike; where a broken tree is not, some
/// entries too many are given.
fn fresh_entries<'a>(old: &'a [u8], new: &'a [u8]) -> impl Iterator<Item = TreeEntry<'a>> {
    // A tree that is no tree has no names, and that is none of our business.
    let entries = |data| object::tree_entries(data).map_while(Result::ok);
    let mut old = entries(old).peekable();
    entries(new).filter(move |entry| {
        while old.next_if(|old| old.name < entry.name).is_some() {}
        old.next_if(|old| old == entry).is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, u8)]) -> Vec<u8> {
        let entry = |(name, id): &(&str, u8)| [format!("100644 {name}\0").as_bytes(), &[*id; 20]].concat();
        entries.iter().flat_map(entry).collect()
    }

    #[test]
    fn only_what_changed_is_looked_at() {
        let old = tree(&[("a", 1), ("b", 1), ("d", 1), ("e", 1)]);
        let new = tree(&[("a", 1), ("b", 2), ("c", 1), ("e", 1), ("f", 1)]);
        let fresh = |old, new| fresh_entries(old, new).map(|entry| entry.name.to_vec()).collect::<Vec<_>>();
        assert_eq!(fresh(&old, &new), [b"b", b"c", b"f"]);
        assert_eq!(fresh(&[], &new).len(), 5);
        assert_eq!(fresh(&new, &new).len(), 0);
        assert_eq!(fresh(b"no tree", &new[..30]).len(), 1);
    }

    #[test]
    fn hints_are_of_the_end_of_a_path() {
        assert_eq!(extend(extend(0, b"/"), b"model.rs"), extend(0, b"/model.rs"));
        assert_eq!(extend(0, b"a/long/way/to/modelling.rs"), extend(0, b"b/long/way/to/modelling.rs"));
        assert_ne!(extend(0, b"a.rs"), extend(0, b"b.rs"));
        assert!(
            extend(0, b"a.rs").abs_diff(extend(0, b"b.rs")) < extend(0, b"a.rs").abs_diff(extend(0, b"a.py"))
        );
    }
}
