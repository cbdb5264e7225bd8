//! What only a disk does.

use std::os::unix::fs::FileExt;
use std::path::Path;

use storage::{Disk, ObjectStore, StoreError};

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

#[tokio::test]
async fn a_reader_keeps_what_is_deleted_under_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    put(&store, "objects/aa/gone/one", &pattern(1_000_000)).await.unwrap();
    let mut reader = store.reader("objects/aa/gone/one", 0..1_000_000).await.unwrap();
    let first = reader.next().await.unwrap().unwrap();
    store.delete("objects/aa/gone/one").await.unwrap();
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
async fn staging_is_emptied_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("nas");
    drop(ObjectStore::at(&root).unwrap());
    std::fs::write(root.join("staging/litter"), b"x").unwrap();
    let store = ObjectStore::at(&root).unwrap();
    assert_eq!(std::fs::read_dir(root.join("staging")).unwrap().count(), 0);
    assert_eq!(store.describe(), format!("the directory {}", root.display()));
    assert!(store.bucket().is_none() && store.local().is_some());
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
