//! Reads one object: finds the start of its delta chain, inflates, applies.

use std::cell::RefCell;
use std::sync::Arc;

use database::Oid;

use super::cache::ObjectCache;
use crate::delta;
use crate::pack::{EntryHeader, PackError, entry};
use crate::{Kind, Pack};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("object {0} does not exist")]
    Missing(Oid),
    #[error("object {oid} cannot be read: {reason}")]
    Corrupt { oid: Oid, reason: String },
    #[error("object {oid} is a {}, not a {}", actual.name(), expected.name())]
    WrongKind { oid: Oid, expected: Kind, actual: Kind },
    #[error("object {oid} has {size} bytes, more than the {max} that are read")]
    TooLarge { oid: Oid, size: u64, max: u64 },
}

/// What is needed to read from a pack.
pub(crate) struct Reader<'a> {
    /// The pack and the offset of a delta base that is not in the pack itself.
    pub(crate) locate: &'a dyn Fn(&Oid) -> Option<(&'a Pack, u64)>,
    pub(crate) cache: &'a ObjectCache,
    pub(crate) size_max: u64,
}

/// Git makes chains of up to 4095 deltas; packs of kind `Api` put at most 32 in front of one.
const CHAIN_MAX: usize = 8192;
/// Scratch buffers that grew beyond this are not kept.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

struct Step<'a> {
    pack: &'a Pack,
    offset: u64,
    compressed: &'a [u8],
    inflated_size: u64,
}

thread_local! {
    static SCRATCH: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl<'a> Reader<'a> {
    /// Replaces the content of `out` by the object at `index` of `pack`, which is `oid`.
    pub(crate) fn read(
        &self,
        oid: &Oid,
        pack: &'a Pack,
        index: u32,
        out: &mut Vec<u8>,
    ) -> Result<Kind, ReadError> {
        let (kind, size) = (pack.kind_of(index), pack.size_of(index));
        if size > self.size_max {
            return Err(ReadError::TooLarge { oid: *oid, size, max: self.size_max });
        }
        let keep = kind != Kind::Blob;
        self.resolve(pack, pack.offset_of(index), keep, out)
            .map_err(|reason| ReadError::Corrupt { oid: *oid, reason })?;
        if out.len() as u64 != size {
            let reason = format!("it has {} bytes, the index says {size}", out.len());
            return Err(ReadError::Corrupt { oid: *oid, reason });
        }
        Ok(kind)
    }

    /// As [`Reader::read`], without a copy of what is in the cache.
    pub(crate) fn read_shared(
        &self,
        oid: &Oid,
        pack: &'a Pack,
        index: u32,
    ) -> Result<(Kind, Arc<[u8]>), ReadError> {
        let key = (pack.id(), pack.offset_of(index));
        let size = pack.size_of(index);
        if let Some(data) = self.cache.get(key)
            && data.len() as u64 == size
            && size <= self.size_max
        {
            return Ok((pack.kind_of(index), data));
        }
        let mut data = Vec::new();
        let kind = self.read(oid, pack, index, &mut data)?;
        Ok((kind, self.cache.get(key).unwrap_or_else(|| data.into())))
    }

    /// `keep`: the object itself goes into the cache too. What others are deltas on always does.
    fn resolve(&self, pack: &'a Pack, offset: u64, keep: bool, out: &mut Vec<u8>) -> Result<(), String> {
        let mut chain = Vec::new();
        let (mut pack, mut offset) = (pack, offset);
        let cached = loop {
            if let Some(data) = self.cache.get((pack.id(), offset)) {
                break Some(data);
            }
            let entry = pack.entry_at(offset).map_err(|error| error.to_string())?;
            let (base_pack, base_offset) = match entry.header {
                EntryHeader::Whole(_) => {
                    self.inflate(entry.compressed, entry.inflated_size, offset, out)?;
                    if keep || !chain.is_empty() {
                        self.cache.insert((pack.id(), offset), out);
                    }
                    break None;
                }
                EntryHeader::OfsDelta { base_offset } => (pack, base_offset),
                // The pack's own copy first: within a pack, deltas are known to have no cycle.
                EntryHeader::RefDelta { base } => match pack.find(&base) {
                    Some(index) => (pack, pack.offset_of(index)),
                    None => {
                        (self.locate)(&base).ok_or_else(|| format!("its delta base {base} is missing"))?
                    }
                },
            };
            if chain.len() == CHAIN_MAX {
                return Err("its delta chain is too long or a circle".to_owned());
            }
            let (compressed, inflated_size) = (entry.compressed, entry.inflated_size);
            chain.push(Step { pack, offset, compressed, inflated_size });
            (pack, offset) = (base_pack, base_offset);
        };
        if !chain.is_empty() {
            return self.apply(chain, cached, keep, out);
        }
        if let Some(data) = cached {
            out.clear();
            out.extend_from_slice(&data);
        }
        Ok(())
    }

    /// Applies `chain`, last step first, to `base`, or to the object in `out` if there is none.
    fn apply(
        &self,
        mut chain: Vec<Step<'a>>,
        mut base: Option<Arc<[u8]>>,
        keep: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        SCRATCH.with_borrow_mut(|(instructions, result)| {
            while let Some(step) = chain.pop() {
                self.inflate(step.compressed, step.inflated_size, step.offset, instructions)?;
                let base = base.take();
                let base = base.as_deref().unwrap_or(out);
                delta::apply(base, instructions, result, self.size_max).map_err(|error| error.to_string())?;
                std::mem::swap(out, result);
                if keep || !chain.is_empty() {
                    self.cache.insert((step.pack.id(), step.offset), out);
                }
            }
            for scratch in [instructions, result] {
                scratch.clear();
                scratch.shrink_to(SCRATCH_BYTES_MAX);
            }
            Ok(())
        })
    }

    fn inflate(&self, compressed: &[u8], size: u64, offset: u64, out: &mut Vec<u8>) -> Result<(), String> {
        if size > self.size_max {
            return Err(format!("the entry at {offset} announces {size} bytes"));
        }
        entry::inflate(compressed, size, out)
            .map(drop)
            .map_err(|source| PackError::Entry { offset, source }.to_string())
    }
}
