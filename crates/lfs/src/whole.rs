//! Files in xorbs that are read often by clients that know no xorbs: in a bucket, all their bytes are stored as one object
//! besides, and those clients are sent there.
//!
//! What was read is counted in memory, of a bounded number of files, so that no read costs a write. The xorbs stay what the
//! file is made of: the copy counts against no quota, is in no backup, and goes with the file.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use database::fault::{self, Point};
use database::{BackingId, DbError, Proof, Sha256, object_key};
use storage::StoreError;
use tokio::sync::Semaphore;

use crate::Objects;
use crate::counters::count;
use crate::download::InXorbs;

/// Files of which it is known how much was read.
const COUNTED_MAX: usize = 4096;
/// Copies that are made or wait; others have to be asked for again.
const WAITING_MAX: usize = 64;

pub(crate) struct Wholes {
    state: Mutex<State>,
    /// One copy at a time: it is worth having, and nobody waits for it.
    turn: Semaphore,
}

#[derive(Default)]
struct State {
    /// Bytes.
    read: HashMap<BackingId, u64>,
    /// In which they were first read.
    order: VecDeque<BackingId>,
    made: HashSet<BackingId>,
}

impl Default for Wholes {
    fn default() -> Wholes {
        Wholes { state: Mutex::default(), turn: Semaphore::new(1) }
    }
}

impl Wholes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_made(&self, backing: BackingId) -> bool {
        self.state().made.contains(&backing)
    }
}

impl State {
    /// Whether so much was read by now.
    fn note(&mut self, backing: BackingId, len: u64, enough: u64) -> bool {
        if self.made.contains(&backing) {
            return false;
        }
        if !self.read.contains_key(&backing) {
            if self.order.len() >= COUNTED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.read.remove(&oldest);
            }
            self.order.push_back(backing);
        }
        let read = self.read.entry(backing).or_default();
        *read = read.saturating_add(len);
        *read >= enough
    }

    /// Counting begins anew. False if too many are waited for already.
    fn begin(&mut self, backing: BackingId) -> bool {
        self.read.remove(&backing);
        self.order.retain(|counted| *counted != backing);
        self.made.len() < WAITING_MAX && self.made.insert(backing)
    }
}

impl Objects {
    /// So many bytes of a file were asked for. Makes a copy of it when that was enough.
    pub(crate) fn note_read(&self, of: InXorbs, sha256: Sha256, size: u64, len: u64) {
        let times = u64::from(self.0.config.whole_after);
        if times == 0 || of.proof != Proof::Verified || self.0.store.bucket().is_none() {
            return;
        }
        {
            let mut state = self.0.wholes.state();
            if !state.note(of.backing, len, size.saturating_mul(times)) || !state.begin(of.backing) {
                return;
            }
        }
        let objects = self.clone();
        tokio::spawn(async move {
            let task = objects.clone();
            // On a task of its own, so that a panic does not keep it from being tried again.
            let made = tokio::spawn(async move {
                let _turn = task.0.wholes.turn.acquire().await.expect("because it is never closed");
                task.make_whole(of, sha256, size).await
            });
            let made = made.await;
            objects.0.wholes.state().made.remove(&of.backing);
            match made {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(
                    backing = of.backing.0, %error, "a file that is read often could not be stored as one object"
                ),
                Err(error) => {
                    tracing::error!(backing = of.backing.0, %error, "the copy of a file ended abnormally")
                }
            }
        });
    }

    async fn make_whole(&self, of: InXorbs, sha256: Sha256, size: u64) -> Result<(), StoreError> {
        let db = |error: DbError| StoreError::Io(std::io::Error::other(error));
        let database = &self.0.database;
        let Some(upload) = database.stage_whole(of.backing).await.map_err(db)? else { return Ok(()) };
        fault::point(Point::XetWholeStaged);
        match self.write_whole(of, &object_key(&sha256, upload), sha256, size).await {
            Ok(()) => {
                fault::point(Point::XetWholeDurable);
                if database.publish_whole(upload).await.map_err(db)? {
                    count(&self.0.counters.wholes_made, 1);
                }
                Ok(())
            }
            Err(error) => {
                // If this fails, the sweep does it once the row is old.
                database.give_up_whole(upload).await.map_err(db)?;
                Err(error)
            }
        }
    }

    async fn write_whole(&self, of: InXorbs, key: &str, sha256: Sha256, size: u64) -> Result<(), StoreError> {
        let mut stream = self.0.xet.stream_file(of.file, 0..size).await.map_err(StoreError::from)?;
        let mut writer = self.0.store.writer(key, size).await?;
        while let Some(piece) = stream.next().await? {
            writer.write(piece).await?;
        }
        let complete = writer.finish().await?;
        if complete.size() != size || complete.sha256() != Some(sha256) {
            let why = "its chunks make up other bytes than were proven; run 'granary fsck'";
            return Err(StoreError::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, why)));
        }
        complete.publish().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_bounded() {
        let mut state = State::default();
        let id = |n: usize| BackingId(n as i64);
        assert!(!state.note(id(0), 99, 100) && state.note(id(0), 1, 100));
        for n in 1..=COUNTED_MAX {
            assert!(!state.note(id(n), 99, 100));
        }
        assert_eq!((state.read.len(), state.order.len()), (COUNTED_MAX, COUNTED_MAX));
        assert!(!state.note(id(0), 99, 100), "the oldest is forgotten");
        for n in 1..=WAITING_MAX {
            assert!(state.begin(id(n)), "{n}");
            assert!(!state.note(id(n), 1000, 100), "it is on its way");
        }
        assert!(!state.begin(id(0)), "too many at once");
        assert_eq!(state.read.len(), state.order.len());
    }
}
