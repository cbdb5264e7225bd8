//! Plain git directories: read one as the source of an import, write one as an export.
//!
//! A [`Source`] gives its refs and one complete pack of what they reach; the pack then goes the way every received pack
//! goes. [`export`] writes a bare repository that any git reads. Large objects (LFS) are not git data: here it is only
//! known where git-lfs keeps them.

mod export;
mod idx;
mod import;
mod source;
mod writer;

pub use export::{ExportError, Exported, export};
pub use idx::write_idx;
pub use import::{ImportError, Imported, Referrer};
pub use source::{Source, SourceError};
