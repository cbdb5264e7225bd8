//! What follows from the files of a revision: the card, and what it and the files say together. Found out when somebody
//! asks, and kept for a while; that of default branches is kept in rows too, since lists are filtered by them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use database::{Facts as Row, FoundBy, Oid, Repo, RepoId, RepoKind, RepoState};
use parking_lot::Mutex;
use repository::pointer::Target;
use repository::tree::{self, Item};
use serde_json::Value;

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
    /// What of the card is searched.
    pub text: Box<str>,
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
    /// By one at a time. Whether this process looked at all repositories once; from then on it looks at those that move.
    refreshing: tokio::sync::Mutex<bool>,
    /// These could not be read; not tried again before that time, unless they move.
    unreadable: Mutex<HashMap<RepoId, i64>>,
}

impl Default for State {
    fn default() -> Self {
        let (refreshing, unreadable) = Default::default();
        State { kept: Kept::new(KEPT_BYTES_MAX), refreshing, unreadable }
    }
}

/// More files are not named in the answer to what a repository is; the tree has them all.
pub const FILES_MAX: usize = 100_000;
/// A README, a config: people write larger ones by mistake.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Of a card, for searches.
const TEXT_BYTES_MAX: usize = 32 << 10;
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
        self.files.iter().map(of_file).sum::<usize>() + document + self.text.len()
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
        let text = text_of(card.as_ref().map(|card| &card.data), body);
        Ok(Known { facts, document, files, files_cut, text, blobs: OnceLock::new() })
    }

    fn json(&self, path: &str) -> Result<Option<Value>, HubError> {
        let content = self.small_file(path, FILE_BYTES_MAX)?;
        Ok(content.and_then(|content| serde_json::from_slice(&content).ok()))
    }
}

/// The titles that a card gives, and what it says below; cut, since people paste whole books.
fn text_of(card: Option<&Value>, body: &[u8]) -> Box<str> {
    let mut text = String::new();
    for key in ["pretty_name", "title", "short_description"] {
        if let Some(title) = card.and_then(|card| card.get(key)?.as_str()) {
            text.push_str(title);
            text.push('\n');
        }
    }
    text.push_str(&String::from_utf8_lossy(&body[..body.len().min(TEXT_BYTES_MAX)]));
    // FTS5 reads a text to its first NUL.
    text.replace('\0', " ").into()
}

impl Known {
    /// In lists.
    fn found_by(&self) -> FoundBy {
        let named = |kind: &str, names: &[String]| -> Vec<String> {
            names.iter().map(|name| format!("{kind}:{name}")).collect()
        };
        let mut terms = named("models", &self.facts.models);
        terms.extend(named("datasets", &self.facts.datasets));
        if !terms.is_empty() {
            terms.push("linked".to_owned());
        }
        FoundBy { terms, text: self.text.to_string() }
    }
}

impl Hub {
    /// Brings the rows of facts up to date with the default branches, as they are now. A repository that cannot be read
    /// stops nothing; fsck tells of it.
    pub async fn refresh(&self) -> Result<(), HubError> {
        let hub = self.clone();
        // In a task of its own: what it took to look at, it looks at, though who asked for it leaves.
        let refreshed = tokio::spawn(async move {
            let mut started = hub.0.facts.refreshing.lock().await;
            let refreshed = hub.refresh_moved(&mut started).await;
            *started &= refreshed.is_ok();
            refreshed
        });
        refreshed.await.map_err(HubError::internal)?
    }

    async fn refresh_moved(&self, started: &mut bool) -> Result<(), HubError> {
        if !*started {
            // What moved before this process began to look.
            let mut after = RepoId(0);
            loop {
                let old = self.0.database.repos_with_old_facts(after, REFRESHED)?;
                let Some(last) = old.last() else { break };
                after = *last;
                self.refresh_these(&old).await?;
            }
            *started = true;
        }
        let now_ms = self.0.database.clock().now_ms();
        let again: Vec<RepoId> = {
            let unreadable = self.0.facts.unreadable.lock();
            unreadable.iter().filter(|(_, at)| now_ms >= **at).map(|(id, _)| *id).collect()
        };
        self.refresh_these(&again).await?;
        for _ in 0..ROUNDS_MAX {
            let moved = self.0.database.take_moved(REFRESHED as usize);
            if moved.is_empty() {
                break;
            }
            self.refresh_these(&moved).await?;
        }
        Ok(())
    }

    async fn refresh_these(&self, repos: &[RepoId]) -> Result<(), HubError> {
        for id in repos {
            let repo = self.0.database.repo(*id)?;
            let Some(repo) = repo.filter(|repo| repo.state == RepoState::Live) else {
                self.0.facts.unreadable.lock().remove(id);
                continue;
            };
            let (hub, path) = (self.clone(), repo.path.clone());
            // In a task of its own, since what it reads may be damaged in any way.
            let refreshed = tokio::spawn(async move { hub.refresh_one(&repo).await });
            let refreshed = refreshed.await.map_err(HubError::internal).flatten();
            let unreadable = &self.0.facts.unreadable;
            if let Err(error) = refreshed {
                tracing::warn!(repo = %path, %error, "what the card says cannot be found out");
                let now_ms = self.0.database.clock().now_ms();
                unreadable.lock().insert(*id, now_ms + TRIED_AGAIN_MS);
            } else {
                unreadable.lock().remove(id);
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
        if self.0.database.facts(repo.id)?.is_some_and(|facts| facts.commit == tip) {
            return Ok(());
        }
        let (row, found_by) = match tip {
            None => {
                let (modified_ms, document) = (repo.created_ms, "{}".to_owned());
                (Row { commit: None, modified_ms, tags: Vec::new(), document }, FoundBy::default())
            }
            Some(tip) => {
                let at = At::of(snapshot, tip)?;
                let known = self.known(&at).await?;
                let row = Row {
                    commit: Some(tip),
                    modified_ms: at.modified_ms()?,
                    tags: known.facts.tags.clone(),
                    document: known.document.to_string(),
                };
                (row, known.found_by())
            }
        };
        Ok(self.0.database.set_facts(repo.id, row, found_by).await?)
    }
}
