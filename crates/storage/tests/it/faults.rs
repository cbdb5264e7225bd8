//! Buckets that misbehave.

use std::time::Duration;

use storage::{ObjectStore, StoreError};

use crate::contract::within_seconds;
use crate::double::{Double, Fault, Op};
use crate::support::{config, get, pattern, put};

const KEY: &str = "objects/aa/sha/one";
/// In parts of 5 MiB: three.
const LARGE: usize = 12 << 20;

async fn store() -> (Double, ObjectStore) {
    let double = Double::start().await;
    let mut config = config(&double.url());
    config.timeout = Duration::from_millis(500);
    let store = ObjectStore::s3(config).await.unwrap();
    (double, store)
}

fn stored(double: &Double) -> Option<usize> {
    double.state.lock().unwrap().objects.get(&format!("a prefix/{KEY}")).map(|object| object.bytes.len())
}

#[tokio::test]
async fn what_fails_once_is_tried_again() {
    let (double, store) = store().await;
    double.fault(Op::CreateMultipart, Fault::Refuse(503, "SlowDown"));
    double.fault(Op::PutPart, Fault::Refuse(500, "InternalError"));
    double.fault(Op::PutPart, Fault::CutAt(0));
    double.fault(Op::Complete, Fault::Refuse(500, "InternalError"));
    double.fault(Op::Head, Fault::Refuse(503, "SlowDown"));
    put(&store, KEY, &pattern(LARGE)).await.unwrap();
    assert!(get(&store, KEY, 0..LARGE as u64).await.unwrap() == pattern(LARGE));
    assert!(double.state.lock().unwrap().uploads.is_empty());
}

#[tokio::test]
async fn an_upload_completed_behind_an_error_is_complete() {
    let (double, store) = store().await;
    double.fault(Op::Complete, Fault::KeepAnd(500, "InternalError"));
    put(&store, KEY, &pattern(LARGE)).await.unwrap();
    assert_eq!(stored(&double), Some(LARGE));

    let bucket = store.bucket().unwrap();
    let upload = bucket.create_multipart("other").await.unwrap();
    double.state.lock().unwrap().uploads.get_mut(&upload).unwrap().1.insert(1, pattern(7));
    assert_eq!(bucket.list_parts("other", &upload).await.unwrap(), [(1, 7)]);
    let parts = [(1, "\"part-1-7\"".to_owned())];
    for _ in 0..2 {
        bucket.complete_multipart("other", &upload, &parts).await.unwrap();
    }
    bucket.abort_multipart("other", &upload).await.unwrap();
    let gone = bucket.complete_multipart("nothing", &upload, &parts).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    assert!(matches!(bucket.list_parts("other", &upload).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn parts_that_are_not_there_do_not_make_an_object() {
    let (double, store) = store().await;
    let bucket = store.bucket().unwrap();
    let upload = bucket.create_multipart(KEY).await.unwrap();
    double.state.lock().unwrap().uploads.get_mut(&upload).unwrap().1.insert(1, pattern(7));
    let refused = bucket.complete_multipart(KEY, &upload, &[(1, "\"part-1-8\"".to_owned())]).await;
    let Err(StoreError::InvalidParts(message)) = refused else { panic!("{refused:?}") };
    assert!(message.starts_with("InvalidPart"), "{message}");
    assert_eq!(bucket.multiparts(KEY).await.unwrap(), std::slice::from_ref(&upload));
    bucket.abort_multipart(KEY, &upload).await.unwrap();
    bucket.abort_multipart(KEY, &upload).await.unwrap();
    assert_eq!(bucket.multiparts(KEY).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn success_is_not_believed() {
    let (double, store) = store().await;
    double.fault(Op::Put, Fault::Lose);
    let lost = put(&store, KEY, &pattern(1000)).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    double.fault(Op::Put, Fault::Shorten(999));
    let short = put(&store, KEY, &pattern(1000)).await;
    assert!(short.as_ref().is_err_and(|error| error.to_string().contains("999 of 1000")), "{short:?}");
    double.fault(Op::PutPart, Fault::Shorten(100));
    let short = put(&store, KEY, &pattern(LARGE)).await;
    assert!(matches!(short, Err(StoreError::Unavailable(_))), "{short:?}");
}

#[tokio::test]
async fn an_error_may_hide_a_success() {
    let (double, store) = store().await;
    for _ in 0..4 {
        double.fault(Op::Put, Fault::KeepAnd(500, "InternalError"));
    }
    let failed = put(&store, KEY, &pattern(1000)).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    assert_eq!((stored(&double), double.count(Op::Put)), (Some(1000), 4));
}

#[tokio::test]
async fn refusals_are_not_tried_again() {
    let (double, store) = store().await;
    double.fault(Op::Put, Fault::Refuse(403, "AccessDenied"));
    let refused = put(&store, KEY, &pattern(10)).await;
    assert!(
        matches!(&refused, Err(StoreError::Refused(why)) if why.starts_with("AccessDenied")),
        "{refused:?}"
    );
    double.fault(Op::Put, Fault::Refuse(507, "InsufficientStorage"));
    for _ in 0..3 {
        double.fault(Op::Put, Fault::Refuse(507, "InsufficientStorage"));
    }
    let full = put(&store, KEY, &pattern(10)).await;
    assert!(matches!(full, Err(StoreError::Full)), "{full:?}");
    double.fault(Op::Head, Fault::Refuse(403, ""));
    assert!(matches!(store.size_bytes(KEY).await, Err(StoreError::Refused(_))));
    assert_eq!(stored(&double), None);
}

#[tokio::test]
async fn a_broken_answer_is_continued_where_it_broke() {
    let (double, store) = store().await;
    let bytes = pattern(3_000_000);
    put(&store, KEY, &bytes).await.unwrap();
    for fault in
        [Fault::CutAt(1_000_000), Fault::CutAt(0), Fault::HangAt(70_000), Fault::Refuse(500, "InternalError")]
    {
        double.fault(Op::Get, fault);
    }
    assert!(get(&store, KEY, 10..3_000_000).await.unwrap() == bytes[10..]);
    assert_eq!(double.count(Op::Get), 5);

    let before = double.count(Op::Get);
    for _ in 0..20 {
        double.fault(Op::Get, Fault::CutAt(10));
    }
    let broken = get(&store, KEY, 0..3_000_000).await;
    assert!(matches!(broken, Err(StoreError::Unavailable(_))), "{broken:?}");
    assert_eq!(double.count(Op::Get) - before, 4, "not for ever");
}

#[tokio::test]
async fn a_slow_client_is_not_the_buckets_fault() {
    let (double, store) = store().await;
    let bytes = pattern(3_000_000);
    put(&store, KEY, &bytes).await.unwrap();
    let mut reader = store.reader(KEY, 0..3_000_000).await.unwrap();
    let mut read = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        if read.len() < 1_000_000 && read.len() + piece.len() >= 1_000_000 {
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        read.extend_from_slice(&piece);
    }
    assert!(read == bytes);
    assert_eq!(double.count(Op::Get), 1);
}

#[tokio::test]
async fn servers_that_do_not_know_ranges() {
    let (double, store) = store().await;
    let bytes = pattern(3_000_000);
    put(&store, KEY, &bytes).await.unwrap();
    for fault in [Fault::WholeForRange, Fault::OkForRange] {
        for range in [0..5, 7..2_000_000, 2_999_999..3_000_000] {
            double.fault(Op::Get, fault);
            let read = get(&store, KEY, range.start as u64..range.end as u64).await.unwrap();
            assert!(read == bytes[range.clone()], "{fault:?} {range:?}");
        }
        double.fault(Op::Get, fault);
        let long = get(&store, KEY, 5..3_000_001).await;
        assert!(matches!(long, Err(StoreError::Truncated { missing: 1 })), "{fault:?} {long:?}");
    }
    double.fault(Op::Get, Fault::CutAt(1_500_000));
    double.fault(Op::Get, Fault::WholeForRange);
    assert!(get(&store, KEY, 0..3_000_000).await.unwrap() == bytes, "continued by the whole");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable() {
    let (double, store) = store().await;
    double.fault(Op::Head, Fault::Silence);
    assert_eq!(store.size_bytes(KEY).await.unwrap(), None, "the second time it did");
    for _ in 0..4 {
        double.fault(Op::Put, Fault::Silence);
    }
    let silent = put(&store, KEY, &pattern(10)).await;
    assert!(matches!(silent, Err(StoreError::Unavailable(_))), "{silent:?}");
    drop(double);
    let down = store.size_bytes(KEY).await;
    assert!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");
}

#[tokio::test]
async fn a_part_that_does_not_arrive_ends_the_upload_and_leaves_nothing() {
    let (double, store) = store().await;
    for _ in 0..4 {
        double.fault(Op::PutPart, Fault::Refuse(500, "InternalError"));
    }
    let failed = put(&store, KEY, &pattern(LARGE)).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    within_seconds(async || double.state.lock().unwrap().uploads.is_empty()).await;
    put(&store, KEY, &pattern(LARGE)).await.unwrap();
}

#[tokio::test]
async fn parts_in_memory_are_bounded_and_nobody_waits_for_ever() {
    let (_double, store) = store().await;
    let begun = async |size: usize| {
        let mut writer = store.writer(KEY, LARGE as u64).await.unwrap();
        writer.write(pattern(size)).await.unwrap();
        writer
    };
    // Two buffers.
    let (first, _second) = (begun(100_000).await, begun(100_000).await);
    let mut third = begun(65_536).await;
    {
        let waiting = third.write(pattern(1));
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        drop(first);
        waiting.await.unwrap();
    }
    // With one buffer only, a part is sent before the next is filled.
    third.write(pattern(LARGE - 65_537)).await.unwrap();
    third.finish().await.unwrap().publish().await.unwrap();
    assert_eq!(store.size_bytes(KEY).await.unwrap(), Some(LARGE as u64));
}
