//! Uploads in parts on the disk engine: each part is written where it belongs in one staging file.
//!
//! Which parts are there is known in memory only, so a restart forgets them (and empties staging). Parts that arrive in
//! order are hashed as they are written; whatever breaks the order makes the completion read the file again.
//!
//! The file becomes an object as it is, so nobody may write to it any more when it is hashed: it is taken only while no
//! [`Slot`] lives, and none is given out afterwards. A write holds its slot to its end, also if its client is gone.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use auth::transfer::{Grant, Operation, Part};
use auth::{Authorized, Propose};
use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use database::{Sha256, UploadId, UserId};
use storage::{StoreError, TempFile};
use tokio::runtime::Handle;

use crate::counters::count;
use crate::publish::{Arrival, Known, blocking};
use crate::{Objects, ReceiveError};
use auth::shares::{Share, Shares};

/// Gathered before it is written: what a slow upload holds.
const PIECE: usize = 256 * 1024;
/// Hashed in one go on a blocking thread.
const HASH_STEP: u64 = 64 << 20;
const HASH_BUFFER: usize = 1 << 20;
/// No part came for so long: its client has probably gone.
const RESTING_MS: i64 = 3600 * 1000;

/// The objects that are being put together.
pub(crate) struct Assemblies {
    max: usize,
    table: Mutex<HashMap<(UploadId, Sha256), Arc<Assembly>>>,
}

pub(crate) struct Assembly {
    by: Option<UserId>,
    size: u64,
    /// Of every part but the last, in bytes.
    chunk: u64,
    /// From then on no part is received, and the sweep forgets it.
    expires_ms: i64,
    /// When bytes last arrived.
    touched_ms: AtomicI64,
    /// `None` only while it is dropped.
    file: Option<File>,
    state: Mutex<State>,
    /// Held by the one that completes it.
    pub(crate) completing: tokio::sync::Mutex<()>,
}

struct State {
    /// `None` once it was taken to be published.
    staged: Option<TempFile>,
    parts: Vec<PartState>,
    /// Of the slots given out so far.
    slots: u64,
    /// Slots that live: each may write.
    writers: usize,
    /// The SHA-256 of the first `hashed` bytes.
    hasher: digest::Context,
    hashed: u64,
    /// How often it began anew.
    restarts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartState {
    Missing,
    /// By the slot of this number.
    Arriving(u64),
    Here,
}

/// A part that is arriving. Dropped, it is missing again.
pub struct ReceivingPart {
    objects: Objects,
    /// `None` if the object is here already: what arrives is counted and dropped.
    slot: Option<Arc<Slot>>,
    /// At most [`PIECE`] bytes.
    gathered: BytesMut,
    number: u32,
    bytes: u64,
    received: u64,
    _permit: Share,
}

/// The place of a part in its file. Its bytes may still be being written when their receiver is gone already.
struct Slot {
    assembly: Arc<Assembly>,
    /// By which its part is known to be its own: another may have taken the part over.
    number: u64,
    index: usize,
    offset: u64,
}

impl Assemblies {
    pub(crate) fn new(max: usize) -> Assemblies {
        Assemblies { max, table: Mutex::default() }
    }

    pub(crate) fn get(&self, arrival: &Arrival) -> Option<Arc<Assembly>> {
        self.lock().get(&(arrival.upload, arrival.sha256)).cloned()
    }

    pub(crate) fn forget(&self, arrival: &Arrival) {
        // Bound, so that it is dropped when the table is free again.
        let _forgotten = self.lock().remove(&(arrival.upload, arrival.sha256));
    }

    /// Forgets what can no longer be completed, and gives its disk space back.
    pub(crate) async fn forget_expired(&self, now_ms: i64) {
        let expired: Vec<_> = {
            let mut table = self.lock();
            table.extract_if(|_, assembly| assembly.expires_ms <= now_ms).map(|(_, of)| of).collect()
        };
        if !expired.is_empty() {
            blocking(move || expired.iter().for_each(|assembly| assembly.discard())).await;
        }
    }

    /// One more, unless another made it meanwhile. If there are too many, in all or of this user, it takes the place of
    /// one that rests.
    fn add(&self, arrival: &Arrival, new: Assembly, now_ms: i64) -> Result<Arc<Assembly>, ReceiveError> {
        let mut resting = None;
        let mut table = self.lock();
        let of = (arrival.upload, arrival.sha256);
        if !table.contains_key(&of) {
            let mine = table.values().filter(|assembly| assembly.by == new.by).count();
            let too_many_mine = mine >= Shares::of_one(self.max);
            if too_many_mine || table.len() >= self.max {
                let eligible = table.iter().filter(|(_, other)| !too_many_mine || other.by == new.by);
                let touched = |assembly: &Assembly| assembly.touched_ms.load(Ordering::Relaxed);
                let oldest = eligible.min_by_key(|(_, assembly)| touched(assembly));
                let oldest = oldest.filter(|(_, assembly)| touched(assembly) <= now_ms - RESTING_MS);
                let oldest = oldest.map(|(of, _)| *of).ok_or(ReceiveError::Busy)?;
                resting = table.remove(&oldest);
            }
        }
        let added = Arc::clone(table.entry(of).or_insert_with(|| Arc::new(new)));
        drop(table);
        drop(resting);
        Ok(added)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(UploadId, Sha256), Arc<Assembly>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Objects {
    pub async fn receive_part(
        &self,
        access: Authorized<Propose>,
        grant: &Grant,
    ) -> Result<ReceivingPart, ReceiveError> {
        let part = grant.part.filter(|_| grant.operation == Operation::Part).ok_or(ReceiveError::Grant)?;
        let arrival = Arrival::of(&access, grant)?;
        let offset = u64::from(part.number).saturating_sub(1).saturating_mul(part.size);
        let bytes = arrival.size.saturating_sub(offset).min(part.size);
        if part.number == 0 || bytes == 0 || self.0.store.local().is_none() {
            return Err(ReceiveError::Grant);
        }
        let permit = self.permit(&arrival)?;
        let slot = match self.known(&arrival)? {
            Known::Here => None,
            Known::Claimed(_) => return Err(ReceiveError::Closed),
            Known::Not => Some(self.slot(&arrival, part, offset).await?),
        };
        let gathered = BytesMut::new();
        let (objects, number) = (self.clone(), part.number);
        Ok(ReceivingPart { objects, slot, gathered, number, bytes, received: 0, _permit: permit })
    }

    async fn slot(&self, arrival: &Arrival, part: Part, offset: u64) -> Result<Arc<Slot>, ReceiveError> {
        let assembly = self.assembly(arrival, part).await?;
        assembly.touch(self.now_ms());
        Assembly::slot(assembly, part, offset)
    }

    async fn assembly(&self, arrival: &Arrival, part: Part) -> Result<Arc<Assembly>, ReceiveError> {
        let expires_ms = self.check_open(arrival)?;
        if let Some(assembly) = self.0.assemblies.get(arrival) {
            return Ok(assembly);
        }
        let Some(disk) = self.0.store.local().cloned() else { return Err(ReceiveError::Grant) };
        let staged = blocking(move || disk.temp_file()).await.map_err(StoreError::from)?;
        let assembly = Assembly::new(arrival, part.size, expires_ms, staged).map_err(StoreError::from)?;
        self.0.assemblies.add(arrival, assembly, self.now_ms())
    }
}

impl ReceivingPart {
    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.bytes - self.received
    }

    /// The next bytes, in any cut. After an error only the drop is left.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), ReceiveError> {
        count(&self.objects.0.counters.bytes_in, bytes.len() as u64);
        if bytes.len() as u64 > self.remaining() {
            return Err(ReceiveError::TooLong { size: self.bytes });
        }
        let Some(slot) = &self.slot else {
            self.received += bytes.len() as u64;
            return Ok(());
        };
        slot.assembly.touch(self.objects.now_ms());
        while !bytes.is_empty() {
            if self.gathered.capacity() == 0 {
                // All at once: a buffer that grows ends with room for twice as much.
                let expected = usize::try_from(self.remaining()).unwrap_or(PIECE);
                self.gathered = BytesMut::with_capacity(expected.min(PIECE));
            }
            let taken = bytes.split_to(bytes.len().min(PIECE - self.gathered.len()));
            self.gathered.extend_from_slice(&taken);
            self.received += taken.len() as u64;
            if self.gathered.len() == PIECE {
                self.write_out().await?;
            }
        }
        Ok(())
    }

    /// After the last byte. Gives the entity tag, which the client repeats at the completion.
    pub async fn finish(mut self) -> Result<String, ReceiveError> {
        if self.remaining() > 0 {
            return Err(ReceiveError::TooShort { received: self.received, size: self.bytes });
        }
        self.write_out().await?;
        if let Some(slot) = &self.slot {
            slot.arrived();
        }
        Ok(format!("\"part-{}\"", self.number))
    }

    async fn write_out(&mut self) -> Result<(), ReceiveError> {
        let Some(slot) = self.slot.clone().filter(|_| !self.gathered.is_empty()) else { return Ok(()) };
        let piece = std::mem::take(&mut self.gathered).freeze();
        let at = slot.offset + self.received - piece.len() as u64;
        blocking(move || slot.assembly.write(&piece, at)).await.map_err(StoreError::from)?;
        Ok(())
    }
}

impl Assembly {
    fn new(arrival: &Arrival, chunk: u64, expires_ms: i64, staged: TempFile) -> io::Result<Assembly> {
        let Arrival { by, size, .. } = *arrival;
        let file = staged.as_file().try_clone()?;
        let count = usize::try_from(size.div_ceil(chunk)).unwrap_or(usize::MAX);
        let state = State {
            staged: Some(staged),
            parts: vec![PartState::Missing; count],
            slots: 0,
            writers: 0,
            hasher: digest::Context::new(&digest::SHA256),
            hashed: 0,
            restarts: 0,
        };
        Ok(Assembly {
            by,
            size,
            chunk,
            expires_ms,
            touched_ms: AtomicI64::new(i64::MAX),
            file: Some(file),
            state: Mutex::new(state),
            completing: tokio::sync::Mutex::default(),
        })
    }

    fn touch(&self, now_ms: i64) {
        self.touched_ms.store(now_ms, Ordering::Relaxed);
    }

    fn slot(assembly: Arc<Assembly>, part: Part, offset: u64) -> Result<Arc<Slot>, ReceiveError> {
        if assembly.chunk != part.size {
            return Err(ReceiveError::Grant);
        }
        let index = part.number as usize - 1;
        let number = {
            let mut state = assembly.lock();
            if state.staged.is_none() {
                return Err(ReceiveError::Closed);
            }
            if matches!(state.parts[index], PartState::Arriving(_)) {
                return Err(ReceiveError::Busy);
            }
            state.slots += 1;
            state.writers += 1;
            state.parts[index] = PartState::Arriving(state.slots);
            if offset < state.hashed {
                // What was hashed there will be something else.
                (state.hasher, state.hashed) = (digest::Context::new(&digest::SHA256), 0);
                state.restarts += 1;
            }
            state.slots
        };
        Ok(Arc::new(Slot { assembly, number, index, offset }))
    }

    /// Blocking.
    fn write(&self, piece: &[u8], at: u64) -> io::Result<()> {
        self.file().write_all_at(piece, at)?;
        // Bytes that follow what is hashed belong to one part, which one connection brings.
        let mut state = self.lock();
        if state.hashed == at {
            let (mut hasher, restarts) = (state.hasher.clone(), state.restarts);
            drop(state);
            hasher.update(piece);
            state = self.lock();
            if (state.hashed, state.restarts) == (at, restarts) {
                (state.hasher, state.hashed) = (hasher, at + piece.len() as u64);
            }
        }
        Ok(())
    }

    /// What must be there before it can be completed, in words.
    pub(crate) fn check_complete(&self, numbers: &[u32]) -> Result<(), ReceiveError> {
        let state = self.lock();
        let missing = (1u32..).zip(&state.parts).filter(|(_, part)| **part != PartState::Here);
        check_numbers(numbers, state.parts.len(), missing.map(|(number, _)| number).collect())
    }

    /// The bytes, to be published. From here on no part is received.
    pub(crate) fn take(&self) -> Result<TempFile, ReceiveError> {
        let mut state = self.lock();
        if state.writers > 0 {
            return Err(ReceiveError::Busy);
        }
        state.staged.take().ok_or(ReceiveError::Closed)
    }

    /// Removes the file, also while bytes arrive for it. Blocking.
    fn discard(&self) {
        let staged = self.lock().staged.take();
        drop(staged);
    }

    fn file(&self) -> &File {
        self.file.as_ref().expect("because it is taken only by the drop")
    }

    /// The SHA-256 of the whole file.
    pub(crate) async fn sha256(self: &Arc<Self>) -> io::Result<Sha256> {
        loop {
            let assembly = Arc::clone(self);
            if let Some(sha256) = blocking(move || assembly.hash_on()).await? {
                return Ok(sha256);
            }
        }
    }

    /// Some more of it. Blocking.
    fn hash_on(&self) -> io::Result<Option<Sha256>> {
        let (mut hasher, mut hashed) = {
            let state = self.lock();
            (state.hasher.clone(), state.hashed)
        };
        let end = self.size.min(hashed + HASH_STEP);
        let mut buffer = vec![0; HASH_BUFFER.min((end - hashed) as usize)];
        while hashed < end {
            let take = buffer.len().min((end - hashed) as usize);
            self.file().read_exact_at(&mut buffer[..take], hashed)?;
            hasher.update(&buffer[..take]);
            hashed += take as u64;
        }
        if hashed == self.size {
            let digest = hasher.finish();
            return Ok(Some(Sha256(digest.as_ref().try_into().expect("because SHA-256 has 32 bytes"))));
        }
        let mut state = self.lock();
        (state.hasher, state.hashed) = (hasher, hashed);
        Ok(None)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To free what a large file occupied takes long.
impl Drop for Assembly {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let files = (state.staged.take(), self.file.take());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(files));
        }
    }
}

impl Slot {
    /// All bytes of the part are written.
    fn arrived(&self) {
        self.settle(PartState::Here);
    }

    fn settle(&self, as_state: PartState) {
        let mut state = self.assembly.lock();
        if state.parts[self.index] == PartState::Arriving(self.number) {
            state.parts[self.index] = as_state;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.settle(PartState::Missing);
        self.assembly.lock().writers -= 1;
    }
}

/// Refuses parts that are `missing`, and a client that does not name exactly the `expected` ones.
pub(crate) fn check_numbers(numbers: &[u32], expected: usize, missing: Vec<u32>) -> Result<(), ReceiveError> {
    if let Some(first) = missing.first() {
        let (count, of) = (missing.len(), expected);
        return Err(ReceiveError::Parts(format!(
            "{count} of {of} parts are missing, part {first} first; upload them, then complete again"
        )));
    }
    let named = numbers.len() == expected && numbers.iter().zip(1u32..).all(|(number, n)| *number == n);
    match named {
        true => Ok(()),
        false => {
            let got = numbers.len();
            Err(ReceiveError::Parts(format!("the completion names {got} parts, not 1 to {expected}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use database::RepoId;

    use super::*;

    const PART: Part = Part { number: 1, size: 4 };

    fn assembly() -> Arc<Assembly> {
        let arrival =
            Arrival { repo: RepoId(1), by: None, upload: UploadId::new(), sha256: Sha256([0; 32]), size: 8 };
        let staged = TempFile::new().unwrap();
        Arc::new(Assembly::new(&arrival, PART.size, 0, staged).unwrap())
    }

    fn slot(assembly: &Arc<Assembly>, number: u32) -> Result<Arc<Slot>, ReceiveError> {
        let offset = u64::from(number - 1) * PART.size;
        Assembly::slot(Arc::clone(assembly), Part { number, ..PART }, offset)
    }

    /// Between the last byte of a part and the end of its request a second one may begin.
    #[test]
    fn one_that_ends_does_not_open_the_part_that_another_is_bringing() {
        let assembly = assembly();
        drop(slot(&assembly, 2).map(|slot| slot.arrived()));
        let first = slot(&assembly, 1).unwrap();
        first.arrived();
        let second = slot(&assembly, 1).unwrap();
        drop(first);
        assert!(matches!(slot(&assembly, 1), Err(ReceiveError::Busy)), "the second still brings it");
        assert!(assembly.check_complete(&[1, 2]).is_err());
        assert!(matches!(assembly.take(), Err(ReceiveError::Busy)));
        second.arrived();
        drop(second);
        assembly.check_complete(&[1, 2]).unwrap();
        assembly.take().unwrap();
    }

    /// A write on a blocking thread goes on when its request is dropped.
    #[test]
    fn nothing_is_written_to_a_file_that_was_taken() {
        let assembly = assembly();
        let detached = slot(&assembly, 1).unwrap();
        detached.arrived();
        assembly.write(b"good", 0).unwrap();
        drop(slot(&assembly, 2).map(|slot| slot.arrived()));
        assembly.check_complete(&[1, 2]).unwrap();
        assert!(matches!(assembly.take(), Err(ReceiveError::Busy)), "it may still write");
        drop(detached);
        let mut staged = assembly.take().unwrap();
        assert!(matches!(slot(&assembly, 1), Err(ReceiveError::Closed)));
        assert!(matches!(assembly.take(), Err(ReceiveError::Closed)));
        let mut bytes = String::new();
        staged.read_to_string(&mut bytes).unwrap();
        assert_eq!(bytes, "good");
    }

    #[test]
    fn one_user_fills_half_of_the_table_and_gives_way_only_to_themselves() {
        let assemblies = Assemblies::new(4);
        let add = |user: i64, now_ms: i64| {
            let (repo, by) = (RepoId(1), Some(UserId(user)));
            let arrival = Arrival { repo, by, upload: UploadId::new(), sha256: Sha256([0; 32]), size: 8 };
            let new = Assembly::new(&arrival, 4, i64::MAX, TempFile::new().unwrap()).unwrap();
            let added = assemblies.add(&arrival, new, now_ms);
            added.inspect(|added| added.touch(now_ms)).map(|_| arrival)
        };
        let first = add(1, 0).unwrap();
        add(1, 1).unwrap();
        assert!(matches!(add(1, 1), Err(ReceiveError::Busy)));
        let theirs = add(2, 0).unwrap();
        let third = add(1, RESTING_MS).unwrap();
        assert!(assemblies.get(&first).is_none(), "the oldest of theirs rests");
        assert!(assemblies.get(&theirs).is_some() && assemblies.get(&third).is_some());
        add(2, RESTING_MS).unwrap();
        add(3, RESTING_MS).unwrap();
        assert!(assemblies.get(&theirs).is_none(), "all is full: the oldest of all");
    }
}
