//! How much a namespace takes: what its repos link, and what its uploads may still bring.

use database::{Begun, NewUpload, Proof, Publish, Sha256, UploadId, Usage};

use crate::support::{Hub, hub, new_repo};

fn sha(n: u8) -> Sha256 {
    Sha256([n; 32])
}

async fn begin(hub: &Hub, objects: &[(u8, u64)], quota: Option<u64>) -> (UploadId, Begun) {
    let id = UploadId::new();
    let objects = objects.iter().map(|(n, size)| (sha(*n), *size)).collect();
    let expires_ms = hub.clock.now_ms() + 1000;
    let new = NewUpload { id, repo: hub.repo.id, by: None, objects, expires_ms, quota };
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
        let new = NewUpload { id, repo, by: None, objects, expires_ms: i64::MAX, quota: None };
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
    let (_, begun) = begin(&hub, &[(1, u64::MAX), (2, u64::MAX), (3, 1)], None).await;
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
