//! Takes a pack from a stranger: verifies it, completes it, checks every object in it, and writes a pack blob.
//!
//! [`ingest`] gets the complete pack as bytes (in memory, or a mapped staging file) and looks at each object once:
//!
//! 1. `scan` walks the entries, inflates them, hashes whole objects.
//! 2. `resolve` applies the deltas, each base before what is made of it, and finds the bases of a thin pack in the
//!    snapshot.
//! 3. `check` sees every object as it passes: defects ([`crate::fsck`]), edges, LFS pointers, the size of blobs; and
//!    in the end whether every edge leads to an object of the right kind.
//! 4. `write` copies the pack (untouched unless it was thin) and puts index and sidecar behind it.
//!
//! Memory is proportional to the number of objects (some tens of bytes each) plus the larger of
//! [`Limits::memory_bytes`] and what one delta needs, never to the size of the pack. A delta needs its base, itself and
//! its result at once, each bounded by the limit for objects of that kind. Nothing here makes anything durable or moves
//! a ref.

mod check;
mod resolve;
mod scan;
mod write;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use database::{Oid, PackId, PackKind};
use storage::TempFile;

use crate::delta::DeltaError;
use crate::fsck::Defect;
use crate::object::ObjectError;
use crate::pack::Blob;
use crate::pack::{EntryError, PackError};
use crate::pointer::Pointer;
use crate::snapshot::{ReadError, Snapshot};
use crate::{Kind, Pack};
use check::Check;

/// Bounds of one received pack.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The pack as received.
    pub pack_bytes: u64,
    pub objects: u32,
    /// Any one object, inflated. What is larger could not be read back.
    pub object_bytes: u64,
    /// A commit or a tag, inflated. Every walk over the history holds them whole.
    pub commit_and_tag_bytes: u64,
    /// A tree, inflated: held whole like a commit. 64 MiB are more than a million files in one directory.
    pub tree_bytes: u64,
    /// A file that is not in LFS.
    pub blob_bytes: u64,
    /// Delta bases that are held while what depends on them is resolved, together with the delta that is being applied
    /// and its result. Beyond it bases are dropped, and made again when needed; only what a single delta needs may be
    /// more.
    pub memory_bytes: usize,
    /// Everything that is inflated or made by a delta, all together. Bounds the time that a small pack of large deltas
    /// can cost; real histories of 100,000 objects have been seen to need 160 GB.
    pub inflated_bytes_total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            pack_bytes: 16 << 30,
            objects: 20_000_000,
            object_bytes: 512 << 20,
            commit_and_tag_bytes: 16 << 20,
            tree_bytes: 64 << 20,
            blob_bytes: 10 << 20,
            memory_bytes: 128 << 20,
            inflated_bytes_total: 256 << 30,
        }
    }
}

impl Limits {
    /// The largest object of `kind` that is taken into memory.
    fn bytes_of(&self, kind: Kind) -> u64 {
        let max = match kind {
            Kind::Commit | Kind::Tag => self.commit_and_tag_bytes,
            Kind::Tree => self.tree_bytes,
            Kind::Blob => self.object_bytes,
        };
        max.min(self.object_bytes)
    }
}

/// A checked pack that is nowhere yet.
#[derive(Debug)]
pub struct Ingested {
    pub blob: Blob,
    /// Objects and edges that the new pack relies on, all found in the snapshot with these kinds. If the repository's
    /// `gc_epoch` moved since, they have to be found again in its packs. Sorted.
    pub external_edges: Vec<(Oid, Kind)>,
    /// The LFS pointers that were received, sorted by blob. Those among the bases of a thin pack are not: they were here
    /// before, and what they need is a matter of when they came.
    pub pointers: Vec<Pointer>,
    pack: Arc<Pack>,
}

/// Why a pack was refused. The text is for the one who pushed.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("not a pack file")]
    NotAPack,
    #[error("pack version {0} is not supported")]
    Version(u32),
    #[error(
        "the pack has {bytes} bytes, more than the {max} allowed in one push; push fewer commits at a time"
    )]
    PackTooLarge { bytes: u64, max: u64 },
    #[error(
        "the pack has {objects} objects, more than the {max} allowed in one push; push fewer commits at a time"
    )]
    TooManyObjects { objects: u32, max: u32 },
    #[error("the pack is cut short")]
    Truncated,
    #[error("there is garbage behind the end of the pack")]
    Garbage,
    #[error("pack is corrupted (SHA1 mismatch)")]
    Checksum,
    #[error("pack has a bad object at offset {offset}: {source}")]
    Entry { offset: u64, source: EntryError },
    #[error("pack has a bad delta at offset {offset}: {source}")]
    Delta { offset: u64, source: DeltaError },
    #[error(
        "the delta at offset {offset} has more than {max} others below it; repack with 'git repack -adf'"
    )]
    TooDeep { offset: u64, max: usize },
    #[error("pack has {0} unresolved deltas")]
    Unresolved(usize),
    #[error(
        "the {} at offset {offset} has {size} bytes, more than the {max} allowed",
        kind.map_or("delta", Kind::name)
    )]
    ObjectTooLarge {
        offset: u64,
        /// `None` if it is the delta itself that is too large.
        kind: Option<Kind>,
        size: u64,
        max: u64,
    },
    #[error(
        "the {} {oid}, which the pack has a delta on, has {size} bytes, more than the {max} allowed; \
         push with --no-thin",
        kind.name()
    )]
    BaseTooLarge { oid: Oid, kind: Kind, size: u64, max: u64 },
    #[error("the objects of the pack have more than {max} bytes in all; push fewer commits at a time")]
    TooMuchWork { max: u64 },
    #[error("object at offset {offset}: {source}")]
    Object { offset: u64, source: ObjectError },
    #[error("object {0} occurs twice in the pack")]
    Duplicate(Oid),
    #[error(transparent)]
    Defect(#[from] Defect),
    #[error("{}", too_large(path.as_deref(), oid, *size, *max, *others))]
    BlobTooLarge {
        oid: Oid,
        /// One path where it stands, if a pushed commit has it.
        path: Option<String>,
        size: u64,
        max: u64,
        /// How many more blobs are too large.
        others: usize,
    },
    #[error("missing necessary objects: {}", listed(oids, *total))]
    Missing {
        /// The first three.
        oids: Vec<Oid>,
        total: usize,
    },
    #[error("object {oid} is a {}, but is referred to as a {}", actual.name(), expected.name())]
    WrongKind { oid: Oid, expected: Kind, actual: Kind },
    #[error("interrupted")]
    Interrupted,
    #[error("cannot read what is already here: {0}")]
    Base(#[from] ReadError),
    #[error("cannot write the pack: {0}")]
    Io(#[from] io::Error),
    #[error("the pack that was written cannot be read back: {0}")]
    Written(#[from] PackError),
}

/// Checks `pack` against the snapshot `base` and writes it to a file that `out` opens (or to memory if it is small).
/// `keepgoing` is asked now and then; once it says no, the work ends with [`IngestError::Interrupted`].
pub fn ingest(
    pack: Bytes,
    base: &Snapshot,
    limits: &Limits,
    out: impl FnOnce() -> io::Result<TempFile>,
    keepgoing: &dyn Fn() -> bool,
) -> Result<Ingested, IngestError> {
    let mut work = Work { done: 0, max: limits.inflated_bytes_total, steps: 0, keepgoing };
    let mut check = Check::new(base, limits);
    let scanned = scan::scan(&pack, limits, &mut check, &mut work)?;
    let mut resolved = resolve::resolve(&pack, scanned, base, limits, &mut check, &mut work)?;
    resolved.rows.sort_unstable_by_key(|row| row.oid);
    if let Some(pair) = resolved.rows.windows(2).find(|pair| pair[0].oid == pair[1].oid) {
        return Err(IngestError::Duplicate(pair[0].oid));
    }
    let mut external_edges = check.connected(&resolved.rows)?;
    // If a collection removed a base that was copied, what the base refers to may be gone too.
    external_edges.extend(resolved.thin.iter().map(|row| (row.oid, row.kind)));
    external_edges.sort_unstable();
    external_edges.dedup();

    let mut pointers = check.pointers.clone();
    pointers.sort_unstable();
    if !pointers.is_empty() {
        let thin: HashSet<Oid> = resolved.thin.iter().map(|row| row.oid).collect();
        pointers.retain(|pointer| !thin.contains(&pointer.blob));
    }

    let blob = write::write(&pack, resolved, &mut check.pointers, base, out)?;
    let bytes = blob.bytes()?;
    let generation = base.generation() + 1;
    let pack = Arc::new(Pack::from_blob(PackId::new(), PackKind::Receive, false, generation, bytes)?);
    let ingested = Ingested { blob, external_edges, pointers, pack };
    check.blobs(&ingested.pack, &ingested.overlay(base))?;
    Ok(ingested)
}

impl Ingested {
    pub fn objects(&self) -> u64 {
        u64::from(self.pack.objects())
    }

    /// The new pack, readable. Its id is fresh: store it under this one.
    pub fn pack(&self) -> &Arc<Pack> {
        &self.pack
    }

    /// `base` as it would be with the new pack: for looking at the new tips before they move a ref.
    pub fn overlay(&self, base: &Snapshot) -> Snapshot {
        base.with_pack(Arc::clone(&self.pack))
    }

    /// The kind of an object of the new pack.
    pub fn kind_of(&self, oid: &Oid) -> Option<Kind> {
        self.pack.find(oid).map(|index| self.pack.kind_of(index))
    }

    /// The kind of what a ref is to point at, in the new pack or in `base`.
    pub fn tip_kind(&self, base: &Snapshot, oid: &Oid) -> Option<Kind> {
        self.kind_of(oid).or_else(|| base.kind(oid))
    }

    /// What a tag in the new pack or in `base` finally points at; `oid` itself if it is no tag.
    pub fn peel(&self, base: &Snapshot, oid: &Oid) -> Result<Oid, ReadError> {
        self.overlay(base).peel(oid)
    }
}

/// Counts what is inflated, and asks now and then whether to go on.
struct Work<'a> {
    done: u64,
    max: u64,
    steps: u32,
    keepgoing: &'a dyn Fn() -> bool,
}

impl Work<'_> {
    /// Before `bytes` more are inflated or made.
    fn add(&mut self, bytes: u64) -> Result<(), IngestError> {
        self.done = self.done.saturating_add(bytes);
        if self.done > self.max {
            return Err(IngestError::TooMuchWork { max: self.max });
        }
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(128) && !(self.keepgoing)() {
            return Err(IngestError::Interrupted);
        }
        Ok(())
    }
}

fn too_large(path: Option<&str>, oid: &Oid, size: u64, max: u64, others: usize) -> String {
    let name = path.map_or_else(|| format!("blob {oid}"), |path| format!("'{path}'"));
    let include = path.unwrap_or("PATH");
    let others =
        if others > 0 { format!(" ({others} more files are too large as well)") } else { String::new() };
    format!(
        "{name} has {size} bytes, more than the {max} allowed outside of Git LFS{others}; \
         run: git lfs migrate import --everything --include=\"{include}\"; then push again"
    )
}

fn listed(oids: &[Oid], total: usize) -> String {
    let list = oids.iter().map(Oid::to_string).collect::<Vec<_>>().join(", ");
    if total > oids.len() { format!("{list} and {} more", total - oids.len()) } else { list }
}
