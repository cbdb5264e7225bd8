//! The data directory: its layout, and its one owner.
//!
//! ```text
//! DIR/granary.db             rows (SQLite; with -wal and -shm while open)
//! DIR/packs/                 packs that are too large for a row
//! DIR/objects/               large objects, unless storage.url says otherwise
//! DIR/manifests/             refs, pack lists and what is in buckets once more, to rebuild the rows from
//! DIR/staging/               what is being written; emptied at start
//! DIR/control.sock           commands reach the process that owns the directory here
//! DIR/lock                   flock(2)ed by the owner; holds its pid
//! DIR/initial-admin-token    made by the first start, unless on a terminal; delete it once read
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

/// A data directory that this process owns until it drops this.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    handle: Handle,
    _lock: File,
}

/// The directory held open, so that names in it can be reached by a short path.
#[derive(Debug)]
pub struct Handle(OwnedFd);

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process owns it. It answers commands if it is a server.
    #[error("the data directory {path} is in use by {}", owner(*.pid))]
    InUse { path: PathBuf, pid: Option<u32> },
    #[error(
        "there is no granary data in {path}; `granary serve` creates it, --data-dir names another directory"
    )]
    Missing { path: PathBuf },
    #[error("cannot use the data directory {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

const LOCK: &str = "lock";

impl DataDir {
    /// Takes the directory, creating it (0700) and its parents if needed.
    pub fn create(path: &Path) -> Result<DataDir, DataDirError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| io_error(path, source))?;
        DataDir::take(path)
    }

    /// Takes the directory, provided that there is a database in it. Creates nothing.
    pub fn existing(path: &Path) -> Result<DataDir, DataDirError> {
        let missing = || DataDirError::Missing { path: path.to_owned() };
        // The first start takes the lock before it creates the database: then the directory is in use, not missing.
        if !database_path(path).exists() && !path.join(LOCK).exists() {
            return Err(missing());
        }
        let taken = DataDir::take(path)?;
        if database_path(path).exists() { Ok(taken) } else { Err(missing()) }
    }

    fn take(path: &Path) -> Result<DataDir, DataDirError> {
        let fail = |source| io_error(path, source);
        let path = fs::canonicalize(path).map_err(fail)?;
        let handle = Handle::open(&path).map_err(fail)?;
        // Not truncated on opening: it may hold the pid of its owner.
        let lock_path = path.join(LOCK);
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(lock_path)
            .map_err(fail)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(DataDirError::InUse { pid: pid_in(&mut lock), path });
            }
            Err(error) => return Err(fail(error.into())),
        }
        let pid = std::process::id();
        lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{pid}")).map_err(fail)?;
        Ok(DataDir { path, handle, _lock: lock })
    }

    /// Absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub fn database_path(&self) -> PathBuf {
        database_path(&self.path)
    }

    pub fn initial_token_path(&self) -> PathBuf {
        self.path.join("initial-admin-token")
    }
}

impl Handle {
    pub fn open(path: &Path) -> io::Result<Handle> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Handle(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// The control socket by a path that stays below the 108 bytes of `sockaddr_un`, however long the directory's is.
    /// Valid as long as `self`.
    pub fn socket_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/control.sock", self.0.as_raw_fd()))
    }
}

/// Where the rows of `data_dir` are.
pub fn database_path(data_dir: &Path) -> PathBuf {
    data_dir.join("granary.db")
}

fn pid_in(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn io_error(path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_owner_at_a_time_and_the_refusal_names_it() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/data");
        let owner = DataDir::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);

        let refused = DataDir::create(&path).unwrap_err();
        assert!(
            refused.to_string().ends_with(&format!("in use by process {}", std::process::id())),
            "{refused}"
        );
        drop(owner);
        DataDir::create(&path).unwrap();
    }

    #[test]
    fn commands_do_not_create_a_directory_by_a_typing_error() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        assert!(matches!(DataDir::existing(&path), Err(DataDirError::Missing { .. })));
        assert!(!path.exists());
    }
}
