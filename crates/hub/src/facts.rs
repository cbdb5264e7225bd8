//! What follows from the files of a revision: the card, and what it and the files say together. Made when somebody asks,
//! kept as long as the snapshot; those of default branches are kept in rows too, since lists are filtered by them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use database::{Facts as Row, Oid, Repo, RepoKind};
use repository::tree::{self, Item};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::at::At;
use crate::card::{self, METADATA_BYTES_MAX};
use crate::{Hub, HubError, blocking};

/// The facts of one revision.
#[derive(Debug)]
pub struct Known {
    pub facts: card::Facts,
    /// Paths of all files, as the API names them.
    pub files: Vec<String>,
    /// There are more.
    pub files_cut: bool,
}

/// Repositories whose rows are being brought up to date.
pub(crate) struct Fresh(Semaphore);

impl Default for Fresh {
    fn default() -> Self {
        Fresh(Semaphore::new(1))
    }
}

/// More files are not named in the answer to what a repository is; the tree has them all.
pub const FILES_MAX: usize = 100_000;
/// A README, a config: people write larger ones by mistake.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Revisions of one snapshot whose facts are kept.
const KEPT_MAX: usize = 8;
/// Repositories brought up to date at once, before a list is made.
const REFRESHED: u32 = 500;

type Kept = Mutex<HashMap<Oid, Arc<Known>>>;

impl At {
    pub async fn known(&self) -> Result<Arc<Known>, HubError> {
        let kept = self.snapshot.memo("hub.facts", Kept::default);
        let lock =
            |kept: &Kept| kept.lock().unwrap_or_else(PoisonError::into_inner).get(&self.commit).cloned();
        if let Some(known) = lock(&kept) {
            return Ok(known);
        }
        let at = self.clone();
        let known = Arc::new(blocking(move || at.examine()).await?);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(self.commit, Arc::clone(&known));
        Ok(known)
    }

    fn examine(&self) -> Result<Known, HubError> {
        let items = tree::list(&self.snapshot, self.tree, b"", true, None, FILES_MAX + 1)?;
        let files_cut = items.len() > FILES_MAX;
        let is_file = |item: &&Item| item.found.is_blob();
        let name = |item: &Item| String::from_utf8_lossy(&item.path).into_owned();
        let files: Vec<String> = items.iter().take(FILES_MAX).filter(is_file).map(name).collect();
        let kind = self.snapshot.repo().path.kind;
        let readme = self.small_file("README.md", FILE_BYTES_MAX)?.unwrap_or_default();
        let card = card::read(&readme).ok();
        let of_models = |path: &str| match kind {
            RepoKind::Model => self.json(path),
            RepoKind::Dataset | RepoKind::Space => Ok(None),
        };
        let (config, tokenizer_config) = (of_models("config.json")?, of_models("tokenizer_config.json")?);
        let body = card.as_ref().map_or(&readme[..], |card| card.body);
        let names: Vec<&str> = files.iter().map(String::as_str).collect();
        let facts = card::facts(card::Sources {
            kind,
            card: card.as_ref().map(|card| &card.data),
            body: std::str::from_utf8(&body[..body.len().min(METADATA_BYTES_MAX)]).ok(),
            files: &names,
            config: config.as_ref(),
            tokenizer_config: tokenizer_config.as_ref(),
        });
        Ok(Known { facts, files, files_cut })
    }

    fn json(&self, path: &str) -> Result<Option<Value>, HubError> {
        let content = self.small_file(path, FILE_BYTES_MAX)?;
        Ok(content.and_then(|content| serde_json::from_slice(&content).ok()))
    }
}

impl Hub {
    /// Brings the rows of facts up to date with the default branches. Returns when that is so, but for repositories
    /// beyond some hundreds, which the next call looks at.
    pub async fn refresh(&self) -> Result<(), HubError> {
        let _one = self.0.facts.0.acquire().await.map_err(HubError::internal)?;
        for id in self.0.database.repos_with_old_facts(REFRESHED)? {
            if let Some(repo) = self.0.database.repo(id)? {
                self.refresh_one(&repo).await?;
            }
        }
        Ok(())
    }

    async fn refresh_one(&self, repo: &Repo) -> Result<(), HubError> {
        let snapshot = match self.snapshot(repo).await {
            Err(HubError::RepoNotFound) => return Ok(()),
            other => other?,
        };
        let tip = snapshot.head_target().map(|row| row.peeled.unwrap_or(row.oid));
        let nothing = |commit| Row {
            commit,
            modified_ms: repo.created_ms,
            tags: Vec::new(),
            document: "{}".to_owned(),
        };
        let row = match tip {
            None => nothing(None),
            Some(tip) => row_of(snapshot, tip).await.unwrap_or_else(|error| {
                // One that cannot be read stops no list; fsck tells of it.
                tracing::info!(repo = %repo.path, %error, "what the card says is not known");
                nothing(Some(tip))
            }),
        };
        Ok(self.0.database.set_facts(repo.id, row).await?)
    }
}

async fn row_of(snapshot: Arc<repository::Snapshot>, tip: Oid) -> Result<Row, HubError> {
    let at = At::of(snapshot, tip)?;
    let known = at.known().await?;
    Ok(Row {
        commit: Some(tip),
        modified_ms: at.modified_ms()?,
        tags: known.facts.tags.clone(),
        document: serde_json::to_string(&known.facts).map_err(HubError::internal)?,
    })
}
