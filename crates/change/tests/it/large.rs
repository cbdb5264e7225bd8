//! Pushes with LFS pointers.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use database::Oid;
use rusqlite::Connection;

use crate::hub::{Hub, Large, hub, refused};

const MAIN: &str = "refs/heads/main";
const MISSING: &str = "LFS objects are missing";
const ADVICE: &str = "upload them with 'git lfs push --all REMOTE', then push again";

/// Does not compress: a pack with it is a file of its own.
fn noise() -> Vec<u8> {
    (0..30_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[tokio::test]
async fn a_push_without_its_objects_moves_nothing() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let base = git.commit("noise", &noise());
    let updates = [
        (MAIN, Oid::NULL, base),
        ("refs/heads/gone", Oid::NULL, base),
        ("refs/heads/stays", Oid::NULL, base),
    ];
    assert!(refused(&hub.push(&repo, &updates, Some(git.pack("main"))).await).is_empty());
    let [a, b] = ["a", "b"].map(Large::new);
    hub.upload(&repo, &a).await;
    git.commit("a.bin", &a.pointer());
    git.commit("other noise", &noise()[4..]);
    let new = git.commit("deep/er/b.bin", &b.pointer());
    let pack = || Some(git.pack(&format!("{new} ^{base}")));
    let packs_before = (hub.live_packs(&repo), hub.changes.database().packs().unwrap());

    let updates = [
        ("refs/heads/gone", base, Oid::NULL),
        (MAIN, base, new),
        ("refs/tags/v1", Oid::NULL, new),
        ("refs/heads/copy", Oid::NULL, base),
    ];
    let report = hub.push(&repo, &updates, pack()).await;
    assert_eq!(report.unpack, Ok(()));
    let expected = [(MAIN, MISSING), ("refs/tags/v1", MISSING), ("refs/heads/copy", MISSING)];
    assert_eq!(refused(&report), expected);
    let line = format!("deep/er/b.bin: LFS object {} was not uploaded to this repository", b.sha256);
    assert_eq!(report.messages, [line.as_str(), ADVICE]);
    assert_eq!((hub.tip(&repo, "refs/heads/gone"), hub.tip(&repo, MAIN)), (None, Some(base)));
    assert_eq!((hub.tip(&repo, "refs/tags/v1"), hub.tip(&repo, "refs/heads/copy")), (None, None));

    let updates = [("refs/heads/stays", base, Oid::NULL), (MAIN, base, new)];
    let report = hub.push_with(&repo, &updates, pack(), true).await;
    assert_eq!(refused(&report), [("refs/heads/stays", "atomic push failed"), (MAIN, MISSING)]);
    assert_eq!(report.messages, [line.as_str(), ADVICE]);
    assert_eq!((hub.tip(&repo, "refs/heads/stays"), hub.tip(&repo, MAIN)), (Some(base), Some(base)));
    assert_eq!((hub.live_packs(&repo), hub.changes.database().packs().unwrap()), packs_before);
    hub.assert_sound().await;

    hub.upload(&repo, &b).await;
    let report = hub.push_with(&repo, &updates, pack(), true).await;
    assert!(refused(&report).is_empty() && report.messages.is_empty(), "{report:?}");
    assert_eq!((hub.tip(&repo, "refs/heads/stays"), hub.tip(&repo, MAIN)), (None, Some(new)));
    hub.assert_sound().await;
}

/// Pushes one commit with `pointer` as the file `x` to a branch of its own, and says what came of it.
async fn push_pointer(hub: &Hub, repo: &database::Repo, pointer: &[u8]) -> (bool, Vec<String>) {
    let directory = tempfile::tempdir_in(hub.path("")).unwrap();
    let git = hub.git(directory.path().to_str().unwrap());
    let tip = git.commit("x", pointer);
    let name = format!("refs/heads/{tip}");
    let report = hub.push(repo, &[(&name, Oid::NULL, tip)], Some(git.pack("main"))).await;
    let moved = hub.tip(repo, &name) == Some(tip);
    assert_eq!(refused(&report), if moved { vec![] } else { vec![(name.as_str(), MISSING)] });
    (moved, report.messages)
}

#[tokio::test]
async fn an_object_must_be_what_its_pointer_says() {
    let hub = hub().await;
    let (repo, elsewhere) = (hub.repo("model").await, hub.repo("other").await);
    let [large, other] = ["large", "other"].map(Large::new);
    hub.upload(&repo, &large).await;
    hub.upload(&elsewhere, &other).await;
    let size = large.bytes.len() as u64;
    for wrong in [size - 1, size + 1, i64::MAX as u64] {
        let (moved, messages) = push_pointer(&hub, &repo, &large.pointer_saying(wrong)).await;
        let line =
            format!("x: LFS object {} has {size} bytes, not as many as the pointer says", large.sha256);
        assert_eq!((moved, messages), (false, vec![line, ADVICE.to_owned()]));
    }
    let (moved, messages) = push_pointer(&hub, &repo, &other.pointer()).await;
    let line = format!("x: LFS object {} was not uploaded to this repository", other.sha256);
    assert_eq!((moved, &messages[0]), (false, &line), "what another repository has does not count");

    // The empty object is never stored, and no other is empty.
    for empty in [Large::new(""), other.clone()] {
        assert!(push_pointer(&hub, &repo, &empty.pointer_saying(0)).await.0);
    }
    assert!(push_pointer(&hub, &repo, &large.pointer()).await.0);

    assert!(hub.changes.database().remove_link(repo.id, large.sha256).await.unwrap());
    let text = [large.pointer(), b"\n".to_vec()].concat();
    let (moved, messages) = push_pointer(&hub, &repo, &text).await;
    let line = format!("x: LFS object {} was removed from this repository", large.sha256);
    assert_eq!((moved, &messages[0]), (false, &line));
    hub.upload(&repo, &large).await;
    assert!(push_pointer(&hub, &repo, &text).await.0, "it may be uploaded again");
    hub.assert_sound().await;
}

/// git sends no blob that the repository has already, so the pointer is not in the pack.
#[tokio::test]
async fn a_pointer_that_is_used_again_needs_its_object_again() {
    let hub = hub().await;
    let (repo, large, git) = (hub.repo("model").await, Large::new("a"), hub.git("work"));
    hub.upload(&repo, &large).await;
    let first = git.commit("a.bin", &large.pointer());
    assert!(refused(&hub.push(&repo, &[(MAIN, Oid::NULL, first)], Some(git.pack("main"))).await).is_empty());
    assert!(hub.changes.database().remove_link(repo.id, large.sha256).await.unwrap());

    let beside = git.commit("README.md", b"beside it");
    let pack = |new: Oid, old: Oid| Some(git.pack(&format!("{new} ^{old}")));
    let report = hub.push(&repo, &[(MAIN, first, beside)], pack(beside, first)).await;
    assert!(refused(&report).is_empty(), "what stays where it was is no new use: {report:?}");

    let copied = git.commit("deep/er/copy.bin", &large.pointer());
    let updates = [(MAIN, beside, copied)];
    let report = hub.push(&repo, &updates, pack(copied, beside)).await;
    assert_eq!(refused(&report), [(MAIN, MISSING)]);
    let why = format!("LFS object {} was removed from this repository", large.sha256);
    assert!(report.messages[0].ends_with(&why), "{report:?}");
    assert_eq!(report.messages[1], ADVICE);
    // Nor on a new branch.
    let report = hub.push(&repo, &[("refs/heads/new", Oid::NULL, copied)], pack(copied, beside)).await;
    assert_eq!(refused(&report), [("refs/heads/new", MISSING)]);

    hub.upload(&repo, &large).await;
    assert!(refused(&hub.push(&repo, &updates, pack(copied, beside)).await).is_empty());
    hub.assert_sound().await;
}

#[tokio::test]
async fn an_incomplete_repository_takes_pointers_without_objects() {
    let hub = hub().await;
    let repo = hub.incomplete_repo("mirror").await;
    assert_eq!(push_pointer(&hub, &repo, &Large::new("a").pointer()).await, (true, vec![]));
    hub.assert_sound().await;
}

#[tokio::test]
async fn what_is_here_and_not_sent_again_needs_nothing() {
    let hub = hub().await;
    let (repo, git, large) = (hub.repo("model").await, hub.git("work"), Large::new("a"));
    hub.upload(&repo, &large).await;
    let first = git.commit("a.bin", &large.pointer());
    assert!(refused(&hub.push(&repo, &[(MAIN, Oid::NULL, first)], Some(git.pack("main"))).await).is_empty());
    assert!(hub.changes.database().remove_link(repo.id, large.sha256).await.unwrap());
    let second = git.commit("README.md", b"text");
    let pack = git.pack("main ^HEAD~1");
    assert!(refused(&hub.push(&repo, &[(MAIN, first, second)], Some(pack)).await).is_empty());
    let updates = [("refs/heads/copy", Oid::NULL, first)];
    assert!(refused(&hub.push(&repo, &updates, None).await).is_empty());
}

#[tokio::test]
async fn ten_are_named_and_the_rest_is_counted() {
    for (count, more) in [(10, None), (11, Some("… and 1 more")), (13, Some("… and 3 more"))] {
        let hub = hub().await;
        let (repo, git) = (hub.repo("model").await, hub.git("work"));
        for n in 0..count {
            std::fs::write(git.directory.join(format!("{n}.bin")), Large::new(&n.to_string()).pointer())
                .unwrap();
        }
        // One object twice is missing once.
        let tip = git.commit("twice.bin", &Large::new("0").pointer());
        let report = hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
        assert_eq!(refused(&report), [(MAIN, MISSING)]);
        let (named, rest) = report.messages.split_at(10);
        assert!(named.iter().all(|line| line.contains(".bin: LFS object ")), "{named:?}");
        assert_eq!(rest, more.into_iter().chain([ADVICE]).collect::<Vec<_>>());
    }
}

/// Commits to the rows wait until this is dropped; reads do not.
pub fn block_writes(hub: &Hub) -> Connection {
    let conn = Connection::open(hub.data().join("granary.db")).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    conn
}

/// A write gets its place in the queue when it is polled first.
pub async fn queue<T>(mut write: Pin<&mut impl Future<Output = T>>) {
    let pending = std::future::poll_fn(|context| Poll::Ready(write.as_mut().poll(context).is_pending()));
    assert!(pending.await);
}

/// Long enough for a push to come as far as it gets.
pub const A_WHILE: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_goes_between_check_and_commit_is_noticed() {
    let hub = hub().await;
    let (repo, git, large) = (hub.repo("model").await, hub.git("work"), Large::new("a"));
    hub.upload(&repo, &large).await;
    let tip = git.commit("a.bin", &large.pointer());
    let blocked = block_writes(&hub);
    // The removal is first in the queue, and the push still sees the link.
    let mut removal = std::pin::pin!(hub.changes.database().remove_link(repo.id, large.sha256));
    queue(removal.as_mut()).await;
    let updates = [(MAIN, Oid::NULL, tip)];
    let mut push = std::pin::pin!(hub.push(&repo, &updates, Some(git.pack("main"))));
    assert!(tokio::time::timeout(A_WHILE, &mut push).await.is_err(), "it waits to be committed");
    drop(blocked);
    let report = push.await;
    assert!(removal.await.unwrap());
    assert_eq!(refused(&report), [(MAIN, MISSING)]);
    assert!(report.messages[0].contains("was removed from this repository"), "{report:?}");
    assert_eq!((hub.tip(&repo, MAIN), hub.live_packs(&repo)), (None, 0));
    hub.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ref_moves_to_a_pointer_whose_link_went_before() {
    let hub = std::sync::Arc::new(hub().await);
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let mut tip = git.commit("README.md", b"text");
    hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    let (mut moved, mut stayed) = (0, 0);
    for round in 0..40 {
        let large = Large::new(&format!("round {round}"));
        hub.upload(&repo, &large).await;
        let new = git.commit("a.bin", &large.pointer());
        let pack = git.pack(&format!("{new} ^{tip}"));
        let (remover, id) = (std::sync::Arc::clone(&hub), repo.clone());
        let removal = tokio::spawn(async move {
            for _ in 0..round * 40 {
                tokio::task::yield_now().await;
            }
            remover.changes.database().remove_link(id.id, large.sha256).await.unwrap();
            remover.tip(&id, MAIN) == Some(new)
        });
        let report = hub.push(&repo, &[(MAIN, tip, new)], Some(pack)).await;
        let moved_before = removal.await.unwrap();
        match refused(&report).as_slice() {
            [] => {
                assert!(moved_before, "the link was gone when the ref moved");
                (tip, moved) = (new, moved + 1);
            }
            refusals => {
                assert_eq!(refusals, [(MAIN, MISSING)]);
                assert_eq!(hub.tip(&repo, MAIN), Some(tip));
                git.run(&["reset", "-q", "--hard", &tip.to_string()]);
                stayed += 1;
            }
        }
    }
    println!("{moved} pushes came first, {stayed} removals did");
}
