//! Large objects come and go with the repositories that an administrator imports and exports.

use change::ImportError;
use database::{Oid, Repo};

use crate::hub::{Git, Hub, Large, hub, refused};

const MAIN: &str = "refs/heads/main";

/// A repository as git-lfs leaves it: pointers at `one`, and at `two` in a branch of its own.
fn source(hub: &Hub, one: &Large, two: &Large) -> Git {
    let git = hub.git("source");
    git.commit("dir/one.bin", &one.pointer());
    git.run(&["checkout", "-q", "-b", "topic"]);
    git.commit("two.bin", &two.pointer());
    git.run(&["checkout", "-q", "main"]);
    git
}

fn bare(hub: &Hub, git: &Git) -> Git {
    let directory = hub.path("bare.git");
    git.run(&["clone", "-q", "--bare", ".", directory.to_str().unwrap()]);
    Git { directory }
}

fn reread(hub: &Hub, repo: &Repo) -> Repo {
    hub.changes.database().repo(repo.id).unwrap().unwrap()
}

#[tokio::test]
async fn an_import_takes_objects_from_where_git_lfs_keeps_them() {
    let hub = hub().await;
    let [one, two, other] = ["one", "two", "other"].map(Large::new);
    let git = source(&hub, &one, &two);
    let bare = bare(&hub, &git);
    for git_directory in [git.directory.join(".git"), bare.directory.clone()] {
        for large in [&one, &two, &other] {
            large.lay(&git_directory, &large.bytes);
        }
    }
    for (name, from) in [("from-bare", &bare), ("from-worktree", &git)] {
        let repo = hub.repo(name).await;
        let report = hub.changes.import(&repo, from.directory.clone(), None).await.unwrap();
        let bytes = (one.bytes.len() + two.bytes.len()) as u64;
        assert_eq!((report.refs, report.large, report.large_bytes), (2, 2, bytes));
        assert!(report.to_string().ends_with(&format!(", and 2 LFS objects, {bytes} bytes")), "{report}");
        assert!(hub.has(&repo, &one) && hub.has(&repo, &two));
        assert!(!hub.has(&repo, &other), "no pointer needs it");
        assert_eq!(hub.changes.import(&repo, from.directory.clone(), None).await.unwrap().large, 0, "again");
    }
    for large in [&one, &two] {
        let [stored] = large.stored(&hub.data()).try_into().unwrap();
        assert_eq!(std::fs::read(stored).unwrap(), large.bytes, "stored once, as it was");
    }
    hub.assert_sound().await;
}

#[tokio::test]
async fn an_import_is_above_the_quota() {
    let hub = hub().await;
    let (repo, git, large) = (hub.repo("model").await, hub.git("from"), Large::new("a"));
    hub.changes.database().set_quota("ada".parse().unwrap(), Some(1)).await.unwrap();
    git.commit("a.bin", &large.pointer());
    large.lay(&git.directory.join(".git"), &large.bytes);
    let report = hub.changes.import(&repo, git.directory.clone(), None).await.unwrap();
    assert_eq!((report.large, report.large_bytes), (1, large.bytes.len() as u64));
    assert!(hub.has(&repo, &large));
    assert_eq!(hub.changes.database().usage(&"ada".parse().unwrap()).unwrap().used, report.large_bytes);
    hub.assert_sound().await;
}

#[tokio::test]
async fn an_import_without_all_objects_moves_nothing() {
    let hub = hub().await;
    let [one, two] = ["one", "two"].map(Large::new);
    let git = source(&hub, &one, &two);
    let git_directory = git.directory.join(".git");
    two.lay(&git_directory, &two.bytes);
    let (longer, flipped) = ([&one.bytes[..], b"x"].concat(), [b"x", &one.bytes[1..]].concat());
    for wrong in [None, Some(&b""[..]), Some(&one.bytes[1..]), Some(&longer), Some(&flipped)] {
        if let Some(bytes) = wrong {
            one.lay(&git_directory, bytes);
        }
        let repo = hub.repo(&format!("wrong-{}", wrong.map_or(0, |bytes| bytes.len() + 1))).await;
        let repo = if wrong == Some(&flipped) { hub.repo("flipped").await } else { repo };
        let error = hub.changes.import(&repo, git.directory.clone(), None).await.unwrap_err();
        assert!(matches!(&error, ImportError::Large { lines, .. } if lines.len() == 1), "{error}");
        let line = format!("dir/one.bin: LFS object {} was not uploaded to this repository", one.sha256);
        assert!(error.to_string().contains(&line), "{error}");
        assert!(error.to_string().contains("source/.git/lfs/objects"), "{error}");
        assert_eq!((hub.tip(&repo, MAIN), hub.live_packs(&repo)), (None, 0));
        assert!(!hub.has(&repo, &one));
    }
    assert_eq!(one.stored(&hub.data()), [] as [std::path::PathBuf; 0]);
    // Where it belongs, the very same succeeds.
    one.lay(&git_directory, &one.bytes);
    let repo = hub.repo("right").await;
    assert_eq!(hub.changes.import(&repo, git.directory.clone(), None).await.unwrap().large, 2);
    hub.assert_sound().await;
}

#[tokio::test]
async fn an_incomplete_repository_takes_what_there_is() {
    let hub = hub().await;
    let [one, two] = ["one", "two"].map(Large::new);
    let git = source(&hub, &one, &two);
    let git_directory = git.directory.join(".git");
    one.lay(&git_directory, b"wrong");
    two.lay(&git_directory, &two.bytes);
    let repo = hub.incomplete_repo("mirror").await;
    let report = hub.changes.import(&repo, git.directory.clone(), None).await.unwrap();
    assert_eq!((report.refs, report.large, report.large_missing), (2, 1, 1));
    let told = format!("1 LFS objects were not there and are left out: {}\nimported 2 refs", one.sha256);
    assert!(report.to_string().starts_with(&told), "{report}");
    assert_eq!(hub.tip(&repo, MAIN), Some(git.tip()));
    assert!(!hub.has(&repo, &one) && hub.has(&repo, &two));
    hub.assert_sound().await;

    let out = hub.path("out.git");
    let report = hub.changes.export(&reread(&hub, &repo), out.clone()).await.unwrap();
    assert_eq!((report.large, &report.large_missing), (1, &vec![one.sha256.to_string()]));
    assert!(report.to_string().starts_with(&format!("LFS object {} is missing\n", one.sha256)), "{report}");
    assert!(!out.join("lfs/objects").join(one.path()).exists());
    assert_eq!(std::fs::read(out.join("lfs/objects").join(two.path())).unwrap(), two.bytes);
}

#[tokio::test]
async fn a_size_that_a_pointer_gets_wrong_is_nothing_taken_in() {
    let hub = hub().await;
    let (git, large) = (hub.git("source"), Large::new("a"));
    git.commit("a.bin", &large.pointer_saying(7));
    large.lay(&git.directory.join(".git"), &large.bytes);
    let repo = hub.incomplete_repo("mirror").await;
    hub.upload(&repo, &large).await;
    let report = hub.changes.import(&repo, git.directory.clone(), None).await.unwrap();
    assert_eq!((report.large, report.large_bytes), (0, 0));
}

#[tokio::test]
async fn large_objects_survive_the_way_out_and_in() {
    let hub = hub().await;
    let [one, two] = ["one", "two"].map(Large::new);
    let (repo, git) = (hub.repo("model").await, source(&hub, &one, &two));
    for large in [&one, &two] {
        hub.upload(&repo, large).await;
    }
    // Two pointers at one object, and one at no bytes.
    git.commit("again.bin", &[one.pointer(), b"\n".to_vec()].concat());
    let main = git.commit("empty.bin", &Large::new("").pointer());
    let topic: Oid = git.run(&["rev-parse", "topic"]).parse().unwrap();
    let updates = [(MAIN, Oid::NULL, main), ("refs/heads/topic", Oid::NULL, topic)];
    assert!(refused(&hub.push(&repo, &updates, Some(git.pack("main topic"))).await).is_empty());

    let out = hub.path("out.git");
    let report = hub.changes.export(&reread(&hub, &repo), out.clone()).await.unwrap();
    assert_eq!((report.refs, report.large, report.large_missing.len()), (2, 2, 0), "{report}");
    for large in [&one, &two] {
        assert_eq!(std::fs::read(out.join("lfs/objects").join(large.path())).unwrap(), large.bytes);
    }
    Git { directory: out.clone() }.run(&["fsck", "--full", "--strict"]);

    let elsewhere = crate::hub::hub().await;
    let repo = elsewhere.repo("model").await;
    let report = elsewhere.changes.import(&repo, out, None).await.unwrap();
    assert_eq!((report.refs, report.large), (2, 2));
    assert_eq!(elsewhere.tip(&repo, MAIN), Some(main));
    assert!(elsewhere.has(&repo, &one) && elsewhere.has(&repo, &two));
    elsewhere.assert_sound().await;
}
