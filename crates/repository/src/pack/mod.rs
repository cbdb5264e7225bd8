//! Packs: immutable blobs that hold a git pack and, behind it, everything that is known about its objects.
//!
//! A pack blob is
//!
//! ```text
//! git pack      header, entries, SHA-1 trailer (version 2): what `git index-pack` takes
//! index section first-byte table of object ids (256 × u32, only with 256 objects or more)
//!               object ids, sorted             n × 20 bytes
//!               offsets in the pack            n × u32 (u64 in wide packs)
//!               inflated sizes, deltas applied n × u32 (u64 in wide packs)
//!               CRC-32 of the entries          n × u32
//!               pack order: the object (position in id order) of the nth entry, n × u32
//!               kinds - 1                      n × u8
//!               LFS pointers, sorted by blob   m × (blob id 20, SHA-256 32, size u64)
//! footer        see [`section::FOOTER_BYTES`]
//! ```
//!
//! with all numbers big-endian. One blob, one key, one file: an index cannot be lost or mixed up, and a reader that
//! wants the plain git pack takes a prefix. [`Pack`] reads it, [`build::BlobBuilder`] writes it.

mod blob;
pub mod build;
pub mod entry;
pub mod section;
mod verify;

use bytes::Bytes;
use database::{Oid, PackId, PackKind};

pub(crate) use blob::BlobWriter;
pub use blob::{Blob, INLINE_BYTES_MAX};
pub use build::{BlobBuilder, Built, EntrySource};
pub use entry::{EntryError, EntryHeader};

use crate::Kind;
use crate::pointer::Pointer;
use section::Section;

/// A pack blob that can be read. Share it in an `Arc`; the bytes are in memory or mapped.
#[derive(Clone)]
pub struct Pack {
    id: PackId,
    kind: PackKind,
    closure: bool,
    added_generation: i64,
    blob: Bytes,
    section: Section,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    #[error("not a pack blob, or cut short")]
    NotAPack,
    #[error("the pack was written by a newer granary (format {0})")]
    Version(u8),
    #[error("the lengths in the pack's footer contradict each other")]
    Lengths,
    #[error("the pack's index is damaged (CRC-32)")]
    IndexDamaged,
    #[error("the pack's index points outside of the pack")]
    Offset,
    #[error("entry at {offset}: {source}")]
    Entry { offset: u64, source: EntryError },
}

/// One entry as it lies in the pack.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub header: EntryHeader,
    /// Of the zlib stream, in bytes: the object's size, or the delta's.
    pub inflated_size: u64,
    /// The zlib stream.
    pub compressed: &'a [u8],
    /// The whole entry with its header, in bytes.
    pub entry_len: u64,
}

/// A git pack ends with a SHA-1.
pub const TRAILER_BYTES: usize = 20;
/// `PACK`, version, number of objects.
pub const HEADER_BYTES: usize = 12;

impl Pack {
    /// Opens a blob by looking at its footer and its bounds, not at every object; a small index is checked by its
    /// CRC-32 too. Damage found later is an error of the entry, never a panic.
    pub fn from_blob(
        id: PackId,
        kind: PackKind,
        closure: bool,
        added_generation: i64,
        blob: Bytes,
    ) -> Result<Pack, PackError> {
        let section = Section::open(&blob)?;
        Ok(Pack { id, kind, closure, added_generation, blob, section })
    }

    pub fn id(&self) -> PackId {
        self.id
    }

    pub fn kind(&self) -> PackKind {
        self.kind
    }

    /// Exactly the closure of the refs of the generation it was added in.
    pub fn is_closure(&self) -> bool {
        self.closure
    }

    pub fn added_generation(&self) -> i64 {
        self.added_generation
    }

    pub fn objects(&self) -> u32 {
        self.section.objects
    }

    /// The whole blob, as stored.
    pub fn blob(&self) -> &Bytes {
        &self.blob
    }

    /// The plain git pack, which `git index-pack` takes (unless a pack of kind `Api` has bases elsewhere).
    pub fn pack_bytes(&self) -> Bytes {
        self.blob.slice(..self.section.pack_len)
    }

    /// The position of `oid` in id order.
    pub fn find(&self, oid: &Oid) -> Option<u32> {
        self.section.find(&self.blob, oid)
    }

    /// The ids of its objects from `first` to `last`, both included.
    pub fn oids_between(&self, first: &Oid, last: &Oid) -> impl Iterator<Item = Oid> + '_ {
        let (mut low, mut high) = (0, self.objects());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.oid(middle) < *first {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let last = *last;
        (low..self.objects()).map(|index| self.oid(index)).take_while(move |oid| *oid <= last)
    }

    /// The id of the object at `index` in id order; the null id beyond the end.
    pub fn oid(&self, index: u32) -> Oid {
        self.section.oid(&self.blob, index)
    }

    /// The kind of the object behind all deltas.
    pub fn kind_of(&self, index: u32) -> Kind {
        self.section.kind(&self.blob, index)
    }

    /// The inflated size of the object behind all deltas, in bytes.
    pub fn size_of(&self, index: u32) -> u64 {
        self.section.size(&self.blob, index)
    }

    pub fn offset_of(&self, index: u32) -> u64 {
        self.section.offset(&self.blob, index)
    }

    /// CRC-32 of the entry's bytes, header included (as in git's index v2).
    pub fn crc32_of(&self, index: u32) -> u32 {
        self.section.crc32(&self.blob, index)
    }

    /// The position in id order of the `nth` entry of the pack.
    pub fn in_pack_order(&self, nth: u32) -> u32 {
        self.section.in_pack_order(&self.blob, nth)
    }

    /// The position in id order of the object whose entry starts at `offset`.
    pub fn index_at_offset(&self, offset: u64) -> Option<u32> {
        let nth = self.section.nth_at_offset(&self.blob, offset)?;
        Some(self.in_pack_order(nth))
    }

    /// The entry of the object at `index` in id order, with its exact length.
    pub fn entry(&self, index: u32) -> Result<Entry<'_>, PackError> {
        let offset = self.offset_of(index);
        let nth = self.section.nth_at_offset(&self.blob, offset).ok_or(PackError::Offset)?;
        let end = match nth + 1 < self.objects() {
            true => self.offset_of(self.in_pack_order(nth + 1)),
            false => self.entries_end(),
        };
        self.entry_between(offset, end)
    }

    /// The entry at `offset`, with everything up to the trailer as its compressed data: cheaper than [`Pack::entry`],
    /// and enough to inflate.
    pub fn entry_at(&self, offset: u64) -> Result<Entry<'_>, PackError> {
        self.entry_between(offset, self.entries_end())
    }

    /// The LFS pointers among the blobs, sorted by blob.
    pub fn pointers(&self) -> impl ExactSizeIterator<Item = Pointer> {
        (0..self.section.pointers).map(|nth| self.section.pointer(&self.blob, nth))
    }

    /// The pointer that the blob is, if it is one.
    pub fn pointer(&self, blob: &Oid) -> Option<Pointer> {
        let (mut low, mut high) = (0, self.section.pointers);
        while low < high {
            let middle = low + (high - low) / 2;
            let pointer = self.section.pointer(&self.blob, middle);
            match pointer.blob.cmp(blob) {
                std::cmp::Ordering::Equal => return Some(pointer),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn entries_end(&self) -> u64 {
        (self.section.pack_len - TRAILER_BYTES) as u64
    }

    fn entry_between(&self, offset: u64, end: u64) -> Result<Entry<'_>, PackError> {
        let in_bounds = HEADER_BYTES as u64 <= offset && offset < end && end <= self.entries_end();
        if !in_bounds {
            return Err(PackError::Offset);
        }
        let bytes = &self.blob[offset as usize..end as usize];
        let header = entry::decode(bytes, offset).map_err(|source| PackError::Entry { offset, source })?;
        Ok(Entry {
            header: header.entry,
            inflated_size: header.inflated_size,
            compressed: &bytes[header.length..],
            entry_len: end - offset,
        })
    }
}

impl std::fmt::Debug for Pack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pack")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("objects", &self.objects())
            .field("bytes", &self.blob.len())
            .finish_non_exhaustive()
    }
}
