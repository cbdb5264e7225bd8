//! Opening connections: pragmas, page size, migrations.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{OpenError, ranks};

/// One script per schema version, each run once, in order, never edited after a release.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
];

/// The schema this build reads and writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// From this schema on every live repo has a rank.
const RANKED: usize = 5;

/// How long a statement waits for a lock. Only another process (a shell) or a checkpoint can hold one.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// After a burst the WAL file is cut back to this, in bytes.
const WAL_BYTES_KEPT: i64 = 16 << 20;

/// The page size of new databases. Measured on small pushes: 8.4 pages of 2048 bytes against 6.7 of 4096, that is
/// 17 KB against 28 KB of log a push, and no difference in time, which is the fsync's.
pub(super) const PAGE_SIZE: u32 = 2048;

/// The connection that writes; creates and migrates the file.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let mut conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > VERSION {
        return Err(OpenError::Newer { found, known: VERSION });
    }
    // Has an effect only while the file is empty.
    conn.pragma_update(None, "page_size", PAGE_SIZE)?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::NoWal { mode });
    }
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    configure(&conn)?;
    migrate(&mut conn)?;
    Ok(conn)
}

/// A connection that cannot write.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    // Opened for writing all the same: a reader of a WAL database must be able to write to the shared-memory
    // file.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    configure(&conn)?;
    conn.pragma_update(None, "query_only", true)?;
    // In KiB when negative. A reader drops its cache with each commit of the writer, and the kernel has the
    // pages anyway.
    conn.pragma_update(None, "cache_size", -512)?;
    Ok(conn)
}

fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "foreign_keys", true)?;
    // Savepoints and sorts stay in memory: they are small, and temporary files fail in ways of their own.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn migrate(conn: &mut Connection) -> Result<(), OpenError> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again, under the lock: another process may just have migrated.
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(found).unwrap_or(0);
    for (version, script) in MIGRATIONS.iter().enumerate().skip(done) {
        transaction.execute_batch(script)?;
        transaction.pragma_update(None, "user_version", version as i64 + 1)?;
    }
    if done < RANKED {
        ranks::enlist_all(&transaction)?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::Database;
    use super::super::checksum::{ACCOUNT, REPO};
    use super::MIGRATIONS;
    use crate::{Clock, RepoId};

    #[tokio::test]
    async fn rows_of_the_first_schema_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("granary.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(MIGRATIONS[0]).unwrap();
        conn.pragma_update(None, "user_version", 1).unwrap();
        ACCOUNT.insert(&conn, &[&1, &"Acme", &"acme", &true, &false, &7]).unwrap();
        let (head, none) = ("refs/heads/main", None::<i64>);
        let row: [&dyn rusqlite::ToSql; 20] = [
            &1,
            &0,
            &"Acme",
            &"model",
            &"acme/model",
            &1,
            &0,
            &head,
            &0,
            &0,
            &3,
            &false,
            &none,
            &7,
            &0,
            &0,
            &0,
            &none,
            &0,
            &false,
        ];
        REPO.insert(&conn, &row).unwrap();
        drop(conn);

        let db = Database::open(&path, Clock::default()).unwrap();
        let repo = db.repo(RepoId(1)).unwrap().unwrap();
        assert_eq!((repo.path.to_string().as_str(), repo.acl_version), ("Acme/model", 3));
        assert!(!repo.lfs_incomplete);
        let listing =
            crate::Listing { search: vec!["model".to_owned()], ..crate::sqlite::search::tests::all() };
        assert_eq!(db.list_repos(&listing).unwrap().len(), 1, "it has a rank now");
        let findings = db.check().unwrap();
        // The hand-made rows took their ids without the sequences.
        assert!(findings.iter().all(|finding| finding.contains("would be given twice")), "{findings:?}");
        db.create_lock(repo.id, "a".to_owned(), None, crate::UserId(1), 1).await.unwrap();
    }
}
