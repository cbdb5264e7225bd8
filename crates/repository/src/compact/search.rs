//! Finds a base for every object that is stored whole, as git does: sorted so that neighbours resemble each other, each
//! is compared with the objects in a window before it.
//!
//! Objects that are stored as deltas stay what they are but serve as bases too; they are read only when something near
//! them is searched. A tree of deltas that gets a base moves as a whole, so the height of trees counts, not only depth.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::items::{Form, Item, ItemId, Items};
use super::spool::Spool;
use super::{CompactError, Context, Options, items};
use crate::delta::{self, Blocks, worthwhile_max};
use crate::pack::entry::deflate;
use crate::{ReadError, Snapshot};

/// Gives a base to as many objects as it can, and a better one to those whose delta is poor. The new deltas go into
/// `spool`.
pub(super) fn search(
    s: &Snapshot,
    items: &mut Items,
    hints: &[u32],
    options: &Options,
    context: &Context<'_>,
    spool: &mut Spool<'_>,
) -> Result<(), CompactError> {
    let mut order: Vec<_> = items.ids().filter(|&id| items.get(id).is_candidate(options)).collect();
    order.sort_unstable_by_key(|&id| {
        let item = items.get(id);
        // Of the same path the larger comes first, since deleting is shorter than inserting; then the newer.
        (item.kind, Reverse(hints[id as usize]), Reverse(item.size), item.chosen.pack, item.offset)
    });
    let mut search = Search { s, items, options, window: Window::new(options), scratch: Vec::new() };
    for id in order {
        if search.items.get(id).is_target(options) {
            if !(context.keepgoing)() {
                return Err(CompactError::Interrupted);
            }
            search.target(id, spool)?;
        } else {
            search.enter(Slot { id, loaded: None });
        }
    }
    Ok(())
}

struct Search<'a> {
    s: &'a Snapshot,
    items: &'a mut Items,
    options: &'a Options,
    window: Window,
    scratch: Vec<u8>,
}

/// The best delta so far.
struct Best {
    base: ItemId,
    /// Depth of the base.
    depth: u8,
    delta: Vec<u8>,
}

impl Search<'_> {
    /// Searches a base for `id` and puts it into the window.
    fn target(&mut self, id: ItemId, spool: &mut Spool<'_>) -> Result<(), CompactError> {
        let mut slots = std::mem::take(&mut self.window.slots);
        let mut target = Slot { id, loaded: None };
        let mut best = None;
        for slot in slots.iter_mut().rev() {
            self.consider(&mut target, slot, &mut best)?;
        }
        if let Some(base) = self.ancestor(id)
            && slots.iter().all(|slot| slot.id != base)
        {
            self.consider(&mut target, &mut Slot { id: base, loaded: None }, &mut best)?;
        }
        if let Some(best) = best
            && self.accept(id, &best, spool)?
            && let Some(at) = slots.iter().position(|slot| slot.id == best.base)
            && let Some(slot) = slots.remove(at)
        {
            // What has served as a base is likely to serve the next object too.
            slots.push_back(slot);
        }
        self.window.slots = slots;
        self.enter(target);
        Ok(())
    }

    /// What nothing can be a delta on must not push out what something can.
    fn enter(&mut self, slot: Slot) {
        if self.items.depth(slot.id) < self.options.depth {
            self.window.push(slot);
        }
    }

    /// Encodes `target` on `slot` if that is allowed and may turn out better than `best`.
    fn consider(
        &mut self,
        target: &mut Slot,
        slot: &mut Slot,
        best: &mut Option<Best>,
    ) -> Result<(), CompactError> {
        let (t, b) = (self.items.get(target.id), self.items.get(slot.id));
        if !may_resemble(t, b) {
            return Ok(());
        }
        let depth = self.items.depth(slot.id);
        let depth_max = self.options.depth;
        if self.room(t).is_none_or(|room| depth > room) || self.items.is_made_of(slot.id, target.id) {
            return Ok(());
        }
        // A deeper base must give a shorter delta, and a shallower one may give a longer: depth is a budget of the
        // objects to come.
        let (limit, from) = match (&*best, t.base) {
            (Some(best), _) => (best.delta.len(), best.depth),
            (None, Some(base)) => (t.delta_bytes as usize, self.items.depth(base)),
            (None, None) => (worthwhile_max(t.size as usize), 0),
        };
        let limit = limit * usize::from(depth_max - depth) / usize::from(depth_max - from);
        // What the target has more than the base must be inserted.
        if limit == 0 || t.size.saturating_sub(b.size) >= limit as u64 {
            return Ok(());
        }
        let target_id = target.id;
        let target = target.load(self.s, self.items)?;
        let base = slot.load(self.s, self.items)?;
        let blocks = base.blocks.get_or_insert_with(|| Blocks::new(&base.data));
        if !blocks.encode(&base.data, &target.data, limit, &mut self.scratch) {
            return Ok(());
        }
        // Within the limit, so it is better, unless it is just as good.
        if best.as_ref().is_some_and(|best| best.delta.len() == self.scratch.len() && best.depth <= depth) {
            return Ok(());
        }
        let mut result = Vec::new();
        let made = delta::apply(&base.data, &self.scratch, &mut result, target.data.len() as u64);
        if made.is_err() || result != target.data {
            return Err(CompactError::WrongDelta(self.items.get(target_id).chosen.oid));
        }
        *best = Some(Best { base: slot.id, depth, delta: self.scratch.clone() });
        Ok(())
    }

    /// Takes the delta, unless the object is stored shorter than it.
    fn accept(&mut self, id: ItemId, best: &Best, spool: &mut Spool<'_>) -> Result<bool, CompactError> {
        self.scratch.clear();
        deflate(&best.delta, &mut self.scratch)?;
        let item = self.items.get(id);
        if matches!(item.form, Form::Stored) {
            let stored = items::entry(self.s, &item.chosen)?.compressed.len();
            if self.scratch.len() >= stored {
                return Ok(false);
            }
        }
        let form = Form::Delta { compressed: spool.push(&self.scratch)?, inflated: best.delta.len() as u64 };
        self.items.attach(id, best.base, form);
        Ok(true)
    }

    /// The depth that a base of this object may have. A high tree is put low, even if that makes its delta longer: else
    /// two of them would use up the height, and the next one could not be joined to them.
    fn room(&self, target: &Item) -> Option<u8> {
        let room = self.options.depth.checked_sub(target.height + 1)?;
        Some(if target.height > self.options.depth / 4 { room / 16 } else { room })
    }

    /// Of a delta that was cut off because its chain was too long: a base further down that chain, wherever the sorting
    /// has put it. Neighbours in a chain resemble each other. Not the nearest that fits but one at a quarter of the
    /// depth, since chains go on growing where they are longest.
    fn ancestor(&self, id: ItemId) -> Option<ItemId> {
        let room = self.room(self.items.get(id))? / 4;
        let mut at = self.items.get(id).lost_base?;
        while self.items.depth(at) > room {
            at = self.items.get(at).base?;
        }
        Some(at)
    }
}

/// Cheap reasons not to compare two objects.
fn may_resemble(target: &Item, base: &Item) -> bool {
    let seen_before = target.searched && base.chosen.pack == target.chosen.pack;
    // An index of something huge for the sake of something small is not worth it.
    target.kind == base.kind && !seen_before && target.size >= base.size / 32
}

/// The objects before the one that is looked at, the oldest first.
struct Window {
    slots: VecDeque<Slot>,
    length_max: usize,
    bytes_max: usize,
}

struct Slot {
    id: ItemId,
    loaded: Option<Loaded>,
}

struct Loaded {
    data: Vec<u8>,
    /// Made when it first serves as a base.
    blocks: Option<Blocks>,
}

impl Window {
    fn new(options: &Options) -> Window {
        Window { slots: VecDeque::new(), length_max: options.window, bytes_max: options.window_bytes }
    }

    fn push(&mut self, slot: Slot) {
        self.slots.push_back(slot);
        let mut bytes: usize = self.slots.iter().map(Slot::memory).sum();
        while self.slots.len() > self.length_max || (bytes > self.bytes_max && self.slots.len() > 1) {
            bytes -= self.slots.pop_front().map_or(0, |slot| slot.memory());
        }
    }
}

impl Slot {
    fn load(&mut self, s: &Snapshot, items: &Items) -> Result<&mut Loaded, ReadError> {
        match &mut self.loaded {
            Some(loaded) => Ok(loaded),
            none => {
                let mut data = Vec::new();
                s.read_at(items.get(self.id).chosen.location(), &mut data)?;
                Ok(none.insert(Loaded { data, blocks: None }))
            }
        }
    }

    fn memory(&self) -> usize {
        let Some(loaded) = &self.loaded else { return 0 };
        loaded.data.len() + loaded.blocks.as_ref().map_or(0, Blocks::memory)
    }
}
