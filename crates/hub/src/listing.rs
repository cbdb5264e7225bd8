//! Lists of repositories.

use auth::Identity;
use database::{Listing, Order, Place, RepoId, RepoKind};
use serde_json::{Map, Value};

use crate::at::At;
use crate::info::{chosen, counted, identity, of_facts, siblings};
use crate::{Hub, HubError, blocking};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub author: Option<String>,
    /// All of these words, each a part of the name.
    pub search: Vec<String>,
    /// All of these tags.
    pub tags: Vec<String>,
    /// Of Spaces, what they use: see [`database::FoundBy`].
    pub terms: Vec<String>,
    pub gated: Option<bool>,
    pub order: Order,
    pub ascending: bool,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
    pub expand: Vec<String>,
    /// Cards, configs and files too.
    pub full: bool,
    pub card_data: bool,
    pub config: bool,
}

/// By the names that clients use.
pub fn order_named(name: &str) -> Option<Order> {
    match name {
        // How many parameters models have is not known: they are all the same in that.
        "createdAt" | "created_at" | "num_parameters" => Some(Order::Created),
        "lastModified" | "last_modified" => Some(Order::Modified),
        "downloads" => Some(Order::Downloads),
        "likes" => Some(Order::Likes),
        "trendingScore" | "trending_score" | "trending" | "likes7d" => Some(Order::Trending),
        _ => None,
    }
}

/// Words and tags of one query.
const TERMS_MAX: usize = 32;

/// A part of a list.
#[derive(Debug)]
pub struct Page {
    pub items: Vec<Value>,
    /// Of the next page.
    pub cursor: Option<String>,
}

const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1000;
/// Of files, in one page: from there on the page ends early.
const NAMES_MAX: usize = 100_000;

impl Hub {
    pub async fn list(&self, identity: &Identity, kind: RepoKind, query: &Query) -> Result<Page, HubError> {
        self.refresh().await?;
        let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let after = query.cursor.as_deref().map(parse_cursor).transpose()?;
        if query.search.len() + query.tags.len() + query.terms.len() > TERMS_MAX {
            return Err(HubError::Invalid(format!(
                "a list is filtered by {TERMS_MAX} words and tags at most"
            )));
        }
        let listing = Listing {
            kind,
            seen: auth::seen(self.0.settings.auth, identity),
            namespace: query.author.as_ref().map(|author| author.to_ascii_lowercase()),
            search: query.search.iter().map(|word| word.to_ascii_lowercase()).collect(),
            tags: query.tags.clone(),
            terms: query.terms.clone(),
            gated: query.gated,
            order: query.order,
            ascending: query.ascending,
            after,
            limit: limit + 1,
        };
        let database = self.0.database.clone();
        let mut found = blocking(move || database.list_repos(&listing)).await?;
        let mut more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let with_files = query.full || query.expand.iter().any(|field| field == "siblings");
        let mut repos = Vec::with_capacity(found.len());
        let mut names = 0;
        for listed in &found {
            let siblings = if with_files { self.siblings_of(listed).await } else { None };
            names += siblings.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
            repos.push(entry(listed, siblings, query)?);
            if names >= NAMES_MAX && repos.len() < found.len() {
                more = true;
                break;
            }
        }
        let cursor = found.get(repos.len() - usize::from(!repos.is_empty()));
        let cursor = cursor.filter(|_| more).map(|listed| self::cursor(listed.place));
        Ok(Page { items: repos, cursor })
    }
}

impl Hub {
    /// `None` if they cannot be read, or are none.
    async fn siblings_of(&self, listed: &database::Listed) -> Option<Value> {
        let snapshot = self.snapshot(&listed.repo).await.ok()?;
        let at = At::of(snapshot, listed.tip?).ok()?;
        Some(siblings(&*self.known(&at).await.ok()?))
    }
}

pub(crate) fn entry(
    listed: &database::Listed,
    siblings: Option<Value>,
    query: &Query,
) -> Result<Value, HubError> {
    let mut fields = Map::new();
    identity(&listed.repo, &mut fields);
    counted(&listed.counts, &mut fields);
    let facts = match &listed.facts {
        None => None,
        Some(facts) => Some(serde_json::from_str(&facts.document).map_err(HubError::internal)?),
    };
    of_facts(listed.repo.path.kind, facts.as_ref(), &mut fields);
    if let Some(siblings) = siblings {
        fields.insert("siblings".into(), siblings);
    }
    let modified_ms = listed.facts.as_ref().map_or(listed.repo.created_ms, |facts| facts.modified_ms);
    fields.insert("lastModified".into(), crate::dates::iso(modified_ms).into());
    fields.insert("sha".into(), listed.tip.map_or(Value::Null, |tip| tip.to_string().into()));
    if query.expand.is_empty() && !query.full {
        if !query.card_data {
            fields.remove("cardData");
        }
        if !query.config {
            fields.remove("config");
        }
        for field in ["transformersInfo", "model-index"] {
            fields.remove(field);
        }
    }
    Ok(chosen(fields, &query.expand))
}

fn cursor(place: Place) -> String {
    format!("{}-{}", place.key, place.repo.0)
}

fn parse_cursor(text: &str) -> Result<Place, HubError> {
    let place = text
        .rsplit_once('-')
        .and_then(|(key, repo)| Some(Place { key: key.parse().ok()?, repo: RepoId(repo.parse().ok()?) }));
    place.ok_or_else(|| HubError::Invalid("this cursor is not one of ours".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors() {
        let place = Place { key: 1_700_000_000_000, repo: RepoId(7) };
        assert_eq!(parse_cursor(&cursor(place)).unwrap(), place);
        let before_1970 = Place { key: -5, repo: RepoId(1) };
        assert_eq!(parse_cursor(&cursor(before_1970)).unwrap(), before_1970);
        for bad in ["", "1", "a-b", "1-", "-1"] {
            assert!(parse_cursor(bad).is_err(), "{bad}");
        }
    }
}
