use database::{Clock, Oid};

use crate::hub::{hub, open};

const MAIN: &str = "refs/heads/main";

#[tokio::test]
async fn rows_of_git_data_are_rebuilt_from_the_bytes() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let large: Vec<u8> = (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let first = git.commit("weights.bin", &large);
    hub.push(&repo, &[(MAIN, Oid::NULL, first)], Some(git.pack("main"))).await;
    hub.changes.maintain(true).await.unwrap();
    let second = git.commit("README.md", b"small");
    let updates = [(MAIN, first, second), ("refs/tags/v1", Oid::NULL, first)];
    hub.push(&repo, &updates, Some(git.pack("main ^HEAD~1"))).await;
    hub.push(&repo, &[("refs/tags/v1", first, Oid::NULL)], None).await;
    let gone = hub.repo("gone").await;
    hub.push(&gone, &[(MAIN, Oid::NULL, first)], Some(git.pack("HEAD~1"))).await;
    hub.clock.advance_ms(60_000);
    assert!(hub.changes.maintain(false).await.unwrap().manifests >= 1);
    hub.changes.delete_repo(&gone).await.unwrap();
    hub.changes.database().close().await;

    for lost in ["granary.db", "granary.db-wal", "granary.db-shm"] {
        match std::fs::remove_file(hub.data().join(lost)) {
            Err(error) if lost == "granary.db" => panic!("{error}"),
            _ => {}
        }
    }
    let report = change::rebuild(&hub.data(), None).await.unwrap();
    assert_eq!((report.repos, report.problems), (1, vec![]));
    let changes = open(&hub.data(), Clock::default()).await;
    let findings = changes.fsck(None).await.unwrap();
    assert!(findings.findings.is_empty(), "{findings}");
    let repos = changes.database().repos(None, 10).unwrap();
    assert_eq!(repos.len(), 1);
    let rows = changes.database().snapshot(repos[0].id).unwrap().unwrap();
    let refs: Vec<_> = rows.refs.iter().map(|row| (row.name.as_str(), row.oid)).collect();
    assert_eq!(refs, [(MAIN, second)]);
}

#[tokio::test]
async fn a_chain_of_deltas_says_the_same_as_a_base() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let mut old = Oid::NULL;
    for n in 0..5 {
        let new = git.commit("a", format!("{n}").as_bytes());
        let range = if old.is_null() { format!("{new}") } else { format!("{new} ^{old}") };
        hub.push(&repo, &[(MAIN, old, new)], Some(git.pack(&range))).await;
        hub.clock.advance_ms(6_000);
        assert_eq!(hub.changes.maintain(false).await.unwrap().manifests, 1);
        old = new;
    }
    let files = std::fs::read_dir(hub.data().join("manifests").join(repo.id.0.to_string())).unwrap().count();
    assert_eq!(files, 5, "a base and four deltas");
    hub.changes.database().close().await;
    std::fs::rename(hub.data().join("granary.db"), hub.path("lost.db")).unwrap();
    assert_eq!(change::rebuild(&hub.data(), None).await.unwrap().packs, 5);
    let changes = open(&hub.data(), Clock::default()).await;
    let repos = changes.database().repos(None, 10).unwrap();
    assert_eq!(changes.database().snapshot(repos[0].id).unwrap().unwrap().refs[0].oid, old);
    assert!(changes.fsck(None).await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn a_manifest_that_is_written_again_keeps_what_it_continues() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let first = git.commit("a", b"a");
    hub.push(&repo, &[(MAIN, Oid::NULL, first)], Some(git.pack("main"))).await;
    hub.changes.maintain(true).await.unwrap();
    let second = git.commit("a", b"b");
    hub.push(&repo, &[(MAIN, first, second)], Some(git.pack("main ^HEAD~1"))).await;
    hub.clock.advance_ms(6_000);
    assert_eq!(hub.changes.maintain(false).await.unwrap().manifests, 1);
    // As after a crash between the bytes and their row: another process, which knows of no chain.
    let changes = open(&hub.data(), hub.clock.clone()).await;
    changes.database().manifests_lost().await.unwrap();
    assert_eq!(changes.maintain(false).await.unwrap().manifests, 1);
    let report = changes.fsck(None).await.unwrap();
    assert!(report.findings.is_empty(), "{report}");
    let manifests = hub.data().join("manifests").join(repo.id.0.to_string());
    assert_eq!(std::fs::read_dir(&manifests).unwrap().count(), 2, "a base and a delta");
    let hub = crate::hub::Hub { changes, directory: hub.directory, clock: hub.clock };
    let third = git.commit("a", b"c");
    hub.push(&repo, &[(MAIN, second, third)], Some(git.pack("main ^HEAD~1"))).await;
    hub.clock.advance_ms(6_000);
    assert_eq!(hub.changes.maintain(false).await.unwrap().manifests, 1);
    assert_eq!(std::fs::read_dir(&manifests).unwrap().count(), 1, "a base");
    hub.assert_sound().await;
}

#[tokio::test]
async fn renames_deletions_and_restores_are_told() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let tip = git.commit("a", b"a");
    hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    hub.changes.maintain(true).await.unwrap();
    hub.changes.database().rename_repo(repo.id, "ada/renamed".parse().unwrap()).await.unwrap();
    let gone = hub.repo("model").await;
    hub.push(&gone, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    assert_eq!(hub.changes.maintain(true).await.unwrap().manifests, 2);
    hub.changes.delete_repo(&gone).await.unwrap();
    hub.assert_sound().await;

    // A restored data directory has no manifests; each repository gets one again.
    let backup = hub.path("backup");
    hub.changes.backup(backup.clone()).await.unwrap();
    let restored = hub.path("restored");
    change::restore(&backup, &restored, None).await.unwrap();
    let changes = open(&restored, Clock::default()).await;
    assert_eq!(changes.maintain(true).await.unwrap().manifests, 1);
    changes.database().close().await;
    for data in [hub.data(), restored] {
        hub.changes.database().close().await;
        std::fs::remove_file(data.join("granary.db")).unwrap();
        let report = change::rebuild(&data, None).await.unwrap();
        assert_eq!((report.repos, report.problems), (1, vec![]));
        let repos = open(&data, Clock::default()).await.database().repos(None, 10).unwrap();
        assert_eq!(repos[0].path.to_string(), "ada/renamed");
    }
}

#[tokio::test]
async fn a_damaged_manifest_is_found() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let tip = git.commit("a", b"a");
    hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    hub.changes.maintain(true).await.unwrap();
    let directory = hub.data().join("manifests").join(repo.id.0.to_string());
    let file = std::fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read(&file).unwrap();
    for at in (0..good.len()).step_by(37) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&file, bad).unwrap();
        assert_eq!(hub.changes.fsck(None).await.unwrap().findings.len(), 1, "a flip at {at}");
    }

    // What the finding advises helps: the next manifest does not continue the damaged one.
    let next = git.commit("a", b"b");
    hub.push(&repo, &[(MAIN, tip, next)], Some(git.pack("main ^HEAD~1"))).await;
    hub.changes.maintain(true).await.unwrap();
    hub.assert_sound().await;
}
