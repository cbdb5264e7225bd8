//! Likes, downloads, requests for access, collections: what is counted, and what goes with a repository.

use database::{
    AccessStatus, Asked, Clock, Collected, CollectionEdit, CollectionId, Counts, Decide, Decided, Gating,
    NewCollection, RepoId, RepoSettings, Request, Seen, UserId, lists,
};

use crate::support::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn public() -> Seen {
    Seen::Public { and_namespaces: Vec::new() }
}

async fn two_users(db: &database::Database) -> (UserId, UserId) {
    let mut ids = Vec::new();
    for name in ["acme", "bob"] {
        ids.push(db.create_user(name.parse().unwrap(), false).await.unwrap().id);
    }
    (ids[0], ids[1])
}

#[tokio::test]
async fn likes_and_downloads_are_counted_and_fade() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::default());
    let db = open(&directory, &clock);
    let (acme, bob) = two_users(&db).await;
    let repo = db.create_repo(new_repo("acme/a")).await.unwrap().id;
    for user in [acme, bob, bob] {
        assert!(db.set_like(repo, user, true).await.unwrap());
    }
    assert!(!db.set_like(RepoId(99), acme, true).await.unwrap());
    db.add_downloads(vec![(repo, 9), (RepoId(99), 1)]).await.unwrap();
    db.add_downloads(vec![(repo, 90)]).await.unwrap();
    let trending = lists::trending(2, 99);
    assert_eq!(trending, 40);
    let counts = Counts { likes: 2, downloads: 99, downloads_all: 99, trending };
    assert_eq!(db.counts(repo).unwrap(), counts);
    assert_eq!(db.check().unwrap(), Vec::<String>::new());

    clock.advance_ms(8 * DAY_MS);
    assert_eq!(db.update_trending(RepoId(0)).await.unwrap(), Some(repo));
    assert_eq!(db.update_trending(repo).await.unwrap(), None);
    assert_eq!(db.counts(repo).unwrap(), Counts { trending: 0, ..counts });
    assert!(db.set_like(repo, bob, false).await.unwrap());
    clock.advance_ms(23 * DAY_MS);
    db.add_downloads(vec![(repo, 1)]).await.unwrap();
    assert!(!db.drop_old_downloads().await.unwrap());
    let counts = Counts { likes: 1, downloads: 1, downloads_all: 100, trending: lists::trending(0, 1) };
    assert_eq!(db.counts(repo).unwrap(), counts);
    assert_eq!(db.likers(repo, 0, 10).unwrap().len(), 1);
    assert_eq!(db.likes(acme, &Seen::All, 0, 10).unwrap().len(), 1);
    assert_eq!(db.likes(acme, &public(), 0, 10).unwrap().len(), 0, "it is private");
    assert_eq!(db.check().unwrap(), Vec::<String>::new());
    db.delete_repo(repo, 0).await.unwrap();
    assert_eq!(db.counts(repo).unwrap(), Counts::default());
    assert_eq!(db.likes(acme, &Seen::All, 0, 10).unwrap().len(), 0);
    assert_eq!(db.check().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn who_is_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&directory, &Clock::default());
    let (_, bob) = two_users(&db).await;
    let repo = db.create_repo(new_repo("acme/a")).await.unwrap().id;
    let ask = || db.ask_for_access(repo, bob, "{}".to_owned());
    let gate = async |gating| {
        let settings = RepoSettings { gating: Some(gating), ..RepoSettings::default() };
        db.set_repo_settings(repo, settings, database::AsOf::default()).await.unwrap();
    };
    assert_eq!(ask().await.unwrap(), Asked::Open);
    gate(Gating::Manual).await;
    assert_eq!(ask().await.unwrap(), Asked::Now(AccessStatus::Pending));
    assert_eq!(ask().await.unwrap(), Asked::Already(AccessStatus::Pending));
    assert_eq!(db.admissions(bob).unwrap()[..], []);
    let row = db.access_requests(repo, AccessStatus::Pending, None, 10).unwrap().remove(0);
    let decide = |status| db.decide_request(repo, Request::Id(row.id), status, None);
    let acl_version = || db.repo(repo).unwrap().unwrap().acl_version;
    let before = acl_version();
    assert_eq!(decide(AccessStatus::Accepted).await.unwrap(), Decided::Done);
    assert_eq!(decide(AccessStatus::Accepted).await.unwrap(), Decided::Already);
    assert_eq!((db.admissions(bob).unwrap()[..].to_vec(), acl_version()), (vec![repo], before));
    assert_eq!(decide(AccessStatus::Rejected).await.unwrap(), Decided::Done);
    assert_eq!(
        (db.admissions(bob).unwrap().len(), acl_version()),
        (0, before + 1),
        "changes under way notice"
    );
    assert_eq!(db.access_status(repo, bob).unwrap(), Some(AccessStatus::Rejected));
    let other = db.decide_request(repo, Request::Of(UserId(99)), AccessStatus::Accepted, None);
    assert_eq!(other.await.unwrap(), Decided::NoRequest);
    assert_eq!(db.grant_access(repo, bob).await.unwrap(), Decided::Done);
    assert!(!db.withdraw_request(repo, bob).await.unwrap(), "it is decided");
    assert_eq!(db.check().unwrap(), Vec::<String>::new());
    db.delete_repo(repo, 0).await.unwrap();
    assert_eq!(db.admissions(bob).unwrap().len(), 0);
    assert_eq!(db.check().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn many_are_let_in_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&directory, &Clock::default());
    let (ann, bob) = two_users(&db).await;
    let repo = db.create_repo(new_repo("acme/a")).await.unwrap().id;
    let settings = RepoSettings { gating: Some(Gating::Manual), ..RepoSettings::default() };
    db.set_repo_settings(repo, settings, database::AsOf::default()).await.unwrap();
    for user in [ann, bob] {
        db.ask_for_access(repo, user, "{}".to_owned()).await.unwrap();
    }
    let decide = |user, status| Decide { request: Request::Of(user), status, reason: None };
    let acl_version = || db.repo(repo).unwrap().unwrap().acl_version;
    let before = acl_version();
    let (accept, reject) = (AccessStatus::Accepted, AccessStatus::Rejected);
    let all = vec![decide(ann, accept), decide(UserId(99), accept), decide(bob, accept), decide(bob, accept)];
    let decided = db.decide_requests(repo, all).await.unwrap();
    assert_eq!(decided, [Decided::Done, Decided::NoRequest, Decided::Done, Decided::Already]);
    assert_eq!((db.admissions(bob).unwrap().len(), acl_version()), (1, before));
    let decided = db.decide_requests(repo, vec![decide(ann, reject), decide(bob, reject)]).await.unwrap();
    assert_eq!((decided, acl_version()), (vec![Decided::Done; 2], before + 1));
    assert_eq!(db.admissions(bob).unwrap().len(), 0);
    assert_eq!(db.decide_requests(repo, vec![]).await.unwrap(), []);
    assert_eq!(db.check().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn collections_keep_an_order() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&directory, &Clock::default());
    two_users(&db).await;
    let new = |title: &str| NewCollection {
        namespace: "ACME".parse().unwrap(),
        title: title.to_owned(),
        slug: title.to_owned(),
        description: None,
        private: false,
        theme: "blue".to_owned(),
    };
    let Collected::Done(made) = db.create_collection(new("one")).await.unwrap() else { panic!("it is new") };
    assert_eq!((made.namespace.as_str(), made.position), ("acme", 0));
    assert_eq!(db.create_collection(new("one")).await.unwrap(), Collected::There(made.clone()));
    let Collected::Done(two) = db.create_collection(new("two")).await.unwrap() else { panic!("it is new") };
    let taken = CollectionEdit { title: Some(("one".into(), "one".into())), ..CollectionEdit::default() };
    assert_eq!(db.edit_collection(two.id, taken).await.unwrap(), Collected::There(made.clone()));
    let mut repos = Vec::new();
    for name in ["acme/a", "acme/b", "bob/c"] {
        repos.push(db.create_repo(new_repo(name)).await.unwrap().id);
    }
    for repo in &repos {
        assert_eq!(db.collect(made.id, *repo, None).await.unwrap(), Collected::Done(()));
    }
    assert_eq!(db.collect(made.id, repos[0], None).await.unwrap(), Collected::There(()));
    assert_eq!(db.collect(CollectionId(99), repos[0], None).await.unwrap(), Collected::Gone);
    let items = || db.collection_items(made.id, &Seen::All, 10).unwrap();
    let order =
        || -> Vec<(RepoId, i64)> { items().iter().map(|item| (item.repo.id, item.position)).collect() };
    assert!(db.edit_item(made.id, items()[2].id, Some("x".into()), Some(0)).await.unwrap());
    assert_eq!(order(), [(repos[2], 0), (repos[0], 1), (repos[1], 2)]);
    assert!(!db.edit_item(two.id, items()[0].id, None, Some(0)).await.unwrap(), "it is in the other one");
    db.delete_repo(repos[0], 0).await.unwrap();
    assert_eq!(order(), [(repos[2], 0), (repos[1], 1)]);
    assert!(db.drop_item(made.id, items()[0].id).await.unwrap());
    assert_eq!(order(), [(repos[1], 0)]);
    assert_eq!(db.check().unwrap(), Vec::<String>::new());
    assert!(db.delete_collection(made.id).await.unwrap() && !db.delete_collection(made.id).await.unwrap());
    assert_eq!(db.check().unwrap(), Vec::<String>::new());
}
