//! What the rows say, as plain data.

use bytes::Bytes;

use crate::{Namespace, Oid, RepoPath};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub i64);
    )*};
}

ids! {
    UserId;
    TokenId;
    /// Never reused, never a name: rename and transfer change a row, not an id.
    RepoId;
    /// As [`RepoId`].
    BucketId;
    OrgId;
}

/// Names a pack for ever: 26 Crockford digits as text. The storage key of its blob is made from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackId(pub ulid::Ulid);

impl std::fmt::Debug for PackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl PackId {
    pub fn new() -> PackId {
        PackId(ulid::Ulid::new())
    }

    /// `packs/<aa>/<ulid>`; `aa` are the last two (random) digits, lower-cased, so that directories stay
    /// even.
    pub fn storage_key(&self) -> String {
        let id = self.0.to_string().to_ascii_lowercase();
        format!("packs/{}/{id}", &id[24..])
    }
}

impl Default for PackId {
    fn default() -> Self {
        PackId::new()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub name: Namespace,
    pub admin: bool,
    pub disabled: bool,
    pub created_ms: i64,
}

/// What a token may do at most; its user's rights still bound it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRole {
    Read,
    Write,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub user: User,
    pub name: String,
    pub role: TokenRole,
    pub created_ms: i64,
    pub revoked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    Public,
    Private,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoState {
    Live,
    /// Its name is free again, its packs are condemned.
    Deleted,
}

/// One repository's row. `generation` counts changes of refs and packs; `acl_version` counts changes of who
/// may do what; `gc_epoch` counts garbage collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo {
    pub id: RepoId,
    pub path: RepoPath,
    pub visibility: Visibility,
    pub state: RepoState,
    /// Full name of the branch `HEAD` points at; it may be unborn.
    pub head_ref: String,
    pub generation: i64,
    pub gc_epoch: i64,
    pub acl_version: i64,
    /// An administrator may push every ref, server-owned ones too.
    pub mirror: bool,
    /// Overrides the node's limit for blobs that are not LFS, in bytes.
    pub blob_bytes_max: Option<u64>,
    /// Refs may point at LFS pointers whose objects are not here (a mirror that leaves them out).
    pub lfs_incomplete: bool,
    /// Who wants to read it must ask first.
    pub gating: Gating,
    /// `None` if nobody in particular made it.
    pub creator: Option<UserId>,
    pub created_ms: i64,
}

/// A ref of one snapshot. `peeled` is set iff `oid` is an annotated tag: the object behind the last tag of
/// the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefRow {
    pub name: String,
    pub oid: Oid,
    pub peeled: Option<Oid>,
}

/// Where a pack came from; also its place in the lookup order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PackKind {
    /// Made by a commit over HTTP; may hold deltas on objects of older packs.
    Api,
    /// Received by push or import; self-contained.
    Receive,
    /// The result of compaction.
    Compact,
    /// The result of a garbage collection.
    Gc,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRow {
    pub id: PackId,
    pub kind: PackKind,
    pub objects: u64,
    /// Size of the whole blob (pack, index, sidecar), in bytes.
    pub bytes: u64,
    /// Proven to be exactly the closure of the refs of generation `added_generation`.
    pub closure: bool,
    /// The blob itself if it is at most 64 KiB, else it lies in storage under [`PackId::storage_key`].
    pub inline: Option<Bytes>,
    pub added_generation: i64,
}

/// Refs (sorted by name, bytewise) and live packs (oldest first) of one repo at one generation, read in one
/// transaction.
#[derive(Clone, Debug)]
pub struct SnapshotRows {
    pub repo: Repo,
    pub refs: Vec<RefRow>,
    pub packs: Vec<PackRow>,
}

/// One line of the append-only ref log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefLogRow {
    pub generation: i64,
    pub name: String,
    pub old: Oid,
    pub new: Oid,
    pub actor: Option<UserId>,
    pub at_ms: i64,
    /// What moved it: `push`, `import`, …; for a push its options follow, one per line.
    pub message: String,
}

/// A blob that a row knows of: `Staged` before its bytes are written, `Condemned` until they are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobState {
    Staged,
    Live,
    Condemned,
    Deleted,
}

/// Several users behind one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Org {
    pub id: OrgId,
    pub name: Namespace,
    pub created_ms: i64,
}

/// What a member may do in the organisation's repositories. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrgRole {
    /// Read private ones.
    Read,
    /// Make new ones and write to those.
    Contributor,
    /// Write to all.
    Write,
    /// Everything, also who the members are.
    Admin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub user: UserId,
    pub name: Namespace,
    pub role: OrgRole,
}

/// One of a user's organisations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub org: Namespace,
    pub role: OrgRole,
}

/// Whether and how strangers are let into a repository that they can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gating {
    Off,
    /// Who asks is let in.
    Auto,
    /// The owner decides.
    Manual,
}

/// What is to be changed; the rest stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepoSettings {
    pub visibility: Option<Visibility>,
    pub gating: Option<Gating>,
    pub discussions_disabled: Option<bool>,
}

/// The state that a change of a repo was decided by; `None` is any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsOf {
    pub acl_version: Option<i64>,
    pub generation: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    Done,
    /// There is no such live repo.
    Gone,
    /// It is not as it was; nothing was changed.
    Moved,
}

/// What follows from the files of `commit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `None`: the default branch is unborn.
    pub commit: Option<Oid>,
    pub modified_ms: i64,
    pub tags: Vec<String>,
    /// Known to the crate that made it.
    pub document: String,
}
