//! Who waits for compaction or for a manifest.

use database::{Change, PackId, RepoId};

use crate::support::{Hub, change, create, hub, new_repo, oid, pack};

impl Hub {
    async fn add_pack(&self, repo: RepoId) -> i64 {
        let change = Change { packs_added: vec![pack(PackId::new(), 9)], ..change(repo, vec![]) };
        self.db.apply(change).await.unwrap().generation
    }

    fn due(&self) -> Vec<RepoId> {
        self.db.maintenance_due(10).unwrap()
    }
}

#[tokio::test]
async fn a_repo_is_due_once_it_rests() {
    let hub = hub().await;
    hub.apply(vec![create("refs/heads/a", oid(1))]).await;
    assert_eq!(hub.db.maintenance_pending(10).unwrap(), [], "no pack, nothing to compact");
    hub.add_pack(hub.repo.id).await;
    assert_eq!((hub.due(), hub.db.maintenance_pending(10).unwrap()), (vec![], vec![hub.repo.id]));
    hub.clock.advance_ms(20_000);
    let generation = hub.add_pack(hub.repo.id).await;
    hub.clock.advance_ms(20_000);
    assert_eq!(hub.due(), [], "it was pushed to 20 s ago");
    hub.clock.advance_ms(10_001);
    assert_eq!(hub.due(), [hub.repo.id]);
    // Once due it stays so, however busy.
    hub.add_pack(hub.repo.id).await;
    assert_eq!(hub.due(), [hub.repo.id]);
    // What was done was done to an older generation.
    hub.db.maintenance_done(hub.repo.id, generation).await.unwrap();
    assert_eq!(hub.due(), []);
    hub.clock.advance_ms(30_001);
    assert_eq!(hub.due(), [hub.repo.id]);
    hub.db.maintenance_done(hub.repo.id, generation + 1).await.unwrap();
    hub.clock.advance_ms(30_001);
    assert_eq!((hub.due(), hub.db.maintenance_pending(10).unwrap()), (vec![], vec![]));
    hub.assert_sound();
}

#[tokio::test]
async fn with_32_packs_it_is_due_now() {
    let hub = hub().await;
    for _ in 0..31 {
        hub.add_pack(hub.repo.id).await;
    }
    assert_eq!(hub.due(), []);
    hub.add_pack(hub.repo.id).await;
    assert_eq!(hub.due(), [hub.repo.id]);
}

#[tokio::test]
async fn the_oldest_comes_first_and_the_dead_do_not_come() {
    let hub = hub().await;
    let mut repos = vec![];
    for name in ["acme/a", "acme/b", "acme/c"] {
        repos.push(hub.db.create_repo(new_repo(name)).await.unwrap().id);
    }
    for repo in repos.iter().rev() {
        hub.add_pack(*repo).await;
        hub.clock.advance_ms(1);
    }
    hub.clock.advance_ms(30_000);
    assert_eq!(hub.db.maintenance_due(2).unwrap(), [repos[2], repos[1]]);
    hub.db.delete_repo(repos[2], 0).await.unwrap();
    assert_eq!(hub.due(), [repos[1], repos[0]]);
    assert_eq!(hub.db.maintenance_pending(1).unwrap(), [repos[1]]);
    assert!(hub.db.mark_maintenance(hub.repo.id).await.unwrap());
    assert_eq!(hub.due(), [repos[1], repos[0], hub.repo.id]);
    assert!(!hub.db.mark_maintenance(repos[2]).await.unwrap());
    hub.assert_sound();
}

#[tokio::test]
async fn manifests_follow_the_generation() {
    let hub = hub().await;
    let due = || hub.db.manifests_due(10).unwrap();
    assert_eq!(due(), []);
    hub.apply(vec![create("refs/heads/a", oid(1))]).await;
    let generation = hub.add_pack(hub.repo.id).await;
    assert_eq!(due(), [hub.repo.id]);
    hub.db.maintenance_done(hub.repo.id, generation).await.unwrap();
    assert_eq!(due(), [hub.repo.id]);
    hub.db.manifest_written(hub.repo.id, generation - 1, hub.repo.acl_version).await.unwrap();
    assert_eq!(due(), [hub.repo.id]);
    hub.db.manifest_written(hub.repo.id, generation, hub.repo.acl_version).await.unwrap();
    assert_eq!(due(), []);
    // One that was slow says nothing new.
    hub.db.manifest_written(hub.repo.id, generation - 1, hub.repo.acl_version).await.unwrap();
    assert_eq!(due(), []);
    hub.add_pack(hub.repo.id).await;
    hub.db.manifest_written(hub.repo.id, generation + 1, hub.repo.acl_version).await.unwrap();
    assert_eq!((due(), hub.db.maintenance_pending(10).unwrap()), (vec![], vec![hub.repo.id]));
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    assert_eq!(due(), []);
    hub.assert_sound();
}
