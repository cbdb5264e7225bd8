//! Parts that do not fit into memory, or take too long to come in: each in a file without a name on the disk of the data
//! directory, where it is mapped to be sent. Mostly it never leaves the page cache.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::{Disk, StoreError, map_file};

/// Where such files are.
#[derive(Default)]
pub(super) struct Spool {
    /// `None`: where the system has its temporary files.
    disk: Option<Disk>,
    /// Of the disk, in bytes.
    keep_free: u64,
    /// Bytes of all files, come in or yet to come.
    promised: Arc<AtomicU64>,
}

/// Some of a part's bytes. Cheap to clone.
#[derive(Clone)]
pub(super) struct SpoolFile {
    file: Arc<File>,
    _promise: Arc<Promise>,
}

struct Promise {
    bytes: u64,
    promised: Arc<AtomicU64>,
}

impl Spool {
    /// On `disk`, of which `keep_free` bytes stay free.
    pub(super) fn new(disk: Disk, keep_free: u64) -> Spool {
        Spool { disk: Some(disk), keep_free, promised: Arc::default() }
    }

    /// For up to `bytes`.
    pub(super) fn file(&self, bytes: u64) -> Result<SpoolFile, StoreError> {
        let promised = Arc::clone(&self.promised);
        // From here on it is given back when dropped.
        let promise = Promise { bytes, promised };
        let needed = self.promised.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let file = match &self.disk {
            None => tempfile::tempfile()?,
            // What came in already is counted twice, so rather too much is kept free.
            Some(disk) if disk.free_bytes()? < self.keep_free.saturating_add(needed) => {
                return Err(StoreError::unavailable(
                    "memory for parts of uploads (storage.s3_part_buffers) is in use, and the disk of the data \
                     directory is too full to hold any (storage.min_free)",
                ));
            }
            Some(disk) => disk.unnamed_file()?,
        };
        Ok(SpoolFile { file: Arc::new(file), _promise: Arc::new(promise) })
    }
}

impl SpoolFile {
    /// Waits for the disk.
    pub(super) fn write_at(&self, pieces: &[Bytes], mut offset: u64) -> Result<(), StoreError> {
        for piece in pieces {
            self.file.write_all_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// All that was written. The file is there as long as these bytes are.
    pub(super) fn into_bytes(self) -> Result<Bytes, StoreError> {
        let bytes = map_file(&self.file)?;
        Ok(Bytes::from_owner(Mapped { bytes, _file: self }))
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Mapped {
    bytes: Bytes,
    _file: SpoolFile,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let spool = Spool::new(disk, 0);
        let file = spool.file(10).unwrap();
        file.write_at(&[Bytes::from_static(b"wei"), Bytes::from_static(b"gh")], 0).unwrap();
        file.write_at(&[Bytes::from_static(b"ts")], 5).unwrap();
        let bytes = file.into_bytes().unwrap();
        assert_eq!(&bytes[..], b"weights");
        assert_eq!(spool.promised.load(Ordering::Relaxed), 10);
        drop(bytes);
        assert_eq!(spool.promised.load(Ordering::Relaxed), 0);
        assert_eq!(std::fs::read_dir(directory.path().join("staging")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_to_stay_free_stays_free() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let spool = Spool::new(disk.clone(), u64::MAX);
        let refused = spool.file(1).map(drop);
        assert!(
            matches!(&refused, Err(StoreError::Unavailable(why)) if why.to_string().contains("too full"))
        );
        assert_eq!(spool.promised.load(Ordering::Relaxed), 0);
        let free = disk.free_bytes().unwrap();
        let spool = Spool::new(disk, 0);
        let first = spool.file(free / 3 * 2).unwrap();
        assert!(spool.file(free / 3 * 2).is_err(), "the first may still fill its file");
        drop(first);
        spool.file(free / 3 * 2).unwrap();
    }
}
