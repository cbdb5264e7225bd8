//! URLs that carry their own authorization, for clients that talk to the bucket themselves.
//!
//! The SDK can make them too, at 36 µs each; a batch of 5,000 objects wants them for a tenth of that. The tests hold
//! each kind against the SDK's.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use database::{Clock, Sha256};

use super::Bucket;
use super::config::{S3Config, S3ConfigError, Site, encode_query};
use super::credentials::{UNUSED_MS, expiry_ms, world_ms};
use super::presign::{Identity, Place, Request, Valid};
use crate::StoreError;

/// How an upload is kept to the bytes that were announced. Which of these a bucket enforces, a probe finds out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// By a header `x-amz-checksum-sha256` that the client has to send.
    SignedHeader,
    /// By the same as a parameter of the URL, for clients that send no headers of ours.
    QueryChecksum,
    /// By the hash of the payload, which is part of what is signed.
    PayloadHash,
}

/// Where to PUT an object, and what to send along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPut {
    pub href: String,
    /// Besides the `Content-Length` that the client makes itself. `Content-Type` is its own affair.
    pub header: Vec<(&'static str, String)>,
}

/// Signs URLs as whoever we are at the moment. Short-lived: ask [`Bucket::signer`] for each batch.
#[derive(Clone)]
pub struct Signer(Arc<Inner>);

struct Inner {
    identity: Identity,
    clock: Clock,
    expiry_ms: Option<i64>,
}

/// Amazon refuses URLs that live longer.
const EXPIRES_MAX_S: i64 = 7 * 24 * 60 * 60;
/// Downloads are signed as of the last multiple of this, so that caches see the same URL again.
const ROUNDING_S: i64 = 5 * 60;
/// Git LFS takes an action that is good for 0 seconds for one that is good for ever.
const LIFETIME_MIN: Duration = Duration::from_secs(1);
/// No browser is to show an object as a page of the bucket's host, and no client is to decode it, whatever it was stored
/// as: of an upload's headers those that S3 keeps need not be signed, so whoever has its URL chooses them. (Clients know
/// `identity`, which git-lfs, curl and Python's were seen to take.)
const AS_STORED: &str = concat!(
    "&response-content-encoding=identity",
    "&response-content-type=application%2Foctet-stream",
    "&x-id=GetObject"
);

impl Bucket {
    /// A signer for URLs that clients are given. Asks nothing of a bucket that was confirmed once, or does not answer:
    /// what clients do there counts only once [`Bucket::head`] has seen it in the right one.
    pub async fn signer(&self) -> Result<Signer, StoreError> {
        self.0.identity.allow(self).await?;
        self.public_signer().await
    }

    /// As [`Bucket::signer`], of whatever bucket it is.
    pub(super) async fn public_signer(&self) -> Result<Signer, StoreError> {
        self.signer_for(self.0.config.public_site()).await
    }

    /// For URLs that we use ourselves.
    pub(super) async fn own_signer(&self) -> Result<Signer, StoreError> {
        self.signer_for(self.0.config.site()).await
    }

    async fn signer_for(&self, site: Result<Site, S3ConfigError>) -> Result<Signer, StoreError> {
        let site = site.map_err(|error| StoreError::Refused(error.to_string()))?;
        let credentials = self.0.credentials.provide_credentials().await.map_err(no_credentials)?;
        Ok(Signer::new(&self.0.config, site, &credentials))
    }
}

fn no_credentials(error: CredentialsError) -> StoreError {
    const ADVICE: &str = "no credentials were found; set storage.s3_access_key and storage.s3_secret_key, or \
                          AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment";
    match error {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            StoreError::Refused(ADVICE.into())
        }
        error => StoreError::unavailable(error),
    }
}

impl Signer {
    pub(super) fn new(config: &S3Config, site: Site, credentials: &Credentials) -> Signer {
        let now_s = world_ms(&config.clock).div_euclid(1000);
        Signer(Arc::new(Inner {
            identity: Identity::new(site, &config.region, credentials, now_s),
            clock: config.clock.clone(),
            expiry_ms: expiry_ms(credentials),
        }))
    }

    /// A URL to GET the bytes under `key`, whole or in ranges, for at least `lifetime` and up to five minutes more.
    pub fn get(&self, key: &str, lifetime: Duration) -> String {
        self.get_as(key, "attachment", lifetime)
    }

    /// As [`Signer::get`], with this `Content-Disposition`. One that shows the object would make it a page of the
    /// bucket's host.
    pub fn get_as(&self, key: &str, disposition: &str, lifetime: Duration) -> String {
        let valid = self.0.valid(lifetime, ROUNDING_S);
        let mut query = "&response-content-disposition=".to_owned();
        encode_query(disposition, &mut query);
        query.push_str(AS_STORED);
        self.0.identity.sign(valid, &Request { query: &query, ..Request::new("GET", key) })
    }

    /// A URL to GET these bytes of what is under `key`, and no others: the client has to send just this range.
    pub fn get_range(&self, key: &str, bytes: &RangeInclusive<u64>, lifetime: Duration) -> String {
        let valid = self.0.valid(lifetime, ROUNDING_S);
        let range = format!("bytes={}-{}", bytes.start(), bytes.end());
        let request = Request { range: Some(&range), query: "&x-id=GetObject", ..Request::new("GET", key) };
        self.0.identity.sign(valid, &request)
    }

    /// A URL to PUT the `size` bytes whose hash is `sha256` under `key`, and no others, if the bucket enforces
    /// `binding`.
    pub fn put(
        &self,
        key: &str,
        sha256: &Sha256,
        size: u64,
        binding: Binding,
        lifetime: Duration,
    ) -> SignedPut {
        let valid = self.0.valid(lifetime, 1);
        let mut request = Request { size: Some(size), query: "&x-id=PutObject", ..Request::new("PUT", key) };
        let (checksum, hash) = (BASE64.encode(sha256.0), sha256.to_string());
        match binding {
            Binding::SignedHeader => request.checksum = Some((Place::Header, &checksum)),
            Binding::QueryChecksum => request.checksum = Some((Place::Query, &checksum)),
            Binding::PayloadHash => request.payload = Some(&hash),
        }
        let href = self.0.identity.sign(valid, &request);
        let header = match binding {
            Binding::SignedHeader => vec![("x-amz-checksum-sha256", checksum)],
            Binding::QueryChecksum | Binding::PayloadHash => Vec::new(),
        };
        SignedPut { href, header }
    }

    /// A URL to PUT `size` bytes under `key`: those with that CRC-64/NVME, if it is given and the bucket enforces it. That
    /// keeps nobody from bringing others who wants to, so whatever lies there is to be taken elsewhere before it is proven.
    pub fn put_draft(&self, key: &str, size: u64, crc64: Option<u64>, lifetime: Duration) -> SignedPut {
        let valid = self.0.valid(lifetime, 1);
        let crc64 = crc64.map(|crc64| BASE64.encode(crc64.to_be_bytes()));
        let request = Request {
            size: Some(size),
            crc64: crc64.as_deref(),
            query: "&x-id=PutObject",
            ..Request::new("PUT", key)
        };
        let href = self.0.identity.sign(valid, &request);
        SignedPut {
            href,
            header: crc64.map(|crc64| ("x-amz-checksum-crc64nvme", crc64)).into_iter().collect(),
        }
    }

    /// A URL to PUT any `size` bytes. Not for clients: whoever has it can replace what we proved.
    pub(super) fn put_unbound(&self, key: &str, size: u64, lifetime: Duration) -> String {
        let valid = self.0.valid(lifetime, 1);
        let request = Request { size: Some(size), query: "&x-id=PutObject", ..Request::new("PUT", key) };
        self.0.identity.sign(valid, &request)
    }

    /// A URL to PUT part `number` (from 1) of a multipart upload. It binds nothing, but is dead once the upload is
    /// completed or aborted.
    pub fn part(&self, key: &str, upload: &str, number: u32, lifetime: Duration) -> String {
        let valid = self.0.valid(lifetime, 1);
        let mut query = format!("&partNumber={number}&uploadId=");
        encode_query(upload, &mut query);
        query.push_str("&x-id=UploadPart");
        self.0.identity.sign(valid, &Request { query: &query, ..Request::new("PUT", key) })
    }

    /// How long a URL signed now can live: a longer lifetime asked for is cut to this. A week, or what is left of the
    /// credentials; a second at least, since to clients none is no limit.
    pub fn lifetime_max(&self) -> Duration {
        let protocol_ms = (EXPIRES_MAX_S - ROUNDING_S) * 1000;
        let left_ms = |end_ms: i64| end_ms - UNUSED_MS - world_ms(&self.0.clock);
        let max_ms = self.0.expiry_ms.map_or(protocol_ms, |end_ms| left_ms(end_ms).min(protocol_ms));
        Duration::from_millis(u64::try_from(max_ms).unwrap_or(0)).max(LIFETIME_MIN)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("site", self.0.identity.site()).finish_non_exhaustive()
    }
}

impl Inner {
    fn valid(&self, lifetime: Duration, rounding_s: i64) -> Valid {
        let now_s = world_ms(&self.clock).div_euclid(1000);
        let lifetime_s = i64::try_from(lifetime.as_secs()).unwrap_or(EXPIRES_MAX_S).min(EXPIRES_MAX_S);
        valid(
            now_s,
            lifetime_s,
            rounding_s,
            self.expiry_ms.map(|end_ms| (end_ms - UNUSED_MS).div_euclid(1000)),
        )
    }
}

/// `end_s`: of the credentials.
fn valid(now_s: i64, lifetime_s: i64, rounding_s: i64, end_s: Option<i64>) -> Valid {
    let from_s = now_s - now_s.rem_euclid(rounding_s);
    let longest_s = end_s.map_or(EXPIRES_MAX_S, |end_s| end_s - from_s).min(EXPIRES_MAX_S);
    // The whole rounding, not what it took away: the URL is to be the same for all of it.
    let rounded_away_s = if rounding_s > 1 { rounding_s } else { 0 };
    Valid { from_s, expires_s: (lifetime_s + rounded_away_s).min(longest_s).max(1) }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::S3Credentials;
    use super::*;

    fn from_and_expires(now_s: i64, lifetime_s: i64, rounding_s: i64, end_s: Option<i64>) -> (i64, i64) {
        let Valid { from_s, expires_s } = valid(now_s, lifetime_s, rounding_s, end_s);
        (from_s, expires_s)
    }

    #[test]
    fn downloads_are_signed_alike_for_five_minutes() {
        assert_eq!(from_and_expires(3_000, 600, ROUNDING_S, None), (3_000, 900));
        assert_eq!(from_and_expires(3_299, 600, ROUNDING_S, None), (3_000, 900), "600 s are left");
        assert_eq!(from_and_expires(3_300, 600, ROUNDING_S, None), (3_300, 900));
        assert_eq!(from_and_expires(3_299, 600, 1, None), (3_299, 600), "uploads are signed now");
    }

    #[test]
    fn a_url_ends_with_the_credentials_or_the_week() {
        assert_eq!(from_and_expires(3_299, 600, ROUNDING_S, Some(3_500)), (3_000, 500));
        assert_eq!(from_and_expires(3_299, 600, 1, Some(3_899)), (3_299, 600), "just enough");
        assert_eq!(from_and_expires(3_299, 600, 1, Some(3_898)), (3_299, 599));
        assert_eq!(from_and_expires(3_299, 600, 1, Some(3_000)), (3_299, 1), "dead, but well formed");
        assert_eq!(from_and_expires(3_299, EXPIRES_MAX_S, ROUNDING_S, None), (3_000, EXPIRES_MAX_S));
    }

    /// With credentials that end `left_s` from now.
    fn signer(left_s: i64) -> Signer {
        let config = S3Config {
            bucket: "models".into(),
            prefix: String::new(),
            region: "eu-west-1".into(),
            endpoint: None,
            public_endpoint: None,
            path_style: false,
            credentials: S3Credentials::Ambient,
            part_buffers: 1,
            part_size: 8 << 20,
            timeout: Duration::from_secs(1),
            clock: Clock::default(),
        };
        let end_s = config.clock.now_ms() / 1000 + left_s;
        let end = UNIX_EPOCH + Duration::from_secs(end_s.unsigned_abs());
        let credentials = Credentials::new("key", "secret", Some("token".into()), Some(end), "test");
        // A moved clock is not the bucket's.
        config.clock.advance_ms(15 * 24 * 3_600_000);
        Signer::new(&config, config.site().unwrap(), &credentials)
    }

    #[test]
    fn temporary_credentials_cut_lifetimes() {
        let left = signer(3600).lifetime_max().as_secs();
        assert!((3530..=3540).contains(&left), "{left}");
        for left_s in [61, 60, 30] {
            assert_eq!(signer(left_s).lifetime_max(), LIFETIME_MIN, "{left_s}");
        }
        assert_eq!(signer(30 * 24 * 3600).lifetime_max().as_secs(), 7 * 24 * 3600 - 300);

        let url = signer(3600).part("objects/x", "upload", 1, Duration::from_secs(24 * 3600));
        let expires = url.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Expires=")).unwrap();
        assert!((3530..=3540).contains(&expires.parse::<u64>().unwrap()), "{url}");
        assert!(url.contains("&X-Amz-Security-Token=token&"), "{url}");
    }

    #[test]
    fn another_day_has_another_key() {
        let signer = signer(3600);
        let of = |from_s| {
            signer.0.identity.sign(Valid { from_s, expires_s: 60 }, &Request::new("GET", "objects/x"))
        };
        let (first, second) = (of(1_369_353_599), of(1_369_353_600));
        assert!(
            first.contains("%2F20130523%2Feu-west-1%2F") && first.contains("X-Amz-Date=20130523T235959Z"),
            "{first}"
        );
        assert!(second.contains("%2F20130524%2Feu-west-1%2F"), "{second}");
    }
}
