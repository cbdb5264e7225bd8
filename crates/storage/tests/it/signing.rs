//! Every kind of URL against the SDK, which signs the same request as of the same second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, UNIX_EPOCH};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_types::date_time::{DateTime, Format};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use database::{Clock, Sha256};
use storage::{Binding, ObjectStore, S3Config, S3Credentials, Signer};

const HOUR: Duration = Duration::from_secs(3600);
const KEY: &str = "objects/ab/abcdef0123/01jdv3kzq8w7y5n2m4p6r8t0va";
const SHA256: Sha256 = Sha256([0xfb; 32]);
const SIZE: u64 = 5 << 30;

fn config() -> S3Config {
    S3Config {
        bucket: "models".into(),
        prefix: String::new(),
        region: "eu-west-1".into(),
        endpoint: None,
        public_endpoint: None,
        path_style: false,
        credentials: S3Credentials::Static {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        },
        part_buffers: 1,
        part_size: 16 << 20,
        timeout: Duration::from_secs(5),
        clock: Clock::default(),
    }
}

/// One for each way to spell a bucket's URLs and to be somebody.
fn configs() -> Vec<(&'static str, S3Config)> {
    let with = |change: fn(&mut S3Config)| {
        let mut config = config();
        change(&mut config);
        config
    };
    vec![
        ("Amazon, virtual host", config()),
        ("Amazon, us-east-1", with(|config| config.region = "us-east-1".into())),
        ("Amazon, China", with(|config| config.region = "cn-north-1".into())),
        ("Amazon, path style", with(|config| config.path_style = true)),
        ("Amazon, a bucket that is no label", with(|config| config.bucket = "models.example".into())),
        (
            "path style, port",
            with(|config| {
                config.endpoint = Some("http://127.0.0.1:8333/".into());
                config.path_style = true;
            }),
        ),
        ("virtual host, port", with(|config| config.endpoint = Some("https://s3.example:9000".into()))),
        ("the scheme's own port", with(|config| config.endpoint = Some("https://s3.example:443".into()))),
        (
            "path before the bucket",
            with(|config| {
                config.endpoint = Some("https://gateway.example/s3/".into());
                config.path_style = true;
            }),
        ),
        ("odd prefix", with(|config| config.prefix = "Team A+B/große*~(x)'!@:,;=&$?#%41[1]".into())),
        (
            "session token",
            with(|config| {
                config.credentials = S3Credentials::Static {
                    access_key: "ASIA/EXAMPLE".into(),
                    secret_key: "secret".into(),
                    session_token: Some("FwoGZXIvYXdzE+/=~ ü".repeat(40)),
                };
            }),
        ),
    ]
}

async fn signer(config: &S3Config) -> Signer {
    let store = ObjectStore::s3(config.clone()).await.unwrap();
    store.bucket().unwrap().signer().await.unwrap()
}

fn credentials(config: &S3Config) -> Credentials {
    let S3Credentials::Static { access_key, secret_key, session_token } = &config.credentials else {
        panic!("tests have static credentials")
    };
    Credentials::new(access_key, secret_key, session_token.clone(), None, "test")
}

fn sdk(config: &S3Config) -> aws_sdk_s3::Client {
    let mut settings = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(credentials(config))
        .region(Region::new(config.region.clone()))
        .force_path_style(config.path_style);
    settings.set_endpoint_url(config.endpoint.clone());
    aws_sdk_s3::Client::from_conf(settings.build())
}

/// What stands before the query, and the parameters, signature and all.
#[derive(Debug, PartialEq)]
pub struct Parts<'a> {
    pub target: &'a str,
    pub query: BTreeMap<&'a str, &'a str>,
}

impl Parts<'_> {
    pub fn of(url: &str) -> Parts<'_> {
        let (target, query) = url.split_once('?').unwrap();
        Parts { target, query: query.split('&').map(|pair| pair.split_once('=').unwrap()).collect() }
    }

    fn seconds(&self) -> u64 {
        let date = self.query["X-Amz-Date"];
        let (day, time) = (&date[..8], &date[9..15]);
        let [year, month, day] = [&day[..4], &day[4..6], &day[6..]];
        let [hour, minute, second] = [&time[..2], &time[2..4], &time[4..]];
        let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
        DateTime::from_str(&text, Format::DateTime).unwrap().secs().unsigned_abs()
    }

    fn expires(&self) -> Duration {
        Duration::from_secs(self.query["X-Amz-Expires"].parse().unwrap())
    }

    /// Signed as of the same second and for as long as this one.
    fn presigning(&self) -> PresigningConfig {
        let start = UNIX_EPOCH + Duration::from_secs(self.seconds());
        PresigningConfig::builder().start_time(start).expires_in(self.expires()).build().unwrap()
    }
}

/// The SDK keeps default ports and the slash of an endpoint's path as they were written.
fn check(name: &str, ours: &str, theirs: &PresignedRequest) {
    let theirs = theirs.uri().replace("s3.example:443/", "s3.example/");
    assert_eq!(Parts::of(ours), Parts::of(&theirs), "{name}");
}

#[tokio::test]
async fn downloads() {
    for (name, config) in configs() {
        let ours = signer(&config).await.get(KEY, HOUR);
        check_download(name, &config, "attachment", &ours).await;
        assert_eq!(Parts::of(&ours).seconds() % 300, 0);
        assert_eq!(Parts::of(&ours).expires(), HOUR + Duration::from_secs(300));
    }
}

#[tokio::test]
async fn downloads_that_say_how_to_be_saved() {
    for disposition in [
        "attachment; filename*=UTF-8''model%2D00001%2Esafetensors; filename=\"model-00001.safetensors\";",
        "attachment; filename*=UTF-8''gro%C3%9Fe%20%22Gewichte%22%2Ebin; filename=\"gro_e _Gewichte_.bin\";",
        "attachment; filename=\"große\t+&=?#%41/\\~*(x)'!@:,$[1]\"",
        "inline",
        "",
    ] {
        for (name, config) in configs() {
            let ours = signer(&config).await.get_as(KEY, disposition, HOUR);
            check_download(&format!("{name}, {disposition}"), &config, disposition, &ours).await;
        }
    }
}

async fn check_download(name: &str, config: &S3Config, disposition: &str, ours: &str) {
    let theirs = sdk(config)
        .get_object()
        .bucket(&config.bucket)
        .key(config.object_name(KEY))
        .response_content_disposition(disposition)
        .response_content_encoding("identity")
        .response_content_type("application/octet-stream");
    check(name, ours, &theirs.presigned(Parts::of(ours).presigning()).await.unwrap());
}

#[tokio::test]
async fn downloads_of_one_range() {
    for (name, config) in configs() {
        let ours = signer(&config).await.get_range(KEY, &(5..=1_000_000), HOUR);
        let theirs = sdk(&config)
            .get_object()
            .bucket(&config.bucket)
            .key(config.object_name(KEY))
            .range("bytes=5-1000000")
            .presigned(Parts::of(&ours).presigning())
            .await
            .unwrap();
        check(name, &ours, &theirs);
        assert_eq!(Parts::of(&ours).query["X-Amz-SignedHeaders"], "host%3Brange");
        let told: Vec<_> = theirs.headers().collect();
        assert_eq!(told, [("range", "bytes=5-1000000")], "{name}");
    }
}

#[tokio::test]
async fn uploads_with_a_signed_header() {
    for (name, config) in configs() {
        let ours = signer(&config).await.put(KEY, &SHA256, SIZE, Binding::SignedHeader, HOUR);
        let checksum = BASE64.encode(SHA256.0);
        let theirs = sdk(&config)
            .put_object()
            .bucket(&config.bucket)
            .key(config.object_name(KEY))
            .content_length(SIZE.cast_signed())
            .checksum_sha256(&checksum)
            .presigned(Parts::of(&ours.href).presigning())
            .await
            .unwrap();
        check(name, &ours.href, &theirs);
        assert_eq!(ours.header, [("x-amz-checksum-sha256", checksum)]);
        let told: BTreeMap<_, _> = theirs.headers().filter(|(name, _)| *name != "content-length").collect();
        assert_eq!(told, BTreeMap::from([("x-amz-checksum-sha256", ours.header[0].1.as_str())]), "{name}");
        assert_eq!(Parts::of(&ours.href).expires(), HOUR);
    }
}

#[tokio::test]
async fn uploads_of_what_is_proven_elsewhere() {
    for (name, config) in configs() {
        let signer = signer(&config).await;
        for crc64 in [None, Some(7u64)] {
            let ours = signer.put_draft(KEY, SIZE, crc64, HOUR);
            let checksum = crc64.map(|crc64| BASE64.encode(crc64.to_be_bytes()));
            let theirs = sdk(&config)
                .put_object()
                .bucket(&config.bucket)
                .key(config.object_name(KEY))
                .content_length(SIZE.cast_signed())
                .set_checksum_crc64_nvme(checksum.clone())
                .presigned(Parts::of(&ours.href).presigning())
                .await
                .unwrap();
            check(name, &ours.href, &theirs);
            let told: Vec<_> = checksum.map(|sum| ("x-amz-checksum-crc64nvme", sum)).into_iter().collect();
            assert_eq!(ours.header, told, "{name}");
        }
    }
}

#[tokio::test]
async fn parts() {
    for (name, config) in configs() {
        for (upload, number) in [("VXBsb2FkIElE", 1), ("a/b+c=~ ü&partNumber=2", 10_000)] {
            let ours = signer(&config).await.part(KEY, upload, number, HOUR);
            let theirs = sdk(&config)
                .upload_part()
                .bucket(&config.bucket)
                .key(config.object_name(KEY))
                .upload_id(upload)
                .part_number(number.cast_signed());
            check(name, &ours, &theirs.presigned(Parts::of(&ours).presigning()).await.unwrap());
        }
    }
}

/// The SDK makes no such URLs, so its signer is given the request without our signature.
#[tokio::test]
async fn uploads_bound_by_the_url_alone() {
    for (name, config) in configs() {
        let signer = signer(&config).await;
        let by_query = signer.put(KEY, &SHA256, SIZE, Binding::QueryChecksum, HOUR);
        let by_payload = signer.put(KEY, &SHA256, SIZE, Binding::PayloadHash, HOUR);
        let hash = SHA256.to_string();
        assert_eq!(Parts::of(&by_query.href).query["X-Amz-Checksum-Sha256"], encoded_checksum());
        assert_eq!(Parts::of(&by_payload.href).query["X-Amz-Content-Sha256"], hash);
        for (put, body) in
            [(by_query, SignableBody::UnsignedPayload), (by_payload, SignableBody::Precomputed(hash))]
        {
            assert!(put.header.is_empty());
            let ours = Parts::of(&put.href);
            assert_eq!(ours.query["X-Amz-SignedHeaders"], "content-length%3Bhost", "{name}");
            let size = [("content-length", "5368709120")];
            assert_eq!(
                ours.query["X-Amz-Signature"],
                signature(&config, "PUT", &ours, &size, body),
                "{name}"
            );
        }
    }
}

fn encoded_checksum() -> String {
    BASE64.encode(SHA256.0).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// Of a request with these signed headers besides `host`.
pub fn signature(
    config: &S3Config,
    method: &str,
    url: &Parts<'_>,
    headers: &[(&str, &str)],
    body: SignableBody<'_>,
) -> String {
    let by_signer =
        ["Algorithm", "Credential", "Date", "Expires", "Security-Token", "SignedHeaders", "Signature"];
    let is_by_signer = |name: &str| name.strip_prefix("X-Amz-").is_some_and(|name| by_signer.contains(&name));
    let query: Vec<_> = url.query.iter().filter(|(name, _)| !is_by_signer(name)).collect();
    let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(url.expires());
    let identity = credentials(config).into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&config.region)
        .name("s3")
        .time(UNIX_EPOCH + Duration::from_secs(url.seconds()))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let target = format!("{}?{}", url.target, query.join("&"));
    let request = SignableRequest::new(method, target, headers.iter().copied(), body).unwrap();
    sign(request, &params).unwrap().into_parts().1
}

#[tokio::test]
async fn a_lifetime_ends_with_the_week() {
    let signer = signer(&config()).await;
    let week = Duration::from_secs(7 * 24 * 3600);
    assert_eq!(signer.lifetime_max(), week - Duration::from_secs(300));
    let long = signer.part(KEY, "upload", 1, week * 2);
    assert_eq!(Parts::of(&long).expires(), week);
    let no_time = signer.part(KEY, "upload", 1, Duration::ZERO);
    assert_eq!(Parts::of(&no_time).expires(), Duration::from_secs(1));
}

#[tokio::test]
async fn clients_are_given_the_public_endpoint() {
    let mut config = config();
    config.endpoint = Some("http://minio:9000".into());
    config.public_endpoint = Some("https://s3.example".into());
    config.path_style = true;
    let url = signer(&config).await.get(KEY, HOUR);
    assert_eq!(Parts::of(&url).target, format!("https://s3.example/models/{KEY}"));
    let printed = format!("{:?}", signer(&config).await);
    assert!(!printed.contains("EXAMPLEKEY"), "{printed}");
}

const FROM_ENVIRONMENT: &str = "ASIAFROMENVIRONMENT";

#[test]
fn ambient_credentials_are_found_and_sign() {
    #[expect(clippy::disallowed_methods, reason = "an environment of its own takes a process of its own")]
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "signing::in_an_environment_with_credentials"])
        .env("AWS_ACCESS_KEY_ID", FROM_ENVIRONMENT)
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_SESSION_TOKEN", "session/token")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && printed.contains("1 passed"), "{printed}");
}

#[tokio::test]
#[ignore = "started by ambient_credentials_are_found_and_sign"]
async fn in_an_environment_with_credentials() {
    if std::env::var("AWS_ACCESS_KEY_ID").as_deref() != Ok(FROM_ENVIRONMENT) {
        return;
    }
    let config = S3Config { credentials: S3Credentials::Ambient, ..config() };
    let url = signer(&config).await.get(KEY, HOUR);
    let url = Parts::of(&url);
    assert!(url.query["X-Amz-Credential"].starts_with(FROM_ENVIRONMENT), "{url:?}");
    assert_eq!(url.query["X-Amz-Security-Token"], "session%2Ftoken");
}

#[test]
#[ignore = "prints a number; run it with --release"]
fn microseconds_a_signature() {
    const COUNT: u32 = 100_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let signer = runtime.block_on(signer(&config()));
    let mut bytes = 0;
    let start = Instant::now();
    for number in 0..COUNT {
        let mut sha256 = SHA256;
        sha256.0[..4].copy_from_slice(&number.to_be_bytes());
        bytes += signer.put(KEY, &sha256, SIZE, Binding::SignedHeader, HOUR).href.len();
    }
    let upload = start.elapsed() / COUNT;
    let start = Instant::now();
    for _ in 0..COUNT {
        bytes += signer.get(KEY, HOUR).len();
    }
    println!(
        "an upload {upload:?}, a download {:?} ({} bytes a URL)",
        start.elapsed() / COUNT,
        bytes / 2 / COUNT as usize
    );
}
