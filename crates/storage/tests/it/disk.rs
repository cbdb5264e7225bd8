//! What only a disk does.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use storage::{Disk, Expected, ObjectStore, OpenError, StoreError, StoreId};

use crate::support::{get, pattern, put};

fn store(root: &Path) -> ObjectStore {
    ObjectStore::on(Disk::open(root).unwrap())
}

#[tokio::test]
async fn a_key_is_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    for size in [10, 200_000] {
        let key = format!("objects/aa/{size}/one");
        put(&store, &key, &pattern(size)).await.unwrap();
        let again = put(&store, &key, &pattern(size + 1)).await;
        assert!(matches!(&again, Err(StoreError::Io(_))), "{again:?}");
        assert_eq!(store.size_bytes(&key).await.unwrap(), Some(size as u64));
    }
}

#[tokio::test]
async fn what_needs_no_hash_is_stored_without() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    for size in [0, 10, 200_000, 3_000_001] {
        let (key, bytes) = (format!("xorbs/aa/{size}/one"), pattern(size));
        let mut writer = store.writer(&key, size as u64).await.unwrap().without_sha256();
        for piece in bytes.chunks(100_000) {
            writer.write(bytes::Bytes::copy_from_slice(piece)).await.unwrap();
        }
        let complete = writer.finish().await.unwrap();
        assert_eq!((complete.size(), complete.sha256()), (size as u64, None));
        complete.publish().await.unwrap();
        assert!(get(&store, &key, 0..size as u64).await.unwrap() == bytes);
    }
}

#[tokio::test]
async fn what_no_cache_holds_is_read_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let bytes = pattern(3_000_001);
    put(&store, "objects/aa/cold/one", &bytes).await.unwrap();
    let file = std::fs::File::open(directory.path().join("objects/aa/cold/one")).unwrap();
    let mut half = vec![0; 1_500_000];
    for _ in 0..2 {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert!(get(&store, "objects/aa/cold/one", 1..3_000_001).await.unwrap() == bytes[1..]);
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        file.read_exact_at(&mut half, 0).unwrap();
        assert!(get(&store, "objects/aa/cold/one", 0..3_000_001).await.unwrap() == bytes);
    }
}

/// What the kernel sends and what is read, in turn.
#[tokio::test]
async fn what_is_cached_is_sent_and_the_rest_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let (key, bytes) = ("objects/aa/sent/one", pattern(5_000_001));
    put(&store, key, &bytes).await.unwrap();
    // On tmpfs, where the kernel does not say what it has in memory, nothing is left to it.
    let tells = store.reader(key, 0..1).await.unwrap().cached().unwrap().is_some();
    for range in [
        0..5_000_001,
        1..2,
        7..4_096,
        4_095..4_097,
        131_072..262_145,
        4_999_999..5_000_001,
        1_000_000..4_000_000,
    ] {
        let mut reader = store.reader(key, range.clone()).await.unwrap();
        let (mut received, mut sent) = (Vec::new(), 0);
        while reader.remaining() > 0 {
            let Some(mut part) = reader.cached().unwrap() else {
                received.extend_from_slice(&reader.next().await.unwrap().unwrap());
                continue;
            };
            let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            while part.remaining() > 0 {
                // Less than it wants, so that it goes on in the middle of a page.
                let count = part.send(&ours, 10_007).unwrap();
                let mut piece = vec![0; count];
                theirs.read_exact(&mut piece).unwrap();
                received.extend_from_slice(&piece);
                sent += count;
            }
        }
        assert!(received == bytes[range.start as usize..range.end as usize], "{range:?}");
        assert_eq!(sent > 0, tells, "{range:?}");
    }
}

#[tokio::test]
async fn a_reader_keeps_what_is_deleted_under_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    put(&store, "objects/aa/gone/one", &pattern(1_000_000)).await.unwrap();
    let mut reader = store.reader("objects/aa/gone/one", 0..1_000_000).await.unwrap();
    let first = reader.next().await.unwrap().unwrap();
    store.delete("objects/aa/gone/one", 1_000_000).await.unwrap();
    let mut bytes = first.to_vec();
    while let Some(piece) = reader.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    assert!(bytes == pattern(1_000_000));
}

#[tokio::test]
async fn a_file_that_lost_its_end_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    put(&store, "objects/aa/cut/one", &pattern(1_000_000)).await.unwrap();
    let mut reader = store.reader("objects/aa/cut/one", 0..1_000_000).await.unwrap();
    let path = directory.path().join("objects/aa/cut/one");
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(500_000).unwrap();
    let mut read = 0;
    let error = loop {
        match reader.next().await {
            Ok(piece) => read += piece.unwrap().len(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Truncated { missing: 500_000 }), "{error}");
    assert_eq!((read, reader.remaining()), (500_000, 500_000));
}

#[tokio::test]
async fn a_small_file_that_was_read_is_not_given_once_it_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    for (key, is_ours) in [("objects/aa/small/one", true), ("objects/aa/small/two", false)] {
        put(&store, key, &"weights".into()).await.unwrap();
        for _ in 0..3 {
            let mut reader = store.reader(key, 2..5).await.unwrap();
            assert_eq!(reader.next().await.unwrap().unwrap(), "igh");
            assert!(matches!(store.reader(key, 2..8).await, Err(StoreError::Truncated { missing: 1 })));
        }
        let mut held = store.reader(key, 0..7).await.unwrap();
        match is_ours {
            true => store.delete(key, 7).await.unwrap(),
            false => std::fs::remove_file(directory.path().join(key)).unwrap(),
        }
        for _ in 0..2 {
            assert!(matches!(store.reader(key, 2..5).await, Err(StoreError::NotFound)), "{key}");
        }
        assert_eq!(held.next().await.unwrap().unwrap(), "weights", "a reader keeps what it has");
    }
    // What stands in its place later is another file.
    put(&store, "objects/aa/small/two", &"biases".into()).await.unwrap();
    let mut reader = store.reader("objects/aa/small/two", 0..6).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), "biases");
}

/// A directory as somebody names it.
struct Nas {
    _parent: tempfile::TempDir,
    root: PathBuf,
    id: StoreId,
}

impl Nas {
    /// Marked, in use by nobody.
    fn new() -> Nas {
        let parent = tempfile::tempdir().unwrap();
        let nas = Nas { root: parent.path().join("a/b/nas"), _parent: parent, id: StoreId::random() };
        nas.open(Expected::New(nas.id)).unwrap();
        nas
    }

    fn open(&self, expected: Expected) -> Result<ObjectStore, OpenError> {
        ObjectStore::in_directory(&self.root, expected)
    }

    fn known(&self) -> Result<ObjectStore, OpenError> {
        self.open(Expected::Known(self.id))
    }

    /// As after `umount`.
    fn unmount(&self) {
        std::fs::rename(&self.root, self.root.with_file_name("server")).unwrap();
        std::fs::create_dir(&self.root).unwrap();
    }

    fn mount(&self) {
        std::fs::remove_dir(&self.root).expect("nothing was written into the empty mount point");
        std::fs::rename(self.root.with_file_name("server"), &self.root).unwrap();
    }
}

#[tokio::test]
async fn staging_is_emptied_at_start_and_has_a_name_of_its_own() {
    let nas = Nas::new();
    let (ours, theirs) = (nas.root.join(".granary-staging"), nas.root.join("staging"));
    std::fs::create_dir(&theirs).unwrap();
    for directory in [&ours, &theirs] {
        std::fs::write(directory.join("file"), b"x").unwrap();
    }
    let store = nas.known().unwrap();
    assert!(!ours.join("file").exists() && theirs.join("file").exists());
    assert_eq!(store.describe(), format!("the directory {}", nas.root.display()));
    assert!(store.bucket().is_none() && store.local().is_some());
    drop(store);

    // Nothing says that this one is ours.
    std::fs::remove_file(nas.root.join("granary-store")).unwrap();
    std::fs::write(ours.join("file"), b"x").unwrap();
    nas.open(Expected::Any).unwrap();
    assert!(ours.join("file").exists());
}

#[tokio::test]
async fn a_directory_that_is_not_mounted_is_refused_and_left_as_it_is() {
    let nas = Nas::new();
    put(&nas.known().unwrap(), "objects/aa/kept/one", &pattern(1000)).await.unwrap();
    nas.unmount();
    let refused = nas.known().map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Mistaken { .. }), "{refused}");
    assert!(refused.to_string().contains("is it mounted"), "{refused}");
    nas.mount();
    assert_eq!(get(&nas.known().unwrap(), "objects/aa/kept/one", 0..1000).await.unwrap(), pattern(1000));

    std::fs::rename(&nas.root, nas.root.with_file_name("server")).unwrap();
    for expected in [Expected::Known(nas.id), Expected::Any] {
        let refused = nas.open(expected).map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::Absent { .. }), "{refused}");
        assert!(!nas.root.exists());
    }
}

#[tokio::test]
async fn the_directory_of_another_hub_is_refused() {
    let nas = Nas::new();
    let other = StoreId::random();
    for expected in [Expected::New(other), Expected::Known(other)] {
        let refused = nas.open(expected).map(drop).unwrap_err();
        assert!(refused.to_string().contains("the store of another hub"), "{refused}");
    }
    assert_eq!(nas.open(Expected::Any).unwrap().mark().await.unwrap(), Some(nas.id));
    nas.known().unwrap().confirm().await.unwrap();
    std::fs::write(nas.root.join("granary-store"), b"scribble").unwrap();
    let refused = nas.known().map(drop).unwrap_err();
    assert!(refused.to_string().contains("granary-store cannot be read"), "{refused}");
}

#[tokio::test]
async fn a_directory_is_used_by_one_at_a_time() {
    let nas = Nas::new();
    let store = nas.known().unwrap();
    let refused = nas.known().map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(store);
    nas.known().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_goes_missing_while_it_is_used_is_not_believed() {
    let nas = Nas::new();
    let store = nas.known().unwrap();
    let key = "objects/aa/kept/one";
    put(&store, key, &pattern(1000)).await.unwrap();
    assert_eq!(store.size_bytes("objects/aa/missing/one").await.unwrap(), None);
    nas.unmount();
    tokio::time::advance(Duration::from_secs(60)).await;
    let unavailable = |error: StoreError| {
        assert!(
            matches!(&error, StoreError::Unavailable(why) if why.to_string().contains("is it mounted")),
            "{error}"
        );
    };
    unavailable(store.confirm().await.unwrap_err());
    unavailable(get(&store, key, 0..1000).await.unwrap_err());
    unavailable(store.sha256(key).await.unwrap_err());
    unavailable(store.size_bytes(key).await.unwrap_err());
    unavailable(store.delete(key, 1000).await.unwrap_err());
    unavailable(store.keys_under("objects/aa/").await.unwrap_err());
    unavailable(put(&store, "objects/aa/new/one", &pattern(10)).await.unwrap_err());
    nas.mount();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(get(&store, key, 0..1000).await.unwrap(), pattern(1000));
    store.delete(key, 1000).await.unwrap();
    assert_eq!(store.size_bytes(key).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs root, to mount a small file system"]
#[expect(clippy::disallowed_methods, reason = "a test may execute programs")]
async fn a_full_disk_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let mount = |program: &str, arguments: &[&str]| {
        let status = std::process::Command::new(program).args(arguments).arg(directory.path()).status();
        assert!(status.unwrap().success());
    };
    mount("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
    let store = store(directory.path());
    let long = put(&store, "objects/aa/long/one", &pattern(3 << 20)).await;
    assert!(matches!(long, Err(StoreError::Full)), "{long:?}");
    let staging = directory.path().join("staging");
    crate::contract::within_seconds(async || std::fs::read_dir(&staging).unwrap().count() == 0).await;
    put(&store, "objects/aa/fits/one", &pattern(900_000)).await.unwrap();
    drop(store);
    mount("umount", &[]);
}
