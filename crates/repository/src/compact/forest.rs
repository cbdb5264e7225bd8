//! The trees that stored deltas form, cut where they close to a circle or get too high.

use std::cmp::Reverse;

use super::items::{Form, ItemId, Items};

/// Takes away the base of some objects, so that no chain is longer than `depth_max`.
///
/// A tree that is too high by at most `segment + 1` is cut once; a higher one into trees of height `segment`, few
/// enough deltas that a search can join them again.
pub(super) fn cut(items: &mut Items, depth_max: u8, segment: u8) {
    let (depths, roots) = measure(items);
    let mut tallest = vec![0; depths.len()];
    for (depth, root) in depths.iter().zip(&roots) {
        let tallest: &mut u32 = &mut tallest[*root as usize];
        *tallest = (*tallest).max(*depth);
    }
    let (depth_max, segment) = (u32::from(depth_max), u32::from(segment));
    let mut depths = depths;
    for id in items.ids() {
        let depth = &mut depths[id as usize];
        let period = match tallest[roots[id as usize] as usize] {
            height if height <= depth_max => continue,
            height if height <= depth_max + 1 + segment => depth_max + 1,
            _ => segment + 1,
        };
        *depth %= period;
        let item = items.get_mut(id);
        if *depth == 0
            && let Some(base) = item.base.take()
        {
            item.lost_base = Some(base);
            item.form = Form::Whole;
        }
    }
    raise(items, &depths);
}

/// The depth of each object and the root of its tree; circles are cut.
fn measure(items: &mut Items) -> (Vec<u32>, Vec<ItemId>) {
    const UNKNOWN: u32 = u32::MAX;
    const OPEN: u32 = u32::MAX - 1;
    let mut depths = vec![UNKNOWN; items.list.len()];
    let mut roots: Vec<ItemId> = items.ids().collect();
    let mut path = Vec::new();
    for id in items.ids() {
        let mut at = id;
        loop {
            match (depths[at as usize], items.get(at).base) {
                (UNKNOWN, Some(base)) => {
                    depths[at as usize] = OPEN;
                    path.push(at);
                    at = base;
                }
                (UNKNOWN, None) => {
                    depths[at as usize] = 0;
                    break;
                }
                (OPEN, _) => {
                    // The last of the path leads back into it.
                    let last = path.pop().expect("because an open object lies on the path");
                    let item = items.get_mut(last);
                    (item.base, item.form) = (None, Form::Whole);
                    depths[last as usize] = 0;
                    at = last;
                    break;
                }
                (_, _) => break,
            }
        }
        let (mut depth, root) = (depths[at as usize], roots[at as usize]);
        while let Some(above) = path.pop() {
            depth += 1;
            depths[above as usize] = depth;
            roots[above as usize] = root;
        }
    }
    (depths, roots)
}

/// Sets the heights; every depth is right.
fn raise(items: &mut Items, depths: &[u32]) {
    let mut highest_first: Vec<_> = items.ids().filter(|&id| items.get(id).base.is_some()).collect();
    highest_first.sort_unstable_by_key(|&id| Reverse(depths[id as usize]));
    for id in highest_first {
        let item = items.get(id);
        let height = item.height + 1;
        if let Some(base) = item.base {
            let base = items.get_mut(base);
            base.height = base.height.max(height);
        }
    }
}

#[cfg(test)]
mod tests {
    use database::Oid;

    use super::super::items::{Chosen, Item};
    use super::*;
    use crate::Kind;

    fn items(bases: &[Option<ItemId>]) -> Items {
        let item = |(at, base): (usize, &Option<ItemId>)| Item {
            chosen: Chosen { oid: Oid([at as u8; 20]), pack: 0, index: at as u32 },
            kind: Kind::Blob,
            size: 100,
            offset: 0,
            form: Form::Stored,
            base: *base,
            lost_base: None,
            delta_bytes: 10,
            height: 0,
            searched: false,
        };
        Items { list: bases.iter().enumerate().map(item).collect() }
    }

    /// `0 <- 1 <- 2 ...`, in an order that is not that of the chain.
    fn chain(length: u32) -> Items {
        items(&(0..length).map(|id| (id != 7 % length).then_some((id + 1) % length)).collect::<Vec<_>>())
    }

    fn check(items: &Items, depth_max: u8, cuts: usize) {
        for id in items.ids() {
            assert!(items.depth(id) + items.get(id).height <= depth_max, "{id}");
            assert!(items.get(id).base.is_none_or(|base| items.get(base).height > items.get(id).height));
        }
        assert_eq!(items.list.iter().filter(|item| item.lost_base.is_some()).count(), cuts);
    }

    #[test]
    fn long_chains_are_cut() {
        for (length, cuts) in [(1, 0), (33, 0), (34, 1), (49, 1), (50, 3), (200, 12)] {
            let mut items = chain(length);
            cut(&mut items, 32, 15);
            check(&items, 32, cuts);
        }
        let mut items = chain(200);
        cut(&mut items, 32, 32);
        check(&items, 32, 6);
    }

    #[test]
    fn circles_are_cut() {
        let mut items = items(&[Some(1), Some(2), Some(0), Some(0), None, Some(5)]);
        cut(&mut items, 32, 15);
        assert_eq!(items.list.iter().filter(|item| item.base.is_none()).count(), 3);
        check(&items, 32, 0);
    }

    #[test]
    fn attaching_raises_the_tree() {
        let mut items = items(&[None, Some(0), None, Some(2), Some(3)]);
        cut(&mut items, 32, 15);
        items.attach(2, 1, Form::Whole);
        assert_eq!(items.list.iter().map(|item| item.height).collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
        assert_eq!(items.depth(4), 4);
        assert!(items.is_made_of(4, 0) && !items.is_made_of(0, 4));
    }
}
