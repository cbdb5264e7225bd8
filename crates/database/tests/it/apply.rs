//! Versions, packs, heads: everything about a change but its refs.

use database::{
    Change, Conflict, HeadEdit, NewPack, Oid, PackContent, PackId, PackKind, RefLogRow, RepoId, UserId,
};

use crate::support::{change, create, delete, hub, moved, new_repo, not_there, oid, pack, update};

#[tokio::test]
async fn a_push_moves_a_ref_adds_its_pack_and_is_logged() {
    let hub = hub().await;
    let (first, second) = (PackId::new(), PackId::new());
    let push = Change {
        packs_added: vec![pack(first, 1000)],
        actor: Some(UserId(1)),
        message: "push\nci.skip".to_owned(),
        ..change(hub.repo.id, vec![create("refs/heads/main", oid(1))])
    };
    let before_ms = hub.clock.now_ms();
    let applied = hub.db.apply(push.clone()).await.unwrap();
    assert_eq!((applied.generation, applied.refs), (1, vec![moved(Oid::NULL)]));
    let push = Change {
        packs_added: vec![NewPack { closure: true, kind: PackKind::Api, ..pack(second, 0) }],
        refs: vec![update("refs/heads/main", oid(1), oid(2))],
        ..push
    };
    assert_eq!(hub.db.apply(push).await.unwrap().generation, 2);

    let rows = hub.db.snapshot(hub.repo.id).unwrap().unwrap();
    assert_eq!(rows.repo.generation, 2);
    assert_eq!(hub.refs(), [("refs/heads/main".to_owned(), oid(2))]);
    let [one, two] = &rows.packs[..] else { panic!("{:?}", rows.packs) };
    assert_eq!((one.id, one.kind, one.objects, one.bytes), (first, PackKind::Receive, 3, 1000));
    assert_eq!((one.closure, one.added_generation), (false, 1));
    assert_eq!(one.inline.as_deref(), Some(&[7; 1000][..]));
    assert_eq!((two.id, two.kind, two.closure, two.added_generation), (second, PackKind::Api, true, 2));
    assert_eq!(two.inline.as_deref(), Some(&[][..]), "empty is not absent");

    let log = hub.db.ref_log(hub.repo.id, 0).unwrap();
    let at_ms = log[0].at_ms;
    assert!((before_ms..=hub.clock.now_ms()).contains(&at_ms));
    let line = RefLogRow {
        generation: 2,
        name: "refs/heads/main".to_owned(),
        old: oid(1),
        new: oid(2),
        actor: Some(UserId(1)),
        at_ms,
        message: "push\nci.skip".to_owned(),
    };
    assert_eq!(log[0], line);
    assert_eq!((log.len(), log[1].generation, log[1].old, log[1].new), (2, 1, Oid::NULL, oid(1)));
    hub.assert_sound();
}

#[tokio::test]
async fn the_log_by_time_and_by_generation() {
    let hub = hub().await;
    hub.apply(vec![create("refs/heads/b", oid(1)), create("refs/heads/a", oid(2))]).await;
    hub.clock.advance_ms(5_000);
    let since = hub.clock.now_ms();
    hub.apply(vec![delete("refs/heads/b", oid(1))]).await;
    let names = |log: Vec<RefLogRow>| log.into_iter().map(|l| (l.generation, l.name)).collect::<Vec<_>>();
    let line = |generation, name: &str| (generation, format!("refs/heads/{name}"));
    assert_eq!(names(hub.db.ref_log(hub.repo.id, since).unwrap()), [line(2, "b")]);
    assert_eq!(
        names(hub.db.ref_log(hub.repo.id, i64::MIN).unwrap()),
        [line(2, "b"), line(1, "a"), line(1, "b")]
    );
    assert_eq!(
        names(hub.db.ref_log_after(hub.repo.id, 0).unwrap()),
        [line(1, "b"), line(1, "a"), line(2, "b")]
    );
    assert_eq!(names(hub.db.ref_log_after(hub.repo.id, 1).unwrap()), [line(2, "b")]);
}

#[tokio::test]
async fn a_change_that_saw_another_state_is_refused_whole() {
    let hub = hub().await;
    hub.apply(vec![create("refs/heads/main", oid(1))]).await;
    hub.db.set_mirror(hub.repo.id, true).await.unwrap();
    let good = Change {
        acl_version: Some(1),
        generation: Some(1),
        packs_added: vec![pack(PackId::new(), 10)],
        ..change(hub.repo.id, vec![create("refs/heads/b", oid(2))])
    };
    let before = hub.repo();
    let wrong = |edit: fn(&mut Change)| {
        let mut change = good.clone();
        edit(&mut change);
        hub.conflict(change)
    };
    assert_eq!(wrong(|c| c.repo = RepoId(99)).await, Conflict::RepoGone);
    assert_eq!(wrong(|c| c.acl_version = Some(0)).await, Conflict::AclMoved);
    assert_eq!(wrong(|c| c.gc_epoch = 1).await, Conflict::GcMoved);
    assert_eq!(wrong(|c| c.generation = Some(0)).await, Conflict::GenerationMoved);
    assert_eq!(wrong(|c| c.packs_superseded = vec![PackId::new()]).await, Conflict::PacksMoved);
    assert_eq!((hub.repo(), hub.refs().len(), hub.live_packs().len()), (before, 1, 0));
    assert_eq!(hub.db.apply(good).await.unwrap().generation, 2);
    hub.assert_sound();
}

#[tokio::test]
async fn generation_grows_iff_something_changes() {
    let hub = hub().await;
    let generation = async |change: Change| hub.db.apply(change).await.unwrap().generation;
    let plain = change(hub.repo.id, vec![]);
    assert_eq!(generation(plain.clone()).await, 0);
    assert_eq!(
        generation(Change { head_ref: Some(HeadEdit::Set("refs/heads/main".to_owned())), ..plain.clone() })
            .await,
        0
    );
    assert_eq!(
        generation(Change { head_ref: Some(HeadEdit::Set("refs/heads/dev".to_owned())), ..plain.clone() })
            .await,
        1
    );
    assert_eq!(hub.repo().head_ref, "refs/heads/dev");
    assert_eq!(generation(change(hub.repo.id, vec![create("refs/heads/dev", oid(1))])).await, 2);
    // A ref that is told to stay where it is has been accepted and has not moved.
    let same = change(hub.repo.id, vec![update("refs/heads/dev", oid(1), oid(1))]);
    let applied = hub.db.apply(same).await.unwrap();
    assert_eq!((applied.generation, applied.refs), (2, vec![moved(oid(1))]));
    assert_eq!(generation(change(hub.repo.id, vec![create("refs/heads/dev", oid(2))])).await, 2);
    assert_eq!(hub.db.ref_log(hub.repo.id, 0).unwrap().len(), 1);
    // A collection that finds nothing to drop still is one: who saw the old epoch must look again.
    assert_eq!(generation(Change { collects: true, ..plain }).await, 3);
    assert_eq!((hub.repo().generation, hub.repo().gc_epoch), (3, 1));
    hub.assert_sound();
}

#[tokio::test]
async fn packs_come_only_with_a_ref_that_moves_or_without_refs() {
    let hub = hub().await;
    let add = |refs| Change { packs_added: vec![pack(PackId::new(), 10)], ..change(hub.repo.id, refs) };
    let refused = Change {
        head_ref: Some(HeadEdit::Set("refs/heads/x".to_owned())),
        ..add(vec![update("refs/heads/a", oid(1), oid(2))])
    };
    let applied = hub.db.apply(refused).await.unwrap();
    assert_eq!((applied.generation, applied.refs), (0, vec![not_there("refs/heads/a", Oid::NULL)]));
    assert_eq!((hub.live_packs().len(), hub.repo()), (0, hub.repo.clone()));
    let mixed = add(vec![update("refs/heads/a", oid(1), oid(2)), create("refs/heads/b", oid(2))]);
    let applied = hub.db.apply(mixed).await.unwrap();
    assert_eq!(applied.refs, [not_there("refs/heads/a", Oid::NULL), moved(Oid::NULL)]);
    assert_eq!(hub.live_packs().len(), 1);
    hub.db.apply(add(vec![])).await.unwrap();
    assert_eq!(hub.live_packs().len(), 2);
    hub.assert_sound();
}

#[tokio::test]
async fn a_stored_pack_needs_its_staged_row() {
    let hub = hub().await;
    let other = hub.db.create_repo(new_repo("acme/other")).await.unwrap();
    let id = PackId::new();
    let stored = NewPack { content: PackContent::Stored { bytes: 1 << 40 }, ..pack(id, 0) };
    let add =
        Change { packs_added: vec![stored], ..change(hub.repo.id, vec![create("refs/heads/a", oid(1))]) };
    assert_eq!(hub.conflict(add.clone()).await, Conflict::PacksMoved);
    hub.db.stage_pack(id, other.id).await.unwrap();
    assert_eq!(hub.conflict(add.clone()).await, Conflict::PacksMoved, "staged for another repo");
    hub.db.unstage_pack(id).await.unwrap();
    assert_eq!(hub.conflict(add.clone()).await, Conflict::PacksMoved, "condemned");
    assert!(hub.refs().is_empty());

    let id = hub.stored(1 << 40).await;
    let rows = hub.db.snapshot(hub.repo.id).unwrap().unwrap();
    assert_eq!((rows.packs[0].id, rows.packs[0].bytes, &rows.packs[0].inline), (id, 1 << 40, &None));
    hub.assert_sound();
}

#[tokio::test]
async fn superseded_packs_leave_the_list_at_once() {
    let hub = hub().await;
    let inline = PackId::new();
    hub.db
        .apply(Change { packs_added: vec![pack(inline, 10)], ..change(hub.repo.id, vec![]) })
        .await
        .unwrap();
    let stored = hub.stored(20).await;
    let kept = hub.stored(30).await;
    let new = PackId::new();
    let compaction = Change {
        packs_added: vec![NewPack { kind: PackKind::Compact, ..pack(new, 25) }],
        packs_superseded: vec![stored, inline, stored],
        superseded_until_ms: hub.clock.now_ms() + 1_000,
        generation: Some(3),
        ..change(hub.repo.id, vec![])
    };
    assert_eq!(hub.db.apply(compaction.clone()).await.unwrap().generation, 4);
    assert_eq!(hub.live_packs(), [kept, new]);
    assert_eq!((hub.db.stats().unwrap().packs, hub.db.stats().unwrap().bytes), (2, 55));
    let again = Change { generation: None, packs_added: vec![], ..compaction };
    assert_eq!(hub.conflict(again).await, Conflict::PacksMoved);
    hub.assert_sound();
}
