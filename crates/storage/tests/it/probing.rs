//! The probe against buckets with bad habits, and against a real server.

use std::time::Duration;

use database::Clock;
use storage::{Capabilities, ObjectStore, S3Config, S3Credentials, StoreError};

use crate::habits::{FakeBucket, Habit};

/// `http://ACCESS:SECRET@127.0.0.1:8333/bucket`
fn config(url: &str) -> S3Config {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (credentials, rest) = rest.split_once('@').unwrap();
    let (access_key, secret_key) = credentials.split_once(':').unwrap();
    let (host, bucket) = rest.split_once('/').unwrap();
    S3Config {
        bucket: bucket.into(),
        prefix: "a prefix/".into(),
        region: "us-east-1".into(),
        endpoint: Some(format!("{scheme}://{host}")),
        public_endpoint: None,
        path_style: true,
        credentials: S3Credentials::Static {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            session_token: None,
        },
        part_buffers: 2,
        part_size: 8 << 20,
        timeout: Duration::from_secs(30),
        clock: Clock::default(),
    }
}

fn server() -> S3Config {
    config(&std::env::var("GRANARY_TEST_S3").unwrap())
}

async fn probe(config: S3Config) -> Result<Capabilities, StoreError> {
    ObjectStore::s3(config).await?.bucket().unwrap().probe().await
}

#[tokio::test]
#[ignore = "needs an S3 server; protocol-tests/run starts one"]
async fn a_server_is_probed_and_left_as_it_was() {
    let config = S3Config { prefix: format!("probed {}", std::process::id()), ..server() };
    let store = ObjectStore::s3(config).await.unwrap();
    let found = store.bucket().unwrap().probe().await.unwrap();
    println!("{found}");
    assert!(found.signed_length && found.multipart && found.range, "{found}");
    assert!(found.signed_checksum && found.head_checksum, "{found}");
    assert_eq!(store.keys_under(".probe/").await.unwrap(), Vec::<String>::new());
}

/// SeaweedFS enforces a checksum in the URL, and takes a payload hash without looking at it.
#[tokio::test]
#[ignore = "needs an S3 server; protocol-tests/run starts one"]
async fn seaweedfs_as_it_is() {
    let found = probe(server()).await.unwrap();
    assert!(found.query_checksum && !found.payload_hash, "{found}");
    assert!(found.clock_skew_s.abs() <= 2, "{found}");
}

#[tokio::test]
#[ignore = "needs an S3 server; protocol-tests/run starts one"]
async fn what_cannot_be_used_is_said() {
    let mut stranger = server();
    stranger.credentials = S3Credentials::Static {
        access_key: "nobody".into(),
        secret_key: "nothing".into(),
        session_token: None,
    };
    let Err(StoreError::Refused(message)) = probe(stranger).await else { panic!("nobody was let in") };
    assert!(message.starts_with("storing a test object: "), "{message}");
}

#[tokio::test]
#[ignore = "needs an S3 server; protocol-tests/run starts one"]
async fn a_public_endpoint_out_of_reach_is_not_probed() {
    let mut config = server();
    config.public_endpoint = Some("http://127.0.0.1:9".into());
    assert!(probe(config).await.unwrap().signed_checksum);
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable() {
    let mut config = config("http://access:secret@127.0.0.1:9/bucket");
    config.timeout = Duration::from_secs(2);
    let error = probe(config).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

const ALL: Capabilities = Capabilities {
    signed_checksum: true,
    query_checksum: true,
    payload_hash: true,
    signed_length: true,
    signed_crc64: true,
    copy: true,
    multipart: true,
    range: true,
    head_checksum: true,
    open_to_write: false,
    open_to_read: false,
    clock_skew_s: 0,
};
const NOTHING_BOUND: Capabilities = Capabilities {
    signed_checksum: false,
    query_checksum: false,
    payload_hash: false,
    head_checksum: false,
    ..ALL
};

const OPEN: Capabilities = Capabilities {
    signed_length: false,
    signed_crc64: false,
    copy: false,
    multipart: false,
    open_to_write: true,
    ..NOTHING_BOUND
};

#[tokio::test]
async fn each_bad_habit_is_found() {
    for (habit, expected) in [
        (Habit::None, ALL),
        (Habit::IgnoresChecksumHeader, Capabilities { signed_checksum: false, ..ALL }),
        (Habit::IgnoresChecksumInUrl, Capabilities { query_checksum: false, ..ALL }),
        (Habit::IgnoresPayloadHash, Capabilities { payload_hash: false, ..ALL }),
        (Habit::IgnoresCrc64, Capabilities { signed_crc64: false, ..ALL }),
        (Habit::CopiesEncodings, Capabilities { copy: false, ..ALL }),
        (Habit::CopiesNothing, Capabilities { copy: false, ..ALL }),
        (Habit::StoresWhatItRefuses, Capabilities { signed_crc64: false, ..NOTHING_BOUND }),
        (Habit::ObeysUnsignedHeaders, NOTHING_BOUND),
        (Habit::ChecksNoSignature, Capabilities { open_to_read: true, ..OPEN }),
        (Habit::ServesAnybody, Capabilities { open_to_read: true, ..ALL }),
        (Habit::TakesOtherKeys, Capabilities { open_to_read: true, ..OPEN }),
        (Habit::TakesAnySignature, Capabilities { open_to_read: true, ..OPEN }),
        (Habit::ShowsEncodings, NOTHING_BOUND),
        (Habit::DecodesWhatItServes, NOTHING_BOUND),
        (Habit::AnswersRangesWhole, Capabilities { range: false, ..ALL }),
        (Habit::TakesLateParts, Capabilities { multipart: false, ..ALL }),
        (Habit::KnowsNoParts, Capabilities { multipart: false, ..ALL }),
        (Habit::HidesChecksums, Capabilities { head_checksum: false, ..ALL }),
        (Habit::IsAnHourAhead, Capabilities { clock_skew_s: 3600, ..ALL }),
    ] {
        let bucket = FakeBucket::start(habit).await;
        let found = probe(bucket.config()).await.unwrap();
        let clock_skew_s = (found.clock_skew_s + 30).div_euclid(60) * 60;
        assert_eq!(Capabilities { clock_skew_s, ..found }, expected, "{habit:?}");
        assert_eq!(bucket.objects(), 0, "{habit:?}");
    }
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_refused_in_words() {
    for (habit, words) in [
        (Habit::KeepsWhatIsDeleted, "was deleted, but it is still there"),
        (Habit::AnswersEndlessly, "an answer of more than 262144 bytes"),
        (Habit::RefusesSignedUrls, "a signed URL did not give it: status 403, SignatureDoesNotMatch: No."),
    ] {
        let bucket = FakeBucket::start(habit).await;
        let message = match probe(bucket.config()).await {
            Err(error @ (StoreError::Refused(_) | StoreError::Unavailable(_))) => error.to_string(),
            other => panic!("{habit:?}: {other:?}"),
        };
        assert!(message.contains(words), "{message}");
    }
    let bucket = FakeBucket::start(Habit::RefusesSignedUrls).await;
    probe(bucket.config()).await.unwrap_err();
    assert_eq!(bucket.objects(), 0, "cleaned up after a failure too");
}
