use database::{Clock, Oid};

use crate::hub::{hub, open};

const MAIN: &str = "refs/heads/main";

fn large(seed: u32) -> Vec<u8> {
    (0..100_000u32).flat_map(|n| (n ^ seed).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[tokio::test]
async fn a_backup_restores_to_the_same() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let tip = git.commit("weights.bin", &large(1));
    hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    let backup = hub.path("backup");
    let report = hub.changes.backup(backup.clone()).await.unwrap();
    assert_eq!(report.packs, 1);
    assert!(hub.changes.backup(backup.clone()).await.unwrap_err().to_string().contains("not empty"));

    let restored = hub.path("restored");
    change::restore(&backup, &restored).unwrap();
    assert!(change::restore(&backup, &restored).unwrap_err().to_string().contains("already holds data"));
    let changes = open(&restored, Clock::default());
    assert!(changes.fsck(None).await.unwrap().findings.is_empty());
    assert_eq!(changes.database().snapshot(repo.id).unwrap().unwrap().refs[0].oid, tip);

    std::fs::remove_file(backup.join("backup.json")).unwrap();
    let error = change::restore(&backup, &hub.path("other")).unwrap_err();
    assert!(error.to_string().contains("not a complete backup"), "{error}");
}

#[tokio::test]
async fn fsck_finds_a_flip_anywhere_in_a_pack() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let tip = git.commit("weights.bin", &large(2));
    hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    hub.changes.database().close().await;
    let (pack, _, _) = hub.changes.database().packs().unwrap()[0];
    let path = hub.data().join(pack.storage_key());
    let good = std::fs::read(&path).unwrap();
    // Header, body, trailer, index, footer.
    for at in [5, 20, good.len() / 2, good.len() - 200, good.len() - 100, good.len() - 20, good.len() - 2] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        let report = open(&hub.data(), Clock::default()).fsck(None).await.unwrap();
        assert!(!report.findings.is_empty(), "a flip at {at} of {}", good.len());
    }
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(!open(&hub.data(), Clock::default()).fsck(None).await.unwrap().findings.is_empty());
    std::fs::remove_file(&path).unwrap();
    assert!(!open(&hub.data(), Clock::default()).fsck(None).await.unwrap().findings.is_empty());
    std::fs::write(&path, &good).unwrap();
    assert!(open(&hub.data(), Clock::default()).fsck(None).await.unwrap().findings.is_empty());
}
