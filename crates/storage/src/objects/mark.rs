//! Which store this is. Names do not say: an empty mount point has the path of the NAS that is not mounted, and another
//! server may have a bucket of the same name. Whoever took it for ours would find nothing there and believe that.
//!
//! So a store is marked when it is first used: under [`MARK`] it holds an id that our rows hold too. What is missing in
//! a store counts as missing, and what is written there as stored, only if its mark was read within the last minute.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use ulid::Ulid;

use super::StoreError;
use crate::Disk;

/// The key, and in a directory the name of the file. No object has such a key.
pub(crate) const MARK: &str = "granary-store";
/// What is longer is no mark.
pub(crate) const MARK_BYTES_MAX: usize = 1024;
/// How long a mark that was read counts.
const CONFIRMED_FOR: Duration = Duration::from_secs(60);
/// A store that is away is not asked for each request anew.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// Of one store, and of the copies that follow it when it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreId(Ulid);

/// What a store has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is. For the data directory, whose rows lie beside its objects, and for whoever follows a move.
    Any,
    /// Not used before: it is given this mark when it is first reached, unless it bears another one.
    New(StoreId),
    /// It bears this mark.
    Known(StoreId),
}

/// Where a mark can be.
pub(crate) trait Marked {
    /// `None` if there is none.
    fn read_mark(&self) -> impl Future<Output = Result<Option<StoreId>, StoreError>> + Send;
    fn write_mark(&self, id: StoreId) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Why a store is not to be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Mistaken {
    #[error(
        "it has no {MARK}, so it is not the store that this hub knows: is it mounted, is it the right server? \
         If the objects were copied there without it, run `granary lfs moved`"
    )]
    Unmarked,
    #[error(
        "its {MARK} says {found}, so it is the store of another hub (ours is {expected}). If it is to be this hub's \
         from now on, run `granary lfs moved`"
    )]
    Other { found: StoreId, expected: StoreId },
    #[error("its {MARK} cannot be read: {0}")]
    Unreadable(#[from] StoreError),
}

/// What is expected of a store, and what was last seen.
pub(crate) struct Identity {
    state: Mutex<State>,
    /// One at a time asks.
    asking: tokio::sync::Mutex<()>,
}

struct State {
    expected: Expected,
    /// When it was last asked, and if that failed, why.
    asked: Option<(Instant, Result<(), String>)>,
    /// By its mark, when that was last read. `None`: it never was.
    is_ours: Option<bool>,
}

impl StoreId {
    pub fn random() -> StoreId {
        StoreId(Ulid::new())
    }

    /// As it is stored.
    pub(crate) fn mark(self) -> Bytes {
        format!(
            "{self}\nLarge objects of a Granary hub are here. Keep this file, and copy it along with them.\n"
        )
        .into()
    }

    pub(crate) fn of_mark(bytes: &[u8]) -> Result<StoreId, StoreError> {
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let text = str::from_utf8(first).unwrap_or_default();
        text.trim().parse().map_err(|_| StoreError::unavailable("it does not begin with an id"))
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string().to_lowercase())
    }
}

impl FromStr for StoreId {
    type Err = ulid::DecodeError;

    fn from_str(text: &str) -> Result<StoreId, ulid::DecodeError> {
        text.parse().map(StoreId)
    }
}

impl TryFrom<String> for StoreId {
    type Error = ulid::DecodeError;

    fn try_from(text: String) -> Result<StoreId, ulid::DecodeError> {
        text.parse()
    }
}

impl From<StoreId> for String {
    fn from(id: StoreId) -> String {
        id.to_string()
    }
}

impl Identity {
    pub(crate) fn new(expected: Expected) -> Identity {
        Identity { state: Mutex::new(State::new(expected)), asking: tokio::sync::Mutex::default() }
    }

    pub(crate) fn expect(&self, expected: Expected) {
        *self.state() = State::new(expected);
    }

    /// Asks `store` for its mark, unless that was done within the last minute.
    pub(crate) async fn confirm(&self, store: &impl Marked) -> Result<(), StoreError> {
        if let Some(seen) = self.seen() {
            return seen;
        }
        let _one = self.asking.lock().await;
        if let Some(seen) = self.seen() {
            return seen;
        }
        let expected = self.state().expected;
        let asked = ask(expected, store).await;
        let mut state = self.state();
        if state.expected == expected {
            state.note(&asked);
        }
        asked.map_err(StoreError::unavailable)
    }

    /// For what does nothing to the store by itself and is confirmed before it counts, such as signing. Refuses a store
    /// that was found to be another, and a new one that was not reached yet; a known one that does not answer is taken
    /// for what it was. Asks a store that was confirmed nothing.
    pub(crate) async fn allow(&self, store: &impl Marked) -> Result<(), StoreError> {
        let is_ours = self.state().is_ours;
        let confirmed = match is_ours {
            Some(true) => return Ok(()),
            None if self.is_silent() => return Ok(()),
            Some(false) | None => self.confirm(store).await,
        };
        if confirmed.is_err() && self.is_silent() { Ok(()) } else { confirmed }
    }

    /// It is known, but did not answer yet.
    fn is_silent(&self) -> bool {
        let state = self.state();
        matches!(state.expected, Expected::Known(_)) && state.asked.is_some() && state.is_ours.is_none()
    }

    /// What was found out lately.
    fn seen(&self) -> Option<Result<(), StoreError>> {
        let state = self.state();
        if state.expected == Expected::Any {
            return Some(Ok(()));
        }
        let (at, seen) = state.asked.as_ref()?;
        let counts_for = if seen.is_ok() { CONFIRMED_FOR } else { FAILED_FOR };
        (at.elapsed() < counts_for).then(|| seen.clone().map_err(StoreError::unavailable))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(expected: Expected) -> State {
        State { expected, asked: None, is_ours: None }
    }

    fn note(&mut self, asked: &Result<(), Mistaken>) {
        match asked {
            Ok(()) => {
                self.is_ours = Some(true);
                // It is not to be marked again, should the mark be gone one day.
                if let Expected::New(id) = self.expected {
                    self.expected = Expected::Known(id);
                }
            }
            Err(Mistaken::Unreadable(_)) => {}
            Err(Mistaken::Unmarked | Mistaken::Other { .. }) => self.is_ours = Some(false),
        }
        let asked = asked.as_ref().map(drop).map_err(ToString::to_string);
        self.asked = Some((Instant::now(), asked));
    }
}

async fn ask(expected: Expected, store: &impl Marked) -> Result<(), Mistaken> {
    let mut found = store.read_mark().await?;
    if let (Expected::New(id), None) = (expected, found) {
        store.write_mark(id).await?;
        // Another hub may have done so in this moment, or the store may have lost it.
        found = store.read_mark().await?;
    }
    compare(expected, found)
}

/// Whether a store that bears `found` is what it is expected to be.
pub(crate) fn compare(expected: Expected, found: Option<StoreId>) -> Result<(), Mistaken> {
    match (expected, found) {
        (Expected::Any, _) => Ok(()),
        (Expected::New(expected) | Expected::Known(expected), Some(found)) if found != expected => {
            Err(Mistaken::Other { found, expected })
        }
        (Expected::New(_) | Expected::Known(_), Some(_)) => Ok(()),
        (Expected::New(_) | Expected::Known(_), None) => Err(Mistaken::Unmarked),
    }
}

/// The mark of a directory.
pub(crate) fn read_file(root: &std::path::Path) -> Result<Option<StoreId>, StoreError> {
    let file = match File::open(root.join(MARK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(MARK_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    StoreId::of_mark(&bytes).map(Some)
}

/// Marks a directory that has no mark.
pub(crate) fn write_file(disk: &Disk, id: StoreId) -> Result<(), StoreError> {
    let mut file = disk.temp_file()?;
    file.write_all(&id.mark())?;
    Ok(disk.publish(file, MARK)?)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    /// Holds a mark, or none, or cannot be reached.
    #[derive(Default)]
    struct Store {
        mark: Mutex<Option<StoreId>>,
        is_away: Mutex<bool>,
        asked: AtomicUsize,
    }

    impl Marked for Store {
        async fn read_mark(&self) -> Result<Option<StoreId>, StoreError> {
            self.asked.fetch_add(1, Relaxed);
            match *self.is_away.lock().unwrap() {
                true => Err(StoreError::unavailable("connection refused")),
                false => Ok(*self.mark.lock().unwrap()),
            }
        }

        async fn write_mark(&self, id: StoreId) -> Result<(), StoreError> {
            *self.mark.lock().unwrap() = Some(id);
            Ok(())
        }
    }

    fn words(confirmed: Result<(), StoreError>) -> String {
        match confirmed {
            Err(error @ StoreError::Unavailable(_)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_store_is_marked_once_and_known_from_then_on() {
        let (store, id) = (Store::default(), StoreId::random());
        let identity = Identity::new(Expected::New(id));
        identity.confirm(&store).await.unwrap();
        assert_eq!(*store.mark.lock().unwrap(), Some(id));
        *store.mark.lock().unwrap() = None;
        tokio::time::advance(CONFIRMED_FOR).await;
        let refused = words(identity.confirm(&store).await);
        assert!(refused.contains("is it mounted") && refused.contains("granary lfs moved"), "{refused}");
        assert_eq!(*store.mark.lock().unwrap(), None, "not marked again");
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_of_another_hub_is_not_taken() {
        let (store, id, other) = (Store::default(), StoreId::random(), StoreId::random());
        *store.mark.lock().unwrap() = Some(other);
        for expected in [Expected::New(id), Expected::Known(id)] {
            let refused = words(Identity::new(expected).confirm(&store).await);
            assert!(refused.contains(&other.to_string()) && refused.contains(&id.to_string()), "{refused}");
        }
        Identity::new(Expected::Any).confirm(&store).await.unwrap();
        assert_eq!(*store.mark.lock().unwrap(), Some(other));
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirmation_counts_for_a_minute_and_a_failure_for_a_second() {
        let (store, id) = (Store::default(), StoreId::random());
        *store.mark.lock().unwrap() = Some(id);
        let identity = Identity::new(Expected::Known(id));
        for _ in 0..3 {
            identity.confirm(&store).await.unwrap();
        }
        assert_eq!(store.asked.load(Relaxed), 1);
        *store.is_away.lock().unwrap() = true;
        tokio::time::advance(CONFIRMED_FOR - Duration::from_millis(1)).await;
        identity.confirm(&store).await.unwrap();
        tokio::time::advance(Duration::from_millis(1)).await;
        for _ in 0..3 {
            assert!(words(identity.confirm(&store).await).contains("connection refused"));
        }
        assert_eq!(store.asked.load(Relaxed), 2);
        identity.allow(&store).await.unwrap();
        tokio::time::advance(FAILED_FOR).await;
        *store.is_away.lock().unwrap() = false;
        identity.confirm(&store).await.unwrap();
        assert_eq!(store.asked.load(Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_ours_once_is_not_if_it_turns_out_to_be_another() {
        let (store, id) = (Store::default(), StoreId::random());
        *store.mark.lock().unwrap() = Some(id);
        let identity = Identity::new(Expected::Known(id));
        identity.allow(&store).await.unwrap();
        *store.mark.lock().unwrap() = Some(StoreId::random());
        tokio::time::advance(CONFIRMED_FOR).await;
        identity.allow(&store).await.unwrap();
        assert!(words(identity.confirm(&store).await).contains("another hub"));
        assert!(words(identity.allow(&store).await).contains("another hub"));
        *store.is_away.lock().unwrap() = true;
        tokio::time::advance(CONFIRMED_FOR).await;
        assert!(
            words(identity.allow(&store).await).contains("connection refused"),
            "it was another when it was last seen"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_known_store_that_is_away_is_signed_for_and_a_new_one_is_not() {
        let (store, id) = (Store::default(), StoreId::random());
        *store.is_away.lock().unwrap() = true;
        let known = Identity::new(Expected::Known(id));
        for _ in 0..3 {
            known.allow(&store).await.unwrap();
            tokio::time::advance(CONFIRMED_FOR).await;
        }
        assert_eq!(store.asked.load(Relaxed), 1, "batches do not wait for it");
        assert!(words(known.confirm(&store).await).contains("connection refused"));
        let new = Identity::new(Expected::New(id));
        assert!(words(new.allow(&store).await).contains("connection refused"));
        *store.is_away.lock().unwrap() = false;
        tokio::time::advance(CONFIRMED_FOR).await;
        assert!(words(known.confirm(&store).await).contains("is it mounted"));
        assert!(words(known.allow(&store).await).contains("is it mounted"));
        new.allow(&store).await.unwrap();
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let id = StoreId::random();
        assert_eq!(StoreId::of_mark(&id.mark()).unwrap(), id);
        assert!(id.mark().len() <= MARK_BYTES_MAX);
        for strange in [&b""[..], b"\n", b"hello\n", b"\xff\xfe", &[b'0'; 2000]] {
            assert!(StoreId::of_mark(strange).is_err(), "{strange:?}");
        }
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<StoreId>(&text).unwrap(), id);
        assert!(serde_json::from_str::<StoreId>("\"x\"").is_err());
    }
}
