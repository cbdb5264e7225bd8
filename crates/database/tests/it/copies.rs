//! Objects of one repo linked in another.

use database::{
    Conflict, Copied, CopyError, LinkState, NewUpload, ObjectCopies, Proof, Publish, Quota, RepoId, Sha256,
    UploadId, Visibility,
};

use crate::support::{Hub, change, create, hub, new_repo, oid};

fn sha(n: u8) -> Sha256 {
    Sha256([n; 32])
}

async fn publish(hub: &Hub, repo: RepoId, n: u8, proof: Proof) {
    let id = UploadId::new();
    let (objects, expires_ms) = (vec![(sha(n), u64::from(n))], hub.clock.now_ms() + 1000);
    let new = NewUpload { id, repo, by: None, objects, expires_ms, quota: Quota::Exempt };
    hub.db.begin_upload(new).await.unwrap();
    let publish = Publish { upload: id, repo, sha256: sha(n), size: u64::from(n), proof, by: None };
    hub.db.publish_object(publish).await.unwrap();
}

fn copies(hub: &Hub, to: RepoId, objects: &[u8]) -> ObjectCopies {
    ObjectCopies {
        from: hub.repo.id,
        from_acl_version: hub.repo().acl_version,
        to,
        to_acl_version: hub.db.repo(to).unwrap().unwrap().acl_version,
        objects: objects.iter().map(|n| sha(*n)).collect(),
        quota: Quota::Default(None),
        by: None,
    }
}

async fn filled() -> (Hub, RepoId) {
    let hub = hub().await;
    for n in [1, 2] {
        publish(&hub, hub.repo.id, n, Proof::Verified).await;
    }
    publish(&hub, hub.repo.id, 3, Proof::Claimed).await;
    hub.db.remove_link(hub.repo.id, sha(2)).await.unwrap();
    let other = hub.db.create_repo(new_repo("acme/other")).await.unwrap().id;
    (hub, other)
}

#[tokio::test]
async fn what_is_proven_is_shared_and_nothing_else() {
    let (hub, other) = filled().await;
    let copied = hub.db.copy_objects(copies(&hub, other, &[1, 2, 3, 4, 1])).await.unwrap();
    assert_eq!(
        copied,
        [Copied::Linked(1), Copied::Lost, Copied::Unverified, Copied::Missing, Copied::Linked(1)]
    );
    let (from, to) = (hub.db.link(hub.repo.id, &sha(1)).unwrap(), hub.db.link(other, &sha(1)).unwrap());
    assert_eq!(from.unwrap().backing, to.unwrap().backing);
    assert_eq!(hub.db.links(other, &[sha(2), sha(3), sha(4)]).unwrap(), [None, None, None]);
    assert_eq!(hub.db.large_bytes(other).unwrap(), 1);
    // The source goes, the copy stays.
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    assert!(hub.db.link(other, &sha(1)).unwrap().unwrap().is_usable());
    hub.assert_sound();
}

#[tokio::test]
async fn a_quota_counts_and_then_nothing_is_linked() {
    let (hub, other) = filled().await;
    publish(&hub, hub.repo.id, 9, Proof::Verified).await;
    let used = hub.db.usage(&"acme".parse().unwrap()).unwrap().used;
    let with =
        |room: u64| ObjectCopies { quota: Quota::Default(Some(used + room)), ..copies(&hub, other, &[1, 9]) };
    let refused = hub.db.copy_objects(with(9)).await;
    assert!(matches!(refused, Err(CopyError::OverQuota { .. })), "{refused:?}");
    assert_eq!(hub.db.links(other, &[sha(1), sha(9)]).unwrap(), [None, None]);
    hub.db.copy_objects(with(10)).await.unwrap();
    hub.assert_sound();
}

#[tokio::test]
async fn a_source_that_turns_private_meanwhile_gives_nothing() {
    let (hub, other) = filled().await;
    let decided = copies(&hub, other, &[1]);
    hub.db.set_visibility(hub.repo.id, Visibility::Public).await.unwrap();
    let refused = hub.db.copy_objects(decided.clone()).await;
    assert!(matches!(refused, Err(CopyError::SourceMoved)), "{refused:?}");
    let moves = change(other, vec![create("refs/heads/main", oid(1))]);
    let refused = hub.db.apply_copy(decided, false, moves).await;
    assert!(matches!(refused, Err(CopyError::SourceMoved)), "{refused:?}");
    assert!(hub.db.snapshot(other).unwrap().unwrap().refs.is_empty());
    hub.assert_sound();
}

#[tokio::test]
async fn a_change_and_its_objects_come_together_or_not_at_all() {
    let (hub, other) = filled().await;
    let moves = || change(other, vec![create("refs/heads/main", oid(1))]);
    for (objects, incomplete) in [([1, 3], false), ([1, 4], false), ([1, 3], true)] {
        let refused = hub.db.apply_copy(copies(&hub, other, &objects), incomplete, moves()).await;
        assert!(matches!(refused, Err(CopyError::Object { .. })), "{refused:?}");
    }
    let stale = database::Change { gc_epoch: 7, ..moves() };
    let refused = hub.db.apply_copy(copies(&hub, other, &[1]), false, stale).await;
    assert!(matches!(refused, Err(CopyError::Conflict(Conflict::GcMoved))), "{refused:?}");
    assert_eq!(hub.db.link(other, &sha(1)).unwrap(), None);
    hub.db.apply_copy(copies(&hub, other, &[1, 2, 4]), true, moves()).await.unwrap();
    assert_eq!(hub.db.link(other, &sha(2)).unwrap().unwrap().state, LinkState::Removed);
    assert_eq!(hub.db.snapshot(other).unwrap().unwrap().refs.len(), 1);
    hub.assert_sound();
}
