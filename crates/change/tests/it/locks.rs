//! Pushes to branches with files that somebody has locked.

use auth::{Authorized, Propose};
use database::{LockId, Oid, Repo, UserId};

use crate::hub::{Git, Hub, hub, refused};
use crate::large::{A_WHILE, block_writes, queue};

const MAIN: &str = "refs/heads/main";
const TOPIC: &str = "refs/heads/topic";
const ADVICE: &str = "ask who holds the lock to run 'git lfs unlock', or an administrator to use --force";

/// Ada pushes, Bob locks.
struct Scene {
    hub: Hub,
    repo: Repo,
    git: Git,
    bob: UserId,
    ada: UserId,
    access: Authorized<Propose>,
    base: Oid,
}

async fn scene() -> Scene {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let bob = hub.user("Bob").await;
    let ada = hub.changes.database().user("ada").unwrap().unwrap().id;
    let access = hub.access(ada, &repo).await;
    for name in ["weights.bin", "dir/a.bin", "dir/sub/b.bin", "dir2/c.bin"] {
        git.commit(name, name.as_bytes());
    }
    let base = git.commit("README.md", b"text");
    let scene = Scene { hub, repo, git, bob, ada, access, base };
    assert_eq!(scene.push(&[(MAIN, Oid::NULL, base)], "main").await, [] as [(String, String); 0]);
    scene
}

impl Scene {
    async fn lock(&self, path: &str, owner: UserId) -> LockId {
        let database = self.hub.changes.database();
        database.create_lock(self.repo.id, path.to_owned(), None, owner, 100).await.unwrap().id
    }

    async fn unlock(&self, id: LockId) {
        self.hub.changes.database().delete_lock(self.repo.id, id, self.bob, true).await.unwrap();
    }

    /// Whoever has them, and under whatever id.
    async fn unlock_all(&self) {
        for lock in self.hub.changes.database().locks_of_others(self.repo.id, None).unwrap().1 {
            self.unlock(lock.id).await;
        }
    }

    /// Refs that were refused, and why. Only locks are told of.
    async fn push(&self, updates: &[(&str, Oid, Oid)], revisions: &str) -> Vec<(String, String)> {
        let pack = (!revisions.is_empty()).then(|| self.git.pack(revisions));
        let report = self.hub.push_by(self.access.clone(), updates, pack, false).await;
        assert_eq!(report.unpack, Ok(()));
        let refused = refused(&report);
        // Each ref and what is locked in it, then what to do.
        let told: Vec<&str> = report.messages.iter().map(String::as_str).collect();
        match told.split_last() {
            None => assert!(refused.is_empty(), "{report:?}"),
            Some((advice, told)) => {
                assert_eq!(*advice, ADVICE);
                assert!(refused.iter().all(|(name, _)| told.iter().any(|line| line.starts_with(name))));
                assert!(told.iter().all(|line| line.ends_with(" is locked by Bob")), "{told:?}");
            }
        }
        refused.into_iter().map(|(name, why)| (name.to_owned(), why.to_owned())).collect()
    }

    /// Whether `main` may go from the base to `new`. It goes back afterwards.
    async fn main_to(&self, new: Oid) -> Option<String> {
        let refused = self.push(&[(MAIN, self.base, new)], &format!("{new} ^{}", self.base)).await;
        let moved = self.hub.tip(&self.repo, MAIN) == Some(new);
        assert_ne!(moved, !refused.is_empty());
        if moved {
            let back = self.hub.changes.database().locks_of_others(self.repo.id, None).unwrap().1;
            self.unlock_all().await;
            assert!(self.push(&[(MAIN, new, self.base)], "").await.is_empty());
            for lock in back {
                self.lock(&lock.path, lock.owner).await;
            }
        }
        refused.into_iter().next().map(|(_, why)| why)
    }

    fn at_base(&self) {
        self.git.run(&["reset", "-q", "--hard", &self.base.to_string()]);
    }

    /// A commit on the base that is made by `command`.
    fn after(&self, command: &[&str]) -> Oid {
        self.at_base();
        self.git.run(command);
        self.git.run(&["commit", "-q", "-m", "x"]);
        self.git.tip()
    }
}

fn by_bob(path: &str) -> Option<String> {
    Some(format!("locked by Bob: {path}"))
}

#[tokio::test]
async fn what_another_locked_stays_as_it_is() {
    let scene = scene().await;
    scene.lock("weights.bin", scene.bob).await;
    let changed = scene.git.commit("weights.bin", b"other");
    assert_eq!(scene.main_to(changed).await, by_bob("weights.bin"));
    let deleted = scene.after(&["rm", "-q", "weights.bin"]);
    assert_eq!(scene.main_to(deleted).await, by_bob("weights.bin"));
    let renamed = scene.after(&["mv", "weights.bin", "w.bin"]);
    assert_eq!(scene.main_to(renamed).await, by_bob("weights.bin"));
    let executable = scene.after(&["update-index", "--chmod=+x", "weights.bin"]);
    assert_eq!(scene.main_to(executable).await, by_bob("weights.bin"));
    scene.at_base();
    let other = scene.git.commit("dir/a.bin", b"other");
    assert_eq!(scene.main_to(other).await, None, "the locked file is not touched");
    // Changed and changed back: as it was.
    scene.at_base();
    scene.git.commit("weights.bin", b"other");
    let back = scene.git.commit("weights.bin", b"weights.bin");
    assert_eq!(scene.main_to(back).await, None);
    scene.unlock_all().await;
    assert_eq!(scene.main_to(changed).await, None);
    scene.hub.assert_sound().await;
}

#[tokio::test]
async fn directories_and_files_that_are_not_there_yet_can_be_locked() {
    let scene = scene().await;
    for path in ["dir", "dir/"] {
        scene.lock(path, scene.bob).await;
        for name in ["dir/a.bin", "dir/sub/b.bin", "dir/new.bin"] {
            scene.at_base();
            let new = scene.git.commit(name, b"other");
            assert_eq!(scene.main_to(new).await, by_bob(path), "{name}");
        }
        let gone = scene.after(&["rm", "-qr", "dir"]);
        assert_eq!(scene.main_to(gone).await, by_bob(path));
        scene.at_base();
        let beside = scene.git.commit("dir2/c.bin", b"other");
        assert_eq!(scene.main_to(beside).await, None);
        scene.unlock_all().await;
    }
    scene.lock("later/x.bin", scene.bob).await;
    scene.at_base();
    let new = scene.git.commit("later/x.bin", b"new");
    assert_eq!(scene.main_to(new).await, by_bob("later/x.bin"));
    scene.at_base();
    let file = scene.git.commit("later", b"a file where the directory was to be");
    assert_eq!(scene.main_to(file).await, None);
}

#[tokio::test]
async fn own_locks_hold_nobody_back_but_others() {
    let scene = scene().await;
    scene.lock("weights.bin", scene.ada).await;
    let new = scene.git.commit("weights.bin", b"other");
    let updates = [(MAIN, scene.base, new)];
    let pack = || Some(scene.git.pack(&format!("{new} ^{}", scene.base)));
    let bob = scene.hub.access(scene.bob, &scene.repo).await;
    let report = scene.hub.push_by(bob, &updates, pack(), false).await;
    assert_eq!(refused(&report), [(MAIN, "locked by ada: weights.bin")]);
    // A job is nobody: every lock is another's.
    let report = scene.hub.push(&scene.repo, &updates, pack()).await;
    assert_eq!(refused(&report), [(MAIN, "locked by ada: weights.bin")]);
    assert!(scene.push(&updates, &format!("{new} ^{}", scene.base)).await.is_empty());
    assert_eq!(scene.hub.tip(&scene.repo, MAIN), Some(new));
}

#[tokio::test]
async fn a_new_branch_is_compared_with_where_it_left() {
    let scene = scene().await;
    let ahead = scene.git.commit("weights.bin", b"changed before it was locked");
    assert!(scene.push(&[(MAIN, scene.base, ahead)], &format!("{ahead} ^{}", scene.base)).await.is_empty());
    scene.lock("weights.bin", scene.bob).await;

    // From the base, where the file is another than on the default branch now.
    scene.at_base();
    let fine = scene.git.commit("dir/a.bin", b"other");
    assert!(scene.push(&[(TOPIC, Oid::NULL, fine)], &format!("{fine} ^{}", scene.base)).await.is_empty());
    let bad = scene.git.commit("weights.bin", b"another");
    let range = format!("{bad} ^{fine}");
    let locked = "locked by Bob: weights.bin".to_owned();
    assert_eq!(scene.push(&[(TOPIC, fine, bad)], &range).await, [(TOPIC.to_owned(), locked.clone())]);
    let other = "refs/heads/other";
    assert_eq!(scene.push(&[(other, Oid::NULL, bad)], &range).await, [(other.to_owned(), locked)]);
    // Commits that are here already, before and after the change.
    for tip in [scene.base, ahead] {
        let name = format!("refs/heads/{tip}");
        assert!(scene.push(&[(&name, Oid::NULL, tip)], "").await.is_empty());
    }
    assert_eq!(scene.hub.tip(&scene.repo, TOPIC), Some(fine));
}

#[tokio::test]
async fn of_a_branch_without_past_every_locked_file_counts() {
    let scene = scene().await;
    scene.lock("weights.bin", scene.bob).await;
    scene.git.run(&["checkout", "-q", "--orphan", "orphan"]);
    scene.git.run(&["commit", "-q", "-m", "all anew"]);
    let with = scene.git.tip();
    let locked = "locked by Bob: weights.bin".to_owned();
    assert_eq!(scene.push(&[(TOPIC, Oid::NULL, with)], "orphan").await, [(TOPIC.to_owned(), locked)]);
    scene.git.run(&["rm", "-q", "weights.bin"]);
    scene.git.run(&["commit", "-q", "--amend", "-m", "without"]);
    assert!(scene.push(&[(TOPIC, Oid::NULL, scene.git.tip())], "orphan").await.is_empty());
}

#[tokio::test]
async fn the_first_branch_of_all_has_nothing_before_it() {
    let scene = scene().await;
    let empty = scene.hub.repo("empty").await;
    let database = scene.hub.changes.database();
    database.create_lock(empty.id, "weights.bin".to_owned(), None, scene.bob, 100).await.unwrap();
    let access = scene.hub.access(scene.ada, &empty).await;
    let updates = [(MAIN, Oid::NULL, scene.base)];
    let report = scene.hub.push_by(access, &updates, Some(scene.git.pack("main")), false).await;
    assert_eq!(refused(&report), [(MAIN, "locked by Bob: weights.bin")]);
    assert_eq!((scene.hub.tip(&empty, MAIN), scene.hub.live_packs(&empty)), (None, 0));
}

#[tokio::test]
async fn only_what_moves_a_branch_is_looked_at() {
    let scene = scene().await;
    assert!(scene.push(&[(TOPIC, Oid::NULL, scene.base)], "").await.is_empty());
    for path in ["weights.bin", "dir/a.bin"] {
        scene.lock(path, scene.bob).await;
    }
    scene.git.commit("weights.bin", b"other");
    let new = scene.git.commit("dir/a.bin", b"other");
    scene.git.run(&["tag", "-a", "v2", "-m", "two"]);
    let tag: Oid = scene.git.run(&["rev-parse", "v2"]).parse().unwrap();
    let range = format!("{new} {tag} ^{}", scene.base);
    let updates =
        [(MAIN, scene.base, new), ("refs/tags/v1", Oid::NULL, new), ("refs/tags/v2", Oid::NULL, tag)];

    let pack = Some(scene.git.pack(&range));
    let report = scene.hub.push_by(scene.access.clone(), &updates, pack, true).await;
    assert_eq!(refused(&report).len(), 3, "all or none: {report:?}");
    assert_eq!(scene.hub.tip(&scene.repo, "refs/tags/v1"), None);

    let why = "locked by Bob: weights.bin (and 1 more)";
    assert_eq!(scene.push(&updates, &range).await, [(MAIN.to_owned(), why.to_owned())]);
    assert_eq!(scene.hub.tip(&scene.repo, "refs/tags/v1"), Some(new));
    assert_eq!(scene.hub.tip(&scene.repo, "refs/tags/v2"), Some(tag));
    assert!(scene.push(&[(TOPIC, scene.base, Oid::NULL)], "").await.is_empty());
    assert_eq!(scene.hub.tip(&scene.repo, TOPIC), None);
    scene.hub.assert_sound().await;
}

#[tokio::test]
async fn a_branch_cannot_be_forced_back_over_a_lock() {
    let scene = scene().await;
    let new = scene.git.commit("weights.bin", b"other");
    assert!(scene.push(&[(MAIN, scene.base, new)], &format!("{new} ^{}", scene.base)).await.is_empty());
    scene.lock("weights.bin", scene.bob).await;
    let locked = "locked by Bob: weights.bin".to_owned();
    assert_eq!(scene.push(&[(MAIN, new, scene.base)], "").await, [(MAIN.to_owned(), locked)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_taken_between_check_and_commit_is_noticed() {
    let scene = scene().await;
    let new = scene.git.commit("weights.bin", b"other");
    let pack = Some(scene.git.pack(&format!("{new} ^{}", scene.base)));
    let blocked = block_writes(&scene.hub);
    // The lock is first in the queue, and the push does not see it yet.
    let mut lock = std::pin::pin!(scene.lock("weights.bin", scene.bob));
    queue(lock.as_mut()).await;
    let updates = [(MAIN, scene.base, new)];
    let mut push = std::pin::pin!(scene.hub.push_by(scene.access.clone(), &updates, pack, false));
    assert!(tokio::time::timeout(A_WHILE, &mut push).await.is_err(), "it waits to be committed");
    drop(blocked);
    let report = push.await;
    lock.await;
    assert_eq!(refused(&report), [(MAIN, "locked by Bob: weights.bin")]);
    assert_eq!(report.messages, ["refs/heads/main: weights.bin is locked by Bob", ADVICE]);
    assert_eq!(scene.hub.tip(&scene.repo, MAIN), Some(scene.base));
}
