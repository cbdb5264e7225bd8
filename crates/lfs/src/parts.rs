//! Uploads in parts on the disk engine: each part is written where it belongs in one staging file.
//!
//! Which parts are there is known in memory only, so a restart forgets them (and empties staging). Parts that arrive in
//! order are hashed as they are written; whatever breaks the order makes the completion read the file again.

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
use database::{Sha256, UploadId};
use storage::{StoreError, TempFile};
use tokio::sync::OwnedSemaphorePermit;

use crate::counters::count;
use crate::publish::{Arrival, Known, blocking};
use crate::{Objects, ReceiveError};

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
    size: u64,
    /// Of every part but the last, in bytes.
    chunk: u64,
    /// From then on no part is received, and the sweep forgets it.
    expires_ms: i64,
    /// When a part last began to arrive.
    touched_ms: AtomicI64,
    file: File,
    state: Mutex<State>,
    /// Held by the one that completes it.
    pub(crate) completing: tokio::sync::Mutex<()>,
}

struct State {
    /// `None` once it was taken to be published.
    staged: Option<TempFile>,
    parts: Vec<PartState>,
    /// The SHA-256 of the first `hashed` bytes.
    hasher: digest::Context,
    hashed: u64,
    /// How often it began anew.
    restarts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartState {
    Missing,
    Arriving,
    Here,
}

/// A part that is arriving. Dropped, it is missing again.
pub struct ReceivingPart {
    objects: Objects,
    /// `None` if the object is here already: what arrives is counted and dropped.
    slot: Option<Arc<Slot>>,
    gathered: BytesMut,
    number: u32,
    bytes: u64,
    received: u64,
    _permit: OwnedSemaphorePermit,
}

/// The place of a part in its file. Its bytes may still be being written when their receiver is gone already.
struct Slot {
    assembly: Arc<Assembly>,
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
        self.lock().remove(&(arrival.upload, arrival.sha256));
    }

    /// Forgets what can no longer be completed, and gives its disk space back.
    pub(crate) fn forget_expired(&self, now_ms: i64) {
        self.lock().retain(|_, assembly| assembly.expires_ms > now_ms);
    }

    /// One more, unless another made it meanwhile. If there are too many, it takes the place of one that rests.
    fn add(&self, arrival: &Arrival, new: Assembly, now_ms: i64) -> Result<Arc<Assembly>, ReceiveError> {
        let mut table = self.lock();
        let of = (arrival.upload, arrival.sha256);
        if !table.contains_key(&of) && table.len() >= self.max {
            let touched = |assembly: &Assembly| assembly.touched_ms.load(Ordering::Relaxed);
            let oldest = table.iter().min_by_key(|(_, assembly)| touched(assembly));
            let resting = oldest.filter(|(_, assembly)| touched(assembly) <= now_ms - RESTING_MS);
            let resting = resting.map(|(of, _)| *of).ok_or(ReceiveError::Busy)?;
            table.remove(&resting);
        }
        Ok(Arc::clone(table.entry(of).or_insert_with(|| Arc::new(new))))
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
        let permit = self.permit()?;
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
        assembly.touched_ms.store(self.now_ms(), Ordering::Relaxed);
        Assembly::slot(assembly, part, offset)
    }

    async fn assembly(&self, arrival: &Arrival, part: Part) -> Result<Arc<Assembly>, ReceiveError> {
        let expires_ms = self.check_open(arrival)?;
        if let Some(assembly) = self.0.assemblies.get(arrival) {
            return Ok(assembly);
        }
        let Some(disk) = self.0.store.local().cloned() else { return Err(ReceiveError::Grant) };
        let staged = blocking(move || disk.temp_file()).await.map_err(StoreError::from)?;
        let assembly =
            Assembly::new(arrival.size, part.size, expires_ms, staged).map_err(StoreError::from)?;
        self.0.assemblies.add(arrival, assembly, self.now_ms())
    }
}

impl ReceivingPart {
    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.bytes - self.received
    }

    /// The next bytes, in any cut. After an error only the drop is left.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ReceiveError> {
        count(&self.objects.0.counters.bytes_in, bytes.len() as u64);
        if bytes.len() as u64 > self.remaining() {
            return Err(ReceiveError::TooLong { size: self.bytes });
        }
        self.received += bytes.len() as u64;
        if self.slot.is_none() {
            return Ok(());
        }
        self.gathered.extend_from_slice(&bytes);
        if self.gathered.len() >= PIECE { self.write_out().await } else { Ok(()) }
    }

    /// After the last byte. Gives the entity tag, which the client repeats at the completion.
    pub async fn finish(mut self) -> Result<String, ReceiveError> {
        if self.remaining() > 0 {
            return Err(ReceiveError::TooShort { received: self.received, size: self.bytes });
        }
        self.write_out().await?;
        if let Some(slot) = &self.slot {
            slot.assembly.lock().parts[slot.index] = PartState::Here;
        }
        Ok(format!("\"part-{}\"", self.number))
    }

    async fn write_out(&mut self) -> Result<(), ReceiveError> {
        let Some(slot) = self.slot.clone() else { return Ok(()) };
        let piece = self.gathered.split().freeze();
        let at = slot.offset + self.received - piece.len() as u64;
        blocking(move || slot.assembly.write(&piece, at)).await.map_err(StoreError::from)?;
        Ok(())
    }
}

impl Assembly {
    fn new(size: u64, chunk: u64, expires_ms: i64, staged: TempFile) -> io::Result<Assembly> {
        let file = staged.as_file().try_clone()?;
        let parts = vec![PartState::Missing; usize::try_from(size.div_ceil(chunk)).unwrap_or(usize::MAX)];
        let hasher = digest::Context::new(&digest::SHA256);
        let state = Mutex::new(State { staged: Some(staged), parts, hasher, hashed: 0, restarts: 0 });
        let touched_ms = AtomicI64::new(i64::MAX);
        Ok(Assembly {
            size,
            chunk,
            expires_ms,
            touched_ms,
            file,
            state,
            completing: tokio::sync::Mutex::default(),
        })
    }

    fn slot(assembly: Arc<Assembly>, part: Part, offset: u64) -> Result<Arc<Slot>, ReceiveError> {
        if assembly.chunk != part.size {
            return Err(ReceiveError::Grant);
        }
        let index = part.number as usize - 1;
        {
            let mut state = assembly.lock();
            if state.staged.is_none() {
                return Err(ReceiveError::Closed);
            }
            if state.parts[index] == PartState::Arriving {
                return Err(ReceiveError::Busy);
            }
            state.parts[index] = PartState::Arriving;
            if offset < state.hashed {
                // What was hashed there will be something else.
                (state.hasher, state.hashed) = (digest::Context::new(&digest::SHA256), 0);
                state.restarts += 1;
            }
        }
        Ok(Arc::new(Slot { assembly, index, offset }))
    }

    /// Blocking.
    fn write(&self, piece: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(piece, at)?;
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
        if state.parts.contains(&PartState::Arriving) {
            return Err(ReceiveError::Busy);
        }
        state.staged.take().ok_or(ReceiveError::Closed)
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
            self.file.read_exact_at(&mut buffer[..take], hashed)?;
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

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.assembly.lock();
        if state.parts[self.index] == PartState::Arriving {
            state.parts[self.index] = PartState::Missing;
        }
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
