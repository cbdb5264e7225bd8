//! The objects of a new pack: from which copy each is taken, and in which form it will be written.

use std::cmp::Reverse;

use database::{Oid, PackKind};

use super::spool::Piece;
use super::{CompactError, Options};
use crate::pack::{Entry, EntryHeader};
use crate::snapshot::Location;
use crate::{Kind, Snapshot};

/// The copy of an object that is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub oid: Oid,
    /// Place in [`Snapshot::packs`].
    pub pack: u32,
    /// In id order of that pack.
    pub index: u32,
}

/// A place in [`Items`].
pub(super) type ItemId = u32;

/// Sorted by id.
pub(super) struct Items {
    pub list: Vec<Item>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub chosen: Chosen,
    pub kind: Kind,
    /// Inflated, deltas applied, in bytes.
    pub size: u64,
    /// Of the copy in its pack.
    pub offset: u64,
    pub form: Form,
    /// What it is a delta on.
    pub base: Option<ItemId>,
    /// The base of a stored delta that could not stay.
    pub lost_base: Option<ItemId>,
    /// Length of the delta in bytes, inflated; of no meaning without a base.
    pub delta_bytes: u64,
    /// The longest chain of deltas above it has at most this length.
    pub height: u8,
    /// A search has compared it with what lies in its pack.
    pub searched: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// As it lies in its pack.
    Stored,
    /// Stored as a delta, to be written whole.
    Whole,
    /// As a new delta.
    Delta { compressed: Piece, inflated: u64 },
}

/// Chooses the copy of every object in the packs at these places: the oldest pack comes first. Sorted by id.
pub(super) fn choose(s: &Snapshot, packs: &[u32]) -> Vec<Chosen> {
    let mut chosen = Vec::new();
    for &pack in packs {
        let p = &s.packs()[pack as usize];
        chosen.extend((0..p.objects()).map(|index| Chosen { oid: p.oid(index), pack, index }));
    }
    // The list of a snapshot begins with the newest.
    chosen.sort_unstable_by_key(|chosen| (chosen.oid, Reverse(chosen.pack)));
    chosen.dedup_by_key(|chosen| chosen.oid);
    chosen
}

pub(super) fn entry<'s>(s: &'s Snapshot, chosen: &Chosen) -> Result<Entry<'s>, CompactError> {
    let pack = &s.packs()[chosen.pack as usize];
    pack.entry(chosen.index).map_err(|source| CompactError::Pack { pack: pack.id(), source })
}

impl Chosen {
    pub fn location(&self) -> Location {
        Location { pack: self.pack, index: self.index }
    }
}

impl Item {
    /// Wants a delta, or a better one: what was pushed has been compared with little else.
    pub fn is_target(&self, options: &Options) -> bool {
        let is_poor = self.delta_bytes > self.size / 16;
        self.is_candidate(options) && (self.base.is_none() || is_poor)
    }

    /// May take part in a search. Less than a few dozen bytes cannot be shortened by naming a base.
    pub fn is_candidate(&self, options: &Options) -> bool {
        (50..=options.object_bytes_max).contains(&self.size)
    }
}

impl Items {
    /// `chosen` is sorted by id and holds at most one copy of each.
    pub fn new(s: &Snapshot, chosen: Vec<Chosen>) -> Result<Items, CompactError> {
        u32::try_from(chosen.len()).map_err(|_| CompactError::TooManyObjects)?;
        let find =
            |oid: Oid| chosen.binary_search_by_key(&oid, |chosen| chosen.oid).ok().map(|at| at as ItemId);
        let item = |chosen: &Chosen| {
            let pack = &s.packs()[chosen.pack as usize];
            let entry = entry(s, chosen)?;
            let base = match entry.header {
                EntryHeader::Whole(_) => None,
                EntryHeader::RefDelta { base } => Some(find(base)),
                EntryHeader::OfsDelta { base_offset } => {
                    Some(pack.index_at_offset(base_offset).and_then(|index| find(pack.oid(index))))
                }
            };
            Ok(Item {
                chosen: *chosen,
                kind: pack.kind_of(chosen.index),
                size: pack.size_of(chosen.index),
                offset: pack.offset_of(chosen.index),
                form: if base == Some(None) { Form::Whole } else { Form::Stored },
                base: base.flatten(),
                lost_base: None,
                delta_bytes: entry.inflated_size,
                height: 0,
                searched: matches!(pack.kind(), PackKind::Compact | PackKind::Gc),
            })
        };
        Ok(Items { list: chosen.iter().map(item).collect::<Result<_, CompactError>>()? })
    }

    pub fn get(&self, id: ItemId) -> &Item {
        &self.list[id as usize]
    }

    pub fn get_mut(&mut self, id: ItemId) -> &mut Item {
        &mut self.list[id as usize]
    }

    pub fn find(&self, oid: &Oid) -> Option<ItemId> {
        self.list.binary_search_by_key(oid, |item| item.chosen.oid).ok().map(|at| at as ItemId)
    }

    pub fn ids(&self) -> impl Iterator<Item = ItemId> + use<> {
        0..self.list.len() as ItemId
    }

    /// Those that want a delta.
    pub fn targets(&self, options: &Options) -> impl Iterator<Item = &Item> {
        self.list.iter().filter(|item| item.is_target(options))
    }

    /// How many deltas have to be applied to read the object.
    pub fn depth(&self, id: ItemId) -> u8 {
        self.bases(id).count() as u8
    }

    /// Whether `id` is `other` or made of it, directly or not.
    pub fn is_made_of(&self, id: ItemId, other: ItemId) -> bool {
        id == other || self.bases(id).any(|base| base == other)
    }

    /// Makes `id` a delta on `base`. The caller has made sure that `base` is not made of `id` and that the chain does
    /// not get too long.
    pub fn attach(&mut self, id: ItemId, base: ItemId, form: Form) {
        let item = self.get_mut(id);
        (item.base, item.form) = (Some(base), form);
        let mut height = item.height;
        let mut next = Some(base);
        while let Some(below) = next {
            height += 1;
            let item = self.get_mut(below);
            item.height = item.height.max(height);
            next = item.base;
        }
    }

    /// The base, its base, and so on.
    fn bases(&self, id: ItemId) -> impl Iterator<Item = ItemId> {
        std::iter::successors(self.get(id).base, |&base| self.get(base).base)
    }
}
