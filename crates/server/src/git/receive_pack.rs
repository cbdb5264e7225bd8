//! `POST …/git-receive-pack`: pushes.
//!
//! The body is received first, whole; then the push runs as a task of its own, which a client that leaves does not
//! stop. Git reads the answer only after it has sent everything and shows the text of no other status than 200, so
//! refusals are told in the report wherever the rest of the body can be waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use auth::{Authorized, Propose};
use bytes::Bytes;
use change::PushError;
use git_protocol::Service;
use git_protocol::receive_pack::{
    Capabilities, Commands, Malformed, Parsed, Report, Status, fatal, parse_commands,
};
use git_protocol::sideband::{Framing, KEEPALIVE};
use http::Response;
use tokio::sync::oneshot;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::door::Visitor;
use crate::error::{Error, chain, git_answer, git_refusal};
use crate::http::{Body, Exchange, Request};
use crate::metrics::PushResult;
use crate::route::Target;
use crate::serve::Server;
use crate::staging::Upload;

const SERVICE: Service = Service::ReceivePack;
/// Proxies give up on silent connections, some after as little as ten seconds.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// Most pushes are over sooner, and then the answer goes out in one piece.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Of a push that is refused before it is received, for its capabilities.
const HEAD_BYTES: u64 = 1 << 20;
/// The rest of such a push is read up to this bound, for the sake of the message.
const REFUSED_BYTES: u64 = 1 << 30;
const REFUSED_TIME: Duration = Duration::from_secs(60);
/// Larger bodies may hold many commands, which are not parsed where other requests wait.
const PARSED_ON_THE_SPOT: usize = 256 * 1024;

/// The answer to a push that is still running: empty packets until there is a report.
#[derive(Debug)]
pub struct Pushing {
    report: oneshot::Receiver<Bytes>,
    /// If the push ends without a report.
    without: Bytes,
    keepalive: Interval,
    done: bool,
}

pub(crate) async fn receive_pack(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    target: &Target,
) -> Result<Response<Body>, Error> {
    // Before the body is touched: a client that expects `100 Continue` then sends none.
    let access = Visitor::new(server, request.headers(), exchange, target)?.may_push(server)?;
    request.require_type(SERVICE.request_type())?;
    let full = server.node.writable().err();
    let max = if full.is_some() { HEAD_BYTES } else { request.body_max };
    let mut upload = server.staging.begin();
    let filled = request.fill(&mut upload, max).await;
    match full.map_or(filled, |full| Err(full.into())) {
        Ok(()) => {}
        Err(error @ (Error::TooLarge { .. } | Error::Busy(_) | Error::DiskFull(_))) => {
            return refuse(server, request, upload, error).await;
        }
        Err(error) => return Err(error),
    }
    let body = upload.finish().await?;
    match parse(server, body.clone()).await? {
        Ok(Parsed::Complete { commands, .. }) if commands.updates.is_empty() => {
            // The probe that precedes a large push.
            Ok(git_answer(SERVICE, Body::empty()))
        }
        Ok(Parsed::Complete { commands, consumed }) => {
            push(server, access, commands, body.slice(consumed..)).await
        }
        Ok(Parsed::Incomplete) if body.is_empty() => Ok(git_answer(SERVICE, Body::empty())),
        Ok(Parsed::Incomplete) => Ok(git_refusal(SERVICE, "the request ends before its commands do")),
        Err(malformed) => {
            Ok(git_answer(SERVICE, fatal(&malformed.capabilities, &malformed.error.to_string())))
        }
    }
}

/// Tells the client in its report that nothing was done, if it stops sending within bounds; else by a status.
async fn refuse(
    server: &Arc<Server>,
    request: &mut Request,
    upload: Upload,
    error: Error,
) -> Result<Response<Body>, Error> {
    let all_read = request.body.discard(REFUSED_BYTES, REFUSED_TIME).await;
    let Ok(head) = upload.finish().await else { return Err(error) };
    match parse(server, head).await? {
        Ok(Parsed::Complete { commands, .. }) if all_read && !commands.updates.is_empty() => {
            let why = match error {
                Error::TooLarge { .. } => {
                    let max = server.node.config.limits.pack_bytes.bytes();
                    format!(
                        "the pack has more than the {max} bytes allowed in one push; push fewer commits at a time"
                    )
                }
                other => other.to_string(),
            };
            server.metrics.push(PushResult::Rejected);
            Ok(git_answer(SERVICE, failed(&commands, &why)))
        }
        _ => Err(error),
    }
}

async fn parse(server: &Arc<Server>, body: Bytes) -> Result<Result<Parsed, Malformed>, Error> {
    if body.len() <= PARSED_ON_THE_SPOT {
        return Ok(parse_commands(&body, &server.protocol));
    }
    let server = Arc::clone(server);
    let parsed = tokio::task::spawn_blocking(move || parse_commands(&body, &server.protocol));
    parsed.await.map_err(Error::internal)
}

async fn push(
    server: &Arc<Server>,
    access: Authorized<Propose>,
    commands: Commands,
    pack: Bytes,
) -> Result<Response<Body>, Error> {
    let capabilities = commands.capabilities.clone();
    let (sender, mut report) = oneshot::channel();
    let pack = Some(pack).filter(|pack| !pack.is_empty());
    server.pushes.spawn(run(Arc::clone(server), access, commands, pack, sender));
    let without = fatal(&capabilities, "internal error");
    if let Ok(report) = timeout(AT_ONCE, &mut report).await {
        return Ok(git_answer(SERVICE, report.unwrap_or(without)));
    }
    if capabilities.framing == Framing::Raw {
        // Such a client takes nothing but the report.
        return Ok(git_answer(SERVICE, report.await.unwrap_or(without)));
    }
    Ok(git_answer(SERVICE, Body::pushing(Pushing::new(report, without))))
}

/// The push itself, to its end. Nobody may be there to read the report.
async fn run(
    server: Arc<Server>,
    access: Authorized<Propose>,
    commands: Commands,
    pack: Option<Bytes>,
    sender: oneshot::Sender<Bytes>,
) {
    let repo = access.repo().path.clone();
    let capabilities = commands.capabilities.clone();
    if let Some(session_id) = &capabilities.session_id {
        tracing::info!(%repo, client_session_id = %session_id, "push of a traced session");
    }
    // In case there is no report: it names each ref.
    let for_failure = commands.clone();
    let answer = match server.node.changes.push(access, commands, pack).await {
        Ok(report) => {
            count(&server, &report);
            report.encode(&capabilities)
        }
        Err(error) => {
            server.metrics.push(PushResult::Failed);
            match &error {
                PushError::Internal(source) => {
                    tracing::error!(%repo, error = %chain(source.as_ref()), "a push failed");
                }
                PushError::Revoked => tracing::info!(%repo, error = %error, "a push was refused"),
                PushError::Full => tracing::warn!(%repo, error = %error, "a push failed"),
            }
            failed(&for_failure, &error.to_string())
        }
    };
    // An error means that the client has left.
    let _ = sender.send(answer);
}

fn count(server: &Server, report: &Report) {
    let moved = report.refs.iter().filter(|(_, result)| result.is_ok() && report.unpack.is_ok()).count();
    let all = moved == report.refs.len() && report.unpack.is_ok();
    server.metrics.push(if all { PushResult::Accepted } else { PushResult::Rejected });
    server.metrics.refs_moved.inc_by(moved as u64);
}

/// Nothing was done, said in the way the client asked to be told.
fn failed(commands: &Commands, why: &str) -> Bytes {
    let capabilities: &Capabilities = &commands.capabilities;
    match capabilities.status {
        Status::Silent => fatal(capabilities, why),
        Status::V1 | Status::V2 => Report::unpack_failed(commands, why).encode(capabilities),
    }
}

impl Pushing {
    fn new(report: oneshot::Receiver<Bytes>, without: Bytes) -> Pushing {
        let mut keepalive = interval_at(Instant::now() + KEEPALIVE_EVERY, KEEPALIVE_EVERY);
        keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pushing { report, without, keepalive, done: false }
    }

    /// `None` after the report.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Poll::Ready(report) = Pin::new(&mut self.report).poll(cx) {
            self.done = true;
            return Poll::Ready(Some(report.unwrap_or_else(|_| self.without.clone())));
        }
        self.keepalive.poll_tick(cx).map(|_| Some(Bytes::from_static(KEEPALIVE)))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_running_push_is_heard_every_five_seconds() {
        let (sender, receiver) = oneshot::channel();
        let mut pushing = Pushing::new(receiver, Bytes::from_static(b"failed"));
        let started = Instant::now();
        for _ in 0..3 {
            assert_eq!(poll_fn(|cx| pushing.poll_next(cx)).await.unwrap(), KEEPALIVE[..]);
        }
        assert_eq!(started.elapsed().as_secs(), 15);
        sender.send(Bytes::from_static(b"report")).unwrap();
        assert_eq!(poll_fn(|cx| pushing.poll_next(cx)).await.unwrap(), "report");
        assert!(pushing.is_done());
        assert_eq!(poll_fn(|cx| pushing.poll_next(cx)).await, None);
    }

    #[tokio::test]
    async fn a_push_that_dies_is_told() {
        let (sender, receiver) = oneshot::channel::<Bytes>();
        let mut pushing = Pushing::new(receiver, Bytes::from_static(b"failed"));
        drop(sender);
        assert_eq!(poll_fn(|cx| pushing.poll_next(cx)).await.unwrap(), "failed");
    }
}
