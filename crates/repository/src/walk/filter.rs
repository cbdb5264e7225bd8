//! Partial clone: which objects a client wants to do without (`git rev-list --filter`, gitprotocol-v2(5)).

use crate::Kind;

/// A filter as the protocol names it. `sparse:oid` does not exist here: it would make the server match paths against
/// patterns of the client's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `blob:none`
    BlobNone,
    /// `blob:limit=n`: no blob of `n` bytes or more.
    BlobLimit(u64),
    /// `tree:n`: no tree or blob at depth `n` or deeper below a commit, whose root tree has depth 0.
    TreeDepth(u64),
    /// `object:type=kind`
    ObjectType(Kind),
    /// `combine:…`: what passes all of them.
    Combine(Vec<Filter>),
}

/// All of a filter in one: conditions of each kind are the same as the strictest of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    kinds: [bool; 4],
    /// Blobs must be smaller, in bytes. [`u64::MAX`] is no limit: no blob is that large.
    blob_size_below: u64,
    /// Trees and blobs must be less deep. [`u64::MAX`] is no limit.
    depth_below: u64,
}

impl Rules {
    pub(super) fn new(filter: Option<&Filter>) -> Rules {
        let mut rules = Rules { kinds: [true; 4], blob_size_below: u64::MAX, depth_below: u64::MAX };
        if let Some(filter) = filter {
            rules.restrict(filter);
        }
        rules
    }

    fn restrict(&mut self, filter: &Filter) {
        match filter {
            Filter::BlobNone => self.blob_size_below = 0,
            Filter::BlobLimit(size) => self.blob_size_below = self.blob_size_below.min(*size),
            Filter::TreeDepth(depth) => self.depth_below = self.depth_below.min(*depth),
            Filter::ObjectType(only) => {
                for kind in Kind::ALL.into_iter().filter(|kind| kind != only) {
                    self.kinds[slot(kind)] = false;
                }
            }
            Filter::Combine(filters) => filters.iter().for_each(|filter| self.restrict(filter)),
        }
    }

    pub(super) fn commits(&self) -> bool {
        self.kinds[slot(Kind::Commit)]
    }

    pub(super) fn tree(&self, depth: u64) -> bool {
        self.kinds[slot(Kind::Tree)] && depth < self.depth_below
    }

    /// Whether any blob at `depth` passes that is small enough.
    pub(super) fn blobs(&self, depth: u64) -> bool {
        self.kinds[slot(Kind::Blob)] && self.blob_size_below > 0 && depth < self.depth_below
    }

    pub(super) fn blob_size(&self, size: u64) -> bool {
        size < self.blob_size_below
    }

    /// Whether any entry of a tree passes, however deep, if the entries have this depth.
    pub(super) fn below(&self, depth: u64) -> bool {
        self.tree(depth) || self.blobs(depth)
    }

    /// Whether it matters at which depth a tree is met.
    pub(super) fn depth_matters(&self) -> bool {
        self.depth_below != u64::MAX
    }
}

fn slot(kind: Kind) -> usize {
    kind as usize - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combined_filters_pass_what_all_of_them_pass() {
        let all = Rules::new(None);
        assert!(all.commits() && all.tree(1 << 40) && all.blobs(1 << 40) && all.blob_size(1 << 60));
        let rules = Rules::new(Some(&Filter::Combine(vec![
            Filter::BlobLimit(10),
            Filter::Combine(vec![Filter::TreeDepth(3), Filter::BlobLimit(20), Filter::TreeDepth(2)]),
        ])));
        assert!(rules.blob_size(9) && !rules.blob_size(10));
        assert!(rules.tree(1) && !rules.tree(2) && rules.blobs(1) && !rules.below(2));
        let trees = Rules::new(Some(&Filter::ObjectType(Kind::Tree)));
        assert!(trees.tree(7) && trees.below(8) && !trees.blobs(0) && !trees.commits());
        let nothing =
            Rules::new(Some(&Filter::Combine(vec![Filter::BlobNone, Filter::ObjectType(Kind::Blob)])));
        assert!(!nothing.below(0) && !nothing.blobs(0));
        assert!(!Rules::new(Some(&Filter::TreeDepth(0))).below(0));
    }
}
