//! One request and its response, from the head to the log line.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Buf;
use http::{HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use ulid::Ulid;

use super::{Body, BodyError, Chunk, Files, Phase};
use crate::log_line::ACCESS;
use crate::metrics::Ended;
use crate::serve::Server;

/// Who asked for what, and what it cost. Logged and counted when dropped: at the end of the response body, or when the
/// connection is lost.
pub(crate) struct Exchange {
    server: Arc<Server>,
    phase: Arc<Phase>,
    route: &'static str,
    method: &'static str,
    request_id: String,
    started: Instant,
    user: Option<String>,
    repo: Option<String>,
    received: Arc<AtomicU64>,
    sent: u64,
    /// `None` until there is a response.
    status: Option<StatusCode>,
    /// The response body was taken to its end.
    complete: bool,
}

/// The response body, and the exchange that ends with it.
pub(crate) struct Measured {
    body: Body,
    /// Of the connection that this goes to.
    files: Arc<Files>,
    exchange: Exchange,
}

/// What the log says when the client left before there was a response; the number nginx made known.
const CLIENT_LEFT: u16 = 499;
const REQUEST_ID_BYTES_MAX: usize = 128;

impl Exchange {
    /// `given_id` is the client's or a proxy's `X-Request-Id`, by which they find this request in our log.
    pub(crate) fn begin(
        server: Arc<Server>,
        phase: Arc<Phase>,
        method: &Method,
        route: &'static str,
        given_id: Option<&HeaderValue>,
    ) -> Exchange {
        server.metrics.in_flight.inc();
        phase.handling();
        let given_id = given_id.and_then(|id| id.to_str().ok()).filter(|id| is_sane(id));
        let request_id = given_id.map_or_else(|| Ulid::new().to_string().to_ascii_lowercase(), str::to_owned);
        Exchange {
            server,
            phase,
            route,
            method: method_name(method),
            request_id,
            started: Instant::now(),
            user: None,
            repo: None,
            received: Arc::default(),
            sent: 0,
            status: None,
            complete: false,
        }
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Counts the bytes of the request body.
    pub(crate) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    pub(crate) fn set_user(&mut self, user: Option<&str>) {
        self.user = user.map(str::to_owned);
    }

    pub(crate) fn set_repo(&mut self, repo: impl ToString) {
        self.repo = Some(repo.to_string());
    }

    /// The exchange goes on until `body` has been sent.
    pub(crate) fn respond(mut self, status: StatusCode, body: Body, files: Arc<Files>) -> Measured {
        self.status = Some(status);
        Measured { body, files, exchange: self }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let received = self.received.load(Ordering::Relaxed);
        let status = self.status.map_or(CLIENT_LEFT, |status| status.as_u16());
        let ended =
            Ended { route: self.route, method: self.method, status, duration, received, sent: self.sent };
        self.server.metrics.request(&ended);
        self.server.metrics.in_flight.dec();
        self.phase.idle();
        // Neither query nor path: a query may hold a secret, and the path says no more than route and repo.
        tracing::info!(
            target: ACCESS,
            route = self.route,
            request_id = self.request_id,
            method = self.method,
            user = self.user,
            repo = self.repo,
            status,
            bytes_in = received,
            bytes_out = self.sent,
            duration_ms = duration.as_secs_f64() * 1000.0,
            cut_short = (!self.complete).then_some(true),
            "request",
        );
    }
}

impl http_body::Body for Measured {
    type Data = Chunk;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, BodyError>>> {
        let this = self.get_mut();
        let frame = match this.body.cached() {
            Some(cached) => Some(cached.map(|part| {
                let stand_in = Chunk::StandIn(part.remaining());
                this.files.push(part);
                Frame::data(stand_in)
            })),
            None => std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)),
        };
        match &frame {
            Some(Ok(frame)) => {
                this.exchange.sent += frame.data_ref().map_or(0, |chunk| chunk.remaining() as u64);
            }
            Some(Err(error)) => {
                let request_id = this.exchange.request_id();
                tracing::warn!(request_id, route = this.exchange.route, %error, "response cut short");
            }
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        // A response to HEAD has a body that nobody takes.
        let exchange = &mut self.exchange;
        exchange.complete = exchange.method == "HEAD" || http_body::Body::is_end_stream(&self.body);
    }
}

/// Methods are labels of metrics, so there are few of them.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn is_sane(id: &str) -> bool {
    let characters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(&byte);
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(characters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_ids_are_taken_if_they_are_harmless() {
        for good in ["a", "4bf92f3577b34da6a3ce929d0e0e4736", "Root=1-67891233-abcdef012345678912345678"] {
            assert!(is_sane(good), "{good}");
        }
        for bad in ["", "a b", "a\"b", "a\nb", "é", "{}", &"a".repeat(REQUEST_ID_BYTES_MAX + 1)] {
            assert!(!is_sane(bad), "{bad}");
        }
        assert!(is_sane(&"a".repeat(REQUEST_ID_BYTES_MAX)));
    }
}
