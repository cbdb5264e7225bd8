//! What follows from the files of a revision: the card, and what it and the files say together. Found out when somebody
//! asks, and kept for a while; that of default branches is kept in rows too, since lists are filtered by them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use database::{Facts as Row, Oid, Repo, RepoId, RepoKind};
use parking_lot::Mutex;
use repository::pointer::Target;
use repository::tree::{self, Item};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::at::At;
use crate::card::{self, METADATA_BYTES_MAX};
use crate::kept::Kept;
use crate::{Hub, HubError, blocking};

/// The facts of one tree.
#[derive(Debug)]
pub struct Known {
    pub facts: card::Facts,
    /// The facts as they are stored in rows.
    pub document: Value,
    pub files: Vec<File>,
    /// There are more.
    pub files_cut: bool,
    blobs: OnceLock<Vec<BlobOf>>,
}

#[derive(Debug)]
pub struct File {
    pub path: Box<str>,
    pub oid: Oid,
}

/// What git has of a file.
#[derive(Debug)]
pub struct BlobOf {
    pub size: u64,
    /// It is the pointer to this.
    pub target: Option<Target>,
}

/// What is kept of trees, and which repositories' rows are being brought up to date.
pub(crate) struct State {
    kept: Kept<Known>,
    refreshing: Semaphore,
    /// In these generations they could not be read; not tried again before that time.
    unreadable: Mutex<HashMap<RepoId, (i64, i64)>>,
}

impl Default for State {
    fn default() -> Self {
        State { kept: Kept::new(KEPT_BYTES_MAX), refreshing: Semaphore::new(1), unreadable: Mutex::default() }
    }
}

/// More files are not named in the answer to what a repository is; the tree has them all.
pub const FILES_MAX: usize = 100_000;
/// A README, a config: people write larger ones by mistake.
const FILE_BYTES_MAX: u64 = 4 << 20;
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Repositories whose rows are looked for at once.
const REFRESHED: u32 = 500;
/// Where so many repositories change all the time that there is no end, a list is made of what is known.
const ROUNDS_MAX: usize = 1000;
const TRIED_AGAIN_MS: i64 = 10 * 60 * 1000;

impl Hub {
    pub async fn known(&self, at: &At) -> Result<Arc<Known>, HubError> {
        let key = (at.snapshot.repo().id, at.tree);
        let at = at.clone();
        let make = || async move {
            blocking(move || {
                let known = at.examine()?;
                let bytes = known.bytes();
                Ok((known, bytes))
            })
            .await
        };
        self.0.facts.kept.get(key, make).await
    }
}

impl Known {
    /// Of each file, in their order. `at` is where this is known of.
    pub(crate) fn blobs(&self, at: &At) -> &[BlobOf] {
        let blob = |file: &File| {
            let size = at.snapshot.size(&file.oid).unwrap_or(0);
            BlobOf { size, target: at.snapshot.pointer(&file.oid) }
        };
        self.blobs.get_or_init(|| self.files.iter().map(blob).collect())
    }

    /// About as many as it takes.
    fn bytes(&self) -> usize {
        let of_file = |file: &File| file.path.len() + size_of::<File>() + size_of::<BlobOf>();
        // As a value, and as the facts it was made from.
        let document = 6 * self.document.to_string().len();
        self.files.iter().map(of_file).sum::<usize>() + document
    }
}

impl At {
    fn examine(&self) -> Result<Known, HubError> {
        let items = tree::list(&self.snapshot, self.tree, b"", true, None, FILES_MAX + 1)?;
        let files_cut = items.len() > FILES_MAX;
        let is_file = |item: &&Item| item.found.is_blob();
        let file = |item: &Item| {
            // No address of the API can name others.
            let path = std::str::from_utf8(&item.path).ok()?;
            Some(File { path: path.into(), oid: item.found.oid })
        };
        let files: Vec<File> = items.iter().take(FILES_MAX).filter(is_file).filter_map(file).collect();
        let kind = self.snapshot.repo().path.kind;
        let readme = self.small_file("README.md", FILE_BYTES_MAX)?.unwrap_or_default();
        let card = card::read(&readme).ok();
        let of_models = |path: &str| match kind {
            RepoKind::Model => self.json(path),
            RepoKind::Dataset | RepoKind::Space => Ok(None),
        };
        let (config, tokenizer_config) = (of_models("config.json")?, of_models("tokenizer_config.json")?);
        let body = card.as_ref().map_or(&readme[..], |card| card.body);
        let names: Vec<&str> = files.iter().map(|file| &*file.path).collect();
        let facts = card::facts(card::Sources {
            kind,
            card: card.as_ref().map(|card| &card.data),
            body: std::str::from_utf8(&body[..body.len().min(METADATA_BYTES_MAX)]).ok(),
            files: &names,
            config: config.as_ref(),
            tokenizer_config: tokenizer_config.as_ref(),
        });
        let document = serde_json::to_value(&facts).map_err(HubError::internal)?;
        Ok(Known { facts, document, files, files_cut, blobs: OnceLock::new() })
    }

    fn json(&self, path: &str) -> Result<Option<Value>, HubError> {
        let content = self.small_file(path, FILE_BYTES_MAX)?;
        Ok(content.and_then(|content| serde_json::from_slice(&content).ok()))
    }
}

impl Hub {
    /// Brings the rows of facts up to date with the default branches, as they are now. A repository that cannot be read
    /// stops nothing; fsck tells of it.
    pub async fn refresh(&self) -> Result<(), HubError> {
        let _one = self.0.facts.refreshing.acquire().await.map_err(HubError::internal)?;
        for _ in 0..ROUNDS_MAX {
            if !self.refresh_some().await? {
                break;
            }
        }
        Ok(())
    }

    /// False if there were no more.
    async fn refresh_some(&self) -> Result<bool, HubError> {
        let state = &self.0.facts;
        let left_out = u32::try_from(state.unreadable.lock().len()).unwrap_or(u32::MAX);
        let limit = REFRESHED.saturating_add(left_out);
        let old = self.0.database.repos_with_old_facts(limit)?;
        let more = old.len() >= limit as usize;
        for id in old {
            let Some(repo) = self.0.database.repo(id)? else { continue };
            let now_ms = self.0.database.clock().now_ms();
            let is_left_out =
                |&(generation, until_ms): &(i64, i64)| generation == repo.generation && now_ms < until_ms;
            if state.unreadable.lock().get(&id).is_some_and(is_left_out) {
                continue;
            }
            let (hub, path, generation) = (self.clone(), repo.path.clone(), repo.generation);
            // In a task of its own, since what it reads may be damaged in any way.
            let refreshed = tokio::spawn(async move { hub.refresh_one(&repo).await });
            let refreshed = refreshed.await.map_err(HubError::internal).flatten();
            if let Err(error) = refreshed {
                tracing::warn!(repo = %path, %error, "what the card says cannot be found out");
                state.unreadable.lock().insert(id, (generation, now_ms + TRIED_AGAIN_MS));
            } else {
                state.unreadable.lock().remove(&id);
            }
        }
        Ok(more)
    }

    async fn refresh_one(&self, repo: &Repo) -> Result<(), HubError> {
        let snapshot = match self.snapshot(repo).await {
            Err(HubError::RepoNotFound) => return Ok(()),
            other => other?,
        };
        let row = match snapshot.head_target().map(|row| row.peeled.unwrap_or(row.oid)) {
            None => Row {
                commit: None,
                modified_ms: repo.created_ms,
                tags: Vec::new(),
                document: "{}".to_owned(),
            },
            Some(tip) => {
                let at = At::of(snapshot, tip)?;
                let known = self.known(&at).await?;
                Row {
                    commit: Some(tip),
                    modified_ms: at.modified_ms()?,
                    tags: known.facts.tags.clone(),
                    document: known.document.to_string(),
                }
            }
        };
        Ok(self.0.database.set_facts(repo.id, row).await?)
    }
}
