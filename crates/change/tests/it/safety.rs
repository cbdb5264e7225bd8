use std::path::Path;

use auth::transfer::{KeysError, TransferKeys};
use auth::{Authorized, Read, Write};
use database::{
    AsOf, Attempt, BucketAct, BucketBatch, BucketEdit, BucketPath, BucketPut, BucketRegistration,
    BucketSource, Clock, Collected, CollectionId, Database, DiscussionEdit, Facts, FoundBy, Gating,
    NewBucket, NewCollection, NewDiscussion, NewUpload, NewWebhook, NewXetFile, Oid, PackId, Quota,
    RepoSettings, Then, TokenRole, UploadId, UserId, Visibility, Watch, WebhookDomains, XetFileId, XetHash,
    XorbGrant,
};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::hub::{Hub, Large, hub, open};
use crate::large_xet::Packed;

const MAIN: &str = "refs/heads/main";

fn large(seed: u32) -> Vec<u8> {
    (0..100_000u32).flat_map(|n| (n ^ seed).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[tokio::test]
async fn a_backup_restores_to_the_same() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let tip = git.commit("weights.bin", &large(1));
    hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    let backup = hub.path("backup");
    let report = hub.changes.backup(backup.clone()).await.unwrap();
    assert_eq!(report.packs, 1);
    assert!(hub.changes.backup(backup.clone()).await.unwrap_err().to_string().contains("not empty"));

    let restored = hub.path("restored");
    change::restore(&backup, &restored, None).await.unwrap();
    assert!(
        change::restore(&backup, &restored, None)
            .await
            .unwrap_err()
            .to_string()
            .contains("already holds data")
    );
    let changes = open(&restored, Clock::default()).await;
    assert!(changes.fsck(None).await.unwrap().findings.is_empty());
    assert_eq!(changes.database().snapshot(repo.id).unwrap().unwrap().refs[0].oid, tip);

    std::fs::remove_file(backup.join("backup.json")).unwrap();
    let error = change::restore(&backup, &hub.path("other"), None).await.unwrap_err();
    assert!(error.to_string().contains("not a complete backup"), "{error}");
}

#[tokio::test]
async fn fsck_finds_a_flip_anywhere_in_a_pack() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let tip = git.commit("weights.bin", &large(2));
    hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    hub.changes.database().close().await;
    let (pack, _, _) = hub.changes.database().packs().unwrap()[0];
    let path = hub.data().join(pack.storage_key());
    let good = std::fs::read(&path).unwrap();
    // Header, body, trailer, index, footer.
    for at in [5, 20, good.len() / 2, good.len() - 200, good.len() - 100, good.len() - 20, good.len() - 2] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        let report = open(&hub.data(), Clock::default()).await.fsck(None).await.unwrap();
        assert!(!report.findings.is_empty(), "a flip at {at} of {}", good.len());
    }
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(!open(&hub.data(), Clock::default()).await.fsck(None).await.unwrap().findings.is_empty());
    std::fs::remove_file(&path).unwrap();
    assert!(!open(&hub.data(), Clock::default()).await.fsck(None).await.unwrap().findings.is_empty());
    std::fs::write(&path, &good).unwrap();
    assert!(open(&hub.data(), Clock::default()).await.fsck(None).await.unwrap().findings.is_empty());
}

/// A closed hub with something in every table, and in every state a row can be in.
async fn hub_with_every_kind_of_row() -> Hub {
    let hub = hub().await;
    let (db, git) = (hub.changes.database().clone(), hub.git("work"));
    let root = db.create_user("Root".parse().unwrap(), true).await.unwrap();
    let gone = db.create_user("gone".parse().unwrap(), false).await.unwrap();
    db.set_user_disabled(gone.id, true).await.unwrap();
    db.create_token(root.id, "laptop".to_owned(), TokenRole::Write, [7; 32]).await.unwrap();
    let lost = db.create_token(gone.id, "lost".to_owned(), TokenRole::Read, [8; 32]).await.unwrap();
    db.revoke_token(lost).await.unwrap();
    db.set_setting("anonymous_read", "true").await.unwrap();

    let compacted = hub.repo("compacted").await;
    let first = git.commit("a", b"a");
    hub.push(&compacted, &[(MAIN, Oid::NULL, first)], Some(git.pack("main"))).await;
    let second = git.commit("a", b"b");
    let range = format!("{second} ^{first}");
    let updates = [(MAIN, first, second), ("refs/heads/old", Oid::NULL, first)];
    hub.push(&compacted, &updates, Some(git.pack(&range))).await;
    hub.push(&compacted, &[("refs/heads/old", first, Oid::NULL)], None).await;
    hub.changes.maintain(true).await.unwrap();

    let renamed = hub.repo("before").await;
    db.rename_repo(renamed.id, "ada/after".parse().unwrap()).await.unwrap();
    hub.push(&renamed, &[(MAIN, Oid::NULL, second)], Some(git.pack("main"))).await;
    git.run(&["tag", "-a", "-m", "one", "v1"]);
    let tag: Oid = git.run(&["rev-parse", "v1"]).parse().unwrap();
    let third = git.commit("weights.bin", &large(3)[..70_000]);
    let updates = [(MAIN, second, third), ("refs/tags/v1", Oid::NULL, tag)];
    hub.push(&renamed, &updates, Some(git.pack(&format!("main v1 ^{second}")))).await;
    db.stage_pack(PackId::new(), renamed.id).await.unwrap();

    rows_of_large_objects(&hub, root.id).await;
    let deleted = hub.repo("deleted").await;
    hub.push(&deleted, &[(MAIN, Oid::NULL, second)], Some(git.pack(&second.to_string()))).await;
    db.delete_repo(deleted.id, i64::MAX).await.unwrap();

    let source = Authorized::<Read>::system("test", db.repo(renamed.id).unwrap().unwrap());
    let copy = Authorized::<Write>::system("test", hub.repo("copy").await);
    hub.changes.duplicate(source, copy, Quota::Exempt).await.unwrap();

    hub.assert_sound().await;
    db.close().await;
    hub
}

/// Linked, removed and condemned, waited for; a lock and a quota.
async fn rows_of_large_objects(hub: &Hub, user: UserId) {
    let (db, repo) = (hub.changes.database(), hub.repo("large").await);
    let [kept, removed, awaited] = ["kept", "removed", "awaited"].map(Large::new);
    hub.upload(&repo, &kept).await;
    hub.upload(&repo, &removed).await;
    assert!(db.remove_link(repo.id, removed.sha256).await.unwrap());
    let id = UploadId::new();
    let objects = vec![(awaited.sha256, 1), (kept.sha256, 2)];
    let new = NewUpload {
        id,
        repo: repo.id,
        by: Some(user),
        objects,
        expires_ms: i64::MAX,
        quota: Quota::Default(Some(1 << 40)),
    };
    db.begin_upload(new).await.unwrap();
    db.set_multipart(id, vec![(awaited.sha256, "x".to_owned())]).await.unwrap();
    let main = Some(MAIN.to_owned());
    db.create_lock(repo.id, "weights.bin".to_owned(), main, user, 1).await.unwrap();
    let (packed, _) = hub.bring(&repo, &Packed::new(1), 2).await;
    let file = db.link(repo.id, &packed.sha256).unwrap().unwrap().backing.unwrap();
    let copy = db.stage_whole(file.id).await.unwrap().unwrap();
    let path = hub.data().join(database::object_key(&packed.sha256, copy));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, &packed.bytes).unwrap();
    assert!(db.publish_whole(copy).await.unwrap());
    let grant = XorbGrant { holder: repo.id.into(), hash: XetHash([9; 32]), size: 9, expires_ms: i64::MAX };
    db.grant_xorb(grant, 1).await.unwrap().unwrap();
    db.set_quota("ada".parse().unwrap(), Some(1 << 40)).await.unwrap();
    rows_of_a_bucket(db, file.xet.unwrap()).await;
    rows_of_the_hub(hub, repo.id, user).await;
}

/// Files at a path and at none, under a name that it did not always have, with the xorb of another holder.
async fn rows_of_a_bucket(db: &Database, file: XetFileId) {
    let path = |name| BucketPath::new("ada", name).unwrap();
    let new = NewBucket { path: path("old"), visibility: Visibility::Public, creator: None };
    let bucket = db.create_bucket(new).await.unwrap();
    let acl_version = db.rename_bucket(bucket.id, path("new")).await.unwrap().acl_version;
    let file = db.xet_file(file).unwrap().unwrap();
    let hash = file.hash;
    let new = NewXetFile { hash, size: file.size, terms: file.terms, dedup_key: None };
    let register = || {
        let (quota, files) = (Quota::Exempt, vec![new.clone()]);
        db.register_in_bucket(BucketRegistration { bucket: bucket.id, quota, xorbs: vec![], files })
    };
    register().await.unwrap();
    let content_type = Some("text/plain".to_owned());
    let put = BucketPut { hash, from: BucketSource::Here, mtime_ms: Some(1), content_type };
    let edits = vec![BucketEdit { path: "a".to_owned(), act: BucketAct::Put(put) }];
    let batch = BucketBatch { bucket: bucket.id, acl_version, quota: Quota::Exempt, edits };
    assert_eq!(db.edit_bucket(batch).await.unwrap(), [None]);
    // Uploaded again, while it is at its path.
    register().await.unwrap();
}

/// An organisation with a member, settings and facts of a repository.
async fn rows_of_the_hub(hub: &Hub, repo: database::RepoId, user: UserId) {
    let db = hub.changes.database();
    db.create_org("acme".parse().unwrap(), Some(user)).await.unwrap();
    let settings = RepoSettings {
        gating: Some(Gating::Auto),
        discussions_disabled: Some(true),
        ..RepoSettings::default()
    };
    let set = db.set_repo_settings(repo, settings, AsOf::default()).await.unwrap();
    assert_eq!(set, database::Set::Done);
    let facts = Facts { commit: None, modified_ms: 1, tags: vec!["a".to_owned()], document: "{}".to_owned() };
    let found_by = FoundBy { terms: vec!["models:acme/x".to_owned()], text: "words of a card".to_owned() };
    db.set_facts(repo, facts, found_by).await.unwrap();
    rows_of_people(db, repo, user).await;
}

/// A discussion with an edited comment, a like, a download, a request, a collection with an item.
async fn rows_of_people(db: &Database, repo: database::RepoId, user: UserId) {
    let acl_version = db.repo(repo).unwrap().unwrap().acl_version;
    let new = NewDiscussion { title: "talk".to_owned(), text: "a".to_owned(), author: user };
    let num = db.open_discussion(repo, acl_version, new).await.unwrap().num;
    let edit = DiscussionEdit::Edit { position: 0, text: "b".to_owned() };
    db.edit_discussion(repo, acl_version, num, user, edit).await.unwrap();
    assert!(db.set_like(repo, user, true).await.unwrap());
    db.add_downloads(vec![(repo, 1)]).await.unwrap();
    db.grant_access(repo, user).await.unwrap();
    let collection = NewCollection {
        namespace: "acme".parse().unwrap(),
        title: "One".to_owned(),
        slug: "one".to_owned(),
        description: None,
        private: false,
        theme: "blue".to_owned(),
    };
    db.create_collection(collection).await.unwrap();
    assert_eq!(db.collect(CollectionId(1), repo, None).await.unwrap(), Collected::Done(()));
    rows_of_webhooks(db, repo, user).await;
}

/// A webhook that was told of something once and is to be told of more.
async fn rows_of_webhooks(db: &Database, repo: database::RepoId, user: UserId) {
    let new = NewWebhook {
        owner: user,
        url: "http://ci.example/".to_owned(),
        secret: Some("secret".to_owned()),
        domains: WebhookDomains { repo: true, discussion: true },
        watched: vec![Watch::Repo(repo)],
    };
    let webhook = db.create_webhook(new).await.unwrap().id;
    let acl_version = db.repo(repo).unwrap().unwrap().acl_version;
    for text in ["c", "d"] {
        let comment = DiscussionEdit::Comment(text.to_owned());
        db.edit_discussion(repo, acl_version, 1, user, comment).await.unwrap();
    }
    let delivery = db.next_delivery(webhook).unwrap().unwrap().delivery;
    let error = Some("the target answered 500".to_owned());
    let then = Then::GiveUp { next_ms: 1, suspends: false };
    db.end_attempt(Attempt { delivery, status: Some(500), error, then }).await.unwrap();
}

/// One column of one row.
struct Place {
    table: String,
    column: String,
    sort: String,
    /// Finds the row.
    condition: String,
    key: Vec<Value>,
}

/// What a value may become.
type Change = fn(&Place, &Connection) -> Vec<Value>;

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{} of {:?}", self.table, self.column, self.key)
    }
}

/// All there are.
fn places(conn: &Connection) -> Vec<Place> {
    let strings = |sql: &str| -> Vec<(String, String)> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut places = Vec::new();
    // The indexes of words have no rows of ours.
    let tables = "SELECT name, type FROM sqlite_schema WHERE type = 'table'
                  AND name NOT LIKE 'name\\_text%' ESCAPE '\\' AND name NOT LIKE 'card\\_text%' ESCAPE '\\'";
    for (table, _) in strings(tables) {
        let columns = strings(&format!("SELECT name, type FROM pragma_table_info('{table}')"));
        let mut key = strings(&format!("SELECT name, type FROM pragma_table_info('{table}') WHERE pk > 0"));
        if key.is_empty() {
            key.push(("rowid".to_owned(), "INTEGER".to_owned()));
        }
        let names: Vec<&str> = key.iter().map(|(name, _)| name.as_str()).collect();
        let condition = names.iter().map(|name| format!("{name} = ?")).collect::<Vec<_>>().join(" AND ");
        let mut statement =
            conn.prepare(&format!("SELECT {0} FROM {table} ORDER BY {0}", names.join(", "))).unwrap();
        let keys = statement
            .query_map([], |row| (0..names.len()).map(|index| row.get(index)).collect())
            .unwrap()
            .collect::<rusqlite::Result<Vec<Vec<Value>>>>()
            .unwrap();
        assert!(!keys.is_empty(), "{table} is empty");
        for key in keys {
            places.extend(columns.iter().map(|(column, sort)| Place {
                table: table.clone(),
                column: column.clone(),
                sort: sort.clone(),
                condition: condition.clone(),
                key: key.clone(),
            }));
        }
    }
    places
}

impl Place {
    fn value(&self, conn: &Connection) -> Value {
        let Place { table, column, condition, .. } = self;
        let sql = format!("SELECT {column} FROM {table} WHERE {condition}");
        conn.query_row(&sql, rusqlite::params_from_iter(&self.key), |row| row.get(0)).unwrap()
    }

    /// The value with one bit flipped, each of eight in turn; something instead of nothing.
    fn flipped(&self, conn: &Connection) -> Vec<Value> {
        let flip = |bytes: &[u8], bit: u32| {
            let mut bytes = bytes.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1u8 << bit;
            bytes
        };
        match &self.value(conn) {
            Value::Null if self.sort == "INTEGER" => vec![Value::Integer(1)],
            Value::Null if self.sort == "TEXT" => vec![Value::Text("x".to_owned())],
            Value::Null => vec![Value::Blob(vec![1; 20])],
            Value::Integer(number) => (0..8).map(|bit| Value::Integer(number ^ (1 << bit))).collect(),
            Value::Text(text) if text.is_empty() => vec![Value::Text("x".to_owned())],
            Value::Text(text) => {
                let texts = (0..8).map(|bit| String::from_utf8(flip(text.as_bytes(), bit)));
                texts.flatten().map(Value::Text).collect()
            }
            Value::Blob(bytes) => (0..8).map(|bit| Value::Blob(flip(bytes, bit))).collect(),
            Value::Real(_) => panic!("{self:?} is a floating-point number"),
        }
    }

    /// Nothing instead of something.
    fn emptied(&self, conn: &Connection) -> Vec<Value> {
        match self.value(conn) {
            Value::Null => vec![],
            _ => vec![Value::Null],
        }
    }

    /// Makes the first change that unique keys and NOT NULL allow. False if there is none.
    fn damage(&self, rows: &Path, change: Change) -> bool {
        let conn = Connection::open(rows).unwrap();
        conn.pragma_update(None, "synchronous", "OFF").unwrap();
        conn.pragma_update(None, "ignore_check_constraints", true).unwrap();
        conn.pragma_update(None, "foreign_keys", false).unwrap();
        let Place { table, column, condition, .. } = self;
        let sql = format!("UPDATE {table} SET {column} = ? WHERE {condition}");
        change(self, &conn).into_iter().any(|value| {
            let values = std::iter::once(&value).chain(&self.key);
            conn.execute(&sql, rusqlite::params_from_iter(values)).is_ok_and(|changed| changed == 1)
        })
    }
}

/// A flip that only a damaged disk makes, in each column of each table: no column is excepted.
#[tokio::test]
async fn fsck_finds_a_flip_in_every_row_and_column() {
    let hub = hub_with_every_kind_of_row().await;
    let (rows, sound) = (hub.data().join("granary.db"), hub.path("sound.db"));
    std::fs::copy(&rows, &sound).unwrap();
    let kinds: (i64, i64, i64, i64) = Connection::open(&sound)
        .unwrap()
        .query_row(
            "SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 1 AND inline IS NULL),
                    count(*) FILTER (WHERE state = 1 AND inline IS NOT NULL), count(*) FILTER (WHERE state = 2)
             FROM pack",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    assert!(kinds.0 > 0 && kinds.1 > 0 && kinds.2 > 0 && kinds.3 > 0, "{kinds:?}");
    let places = places(&Connection::open(&sound).unwrap());
    let (mut tried, mut missed) = (0, Vec::new());
    for place in &places {
        for (emptied, change) in [(false, Place::flipped as Change), (true, Place::emptied)] {
            std::fs::copy(&sound, &rows).unwrap();
            if !place.damage(&rows, change) {
                // Few columns may be NULL.
                assert!(emptied, "{place:?} cannot be changed");
                continue;
            }
            tried += 1;
            let database = Database::open(&rows, Clock::default()).unwrap();
            let keys = TransferKeys::open(&database).await;
            database.close().await;
            if matches!(keys, Err(KeysError::Corrupt)) {
                // Some flips of random keys make none of them. No server starts then.
                continue;
            }
            let changes = open(&hub.data(), Clock::default()).await;
            if changes.fsck(None).await.unwrap().findings.is_empty() {
                missed.push(format!("{place:?}, emptied: {emptied}"));
            }
            changes.database().close().await;
        }
    }
    println!("{tried} changes of {} values", places.len());
    assert!(missed.is_empty(), "{missed:#?}");
    std::fs::copy(&sound, &rows).unwrap();
    assert!(open(&hub.data(), Clock::default()).await.fsck(None).await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn restored_rows_do_not_meet_the_log_of_lost_ones() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let first = git.commit("a", b"a");
    hub.push(&repo, &[(MAIN, Oid::NULL, first)], Some(git.pack("main"))).await;
    let backup = hub.path("backup");
    hub.changes.backup(backup.clone()).await.unwrap();
    let second = git.commit("a", b"b");
    hub.push(&repo, &[(MAIN, first, second)], Some(git.pack("main ^HEAD~1"))).await;
    // The machine dies: the log is not checkpointed. The administrator removes what looks broken.
    let crashed = hub.path("crashed");
    std::fs::create_dir(&crashed).unwrap();
    std::fs::copy(hub.data().join("granary.db-wal"), crashed.join("granary.db-wal")).unwrap();
    change::restore(&backup, &crashed, None).await.unwrap();
    assert!(crashed.join("granary.db-wal.set-aside").exists());
    let changes = open(&crashed, Clock::default()).await;
    assert!(changes.fsck(None).await.unwrap().findings.is_empty());
    assert_eq!(changes.database().snapshot(repo.id).unwrap().unwrap().refs[0].oid, first);
}

#[tokio::test]
async fn one_broken_repository_does_not_stop_the_others() {
    let hub = hub().await;
    let (broken, sound, git) = (hub.repo("broken").await, hub.repo("sound").await, hub.git("work"));
    let tip = git.commit("weights.bin", &large(3));
    for repo in [&broken, &sound] {
        hub.push(repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    }
    let rows = hub.changes.database().snapshot(broken.id).unwrap().unwrap();
    std::fs::remove_file(hub.data().join(rows.packs[0].id.storage_key())).unwrap();
    let changes = open(&hub.data(), hub.clock.clone()).await;
    hub.clock.advance_ms(60_000);
    let report = changes.maintain(false).await.unwrap();
    assert_eq!((report.compacted, report.failed, report.manifests), (1, 1, 2), "{report}");
    assert_eq!(changes.maintain(false).await.unwrap().failed, 0, "it is not tried in a loop");
    let gc = changes.gc(change::GcOptions::default()).await.unwrap();
    assert_eq!((gc.repos, gc.failed.len()), (2, 1), "{gc}");
}
