//! How much a namespace takes: what its repos link, and what its uploads may still bring.

use database::{Begun, NewUpload, Proof, Publish, PublishError, Quota, Sha256, UploadId, Usage};

use crate::support::{Hub, hub, new_repo};

fn sha(n: u8) -> Sha256 {
    Sha256([n; 32])
}

async fn begin(hub: &Hub, objects: &[(u8, u64)], quota: Option<u64>) -> (UploadId, Begun) {
    let id = UploadId::new();
    let objects = objects.iter().map(|(n, size)| (sha(*n), *size)).collect();
    let expires_ms = hub.clock.now_ms() + 1000;
    let new =
        NewUpload { id, repo: hub.repo.id, by: None, objects, expires_ms, quota: Quota::Default(quota) };
    (id, hub.db.begin_upload(new).await.unwrap())
}

async fn publish(hub: &Hub, upload: UploadId, n: u8, size: u64) {
    let proof = Proof::Verified;
    let publish = Publish { upload, repo: hub.repo.id, sha256: sha(n), size, proof, by: None };
    hub.db.publish_object(publish).await.unwrap();
}

#[tokio::test]
async fn objects_are_admitted_in_order_while_they_fit() {
    let hub = hub().await;
    let (_, begun) = begin(&hub, &[(1, 60), (2, 50), (3, 40), (4, 1)], Some(100)).await;
    assert_eq!(begun, Begun { admitted: vec![true, false, true, false], used: 0, quota: Some(100) });
    let usage = hub.db.usage(&"ACME".parse().unwrap()).unwrap();
    assert_eq!(usage, Usage { used: 0, reserved: 100, quota: None });
    hub.assert_sound();
}

#[tokio::test]
async fn asking_again_reserves_nothing_more() {
    let hub = hub().await;
    for _ in 0..3 {
        let (_, begun) = begin(&hub, &[(1, 60)], Some(100)).await;
        assert_eq!(begun.admitted, [true]);
    }
    let (_, begun) = begin(&hub, &[(2, 40)], Some(100)).await;
    assert_eq!(begun, Begun { admitted: vec![true], used: 60, quota: Some(100) });
}

#[tokio::test]
async fn what_arrived_is_used_and_what_expired_is_free() {
    let hub = hub().await;
    let namespace = "acme".parse().unwrap();
    let (upload, _) = begin(&hub, &[(1, 60), (2, 30)], Some(100)).await;
    publish(&hub, upload, 1, 60).await;
    assert_eq!(hub.db.usage(&namespace).unwrap(), Usage { used: 60, reserved: 30, quota: None });
    hub.clock.advance_ms(1001);
    let expired = hub.db.uploads_expired(10).await.unwrap();
    assert_eq!(expired[0].objects, [(sha(2), 30)]);
    assert_eq!(hub.db.usage(&namespace).unwrap(), Usage { used: 60, reserved: 0, quota: None });
    hub.db.remove_link(hub.repo.id, sha(1)).await.unwrap();
    assert_eq!(hub.db.usage(&namespace).unwrap().used, 0);
}

#[tokio::test]
async fn each_namespace_has_its_own_and_all_its_repos_count() {
    let hub = hub().await;
    let namespace = "acme".parse().unwrap();
    hub.db.create_user("acme-2".parse().unwrap(), false).await.unwrap();
    let other = hub.db.create_repo(new_repo("acme-2/model")).await.unwrap();
    let dataset = hub.db.create_repo(new_repo("datasets/acme/data")).await.unwrap();
    for (n, repo, size) in [(7, other.id, 1000), (8, dataset.id, 30), (9, hub.repo.id, 20)] {
        let id = UploadId::new();
        let objects = vec![(sha(n), size)];
        let new =
            NewUpload { id, repo, by: None, objects, expires_ms: i64::MAX, quota: Quota::Default(None) };
        hub.db.begin_upload(new).await.unwrap();
        let publish = Publish { upload: id, repo, sha256: sha(n), size, proof: Proof::Verified, by: None };
        hub.db.publish_object(publish).await.unwrap();
    }
    assert_eq!(hub.db.usage(&namespace).unwrap().used, 50);
    hub.db.set_quota("ACME".parse().unwrap(), Some(60)).await.unwrap();
    hub.db.set_quota("acme".parse().unwrap(), Some(70)).await.unwrap();
    let (_, begun) = begin(&hub, &[(1, 21), (2, 20)], Some(1_000_000)).await;
    assert_eq!(begun, Begun { admitted: vec![false, true], used: 50, quota: Some(70) });
    hub.db.set_quota("acme".parse().unwrap(), None).await.unwrap();
    assert_eq!(hub.db.quota(&namespace).unwrap(), None);
    hub.db.rename_repo(dataset.id, "datasets/acme-2/data".parse().unwrap()).await.unwrap();
    assert_eq!(hub.db.usage(&namespace).unwrap().used, 20, "a repo takes its bytes along");
    hub.assert_sound();
}

#[tokio::test]
async fn a_quota_is_met_exactly_and_no_further() {
    let hub = hub().await;
    for (size, fits) in [(101, false), (100, true), (1, false)] {
        let n = size as u8;
        assert_eq!(begin(&hub, &[(n, size)], Some(100)).await.1.admitted, [fits], "{size}");
    }
    // Nobody can reserve so much that the sum begins anew.
    let (_, begun) = begin(&hub, &[(1, u64::MAX), (2, u64::MAX), (3, 1)], Some(u64::MAX)).await;
    assert_eq!(begun.admitted, [true; 3]);
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().reserved, u64::MAX);
    assert_eq!(begin(&hub, &[(4, 1)], Some(u64::MAX - 1)).await.1.admitted, [false]);
}

#[tokio::test]
async fn an_upload_of_which_nothing_fits_leaves_no_row() {
    let hub = hub().await;
    let (upload, begun) = begin(&hub, &[(1, 2)], Some(1)).await;
    assert_eq!(begun.admitted, [false]);
    assert_eq!(hub.db.upload(upload).unwrap(), None);
    assert_eq!(hub.db.stats().unwrap().uploads_open, 0);
    hub.assert_sound();
}

#[tokio::test]
async fn a_reservation_ends_with_its_time_before_it_is_swept() {
    let hub = hub().await;
    begin(&hub, &[(1, 100)], Some(100)).await;
    hub.clock.advance_ms(500);
    assert_eq!(begin(&hub, &[(2, 1)], Some(100)).await.1.admitted, [false]);
    hub.clock.advance_ms(500);
    assert_eq!(
        begin(&hub, &[(2, 1)], Some(100)).await.1,
        Begun { admitted: vec![true], used: 0, quota: Some(100) }
    );
}

/// A claim that is not believed is uploaded again: it counts already.
#[tokio::test]
async fn what_is_linked_is_uploaded_again_at_no_cost() {
    let hub = hub().await;
    let (upload, _) = begin(&hub, &[(1, 100)], Some(100)).await;
    let publish =
        Publish { upload, repo: hub.repo.id, sha256: sha(1), size: 100, proof: Proof::Claimed, by: None };
    hub.db.publish_object(publish).await.unwrap();
    let (upload, begun) = begin(&hub, &[(1, 100), (2, 1)], Some(100)).await;
    assert_eq!(begun, Begun { admitted: vec![true, false], used: 100, quota: Some(100) });
    hub.db.publish_object(Publish { upload, proof: Proof::Verified, ..publish }).await.unwrap();
    let usage = hub.db.usage(&"acme".parse().unwrap()).unwrap();
    assert_eq!(usage, Usage { used: 100, reserved: 0, quota: None });
    hub.assert_sound();
}

#[tokio::test]
async fn no_limit_is_a_quota_too() {
    let hub = hub().await;
    let namespace: database::Namespace = "acme".parse().unwrap();
    hub.db.set_quota(namespace.clone(), Some(u64::MAX)).await.unwrap();
    assert_eq!(hub.db.quota(&namespace).unwrap(), Some(u64::MAX));
    assert_eq!(begin(&hub, &[(1, 1 << 50)], Some(1)).await.1.admitted, [true]);
    hub.db.set_quota(namespace.clone(), Some(0)).await.unwrap();
    assert_eq!(begin(&hub, &[(2, 1)], Some(9)).await.1.admitted, [false]);
    hub.assert_sound();
}

/// Whoever says at first that an object is small holds no room for a large one.
#[tokio::test]
async fn a_larger_size_takes_the_difference() {
    let hub = hub().await;
    assert_eq!(begin(&hub, &[(1, 1)], Some(100)).await.1.admitted, [true]);
    let (_, begun) = begin(&hub, &[(1, 101)], Some(100)).await;
    assert_eq!(begun, Begun { admitted: vec![false], used: 1, quota: Some(100) });
    assert_eq!(begin(&hub, &[(1, 90), (2, 11)], Some(100)).await.1.admitted, [true, false]);
    // The largest counts, whatever is said later.
    assert_eq!(begin(&hub, &[(1, 2)], Some(100)).await.1.used, 90);
    assert_eq!(begin(&hub, &[(2, 11), (1, 90), (2, 10)], Some(100)).await.1.admitted, [false, true, true]);
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().reserved, 100);
    hub.assert_sound();
}

#[tokio::test]
async fn what_is_linked_counts_with_its_size_only() {
    let hub = hub().await;
    let (upload, _) = begin(&hub, &[(1, 10)], Some(100)).await;
    let (repo, proof) = (hub.repo.id, Proof::Claimed);
    let publish = Publish { upload, repo, sha256: sha(1), size: 10, proof, by: None };
    hub.db.publish_object(publish).await.unwrap();
    // Somebody else says that the object is larger.
    let (upload, begun) = begin(&hub, &[(1, 101), (1, 70)], Some(100)).await;
    assert_eq!(begun.admitted, [false, true]);
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().reserved, 60);
    hub.db.publish_object(Publish { upload, size: 70, proof: Proof::Verified, ..publish }).await.unwrap();
    let usage = hub.db.usage(&"acme".parse().unwrap()).unwrap();
    assert_eq!((usage.used, usage.reserved), (70, 0));
    hub.assert_sound();
}

#[tokio::test]
async fn room_that_was_used_is_asked_for_again_at_the_publication() {
    let hub = hub().await;
    let (first, _) = begin(&hub, &[(1, 60)], Some(100)).await;
    let (second, _) = begin(&hub, &[(1, 60)], Some(100)).await;
    let (third, _) = begin(&hub, &[(1, 60)], Some(100)).await;
    publish(&hub, first, 1, 60).await;
    hub.db.remove_link(hub.repo.id, sha(1)).await.unwrap();
    assert_eq!(begin(&hub, &[(2, 60)], Some(100)).await.1.admitted, [true]);
    let (repo, proof) = (hub.repo.id, Proof::Verified);
    let late = Publish { upload: second, repo, sha256: sha(1), size: 60, proof, by: None };
    let refused = hub.db.publish_object(late).await;
    assert!(matches!(refused, Err(PublishError::OverQuota { used: 60, quota: 100 })), "{refused:?}");
    hub.assert_sound();
    hub.db.set_quota("acme".parse().unwrap(), Some(120)).await.unwrap();
    hub.db.publish_object(late).await.unwrap();
    // What is here needs no room.
    hub.db.publish_object(Publish { upload: third, ..late }).await.unwrap();
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().used, 60);
    hub.assert_sound();
}

#[tokio::test]
async fn room_is_held_by_the_latest_upload_until_that_ends() {
    let hub = hub().await;
    let namespace = "acme".parse().unwrap();
    begin(&hub, &[(1, 60), (2, 5)], Some(100)).await;
    hub.clock.advance_ms(500);
    begin(&hub, &[(1, 60), (3, 7)], Some(100)).await;
    hub.clock.advance_ms(501);
    assert_eq!(hub.db.usage(&namespace).unwrap().reserved, 67);
    for expired in hub.db.uploads_expired(10).await.unwrap() {
        hub.db.upload_swept(expired.id).await.unwrap();
    }
    hub.assert_sound();
    assert_eq!(hub.db.usage(&namespace).unwrap().reserved, 67);
    hub.clock.advance_ms(500);
    // Not swept yet, and free: the next one takes it over.
    assert_eq!(hub.db.usage(&namespace).unwrap().reserved, 0);
    assert_eq!(begin(&hub, &[(1, 10), (4, 90)], Some(100)).await.1.admitted, [true, true]);
    hub.assert_sound();
    for expired in hub.db.uploads_expired(10).await.unwrap() {
        hub.db.upload_swept(expired.id).await.unwrap();
    }
    assert_eq!(hub.db.usage(&namespace).unwrap().reserved, 100);
    hub.assert_sound();
}

/// Where there is no quota nothing is reserved; who sets one later is not passed by.
#[tokio::test]
async fn a_quota_holds_for_what_was_announced_before_it() {
    let hub = hub().await;
    let namespace: database::Namespace = "acme".parse().unwrap();
    let (upload, begun) = begin(&hub, &[(1, 60), (2, 60)], None).await;
    assert_eq!(begun, Begun { admitted: vec![true; 2], used: 0, quota: None });
    assert_eq!(hub.db.usage(&namespace).unwrap().reserved, 0);
    hub.db.set_quota(namespace.clone(), Some(100)).await.unwrap();
    publish(&hub, upload, 1, 60).await;
    let (repo, proof) = (hub.repo.id, Proof::Verified);
    let publish = Publish { upload, repo, sha256: sha(2), size: 60, proof, by: None };
    let refused = hub.db.publish_object(publish).await;
    assert!(matches!(refused, Err(PublishError::OverQuota { used: 60, quota: 100 })), "{refused:?}");
    hub.db.set_quota(namespace, None).await.unwrap();
    hub.db.publish_object(publish).await.unwrap();
    hub.assert_sound();
}

#[tokio::test]
async fn an_administrator_is_above_the_quota() {
    let hub = hub().await;
    hub.db.set_quota("acme".parse().unwrap(), Some(1)).await.unwrap();
    let id = UploadId::new();
    let (repo, objects, expires_ms) = (hub.repo.id, vec![(sha(1), 50)], hub.clock.now_ms() + 1000);
    let new = NewUpload { id, repo, by: None, objects, expires_ms, quota: Quota::Exempt };
    assert_eq!(hub.db.begin_upload(new).await.unwrap().admitted, [true]);
    publish(&hub, id, 1, 50).await;
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().used, 50, "it counts all the same");
    assert_eq!(begin(&hub, &[(2, 1)], None).await.1.admitted, [false]);
    hub.assert_sound();
}
