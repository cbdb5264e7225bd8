//! Turns at reading back: few at once, and fair between those who uploaded, however much one of them has to prove.
//!
//! A shard of a few bytes can name terabytes, by the same chunks again and again, and each of them is hashed. So a turn is
//! for a part of a file only; whoever has had least goes next, and of each the file that was begun before those that were
//! not.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use database::UserId;
use tokio::sync::oneshot;

/// Whom a turn counts for.
type Who = Option<UserId>;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lane(Arc<Mutex<State>>);

struct State {
    free: usize,
    /// Where the last turn began, in bytes that all who wait have had alike.
    now: u64,
    queues: HashMap<Who, Queue>,
    /// Of the next queue that is made.
    number: u64,
}

struct Queue {
    /// What it has had, on the scale of `now`.
    had: u64,
    number: u64,
    waiting: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

/// The right to read so many bytes; dropped, the next one has it.
pub(crate) struct Turn {
    /// `None`: given on.
    lane: Option<Lane>,
    who: Who,
}

impl Lane {
    pub(crate) fn new(at_once: usize) -> Lane {
        Lane(Arc::new(Mutex::new(State { free: at_once, now: 0, queues: HashMap::new(), number: 0 })))
    }

    /// Waits for a turn to read `bytes`.
    pub(crate) async fn take(&self, who: Who, bytes: u64) -> Turn {
        let (sender, turn) = oneshot::channel();
        self.state().queue(who).waiting.push_back((bytes, sender));
        self.give();
        turn.await.expect("because a queue is kept as long as somebody waits in it")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As many turns as are free.
    fn give(&self) {
        loop {
            let Some((who, sender)) = self.state().next() else { return };
            // Who is gone does not take it. Not under the lock: a turn takes that when it is dropped.
            if let Err(mut turn) = sender.send(Turn { lane: Some(self.clone()), who }) {
                turn.lane = None;
                self.state().free += 1;
            }
        }
    }
}

impl Turn {
    /// Gives it back and waits for another, before all others of the same uploader.
    pub(crate) async fn renew(mut self, bytes: u64) -> Turn {
        let Some(lane) = self.lane.take() else { return self };
        let (sender, turn) = oneshot::channel();
        {
            let mut state = lane.state();
            state.queue(self.who).waiting.push_front((bytes, sender));
            state.free += 1;
        }
        lane.give();
        turn.await.expect("because a queue is kept as long as somebody waits in it")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            lane.state().free += 1;
            lane.give();
        }
    }
}

impl State {
    fn queue(&mut self, who: Who) -> &mut Queue {
        let (now, number) = (self.now, self.number);
        self.number += 1;
        self.queues.entry(who).or_insert_with(|| Queue { had: now, number, waiting: VecDeque::new() })
    }

    /// Whoever has had least, and of those who have had the same the one that came first.
    fn next(&mut self) -> Option<(Who, oneshot::Sender<Turn>)> {
        let now = self.now;
        // Having had less while nobody else came is no reason to go first for long.
        self.queues.retain(|_, queue| !queue.waiting.is_empty() || queue.had > now);
        if self.free == 0 {
            return None;
        }
        let waiting = self.queues.iter_mut().filter(|(_, queue)| !queue.waiting.is_empty());
        let (who, queue) = waiting.min_by_key(|(_, queue)| (queue.had.max(now), queue.number))?;
        let (bytes, sender) = queue.waiting.pop_front()?;
        self.free -= 1;
        self.now = queue.had.max(now);
        queue.had = self.now.saturating_add(bytes);
        Some((*who, sender))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Who = Some(UserId(1));
    const B: Who = Some(UserId(2));

    /// Waits in the background; says who got a turn, and gives it back.
    fn wait(lane: &Lane, who: Who, bytes: u64, seen: &Arc<Mutex<Vec<Who>>>) -> tokio::task::JoinHandle<()> {
        let (lane, seen) = (lane.clone(), Arc::clone(seen));
        tokio::spawn(async move {
            let _turn = lane.take(who, bytes).await;
            seen.lock().unwrap().push(who);
        })
    }

    #[tokio::test]
    async fn who_has_had_least_goes_next() {
        let (lane, seen) = (Lane::new(1), Arc::default());
        let held = lane.take(A, 100).await;
        let mut waiting = Vec::new();
        for (who, bytes) in [(A, 100), (A, 100), (B, 60), (B, 60), (B, 60)] {
            waiting.push(wait(&lane, who, bytes, &seen));
            tokio::task::yield_now().await;
        }
        drop(held);
        for waiting in waiting {
            waiting.await.unwrap();
        }
        assert_eq!(*seen.lock().unwrap(), [B, B, A, B, A]);
        assert_eq!(lane.state().free, 1);
    }

    #[tokio::test]
    async fn what_was_begun_goes_on_before_what_was_not() {
        let (lane, seen) = (Lane::new(1), Arc::default());
        let mut turn = lane.take(A, 10).await;
        let (late, other) = (wait(&lane, A, 10, &seen), wait(&lane, B, 10, &seen));
        tokio::task::yield_now().await;
        turn = turn.renew(10).await;
        assert_eq!(*seen.lock().unwrap(), [B], "the other one has had nothing");
        turn = turn.renew(10).await;
        assert!(!late.is_finished());
        drop(turn);
        late.await.unwrap();
        other.await.unwrap();
    }

    #[tokio::test]
    async fn who_left_keeps_nobody() {
        let (lane, seen) = (Lane::new(1), Arc::default());
        let held = lane.take(A, 1).await;
        let gone = wait(&lane, A, 1, &seen);
        tokio::task::yield_now().await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        drop(held);
        drop(lane.take(B, 1).await);
        assert!(seen.lock().unwrap().is_empty());
        let state = lane.state();
        assert!(state.free == 1 && state.queues.values().all(|queue| queue.waiting.is_empty()));
    }
}
