//! One generation of a repository: its refs and an explicit list of packs. Reads pin one, so nothing changes under them.

mod cache;
mod read;
mod store;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use database::{Oid, RefRow, Repo};
use parking_lot::Mutex;

pub use cache::ObjectCache;
pub use read::ReadError;
pub(crate) use read::Reader;
pub use store::{CacheLimits, Repositories, SnapshotError};

use crate::object::{self, Commit, PackHasher, Tag};
use crate::pack::EntryHeader;
use crate::pointer::Target;
use crate::{Kind, Pack};

/// Refs and objects of one repository at one generation. Lookup goes through its own packs only: what is not found
/// does not exist.
pub struct Snapshot {
    repo: Repo,
    refs: Vec<RefRow>,
    packs: Vec<Arc<Pack>>,
    cache: Arc<ObjectCache>,
    object_bytes_max: u64,
    tags_digest: OnceLock<[u8; 20]>,
    memos: Mutex<HashMap<MemoKey, Memo>>,
}

type MemoKey = (TypeId, &'static str);
type Memo = Arc<dyn Any + Send + Sync>;

/// Where an object lies: the position of its pack in [`Snapshot::packs`], and its position in that pack's id order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    pub pack: u32,
    pub index: u32,
}

/// Reading refuses larger objects unless told otherwise. Ingest takes less by default.
pub const OBJECT_BYTES_MAX: u64 = 1 << 30;
/// Tags of tags of tags: git has no bound, nobody needs this many.
const PEEL_MAX: usize = 1000;

impl Snapshot {
    /// A snapshot of exactly these refs and packs, in any order, with an object cache of its own.
    pub fn from_packs(repo: Repo, refs: Vec<RefRow>, packs: Vec<Arc<Pack>>) -> Snapshot {
        let cache = Arc::new(ObjectCache::new(CacheLimits::default().objects_bytes));
        Snapshot::new(repo, refs, packs, cache, OBJECT_BYTES_MAX)
    }

    pub(crate) fn new(
        repo: Repo,
        mut refs: Vec<RefRow>,
        mut packs: Vec<Arc<Pack>>,
        cache: Arc<ObjectCache>,
        object_bytes_max: u64,
    ) -> Snapshot {
        refs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        // New objects are asked for most, and the packs of new ones are small.
        packs.sort_unstable_by_key(|pack| {
            (std::cmp::Reverse(pack.added_generation()), pack.objects(), std::cmp::Reverse(pack.id()))
        });
        Snapshot {
            repo,
            refs,
            packs,
            cache,
            object_bytes_max,
            tags_digest: OnceLock::new(),
            memos: Mutex::new(HashMap::new()),
        }
    }

    /// This snapshot with one more pack in front: what a change that is not yet applied would see.
    pub fn with_pack(&self, pack: Arc<Pack>) -> Snapshot {
        let mut packs = self.packs.clone();
        packs.insert(0, pack);
        Snapshot {
            repo: self.repo.clone(),
            refs: self.refs.clone(),
            packs,
            cache: Arc::clone(&self.cache),
            object_bytes_max: self.object_bytes_max,
            tags_digest: OnceLock::new(),
            memos: Mutex::new(HashMap::new()),
        }
    }

    /// The same objects with other refs: what somebody sees who is shown only some.
    pub fn with_refs(&self, refs: Vec<RefRow>) -> Snapshot {
        let (repo, packs, cache) = (self.repo.clone(), self.packs.clone(), Arc::clone(&self.cache));
        Snapshot::new(repo, refs, packs, cache, self.object_bytes_max)
    }

    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    pub fn generation(&self) -> i64 {
        self.repo.generation
    }

    /// Sorted by name, bytewise.
    pub fn refs(&self) -> &[RefRow] {
        &self.refs
    }

    /// By full name, such as `refs/heads/main`.
    pub fn find_ref(&self, name: &str) -> Option<&RefRow> {
        let at = self.refs.binary_search_by(|row| row.name.as_str().cmp(name)).ok()?;
        Some(&self.refs[at])
    }

    /// The branch `HEAD` points at; `None` while it is unborn.
    pub fn head_target(&self) -> Option<&RefRow> {
        self.find_ref(&self.repo.head_ref)
    }

    /// In lookup order: newest first.
    pub fn packs(&self) -> &[Arc<Pack>] {
        &self.packs
    }

    pub fn locate(&self, oid: &Oid) -> Option<Location> {
        let mut packs = self.packs.iter().zip(0..);
        packs.find_map(|(pack, position)| Some(Location { pack: position, index: pack.find(oid)? }))
    }

    pub fn contains(&self, oid: &Oid) -> bool {
        self.locate_pack(oid).is_some()
    }

    /// Without inflating anything.
    pub fn kind(&self, oid: &Oid) -> Option<Kind> {
        self.locate_pack(oid).map(|(pack, index)| pack.kind_of(index))
    }

    /// The inflated size in bytes, without inflating anything.
    pub fn size(&self, oid: &Oid) -> Option<u64> {
        self.locate_pack(oid).map(|(pack, index)| pack.size_of(index))
    }

    /// The id of a located object.
    pub fn oid_at(&self, location: Location) -> Oid {
        self.packs.get(location.pack as usize).map_or(Oid::NULL, |pack| pack.oid(location.index))
    }

    /// Replaces the content of `out` by the object's bytes. An error if it is larger than the bound of this snapshot.
    pub fn read(&self, oid: &Oid, out: &mut Vec<u8>) -> Result<Kind, ReadError> {
        let (pack, index) = self.locate_pack(oid).ok_or(ReadError::Missing(*oid))?;
        self.read_from(oid, pack, index, out)
    }

    /// As [`Snapshot::read`], for an object located before.
    pub fn read_at(&self, location: Location, out: &mut Vec<u8>) -> Result<Kind, ReadError> {
        let pack = self.packs.get(location.pack as usize).ok_or(ReadError::Missing(Oid::NULL))?;
        self.read_from(&pack.oid(location.index), pack, location.index, out)
    }

    /// As [`Snapshot::read_at`], without a copy if the object is in the cache. For trees, which are asked for often.
    pub fn read_shared_at(&self, location: Location) -> Result<(Kind, Arc<[u8]>), ReadError> {
        let pack = self.packs.get(location.pack as usize).ok_or(ReadError::Missing(Oid::NULL))?;
        let locate = |oid: &Oid| self.locate_for_reader(oid);
        self.reader(&locate).read_shared(&pack.oid(location.index), pack, location.index)
    }

    /// Reads an object that must be of `kind`.
    pub fn read_as(&self, oid: &Oid, kind: Kind, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let (pack, index) = self.locate_pack(oid).ok_or(ReadError::Missing(*oid))?;
        let actual = pack.kind_of(index);
        if actual != kind {
            return Err(ReadError::WrongKind { oid: *oid, expected: kind, actual });
        }
        self.read_from(oid, pack, index, out).map(drop)
    }

    pub fn commit(&self, oid: &Oid) -> Result<Commit, ReadError> {
        self.parse(oid, Kind::Commit, object::parse_commit)
    }

    pub fn tag(&self, oid: &Oid) -> Result<Tag, ReadError> {
        self.parse(oid, Kind::Tag, object::parse_tag)
    }

    /// The object behind `oid` that is not a tag; `oid` itself if it is none.
    pub fn peel(&self, oid: &Oid) -> Result<Oid, ReadError> {
        let mut oid = *oid;
        for _ in 0..PEEL_MAX {
            match self.kind(&oid).ok_or(ReadError::Missing(oid))? {
                Kind::Tag => oid = self.tag(&oid)?.target,
                _ => return Ok(oid),
            }
        }
        Err(ReadError::Corrupt { oid, reason: "too many tags of tags".to_owned() })
    }

    /// Changes exactly when a ref under `refs/tags/` does: for keys of cached answers that depend on tags.
    pub fn tags_digest(&self) -> [u8; 20] {
        *self.tags_digest.get_or_init(|| {
            let mut hasher = PackHasher::new();
            for row in self.refs.iter().filter(|row| row.name.starts_with("refs/tags/")) {
                hasher.update(row.name.as_bytes());
                hasher.update(b"\0");
                hasher.update(&row.oid.0);
                hasher.update(&row.peeled.unwrap_or(Oid::NULL).0);
            }
            hasher.finish().unwrap_or(Oid::NULL).0
        })
    }

    /// What was made under `key` before, or `make()` now; kept as long as the snapshot. For encoded advertisements and
    /// the like. Two threads may make it at once, then the first to finish is kept.
    pub fn memo<T: Any + Send + Sync>(&self, key: &'static str, make: impl FnOnce() -> T) -> Arc<T> {
        let slot = (TypeId::of::<T>(), key);
        let found = self.memos.lock().get(&slot).cloned();
        let value = found.unwrap_or_else(|| {
            let made: Memo = Arc::new(make());
            Arc::clone(self.memos.lock().entry(slot).or_insert(made))
        });
        value.downcast().expect("because the slot's key holds the type")
    }

    /// How many deltas stand one on the other below an object, counted up to `max`.
    pub(crate) fn chain_len(&self, oid: &Oid, max: usize) -> Result<usize, ReadError> {
        let missing = || ReadError::Missing(*oid);
        let (mut pack, index) = self.locate_pack(oid).ok_or_else(missing)?;
        let mut offset = pack.offset_of(index);
        for len in 0..max {
            let entry = pack
                .entry_at(offset)
                .map_err(|error| ReadError::Corrupt { oid: *oid, reason: error.to_string() })?;
            (pack, offset) = match entry.header {
                EntryHeader::Whole(_) => return Ok(len),
                EntryHeader::OfsDelta { base_offset } => (pack, base_offset),
                EntryHeader::RefDelta { base } => match pack.find(&base) {
                    Some(index) => (pack, pack.offset_of(index)),
                    None => self.locate_for_reader(&base).ok_or_else(missing)?,
                },
            };
        }
        Ok(max)
    }

    /// The large object that the blob points at, if it is here and does. Found out when its pack was indexed.
    pub fn pointer(&self, blob: &Oid) -> Option<Target> {
        let pointer = self.locate_pack(blob)?.0.pointer(blob)?;
        Some(Target { sha256: pointer.sha256, size: pointer.size })
    }

    pub(crate) fn locate_pack(&self, oid: &Oid) -> Option<(&Pack, u32)> {
        self.packs.iter().find_map(|pack| Some((&**pack, pack.find(oid)?)))
    }

    fn read_from(&self, oid: &Oid, pack: &Pack, index: u32, out: &mut Vec<u8>) -> Result<Kind, ReadError> {
        let locate = |oid: &Oid| self.locate_for_reader(oid);
        self.reader(&locate).read(oid, pack, index, out)
    }

    fn locate_for_reader(&self, oid: &Oid) -> Option<(&Pack, u64)> {
        self.locate_pack(oid).map(|(pack, index)| (pack, pack.offset_of(index)))
    }

    fn reader<'a>(&'a self, locate: &'a dyn Fn(&Oid) -> Option<(&'a Pack, u64)>) -> Reader<'a> {
        Reader { locate, cache: &self.cache, size_max: self.object_bytes_max }
    }

    fn parse<T>(
        &self,
        oid: &Oid,
        kind: Kind,
        parse: impl FnOnce(&[u8]) -> Result<T, object::ObjectError>,
    ) -> Result<T, ReadError> {
        let mut data = Vec::new();
        self.read_as(oid, kind, &mut data)?;
        parse(&data).map_err(|error| ReadError::Corrupt { oid: *oid, reason: error.to_string() })
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("repo", &self.repo.id)
            .field("generation", &self.repo.generation)
            .field("refs", &self.refs.len())
            .field("packs", &self.packs.len())
            .finish()
    }
}
