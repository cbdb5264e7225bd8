//! What lists of repositories are asked for, and what they hold.

use crate::{Facts, Oid, Repo, RepoId, RepoKind};

/// Which repositories to list.
#[derive(Clone, Debug)]
pub struct Listing {
    pub kind: RepoKind,
    pub seen: Seen,
    /// Folded.
    pub namespace: Option<String>,
    /// All of them, each in the name or the namespace.
    pub search: Vec<String>,
    /// All of them, in any case.
    pub tags: Vec<String>,
    /// All of them, of what else it is found by.
    pub terms: Vec<String>,
    pub gated: Option<bool>,
    pub order: Order,
    /// Smallest first.
    pub ascending: bool,
    /// Behind this one in that order.
    pub after: Option<Place>,
    pub limit: u32,
}

/// Where a repository stands in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// What the list is ordered by: a time, or how many.
    pub key: i64,
    pub repo: RepoId,
}

/// Whose eyes a list is for.
#[derive(Clone, Debug)]
pub enum Seen {
    All,
    /// Namespaces are folded.
    Public {
        and_namespaces: Vec<String>,
    },
    None,
}

/// Largest, latest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Created,
    Modified,
    Likes,
    /// Of the last 30 days.
    Downloads,
    Trending,
}

#[derive(Clone, Debug)]
pub struct Listed {
    pub repo: Repo,
    /// Of the default branch.
    pub tip: Option<Oid>,
    /// May be those of another commit than `tip`.
    pub facts: Option<Facts>,
    pub counts: Counts,
    pub place: Place,
}

/// How many people like a repository and take from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub likes: u64,
    /// Of the last 30 days.
    pub downloads: u64,
    pub downloads_all: u64,
    /// See [`trending`].
    pub trending: i64,
}

/// The score that trending repositories are ordered by: ten for each like of the last seven days, and ten for each power of
/// ten that the downloads of these days reach. A like outweighs a script that downloads all night.
pub fn trending(likes: u64, downloads: u64) -> i64 {
    let downloads = (10.0 * (1.0 + downloads as f64).log10()).round() as i64;
    i64::try_from(likes).unwrap_or(i64::MAX / 20).saturating_mul(10).saturating_add(downloads)
}

/// What a repository is found by, beside its name and its tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundBy {
    /// `models:acme/x`: what a list can be filtered by and is no tag.
    pub terms: Vec<String>,
    /// Of its card.
    pub text: String,
}
