//! Large objects: from an upload to a link, and what remains when links go.

use database::{
    BackingId, Change, Conflict, LinkState, NewUpload, Proof, Publish, PublishError, Published, Quota,
    RepoId, Sha256, UploadId, object_key,
};

use crate::support::{Hub, change, create, hub, new_repo, oid};

fn sha(n: u8) -> Sha256 {
    Sha256([n; 32])
}

async fn begin(hub: &Hub, repo: RepoId, objects: &[u8]) -> UploadId {
    let id = UploadId::new();
    let objects = objects.iter().map(|n| (sha(*n), u64::from(*n))).collect();
    let expires_ms = hub.clock.now_ms() + 1000;
    let new = NewUpload { id, repo, by: None, objects, expires_ms, quota: Quota::Default(None) };
    assert!(hub.db.begin_upload(new).await.unwrap().admitted.iter().all(|admitted| *admitted));
    id
}

fn of(upload: UploadId, repo: RepoId, n: u8, proof: Proof) -> Publish {
    Publish { upload, repo, sha256: sha(n), size: u64::from(n), proof, by: None }
}

async fn verified(hub: &Hub, repo: RepoId, n: u8) -> Published {
    let upload = begin(hub, repo, &[n]).await;
    hub.db.publish_object(of(upload, repo, n, Proof::Verified)).await.unwrap()
}

async fn second_repo(hub: &Hub) -> RepoId {
    hub.db.create_repo(new_repo("acme/other")).await.unwrap().id
}

#[tokio::test]
async fn an_upload_lasts_until_its_last_object_is_linked() {
    let hub = hub().await;
    let repo = hub.repo.id;
    let upload = begin(&hub, repo, &[1, 2]).await;
    assert_eq!(hub.db.upload(upload).unwrap().unwrap().objects, [(sha(1), 1), (sha(2), 2)]);
    let first = hub.db.publish_object(of(upload, repo, 1, Proof::Verified)).await.unwrap();
    assert!(hub.db.upload_is_open(upload).unwrap());
    hub.db.publish_object(of(upload, repo, 2, Proof::Verified)).await.unwrap();
    assert_eq!(hub.db.upload(upload).unwrap(), None);
    let again = hub.db.publish_object(of(upload, repo, 1, Proof::Verified)).await.unwrap();
    assert_eq!(again, first, "said again after the answer was lost");
    let link = hub.db.link(repo, &sha(1)).unwrap().unwrap();
    assert!(link.is_usable());
    assert_eq!(link.storage_key(), Some(object_key(&sha(1), upload)));
    assert_eq!(hub.db.links(repo, &[sha(3), sha(1)]).unwrap(), [None, Some(link)]);
    hub.assert_sound();
}

#[tokio::test]
async fn a_second_repo_is_linked_to_what_is_stored_and_knowing_gives_nothing() {
    let hub = hub().await;
    let other = second_repo(&hub).await;
    let Published::Linked(backing) = verified(&hub, hub.repo.id, 5).await else { panic!("it is new") };
    assert_eq!(hub.db.link(other, &sha(5)).unwrap(), None);
    assert_eq!(verified(&hub, other, 5).await, Published::Duplicate);
    assert_eq!(hub.db.link(other, &sha(5)).unwrap().unwrap().backing.unwrap().id, backing);
    assert_eq!(verified(&hub, other, 5).await, Published::Duplicate, "it has it already");
    // The duplicates' uploads wait for their keys to be swept.
    hub.clock.advance_ms(1001);
    let expired = hub.db.uploads_expired(10).await.unwrap();
    assert_eq!(expired.len(), 2);
    for upload in expired {
        assert_eq!(upload.objects, [(sha(5), 5)]);
        hub.db.upload_swept(upload.id).await.unwrap();
    }
    assert!(hub.db.uploads_expired(10).await.unwrap().is_empty());
    // The last link that goes takes the bytes along.
    assert!(hub.db.remove_link(hub.repo.id, sha(5)).await.unwrap());
    assert!(hub.db.backings_due(10).await.unwrap().is_empty());
    assert!(hub.db.remove_link(other, sha(5)).await.unwrap());
    assert!(!hub.db.remove_link(other, sha(5)).await.unwrap());
    assert_eq!(hub.db.link(other, &sha(5)).unwrap().unwrap().state, LinkState::Removed);
    let due = hub.db.backings_due(10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert!(
        matches!(verified(&hub, other, 5).await, Published::Linked(_)),
        "condemned bytes are not used again"
    );
    hub.db.backings_deleted(vec![due[0].0]).await.unwrap();
    assert!(hub.db.backings_due(10).await.unwrap().is_empty());
    assert!(hub.db.link(other, &sha(5)).unwrap().unwrap().is_usable());
    hub.assert_sound();
}

#[tokio::test]
async fn a_closed_upload_brings_nothing() {
    let hub = hub().await;
    let upload = begin(&hub, hub.repo.id, &[1, 2]).await;
    hub.db.publish_object(of(upload, hub.repo.id, 1, Proof::Verified)).await.unwrap();
    hub.db.set_multipart(upload, vec![(sha(2), "s3-id".to_owned())]).await.unwrap();
    hub.clock.advance_ms(1001);
    let expired = hub.db.uploads_expired(10).await.unwrap();
    assert_eq!(expired[0].objects, [(sha(2), 2)], "the other has its backing");
    assert_eq!(hub.db.multiparts(upload).unwrap(), [(sha(2), "s3-id".to_owned())]);
    let late = hub.db.publish_object(of(upload, hub.repo.id, 2, Proof::Verified)).await;
    assert!(matches!(late, Err(PublishError::UploadGone)));
    let late = hub.db.set_multipart(upload, vec![]).await;
    assert!(matches!(late, Err(PublishError::UploadGone)));
    assert_eq!(hub.db.uploads_expired(10).await.unwrap().len(), 1, "until it is swept");
    hub.db.upload_swept(upload).await.unwrap();
    assert!(hub.db.uploads_expired(10).await.unwrap().is_empty());
    assert!(hub.db.multiparts(upload).unwrap().is_empty());
    hub.assert_sound();
}

#[tokio::test]
async fn an_open_upload_is_not_swept() {
    let hub = hub().await;
    let upload = begin(&hub, hub.repo.id, &[1]).await;
    hub.db.upload_swept(upload).await.unwrap();
    assert!(hub.db.upload_is_open(upload).unwrap());
}

#[tokio::test]
async fn claims_are_one_repo_s_until_they_are_verified() {
    let hub = hub().await;
    let (repo, other) = (hub.repo.id, second_repo(&hub).await);
    let mut claimed = Vec::new();
    for repo in [repo, other] {
        let upload = begin(&hub, repo, &[7]).await;
        let Published::Linked(id) = hub.db.publish_object(of(upload, repo, 7, Proof::Claimed)).await.unwrap()
        else {
            panic!("a claim is never shared")
        };
        claimed.push(id);
    }
    assert!(!hub.db.link(repo, &sha(7)).unwrap().unwrap().is_usable());
    let claims = hub.db.claims(BackingId(0), 10).unwrap();
    assert_eq!(
        claims.iter().map(|claim| (claim.backing, claim.repo)).collect::<Vec<_>>(),
        [(claimed[0], repo), (claimed[1], other)]
    );
    assert_eq!(hub.db.claims(claimed[0], 10).unwrap().len(), 1);
    let needs = |repo| Change {
        links_required: vec![(sha(7), 7)],
        ..change(repo, vec![create("refs/heads/main", oid(1))])
    };
    assert_eq!(hub.conflict(needs(repo)).await, Conflict::LinksMoved);
    assert!(hub.db.object_verified(claimed[0]).await.unwrap());
    assert!(hub.db.object_verified(claimed[0]).await.unwrap(), "said again");
    hub.db.apply(needs(repo)).await.unwrap();
    // The second is found equal, and goes.
    assert!(!hub.db.object_verified(claimed[1]).await.unwrap());
    assert!(!hub.db.object_verified(claimed[1]).await.unwrap());
    assert_eq!(hub.db.link(other, &sha(7)).unwrap().unwrap().backing.unwrap().id, claimed[0]);
    assert_eq!(hub.db.backings_due(10).await.unwrap()[0].0, claimed[1]);
    assert_eq!(hub.db.backings(BackingId(0), 10).unwrap().len(), 1);
    hub.assert_sound();
}

#[tokio::test]
async fn a_claim_that_is_wrong_is_said_so_and_proven_bytes_replace_it() {
    let hub = hub().await;
    let repo = hub.repo.id;
    let upload = begin(&hub, repo, &[7, 8]).await;
    let mut ids = Vec::new();
    for n in [7, 8] {
        match hub.db.publish_object(of(upload, repo, n, Proof::Claimed)).await.unwrap() {
            Published::Linked(id) => ids.push(id),
            Published::Duplicate => panic!("it is new"),
        }
    }
    hub.db.object_corrupt(ids[0], 0).await.unwrap();
    assert_eq!(hub.db.link(repo, &sha(7)).unwrap().unwrap().state, LinkState::Corrupt);
    assert!(!hub.db.object_verified(ids[0]).await.unwrap());
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().used, 8);
    for n in [7, 8] {
        assert!(matches!(verified(&hub, repo, n).await, Published::Linked(_)));
        assert!(hub.db.link(repo, &sha(n)).unwrap().unwrap().is_usable());
    }
    let due: Vec<BackingId> = hub.db.backings_due(10).await.unwrap().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(due, ids, "both claims are replaced");
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().used, 15);
    hub.assert_sound();
}

#[tokio::test]
async fn changes_need_links_and_collections_drop_them() {
    let hub = hub().await;
    let repo = hub.repo.id;
    let needs = |size, n| Change {
        links_required: vec![(sha(6), size)],
        ..change(repo, vec![create(&format!("refs/heads/{n}"), oid(n))])
    };
    assert_eq!(hub.conflict(needs(6, 1)).await, Conflict::LinksMoved, "it is not there");
    verified(&hub, repo, 6).await;
    assert_eq!(hub.conflict(needs(5, 1)).await, Conflict::LinksMoved, "it is of another size");
    let applied = hub.db.apply(needs(6, 1)).await.unwrap();
    let now_ms = hub.clock.now_ms();
    let linked_ms = hub.db.link(repo, &sha(6)).unwrap().unwrap().linked_ms;
    // Uploaded again since the collection looked: it stays.
    let early =
        Change { collects: true, links_dropped: vec![(sha(6), linked_ms - 1)], ..change(repo, vec![]) };
    let generation = hub.db.apply(early).await.unwrap().generation;
    assert!(hub.db.link(repo, &sha(6)).unwrap().is_some());
    assert_eq!(generation, applied.generation + 1);
    let collect = Change {
        generation: Some(generation),
        gc_epoch: 1,
        collects: true,
        links_dropped: vec![(sha(6), linked_ms), (sha(9), linked_ms)],
        superseded_until_ms: now_ms + 500,
        ..change(repo, vec![])
    };
    hub.db.apply(collect.clone()).await.unwrap();
    assert_eq!(hub.db.link(repo, &sha(6)).unwrap(), None);
    let late = Change { gc_epoch: 2, ..needs(6, 2) };
    assert_eq!(hub.conflict(late).await, Conflict::LinksMoved);
    assert_eq!(hub.conflict(Change { gc_epoch: 2, ..collect }).await, Conflict::GenerationMoved);
    assert!(hub.db.backings_due(10).await.unwrap().is_empty(), "not before its time");
    hub.clock.advance_ms(501);
    assert_eq!(hub.db.backings_due(10).await.unwrap().len(), 1);
    hub.assert_sound();
}

#[tokio::test]
async fn a_deleted_repo_takes_its_objects_along_when_its_packs_are_gone() {
    let hub = hub().await;
    let repo = hub.repo.id;
    let other = second_repo(&hub).await;
    hub.stored(100).await;
    for (repo, n) in [(repo, 3), (other, 3), (repo, 4)] {
        verified(&hub, repo, n).await;
    }
    let upload = begin(&hub, repo, &[5]).await;
    hub.db.delete_repo(repo, hub.clock.now_ms() + 100).await.unwrap();
    let late = hub.db.publish_object(of(upload, repo, 5, Proof::Verified)).await;
    assert!(matches!(late, Err(PublishError::RepoGone)));
    hub.assert_sound();
    assert!(hub.db.packs_due(i64::MAX / 2, 10).await.unwrap().is_empty());
    hub.clock.advance_ms(2000);
    for expired in hub.db.uploads_expired(10).await.unwrap() {
        hub.db.upload_swept(expired.id).await.unwrap();
    }
    let due = hub.db.packs_due(i64::MAX / 2, 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert!(hub.db.backings_due(10).await.unwrap().is_empty());
    hub.db.packs_deleted(due).await.unwrap();
    assert_eq!(hub.db.repo(repo).unwrap(), None);
    let due = hub.db.backings_due(10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert!(due[0].1.starts_with(&format!("objects/04/{}", sha(4))), "the other repo still has its own");
    hub.assert_sound();
}

#[tokio::test]
async fn links_are_listed_by_their_hash() {
    let hub = hub().await;
    for n in [9, 1, 5] {
        verified(&hub, hub.repo.id, n).await;
    }
    let list = |after, limit| {
        let links = hub.db.links_after(hub.repo.id, after, limit).unwrap();
        links.into_iter().map(|link| link.size).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 2), [1, 5]);
    assert_eq!(list(Some(sha(5)), 2), [9]);
}

/// What lies under a key that is a backing already, or was one, is never the caller's to delete, so it is no duplicate.
#[tokio::test]
async fn a_key_is_never_told_to_be_litter_while_a_row_names_it() {
    let hub = hub().await;
    let (repo, other) = (hub.repo.id, second_repo(&hub).await);
    let first = begin(&hub, repo, &[1, 2]).await;
    let again = || hub.db.publish_object(of(first, repo, 1, Proof::Verified));
    let linked = again().await.unwrap();
    assert_eq!(verified(&hub, other, 1).await, Published::Duplicate);
    // The other repo alone has it now.
    hub.db.remove_link(repo, sha(1)).await.unwrap();
    assert!(matches!(again().await, Err(PublishError::UploadGone)));
    // Here again, by the same backing.
    assert_eq!(verified(&hub, repo, 1).await, Published::Duplicate);
    assert_eq!(again().await.unwrap(), linked);
    // Condemned, and a new claim in its place.
    hub.db.remove_link(repo, sha(1)).await.unwrap();
    hub.db.remove_link(other, sha(1)).await.unwrap();
    let second = begin(&hub, repo, &[1]).await;
    hub.db.publish_object(of(second, repo, 1, Proof::Claimed)).await.unwrap();
    assert!(matches!(again().await, Err(PublishError::UploadGone)));
    // Deleted, and forgotten: its key is not used a second time, and the upload still waits for the other object.
    hub.clock.advance_ms(1000);
    let due = hub.db.backings_due(10).await.unwrap();
    hub.db.backings_deleted(due.into_iter().map(|(id, ..)| id).collect()).await.unwrap();
    assert!(matches!(again().await, Err(PublishError::UploadGone)));
    assert!(hub.db.upload_is_open(first).unwrap());
    hub.db.publish_object(of(first, repo, 2, Proof::Verified)).await.unwrap();
    assert!(!hub.db.upload_is_open(first).unwrap());
    hub.assert_sound();
}

#[tokio::test]
async fn only_what_was_announced_is_published() {
    let hub = hub().await;
    let (repo, other) = (hub.repo.id, second_repo(&hub).await);
    let upload = begin(&hub, repo, &[4]).await;
    let announced = of(upload, repo, 4, Proof::Verified);
    for wrong in [
        Publish { sha256: sha(5), ..announced },
        Publish { size: 5, ..announced },
        Publish { repo: other, ..announced },
        Publish { upload: UploadId::new(), ..announced },
    ] {
        let refused = hub.db.publish_object(wrong).await;
        assert!(matches!(refused, Err(PublishError::UploadGone)), "{wrong:?}");
    }
    let nowhere = hub.db.publish_object(Publish { repo: RepoId(99), ..announced }).await;
    assert!(matches!(nowhere, Err(PublishError::RepoGone)));
    assert!(matches!(hub.db.publish_object(announced).await, Ok(Published::Linked(_))));
}

/// URLs for writing to a bucket cannot be taken back: bytes may come again under a key whose bytes are deleted.
#[tokio::test]
async fn a_key_that_can_still_be_written_is_deleted_once_more() {
    let hub = hub().await;
    verified(&hub, hub.repo.id, 1).await;
    hub.db.remove_link(hub.repo.id, sha(1)).await.unwrap();
    let due = hub.db.backings_due(10).await.unwrap();
    hub.db.backings_deleted(vec![due[0].0]).await.unwrap();
    assert!(hub.db.backings_due(10).await.unwrap().is_empty());
    hub.clock.advance_ms(1000);
    assert_eq!(hub.db.backings_due(10).await.unwrap(), due);
    hub.db.backings_deleted(vec![due[0].0]).await.unwrap();
    hub.clock.advance_ms(1_000_000);
    assert!(hub.db.backings_due(10).await.unwrap().is_empty());
    hub.assert_sound();
}

#[tokio::test]
async fn live_bytes_cannot_be_told_deleted() {
    let hub = hub().await;
    let Published::Linked(backing) = verified(&hub, hub.repo.id, 1).await else { panic!("it is new") };
    hub.clock.advance_ms(1_000_000);
    hub.db.backings_deleted(vec![backing]).await.unwrap();
    assert!(hub.db.link(hub.repo.id, &sha(1)).unwrap().unwrap().is_usable());
    hub.assert_sound();
}

#[tokio::test]
async fn damage_is_told_once_and_takes_back_nothing_that_is_proven() {
    let hub = hub().await;
    let (repo, other) = (hub.repo.id, second_repo(&hub).await);
    let Published::Linked(backing) = verified(&hub, repo, 5).await else { panic!("it is new") };
    verified(&hub, other, 5).await;
    assert!(!hub.db.object_corrupt(backing, 0).await.unwrap());
    for repo in [repo, other] {
        assert!(hub.db.link(repo, &sha(5)).unwrap().unwrap().is_usable());
    }
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().used, 10);

    let upload = begin(&hub, repo, &[6]).await;
    let claimed = hub.db.publish_object(of(upload, repo, 6, Proof::Claimed)).await.unwrap();
    let Published::Linked(backing) = claimed else { panic!("it is new") };
    assert_eq!(hub.db.backing_proof(backing).unwrap(), Some(Proof::Claimed));
    assert!(hub.db.object_corrupt(backing, 100).await.unwrap());
    assert!(!hub.db.object_corrupt(backing, 100).await.unwrap());
    assert_eq!(hub.db.backing_proof(backing).unwrap(), None);
    let link = hub.db.link(repo, &sha(6)).unwrap().unwrap();
    assert_eq!((link.state, link.backing, link.size), (LinkState::Corrupt, None, 6));
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().used, 10);
    assert!(hub.db.backings_due(10).await.unwrap().is_empty(), "not before its grace");
    hub.clock.advance_ms(100);
    assert_eq!(hub.db.backings_due(10).await.unwrap().len(), 1);
    assert!(hub.db.remove_link(repo, sha(6)).await.unwrap());
    assert_eq!(hub.db.link(repo, &sha(6)).unwrap().unwrap().state, LinkState::Removed);
    hub.assert_sound();
}

/// Whoever is told that an object is here need not fear a collection before the push.
#[tokio::test]
async fn a_link_that_is_asked_for_is_as_new_as_one_that_is_made() {
    let hub = hub().await;
    let repo = hub.repo.id;
    verified(&hub, repo, 5).await;
    let before = hub.db.link(repo, &sha(5)).unwrap().unwrap();
    hub.clock.advance_ms(100);
    hub.db.renew_links(repo, vec![sha(5), sha(6)]).await.unwrap();
    let after = hub.db.link(repo, &sha(5)).unwrap().unwrap();
    assert!(after.linked_ms >= before.linked_ms + 100);
    let links_dropped = vec![(sha(5), before.linked_ms)];
    hub.db.apply(Change { collects: true, links_dropped, ..change(repo, vec![]) }).await.unwrap();
    assert!(hub.db.link(repo, &sha(5)).unwrap().is_some());
    hub.assert_sound();
}

#[tokio::test]
async fn totals_count_each_object_once() {
    let hub = hub().await;
    let other = second_repo(&hub).await;
    for (repo, n) in [(hub.repo.id, 10), (other, 10), (other, 7)] {
        verified(&hub, repo, n).await;
    }
    begin(&hub, other, &[1]).await;
    let stats = hub.db.stats().unwrap();
    // The duplicate's upload waits as well.
    assert_eq!((stats.objects, stats.objects_bytes, stats.uploads_open), (2, 17, 2));
    hub.db.remove_link(other, sha(7)).await.unwrap();
    hub.db.remove_link(other, sha(10)).await.unwrap();
    let stats = hub.db.stats().unwrap();
    assert_eq!((stats.objects, stats.objects_bytes), (1, 10));
    hub.assert_sound();
}

#[tokio::test]
async fn an_upload_of_many_objects_is_done_with_the_last_in_any_order() {
    let hub = hub().await;
    let id = UploadId::new();
    let name = |n: u32| {
        let mut bytes = [0; 32];
        // Not in the order in which they are announced.
        bytes[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
        Sha256(bytes)
    };
    let mut objects: Vec<(Sha256, u64)> = (0..100).map(|n| (name(n), u64::from(n) + 1)).collect();
    objects.push(objects[17]);
    let new = NewUpload {
        id,
        repo: hub.repo.id,
        by: None,
        objects,
        expires_ms: i64::MAX,
        quota: Quota::Default(None),
    };
    assert_eq!(hub.db.begin_upload(new).await.unwrap().admitted.len(), 101);
    assert_eq!(hub.db.upload(id).unwrap().unwrap().objects.len(), 100, "each once");
    for n in (0..100).rev() {
        assert!(hub.db.upload_is_open(id).unwrap());
        let publish =
            Publish { sha256: name(n), size: u64::from(n) + 1, ..of(id, hub.repo.id, 0, Proof::Verified) };
        assert!(matches!(hub.db.publish_object(publish).await.unwrap(), Published::Linked(_)));
    }
    assert!(!hub.db.upload_is_open(id).unwrap());
    let all: Vec<Sha256> = (0..100).map(name).collect();
    let links = hub.db.links(hub.repo.id, &all).unwrap();
    assert!(links.iter().zip(&all).all(|(link, sha256)| link.as_ref().unwrap().sha256 == *sha256));
    hub.assert_sound();
}

/// So that other writes need not wait for it.
#[tokio::test]
async fn a_deleted_repo_s_many_links_are_forgotten_in_portions() {
    let hub = hub().await;
    let id = UploadId::new();
    let objects: Vec<(Sha256, u64)> = (0..2500u32)
        .map(|n| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            (Sha256(bytes), 1)
        })
        .collect();
    let expires_ms = hub.clock.now_ms() + 1000;
    let new = NewUpload {
        id,
        repo: hub.repo.id,
        by: None,
        objects: objects.clone(),
        expires_ms,
        quota: Quota::Default(None),
    };
    hub.db.begin_upload(new).await.unwrap();
    // At once, so that they share transactions.
    let mut publishing = tokio::task::JoinSet::new();
    for (sha256, size) in objects {
        let publish = Publish { sha256, size, ..of(id, hub.repo.id, 0, Proof::Verified) };
        let db = hub.db.clone();
        publishing.spawn(async move { db.publish_object(publish).await.unwrap() });
    }
    assert_eq!(publishing.join_all().await.len(), 2500);
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    hub.db.packs_due(0, 1).await.unwrap();
    assert_eq!(hub.db.links_after(hub.repo.id, None, 10_000).unwrap().len(), 500);
    hub.assert_sound();
    hub.db.packs_due(0, 1).await.unwrap();
    assert_eq!(hub.db.repo(hub.repo.id).unwrap(), None);
    assert_eq!(hub.db.backings_due(10_000).await.unwrap().len(), 2500);
    hub.assert_sound();
}

#[tokio::test]
async fn a_deleted_repo_is_remembered_while_its_uploads_can_bring_bytes() {
    let hub = hub().await;
    let upload = begin(&hub, hub.repo.id, &[5]).await;
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    hub.db.packs_due(0, 1).await.unwrap();
    assert!(hub.db.repo(hub.repo.id).unwrap().is_some());
    assert!(hub.db.uploads_expired(10).await.unwrap().is_empty());
    hub.clock.advance_ms(1000);
    assert_eq!(hub.db.uploads_expired(10).await.unwrap()[0].objects, [(sha(5), 5)]);
    hub.db.upload_swept(upload).await.unwrap();
    hub.db.packs_due(0, 1).await.unwrap();
    assert_eq!(hub.db.repo(hub.repo.id).unwrap(), None);
    hub.assert_sound();
}

#[tokio::test]
async fn a_new_repo_says_whether_objects_may_be_missing() {
    let hub = hub().await;
    assert!(!hub.repo().lfs_incomplete);
    let new = database::NewRepo { lfs_incomplete: true, ..new_repo("acme/mirror") };
    let id = hub.db.create_repo(new).await.unwrap().id;
    assert!(hub.db.repo(id).unwrap().unwrap().lfs_incomplete);
    verified(&hub, id, 1).await;
    assert!(hub.db.repo(id).unwrap().unwrap().lfs_incomplete);
    hub.assert_sound();
}
