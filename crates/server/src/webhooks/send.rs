//! One delivery: a POST to an address that was judged, over a connection of its own. Nothing is followed, nothing is kept
//! of the answer but its status, and a proxy that the environment names is not asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::guard::{Guard, Refused, Target};

/// Why there is no answer. The texts are for the log that the webhook's owner reads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("no connection within {0:?}")]
    ConnectSlow(Duration),
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error(
        "TLS: this hub knows no certificate authorities; its administrator installs them (ca-certificates) or sets \
         SSL_CERT_FILE"
    )]
    NoAuthorities,
    #[error("no answer: {0}")]
    Broken(#[from] hyper::Error),
    #[error("no answer within {0:?}")]
    Slow(Duration),
    #[error("the payload cannot be sent: {0}")]
    Head(#[from] http::Error),
}

/// Of a connection to one address, handshakes included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Of an answer's head.
const HEAD_BYTES: usize = 64 << 10;
/// Of an answer's body: so much is read, for so long, before the connection is cut off.
const ANSWER_BYTES: u64 = 64 << 10;
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Makes connections, and keeps none.
pub(crate) struct Sender {
    pub guard: Guard,
    /// From the first look at the name to the status of the answer.
    pub within: Duration,
    tls: OnceCell<Option<TlsConnector>>,
}

impl Sender {
    pub(crate) fn new(guard: Guard, within: Duration) -> Sender {
        Sender { guard, within, tls: OnceCell::new() }
    }

    /// The status of the answer.
    pub(crate) async fn post(&self, url: &str, headers: HeaderMap, body: Bytes) -> Result<u16, SendError> {
        let deadline = Instant::now() + self.within;
        let posted = timeout_at(deadline, self.post_without_end(url, headers, body)).await;
        posted.unwrap_or(Err(SendError::Slow(self.within)))
    }

    async fn post_without_end(&self, url: &str, headers: HeaderMap, body: Bytes) -> Result<u16, SendError> {
        let target = Target::parse(url)?;
        let addresses = self.guard.resolve(&target).await?;
        let stream = connect(&addresses).await?;
        let mut request = Request::post(target.path.as_str()).body(Full::new(body))?;
        *request.headers_mut() = headers;
        let host = HeaderValue::try_from(&target.authority).map_err(http::Error::from)?;
        request.headers_mut().insert(header::HOST, host);
        match target.is_tls {
            false => exchange(stream, request).await,
            true => exchange(self.encrypted(stream, &target.host).await?, request).await,
        }
    }

    async fn encrypted(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, SendError> {
        let connector = self.tls.get_or_init(authorities).await.as_ref().ok_or(SendError::NoAuthorities)?;
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| SendError::Tls(std::io::Error::other(error)))?;
        match timeout(CONNECT_WITHIN, connector.connect(name, stream)).await {
            Ok(connected) => connected.map_err(SendError::Tls),
            Err(_) => Err(SendError::ConnectSlow(CONNECT_WITHIN)),
        }
    }
}

/// Those that the machine trusts; `None` if there are none.
async fn authorities() -> Option<TlsConnector> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await.ok()?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        return None;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

/// To the first address that takes the connection.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, SendError> {
    let mut failed = SendError::ConnectSlow(CONNECT_WITHIN);
    for address in addresses {
        match timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = SendError::Connect(error),
            Err(_) => failed = SendError::ConnectSlow(CONNECT_WITHIN),
        }
    }
    Err(failed)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<u16, SendError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        // A target that goes on for ever has answered all the same.
        let _ = timeout(ANSWER_WITHIN, skim(response)).await;
        Ok(status)
    };
    tokio::pin!(connection, answered);
    tokio::select! {
        // Where both are ready the answer counts.
        biased;
        outcome = &mut answered => outcome,
        ended = &mut connection => match ended {
            // What was received is still to be read.
            Ok(()) => answered.await,
            Err(error) => match futures_now(answered).await {
                Some(outcome) => outcome,
                None => Err(error.into()),
            },
        },
    }
}

/// What is ready without the connection, which has ended.
async fn futures_now<T>(answered: impl Future<Output = T>) -> Option<T> {
    timeout(Duration::ZERO, answered).await.ok()
}

/// So that a target which writes its answer in one go need not see its connection reset.
async fn skim(response: Response<Incoming>) {
    let (mut body, mut left) = (response.into_body(), ANSWER_BYTES);
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// What a delivery says of itself.
pub(crate) struct Envelope<'d> {
    pub webhook: &'d str,
    pub delivery: &'d str,
    pub secret: Option<&'d str>,
    pub at_ms: i64,
}

impl Envelope<'_> {
    /// The signature covers the body, byte by byte, and nothing else.
    pub(crate) fn headers(&self, body: &[u8]) -> Result<HeaderMap, http::Error> {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: HeaderValue| {
            headers.insert(HeaderName::from_static(name), value);
        };
        set("content-type", HeaderValue::from_static("application/json"));
        set("user-agent", HeaderValue::from_static(concat!("granary/", env!("CARGO_PKG_VERSION"))));
        set("x-webhook-id", HeaderValue::try_from(self.webhook)?);
        set("x-webhook-delivery", HeaderValue::try_from(self.delivery)?);
        set("x-webhook-timestamp", HeaderValue::from(self.at_ms.div_euclid(1000)));
        if let Some(secret) = self.secret {
            let mut value = HeaderValue::try_from(secret)?;
            value.set_sensitive(true);
            set("x-webhook-secret", value);
            set("x-hub-signature-256", HeaderValue::try_from(signature(secret, body))?);
        }
        Ok(headers)
    }
}

/// `sha256=` and the HMAC-SHA256 of `body` by `secret`, in hexadecimal.
fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("because keys of any length will do");
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    digest.iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in GitHub's documentation of the same header.
    #[test]
    fn signatures_are_those_of_others() {
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(signature("It's a Secret to Everybody", b"Hello, World!"), expected);
    }

    #[test]
    fn without_a_secret_nothing_is_signed() {
        let envelope = Envelope { webhook: "w", delivery: "d", secret: None, at_ms: 1_999 };
        let headers = envelope.headers(b"{}").unwrap();
        assert_eq!(headers["x-webhook-timestamp"], "1");
        assert!(!headers.contains_key("x-webhook-secret") && !headers.contains_key("x-hub-signature-256"));
        let signed = Envelope { secret: Some("s"), ..envelope }.headers(b"{}").unwrap();
        assert_eq!(signed["x-webhook-secret"], "s");
        assert!(!format!("{signed:?}").contains("\"s\""), "{signed:?}");
    }
}
