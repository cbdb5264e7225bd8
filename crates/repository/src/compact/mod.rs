//! Fewer and better packs: compaction, and the packs that a garbage collection leaves.
//!
//! The packs of a snapshot have a total order, the oldest first; each object is taken from the first pack that has it.
//! What lies there is copied as it is whenever possible. A stored delta stays when its base is in the same new pack:
//! bases are reached through packs of the same or an earlier place, so chains cannot close to a circle, except through
//! packs of kind `Api`, where the circle is cut. Chains beyond [`Options::depth`] are cut too. What has no base then is
//! searched for a better one ([`Level::Repack`]) or stored whole ([`Level::Concatenate`]).
//!
//! Nothing here moves a row: the answer is blobs and the ids of the packs they replace. Start at [`plan`].

mod emit;
mod forest;
mod hint;
mod items;
mod plan;
mod search;
mod share;
mod spool;

use std::io;

use database::{Oid, PackId};
use storage::TempFile;

pub use plan::{Plan, Policy, Trigger, plan};
pub use share::{Closure, closure};

use crate::pack::{Blob, PackError};
use crate::pointer::Pointer;
use crate::walk::{self, WalkError};
use crate::{ReadError, Snapshot};
use items::{Chosen, Items};

/// How much work a compaction may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Copies; compresses only what has lost its base or whose chain is too long.
    Concatenate,
    /// Searches deltas for objects that are stored whole, and better ones for those whose delta is long, but not among
    /// what came out of one compaction or collection together.
    Repack,
}

/// How deltas are searched and how long their chains may get.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of objects an object is compared with.
    pub window: usize,
    /// What those objects and their indices may occupy, in bytes.
    pub window_bytes: usize,
    /// Longest chain of deltas.
    pub depth: u8,
    /// Objects beyond this size in bytes keep a delta they have but are not searched.
    pub object_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { window: 16, window_bytes: 128 << 20, depth: 32, object_bytes_max: 32 << 20 }
    }
}

/// What the work needs of its caller.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Makes a file for a pack that is not small, or for what does not fit into memory meanwhile.
    pub temp_file: &'a dyn Fn() -> io::Result<TempFile>,
    /// Asked often; once it says no, the answer is [`CompactError::Interrupted`].
    pub keepgoing: &'a dyn Fn() -> bool,
}

/// A new pack, not yet durable.
#[derive(Debug)]
pub struct NewPack {
    pub blob: Blob,
    pub objects: u32,
    /// Size of the blob.
    pub bytes: u64,
    /// Exactly the closure of the refs of the snapshot. True for a repository only while its refs are those.
    pub closure: bool,
}

/// What takes the place of what.
#[derive(Debug, Default)]
pub struct Compacted {
    /// None if nothing is kept. The closure, if there is one, comes first.
    pub packs: Vec<NewPack>,
    pub superseded: Vec<PackId>,
}

/// What a garbage collection drops, or would drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Objects that no root reaches.
    pub objects: u64,
    /// What their entries occupy in packs; an object stored twice counts once.
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    #[error("cannot read an object: {0}")]
    Read(#[from] ReadError),
    #[error("cannot walk the history: {0}")]
    Walk(#[from] WalkError),
    #[error("pack {pack:?} is damaged: {source}")]
    Pack { pack: PackId, source: PackError },
    #[error("pack {pack:?} is damaged: the entry of {oid} does not have its CRC-32")]
    Entry { pack: PackId, oid: Oid },
    #[error("a pack of this compaction has left the snapshot")]
    PackGone,
    #[error("too many objects for one pack")]
    TooManyObjects,
    #[error("the delta found for {0} does not make it")]
    WrongDelta(Oid),
    #[error("interrupted")]
    Interrupted,
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Carries out a plan made for this snapshot. A plan for the whole repository gives the exact closure of the refs and,
/// if there is more, a second pack with the rest.
pub fn compact(
    s: &Snapshot,
    plan: &Plan,
    options: &Options,
    context: &Context<'_>,
) -> Result<Compacted, CompactError> {
    let chosen = items::choose(s, &positions(s, &plan.packs)?);
    let mut packs = Vec::new();
    if plan.whole {
        let (closure, rest) = split(chosen, &reachable(s, &ref_roots(s))?);
        build(s, closure, true, plan.level, options, context, &mut packs)?;
        build(s, rest, false, plan.level, options, context, &mut packs)?;
    } else {
        build(s, chosen, false, plan.level, options, context, &mut packs)?;
    }
    Ok(Compacted { packs, superseded: plan.packs.clone() })
}

/// Keeps what the refs and `roots` (old values of refs, say; unknown ones are passed over) reach, and nothing else: the
/// exact closure of the refs and, if `roots` reach more, a second pack. Replaces every pack of the snapshot.
pub fn collect(
    s: &Snapshot,
    roots: &[Oid],
    options: &Options,
    context: &Context<'_>,
) -> Result<(Compacted, Garbage), CompactError> {
    let Sorted { closure, kept, garbage } = sort(s, roots)?;
    let mut packs = Vec::new();
    build(s, closure, true, Level::Repack, options, context, &mut packs)?;
    build(s, kept, false, Level::Repack, options, context, &mut packs)?;
    let superseded = s.packs().iter().map(|pack| pack.id()).collect();
    Ok((Compacted { packs, superseded }, garbage))
}

/// The exact closure of the refs as one pack that needs no other; `None` without refs. Little is compressed for it.
pub fn closure_pack(
    s: &Snapshot,
    options: &Options,
    context: &Context<'_>,
) -> Result<Option<NewPack>, CompactError> {
    let all: Vec<_> = (0..s.packs().len() as u32).collect();
    let (closure, _) = split(items::choose(s, &all), &reachable(s, &ref_roots(s))?);
    let mut packs = Vec::new();
    build(s, closure, true, Level::Concatenate, options, context, &mut packs)?;
    Ok(packs.pop())
}

/// What [`collect`] would drop, and the LFS pointers that it would keep.
pub fn garbage(s: &Snapshot, roots: &[Oid]) -> Result<(Garbage, Vec<Pointer>), CompactError> {
    let Sorted { closure, kept, garbage } = sort(s, roots)?;
    let keeps = |chosen: &[Chosen], oid: &Oid| chosen.binary_search_by_key(oid, |chosen| chosen.oid).is_ok();
    let listed = s.packs().iter().flat_map(|pack| pack.pointers());
    let pointers = listed.filter(|pointer| keeps(&closure, &pointer.blob) || keeps(&kept, &pointer.blob));
    Ok((garbage, pointers.collect()))
}

struct Sorted {
    /// What the refs reach.
    closure: Vec<Chosen>,
    /// What only the other roots reach.
    kept: Vec<Chosen>,
    garbage: Garbage,
}

fn sort(s: &Snapshot, roots: &[Oid]) -> Result<Sorted, CompactError> {
    let all: Vec<_> = (0..s.packs().len() as u32).collect();
    let (closure, rest) = split(items::choose(s, &all), &reachable(s, &ref_roots(s))?);
    let known: Vec<_> = roots.iter().filter(|oid| s.contains(oid)).copied().collect();
    let (kept, dropped) = split(rest, &reachable(s, &known)?);
    let mut garbage = Garbage { objects: dropped.len() as u64, bytes: 0 };
    for chosen in &dropped {
        garbage.bytes += items::entry(s, chosen)?.entry_len;
    }
    Ok(Sorted { closure, kept, garbage })
}

fn ref_roots(s: &Snapshot) -> Vec<Oid> {
    s.refs().iter().map(|row| row.oid).collect()
}

/// Everything the roots reach, sorted.
fn reachable(s: &Snapshot, roots: &[Oid]) -> Result<Vec<Oid>, CompactError> {
    let found = walk::closure(s, roots)?;
    let mut oids: Vec<_> = found.iter().map(|at| s.packs()[at.pack as usize].oid(at.index)).collect();
    oids.sort_unstable();
    oids.dedup();
    Ok(oids)
}

/// Those in `oids` (sorted) and those not; both stay sorted.
fn split(chosen: Vec<Chosen>, oids: &[Oid]) -> (Vec<Chosen>, Vec<Chosen>) {
    chosen.into_iter().partition(|chosen| oids.binary_search(&chosen.oid).is_ok())
}

/// The places of these packs in [`Snapshot::packs`].
fn positions(s: &Snapshot, packs: &[PackId]) -> Result<Vec<u32>, CompactError> {
    let position = |id: &PackId| s.packs().iter().position(|pack| pack.id() == *id).map(|at| at as u32);
    packs.iter().map(|id| position(id).ok_or(CompactError::PackGone)).collect()
}

fn build(
    s: &Snapshot,
    chosen: Vec<Chosen>,
    closure: bool,
    level: Level,
    options: &Options,
    context: &Context<'_>,
    packs: &mut Vec<NewPack>,
) -> Result<(), CompactError> {
    if chosen.is_empty() {
        return Ok(());
    }
    let mut items = Items::new(s, chosen)?;
    let mut spool = spool::Spool::new(context);
    match level {
        // A cut object is stored whole, so there are as few cuts as can be.
        Level::Concatenate => forest::cut(&mut items, options.depth, options.depth),
        // It is searched; two trees of half the depth can be joined again.
        Level::Repack => {
            forest::cut(&mut items, options.depth, options.depth.saturating_sub(1) / 2);
            if items.targets(options).next().is_some() {
                let hints = hint::path_hints(s, &items, context)?;
                search::search(s, &mut items, &hints, options, context, &mut spool)?;
            }
        }
    }
    let (blob, built) = emit::emit(s, &items, &spool, context)?;
    packs.push(NewPack { blob, objects: built.objects, bytes: built.bytes, closure });
    Ok(())
}
