//! Snapshots: lookup over many packs, reading, refs.

use std::io::Write;
use std::sync::Arc;

use database::{
    Change, Clock, Database, Expected, NewPack, NewRepo, Oid, PackContent, PackId, PackKind, RefEdit, RefRow,
    Repo, Visibility,
};
use repository::pack::{BlobBuilder, EntryHeader, EntrySource, entry};
use repository::snapshot::{CacheLimits, Location, SnapshotError};
use repository::{Kind, Pack, ReadError, Repositories, Snapshot};
use storage::Disk;

use crate::support::*;

/// A pack of kind `Api` with one blob that is a delta on an object of another pack.
fn delta_pack(generation: i64, base: &(Kind, Vec<u8>), target: &(Kind, Vec<u8>), delta: &[u8]) -> Arc<Pack> {
    let mut compressed = Vec::new();
    entry::deflate(delta, &mut compressed).unwrap();
    let header = EntryHeader::RefDelta { base: id(base) };
    let source = EntrySource { header, inflated_size: delta.len() as u64, compressed: &compressed };
    let mut bytes = Vec::new();
    let mut builder = BlobBuilder::new(&mut bytes, 1).unwrap();
    builder.raw(id(target), target.0, target.1.len() as u64, source).unwrap();
    builder.finish().unwrap();
    Pack::from_blob(PackId::new(), PackKind::Api, false, generation, bytes.into()).unwrap().into()
}

#[test]
fn finds_and_reads_across_many_packs() {
    let git = Git::with_history(40);
    let mut packs: Vec<Arc<Pack>> = Vec::new();
    let mut base = empty();
    for n in (0..40).rev().step_by(3) {
        let exclude = if packs.is_empty() { String::new() } else { format!("^HEAD~{}\n", n + 3) };
        let new =
            ingested(&git.pack(&["--thin", "--delta-base-offset"], &format!("HEAD~{n}\n{exclude}")), &base);
        packs.push(new.pack().clone());
        base = new.overlay(&base);
    }
    let snapshot = snapshot(packs.clone());
    assert_eq!(snapshot.packs().len(), 14);
    for (position, pack) in (0..).zip(snapshot.packs()) {
        assert_same_objects(&git, &snapshot, pack);
        for index in 0..pack.objects() {
            let location = snapshot.locate(&pack.oid(index)).unwrap();
            assert!(location.pack <= position, "the first pack that has it");
            assert_eq!(snapshot.oid_at(location), pack.oid(index));
        }
    }
    assert_eq!(snapshot.locate(&Oid([1; 20])), None);
    assert_eq!(snapshot.read(&Oid([1; 20]), &mut Vec::new()), Err(ReadError::Missing(Oid([1; 20]))));
}

#[test]
fn what_is_shared_is_what_is_read() {
    let git = Git::with_history(10);
    let snapshot = ingested(&git.pack(&[], "--all\n"), &empty()).overlay(&empty());
    let (mut data, mut trees) = (Vec::new(), 0);
    for index in 0..snapshot.packs()[0].objects() {
        let location = Location { pack: 0, index };
        let (kind, first) = snapshot.read_shared_at(location).unwrap();
        let (_, second) = snapshot.read_shared_at(location).unwrap();
        assert_eq!(snapshot.read_at(location, &mut data), Ok(kind));
        assert_eq!((&*first, &*second), (&*data, &*data));
        if kind == Kind::Tree {
            assert!(Arc::ptr_eq(&first, &second), "trees are kept");
            trees += 1;
        }
    }
    assert!(trees > 10);
    assert!(snapshot.read_shared_at(Location { pack: 1, index: 0 }).is_err());
}

#[test]
fn newer_and_smaller_packs_come_first() {
    let pack = |generation, count: u32| {
        let objects: Vec<_> = (0..count).map(|n| blob(format!("{n}"))).collect();
        let bytes = craft_pack(&objects).blob().clone();
        Arc::new(Pack::from_blob(PackId::new(), PackKind::Receive, false, generation, bytes).unwrap())
    };
    let snapshot = snapshot(vec![pack(1, 3), pack(5, 9), pack(5, 2), pack(3, 1)]);
    let order: Vec<_> =
        snapshot.packs().iter().map(|pack| (pack.added_generation(), pack.objects())).collect();
    assert_eq!(order, [(5, 2), (5, 9), (3, 1), (1, 3)]);
}

#[test]
fn deltas_across_packs_are_followed_and_circles_are_not() {
    let (a, b) = (blob("object a, somewhat longer"), blob("object b"));
    let whole = Arc::new(craft_pack(std::slice::from_ref(&a)));
    let on_a = delta_pack(2, &a, &b, &delta(&a.1, 7, b"b"));
    let sound = snapshot(vec![whole, on_a.clone()]);
    let mut data = Vec::new();
    assert_eq!(sound.read(&id(&b), &mut data), Ok(Kind::Blob));
    assert_eq!(data, b.1);
    assert_eq!(on_a.verify(Some(&sound)), Vec::<String>::new());
    assert_eq!(on_a.verify(None).len(), 1, "its base is elsewhere");

    let alone = snapshot(vec![on_a.clone()]);
    assert!(matches!(alone.read(&id(&b), &mut data), Err(ReadError::Corrupt { .. })));
    let on_b = delta_pack(3, &b, &a, &delta(&b.1, 7, b"a, somewhat longer"));
    let circle = snapshot(vec![on_a, on_b]);
    let error = circle.read(&id(&b), &mut data).unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
}

#[test]
fn commits_tags_and_peeling() {
    let git = Git::with_history(3);
    let snapshot = ingested(&git.pack(&[], "--all\n"), &empty()).overlay(&empty());
    let head = git.oid("HEAD");
    let commit = snapshot.commit(&head).unwrap();
    assert_eq!((commit.tree, commit.parents), (git.oid("HEAD^{tree}"), vec![git.oid("HEAD~1")]));
    assert_eq!(commit.committer_seconds, 1_700_000_000);
    let tag = snapshot.tag(&git.oid("v2")).unwrap();
    assert_eq!((tag.target, tag.target_kind, &tag.name[..]), (git.oid("v1"), Kind::Tag, &b"v2"[..]));
    assert_eq!(snapshot.peel(&git.oid("v2")), Ok(head));
    assert_eq!(snapshot.peel(&head), Ok(head));
    let wrong = ReadError::WrongKind { oid: head, expected: Kind::Tag, actual: Kind::Commit };
    assert_eq!(snapshot.tag(&head), Err(wrong));
}

#[test]
fn refs_head_and_what_is_made_once() {
    let row = |name: &str, n: u8| RefRow { name: name.to_owned(), oid: Oid([n; 20]), peeled: None };
    let with = |refs: Vec<RefRow>| Snapshot::from_packs(repo_row(), refs, Vec::new());
    let snapshot = with(vec![row("refs/tags/v1", 3), row("refs/heads/main", 1), row("refs/heads/a", 2)]);
    let names: Vec<_> = snapshot.refs().iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["refs/heads/a", "refs/heads/main", "refs/tags/v1"]);
    assert_eq!(snapshot.head_target().map(|row| row.oid), Some(Oid([1; 20])));
    assert_eq!(snapshot.find_ref("refs/heads/none"), None);

    let same_tags = with(vec![row("refs/tags/v1", 3), row("refs/heads/main", 9)]);
    let other_tags = with(vec![row("refs/tags/v1", 4)]);
    assert_eq!(snapshot.tags_digest(), same_tags.tags_digest());
    assert_ne!(snapshot.tags_digest(), other_tags.tags_digest());

    assert_eq!(*snapshot.memo("advertisement", || 7), 7);
    assert_eq!(*snapshot.memo("advertisement", || 8), 7);
    assert_eq!(*snapshot.memo("advertisement", || "of another type"), "of another type");
    assert_eq!(*snapshot.memo("other", || 9), 9);
}

/// A database and a disk with one repository in them.
struct World {
    directory: tempfile::TempDir,
    database: Database,
    disk: Disk,
}

impl World {
    async fn new() -> (World, Repo) {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("rows.db"), Clock::default()).unwrap();
        let disk = Disk::open(&directory.path().join("blobs")).unwrap();
        database.create_user("acme".parse().unwrap(), false).await.unwrap();
        let path = "acme/model".parse().unwrap();
        let new = NewRepo {
            path,
            visibility: Visibility::Public,
            mirror: false,
            blob_bytes_max: None,
            lfs_incomplete: false,
        };
        let repo = database.create_repo(new).await.unwrap();
        (World { directory, database, disk }, repo)
    }

    fn repositories(&self) -> Repositories {
        self.repositories_within(CacheLimits::default())
    }

    fn repositories_within(&self, limits: CacheLimits) -> Repositories {
        Repositories::new(self.database.clone(), self.disk.clone(), limits)
    }

    /// Adds a pack and moves `main`; returns the repository's row after that.
    async fn push(&self, repo: &Repo, objects: &[(Kind, Vec<u8>)], stored: bool) -> Repo {
        let pack = craft_pack(objects);
        let content = if stored {
            self.database.stage_pack(pack.id(), repo.id).await.unwrap();
            let mut file = self.disk.temp_file().unwrap();
            file.write_all(pack.blob()).unwrap();
            self.disk.publish(file, &pack.id().storage_key()).unwrap();
            PackContent::Stored { bytes: pack.blob().len() as u64 }
        } else {
            PackContent::Inline(pack.blob().clone())
        };
        let added = NewPack { id: pack.id(), kind: pack.kind(), objects: 1, closure: false, content };
        let new = objects.last().map(id).unwrap();
        let edit = RefEdit { name: "refs/heads/main".to_owned(), expected: Expected::Any, new, peeled: None };
        let change = Change {
            repo: repo.id,
            acl_version: None,
            gc_epoch: repo.gc_epoch,
            refs: vec![edit],
            refs_max: 1000,
            atomic: true,
            packs_added: vec![added],
            packs_superseded: Vec::new(),
            superseded_until_ms: 0,
            generation: None,
            head_ref: None,
            links_required: Vec::new(),
            links_dropped: Vec::new(),
            locks_version: None,
            collects: false,
            actor: None,
            message: "push".to_owned(),
        };
        self.database.apply(change).await.unwrap();
        self.database.repo(repo.id).unwrap().unwrap()
    }
}

#[tokio::test]
async fn repositories_load_once_per_generation_and_share_packs() {
    let (world, created) = World::new().await;
    let repositories = world.repositories();
    let nothing = repositories.snapshot(&created).unwrap();
    assert_eq!((nothing.packs().len(), nothing.refs().len()), (0, 0));
    assert!(Arc::ptr_eq(&nothing, &repositories.snapshot(&created).unwrap()));

    let one = world.push(&created, &[blob("one")], true).await;
    let first = repositories.snapshot(&one).unwrap();
    assert_eq!(first.generation(), one.generation);
    assert_eq!(first.head_target().map(|row| row.oid), Some(id(&blob("one"))));
    let two = world.push(&one, &[blob("two")], false).await;
    let second = repositories.snapshot(&two).unwrap();
    assert!(Arc::ptr_eq(&first.packs()[0], &second.packs()[1]), "the open pack is used again");
    let mut data = Vec::new();
    for text in ["one", "two"] {
        assert_eq!(second.read(&id(&blob(text)), &mut data), Ok(Kind::Blob));
        assert_eq!(data, text.as_bytes());
    }
    assert!(!first.contains(&id(&blob("two"))), "a pinned snapshot stays as it is");
    assert!(Arc::ptr_eq(&second, &repositories.snapshot(&one).unwrap()), "newer than asked for will do");

    world.database.set_visibility(two.id, Visibility::Private).await.unwrap();
    let private = world.database.repo(two.id).unwrap().unwrap();
    assert_eq!(repositories.snapshot(&private).unwrap().repo().visibility, Visibility::Private);

    repositories.forget(two.id);
    world.database.delete_repo(two.id, 0).await.unwrap();
    assert!(matches!(repositories.snapshot(&two), Err(SnapshotError::Gone)));
}

#[tokio::test]
async fn what_is_cached_is_handed_out_without_loading() {
    let (world, created) = World::new().await;
    let repositories = world.repositories();
    assert!(repositories.cached(&created).is_none());
    let loaded = repositories.snapshot(&created).unwrap();
    assert!(Arc::ptr_eq(&loaded, &repositories.cached(&created).unwrap()));
    let pushed = world.push(&created, &[blob("one")], false).await;
    assert!(repositories.cached(&pushed).is_none(), "it is too old");
    repositories.snapshot(&pushed).unwrap();
    assert!(repositories.cached(&pushed).is_some());
    repositories.forget(pushed.id);
    assert!(repositories.cached(&pushed).is_none());
}

#[tokio::test]
async fn snapshots_are_kept_by_number_and_by_size() {
    let (world, created) = World::new().await;
    let one = world.push(&created, &[blob(Noise(5).bytes(30_000))], false).await;
    let kept = |snapshots_and_packs, snapshot_bytes, repo: &Repo| {
        let limits = CacheLimits { snapshots_and_packs, snapshot_bytes, ..CacheLimits::default() };
        let repositories = world.repositories_within(limits);
        repositories.snapshot(repo).unwrap();
        repositories.cached(repo).is_some()
    };
    // Half of either is for one snapshot.
    assert!(kept(1000, 70_000, &one));
    assert!(!kept(1000, 60_000, &one), "the pack in its row counts");
    assert!(kept(4, 1 << 20, &one));
    assert!(!kept(3, 1 << 20, &one), "a snapshot and a pack");
    assert!(!kept(0, 0, &one));
}

/// Nothing is kept here, so whoever has the same one as another has not loaded it.
#[tokio::test]
async fn who_asks_at_the_same_time_shares_one_load() {
    let (world, created) = World::new().await;
    let repositories = world.repositories_within(CacheLimits { snapshot_bytes: 0, ..CacheLimits::default() });
    let repo = world.push(&created, &[blob("one")], false).await;
    let ready = std::sync::Barrier::new(8);
    let snapshots: Vec<_> = std::thread::scope(|scope| {
        let load = || {
            ready.wait();
            repositories.snapshot(&repo).unwrap()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(snapshots.iter().all(|snapshot| Arc::ptr_eq(snapshot, &snapshots[0])));
    assert!(repositories.cached(&repo).is_none());
    let again = repositories.snapshot(&repo).unwrap();
    assert!(Arc::ptr_eq(&again, &snapshots[0]), "it is in use");
    let next = world.push(&repo, &[blob("two")], false).await;
    assert_eq!(repositories.snapshot(&next).unwrap().generation(), next.generation);
}

#[tokio::test]
async fn packs_that_are_lost_or_damaged_are_errors() {
    let (world, created) = World::new().await;
    let repo = world.push(&created, &[blob("one")], true).await;
    let pack = world.repositories().snapshot(&repo).unwrap().packs()[0].id();
    let path = world.disk.path(&pack.storage_key());
    assert!(path.starts_with(world.directory.path()));
    std::fs::write(&path, b"damaged").unwrap();
    assert!(matches!(world.repositories().snapshot(&repo), Err(SnapshotError::Pack { .. })));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(world.repositories().snapshot(&repo), Err(SnapshotError::Io { .. })));
}
