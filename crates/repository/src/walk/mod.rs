//! What can be reached from what: the read path's selections, shallow boundaries, ancestry, and full closures; what
//! differs between two trees, and under which names blobs stand.
//!
//! Everything walks one [`Snapshot`](crate::Snapshot). Objects are numbered densely by where they lie ([`marks`]), so
//! that "seen" is a bit and not a hash entry; trees are walked as differences to trees that were walked before
//! ([`trees`]), so that a commit costs what it changed. Results are those of git's upload-pack; where git's depend on
//! the order of its walk, ours is the larger set.
//!
//! Start at [`select`].

mod base;
mod changed;
mod closure;
mod commits;
mod compare;
mod filter;
mod marks;
mod names;
mod news;
mod select;
mod shallow;
mod trees;

pub use base::merge_base;
pub use changed::{Paths, changed_paths};
pub use closure::closure;
pub use commits::{is_ancestor, reaches};
pub(crate) use compare::{after_first, by_name, skip_equal};
pub use filter::Filter;
pub(crate) use marks::{Marks, Numbering, Ranks};
pub use names::{paths_at_tips, paths_in_pack, places};
pub use news::new_commits;
pub use select::{Query, Selection, select};
pub use shallow::{Depth, INFINITE_DEPTH, Shallow, deepen};

use crate::ReadError;

/// The caller no longer wants the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Bounds of one walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkLimits {
    /// Commits that are looked at. A commit costs about a microsecond and a hundred bytes.
    pub commits_max: usize,
}

impl Default for WalkLimits {
    fn default() -> Self {
        WalkLimits { commits_max: 10_000_000 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("more than {max} commits would have to be looked at")]
    TooManyCommits { max: usize },
    /// A deepening by date or by exclusion leaves nothing. The words are git's.
    #[error("no commits selected for shallow requests")]
    NothingSelected,
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Calls a progress callback now and then.
pub(crate) struct Ticker<'p> {
    count: u64,
    progress: &'p mut dyn FnMut(u64) -> Result<(), Interrupted>,
}

impl<'p> Ticker<'p> {
    const EVERY: u64 = 256;

    pub(crate) fn new(progress: &'p mut dyn FnMut(u64) -> Result<(), Interrupted>) -> Ticker<'p> {
        Ticker { count: 0, progress }
    }

    /// Counts one object.
    pub(crate) fn tick(&mut self) -> Result<(), Interrupted> {
        self.count += 1;
        if self.count.is_multiple_of(Self::EVERY) { (self.progress)(self.count) } else { Ok(()) }
    }
}
