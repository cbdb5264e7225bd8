//! The trees over chunks by whose roots xorbs and files are named.
//!
//! A level is cut into groups of three to nine nodes, where the hash of a node says so; each group is a node of the
//! level above. Whether a group ends depends on nothing that follows, so the tree is built while chunks come, and
//! takes the memory of one open group per level.

use crate::Hash;

/// The key of nodes' hashes.
const NODE_KEY: [u8; 32] = [
    1, 126, 197, 199, 165, 71, 41, 150, 253, 148, 102, 102, 180, 138, 2, 230, 93, 221, 83, 111, 55, 199, 109,
    210, 248, 99, 82, 230, 74, 83, 113, 63,
];

/// The key of files' hashes, which so differ from those of xorbs with the same chunks.
const FILE_KEY: [u8; 32] = [0; 32];

const GROUP_MIN: usize = 3;
const GROUP_MAX: usize = 9;
/// One of this many nodes may end a group.
const GROUP_MODULUS: u64 = 4;

/// `{hash} : {length}\n`
const LINE_MAX: usize = Hash::TEXT_LEN + 3 + 20 + 1;

/// A tree that is being built of (hash, length) of chunks in their order.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    levels: Vec<Level>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    group: [(Hash, u64); GROUP_MAX],
    count: usize,
    /// A group of this level was closed, so its nodes are not all in `group`.
    has_parent: bool,
}

impl Tree {
    pub fn push(&mut self, hash: Hash, len: u64) {
        self.push_at(0, (hash, len));
    }

    /// The root, which is the xorb's hash. Zeros if there are no chunks.
    pub fn xorb_hash(mut self) -> Hash {
        let mut level = 0;
        while let Some(&open) = self.levels.get(level) {
            match open.nodes() {
                // What is alone in its level is the root, not a group.
                [(root, _)] if !open.has_parent => return *root,
                [] => {}
                nodes => {
                    let parent = node(nodes);
                    self.push_at(level + 1, parent);
                }
            }
            level += 1;
        }
        Hash::ZERO
    }

    /// Of the file of these chunks. Zeros if there are none.
    pub fn file_hash(self) -> Hash {
        if self.levels.is_empty() {
            return Hash::ZERO;
        }
        crate::hash::keyed(&self.xorb_hash(), &FILE_KEY)
    }

    fn push_at(&mut self, level: usize, mut node: (Hash, u64)) {
        for level in level.. {
            if self.levels.len() == level {
                self.levels.push(Level::default());
            }
            match self.levels[level].push(node) {
                Some(parent) => node = parent,
                None => return,
            }
        }
    }
}

impl Extend<(Hash, u64)> for Tree {
    fn extend<I: IntoIterator<Item = (Hash, u64)>>(&mut self, chunks: I) {
        chunks.into_iter().for_each(|(hash, len)| self.push(hash, len));
    }
}

impl FromIterator<(Hash, u64)> for Tree {
    fn from_iter<I: IntoIterator<Item = (Hash, u64)>>(chunks: I) -> Tree {
        let mut tree = Tree::default();
        tree.extend(chunks);
        tree
    }
}

/// Of a xorb of these chunks.
pub fn xorb_hash(chunks: impl IntoIterator<Item = (Hash, u64)>) -> Hash {
    Tree::from_iter(chunks).xorb_hash()
}

/// Of a file of these chunks.
pub fn file_hash(chunks: impl IntoIterator<Item = (Hash, u64)>) -> Hash {
    Tree::from_iter(chunks).file_hash()
}

impl Level {
    fn nodes(&self) -> &[(Hash, u64)] {
        &self.group[..self.count]
    }

    /// The parent, if the group ends with this node.
    fn push(&mut self, node: (Hash, u64)) -> Option<(Hash, u64)> {
        self.group[self.count] = node;
        self.count += 1;
        let may_end = self.count >= GROUP_MIN && node.0.tail().is_multiple_of(GROUP_MODULUS);
        if !may_end && self.count < GROUP_MAX {
            return None;
        }
        let parent = self::node(self.nodes());
        self.count = 0;
        self.has_parent = true;
        Some(parent)
    }
}

fn node(children: &[(Hash, u64)]) -> (Hash, u64) {
    let mut text = [0; GROUP_MAX * LINE_MAX];
    let (mut end, mut sum) = (0, 0u64);
    for (hash, len) in children {
        end += write_line(hash, *len, &mut text[end..]);
        sum = sum.wrapping_add(*len);
    }
    (Hash::from_bytes(*blake3::keyed_hash(&NODE_KEY, &text[..end]).as_bytes()), sum)
}

/// Returns how much was written.
fn write_line(hash: &Hash, mut len: u64, line: &mut [u8]) -> usize {
    let (text, rest) =
        line.split_first_chunk_mut().expect("because a group has a line for each of its nodes");
    hash.write_text(text);
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (len % 10) as u8;
        len /= 10;
        if len == 0 {
            break;
        }
    }
    let digits = &digits[first..];
    rest[..3].copy_from_slice(b" : ");
    rest[3..3 + digits.len()].copy_from_slice(digits);
    rest[3 + digits.len()] = b'\n';
    Hash::TEXT_LEN + 3 + digits.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_clients_write_them() {
        for len in [0, 1, 9, 10, 65_536, u64::MAX] {
            let mut line = [0; LINE_MAX];
            let end = write_line(&Hash::ZERO, len, &mut line);
            assert_eq!(line[..end], *format!("{} : {len}\n", Hash::ZERO).as_bytes());
        }
    }

    #[test]
    fn nothing_is_zeros_and_one_is_itself() {
        let hash = crate::hash::chunk_hash(b"one");
        assert_eq!(xorb_hash([]), Hash::ZERO);
        assert_eq!(file_hash([]), Hash::ZERO);
        assert_eq!(xorb_hash([(hash, 3)]), hash);
        assert_eq!(file_hash([(hash, 3)]), crate::hash::keyed(&hash, &[0; 32]));
    }

    /// The rule as it is written down: of the whole level, and again until one is left.
    fn by_levels(mut level: Vec<(Hash, u64)>) -> Hash {
        while level.len() > 1 {
            let mut above = Vec::new();
            let mut rest = level.as_slice();
            while !rest.is_empty() {
                let end = rest.len().min(GROUP_MAX);
                let ends = |at: &usize| rest[*at].0.tail().is_multiple_of(GROUP_MODULUS);
                let cut =
                    if rest.len() <= 2 { rest.len() } else { (2..end).find(ends).map_or(end, |at| at + 1) };
                above.push(node(&rest[..cut]));
                rest = &rest[cut..];
            }
            level = above;
        }
        level.first().map_or(Hash::ZERO, |root| root.0)
    }

    #[test]
    fn growing_a_tree_is_the_same_as_folding_levels() {
        for salt in 0..4u32 {
            let chunk =
                |at: u32| (crate::hash::chunk_hash(&(at * 4 + salt).to_le_bytes()), u64::from(at % 7));
            for count in (0..200).chain([729, 730, 5000]) {
                let chunks: Vec<_> = (0..count).map(chunk).collect();
                assert_eq!(xorb_hash(chunks.iter().copied()), by_levels(chunks), "{count}");
            }
        }
        // None ends a group before it is full; each does once it may.
        for tail in [1, 4] {
            let mut bytes = [tail; 32];
            bytes[24] = tail;
            for count in [8, 9, 10, 18, 81, 82, 83, 730] {
                let chunks = vec![(Hash::from_bytes(bytes), 1); count];
                assert_eq!(xorb_hash(chunks.iter().copied()), by_levels(chunks), "{count}");
            }
        }
    }
}
