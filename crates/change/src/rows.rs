//! Putting a file of rows in the place of one that is gone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use storage::sync_directory;

/// What SQLite keeps beside a database: part of it until it is checkpointed, poison for another one.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

fn beside(rows: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(rows);
    path.push(suffix);
    path.into()
}

/// Removes the file `rows`, if it is there, and its companions.
pub(crate) fn remove(rows: &Path) -> io::Result<()> {
    let companions = COMPANIONS.iter().map(|suffix| beside(rows, suffix));
    std::iter::once(rows.to_owned()).chain(companions).try_for_each(|file| match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}

/// Renames `new` (complete, without companions) to `rows`. Companions that a lost database left there are set aside
/// first: SQLite would play a stale log into the new rows.
pub(crate) fn put_in_place(new: &Path, rows: &Path) -> io::Result<()> {
    let directory = rows.parent().unwrap_or(Path::new("."));
    for suffix in COMPANIONS {
        let stale = beside(rows, suffix);
        match fs::rename(&stale, beside(&stale, ".set-aside")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_directory(directory)?;
    fs::rename(new, rows)?;
    sync_directory(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_log_is_set_aside() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        for (name, content) in [("new", "new"), ("granary.db-wal", "stale"), ("old", "x"), ("old-wal", "x")] {
            fs::write(path(name), content)?;
        }
        put_in_place(&path("new"), &path("granary.db"))?;
        remove(&path("old"))?;
        let mut names = Vec::new();
        for entry in fs::read_dir(directory.path())? {
            names.push(entry?.file_name());
        }
        names.sort();
        assert_eq!(names, ["granary.db", "granary.db-wal.set-aside"]);
        Ok(())
    }
}
