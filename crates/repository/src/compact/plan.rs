//! Which packs to make one of, and when.

use database::PackId;

use super::Level;
use crate::Snapshot;

/// When a repository is due, in numbers. Sizes are of whole pack blobs.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// So many packs are due without waiting for silence.
    pub packs_max: usize,
    /// After a compaction each pack has at least this many times the bytes of all smaller ones.
    pub ratio: u64,
    /// A pack of this size is left alone, but for garbage collections.
    pub frozen_bytes: u64,
    /// A resting repository of this size becomes one pack that is exactly the closure of its refs.
    pub whole_bytes: u64,
    /// More than this at once is only copied, without searching deltas.
    pub search_bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            packs_max: 32,
            ratio: 2,
            frozen_bytes: 512 << 20,
            whole_bytes: 32 << 20,
            search_bytes: 256 << 20,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The repository has just changed.
    Busy,
    /// Nothing has changed for a while.
    Idle,
}

/// What to compact; valid for the snapshot it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// To be replaced.
    pub packs: Vec<PackId>,
    pub level: Level,
    /// They are all the packs there are, and the result shall be the closure of the refs.
    pub whole: bool,
}

/// `None` if the packs are in order, or not so much out of order that it cannot wait.
pub fn plan(s: &Snapshot, trigger: Trigger, policy: &Policy) -> Option<Plan> {
    if trigger == Trigger::Busy && s.packs().len() < policy.packs_max {
        return None;
    }
    let sizes: Vec<u64> = s.packs().iter().map(|pack| pack.blob().len() as u64).collect();
    let total: u64 = sizes.iter().sum();
    let ids = |places: &[usize]| places.iter().map(|&place| s.packs()[place].id()).collect();
    // What is rewritten whole while pushes go on is rewritten again soon.
    if trigger == Trigger::Idle && total <= policy.whole_bytes {
        let all: Vec<_> = (0..sizes.len()).collect();
        return (!is_settled(s)).then(|| Plan { packs: ids(&all), level: Level::Repack, whole: true });
    }
    let places = geometric(&sizes, policy)?;
    let bytes: u64 = places.iter().map(|&place| sizes[place]).sum();
    let level = if bytes <= policy.search_bytes { Level::Repack } else { Level::Concatenate };
    Some(Plan { packs: ids(&places), level, whole: false })
}

/// One pack that is the closure of the refs as they are now, and at most one more for what they do not reach.
fn is_settled(s: &Snapshot) -> bool {
    let is_closure = |pack: &crate::Pack| pack.is_closure() && pack.added_generation() == s.generation();
    match s.packs() {
        [] => true,
        [only] => is_closure(only) || s.refs().is_empty(),
        [one, other] => is_closure(one) || is_closure(other),
        _ => false,
    }
}

/// The fewest small packs that must become one so that the sizes are a geometric series again.
fn geometric(sizes: &[u64], policy: &Policy) -> Option<Vec<usize>> {
    let mut places: Vec<_> = (0..sizes.len()).filter(|&place| sizes[place] < policy.frozen_bytes).collect();
    places.sort_by_key(|&place| sizes[place]);
    let too_small = |place: usize, below: u64| sizes[place] < below.saturating_mul(policy.ratio);
    // Every pack up to the last that is not large enough for its neighbour; then those that are not for the new one.
    let mut count = (1..places.len()).rev().find(|&at| too_small(places[at], sizes[places[at - 1]]))? + 1;
    let mut sum: u64 = places[..count].iter().map(|&place| sizes[place]).sum();
    while count < places.len() && too_small(places[count], sum) {
        sum += sizes[places[count]];
        count += 1;
    }
    places.truncate(count);
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_suffix_restores_the_series() {
        let policy = Policy { frozen_bytes: 1000, ..Policy::default() };
        let check = |sizes: &[u64], expected: Option<&[u64]>| {
            let found = geometric(sizes, &policy);
            let found = found.map(|places| places.iter().map(|&place| sizes[place]).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{sizes:?}");
        };
        check(&[], None);
        check(&[7], None);
        check(&[1, 2, 4, 8], None);
        check(&[8, 100, 3, 1], None);
        check(&[1, 1], Some(&[1, 1]));
        check(&[100, 1, 1], Some(&[1, 1]));
        check(&[100, 3, 1, 1], Some(&[1, 1, 3]));
        check(&[100, 60, 1], Some(&[1, 60, 100]));
        check(&[5000, 5000, 100], None);
        check(&[5000, 5000, 100, 100], Some(&[100, 100]));
    }
}
