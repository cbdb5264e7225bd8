//! The background: maintenance of repositories, sweep of blobs, manifests.
//!
//! What is due is in the rows, by the shared clock; so nothing is scheduled here and nothing is lost by a restart.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::Node;

/// After a failure, which is most likely the disk's and will most likely be the same a second later.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);
/// How long a stopping server waits for a run to end. One that is cut off leaves what a crash leaves: nothing wrong.
const GRACE: Duration = Duration::from_secs(5);

/// Looks for due work every `maintenance.interval`, and at once when [`Node::maintenance`] is notified. Returns soon
/// after `stop`.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let interval = node.config.maintenance.interval.duration();
    let mut pause = interval;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = node.maintenance.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let work = maintain(&node);
        tokio::pin!(work);
        let done = tokio::select! {
            done = &mut work => Some(done),
            () = stop.cancelled() => tokio::time::timeout(GRACE, work).await.ok(),
        };
        pause = if done == Some(false) { interval.max(PAUSE_AFTER_FAILURE) } else { interval };
    }
}

/// False if it failed.
async fn maintain(node: &Node) -> bool {
    match node.changes.maintain(false).await {
        Ok(report) => {
            tracing::debug!(%report, "maintenance");
            true
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
