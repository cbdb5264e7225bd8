use change::GcOptions;
use database::{Oid, Visibility};

use crate::hub::{hub, refused};

const MAIN: &str = "refs/heads/main";
const DAY_MS: i64 = 24 * 3600 * 1000;

#[tokio::test]
async fn what_was_forced_away_stays_for_the_retention_and_goes_then() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let kept = git.commit("a", b"kept");
    let secret = git.commit("a", b"secret");
    hub.push(&repo, &[(MAIN, Oid::NULL, secret)], Some(git.pack("main"))).await;
    hub.push(&repo, &[(MAIN, secret, kept)], None).await;

    let gc =
        |dry_run, purge| hub.changes.gc(GcOptions { repo: None, dry_run, purge, ..GcOptions::default() });
    let contains = |oid: Oid| {
        let repo = hub.changes.database().repo(repo.id).unwrap().unwrap();
        hub.changes.repositories().snapshot(&repo).unwrap().contains(&oid)
    };
    assert_eq!(gc(false, false).await.unwrap().objects_dropped, 0);
    assert!(contains(secret));
    hub.clock.advance_ms(15 * DAY_MS);
    assert_eq!(gc(true, false).await.unwrap().objects_dropped, 3, "a commit, a tree, a blob");
    assert!(contains(secret), "a dry run drops nothing");
    assert_eq!(gc(false, false).await.unwrap().objects_dropped, 3);
    assert!(!contains(secret) && contains(kept));
    hub.assert_sound().await;
}

#[tokio::test]
async fn a_purge_waits_for_nothing_and_precedes_publication() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let kept = git.commit("a", b"kept");
    let secret = git.commit("a", b"secret");
    hub.push(&repo, &[(MAIN, Oid::NULL, secret)], Some(git.pack("main"))).await;
    hub.push(&repo, &[(MAIN, secret, kept)], None).await;
    let repo = hub.changes.database().repo(repo.id).unwrap().unwrap();
    hub.changes.set_visibility(&repo, Visibility::Public).await.unwrap();
    let repo = hub.changes.database().repo(repo.id).unwrap().unwrap();
    let snapshot = hub.changes.repositories().snapshot(&repo).unwrap();
    assert_eq!(repo.visibility, Visibility::Public);
    assert!(!snapshot.contains(&secret) && snapshot.contains(&kept));
    hub.assert_sound().await;
}

#[tokio::test]
async fn thirty_small_pushes_end_as_one_exact_pack() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let mut old = Oid::NULL;
    for n in 0..30 {
        let new = git.commit("log.txt", format!("line {n}\n").repeat(n + 1).as_bytes());
        let range = if old.is_null() { format!("{new}") } else { format!("{new} ^{old}") };
        assert!(refused(&hub.push(&repo, &[(MAIN, old, new)], Some(git.pack(&range))).await).is_empty());
        old = new;
    }
    let packs = || hub.changes.database().snapshot(repo.id).unwrap().unwrap().packs;
    assert_eq!(packs().len(), 30);
    assert_eq!(hub.changes.maintain(false).await.unwrap().compacted, 0, "it has not rested yet");
    hub.clock.advance_ms(60_000);
    assert_eq!(hub.changes.maintain(false).await.unwrap().compacted, 1);
    let after = packs();
    assert_eq!((after.len(), after[0].closure, after[0].objects), (1, true, 90));
    hub.assert_sound().await;
    assert_eq!(hub.changes.maintain(true).await.unwrap().compacted, 0, "nothing is left to do");
}

#[tokio::test]
async fn replaced_packs_are_deleted_after_their_hour() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let mut old = Oid::NULL;
    for seed in [3u32, 5] {
        let data: Vec<u8> =
            (0..50_000u32).flat_map(|n| (n ^ seed).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let new = git.commit("weights.bin", &data);
        let range = if old.is_null() { format!("{new}") } else { format!("{new} ^{old}") };
        hub.push(&repo, &[(MAIN, old, new)], Some(git.pack(&range))).await;
        old = new;
    }
    assert_eq!(hub.changes.maintain(true).await.unwrap().compacted, 1);
    let stored = |hub: &crate::hub::Hub| hub.changes.database().packs().unwrap().len();
    assert_eq!(
        (hub.changes.sweep().await.unwrap(), stored(&hub)),
        (0, 3),
        "readers may still hold the old list"
    );
    hub.clock.advance_ms(2 * 3600 * 1000);
    assert_eq!((hub.changes.sweep().await.unwrap(), stored(&hub)), (2, 1));
    assert_eq!(hub.changes.sweep().await.unwrap(), 0);
    hub.assert_sound().await;
}
