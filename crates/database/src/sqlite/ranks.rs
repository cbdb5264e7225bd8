//! What lists are ordered by: see `repo_rank` in schema_5.sql.

use rusqlite::{Connection, OptionalExtension, params};

use super::checksum::{REPO_RANK, Record};
use super::repos::{repo, repo_sql};
use super::{Database, DbError, all, search};
use crate::{Counts, Repo, RepoId, lists};

/// Likes and downloads of so many days make a repository trend.
pub(super) const TRENDING_DAYS: i64 = 7;
pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Scores brought up to date in one transaction.
const SCORES_MAX: u32 = 500;

impl Database {
    /// Zeros if there is no such live repo.
    pub fn counts(&self, id: RepoId) -> Result<Counts, DbError> {
        let sql = "SELECT likes, downloads, downloads_all, trending FROM repo_rank WHERE repo_id = ?1";
        let counts = self
            .read(|conn| Ok(conn.prepare_cached(sql)?.query_row([id], |row| counts(row, 0)).optional()?));
        Ok(counts?.unwrap_or_default())
    }

    /// Scores fall as time passes. Looks at those above zero with an id greater than `after`, and returns the last one;
    /// `None` at the end.
    pub async fn update_trending(&self, after: RepoId) -> Result<Option<RepoId>, DbError> {
        self.write(move |conn, now_ms| {
            let sql = "SELECT repo_id FROM repo_rank INDEXED BY repo_rank_trending
                       WHERE trending <> 0 AND repo_id > ?1 ORDER BY repo_id LIMIT ?2";
            let ids: Vec<RepoId> = all(conn, sql, params![after, SCORES_MAX], |row| row.get(0))?;
            for id in &ids {
                change(conn, *id, now_ms, |_| Ok(()))?;
            }
            Ok(ids.last().copied())
        })
        .await
    }
}

/// Of a repo that was just made.
pub(super) fn enlist(conn: &Connection, repo: &Repo) -> Result<(), DbError> {
    let (path, created_ms) = (&repo.path, repo.created_ms);
    REPO_RANK
        .insert(conn, &[&repo.id, &path.kind, &repo.visibility, &created_ms, &created_ms, &0, &0, &0, &0])?;
    search::set_name(conn, repo.id, path)
}

/// Live repos from before there were ranks.
pub(super) fn enlist_all(conn: &Connection) -> rusqlite::Result<()> {
    let sql = concat!(
        repo_sql!(),
        "WHERE r.state = 0 AND NOT EXISTS (SELECT 1 FROM repo_rank k WHERE k.repo_id = r.id)"
    );
    let repos: Vec<Repo> = conn.prepare(sql)?.query_map([], repo)?.collect::<rusqlite::Result<_>>()?;
    for repo in repos {
        enlist(conn, &repo).map_err(|error| match error {
            DbError::Sqlite(error) => error,
            other => rusqlite::Error::ToSqlConversionFailure(Box::new(other)),
        })?;
    }
    Ok(())
}

/// Of a repo that goes: also what it was counted and found by.
pub(super) fn delist(conn: &Connection, id: RepoId) -> Result<(), DbError> {
    search::forget(conn, id)?;
    for table in ["repo_rank", "download_day"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE repo_id = ?1"))?.execute([id])?;
    }
    Ok(())
}

/// Changes what is counted, and the score with it. False if there is no such live repo.
pub(super) fn change(
    conn: &Connection,
    id: RepoId,
    now_ms: i64,
    change: impl Fn(&mut Record) -> rusqlite::Result<()>,
) -> Result<bool, DbError> {
    let Some(mut row) = REPO_RANK.record(conn, "repo_id = ?1", [id])? else { return Ok(false) };
    change(&mut row)?;
    row.set("trending", score(conn, id, now_ms)?)?;
    row.write(conn)?;
    Ok(true)
}

fn score(conn: &Connection, id: RepoId, now_ms: i64) -> rusqlite::Result<i64> {
    let since_ms = now_ms - TRENDING_DAYS * DAY_MS;
    let likes = "SELECT count(*) FROM repo_like WHERE repo_id = ?1 AND liked_ms > ?2";
    let likes = conn.prepare_cached(likes)?.query_row(params![id, since_ms], |row| row.get(0))?;
    let downloads = "SELECT coalesce(sum(count), 0) FROM download_day WHERE repo_id = ?1 AND day > ?2";
    let day = since_ms.div_euclid(DAY_MS);
    let downloads = conn.prepare_cached(downloads)?.query_row(params![id, day], |row| row.get(0))?;
    Ok(lists::trending(likes, downloads))
}

pub(super) fn counts(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Counts> {
    Ok(Counts {
        likes: row.get(first)?,
        downloads: row.get(first + 1)?,
        downloads_all: row.get(first + 2)?,
        trending: row.get(first + 3)?,
    })
}
