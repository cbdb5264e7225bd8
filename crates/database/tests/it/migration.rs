//! A database of an older release is taken over as it is.

use std::path::Path;

use database::{Change, Database, PackId, Published, Sha256, UploadId};
use database::{NewUpload, Proof, Publish};
use rusqlite::Connection;

use crate::support::{change, create, hub, oid, open, pack, path};

/// As if schema 1 had written it. Those after it added tables and changed none; of indexes they changed one.
fn take_back(file: &Path) {
    let (conn, first) = (Connection::open(file).unwrap(), schema_1());
    let is_first = |sql: &str, name: &str| first.prepare(sql).unwrap().exists([name]).unwrap();
    conn.pragma_update(None, "foreign_keys", false).unwrap();
    for table in
        names(&conn, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    {
        // A virtual table takes others along.
        if !is_first("SELECT 1 FROM sqlite_schema WHERE name = ?1", &table) {
            conn.execute_batch(&format!("DROP TABLE IF EXISTS {table}")).unwrap();
        }
    }
    conn.execute_batch("DROP INDEX pack_not_live").unwrap();
    for index in names(&first, "SELECT sql FROM sqlite_schema WHERE name = 'pack_not_live'") {
        conn.execute_batch(&index).unwrap();
    }
    for sequence in names(&conn, "SELECT name FROM sequence") {
        if !is_first("SELECT 1 FROM sequence WHERE name = ?1", &sequence) {
            conn.execute("DELETE FROM sequence WHERE name = ?1", [sequence]).unwrap();
        }
    }
    conn.pragma_update(None, "user_version", 1).unwrap();
    assert_eq!(definitions(&conn), definitions(&first));
}

fn schema_1() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(include_str!("../../src/sqlite/schema.sql")).unwrap();
    conn
}

fn definitions(conn: &Connection) -> Vec<String> {
    names(conn, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
}

fn names(conn: &Connection, sql: &str) -> Vec<String> {
    conn.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn schema_1_becomes_schema_2() {
    let hub = hub().await;
    let push = Change {
        packs_added: vec![pack(PackId::new(), 2_000)],
        ..change(hub.repo.id, vec![create("refs/heads/main", oid(1)), create("refs/tags/v1", oid(2))])
    };
    hub.db.apply(push).await.unwrap();
    let stored = hub.stored(70_000).await;
    hub.db.stage_pack(PackId::new(), hub.repo.id).await.unwrap();
    hub.db.rename_repo(hub.repo.id, path("acme/second")).await.unwrap();
    hub.db.set_setting("a", "b").await.unwrap();
    let gone = hub.db.create_repo(crate::support::new_repo("acme/gone")).await.unwrap();
    hub.db.delete_repo(gone.id, i64::MAX).await.unwrap();
    let told = |db: &Database| {
        let rows = db.snapshot(hub.repo.id).unwrap().unwrap();
        let log = db.ref_log(hub.repo.id, 0).unwrap();
        format!(
            "{rows:?} {log:?} {:?} {:?} {:?}",
            db.packs().unwrap(),
            db.users().unwrap(),
            db.stats().unwrap()
        )
    };
    let before = told(&hub.db);
    hub.db.close().await;
    take_back(&hub.directory.path().join("granary.db"));

    let db = open(&hub.directory, &hub.clock);
    assert_eq!(told(&db), before);
    assert_eq!(db.check().unwrap(), Vec::<String>::new());
    assert!(db.packs().unwrap().iter().any(|(id, ..)| *id == stored));

    // And it is as good as a new one.
    let (upload, sha256) = (UploadId::new(), Sha256([1; 32]));
    let objects = vec![(sha256, 5)];
    let new = NewUpload {
        id: upload,
        repo: hub.repo.id,
        by: None,
        objects,
        expires_ms: i64::MAX,
        quota: database::Quota::Default(Some(5)),
    };
    assert_eq!(db.begin_upload(new).await.unwrap().admitted, [true]);
    let publish = Publish { upload, repo: hub.repo.id, sha256, size: 5, proof: Proof::Verified, by: None };
    assert!(matches!(db.publish_object(publish).await.unwrap(), Published::Linked(_)));
    let owner = db.user("acme").unwrap().unwrap().id;
    db.create_lock(hub.repo.id, "a".to_owned(), None, owner, 1).await.unwrap();
    assert_eq!(db.check().unwrap(), Vec::<String>::new());

    // Once is enough.
    drop(db);
    let db = open(&hub.directory, &hub.clock);
    assert!(db.link(hub.repo.id, &sha256).unwrap().unwrap().is_usable());
    assert_eq!(db.check().unwrap(), Vec::<String>::new());
}
