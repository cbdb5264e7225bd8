//! What only SQLite promises: its file, its log, its cost.

use std::path::PathBuf;

use database::{Change, Clock, Database, OpenError, PackId};
use rusqlite::Connection;

use crate::support::{Hub, change, create, hub, new_repo, oid, open, pack, update};

impl Hub {
    fn file(&self) -> PathBuf {
        self.directory.path().join("granary.db")
    }

    /// Pages in the log.
    fn wal_frames(&self) -> usize {
        self.wal(|_| true)
    }

    /// Transactions in the log: the last page of each says how large the database is then.
    fn wal_commits(&self) -> usize {
        self.wal(|frame| frame[4..8] != [0; 4])
    }

    /// Frames that `count`, among the valid ones, which are those with the header's salt.
    fn wal(&self, count: fn(&[u8]) -> bool) -> usize {
        let wal = std::fs::read(self.directory.path().join("granary.db-wal")).unwrap();
        let (header, frames) = wal.split_at(32);
        frames
            .chunks_exact(24 + 2048)
            .take_while(|frame| frame[8..16] == header[16..24])
            .filter(|frame| count(frame))
            .count()
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let hub = hub().await;
    hub.db.close().await;
    let file = hub.file();
    let known = hub.db.schema_version();
    Connection::open(&file).unwrap().pragma_update(None, "user_version", known + 1).unwrap();
    let error = Database::open(&file, Clock::default()).err().unwrap();
    assert!(
        matches!(error, OpenError::Newer { found, known: k } if found == known + 1 && k == known),
        "{error:?}"
    );
    Connection::open(&file).unwrap().pragma_update(None, "user_version", known).unwrap();
    assert!(Database::open(&file, Clock::default()).is_ok());
}

#[tokio::test]
async fn what_is_not_a_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("granary.db");
    assert!(Database::open(&directory.path().join("missing/granary.db"), Clock::default()).is_err());
    std::fs::write(&file, vec![b'x'; 8192]).unwrap();
    assert!(matches!(Database::open(&file, Clock::default()), Err(OpenError::Sqlite(_))));
}

#[tokio::test]
async fn closing_leaves_one_file() {
    let hub = hub().await;
    hub.db.snapshot(hub.repo.id).unwrap();
    assert!(hub.directory.path().join("granary.db-wal").exists());
    hub.db.close().await;
    assert!(!hub.directory.path().join("granary.db-wal").exists());
    let conn = Connection::open(hub.file()).unwrap();
    let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

/// A small push dirties one leaf each of `ref`, `ref_log`, `repo`, `pack`, `pack_by_repo`. Every third one
/// appends a leaf to `pack`, which also touches its parent and the header page; and the leaves of `ref_log`
/// are split now and then.
#[tokio::test]
async fn a_small_push_writes_few_pages() {
    let hub = hub().await;
    // Neighbours, so that no table is one page; and refs, so that the tree of refs has depth.
    for n in 0..50 {
        let repo = hub.db.create_repo(new_repo(&format!("acme/m{n}"))).await.unwrap();
        let refs = (0..50).map(|r| create(&format!("refs/heads/branch-{r}"), oid(1))).collect();
        hub.db.apply(change(repo.id, refs)).await.unwrap();
    }
    hub.apply(vec![create("refs/heads/main", oid(1))]).await;
    // Begin with an empty log, so that no checkpoint comes between.
    hub.db.close().await;
    let hub = Hub { db: open(&hub.directory, &hub.clock), ..hub };
    hub.db.set_setting("a", "b").await.unwrap();
    let before = hub.wal_frames();
    let pushes = 30;
    for n in 1..=pushes {
        let push = Change {
            packs_added: vec![pack(PackId::new(), 1_200)],
            ..change(hub.repo.id, vec![update("refs/heads/main", oid(n), oid(n + 1))])
        };
        hub.db.apply(push).await.unwrap();
    }
    let pages = (hub.wal_frames() - before) as f64 / f64::from(pushes);
    println!("{pages:.2} pages per push");
    assert!(pages < 10.0, "{pages} pages per push");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_that_wait_share_a_transaction() {
    let hub = hub().await;
    let before = hub.wal_commits();
    let writes: Vec<_> = (0..64)
        .map(|n| {
            let (db, change) =
                (hub.db.clone(), change(hub.repo.id, vec![create(&format!("refs/heads/{n}"), oid(1))]));
            tokio::spawn(async move { db.apply(change).await.unwrap().generation })
        })
        .collect();
    let mut generations = vec![];
    for write in writes {
        generations.push(write.await.unwrap());
    }
    generations.sort_unstable();
    assert_eq!(generations, (1..=64).collect::<Vec<_>>());
    let commits = hub.wal_commits() - before;
    println!("{commits} transactions for 64 changes");
    assert!(commits <= 32, "{commits} transactions for 64 changes");
}

/// However long the pushes go on, the log is moved into the database.
#[tokio::test]
async fn the_log_stays_bounded() {
    let hub = hub().await;
    for _ in 0..600 {
        let packs_added = vec![pack(PackId::new(), 60_000)];
        hub.db.apply(Change { packs_added, ..change(hub.repo.id, vec![]) }).await.unwrap();
    }
    let wal = std::fs::metadata(hub.directory.path().join("granary.db-wal")).unwrap().len();
    let rows = std::fs::metadata(hub.file()).unwrap().len();
    assert!(wal <= 36 << 20, "{wal} bytes of log");
    assert!(rows > 20 << 20, "{rows} bytes of rows");
}

#[tokio::test]
async fn a_damaged_file_is_noticed() {
    let hub = hub().await;
    for n in 0..200 {
        hub.apply(vec![create(&format!("refs/heads/{n}"), oid(1))]).await;
    }
    hub.db.close().await;
    let mut bytes = std::fs::read(hub.file()).unwrap();
    let page = bytes.chunks_exact_mut(2048).filter(|page| page[0] == 10).last().unwrap();
    page[8..100].fill(0xff);
    std::fs::write(hub.file(), bytes).unwrap();
    let findings = open(&hub.directory, &hub.clock).check();
    assert!(!matches!(&findings, Ok(findings) if findings.is_empty()));
}
