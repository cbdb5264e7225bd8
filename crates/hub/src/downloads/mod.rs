//! How often repositories are downloaded, by the Hub's rules: of a model, each request for the file that stands for it (by
//! its library, see `rules`); of a dataset, whatever one client asks for within five minutes, once. Counted in memory and
//! written now and then, many requests in one row: what was counted since is lost if the process is killed.

mod rules;

use std::collections::HashMap;
use std::net::IpAddr;

use database::{Repo, RepoId, RepoKind};
use parking_lot::Mutex;

use crate::{Hub, HubError};

/// Requests of one client for one dataset within so long are one download.
const ONE_DOWNLOAD_MS: i64 = 5 * 60 * 1000;
/// Clients of datasets that are remembered; beyond, some are counted twice.
const CLIENTS_MAX: usize = 100_000;
/// Models whose library is remembered.
const LIBRARIES_MAX: usize = 10_000;
/// Repositories in one transaction.
const WRITTEN_AT_ONCE: usize = 200;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// A generation of the repository, and which library its model is of then.
type Library = (i64, Option<Box<str>>);

#[derive(Default)]
pub(crate) struct Downloads {
    counts: Mutex<HashMap<RepoId, u64>>,
    /// When they first asked for it.
    clients: Mutex<HashMap<(RepoId, IpAddr), i64>>,
    libraries: Mutex<HashMap<RepoId, Library>>,
    /// In which hour, since the epoch, what fades with time was looked after last.
    tended: tokio::sync::Mutex<Option<i64>>,
}

impl Hub {
    /// A file was sent, or its head.
    pub fn downloaded(&self, repo: &Repo, path: &str, client: IpAddr) -> Result<(), HubError> {
        let counts = match repo.path.kind {
            RepoKind::Model => self.stands_for_it(repo, path)?,
            RepoKind::Dataset => self.is_new_here(repo.id, client),
            RepoKind::Space => false,
        };
        if counts {
            *self.0.downloads.counts.lock().entry(repo.id).or_default() += 1;
        }
        Ok(())
    }

    fn stands_for_it(&self, repo: &Repo, path: &str) -> Result<bool, HubError> {
        let known = &self.0.downloads.libraries;
        if let Some((generation, library)) = known.lock().get(&repo.id)
            && *generation == repo.generation
        {
            return Ok(rules::counts(library.as_deref(), path));
        }
        let facts = self.0.database.facts(repo.id)?;
        let document: Option<serde_json::Value> =
            facts.and_then(|facts| serde_json::from_str(&facts.document).ok());
        let library = document.as_ref().and_then(|document| document.get("library_name")?.as_str());
        let counts = rules::counts(library, path);
        let mut known = known.lock();
        if known.len() >= LIBRARIES_MAX {
            known.clear();
        }
        known.insert(repo.id, (repo.generation, library.map(Into::into)));
        Ok(counts)
    }

    fn is_new_here(&self, repo: RepoId, client: IpAddr) -> bool {
        let now_ms = self.0.database.clock().now_ms();
        let mut clients = self.0.downloads.clients.lock();
        if clients.len() >= CLIENTS_MAX {
            forget(&mut clients, now_ms);
            if clients.len() >= CLIENTS_MAX {
                clients.clear();
            }
        }
        let first_ms = clients.entry((repo, client)).or_insert(i64::MIN);
        let is_new = !is_one_download(*first_ms, now_ms);
        if is_new {
            *first_ms = now_ms;
        }
        is_new
    }

    /// Writes what was counted, and once an hour lets fade what does with time.
    pub async fn write_downloads(&self) -> Result<(), HubError> {
        let database = &self.0.database;
        let mut tended = self.0.downloads.tended.lock().await;
        let counts = std::mem::take(&mut *self.0.downloads.counts.lock());
        let mut left: Vec<(RepoId, u64)> = counts.into_iter().collect();
        while !left.is_empty() {
            let some = left.split_off(left.len().saturating_sub(WRITTEN_AT_ONCE));
            if let Err(error) = database.add_downloads(some.clone()).await {
                let mut counts = self.0.downloads.counts.lock();
                for (repo, count) in left.into_iter().chain(some) {
                    *counts.entry(repo).or_default() += count;
                }
                return Err(error.into());
            }
        }
        let now_ms = database.clock().now_ms();
        let hour = now_ms.div_euclid(HOUR_MS);
        if *tended != Some(hour) {
            while database.drop_old_downloads().await? {}
            let mut after = RepoId(0);
            while let Some(last) = database.update_trending(after).await? {
                after = last;
            }
            forget(&mut self.0.downloads.clients.lock(), now_ms);
            *tended = Some(hour);
        }
        Ok(())
    }
}

fn is_one_download(first_ms: i64, now_ms: i64) -> bool {
    // Also if the clock went back.
    now_ms.saturating_sub(first_ms).abs() < ONE_DOWNLOAD_MS
}

fn forget(clients: &mut HashMap<(RepoId, IpAddr), i64>, now_ms: i64) {
    clients.retain(|_, first_ms| is_one_download(*first_ms, now_ms));
}
