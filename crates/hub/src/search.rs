//! Search of everything at once: names first, then what cards say. One interface, whatever finds it.

use auth::Identity;
use database::{Listed, Listing, Order, RepoKind, Seen};
use serde_json::{Map, Value, json};

use crate::card::{LIBRARIES, pipeline_label};
use crate::repos::{id, kind_name};
use crate::{Hub, HubError, blocking, listing};

const FOUND: u32 = 20;
const FOUND_MAX: u32 = 100;
const TRENDING: u32 = 10;
const TRENDING_MAX: u32 = 100;
/// A longer question is cut.
const QUESTION_CHARS_MAX: usize = 200;

/// Repositories that a question finds.
#[derive(Debug)]
pub struct Found {
    pub repos: Vec<Listed>,
    /// How many have it in their name; no less than `repos`.
    pub count: u64,
}

impl Hub {
    /// Those with all words in their name, the most trending first, then those with all words in their card, the best first.
    pub async fn search(
        &self,
        identity: &Identity,
        kind: RepoKind,
        question: &str,
        limit: u32,
    ) -> Result<Found, HubError> {
        self.refresh().await?;
        let question: String = question.chars().take(QUESTION_CHARS_MAX).collect();
        let named = Listing {
            search: words(&question),
            order: Order::Trending,
            limit,
            ..of_all(kind, auth::seen(self.0.settings.auth, identity))
        };
        let database = self.0.database.clone();
        blocking(move || {
            let mut repos = database.list_repos(&named)?;
            let mut count = repos.len() as u64;
            if repos.len() == limit as usize {
                count = database.count_repos(&named)?;
            } else if !named.search.is_empty() {
                let in_cards = database.search_cards(kind, &named.seen, &question, limit)?;
                for listed in in_cards {
                    if repos.len() < limit as usize
                        && repos.iter().all(|known| known.repo.id != listed.repo.id)
                    {
                        repos.push(listed);
                    }
                }
                count = repos.len() as u64;
            }
            Ok(Found { repos, count })
        })
        .await
    }

    /// What is offered while somebody types. `kinds` are those of the answer: `model`, `user`, … or all.
    pub async fn quick_search(
        &self,
        identity: &Identity,
        question: &str,
        kinds: &[String],
        limit: Option<u32>,
    ) -> Result<Value, HubError> {
        self.may_look(identity)?;
        let limit = limit.unwrap_or(FOUND).clamp(1, FOUND_MAX);
        let asks = |kind: &str| kinds.is_empty() || kinds.iter().any(|asked| asked == kind);
        let mut answer = Map::new();
        answer.insert("q".into(), question.into());
        let mut add = |name: &str, rows: Vec<Value>, count: u64| {
            answer.insert(format!("{name}s"), rows.into());
            answer.insert(format!("{name}sCount"), count.into());
        };
        for kind in RepoKind::ALL {
            let name = kind_name(kind);
            match asks(name) {
                true => {
                    let found = self.search(identity, kind, question, limit).await?;
                    add(name, found.repos.iter().map(offered).collect(), found.count);
                }
                false => add(name, Vec::new(), 0),
            }
        }
        let part = words(question).into_iter().next().unwrap_or_default();
        let (mut orgs, mut users) = (Vec::new(), Vec::new());
        if asks("org") {
            orgs = self.0.database.orgs_like(&part, limit)?.iter().map(org).collect();
        }
        if asks("user") {
            users = self.0.database.users_like(&part, limit)?.iter().map(user).collect();
        }
        for (name, rows) in [("org", orgs), ("user", users)] {
            let count = rows.len() as u64;
            add(name, rows, count);
        }
        // Not here, and so in none of its names.
        for name in ["paper", "collection", "bucket", "kernel"] {
            add(name, Vec::new(), 0);
        }
        Ok(Value::Object(answer))
    }

    /// By the score of [`database::lists::trending`].
    pub async fn trending(
        &self,
        identity: &Identity,
        kinds: &[RepoKind],
        limit: Option<u32>,
    ) -> Result<Value, HubError> {
        self.refresh().await?;
        let limit = limit.unwrap_or(TRENDING).clamp(1, TRENDING_MAX);
        let seen = auth::seen(self.0.settings.auth, identity);
        let mut all: Vec<Listed> = Vec::new();
        for kind in kinds {
            let listing = Listing { order: Order::Trending, limit, ..of_all(*kind, seen.clone()) };
            let database = self.0.database.clone();
            all.extend(blocking(move || database.list_repos(&listing)).await?);
        }
        all.sort_by_key(|listed| std::cmp::Reverse((listed.counts.trending, listed.repo.id)));
        all.truncate(limit as usize);
        let query = listing::Query::default();
        let row = |listed: &Listed| {
            let data = listing::entry(listed, None, &query)?;
            Ok(json!({ "repoData": data, "repoType": kind_name(listed.repo.path.kind) }))
        };
        let rows: Vec<Value> = all.iter().map(row).collect::<Result<_, HubError>>()?;
        Ok(json!({ "recentlyTrending": rows }))
    }

    /// The tags of repositories that may be seen, by what they tell of.
    pub async fn tags_by_type(
        &self,
        identity: &Identity,
        kind: RepoKind,
        wanted: Option<&str>,
    ) -> Result<Value, HubError> {
        self.refresh().await?;
        let seen = auth::seen(self.0.settings.auth, identity);
        let database = self.0.database.clone();
        let tags = blocking(move || database.tags(kind, &seen)).await?;
        let mut types: Map<String, Value> = Map::new();
        for tag in tags {
            let (sort, label) = sort_of(kind, &tag);
            if wanted.is_none_or(|wanted| wanted == sort)
                && let Value::Array(rows) = types.entry(sort).or_insert_with(|| json!([]))
            {
                rows.push(json!({ "id": tag, "label": label, "type": sort }));
            }
        }
        if let Some(wanted) = wanted {
            types.entry(wanted).or_insert_with(|| json!([]));
        }
        Ok(Value::Object(types))
    }
}

fn of_all(kind: RepoKind, seen: Seen) -> Listing {
    Listing {
        kind,
        seen,
        namespace: None,
        search: Vec::new(),
        tags: Vec::new(),
        terms: Vec::new(),
        gated: None,
        order: Order::Created,
        ascending: false,
        after: None,
        limit: 0,
    }
}

/// As names are stored. Each must be in the name.
pub fn words(question: &str) -> Vec<String> {
    question.split_whitespace().map(str::to_ascii_lowercase).collect()
}

fn offered(listed: &Listed) -> Value {
    let repo = &listed.repo;
    json!({
        "_id": format!("{:024x}", repo.id.0), "id": id(&repo.path), "trendingWeight": listed.counts.trending,
        "private": repo.visibility == database::Visibility::Private,
    })
}

fn org(org: &database::Org) -> Value {
    let name = org.name.as_str();
    json!({ "_id": format!("{:024x}", org.id.0), "name": name, "fullname": name, "avatarUrl": "" })
}

fn user(user: &database::User) -> Value {
    let name = user.name.as_str();
    json!({ "_id": format!("{:024x}", user.id.0), "user": name, "fullname": name, "avatarUrl": "" })
}

/// What a tag tells of, and how a person reads it.
fn sort_of(kind: RepoKind, tag: &str) -> (&'static str, String) {
    const OF_MODELS: &[&str] = &["license", "dataset", "arxiv", "doi", "region", "base_model", "language"];
    const OF_DATASETS: &[&str] = &[
        "task_categories",
        "task_ids",
        "language",
        "license",
        "size_categories",
        "multilinguality",
        "annotations_creators",
        "language_creators",
        "source_datasets",
        "format",
        "modality",
        "library",
        "benchmark",
        "arxiv",
        "doi",
        "region",
    ];
    let prefixes = if kind == RepoKind::Model { OF_MODELS } else { OF_DATASETS };
    if let Some((prefix, rest)) = tag.split_once(':')
        && let Some(sort) = prefixes.iter().find(|known| **known == prefix)
    {
        let label = if *sort == "task_categories" { pipeline_label(rest) } else { None };
        return (sort, label.unwrap_or(rest).to_owned());
    }
    if kind == RepoKind::Model {
        if let Some(label) = pipeline_label(tag) {
            return ("pipeline_tag", label.to_owned());
        }
        if LIBRARIES.binary_search(&tag).is_ok() {
            return ("library", tag.to_owned());
        }
        // As ISO 639 has them.
        if (2..=3).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return ("language", tag.to_owned());
        }
    }
    ("other", tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tags_tell_of() {
        for (kind, tag, sort, label) in [
            (RepoKind::Model, "license:mit", "license", "mit"),
            (RepoKind::Model, "fill-mask", "pipeline_tag", "Fill-Mask"),
            (RepoKind::Model, "transformers", "library", "transformers"),
            (RepoKind::Model, "en", "language", "en"),
            (RepoKind::Model, "bert", "other", "bert"),
            (RepoKind::Dataset, "language:en", "language", "en"),
            (RepoKind::Dataset, "task_categories:fill-mask", "task_categories", "Fill-Mask"),
            (RepoKind::Dataset, "a:b", "other", "a:b"),
        ] {
            assert_eq!(sort_of(kind, tag), (sort, label.to_owned()), "{tag}");
        }
    }
}
