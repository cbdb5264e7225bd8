//! Requests as a client sends them that was given a presigned URL and knows nothing else.

use std::time::Duration;

use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::date_time::{DateTime, Format};
use bytes::{Bytes, BytesMut};

use crate::StoreError;

/// Of an answer. What is asked for by such requests is small, and so are error documents.
const BODY_MAX: usize = 256 * 1024;

pub(super) struct PlainClient {
    connector: Connector,
    within: Duration,
}

pub(super) struct Answer {
    pub status: u16,
    pub etag: Option<String>,
    /// How the bucket says that the body is to be decoded.
    pub encoding: Option<String>,
    /// What the other side's clock said, in seconds since the epoch.
    pub date_s: Option<i64>,
    pub body: Bytes,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The status and what S3's error document says, for the operator.
    pub fn in_words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let of = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            Some(rest.split_once("</")?.0.to_owned())
        };
        let said = [of("Code"), of("Message")].into_iter().flatten().collect::<Vec<_>>().join(": ");
        if said.is_empty() {
            format!("status {}", self.status)
        } else {
            format!("status {}, {said}", self.status)
        }
    }
}

impl PlainClient {
    /// A request that takes longer than `within` fails.
    pub fn new(within: Duration) -> PlainClient {
        let tls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        PlainClient { connector: Connector::builder().tls_provider(tls).build(), within }
    }

    /// Any status is an answer, but for those that say to come back later.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        header: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Answer, StoreError> {
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method(method).map_err(StoreError::unavailable)?;
        request.set_uri(url).map_err(StoreError::unavailable)?;
        for (name, value) in header {
            request.headers_mut().insert(*name, value.clone());
        }
        let exchange = async {
            let mut answer = self.connector.call(request).await.map_err(StoreError::unavailable)?;
            let header = |name| answer.headers().get(name).map(str::to_owned);
            let (status, etag, date) = (answer.status().as_u16(), header("etag"), header("date"));
            let encoding = header("content-encoding");
            let body = collect(std::mem::replace(answer.body_mut(), SdkBody::empty())).await?;
            let date = date.and_then(|date| DateTime::from_str(&date, Format::HttpDate).ok());
            Ok(Answer { status, etag, encoding, date_s: date.map(|date| date.secs()), body })
        };
        let late = |_| StoreError::unavailable(format!("no answer within {} s", self.within.as_secs()));
        let answer: Result<Answer, StoreError> =
            tokio::time::timeout(self.within, exchange).await.map_err(late)?;
        let answer = answer?;
        match answer.status {
            429 | 502..=504 => Err(StoreError::unavailable(answer.in_words())),
            _ => Ok(answer),
        }
    }
}

async fn collect(body: SdkBody) -> Result<Bytes, StoreError> {
    let (mut body, mut bytes) = (ByteStream::new(body), BytesMut::new());
    while let Some(piece) = body.try_next().await.map_err(StoreError::unavailable)? {
        if bytes.len() + piece.len() > BODY_MAX {
            return Err(StoreError::unavailable(format!("an answer of more than {BODY_MAX} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_document_is_quoted() {
        let answer = |body: &'static str| Answer {
            status: 403,
            etag: None,
            encoding: None,
            date_s: None,
            body: Bytes::from_static(body.as_bytes()),
        };
        let document = answer("<?xml?><Error><Code>AccessDenied</Code><Message>No.</Message></Error>");
        assert_eq!(document.in_words(), "status 403, AccessDenied: No.");
        assert_eq!(answer("<html>").in_words(), "status 403");
        assert!(!document.is_success());
    }
}
