//! Packs that repositories share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use auth::{Authorized, Read, Write};
use change::{DuplicateError, GcOptions};
use database::{Clock, Oid, PackId, Quota, Repo, Visibility};

use crate::hub::{Git, Hub, hub, open};

const MAIN: &str = "refs/heads/main";
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Too much for a row.
fn large(seed: u32) -> Vec<u8> {
    (0..30_000u32).flat_map(|n| (n ^ seed).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

impl Hub {
    fn now(&self, repo: &Repo) -> Repo {
        self.changes.database().repo(repo.id).unwrap().unwrap()
    }

    async fn try_duplicate(&self, source: &Repo, to: &Repo) -> Result<(), DuplicateError> {
        let source = Authorized::<Read>::system("test", self.now(source));
        let to = Authorized::<Write>::system("test", self.now(to));
        self.changes.duplicate(source, to, Quota::Exempt).await
    }

    /// A new repository made of `source`.
    async fn duplicate(&self, source: &Repo, name: &str) -> Repo {
        let to = self.repo(name).await;
        self.try_duplicate(source, &to).await.unwrap();
        to
    }

    /// The stored packs, and those in rows, of a live repository.
    fn packs_of(&self, repo: &Repo) -> (Vec<PackId>, usize) {
        let packs = self.changes.database().snapshot(repo.id).unwrap().unwrap().packs;
        let stored: Vec<_> = packs.iter().filter(|pack| pack.inline.is_none()).map(|pack| pack.id).collect();
        let inline = packs.len() - stored.len();
        (stored, inline)
    }

    fn blobs(&self) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(self.data().join("packs")).unwrap();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }

    async fn purge(&self, repo: &Repo) -> change::GcReport {
        let options = GcOptions { repo: Some(self.now(repo)), purge: true, ..GcOptions::default() };
        self.changes.gc(options).await.unwrap()
    }

    /// Everything that may go has gone.
    async fn sweep_all(&self) {
        self.clock.advance_ms(60 * DAY_MS);
        self.changes.maintain(true).await.unwrap();
        self.clock.advance_ms(60 * DAY_MS);
        self.changes.sweep().await.unwrap();
    }

    /// What git makes of it: its refs, after a check of every object.
    async fn cloned(&self, repo: &Repo) -> String {
        let out = tempfile::tempdir_in(self.directory.path()).unwrap();
        let directory = out.path().join("clone.git");
        self.changes.export(&self.now(repo), directory.clone()).await.unwrap();
        let clone = Git { directory };
        clone.run(&["fsck", "--full", "--strict"]);
        clone.run(&["for-each-ref", "--format=%(refname) %(objectname)"])
    }
}

/// A source of one stored pack.
async fn with_source() -> (Hub, Repo, Git, Oid) {
    let hub = hub().await;
    let (source, git) = (hub.repo("source").await, hub.git("work"));
    let tip = git.commit("weights.bin", &large(1));
    hub.push(&source, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    (hub, source, git, tip)
}

#[tokio::test]
async fn a_duplicate_names_the_same_blob_until_the_last_one_drops_it() {
    // Each side goes first, in each way.
    for copy_first in [false, true] {
        for deleted in [false, true] {
            let (hub, source, git, tip) = with_source().await;
            let copy = hub.duplicate(&source, "copy").await;
            assert_eq!(hub.packs_of(&copy), hub.packs_of(&source));
            assert_eq!((hub.blobs().len(), hub.packs_of(&copy).1), (1, 0));
            let rows = hub.changes.database().snapshot(copy.id).unwrap().unwrap();
            assert!(rows.packs[0].closure, "a clone is answered with it as it is");
            hub.assert_sound().await;
            let (first, second) = if copy_first { (copy, source) } else { (source, copy) };
            let before = hub.cloned(&second).await;
            if deleted {
                hub.changes.delete_repo(&first).await.unwrap();
            } else {
                // Its history is another one now, and nothing of the old one is kept.
                git.run(&["checkout", "-q", "--orphan", "anew"]);
                let anew = git.commit("weights.bin", &large(2));
                hub.push(&first, &[(MAIN, tip, anew)], Some(git.pack("HEAD"))).await;
                let report = hub.purge(&first).await;
                assert_eq!(report.shared_with, [second.path.to_string()]);
                assert!(report.to_string().contains("their bytes stay until it drops them too"));
                let first = hub.changes.repositories().snapshot(&hub.now(&first)).unwrap();
                assert!(!first.contains(&tip), "it cannot be read there, whoever else has it");
            }
            hub.sweep_all().await;
            hub.assert_sound().await;
            assert_eq!(hub.cloned(&second).await, before);
            hub.changes.delete_repo(&second).await.unwrap();
            hub.sweep_all().await;
            hub.assert_sound().await;
            assert_eq!(hub.blobs().len(), usize::from(!deleted), "nothing is left of it");
        }
    }
}

#[tokio::test]
async fn nothing_is_shared_that_the_copied_refs_do_not_reach() {
    let (hub, source, git, tip) = with_source().await;
    // A proposal, and a branch that was forced away, each in a pack of its own.
    let proposed = git.commit("proposal.bin", &large(3));
    git.run(&["update-ref", "refs/pr/1", "HEAD"]);
    git.run(&["reset", "-q", "--hard", &tip.to_string()]);
    hub.changes.import(&hub.now(&source), git.directory.clone(), None).await.unwrap();
    let secret = git.commit("secret.bin", &large(4));
    let range = format!("{secret} ^{tip}");
    hub.push(&source, &[(MAIN, tip, secret)], Some(git.pack(&range))).await;
    hub.push(&source, &[(MAIN, secret, tip)], None).await;
    assert_eq!(hub.packs_of(&source).0.len(), 3);
    let copy = hub.duplicate(&source, "copy").await;
    let (shared, inline) = hub.packs_of(&copy);
    assert_eq!((shared.len(), inline), (1, 0), "the one pack that has nothing else");
    let snapshot = hub.changes.repositories().snapshot(&hub.now(&copy)).unwrap();
    assert!(snapshot.contains(&tip) && !snapshot.contains(&secret) && !snapshot.contains(&proposed));
    // One pack with all of it: of that nothing can be shared.
    hub.changes.maintain(true).await.unwrap();
    hub.push(&source, &[(MAIN, tip, secret)], None).await;
    hub.purge(&source).await;
    hub.push(&source, &[(MAIN, secret, tip)], None).await;
    let other = hub.duplicate(&source, "other").await;
    let (stored, _) = hub.packs_of(&other);
    assert!(stored.iter().all(|id| !hub.packs_of(&source).0.contains(id)), "{stored:?}");
    let snapshot = hub.changes.repositories().snapshot(&hub.now(&other)).unwrap();
    assert!(snapshot.contains(&tip) && !snapshot.contains(&secret) && !snapshot.contains(&proposed));
    hub.assert_sound().await;
}

#[tokio::test]
async fn small_changes_beside_a_large_pack_are_copied_and_it_is_not() {
    let (hub, source, git, tip) = with_source().await;
    let mut old = tip;
    for n in 0..5 {
        let new = git.commit("log.txt", format!("line {n}\n").repeat(n + 1).as_bytes());
        hub.push(&source, &[(MAIN, old, new)], Some(git.pack(&format!("{new} ^{old}")))).await;
        old = new;
    }
    let copy = hub.duplicate(&source, "copy").await;
    let (shared, inline) = hub.packs_of(&copy);
    assert_eq!((&shared, inline), (&hub.packs_of(&source).0, 1), "five small packs became one");
    assert_eq!(hub.cloned(&copy).await, hub.cloned(&source).await);
    // The copy is left as it is, the source is compacted.
    hub.clock.advance_ms(60_000);
    assert_eq!(hub.changes.maintain(true).await.unwrap().compacted, 1);
    assert_eq!(hub.packs_of(&copy), (shared.clone(), 1));
    assert!(!hub.packs_of(&source).0.contains(&shared[0]));
    hub.sweep_all().await;
    assert_eq!(hub.cloned(&copy).await, hub.cloned(&source).await);
    // It changes, and is compacted too.
    let new = git.commit("log.txt", b"the last line");
    hub.push(&copy, &[(MAIN, old, new)], Some(git.pack(&format!("{new} ^{old}")))).await;
    hub.sweep_all().await;
    assert_eq!(hub.packs_of(&copy).0.len(), 1);
    assert_eq!(hub.blobs().len(), 2);
    hub.assert_sound().await;
}

#[tokio::test]
async fn a_source_that_is_deleted_meanwhile_gives_nothing() {
    let (hub, source, _, _) = with_source().await;
    let (to, seen) = (hub.repo("copy").await, hub.now(&source));
    hub.changes.delete_repo(&source).await.unwrap();
    let source = Authorized::<Read>::system("test", seen);
    let to_access = Authorized::<Write>::system("test", hub.now(&to));
    let refused = hub.changes.duplicate(source, to_access, Quota::Exempt).await;
    assert!(matches!(refused, Err(DuplicateError::SourceGone)), "{refused:?}");
    assert_eq!(hub.packs_of(&to), (vec![], 0));
    hub.assert_sound().await;
}

#[tokio::test]
async fn a_source_that_turns_private_meanwhile_gives_nothing() {
    let (hub, source, _, tip) = with_source().await;
    let bob = hub.changes.database().create_user("bob".parse().unwrap(), false).await.unwrap().id;
    for round in 0..8 {
        hub.changes.set_visibility(&hub.now(&source), Visibility::Public).await.unwrap();
        let to = hub.repo(&format!("copy{round}")).await;
        let seen = hub.access::<Read>(bob, &source).await;
        let to_access = Authorized::<Write>::system("test", hub.now(&to));
        let copy = hub.changes.duplicate(seen, to_access, Quota::Exempt);
        let now = hub.now(&source);
        let hide = hub.changes.set_visibility(&now, Visibility::Private);
        // Once before it begins, then at the same time.
        let copied = if round == 0 {
            hide.await.unwrap();
            copy.await
        } else {
            let (copied, hidden) = tokio::join!(copy, hide);
            hidden.unwrap();
            copied
        };
        match copied {
            Ok(()) => assert!(round > 0 && hub.tip(&to, MAIN) == Some(tip)),
            Err(DuplicateError::SourceGone) => assert_eq!(hub.packs_of(&to), (vec![], 0)),
            Err(error) => panic!("{error}"),
        }
    }
    hub.assert_sound().await;
}

#[tokio::test]
async fn a_source_that_changes_meanwhile_gives_one_of_its_states() {
    let (hub, source, git, tip) = with_source().await;
    let mut old = tip;
    for round in 0..6u32 {
        let new = git.commit("weights.bin", &large(10 + round));
        let pack = git.pack(&format!("{new} ^{old}"));
        let to = hub.repo(&format!("copy{round}")).await;
        // A push that is purged of what it left behind, a collection and a copy at once.
        let updates = [(MAIN, old, new)];
        let (push, copied, _) = tokio::join!(
            hub.push_with(&source, &updates, Some(pack), false),
            hub.try_duplicate(&source, &to),
            hub.purge(&source),
        );
        assert!(crate::hub::refused(&push).is_empty());
        match copied {
            Ok(()) => assert!([Some(old), Some(new)].contains(&hub.tip(&to, MAIN))),
            Err(error) => assert!(matches!(error, DuplicateError::Contended), "{error}"),
        }
        hub.assert_sound().await;
        old = new;
    }
    hub.sweep_all().await;
    hub.assert_sound().await;
}

#[tokio::test]
async fn a_shared_pack_is_backed_up_restored_and_rebuilt_once() {
    let (hub, source, git, tip) = with_source().await;
    hub.changes.set_visibility(&hub.now(&source), Visibility::Public).await.unwrap();
    let copy = hub.duplicate(&source, "copy").await;
    let third = hub.duplicate(&copy, "third").await;
    let small = git.commit("README.md", b"small");
    hub.push(&copy, &[(MAIN, tip, small)], Some(git.pack(&format!("{small} ^{tip}")))).await;
    hub.changes.maintain(false).await.unwrap();
    let shared = hub.packs_of(&third).0;
    assert_eq!((hub.packs_of(&source).0, hub.packs_of(&copy).0), (shared.clone(), shared));
    let backup = hub.path("backup");
    let report = hub.changes.backup(backup.clone()).await.unwrap();
    assert_eq!(report.packs, 1);
    let restored = hub.path("restored");
    assert_eq!(change::restore(&backup, &restored, None).await.unwrap().packs, 1);
    let told = |changes: &change::Changes| -> BTreeMap<String, (Vec<_>, Vec<_>)> {
        let repos = changes.database().repos(None, 10).unwrap();
        let rows = repos.into_iter().map(|repo| {
            let rows = changes.database().snapshot(repo.id).unwrap().unwrap();
            let refs = rows.refs.iter().map(|row| (row.name.clone(), row.oid)).collect();
            (repo.path.to_string(), (refs, rows.packs.iter().map(|pack| pack.id).collect()))
        });
        rows.collect()
    };
    let expected = told(&hub.changes);
    let changes = open(&restored, Clock::default()).await;
    assert_eq!(told(&changes), expected);
    let report = changes.fsck(None).await.unwrap();
    assert!(report.findings.is_empty(), "{report}");

    hub.changes.database().close().await;
    std::fs::rename(hub.data().join("granary.db"), hub.path("lost.db")).unwrap();
    let report = change::rebuild(&hub.data(), None).await.unwrap();
    assert_eq!((report.repos, report.problems), (3, vec![]));
    let changes = open(&hub.data(), hub.clock.clone()).await;
    assert_eq!(told(&changes), expected);
    let hub = Hub { changes, directory: hub.directory, clock: hub.clock };
    hub.assert_sound().await;
    // And it is known to be shared.
    let repos = hub.changes.database().repos(None, 10).unwrap();
    for repo in &repos[1..] {
        hub.changes.delete_repo(repo).await.unwrap();
        hub.sweep_all().await;
        hub.assert_sound().await;
    }
    assert_eq!(hub.blobs().len(), 1);
    hub.cloned(&repos[0]).await;
}

/// xorshift: the same walk for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// A repository and what its main branch must be at.
struct Kept {
    repo: Repo,
    git: Git,
    tip: Oid,
}

/// Whatever is done in whatever order, each repository has its own history, and nothing more is stored in the end than
/// what they need.
#[tokio::test]
async fn random_walks_lose_nothing_and_leave_nothing() {
    for seed in [1, 2, 3, 4] {
        let (mut dice, hub) = (Dice(0x9E37_79B9_7F4A_7C15 ^ seed), hub().await);
        let mut kept: Vec<Kept> = Vec::new();
        for step in 0..60u32 {
            let at = dice.roll(kept.len().max(1));
            let action = if kept.is_empty() { 0 } else { dice.roll(12) };
            match action {
                0 if kept.len() < 6 => {
                    let repo = hub.repo(&format!("r{step}")).await;
                    let git = hub.git(&format!("work{step}"));
                    let tip = git.commit("weights.bin", &large(step));
                    hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
                    kept.push(Kept { repo, git, tip });
                }
                1..=3 if kept.len() < 6 => {
                    let repo = hub.duplicate(&kept[at].repo, &format!("r{step}")).await;
                    let directory = hub.path(&format!("work{step}"));
                    let from = kept[at].git.directory.to_str().unwrap().to_owned();
                    kept[at].git.run(&["clone", "-q", &from, directory.to_str().unwrap()]);
                    let (git, tip) = (Git { directory }, kept[at].tip);
                    kept.push(Kept { repo, git, tip });
                }
                4 | 5 => {
                    // Small or large, on top or instead.
                    let Kept { repo, git, tip } = &mut kept[at];
                    let content = if dice.roll(2) == 0 { large(1000 + step) } else { vec![step as u8; 50] };
                    let new = match dice.roll(3) {
                        0 => {
                            git.commit("weights.bin", &content);
                            git.run(&["commit", "-q", "--amend", "-m", "instead"]);
                            git.tip()
                        }
                        _ => git.commit(&format!("file{step}"), &content),
                    };
                    hub.push(repo, &[(MAIN, *tip, new)], Some(git.pack("HEAD"))).await;
                    *tip = new;
                }
                6 => drop(hub.changes.maintain(true).await.unwrap()),
                7 => drop(hub.purge(&kept[at].repo).await),
                8 => drop(hub.changes.gc(GcOptions::default()).await.unwrap()),
                9 => hub.clock.advance_ms(dice.roll(20) as i64 * DAY_MS),
                10 => drop(hub.changes.sweep().await.unwrap()),
                _ if kept.len() > 2 => {
                    let gone = kept.swap_remove(at);
                    hub.changes.delete_repo(&gone.repo).await.unwrap();
                }
                _ => {}
            }
            if step % 10 == 9 {
                hub.assert_sound().await;
            }
        }
        for Kept { repo, git, tip } in &kept {
            assert_eq!(hub.cloned(repo).await, format!("{MAIN} {tip}"), "seed {seed}");
            assert_eq!(git.tip(), *tip);
        }
        hub.sweep_all().await;
        hub.assert_sound().await;
        let mut named: Vec<_> = kept.iter().flat_map(|kept| hub.packs_of(&kept.repo).0).collect();
        named.sort();
        named.dedup();
        assert_eq!(hub.blobs().len(), named.len(), "seed {seed}: a blob for each pack that is named");
        for Kept { repo, .. } in &kept {
            hub.changes.delete_repo(repo).await.unwrap();
        }
        hub.sweep_all().await;
        hub.assert_sound().await;
        assert_eq!(hub.blobs(), Vec::<PathBuf>::new(), "seed {seed}");
    }
}
