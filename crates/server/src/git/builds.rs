//! Turns for answers that have to be computed.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// As many compute at a time as there are permits; some more may wait; the rest is told to come again.
pub(crate) struct Builds {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Too many are waiting already.
#[derive(Debug)]
pub(crate) struct Overloaded;

impl Builds {
    pub(crate) fn new(running_max: usize, waiting_max: usize) -> Builds {
        let permits = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        Builds { running: permits(running_max), waiting: permits(waiting_max) }
    }

    /// Waits for a turn, which lasts until the permit is dropped. `waiting` shows how many do.
    pub(crate) async fn turn(&self, waiting: &Gauge) -> Result<OwnedSemaphorePermit, Overloaded> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = self.waiting.try_acquire().map_err(|_| Overloaded)?;
        waiting.inc();
        let permit = Arc::clone(&self.running).acquire_owned().await;
        waiting.dec();
        permit.map_err(|_| Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn some_run_some_wait_the_rest_is_refused() {
        let builds = Arc::new(Builds::new(1, 1));
        let gauge = Gauge::default();
        let running = builds.turn(&gauge).await.unwrap();
        let waiter = tokio::spawn({
            let (builds, gauge) = (Arc::clone(&builds), gauge.clone());
            async move { builds.turn(&gauge).await.is_ok() }
        });
        while gauge.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(builds.turn(&gauge).await.is_err());
        drop(running);
        assert!(waiter.await.unwrap());
        assert_eq!(gauge.get(), 0);
        assert!(builds.turn(&gauge).await.is_ok());
    }
}
