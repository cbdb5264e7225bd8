//! Which answers are there: growing ones, and kept ones in the order of their last use.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Key;
use super::entry::{Entry, Place};

pub(super) struct Index {
    slots: HashMap<Key, Slot>,
    memory: Shelf,
    disk: Shelf,
    uses: u64,
}

struct Slot {
    entry: Arc<Entry>,
    /// `None` while it grows: nothing evicts it then.
    kept: Option<Kept>,
}

#[derive(Clone, Copy)]
struct Kept {
    place: Place,
    bytes: u64,
    used: u64,
}

/// The kept answers of one place.
struct Shelf {
    by_use: BTreeMap<u64, Key>,
    bytes: u64,
    bytes_max: u64,
}

/// What an entry costs beside its bytes: slot, key, order, counters.
const OVERHEAD_BYTES: u64 = 512;

impl Index {
    pub(super) fn new(memory_max: u64, disk_max: u64) -> Index {
        let shelf = |bytes_max| Shelf { by_use: BTreeMap::new(), bytes: 0, bytes_max };
        Index { slots: HashMap::new(), memory: shelf(memory_max), disk: shelf(disk_max), uses: 0 }
    }

    pub(super) fn get(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let slot = self.slots.get_mut(key)?;
        if let Some(kept) = &mut slot.kept {
            self.uses += 1;
            let shelf = match kept.place {
                Place::Memory => &mut self.memory,
                Place::Disk => &mut self.disk,
            };
            shelf.by_use.remove(&kept.used);
            shelf.by_use.insert(self.uses, *key);
            kept.used = self.uses;
        }
        Some(Arc::clone(&slot.entry))
    }

    /// `entry` grows from now on.
    pub(super) fn begin(&mut self, key: Key, entry: Arc<Entry>) {
        self.remove(&key);
        self.slots.insert(key, Slot { entry, kept: None });
    }

    /// `entry` is finished: keeps it if there is room for it at all, at the cost of others.
    pub(super) fn keep(&mut self, key: Key, entry: &Arc<Entry>) {
        let ours = self.slots.get(&key).is_some_and(|slot| Arc::ptr_eq(&slot.entry, entry));
        let Some((place, len)) = entry.finished().filter(|_| ours) else { return };
        let bytes = match place {
            Place::Memory => len + OVERHEAD_BYTES,
            Place::Disk => len,
        };
        if bytes > self.shelf(place).bytes_max {
            self.remove(&key);
            return;
        }
        self.uses += 1;
        let used = self.uses;
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.kept = Some(Kept { place, bytes, used });
        }
        let shelf = self.shelf(place);
        shelf.by_use.insert(used, key);
        shelf.bytes += bytes;
        while self.shelf(place).bytes > self.shelf(place).bytes_max {
            let Some((_, &oldest)) = self.shelf(place).by_use.first_key_value() else { break };
            self.remove(&oldest);
        }
    }

    /// Forgets `entry`, if it is still the one at `key`.
    pub(super) fn forget(&mut self, key: &Key, entry: &Arc<Entry>) {
        if self.slots.get(key).is_some_and(|slot| Arc::ptr_eq(&slot.entry, entry)) {
            self.remove(key);
        }
    }

    /// Forgets `entry` and returns true if nobody reads it. Under the same lock nobody can begin to.
    pub(super) fn forget_unread(&mut self, key: &Key, entry: &Arc<Entry>) -> bool {
        let unread = !entry.has_readers();
        if unread {
            self.forget(key, entry);
        }
        unread
    }

    /// Forgets all kept answers; growing ones finish.
    pub(super) fn clear(&mut self) {
        self.slots.retain(|_, slot| slot.kept.is_none());
        for shelf in [&mut self.memory, &mut self.disk] {
            shelf.by_use.clear();
            shelf.bytes = 0;
        }
    }

    /// In memory, on disk.
    pub(super) fn kept_bytes(&self) -> (u64, u64) {
        (self.memory.bytes, self.disk.bytes)
    }

    fn remove(&mut self, key: &Key) {
        let Some(Slot { kept: Some(kept), .. }) = self.slots.remove(key) else { return };
        let shelf = self.shelf(kept.place);
        shelf.by_use.remove(&kept.used);
        shelf.bytes -= kept.bytes;
    }

    fn shelf(&mut self, place: Place) -> &mut Shelf {
        match place {
            Place::Memory => &mut self.memory,
            Place::Disk => &mut self.disk,
        }
    }
}
