//! Large objects in a directory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use database::Sha256;
use rustix::fs::{Advice, CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::buffers::{BLOCK, BUFFER, Buffers};
use super::opened::Opened;
use super::{Expected, Hasher, Identity, Marked, StoreError, StoreId, mark};
use crate::Disk;

#[derive(Clone)]
pub(super) struct DiskObjects {
    disk: Disk,
    pub(super) buffers: Buffers,
    pub(super) blocks: Buffers,
    pub(super) opened: Opened,
    pub(super) identity: Arc<Identity>,
}

/// Read in one go on a blocking thread when an object is read back: seconds at most, so that a shutdown need not wait.
const READ_BACK_STEP: u64 = 64 * 1024 * 1024;
const READ_BACK_BUFFER: usize = 1024 * 1024;

impl DiskObjects {
    pub(super) fn new(disk: Disk, expected: Expected) -> DiskObjects {
        let (buffers, blocks) = (Buffers::of(BUFFER), Buffers::of(BLOCK));
        let identity = Arc::new(Identity::new(expected));
        DiskObjects { disk, buffers, blocks, opened: Opened::default(), identity }
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn describe(&self) -> String {
        let root = self.disk.root().display();
        match self.disk.network() {
            Some(kind) => format!("the directory {root} ({kind})"),
            None => format!("the directory {root}"),
        }
    }

    /// The file under `key`, if the kernel can open it from its caches. `None`: ask again where waiting is allowed.
    pub(super) fn open_cached(&self, key: &str) -> Result<Option<File>, StoreError> {
        if self.disk.network().is_some() {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        match openat2(CWD, self.disk.path(key), flags, Mode::empty(), ResolveFlags::CACHED) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT) => Err(StoreError::NotFound),
            // AGAIN: not cached. Otherwise the kernel does not know this way.
            Err(_) => Ok(None),
        }
    }

    pub(super) async fn size_bytes(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let (disk, key) = (self.disk.clone(), key.to_owned());
        blocking(move || Ok(disk.size_bytes(&key)?)).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let (disk, opened, key) = (self.disk.clone(), self.opened.clone(), key.to_owned());
        blocking(move || {
            let deleted = disk.delete_and_prune(&key);
            opened.forget(&key);
            Ok(deleted?)
        })
        .await
    }

    pub(super) async fn sha256(&self, key: &str) -> Result<(Sha256, u64), StoreError> {
        let path = self.disk.path(key);
        let mut reading = blocking(move || Ok(ReadBack::open(path)?)).await?;
        while !reading.is_done {
            reading = blocking(move || Ok(reading.step()?)).await?;
        }
        Ok((reading.hasher.finish(), reading.offset))
    }

    pub(super) async fn keys_under(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let (disk, prefix) = (self.disk.clone(), prefix.to_owned());
        blocking(move || {
            let mut keys = Vec::new();
            let mut directories = vec![prefix];
            while let Some(directory) = directories.pop() {
                for name in disk.names_in(&directory)? {
                    let key = format!("{directory}{name}");
                    match disk.path(&key).is_dir() {
                        true => directories.push(key + "/"),
                        false => keys.push(key),
                    }
                }
            }
            keys.sort_unstable();
            Ok(keys)
        })
        .await
    }
}

impl Marked for DiskObjects {
    async fn read_mark(&self) -> Result<Option<StoreId>, StoreError> {
        let disk = self.disk.clone();
        blocking(move || mark::read_file(disk.root())).await
    }

    async fn write_mark(&self, id: StoreId) -> Result<(), StoreError> {
        let disk = self.disk.clone();
        blocking(move || mark::write_file(&disk, id)).await
    }
}

/// Runs `work` where waiting is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| StoreError::Io(io::Error::other(panic)))?
}

struct ReadBack {
    file: File,
    hasher: Hasher,
    offset: u64,
    buffer: Vec<u8>,
    is_done: bool,
}

impl ReadBack {
    fn open(path: PathBuf) -> io::Result<ReadBack> {
        let file = File::open(path)?;
        // Only a hint.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        Ok(ReadBack {
            file,
            hasher: Hasher::new(),
            offset: 0,
            buffer: vec![0; READ_BACK_BUFFER],
            is_done: false,
        })
    }

    fn step(mut self) -> io::Result<ReadBack> {
        let end = self.offset + READ_BACK_STEP;
        while self.offset < end && !self.is_done {
            match self.file.read_at(&mut self.buffer, self.offset) {
                Ok(0) => self.is_done = true,
                Ok(read) => {
                    self.hasher.update(&self.buffer[..read]);
                    self.offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self)
    }
}
