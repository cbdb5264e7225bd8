//! The SDK's client, the requests that answer at once, and what its errors mean to us.

use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use database::Sha256;
use tokio::sync::Semaphore;

use super::write::PART_MIN;
use super::{Bucket, Capabilities, Head, Inner, S3Config, credentials};
use crate::StoreError;
use crate::objects::{Expected, Hasher, Identity, MARK, MARK_BYTES_MAX, Marked, StoreId};

/// How often a request is tried that may be repeated.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A request that carries nothing gets so long, whatever `storage.s3_timeout` says, with all its retries: clients wait
/// for the answer, and git-lfs leaves after 30 s without a byte.
const CONTROL_MAX: Duration = Duration::from_secs(20);
/// Each of its attempts: so that one that was lost leaves time for another.
const CONTROL_ATTEMPT_MAX: Duration = Duration::from_secs(8);

impl Bucket {
    /// Checks `config`; asks nothing of the bucket.
    pub(crate) async fn connect(config: S3Config) -> Result<Bucket, StoreError> {
        let refused = |error| StoreError::Refused(format!("the configuration is wrong: {error}"));
        config.site().map_err(refused)?;
        config.public_site().map_err(refused)?;
        let tls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        let http = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
        let credentials = credentials::provider(&config, http.clone()).await;
        Ok(Bucket::of(config, http, credentials))
    }

    fn of(config: S3Config, http: SharedHttpClient, credentials: SharedCredentialsProvider) -> Bucket {
        let mut settings = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .credentials_provider(credentials.clone())
            // The provider knows how long its credentials are good. A second cache would go on with a set that the signer
            // has left, into the last minute.
            .identity_cache(IdentityCache::no_cache())
            .region(Region::new(config.region.clone()))
            .force_path_style(config.path_style)
            .timeout_config(control_timeouts(config.timeout))
            .retry_config(
                RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_PAUSE),
            )
            // The SDK's own checksums come as trailers, which other servers than Amazon's do not know.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            // A body that we send is one frame to the SDK, and one that we receive is read at the pace of a client:
            // `upload_timeouts` and the reader's own watch see more.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = &config.endpoint {
            // Without the slash it would glue the bucket to a path of the endpoint.
            settings = settings.endpoint_url(format!("{}/", endpoint.trim_end_matches('/')));
        }
        let client = aws_sdk_s3::Client::from_conf(settings.build());
        let buffers = Arc::new(Semaphore::new(config.part_buffers.max(1)));
        let capabilities = RwLock::new(Capabilities::default());
        let identity = Identity::new(Expected::Any);
        let spool = OnceLock::new();
        Bucket(Arc::new(Inner { config, client, credentials, capabilities, identity, buffers, spool }))
    }

    pub(crate) fn describe(&self) -> String {
        let config = &self.0.config;
        let prefix = match config.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!(" under {prefix}/"),
        };
        let endpoint = config.endpoint.as_deref().unwrap_or("Amazon S3");
        format!("the bucket {}{prefix} at {endpoint}, region {}", config.bucket, config.region)
    }

    /// `None` if there is nothing under `key`. Either is said only of the bucket that is meant: a client may have put
    /// an object into another one, by our own URL.
    pub async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
        self.confirm().await?;
        self.head_object(key).await
    }

    /// As [`Bucket::head`], of whatever bucket it is.
    pub(crate) async fn head_object(&self, key: &str) -> Result<Option<Head>, StoreError> {
        let request = self.0.client.head_object().bucket(&self.0.config.bucket).key(self.object_name(key));
        match Box::pin(request.checksum_mode(ChecksumMode::Enabled).send()).await {
            Ok(head) => {
                let size = head.content_length().and_then(|size| u64::try_from(size).ok());
                let size = size.ok_or_else(|| StoreError::unavailable("an answer without Content-Length"))?;
                let is_of_parts = head.checksum_type() == Some(&ChecksumType::Composite);
                let sha256 = head.checksum_sha256().filter(|_| !is_of_parts).and_then(checksum);
                Ok(Some(Head { size, sha256 }))
            }
            Err(error) => match store_error(error) {
                StoreError::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    /// With what interrupted uploads left of it, if an object of `size` bytes is uploaded in parts.
    pub(crate) async fn delete(&self, key: &str, size: u64) -> Result<(), StoreError> {
        self.delete_object(key).await?;
        match size > PART_MIN {
            true => self.end_multiparts(key).await,
            false => Ok(()),
        }
    }

    pub(super) async fn delete_object(&self, key: &str) -> Result<(), StoreError> {
        let request = self.0.client.delete_object().bucket(&self.0.config.bucket).key(self.object_name(key));
        match Box::pin(request.send()).await.map_err(store_error) {
            Ok(_) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn keys_under(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let own_prefix = self.object_name("");
        let mut keys = Vec::new();
        let request =
            self.0.client.list_objects_v2().bucket(&self.0.config.bucket).prefix(self.object_name(prefix));
        let mut pages = request.into_paginator().send();
        while let Some(page) = pages.next().await {
            for object in page.map_err(store_error)?.contents() {
                keys.extend(object.key().and_then(|name| name.strip_prefix(&own_prefix)).map(str::to_owned));
            }
        }
        Ok(keys)
    }

    /// The name in the bucket of what is stored under `key`.
    pub(super) fn object_name(&self, key: &str) -> String {
        self.0.config.object_name(key)
    }

    /// For requests that are answered by an object, whose first byte may take its time.
    pub(super) fn download_timeouts(&self) -> aws_sdk_s3::config::Builder {
        aws_sdk_s3::Config::builder().timeout_config(long_timeouts(self.0.config.timeout, ATTEMPTS))
    }

    /// For requests that carry `bytes`: a bucket that takes less than 1 MiB a second counts as stalled.
    pub(super) fn upload_timeouts(&self, bytes: u64) -> aws_sdk_s3::config::Builder {
        let within = self.0.config.timeout + Duration::from_secs(bytes >> 20);
        aws_sdk_s3::Config::builder().timeout_config(long_timeouts(within, ATTEMPTS))
    }
}

impl Marked for Bucket {
    async fn read_mark(&self) -> Result<Option<StoreId>, StoreError> {
        let request = self.0.client.get_object().bucket(&self.0.config.bucket).key(self.object_name(MARK));
        let mut answer = match Box::pin(request.send()).await {
            Ok(answer) => answer.body,
            Err(error) => match store_error(error) {
                StoreError::NotFound => return Ok(None),
                error => return Err(error),
            },
        };
        let mut bytes = Vec::new();
        let reading = async {
            while let Some(piece) = answer.try_next().await.map_err(StoreError::unavailable)? {
                bytes.extend_from_slice(&piece);
                if bytes.len() >= MARK_BYTES_MAX {
                    break;
                }
            }
            StoreId::of_mark(&bytes).map(Some)
        };
        let within = self.0.config.timeout;
        tokio::time::timeout(within, reading).await.unwrap_or_else(|late| Err(StoreError::unavailable(late)))
    }

    async fn write_mark(&self, id: StoreId) -> Result<(), StoreError> {
        let mark = id.mark();
        let sha256 = Hasher::of(&mark);
        self.put(MARK, mark, &sha256).await
    }
}

/// Of requests that carry nothing.
fn control_timeouts(within: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(within.min(CONNECT_MAX))
        .operation_attempt_timeout(within.min(CONTROL_ATTEMPT_MAX))
        .operation_timeout(CONTROL_MAX)
        .build()
}

/// Of those that take their time: an answer must have begun `within` this of the request, and of the first of so many
/// `attempts` within as many times that.
pub(super) fn long_timeouts(within: Duration, attempts: u32) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(within.min(CONNECT_MAX))
        .operation_attempt_timeout(within)
        .operation_timeout(within * attempts)
        .build()
}

pub(super) fn body(bytes: bytes::Bytes) -> ByteStream {
    ByteStream::from(bytes)
}

/// As S3 writes it; that of a multipart upload ends in the number of its parts, and is of their checksums.
fn checksum(base64: &str) -> Option<Sha256> {
    Some(Sha256(BASE64.decode(base64).ok()?.try_into().ok()?))
}

pub(super) fn as_checksum(sha256: &Sha256) -> String {
    BASE64.encode(sha256.0)
}

/// What `error` means to the caller. Messages of the bucket go to the operator: they hold no secrets, and the SDK's own
/// text for such errors says little.
pub(super) fn store_error<E>(error: SdkError<E, HttpResponse>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let service = match &error {
        SdkError::ServiceError(service) => service,
        _ => return StoreError::unavailable(causes(&error)),
    };
    let (status, meta) = (service.raw().status().as_u16(), service.err().meta());
    let message = match (meta.code(), meta.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => format!("status {status}"),
    };
    meaning(status, meta.code().unwrap_or_default(), message)
}

/// The error and what is behind it, each said once. The SDK's own way to do so adds the Debug form.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn meaning(status: u16, code: &str, message: String) -> StoreError {
    let refused = |advice: &str| StoreError::Refused(format!("{message} ({advice})"));
    match (status, code) {
        (_, "NoSuchBucket") => refused("check the bucket's name in storage.url, and storage.s3_endpoint"),
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AuthorizationHeaderMalformed") => {
            refused("check storage.s3_access_key, storage.s3_secret_key and storage.s3_region")
        }
        (_, "ExpiredToken" | "InvalidToken") => refused("the session token has expired or is wrong"),
        (_, "RequestTimeTooSkewed") => refused("set this machine's clock right"),
        (_, "PermanentRedirect" | "IllegalLocationConstraintException") => {
            refused("the bucket is elsewhere: check storage.s3_region and storage.s3_endpoint")
        }
        (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage") => StoreError::Full,
        (429 | 500..=599, _) | (_, "SlowDown" | "RequestTimeout" | "Throttling" | "OperationAborted") => {
            StoreError::unavailable(message)
        }
        (404, _) | (_, "NoSuchKey" | "NotFound") => StoreError::NotFound,
        (401 | 403, _) => refused(
            "check the credentials and that they may get, put, delete and list in this bucket; without the right to \
             list, a missing object looks forbidden",
        ),
        (301 | 307, _) => refused("the bucket is elsewhere: check storage.s3_region and storage.s3_endpoint"),
        _ => StoreError::Refused(message),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::UNIX_EPOCH;

    use aws_credential_types::Credentials;
    use aws_credential_types::provider::{ProvideCredentials, future};
    use database::Clock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::S3Credentials;
    use super::*;

    /// Gives another key each time, good for an hour.
    #[derive(Debug, Default)]
    struct Issuer(AtomicUsize);

    impl ProvideCredentials for Issuer {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let number = self.0.fetch_add(1, Relaxed);
            let end_ms = Clock::default().now_ms().unsigned_abs() + 3_600_000;
            let end = UNIX_EPOCH + Duration::from_millis(end_ms);
            let credentials = Credentials::new(format!("key-{number}"), "secret", None, Some(end), "test");
            future::ProvideCredentials::ready(Ok(credentials))
        }
    }

    #[tokio::test]
    async fn each_request_is_signed_by_the_credentials_of_now() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = S3Config {
            bucket: "models".into(),
            prefix: String::new(),
            region: "eu-west-1".into(),
            endpoint: Some(format!("http://{}", server.local_addr().unwrap())),
            public_endpoint: None,
            path_style: true,
            credentials: S3Credentials::Ambient,
            part_buffers: 1,
            part_size: 8 << 20,
            timeout: Duration::from_secs(5),
            clock: Clock::default(),
        };
        let tls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        let http = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
        let bucket = Bucket::of(config, http, SharedCredentialsProvider::new(Issuer::default()));
        for number in 0..3 {
            let answered = async {
                let (mut stream, _) = server.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                String::from_utf8(head).unwrap()
            };
            let (found, head) = tokio::join!(bucket.head_object("objects/x"), answered);
            assert_eq!(found.unwrap(), None);
            assert!(head.contains(&format!("Credential=key-{number}/")), "{head}");
        }
    }

    #[test]
    fn answers_of_buckets_are_told_apart_by_what_can_be_done() {
        let of = |status, code: &str| meaning(status, code, format!("{code}: text"));
        assert!(matches!(of(404, "NoSuchKey"), StoreError::NotFound));
        assert!(matches!(of(404, ""), StoreError::NotFound), "HEAD has no body to say more");
        assert!(matches!(of(503, "SlowDown"), StoreError::Unavailable(_)));
        assert!(matches!(of(500, "InternalError"), StoreError::Unavailable(_)));
        assert!(matches!(of(400, "RequestTimeout"), StoreError::Unavailable(_)));
        assert!(matches!(of(507, ""), StoreError::Full));
        assert!(matches!(of(403, "QuotaExceeded"), StoreError::Full));
        for (status, code, advice) in [
            (404, "NoSuchBucket", "storage.url"),
            (403, "InvalidAccessKeyId", "s3_access_key"),
            (403, "RequestTimeTooSkewed", "clock"),
            (403, "AccessDenied", "may get, put, delete"),
            (301, "PermanentRedirect", "s3_region"),
        ] {
            let StoreError::Refused(message) = of(status, code) else { panic!("{code}") };
            assert!(message.starts_with(code) && message.contains(advice), "{message}");
        }
    }

    #[test]
    fn causes_are_told_in_words() {
        #[derive(Debug, thiserror::Error)]
        #[error("dispatch failure")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("connection refused"));
        assert_eq!(causes(&error), "dispatch failure: connection refused");
    }

    #[test]
    fn only_a_checksum_of_all_bytes_counts() {
        let sha256 = crate::objects::Hasher::of(b"weights");
        assert_eq!(checksum(&as_checksum(&sha256)), Some(sha256));
        assert_eq!(checksum(&format!("{}-2", as_checksum(&sha256))), None);
        assert_eq!(checksum("AAAA"), None);
    }
}
