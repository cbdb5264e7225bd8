//! Buffers for what goes from and to the disk, used again: fresh ones of this size would be mapped, zeroed and unmapped
//! each time.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes of a buffer to read into.
pub(super) const BUFFER: usize = 256 * 1024;
/// Of one that is written from: what a slow upload holds.
pub(super) const BLOCK: usize = 128 * 1024;

/// Buffers kept for the next one.
const IDLE_MAX: usize = 16;

#[derive(Clone)]
pub(super) struct Buffers {
    /// Bytes of each.
    size: usize,
    idle: Arc<Mutex<Vec<Box<[u8]>>>>,
}

/// A buffer that goes back when it is dropped.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
    /// `None`: made for one use.
    home: Option<Buffers>,
}

impl Buffers {
    pub(super) fn of(size: usize) -> Buffers {
        Buffers { size, idle: Arc::default() }
    }

    /// For up to `wanted` bytes, and no less than the smaller of `wanted` and the size of each.
    pub(super) fn take(&self, wanted: u64) -> Buffer {
        if wanted < self.size as u64 / 4 {
            let bytes = vec![0; wanted as usize].into_boxed_slice();
            return Buffer { bytes, filled: 0, home: None };
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = idle.unwrap_or_else(|| vec![0; self.size].into_boxed_slice());
        Buffer { bytes, filled: 0, home: Some(self.clone()) }
    }
}

impl Buffer {
    /// All of it, whatever it held before.
    pub(super) fn space(&mut self, max: u64) -> &mut [u8] {
        let end = self.bytes.len().min(usize::try_from(max).unwrap_or(usize::MAX));
        &mut self.bytes[..end]
    }

    /// Takes the first bytes of `bytes`, as many as there is room for.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let space = &mut self.bytes[self.filled..];
        let taken = space.len().min(bytes.len());
        space[..taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        taken
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == self.bytes.len()
    }

    /// Its first `filled` bytes, without copying.
    pub(super) fn freeze(mut self, filled: usize) -> Bytes {
        self.filled = filled;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = self.home.take() else { return };
        let mut idle = home.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(buffers: &Buffers) -> usize {
        buffers.idle.lock().unwrap().len()
    }

    #[test]
    fn buffers_come_back_when_the_last_piece_is_dropped_and_few_are_kept() {
        let buffers = Buffers::of(BUFFER);
        let mut buffer = buffers.take(1 << 20);
        buffer.space(u64::MAX)[..5].copy_from_slice(b"hello");
        let piece = buffer.freeze(5);
        let part = piece.slice(1..3);
        drop(piece);
        assert_eq!((&part[..], idle(&buffers)), (&b"el"[..], 0));
        drop(part);
        assert_eq!(idle(&buffers), 1);
        let taken: Vec<_> = (0..IDLE_MAX + 4).map(|_| buffers.take(1 << 20)).collect();
        assert_eq!(idle(&buffers), 0);
        drop(taken);
        assert_eq!(idle(&buffers), IDLE_MAX);
    }

    #[test]
    fn what_is_filled_in_is_what_it_holds() {
        let buffers = Buffers::of(BUFFER);
        let mut buffer = buffers.take(u64::MAX);
        assert!(!buffer.is_full());
        assert_eq!(buffer.fill(b"some"), 4);
        assert_eq!(buffer.fill(&vec![b'x'; BUFFER]), BUFFER - 4);
        assert!(buffer.is_full());
        assert_eq!(buffer.fill(b"more"), 0);
        assert_eq!(buffer.as_ref().len(), BUFFER);
        assert_eq!(&buffer.as_ref()[..5], b"somex");
    }

    #[test]
    fn a_small_range_takes_no_more_than_it_needs() {
        let buffers = Buffers::of(BUFFER);
        let mut small = buffers.take(1000);
        assert_eq!(small.space(u64::MAX).len(), 1000);
        assert_eq!(buffers.take(BUFFER as u64 / 4 - 1).space(u64::MAX).len(), BUFFER / 4 - 1);
        assert_eq!(buffers.take(BUFFER as u64 / 4).space(70_000).len(), 70_000);
        drop(small);
        assert_eq!(idle(&buffers), 1, "only the large one");
    }
}
