//! What the hub knows of repositories beside git, and lists of them.

use rusqlite::{OptionalExtension, params_from_iter, types::Value};

use super::checksum::{REPO, REPO_FACTS, REPO_HUB};
use super::repos::{bump_acl, outdate_manifest, repo, repo_sql};
use super::{Database, DbError, all};
use crate::{
    AsOf, Facts, Gating, Listed, Listing, Oid, Order, Place, RepoId, RepoSettings, Seen, Set, Visibility,
};

impl Database {
    /// Settings that are not given stay. All of them change at once, if the repo is `as_of`. Bumps acl_version.
    pub async fn set_repo_settings(
        &self,
        id: RepoId,
        settings: RepoSettings,
        as_of: AsOf,
    ) -> Result<Set, DbError> {
        self.write(move |conn, _| {
            let Some(mut row) = REPO.record(conn, "id = ?1 AND state = 0", [id])? else {
                return Ok(Set::Gone);
            };
            for (column, expected) in [("acl_version", as_of.acl_version), ("generation", as_of.generation)] {
                if let Some(expected) = expected
                    && row.get::<i64>(column)? != expected
                {
                    return Ok(Set::Moved);
                }
            }
            let RepoSettings { visibility, gating, discussions_disabled } = settings;
            if let Some(visibility) = visibility {
                row.set("visibility", visibility)?;
            }
            outdate_manifest(&mut row)?;
            bump_acl(&mut row)?;
            row.write(conn)?;
            if gating.is_none() && discussions_disabled.is_none() {
                return Ok(Set::Done);
            }
            match REPO_HUB.record(conn, "repo_id = ?1", [id])? {
                None => {
                    let (gating, disabled) =
                        (gating.unwrap_or(Gating::Off), discussions_disabled.unwrap_or(false));
                    REPO_HUB.insert(conn, &[&id, &None::<i64>, &gating, &disabled])?;
                }
                Some(mut row) => {
                    if let Some(gating) = gating {
                        row.set("gating", gating)?;
                    }
                    if let Some(disabled) = discussions_disabled {
                        row.set("discussions_disabled", disabled)?;
                    }
                    row.write(conn)?;
                }
            }
            Ok(Set::Done)
        })
        .await
    }

    /// False if there is no such live repo. Bumps acl_version.
    pub async fn set_visibility(&self, id: RepoId, visibility: Visibility) -> Result<bool, DbError> {
        let settings = RepoSettings { visibility: Some(visibility), ..RepoSettings::default() };
        Ok(self.set_repo_settings(id, settings, AsOf::default()).await? == Set::Done)
    }

    /// Bytes of the large objects that the repo links.
    pub fn large_bytes(&self, id: RepoId) -> Result<u64, DbError> {
        let sql = "SELECT bytes FROM repo_lfs WHERE repo_id = ?1";
        let read = |conn: &rusqlite::Connection| {
            Ok(conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?)
        };
        Ok(self.read(read)?.unwrap_or(0))
    }

    pub fn discussions_disabled(&self, id: RepoId) -> Result<bool, DbError> {
        let sql = "SELECT discussions_disabled FROM repo_hub WHERE repo_id = ?1";
        let read = |conn: &rusqlite::Connection| {
            Ok(conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?)
        };
        Ok(self.read(read)?.unwrap_or(false))
    }

    pub fn facts(&self, id: RepoId) -> Result<Option<Facts>, DbError> {
        let sql = "SELECT commit_oid, modified_ms, tags, facts FROM repo_facts WHERE repo_id = ?1";
        self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row([id], |row| facts(row, 0)).optional()?))
    }

    /// Nothing happens if the repo is gone.
    pub async fn set_facts(&self, id: RepoId, facts: Facts) -> Result<(), DbError> {
        self.write(move |conn, _| {
            let live = "SELECT 1 FROM repo WHERE id = ?1 AND state = 0";
            if !conn.prepare_cached(live)?.exists([id])? {
                return Ok(());
            }
            let tags = tags_column(&facts.tags);
            let row: [&dyn rusqlite::ToSql; 5] =
                [&id, &facts.commit, &facts.modified_ms, &tags, &facts.document];
            if !REPO_FACTS.replace(conn, &row)? {
                REPO_FACTS.insert(conn, &row)?;
            }
            Ok(())
        })
        .await
    }

    /// Live repos that fit, of those `seen`. Reads what it passes over, too.
    pub fn list_repos(&self, listing: &Listing) -> Result<Vec<Listed>, DbError> {
        let (condition, mut values) = condition(listing);
        let ms = by(listing.order);
        values.push(Value::Integer(i64::from(listing.limit)));
        let limit = values.len();
        let sql = format!("{} {condition} ORDER BY {ms} DESC, r.id DESC LIMIT ?{limit}", listed_sql!());
        self.read(|conn| {
            all(conn, &sql, params_from_iter(values), |row| {
                let has_facts = !matches!(row.get_ref(19)?, rusqlite::types::ValueRef::Null);
                let repo = repo(row)?;
                let ms = match listing.order {
                    Order::Created => repo.created_ms,
                    Order::Modified => row.get(18)?,
                };
                Ok(Listed {
                    place: Place { ms, repo: repo.id },
                    repo,
                    tip: row.get(16)?,
                    facts: if has_facts { Some(facts(row, 17)?) } else { None },
                })
            })
        })
    }

    /// Live repos whose facts are not those of the tip of their default branch, with that; the longest known ones first.
    pub fn repos_with_old_facts(&self, limit: u32) -> Result<Vec<RepoId>, DbError> {
        let sql = "SELECT r.id FROM repo r LEFT JOIN repo_facts f ON f.repo_id = r.id
                   LEFT JOIN ref t ON t.repo_id = r.id AND t.name = r.head_ref
                   WHERE r.state = 0 AND (f.repo_id IS NULL OR coalesce(t.peeled, t.oid) IS NOT f.commit_oid)
                   ORDER BY r.id LIMIT ?1";
        self.read(|conn| all(conn, sql, [limit], |row| row.get(0)))
    }
}

// The columns of a repo come first, as `repo` reads them.
macro_rules! listed_sql {
    () => {
        concat!(
            repo_sql!(@columns),
            ", coalesce(t.peeled, t.oid), f.commit_oid, coalesce(f.modified_ms, r.created_ms) AS modified_ms, f.tags, f.facts ",
            repo_sql!(@from),
            "LEFT JOIN ref t ON t.repo_id = r.id AND t.name = r.head_ref LEFT JOIN repo_facts f ON f.repo_id = r.id "
        )
    };
}
use listed_sql;

/// With the values of its parameters, numbered from 1.
fn condition(listing: &Listing) -> (String, Vec<Value>) {
    let (mut terms, mut values) = (vec!["r.state = 0".to_owned()], Vec::new());
    let place = |values: &mut Vec<Value>, value: Value| {
        values.push(value);
        format!("?{}", values.len())
    };
    let kind = place(&mut values, Value::Integer(listing.kind.code()));
    terms.push(format!("r.kind = {kind}"));
    match &listing.seen {
        Seen::All => {}
        Seen::Public { and_namespaces } => {
            let mut seen = vec!["r.visibility = 0".to_owned()];
            for folded in and_namespaces {
                let place = place(&mut values, Value::Text(folded.clone()));
                // '0' is the byte behind '/'.
                seen.push(format!("r.folded > {place} || '/' AND r.folded < {place} || '0'"));
            }
            terms.push(format!("({})", seen.join(" OR ")));
        }
        Seen::None => terms.push("0".to_owned()),
    }
    if let Some(folded) = &listing.namespace {
        let place = place(&mut values, Value::Text(folded.clone()));
        terms.push(format!("r.folded > {place} || '/' AND r.folded < {place} || '0'"));
    }
    if let Some(search) = &listing.search {
        let place = place(&mut values, Value::Text(search.to_ascii_lowercase()));
        terms.push(format!("instr(r.folded, {place}) > 0"));
    }
    for tag in &listing.tags {
        let place = place(&mut values, Value::Text(format!("\n{}\n", tag.to_lowercase())));
        terms.push(format!("instr(lower(f.tags), {place}) > 0"));
    }
    if let Some(gated) = listing.gated {
        terms.push(format!("coalesce(h.gating, 0) {} 0", if gated { "<>" } else { "=" }));
    }
    if let Some(Place { ms, repo }) = listing.after {
        let ms = place(&mut values, Value::Integer(ms));
        let repo = place(&mut values, Value::Integer(repo.0));
        terms.push(format!("({}, r.id) < ({ms}, {repo})", by(listing.order)));
    }
    (format!("WHERE {}", terms.join(" AND ")), values)
}

fn by(order: Order) -> &'static str {
    match order {
        Order::Created => "r.created_ms",
        Order::Modified => "coalesce(f.modified_ms, r.created_ms)",
    }
}

fn tags_column(tags: &[String]) -> String {
    let lines: String = tags.iter().map(|tag| format!("{}\n", tag.replace('\n', " "))).collect();
    format!("\n{lines}")
}

fn facts(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Facts> {
    let tags: String = row.get(first + 2)?;
    let tags = tags.split('\n').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
    let commit: Option<Oid> = row.get(first)?;
    Ok(Facts { commit, modified_ms: row.get(first + 1)?, tags, document: row.get(first + 3)? })
}
