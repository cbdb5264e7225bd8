//! What the hub knows of repositories beside git.

use rusqlite::{Connection, OptionalExtension, params};

use super::checksum::{REPO, REPO_FACTS, REPO_HUB, REPO_RANK};
use super::repos::{bump_acl, outdate_manifest};
use super::{Database, DbError, all, repos, search, webhooks};
use crate::{AsOf, Facts, FoundBy, Gating, Happened, Oid, RepoId, RepoSettings, Set, Visibility};

impl Database {
    /// Settings that are not given stay. All of them change at once, if the repo is `as_of`. Bumps acl_version.
    pub async fn set_repo_settings(
        &self,
        id: RepoId,
        settings: RepoSettings,
        as_of: AsOf,
    ) -> Result<Set, DbError> {
        self.write(move |conn, now_ms| {
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
            let before = config(conn, id)?;
            if let Some(visibility) = visibility {
                row.set("visibility", visibility)?;
            }
            outdate_manifest(&mut row)?;
            bump_acl(&mut row)?;
            row.write(conn)?;
            if let Some(visibility) = visibility {
                REPO_RANK.change(conn, "repo_id = ?1", [id], |row| row.set("visibility", visibility))?;
            }
            match REPO_HUB.record(conn, "repo_id = ?1", [id])? {
                None if gating.is_none() && discussions_disabled.is_none() => {}
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
            tell_config(conn, now_ms, id, before)?;
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
        let read =
            |conn: &Connection| Ok(conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?);
        Ok(self.read(read)?.unwrap_or(0))
    }

    pub fn discussions_disabled(&self, id: RepoId) -> Result<bool, DbError> {
        self.read(|conn| discussions_disabled(conn, id))
    }

    pub fn facts(&self, id: RepoId) -> Result<Option<Facts>, DbError> {
        let sql = "SELECT commit_oid, modified_ms, tags, facts FROM repo_facts WHERE repo_id = ?1";
        self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row([id], |row| facts(row, 0)).optional()?))
    }

    /// With what the repo is found by. Nothing happens if it is gone.
    pub async fn set_facts(&self, id: RepoId, facts: Facts, found_by: FoundBy) -> Result<(), DbError> {
        self.write(move |conn, _| {
            let Some(mut rank) = REPO_RANK.record(conn, "repo_id = ?1", [id])? else { return Ok(()) };
            rank.set("modified_ms", facts.modified_ms)?;
            rank.write(conn)?;
            let kind = rank.get("kind")?;
            search::set_tags(conn, id, kind, &facts.tags, &found_by.terms)?;
            search::set_card(conn, id, kind, &found_by.text)?;
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

    /// Live repos with an id greater than `after` whose facts are not those of the tip of their default branch, in order of
    /// their ids. Looks at each; see [`Database::take_moved`].
    pub fn repos_with_old_facts(&self, after: RepoId, limit: u32) -> Result<Vec<RepoId>, DbError> {
        let sql = "SELECT r.id FROM repo r LEFT JOIN repo_facts f ON f.repo_id = r.id
                   LEFT JOIN ref t ON t.repo_id = r.id AND t.name = r.head_ref
                   WHERE r.id > ?1 AND r.state = 0
                   AND (f.repo_id IS NULL OR coalesce(t.peeled, t.oid) IS NOT f.commit_oid)
                   ORDER BY r.id LIMIT ?2";
        self.read(|conn| all(conn, sql, params![after, limit], |row| row.get(0)))
    }
}

/// What can be set of a live repo, as it is.
fn config(conn: &Connection, id: RepoId) -> Result<Option<RepoSettings>, DbError> {
    let Some(repo) = repos::by_id(conn, id)? else { return Ok(None) };
    let disabled = discussions_disabled(conn, id)?;
    Ok(Some(RepoSettings {
        visibility: Some(repo.visibility),
        gating: Some(repo.gating),
        discussions_disabled: Some(disabled),
    }))
}

/// Webhooks are told of what is not as it was.
fn tell_config(
    conn: &Connection,
    now_ms: i64,
    id: RepoId,
    before: Option<RepoSettings>,
) -> Result<(), DbError> {
    let (Some(before), Some(now)) = (before, config(conn, id)?) else { return Ok(()) };
    if before == now {
        return Ok(());
    }
    let happened = || Happened::Config {
        visibility: now.visibility.filter(|_| now.visibility != before.visibility),
        gating: now.gating.filter(|_| now.gating != before.gating),
        discussions_disabled: now
            .discussions_disabled
            .filter(|_| now.discussions_disabled != before.discussions_disabled),
    };
    webhooks::tell(conn, now_ms, id, webhooks::Domain::Repo, happened)
}

fn discussions_disabled(conn: &Connection, id: RepoId) -> Result<bool, DbError> {
    let sql = "SELECT discussions_disabled FROM repo_hub WHERE repo_id = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?.unwrap_or(false))
}

fn tags_column(tags: &[String]) -> String {
    let lines: String = tags.iter().map(|tag| format!("{}\n", tag.replace('\n', " "))).collect();
    format!("\n{lines}")
}

pub(super) fn facts(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Facts> {
    let tags: String = row.get(first + 2)?;
    let tags = tags.split('\n').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
    let commit: Option<Oid> = row.get(first)?;
    Ok(Facts { commit, modified_ms: row.get(first + 1)?, tags, document: row.get(first + 3)? })
}
