//! The life of packs outside of changes.

use database::{BlobState, Change, PackId};

use crate::support::{change, hub, new_repo, pack};

#[tokio::test]
async fn a_pack_that_is_not_needed_is_due_at_once() {
    let hub = hub().await;
    let id = PackId::new();
    hub.db.stage_pack(id, hub.repo.id).await.unwrap();
    assert_eq!(hub.db.packs().unwrap(), [(id, BlobState::Staged, 0)]);
    hub.db.unstage_pack(id).await.unwrap();
    assert_eq!(hub.db.packs().unwrap(), [(id, BlobState::Condemned, 0)]);
    assert_eq!(hub.db.packs_due(1_000, 10).await.unwrap(), [id]);
    assert_eq!(hub.db.packs_due(1_000, 10).await.unwrap(), [id], "due until it is deleted");
    hub.db.packs_deleted(vec![id]).await.unwrap();
    assert_eq!(hub.db.packs().unwrap(), []);
    assert_eq!(hub.db.packs_due(1_000, 10).await.unwrap(), []);
    hub.assert_sound();
}

#[tokio::test]
async fn a_live_pack_cannot_be_unstaged_or_deleted() {
    let hub = hub().await;
    let id = hub.stored(5).await;
    hub.db.unstage_pack(id).await.unwrap();
    hub.db.packs_deleted(vec![id, PackId::new()]).await.unwrap();
    hub.clock.advance_ms(1_000_000);
    assert_eq!(hub.db.packs_due(0, 10).await.unwrap(), []);
    assert_eq!(hub.db.packs().unwrap(), [(id, BlobState::Live, 5)]);
    assert_eq!(hub.live_packs(), [id]);
}

#[tokio::test]
async fn a_staged_pack_without_a_writer_ages_out_and_cannot_come_back() {
    let hub = hub().await;
    let (old, young) = (PackId::new(), PackId::new());
    hub.db.stage_pack(old, hub.repo.id).await.unwrap();
    hub.clock.advance_ms(60_000);
    hub.db.stage_pack(young, hub.repo.id).await.unwrap();
    assert_eq!(hub.db.packs_due(100_000, 10).await.unwrap(), []);
    assert_eq!(hub.db.packs_due(50_000, 10).await.unwrap(), [old]);
    let late = database::NewPack { content: database::PackContent::Stored { bytes: 1 }, ..pack(old, 0) };
    let late = Change { packs_added: vec![late], ..change(hub.repo.id, vec![]) };
    assert_eq!(hub.conflict(late).await, database::Conflict::PacksMoved);
    let mut expected = [(old, BlobState::Condemned, 0), (young, BlobState::Staged, 0)];
    expected.sort_by_key(|(id, ..)| *id);
    assert_eq!(hub.db.packs().unwrap(), expected);
    hub.assert_sound();
}

#[tokio::test]
async fn superseded_packs_wait_for_their_readers() {
    let hub = hub().await;
    let mut stored = vec![hub.stored(1).await, hub.stored(2).await, hub.stored(3).await];
    let inline = PackId::new();
    hub.db.apply(Change { packs_added: vec![pack(inline, 9)], ..change(hub.repo.id, vec![]) }).await.unwrap();
    assert_eq!(hub.db.pack_inline(hub.repo.id, inline).unwrap().unwrap(), vec![7; 9]);
    assert_eq!(hub.db.pack_inline(hub.repo.id, stored[0]).unwrap(), None);
    let now_ms = hub.clock.now_ms();
    let supersede = |packs, until_ms| Change {
        packs_superseded: packs,
        superseded_until_ms: until_ms,
        ..change(hub.repo.id, vec![])
    };
    hub.db.apply(supersede(vec![stored[0], inline], now_ms + 10_000)).await.unwrap();
    hub.db.apply(supersede(stored[1..].to_vec(), now_ms + 5_000)).await.unwrap();
    assert_eq!(hub.db.pack_inline(hub.repo.id, inline).unwrap(), None);
    assert_eq!(hub.db.packs_due(0, 10).await.unwrap(), []);
    hub.clock.advance_ms(10_000);
    // Those due first come first, in bounded portions; an inline pack has nothing to delete and is never
    // named.
    let first = hub.db.packs_due(0, 2).await.unwrap();
    assert_eq!(first.len(), 2);
    assert!(!first.contains(&stored[0]));
    hub.db.packs_deleted(first).await.unwrap();
    stored.truncate(1);
    assert_eq!(hub.db.packs_due(0, 2).await.unwrap(), stored);
    hub.db.packs_deleted(stored).await.unwrap();
    assert_eq!(hub.db.packs_due(0, 2).await.unwrap(), []);
    assert_eq!(hub.db.packs().unwrap(), []);
    hub.assert_sound();
}

#[tokio::test]
async fn packs_are_listed_by_id_without_inline_ones() {
    let hub = hub().await;
    let other = hub.db.create_repo(new_repo("acme/other")).await.unwrap();
    let mut staged: Vec<PackId> = (0..5).map(|_| PackId::new()).collect();
    for (n, id) in staged.iter().enumerate() {
        hub.db.stage_pack(*id, if n % 2 == 0 { hub.repo.id } else { other.id }).await.unwrap();
    }
    hub.db
        .apply(Change { packs_added: vec![pack(PackId::new(), 9)], ..change(hub.repo.id, vec![]) })
        .await
        .unwrap();
    staged.sort();
    let listed: Vec<PackId> = hub.db.packs().unwrap().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(listed, staged);
}

#[tokio::test]
async fn a_staged_pack_keeps_its_deleted_repo_until_it_is_gone() {
    let hub = hub().await;
    let id = PackId::new();
    hub.db.stage_pack(id, hub.repo.id).await.unwrap();
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    assert_eq!(hub.db.packs_due(1_000, 10).await.unwrap(), []);
    assert!(hub.db.repo(hub.repo.id).unwrap().is_some());
    hub.db.unstage_pack(id).await.unwrap();
    assert_eq!(hub.db.packs_due(1_000, 10).await.unwrap(), [id]);
    hub.db.packs_deleted(vec![id]).await.unwrap();
    assert!(hub.db.repo(hub.repo.id).unwrap().is_none());
    hub.assert_sound();
}

#[tokio::test]
async fn an_inline_pack_may_have_64_kib_and_no_more() {
    let hub = hub().await;
    let add = |bytes| Change { packs_added: vec![pack(PackId::new(), bytes)], ..change(hub.repo.id, vec![]) };
    hub.db.apply(add(65_536)).await.unwrap();
    assert!(hub.db.apply(add(65_537)).await.is_err());
    assert_eq!((hub.live_packs().len(), hub.repo().generation), (1, 1));
    assert_eq!(
        hub.db.snapshot(hub.repo.id).unwrap().unwrap().packs[0].inline.as_ref().unwrap().len(),
        65_536
    );
    hub.assert_sound();
}
