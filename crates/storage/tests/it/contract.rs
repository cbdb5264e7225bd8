//! What every engine does, run on each.

use bytes::Bytes;
use storage::{Disk, Expected, ObjectStore, StoreError, StoreId};

use crate::double::Double;
use crate::support::{config, get, pattern, put, sha256, write};

async fn contract(store: &ObjectStore) {
    bytes_come_out_as_they_went_in(store).await;
    ranges(store).await;
    nothing_is_there_before_it_is_published(store).await;
    what_is_not_there(store).await;
    keys_are_found_and_deleted(store).await;
    many_at_once(store).await;
}

#[tokio::test]
async fn the_data_directory_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = ObjectStore::on(Disk::open(directory.path()).unwrap());
    contract(&store).await;
    assert_eq!(std::fs::read_dir(directory.path().join("staging")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_its_own_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let expected = Expected::New(StoreId::random());
    contract(&ObjectStore::in_directory(&directory.path().join("nas"), expected).unwrap()).await;
}

#[tokio::test]
async fn a_bucket_keeps_it() {
    let double = Double::start().await;
    let store = ObjectStore::s3(config(&double.url())).await.unwrap();
    store.expect(Expected::New(StoreId::random()));
    contract(&store).await;
    let mut capabilities = store.bucket().unwrap().capabilities();
    capabilities.signed_checksum = true;
    store.bucket().unwrap().set_capabilities(capabilities);
    let bytes = pattern(1000);
    put(&store, "objects/ab/proven/one", &bytes).await.unwrap();
    let head = store.bucket().unwrap().head("objects/ab/proven/one").await.unwrap().unwrap();
    assert_eq!((head.size, head.sha256), (1000, Some(sha256(&bytes))));
}

#[tokio::test]
#[ignore = "needs an S3 server; protocol-tests/run starts one"]
async fn a_real_bucket_keeps_it() {
    let url = std::env::var("GRANARY_TEST_S3").unwrap();
    let mut config = config(&url);
    config.prefix = format!("contract/{}", ulid::Ulid::new());
    let store = ObjectStore::s3(config).await.unwrap();
    store.expect(Expected::New(StoreId::random()));
    contract(&store).await;
}

async fn bytes_come_out_as_they_went_in(store: &ObjectStore) {
    let sizes =
        [0, 1, 65_536, 65_537, 131_071, 131_072, 524_288, 524_289, 5 << 20, (5 << 20) + 1, (11 << 20) + 3];
    for size in sizes {
        let bytes = pattern(size);
        for frame in [1_000, 16_384, 700_000] {
            let key = format!("objects/aa/{size}/{frame}");
            let complete = write(store, &key, &bytes, frame).await.unwrap();
            assert_eq!((complete.sha256(), complete.size()), (Some(sha256(&bytes)), size as u64), "{key}");
            complete.publish().await.unwrap();
            assert_eq!(store.size_bytes(&key).await.unwrap(), Some(size as u64), "{key}");
            assert_eq!(store.sha256(&key).await.unwrap(), (sha256(&bytes), size as u64), "{key}");
            assert!(get(store, &key, 0..size as u64).await.unwrap() == bytes, "{key}");
        }
    }
}

async fn ranges(store: &ObjectStore) {
    let (key, size) = ("objects/aa/ranges/one", 3_000_000);
    let bytes = pattern(size);
    put(store, key, &bytes).await.unwrap();
    for range in [0..1, 0..size, 1..2, 262_143..262_145, 5..2_500_000, size - 1..size, 7..7, size..size] {
        let read = get(store, key, range.start as u64..range.end as u64).await.unwrap();
        assert!(read == bytes[range.clone()], "{range:?}");
    }
    let end = size as u64;
    for (range, missing) in [(0..end + 1, 1), (end - 1..end + 4, 4), (end..end + 2, 2), (end + 5..end + 6, 6)]
    {
        let refused = get(store, key, range.clone()).await;
        assert!(
            matches!(refused, Err(StoreError::Truncated { missing: said }) if said == missing),
            "{range:?}: {refused:?}"
        );
    }
}

async fn nothing_is_there_before_it_is_published(store: &ObjectStore) {
    for size in [10, 300_000, 12 << 20] {
        let key = format!("objects/aa/dropped-{size}/one");
        let bytes = pattern(size);
        let mut writer = store.writer(&key, size as u64).await.unwrap();
        writer.write(bytes.slice(..size - 1)).await.unwrap();
        drop(writer);
        let complete = write(store, &key, &bytes, 100_000).await.unwrap();
        assert_eq!(store.size_bytes(&key).await.unwrap(), None, "{key}");
        drop(complete);
        assert_eq!(
            store.keys_under(&format!("objects/aa/dropped-{size}/")).await.unwrap(),
            Vec::<String>::new()
        );
        if let Some(bucket) = store.bucket() {
            within_seconds(async || bucket.multiparts(&key).await.unwrap().is_empty()).await;
        }
    }
    if let Some(disk) = store.local() {
        let staging = ["staging", ".granary-staging"].map(|name| disk.path(name));
        let staging = staging.into_iter().find(|path| path.exists()).unwrap();
        within_seconds(async || std::fs::read_dir(&staging).unwrap().count() == 0).await;
    }

    let mut writer = store.writer("objects/aa/long/one", 10).await.unwrap();
    writer.write(pattern(10)).await.unwrap();
    let refused = writer.write(Bytes::from_static(b"x")).await;
    assert!(matches!(refused, Err(StoreError::TooLong { size: 10 })), "{refused:?}");
    let short = {
        let mut writer = store.writer("objects/aa/short/one", 1000).await.unwrap();
        writer.write(pattern(999)).await.unwrap();
        writer.finish().await.unwrap()
    };
    assert_eq!((short.size(), short.sha256()), (999, Some(sha256(&pattern(999)))));
}

/// What a drop leaves to be done is done soon.
pub async fn within_seconds(mut is_done: impl AsyncFnMut() -> bool) {
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !is_done().await {
        assert!(tokio::time::Instant::now() < limit);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn what_is_not_there(store: &ObjectStore) {
    let key = "objects/aa/missing/one";
    for range in [0..1, 0..0] {
        let refused = get(store, key, range).await;
        assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    }
    assert!(matches!(store.sha256(key).await, Err(StoreError::NotFound)));
    assert_eq!(store.size_bytes(key).await.unwrap(), None);
    store.delete(key, 1).await.unwrap();
    assert_eq!(store.keys_under("objects/aa/missing/").await.unwrap(), Vec::<String>::new());
}

async fn keys_are_found_and_deleted(store: &ObjectStore) {
    let keys = ["objects/bb/two/first", "objects/bb/two/second", "objects/bb/twofold/third"];
    for key in keys {
        put(store, key, &pattern(10)).await.unwrap();
    }
    assert_eq!(store.keys_under("objects/bb/two/").await.unwrap(), &keys[..2]);
    assert_eq!(store.keys_under("objects/bb/").await.unwrap(), keys);
    store.delete(keys[0], 10).await.unwrap();
    store.delete(keys[0], 10).await.unwrap();
    assert_eq!(store.keys_under("objects/bb/two/").await.unwrap(), &keys[1..2]);
    assert_eq!(get(store, keys[1], 0..10).await.unwrap(), pattern(10));
    store.delete(keys[1], 10).await.unwrap();
    put(store, "objects/bb/two/fourth", &pattern(20)).await.unwrap();
    assert_eq!(store.keys_under("objects/bb/two/").await.unwrap(), ["objects/bb/two/fourth"]);
}

/// More uploads than there are buffers for parts, each of three parts.
async fn many_at_once(store: &ObjectStore) {
    let bytes = pattern(11 << 20);
    let uploads: Vec<_> = (0..6)
        .map(|number| {
            let (store, bytes) = (store.clone(), bytes.clone());
            tokio::spawn(async move {
                let key = format!("objects/cc/{number}/one");
                put(&store, &key, &bytes).await.unwrap();
                assert_eq!(store.sha256(&key).await.unwrap().0, sha256(&bytes));
            })
        })
        .collect();
    for upload in uploads {
        upload.await.unwrap();
    }
}
