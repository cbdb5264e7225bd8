//! Buckets that misbehave.

use std::time::Duration;

use storage::{Disk, Expected, ObjectStore, StoreError, StoreId, Writer};

use crate::contract::within_seconds;
use crate::double::{Double, Fault, Object, Op};
use crate::support::{config, get, pattern, put, sha256};

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

/// An upload of [`LARGE`] whose first bytes came.
async fn begun(store: &ObjectStore, name: &str, size: usize) -> Writer {
    let mut writer = store.writer(&format!("objects/aa/{name}/one"), LARGE as u64).await.unwrap();
    writer.write(pattern(LARGE).slice(..size)).await.unwrap();
    writer
}

/// The rest of it comes, in frames.
async fn ended(store: &ObjectStore, name: &str, mut writer: Writer) {
    let mut rest = pattern(LARGE).slice(writer.written() as usize..);
    while !rest.is_empty() {
        writer.write(rest.split_to(rest.len().min(50_000))).await.unwrap();
    }
    let complete = writer.finish().await.unwrap();
    assert_eq!(complete.sha256(), Some(sha256(&pattern(LARGE))));
    complete.publish().await.unwrap();
    let key = format!("objects/aa/{name}/one");
    assert!(get(store, &key, 0..LARGE as u64).await.unwrap() == pattern(LARGE));
}

/// Through whose staging parts go for which there is no buffer. Such files have no names; what holds them open does.
fn spooled(store: &ObjectStore) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    store.bucket().unwrap().spool_in(Disk::open(directory.path()).unwrap(), 0);
    directory
}

fn files_open_in(directory: &tempfile::TempDir) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    links.filter(|link| link.starts_with(directory.path())).count()
}

#[tokio::test]
async fn no_upload_waits_for_another() {
    let (_double, store) = store().await;
    let spool = spooled(&store);
    // Two buffers, whose holders stand still.
    let (first, second) = (begun(&store, "1", 100_000).await, begun(&store, "2", 100_000).await);
    assert_eq!(files_open_in(&spool), 0);
    let third = begun(&store, "3", 100_000).await;
    assert_eq!(files_open_in(&spool), 1);
    ended(&store, "3", third).await;
    within_seconds(async || files_open_in(&spool) == 0).await;
    for (name, writer) in [("1", first), ("2", second)] {
        ended(&store, name, writer).await;
    }
}

#[tokio::test]
async fn a_slow_upload_gives_its_buffer_back() {
    let (_double, store) = store().await;
    let spool = spooled(&store);
    let mut slow = [begun(&store, "1", 100_000).await, begun(&store, "2", 100_000).await];
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    for writer in &mut slow {
        writer.write(pattern(LARGE).slice(100_000..100_001)).await.unwrap();
    }
    assert_eq!(files_open_in(&spool), 2);
    let quick = [begun(&store, "3", 100_000).await, begun(&store, "4", 100_000).await];
    assert_eq!(files_open_in(&spool), 2, "those have the buffers now");
    for (name, writer) in ["1", "2", "3", "4"].into_iter().zip(slow.into_iter().chain(quick)) {
        ended(&store, name, writer).await;
    }
}

/// 583 MiB each, of an object of 5 TiB, would be more than all buffers together.
#[tokio::test]
async fn parts_larger_than_a_buffer_are_never_in_memory() {
    let double = Double::start().await;
    let mut config = config(&double.url());
    config.part_size = 1 << 20;
    let store = ObjectStore::s3(config).await.unwrap();
    let spool = spooled(&store);
    let writer = begun(&store, "1", 100_000).await;
    assert_eq!(files_open_in(&spool), 1);
    ended(&store, "1", writer).await;
    let whole = pattern(2 << 20);
    put(&store, KEY, &whole).await.unwrap();
    assert!(get(&store, KEY, 0..2 << 20).await.unwrap() == whole);
}

#[tokio::test]
async fn a_disk_too_full_for_parts_is_said_to_be() {
    let (_double, store) = store().await;
    let directory = tempfile::tempdir().unwrap();
    store.bucket().unwrap().spool_in(Disk::open(directory.path()).unwrap(), u64::MAX);
    let _both = (begun(&store, "1", 100_000).await, begun(&store, "2", 100_000).await);
    let mut third = store.writer(KEY, LARGE as u64).await.unwrap();
    let refused = third.write(pattern(100_000)).await;
    assert!(
        matches!(&refused, Err(StoreError::Unavailable(why)) if why.to_string().contains("too full")),
        "{refused:?}"
    );
}

/// git-lfs leaves after 30 s without a byte.
#[tokio::test]
async fn a_bucket_that_stays_silent_is_given_up_in_time() {
    let double = Double::start().await;
    let store = ObjectStore::s3(config(&double.url())).await.unwrap();
    let bucket = store.bucket().unwrap();
    assert_eq!(store.size_bytes(KEY).await.unwrap(), None, "there is a connection");
    for op in [Op::Head, Op::ListParts, Op::CreateMultipart] {
        for _ in 0..8 {
            double.fault(op, Fault::Silence);
        }
    }
    tokio::time::pause();
    let within = async |what: &str, request: &mut (dyn Future<Output = Result<(), StoreError>> + Unpin)| {
        let started = tokio::time::Instant::now();
        let silent = request.await;
        assert!(matches!(silent, Err(StoreError::Unavailable(_))), "{what}: {silent:?}");
        let seconds = started.elapsed().as_secs();
        assert!((16..=20).contains(&seconds), "{what}: {seconds} s");
    };
    within("HEAD", &mut Box::pin(async { store.size_bytes(KEY).await.map(drop) })).await;
    within("parts", &mut Box::pin(async { bucket.list_parts(KEY, "upload").await.map(drop) })).await;
    within("create", &mut Box::pin(async { bucket.create_multipart(KEY).await.map(drop) })).await;
}

#[tokio::test]
async fn what_interrupted_uploads_left_goes_with_the_next_try_or_with_the_object() {
    let (double, store) = store().await;
    let bucket = store.bucket().unwrap();
    // As a crash leaves it.
    bucket.create_multipart(KEY).await.unwrap();
    let other = bucket.create_multipart("objects/aa/sha/two").await.unwrap();
    put(&store, KEY, &pattern(LARGE)).await.unwrap();
    let left = || double.state.lock().unwrap().uploads.keys().cloned().collect::<Vec<_>>();
    assert_eq!(left(), std::slice::from_ref(&other), "not those of other keys");
    bucket.create_multipart(KEY).await.unwrap();
    store.delete(KEY, LARGE as u64).await.unwrap();
    assert_eq!((left(), stored(&double)), (vec![other], None));

    // There are buckets that cannot list uploads, or do not let us.
    for (status, code) in [(501, "NotImplemented"), (405, "MethodNotAllowed"), (403, "AccessDenied")] {
        double.fault(Op::ListMultiparts, Fault::Refuse(status, code));
        put(&store, KEY, &pattern(LARGE)).await.unwrap();
        double.fault(Op::ListMultiparts, Fault::Refuse(status, code));
        store.delete(KEY, LARGE as u64).await.unwrap();
        assert_eq!(stored(&double), None, "{code}");
    }

    // Of a small one there is nothing to ask for.
    put(&store, KEY, &pattern(1000)).await.unwrap();
    let asked =
        || double.state.lock().unwrap().requests.iter().filter(|op| **op == Op::ListMultiparts).count();
    let before = asked();
    store.delete(KEY, 1000).await.unwrap();
    assert_eq!((asked(), stored(&double)), (before, None));
}

#[tokio::test]
async fn an_answer_is_not_continued_by_other_bytes() {
    let bytes = pattern(3_000_000);
    for ignores_if_match in [false, true] {
        let (double, store) = store().await;
        double.state.lock().unwrap().ignores_if_match = ignores_if_match;
        put(&store, KEY, &bytes).await.unwrap();
        double.fault(Op::Get, Fault::CutAt(1_000_000));
        let mut reader = store.reader(KEY, 0..3_000_000).await.unwrap();
        let mut read = reader.next().await.unwrap().unwrap().len();
        double.state.lock().unwrap().objects.get_mut(&format!("a prefix/{KEY}")).unwrap().bytes =
            vec![7; 3_000_000].into();
        let error = loop {
            match reader.next().await {
                Ok(piece) => read += piece.unwrap().len(),
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, StoreError::Refused(why) if why.contains("other bytes")), "{error}");
        assert!(read <= 1_000_000, "{read}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_ours_is_as_good_as_down() {
    let (ours, other) = (Double::start().await, Double::start().await);
    let id = StoreId::random();
    let to = async |double: &Double, expected| {
        let mut config = config(&double.url());
        config.timeout = Duration::from_secs(5);
        let store = ObjectStore::s3(config).await.unwrap();
        store.expect(expected);
        store
    };
    let store = to(&ours, Expected::New(id)).await;
    store.bucket().unwrap().signer().await.unwrap();
    assert_eq!(store.mark().await.unwrap(), Some(id));
    put(&store, KEY, &pattern(1000)).await.unwrap();

    // The same name at another server: without a mark, and with that of another hub.
    for _ in 0..2 {
        let store = to(&other, Expected::Known(id)).await;
        let bucket = store.bucket().unwrap();
        let unavailable = |error: StoreError| assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        unavailable(store.confirm().await.unwrap_err());
        unavailable(get(&store, KEY, 0..1000).await.unwrap_err());
        unavailable(store.sha256(KEY).await.unwrap_err());
        unavailable(store.size_bytes(KEY).await.unwrap_err());
        unavailable(store.delete(KEY, 1000).await.unwrap_err());
        unavailable(put(&store, KEY, &pattern(10)).await.unwrap_err());
        unavailable(bucket.head(KEY).await.unwrap_err());
        unavailable(bucket.create_multipart(KEY).await.unwrap_err());
        unavailable(bucket.list_parts(KEY, "upload-1").await.unwrap_err());
        unavailable(bucket.complete_multipart(KEY, "upload-1", &[]).await.unwrap_err());
        unavailable(bucket.signer().await.map(drop).unwrap_err());
        assert_eq!(other.count(Op::Put) + other.count(Op::Delete) + other.count(Op::CreateMultipart), 0);
        let mark = Object { bytes: StoreId::random().to_string().into(), sha256: None };
        other.state.lock().unwrap().objects.insert("a prefix/granary-store".into(), mark);
    }
    let store = to(&ours, Expected::Known(id)).await;
    assert_eq!(get(&store, KEY, 0..1000).await.unwrap(), pattern(1000));
    let asked = ours.count(Op::Get);
    store.bucket().unwrap().signer().await.unwrap();
    store.bucket().unwrap().signer().await.unwrap();
    assert_eq!(ours.count(Op::Get), asked + 1, "a batch asks nothing of a bucket that was confirmed once");
}
