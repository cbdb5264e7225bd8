//! The closure of some refs as packs for another repository, which takes those that are stored already where it may.
//!
//! A pack is shared iff it lies in the closure with every object, so that nothing else is given away, and holds the base
//! of each of its deltas, so that it can be read beside whatever packs. What such packs lack comes in a new one, which
//! needs no other either. Together they are exactly the closure, and there is no order among them that matters.

use std::sync::Arc;

use database::Oid;

use super::{CompactError, Context, Level, NewPack, Options, build, items, reachable, ref_roots};
use crate::pack::{EntryHeader, INLINE_BYTES_MAX};
use crate::{Pack, Snapshot};

/// Exactly the closure of the refs of a snapshot.
#[derive(Debug, Default)]
pub struct Closure {
    /// Packs of the snapshot that are stored, not in rows.
    pub shared: Vec<Arc<Pack>>,
    /// What is in none of these. Alone, it is the closure.
    pub rest: Option<NewPack>,
}

/// Finds the packs that can be shared, and builds the rest. Little is compressed for it. Nothing without refs.
pub fn closure(s: &Snapshot, options: &Options, context: &Context<'_>) -> Result<Closure, CompactError> {
    let wanted = reachable(s, &ref_roots(s))?;
    let (mut shared, mut places) = (Vec::new(), Vec::new());
    for (pack, place) in s.packs().iter().zip(0..) {
        if pack.blob().len() > INLINE_BYTES_MAX && lies_in(pack, &wanted) && stands_alone(pack)? {
            shared.push(Arc::clone(pack));
            places.push(place);
        }
    }
    let given = |oid: &Oid| shared.iter().any(|pack| pack.find(oid).is_some());
    let all: Vec<_> = (0..s.packs().len() as u32).collect();
    let mut lacking = items::choose(s, &all);
    lacking.retain(|chosen| wanted.binary_search(&chosen.oid).is_ok() && !given(&chosen.oid));
    let mut built = Vec::new();
    build(s, lacking, shared.is_empty(), Level::Concatenate, options, context, &mut built)?;
    Ok(Closure { shared, rest: built.pop() })
}

/// `wanted` is sorted.
fn lies_in(pack: &Pack, wanted: &[Oid]) -> bool {
    (0..pack.objects()).all(|index| wanted.binary_search(&pack.oid(index)).is_ok())
}

/// No object is a delta on one of another pack. Only packs of kind `Api` have such, but this looks at all.
fn stands_alone(pack: &Pack) -> Result<bool, CompactError> {
    // From the front to the back of the file, which may be large and not in memory.
    for nth in 0..pack.objects() {
        let entry = pack
            .entry(pack.in_pack_order(nth))
            .map_err(|source| CompactError::Pack { pack: pack.id(), source })?;
        if let EntryHeader::RefDelta { base } = entry.header
            && pack.find(&base).is_none()
        {
            return Ok(false);
        }
    }
    Ok(true)
}
