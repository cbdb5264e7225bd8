//! What keeps large objects safe: backup and restore, fsck, the rows made anew.

use std::path::{Path, PathBuf};

use change::Changes;
use database::{Clock, NewUpload, Oid, Proof, Publish, Published, Repo};

use crate::hub::{Hub, Large, hub, open, open_with, refused};

const MAIN: &str = "refs/heads/main";

/// Pushes a pointer to each of `larges`, uploaded if `repo` must have them.
async fn push_pointers(hub: &Hub, repo: &Repo, larges: &[&Large]) {
    let git = hub.git(&format!("work-{}", repo.path.name()));
    let mut tip = git.commit("README.md", b"text");
    for large in larges {
        if !repo.lfs_incomplete {
            hub.upload(repo, large).await;
        }
        tip = git.commit(&format!("{}.bin", &large.sha256.to_string()[..8]), &large.pointer());
    }
    let report = hub.push(repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    assert!(refused(&report).is_empty(), "{report:?}");
}

async fn findings(changes: &Changes) -> Vec<String> {
    changes.fsck(None).await.unwrap().findings
}

fn the_file(large: &Large, root: &Path) -> PathBuf {
    let [file] = large.stored(root).try_into().unwrap();
    file
}

#[tokio::test]
async fn a_backup_has_the_objects_of_all() {
    let hub = hub().await;
    let [one, two, gone] = ["one", "two", "gone"].map(Large::new);
    let (repo, other) = (hub.repo("model").await, hub.repo("other").await);
    push_pointers(&hub, &repo, &[&one, &two]).await;
    push_pointers(&hub, &other, &[&one]).await;
    hub.upload(&repo, &gone).await;
    hub.changes.database().remove_link(repo.id, gone.sha256).await.unwrap();
    let backup = hub.path("backup");
    let report = hub.changes.backup(backup.clone()).await.unwrap();
    assert_eq!((report.large, &report.large_in), (2, &None), "each once, none that is condemned");
    assert_eq!(gone.stored(&backup), [] as [PathBuf; 0]);

    let (restored, large_dir) = (hub.path("restored"), hub.path("nas"));
    let report = change::restore(&backup, &restored, None).await.unwrap();
    assert_eq!((report.large, report.large_in), (2, None));
    let apart = hub.path("restored-apart");
    assert_eq!(change::restore(&backup, &apart, Some(&large_dir)).await.unwrap().large, 2);
    assert!(!apart.join("objects").exists());
    let changes = [
        (open(&restored, Clock::default()).await, &restored),
        (open_with(&apart, Clock::default(), Some(&large_dir)).await, &large_dir),
    ];
    for (changes, root) in changes {
        let report = changes.fsck(None).await.unwrap();
        assert_eq!((report.large, report.findings), (2, vec![]));
        for large in [&one, &two] {
            assert_eq!(std::fs::read(the_file(large, root)).unwrap(), large.bytes);
            assert!(changes.database().link(repo.id, &large.sha256).unwrap().unwrap().is_usable());
        }
        // The rest of a removed object's row finds nothing to delete, and that is fine.
        assert_eq!(changes.maintain(false).await.unwrap().large.left, 0);
    }
}

#[tokio::test]
async fn a_restore_that_was_cut_off_can_be_repeated() {
    let hub = hub().await;
    let [one, two] = ["one", "two"].map(Large::new);
    push_pointers(&hub, &hub.repo("model").await, &[&one, &two]).await;
    let backup = hub.path("backup");
    hub.changes.backup(backup.clone()).await.unwrap();
    for large_dir in [None, Some(hub.path("nas"))] {
        let name = if large_dir.is_some() { "apart" } else { "together" };
        let (cut, root) = (hub.path(name), large_dir.clone().unwrap_or_else(|| hub.path(name)));
        // The backup's disk fails in the middle.
        let second = the_file(&two, &backup);
        std::fs::rename(&second, hub.path("away")).unwrap();
        assert!(change::restore(&backup, &cut, large_dir.as_deref()).await.is_err());
        assert!(!cut.join("granary.db").exists());
        std::fs::rename(hub.path("away"), &second).unwrap();
        // And half a copy is left, with rows that are half made.
        let half = root.join(second.strip_prefix(&backup).unwrap()).with_extension("copying");
        std::fs::create_dir_all(half.parent().unwrap()).unwrap();
        std::fs::write(half, b"tw").unwrap();
        std::fs::write(cut.join("granary.db.restoring"), b"SQL").unwrap();
        assert_eq!(change::restore(&backup, &cut, large_dir.as_deref()).await.unwrap().large, 2);
        let changes = open_with(&cut, Clock::default(), large_dir.as_deref()).await;
        assert_eq!(findings(&changes).await, [] as [String; 0]);
        for large in [&one, &two] {
            assert_eq!(std::fs::read(the_file(large, &root)).unwrap(), large.bytes, "and nothing beside it");
        }
    }
    // Rows that do not fit the bytes are told.
    std::fs::write(the_file(&one, &backup), b"short").unwrap();
    let error = change::restore(&backup, &hub.path("other"), None).await.unwrap_err().to_string();
    assert!(error.ends_with("has 5 bytes, its row says 3000"), "{error}");
}

#[tokio::test]
async fn a_backup_notices_an_object_that_is_not_whole() {
    let hub = hub().await;
    let large = Large::new("one");
    push_pointers(&hub, &hub.repo("model").await, &[&large]).await;
    let file = the_file(&large, &hub.data());
    std::fs::write(&file, b"short").unwrap();
    let error = hub.changes.backup(hub.path("short")).await.unwrap_err().to_string();
    assert!(error.contains("has 5 bytes, its row says 3000; run `granary fsck`"), "{error}");
    assert!(!hub.path("short").join("backup.json").exists());
    std::fs::remove_file(&file).unwrap();
    assert!(hub.changes.backup(hub.path("none")).await.is_err());
    assert!(!hub.path("none").join("backup.json").exists());
}

#[tokio::test]
async fn fsck_reads_every_byte_of_every_object() {
    let hub = hub().await;
    let [large, sound] = ["one", "two"].map(Large::new);
    push_pointers(&hub, &hub.repo("model").await, &[&large, &sound]).await;
    let report = hub.changes.fsck(None).await.unwrap();
    assert_eq!((report.large, report.findings), (2, vec![]));
    let file = the_file(&large, &hub.data());
    let name = format!("object {}: ", large.sha256);
    for at in [0, large.bytes.len() / 2, large.bytes.len() - 1] {
        let mut bad = large.bytes.clone();
        bad[at] ^= 1;
        std::fs::write(&file, &bad).unwrap();
        let [finding] = findings(&hub.changes).await.try_into().unwrap();
        assert!(finding.starts_with(&format!("{name}its bytes have SHA-256 ")), "{finding}");
    }
    std::fs::write(&file, &large.bytes[1..]).unwrap();
    let [finding] = findings(&hub.changes).await.try_into().unwrap();
    assert!(finding.starts_with(&format!("{name}it has 2999 bytes, not 3000")), "{finding}");
    std::fs::remove_file(&file).unwrap();
    let [finding] = findings(&hub.changes).await.try_into().unwrap();
    assert!(finding.starts_with(&format!("{name}its bytes are gone")), "{finding}");
    std::fs::write(&file, &large.bytes).unwrap();
    hub.assert_sound().await;
}

#[tokio::test]
async fn fsck_finds_pointers_without_objects() {
    let hub = hub().await;
    let [one, two] = ["one", "two"].map(Large::new);
    let repo = hub.repo("model").await;
    push_pointers(&hub, &repo, &[&one, &two]).await;
    // Removed, and then other bytes are uploaded in its place.
    let (database, upload) = (hub.changes.database(), database::UploadId::new());
    assert!(database.remove_link(repo.id, one.sha256).await.unwrap());
    let (sha256, size) = (one.sha256, one.bytes.len() as u64);
    let (objects, quota) = (vec![(sha256, size)], database::Quota::Exempt);
    let new = NewUpload { id: upload, repo: repo.id, by: None, objects, expires_ms: i64::MAX, quota };
    database.begin_upload(new).await.unwrap();
    let publish = Publish { upload, repo: repo.id, sha256, size, proof: Proof::Claimed, by: None };
    let Published::Linked(backing) = database.publish_object(publish).await.unwrap() else { panic!() };
    assert!(database.object_corrupt(backing, 0).await.unwrap());
    let path = format!("{}.bin", &one.sha256.to_string()[..8]);
    let expected = format!("ada/model: 1 LFS objects are not here, that of {path} first: {}", one.sha256);
    assert_eq!(findings(&hub.changes).await, [expected.as_str()]);
    assert_eq!(hub.changes.fsck(Some(&repo)).await.unwrap().findings, [expected]);
}

#[tokio::test]
async fn fsck_of_one_repository_reads_its_objects_and_no_others() {
    let hub = hub().await;
    let [one, two] = ["one", "two"].map(Large::new);
    let (repo, other) = (hub.repo("model").await, hub.repo("other").await);
    push_pointers(&hub, &repo, &[&one]).await;
    push_pointers(&hub, &other, &[&two]).await;
    for large in [&one, &two] {
        let mut bad = large.bytes.clone();
        bad[9] ^= 1;
        std::fs::write(the_file(large, &hub.data()), bad).unwrap();
    }
    let report = hub.changes.fsck(Some(&repo)).await.unwrap();
    let [finding] = report.findings.try_into().unwrap();
    assert!(finding.starts_with(&format!("object {}: its bytes have SHA-256 ", one.sha256)), "{finding}");
    assert_eq!((report.repos, report.large), (1, 1));
}

/// Writes the manifests, closes the hub and loses its rows.
async fn lose_rows(hub: &Hub) {
    hub.changes.maintain(true).await.unwrap();
    hub.changes.database().close().await;
    for lost in ["granary.db", "granary.db-wal", "granary.db-shm"] {
        match std::fs::remove_file(hub.data().join(lost)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
}

fn found(changes: &Changes, path: &str) -> Repo {
    match changes.database().find_repo(&path.parse().unwrap()).unwrap() {
        Some(database::Found::Repo(repo)) => repo,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_rebuild_links_objects_that_prove_to_be_what_they_are_called() {
    let hub = hub().await;
    let [one, shared, unused] = ["one", "shared", "unused"].map(Large::new);
    let (model, other) = (hub.repo("model").await, hub.repo("other").await);
    push_pointers(&hub, &model, &[&one, &shared]).await;
    push_pointers(&hub, &other, &[&shared]).await;
    hub.upload(&other, &unused).await;
    lose_rows(&hub).await;
    let report = change::rebuild(&hub.data(), None).await.unwrap();
    assert_eq!((report.repos, report.large, report.problems), (2, 3, vec![]));

    let changes = open(&hub.data(), hub.clock.clone()).await;
    assert_eq!(findings(&changes).await, [] as [String; 0]);
    let linked = |path: &str| -> Vec<_> {
        let links = changes.database().links_after(found(&changes, path).id, None, 10).unwrap();
        links.into_iter().filter(|link| link.is_usable()).map(|link| link.sha256).collect()
    };
    let mut both = [one.sha256, shared.sha256];
    both.sort();
    assert_eq!((linked("ada/model"), linked("ada/other")), (both.to_vec(), vec![shared.sha256]));
    assert_eq!(shared.stored(&hub.data()).len(), 1, "no copy stays");

    // Nothing of the rebuild's own rows deletes what was adopted.
    hub.clock.advance_ms(100 * 24 * 3600 * 1000);
    assert_eq!(changes.maintain(true).await.unwrap().large.objects, 0);
    assert_eq!(findings(&changes).await, [] as [String; 0]);
    // Each repository lets go of it for itself.
    changes.delete_repo(&found(&changes, "ada/model")).await.unwrap();
    hub.clock.advance_ms(100 * 24 * 3600 * 1000);
    assert_eq!(changes.maintain(false).await.unwrap().large.objects, 1);
    assert_eq!((one.stored(&hub.data()).len(), shared.stored(&hub.data()).len()), (0, 1));
    assert_eq!(findings(&changes).await, [] as [String; 0]);
}

#[tokio::test]
async fn a_rebuild_says_what_is_missing_or_damaged() {
    let hub = hub().await;
    let [kept, lost, damaged] = ["kept", "lost", "damaged"].map(Large::new);
    push_pointers(&hub, &hub.repo("model").await, &[&kept, &lost, &damaged]).await;
    std::fs::remove_file(the_file(&lost, &hub.data())).unwrap();
    let mut bytes = damaged.bytes.clone();
    bytes[9] ^= 1;
    std::fs::write(the_file(&damaged, &hub.data()), bytes).unwrap();
    lose_rows(&hub).await;
    let report = change::rebuild(&hub.data(), None).await.unwrap();
    assert_eq!((report.repos, report.large), (1, 1));
    let [problem] = report.problems.try_into().unwrap();
    let mut missing = [lost.sha256.to_string(), damaged.sha256.to_string()];
    missing.sort();
    let expected = format!("ada/model: LFS objects are not in the store: {}", missing.join(", "));
    assert!(problem.ends_with(&expected), "{problem}");

    let changes = open(&hub.data(), Clock::default()).await;
    let model = found(&changes, "ada/model");
    assert!(changes.database().link(model.id, &kept.sha256).unwrap().unwrap().is_usable());
    for missing in [&lost, &damaged] {
        assert_eq!(changes.database().link(model.id, &missing.sha256).unwrap(), None);
    }
    let [finding] = findings(&changes).await.try_into().unwrap();
    assert!(finding.starts_with("ada/model: 2 LFS objects are not here"), "{finding}");

    // Uploaded again, all is well.
    let again = Hub { changes, directory: hub.directory, clock: hub.clock };
    again.upload(&model, &lost).await;
    again.upload(&model, &damaged).await;
    again.assert_sound().await;
}

#[tokio::test]
async fn a_rebuild_finds_objects_in_a_directory_of_their_own() {
    let hub = hub().await;
    let large = Large::new("one");
    push_pointers(&hub, &hub.repo("model").await, &[&large]).await;
    lose_rows(&hub).await;
    let nas = hub.path("nas");
    std::fs::create_dir(&nas).unwrap();
    std::fs::rename(hub.data().join("objects"), nas.join("objects")).unwrap();
    let store = storage::ObjectStore::at(&nas).unwrap();
    let report = change::rebuild(&hub.data(), Some(store)).await.unwrap();
    assert_eq!((report.large, report.problems), (1, vec![]));
    let changes = open_with(&hub.data(), Clock::default(), Some(&nas)).await;
    assert_eq!(findings(&changes).await, [] as [String; 0]);
}
