//! The journal of buckets, and what a rebuild makes of it.

use std::path::PathBuf;

use auth::{Authorized, Propose};
use change::RebuildReport;
use database::{
    Bucket, BucketAct, BucketBatch, BucketEdit, BucketEntry, BucketFile, BucketPath, BucketPut, BucketSource,
    NewBucket, Quota, RepoState, Visibility, XetHash,
};
use xet::hash::chunk_hash;
use xet::merkle::Tree;
use xet::shard::{self, Term};
use xet::xorb::{Compression, Limits, Writer};

use crate::hub::{Hub, hub, open};

const DAY_MS: i64 = 24 * 3600 * 1000;

fn path(path: &str) -> BucketPath {
    let (namespace, name) = path.split_once('/').unwrap();
    BucketPath::new(namespace, name).unwrap()
}

fn content(seed: u32, number: usize) -> Vec<u8> {
    format!("file {number} of {seed}: {}", "x".repeat(number % 100)).into_bytes()
}

fn put(at: &str, hash: XetHash) -> BucketEdit {
    let content_type = Some("text/plain".to_owned());
    let put = BucketPut { hash, from: BucketSource::Here, mtime_ms: Some(7), content_type };
    BucketEdit { path: at.to_owned(), act: BucketAct::Put(put) }
}

fn delete(at: &str) -> BucketEdit {
    BucketEdit { path: at.to_owned(), act: BucketAct::Delete }
}

impl Hub {
    async fn bucket(&self, name: &str, visibility: Visibility) -> Bucket {
        let new = NewBucket { path: path(name), visibility, creator: None };
        self.changes.database().create_bucket(new).await.unwrap()
    }

    /// `count` files, a chunk each, all in one xorb.
    async fn bring_files(&self, bucket: &Bucket, seed: u32, count: usize) -> Vec<XetHash> {
        let access = Authorized::<Propose, Bucket>::system("test", bucket.clone());
        let mut xorb = Writer::new(Limits::default());
        let contents: Vec<_> = (0..count).map(|number| content(seed, number)).collect();
        contents.iter().for_each(|bytes| xorb.push(bytes, Compression::None).unwrap());
        let (bytes, index) = xorb.finish().unwrap();
        let cas = self.changes.objects().xet();
        let mut receiving = cas.receive_xorb(access.clone(), index.xorb_hash(), None).await.unwrap();
        receiving.write(bytes.into()).await.unwrap();
        receiving.finish().await.unwrap();
        let (mut shard, mut hashes) = (shard::Writer::default(), Vec::new());
        for (at, bytes) in (0..).zip(&contents) {
            let mut tree = Tree::default();
            tree.push(chunk_hash(bytes), bytes.len() as u64);
            let (xorb_hash, raw_bytes) = (index.xorb_hash(), bytes.len() as u32);
            let term = Term { xorb_hash, raw_bytes, chunk_start: at, chunk_end: at + 1 };
            let verification = [index.range_hash(at..at + 1).unwrap()];
            let hash = tree.file_hash();
            shard.push_file(&hash, &[term], Some(&verification), None);
            hashes.push(hash.into());
        }
        let checked = cas.check_shard(shard.finish().into(), |_| {}).await.unwrap();
        cas.commit_to_bucket(access, Quota::Exempt, checked).await.unwrap();
        hashes
    }

    async fn edit(&self, bucket: &Bucket, edits: Vec<BucketEdit>) {
        let acl_version = self.changes.database().bucket(bucket.id).unwrap().unwrap().acl_version;
        let batch = BucketBatch { bucket: bucket.id, acl_version, quota: Quota::Exempt, edits };
        let done = self.changes.database().edit_bucket(batch).await.unwrap();
        assert!(done.iter().all(Option::is_none), "{done:?}");
    }

    fn found(&self, name: &str) -> Option<Bucket> {
        self.changes.database().find_bucket(&path(name)).unwrap()
    }

    /// What is in it, but for the ids of rows.
    fn files(&self, bucket: &Bucket) -> Vec<BucketFile> {
        let (entries, next) =
            self.changes.database().bucket_entries(bucket.id, "", true, None, 10_000).unwrap();
        assert_eq!(next, None);
        let file = |entry| match entry {
            BucketEntry::File(file) => BucketFile { file: None, ..file },
            BucketEntry::Folder(path) => panic!("{path}"),
        };
        entries.into_iter().map(file).collect()
    }

    async fn read(&self, bucket: &Bucket, at: &str) -> Vec<u8> {
        let file = self.changes.database().bucket_file(bucket.id, at).unwrap().unwrap();
        let mut stream =
            self.changes.objects().xet().stream_file(file.file.unwrap(), 0..file.size).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
        bytes
    }

    async fn findings(&self) -> Vec<String> {
        self.changes.fsck(None).await.unwrap().findings
    }

    async fn maintained(&self, now: bool) -> u64 {
        self.changes.maintain(now).await.unwrap().manifests
    }

    /// Names in the journal of a bucket.
    fn journal(&self, bucket: &Bucket) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.journal_at(bucket)) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn journal_at(&self, bucket: &Bucket) -> PathBuf {
        self.data().join("manifests/buckets").join(bucket.id.0.to_string())
    }

    /// Loses the rows, and makes them anew.
    async fn rebuilt_buckets(self) -> (Hub, RebuildReport) {
        self.changes.database().close().await;
        for lost in ["granary.db", "granary.db-wal", "granary.db-shm"] {
            let _ = std::fs::remove_file(self.data().join(lost));
        }
        let report = change::rebuild(&self.data(), None).await.unwrap();
        let changes = open(&self.data(), self.clock.clone()).await;
        (Hub { changes, directory: self.directory, clock: self.clock }, report)
    }
}

#[tokio::test]
async fn a_rebuild_brings_buckets_back() {
    let hub = hub().await;
    let eve = hub.user("eve").await;
    hub.changes.database().create_org("acme".parse().unwrap(), Some(eve)).await.unwrap();
    let many = hub.bucket("acme/Many", Visibility::Public).await;
    let hidden = hub.bucket("ada/hidden", Visibility::Private).await;
    let hashes = hub.bring_files(&many, 1, 2_500).await;
    let named = |(number, hash): (usize, &XetHash)| put(&format!("{}/{number}", number % 7), *hash);
    hub.edit(&many, hashes.iter().enumerate().map(named).collect()).await;
    hub.clock.advance_ms(1_000);
    let odd = ["a b", "a/\u{e9}\u{1f33e}/\"q\"", "0/\\n", "zz/~", &"x".repeat(1024)];
    hub.edit(&many, odd.iter().map(|at| put(at, hashes[3])).collect()).await;
    hub.edit(&many, vec![put("empty", XetHash::EMPTY), delete("0/0"), put("0/7", hashes[8])]).await;
    let own = hub.bring_files(&hidden, 2, 2).await;
    hub.bring_files(&hidden, 3, 1).await;
    // The same file as the other bucket has, of its own.
    let same = hub.bring_files(&hidden, 1, 2_500).await;
    let bare = BucketPut { hash: same[3], from: BucketSource::Here, mtime_ms: None, content_type: None };
    let bare = BucketEdit { path: "b".to_owned(), act: BucketAct::Put(bare) };
    hub.edit(&hidden, vec![put("a", own[1]), bare]).await;
    let empty = hub.bucket("ada/empty", Visibility::Private).await;
    assert_eq!(hub.maintained(true).await, 3);
    assert_eq!((hub.journal(&many), hub.journal(&empty)), (vec!["3".to_owned()], vec!["0".to_owned()]));
    hub.assert_sound().await;
    let wanted = [&many, &hidden].map(|bucket| hub.files(bucket));
    assert_eq!((wanted[0].len(), wanted[1].len()), (2_505, 2));
    let times: std::collections::BTreeSet<_> = wanted[0].iter().map(|file| file.uploaded_ms).collect();
    assert!(times.len() > 1);

    hub.clock.advance_ms(DAY_MS);
    let (hub, report) = hub.rebuilt_buckets().await;
    assert_eq!((report.buckets, report.bucket_files, &report.problems), (3, 2_507, &vec![]));
    assert!(report.to_string().ends_with(", 3 buckets with 2507 files"), "{report}");
    let [many, hidden, empty] = ["acme/many", "ada/hidden", "ada/empty"].map(|name| hub.found(name).unwrap());
    assert_eq!(many.path.to_string(), "acme/Many");
    assert_eq!((many.visibility, hidden.visibility), (Visibility::Public, Visibility::Private));
    assert!(hub.changes.database().org("acme").unwrap().is_some());
    assert_eq!([&many, &hidden].map(|bucket| hub.files(bucket)), wanted);
    assert_eq!((many.files, empty.files), (2_505, 0));
    assert_eq!(hub.read(&many, "0/7").await, content(1, 8));
    assert_eq!(hub.read(&hidden, "a").await, content(2, 1));
    // Who is in an organisation was in the rows that are gone.
    assert_eq!(hub.findings().await, ["organisation acme has no administrator"]);
    let next = hub.bucket("ada/next", Visibility::Private).await;
    assert!([&many, &hidden, &empty].iter().all(|bucket| bucket.id != next.id));

    // Nothing of the rebuild's own rows deletes what was adopted, and there is a journal again.
    assert_eq!(hub.maintained(true).await, 4);
    hub.clock.advance_ms(100 * DAY_MS);
    hub.changes.maintain(true).await.unwrap();
    let (hub, report) = hub.rebuilt_buckets().await;
    assert_eq!((report.buckets, report.bucket_files, report.problems), (4, 2_507, vec![]));
    assert_eq!(hub.files(&hub.found("acme/many").unwrap()), wanted[0]);
    assert_eq!(hub.findings().await.len(), 1);
}

#[tokio::test]
async fn a_busy_bucket_is_written_now_and_then() {
    let hub = hub().await;
    let bucket = hub.bucket("ada/busy", Visibility::Private).await;
    let hashes = hub.bring_files(&bucket, 1, 100).await;
    hub.edit(&bucket, vec![put("a", hashes[0])]).await;
    assert_eq!((hub.maintained(false).await, hub.journal(&bucket)), (1, vec!["1".to_owned()]));
    hub.edit(&bucket, vec![put("b", hashes[1])]).await;
    hub.clock.advance_ms(4_000);
    assert_eq!(hub.maintained(false).await, 0);
    hub.clock.advance_ms(1_000);
    assert_eq!((hub.maintained(false).await, hub.journal(&bucket)), (1, vec!["2".to_owned()]));
    assert_eq!(hub.maintained(true).await, 0, "nothing has changed");
    // With 10,000 files it is ten seconds.
    hub.clock.advance_ms(5_000);
    hub.edit(&bucket, (0..10_000).map(|n| put(&format!("{n}"), hashes[n % 100])).collect()).await;
    assert_eq!(hub.maintained(false).await, 1);
    hub.edit(&bucket, vec![delete("a")]).await;
    hub.clock.advance_ms(9_000);
    assert_eq!(hub.maintained(false).await, 0);
    hub.clock.advance_ms(1_002);
    assert_eq!(hub.maintained(false).await, 1);
    hub.edit(&bucket, vec![delete("b")]).await;
    assert_eq!((hub.maintained(true).await, hub.journal(&bucket)), (1, vec!["5".to_owned()]), "all, at once");
}

#[tokio::test]
async fn moves_deletions_and_restores_are_told() {
    let hub = hub().await;
    let database = hub.changes.database();
    let moved = hub.bucket("ada/files", Visibility::Private).await;
    let hashes = hub.bring_files(&moved, 1, 3).await;
    hub.edit(&moved, vec![put("a", hashes[0])]).await;
    hub.maintained(true).await;
    let acl_version = database.rename_bucket(moved.id, path("ada/moved")).await.unwrap().acl_version;
    assert!(database.set_bucket_visibility(moved.id, acl_version, Visibility::Public, 0).await.unwrap());
    let gone = hub.bucket("ada/files", Visibility::Private).await;
    hub.bring_files(&gone, 2, 1).await;
    assert_eq!(hub.maintained(true).await, 2);
    hub.changes.delete_bucket(gone.id).await.unwrap();
    assert!(matches!(hub.changes.delete_bucket(gone.id).await, Err(change::RepoError::Gone)));
    assert_eq!(hub.journal(&gone), ["deleted"]);
    // Never journalled while it lived.
    let short = hub.bucket("ada/short", Visibility::Private).await;
    hub.changes.delete_bucket(short.id).await.unwrap();
    hub.assert_sound().await;

    // A restored data directory has no journal; each bucket gets one again.
    let (backup, restored) = (hub.path("backup"), hub.path("restored"));
    hub.changes.backup(backup.clone()).await.unwrap();
    change::restore(&backup, &restored, None).await.unwrap();
    let changes = open(&restored, hub.clock.clone()).await;
    assert!(changes.fsck(None).await.unwrap().findings.is_empty(), "none is missed yet");
    assert_eq!(changes.maintain(true).await.unwrap().manifests, 1);
    changes.database().close().await;
    std::fs::remove_file(restored.join("granary.db")).unwrap();
    assert_eq!(change::rebuild(&restored, None).await.unwrap().buckets, 1);

    hub.maintained(true).await;
    let (hub, report) = hub.rebuilt_buckets().await;
    assert_eq!((report.buckets, report.bucket_files, report.problems), (1, 1, vec![]));
    let moved = hub.found("ada/moved").unwrap();
    assert_eq!(
        (moved.visibility, hub.found("ada/files"), hub.found("ada/short")),
        (Visibility::Public, None, None)
    );
    assert_eq!(hub.read(&moved, "a").await, content(1, 0));
    hub.assert_sound().await;
}

#[tokio::test]
async fn a_crash_between_the_journal_and_its_row_does_no_harm() {
    let hub = hub().await;
    let bucket = hub.bucket("ada/files", Visibility::Private).await;
    let hashes = hub.bring_files(&bucket, 1, 3).await;
    hub.edit(&bucket, vec![put("a", hashes[0])]).await;
    hub.maintained(true).await;
    // The file is there, whole or not; the row says that there is none.
    let file = hub.journal_at(&bucket).join("1");
    let good = std::fs::read(&file).unwrap();
    for there in [good.clone(), good[..good.len() / 2].to_vec()] {
        std::fs::write(&file, there).unwrap();
        hub.changes.database().manifests_lost().await.unwrap();
        assert_eq!(hub.maintained(true).await, 1);
        assert_eq!(std::fs::read(&file).unwrap(), good);
        hub.assert_sound().await;
    }
    // The one before is still there: the newest counts.
    std::fs::copy(&file, hub.journal_at(&bucket).join("0")).unwrap();
    hub.assert_sound().await;
    // The row says deleted and the journal does not yet, nor is the row gone before it does.
    hub.changes.database().delete_bucket(bucket.id).await.unwrap();
    hub.changes.objects().sweep_uploads().await.unwrap();
    assert!(hub.changes.database().bucket(bucket.id).unwrap().unwrap().state == RepoState::Deleted);
    hub.assert_sound().await;
    assert_eq!(hub.maintained(false).await, 1, "whatever was written a moment ago");
    assert_eq!(hub.journal(&bucket), ["deleted"]);
    assert_eq!(hub.changes.database().bucket(bucket.id).unwrap(), None);
    let (hub, report) = hub.rebuilt_buckets().await;
    assert_eq!((report.buckets, report.problems, hub.found("ada/files")), (0, vec![], None));
}

#[tokio::test]
async fn a_damaged_journal_is_found_and_replaced() {
    let hub = hub().await;
    let bucket = hub.bucket("ada/files", Visibility::Private).await;
    let hashes = hub.bring_files(&bucket, 1, 3).await;
    hub.edit(&bucket, vec![put("a", hashes[0]), put("b", hashes[0])]).await;
    hub.maintained(true).await;
    let file = hub.journal_at(&bucket).join("1");
    let good = std::fs::read(&file).unwrap();
    for at in (0..good.len()).step_by(23) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&file, bad).unwrap();
        let [finding] = hub.findings().await.try_into().unwrap();
        assert!(finding.starts_with("bucket ada/files: journal 1: "), "a flip at {at}: {finding}");
    }
    std::fs::remove_file(&file).unwrap();
    let [finding] = hub.findings().await.try_into().unwrap();
    assert!(finding.starts_with("bucket ada/files: its journal is gone; "), "{finding}");
    std::fs::write(hub.journal_at(&bucket).join("0"), &good).unwrap();
    let [finding] = hub.findings().await.try_into().unwrap();
    assert!(finding.contains("its journal ends at 0, its row says 1"), "{finding}");

    // What the finding advises helps.
    std::fs::write(&file, b"rotten").unwrap();
    hub.edit(&bucket, vec![delete("b")]).await;
    assert_eq!((hub.maintained(true).await, hub.journal(&bucket)), (1, vec!["2".to_owned()]));
    hub.assert_sound().await;
    // Nothing is made of a journal that is not whole, and it is said.
    std::fs::write(hub.journal_at(&bucket).join("2"), &good[..good.len() - 1]).unwrap();
    let (_, report) = hub.rebuilt_buckets().await;
    assert_eq!(report.buckets, 0);
    let [problem] = report.problems.try_into().unwrap();
    assert!(problem.ends_with("journal 2: it is cut short"), "{problem}");
}

#[tokio::test]
async fn a_rebuild_says_which_files_of_a_bucket_lack_a_xorb() {
    let hub = hub().await;
    let bucket = hub.bucket("ada/files", Visibility::Private).await;
    let (kept, lost) = (hub.bring_files(&bucket, 1, 1).await, hub.bring_files(&bucket, 2, 12).await);
    let mut edits: Vec<_> =
        lost.iter().enumerate().map(|(n, hash)| put(&format!("lost/{n:02}"), *hash)).collect();
    edits.extend([put("again", lost[0]), put("kept", kept[0])]);
    hub.edit(&bucket, edits).await;
    hub.maintained(true).await;
    let xorbs = hub.changes.database().xorbs_after(database::XorbId(0), 9).unwrap();
    std::fs::remove_file(hub.data().join(xorbs[1].storage_key())).unwrap();
    let (hub, report) = hub.rebuilt_buckets().await;
    assert_eq!((report.buckets, report.bucket_files), (1, 1));
    let [problem] = report.problems.try_into().unwrap();
    let named = "ada/files: files whose xorbs are not in the store, or not as they were: again, lost/00, ";
    assert!(problem.contains(named) && problem.ends_with(", lost/08 and 3 more"), "{problem}");
    let bucket = hub.found("ada/files").unwrap();
    assert_eq!(hub.files(&bucket).len(), 1);
    assert_eq!(hub.read(&bucket, "kept").await, content(1, 0));
    hub.assert_sound().await;
}
