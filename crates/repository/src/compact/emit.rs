//! Writes the pack: every object in its form, behind its base.

use std::io;

use storage::TempFile;

use super::items::{Chosen, Form, ItemId, Items};
use super::spool::Spool;
use super::{CompactError, Context, items};
use crate::pack::{Blob, BlobBuilder, BlobWriter, Built, Entry, EntryHeader, EntrySource};
use crate::{Kind, Snapshot};

/// Commits, tags, trees, blobs, each from the newest to the oldest: history is read in this order.
pub(super) fn emit(
    s: &Snapshot,
    items: &Items,
    spool: &Spool<'_>,
    context: &Context<'_>,
) -> Result<(Blob, Built), CompactError> {
    let mut order: Vec<_> = items.ids().collect();
    order.sort_unstable_by_key(|&id| {
        let item = items.get(id);
        let class = match item.kind {
            Kind::Commit => 0,
            Kind::Tag => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
        };
        (class, item.chosen.pack, item.offset)
    });
    let objects = u32::try_from(order.len()).map_err(|_| CompactError::TooManyObjects)?;
    let mut out = BlobWriter::new(context.temp_file);
    let builder = BlobBuilder::new(&mut out, objects)?;
    let mut emit = Emit { s, items, spool, builder, offsets: vec![0; order.len()], buffer: Vec::new() };
    let mut chain = Vec::new();
    for id in order {
        if !(context.keepgoing)() {
            return Err(CompactError::Interrupted);
        }
        let mut next = Some(id);
        while let Some(id) = next.filter(|&id| emit.offsets[id as usize] == 0) {
            chain.push(id);
            next = items.get(id).base;
        }
        while let Some(id) = chain.pop() {
            emit.write(id)?;
        }
    }
    emit.pointers();
    let built = emit.builder.finish()?;
    Ok((out.finish()?, built))
}

struct Emit<'a, 'w> {
    s: &'a Snapshot,
    items: &'a Items,
    spool: &'a Spool<'a>,
    builder: BlobBuilder<&'w mut BlobWriter<&'a dyn Fn() -> io::Result<TempFile>>>,
    /// 0, where the pack's header is, until it is written.
    offsets: Vec<u64>,
    buffer: Vec<u8>,
}

impl Emit<'_, '_> {
    fn write(&mut self, id: ItemId) -> Result<(), CompactError> {
        let item = self.items.get(id);
        let (oid, kind, size) = (item.chosen.oid, item.kind, item.size);
        let header = match item.base {
            Some(base) => EntryHeader::OfsDelta { base_offset: self.offsets[base as usize] },
            None => EntryHeader::Whole(kind),
        };
        let offset = match item.form {
            Form::Whole => {
                self.s.read_at(item.chosen.location(), &mut self.buffer)?;
                self.builder.whole(oid, kind, &self.buffer)?
            }
            Form::Stored => {
                let entry = checked_entry(self.s, &item.chosen)?;
                let source =
                    EntrySource { header, inflated_size: entry.inflated_size, compressed: entry.compressed };
                self.builder.raw(oid, kind, size, source)?
            }
            Form::Delta { compressed, inflated } => {
                self.spool.read(compressed, &mut self.buffer)?;
                let source = EntrySource { header, inflated_size: inflated, compressed: &self.buffer };
                self.builder.raw(oid, kind, size, source)?
            }
        };
        self.offsets[id as usize] = offset;
        Ok(())
    }

    /// Any pack that has a blob knows whether it is a pointer.
    fn pointers(&mut self) {
        for (pack, place) in self.s.packs().iter().zip(0u32..) {
            for pointer in pack.pointers() {
                let item = self.items.find(&pointer.blob).map(|id| self.items.get(id));
                if item.is_some_and(|item| item.chosen.pack == place) {
                    self.builder.pointer(pointer);
                }
            }
        }
    }
}

/// What is copied without being read must at least be what was once written.
fn checked_entry<'s>(s: &'s Snapshot, chosen: &Chosen) -> Result<Entry<'s>, CompactError> {
    let entry = items::entry(s, chosen)?;
    let pack = &s.packs()[chosen.pack as usize];
    let start = pack.offset_of(chosen.index) as usize;
    let bytes = &pack.blob()[start..start + entry.entry_len as usize];
    match crc32fast::hash(bytes) == pack.crc32_of(chosen.index) {
        true => Ok(entry),
        false => Err(CompactError::Entry { pack: pack.id(), oid: chosen.oid }),
    }
}
