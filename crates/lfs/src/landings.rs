//! Objects whose bytes are all here and are being made durable, past the answer to their client if need be.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use database::{RepoId, Sha256};
use tokio::sync::watch;

use crate::publish::{Arrival, detached};
use crate::{Objects, ReceiveError};

/// What is landing, so that a push can wait for it.
#[derive(Clone, Default)]
pub(crate) struct Landings(Arc<Mutex<Table>>);

type Table = HashMap<(RepoId, Sha256), Vec<watch::Receiver<()>>>;

/// One that is under way. It is over when this is dropped.
struct Landing {
    landings: Landings,
    of: (RepoId, Sha256),
    end: Option<watch::Sender<()>>,
}

impl Landings {
    fn begin(&self, repo: RepoId, sha256: Sha256) -> Landing {
        let (end, ended) = watch::channel(());
        let of = (repo, sha256);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(of).or_default().push(ended);
        Landing { landings: self.clone(), of, end: Some(end) }
    }

    /// The end of one, if the object is landing: the channel is closed then.
    pub(crate) fn of(&self, repo: RepoId, sha256: Sha256) -> Option<watch::Receiver<()>> {
        let landings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        landings.get(&(repo, sha256))?.first().cloned()
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut landings = self.landings.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.end.take());
        if let Some(ends) = landings.get_mut(&self.of) {
            ends.retain(|ended| ended.has_changed().is_ok());
            if ends.is_empty() {
                landings.remove(&self.of);
            }
        }
    }
}

impl Objects {
    /// Runs `work`, which makes an object of bytes that are all here, to its end; and answers in time: git-lfs gives up
    /// after 30 s without a byte and would send all of it again, while a bucket may put parts together for minutes and a
    /// disk may flush for as long. What takes longer than [`crate::Config::verify_wait`] is said to be done. The push
    /// that needs it waits for it, and is refused if nothing comes of it, be it that the process ends.
    pub(crate) async fn landed_soon(
        &self,
        arrival: &Arrival,
        work: impl Future<Output = Result<(), ReceiveError>> + Send + 'static,
    ) -> Result<(), ReceiveError> {
        let (landing, key) = (self.0.landings.begin(arrival.repo, arrival.sha256), arrival.key());
        let landing = detached(async move {
            let landed = work.await;
            drop(landing);
            landed
        });
        let mut landing = Box::pin(landing);
        match tokio::time::timeout(self.0.config.verify_wait, &mut landing).await {
            Ok(landed) => landed,
            Err(_) => {
                tokio::spawn(async move {
                    if let Err(error) = landing.await {
                        tracing::warn!(key, %error, "an object was not stored after all; its push is refused");
                    }
                });
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_landing_is_waited_for_until_it_is_over() {
        let (landings, repo, sha256) = (Landings::default(), RepoId(1), Sha256([1; 32]));
        assert!(landings.of(repo, sha256).is_none());
        let (one, two) = (landings.begin(repo, sha256), landings.begin(repo, sha256));
        assert!(landings.of(RepoId(2), sha256).is_none());
        let mut first = landings.of(repo, sha256).unwrap();
        drop(one);
        assert!(first.changed().await.is_err(), "it is over");
        let mut second = landings.of(repo, sha256).unwrap();
        drop(two);
        assert!(second.changed().await.is_err());
        assert!(landings.0.lock().unwrap().is_empty());
    }
}
