//! The local disk engine.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use memmap2::Mmap;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::objects::{Expected, Mistaken, StoreError, compare, read_file, write_file};

/// A directory that holds blobs under their keys and, beside them, files that are being written.
#[derive(Clone, Debug)]
pub struct Disk {
    root: PathBuf,
    /// Where files are written, below `root`.
    staging: &'static str,
    /// Directories whose own entry this process knows to be durable. One that merely exists may have been made by a
    /// writer, or a process, that did not live to fsync its parent.
    durable: Arc<Mutex<HashSet<PathBuf>>>,
    /// Held (read) from making the directories of a key until their entries are durable, and (write) while a directory
    /// is removed: what `durable` says of it must not outlive it.
    directories: Arc<RwLock<()>>,
    /// The name of the network file system it is on.
    network: Option<&'static str>,
    /// Held as long as the directory is used, if the data directory's lock does not cover it.
    _lock: Option<Arc<File>>,
}

/// A file that is being written. Gone when dropped, unless published; what a crash leaves there is removed at the next start.
pub type TempFile = tempfile::NamedTempFile;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path} is on a network file system ({kind}), where SQLite and memory-mapped packs are unsafe; \
         put the data directory on a local disk"
    )]
    NetworkFileSystem { path: PathBuf, kind: &'static str },
    #[error("there is no directory {path}: is it mounted?")]
    Absent { path: PathBuf },
    #[error("{path} is not the directory that is meant: {why}")]
    Mistaken { path: PathBuf, why: Box<dyn std::error::Error + Send + Sync> },
    #[error("{path} is in use by another hub, or by another command")]
    InUse { path: PathBuf },
    #[error("cannot use {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// In the data directory, all of which is ours.
const STAGING: &str = "staging";
/// In a directory that somebody named, where a plain word might be somebody's own.
const STAGING_APART: &str = ".granary-staging";
const LOCK_APART: &str = ".granary-lock";

impl Disk {
    /// Opens `root`, creating it (0700) if needed, and empties its staging directory. One process at a time: the
    /// caller holds the data directory's lock.
    pub fn open(root: &Path) -> Result<Disk, OpenError> {
        let io_error = |source| OpenError::Io { path: root.to_owned(), source };
        create_root(root).map_err(io_error)?;
        let disk = Disk::of(root, STAGING, None).map_err(io_error)?;
        if let Some(kind) = disk.network {
            return Err(OpenError::NetworkFileSystem { path: root.to_owned(), kind });
        }
        disk.empty_staging().map_err(io_error)?;
        Ok(disk)
    }

    /// A directory that somebody named, perhaps on a network file system. Nothing in it is ever mapped: a file that
    /// another machine truncates would take the process with it. Locked as long as it is used; created and marked only
    /// if it is new. What others may have put there stays: staging has a name of our own, and is emptied only beside our
    /// mark.
    pub(crate) fn open_apart(root: &Path, expected: Expected) -> Result<Disk, OpenError> {
        let path = || root.to_owned();
        let io_error = |source| OpenError::Io { path: path(), source };
        let mistaken = |why: Mistaken| OpenError::Mistaken { path: path(), why: why.into() };
        let unmarked = |error: StoreError| mistaken(error.into());
        match expected {
            Expected::New(_) => create_root(root).map_err(io_error)?,
            Expected::Any | Expected::Known(_) if !root.is_dir() => {
                return Err(OpenError::Absent { path: path() });
            }
            // Before anything is written: an empty mount point is left as it is.
            Expected::Any | Expected::Known(_) => {
                compare(expected, read_file(root).map_err(unmarked)?).map_err(mistaken)?;
            }
        }
        let lock = lock(root)?;
        let disk = Disk::of(root, STAGING_APART, lock.map(Arc::new)).map_err(io_error)?;
        create_dirs(&disk.staging_path()).map_err(io_error)?;
        let mut mark = read_file(root).map_err(unmarked)?;
        if let (Expected::New(id), None) = (expected, mark) {
            write_file(&disk, id).map_err(unmarked)?;
            mark = Some(id);
        }
        compare(expected, mark).map_err(mistaken)?;
        if mark.is_some() {
            disk.empty_staging().map_err(io_error)?;
        }
        Ok(disk)
    }

    fn of(root: &Path, staging: &'static str, lock: Option<Arc<File>>) -> io::Result<Disk> {
        let network = network_file_system(root)?;
        let root = root.to_owned();
        Ok(Disk { root, staging, durable: Arc::default(), directories: Arc::default(), network, _lock: lock })
    }

    fn staging_path(&self) -> PathBuf {
        self.root.join(self.staging)
    }

    fn empty_staging(&self) -> io::Result<()> {
        let staging = self.staging_path();
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => create_dirs(&staging),
        }
    }

    /// The name of the network file system it is on, if it is.
    pub(crate) fn network(&self) -> Option<&'static str> {
        self.network
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// An empty file on the same file system, to be filled and then published or dropped.
    pub fn temp_file(&self) -> io::Result<TempFile> {
        tempfile::Builder::new().prefix("").tempfile_in(self.staging_path())
    }

    /// A file without a name on the same file system: scratch room that goes with its last handle.
    pub(crate) fn unnamed_file(&self) -> io::Result<File> {
        tempfile::tempfile_in(self.staging_path())
    }

    /// Makes the bytes of `file` durable under `key`: fsync of the file, rename, fsync of every directory on the way
    /// that is not known to be durable. On return a crash cannot lose them. Refuses a key that exists.
    pub fn publish(&self, file: TempFile, key: &str) -> io::Result<()> {
        let path = self.path(key);
        file.as_file().sync_all()?;
        let parent = path.parent().expect("because keys have directories");
        let _directories = self.directories.read().unwrap_or_else(PoisonError::into_inner);
        create_dirs(parent)?;
        file.persist_noclobber(&path).map_err(|error| error.error)?;
        sync_directory(parent)?;
        self.sync_entries_to(parent)
    }

    /// The names of what lies directly in `directory` (a prefix of keys that ends before a slash); none if it is not
    /// there. For small directories with one owner, such as a repository's manifests.
    pub fn names_in(&self, directory: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Makes the entries of `directory` and of the directories above it durable, up to the root.
    fn sync_entries_to(&self, directory: &Path) -> io::Result<()> {
        let is_known = |directory: &Path| {
            self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(directory)
        };
        let mut current = directory;
        while current != self.root && !is_known(current) {
            let parent = current.parent().expect("because keys lie below the root");
            sync_directory(parent)?;
            self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(current.to_owned());
            current = parent;
        }
        Ok(())
    }

    /// The bytes under `key`, mapped: they count as file cache, not as memory of this process.
    pub fn map(&self, key: &str) -> io::Result<Bytes> {
        map_file(&File::open(self.path(key))?)
    }

    pub fn open_file(&self, key: &str) -> io::Result<File> {
        File::open(self.path(key))
    }

    /// `None` if there is nothing under `key`.
    pub fn size_bytes(&self, key: &str) -> io::Result<Option<u64>> {
        match fs::metadata(self.path(key)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Durable on return. Deleting what is not there succeeds: a crash may have come between bytes and row.
    pub fn delete(&self, key: &str) -> io::Result<()> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_directory(path.parent().expect("because keys have directories")),
        }
    }

    /// As [`Disk::delete`], and the directory goes too if nothing else is in it and nobody publishes just then: for keys
    /// whose directory is of one object. An empty one does no harm, so a push never waits for this, and it need not be
    /// durable.
    pub(crate) fn delete_and_prune(&self, key: &str) -> io::Result<()> {
        self.delete(key)?;
        let path = self.path(key);
        let parent = path.parent().expect("because keys have directories");
        let Ok(_directories) = self.directories.try_write() else { return Ok(()) };
        match fs::remove_dir(parent) {
            Ok(()) => {
                self.durable.lock().unwrap_or_else(PoisonError::into_inner).remove(parent);
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// What an unprivileged writer can still write, in bytes.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Where `key` lies; for backups and for error messages.
    pub fn path(&self, key: &str) -> PathBuf {
        debug_assert!(!key.contains("..") && !key.starts_with('/'), "keys are made by us");
        self.root.join(key)
    }
}

/// Maps an immutable file. Empty files give empty bytes.
pub fn map_file(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    #[expect(
        unsafe_code,
        reason = "the data directory has one owner (its lock is held), published keys are never written again and \
                  unlinking keeps a mapping valid, so the mapped bytes cannot change under us"
    )]
    let map = unsafe { Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}

fn create_dirs(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates `root`, and what is missing above it, durably.
fn create_root(root: &Path) -> io::Result<()> {
    let missing = missing(root);
    create_dirs(root)?;
    for directory in &missing {
        sync_directory(parent_of(directory))?;
    }
    if missing.is_empty() {
        // Whoever created it may not have lived to do this. One that others own may not be ours to open.
        match sync_directory(parent_of(root)) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// What is to be created, the lowest first.
fn missing(root: &Path) -> Vec<PathBuf> {
    root.ancestors().take_while(|path| !is_here(path)).map(Path::to_owned).collect()
}

/// An empty path, the parent of a relative name, is the working directory.
fn is_here(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.exists()
}

/// Where the entry of `directory` is.
fn parent_of(directory: &Path) -> &Path {
    match directory.parent() {
        // Of the root itself.
        None => directory,
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    }
}

/// Keeps others away from `root` as long as the file is open. `None` where the file system knows no locks, as NFS may
/// not.
fn lock(root: &Path) -> Result<Option<File>, OpenError> {
    let path = root.join(LOCK_APART);
    let io_error = |source| OpenError::Io { path: path.clone(), source };
    // Opened for writing: NFS makes a lock of ranges of it, which takes that.
    let opened = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = opened.map_err(io_error)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Err(OpenError::InUse { path: root.to_owned() }),
        Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            tracing::warn!(
                path = %root.display(),
                "this file system knows no locks: make sure that no other hub uses this directory"
            );
            Ok(None)
        }
        Err(errno) => Err(io_error(errno.into())),
    }
}

/// A directory entry is durable only once its directory is.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The name of the network file system `path` lies on, if it does.
fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    let magic = rustix::fs::statfs(path)?.f_type as u64 & 0xffff_ffff;
    if magic == FUSE {
        tracing::warn!(
            path = %path.display(),
            "this file system is made by a program (FUSE), which does not say what is behind it: if that is another \
             machine, it is unsafe for the data directory"
        );
    }
    Ok(network_name(magic))
}

const FUSE: u64 = 0x6573_5546;

/// By the magic numbers of statfs(2).
fn network_name(magic: u64) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x517b => "SMB",
        0x00c3_6400 => "Ceph",
        0x5346_414f => "AFS",
        0x0bd0_0bd0 => "Lustre",
        0x0102_1997 => "9P",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn publishes_once_maps_and_deletes() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(&directory.path().join("data")).unwrap();
        let mut file = disk.temp_file().unwrap();
        file.write_all(b"weights").unwrap();
        disk.publish(file, "packs/aa/one").unwrap();
        assert_eq!(&disk.map("packs/aa/one").unwrap()[..], b"weights");
        assert_eq!(disk.size_bytes("packs/aa/one").unwrap(), Some(7));

        let again = disk.temp_file().unwrap();
        assert_eq!(disk.publish(again, "packs/aa/one").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let mapped = disk.map("packs/aa/one").unwrap();
        disk.delete("packs/aa/one").unwrap();
        disk.delete("packs/aa/one").unwrap();
        assert_eq!(&mapped[..], b"weights", "a reader keeps what it has mapped");
        assert_eq!(disk.size_bytes("packs/aa/one").unwrap(), None);
    }

    #[test]
    fn the_directory_of_one_object_goes_with_its_last_file() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let object = disk.path("objects/aa/one");
        for key in ["objects/aa/one/first", "objects/aa/one/second"] {
            disk.publish(disk.temp_file().unwrap(), key).unwrap();
        }
        disk.delete_and_prune("objects/aa/one/first").unwrap();
        assert!(object.exists() && disk.durable.lock().unwrap().contains(&object));
        disk.delete_and_prune("objects/aa/one/second").unwrap();
        disk.delete_and_prune("objects/aa/one/second").unwrap();
        assert!(!object.exists() && disk.path("objects/aa").exists());
        assert!(
            !disk.durable.lock().unwrap().contains(&object),
            "made again, its entry must be made durable again"
        );
        disk.publish(disk.temp_file().unwrap(), "objects/aa/one/third").unwrap();
        assert!(disk.durable.lock().unwrap().contains(&object));
    }

    #[test]
    fn what_is_created_above_the_root_is_made_durable_where_it_is() {
        let parents: Vec<_> = [Path::new("data"), Path::new("a/b"), Path::new("/a/b"), Path::new("/")]
            .iter()
            .map(|path| parent_of(path).to_str().unwrap())
            .collect();
        assert_eq!(parents, [".", "a", "/a", "/"]);
        assert!(is_here(Path::new("")) && is_here(Path::new("/")) && !is_here(Path::new("not here")));
        let directory = tempfile::tempdir().unwrap();
        let (here, deep) = (directory.path(), directory.path().join("a/b/data"));
        assert_eq!(missing(&deep), [deep.clone(), here.join("a/b"), here.join("a")]);
        create_root(&deep).unwrap();
        assert_eq!(missing(&deep), [] as [PathBuf; 0]);
        create_root(&deep).unwrap();
    }

    #[test]
    fn start_removes_what_a_crash_left_in_staging() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let (_, path) = disk.temp_file().unwrap().keep().unwrap();
        drop(disk);
        Disk::open(directory.path()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn network_file_systems_are_known_by_their_magic() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xff53_4d42), Some("CIFS"));
        assert_eq!(network_name(0x1983_0326), Some("BeeGFS"));
        assert_eq!(network_name(0xef53), None, "ext4");
        assert_eq!(network_name(FUSE), None, "it may be anything");
        assert_eq!(network_name(0x0102_1994), None, "tmpfs");
        let error = OpenError::NetworkFileSystem { path: "/nas/granary".into(), kind: "NFS" };
        assert!(error.to_string().contains("put the data directory on a local disk"));
    }

    #[test]
    fn empty_blobs_and_free_space() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        disk.publish(disk.temp_file().unwrap(), "packs/aa/empty").unwrap();
        assert!(disk.map("packs/aa/empty").unwrap().is_empty());
        assert!(disk.free_bytes().unwrap() > 0);
    }
}
