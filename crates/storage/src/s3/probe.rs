//! What a bucket enforces. Servers of this protocol differ in exactly what keeps an upload to its bytes: of eight, no
//! two behaved alike. So each binding is attacked as somebody would who was given the URL and wants other bytes there,
//! and counts only if nothing got through and an honest client still did.

use std::time::Duration;

use bytes::Bytes;
use database::Sha256;

use super::config::{Site, encode_path};
use super::credentials::world_ms;
use super::plain::{Answer, PlainClient};
use super::{Binding, Bucket, Capabilities, Signer};
use crate::StoreError;
use crate::objects::Hasher;

const RIGHT: &[u8] = b"The bytes that were announced and nothing else.\n";
/// Of the same length, so that the length gives nothing away.
const WRONG: &[u8] = b"Other bytes, by somebody who was given the URL.\n";
/// [`RIGHT`] in gzip's wrapping: whoever decodes it gets other bytes.
const ENCODED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x30\x00\xcf\xff\
    The bytes that were announced and nothing else.\n\x5a\x5d\x0b\xf6\x30\x00\x00\x00";
/// Of what is tried here: what another version found out is found out anew.
const VERSION: u32 = 3;
/// The CRC-64/NVME of [`RIGHT`].
const RIGHT_CRC64: u64 = 0x78a9_0351_2f2c_517e;
const LIFETIME: Duration = Duration::from_secs(15 * 60);

impl Bucket {
    /// What the answers of [`Bucket::probe`] depend on: the way that clients and we go to the bucket, and what is tried.
    pub fn examined_as(&self) -> String {
        let site = |site: Result<Site, _>| match site {
            Ok(Site { origin, path, .. }) => format!("{origin}{path}"),
            Err(error) => format!("{error}"),
        };
        let config = self.config();
        let (ours, public) = (site(config.site()), site(config.public_site()));
        format!("version {VERSION}: {ours} for us, {public} for clients, region {}", config.region)
    }

    /// Finds out what the bucket enforces, with small objects under `.probe/` of which nothing stays. Runs to its end
    /// even if the caller goes away. An error means that the bucket cannot be used with our credentials, or not now.
    pub async fn probe(&self) -> Result<Capabilities, StoreError> {
        let bucket = self.clone();
        let probing = tokio::spawn(async move {
            let mut probe = Probe::new(bucket).await?;
            let found = probe.run().await;
            let cleaned = probe.clean_up().await;
            let found = found?;
            cleaned?;
            Ok(found)
        });
        probing.await.map_err(StoreError::unavailable)?
    }
}

struct Probe {
    bucket: Bucket,
    client: PlainClient,
    signer: Signer,
    directory: String,
    /// All that may be there.
    keys: Vec<String>,
    uploads: Vec<(String, String)>,
}

/// A request to the URL of an upload that would leave other bytes than announced.
struct Attack {
    name: &'static str,
    header: Vec<(&'static str, String)>,
    body: &'static [u8],
}

impl Probe {
    async fn new(bucket: Bucket) -> Result<Probe, StoreError> {
        let signer = bucket.own_signer().await?;
        let client = PlainClient::new(bucket.config().timeout);
        let directory = format!(".probe/{}", ulid::Ulid::new().to_string().to_lowercase());
        Ok(Probe { bucket, client, signer, directory, keys: Vec::new(), uploads: Vec::new() })
    }

    async fn run(&mut self) -> Result<Capabilities, StoreError> {
        let got = self.basics().await?;
        let source = self.put_source().await?;
        let now_s = world_ms(&self.bucket.config().clock).div_euclid(1000);
        let clock_skew_s = got.date_s.map_or(0, |date_s| date_s - now_s);
        self.prefer_public(&source).await?;

        let mut found = Capabilities { clock_skew_s, ..Capabilities::default() };
        found.range = self.ranges(&source).await?;
        found.open_to_read = self.is_open_to_read(&source).await?;
        if self.is_open_to_write().await? {
            return Ok(found.without_signatures());
        }
        found.signed_length = self.length().await?;
        found.signed_crc64 = self.crc64().await?;
        found.copy = self.copies().await?;
        found.multipart = self.multipart().await?;
        let right = Some(Hasher::of(RIGHT));
        let by_header = self.binding(Binding::SignedHeader, &source).await?;
        let by_query = self.binding(Binding::QueryChecksum, &source).await?;
        found.signed_checksum = by_header.is_some();
        found.query_checksum = by_query.is_some();
        found.payload_hash = self.binding(Binding::PayloadHash, &source).await?.is_some();
        let mut shown = [by_header, by_query].into_iter().flatten().peekable();
        found.head_checksum = shown.peek().is_some() && shown.all(|sha256| sha256 == right);
        Ok(found)
    }

    /// Stores an object and reads it by a URL, or says what is missing for that.
    async fn basics(&mut self) -> Result<Answer, StoreError> {
        let key = &self.key("first");
        let stored = async {
            let mut writer = self.bucket.writer(key, RIGHT.len() as u64);
            writer.write(Bytes::from_static(RIGHT)).await?;
            writer.finish().await?.publish().await
        };
        stored.await.map_err(|error| while_doing("storing a test object", error))?;
        let got = self.get(key, &[]).await.map_err(|error| while_doing("reading a test object", error))?;
        if !got.is_success() || got.body != RIGHT {
            let words = got.in_words();
            return Err(StoreError::Refused(format!(
                "a test object was stored, but a signed URL did not give it: {words}"
            )));
        }
        match self
            .bucket
            .head_object(key)
            .await
            .map_err(|error| while_doing("asking for a test object", error))?
        {
            Some(head) if head.size == RIGHT.len() as u64 => {}
            other => {
                return Err(StoreError::Refused(format!(
                    "a test object was stored, but HEAD shows {other:?}"
                )));
            }
        }
        self.bucket.delete_object(key).await.map_err(|error| while_doing("deleting a test object", error))?;
        if self.bucket.head_object(key).await?.is_some() {
            return Err(StoreError::Refused("a test object was deleted, but it is still there".into()));
        }
        Ok(got)
    }

    /// An object for attacks to copy.
    async fn put_source(&mut self) -> Result<String, StoreError> {
        let key = self.key("source");
        let url = self.signer.put_unbound(&key, WRONG.len() as u64, LIFETIME);
        let answer = self.put(&url, &[], WRONG).await?;
        if answer.is_success() {
            return Ok(key);
        }
        Err(StoreError::Refused(format!(
            "a signed URL to store an object was refused: {}",
            answer.in_words()
        )))
    }

    /// Clients may come by another name of the bucket than we do. If it can be reached from here, that is what is tried
    /// from now on: a proxy on the way may change what is signed.
    async fn prefer_public(&mut self, key: &str) -> Result<(), StoreError> {
        if self.bucket.config().site().ok() == self.bucket.config().public_site().ok() {
            return Ok(());
        }
        let public = self.bucket.public_signer().await?;
        let own = std::mem::replace(&mut self.signer, public);
        match self.get(key, &[]).await {
            Ok(got) if got.is_success() && got.body == WRONG => return Ok(()),
            Ok(got) => tracing::warn!(
                answer = got.in_words(),
                "storage.s3_public_endpoint does not accept a URL that was signed for it: \
                 does a proxy before it change the Host header or the path?"
            ),
            Err(error) => tracing::info!(
                %error,
                "storage.s3_public_endpoint cannot be reached from here, so the bucket was probed at storage.s3_endpoint"
            ),
        }
        self.signer = own;
        Ok(())
    }

    async fn ranges(&self, key: &str) -> Result<bool, StoreError> {
        let got = self.get(key, &[("range", format!("bytes=6-{}", WRONG.len() - 1))]).await?;
        Ok(got.status == 206 && got.body == WRONG[6..])
    }

    /// Whether anything is read without a signature of just that.
    async fn is_open_to_read(&self, source: &str) -> Result<bool, StoreError> {
        let url = self.signer.get(source, LIFETIME);
        let other = self.signer.get(&format!("{source}-other"), LIFETIME).replacen("-other?", "?", 1);
        for url in [without_query(&url), &with_another_signature(&url), &other] {
            if self.client.send("GET", url, &[], Bytes::new()).await?.body == WRONG {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether anything is stored without a signature of just that.
    async fn is_open_to_write(&mut self) -> Result<bool, StoreError> {
        let key = self.key("unsigned");
        let sign = |key: &str| self.signer.put_unbound(key, WRONG.len() as u64, LIFETIME);
        let url = sign(&key);
        let other = sign(&format!("{key}-other")).replacen("-other?", "?", 1);
        for url in [without_query(&url), &with_another_signature(&url), &other] {
            let answer = self.put(url, &[], WRONG).await?;
            if answer.is_success() || self.bucket.head_object(&key).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn length(&mut self) -> Result<bool, StoreError> {
        let key = self.key("length");
        let url = self.signer.put_unbound(&key, RIGHT.len() as u64, LIFETIME);
        for body in [&RIGHT[1..], b"", &[RIGHT, WRONG].concat()[..]] {
            let answer = self.client.send("PUT", &url, &[], Bytes::copy_from_slice(body)).await?;
            if answer.is_success() || self.bucket.head_object(&key).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(self.put(&url, &[], RIGHT).await?.is_success())
    }

    async fn crc64(&mut self) -> Result<bool, StoreError> {
        let key = self.key("crc64");
        let put = self.signer.put_draft(&key, RIGHT.len() as u64, Some(RIGHT_CRC64), LIFETIME);
        let wrong = self.put(&put.href, &put.header, WRONG).await?;
        if wrong.is_success() || self.bucket.head_object(&key).await?.is_some() {
            return Ok(false);
        }
        Ok(self.put(&put.href, &put.header, RIGHT).await?.is_success())
    }

    /// Whether the bucket copies what a client put there, and forgets how that said it is to be decoded. Whatever goes wrong,
    /// it is no.
    async fn copies(&mut self) -> Result<bool, StoreError> {
        let (from, to) = (self.key("draft"), self.key("copy"));
        let put = self.signer.put_draft(&from, ENCODED.len() as u64, None, LIFETIME);
        let encoded = [("content-encoding", "gzip".to_owned())];
        if !self.put(&put.href, &encoded, ENCODED).await?.is_success() {
            return Ok(false);
        }
        if let Err(error) = self.bucket.copy(&from, &to, ENCODED.len() as u64).await {
            tracing::info!(%error, "the bucket makes no copies, so xorbs pass through Granary");
            return Ok(false);
        }
        // As clients get ranges of xorbs: without a word on how they are to be decoded.
        let last = ENCODED.len() as u64 - 1;
        let url = self.signer.get_range(&to, &(0..=last), LIFETIME);
        let got =
            self.client.send("GET", &url, &[("range", format!("bytes=0-{last}"))], Bytes::new()).await?;
        let is_plain = got.encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"));
        Ok(is_plain && got.body == ENCODED)
    }

    /// Whether parts can be sent to bare URLs, and no longer once the upload is completed. Whatever goes wrong, it is no.
    async fn multipart(&mut self) -> Result<bool, StoreError> {
        match self.try_multipart().await {
            Ok(usable) => Ok(usable),
            Err(error) => {
                tracing::warn!(%error, "a multipart upload to the bucket failed, so clients will not be given any");
                Ok(false)
            }
        }
    }

    async fn try_multipart(&mut self) -> Result<bool, StoreError> {
        let key = self.key("parts");
        let upload = self.bucket.begin_parts(&key).await?;
        self.uploads.push((key.clone(), upload.clone()));
        let url = self.signer.part(&key, &upload, 1, LIFETIME);
        let part = self.put(&url, &[], RIGHT).await?;
        let Some(etag) = part.etag.filter(|_| (200..300).contains(&part.status)) else { return Ok(false) };
        self.bucket.complete_multipart(&key, &upload, &[(1, etag)]).await?;
        let late = self.put(&url, &[], WRONG).await?;
        Ok(!late.is_success() && self.get(&key, &[]).await?.body == RIGHT)
    }

    /// `None` if it does not hold; else the hash that HEAD shows of what an honest client stored.
    async fn binding(
        &mut self,
        binding: Binding,
        source: &str,
    ) -> Result<Option<Option<Sha256>>, StoreError> {
        let name = match binding {
            Binding::SignedHeader => "signed-header",
            Binding::QueryChecksum => "query-checksum",
            Binding::PayloadHash => "payload-hash",
        };
        let key = self.key(name);
        let put = self.signer.put(&key, &Hasher::of(RIGHT), RIGHT.len() as u64, binding, LIFETIME);
        let attacks = self.attacks(&put.header, source);
        for attack in &attacks {
            let answer = self.put(&put.href, &attack.header, attack.body).await?;
            if answer.is_success() || self.bucket.head_object(&key).await?.is_some() {
                tracing::info!(
                    ?binding,
                    attack = attack.name,
                    "the bucket does not keep uploads to their bytes this way"
                );
                return Ok(None);
            }
        }
        let honest = self.put(&put.href, &put.header, RIGHT).await?;
        if !honest.is_success() {
            tracing::info!(
                ?binding,
                answer = honest.in_words(),
                "the bucket does not take uploads bound this way"
            );
            return Ok(None);
        }
        // The URL is still good: what was proven must not be replaced either.
        for attack in &attacks {
            self.put(&put.href, &attack.header, attack.body).await?;
            if self.get(&key, &[]).await?.body != RIGHT {
                tracing::info!(
                    ?binding,
                    attack = attack.name,
                    "the bucket lets stored bytes be replaced this way"
                );
                return Ok(None);
            }
        }
        let shown = self.bucket.head_object(&key).await?.map(|head| head.sha256);
        if self.is_decoded(&format!("{name}-encoded"), binding).await? {
            tracing::info!(?binding, "the bucket lets an upload say how its bytes are to be decoded");
            return Ok(None);
        }
        Ok(shown)
    }

    /// Whether a `Content-Encoding` that is sent with an upload comes back with a download, or the bucket goes by it
    /// itself: then clients get other bytes than were proven.
    async fn is_decoded(&mut self, name: &str, binding: Binding) -> Result<bool, StoreError> {
        let key = self.key(name);
        let put = self.signer.put(&key, &Hasher::of(ENCODED), ENCODED.len() as u64, binding, LIFETIME);
        let encoded = [&put.header[..], &[("content-encoding", "gzip".to_owned())]].concat();
        if !self.put(&put.href, &encoded, ENCODED).await?.is_success() {
            return Ok(false);
        }
        for header in [&[][..], &[("accept-encoding", "gzip".to_owned())]] {
            let got = self.get(&key, header).await?;
            let is_plain = got.encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"));
            if !is_plain || got.body != ENCODED {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn attacks(&self, told: &[(&'static str, String)], source: &str) -> Vec<Attack> {
        let with = |name, value: &str| [told, &[(name, value.to_owned())]].concat();
        let checksum = super::client::as_checksum(&Hasher::of(WRONG));
        let of_wrong = vec![("x-amz-checksum-sha256", checksum)];
        let mut from = String::new();
        encode_path(
            &format!("{}/{}", self.bucket.config().bucket, self.bucket.object_name(source)),
            &mut from,
        );
        let copied = with("x-amz-copy-source", &from);
        vec![
            Attack { name: "other bytes", header: told.to_vec(), body: WRONG },
            Attack { name: "no header", header: Vec::new(), body: WRONG },
            Attack { name: "another checksum", header: of_wrong, body: WRONG },
            Attack {
                name: "another algorithm",
                header: with("x-amz-sdk-checksum-algorithm", "CRC32"),
                body: WRONG,
            },
            Attack {
                name: "unsigned payload",
                header: with("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
                body: WRONG,
            },
            Attack {
                name: "another payload",
                header: with("x-amz-content-sha256", &Hasher::of(WRONG).to_string()),
                body: WRONG,
            },
            // A server that turns this into a copy looks at no body, so give it the one that passes its checks.
            Attack { name: "a copy", header: copied.clone(), body: RIGHT },
            Attack { name: "a copy without body", header: copied, body: b"" },
        ]
    }

    async fn clean_up(&self) -> Result<(), StoreError> {
        let mut result = Ok(());
        for (key, upload) in &self.uploads {
            result = result.and(self.bucket.abort_multipart(key, upload).await);
        }
        for key in &self.keys {
            result = result.and(self.bucket.delete_object(key).await);
        }
        result.map_err(|error| while_doing("deleting test objects", error))
    }

    fn key(&mut self, name: &str) -> String {
        let key = format!("{}/{name}", self.directory);
        self.keys.push(key.clone());
        key
    }

    async fn get(&self, key: &str, header: &[(&'static str, String)]) -> Result<Answer, StoreError> {
        self.client.send("GET", &self.signer.get(key, LIFETIME), header, Bytes::new()).await
    }

    async fn put(
        &self,
        url: &str,
        header: &[(&'static str, String)],
        body: &'static [u8],
    ) -> Result<Answer, StoreError> {
        self.client.send("PUT", url, header, Bytes::from_static(body)).await
    }
}

fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(url, _)| url)
}

/// Of the same length, and wrong.
fn with_another_signature(url: &str) -> String {
    let (url, last) = url.split_at(url.len() - 1);
    format!("{url}{}", if last == "0" { "1" } else { "0" })
}

fn while_doing(what: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::NotFound => {
            StoreError::Refused(format!("{what}: it is not there, or there is no such bucket"))
        }
        StoreError::Refused(message) => StoreError::Refused(format!("{what}: {message}")),
        error => error,
    }
}
