//! Buckets as rows: their names, what is in them, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use database::{
    BatchError, Bucket, BucketAct, BucketBatch, BucketEdit, BucketEntry, BucketListing, BucketPath,
    BucketPut, BucketRefusal, BucketRegistration, BucketSource, CreateError, HolderId, NewBucket, NewXetFile,
    NewXetObject, Proof, ProvenXorb, PublishError, Quota, RegisterError, RepoState, Sha256, Visibility,
    XetHash, XetRegistration, XetTerm, XorbId, XorbPlaced,
};

use crate::support::{Hub, hub};

const HOUR_MS: i64 = 3_600_000;

fn path(path: &str) -> BucketPath {
    let (namespace, name) = path.split_once('/').unwrap();
    BucketPath::new(namespace, name).unwrap()
}

fn hash(n: u8) -> XetHash {
    XetHash([n; 32])
}

fn put(at: &str, n: u8) -> BucketEdit {
    put_from(at, n, BucketSource::Here)
}

fn put_from(at: &str, n: u8, from: BucketSource) -> BucketEdit {
    let put = BucketPut { hash: hash(n), from, mtime_ms: Some(7), content_type: Some("text/x".to_owned()) };
    BucketEdit { path: at.to_owned(), act: BucketAct::Put(put) }
}

fn delete(at: &str) -> BucketEdit {
    BucketEdit { path: at.to_owned(), act: BucketAct::Delete }
}

/// File `n` has so many bytes.
fn file(n: u8, xorb: XorbId) -> NewXetFile {
    let (raw_bytes, byte_end) = (u32::from(n) * 10, 54);
    let term = XetTerm { xorb, chunk_start: 0, chunk_end: 3, raw_bytes, byte_start: 0, byte_end };
    NewXetFile { hash: hash(n), size: u64::from(raw_bytes), terms: vec![term], dedup_key: None }
}

impl Hub {
    async fn bucket(&self, name: &str) -> Bucket {
        let new = NewBucket { path: path(name), visibility: Visibility::Private, creator: None };
        self.db.create_bucket(new).await.unwrap()
    }

    fn bucket_now(&self, bucket: &Bucket) -> Bucket {
        self.db.bucket(bucket.id).unwrap().unwrap()
    }

    async fn xorb_of(&self, holder: impl Into<HolderId>, n: u8) -> XorbId {
        let (id, _) = self.db.stage_xorb(hash(n)).await.unwrap();
        let proven = ProvenXorb { id, chunks: 3, raw_bytes: 30, stored_bytes: 54, dedup_keys: vec![[n; 16]] };
        match self.db.publish_xorb(holder, proven).await.unwrap() {
            XorbPlaced::Live(xorb) | XorbPlaced::Duplicate(xorb) => xorb.id,
        }
    }

    async fn register_files(
        &self,
        bucket: &Bucket,
        files: Vec<NewXetFile>,
    ) -> Result<Vec<bool>, RegisterError> {
        let quota = Quota::Default(None);
        let new = BucketRegistration { bucket: bucket.id, quota, xorbs: vec![], files };
        self.db.register_in_bucket(new).await
    }

    /// Files `ns`, uploaded.
    async fn upload_files(&self, bucket: &Bucket, ns: &[u8]) {
        let xorb = self.xorb_of(bucket.id, 200).await;
        self.register_files(bucket, ns.iter().map(|n| file(*n, xorb)).collect()).await.unwrap();
    }

    async fn edit_files(&self, bucket: &Bucket, edits: Vec<BucketEdit>) -> Vec<Option<BucketRefusal>> {
        let acl_version = self.bucket_now(bucket).acl_version;
        let batch = BucketBatch { bucket: bucket.id, acl_version, quota: Quota::Default(None), edits };
        let done = self.db.edit_bucket(batch).await.unwrap();
        self.assert_sound();
        done
    }

    /// Paths and sizes.
    fn all_files(&self, bucket: &Bucket) -> Vec<(String, u64)> {
        let (entries, next) = self.db.bucket_entries(bucket.id, "", true, None, 1000).unwrap();
        assert_eq!(next, None);
        let file = |entry: BucketEntry| match entry {
            BucketEntry::File(file) => (file.path, file.size),
            BucketEntry::Folder(path) => panic!("{path}"),
        };
        entries.into_iter().map(file).collect()
    }

    async fn sweep_buckets(&self) {
        let now_ms = self.clock.now_ms();
        while self.db.sweep_buckets(now_ms - 24 * HOUR_MS, now_ms - 2 * HOUR_MS).await.unwrap() {}
        self.assert_sound();
    }

    fn bucket_names(&self, search: &str, public: bool) -> Vec<String> {
        let listing = BucketListing { namespace: "acme", search, public, after: None, limit: 9 };
        self.db.list_buckets(&listing).unwrap().iter().map(|bucket| bucket.path.to_string()).collect()
    }
}

fn sized(files: &[(&str, u64)]) -> Vec<(String, u64)> {
    files.iter().map(|(path, size)| ((*path).to_owned(), *size)).collect()
}

#[tokio::test]
async fn names_are_unique_move_and_are_free_again() {
    let hub = hub().await;
    let one = hub.bucket("acme/One").await;
    assert_eq!(one.path.to_string(), "Acme/One", "as its owner is spelled");
    let again = NewBucket { path: path("ACME/one"), visibility: Visibility::Public, creator: None };
    assert!(matches!(hub.db.create_bucket(again).await, Err(CreateError::Taken)));
    let nobody = NewBucket { path: path("nobody/x"), visibility: Visibility::Public, creator: None };
    assert!(matches!(hub.db.create_bucket(nobody).await, Err(CreateError::NoUser)));
    let found = |name: &str| hub.db.find_bucket(&path(name)).unwrap().map(|bucket| bucket.id);
    assert_eq!((found("acme/ONE"), found("acme/two")), (Some(one.id), None));

    let two = hub.db.rename_bucket(one.id, path("acme/two")).await.unwrap();
    assert_eq!((two.path.name(), two.acl_version), ("two", 1));
    assert_eq!((found("acme/one"), found("acme/two")), (Some(one.id), Some(one.id)));
    let other = hub.bucket("acme/one").await;
    assert_eq!(found("acme/one"), Some(other.id), "a live bucket beats a redirect");
    assert!(matches!(hub.db.rename_bucket(one.id, path("acme/One")).await, Err(CreateError::Taken)));
    hub.assert_sound();

    assert_eq!(hub.bucket_names("", false), ["Acme/one", "Acme/two"]);
    assert_eq!(hub.bucket_names("w", false), ["Acme/two"]);
    assert_eq!(hub.bucket_names("acme", false), [""; 0]);
    assert!(hub.db.set_bucket_visibility(one.id, 1, Visibility::Public, 0).await.unwrap());
    assert!(!hub.db.set_bucket_visibility(one.id, 1, Visibility::Public, 0).await.unwrap(), "it moved on");
    assert_eq!(hub.bucket_names("", true), ["Acme/two"]);
    assert!(hub.db.delete_bucket(one.id).await.unwrap());
    assert!(!hub.db.delete_bucket(one.id).await.unwrap());
    assert_eq!((found("acme/two"), hub.bucket_names("", false)), (None, vec!["Acme/one".to_owned()]));
    assert!(matches!(hub.db.rename_bucket(one.id, path("acme/x")).await, Err(CreateError::NoRepo)));
    hub.bucket("acme/two").await;
    hub.sweep_buckets().await;
    assert!(hub.db.bucket(one.id).unwrap().is_some(), "its journal does not say so yet");
    hub.db.bucket_buried(one.id).await.unwrap();
    hub.sweep_buckets().await;
    assert_eq!(hub.db.bucket(one.id).unwrap(), None);
}

#[tokio::test]
async fn files_are_put_replaced_and_deleted() {
    let hub = hub().await;
    let bucket = hub.bucket("acme/files").await;
    assert_eq!(hub.edit_files(&bucket, vec![put("a", 1)]).await, [Some(BucketRefusal::NotUploaded)]);
    hub.upload_files(&bucket, &[1, 2, 3]).await;
    let nothing = BucketEdit { path: "none".to_owned(), act: put("none", 0).act };
    let edits = vec![put("a", 1), put("b/c", 2), put("d", 9), nothing, delete("missing"), put("e", 1)];
    let done = hub.edit_files(&bucket, edits).await;
    assert_eq!(done, [None, None, Some(BucketRefusal::NotUploaded), None, None, None]);
    assert_eq!(hub.all_files(&bucket), sized(&[("a", 10), ("b/c", 20), ("e", 10), ("none", 0)]));
    assert_eq!((hub.bucket_now(&bucket).files, hub.bucket_now(&bucket).bytes), (4, 40));
    let found = hub.db.bucket_file(bucket.id, "a").unwrap().unwrap();
    assert_eq!(
        (found.hash, found.mtime_ms, found.content_type.as_deref()),
        (hash(1), Some(7), Some("text/x"))
    );
    assert_eq!(hub.db.bucket_file(bucket.id, "none").unwrap().unwrap().hash, XetHash::EMPTY);
    assert_eq!(hub.db.bucket_file(bucket.id, "b").unwrap(), None);
    let asked = ["e", "x", "a"].map(str::to_owned);
    let found = hub.db.bucket_files(bucket.id, &asked).unwrap();
    assert_eq!(found.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["e", "a"]);

    // Of one path the last counts, and what is in the bucket may be put elsewhere in it.
    let edits = vec![delete("a"), put("a", 2), put("a", 3), put("f", 1), delete("e"), delete("b/c")];
    assert_eq!(hub.edit_files(&bucket, edits).await, [None; 6]);
    assert_eq!(hub.all_files(&bucket), sized(&[("a", 30), ("f", 10), ("none", 0)]));
    assert_eq!((hub.bucket_now(&bucket).files, hub.bucket_now(&bucket).bytes), (3, 40));
}

#[tokio::test]
async fn an_edit_is_made_by_who_may_make_it_then() {
    let hub = hub().await;
    let bucket = hub.bucket("acme/files").await;
    let batch = |acl_version| {
        let edits = vec![delete("a")];
        BucketBatch { bucket: bucket.id, acl_version, quota: Quota::Exempt, edits }
    };
    assert!(hub.db.edit_bucket(batch(0)).await.is_ok());
    hub.db.rename_bucket(bucket.id, path("acme/moved")).await.unwrap();
    assert!(matches!(hub.db.edit_bucket(batch(0)).await, Err(BatchError::Moved)));
    hub.db.delete_bucket(bucket.id).await.unwrap();
    assert!(matches!(hub.db.edit_bucket(batch(2)).await, Err(BatchError::Gone)));
    let registered = hub.register_files(&bucket, vec![]).await;
    assert!(matches!(registered, Err(RegisterError::RepoGone)));
    let (id, _) = hub.db.stage_xorb(hash(1)).await.unwrap();
    let proven = ProvenXorb { id, chunks: 1, raw_bytes: 1, stored_bytes: 1, dedup_keys: vec![] };
    let published = hub.db.publish_xorb(bucket.id, proven).await;
    assert!(matches!(published, Err(PublishError::RepoGone)));
}

#[tokio::test]
async fn members_who_leave_may_edit_no_more() {
    use database::OrgRole;
    let hub = hub().await;
    let org = hub.db.create_org("lab".parse().unwrap(), None).await.unwrap();
    let bucket = hub.bucket("lab/files").await;
    let user = hub.db.create_user("Bob".parse().unwrap(), false).await.unwrap();
    assert!(hub.db.set_member(org.id, user.id, Some(OrgRole::Admin)).await.unwrap());
    assert!(hub.bucket_now(&bucket).acl_version > bucket.acl_version);
}

#[tokio::test]
async fn files_are_copied_from_where_they_may_be_read() {
    let hub = hub().await;
    let (from, to) = (hub.bucket("acme/from").await, hub.bucket("acme/to").await);
    hub.upload_files(&from, &[1, 2]).await;
    hub.edit_files(&from, vec![put("a", 1)]).await;
    let source = |acl_version| BucketSource::Other { holder: from.id.into(), acl_version };
    let edits = vec![put_from("a", 1, source(0)), put_from("b", 2, source(0)), put_from("c", 1, source(7))];
    let refused = Some(BucketRefusal::NotInSource);
    assert_eq!(
        hub.edit_files(&to, edits).await,
        [None, refused, None],
        "looked at once: what is at no path is not there"
    );
    let edits = vec![put_from("d", 1, source(7)), put("e", 2)];
    assert_eq!(hub.edit_files(&to, edits).await, [refused, Some(BucketRefusal::NotUploaded)]);
    hub.db.delete_bucket(from.id).await.unwrap();
    assert_eq!(hub.edit_files(&to, vec![put_from("d", 1, source(1))]).await, [refused]);
    hub.db.bucket_buried(from.id).await.unwrap();
    hub.sweep_buckets().await;
    assert_eq!(hub.all_files(&to), sized(&[("a", 10), ("c", 10)]), "they are its own");

    let xorb = hub.xorb_of(hub.repo.id, 200).await;
    let object = NewXetObject { file: file(3, xorb), sha256: Sha256([3; 32]), proof: Proof::Possessed };
    let (repo, quota) = (hub.repo.id, Quota::Exempt);
    let new = XetRegistration { repo, by: None, quota, xorbs: vec![], objects: vec![object] };
    hub.db.register_xet(new).await.unwrap();
    let source = BucketSource::Other { holder: repo.into(), acl_version: hub.repo().acl_version };
    let edits = vec![put_from("m", 3, source), put_from("n", 1, source)];
    assert_eq!(hub.edit_files(&to, edits).await, [None, refused]);
    assert!(hub.db.remove_link(repo, Sha256([3; 32])).await.unwrap());
    assert_eq!(hub.edit_files(&to, vec![put_from("o", 3, source)]).await, [refused]);
    // The file stays for the bucket though its backing goes.
    hub.clock.advance_ms(1000 * 40 * 86_400);
    while hub.db.drop_xet_backings(64).await.unwrap() > 0 {}
    hub.assert_sound();
    assert!(hub.db.xet_file_of(to.id, &hash(3)).unwrap().is_some());
    hub.edit_files(&to, vec![delete("m")]).await;
    hub.clock.advance_ms(1000 * 86_400);
    hub.sweep_buckets().await;
    assert!(hub.db.xet_file_of(to.id, &hash(3)).unwrap().is_none());
}

#[tokio::test]
async fn what_is_at_no_path_goes_in_time() {
    let hub = hub().await;
    let bucket = hub.bucket("acme/files").await;
    hub.upload_files(&bucket, &[1, 2]).await;
    let has = |n| hub.db.xet_file_of(bucket.id, &hash(n)).unwrap().is_some();
    let used = || hub.db.usage(&"acme".parse().unwrap()).unwrap().used;
    assert_eq!((has(1), used(), hub.bucket_now(&bucket).bytes), (true, 30, 0), "uploads count");
    hub.edit_files(&bucket, vec![put("a", 1)]).await;
    assert_eq!((used(), hub.bucket_now(&bucket).bytes), (30, 10));
    hub.edit_files(&bucket, vec![delete("a")]).await;
    assert_eq!((used(), has(1)), (20, true), "whoever reads it reads on");
    hub.sweep_buckets().await;
    assert!(has(1));
    hub.clock.advance_ms(1000 * (2 * 3600 + 1));
    hub.sweep_buckets().await;
    assert_eq!((has(1), has(2), used()), (false, true, 20));
    // Uploaded again before it goes, it stays a day from then on.
    hub.clock.advance_ms(1000 * 21 * 3600);
    let xorb = hub.xorb_of(bucket.id, 200).await;
    assert_eq!(hub.register_files(&bucket, vec![file(2, xorb)]).await.unwrap(), [true]);
    hub.clock.advance_ms(1000 * 3 * 3600);
    hub.sweep_buckets().await;
    assert!(has(2));
    hub.clock.advance_ms(1000 * 22 * 3600);
    hub.sweep_buckets().await;
    assert_eq!((has(2), used()), (false, 0));
    assert_eq!(hub.edit_files(&bucket, vec![put("a", 2)]).await, [Some(BucketRefusal::NotUploaded)]);
}

#[tokio::test]
async fn quotas_hold_for_buckets_too() {
    let hub = hub().await;
    let bucket = hub.bucket("acme/files").await;
    hub.db.set_quota("acme".parse().unwrap(), Some(65)).await.unwrap();
    let xorb = hub.xorb_of(bucket.id, 200).await;
    assert_eq!(
        hub.register_files(&bucket, vec![file(1, xorb), file(2, xorb)]).await.unwrap(),
        [false, false]
    );
    let over = hub.register_files(&bucket, vec![file(3, xorb), file(4, xorb)]).await;
    assert!(matches!(over, Err(RegisterError::OverQuota { used: 60, quota: 65 })), "{over:?}");
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().used, 30, "all or none");
    // Three times 10 and 20 more.
    let edits = vec![put("a", 1), put("b", 1), put("c", 1), put("d", 2), put("e", 2), put("a", 2)];
    let done = hub.edit_files(&bucket, edits).await;
    let over = |used| Some(BucketRefusal::OverQuota { used, quota: 65 });
    assert_eq!(done, [None, None, None, None, over(50), None]);
    assert_eq!(
        hub.edit_files(&bucket, vec![put("x", 1), delete("d"), put("x", 1)]).await,
        [over(60), None, None]
    );
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().used, 50);
    hub.db.delete_bucket(bucket.id).await.unwrap();
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().used, 0, "at once");
}

#[tokio::test]
async fn a_large_bucket_is_forgotten_step_by_step() {
    let hub = hub().await;
    let bucket = hub.bucket("acme/files").await;
    hub.upload_files(&bucket, &[1, 2, 3]).await;
    let edits = (0..2_500).map(|n| put(&format!("{n}"), 1 + (n % 2) as u8)).collect();
    hub.edit_files(&bucket, edits).await;
    hub.db.delete_bucket(bucket.id).await.unwrap();
    hub.assert_sound();
    let now_ms = hub.clock.now_ms();
    assert!(!hub.db.sweep_buckets(now_ms, now_ms).await.unwrap(), "its journal does not say so yet");
    hub.db.bucket_buried(bucket.id).await.unwrap();
    let mut steps = 0;
    while hub.db.sweep_buckets(now_ms, now_ms).await.unwrap() {
        hub.assert_sound();
        steps += 1;
    }
    assert_eq!((steps, hub.db.bucket(bucket.id).unwrap()), (3, None));
    assert!(hub.db.xet_files_after(database::XetFileId(0), 9).unwrap().is_empty());
    assert!(hub.db.xorb(&hash(200)).unwrap().is_some(), "clients may remember it");
}

#[tokio::test]
async fn who_may_read_a_bucket_that_is_shown_is_told_of_its_files_only() {
    let hub = hub().await;
    let bucket = hub.bucket("acme/files").await;
    let (needed, gone) = (hub.xorb_of(bucket.id, 200).await, hub.xorb_of(bucket.id, 201).await);
    hub.register_files(&bucket, vec![file(1, needed), file(2, gone)]).await.unwrap();
    hub.edit_files(&bucket, vec![put("a", 1)]).await;
    let has = |xorb| hub.db.has_xorb(bucket.id, xorb).unwrap();
    assert_eq!(hub.db.holders_of_xorb(gone, 9).unwrap(), [HolderId::Bucket(bucket.id)]);
    let beside = hub.db.xorbs_beside(bucket.id, needed, 9).unwrap();
    assert_eq!(beside.iter().map(|xorb| xorb.id).collect::<Vec<_>>(), [needed]);
    let set =
        |version, visibility, seen_ms| hub.db.set_bucket_visibility(bucket.id, version, visibility, seen_ms);
    let now_ms = hub.clock.now_ms();
    assert!(set(0, Visibility::Public, now_ms - HOUR_MS).await.unwrap());
    assert!(has(needed) && has(gone), "told of lately");
    assert!(set(1, Visibility::Private, 0).await.unwrap());
    assert!(set(2, Visibility::Public, now_ms + HOUR_MS).await.unwrap());
    assert!(has(needed) && !has(gone));
    hub.assert_sound();
}

/// Names that sort in unexpected ways, listed as a walk over all of them would.
#[tokio::test]
async fn lists_are_what_a_walk_over_all_paths_says() {
    let hub = hub().await;
    let bucket = hub.bucket("acme/files").await;
    hub.upload_files(&bucket, &[1]).await;
    let paths = [
        "a",
        "a-b",
        "a-b/c",
        "a.txt",
        "a/b",
        "a/b/c",
        "a/b/d/e",
        "a/b0",
        "a/c",
        "a0",
        "a0/x",
        "ab/c/d",
        "b/a/a/a",
        "é/ü",
        "é/ü/x",
        "logs",
        "logs.json",
        "logs/1",
        "logs/2/x",
        "logs_backup/1/y",
        "~",
        "~/~/~",
    ];
    hub.edit_files(&bucket, paths.iter().map(|path| put(path, 1)).collect()).await;
    let mut all: Vec<&str> = paths.to_vec();
    all.sort_unstable();
    for prefix in ["", "a", "a/", "a/b", "a/b/", "l", "logs", "logs/", "é", "é/", "é/ü", "~", "zzz", "a-b/c/"]
    {
        let below: Vec<&str> = all.iter().copied().filter(|path| path.starts_with(prefix)).collect();
        // By the entry's place in the list: of a folder, that of the first file in it.
        let mut shallow: BTreeMap<String, bool> = BTreeMap::new();
        let mut order: Vec<String> = Vec::new();
        for path in &below {
            let rest = &path[prefix.len()..];
            let skip = prefix.len() + usize::from(!prefix.is_empty() && rest.starts_with('/'));
            let folder = path[skip..].find('/').map(|end| path[..skip + end].to_owned());
            let entry = (folder.clone().unwrap_or((*path).to_owned()), folder.is_some());
            if shallow.insert(format!("{} {}", entry.0, entry.1), entry.1).is_none() {
                order.push(format!("{}{}", entry.0, if entry.1 { "/" } else { "" }));
            }
        }
        for (deep, expected) in
            [(true, below.iter().map(|path| (*path).to_owned()).collect()), (false, order)]
        {
            for limit in [1, 2, 3, 100] {
                let (mut found, mut from) = (Vec::new(), None);
                loop {
                    let page =
                        hub.db.bucket_entries(bucket.id, prefix, deep, from.as_deref(), limit).unwrap();
                    assert!(page.0.len() <= limit);
                    found.extend(page.0.iter().map(|entry| match entry {
                        BucketEntry::File(file) => file.path.clone(),
                        BucketEntry::Folder(path) => format!("{path}/"),
                    }));
                    from = page.1;
                    if from.is_none() {
                        break;
                    }
                }
                assert_eq!(found, expected, "{prefix:?} deep {deep} by {limit}");
                assert_eq!(found.len(), found.iter().collect::<BTreeSet<_>>().len());
            }
        }
    }
}

#[tokio::test]
async fn a_journal_is_behind_whatever_it_tells_of() {
    let hub = hub().await;
    let behind = || -> Vec<_> {
        hub.db
            .buckets_behind(9)
            .unwrap()
            .iter()
            .map(|bucket| (bucket.id, bucket.state, bucket.files))
            .collect()
    };
    let version = |bucket: &Bucket| {
        let head = hub.db.read_bucket(bucket.id, Ok::<_, database::DbError>, |_, _| Ok(()));
        head.unwrap().map(|head| head.version)
    };
    let one = hub.bucket("acme/one").await;
    assert_eq!((behind(), version(&one)), (vec![(one.id, RepoState::Live, 0)], Some(0)));
    hub.db.bucket_journaled(one.id, 0).await.unwrap();
    assert_eq!(behind(), []);
    // What is refused changes nothing, nor does what is at no path.
    hub.upload_files(&one, &[1]).await;
    hub.edit_files(&one, vec![put("a", 9)]).await;
    assert_eq!(behind(), []);
    hub.edit_files(&one, vec![put("a", 1), put("b", 9)]).await;
    assert_eq!((behind(), version(&one)), (vec![(one.id, RepoState::Live, 1)], Some(1)));
    let moved = hub.db.rename_bucket(one.id, path("acme/two")).await.unwrap();
    let shown = hub.db.set_bucket_visibility(one.id, moved.acl_version, Visibility::Public, 0).await;
    assert_eq!((shown.unwrap(), version(&one)), (true, Some(3)));
    // Told of an older state, it is behind; of one that it never had, nothing is noted.
    for told in [1, 4, 0] {
        hub.db.bucket_journaled(one.id, told).await.unwrap();
        assert_eq!(behind().len(), 1);
        hub.assert_sound();
    }
    hub.db.bucket_journaled(one.id, 3).await.unwrap();
    assert_eq!(behind(), []);
    hub.db.manifests_lost().await.unwrap();
    assert_eq!(behind().len(), 1);
    hub.db.bucket_journaled(one.id, 3).await.unwrap();
    hub.db.bucket_buried(one.id).await.unwrap();
    assert_eq!(behind(), [], "it lives");
    hub.db.delete_bucket(one.id).await.unwrap();
    hub.db.bucket_journaled(one.id, 4).await.unwrap();
    assert_eq!((behind(), version(&one)), (vec![(one.id, RepoState::Deleted, 1)], None));
    hub.db.bucket_buried(one.id).await.unwrap();
    assert_eq!(behind(), []);
    hub.assert_sound();
}

#[tokio::test]
async fn a_state_is_read_whole_and_says_once_what_a_file_is_made_of() {
    let hub = hub().await;
    let bucket = hub.bucket("acme/files").await;
    hub.upload_files(&bucket, &[1, 2]).await;
    let empty =
        BucketPut { hash: XetHash::EMPTY, from: BucketSource::Here, mtime_ms: None, content_type: None };
    let empty = BucketEdit { path: "e".to_owned(), act: BucketAct::Put(empty) };
    let again = put_from("a", 2, BucketSource::Again { uploaded_ms: 5 });
    hub.edit_files(&bucket, vec![put("c", 1), put("b", 1), again, empty, put("d", 2)]).await;
    let mut found = Vec::new();
    let head = hub.db.read_bucket(bucket.id, Ok::<_, database::DbError>, |_, line| {
        found.push((line.file.path, line.file.hash, line.file.uploaded_ms == 5, line.terms));
        Ok(())
    });
    let head = head.unwrap().unwrap();
    assert_eq!((head.version, head.path.to_string(), head.of_org), (1, "Acme/files".to_owned(), false));
    let terms = Some(vec![(hash(200), 0, 3)]);
    let name = |path: &str| path.to_owned();
    assert_eq!(
        found,
        [
            (name("a"), hash(2), true, terms.clone()),
            (name("b"), hash(1), false, terms),
            (name("c"), hash(1), false, None),
            (name("d"), hash(2), false, None),
            (name("e"), XetHash::EMPTY, false, None),
        ]
    );
}
