//! A request in the canonical form that is signed, and the URL that allows it.

use std::fmt::{self, Write};

use aws_credential_types::Credentials;

use super::config::{Site, encode_path, encode_query};
use super::sigv4::{SigningKey, time_text};

const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// A bucket, and who asks it.
pub(super) struct Identity {
    site: Site,
    region: String,
    /// Encoded, with the slash behind it.
    access_key: String,
    secret_key: String,
    /// Encoded.
    session_token: Option<String>,
    /// Of the day on which it was made.
    today: SigningKey,
}

/// When a URL was signed and how long it lives, in seconds.
#[derive(Clone, Copy)]
pub(super) struct Valid {
    pub from_s: i64,
    pub expires_s: i64,
}

/// What a URL allows.
pub(super) struct Request<'a> {
    pub method: &'static str,
    pub key: &'a str,
    /// The `Content-Length` it must have.
    pub size: Option<u64>,
    /// The `Range` it must have.
    pub range: Option<&'a str>,
    /// Base64 of the SHA-256 of the body, and where the bucket finds it.
    pub checksum: Option<(Place, &'a str)>,
    /// Base64 of the CRC-64/NVME of the body, which the client has to send as a header.
    pub crc64: Option<&'a str>,
    /// Hex of the SHA-256 of the body, as the payload that is signed.
    pub payload: Option<&'a str>,
    /// Further parameters: encoded, sorted, after `X-Amz-…`; each with its `&`.
    pub query: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Header,
    Query,
}

impl<'a> Request<'a> {
    pub fn new(method: &'static str, key: &'a str) -> Request<'a> {
        Request {
            method,
            key,
            size: None,
            range: None,
            checksum: None,
            crc64: None,
            payload: None,
            query: "",
        }
    }

    /// Sorted, as lines.
    fn write_headers(&self, host: &str, into: &mut String) -> fmt::Result {
        if let Some(size) = self.size {
            writeln!(into, "content-length:{size}")?;
        }
        into.extend(["host:", host, "\n"]);
        if let Some(range) = self.range {
            into.extend(["range:", range, "\n"]);
        }
        if let Some(crc64) = self.crc64 {
            into.extend(["x-amz-checksum-crc64nvme:", crc64, "\n"]);
        }
        if let Some((Place::Header, checksum)) = self.checksum {
            into.extend(["x-amz-checksum-sha256:", checksum, "\n"]);
        }
        Ok(())
    }

    /// Their names, by `separator`.
    fn write_header_names(&self, separator: &str, into: &mut String) {
        if self.size.is_some() {
            into.extend(["content-length", separator]);
        }
        into.push_str("host");
        if self.range.is_some() {
            into.extend([separator, "range"]);
        }
        if self.crc64.is_some() {
            into.extend([separator, "x-amz-checksum-crc64nvme"]);
        }
        if let Some((Place::Header, _)) = self.checksum {
            into.extend([separator, "x-amz-checksum-sha256"]);
        }
    }
}

impl Identity {
    /// Who `credentials` name, for URLs that are mostly signed on the day of `now_s`.
    pub fn new(site: Site, region: &str, credentials: &Credentials, now_s: i64) -> Identity {
        let encoded = |text: &str| {
            let mut encoded = String::new();
            encode_query(text, &mut encoded);
            encoded
        };
        let secret_key = credentials.secret_access_key();
        Identity {
            site,
            region: region.to_owned(),
            access_key: encoded(&format!("{}/", credentials.access_key_id())),
            secret_key: secret_key.to_owned(),
            session_token: credentials.session_token().map(encoded),
            today: SigningKey::new(secret_key, &time_text(now_s)[..8], region),
        }
    }

    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The URL that allows `request`.
    pub fn sign(&self, valid: Valid, request: &Request<'_>) -> String {
        let time = time_text(valid.from_s);
        let day = &time[..8];
        let another_day;
        let key = if self.today.is_of(day) {
            &self.today
        } else {
            another_day = SigningKey::new(&self.secret_key, day, &self.region);
            &another_day
        };
        let mut url = String::with_capacity(768 + self.session_token.as_ref().map_or(0, String::len));
        url.push_str(&self.site.origin);
        let path_at = url.len();
        url.push_str(&self.site.path);
        encode_path(request.key, &mut url);
        let query_at = url.len() + 1;
        url.push('?');
        // A String takes everything: these never fail.
        let _ = self.write_query(&time, valid.expires_s, key.scope(), request, &mut url);

        let mut canonical = String::with_capacity(url.len() + 256);
        let (path, query) = (&url[path_at..query_at - 1], &url[query_at..]);
        canonical.extend([request.method, "\n", path, "\n", query, "\n"]);
        let _ = request.write_headers(&self.site.host, &mut canonical);
        canonical.push('\n');
        request.write_header_names(";", &mut canonical);
        canonical.extend(["\n", request.payload.unwrap_or(UNSIGNED_PAYLOAD)]);

        url.push_str("&X-Amz-Signature=");
        key.sign(&time, &canonical, &mut url);
        url
    }

    /// The parameters sorted by name, so that the URL is its own canonical form.
    fn write_query(
        &self,
        time: &str,
        expires_s: i64,
        scope: &str,
        request: &Request<'_>,
        url: &mut String,
    ) -> fmt::Result {
        url.push_str("X-Amz-Algorithm=AWS4-HMAC-SHA256");
        if let Some((Place::Query, checksum)) = request.checksum {
            url.push_str("&X-Amz-Checksum-Sha256=");
            encode_query(checksum, url);
        }
        if let Some(hash) = request.payload {
            url.extend(["&X-Amz-Content-Sha256=", hash]);
        }
        url.extend(["&X-Amz-Credential=", &self.access_key]);
        encode_query(scope, url);
        write!(url, "&X-Amz-Date={time}&X-Amz-Expires={expires_s}")?;
        if let Some(token) = &self.session_token {
            url.extend(["&X-Amz-Security-Token=", token]);
        }
        url.push_str("&X-Amz-SignedHeaders=");
        request.write_header_names("%3B", url);
        url.push_str(request.query);
        Ok(())
    }
}
