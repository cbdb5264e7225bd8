//! Large objects in xorbs: backup and restore, the way out, fsck, garbage.

use std::path::{Path, PathBuf};
use std::time::Duration;

use auth::{Authorized, Propose};
use change::{Changes, GcOptions, GcReport};
use database::{BackingId, Clock, Oid, Proof, Quota, Repo, Sha256, XorbId};
use sha2::Digest;
use xet::shard::{Term, Writer};
use xet::xorb::{self, Compression};
use xet::{Index, chunker};

use crate::hub::{Git, Hub, Large, hub, open, open_with, refused};

const MAIN: &str = "refs/heads/main";
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A xorb, as a client makes it of one file.
pub struct Packed {
    chunks: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    index: Index,
}

impl Packed {
    pub fn new(seed: u32) -> Packed {
        let mut state = seed;
        let byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let content: Vec<u8> = std::iter::repeat_with(byte).take(700_000).collect();
        let (mut chunks, mut chunker) = (Vec::new(), chunker::Chunker::default());
        chunker.push(&content, |chunk| chunks.push(chunk.to_vec()));
        chunker.finish(|chunk| chunks.push(chunk.to_vec()));
        assert!(chunks.len() > 3);
        let mut packed = xorb::Writer::new(xorb::Limits::default());
        chunks.iter().for_each(|chunk| packed.push(chunk, Compression::Lz4).unwrap());
        let (bytes, index) = packed.finish().unwrap();
        Packed { chunks, bytes, index }
    }

    /// The file of all its chunks.
    fn whole(&self) -> Large {
        self.first(self.chunks.len())
    }

    /// Another one, of the first `count` chunks.
    fn first(&self, count: usize) -> Large {
        let bytes = self.chunks[..count].concat();
        let sha256 = Sha256(sha2::Sha256::digest(&bytes).into());
        Large { bytes, sha256 }
    }

    /// What a client sends after the xorb.
    fn shard(&self, count: usize, sha256: Sha256) -> Vec<u8> {
        let (mut tree, chunk_end) = (xet::merkle::Tree::default(), count as u32);
        let chunks = &self.chunks[..count];
        chunks.iter().for_each(|chunk| tree.push(xet::hash::chunk_hash(chunk), chunk.len() as u64));
        let raw_bytes = chunks.iter().map(|chunk| chunk.len() as u32).sum();
        let term = Term { xorb_hash: self.index.xorb_hash(), raw_bytes, chunk_start: 0, chunk_end };
        let verification = [self.index.range_hash(0..chunk_end).unwrap()];
        let mut shard = Writer::default();
        shard.push_file(&tree.file_hash(), &[term], Some(&verification), Some(sha256.0));
        shard.finish()
    }

    /// Where it lies below `root`, and its index.
    fn stored(&self, root: &Path) -> Vec<PathBuf> {
        let hex = self.index.xorb_hash().to_string();
        let Ok(entries) = std::fs::read_dir(root.join("xorbs").join(&hex[..2]).join(hex)) else {
            return Vec::new();
        };
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn access(repo: &Repo) -> Authorized<Propose> {
    Authorized::system("test", repo.clone())
}

impl Hub {
    async fn bring_xorb(&self, repo: &Repo, packed: &Packed) -> XorbId {
        let hash = packed.index.xorb_hash();
        let cas = self.changes.objects().xet();
        let mut receiving = cas.receive_xorb(access(repo), hash, None).await.unwrap();
        receiving.write(packed.bytes.clone().into()).await.unwrap();
        receiving.finish().await.unwrap().xorb.id
    }

    /// Makes the file of its first `count` chunks an object of `repo`, as today's `hf upload` does.
    pub async fn bring(&self, repo: &Repo, packed: &Packed, count: usize) -> (Large, XorbId) {
        let id = self.bring_xorb(repo, packed).await;
        let large = packed.first(count);
        let shard = packed.shard(count, large.sha256).into();
        let objects = self.changes.objects();
        objects.register_shard(access(repo), Quota::Exempt, shard, |_| {}).await.unwrap();
        for _ in 0..1000 {
            let link = self.changes.database().link(repo.id, &large.sha256).unwrap().unwrap();
            if link.backing.unwrap().proof == Proof::Verified {
                return (large, id);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} is still not proven", large.sha256);
    }

    async fn push_pointer(&self, repo: &Repo, large: &Large) -> Git {
        let git = self.git(&format!("work-{}", repo.path.name()));
        let tip = git.commit("model.bin", &large.pointer());
        let report = self.push(repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
        assert!(refused(&report).is_empty(), "{report:?}");
        git
    }

    fn epoch(&self) -> String {
        self.changes.objects().xet().epoch().unwrap()
    }

    async fn gc(&self, repo: Option<&Repo>, dry_run: bool, purge: bool) -> GcReport {
        self.changes
            .gc(GcOptions { repo: repo.cloned(), dry_run, purge, ..GcOptions::default() })
            .await
            .unwrap()
    }
}

async fn read(changes: &Changes, repo: &Repo, large: &Large) -> Vec<u8> {
    let link = changes.database().link(repo.id, &large.sha256).unwrap().unwrap();
    assert!(link.is_usable() && link.xet().is_some());
    let mut body = changes.objects().linked(&link).reader(0..link.size).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

#[tokio::test]
async fn a_backup_has_all_that_files_and_clients_need() {
    let hub = hub().await;
    let [shared, alone, unnamed] = [1, 2, 3].map(Packed::new);
    let (repo, other) = (hub.repo("model").await, hub.repo("other").await);
    let (one, _) = hub.bring(&repo, &shared, shared.chunks.len()).await;
    let (two, _) = hub.bring(&other, &shared, 2).await;
    let (three, _) = hub.bring(&other, &alone, alone.chunks.len()).await;
    hub.bring_xorb(&repo, &unnamed).await;
    hub.push_pointer(&repo, &one).await;
    let whole = Large::new("whole");
    hub.upload(&repo, &whole).await;

    let backup = hub.path("backup");
    let report = hub.changes.backup(backup.clone()).await.unwrap();
    assert_eq!((report.xorbs, report.large, &report.large_in), (3, 1, &None));
    assert!(report.to_string().contains(", 1 whole large objects, 3 xorbs, "), "{report}");
    let epoch = hub.epoch();
    let (restored, apart, nas) = (hub.path("restored"), hub.path("apart"), hub.path("nas"));
    assert_eq!(change::restore(&backup, &restored, None).await.unwrap().xorbs, 3);
    assert_eq!(change::restore(&backup, &apart, Some(&nas)).await.unwrap().xorbs, 3);
    assert!(!apart.join("xorbs").exists());
    for (data, large_dir) in [(&restored, None), (&apart, Some(nas.as_path()))] {
        let changes = open_with(data, Clock::default(), large_dir).await;
        let report = changes.fsck(None).await.unwrap();
        assert_eq!((report.xorbs, report.xet_files, report.large, report.findings), (3, 3, 1, vec![]));
        for (repo, large) in [(&repo, &one), (&other, &two), (&other, &three)] {
            assert!(read(&changes, repo, large).await == large.bytes);
        }
        // What came after the backup is not there, and clients must not think so.
        assert_ne!(changes.objects().xet().epoch().unwrap(), epoch);
        let root = large_dir.unwrap_or(data);
        for packed in [&shared, &alone, &unnamed] {
            assert_eq!(packed.stored(root).len(), 2, "with its index, and nothing beside them");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_lacks_nothing_that_goes_meanwhile() {
    let hub = std::sync::Arc::new(hub().await);
    let repo = hub.repo("model").await;
    let (busy, of) = (std::sync::Arc::clone(&hub), repo.clone());
    let coming_and_going = tokio::spawn(async move {
        for seed in 100.. {
            busy.bring(&of, &Packed::new(seed), 3).await;
            assert_eq!(busy.gc(Some(&of), false, true).await.xorbs, 1);
        }
    });
    let mut xorbs = 0;
    for round in 0..12 {
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        let (backup, restored) =
            (hub.path(&format!("backup-{round}")), hub.path(&format!("restored-{round}")));
        xorbs += hub.changes.backup(backup.clone()).await.unwrap().xorbs;
        change::restore(&backup, &restored, None).await.unwrap();
        let report = open(&restored, Clock::default()).await.fsck(None).await.unwrap();
        assert_eq!(report.findings, [] as [String; 0]);
    }
    assert!(!coming_and_going.is_finished());
    coming_and_going.abort();
    println!("{xorbs} xorbs were there when the rows were copied");
}

#[tokio::test]
async fn a_backup_notices_a_xorb_that_is_not_whole() {
    let hub = hub().await;
    let packed = Packed::new(4);
    hub.bring(&hub.repo("model").await, &packed, 2).await;
    for (at, file) in packed.stored(&hub.data()).into_iter().enumerate() {
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[1..]).unwrap();
        let backup = hub.path(&format!("short-{at}"));
        let error = hub.changes.backup(backup.clone()).await.unwrap_err().to_string();
        let expected = format!("has {} bytes, its row says {}", bytes.len() - 1, bytes.len());
        assert!(error.contains(&expected), "{error}");
        std::fs::remove_file(&file).unwrap();
        assert!(hub.changes.backup(hub.path(&format!("none-{at}"))).await.is_err());
        assert!(!backup.join("backup.json").exists());
        std::fs::write(&file, &bytes).unwrap();
    }
    let backup = hub.path("backup");
    hub.changes.backup(backup.clone()).await.unwrap();
    let file = packed.stored(&backup).remove(0);
    std::fs::write(file, b"short").unwrap();
    let error = change::restore(&backup, &hub.path("restored"), None).await.unwrap_err().to_string();
    assert!(error.contains("has 5 bytes, its row says "), "{error}");
    assert!(!hub.path("restored").join("granary.db").exists());
}

#[tokio::test]
async fn an_export_has_whole_objects_and_no_others() {
    let hub = hub().await;
    let (packed, lie) = (Packed::new(5), Packed::new(6));
    let repo = hub.repo("model").await;
    let (large, _) = hub.bring(&repo, &packed, packed.chunks.len()).await;
    // Another file by a name that is not its own, of which nobody has found out yet.
    let other = Large::new("other");
    let cas = hub.changes.objects().xet();
    hub.bring_xorb(&repo, &lie).await;
    let shard = lie.shard(lie.chunks.len(), other.sha256).into();
    let checked = cas.check_shard(shard, |_| {}).await.unwrap().objects().unwrap();
    cas.commit_shard(access(&repo), Quota::Exempt, checked).await.unwrap();
    let git = hub.push_pointer(&repo, &large).await;
    let (first, size) = (git.tip(), lie.whole().bytes.len() as u64);
    let tip = git.commit("lie.bin", &other.pointer_saying(size));
    let pack = git.pack(&format!("{tip} ^{first}"));
    assert!(refused(&hub.push(&repo, &[(MAIN, first, tip)], Some(pack)).await).is_empty());

    let out = hub.path("out.git");
    let repo = hub.changes.database().repo(repo.id).unwrap().unwrap();
    let report = hub.changes.export(&repo, out.clone()).await.unwrap();
    assert_eq!((report.large, report.large_bytes), (1, large.bytes.len() as u64));
    assert_eq!((report.large_missing.len(), &report.large_damaged), (0, &vec![other.sha256.to_string()]));
    assert!(report.to_string().starts_with(&format!("LFS object {} is left out", other.sha256)), "{report}");
    assert!(std::fs::read(out.join("lfs/objects").join(large.path())).unwrap() == large.bytes);
    assert!(!out.join("lfs/objects").join(other.path()).exists());

    let elsewhere = crate::hub::hub().await;
    let copy = elsewhere.incomplete_repo("copy").await;
    let report = elsewhere.changes.import(&copy, out, None).await.unwrap();
    assert_eq!((report.large, report.large_missing), (1, 1));
    assert_eq!(std::fs::read(&large.stored(&elsewhere.data())[0]).unwrap(), large.bytes);
}

#[tokio::test]
async fn fsck_reads_every_byte_of_every_xorb() {
    let hub = hub().await;
    let [packed, others] = [7, 8].map(Packed::new);
    let (repo, other) = (hub.repo("model").await, hub.repo("other").await);
    let (large, _) = hub.bring(&repo, &packed, packed.chunks.len()).await;
    hub.bring(&repo, &packed, 2).await;
    hub.bring(&other, &others, 3).await;
    hub.push_pointer(&repo, &large).await;
    let of = async |repo: Option<&Repo>| hub.changes.fsck(repo).await.unwrap();
    let report = of(None).await;
    assert_eq!((report.xorbs, report.xet_files, report.large, report.findings), (2, 3, 0, vec![]));
    let report = of(Some(&repo)).await;
    assert!(
        report.to_string().ends_with("0 whole large objects, 2 files in 1 xorbs: no problems"),
        "{report}"
    );
    assert_eq!(of(Some(&other)).await.xorbs, 1);

    let [file, index] = packed.stored(&hub.data()).try_into().unwrap();
    let key = file.strip_prefix(hub.data()).unwrap().to_str().unwrap().to_owned();
    let sound = std::fs::read(&file).unwrap();
    let mut bad = sound.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &bad).unwrap();
    for repo in [None, Some(&repo)] {
        let [finding] = of(repo).await.findings.try_into().unwrap();
        assert!(finding.starts_with(&format!("xorb {key}: ")), "{finding}");
    }
    assert_eq!(of(Some(&other)).await.findings, [] as [String; 0]);
    std::fs::remove_file(&file).unwrap();
    let [finding] = of(Some(&repo)).await.findings.try_into().unwrap();
    assert_eq!(finding, format!("xorb {key}: its bytes are gone"));
    std::fs::write(&file, &sound).unwrap();
    hub.assert_sound().await;

    // As a restart finds it, with nothing in memory.
    std::fs::remove_file(index).unwrap();
    let again = open(&hub.data(), hub.clock.clone()).await;
    let findings = again.fsck(Some(&repo)).await.unwrap().findings;
    assert_eq!(findings.len(), 3, "the xorb, and each file of it: {findings:?}");
}

#[tokio::test]
async fn garbage_is_counted_chunk_by_chunk() {
    let hub = hub().await;
    let [shared, alone] = [9, 10].map(Packed::new);
    let (repo, other) = (hub.repo("model").await, hub.repo("other").await);
    let (_, shared_id) = hub.bring(&repo, &shared, shared.chunks.len()).await;
    let (kept, _) = hub.bring(&other, &shared, 2).await;
    hub.bring(&repo, &alone, alone.chunks.len()).await;
    hub.clock.advance_ms(14 * DAY_MS);
    let told = hub.gc(None, true, false).await;
    let stored = (shared.bytes.len() + alone.bytes.len()) as u64;
    assert_eq!((told.large_dropped, told.xet_files, told.xorbs, told.xorb_bytes), (3, 3, 2, stored));
    let told = hub.gc(Some(&repo), true, false).await;
    let counts =
        |report: &GcReport| (report.large_dropped, report.xet_files, report.xorbs, report.xorb_bytes);
    assert_eq!(counts(&told), (2, 2, 1, alone.bytes.len() as u64));
    let done = hub.gc(Some(&repo), false, false).await;
    assert_eq!(counts(&done), counts(&told));
    let text = format!(
        "; 2 of these are files in xorbs, for which alone 1 xorbs were stored, {} bytes",
        told.xorb_bytes
    );
    assert!(done.to_string().ends_with(&text), "{done}");
    assert!(read(&hub.changes, &other, &kept).await == kept.bytes);

    // A grace for readers, the lease of clients, and a grace again.
    hub.clock.advance_ms(13 * DAY_MS);
    let swept = hub.changes.maintain(false).await.unwrap().large;
    assert_eq!((swept.xet_files, swept.xorbs), (0, 0));
    hub.clock.advance_ms(2 * DAY_MS);
    let swept = hub.changes.maintain(false).await.unwrap().large;
    assert_eq!((swept.xet_files, swept.xorbs, alone.stored(&hub.data()).len()), (2, 0, 2));
    hub.clock.advance_ms(8 * DAY_MS);
    assert_eq!(hub.changes.maintain(false).await.unwrap().large.xorbs, 1);
    assert_eq!((alone.stored(&hub.data()).len(), shared.stored(&hub.data()).len()), (0, 2));
    assert!(read(&hub.changes, &other, &kept).await == kept.bytes);
    hub.assert_sound().await;

    // A deleted repository lets go of all.
    hub.changes.delete_repo(&other).await.unwrap();
    assert!(!hub.changes.database().has_xorb(other.id, shared_id).unwrap());
    hub.clock.advance_ms(100 * DAY_MS);
    assert_eq!(hub.changes.maintain(false).await.unwrap().large.xet_files, 1);
    hub.clock.advance_ms(8 * DAY_MS);
    assert_eq!(hub.changes.maintain(false).await.unwrap().large.xorbs, 1);
    assert_eq!(shared.stored(&hub.data()), [] as [PathBuf; 0]);
    hub.assert_sound().await;
}

#[tokio::test]
async fn a_purge_does_not_wait_for_what_clients_remember() {
    let hub = hub().await;
    let [shared, alone, needed] = [11, 12, 13].map(Packed::new);
    let (repo, other) = (hub.repo("model").await, hub.repo("other").await);
    let (_, shared_id) = hub.bring(&repo, &shared, shared.chunks.len()).await;
    let (kept, _) = hub.bring(&other, &shared, 2).await;
    hub.bring(&repo, &alone, 3).await;
    let (pushed, needed_id) = hub.bring(&repo, &needed, needed.chunks.len()).await;
    hub.push_pointer(&repo, &pushed).await;
    let epoch = hub.epoch();
    let told = hub.gc(Some(&repo), true, true).await;
    assert_eq!((told.large_dropped, told.xet_files, told.xorbs), (2, 2, 1));
    assert_eq!((hub.epoch(), alone.stored(&hub.data()).len()), (epoch.clone(), 2), "a dry run");
    let done = hub.gc(Some(&repo), false, true).await;
    assert_eq!((done.large_dropped, done.xet_files, done.xorbs), (2, 2, 1));
    assert_eq!(alone.stored(&hub.data()), [] as [PathBuf; 0]);
    assert_ne!(hub.epoch(), epoch, "clients forget it");
    // What others need stays with them, and is not to be found by way of this repository.
    let database = hub.changes.database();
    assert!(
        !database.has_xorb(repo.id, shared_id).unwrap() && database.has_xorb(other.id, shared_id).unwrap()
    );
    assert!(database.has_xorb(repo.id, needed_id).unwrap());
    assert!(read(&hub.changes, &other, &kept).await == kept.bytes);
    assert!(read(&hub.changes, &repo, &pushed).await == pushed.bytes);
    hub.assert_sound().await;
    let epoch = hub.epoch();
    assert_eq!(hub.gc(Some(&repo), false, true).await.xet_files, 0);
    assert_eq!(hub.epoch(), epoch, "nothing went");
}

/// Loses the rows, and makes them anew.
async fn rebuilt(hub: Hub) -> (Hub, change::RebuildReport) {
    hub.changes.database().close().await;
    for lost in ["granary.db", "granary.db-wal", "granary.db-shm"] {
        let _ = std::fs::remove_file(hub.data().join(lost));
    }
    let report = change::rebuild(&hub.data(), None).await.unwrap();
    let changes = open(&hub.data(), hub.clock.clone()).await;
    (Hub { changes, directory: hub.directory, clock: hub.clock }, report)
}

fn found(hub: &Hub, path: &str) -> Repo {
    match hub.changes.database().find_repo(&path.parse().unwrap()).unwrap() {
        Some(database::Found::Repo(repo)) => repo,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_rebuild_makes_files_of_xorbs_again() {
    let hub = hub().await;
    let [first, second] = [14, 18].map(Packed::new);
    let (repo, other) = (hub.repo("model").await, hub.repo("other").await);
    let (one, _) = hub.bring(&repo, &first, first.chunks.len()).await;
    let git = hub.push_pointer(&repo, &one).await;
    let base = git.tip();
    let (shared, _) = hub.bring(&other, &first, 2).await;
    hub.push_pointer(&other, &shared).await;
    hub.changes.maintain(true).await.unwrap();
    // What came later is in a manifest that continues the first.
    hub.clock.advance_ms(DAY_MS);
    let (two, _) = hub.bring(&repo, &second, second.chunks.len()).await;
    let tip = git.commit("two.bin", &two.pointer());
    let pack = git.pack(&format!("{tip} ^{base}"));
    assert!(refused(&hub.push(&repo, &[(MAIN, base, tip)], Some(pack)).await).is_empty());
    hub.changes.maintain(false).await.unwrap();
    let manifests = hub.data().join("manifests").join(repo.id.0.to_string());
    assert_eq!(std::fs::read_dir(manifests).unwrap().count(), 2, "a base and a delta");

    let epoch = hub.epoch();
    let (hub, report) = rebuilt(hub).await;
    assert_eq!((report.repos, report.large, report.problems), (2, 3, vec![]));
    assert_ne!(hub.epoch(), epoch);
    let (repo, other) = (found(&hub, "ada/model"), found(&hub, "ada/other"));
    for (repo, large) in [(&repo, &one), (&repo, &two), (&other, &shared)] {
        assert!(read(&hub.changes, repo, large).await == large.bytes);
    }
    let report = hub.changes.fsck(None).await.unwrap();
    assert_eq!((report.xorbs, report.xet_files, report.findings), (2, 3, vec![]));
    // The rest of the proof comes with the server's first rounds, and none of the rebuild's own rows deletes anything.
    for _ in 0..1000 {
        hub.changes.maintain(false).await.unwrap();
        if hub.changes.database().possessed(BackingId(0), 1).unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let link = hub.changes.database().link(repo.id, &one.sha256).unwrap().unwrap();
    assert_eq!(link.backing.unwrap().proof, Proof::Verified);
    hub.clock.advance_ms(100 * DAY_MS);
    assert_eq!(hub.changes.maintain(true).await.unwrap().large.xorbs, 0);
    assert!(read(&hub.changes, &other, &shared).await == shared.bytes);
    hub.assert_sound().await;
}

#[tokio::test]
async fn a_rebuild_says_which_files_lack_a_xorb() {
    let hub = hub().await;
    let [kept, damaged, bare] = [19, 20, 21].map(Packed::new);
    let repo = hub.repo("model").await;
    let git = hub.git("work");
    let mut tip = Oid::NULL;
    for packed in [&kept, &damaged, &bare] {
        let (large, _) = hub.bring(&repo, packed, packed.chunks.len()).await;
        tip = git.commit(&format!("{}.bin", large.sha256), &large.pointer());
    }
    assert!(refused(&hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await).is_empty());
    hub.changes.maintain(true).await.unwrap();
    let [file, _] = damaged.stored(&hub.data()).try_into().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    std::fs::remove_file(&bare.stored(&hub.data())[1]).unwrap();

    let (hub, report) = rebuilt(hub).await;
    assert_eq!((report.repos, report.large), (1, 1));
    let [problem] = report.problems.try_into().unwrap();
    let mut missing = [damaged.whole().sha256.to_string(), bare.whole().sha256.to_string()];
    missing.sort();
    let expected = format!("ada/model: LFS objects are not in the store: {}", missing.join(", "));
    assert!(problem.ends_with(&expected), "{problem}");
    let repo = found(&hub, "ada/model");
    let link = |packed: &Packed| hub.changes.database().link(repo.id, &packed.whole().sha256).unwrap();
    assert!(link(&kept).is_some() && link(&damaged).is_none() && link(&bare).is_none());
    let [finding] = hub.changes.fsck(None).await.unwrap().findings.try_into().unwrap();
    assert!(finding.starts_with("ada/model: 2 LFS objects are not here"), "{finding}");
    // Uploaded again, all is well.
    for packed in [&damaged, &bare] {
        hub.bring(&repo, packed, packed.chunks.len()).await;
    }
    hub.assert_sound().await;
}

#[tokio::test]
async fn what_is_stored_is_counted_once_and_told_by_whom_it_is_needed() {
    let hub = hub().await;
    let [shared, alone, unnamed] = [15, 16, 17].map(Packed::new);
    let (repo, other) = (hub.repo("model").await, hub.repo("other").await);
    let (one, _) = hub.bring(&repo, &shared, shared.chunks.len()).await;
    let (two, _) = hub.bring(&other, &shared, 2).await;
    let (three, _) = hub.bring(&other, &alone, alone.chunks.len()).await;
    hub.bring_xorb(&repo, &unnamed).await;
    let [whole, both] = ["whole", "both"].map(Large::new);
    hub.upload(&repo, &whole).await;
    for repo in [&repo, &other] {
        hub.upload(repo, &both).await;
    }
    let stats = hub.changes.database().large_stats().unwrap();
    let len = |bytes: &[u8]| bytes.len() as u64;
    let both_share = len(&shared.bytes) + len(&both.bytes);
    let [(path, model), (_, others)] = <[_; 2]>::try_from(stats.repos).unwrap();
    assert_eq!((path, model.objects), (repo.path.clone(), 3));
    assert_eq!(model.logical_bytes, len(&one.bytes) + len(&whole.bytes) + len(&both.bytes));
    assert_eq!((model.own_bytes, model.shared_bytes), (len(&whole.bytes), both_share));
    assert_eq!(others.logical_bytes, len(&two.bytes) + len(&three.bytes) + len(&both.bytes));
    assert_eq!((others.own_bytes, others.shared_bytes), (len(&alone.bytes), both_share));
    assert_eq!(stats.all.objects, 6);
    assert_eq!(stats.all.logical_bytes, model.logical_bytes + others.logical_bytes);
    assert_eq!(
        (stats.all.own_bytes, stats.all.shared_bytes),
        (model.own_bytes + others.own_bytes, both_share)
    );
    assert_eq!(stats.kept_bytes, len(&unnamed.bytes));
    hub.changes.delete_repo(&other).await.unwrap();
    let stats = hub.changes.database().large_stats().unwrap();
    assert_eq!((stats.repos.len(), stats.all.shared_bytes), (1, 0));
    assert_eq!(stats.all.own_bytes, model.own_bytes + both_share);
}
