//! What outlives the process: reopening, closing, copies.

use database::{Change, Clock, Database, DbError, Found, PackId};

use crate::support::{change, create, hub, oid, open, pack, path};

#[tokio::test]
async fn reopening_keeps_everything() {
    let hub = hub().await;
    let push = Change {
        packs_added: vec![pack(PackId::new(), 2_000)],
        ..change(hub.repo.id, vec![create("refs/heads/main", oid(1))])
    };
    hub.db.apply(push).await.unwrap();
    hub.stored(70_000).await;
    hub.db.stage_pack(PackId::new(), hub.repo.id).await.unwrap();
    hub.db.rename_repo(hub.repo.id, path("acme/second")).await.unwrap();
    hub.db.set_setting("a", "b").await.unwrap();
    let told = |db: &Database| {
        let rows = db.snapshot(hub.repo.id).unwrap().unwrap();
        let packs = db.packs().unwrap();
        format!("{rows:?} {packs:?} {:?} {:?}", db.users().unwrap(), db.setting("a").unwrap())
    };
    let before = told(&hub.db);
    for _ in 0..2 {
        let directory = &hub.directory;
        let db = open(directory, &Clock::default());
        assert_eq!(told(&db), before);
        assert!(matches!(db.find_repo(&path("acme/model")).unwrap(), Some(Found::Redirect(_))));
        assert_eq!(db.check().unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_is_queued_is_done_before_it_closes() {
    let hub = hub().await;
    let names: Vec<String> = (0..50).map(|n| format!("n{n}")).collect();
    let writes: Vec<_> = names
        .iter()
        .map(|name| {
            let (db, name) = (hub.db.clone(), name.clone());
            tokio::spawn(async move { db.set_setting(&name, "x").await })
        })
        .collect();
    tokio::task::yield_now().await;
    hub.db.close().await;
    hub.db.close().await;
    let late = hub.db.set_setting("late", "x").await;
    assert!(matches!(late, Err(DbError::Closed)), "{late:?}");
    let reopened = open(&hub.directory, &hub.clock);
    for (name, write) in names.iter().zip(writes) {
        let acknowledged = write.await.unwrap().is_ok();
        assert_eq!(acknowledged, reopened.setting(name).unwrap().is_some(), "{name}");
    }
    assert_eq!(reopened.setting("late").unwrap(), None);
}

#[tokio::test]
async fn a_copy_is_whole_while_writes_go_on() {
    let hub = hub().await;
    for n in 0..200 {
        let refs =
            vec![create(&format!("refs/heads/{n}"), oid(1)), create(&format!("refs/tags/{n}"), oid(1))];
        let change = Change { packs_added: vec![pack(PackId::new(), 5_000)], ..change(hub.repo.id, refs) };
        hub.db.apply(change).await.unwrap();
    }
    let writer = {
        let (db, id) = (hub.db.clone(), hub.repo.id);
        tokio::spawn(async move {
            for n in 200..400 {
                let refs = vec![
                    create(&format!("refs/heads/{n}"), oid(1)),
                    create(&format!("refs/tags/{n}"), oid(1)),
                ];
                db.apply(change(id, refs)).await.unwrap();
            }
        })
    };
    let target = tempfile::tempdir().unwrap();
    let (db, file) = (hub.db.clone(), target.path().join("granary.db"));
    let to = file.clone();
    tokio::task::spawn_blocking(move || db.copy_to(&to)).await.unwrap().unwrap();
    writer.await.unwrap();

    assert!(hub.db.copy_to(&file).is_err(), "it would overwrite");
    let entries: Vec<_> =
        std::fs::read_dir(target.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries, ["granary.db"], "a copy is one file");
    let copy = open(&target, &hub.clock);
    assert_eq!(copy.check().unwrap(), Vec::<String>::new());
    let rows = copy.snapshot(hub.repo.id).unwrap().unwrap();
    assert!(rows.repo.generation >= 200);
    assert_eq!(rows.refs.len() as i64, 2 * rows.repo.generation);
    assert_eq!(rows.packs.len(), 200);
    copy.set_setting("a", "b").await.unwrap();
    assert_eq!(hub.db.setting("a").unwrap(), None);
}

#[tokio::test]
async fn a_copy_that_cannot_be_leaves_nothing() {
    let hub = hub().await;
    let missing = hub.directory.path().join("missing/granary.db");
    assert!(matches!(hub.db.copy_to(&missing), Err(DbError::Io(_))));
    assert!(!missing.exists());
}
