//! The life of packs outside of changes.

use database::{BlobState, Change, Conflict, NewPack, PackContent, PackId, PackKind, RepoId};

use crate::support::{Hub, change, hub, new_repo, pack};

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

/// `repo` is given `id`, of 5 bytes, of `from`.
fn given(from: RepoId, id: PackId, repo: RepoId) -> Change {
    let pack = NewPack { content: PackContent::Shared { from, bytes: 5 }, ..pack(id, 0) };
    Change { packs_added: vec![pack], ..change(repo, vec![]) }
}

fn dropped(repo: RepoId, id: PackId, until_ms: i64) -> Change {
    Change { packs_superseded: vec![id], superseded_until_ms: until_ms, ..change(repo, vec![]) }
}

async fn other(hub: &Hub, name: &str) -> RepoId {
    hub.db.create_repo(new_repo(&format!("acme/{name}"))).await.unwrap().id
}

#[tokio::test]
async fn a_shared_pack_is_due_when_the_last_repo_has_dropped_it() {
    let hub = hub().await;
    let (a, b) = (hub.repo.id, other(&hub, "b").await);
    // Whoever drops it first, and at whatever time its bytes may go then.
    for (first, second) in [(a, b), (b, a)] {
        for (first_ms, second_ms) in [(10, 10), (10, 2_000), (2_000, 10)] {
            let id = PackId::new();
            let stored = NewPack { content: PackContent::Stored { bytes: 5 }, ..pack(id, 0) };
            hub.db.stage_pack(id, a).await.unwrap();
            hub.db.apply(Change { packs_added: vec![stored], ..change(a, vec![]) }).await.unwrap();
            hub.db.apply(given(a, id, b)).await.unwrap();
            assert_eq!(hub.db.packs_shared_with(a, &[id], 9).unwrap(), [b]);
            hub.assert_sound();
            let now_ms = hub.clock.now_ms();
            hub.db.apply(dropped(first, id, now_ms + first_ms)).await.unwrap();
            assert_eq!(hub.db.packs_shared_with(second, &[id], 9).unwrap(), []);
            hub.clock.advance_ms(5);
            assert_eq!(hub.db.packs_due(0, 10).await.unwrap(), []);
            hub.db.apply(dropped(second, id, now_ms + second_ms)).await.unwrap();
            hub.assert_sound();
            hub.clock.advance_ms(1_000);
            let both = first_ms.max(second_ms) == 10;
            assert_eq!(hub.db.packs_due(0, 10).await.unwrap(), if both { vec![id] } else { vec![] });
            assert_eq!(hub.db.packs().unwrap(), [(id, BlobState::Condemned, 5)]);
            hub.assert_sound();
            hub.clock.advance_ms(1_000);
            assert_eq!(hub.db.packs_due(0, 10).await.unwrap(), [id], "once, however many had it");
            hub.db.packs_deleted(vec![id]).await.unwrap();
            assert_eq!(hub.db.packs().unwrap(), []);
            hub.assert_sound();
        }
    }
}

#[tokio::test]
async fn a_deleted_repo_leaves_a_shared_pack_to_the_others() {
    let hub = hub().await;
    let id = hub.stored(5).await;
    let (b, c) = (other(&hub, "b").await, other(&hub, "c").await);
    hub.db.apply(given(hub.repo.id, id, b)).await.unwrap();
    hub.db.apply(given(b, id, c)).await.unwrap();
    assert_eq!(hub.db.packs().unwrap(), [(id, BlobState::Live, 5)]);
    for (gone, left) in [(hub.repo.id, 2), (c, 1)] {
        assert!(hub.db.delete_repo(gone, 0).await.unwrap());
        hub.assert_sound();
        assert_eq!(hub.db.packs_due(0, 10).await.unwrap(), []);
        assert!(hub.db.repo(gone).unwrap().is_none(), "nothing keeps its row");
        assert_eq!(hub.db.packs().unwrap(), [(id, BlobState::Live, 5)], "{left} have it");
    }
    assert_eq!(hub.db.snapshot(b).unwrap().unwrap().packs[0].id, id);
    hub.db.delete_repo(b, 0).await.unwrap();
    assert_eq!(hub.db.packs_due(0, 10).await.unwrap(), [id]);
    hub.db.packs_deleted(vec![id]).await.unwrap();
    assert!(hub.db.repo(b).unwrap().is_none());
    hub.assert_sound();
}

#[tokio::test]
async fn only_a_live_stored_pack_can_be_shared_and_only_as_it_is() {
    let hub = hub().await;
    let (a, b) = (hub.repo.id, other(&hub, "b").await);
    let (live, gone, staged, inline) =
        (hub.stored(5).await, hub.stored(5).await, PackId::new(), PackId::new());
    hub.db.apply(dropped(a, gone, i64::MAX)).await.unwrap();
    hub.db.stage_pack(staged, a).await.unwrap();
    hub.db.apply(Change { packs_added: vec![pack(inline, 5)], ..change(a, vec![]) }).await.unwrap();
    for id in [gone, staged, inline, PackId::new()] {
        assert_eq!(hub.conflict(given(a, id, b)).await, Conflict::PacksMoved);
    }
    let as_it_is = || given(a, live, b).packs_added.remove(0);
    let content = PackContent::Shared { from: a, bytes: 6 };
    for other in [
        NewPack { objects: 4, ..as_it_is() },
        NewPack { kind: PackKind::Api, ..as_it_is() },
        NewPack { content, ..as_it_is() },
    ] {
        let refused = Change { packs_added: vec![other], ..change(b, vec![]) };
        assert_eq!(hub.conflict(refused).await, Conflict::PacksMoved);
    }
    hub.db.apply(given(a, live, b)).await.unwrap();
    // Not twice, and not while it is on its way out there.
    assert_eq!(hub.conflict(given(a, live, b)).await, Conflict::PacksMoved);
    hub.db.apply(dropped(b, live, i64::MAX)).await.unwrap();
    assert_eq!(hub.conflict(given(a, live, b)).await, Conflict::PacksMoved);
    assert_eq!(hub.conflict(given(b, live, other(&hub, "c").await)).await, Conflict::PacksMoved);
    hub.assert_sound();
}

#[tokio::test]
async fn many_rows_of_shared_packs_are_dropped_in_one_sweep() {
    let hub = hub().await;
    let b = other(&hub, "b").await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        let id = hub.stored(5).await;
        hub.db.apply(given(hub.repo.id, id, b)).await.unwrap();
        ids.push(id);
    }
    let last = hub.stored(5).await;
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    assert_eq!(hub.db.packs_due(0, 2).await.unwrap(), [last], "more rows are dropped than packs are named");
    hub.db.packs_deleted(vec![last]).await.unwrap();
    assert!(hub.db.repo(hub.repo.id).unwrap().is_none());
    assert_eq!(hub.db.snapshot(b).unwrap().unwrap().packs.len(), 30);
    hub.assert_sound();
}
