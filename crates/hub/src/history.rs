//! Commits and refs as the API lists them.

use database::Oid;
use repository::log::{self, Entry};
use repository::walk::WalkLimits;
use serde::Serialize;

use crate::at::At;
use crate::dates::iso;
use crate::kept::Kept;
use crate::{Hub, HubError, blocking};

#[derive(Debug, Serialize)]
pub struct Commit {
    pub id: String,
    pub title: String,
    pub message: String,
    pub authors: Vec<Author>,
    pub date: String,
    pub parents: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formatted: Option<Formatted>,
}

#[derive(Debug, Serialize)]
pub struct Author {
    pub user: String,
}

#[derive(Debug, Serialize)]
pub struct Formatted {
    pub title: String,
    pub message: String,
}

/// A page of a history, and how many commits it has in all.
#[derive(Debug)]
pub struct Log {
    pub commits: Vec<Commit>,
    pub total: usize,
}

const PAGE: usize = 50;
const PAGE_MAX: usize = 1000;
const COMMITS_MAX: usize = 1_000_000;

/// Whole histories take that many bytes.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// In which order the commits that a commit reaches are shown.
pub(crate) type Orders = Kept<Vec<Oid>>;

pub(crate) fn orders() -> Orders {
    Kept::new(KEPT_BYTES_MAX)
}

impl Hub {
    /// `page` counts from 0.
    pub async fn log(
        &self,
        at: &At,
        page: usize,
        limit: Option<usize>,
        formatted: bool,
    ) -> Result<Log, HubError> {
        let limit = limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let walk = || async {
            let at = at.clone();
            let limits = WalkLimits { commits_max: COMMITS_MAX };
            let order = blocking(move || log::order(&at.snapshot, &at.commit, &limits)).await?;
            let bytes = order.len() * size_of::<Oid>();
            Ok((order, bytes))
        };
        let order = self.0.orders.get((at.snapshot.repo().id, at.commit), walk).await?;
        let start = page.saturating_mul(limit).min(order.len());
        let shown = order[start..order.len().min(start + limit)].to_vec();
        let at = at.clone();
        let entries = blocking(move || {
            shown.iter().map(|id| log::entry(&at.snapshot, id)).collect::<Result<Vec<_>, _>>()
        });
        let commits = entries.await?.iter().map(|entry| commit(entry, formatted)).collect();
        Ok(Log { commits, total: order.len() })
    }
}

impl At {
    /// When the commit was made, in milliseconds since the epoch.
    pub(crate) fn modified_ms(&self) -> Result<i64, HubError> {
        Ok(self.snapshot.commit(&self.commit)?.committer_seconds.saturating_mul(1000))
    }
}

fn commit(entry: &Entry, formatted: bool) -> Commit {
    let (title, message) = (entry.title().to_owned(), entry.body().to_owned());
    Commit {
        id: entry.id.to_string(),
        authors: vec![Author { user: entry.author_name.clone() }],
        date: iso(entry.committer_seconds.saturating_mul(1000)),
        parents: entry.parents.iter().map(Oid::to_string).collect(),
        formatted: formatted.then(|| Formatted { title: escape(&title), message: escape(&message) }),
        title,
        message,
    }
}

/// What is called formatted is HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
