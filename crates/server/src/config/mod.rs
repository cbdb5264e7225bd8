//! The configuration: one TOML file, every key of it overridden by `GRANARY__SECTION__KEY`.
//!
//! The structs here are its documentation: a field's comment says what the key does, [`Default`] what it is when not
//! given. An unknown key is an error wherever it stands. Sizes are written `10MiB`, durations `30s`.

mod limits;
mod load;
mod network;
mod objects;
pub mod units;
mod webhooks;
mod xet;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use load::{ConfigError, environment, load};
pub use network::{Network, NetworkError};
pub use objects::{Lfs, Secret, SecretError, StorageUrl, StorageUrlError};
pub use units::{Size, Span};
pub use webhooks::{Allowed, AllowedError, Webhooks};
pub use xet::{DedupScope, Xet};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub storage: Storage,
    pub lfs: Lfs,
    pub xet: Xet,
    pub limits: Limits,
    pub auth: Auth,
    pub repos: Repos,
    pub maintenance: Maintenance,
    pub webhooks: Webhooks,
    pub log: Log,
}

/// `[server]`: the listener and its connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port of HTTP. TLS is the proxy's job. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How clients reach this server, if not by `listen`: `https://hub.example.org`. Goes into printed commands and
    /// answered URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<PublicUrl>,
    /// Whose `X-Forwarded-Proto` and `X-Forwarded-Host` say how clients reach this server, unless `public_url` does:
    /// `["127.0.0.1", "10.0.0.0/8"]`. From anybody else they count for nothing.
    pub trusted_proxies: Vec<Network>,
    /// Serves `/metrics`, `/healthz` and `/readyz` there instead of on `listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<SocketAddr>,
    /// Connections of a listener at the same time (`listen` and `metrics_listen` have each their own); those beyond it
    /// wait in the kernel's queue.
    pub max_connections: NonZeroUsize,
    /// From the first byte of a request to the end of its headers.
    pub header_timeout: Span,
    /// Between two requests of a connection that is kept alive.
    pub idle_timeout: Span,
    /// Without 1 KiB of a request's body. That of a fetch must also be complete after twice this time, and a second more
    /// for each 16 KiB of it.
    pub body_timeout: Span,
    /// Without 64 KiB of the answer taken by a client that keeps the server waiting.
    pub write_timeout: Span,
    /// How long requests under way may go on after SIGTERM.
    pub drain_timeout: Span,
}

/// `[storage]`: where things lie, and how much of the disk they may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The data directory; on a local file system. In the file a relative path counts from the file's directory.
    pub data_dir: PathBuf,
    /// Where large objects (Git LFS) lie: `file:/nas/granary`, a directory that may be on a network file system, or
    /// `s3://bucket/prefix`, to and from which clients then move them directly. Absent: the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<StorageUrl>,
    /// How this server reaches the S3 service: `http://127.0.0.1:8333`. Absent: AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_endpoint: Option<PublicUrl>,
    /// How clients reach it, which the addresses given to them name. Absent: `s3_endpoint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_public_endpoint: Option<PublicUrl>,
    pub s3_region: String,
    /// `ENDPOINT/BUCKET/KEY` instead of `BUCKET.ENDPOINT/KEY`. Absent: if there is an `s3_endpoint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_path_style: Option<bool>,
    /// Absent: what AWS's tools would use, from the environment, a profile, the container or the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_access_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_secret_key: Option<Secret>,
    /// Holds the secret key instead. In the file a relative path counts from the file's directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_secret_key_file: Option<PathBuf>,
    /// Of temporary credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_session_token: Option<Secret>,
    /// Parts, of `lfs.part_size`, held in memory for all uploads that pass through this server to S3.
    pub s3_part_buffers: NonZeroUsize,
    /// Of a request to S3, without progress.
    pub s3_timeout: Span,
    /// Writes are refused while less than this is free; so is what needs a file for the time of a request.
    pub min_free: Size,
    /// Bytes of fetch answers under way, on disk and in memory.
    pub spool_max: Size,
    /// Bytes of pushes under way, on disk.
    pub staging_max: Size,
    /// Bytes of requests of fetches under way, on disk and in memory; a quarter is for those up to 64 KiB. Beyond it they
    /// are answered 429.
    pub fetch_bodies_max: Size,
    /// Bytes of finished fetch answers kept for the next who asks the same; on disk.
    pub response_cache: Size,
    /// The same, for small answers; in memory.
    pub response_cache_memory: Size,
    /// Decoded commits and trees; in memory.
    pub object_cache: Size,
    /// Snapshots of repositories and their packs kept open, counted together. An open pack is a memory mapping, of
    /// which Linux allows a process 65,530.
    pub snapshot_cache: NonZeroUsize,
}

/// `[limits]`: what one request may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// A pushed pack.
    pub pack_bytes: Size,
    /// Objects in a pushed pack.
    pub objects: NonZeroU32,
    /// One object, inflated. Objects that are not files are read into memory whole.
    pub object_bytes: Size,
    /// A commit over HTTP, with the files in it as they are sent: a third larger than they are.
    pub commit_bytes: Size,
    /// One file that is not stored by Git LFS. `repo create --blob-max` overrides it for a repository.
    pub blob_bytes: Size,
    /// All objects of a pushed pack together, inflated and made from deltas: the time that a push can cost.
    pub inflated_bytes: Size,
    /// Memory for delta bases while one pushed pack is indexed; what does not fit is made again.
    pub ingest_memory: Size,
    /// Refs in one repository.
    pub refs: u64,
    /// A full ref name.
    pub ref_name_bytes: NonZeroUsize,
    /// Ref updates in one push.
    pub commands: NonZeroUsize,
    /// Options (`git push -o`) of one push.
    pub push_options: usize,
    /// Objects and refs that one fetch wants. A mirror of a repository with a million refs wants them all.
    pub wants: NonZeroUsize,
    /// `have` lines of one round of a fetch.
    pub haves: NonZeroUsize,
    /// `ref-prefix` lines of one listing; from so many on they are ignored and every ref is listed.
    pub prefixes: NonZeroUsize,
    /// `shallow` lines of a fetch or a push.
    pub shallow: usize,
    /// Commits looked at on behalf of one fetch, for a shallow boundary and for what the client lacks.
    pub walk_commits: NonZeroUsize,
    /// A fetch request after inflating `Content-Encoding: gzip`.
    pub request_inflated: Size,
    /// Fetch answers computed at the same time; 0 is one per CPU. Beside them as many large listings of refs, up to 4.
    pub cold_builds: usize,
    /// Fetches waiting for that, and listings; those beyond it are answered 429.
    pub cold_builds_waiting: usize,
    /// Pushes, imports and maintenance runs that compute at the same time; 0 is one per CPU.
    pub concurrent_changes: usize,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Public repositories can be read without a token. If off, by every user.
    pub anonymous_read: bool,
}

/// `[repos]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Repos {
    /// Of repositories created by somebody who did not say.
    pub default_visibility: DefaultVisibility,
}

/// `[maintenance]`: when packs are compacted, and how long what is not needed stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Maintenance {
    /// How often due work is looked for. Work that becomes due by a push is found earlier.
    pub interval: Span,
    /// How long a pack replaced by compaction stays for those who read it. Longer than a backup takes.
    pub superseded: Span,
    /// How long what no ref reaches any more stays.
    pub gc_retention: Span,
    /// A pack that was begun so long ago belongs to a writer that died.
    pub staged: Span,
}

/// `[log]`: to stderr. Tokens never get there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or per part: `info,server=debug`.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultVisibility {
    Private,
    Public,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

/// `http://host[:port]` or `https://…`, without a slash at its end and without a path: routes start at the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not http://HOST[:PORT] or https://HOST[:PORT] (without a path)")]
pub struct PublicUrlError(String);

impl PublicUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            public_url: None,
            trusted_proxies: vec![
                Network::of(Ipv4Addr::LOCALHOST.into()),
                Network::of(Ipv6Addr::LOCALHOST.into()),
            ],
            metrics_listen: None,
            max_connections: nonzero(4096),
            header_timeout: Span::seconds(15),
            idle_timeout: Span::seconds(75),
            body_timeout: Span::seconds(60),
            write_timeout: Span::seconds(300),
            drain_timeout: Span::seconds(30),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Storage {
            data_dir: PathBuf::from("./granary-data"),
            url: None,
            s3_endpoint: None,
            s3_public_endpoint: None,
            s3_region: "us-east-1".to_owned(),
            s3_path_style: None,
            s3_access_key: None,
            s3_secret_key: None,
            s3_secret_key_file: None,
            s3_session_token: None,
            s3_part_buffers: nonzero(16),
            s3_timeout: Span::seconds(30),
            min_free: Size::gib(1),
            spool_max: Size::gib(16),
            staging_max: Size::gib(64),
            fetch_bodies_max: Size::gib(1),
            response_cache: Size::gib(1),
            response_cache_memory: Size::mib(64),
            object_cache: Size::mib(64),
            snapshot_cache: nonzero(16_384),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            pack_bytes: Size::gib(16),
            objects: NonZeroU32::new(20_000_000).expect("because it is not 0"),
            object_bytes: Size::mib(512),
            inflated_bytes: Size::gib(256),
            ingest_memory: Size::mib(128),
            commit_bytes: Size::mib(16 << 10),
            blob_bytes: Size::mib(10),
            refs: 1_000_000,
            ref_name_bytes: nonzero(1024),
            commands: nonzero(100_000),
            push_options: 1000,
            wants: nonzero(1_000_000),
            haves: nonzero(262_144),
            prefixes: nonzero(65_536),
            shallow: 100_000,
            walk_commits: nonzero(10_000_000),
            request_inflated: Size::mib(64),
            cold_builds: 0,
            cold_builds_waiting: 512,
            concurrent_changes: 0,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Auth { anonymous_read: true }
    }
}

impl Default for Repos {
    fn default() -> Self {
        Repos { default_visibility: DefaultVisibility::Private }
    }
}

impl Default for Maintenance {
    fn default() -> Self {
        Maintenance {
            interval: Span::seconds(1),
            superseded: Span::hours(1),
            gc_retention: Span::days(14),
            staged: Span::days(1),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { level: "info".to_owned(), format: LogFormat::Auto }
    }
}

impl From<DefaultVisibility> for database::Visibility {
    fn from(default: DefaultVisibility) -> Self {
        match default {
            DefaultVisibility::Private => database::Visibility::Private,
            DefaultVisibility::Public => database::Visibility::Public,
        }
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let url = text.strip_suffix('/').unwrap_or(text);
        let uri: http::Uri = url.parse().map_err(|_| PublicUrlError(text.to_owned()))?;
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let bare = uri.path() == "/" && uri.query().is_none() && !url.ends_with('/') && !url.contains('#');
        let host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if scheme && bare && host {
            Ok(PublicUrl(url.to_owned()))
        } else {
            Err(PublicUrlError(text.to_owned()))
        }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PublicUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn nonzero(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("because defaults are not 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_urls() {
        for (text, url) in [
            ("http://hub", "http://hub"),
            ("https://hub.example.org/", "https://hub.example.org"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().as_str(), url);
        }
        for bad in [
            "",
            "hub",
            "ftp://hub",
            "http://",
            "http://hub/path",
            "http://hub//",
            "http://u@hub",
            "http://hub?x",
        ] {
            assert!(bad.parse::<PublicUrl>().is_err(), "{bad}");
        }
    }
}
