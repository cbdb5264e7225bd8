//! Garbage collection of large objects.

use change::{GcOptions, GcReport};
use database::{Oid, Repo};

use crate::hub::{Hub, Large, hub, refused};

const MAIN: &str = "refs/heads/main";
const TOPIC: &str = "refs/heads/topic";
const DAY_MS: i64 = 24 * 3600 * 1000;

async fn gc(hub: &Hub, dry_run: bool, purge: bool) -> GcReport {
    let report =
        hub.changes.gc(GcOptions { repo: None, dry_run, purge, ..GcOptions::default() }).await.unwrap();
    assert!(report.failed.is_empty() && report.skipped.is_empty(), "{report}");
    report
}

async fn swept(hub: &Hub) -> u64 {
    hub.changes.maintain(false).await.unwrap().large.objects
}

/// `main` without and `topic` with a pointer to `large`. What `topic` points at.
async fn with_topic(hub: &Hub, repo: &Repo, large: &Large) -> Oid {
    let git = hub.git(repo.path.name());
    let main = git.commit("README.md", b"text");
    let topic = git.commit("a.bin", &large.pointer());
    hub.upload(repo, large).await;
    let updates = [(MAIN, Oid::NULL, main), (TOPIC, Oid::NULL, topic)];
    assert!(refused(&hub.push(repo, &updates, Some(git.pack("main"))).await).is_empty());
    topic
}

#[tokio::test]
async fn what_no_pointer_needs_goes_after_the_retention() {
    let hub = hub().await;
    let (repo, large) = (hub.repo("model").await, Large::new("a"));
    hub.upload(&repo, &large).await;
    assert_eq!(gc(&hub, false, false).await.large_dropped, 0, "the push that needs it may be under way");
    hub.clock.advance_ms(14 * DAY_MS - 60_000);
    assert_eq!(gc(&hub, false, false).await.large_dropped, 0);
    hub.clock.advance_ms(60_000);

    let told = gc(&hub, true, false).await;
    assert_eq!((told.large_dropped, told.large_bytes_dropped), (1, large.bytes.len() as u64));
    assert!(told.to_string().contains("would drop 0 objects, 0 bytes, and 1 large objects, 1000 bytes"));
    assert!(hub.has(&repo, &large), "a dry run drops nothing");
    let done = gc(&hub, false, false).await;
    assert_eq!((done.large_dropped, done.large_bytes_dropped), (1, large.bytes.len() as u64));
    assert_eq!(hub.changes.database().link(repo.id, &large.sha256).unwrap(), None);
    assert_eq!(gc(&hub, false, false).await.large_dropped, 0);

    assert_eq!((swept(&hub).await, large.stored(&hub.data()).len()), (0, 1), "a grace for readers");
    hub.clock.advance_ms(14 * DAY_MS + 1);
    assert_eq!((swept(&hub).await, large.stored(&hub.data()).len()), (1, 0));
    assert_eq!(swept(&hub).await, 0, "once");
    hub.assert_sound().await;

    let git = hub.git("late");
    let tip = git.commit("a.bin", &large.pointer());
    let report = hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    assert_eq!(refused(&report), [(MAIN, "LFS objects are missing")]);
    hub.upload(&repo, &large).await;
    let report = hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    assert!(refused(&report).is_empty());
    hub.assert_sound().await;
}

#[tokio::test]
async fn what_a_pointer_needs_stays() {
    let hub = hub().await;
    let (repo, large) = (hub.repo("model").await, Large::new("a"));
    with_topic(&hub, &repo, &large).await;
    hub.clock.advance_ms(1000 * DAY_MS);
    for purge in [false, true] {
        assert_eq!(gc(&hub, false, purge).await.large_dropped, 0);
    }
    // Compaction copies the pointers along.
    hub.changes.maintain(true).await.unwrap();
    hub.clock.advance_ms(1000 * DAY_MS);
    assert_eq!(gc(&hub, false, true).await.large_dropped, 0);
    assert!(hub.has(&repo, &large));
    assert_eq!(swept(&hub).await, 0);
    hub.assert_sound().await;
}

#[tokio::test]
async fn an_object_goes_with_the_packs_that_pointed_at_it() {
    let hub = hub().await;
    let (repo, large) = (hub.repo("model").await, Large::new("a"));
    let topic = with_topic(&hub, &repo, &large).await;
    // By the time of the deletion the object is old, but not what pointed at it.
    hub.clock.advance_ms(100 * DAY_MS);
    hub.push(&repo, &[(TOPIC, topic, Oid::NULL)], None).await;
    hub.clock.advance_ms(13 * DAY_MS);
    let early = gc(&hub, false, false).await;
    assert_eq!((early.objects_dropped, early.large_dropped), (0, 0), "the ref log holds it");
    hub.clock.advance_ms(2 * DAY_MS);
    let told = gc(&hub, true, false).await;
    assert_eq!((told.objects_dropped, told.large_dropped), (3, 1), "a commit, a tree, a pointer");
    assert!(hub.has(&repo, &large));
    let done = gc(&hub, false, false).await;
    assert_eq!((done.objects_dropped, done.large_dropped), (3, 1));
    assert!(!hub.has(&repo, &large));
    hub.assert_sound().await;
    hub.clock.advance_ms(15 * DAY_MS);
    assert_eq!((swept(&hub).await, large.stored(&hub.data()).len()), (1, 0));
    hub.assert_sound().await;
}

#[tokio::test]
async fn a_purge_drops_and_deletes_at_once() {
    let hub = hub().await;
    let (repo, large, unused) = (hub.repo("model").await, Large::new("a"), Large::new("unused"));
    let topic = with_topic(&hub, &repo, &large).await;
    hub.upload(&repo, &unused).await;
    hub.push(&repo, &[(TOPIC, topic, Oid::NULL)], None).await;
    let told = gc(&hub, true, true).await;
    assert_eq!((told.objects_dropped, told.large_dropped), (3, 2));
    assert!(hub.has(&repo, &large) && hub.has(&repo, &unused));
    let done = gc(&hub, false, true).await;
    assert_eq!((done.objects_dropped, done.large_dropped), (3, 2));
    for gone in [&large, &unused] {
        assert!(!hub.has(&repo, gone));
        assert_eq!(gone.stored(&hub.data()), [] as [std::path::PathBuf; 0]);
    }
    hub.assert_sound().await;
}

#[tokio::test]
async fn what_another_repository_links_stays_for_it() {
    let hub = hub().await;
    let (one, two, large) = (hub.repo("one").await, hub.repo("two").await, Large::new("a"));
    hub.upload(&one, &large).await;
    with_topic(&hub, &two, &large).await;
    assert_eq!(large.stored(&hub.data()).len(), 1, "stored once");
    let only_one = GcOptions { repo: Some(one.clone()), dry_run: false, purge: true, ..GcOptions::default() };
    assert_eq!(hub.changes.gc(only_one).await.unwrap().large_dropped, 1);
    assert!(!hub.has(&one, &large) && hub.has(&two, &large));
    hub.clock.advance_ms(100 * DAY_MS);
    assert_eq!(gc(&hub, false, true).await.large_dropped, 0);
    assert_eq!((swept(&hub).await, large.stored(&hub.data()).len()), (0, 1));
    hub.assert_sound().await;

    // A deleted repository lets go of its objects.
    hub.changes.delete_repo(&two).await.unwrap();
    hub.clock.advance_ms(100 * DAY_MS);
    assert_eq!((swept(&hub).await, large.stored(&hub.data()).len()), (1, 0));
    hub.assert_sound().await;
}

/// A repository is shown to all while somebody uploads to it.
#[tokio::test]
async fn publication_drops_what_was_pushed_and_leaves_what_is_to_be_pushed() {
    let hub = hub().await;
    let (repo, large, coming) = (hub.repo("model").await, Large::new("a"), Large::new("coming"));
    let topic = with_topic(&hub, &repo, &large).await;
    hub.push(&repo, &[(TOPIC, topic, Oid::NULL)], None).await;
    hub.upload(&repo, &coming).await;
    hub.changes.set_visibility(&repo, database::Visibility::Public).await.unwrap();
    assert!(!hub.has(&repo, &large), "it was removed by force");
    assert!(hub.has(&repo, &coming), "its push is under way");
    hub.changes.set_visibility(&repo, database::Visibility::Private).await.unwrap();
    hub.clock.advance_ms(2 * DAY_MS);
    hub.changes.set_visibility(&repo, database::Visibility::Public).await.unwrap();
    assert!(!hub.has(&repo, &coming), "no push came");
    hub.assert_sound().await;
}
