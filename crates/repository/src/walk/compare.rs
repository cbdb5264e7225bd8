//! Two trees side by side: the entries with which both start, and entries of the same name.
//!
//! Works on the bytes of trees as stored; nothing is allocated per entry. Trees that are not sorted as git sorts them
//! are compared wrongly, but never so that different entries pass for equal.

use std::cmp::Ordering;
use std::ffi::CStr;

use crate::object::{self, TreeEntry};

/// A place in a reference tree.
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
    /// The client has all of the tree.
    pub(super) client: bool,
}

impl<'a> Cursor<'a> {
    /// The next entry if it does not come after `entry`. A broken reference ends here: it only saves work.
    pub(super) fn peek_before(&self, entry: &TreeEntry<'_>) -> Option<(TreeEntry<'a>, Ordering)> {
        let other = object::tree_entries(self.rest).next()?.ok()?;
        let order = order(&other, entry);
        (order != Ordering::Greater).then_some((other, order))
    }

    pub(super) fn next(&mut self) -> Option<TreeEntry<'a>> {
        let entry = object::tree_entries(self.rest).next()?.ok()?;
        self.rest = after_first(self.rest);
        Some(entry)
    }
}

/// As [`by_name`], but kinds of non-trees that share a name (a blob, a gitlink) are not taken for each other.
fn order(a: &TreeEntry<'_>, b: &TreeEntry<'_>) -> Ordering {
    by_name(a, b).then_with(|| a.kind().cmp(&b.kind()))
}

/// The order of entries in a tree: by name, as if the names of trees ended in a slash. Entries of the same name are
/// equal only if both or neither are trees.
pub(crate) fn by_name(a: &TreeEntry<'_>, b: &TreeEntry<'_>) -> Ordering {
    let key = |entry: &TreeEntry<'_>, at: usize| match entry.name.get(at) {
        Some(&byte) => byte,
        None if entry.is_tree() => b'/',
        None => 0,
    };
    let common = a.name.len().min(b.name.len());
    let names = a.name[..common].cmp(&b.name[..common]);
    names.then_with(|| key(a, common).cmp(&key(b, common))).then_with(|| a.name.len().cmp(&b.name.len()))
}

/// Moves both behind the entries with which both start.
pub(crate) fn skip_equal(a: &mut &[u8], b: &mut &[u8]) {
    let mut equal = common_prefix(a, b);
    if equal == a.len() {
        (*a, *b) = (&[], &b[equal..]);
        return;
    }
    while let Some(length) = first_length(&a[..equal]) {
        (*a, *b) = (&a[length..], &b[length..]);
        equal -= length;
    }
}

/// The length of the first entry if all of it is there: mode, space, name, zero, 20 bytes.
fn first_length(tree: &[u8]) -> Option<usize> {
    // The quickest search for a zero that the standard library has.
    let length = CStr::from_bytes_until_nul(tree).ok()?.count_bytes() + 21;
    (length <= tree.len()).then_some(length)
}

/// What follows the first entry, which must have been parsed.
pub(crate) fn after_first(tree: &[u8]) -> &[u8] {
    first_length(tree).map_or(&[], |length| &tree[length..])
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 32;
    let steps = a.chunks_exact(STEP).zip(b.chunks_exact(STEP)).take_while(|(a, b)| a == b).count();
    let start = steps * STEP;
    start + a[start..].iter().zip(&b[start..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, &str, u8)]) -> Vec<u8> {
        let entry = |(mode, name, id): &(&str, &str, u8)| {
            [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &[*id; 20]].concat()
        };
        entries.iter().flat_map(entry).collect()
    }

    #[test]
    fn equal_starts_are_skipped_at_entry_bounds() {
        let all: Vec<_> = (0..100).map(|i| (format!("file-{i:03}"), i)).collect();
        let all: Vec<_> = all.iter().map(|(name, id)| ("100644", name.as_str(), *id)).collect();
        let old = tree(&all);
        for changed in 0..100 {
            let mut entries = all.clone();
            entries[changed].2 = 200;
            let new = tree(&entries);
            let (mut a, mut b) = (&new[..], &old[..]);
            skip_equal(&mut a, &mut b);
            assert_eq!(object::tree_entries(a).next().unwrap().unwrap().name, all[changed].1.as_bytes());
            assert_eq!(a.len(), b.len());
            (a, b) = (after_first(a), after_first(b));
            skip_equal(&mut a, &mut b);
            assert!(a.is_empty() && b.is_empty());
        }
        let (mut a, mut b) = (&old[..old.len() - 31], &old[..]);
        skip_equal(&mut a, &mut b);
        assert!(a.is_empty());
        let (mut a, mut b) = (&old[..], &[][..]);
        skip_equal(&mut a, &mut b);
        assert_eq!(a.len(), old.len());
    }

    #[test]
    fn entries_are_ordered_as_git_orders_them() {
        let sorted = tree(&[
            ("100644", "a", 1),
            ("40000", "a-b", 1),
            ("100644", "a.txt", 1),
            ("40000", "a", 1),
            ("100644", "a0", 1),
            ("40000", "b", 1),
        ]);
        let entries: Vec<_> = object::tree_entries(&sorted).map(Result::unwrap).collect();
        for (i, a) in entries.iter().enumerate() {
            for (j, b) in entries.iter().enumerate() {
                assert_eq!(order(a, b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }
}
