//! The journal of buckets: one file per bucket and state, `manifests/buckets/<bucket id>/<version>`, which says everything: what
//! is at which path, and what the files are made of. The next one replaces it. A mark in its place says that the bucket was
//! deleted, and its row stays until it does.

mod format;
mod rebuild;

use std::collections::HashMap;
use std::io::BufWriter;

use database::{BucketBehind, BucketId, BucketJournaled, RepoState, fault};
use parking_lot::Mutex;

use super::{ManifestError, PAUSE_MS};
use crate::{Changes, FsckError, RepoError};
use format::{Head, Lines, Writer, directory, newest, parse_file_name};
pub(super) use rebuild::rebuild_bucket;

/// Beside the repositories' directories, whose names are numbers.
pub(super) const DIRECTORY: &str = "buckets";
/// Buckets whose last writing is remembered; a forgotten one is written without a pause.
const WRITTEN_MAX: usize = 10_000;
/// A file that is read for fsck may be replaced just then.
const ATTEMPTS_MAX: u32 = 3;

/// How long the buckets that this process wrote pause.
#[derive(Default)]
pub(crate) struct BucketJournal(Mutex<HashMap<BucketId, Pause>>);

/// In milliseconds, since the rows were read.
#[derive(Clone, Copy)]
struct Pause {
    read_ms: i64,
    pause_ms: i64,
}

impl Changes {
    /// Writes the journals that are behind, those of busy buckets only now and then unless `now`. Returns how many.
    pub(crate) async fn write_buckets(&self, limit: u32, now: bool) -> Result<u64, ManifestError> {
        let mut written = 0;
        for bucket in self.0.database.buckets_behind(limit)? {
            if !now && self.pauses(bucket) {
                continue;
            }
            match self.journal_bucket(bucket).await {
                Ok(done) => written += u64::from(done),
                // It is tried again in the next round; the others have theirs.
                Err(error) => {
                    tracing::error!(bucket = bucket.id.0, %error, "the journal of a bucket cannot be written");
                }
            }
        }
        Ok(written)
    }

    /// The name is free at once, and nobody reads it any more; a rebuild does not bring it back.
    pub async fn delete_bucket(&self, id: BucketId) -> Result<(), RepoError> {
        if !self.0.database.delete_bucket(id).await? {
            return Err(RepoError::Gone);
        }
        fault::point(fault::Point::BucketDeleted);
        if let Err(error) = self.bury_bucket(id).await {
            tracing::error!(bucket = id.0, %error, "the journal of a deleted bucket remains; it is tried again");
        }
        Ok(())
    }

    /// What is wrong with the journal of a bucket, for fsck. The next one replaces it.
    pub(crate) fn check_bucket(&self, bucket: &BucketJournaled) -> Result<Option<String>, FsckError> {
        let root = self.0.disk.path(&directory(bucket.id));
        for _ in 0..ATTEMPTS_MAX {
            let Some((version, path)) = newest(&root)? else {
                let is_live = |id| {
                    let row = self.0.database.bucket(id)?;
                    Ok::<_, FsckError>(row.is_some_and(|row| row.state == RepoState::Live))
                };
                let is_gone = bucket.journaled >= 0 && is_live(bucket.id)?;
                return Ok(is_gone.then(|| "its journal is gone".to_owned()));
            };
            if version < bucket.journaled {
                return Ok(Some(format!("its journal ends at {version}, its row says {}", bucket.journaled)));
            }
            let file = match std::fs::File::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let sound = sound(&file, version);
            return Ok(sound.err().map(|error| format!("journal {version}: {error}")));
        }
        Ok(None)
    }

    /// True if it was written, or marked as deleted.
    async fn journal_bucket(&self, bucket: BucketBehind) -> Result<bool, ManifestError> {
        let BucketBehind { id, state, files } = bucket;
        if state == RepoState::Deleted {
            self.bury_bucket(id).await?;
            return Ok(true);
        }
        let read_ms = self.0.database.clock().now_ms();
        let changes = self.clone();
        let Some(version) = self.compute_behind(move || changes.write_bucket(id)).await? else {
            return Ok(false);
        };
        fault::point(fault::Point::BucketJournaled);
        self.0.database.bucket_journaled(id, version).await?;
        let pause_ms = PAUSE_MS.max(i64::try_from(files).unwrap_or(i64::MAX));
        self.pause(id, Pause { read_ms, pause_ms });
        let changes = self.clone();
        self.compute_behind(move || changes.drop_before(id, version)).await?;
        Ok(true)
    }

    fn pauses(&self, bucket: BucketBehind) -> bool {
        let now_ms = self.0.database.clock().now_ms();
        let pauses = self.0.bucket_journal.0.lock();
        bucket.state == RepoState::Live
            && pauses
                .get(&bucket.id)
                .is_some_and(|pause| (0..pause.pause_ms).contains(&(now_ms - pause.read_ms)))
    }

    fn pause(&self, id: BucketId, pause: Pause) {
        let mut pauses = self.0.bucket_journal.0.lock();
        if pauses.len() >= WRITTEN_MAX && !pauses.contains_key(&id) {
            pauses.clear();
        }
        pauses.insert(id, pause);
    }

    /// Makes the journal of the bucket's present state durable, and says which version that is. `None` if there is no such
    /// live bucket.
    fn write_bucket(&self, id: BucketId) -> Result<Option<i64>, ManifestError> {
        let disk = &self.0.disk;
        let begin = |head| Writer::begin(BufWriter::new(disk.temp_file()?), &Head::from(head));
        let written = self.0.database.read_bucket(id, begin, |writer, line| writer.file(&line.into()))?;
        let Some(writer) = written else { return Ok(None) };
        let version = writer.version;
        let file = writer.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let key = format!("{}/{version}", directory(id));
        // A crash came between these bytes and their row. They say the same, if they are whole.
        match disk.open_file(&key) {
            Ok(there) if sound(&there, version).is_ok() => return Ok(Some(version)),
            Ok(_) => disk.delete(&key)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        disk.publish(file, &key)?;
        Ok(Some(version))
    }

    fn drop_before(&self, id: BucketId, version: i64) -> Result<(), ManifestError> {
        let directory = directory(id);
        let names = self.0.disk.names_in(&directory)?;
        // It was deleted while its journal was written.
        let is_deleted = names.iter().any(|name| name == super::format::DELETED);
        let goes =
            |name: &&String| parse_file_name(name).is_some_and(|written| is_deleted || written < version);
        names
            .iter()
            .filter(goes)
            .try_for_each(|name| Ok(self.0.disk.delete(&format!("{directory}/{name}"))?))
    }

    async fn bury_bucket(&self, id: BucketId) -> Result<(), ManifestError> {
        let changes = self.clone();
        self.compute(move || changes.mark_deleted(id)).await?;
        self.0.bucket_journal.0.lock().remove(&id);
        Ok(self.0.database.bucket_buried(id).await?)
    }

    fn mark_deleted(&self, id: BucketId) -> Result<(), ManifestError> {
        let disk = &self.0.disk;
        match disk.publish(disk.temp_file()?, &format!("{}/{}", directory(id), super::format::DELETED)) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        self.drop_before(id, i64::MAX)
    }
}

/// Whether a file is what was written, and tells of that version.
fn sound(file: &std::fs::File, version: i64) -> Result<Head, String> {
    let (head, lines) = Lines::begin(std::io::BufReader::new(file))?;
    lines.read_to_end()?;
    match head.version == version {
        true => Ok(head),
        false => Err(format!("it tells of version {}", head.version)),
    }
}
