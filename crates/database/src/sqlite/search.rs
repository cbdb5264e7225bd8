//! Lists of repositories, and what they are found by: names, tags, the text of their cards.
//!
//! A list is read in the order it has, from an index that is in that order, until there are enough; or, if a name, a tag or
//! a namespace is asked for that few repositories have, those are looked at and sorted. Never are all repositories.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, ParamsFromIter, params, params_from_iter};

use super::checksum::{REPO_TAG, TAG};
use super::listing::facts;
use super::repos::{repo, repo_sql};
use super::{Database, DbError, all, next_id, ranks};
use crate::{Listed, Listing, Order, Place, RepoId, RepoKind, RepoPath, Seen};

/// So many are looked at one by one and sorted, rather than that the whole order is walked.
const FEW: i64 = 8000;
/// Characters of which the index of names knows where they stand.
const GRAM: usize = 3;
/// Repositories that count as found in one search, at most.
const FOUND_MAX: u32 = 10_000;

impl Database {
    /// Live repos that fit, of those `seen`.
    pub fn list_repos(&self, listing: &Listing) -> Result<Vec<Listed>, DbError> {
        self.0.readers.snapshot(|conn| {
            let Some(wanted) = Wanted::of(conn, listing)? else { return Ok(Vec::new()) };
            let mut places = Vec::new();
            for part in parts(&listing.seen) {
                places.extend(wanted.places(conn, &part)?);
            }
            places.sort_unstable();
            if !listing.ascending {
                places.reverse();
            }
            places.truncate(listing.limit as usize);
            places.into_iter().filter_map(|place| listed(conn, place).transpose()).collect()
        })
    }

    /// How many there are, up to [`FOUND_MAX`].
    pub fn count_repos(&self, listing: &Listing) -> Result<u64, DbError> {
        let listing = Listing { limit: FOUND_MAX, ..listing.clone() };
        self.0.readers.snapshot(|conn| {
            let Some(wanted) = Wanted::of(conn, &listing)? else { return Ok(0) };
            let mut count = 0;
            for part in parts(&listing.seen) {
                count += wanted.places(conn, &part)?.len() as u64;
            }
            Ok(count.min(u64::from(FOUND_MAX)))
        })
    }

    /// Those whose cards have all these words, the best first.
    pub fn search_cards(
        &self,
        kind: RepoKind,
        seen: &Seen,
        words: &str,
        limit: u32,
    ) -> Result<Vec<Listed>, DbError> {
        let words: Vec<String> = words
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .take(WORDS_MAX)
            .map(|word| format!("\"{word}\""))
            .collect();
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = Values::default();
        let words = values.add(format!("{} : ({})", column(kind), words.join(" AND ")));
        let seen = self::seen(seen, "r", &mut values);
        let limit = values.add(i64::from(limit));
        let sql = format!(
            "SELECT k.created_ms, k.repo_id FROM card_text c CROSS JOIN repo_rank k ON k.repo_id = c.rowid
             CROSS JOIN repo r ON r.id = c.rowid AND r.state = 0
             WHERE card_text MATCH {words} AND {seen} ORDER BY c.rank LIMIT {limit}"
        );
        self.0.readers.snapshot(|conn| {
            let places = all(conn, &sql, values.params(), place)?;
            places.into_iter().filter_map(|place| listed(conn, place).transpose()).collect()
        })
    }

    /// The tags of repositories of this kind that may be `seen`, in order.
    pub fn tags(&self, kind: RepoKind, seen: &Seen) -> Result<Vec<String>, DbError> {
        let mut values = Values::default();
        let kind = values.add(kind.code());
        let seen = self::seen(seen, "r", &mut values);
        let sql = format!(
            "SELECT t.name FROM tag t WHERE t.kind = {kind} AND t.shown = 1 AND EXISTS (
                SELECT 1 FROM repo_tag p CROSS JOIN repo r ON r.id = p.repo_id WHERE p.tag_id = t.id AND {seen})
             ORDER BY t.folded"
        );
        self.read(|conn| all(conn, &sql, values.params(), |row| row.get(0)))
    }
}

/// Of a search in cards.
const WORDS_MAX: usize = 16;

/// A listing, with what had to be looked up for it.
struct Wanted<'l> {
    listing: &'l Listing,
    /// Of the tags and terms, with how many repos have each.
    tags: Vec<(i64, i64)>,
    /// For the index of names, if it can be asked; with how many names there are at least, up to [`FEW`].
    grams: Option<(String, i64)>,
    /// As `grams`, for names that are too short for the index.
    short: Option<i64>,
    /// How many repos the namespace has, up to [`FEW`].
    of_namespace: Option<i64>,
}

/// What makes the smallest number of candidates.
enum Source {
    Tag(i64),
    Grams,
    Short,
    Namespace(String),
    /// All, in order.
    Order,
}

impl<'l> Wanted<'l> {
    /// `None` if nothing can fit.
    fn of(conn: &Connection, listing: &'l Listing) -> Result<Option<Wanted<'l>>, DbError> {
        let mut tags = Vec::new();
        let shown = listing.tags.iter().map(|name| (name, true));
        for (name, shown) in shown.chain(listing.terms.iter().map(|name| (name, false))) {
            let sql = "SELECT id, repos FROM tag WHERE kind = ?1 AND shown = ?2 AND folded = ?3";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found = conn
                .prepare_cached(sql)?
                .query_row(params![listing.kind, shown, name.to_lowercase()], row)
                .optional()?;
            let Some(found) = found else { return Ok(None) };
            tags.push(found);
        }
        let (kind, code) = (column(listing.kind), listing.kind.code());
        let grams: Vec<String> = listing.search.iter().flat_map(|text| grams(text)).collect();
        let grams = match grams.is_empty() {
            true => None,
            false => {
                let grams = format!("{kind} : ({})", grams.join(" AND "));
                let sql = "SELECT count(*) FROM (SELECT 1 FROM name_text WHERE name_text MATCH ?1 LIMIT ?2)";
                let count = conn.prepare_cached(sql)?.query_row(params![grams, FEW], |row| row.get(0))?;
                Some((grams, count))
            }
        };
        let short = match (&grams, listing.search.first()) {
            (None, Some(text)) => {
                let sql = "SELECT count(*) FROM (SELECT 1 FROM repo INDEXED BY repo_by_name
                           WHERE state = 0 AND kind = ?1 AND instr(folded, ?2) > 0 LIMIT ?3)";
                Some(conn.prepare_cached(sql)?.query_row(params![code, text, FEW], |row| row.get(0))?)
            }
            _ => None,
        };
        let of_namespace = match &listing.namespace {
            None => None,
            Some(folded) => Some(count_of_namespace(conn, listing.kind, folded)?),
        };
        Ok(Some(Wanted { listing, tags, grams, short, of_namespace }))
    }

    /// Of one part of what is seen, in order, as many as are asked for.
    fn places(&self, conn: &Connection, part: &Part<'_>) -> Result<Vec<Place>, DbError> {
        let (listing, mut values) = (self.listing, Values::default());
        let key = key(listing.order);
        let mut terms = vec![
            format!("k.kind = {}", values.add(listing.kind.code())),
            format!("k.visibility = {}", values.add(i64::from(part.private))),
        ];
        let source = self.source(conn, part)?;
        for (tag, _) in &self.tags {
            if !matches!(source, Source::Tag(chosen) if chosen == *tag) {
                let tag = values.add(*tag);
                terms.push(format!(
                    "EXISTS (SELECT 1 FROM repo_tag t WHERE t.tag_id = {tag} AND t.repo_id = k.repo_id)"
                ));
            }
        }
        let mut of_repo = Vec::new();
        for text in &listing.search {
            of_repo.push(format!("instr(r.folded, {}) > 0", values.add(text.clone())));
        }
        if let Some(folded) = &listing.namespace {
            of_repo.push(below("r", &values.add(folded.clone())));
        }
        if let Some(namespaces) = part.namespaces {
            let mine: Vec<String> =
                namespaces.iter().map(|folded| below("r", &values.add(folded.clone()))).collect();
            of_repo.push(format!("({})", mine.join(" OR ")));
        }
        let repo = match of_repo.is_empty() {
            true => "",
            false => "CROSS JOIN repo r ON r.id = k.repo_id",
        };
        terms.extend(of_repo);
        if let Some(gated) = listing.gated {
            let not = if gated { "" } else { "NOT" };
            terms.push(format!(
                "{not} EXISTS (SELECT 1 FROM repo_hub h WHERE h.repo_id = k.repo_id AND h.gating <> 0)"
            ));
        }
        let (compare, direction) = if listing.ascending { (">", "ASC") } else { ("<", "DESC") };
        if let Some(Place { key: after, repo }) = listing.after {
            let (after, repo) = (values.add(after), values.add(repo.0));
            terms.push(format!("(k.{key}, k.repo_id) {compare} ({after}, {repo})"));
        }
        let kind = values.add(listing.kind.code());
        let from = match source {
            Source::Order => format!("repo_rank k INDEXED BY repo_rank_by_{key}"),
            other => {
                let ids = match other {
                    Source::Tag(tag) => {
                        format!("SELECT repo_id AS id FROM repo_tag WHERE tag_id = {}", values.add(tag))
                    }
                    Source::Grams => {
                        let grams = self.grams.as_ref().map(|(grams, _)| grams.clone()).unwrap_or_default();
                        format!(
                            "SELECT rowid AS id FROM name_text WHERE name_text MATCH {}",
                            values.add(grams)
                        )
                    }
                    Source::Short => format!(
                        "SELECT n.id FROM repo n INDEXED BY repo_by_name
                         WHERE n.state = 0 AND n.kind = {kind} AND instr(n.folded, {}) > 0",
                        values.add(listing.search.first().cloned().unwrap_or_default())
                    ),
                    Source::Namespace(folded) => format!(
                        "SELECT n.id FROM repo n INDEXED BY repo_by_name WHERE n.state = 0 AND n.kind = {kind} AND {}",
                        below("n", &values.add(folded))
                    ),
                    Source::Order => unreachable!("because it is above"),
                };
                format!("({ids}) d CROSS JOIN repo_rank k ON k.repo_id = d.id")
            }
        };
        let limit = values.add(i64::from(listing.limit));
        let sql = format!(
            "SELECT k.{key}, k.repo_id FROM {from} {repo} WHERE {} ORDER BY k.{key} {direction}, k.repo_id {direction} LIMIT {limit}",
            terms.join(" AND ")
        );
        all(conn, &sql, values.params(), place)
    }

    fn source(&self, conn: &Connection, part: &Part<'_>) -> Result<Source, DbError> {
        let tag = self.tags.iter().min_by_key(|(_, repos)| *repos);
        let tag = tag.map(|(tag, repos)| (*repos, Source::Tag(*tag)));
        let grams = self.grams.as_ref().map(|(_, count)| (*count, Source::Grams));
        let short = self.short.map(|count| (count, Source::Short));
        let folded = self.listing.namespace.clone().unwrap_or_default();
        let namespace = self.of_namespace.map(|count| (count, Source::Namespace(folded)));
        // Of several namespaces the repos would have to be joined; who has several has few in most.
        let mine = match part.namespaces {
            Some([folded]) => {
                let count = count_of_namespace(conn, self.listing.kind, folded)?;
                Some((count, Source::Namespace(folded.clone())))
            }
            _ => None,
        };
        let all = [tag, grams, short, namespace, mine].into_iter().flatten();
        let few = all.filter(|(count, _)| *count < FEW).min_by_key(|(count, _)| *count);
        Ok(few.map_or(Source::Order, |(_, source)| source))
    }
}

/// What is seen falls into parts, in each of which all are public or all are private.
struct Part<'s> {
    private: bool,
    /// Below these alone.
    namespaces: Option<&'s [String]>,
}

fn parts(seen: &Seen) -> Vec<Part<'_>> {
    let whole = |private| Part { private, namespaces: None };
    match seen {
        Seen::None => Vec::new(),
        Seen::All => vec![whole(false), whole(true)],
        Seen::Public { and_namespaces } => {
            let own = and_namespaces.chunks(1).map(|own| Part { private: true, namespaces: Some(own) });
            std::iter::once(whole(false)).chain(own).collect()
        }
    }
}

fn count_of_namespace(conn: &Connection, kind: RepoKind, folded: &str) -> Result<i64, DbError> {
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM repo INDEXED BY repo_by_name
         WHERE state = 0 AND kind = ?1 AND {} LIMIT ?3)",
        below("repo", "?2")
    );
    Ok(conn.prepare_cached(&sql)?.query_row(params![kind, folded, FEW], |row| row.get(0))?)
}

fn key(order: Order) -> &'static str {
    match order {
        Order::Created => "created_ms",
        Order::Modified => "modified_ms",
        Order::Likes => "likes",
        Order::Downloads => "downloads",
        Order::Trending => "trending",
    }
}

fn column(kind: RepoKind) -> &'static str {
    match kind {
        RepoKind::Model => "model",
        RepoKind::Dataset => "dataset",
        RepoKind::Space => "space",
    }
}

/// Each three characters of `text` in a row, for the index of names; none if it is shorter.
fn grams(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let gram = |gram: &[char]| format!("\"{}\"", gram.iter().collect::<String>().replace('"', "\"\""));
    characters.windows(GRAM).map(gram).collect()
}

/// Condition: a repo of that namespace.
fn below(repo: &str, folded: &str) -> String {
    // '0' is the byte behind '/'.
    format!("{repo}.folded > {folded} || '/' AND {repo}.folded < {folded} || '0'")
}

/// Condition: a repo that is seen.
pub(super) fn seen(seen: &Seen, repo: &str, values: &mut Values) -> String {
    match seen {
        Seen::All => "1".to_owned(),
        Seen::None => "0".to_owned(),
        Seen::Public { and_namespaces } => {
            let mine = and_namespaces.iter().map(|folded| below(repo, &values.add(folded.clone())));
            let terms: Vec<String> = std::iter::once(format!("{repo}.visibility = 0")).chain(mine).collect();
            format!("({})", terms.join(" OR "))
        }
    }
}

/// Of the parameters of a statement, which are numbered from 1.
#[derive(Default)]
pub(super) struct Values(Vec<Value>);

impl Values {
    /// How the statement names it.
    pub(super) fn add(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("?{}", self.0.len())
    }

    pub(super) fn params(self) -> ParamsFromIter<Vec<Value>> {
        params_from_iter(self.0)
    }
}

fn place(row: &rusqlite::Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place { key: row.get(0)?, repo: row.get(1)? })
}

fn listed(conn: &Connection, place: Place) -> Result<Option<Listed>, DbError> {
    // The columns of a repo come first, as `repo` reads them.
    let sql = concat!(
        repo_sql!(@columns),
        ", coalesce(t.peeled, t.oid), k.likes, k.downloads, k.downloads_all, k.trending, f.commit_oid, f.modified_ms, f.tags,
         f.facts",
        repo_sql!(@from),
        "JOIN repo_rank k ON k.repo_id = r.id LEFT JOIN ref t ON t.repo_id = r.id AND t.name = r.head_ref
         LEFT JOIN repo_facts f ON f.repo_id = r.id WHERE r.id = ?1 AND r.state = 0"
    );
    let read = |row: &rusqlite::Row<'_>| {
        let has_facts = !matches!(row.get_ref(22)?, rusqlite::types::ValueRef::Null);
        Ok(Listed {
            repo: repo(row)?,
            tip: row.get(16)?,
            counts: ranks::counts(row, 17)?,
            facts: if has_facts { Some(facts(row, 21)?) } else { None },
            place,
        })
    };
    Ok(conn.prepare_cached(sql)?.query_row([place.repo], read).optional()?)
}

/// What a repo is called now.
pub(super) fn set_name(conn: &Connection, id: RepoId, path: &RepoPath) -> Result<(), DbError> {
    conn.prepare_cached("DELETE FROM name_text WHERE rowid = ?1")?.execute([id])?;
    let sql = format!("INSERT INTO name_text (rowid, {}) VALUES (?1, ?2)", column(path.kind));
    conn.prepare_cached(&sql)?.execute(params![id, path.folded()])?;
    Ok(())
}

/// What its card says now.
pub(super) fn set_card(conn: &Connection, id: RepoId, kind: RepoKind, text: &str) -> Result<(), DbError> {
    conn.prepare_cached("DELETE FROM card_text WHERE rowid = ?1")?.execute([id])?;
    if !text.is_empty() {
        let sql = format!("INSERT INTO card_text (rowid, {}) VALUES (?1, ?2)", column(kind));
        conn.prepare_cached(&sql)?.execute(params![id, text])?;
    }
    Ok(())
}

/// What it is filtered by now: tags, and other terms.
pub(super) fn set_tags(
    conn: &Connection,
    id: RepoId,
    kind: RepoKind,
    tags: &[String],
    terms: &[String],
) -> Result<(), DbError> {
    let sql =
        "SELECT t.shown, t.folded, t.id FROM repo_tag p JOIN tag t ON t.id = p.tag_id WHERE p.repo_id = ?1";
    let row = |row: &rusqlite::Row<'_>| Ok(((row.get(0)?, row.get(1)?), row.get(2)?));
    let mut before: std::collections::HashMap<(bool, String), i64> =
        all(conn, sql, [id], row)?.into_iter().collect();
    let mut after = std::collections::HashSet::new();
    let shown = tags.iter().map(|name| (true, name)).chain(terms.iter().map(|name| (false, name)));
    for (shown, name) in shown {
        let folded = name.to_lowercase();
        if !after.insert((shown, folded.clone())) || before.remove(&(shown, folded.clone())).is_some() {
            continue;
        }
        let condition = "kind = ?1 AND shown = ?2 AND folded = ?3";
        let tag = match TAG.record(conn, condition, params![kind, shown, folded])? {
            Some(mut row) => {
                row.set("repos", row.get::<i64>("repos")? + 1)?;
                row.write(conn)?;
                row.get("id")?
            }
            None => {
                let tag = next_id(conn, "tag")?;
                TAG.insert(conn, &[&tag, &kind, &folded, name, &shown, &1])?;
                tag
            }
        };
        REPO_TAG.insert(conn, &[&tag, &id])?;
    }
    for tag in before.into_values() {
        drop_tag(conn, id, tag)?;
    }
    Ok(())
}

/// One that no repo has any more goes.
fn drop_tag(conn: &Connection, id: RepoId, tag: i64) -> Result<(), DbError> {
    let sql = "DELETE FROM repo_tag WHERE tag_id = ?1 AND repo_id = ?2";
    conn.prepare_cached(sql)?.execute(params![tag, id])?;
    if let Some(mut row) = TAG.record(conn, "id = ?1", [tag])? {
        let left = row.get::<i64>("repos")? - 1;
        row.set("repos", left)?;
        row.write(conn)?;
        if left <= 0 {
            conn.prepare_cached("DELETE FROM tag WHERE id = ?1")?.execute([tag])?;
        }
    }
    Ok(())
}

pub(super) fn forget(conn: &Connection, id: RepoId) -> Result<(), DbError> {
    for table in ["name_text", "card_text"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE rowid = ?1"))?.execute([id])?;
    }
    let tags: Vec<i64> = all(conn, "SELECT tag_id FROM repo_tag WHERE repo_id = ?1", [id], |row| row.get(0))?;
    for tag in tags {
        drop_tag(conn, id, tag)?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every model.
    pub(crate) fn all() -> Listing {
        Listing {
            kind: RepoKind::Model,
            seen: Seen::All,
            namespace: None,
            search: Vec::new(),
            tags: Vec::new(),
            terms: Vec::new(),
            gated: None,
            order: Order::Created,
            ascending: false,
            after: None,
            limit: 10,
        }
    }

    #[test]
    fn three_characters_in_a_row() {
        assert_eq!(grams("bert"), ["\"ber\"", "\"ert\""]);
        assert_eq!(grams("a\"b"), ["\"a\"\"b\""]);
        assert_eq!(grams("ab"), [] as [String; 0]);
    }
}
