//! What there is only so much of, shared fairly: nobody gets more than half of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use database::UserId;

/// So many units for all.
#[derive(Clone)]
pub struct Shares {
    max: usize,
    /// By user; the sum is what is taken.
    taken: Arc<Mutex<HashMap<Option<UserId>, usize>>>,
}

/// Some units of it, given back when this is dropped.
pub struct Share {
    shares: Shares,
    of: Option<UserId>,
    units: usize,
}

impl Shares {
    pub fn new(max: usize) -> Shares {
        Shares { max, taken: Arc::default() }
    }

    /// What one user may hold: with one token nobody shuts the others out.
    pub fn of_one(max: usize) -> usize {
        max.div_ceil(2)
    }

    /// `None` if so much is not left, for this user or at all.
    pub fn take(&self, of: Option<UserId>, units: usize) -> Option<Share> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let mine = taken.get(&of).copied().unwrap_or(0);
        if all + units > self.max || mine + units > Shares::of_one(self.max) {
            return None;
        }
        taken.insert(of, mine + units);
        Some(Share { shares: self.clone(), of, units })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = taken.get(&self.of).map_or(0, |mine| mine - self.units);
        match left {
            0 => drop(taken.remove(&self.of)),
            left => drop(taken.insert(self.of, left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_half_and_what_is_given_back_is_there_again() {
        let shares = Shares::new(5);
        let [one, two, three] = [1, 2, 3].map(|id| Some(UserId(id)));
        let first = shares.take(one, 2).unwrap();
        let second = shares.take(one, 1).unwrap();
        assert!(shares.take(one, 1).is_none(), "half of it, rounded up");
        let third = shares.take(two, 2).unwrap();
        assert!(shares.take(three, 1).is_none(), "all is taken");
        drop(first);
        assert!(shares.take(three, 3).is_none());
        let fourth = shares.take(three, 2).unwrap();
        drop((second, third, fourth));
        assert!(shares.taken.lock().unwrap().is_empty(), "nothing is remembered of who is gone");
    }
}
