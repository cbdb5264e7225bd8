//! One after the other: commits to the same repository do not compete for the same tip.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use database::RepoId;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// A turn per repository. Those of repositories that nobody changes take no room for long.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<RepoId, Weak<tokio::sync::Mutex<()>>>>);

/// Entries beyond which the dead ones are looked for.
const SWEPT_FROM: usize = 1024;

impl Turns {
    pub(crate) async fn wait(&self, repo: RepoId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            if turns.len() >= SWEPT_FROM {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            let living = turns.get(&repo).and_then(Weak::upgrade);
            living.unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(repo, Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}
