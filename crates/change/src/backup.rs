//! Backup under load and restore.
//!
//! The rows are copied first, in one consistent copy; every pack they name already lies immutable in storage and is
//! kept from the sweep until it is copied too. A backup without its completion mark is not restored.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use database::{BlobState, Clock, Database, fault};
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
    /// Bytes of packs and rows together.
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
        write!(f, "backup of {} packs, {} bytes, in {}", self.packs, self.bytes, self.directory.display())
    }
}

impl std::fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "restored {} packs, {} bytes, to {}", self.packs, self.bytes, self.data_dir.display())
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
            bytes: fs::metadata(&rows).map_err(at(&rows))?.len(),
        };
        for (pack, state, bytes) in packs_in(&rows, directory)
            .map_err(|error| BackupError::Io { path: rows.clone(), source: io::Error::other(error) })?
        {
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
        fault::point(fault::Point::BackupPacksCopied);
        write_mark(directory, &report).map_err(at(directory))?;
        Ok(report)
    }
}

/// Turns a complete backup into the data directory `data_dir`, which must not hold data yet.
pub async fn restore(backup: &Path, data_dir: &Path) -> Result<RestoreReport, RestoreError> {
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
    serde_json::from_slice::<BackupReport>(&mark_bytes)
        .map_err(|source| RestoreError::Mark { path: mark.clone(), source })?;
    let rows = data_dir.join(ROWS);
    if rows.exists() {
        return Err(RestoreError::Occupied(data_dir.to_owned()));
    }
    fs::create_dir_all(data_dir).map_err(at(data_dir))?;
    let mut report = RestoreReport { data_dir: data_dir.to_owned(), packs: 0, bytes: 0 };
    for (pack, state, bytes) in packs_in(&backup.join(ROWS), data_dir)? {
        if state != BlobState::Live {
            continue;
        }
        let (from, to) = (backup.join(pack.storage_key()), data_dir.join(pack.storage_key()));
        let actual = fs::metadata(&from).map_err(at(&from))?.len();
        if actual != bytes {
            return Err(RestoreError::Size { path: from, actual, expected: bytes });
        }
        if !to.exists() {
            copy_durably(&from, &to).map_err(at(&from))?;
        }
        report.packs += 1;
        report.bytes += actual;
    }
    // The rows come last: a restore that was cut off leaves a directory without them, and can be repeated.
    let partial = data_dir.join("granary.db.restoring");
    rows::remove(&partial).map_err(at(&partial))?;
    report.bytes += copy_durably(&backup.join(ROWS), &partial).map_err(at(&partial))?;
    // A backup holds no manifests: every repository gets one again.
    let restored = Database::open(&partial, Clock::default())?;
    restored.manifests_lost().await?;
    restored.close().await;
    drop(restored);
    rows::put_in_place(&partial, &rows).map_err(at(&rows))?;
    Ok(report)
}

/// The stored packs that the rows in `rows` know, read from a private copy below `scratch` so that the backup stays
/// untouched (and may be read-only).
fn packs_in(rows: &Path, scratch: &Path) -> Result<Vec<(database::PackId, BlobState, u64)>, RestoreError> {
    let at = |source| RestoreError::Io { path: rows.to_owned(), source };
    let scratch = tempfile::tempdir_in(scratch).map_err(at)?;
    let copy = scratch.path().join(ROWS);
    fs::copy(rows, &copy).map_err(at)?;
    let database = Database::open(&copy, Clock::default())?;
    Ok(database.packs()?)
}

/// Copies one file so that neither its bytes nor its directory entries can be lost.
fn copy_durably(from: &Path, to: &Path) -> io::Result<u64> {
    let parent = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let bytes = fs::copy(from, to)?;
    File::open(to)?.sync_all()?;
    sync_directory(parent)?;
    if let Some(grandparent) = parent.parent() {
        sync_directory(grandparent)?;
    }
    Ok(bytes)
}

fn write_mark(directory: &Path, report: &BackupReport) -> io::Result<()> {
    let partial = directory.join("backup.json.partial");
    let mut file = File::create(&partial)?;
    file.write_all(&serde_json::to_vec_pretty(report)?)?;
    file.sync_all()?;
    fs::rename(&partial, directory.join(MARK))?;
    sync_directory(directory)
}
