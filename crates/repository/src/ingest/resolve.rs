//! Makes the objects that a pack stores as deltas, every base before what depends on it.
//!
//! From each whole object its tree of deltas is walked depth first, with an explicit stack: a chain in a received pack
//! may be thousands long. An object stays in memory while deltas on it are still to come; if those take more than
//! [`Limits::memory_bytes`], the ones nearest the root are dropped and made again when the walk returns to them.

use std::ops::Range;

use database::Oid;

use super::check::Check;
use super::scan::Scanned;
use super::{IngestError, Limits, Work};
use crate::Kind;
use crate::delta;
use crate::object::try_hash;
use crate::pack::section::Row;
use crate::pack::{TRAILER_BYTES, entry};
use crate::snapshot::Snapshot;

/// The objects of a complete pack.
pub(super) struct Resolved {
    /// All objects, those of `thin` included.
    pub(super) rows: Vec<Row>,
    /// Bases of the snapshot that have to be added to the pack; neither offset nor CRC-32 is known yet.
    pub(super) thin: Vec<Row>,
}

/// The longest chain of deltas: what git's own `pack.depth` is capped at.
const DEPTH_MAX: usize = 4095;
/// The offset of objects that are not in the received pack. No OFS_DELTA names it.
const NOT_IN_PACK: u64 = u64::MAX;
const SPARE_BUFFERS: usize = 4;
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Resolves every delta and hands the objects to `check`.
pub(super) fn resolve(
    pack: &[u8],
    scanned: Scanned,
    base: &Snapshot,
    limits: &Limits,
    check: &mut Check<'_>,
    work: &mut Work<'_>,
) -> Result<Resolved, IngestError> {
    let Scanned { rows, mut ofs_deltas, mut ref_deltas } = scanned;
    ofs_deltas.sort_unstable();
    ref_deltas.sort_unstable();
    let entries = rows.len();
    let mut resolver = Resolver {
        source: Source { pack, entries, base, limits },
        deltas: Deltas { ofs: ofs_deltas, refs: ref_deltas },
        rows,
        check,
        work,
        stack: Stack { frames: Vec::new(), held: 0, evicted: 0, held_max: limits.memory_bytes },
        spare: Vec::new(),
        instructions: Vec::new(),
    };
    resolver.resolve_in_pack()?;
    resolver.resolve_from_snapshot()?;
    let rows = resolver.rows;
    let unresolved = rows.iter().filter(|row| row.oid.is_null()).count();
    if unresolved > 0 {
        return Err(IngestError::Unresolved(unresolved));
    }
    let thin = rows[entries..].to_vec();
    Ok(Resolved { rows, thin })
}

struct Resolver<'a, 'c, 'w> {
    source: Source<'a>,
    deltas: Deltas,
    /// The entries in pack order, then the bases that come from the snapshot.
    rows: Vec<Row>,
    check: &'a mut Check<'c>,
    work: &'a mut Work<'w>,
    stack: Stack,
    spare: Vec<Vec<u8>>,
    instructions: Vec<u8>,
}

impl Resolver<'_, '_, '_> {
    fn resolve_in_pack(&mut self) -> Result<(), IngestError> {
        if self.deltas.ofs.is_empty() && self.deltas.refs.is_empty() {
            return Ok(());
        }
        for position in 0..self.source.entries {
            if self.source.is_whole(&self.rows[position]) {
                self.walk(position)?;
            }
        }
        Ok(())
    }

    /// In pack order, since bases come early in a pack: an object that is in the pack, but as a delta on one of the
    /// snapshot, is made from that before others ask for it.
    fn resolve_from_snapshot(&mut self) -> Result<(), IngestError> {
        let is_open = |(_, position): &&(Oid, u32)| self.rows[*position as usize].oid.is_null();
        let mut open: Vec<_> = self.deltas.refs.iter().filter(is_open).copied().collect();
        open.sort_unstable_by_key(|&(_, position)| position);
        for (oid, position) in open {
            let base = self.source.base;
            if !self.rows[position as usize].oid.is_null() {
                continue;
            }
            if let (Some(kind), Some(size)) = (base.kind(&oid), base.size(&oid)) {
                self.rows.push(Row { oid, kind, crc32: 0, offset: NOT_IN_PACK, size });
                self.walk(self.rows.len() - 1)?;
            }
        }
        Ok(())
    }

    /// Makes everything that depends on the object at `root`.
    fn walk(&mut self, root: usize) -> Result<(), IngestError> {
        let children = self.deltas.of(&self.rows[root]);
        if children.is_empty() {
            return Ok(());
        }
        let mut data = self.spare.pop().unwrap_or_default();
        let row = &self.rows[root];
        self.source.root(row, self.work, &mut data)?;
        if row.offset == NOT_IN_PACK && row.kind == Kind::Blob {
            self.check.blob_content(row.oid, &data);
        }
        self.stack.push(Frame { position: root, children, data: Some(data) });
        while let Some(frame) = self.stack.frames.last_mut() {
            match frame.children.next(&self.deltas) {
                Some(child) if self.rows[child].oid.is_null() => self.make(child)?,
                Some(_) => {}
                None => {
                    if let Some(data) = self.stack.pop() {
                        give_back(&mut self.spare, data);
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the object at `child` from the one on top of the stack.
    fn make(&mut self, child: usize) -> Result<(), IngestError> {
        let base = match self.stack.take_top() {
            Some(data) => data,
            None => self.make_top_again()?,
        };
        let offset = self.rows[child].offset;
        if self.stack.frames.len() > DEPTH_MAX {
            return Err(IngestError::TooDeep { offset, max: DEPTH_MAX });
        }
        let kind = self.stack.frames.last().map_or(Kind::Blob, |frame| self.rows[frame.position].kind);
        let mut data = self.spare.pop().unwrap_or_default();
        self.apply(&base, kind, offset, &mut data)?;
        if let Some(unneeded) = self.stack.put_top(base) {
            give_back(&mut self.spare, unneeded);
        }
        let oid = try_hash(kind, &data).map_err(|source| IngestError::Object { offset, source })?;
        self.check.object(kind, oid, &data)?;
        let row = &mut self.rows[child];
        (row.oid, row.kind, row.size) = (oid, kind, data.len() as u64);
        let children = self.deltas.of(row);
        if children.is_empty() {
            give_back(&mut self.spare, data);
        } else {
            self.stack.push(Frame { position: child, children, data: Some(data) });
        }
        Ok(())
    }

    /// Makes the object on top of the stack once more. It was dropped, so nothing below it is held either: the way
    /// starts at the root.
    fn make_top_again(&mut self) -> Result<Vec<u8>, IngestError> {
        let root = self.rows[self.stack.frames[0].position];
        let (mut data, mut next) = (Vec::new(), Vec::new());
        self.source.root(&root, self.work, &mut data)?;
        for at in 1..self.stack.frames.len() {
            let offset = self.rows[self.stack.frames[at].position].offset;
            self.apply(&data, root.kind, offset, &mut next)?;
            std::mem::swap(&mut data, &mut next);
        }
        Ok(data)
    }

    /// Replaces `out` by what the delta at `offset` makes of `base`, which is of `kind`. Sizes are checked, and held
    /// bases dropped to make room, before anything is allocated.
    fn apply(&mut self, base: &[u8], kind: Kind, offset: u64, out: &mut Vec<u8>) -> Result<(), IngestError> {
        let bad_delta = |source| IngestError::Delta { offset, source };
        let max = self.source.limits.bytes_of(kind);
        let check = |kind, size| match size <= max {
            true => Ok(size as usize),
            false => Err(IngestError::ObjectTooLarge { offset, kind, size, max }),
        };
        let entry = self.source.entry(offset)?;
        // The delta of an honest client is smaller than what it makes.
        let delta_bytes = check(None, entry.size)?;
        self.stack.make_room(base.len() + delta_bytes);
        self.source.inflate(offset, &entry, &mut self.instructions)?;
        let (_, size) = delta::sizes(&self.instructions).map_err(bad_delta)?;
        let result_bytes = check(Some(kind), size)?;
        self.work.add(size.saturating_add(entry.size))?;
        self.stack.make_room(base.len() + delta_bytes + result_bytes);
        delta::apply(base, &self.instructions, out, max).map_err(bad_delta)?;
        if self.instructions.capacity() > SPARE_BYTES_MAX {
            self.instructions = Vec::new();
        }
        Ok(())
    }
}

fn give_back(spare: &mut Vec<Vec<u8>>, buffer: Vec<u8>) {
    if spare.len() < SPARE_BUFFERS && buffer.capacity() <= SPARE_BYTES_MAX {
        spare.push(buffer);
    }
}

/// Where bytes come from.
struct Source<'a> {
    pack: &'a [u8],
    entries: usize,
    base: &'a Snapshot,
    limits: &'a Limits,
}

impl Source<'_> {
    fn is_whole(&self, row: &Row) -> bool {
        Kind::from_number(self.pack[row.offset as usize] >> 4 & 7).is_some()
    }

    /// Replaces `out` by an object that is not a delta.
    fn root(&self, row: &Row, work: &mut Work<'_>, out: &mut Vec<u8>) -> Result<(), IngestError> {
        let &Row { oid, kind, offset, size, .. } = row;
        let max = self.limits.bytes_of(kind);
        work.add(size)?;
        match (size > max, offset == NOT_IN_PACK) {
            (true, true) => Err(IngestError::BaseTooLarge { oid, kind, size, max }),
            (true, false) => Err(IngestError::ObjectTooLarge { offset, kind: Some(kind), size, max }),
            (false, true) => Ok(self.base.read(&oid, out).map(drop)?),
            (false, false) => self.inflate(offset, &self.entry(offset)?, out),
        }
    }

    /// The scan has found the entry sound.
    fn entry(&self, offset: u64) -> Result<PackedBytes<'_>, IngestError> {
        let bytes = &self.pack[offset as usize..self.pack.len() - TRAILER_BYTES];
        let header = entry::decode(bytes, offset).map_err(|source| IngestError::Entry { offset, source })?;
        Ok(PackedBytes { compressed: &bytes[header.length..], size: header.inflated_size })
    }

    fn inflate(&self, offset: u64, entry: &PackedBytes<'_>, out: &mut Vec<u8>) -> Result<(), IngestError> {
        let inflated = entry::inflate(entry.compressed, entry.size, out);
        inflated.map(drop).map_err(|source| IngestError::Entry { offset, source })
    }
}

/// A zlib stream (with whatever follows it), and the bytes that come out of it.
struct PackedBytes<'a> {
    compressed: &'a [u8],
    size: u64,
}

/// Which deltas are on which base; both lists sorted.
struct Deltas {
    ofs: Vec<(u64, u32)>,
    refs: Vec<(Oid, u32)>,
}

/// The deltas on one base: ranges of the two lists.
struct Children {
    ofs: Range<usize>,
    refs: Range<usize>,
}

impl Deltas {
    fn of(&self, row: &Row) -> Children {
        Children { ofs: equal_range(&self.ofs, &row.offset), refs: equal_range(&self.refs, &row.oid) }
    }
}

fn equal_range<K: Ord>(sorted: &[(K, u32)], key: &K) -> Range<usize> {
    let start = sorted.partition_point(|(other, _)| other < key);
    let length = sorted[start..].iter().take_while(|(other, _)| other == key).count();
    start..start + length
}

impl Children {
    fn is_empty(&self) -> bool {
        self.ofs.is_empty() && self.refs.is_empty()
    }

    fn next(&mut self, deltas: &Deltas) -> Option<usize> {
        let from_ofs = self.ofs.next().map(|at| deltas.ofs[at].1);
        from_ofs.or_else(|| self.refs.next().map(|at| deltas.refs[at].1)).map(|position| position as usize)
    }
}

/// The path from a whole object to the delta that is being looked at.
struct Stack {
    frames: Vec<Frame>,
    /// Bytes held by all frames.
    held: usize,
    held_max: usize,
    /// Frames below this one hold nothing.
    evicted: usize,
}

struct Frame {
    position: usize,
    children: Children,
    /// `None` if it was dropped to save memory, or if the last delta on it has been made.
    data: Option<Vec<u8>>,
}

impl Stack {
    fn push(&mut self, frame: Frame) {
        self.held += frame.data.as_ref().map_or(0, Vec::len);
        self.frames.push(frame);
        self.make_room(0);
    }

    /// Drops what is held, from the root up but never the top, until `bytes` more can be held.
    fn make_room(&mut self, bytes: usize) {
        while self.held.saturating_add(bytes) > self.held_max && self.evicted + 1 < self.frames.len() {
            self.held -= self.frames[self.evicted].data.take().map_or(0, |data| data.len());
            self.evicted += 1;
        }
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let data = self.frames.pop()?.data;
        self.held -= data.as_ref().map_or(0, Vec::len);
        self.evicted = self.evicted.min(self.frames.len().saturating_sub(1));
        data
    }

    fn take_top(&mut self) -> Option<Vec<u8>> {
        let data = self.frames.last_mut()?.data.take()?;
        self.held -= data.len();
        Some(data)
    }

    /// Gives `data` back if no more deltas on it are to come.
    fn put_top(&mut self, data: Vec<u8>) -> Option<Vec<u8>> {
        match self.frames.last_mut() {
            Some(frame) if !frame.children.is_empty() => {
                self.held += data.len();
                frame.data = Some(data);
                None
            }
            _ => Some(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_from_the_root_up_but_the_top_stays() {
        let mut stack = Stack { frames: Vec::new(), held: 0, held_max: 250, evicted: 0 };
        for position in 0..3 {
            // Something is to come, so that what is put back stays.
            let children = Children { ofs: 0..2, refs: 0..0 };
            stack.push(Frame { position, children, data: Some(vec![0; 100]) });
        }
        let held = |stack: &Stack| stack.frames.iter().map(|frame| frame.data.is_some()).collect::<Vec<_>>();
        assert_eq!(held(&stack), [false, true, true]);
        // The base is in use, its delta and what that makes come beside it.
        let base = stack.take_top().unwrap();
        stack.make_room(base.len() + 50);
        assert_eq!(held(&stack), [false, true, false]);
        stack.make_room(base.len() + 51);
        assert_eq!(held(&stack), [false, false, false]);
        stack.make_room(usize::MAX);
        assert_eq!(stack.put_top(base), None);
        assert_eq!((held(&stack), stack.held), (vec![false, false, true], 100));
        assert!(stack.pop().is_some() && stack.pop().is_none());
        assert_eq!(stack.held, 0);
    }
}
