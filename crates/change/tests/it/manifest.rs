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
    let report = change::rebuild(&hub.data()).await.unwrap();
    assert_eq!((report.repos, report.problems), (1, vec![]));
    let changes = open(&hub.data(), Clock::default());
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
        assert_eq!(hub.changes.maintain(false).await.unwrap().manifests, 1);
        old = new;
    }
    let files = std::fs::read_dir(hub.data().join("manifests").join(repo.id.0.to_string())).unwrap().count();
    assert_eq!(files, 5, "a base and four deltas");
    hub.changes.database().close().await;
    std::fs::rename(hub.data().join("granary.db"), hub.path("lost.db")).unwrap();
    assert_eq!(change::rebuild(&hub.data()).await.unwrap().packs, 5);
    let changes = open(&hub.data(), Clock::default());
    let repos = changes.database().repos(None, 10).unwrap();
    assert_eq!(changes.database().snapshot(repos[0].id).unwrap().unwrap().refs[0].oid, old);
    assert!(changes.fsck(None).await.unwrap().findings.is_empty());
}
