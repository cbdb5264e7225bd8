//! Who has a chunk that a client asks for.

use rusqlite::params;

use super::xorbs::{xorb, xorb_sql};
use crate::sqlite::{Database, DbError, all};
use crate::{RepoId, Xorb, XorbId};

/// Of files that a xorb is part of, those whose other xorbs are named.
const FILES_MAX: u32 = 16;

impl Database {
    /// Live xorbs with a chunk whose hash begins so, the latest first.
    pub fn xorbs_with_chunk(&self, chunk: &[u8; 16], limit: u32) -> Result<Vec<Xorb>, DbError> {
        let sql = concat!(
            xorb_sql!(),
            "JOIN dedup_key k ON k.xorb_id = x.id
             WHERE k.chunk = ?1 AND x.state = 1 ORDER BY k.xorb_id DESC LIMIT ?2"
        );
        self.read(|conn| all(conn, sql, params![&chunk[..], limit], xorb))
    }

    /// Live repositories that have a xorb, the latest first.
    pub fn repos_of_xorb(&self, id: XorbId, limit: u32) -> Result<Vec<RepoId>, DbError> {
        let sql = "SELECT l.repo_id FROM repo_xorb l JOIN repo r ON r.id = l.repo_id
                   WHERE l.xorb_id = ?1 AND r.state = 0 ORDER BY l.repo_id DESC LIMIT ?2";
        self.read(|conn| all(conn, sql, params![id, limit], |row| row.get(0)))
    }

    /// Xorbs of the files that a xorb is part of, itself first, then those uploaded next to it: as far as the repo has
    /// them.
    pub fn xorbs_beside(&self, repo: RepoId, id: XorbId, limit: u32) -> Result<Vec<Xorb>, DbError> {
        let sql = concat!(
            xorb_sql!(),
            "WHERE x.state = 1 AND x.id IN (
                 SELECT b.xorb_id FROM (SELECT file_id FROM xet_file_xorb WHERE xorb_id = ?1
                                        ORDER BY file_id DESC LIMIT ?4) a
                 JOIN xet_file_xorb b ON b.file_id = a.file_id
                 JOIN repo_xorb l ON l.repo_id = ?2 AND l.xorb_id = b.xorb_id
                 UNION SELECT ?1)
             ORDER BY abs(x.id - ?1) LIMIT ?3"
        );
        self.read(|conn| all(conn, sql, params![id, repo, limit, FILES_MAX], xorb))
    }
}
