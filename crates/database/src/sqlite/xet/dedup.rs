//! Who has a chunk that a client asks for.

use rusqlite::params;

use super::xorbs::{xorb, xorb_sql};
use crate::sqlite::{Database, DbError, all};
use crate::{HolderId, Xorb, XorbId};

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

    /// Live repositories and buckets that have a xorb, up to `limit` of each, the latest first.
    pub fn holders_of_xorb(&self, id: XorbId, limit: u32) -> Result<Vec<HolderId>, DbError> {
        let repos = "SELECT l.repo_id FROM repo_xorb l JOIN repo r ON r.id = l.repo_id
                     WHERE l.xorb_id = ?1 AND r.state = 0 ORDER BY l.repo_id DESC LIMIT ?2";
        let buckets = "SELECT -l.bucket_id FROM bucket_xorb l JOIN bucket b ON b.id = l.bucket_id
                       WHERE l.xorb_id = ?1 AND b.state = 0 ORDER BY l.bucket_id DESC LIMIT ?2";
        self.read(|conn| {
            let mut holders = all(conn, repos, params![id, limit], |row| row.get(0))?;
            holders.extend(all(conn, buckets, params![id, limit], |row| row.get::<_, HolderId>(0))?);
            Ok(holders)
        })
    }

    /// Xorbs of the files that a xorb is part of, itself first, then those uploaded next to it: as far as the holder has
    /// them.
    pub fn xorbs_beside(
        &self,
        holder: impl Into<HolderId>,
        id: XorbId,
        limit: u32,
    ) -> Result<Vec<Xorb>, DbError> {
        macro_rules! beside {
            ($its:literal) => {
                concat!(
                    xorb_sql!(),
                    "WHERE x.state = 1 AND x.id IN (
                         SELECT b.xorb_id FROM (SELECT file_id FROM xet_file_xorb WHERE xorb_id = ?1
                                                ORDER BY file_id DESC LIMIT ?4) a
                         JOIN xet_file_xorb b ON b.file_id = a.file_id
                         JOIN ",
                    $its,
                    " AND l.xorb_id = b.xorb_id
                         UNION SELECT ?1)
                     ORDER BY abs(x.id - ?1) LIMIT ?3"
                )
            };
        }
        let (sql, holder) = match holder.into() {
            HolderId::Repo(id) => (beside!("repo_xorb l ON l.repo_id = ?2"), id.0),
            HolderId::Bucket(id) => (beside!("bucket_xorb l ON l.bucket_id = ?2"), id.0),
        };
        self.read(|conn| all(conn, sql, params![id, holder, limit, FILES_MAX], xorb))
    }
}
