//! Who likes what.

use rusqlite::params;

use super::checksum::REPO_LIKE;
use super::repos::{repo, repo_sql};
use super::{Database, DbError, all, ranks, search};
use crate::{Namespace, Repo, RepoId, Seen, UserId};

impl Database {
    /// Once or not at all; said again it changes nothing. False if there is no such live repo.
    pub async fn set_like(&self, id: RepoId, user: UserId, likes: bool) -> Result<bool, DbError> {
        self.write(move |conn, now_ms| {
            if !conn.prepare_cached("SELECT 1 FROM repo_rank WHERE repo_id = ?1")?.exists([id])? {
                return Ok(false);
            }
            let sql = "SELECT 1 FROM repo_like WHERE repo_id = ?1 AND account_id = ?2";
            let liked = conn.prepare_cached(sql)?.exists(params![id, user])?;
            let more = match (liked, likes) {
                (false, true) => {
                    REPO_LIKE.insert(conn, &[&id, &user, &now_ms])?;
                    1
                }
                (true, false) => {
                    let sql = "DELETE FROM repo_like WHERE repo_id = ?1 AND account_id = ?2";
                    conn.prepare_cached(sql)?.execute(params![id, user])?;
                    -1
                }
                _ => return Ok(true),
            };
            ranks::change(conn, id, now_ms, |row| row.set("likes", row.get::<i64>("likes")? + more))
        })
        .await
    }

    /// The latest first, beginning with the one before which there are `offset`; with when.
    pub fn likers(&self, id: RepoId, offset: u32, limit: u32) -> Result<Vec<(Namespace, i64)>, DbError> {
        let sql = "SELECT u.name, l.liked_ms FROM repo_like l JOIN account u ON u.id = l.account_id
                   WHERE l.repo_id = ?1 ORDER BY l.liked_ms DESC, l.account_id DESC LIMIT ?2 OFFSET ?3";
        let row = |row: &rusqlite::Row<'_>| Ok((Namespace::from_row(row.get(0)?), row.get(1)?));
        self.read(|conn| all(conn, sql, params![id, limit, offset], row))
    }

    /// What somebody likes, of those `seen`, the latest first; with when.
    pub fn likes(
        &self,
        user: UserId,
        seen: &Seen,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<(Repo, i64)>, DbError> {
        let mut values = search::Values::default();
        let user = values.add(user.0);
        let seen = search::seen(seen, "r", &mut values);
        let (limit, offset) = (values.add(i64::from(limit)), values.add(i64::from(offset)));
        let sql = format!(
            "{}, l.liked_ms FROM repo_like l CROSS JOIN repo r ON r.id = l.repo_id AND r.state = 0
             LEFT JOIN repo_lfs lfs ON lfs.repo_id = r.id LEFT JOIN repo_hub h ON h.repo_id = r.id
             WHERE l.account_id = {user} AND {seen} ORDER BY l.liked_ms DESC, r.id DESC LIMIT {limit} OFFSET {offset}",
            repo_sql!(@columns)
        );
        self.read(|conn| all(conn, &sql, values.params(), |row| Ok((repo(row)?, row.get(16)?))))
    }
}
