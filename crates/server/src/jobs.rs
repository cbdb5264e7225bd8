//! The background: maintenance of repositories, sweep of blobs, manifests; proofs of objects that a restart interrupted;
//! a look at the bucket once a day; downloads, from memory to rows; webhooks.
//!
//! What is due is in the rows, by the shared clock; so nothing is scheduled here and nothing is lost by a restart.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::Node;
use crate::place;
use crate::webhooks;

/// After a failure, which is most likely the disk's and will most likely be the same a second later.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);
/// How long a stopping server waits for a run to end. One that is cut off leaves what a crash leaves: nothing wrong.
const GRACE: Duration = Duration::from_secs(5);

/// Between two times that downloads are written.
const COUNTS_INTERVAL: Duration = Duration::from_secs(10);

/// Deliveries of webhooks that are forgotten at a time.
const DELIVERIES_SWEPT: u32 = 1000;

/// Between two looks at whether the bucket is to be examined; so soon, too, it is tried again if that failed.
const BUCKET_INTERVAL: Duration = Duration::from_secs(60);

/// Looks for due work every `maintenance.interval`, and at once when [`Node::maintenance`] is notified. Returns soon
/// after `stop`.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    resume_claims(&node).await;
    let interval = node.config.maintenance.interval.duration();
    let maintenance = rounds(&node.maintenance, interval, &stop, || maintain(Arc::clone(&node)));
    // Nobody wakes it: what was counted can wait.
    let never = Notify::new();
    let counting = rounds(&never, COUNTS_INTERVAL, &stop, || write_downloads(Arc::clone(&node)));
    let sending = webhooks::run(Arc::clone(&node), stop.clone());
    tokio::join!(maintenance, counting, watch_bucket(&node, &stop), sending);
}

/// False if it failed.
async fn write_downloads(node: Arc<Node>) -> bool {
    match node.hub.write_downloads().await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "downloads are not written; they are kept in memory"
            );
            false
        }
    }
}

/// What was sent long ago is forgotten, so much in each round.
async fn sweep_deliveries(node: &Node) {
    let before_ms = node.clock().now_ms() - node.config.webhooks.log.ms();
    if let Err(error) = node.database.sweep_deliveries(before_ms, DELIVERIES_SWEPT).await {
        tracing::error!(%error, "deliveries of webhooks that ended long ago stay");
    }
}

/// Reads back what was claimed and not proven when this process last ended.
async fn resume_claims(node: &Node) {
    match node.objects.resume_claims().await {
        Ok(0) => {}
        Ok(claims) => tracing::info!(claims, "objects are being verified"),
        // The sweep tries it again.
        Err(error) => tracing::error!(%error, "objects that are claimed cannot be listed"),
    }
}

async fn watch_bucket(node: &Node, stop: &CancellationToken) {
    if node.objects.store().bucket().is_none() {
        return;
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(BUCKET_INTERVAL) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = place::examine_if_due(&node.objects) => {}
        }
    }
}

/// Each `round` says whether it went well. Whatever it does, the next one comes.
async fn rounds<F>(wake: &Notify, interval: Duration, stop: &CancellationToken, round: impl Fn() -> F)
where
    F: Future<Output = bool> + Send + 'static,
{
    let mut pause = interval;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        // Its own task, in which a panic ends.
        let mut work = tokio::spawn(round());
        let done = tokio::select! {
            done = &mut work => done,
            () = stop.cancelled() => match tokio::time::timeout(GRACE, &mut work).await {
                Ok(done) => done,
                Err(_) => return work.abort(),
            },
        };
        let well = done.unwrap_or_else(|failure| {
            tracing::error!(%failure, "maintenance ended abnormally; it is tried again");
            false
        });
        pause = if well { interval } else { interval.max(PAUSE_AFTER_FAILURE) };
    }
}

/// False if it failed.
async fn maintain(node: Arc<Node>) -> bool {
    match node.changes.maintain(false).await {
        Ok(report) => {
            tracing::debug!(%report, "maintenance");
            // So that who asks for a list seldom waits for it.
            if let Err(error) = node.hub.refresh().await {
                tracing::warn!(%error, "what cards say is not up to date");
            }
            sweep_deliveries(&node).await;
            write_downloads(node).await
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "maintenance failed; it is tried again"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_a_panic_or_a_failure_comes_another_round_later() {
        let (stop, count) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let started = Instant::now();
        let round = || {
            let (stop, round) = (stop.clone(), count.fetch_add(1, Ordering::Relaxed));
            async move {
                match round {
                    0 => panic!("it must not end the loop"),
                    1 => false,
                    2 => true,
                    _ => {
                        stop.cancel();
                        true
                    }
                }
            }
        };
        rounds(&Notify::new(), Duration::from_secs(1), &stop, round).await;
        assert_eq!(count.load(Ordering::Relaxed), 4);
        assert_eq!(started.elapsed(), 2 * Duration::from_secs(1) + 2 * PAUSE_AFTER_FAILURE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_does_not_end_is_cut_off() {
        let stop = CancellationToken::new();
        let started = Instant::now();
        let round = || {
            stop.cancel();
            std::future::pending()
        };
        rounds(&Notify::new(), Duration::from_secs(1), &stop, round).await;
        assert_eq!(started.elapsed(), Duration::from_secs(1) + GRACE);
    }
}
