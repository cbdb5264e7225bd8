//! Large objects under their keys, on a disk or in a bucket: one contract for both (`tests/it/contract.rs`).
//!
//! A key is written once: [`ObjectStore::writer`], [`Writer::finish`], [`Complete::publish`]. What is dropped on the
//! way leaves nothing. Nothing here knows which keys exist, or whose they are.
//!
//! That nothing is under a key counts only in the store that is meant ([`ObjectStore::confirm`]): before it is said, and
//! before anything is written or deleted, the store's mark was read within the last minute.
//!
//! Futures of the SDK are large: they are boxed, so that a read from a warm disk does not carry room for one.

mod buffers;
mod disk;
mod error;
mod hash;
mod mark;
mod opened;
mod read;
mod write;

use std::ops::Range;
use std::path::Path;
use std::task::{Context, Poll};

use bytes::Bytes;
use database::Sha256;

pub use error::StoreError;
pub use mark::{Expected, StoreId};
pub use read::Cached;

use crate::s3::{Bucket, S3Complete, S3Config, S3Reader, S3Writer};
use crate::{Disk, OpenError};
use disk::DiskObjects;
pub(crate) use hash::Hasher;
pub(crate) use mark::{Identity, MARK, MARK_BYTES_MAX, Marked, Mistaken, compare, read_file, write_file};

/// Where large objects are. Cheap to clone.
#[derive(Clone)]
pub struct ObjectStore(Engine);

#[derive(Clone)]
enum Engine {
    Disk(DiskObjects),
    S3(Bucket),
}

/// An object on its way in. Dropped, nothing of it stays.
pub struct Writer(WriterEngine);

enum WriterEngine {
    Disk(Box<write::DiskWriter>),
    S3(Box<S3Writer>),
}

/// All bytes of an object, not under its key yet. Dropped, nothing of them stays.
pub struct Complete(CompleteEngine);

enum CompleteEngine {
    Disk(Box<write::DiskComplete>),
    S3(Box<S3Complete>),
}

/// A range of an object on its way out, piece by piece.
pub struct Reader(ReaderEngine);

enum ReaderEngine {
    Disk(Box<read::DiskReader>),
    S3(Box<S3Reader>),
}

impl ObjectStore {
    /// In the data directory.
    pub fn on(disk: Disk) -> ObjectStore {
        ObjectStore(Engine::Disk(DiskObjects::new(disk, Expected::Any)))
    }

    /// In a directory of their own, which is there and may be anybody's: as [`ObjectStore::in_directory`].
    pub fn at(path: &Path) -> Result<ObjectStore, OpenError> {
        ObjectStore::in_directory(path, Expected::Any)
    }

    /// In a directory of their own, which may be on a network file system: nothing there is ever mapped. Created and
    /// marked if it is [`Expected::New`]; otherwise it is there, and what is expected. Nobody else uses it meanwhile.
    pub fn in_directory(path: &Path, expected: Expected) -> Result<ObjectStore, OpenError> {
        let disk = Disk::open_apart(path, expected)?;
        let expected = match expected {
            Expected::New(id) => Expected::Known(id),
            expected => expected,
        };
        Ok(ObjectStore(Engine::Disk(DiskObjects::new(disk, expected))))
    }

    /// In a bucket, whatever it is. Nothing is asked of it yet.
    pub async fn s3(config: S3Config) -> Result<ObjectStore, StoreError> {
        Ok(ObjectStore(Engine::S3(Bucket::connect(config).await?)))
    }

    /// What the store has to be from now on.
    pub fn expect(&self, expected: Expected) {
        match &self.0 {
            Engine::Disk(disk) => disk.identity.expect(expected),
            Engine::S3(bucket) => bucket.identity().expect(expected),
        }
    }

    /// Asks the store for its mark, unless that was done within the last minute: `Unavailable` if it cannot be read or
    /// is not the one expected. Until then, that something is not in the store means nothing.
    pub async fn confirm(&self) -> Result<(), StoreError> {
        match &self.0 {
            Engine::Disk(disk) => disk.identity.confirm(disk).await,
            Engine::S3(bucket) => Box::pin(bucket.confirm()).await,
        }
    }

    /// The mark it bears, whatever is expected.
    pub async fn mark(&self) -> Result<Option<StoreId>, StoreError> {
        match &self.0 {
            Engine::Disk(disk) => disk.read_mark().await,
            Engine::S3(bucket) => Box::pin(bucket.read_mark()).await,
        }
    }

    /// `NotFound` and the like, if it is the store that is meant where nothing was found.
    async fn believed<T>(&self, missing: Result<T, StoreError>) -> Result<T, StoreError> {
        self.confirm().await.and(missing)
    }

    /// Begins to store `size` bytes under `key`, a name never used before.
    pub async fn writer(&self, key: &str, size: u64) -> Result<Writer, StoreError> {
        self.confirm().await?;
        Ok(Writer(match &self.0 {
            Engine::Disk(disk) => WriterEngine::Disk(Box::new(disk.writer(key, size))),
            Engine::S3(bucket) => WriterEngine::S3(Box::new(bucket.writer(key, size))),
        }))
    }

    /// Begins to read `range` of the bytes under `key`, all of which must be there.
    pub async fn reader(&self, key: &str, range: Range<u64>) -> Result<Reader, StoreError> {
        let reader = match &self.0 {
            Engine::Disk(disk) => disk.reader(key, range).await.map(Box::new).map(ReaderEngine::Disk),
            Engine::S3(bucket) => {
                Box::pin(bucket.reader(key, range)).await.map(Box::new).map(ReaderEngine::S3)
            }
        };
        match reader.map(Reader) {
            Err(StoreError::NotFound) => self.believed(Err(StoreError::NotFound)).await,
            other => other,
        }
    }

    /// `None` if there is nothing under `key`.
    pub async fn size_bytes(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let size = match &self.0 {
            Engine::Disk(disk) => disk.size_bytes(key).await?,
            Engine::S3(bucket) => Box::pin(bucket.head_object(key)).await?.map(|head| head.size),
        };
        if size.is_none() { self.believed(Ok(None)).await } else { Ok(size) }
    }

    /// The SHA-256 of the bytes under `key`, and how many they are: read back, in bounded memory.
    pub async fn sha256(&self, key: &str) -> Result<(Sha256, u64), StoreError> {
        let found = match &self.0 {
            Engine::Disk(disk) => disk.sha256(key).await,
            Engine::S3(bucket) => Box::pin(bucket.sha256(key)).await,
        };
        match found {
            Err(StoreError::NotFound) => self.believed(Err(StoreError::NotFound)).await,
            other => other,
        }
    }

    /// Deleting what is not there succeeds: a crash may have come between bytes and row. `size` is that of the object that
    /// was to be there: only of a large one a bucket may have parts besides.
    pub async fn delete(&self, key: &str, size: u64) -> Result<(), StoreError> {
        self.confirm().await?;
        match &self.0 {
            Engine::Disk(disk) => disk.delete(key).await,
            Engine::S3(bucket) => Box::pin(bucket.delete(key, size)).await,
        }
    }

    /// The keys that begin with `prefix`, which ends with a slash; for small "directories" such as those of one
    /// object, when rows have to be made anew.
    pub async fn keys_under(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.confirm().await?;
        match &self.0 {
            Engine::Disk(disk) => disk.keys_under(prefix).await,
            Engine::S3(bucket) => Box::pin(bucket.keys_under(prefix)).await,
        }
    }

    /// The bucket, if that is where objects are.
    pub fn bucket(&self) -> Option<&Bucket> {
        match &self.0 {
            Engine::Disk(_) => None,
            Engine::S3(bucket) => Some(bucket),
        }
    }

    /// The directory, if that is where objects are.
    pub fn local(&self) -> Option<&Disk> {
        match &self.0 {
            Engine::Disk(disk) => Some(disk.disk()),
            Engine::S3(_) => None,
        }
    }

    /// In words for the operator. No secrets.
    pub fn describe(&self) -> String {
        match &self.0 {
            Engine::Disk(disk) => disk.describe(),
            Engine::S3(bucket) => bucket.describe(),
        }
    }
}

impl Writer {
    /// Before the first byte: whoever brings them has proven them by other hashes. (A bucket is told it all the same, to know
    /// what arrives.)
    pub fn without_sha256(self) -> Writer {
        Writer(match self.0 {
            WriterEngine::Disk(writer) => WriterEngine::Disk(Box::new(writer.without_sha256())),
            WriterEngine::S3(writer) => WriterEngine::S3(writer),
        })
    }

    /// Takes more bytes. Waits only while too much is on its way to the store already.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        match &mut self.0 {
            WriterEngine::Disk(writer) => writer.write(bytes).await,
            WriterEngine::S3(writer) => writer.write(bytes).await,
        }
    }

    /// How many bytes it was given.
    pub fn written(&self) -> u64 {
        match &self.0 {
            WriterEngine::Disk(writer) => writer.written(),
            WriterEngine::S3(writer) => writer.written(),
        }
    }

    /// After the last byte. That fewer came than were announced is not an error here.
    pub async fn finish(self) -> Result<Complete, StoreError> {
        Ok(Complete(match self.0 {
            WriterEngine::Disk(writer) => CompleteEngine::Disk(Box::new(writer.finish().await?)),
            WriterEngine::S3(writer) => CompleteEngine::S3(Box::new(writer.finish().await?)),
        }))
    }
}

impl Complete {
    /// `None` if it was not asked for.
    pub fn sha256(&self) -> Option<Sha256> {
        match &self.0 {
            CompleteEngine::Disk(complete) => complete.sha256(),
            CompleteEngine::S3(complete) => Some(complete.sha256()),
        }
    }

    pub fn size(&self) -> u64 {
        match &self.0 {
            CompleteEngine::Disk(complete) => complete.size(),
            CompleteEngine::S3(complete) => complete.size(),
        }
    }

    /// Makes the bytes durable under the key. After an error, and when this future is dropped, they may or may not be
    /// there.
    pub async fn publish(self) -> Result<(), StoreError> {
        match self.0 {
            CompleteEngine::Disk(complete) => complete.publish().await,
            CompleteEngine::S3(complete) => Box::pin(complete.publish()).await,
        }
    }
}

impl Reader {
    /// The next piece, never empty. `None` after the last byte of the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Reader::next`], for bodies of answers.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StoreError>> {
        match &mut self.0 {
            ReaderEngine::Disk(reader) => reader.poll_next(cx),
            ReaderEngine::S3(reader) => reader.poll_next(cx),
        }
    }

    /// The next bytes, if the kernel can send them without our seeing them. `None`: ask [`Reader::poll_next`].
    pub fn cached(&mut self) -> Result<Option<Cached>, StoreError> {
        match &mut self.0 {
            ReaderEngine::Disk(reader) => reader.cached(),
            ReaderEngine::S3(_) => Ok(None),
        }
    }

    /// Bytes of the range that did not come yet.
    pub fn remaining(&self) -> u64 {
        match &self.0 {
            ReaderEngine::Disk(reader) => reader.remaining(),
            ReaderEngine::S3(reader) => reader.remaining(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the server puts into bodies and tasks.
    #[test]
    fn halves_of_a_transfer_move_between_threads() {
        fn moves<T: Send>() {}
        fn is_shared<T: Send + Sync>() {}
        moves::<Writer>();
        moves::<Complete>();
        is_shared::<Reader>();
        is_shared::<ObjectStore>();
    }
}
