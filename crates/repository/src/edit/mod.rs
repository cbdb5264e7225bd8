//! A commit made of single changes of paths, as commits over HTTP are: new trees, and a pack of what is new.
//!
//! Only the trees on the way to a change are read and written, each as a delta on the tree that stood at its path; so a
//! commit costs what it changes, not what the repository holds. Nothing here makes anything durable or moves a ref.
//!
//! [`commit`] is all of it: `plan` sorts the edits by folder, `apply` makes trees of them, `write` the pack. [`merge`] makes the
//! trees of two other commits instead.

mod apply;
mod merge;
mod path;
mod plan;
mod rewrite;
mod write;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use database::Oid;
use storage::TempFile;

use crate::fsck::Defect;
use crate::object::ObjectError;
use crate::pack::{Blob, PackError};
use crate::pointer::Pointer;
use crate::{Pack, ReadError, Snapshot};

pub use merge::{CONFLICTS_MAX, Conflicts, conflicts, merge};
pub use path::{PathError, check_path};
pub use rewrite::{RewriteError, Rewritten, without};
pub use write::tag;

/// One change. Of several of the same path the last counts.
#[derive(Clone, Debug)]
pub struct Edit {
    pub path: String,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// A file with this content. One that is there keeps its executable bit; a folder that is there is in the way.
    Put(Bytes),
    /// A file with the content of this blob, which the repository has.
    Link { mode: u32, blob: Oid },
    /// The file goes.
    DeleteFile,
    /// The folder goes, and everything in it.
    DeleteFolder,
    /// Whatever is there goes.
    Delete,
}

/// What a commit says of itself.
#[derive(Clone, Debug)]
pub struct Description {
    pub author_name: String,
    pub author_email: String,
    /// Since the epoch.
    pub seconds: i64,
    pub message: String,
}

/// A commit that is nowhere yet.
#[derive(Debug)]
pub struct Made {
    pub commit: Oid,
    pub tree: Oid,
    pub objects: u64,
    pub blob: Blob,
    /// The LFS pointers among the new files, sorted by blob.
    pub pointers: Vec<Pointer>,
    pack: Arc<Pack>,
}

/// An annotated tag that is nowhere yet.
#[derive(Debug)]
pub struct MadeTag {
    pub tag: Oid,
    pub blob: Blob,
}

/// Why no commit can be made of the edits. The texts are for the one who sent them.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("invalid path '{path}': {source}")]
    Path { path: String, source: PathError },
    /// The words that clients look for.
    #[error("A file with this name doesn't exist: {0}")]
    Missing(String),
    #[error("'{path}' cannot be both a file and a folder")]
    Clash { path: String },
    #[error("'{path}': {source}")]
    Defect { path: String, source: Defect },
    #[error(
        "the folder '{path}' would have {bytes} bytes of names, more than the {max} allowed; use subfolders"
    )]
    FolderTooLarge { path: String, bytes: u64, max: u64 },
    #[error(
        "the paths lead through more than {} files and folders in all; split the commit into several",
        plan::NODES_MAX
    )]
    TooMany,
    #[error(
        ".gitattributes would be larger than {} bytes, and then no rule in it counts; write fewer and wider rules, such as \
         *.bin",
        crate::attributes::FILE_BYTES_MAX
    )]
    Attributes,
    #[error("{0}")]
    Object(#[from] ObjectError),
    #[error("cannot read what is already here: {0}")]
    Read(#[from] ReadError),
    #[error("cannot write the pack: {0}")]
    Io(#[from] io::Error),
    #[error("the pack that was written cannot be read back: {0}")]
    Written(#[from] PackError),
}

/// Of one tree, inflated: as for pushes.
const TREE_BYTES_MAX: u64 = 64 << 20;

/// Makes a commit on `parent` (of nothing, if there is none). `None` if its tree would be that of the parent. The pack goes to
/// a file that `out` opens, or to memory if it is small.
pub fn commit(
    s: &Snapshot,
    parent: Option<Oid>,
    edits: Vec<Edit>,
    description: &Description,
    out: impl FnOnce() -> io::Result<TempFile>,
) -> Result<Option<Made>, EditError> {
    let base = parent.map(|parent| s.commit(&parent)).transpose()?.map(|commit| commit.tree);
    let plan = plan::plan(edits)?;
    let changed = apply::apply(s, base, plan)?;
    if base == Some(changed.root) {
        return Ok(None);
    }
    write::write(s, parent.as_slice(), changed, description, out).map(Some)
}

/// Makes a commit of `tree`, which the repository has, without parents.
pub fn root_commit(
    s: &Snapshot,
    tree: Oid,
    description: &Description,
    out: impl FnOnce() -> io::Result<TempFile>,
) -> Result<Made, EditError> {
    let unchanged = apply::Changed { root: tree, trees: Vec::new(), blobs: Vec::new() };
    write::write(s, &[], unchanged, description, out)
}

impl Made {
    /// `base` as it would be with the new commit: for looking at it before it moves a ref.
    pub fn overlay(&self, base: &Snapshot) -> Snapshot {
        base.with_pack(Arc::clone(&self.pack))
    }
}
