//! Shards: what files are made of. Proven, then linked to the repository or the bucket, all or none.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::lfs::ShardError;
use ::xet::Progress;
use auth::{Propose, Split};
use bytes::Bytes;
use database::Quota;
use http::{HeaderValue, Response, header};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Call;
use crate::error::{Error, chain};
use crate::http::Body;

/// Whether all of it was here before.
type Registered = Result<bool, ShardError>;

/// `POST /v1/shards`
pub(super) async fn whole(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let (ended, _) = register(&mut call).await?;
    let was_here = ended.await.map_err(Error::internal)??;
    Ok(crate::hub::json(&json!({ "result": result(was_here) })))
}

/// `POST /v2/shards`: lines of JSON, the last of which says how it ended.
pub(super) async fn streamed(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let request_id = call.exchange.request_id().to_owned();
    let (ended, progress) = register(&mut call).await?;
    let mut response = Response::new(Body::shard(ShardAnswer::new(ended, progress, request_id)));
    let content_type = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// Goes on though the client leaves.
async fn register(
    call: &mut Call<'_>,
) -> Result<(oneshot::Receiver<Registered>, watch::Receiver<Progress>), Error> {
    let access = call.access::<Propose>()?;
    let shard = call.request.stage(&call.server.fetch_bodies).await?;
    call.server.node.objects_writable(0)?;
    let objects = call.server.node.objects.clone();
    let quota = Quota::Default(call.server.node.config.lfs.quota.map(|quota| quota.bytes()));
    let (said, progress) = watch::channel(Progress { verified: 0, total: 0 });
    let (sender, ended) = oneshot::channel();
    call.server.pushes.spawn(async move {
        let tell = move |now| {
            said.send_replace(now);
        };
        // An error means that the client has left.
        let _ = sender.send(match access.split() {
            Split::Repo(access) => {
                let registered = objects.register_shard(access, quota, shard, tell).await;
                registered.map(|files| files.iter().all(|file| file.was_here))
            }
            Split::Bucket(access) => objects.register_in_bucket(access, quota, shard, tell).await,
        });
    });
    Ok((ended, progress))
}

/// 0: all of it was here already.
fn result(was_here: bool) -> u8 {
    u8::from(!was_here)
}

/// The lines, as they become due.
pub(crate) struct ShardAnswer {
    ended: oneshot::Receiver<Registered>,
    progress: watch::Receiver<Progress>,
    heartbeat: Interval,
    request_id: String,
    done: bool,
}

/// Clients give up after 20 s of silence.
const HEARTBEAT: Duration = Duration::from_secs(5);

impl ShardAnswer {
    fn new(
        ended: oneshot::Receiver<Registered>,
        progress: watch::Receiver<Progress>,
        request_id: String,
    ) -> ShardAnswer {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ShardAnswer { ended, progress, heartbeat, request_id, done: false }
    }

    /// `None` after the last line.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Poll::Ready(ended) = Pin::new(&mut self.ended).poll(cx) {
            self.done = true;
            let document = match ended {
                Ok(Ok(was_here)) => json!({ "type": "result", "result": result(was_here) }),
                Ok(Err(error)) => self.failed(error.into()),
                Err(error) => self.failed(Error::internal(error)),
            };
            return Poll::Ready(Some(line(&document)));
        }
        std::task::ready!(self.heartbeat.poll_tick(cx));
        let Progress { verified, total } = *self.progress.borrow();
        Poll::Ready(Some(line(&json!({ "type": "validating", "verified": verified, "total": total }))))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// The status is sent already.
    fn failed(&self, error: Error) -> serde_json::Value {
        if let Error::Internal(source) = &error {
            tracing::error!(request_id = self.request_id, error = %chain(source.as_ref()), "internal error");
        }
        let status = error.status();
        let retryable = status.is_server_error() && status != http::StatusCode::INSUFFICIENT_STORAGE
            || status == http::StatusCode::TOO_MANY_REQUESTS;
        json!({ "type": "error", "message": error.to_string(), "retryable": retryable })
    }
}

fn line(document: &serde_json::Value) -> Bytes {
    Bytes::from(format!("{document}\n"))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn answer() -> (oneshot::Sender<Registered>, watch::Sender<Progress>, ShardAnswer) {
        let (said, progress) = watch::channel(Progress { verified: 0, total: 9 });
        let (sender, ended) = oneshot::channel();
        (sender, said, ShardAnswer::new(ended, progress, "id".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_takes_long_is_heard_of() {
        let (sender, said, mut answer) = answer();
        let started = Instant::now();
        for verified in 0..3 {
            said.send_replace(Progress { verified, total: 9 });
            let next = poll_fn(|cx| answer.poll_next(cx)).await.unwrap();
            let expected = format!("{{\"total\":9,\"type\":\"validating\",\"verified\":{verified}}}\n");
            assert_eq!(next, expected.as_bytes());
        }
        assert_eq!(started.elapsed().as_secs(), 15);
        sender.send(Ok(true)).unwrap();
        let last = poll_fn(|cx| answer.poll_next(cx)).await.unwrap();
        assert_eq!(last, &b"{\"result\":0,\"type\":\"result\"}\n"[..]);
        assert!(answer.is_done());
        assert_eq!(poll_fn(|cx| answer.poll_next(cx)).await, None);
    }

    #[tokio::test]
    async fn a_failure_is_the_last_line() {
        for (error, retryable) in [
            (ShardError::Refused(::xet::ShardRefused::Busy), true),
            (ShardError::Commit(::xet::CommitError::OverQuota { used: 1, quota: 2 }), false),
            (ShardError::Commit(::xet::CommitError::RepoGone), false),
            (ShardError::Db(database::DbError::Closed), true),
        ] {
            let (sender, _said, mut answer) = answer();
            let text = format!("{error:?}");
            sender.send(Err(error)).unwrap();
            let last = poll_fn(|cx| answer.poll_next(cx)).await.unwrap();
            let last: serde_json::Value = serde_json::from_slice(&last).unwrap();
            assert_eq!((&last["type"], &last["retryable"]), (&json!("error"), &json!(retryable)), "{text}");
        }
    }
}
