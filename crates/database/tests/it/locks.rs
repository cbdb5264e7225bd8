//! File locks: one per path, listed by id, noticed by changes.

use database::{Change, Conflict, LockError, LockFilter, LockId, UserId};

use crate::support::{Hub, change, create, hub, oid};

async fn bob(hub: &Hub) -> UserId {
    hub.db.create_user("bob".parse().unwrap(), false).await.unwrap().id
}

fn acme(hub: &Hub) -> UserId {
    hub.db.user("acme").unwrap().unwrap().id
}

#[tokio::test]
async fn a_path_is_locked_once_and_unlocked_by_its_owner_or_by_force() {
    let hub = hub().await;
    let (repo, acme, bob) = (hub.repo.id, acme(&hub), bob(&hub).await);
    let take = |path: &str, by| hub.db.create_lock(repo, path.to_owned(), None, by, 10);
    let lock = take("a.bin", acme).await.unwrap();
    assert_eq!((lock.owner_name.as_str(), lock.path.as_str()), ("Acme", "a.bin"));
    match take("a.bin", bob).await {
        Err(LockError::Exists(held)) => assert_eq!(*held, lock),
        other => panic!("{other:?}"),
    }
    take("A.bin", bob).await.expect("paths are case-sensitive");
    let refused = hub.db.delete_lock(repo, lock.id, bob, false).await;
    assert!(matches!(refused, Err(LockError::NotOwner(held)) if *held == lock));
    assert_eq!(hub.db.delete_lock(repo, lock.id, bob, true).await.unwrap(), lock);
    let gone = hub.db.delete_lock(repo, lock.id, acme, true).await;
    assert!(matches!(gone, Err(LockError::NotFound)));
    take("a.bin", bob).await.expect("it is free again");
    hub.assert_sound();
}

#[tokio::test]
async fn listings_go_on_behind_the_last_id() {
    let hub = hub().await;
    let (repo, acme) = (hub.repo.id, acme(&hub));
    for n in 0..25 {
        let ref_name = (n == 3).then(|| "refs/heads/x".to_owned());
        hub.db.create_lock(repo, format!("f{n}"), ref_name, acme, 25).await.unwrap();
    }
    let full = hub.db.create_lock(repo, "more".to_owned(), None, acme, 25).await;
    assert!(matches!(full, Err(LockError::TooMany { max: 25 })));
    let mut seen = Vec::new();
    let mut after: Option<LockId> = None;
    loop {
        let page = hub.db.locks(repo, &LockFilter { after, limit: 10, ..LockFilter::default() }).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.into_iter().map(|lock| lock.path));
    }
    assert_eq!(seen, (0..25).map(|n| format!("f{n}")).collect::<Vec<_>>(), "in the order they were taken");
    let one =
        hub.db.locks(repo, &LockFilter { path: Some("f3"), limit: 10, ..LockFilter::default() }).unwrap();
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].ref_name.as_deref(), Some("refs/heads/x"));
    let by_id = LockFilter { id: Some(one[0].id), limit: 10, ..LockFilter::default() };
    assert_eq!(hub.db.locks(repo, &by_id).unwrap(), one);
    let both = LockFilter { path: Some("f4"), ..by_id };
    assert!(hub.db.locks(repo, &both).unwrap().is_empty());
}

#[tokio::test]
async fn a_change_notices_a_lock_taken_since_it_looked() {
    let hub = hub().await;
    let (repo, acme, bob) = (hub.repo.id, acme(&hub), bob(&hub).await);
    let (version, others) = hub.db.locks_of_others(repo, Some(acme)).unwrap();
    assert!(others.is_empty());
    let with = |locks_version, n| Change {
        locks_version: Some(locks_version),
        ..change(repo, vec![create(&format!("refs/heads/{n}"), oid(n))])
    };
    hub.db.apply(with(version, 1)).await.unwrap();
    let lock = hub.db.create_lock(repo, "a".to_owned(), None, bob, 10).await.unwrap();
    assert_eq!(hub.conflict(with(version, 2)).await, Conflict::LocksMoved);
    let (version, others) = hub.db.locks_of_others(repo, Some(acme)).unwrap();
    assert_eq!(others, std::slice::from_ref(&lock));
    assert!(hub.db.locks_of_others(repo, Some(bob)).unwrap().1.is_empty());
    assert_eq!(hub.db.locks_of_others(repo, None).unwrap().1.len(), 1);
    hub.db.delete_lock(repo, lock.id, bob, false).await.unwrap();
    hub.db.apply(with(version, 3)).await.expect("an unlocking takes nothing from anybody");
    hub.db.delete_repo(repo, 0).await.unwrap();
    let gone = hub.db.create_lock(repo, "a".to_owned(), None, bob, 10).await;
    assert!(matches!(gone, Err(LockError::RepoGone)));
}
