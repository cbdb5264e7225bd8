//! The one door to change: everything that moves a ref or changes a pack list is a [`Change`].

use bytes::Bytes;

use crate::{Oid, PackId, PackKind, RepoId, Sha256, UserId};

/// A change of one repository as plain data. Applied in one transaction or not at all.
#[derive(Clone, Debug)]
pub struct Change {
    pub repo: RepoId,
    /// Refuse with [`Conflict::AclMoved`] if the repo's version differs. `None` for system jobs.
    pub acl_version: Option<i64>,
    /// Refuse with [`Conflict::GcMoved`] if the repo's epoch differs: what was found present may be gone.
    pub gc_epoch: i64,
    /// Deletions take effect before the others, whatever their order.
    pub refs: Vec<RefEdit>,
    /// Refuse with [`RefRejection::TooManyRefs`] to create a ref beyond so many in the repo.
    pub refs_max: u64,
    /// All refs move or none.
    pub atomic: bool,
    /// Added iff at least one ref moves or `refs` is empty.
    pub packs_added: Vec<NewPack>,
    /// Leave the pack list; their blobs are condemned until `superseded_until_ms`.
    /// Refuse with [`Conflict::PacksMoved`] unless all of them are live in this repo.
    pub packs_superseded: Vec<PackId>,
    pub superseded_until_ms: i64,
    /// Refuse with [`Conflict::GenerationMoved`] unless the repo is at this generation (compaction, GC: they need
    /// the refs and packs they worked from). `None` for pushes, which compare per ref.
    pub generation: Option<i64>,
    pub head_ref: Option<HeadEdit>,
    /// Large objects and their sizes. Refuse with [`Conflict::LinksMoved`] unless each is linked in the repo with that
    /// size, and possessed or verified.
    pub links_required: Vec<(Sha256, u64)>,
    /// Leave the repo (a garbage collection), unless they were linked anew since the time beside them
    /// ([`crate::Link::linked_ms`]). Backings that then have no link are condemned until `superseded_until_ms`.
    pub links_dropped: Vec<(Sha256, i64)>,
    /// Refuse with [`Conflict::LocksMoved`] unless the repo's locks are at this version.
    pub locks_version: Option<i64>,
    /// A garbage collection: `gc_epoch` grows.
    pub collects: bool,
    pub actor: Option<UserId>,
    /// For the ref log: `push`, `import`, …; the push options follow, one per line.
    pub message: String,
}

/// Where `HEAD` points from now on; a full name of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadEdit {
    /// There, whatever is there.
    Set(String),
    /// There, if the branch `HEAD` names does not exist after this change and this one does. Decided in the
    /// transaction: of two first pushes, the one that comes second does not move it.
    IfUnborn(String),
}

/// One ref's move. `new` null deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefEdit {
    pub name: String,
    pub expected: Expected,
    pub new: Oid,
    /// What `new` peels to, iff it is an annotated tag.
    pub peeled: Option<Oid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Absent,
    At(Oid),
    /// Whatever it is (an administrator's import).
    Any,
}

#[derive(Clone, Debug)]
pub struct NewPack {
    pub id: PackId,
    pub kind: PackKind,
    pub objects: u64,
    pub closure: bool,
    pub content: PackContent,
}

#[derive(Clone, Debug)]
pub enum PackContent {
    /// At most 64 KiB; the row holds it.
    Inline(Bytes),
    /// Durable in storage under [`PackId::storage_key`], with a `Staged` row that becomes `Live`.
    Stored { bytes: u64 },
    /// A stored pack that is live in the repo `from`; from now on it is in both, and its blob is deleted when the last
    /// one drops it. Refuse with [`Conflict::PacksMoved`] unless it is there and is what is said here, or if this repo
    /// has it already.
    Shared { from: RepoId, bytes: u64 },
}

#[derive(Clone, Debug)]
pub struct Applied {
    /// The repo's generation after the change; unchanged if every ref was rejected.
    pub generation: i64,
    /// One per [`Change::refs`], in order.
    pub refs: Vec<RefOutcome>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefOutcome {
    Moved { old: Oid },
    Rejected(RefRejection),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefRejection {
    /// The ref is not where the caller saw it.
    #[error("'{name}' is at {actual}, not where it was expected")]
    Moved { name: String, actual: Oid },
    #[error("'{existing}' exists; cannot create '{name}'")]
    NameClash { name: String, existing: String },
    #[error("the repository has reached its limit of {max} refs")]
    TooManyRefs { max: u64 },
    /// Another ref of the same atomic change was rejected.
    #[error("atomic push failed")]
    Atomic,
}

/// Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("the repository is gone")]
    RepoGone,
    #[error("access to the repository was changed meanwhile")]
    AclMoved,
    #[error("a garbage collection ran meanwhile")]
    GcMoved,
    #[error("the repository changed meanwhile")]
    GenerationMoved,
    #[error("the pack list changed meanwhile")]
    PacksMoved,
    #[error("a large object is missing")]
    LinksMoved,
    #[error("a file was locked meanwhile")]
    LocksMoved,
    #[error("a pull request changed meanwhile")]
    PullMoved,
}
