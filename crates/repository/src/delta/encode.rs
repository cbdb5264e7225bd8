//! Finds deltas: an index of the base's blocks, and one pass over the target that copies what the index knows.
//!
//! The base is cut into blocks of [`WINDOW`] bytes, known by a polynomial hash. A hash of the same width rolls over the
//! target; where it meets a block, the match is extended both ways. Behind a copy, the place in the base where the copy
//! would have gone on is tried as well: trees differ mostly in object ids, which change in place and stand closer
//! together than a block is wide. Time is linear: a bucket holds few blocks, and a long match is taken at sight.

/// Bytes under the rolling hash.
const WINDOW: usize = 16;
/// Distance of the indexed blocks. A small base is indexed more densely: there it is cheap and each match counts.
const STEP: usize = 16;
const STEP_SMALL: usize = 4;
const SMALL_BASE: usize = 64 << 10;
/// Blocks of the same bucket beyond this many are thinned out evenly, so that repetitive bases stay linear.
const BUCKET_MAX: usize = 32;
/// A match of this length is taken without looking for a longer one.
const GOOD_MATCH: usize = 4096;
/// A match without block must at least pay for its instruction and for splitting an insertion.
const MATCH_MIN: usize = 8;
/// Longest copy that a pack of version 2 may hold.
const COPY_MAX: usize = 0x10000;
const INSERT_MAX: usize = 0x7f;
/// Odd, with well mixed bits; the digit base of the polynomial.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// `MULTIPLIER` to the power of [`WINDOW`]: the weight of the byte that leaves the window.
const LEAVING: u64 = {
    let (mut power, mut i) = (1u64, 0);
    while i < WINDOW {
        power = power.wrapping_mul(MULTIPLIER);
        i += 1;
    }
    power
};

/// A base prepared for many encodings.
pub struct Index<'a> {
    base: &'a [u8],
    blocks: Blocks,
}

impl<'a> Index<'a> {
    pub fn new(base: &'a [u8]) -> Index<'a> {
        Index { base, blocks: Blocks::new(base) }
    }

    /// Replaces the content of `out` by a delta that makes `target` of the base.
    ///
    /// Returns false, with `out` unspecified, as soon as the delta is known to be longer than `size_max` bytes.
    pub fn encode(&self, target: &[u8], size_max: usize, out: &mut Vec<u8>) -> bool {
        self.blocks.encode(self.base, target, size_max, out)
    }
}

/// The delta that makes `target` of `base`, if it is worth storing instead of the target: shorter than half of it.
pub fn delta_entry(base: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    Index::new(base).encode(target, worthwhile_max(target.len()), &mut out).then_some(out)
}

/// Longest delta that is worth storing for a target of this size, in bytes. The object id of its base is part of it.
pub(crate) fn worthwhile_max(target: usize) -> usize {
    (target / 2).saturating_sub(20)
}

/// The index of a base, apart from it, so that both can be moved together.
pub(crate) struct Blocks {
    /// Bucket `i` is `entries[starts[i]..starts[i + 1]]`.
    starts: Vec<u32>,
    entries: Vec<Block>,
    /// The bucket of a hash are its upper bits.
    shift: u32,
    /// One bit per value of the upper bits, three of them more than choose the bucket: set where there is a block. Most
    /// places of a target are in no block, and this is small enough to stay in the processor's cache.
    filter: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
struct Block {
    /// Lower half of the hash; the upper half chose the bucket.
    check: u32,
    offset: u32,
}

impl Blocks {
    pub fn new(base: &[u8]) -> Blocks {
        // Offsets of a copy have 32 bits; what lies beyond is not indexed.
        let base = &base[..base.len().min(u32::MAX as usize)];
        let step = if base.len() <= SMALL_BASE { STEP_SMALL } else { STEP };
        let count = base.len().saturating_sub(WINDOW - 1).div_ceil(step);
        let bits = count.next_power_of_two().trailing_zeros().max(1);
        let shift = u64::BITS - bits;

        let hashes = || {
            let mut previous = None;
            base.windows(WINDOW).step_by(step).zip((0..).step_by(step)).filter_map(move |(window, offset)| {
                // Of a run of equal blocks the first is enough: the match is extended from there.
                let hash = hash(window);
                (previous.replace(hash) != Some(hash)).then_some((hash, offset))
            })
        };
        let bucket = |hash: u64| (hash >> shift) as usize;
        let mut found = vec![0u32; 1 << bits];
        let mut filter = vec![0u8; 1 << bits];
        for (hash, _) in hashes() {
            found[bucket(hash)] += 1;
            filter[bucket(hash)] |= filter_bit(hash, shift);
        }
        let mut starts = Vec::with_capacity(found.len() + 1);
        starts.push(0);
        let mut end = 0;
        for count in &found {
            end += (*count).min(BUCKET_MAX as u32);
            starts.push(end);
        }

        let mut entries = vec![Block::default(); end as usize];
        let mut seen = vec![0u32; 1 << bits];
        for (hash, offset) in hashes() {
            let bucket = bucket(hash);
            let (nth, count) = (u64::from(seen[bucket]), u64::from(found[bucket]));
            seen[bucket] += 1;
            // Every `count / BUCKET_MAX`-th of them: slot `nth * MAX / count` is taken by the first that falls into it.
            let kept = count.min(BUCKET_MAX as u64);
            let slot = nth * kept / count;
            if nth == 0 || (nth - 1) * kept / count != slot {
                entries[starts[bucket] as usize + slot as usize] = Block { check: hash as u32, offset };
            }
        }
        Blocks { starts, entries, shift, filter }
    }

    /// What the index occupies, in bytes.
    pub fn memory(&self) -> usize {
        self.starts.len() * size_of::<u32>() + self.entries.len() * size_of::<Block>() + self.filter.len()
    }

    /// See [`Index::encode`]; `base` is the one given to [`Blocks::new`].
    pub fn encode(&self, base: &[u8], target: &[u8], size_max: usize, out: &mut Vec<u8>) -> bool {
        out.clear();
        push_size(out, base.len());
        push_size(out, target.len());
        let mut rolling = Rolling::at(target, 0);
        // What is before `inserted` is written, what is from there to `at` waits to be inserted.
        let (mut inserted, mut at) = (0, 0);
        // Where the base goes on behind the last copy.
        let mut diagonal = 0;
        while at < target.len() {
            let found = self.longest(base, target, at, diagonal, rolling.hash);
            if found.length == 0 {
                at += 1;
                diagonal += 1;
                rolling.step(target, at);
                if out.len() + (at - inserted) > size_max {
                    return false;
                }
                continue;
            }
            let back = common_suffix(&base[..found.offset], &target[inserted..at]);
            let (offset, length) = (found.offset - back, found.length + back);
            push_insert(out, &target[inserted..at - back]);
            push_copies(out, offset, length);
            at += found.length;
            inserted = at;
            diagonal = offset + length;
            rolling = Rolling::at(target, at);
            if out.len() > size_max {
                return false;
            }
        }
        push_insert(out, &target[inserted..]);
        out.len() <= size_max
    }

    /// The longest match of the target at `at`, of length 0 if none is worth a copy.
    fn longest(&self, base: &[u8], target: &[u8], at: usize, diagonal: usize, hash: Option<u64>) -> Match {
        let rest = &target[at..];
        let mut best = Match { offset: diagonal, length: 0 };
        if diagonal < base.len().min(u32::MAX as usize) {
            let length = common_prefix(&base[diagonal..], rest);
            if length >= MATCH_MIN || length == rest.len() {
                best.length = length;
            }
        }
        let Some(hash) = hash else { return best };
        let bucket = (hash >> self.shift) as usize;
        if self.filter[bucket] & filter_bit(hash, self.shift) == 0 {
            return best;
        }
        for block in &self.entries[self.starts[bucket] as usize..self.starts[bucket + 1] as usize] {
            if best.length >= GOOD_MATCH {
                break;
            }
            if block.check != hash as u32 {
                continue;
            }
            let offset = block.offset as usize;
            let length = common_prefix(&base[offset..], rest);
            if length >= WINDOW && length > best.length {
                best = Match { offset, length };
            }
        }
        best
    }
}

/// The three bits below those that choose the bucket.
fn filter_bit(hash: u64, shift: u32) -> u8 {
    1 << (hash >> (shift - 3) & 7)
}

struct Match {
    offset: usize,
    length: usize,
}

/// The hash of the [`WINDOW`] bytes of the target from some place on; none where fewer are left.
struct Rolling {
    hash: Option<u64>,
}

impl Rolling {
    fn at(target: &[u8], at: usize) -> Rolling {
        Rolling { hash: target[at..].first_chunk::<WINDOW>().map(|window| hash(window)) }
    }

    /// Moves on by one byte, to `at`.
    fn step(&mut self, target: &[u8], at: usize) {
        self.hash = match (self.hash, target.get(at + WINDOW - 1)) {
            (Some(hash), Some(&entering)) => Some(
                hash.wrapping_mul(MULTIPLIER)
                    .wrapping_add(digit(entering))
                    .wrapping_sub(digit(target[at - 1]).wrapping_mul(LEAVING)),
            ),
            _ => None,
        };
    }
}

fn hash(window: &[u8]) -> u64 {
    window.iter().fold(0u64, |hash, &byte| hash.wrapping_mul(MULTIPLIER).wrapping_add(digit(byte)))
}

/// Not 0 for the byte 0, or runs of zeros of different length would look alike to the upper bits.
fn digit(byte: u8) -> u64 {
    u64::from(byte) + 1
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8));
    let mut length = 0;
    for (x, y) in words {
        let x = u64::from_le_bytes(x.try_into().expect("because chunks have 8 bytes"));
        let y = u64::from_le_bytes(y.try_into().expect("because chunks have 8 bytes"));
        if x != y {
            return length + ((x ^ y).trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    length + a[length..].iter().zip(&b[length..]).take_while(|(x, y)| x == y).count()
}

fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count()
}

fn push_size(out: &mut Vec<u8>, mut size: usize) {
    while size >= 0x80 {
        out.push(size as u8 | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
}

fn push_insert(out: &mut Vec<u8>, bytes: &[u8]) {
    for piece in bytes.chunks(INSERT_MAX) {
        out.push(piece.len() as u8);
        out.extend_from_slice(piece);
    }
}

fn push_copies(out: &mut Vec<u8>, mut offset: usize, mut length: usize) {
    while length > 0 {
        let piece = length.min(COPY_MAX);
        push_copy(out, offset, piece);
        offset += piece;
        length -= piece;
    }
}

/// One copy: a command byte whose bits say which bytes of offset and length follow, since zeros do not.
fn push_copy(out: &mut Vec<u8>, offset: usize, length: usize) {
    let command = out.len();
    out.push(0x80);
    let offset = offset.to_le_bytes();
    // 0x10000 is written as no length at all.
    let length = (length & 0xffff).to_le_bytes();
    for (bit, byte) in offset[..4].iter().chain(&length[..2]).enumerate() {
        if *byte != 0 {
            out[command] |= 1 << bit;
            out.push(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::delta::{apply, sizes};

    /// The delta is right; its length.
    fn check(base: &[u8], target: &[u8]) -> usize {
        let mut delta = Vec::new();
        assert!(Index::new(base).encode(target, usize::MAX, &mut delta));
        assert_eq!(sizes(&delta), Ok((base.len() as u64, target.len() as u64)));
        let mut out = Vec::new();
        apply(base, &delta, &mut out, target.len() as u64).unwrap();
        assert!(out == target, "{} -> {} bytes", base.len(), target.len());
        delta.len()
    }

    /// Bytes without structure, the same for every run.
    fn noise(length: usize, mut seed: u64) -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn edge_sizes() {
        for base in [0, 1, 15, 16, 17, 0x10000, 0x10001] {
            for target in [0, 1, 15, 16, 17, 127, 128, 0x10000, 0x20001] {
                check(&noise(base, 1), &noise(target, 1));
                check(&noise(base, 1), &noise(target, 2));
            }
        }
    }

    #[test]
    fn equal_content_is_a_few_copies() {
        let data = noise(200_000, 3);
        assert!(check(&data, &data) < 30);
        assert!(check(&data[..40], &data[..40]) < 6);
    }

    #[test]
    fn edits_cost_what_they_change() {
        let base = noise(100_000, 4);
        let mut target = base.clone();
        target[50_000] ^= 1;
        assert!(check(&base, &target) < 30);
        target.splice(20_000..20_000, *b"an insertion");
        target.drain(70_000..70_100);
        assert!(check(&base, &target) < 60);
        let moved = [&base[60_000..], &base[..60_000]].concat();
        assert!(check(&base, &moved) < 40);
    }

    #[test]
    fn replaced_ids_do_not_hide_the_names_between_them() {
        let tree = |seed: u64| -> Vec<u8> {
            let entry = |i: u64| [format!("100644 file-{i:05}\0").as_bytes(), &noise(20, i + seed)].concat();
            (0..500).flat_map(entry).collect()
        };
        // 500 ids of 20 bytes, an insertion's and a copy's overhead for each.
        assert!(check(&tree(0), &tree(10_000)) < 500 * (20 + 1 + 4) + 20);
    }

    #[test]
    fn gives_up_at_the_limit() {
        let (base, target) = (noise(1000, 5), noise(1000, 6));
        let index = Index::new(&base);
        let mut out = Vec::new();
        assert!(!index.encode(&target, 500, &mut out));
        assert!(out.len() <= 500);
        let exact = check(&base, &target);
        assert!(index.encode(&target, exact, &mut out));
        assert!(!index.encode(&target, exact - 1, &mut out));
        assert_eq!(delta_entry(&base, &target), None);
        assert!(delta_entry(&base, &base).is_some());
    }

    #[test]
    fn repetitive_content_stays_linear() {
        let zeros = vec![0; 1 << 20];
        let period = b"0123456789abcdefg".repeat(60_000);
        // The same block again and again, between noise: one full bucket.
        let block: Vec<u8> = (0..30_000).flat_map(|i| [&[b'x'; 32][..], &noise(8, i)].concat()).collect();
        let other: Vec<u8> = (0..30_000).flat_map(|i| [&[b'x'; 32][..], &noise(8, !i)].concat()).collect();
        let start = Instant::now();
        for base in [&zeros, &period, &block] {
            for target in [&zeros, &period, &block, &other] {
                check(base, target);
            }
        }
        assert!(start.elapsed().as_secs() < 60, "took {:?}", start.elapsed());
    }

    #[test]
    fn random_edits_round_trip() {
        for seed in 0..300 {
            let mut dice = noise(64, seed).into_iter().map(usize::from);
            let mut roll = || dice.next().unwrap_or(7) << 8 | dice.next().unwrap_or(7);
            // Few different bytes, so that false matches abound.
            let base: Vec<u8> = noise(roll() / 4, seed + 1).iter().map(|byte| byte & 3).collect();
            let mut target = base.clone();
            for _ in 0..roll() % 8 {
                let start = roll() % (target.len() + 1);
                let end = (start + roll() % 100).min(target.len());
                target.splice(start..end, noise(roll() % 200, seed + 2));
            }
            check(&base, &target);
        }
    }
}
