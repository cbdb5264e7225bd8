//! Which bucket, where, and as whom.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use database::Clock;

/// How to reach a bucket. Checked when it is opened.
#[derive(Clone, Debug)]
pub struct S3Config {
    pub bucket: String,
    /// Stands before every key, as a directory: `granary` or `a/b`; empty for none. Slashes at its ends do not count.
    pub prefix: String,
    pub region: String,
    /// What we talk to: `http://127.0.0.1:8333`. `None`: Amazon's of the region.
    pub endpoint: Option<String>,
    /// What presigned URLs name, since clients may reach the bucket by another name than we do. `None`: `endpoint`.
    pub public_endpoint: Option<String>,
    /// The bucket in the path instead of in the host name.
    pub path_style: bool,
    pub credentials: S3Credentials,
    /// How many buffers of `part_size` all uploads that pass through us share.
    pub part_buffers: usize,
    pub part_size: u64,
    /// Of one request without progress.
    pub timeout: Duration,
    pub clock: Clock,
}

#[derive(Clone)]
pub enum S3Credentials {
    Static {
        access_key: String,
        secret_key: String,
        session_token: Option<String>,
    },
    /// Amazon's usual chain: environment, profile, web identity, container, instance.
    Ambient,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            S3Credentials::Static { access_key, .. } => {
                f.debug_struct("Static").field("access_key", access_key).finish_non_exhaustive()
            }
            S3Credentials::Ambient => f.write_str("Ambient"),
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum S3ConfigError {
    #[error("{0:?} is not an endpoint: write it as http://HOST[:PORT] or https://HOST[:PORT]")]
    Endpoint(String),
    #[error("{0:?} is not the name of a bucket")]
    Bucket(String),
    #[error("the prefix {0:?} has an empty, `.` or `..` part, which clients would rewrite")]
    Prefix(String),
    #[error("{0:?} is not the name of a region")]
    Region(String),
}

impl S3Config {
    /// Under which name the bucket knows `key`.
    pub fn object_name(&self, key: &str) -> String {
        match self.prefix.trim_matches('/') {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    /// Where we ourselves find the bucket.
    pub(super) fn site(&self) -> Result<Site, S3ConfigError> {
        Site::new(self, self.endpoint.as_deref())
    }

    /// Where clients find it.
    pub(super) fn public_site(&self) -> Result<Site, S3ConfigError> {
        Site::new(self, self.public_endpoint.as_deref().or(self.endpoint.as_deref()))
    }
}

/// A bucket as its URLs spell it: a key's URL is `origin`, `path` and the encoded key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// `https://bucket.s3.eu-west-1.amazonaws.com`
    pub origin: String,
    /// As the client's `Host` header will say it, so without the scheme's own port.
    pub host: String,
    /// `/` or `/bucket/prefix/`, encoded.
    pub path: String,
}

impl Site {
    fn new(config: &S3Config, endpoint: Option<&str>) -> Result<Site, S3ConfigError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if config.region.is_empty() || !config.region.bytes().all(is_plain) {
            return Err(S3ConfigError::Region(config.region.clone()));
        }
        let bucket = &config.bucket;
        if matches!(bucket.as_str(), "" | "." | "..") || bucket.contains(|c: char| c == '/' || c.is_control())
        {
            return Err(S3ConfigError::Bucket(bucket.clone()));
        }
        let amazon = || {
            let country = if config.region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://s3.{}.amazonaws.com{country}", config.region)
        };
        let Endpoint { scheme, mut host, mut path } =
            Endpoint::parse(&endpoint.map_or_else(amazon, str::to_owned))?;
        if config.path_style || !fits_host(bucket) || is_address(&host) {
            encode_path(bucket, &mut path);
            path.push('/');
        } else {
            host = format!("{bucket}.{host}");
        }
        let prefix = config.prefix.trim_matches('/');
        if !prefix.is_empty() {
            if prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(S3ConfigError::Prefix(config.prefix.clone()));
            }
            encode_path(prefix, &mut path);
            path.push('/');
        }
        Ok(Site { origin: format!("{scheme}://{host}"), host, path })
    }
}

struct Endpoint {
    scheme: &'static str,
    host: String,
    /// Begins and ends with a slash.
    path: String,
}

impl Endpoint {
    fn parse(text: &str) -> Result<Endpoint, S3ConfigError> {
        let bad = || S3ConfigError::Endpoint(text.to_owned());
        let (scheme, rest, own_port) = match text.split_once("://").ok_or_else(bad)? {
            ("http", rest) => ("http", rest, ":80"),
            ("https", rest) => ("https", rest, ":443"),
            _ => return Err(bad()),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        let is_path = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if host.is_empty() || !host.chars().all(is_host) || !path.chars().all(is_path) {
            return Err(bad());
        }
        let host = host.strip_suffix(own_port).unwrap_or(host).to_ascii_lowercase();
        let path = match path.trim_matches('/') {
            "" => "/".to_owned(),
            path => format!("/{path}/"),
        };
        Ok(Endpoint { scheme, host, path })
    }
}

/// Whether a bucket can stand before the endpoint's host: one label, so that a wildcard certificate covers it.
fn fits_host(bucket: &str) -> bool {
    let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=63).contains(&bucket.len())
        && bucket.bytes().all(is_label)
        && !bucket.starts_with('-')
        && !bucket.ends_with('-')
}

fn is_address(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    name.starts_with('[') || name.parse::<IpAddr>().is_ok()
}

/// Appends `text` in the one form that SigV4 signs: everything but unreserved characters and slashes as `%XX`.
pub(super) fn encode_path(text: &str, into: &mut String) {
    encode(text, true, into);
}

/// As [`encode_path`], slashes too: for names and values of the query.
pub(super) fn encode_query(text: &str, into: &mut String) {
    encode(text, false, into);
}

fn encode(text: &str, keep_slash: bool, into: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        let is_kept = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if is_kept || (keep_slash && byte == b'/') {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(DIGITS[usize::from(byte >> 4)]));
            into.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: Option<&str>, path_style: bool) -> S3Config {
        S3Config {
            bucket: "models".into(),
            prefix: String::new(),
            region: "eu-west-1".into(),
            endpoint: endpoint.map(str::to_owned),
            public_endpoint: None,
            path_style,
            credentials: S3Credentials::Ambient,
            part_buffers: 16,
            part_size: 16 << 20,
            timeout: Duration::from_secs(30),
            clock: Clock::default(),
        }
    }

    fn origin_and_path(config: &S3Config) -> (String, String) {
        let site = config.site().unwrap();
        (site.origin, site.path)
    }

    #[test]
    fn the_bucket_stands_in_the_host_or_in_the_path() {
        let expect = |config: &S3Config, origin: &str, path: &str| {
            assert_eq!(origin_and_path(config), (origin.to_owned(), path.to_owned()));
        };
        expect(&config(None, false), "https://models.s3.eu-west-1.amazonaws.com", "/");
        expect(&config(None, true), "https://s3.eu-west-1.amazonaws.com", "/models/");
        expect(&config(Some("https://S3.example:443/"), false), "https://models.s3.example", "/");
        expect(&config(Some("http://s3.example:443"), true), "http://s3.example:443", "/models/");
        expect(&config(Some("http://s3.example:80/base"), true), "http://s3.example", "/base/models/");
        expect(&config(Some("http://127.0.0.1:8333"), false), "http://127.0.0.1:8333", "/models/");
        expect(&config(Some("http://[::1]:8333"), false), "http://[::1]:8333", "/models/");

        let mut dotted = config(None, false);
        dotted.bucket = "models.example".into();
        expect(&dotted, "https://s3.eu-west-1.amazonaws.com", "/models.example/");
        let mut china = config(None, true);
        china.region = "cn-north-1".into();
        expect(&china, "https://s3.cn-north-1.amazonaws.com.cn", "/models/");
    }

    #[test]
    fn a_prefix_is_a_directory() {
        let mut config = config(Some("http://s3.example"), true);
        config.prefix = "/team a/große/".into();
        assert_eq!(config.site().unwrap().path, "/models/team%20a/gro%C3%9Fe/");
        assert_eq!(config.object_name("objects/x"), "team a/große/objects/x");
        config.prefix = "/".into();
        assert_eq!(config.site().unwrap().path, "/models/");
        assert_eq!(config.object_name("objects/x"), "objects/x");
        for prefix in ["a//b", "../a", "a/."] {
            config.prefix = prefix.into();
            assert_eq!(config.site(), Err(S3ConfigError::Prefix(prefix.into())));
        }
    }

    #[test]
    fn clients_may_know_the_bucket_by_another_name() {
        let mut config = config(Some("http://minio:9000"), true);
        assert_eq!(config.public_site().unwrap().host, "minio:9000");
        config.public_endpoint = Some("https://s3.example".into());
        assert_eq!(config.public_site().unwrap().host, "s3.example");
        assert_eq!(config.site().unwrap().host, "minio:9000");
    }

    #[test]
    fn what_cannot_be_an_endpoint_is_refused() {
        for endpoint in
            ["s3.example", "ftp://s3.example", "http://", "http://a b", "http://u:p@host", "http://a/?q"]
        {
            let refused = config(Some(endpoint), true).site();
            assert_eq!(refused, Err(S3ConfigError::Endpoint(endpoint.into())), "{endpoint}");
        }
        let mut no_bucket = config(None, true);
        no_bucket.bucket = "a/b".into();
        assert_eq!(no_bucket.site(), Err(S3ConfigError::Bucket("a/b".into())));
        let mut no_region = config(None, true);
        no_region.region = "eu west".into();
        assert_eq!(no_region.site(), Err(S3ConfigError::Region("eu west".into())));
    }

    #[test]
    fn secrets_are_not_printed() {
        let mut config = config(None, true);
        config.credentials = S3Credentials::Static {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "the-secret".into(),
            session_token: Some("the-token".into()),
        };
        let printed = format!("{config:?}");
        assert!(printed.contains("AKIDEXAMPLE") && !printed.contains("the-"), "{printed}");
    }
}
