//! Backup under load and restore.
//!
//! The rows are copied first, in one consistent copy; every pack they name already lies immutable in storage and is
//! kept from the sweep until it is copied too. So are large objects and xorbs that lie on local disk; those in a bucket
//! are the bucket's to keep, and the backup says where they are. A backup without its completion mark is not restored.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use database::{BackingId, BlobState, Clock, Database, XorbId, fault, object_key};
use serde::{Deserialize, Serialize};
use storage::sync_directory;

use crate::{Changes, rows};

/// The file that makes a directory a complete backup; written last.
const MARK: &str = "backup.json";
/// Name of the rows, in a backup and in a data directory.
const ROWS: &str = "granary.db";

/// What the completion mark says, and what the command line prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupReport {
    pub directory: PathBuf,
    pub schema: i64,
    pub taken_ms: i64,
    pub packs: u64,
    /// Large objects (LFS) copied that are stored whole.
    #[serde(default)]
    pub large: u64,
    /// Xorbs copied, each with its index: what the others are made of.
    #[serde(default)]
    pub xorbs: u64,
    /// Where the large objects and xorbs are that are not in the backup.
    #[serde(default)]
    pub large_in: Option<String>,
    /// Bytes of packs, large objects, xorbs and rows together.
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{0} exists and is not empty; give a new directory")]
    NotEmpty(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Database(#[from] database::DbError),
    #[error("{path} has {actual} bytes, its row says {expected}; run `granary fsck`")]
    Size { path: PathBuf, actual: u64, expected: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreReport {
    pub data_dir: PathBuf,
    pub packs: u64,
    #[serde(default)]
    pub large: u64,
    #[serde(default)]
    pub xorbs: u64,
    /// Where the large objects and xorbs are that the backup does not have.
    #[serde(default)]
    pub large_in: Option<String>,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("{0} is not a complete backup: it has no {MARK}")]
    Incomplete(PathBuf),
    #[error("{path}: the backup's mark cannot be read: {source}")]
    Mark { path: PathBuf, source: serde_json::Error },
    #[error("{0} already holds data; restore into a new data directory")]
    Occupied(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the backup's rows cannot be opened: {0}")]
    Open(#[from] database::OpenError),
    #[error(transparent)]
    Database(#[from] database::DbError),
    #[error("{path} has {actual} bytes, its row says {expected}")]
    Size { path: PathBuf, actual: u64, expected: u64 },
}

impl std::fmt::Display for BackupReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BackupReport { packs, large, xorbs, bytes, .. } = self;
        elsewhere(f, self.large_in.as_deref())?;
        write!(
            f,
            "backup of {packs} packs, {large} whole large objects, {xorbs} xorbs, {bytes} bytes, in {}",
            self.directory.display()
        )
    }
}

impl std::fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RestoreReport { packs, large, xorbs, bytes, .. } = self;
        elsewhere(f, self.large_in.as_deref())?;
        write!(
            f,
            "restored {packs} packs, {large} whole large objects, {xorbs} xorbs, {bytes} bytes, to {}",
            self.data_dir.display()
        )
    }
}

fn elsewhere(f: &mut std::fmt::Formatter<'_>, large_in: Option<&str>) -> std::fmt::Result {
    match large_in {
        Some(place) => writeln!(f, "large objects are not part of the backup: they are in {place}"),
        None => Ok(()),
    }
}

impl Changes {
    /// Copies rows and packs into `directory` (new or empty) while everything goes on. What is acknowledged before
    /// the call is in it.
    pub async fn backup(&self, directory: PathBuf) -> Result<BackupReport, BackupError> {
        let _no_sweep = self.0.sweeping.read().await;
        let changes = self.clone();
        self.compute_behind(move || changes.backup_blocking(&directory)).await
    }

    fn backup_blocking(&self, directory: &Path) -> Result<BackupReport, BackupError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| BackupError::Io { path, source }
        };
        fs::create_dir_all(directory).map_err(at(directory))?;
        if fs::read_dir(directory).map_err(at(directory))?.next().is_some() {
            return Err(BackupError::NotEmpty(directory.to_owned()));
        }
        let rows = directory.join(ROWS);
        self.0.database.copy_to(&rows)?;
        fault::point(fault::Point::BackupDatabaseCopied);
        let mut report = BackupReport {
            directory: directory.to_owned(),
            schema: self.0.database.schema_version(),
            taken_ms: self.0.database.clock().now_ms(),
            packs: 0,
            large: 0,
            xorbs: 0,
            large_in: None,
            bytes: fs::metadata(&rows).map_err(at(&rows))?.len(),
        };
        let unreadable =
            |error: RestoreError| BackupError::Io { path: rows.clone(), source: io::Error::other(error) };
        let store = self.0.objects.store();
        let copied_rows = Rows::open(&rows, directory).map_err(unreadable)?;
        let packs = copied_rows.packs().map_err(unreadable)?;
        let (large, xorbs) = match store.local() {
            Some(_) => (copied_rows.large().map_err(unreadable)?, copied_rows.xorbs().map_err(unreadable)?),
            None => Default::default(),
        };
        // With its scratch directory, which is no part of the backup.
        drop(copied_rows);
        for (pack, state, bytes) in packs {
            if state != BlobState::Live {
                continue;
            }
            let (from, to) = (self.0.disk.path(&pack.storage_key()), directory.join(pack.storage_key()));
            let copied = copy_durably(&from, &to).map_err(at(&from))?;
            if copied != bytes {
                return Err(BackupError::Size { path: from, actual: copied, expected: bytes });
            }
            report.bytes += copied;
            report.packs += 1;
        }
        let Some(local) = store.local() else {
            report.large_in = Some(store.describe());
            return finish(directory, report);
        };
        (report.large, report.xorbs) = (large.len() as u64, xorbs.len() as u64);
        for (key, bytes) in large.into_iter().chain(xorbs.into_iter().flatten()) {
            let (from, to) = (local.path(&key), directory.join(&key));
            let copied = copy_durably(&from, &to).map_err(at(&from))?;
            if copied != bytes {
                return Err(BackupError::Size { path: from, actual: copied, expected: bytes });
            }
            report.bytes += copied;
        }
        finish(directory, report)
    }
}

fn finish(directory: &Path, report: BackupReport) -> Result<BackupReport, BackupError> {
    fault::point(fault::Point::BackupPacksCopied);
    write_mark(directory, &report)
        .map_err(|source| BackupError::Io { path: directory.to_owned(), source })?;
    Ok(report)
}

/// Turns a complete backup into the data directory `data_dir`, which must not hold data yet. Large objects and xorbs go into
/// `large_dir`, where `storage.url` names a directory, else into the data directory.
pub async fn restore(
    backup: &Path,
    data_dir: &Path,
    large_dir: Option<&Path>,
) -> Result<RestoreReport, RestoreError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Io { path, source }
    };
    let mark = backup.join(MARK);
    let mark_bytes = match fs::read(&mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RestoreError::Incomplete(backup.to_owned()));
        }
        other => other.map_err(at(&mark))?,
    };
    let made = serde_json::from_slice::<BackupReport>(&mark_bytes)
        .map_err(|source| RestoreError::Mark { path: mark.clone(), source })?;
    let rows = data_dir.join(ROWS);
    if rows.exists() {
        return Err(RestoreError::Occupied(data_dir.to_owned()));
    }
    fs::create_dir_all(data_dir).map_err(at(data_dir))?;
    let mut report = RestoreReport {
        data_dir: data_dir.to_owned(),
        packs: 0,
        large: 0,
        xorbs: 0,
        large_in: made.large_in,
        bytes: 0,
    };
    let put = |key: &str, into: &Path, bytes: u64| {
        let (from, to) = (backup.join(key), into.join(key));
        let actual = fs::metadata(&from).map_err(at(&from))?.len();
        if actual != bytes {
            return Err(RestoreError::Size { path: from, actual, expected: bytes });
        }
        if !to.exists() {
            copy_durably(&from, &to).map_err(at(&from))?;
        }
        Ok(bytes)
    };
    let made_rows = Rows::open(&backup.join(ROWS), data_dir)?;
    for (pack, state, bytes) in made_rows.packs()? {
        if state == BlobState::Live {
            report.bytes += put(&pack.storage_key(), data_dir, bytes)?;
            report.packs += 1;
        }
    }
    if report.large_in.is_none() {
        for (key, bytes) in made_rows.large()? {
            report.bytes += put(&key, large_dir.unwrap_or(data_dir), bytes)?;
            report.large += 1;
        }
        for files in made_rows.xorbs()? {
            for (key, bytes) in files {
                report.bytes += put(&key, large_dir.unwrap_or(data_dir), bytes)?;
            }
            report.xorbs += 1;
        }
    }
    drop(made_rows);
    // The rows come last: a restore that was cut off leaves a directory without them, and can be repeated.
    let partial = data_dir.join("granary.db.restoring");
    rows::remove(&partial).map_err(at(&partial))?;
    report.bytes += copy_durably(&backup.join(ROWS), &partial).map_err(at(&partial))?;
    // A backup holds no manifests: every repository gets one again.
    let restored = Database::open(&partial, Clock::default())?;
    restored.manifests_lost().await?;
    // Clients may know of xorbs that came after it.
    xet::begin_epoch(&restored).await?;
    // Since then they may have been deleted; they are made again where they are needed.
    restored.condemn_wholes(0).await?;
    restored.close().await;
    drop(restored);
    rows::put_in_place(&partial, &rows).map_err(at(&rows))?;
    Ok(report)
}

/// What rows know of blobs, read from a private copy below `scratch` so that the backup stays untouched (and may be
/// read-only).
struct Rows {
    database: Database,
    /// Removed when dropped, after the database is closed.
    _scratch: tempfile::TempDir,
}

/// Rows of large objects read at a time.
const LARGE: u32 = 10_000;

impl Rows {
    fn open(rows: &Path, scratch: &Path) -> Result<Rows, RestoreError> {
        let at = |source| RestoreError::Io { path: rows.to_owned(), source };
        let scratch = tempfile::tempdir_in(scratch).map_err(at)?;
        let copy = scratch.path().join(ROWS);
        fs::copy(rows, &copy).map_err(at)?;
        Ok(Rows { database: Database::open(&copy, Clock::default())?, _scratch: scratch })
    }

    /// The stored packs.
    fn packs(&self) -> Result<Vec<(database::PackId, BlobState, u64)>, RestoreError> {
        Ok(self.database.packs()?)
    }

    /// Of each live xorb, what files name and what clients remember: keys and sizes of it and of its index.
    fn xorbs(&self) -> Result<Vec<[(String, u64); 2]>, RestoreError> {
        let mut all = Vec::new();
        let mut after = XorbId(0);
        loop {
            let page = self.database.xorbs_after(after, LARGE)?;
            let Some(last) = page.last() else { return Ok(all) };
            after = last.id;
            all.extend(page.iter().map(|xorb| {
                let index_bytes = xet::Index::stored_len(xorb.chunks);
                [(xorb.storage_key(), xorb.stored_bytes), (xorb.index_key(), index_bytes)]
            }));
        }
    }

    /// Keys and sizes of the live large objects that are stored whole.
    fn large(&self) -> Result<Vec<(String, u64)>, RestoreError> {
        let mut all = Vec::new();
        let mut after = BackingId(0);
        loop {
            let page = self.database.backings(after, LARGE)?;
            let Some((last, ..)) = page.last() else { return Ok(all) };
            after = *last;
            all.extend(page.iter().map(|(_, sha256, size, upload, _)| (object_key(sha256, *upload), *size)));
        }
    }
}

/// Copies one file so that neither its bytes nor its directory entries can be lost. It is there whole or not at all.
fn copy_durably(from: &Path, to: &Path) -> io::Result<u64> {
    let parent = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    // Not in the place of an extension: an index is beside its xorb.
    let mut partial = to.as_os_str().to_owned();
    partial.push(".copying");
    let partial = PathBuf::from(partial);
    let bytes = fs::copy(from, &partial)?;
    File::open(&partial)?.sync_all()?;
    fs::rename(&partial, to)?;
    // The directories of a key are few, but each may be new.
    parent.ancestors().take(KEY_DEPTH).filter(|directory| directory.is_dir()).try_for_each(sync_directory)?;
    Ok(bytes)
}

/// Directories of the longest key, and the one they are in.
const KEY_DEPTH: usize = 4;

fn write_mark(directory: &Path, report: &BackupReport) -> io::Result<()> {
    let partial = directory.join("backup.json.partial");
    let mut file = File::create(&partial)?;
    file.write_all(&serde_json::to_vec_pretty(report)?)?;
    file.sync_all()?;
    fs::rename(&partial, directory.join(MARK))?;
    sync_directory(directory)
}
