//! A bare repository directory with everything the refs of a snapshot reach, for any git to read.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use database::{PackId, PackKind};
use storage::{TempFile, map_file, sync_directory};

use super::idx::write_idx;
use crate::compact::{self, CompactError, Context};
use crate::pack::Blob;
use crate::pack::{PackError, TRAILER_BYTES};
use crate::{Pack, Snapshot};

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    pub refs: usize,
    pub objects: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{0} exists and is not an empty directory")]
    Occupied(PathBuf),
    #[error("cannot gather the objects: {0}")]
    Objects(#[from] CompactError),
    #[error("cannot read the pack just written: {0}")]
    Pack(#[from] PackError),
    #[error("cannot write {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Repository format 0: nothing in it that a git of 2005 would not know.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
/// As git writes it: every tag is peeled, and the names are sorted.
const PACKED_REFS: &str = "# pack-refs with: peeled fully-peeled sorted \n";

/// Writes a bare repository to `dir`, which must not exist or be empty: either all of it, durable, or nothing. The
/// directory is readable by its owner only.
pub fn export(s: &Snapshot, dir: &Path, keepgoing: &dyn Fn() -> bool) -> Result<Exported, ExportError> {
    let io_error = |source| ExportError::Io { path: dir.to_owned(), source };
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(io_error)?;
    let staging = tempfile::Builder::new().prefix(".export-").tempdir_in(parent).map_err(io_error)?;
    let objects = fill(s, staging.path(), keepgoing)?;
    match fs::rename(staging.path(), dir) {
        Ok(()) => {}
        Err(error)
            if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory) =>
        {
            return Err(ExportError::Occupied(dir.to_owned()));
        }
        Err(error) => return Err(io_error(error)),
    }
    // It has moved away: nothing to remove.
    let _ = staging.keep();
    sync_directory(parent).map_err(io_error)?;
    Ok(Exported { refs: s.refs().len(), objects })
}

/// Fills the directory; returns the number of objects.
fn fill(s: &Snapshot, dir: &Path, keepgoing: &dyn Fn() -> bool) -> Result<u32, ExportError> {
    let io_error = |source| ExportError::Io { path: dir.to_owned(), source };
    let pack_dir = dir.join("objects/pack");
    // Git takes a directory without `refs/` and `objects/` for no repository.
    for path in ["objects/pack", "objects/info", "refs/heads", "refs/tags"] {
        fs::create_dir_all(dir.join(path)).map_err(io_error)?;
    }
    let temp_file = || tempfile::Builder::new().prefix("tmp_pack_").tempfile_in(&pack_dir);
    let context = Context { temp_file: &temp_file, keepgoing };
    let pack = compact::closure_pack(s, &compact::Options::default(), &context)?;
    let objects = pack.as_ref().map_or(0, |pack| pack.objects);
    if let Some(pack) = pack {
        let file = match pack.blob {
            Blob::File(file) => file,
            Blob::Inline(bytes) => {
                let mut file = temp_file().map_err(io_error)?;
                file.write_all(&bytes).map_err(io_error)?;
                file
            }
        };
        publish_pack(file, &pack_dir)?;
    }

    let files = [("config", CONFIG.to_owned()), ("packed-refs", packed_refs(s)), ("HEAD", head(s))];
    for (name, content) in files {
        let write = || {
            let mut file = File::create_new(dir.join(name))?;
            file.write_all(content.as_bytes())?;
            file.sync_all()
        };
        write().map_err(io_error)?;
    }
    for path in ["objects/pack", "objects", "refs", ""] {
        sync_directory(&dir.join(path)).map_err(io_error)?;
    }
    Ok(objects)
}

/// Makes `pack-<checksum>.pack` and `.idx` of a file that holds a pack blob.
fn publish_pack(mut file: TempFile, pack_dir: &Path) -> Result<(), ExportError> {
    let io_error = |source| ExportError::Io { path: pack_dir.to_owned(), source };
    let (pack_len, name) = {
        let blob: Bytes = map_file(file.as_file()).map_err(io_error)?;
        let pack = Pack::from_blob(PackId::new(), PackKind::Compact, true, 0, blob)?;
        let bytes = pack.pack_bytes();
        let mut name = String::from("pack-");
        for byte in &bytes[bytes.len() - TRAILER_BYTES..] {
            write!(name, "{byte:02x}").expect("because writing to a string cannot fail");
        }
        let mut idx = File::create_new(pack_dir.join(&name).with_extension("idx")).map_err(io_error)?;
        let mut write = || {
            write_idx(&pack, &mut idx)?;
            idx.set_permissions(Permissions::from_mode(0o444))?;
            idx.sync_all()
        };
        write().map_err(io_error)?;
        (bytes.len() as u64, name)
        // The mapping ends here, before the file is cut.
    };
    let mut finish = || {
        file.flush()?;
        file.as_file().set_len(pack_len)?;
        file.as_file().set_permissions(Permissions::from_mode(0o444))?;
        file.as_file().sync_all()
    };
    finish().map_err(io_error)?;
    let path = pack_dir.join(name).with_extension("pack");
    file.persist_noclobber(path).map_err(|error| io_error(error.error))?;
    Ok(())
}

fn head(s: &Snapshot) -> String {
    format!("ref: {}\n", s.repo().head_ref)
}

fn packed_refs(s: &Snapshot) -> String {
    let mut text = String::from(PACKED_REFS);
    for row in s.refs() {
        writeln!(text, "{} {}", row.oid, row.name).expect("because writing to a string cannot fail");
        if let Some(peeled) = row.peeled {
            writeln!(text, "^{peeled}").expect("because writing to a string cannot fail");
        }
    }
    text
}
