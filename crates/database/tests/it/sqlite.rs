//! What only SQLite promises: its file, its log, its cost.

use std::path::PathBuf;

use database::{
    Change, Clock, Database, NewUpload, NewWebhook, OpenError, PackId, Proof, Publish, Sha256, UploadId,
    UserId, Watch, WebhookDomains,
};
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
/// are split now and then. That others are watched adds nothing.
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
    // What happens elsewhere is watched.
    let other = hub.db.find_repo(&"acme/m0".parse().unwrap()).unwrap();
    let Some(database::Found::Repo(other)) = other else { panic!("it was made above") };
    let domains = WebhookDomains { repo: true, discussion: true };
    let (url, secret, watched) = ("http://ci/".to_owned(), None, vec![Watch::Repo(other.id)]);
    hub.db.create_webhook(NewWebhook { owner: UserId(1), url, secret, domains, watched }).await.unwrap();
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

/// Each index and table that an object's arrival touches is one leaf; the leaves of those by hash are split now and then.
#[tokio::test]
async fn an_object_s_arrival_writes_few_pages() {
    let hub = hub().await;
    let objects: Vec<(Sha256, u64)> = (0..100u8).map(|n| (Sha256([n; 32]), 1)).collect();
    let id = UploadId::new();
    let new = NewUpload {
        id,
        repo: hub.repo.id,
        by: None,
        objects: objects.clone(),
        expires_ms: i64::MAX,
        quota: database::Quota::Default(None),
    };
    let before = hub.wal_frames();
    hub.db.begin_upload(new).await.unwrap();
    let begun = hub.wal_frames() - before;
    let before = hub.wal_frames();
    // Not so many that the log is begun anew.
    for (sha256, size) in objects.into_iter().take(50) {
        let publish =
            Publish { upload: id, repo: hub.repo.id, sha256, size, proof: Proof::Verified, by: None };
        hub.db.publish_object(publish).await.unwrap();
    }
    let pages = (hub.wal_frames() - before) as f64 / 50.0;
    println!("{begun} pages for a batch of 100, {pages:.2} per object");
    assert!(begun <= 10 && pages < 14.0, "{begun} pages for a batch of 100, {pages:.2} per object");
}

/// Nothing is read of a large batch but what is asked for, by key.
#[tokio::test]
async fn links_are_found_by_key() {
    let hub = hub().await;
    let conn = Connection::open(hub.file()).unwrap();
    let plan = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        // Whatever the parameters are, the plan is the same.
        let nulls = vec![None::<i64>; statement.parameter_count()];
        let rows = statement.query_map(rusqlite::params_from_iter(nulls), |row| row.get(3)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let cases = [
        (
            "SELECT 1 FROM repo_object WHERE repo_id = ?1 AND sha256 = ?2",
            "USING PRIMARY KEY (repo_id=? AND sha256=?)",
        ),
        (
            "SELECT id FROM backing WHERE sha256 = ?1 AND size = ?2 AND state = 1 AND proof = 2",
            "backing_verified",
        ),
        (
            "SELECT id FROM backing WHERE sha256 = ?1 AND upload_id = ?2",
            "backing_by_key (sha256=? AND upload_id=?)",
        ),
        ("SELECT 1 FROM repo_object WHERE backing_id = ?1", "repo_object_by_backing"),
        (
            "SELECT id FROM backing WHERE state = 2 AND not_before_ms <= ?1 ORDER BY not_before_ms",
            "backing_condemned",
        ),
        ("SELECT id FROM backing WHERE state = 1 AND proof = 0 AND id > ?1 ORDER BY id", "backing_claimed"),
        ("SELECT 1 FROM upload WHERE expires_ms <= ?1", "upload_by_expiry"),
    ];
    for (sql, index) in cases {
        let plan = plan(sql);
        assert!(plan.len() == 1 && plan[0].contains(index), "{sql}: {plan:?}");
    }
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
