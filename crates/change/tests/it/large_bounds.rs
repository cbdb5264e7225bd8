//! Large objects at bounds, and where something else than the usual went wrong.

use std::io::Write;

use change::GcOptions;
use database::{Clock, NewRepo, NewUpload, Oid, Proof, Publish, Quota, Repo, Sha256, UploadId, Visibility};
use tokio::task::JoinSet;

use crate::hub::{Git, Hub, hub, open, refused};

const MAIN: &str = "refs/heads/main";
const DAY_MS: i64 = 24 * 3600 * 1000;

fn pointer(sha256: &Sha256, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
}

/// `abc`, whose SHA-256 everybody knows.
fn abc() -> Sha256 {
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap()
}

/// Stores and links `abc`.
async fn take_abc(hub: &Hub, repo: &Repo) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"abc").unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    hub.changes.objects().take_in(repo.id, None, abc(), 3, file).await.unwrap();
}

/// Commits a pointer to `abc` and pushes it as the first commit of main.
async fn push_abc(hub: &Hub, repo: &Repo, git: &Git) {
    let tip = git.commit("weights/abc.bin", pointer(&abc(), 3).as_bytes());
    let report = hub.push(repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    assert!(refused(&report).is_empty(), "{report:?}");
}

async fn incomplete(hub: &Hub, name: &str) -> Repo {
    let new = NewRepo {
        path: format!("ada/{name}").parse().unwrap(),
        visibility: Visibility::Private,
        mirror: false,
        blob_bytes_max: None,
        lfs_incomplete: true,
    };
    hub.changes.database().create_repo(new).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn more_links_than_fit_one_transaction_are_dropped() {
    const LINKS: u32 = 4001;
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    take_abc(&hub, &repo).await;
    push_abc(&hub, &repo, &git).await;
    let id = |n: u32| {
        let mut sha256 = Sha256([7; 32]);
        sha256.0[..4].copy_from_slice(&n.to_be_bytes());
        sha256
    };
    // Rows alone: the bytes do not matter here.
    let database = hub.changes.database().clone();
    let link = async |from: u32, to: u32| {
        let (upload, objects) = (UploadId::new(), (from..to).map(|n| (id(n), 10)).collect());
        let new = NewUpload {
            id: upload,
            repo: repo.id,
            by: None,
            objects,
            expires_ms: i64::MAX,
            quota: Quota::Default(None),
        };
        database.begin_upload(new).await.unwrap();
        let mut publishing = JoinSet::new();
        for n in from..to {
            let publish =
                Publish { upload, repo: repo.id, sha256: id(n), size: 10, proof: Proof::Verified, by: None };
            let database = database.clone();
            publishing.spawn(async move { database.publish_object(publish).await.unwrap() });
        }
        publishing.join_all().await;
    };
    link(0, LINKS).await;
    hub.clock.advance_ms(15 * DAY_MS);
    link(LINKS, LINKS + 1).await;

    let gc = async |dry_run| {
        let report = hub
            .changes
            .gc(GcOptions { repo: None, dry_run, purge: false, ..GcOptions::default() })
            .await
            .unwrap();
        assert!(report.skipped.is_empty() && report.failed.is_empty(), "{report}");
        (report.large_dropped, report.large_bytes_dropped)
    };
    let links = || database.links_after(repo.id, None, u32::MAX).unwrap();
    let all = u64::from(LINKS);
    assert_eq!((gc(true).await, links().len()), ((all, 10 * all), LINKS as usize + 2));
    assert_eq!(gc(false).await, (all, 10 * all));
    let left: Vec<Sha256> = links().iter().map(|link| link.sha256).collect();
    assert_eq!(left.len(), 2, "that of the pointer, and the young one: {left:?}");
    assert!(left.contains(&abc()) && left.contains(&id(LINKS)));
    assert_eq!(gc(false).await, (0, 0));
}

#[tokio::test]
async fn what_was_removed_on_purpose_is_a_warning_and_frees_nothing_twice() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    take_abc(&hub, &repo).await;
    push_abc(&hub, &repo, &git).await;
    let clean = hub.changes.fsck(None).await.unwrap();
    assert_eq!((clean.large, clean.findings.len(), clean.warnings.len()), (1, 0, 0), "{clean}");

    assert!(hub.changes.database().remove_link(repo.id, abc()).await.unwrap());
    let report = hub.changes.fsck(None).await.unwrap();
    assert!(report.findings.is_empty(), "{report}");
    assert_eq!(report.warnings.len(), 1);
    let text = report.to_string();
    assert!(
        text.contains("warning: ada/model: 1 LFS objects are not here, that of weights/abc.bin"),
        "{text}"
    );
    // The row that remembers the removal stays as long as the pointer does.
    hub.clock.advance_ms(15 * DAY_MS);
    hub.changes.gc(GcOptions::default()).await.unwrap();
    assert!(hub.changes.database().link(repo.id, &abc()).unwrap().is_some());
    let tip = git.tip();
    let other = git.commit("weights/abc.bin", b"no pointer any more");
    git.run(&["checkout", "-q", "--orphan", "fresh"]);
    let fresh = git.commit("a", b"a");
    hub.push(&repo, &[(MAIN, tip, fresh)], Some(git.pack("fresh"))).await;
    assert_ne!(other, fresh);
    hub.clock.advance_ms(15 * DAY_MS);
    let report = hub.changes.gc(GcOptions::default()).await.unwrap();
    assert!(report.objects_dropped > 0);
    assert_eq!((report.large_dropped, report.large_bytes_dropped), (0, 0), "its bytes went long ago");
    assert!(hub.changes.database().link(repo.id, &abc()).unwrap().is_none());
    hub.assert_sound().await;
}

#[tokio::test]
async fn a_repository_that_may_lack_objects_is_warned_about_only() {
    let hub = hub().await;
    let (repo, git) = (incomplete(&hub, "mirror").await, hub.git("work"));
    push_abc(&hub, &repo, &git).await;
    let report = hub.changes.fsck(None).await.unwrap();
    assert!(report.findings.is_empty() && report.warnings[0].contains("weights/abc.bin"), "{report}");
}

#[tokio::test]
async fn a_rebuild_gives_nobody_the_object_of_somebody_else() {
    let hub = hub().await;
    let (owner, git) = (hub.repo("owner").await, hub.git("work"));
    take_abc(&hub, &owner).await;
    push_abc(&hub, &owner, &git).await;
    // It names an object that it never had.
    let other = incomplete(&hub, "other").await;
    hub.push(&other, &[(MAIN, Oid::NULL, git.tip())], Some(git.pack("main"))).await;
    assert!(hub.tip(&other, MAIN).is_some());
    hub.changes.maintain(true).await.unwrap();
    hub.changes.database().close().await;
    std::fs::remove_file(hub.data().join("granary.db")).unwrap();

    let report = change::rebuild(&hub.data(), None).await.unwrap();
    assert_eq!((report.repos, report.large), (2, 1), "{report}");
    assert!(report.problems.iter().any(|problem| problem.contains("ada/other")), "{report}");
    let changes = open(&hub.data(), Clock::default()).await;
    for repo in changes.database().repos(None, 10).unwrap() {
        let link = changes.database().link(repo.id, &abc()).unwrap();
        assert_eq!(link.is_some_and(|link| link.is_usable()), repo.path.to_string() == "ada/owner");
        assert_eq!(repo.lfs_incomplete, repo.path.to_string() == "ada/other");
    }
}

#[tokio::test]
async fn an_export_is_whole_or_is_not() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    take_abc(&hub, &repo).await;
    push_abc(&hub, &repo, &git).await;
    let repo = hub.changes.database().repo(repo.id).unwrap().unwrap();
    let occupied = hub.path("occupied");
    std::fs::create_dir(&occupied).unwrap();
    std::fs::write(occupied.join("file"), "x").unwrap();
    let error = hub.changes.export(&repo, occupied.clone()).await.unwrap_err();
    assert!(error.to_string().contains("not an empty directory"), "{error}");
    let error = hub.changes.export(&repo, occupied.join("file")).await.unwrap_err();
    assert!(error.to_string().contains("not an empty directory"), "{error}");

    let key = hub.changes.database().link(repo.id, &abc()).unwrap().unwrap().storage_key().unwrap();
    let aside = hub.path("aside");
    std::fs::rename(hub.data().join(&key), &aside).unwrap();
    let out = hub.path("exports/out.git");
    hub.changes.export(&repo, out.clone()).await.unwrap_err();
    let left = std::fs::read_dir(hub.path("exports")).unwrap().count();
    assert_eq!(left, 0, "neither the directory nor a part of it");
    std::fs::rename(&aside, hub.data().join(&key)).unwrap();
    // An empty directory may be there.
    std::fs::create_dir(&out).unwrap();
    let report = hub.changes.export(&repo, out.clone()).await.unwrap();
    assert_eq!((report.large, report.large_bytes, report.large_missing.len()), (1, 3, 0));
    let hex = abc().to_string();
    assert_eq!(std::fs::read(out.join("lfs/objects/ba/78").join(hex)).unwrap(), b"abc");
    Git { directory: out }.run(&["fsck", "--full", "--strict"]);
}

#[tokio::test]
async fn a_stale_push_is_told_so_whatever_is_locked() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let first = git.commit("a", b"1");
    hub.push(&repo, &[(MAIN, Oid::NULL, first)], Some(git.pack("main"))).await;
    let database = hub.changes.database();
    let owner = database.user("ada").unwrap().unwrap().id;
    database.create_lock(repo.id, "a".to_owned(), None, owner, 10).await.unwrap();
    let second = git.commit("b", b"2");
    let stale = "failed to update ref: it was changed meanwhile, fetch first";
    // The old value is known here, but is not where the branch is.
    let pack = || Some(git.pack(&format!("{second} ^{first}")));
    let report = hub.push(&repo, &[(MAIN, second, first)], pack()).await;
    assert_eq!(refused(&report), [(MAIN, stale)]);
    // And one that is known nowhere.
    let report = hub.push(&repo, &[(MAIN, Oid([9; 20]), second)], pack()).await;
    assert_eq!(refused(&report), [(MAIN, stale)]);
    // A locked file that is not touched is in nobody's way.
    assert!(refused(&hub.push(&repo, &[(MAIN, first, second)], pack()).await).is_empty());
    let third = git.commit("a", b"3");
    let pack = git.pack(&format!("{third} ^{second}"));
    let report = hub.push(&repo, &[(MAIN, second, third)], Some(pack)).await;
    assert_eq!(refused(&report), [(MAIN, "locked by ada: a")]);
    assert_eq!(report.messages[0], "refs/heads/main: a is locked by ada");
    assert!(report.messages[1].contains("git lfs unlock"), "{report:?}");
    assert_eq!(hub.tip(&repo, MAIN), Some(second));
}
