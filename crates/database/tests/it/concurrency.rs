//! Many writers at once.

use database::{
    Change, NewUpload, Oid, PackId, Proof, Publish, PublishError, Published, RefOutcome, RepoId, Sha256,
    UploadId,
};

use crate::support::{Hub, change, create, hub, new_repo, oid, pack, update};

/// All see the same old value; exactly one moves the ref, each round, and nothing of the others is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_64_wins_each_round() {
    let hub = hub().await;
    hub.apply(vec![create("refs/heads/main", oid(1))]).await;
    let value = |round: u8, writer: u8| Oid(std::array::from_fn(|i| [round + 1, writer][i % 2]));
    let mut current = oid(1);
    for round in 0..20 {
        let writers: Vec<_> = (0..64)
            .map(|writer| {
                let change = Change {
                    packs_added: vec![pack(PackId::new(), 100)],
                    ..change(hub.repo.id, vec![update("refs/heads/main", current, value(round, writer))])
                };
                let db = hub.db.clone();
                tokio::spawn(async move { db.apply(change).await.unwrap() })
            })
            .collect();
        let mut winners = vec![];
        for (writer, task) in writers.into_iter().enumerate() {
            let applied = task.await.unwrap();
            match &applied.refs[0] {
                RefOutcome::Moved { old } => {
                    assert_eq!((*old, applied.generation), (current, i64::from(round) + 2));
                    winners.push(value(round, writer as u8));
                }
                RefOutcome::Rejected(_) => {}
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        current = winners[0];
        assert_eq!(hub.refs(), [("refs/heads/main".to_owned(), current)]);
        assert_eq!(hub.live_packs().len(), usize::from(round) + 1);
    }
    assert_eq!(hub.repo().generation, 21);
    assert_eq!(hub.db.ref_log(hub.repo.id, 0).unwrap().len(), 21);
    hub.assert_sound();
}

/// Writers that retry never lose an update, while readers see only whole states.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_write_is_there_and_reads_are_whole() {
    let hub = hub().await;
    let other = hub.db.create_repo(new_repo("acme/other")).await.unwrap();
    let writers: Vec<_> = (0..16)
        .map(|writer: u8| {
            let (db, repo) = (hub.db.clone(), [hub.repo.id, other.id][usize::from(writer) % 2]);
            tokio::spawn(async move {
                for n in 0..20 {
                    let name = format!("refs/heads/{writer}-{n}");
                    let twin = format!("refs/tags/{writer}-{n}");
                    let refs = vec![create(&name, oid(1)), create(&twin, oid(1))];
                    let change = Change { packs_added: vec![pack(PackId::new(), 10)], ..change(repo, refs) };
                    let applied = db.apply(change).await.unwrap();
                    let rows = db.snapshot(repo).unwrap().unwrap();
                    assert!(rows.repo.generation >= applied.generation, "one's own write is seen");
                    assert!(rows.refs.iter().any(|row| row.name == name));
                }
            })
        })
        .collect();
    let (db, repo) = (hub.db.clone(), hub.repo.id);
    let reader = tokio::task::spawn_blocking(move || {
        let mut last = 0;
        while last < 160 {
            let rows = db.snapshot(repo).unwrap().unwrap();
            assert!(rows.repo.generation >= last);
            last = rows.repo.generation;
            assert_eq!(rows.refs.len() as i64, 2 * last, "both refs of a change or none");
            assert_eq!(rows.packs.len() as i64, last);
        }
    });
    for writer in writers {
        writer.await.unwrap();
    }
    reader.await.unwrap();
    assert_eq!(hub.db.stats().unwrap().refs, 640);
    hub.assert_sound();
}

/// A failing job undoes itself alone, in whatever company.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conflicts_do_not_disturb_their_neighbours() {
    let hub = hub().await;
    let tasks: Vec<_> = (0..100_u32)
        .map(|n| {
            let db = hub.db.clone();
            let stale = i64::from(n % 3 == 0);
            let change = Change {
                gc_epoch: stale,
                packs_added: vec![pack(PackId::new(), 10)],
                ..change(hub.repo.id, vec![create(&format!("refs/heads/{n}"), oid(1))])
            };
            tokio::spawn(async move { (stale == 0, db.apply(change).await.is_ok()) })
        })
        .collect();
    for task in tasks {
        let (good, applied) = task.await.unwrap();
        assert_eq!(good, applied);
    }
    assert_eq!((hub.refs().len(), hub.live_packs().len(), hub.repo().generation), (66, 66, 66));
    hub.assert_sound();
}

/// A caller that leaves does not stop what it asked for.
#[tokio::test]
async fn a_write_outlives_its_caller() {
    let hub = hub().await;
    let mut write = Box::pin(hub.db.set_setting("a", "b"));
    let polled = std::future::poll_fn(|context| std::task::Poll::Ready(write.as_mut().poll(context))).await;
    drop(polled);
    drop(write);
    // In order: when the next is done, so is the one before.
    hub.db.set_setting("c", "d").await.unwrap();
    assert_eq!(hub.db.setting("a").unwrap().as_deref(), Some("b"));
}

/// Many repos bring the same object at once: one backing, a link each, and every other copy is told to be litter.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_32_copies_is_kept() {
    let hub = hub().await;
    let mut publishing = vec![];
    for n in 0..32 {
        let repo = hub.db.create_repo(new_repo(&format!("acme/m{n}"))).await.unwrap().id;
        publishing.push(arriving(&hub, repo).await);
    }
    let repos: Vec<_> = publishing.iter().map(|publish| publish.repo).collect();
    let told = all_at_once(&hub, publishing).await;
    let linked = told.iter().filter(|told| matches!(told, Ok(Published::Linked(_)))).count();
    let duplicates = told.iter().filter(|told| matches!(told, Ok(Published::Duplicate))).count();
    assert_eq!((linked, duplicates), (1, 31));
    let backing = |repo| hub.db.link(repo, &Sha256([1; 32])).unwrap().unwrap().backing.unwrap().id;
    assert!(repos.iter().all(|repo| backing(*repo) == backing(repos[0])));
    assert_eq!(hub.db.stats().unwrap().objects, 1);
    hub.assert_sound();
}

/// Whichever comes first, no link is left that the deletion did not see, and no bytes that no row knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_repo_is_deleted_while_objects_arrive() {
    let hub = hub().await;
    for n in 0..20 {
        let repo = hub.db.create_repo(new_repo(&format!("acme/m{n}"))).await.unwrap().id;
        let publish = arriving(&hub, repo).await;
        let (db, deleting) = (hub.db.clone(), hub.db.clone());
        let published = tokio::spawn(async move { db.publish_object(publish).await });
        assert!(deleting.delete_repo(repo, 0).await.unwrap());
        let published = published.await.unwrap();
        assert!(matches!(published, Ok(_) | Err(PublishError::RepoGone)), "{published:?}");
        hub.assert_sound();
        // What was published is condemned with the repo; what was not, is known by its upload.
        hub.db.packs_due(0, 1).await.unwrap();
        hub.clock.advance_ms(1001);
        let mut known = hub.db.backings_due(10).await.unwrap().len();
        hub.db
            .backings_deleted(hub.db.backings_due(10).await.unwrap().iter().map(|due| due.0).collect())
            .await
            .unwrap();
        for upload in hub.db.uploads_expired(10).await.unwrap() {
            known += upload.objects.len();
            hub.db.upload_swept(upload.id).await.unwrap();
        }
        assert_eq!(known, 1);
        hub.db.packs_due(0, 1).await.unwrap();
        assert_eq!(hub.db.repo(repo).unwrap(), None);
        hub.assert_sound();
    }
}

/// Of a sweep and a publication, one wins: a key is either linked or the sweep's, never both, never neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upload_expires_while_its_object_arrives() {
    let hub = hub().await;
    for _ in 0..20 {
        let publish = arriving(&hub, hub.repo.id).await;
        hub.clock.advance_ms(1001);
        let db = hub.db.clone();
        let published = tokio::spawn(async move { db.publish_object(publish).await });
        let expired = hub.db.uploads_expired(10).await.unwrap();
        match published.await.unwrap() {
            Ok(Published::Linked(_)) => assert!(expired.is_empty()),
            Err(PublishError::UploadGone) => assert_eq!(expired[0].objects.len(), 1),
            other => panic!("{other:?}"),
        }
        for upload in expired {
            hub.db.upload_swept(upload.id).await.unwrap();
        }
        hub.db.remove_link(hub.repo.id, publish.sha256).await.unwrap();
        hub.assert_sound();
    }
}

/// All bytes of one object are there, under a key of its own.
async fn arriving(hub: &Hub, repo: RepoId) -> Publish {
    let (id, sha256) = (UploadId::new(), Sha256([1; 32]));
    let expires_ms = hub.clock.now_ms() + 1000;
    let new = NewUpload {
        id,
        repo,
        by: None,
        objects: vec![(sha256, 1)],
        expires_ms,
        quota: database::Quota::Default(None),
    };
    hub.db.begin_upload(new).await.unwrap();
    Publish { upload: id, repo, sha256, size: 1, proof: Proof::Verified, by: None }
}

async fn all_at_once(hub: &Hub, publishing: Vec<Publish>) -> Vec<Result<Published, PublishError>> {
    let mut tasks = tokio::task::JoinSet::new();
    for publish in publishing {
        let db = hub.db.clone();
        tasks.spawn(async move { db.publish_object(publish).await });
    }
    tasks.join_all().await
}
