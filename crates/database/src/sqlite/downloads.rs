//! How often what was downloaded.

use rusqlite::params;

use super::checksum::DOWNLOAD_DAY;
use super::ranks::DAY_MS;
use super::{Database, DbError, all, ranks};
use crate::RepoId;

/// Days that are kept one by one, today among them.
const DAYS: i64 = 30;
/// Rows that one transaction drops.
const DROPPED_MAX: u32 = 2000;

impl Database {
    /// Adds to today's; those of repos that are gone are lost. One transaction: give it a few hundred at a time.
    pub async fn add_downloads(&self, counts: Vec<(RepoId, u64)>) -> Result<(), DbError> {
        self.write(move |conn, now_ms| {
            let day = now_ms.div_euclid(DAY_MS);
            for (id, count) in &counts {
                let count = i64::try_from(*count).unwrap_or(i64::MAX);
                let more = |row: &mut super::checksum::Record, column: &str| {
                    row.set(column, row.get::<i64>(column)?.saturating_add(count))
                };
                let live = conn.prepare_cached("SELECT 1 FROM repo_rank WHERE repo_id = ?1")?.exists([id])?;
                if !live {
                    continue;
                }
                match DOWNLOAD_DAY.record(conn, "repo_id = ?1 AND day = ?2", params![id, day])? {
                    None => DOWNLOAD_DAY.insert(conn, &[id, &day, &count])?,
                    Some(mut row) => {
                        more(&mut row, "count")?;
                        row.write(conn)?;
                    }
                }
                ranks::change(conn, *id, now_ms, |row| {
                    more(row, "downloads")?;
                    more(row, "downloads_all")
                })?;
            }
            Ok(())
        })
        .await
    }

    /// Days that are over count no more among the latest. False if there are no others left.
    pub async fn drop_old_downloads(&self) -> Result<bool, DbError> {
        self.write(move |conn, now_ms| {
            let until = now_ms.div_euclid(DAY_MS) - DAYS;
            let sql = "SELECT repo_id, day, count FROM download_day WHERE day <= ?1 ORDER BY day LIMIT ?2";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let old: Vec<(RepoId, i64, i64)> = all(conn, sql, params![until, DROPPED_MAX], row)?;
            for (id, day, count) in &old {
                let sql = "DELETE FROM download_day WHERE repo_id = ?1 AND day = ?2";
                conn.prepare_cached(sql)?.execute(params![id, day])?;
                ranks::change(conn, *id, now_ms, |row| {
                    row.set("downloads", row.get::<i64>("downloads")?.saturating_sub(*count))
                })?;
            }
            Ok(old.len() == DROPPED_MAX as usize)
        })
        .await
    }
}
