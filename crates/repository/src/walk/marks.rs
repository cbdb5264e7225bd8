//! Sets of objects as bits.

use crate::Snapshot;
use crate::snapshot::Location;

/// Numbers the objects of a snapshot, pack after pack. An object that lies in several packs has one number: that of
/// the place where [`Snapshot::locate`] finds it.
#[derive(Clone, Debug)]
pub(crate) struct Numbering {
    /// The number of each pack's first object.
    starts: Vec<usize>,
}

impl Numbering {
    pub(crate) fn new(snapshot: &Snapshot) -> Numbering {
        let starts = snapshot.packs().iter().scan(0, |next, pack| {
            let start = *next;
            *next += pack.objects() as usize;
            Some(start)
        });
        Numbering { starts: starts.collect() }
    }

    /// `location` must come from the snapshot that is numbered.
    pub(crate) fn number(&self, location: Location) -> usize {
        self.starts[location.pack as usize] + location.index as usize
    }
}

/// A set of numbers, one bit each; grows with the largest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    words: Vec<u64>,
}

impl Marks {
    /// Whether it was not there before.
    pub(crate) fn insert(&mut self, number: usize) -> bool {
        let (word, bit) = (number / 64, 1 << (number % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        fresh
    }

    pub(crate) fn remove(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    pub(crate) fn ranks(&self) -> Ranks<'_> {
        let before = self.words.iter().scan(0u32, |sum, word| {
            let before = *sum;
            *sum += word.count_ones();
            Some(before)
        });
        Ranks { marks: self, before: before.collect() }
    }
}

/// Numbers the members of a set from 0, so that a table of them needs no room for the others.
pub(crate) struct Ranks<'m> {
    marks: &'m Marks,
    /// Members in the words before each word.
    before: Vec<u32>,
}

impl Ranks<'_> {
    pub(crate) fn rank(&self, number: usize) -> Option<usize> {
        if !self.marks.contains(number) {
            return None;
        }
        let word = number / 64;
        let below = self.marks.words[word] & ((1 << (number % 64)) - 1);
        Some((self.before[word] + below.count_ones()) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_the_members_below() {
        let mut marks = Marks::default();
        let members = [0, 1, 63, 64, 200, 1000];
        for number in members {
            assert!(marks.insert(number));
            assert!(!marks.insert(number));
        }
        marks.insert(65);
        marks.remove(65);
        marks.remove(9999);
        let ranks = marks.ranks();
        for (rank, number) in members.into_iter().enumerate() {
            assert_eq!(ranks.rank(number), Some(rank));
        }
        for absent in [2, 65, 199, 1001, 5000] {
            assert!(!marks.contains(absent));
            assert_eq!(ranks.rank(absent), None);
        }
    }
}
