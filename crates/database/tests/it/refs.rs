//! What happens to the refs of a change.

use database::{Change, Expected, Oid, RefEdit, RefOutcome, RefRejection, RefRow};

use crate::support::{Hub, change, clash, create, delete, hub, moved, not_there, oid, update};

const TOO_MANY: fn(u64) -> RefOutcome = |max| RefOutcome::Rejected(RefRejection::TooManyRefs { max });
const ATOMIC: RefOutcome = RefOutcome::Rejected(RefRejection::Atomic);

impl Hub {
    async fn atomic(&self, refs: Vec<RefEdit>) -> Vec<RefOutcome> {
        self.db.apply(Change { atomic: true, ..change(self.repo.id, refs) }).await.unwrap().refs
    }

    fn names(&self) -> Vec<String> {
        self.refs().into_iter().map(|(name, _)| name.trim_start_matches("refs/heads/").to_owned()).collect()
    }
}

fn any(name: &str, new: Oid) -> RefEdit {
    RefEdit { name: name.to_owned(), expected: Expected::Any, new, peeled: None }
}

#[tokio::test]
async fn each_expectation() {
    let hub = hub().await;
    let name = "refs/heads/a";
    let step = async |edit: RefEdit| hub.apply(vec![edit]).await.refs.remove(0);
    assert_eq!(step(update(name, oid(9), oid(1))).await, not_there(name, Oid::NULL));
    assert_eq!(step(delete(name, oid(9))).await, not_there(name, Oid::NULL));
    assert_eq!(step(create(name, oid(1))).await, moved(Oid::NULL));
    assert_eq!(step(create(name, oid(2))).await, not_there(name, oid(1)));
    assert_eq!(step(update(name, oid(9), oid(2))).await, not_there(name, oid(1)));
    assert_eq!(step(update(name, oid(1), oid(2))).await, moved(oid(1)));
    assert_eq!(step(any(name, oid(3))).await, moved(oid(2)));
    assert_eq!(step(delete(name, oid(2))).await, not_there(name, oid(3)));
    assert_eq!(step(delete(name, oid(3))).await, moved(oid(3)));
    assert_eq!(hub.refs(), []);
    // Deleting what is not there, by those who said so.
    assert_eq!(step(any(name, Oid::NULL)).await, moved(Oid::NULL));
    assert_eq!(step(RefEdit { expected: Expected::Absent, ..any(name, Oid::NULL) }).await, moved(Oid::NULL));
    assert_eq!(step(any(name, oid(4))).await, moved(Oid::NULL));
    assert_eq!(hub.db.ref_log(hub.repo.id, 0).unwrap().len(), 5);
    hub.assert_sound();
}

#[tokio::test]
async fn refs_are_sorted_bytewise_and_keep_what_tags_peel_to() {
    let hub = hub().await;
    let tag = RefEdit { peeled: Some(oid(8)), ..create("refs/tags/v1", oid(1)) };
    let names = ["refs/heads/é", "refs/heads/b", "refs/heads/B", "refs/heads/a-b", "refs/heads/a.b"];
    let mut edits: Vec<RefEdit> = names.iter().map(|name| create(name, oid(2))).collect();
    edits.push(tag);
    hub.apply(edits).await;
    let rows = hub.db.snapshot(hub.repo.id).unwrap().unwrap().refs;
    assert!(rows.windows(2).all(|pair| pair[0].name.as_bytes() < pair[1].name.as_bytes()), "{rows:?}");
    let tag = |oid, peeled| RefRow { name: "refs/tags/v1".to_owned(), oid, peeled };
    assert_eq!(*rows.last().unwrap(), tag(oid(1), Some(oid(8))));
    // A tag that turns light forgets it.
    hub.apply(vec![update("refs/tags/v1", oid(1), oid(3))]).await;
    let rows = hub.db.snapshot(hub.repo.id).unwrap().unwrap().refs;
    assert_eq!(*rows.last().unwrap(), tag(oid(3), None));
}

#[tokio::test]
async fn a_ref_and_a_directory_exclude_each_other() {
    let hub = hub().await;
    hub.apply(vec![create("refs/heads/a/b", oid(1)), create("refs/heads/x", oid(1))]).await;
    // `a-` and `a0` sort around `a/`.
    let neighbours = vec![create("refs/heads/a-", oid(1)), create("refs/heads/a0", oid(1))];
    assert_eq!(hub.apply(neighbours).await.refs, [moved(Oid::NULL), moved(Oid::NULL)]);
    let refused = vec![
        create("refs/heads/a", oid(2)),
        create("refs/heads/a/b/c", oid(2)),
        create("refs/heads/x/y/z", oid(2)),
        any("refs/heads", oid(2)),
        create("refs/heads/a/c", oid(2)),
    ];
    let outcomes = hub.apply(refused).await.refs;
    assert_eq!(outcomes[0], clash("refs/heads/a", "refs/heads/a/b"));
    assert_eq!(outcomes[1], clash("refs/heads/a/b/c", "refs/heads/a/b"));
    assert_eq!(outcomes[2], clash("refs/heads/x/y/z", "refs/heads/x"));
    assert_eq!(outcomes[3], clash("refs/heads", "refs/heads/a-"));
    assert_eq!(outcomes[4], moved(Oid::NULL));
    assert_eq!(hub.names(), ["a-", "a/b", "a/c", "a0", "x"]);
    hub.assert_sound();
}

#[tokio::test]
async fn edits_of_one_change_see_each_other_deletions_first() {
    let hub = hub().await;
    // Two new ones clash: the first wins.
    let outcomes =
        hub.apply(vec![create("refs/heads/n/m", oid(1)), create("refs/heads/n", oid(1))]).await.refs;
    assert_eq!(outcomes, [moved(Oid::NULL), clash("refs/heads/n", "refs/heads/n/m")]);
    // File to directory, though the deletion comes last; and a neighbour in the directory that was none
    // before.
    let outcomes = hub
        .apply(vec![
            create("refs/heads/n/m/o", oid(2)),
            create("refs/heads/n/m/p", oid(2)),
            delete("refs/heads/n/m", oid(1)),
        ])
        .await
        .refs;
    assert_eq!(outcomes, [moved(Oid::NULL), moved(Oid::NULL), moved(oid(1))]);
    assert_eq!(hub.names(), ["n/m/o", "n/m/p"]);
    // Directory to file needs every ref in it to go.
    let outcomes =
        hub.apply(vec![create("refs/heads/n/m", oid(3)), delete("refs/heads/n/m/o", oid(2))]).await.refs;
    assert_eq!(outcomes, [clash("refs/heads/n/m", "refs/heads/n/m/p"), moved(oid(2))]);
    let outcomes =
        hub.apply(vec![create("refs/heads/n", oid(3)), delete("refs/heads/n/m/p", oid(2))]).await.refs;
    assert_eq!(outcomes, [moved(Oid::NULL), moved(oid(2))]);
    // A deletion that is rejected frees nothing.
    let outcomes =
        hub.apply(vec![create("refs/heads/n/m", oid(4)), delete("refs/heads/n", oid(9))]).await.refs;
    assert_eq!(outcomes, [clash("refs/heads/n/m", "refs/heads/n"), not_there("refs/heads/n", oid(3))]);
    // One ref twice: each edit sees the one before.
    let outcomes = hub
        .apply(vec![
            create("refs/heads/t", oid(1)),
            update("refs/heads/t", oid(1), oid(2)),
            create("refs/heads/t", oid(3)),
        ])
        .await
        .refs;
    assert_eq!(outcomes, [moved(Oid::NULL), moved(oid(1)), not_there("refs/heads/t", oid(2))]);
    assert_eq!(hub.refs().last().unwrap().1, oid(2));
    hub.assert_sound();
}

#[tokio::test]
async fn atomic_is_all_or_none() {
    let hub = hub().await;
    hub.apply(vec![create("refs/heads/a", oid(1))]).await;
    let outcomes = hub
        .atomic(vec![
            update("refs/heads/a", oid(1), oid(2)),
            create("refs/heads/a", oid(2)),
            create("refs/heads/b", oid(2)),
            create("refs/heads/a/b", oid(2)),
        ])
        .await;
    let rejected =
        [ATOMIC, not_there("refs/heads/a", oid(2)), ATOMIC, clash("refs/heads/a/b", "refs/heads/a")];
    assert_eq!(outcomes, rejected);
    assert_eq!((hub.refs(), hub.repo().generation), (vec![("refs/heads/a".to_owned(), oid(1))], 1));
    let outcomes =
        hub.atomic(vec![update("refs/heads/a", oid(1), oid(2)), create("refs/heads/b", oid(2))]).await;
    assert_eq!(outcomes, [moved(oid(1)), moved(Oid::NULL)]);
    assert_eq!(hub.repo().generation, 2);
    hub.assert_sound();
}

#[tokio::test]
async fn the_limit_of_refs_counts_what_the_change_deletes() {
    let hub = hub().await;
    let apply = async |refs, atomic| {
        let change = Change { refs_max: 3, atomic, ..change(hub.repo.id, refs) };
        hub.db.apply(change).await.unwrap().refs
    };
    let four: Vec<RefEdit> = ["a", "b", "c", "d"].map(|n| create(&format!("refs/heads/{n}"), oid(1))).into();
    assert_eq!(apply(four.clone(), true).await, [ATOMIC, ATOMIC, ATOMIC, TOO_MANY(3)]);
    assert_eq!(apply(four, false).await[2..], [moved(Oid::NULL), TOO_MANY(3)]);
    // At the limit, refs still move, and one may replace another.
    assert_eq!(apply(vec![update("refs/heads/a", oid(1), oid(2))], false).await, [moved(oid(1))]);
    let outcomes = apply(vec![create("refs/heads/d", oid(1)), delete("refs/heads/c", oid(1))], true).await;
    assert_eq!(outcomes, [moved(Oid::NULL), moved(oid(1))]);
    assert_eq!(apply(vec![create("refs/heads/e", oid(1))], false).await, [TOO_MANY(3)]);
    assert_eq!(hub.names(), ["a", "b", "d"]);
    hub.assert_sound();
}

/// A change with many edits decides in memory, one with few asks the rows: both must say the same.
#[tokio::test]
async fn many_edits_are_decided_as_few_are() {
    let (few, many) = (hub().await, hub().await);
    // Every way two of these can clash, as a small pseudo-random history.
    let names = ["a", "a/b", "a/b/c", "a-", "a/c", "b", "b/a", "c"].map(|name| format!("refs/heads/{name}"));
    let mut state: u64 = 42;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for round in 0..200 {
        let edits: Vec<RefEdit> = (0..1 + draw(4))
            .map(|_| {
                let new = if draw(3) == 0 { Oid::NULL } else { oid(draw(4) as u8 + 1) };
                let expected = match draw(3) {
                    0 => Expected::Absent,
                    1 => Expected::At(oid(draw(4) as u8 + 1)),
                    _ => Expected::Any,
                };
                RefEdit { expected, ..any(&names[draw(names.len())], new) }
            })
            .collect();
        let atomic = draw(4) == 0;
        let refs_max = 3 + draw(4) as u64;
        let of = |hub: &Hub, refs| Change { atomic, refs_max, ..change(hub.repo.id, refs) };
        let by_row = few.db.apply(of(&few, edits.clone())).await.unwrap();
        // Padding that deletes what is not there changes nothing but the number of edits.
        let padding =
            (0..64).map(|n| RefEdit { expected: Expected::Absent, ..any(&format!("refs/p/{n}"), Oid::NULL) });
        let padded: Vec<RefEdit> = edits.iter().cloned().chain(padding).collect();
        let by_scan = many.db.apply(of(&many, padded)).await.unwrap();
        assert_eq!(by_row.refs[..], by_scan.refs[..edits.len()], "round {round}: {edits:?}");
        assert_eq!(few.refs(), many.refs(), "round {round}: {edits:?}");
    }
    assert!(few.repo().generation > 50);
    few.assert_sound();
    many.assert_sound();
}

#[tokio::test]
async fn a_hundred_thousand_refs() {
    let hub = hub().await;
    let count = 100_000;
    let name = |n: u32| format!("refs/heads/user-{}/branch-{n:06}", n % 100);
    let edits: Vec<RefEdit> = (0..count).map(|n| create(&name(n), oid((n % 251) as u8 + 1))).collect();
    let applied = hub.apply(edits).await;
    assert!(applied.refs.iter().all(|outcome| *outcome == moved(Oid::NULL)));
    let started = std::time::Instant::now();
    let rows = hub.db.snapshot(hub.repo.id).unwrap().unwrap();
    println!("{count} refs read in {:?}", started.elapsed());
    assert_eq!(rows.refs.len(), count as usize);
    assert!(rows.refs.windows(2).all(|pair| pair[0].name < pair[1].name));
    assert_eq!(hub.apply(vec![update(&name(777), oid(25), oid(1))]).await.refs, [moved(oid(25))]);
    // A directory that is full of refs going away makes room for a ref.
    let mut edits: Vec<RefEdit> =
        (0..count).filter(|n| n % 100 == 7).map(|n| any(&name(n), Oid::NULL)).collect();
    edits.push(create("refs/heads/user-7", oid(5)));
    let applied = hub.apply(edits).await;
    assert_eq!(*applied.refs.last().unwrap(), moved(Oid::NULL));
    assert_eq!(hub.refs().len(), 99_001);
    hub.assert_sound();
}
