//! A consistent copy of the rows while writes go on.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{Database, DbError};

impl Database {
    /// Copies everything committed before the call to the new file `to`; it must not exist. Durable on
    /// return; removed on failure. Takes as long as reading and writing the file; meanwhile the WAL grows.
    pub fn copy_to(&self, to: &Path) -> Result<(), DbError> {
        OpenOptions::new().write(true).create_new(true).open(to)?;
        let partial = Partial(Some(to.to_owned()));
        // All pages in one step are one read transaction: a consistent state, which writers need not wait
        // for.
        self.read(|conn| {
            let mut copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            match Backup::new(conn, &mut copy)?.step(-1)? {
                StepResult::Done => {}
                other => return Err(std::io::Error::other(format!("the copy stopped: {other:?}")).into()),
            }
            copy.close().map_err(|(_, error)| error)?;
            Ok(())
        })?;
        File::open(to)?.sync_all()?;
        let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
        partial.keep();
        Ok(())
    }
}

/// A file that is removed unless kept.
struct Partial(Option<PathBuf>);

impl Partial {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "a partial copy cannot be removed");
        }
    }
}
