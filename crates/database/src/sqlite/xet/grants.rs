//! Xorbs that clients put into the bucket themselves: what may lie there although no xorb names it.

use rusqlite::{OptionalExtension, params};

use super::xorbs::check_live;
use crate::sqlite::checksum::XORB_GRANT;
use crate::sqlite::objects::column;
use crate::sqlite::{Database, DbError, PublishError, all};
use crate::{UploadId, XorbGrant};

impl Database {
    /// Committed before anybody is told where to put it. `None`: its holder has `open_max` that nothing came of yet.
    pub async fn grant_xorb(
        &self,
        grant: XorbGrant,
        open_max: u32,
    ) -> Result<Option<UploadId>, PublishError> {
        self.write(move |conn, now_ms| {
            let XorbGrant { holder, hash, size, expires_ms } = grant;
            check_live(conn, holder)?;
            // The condition is that of the index `xorb_grant_open`.
            let sql = "SELECT count(*) FROM xorb_grant WHERE repo_id = ?1 AND taken = 0 AND expires_ms > ?2";
            let open: u32 = conn.prepare_cached(sql)?.query_row(params![holder, now_ms], |row| row.get(0))?;
            if open >= open_max {
                return Ok(None);
            }
            let id = UploadId::new();
            XORB_GRANT.insert(conn, &[&id, &holder, &hash, &column(size), &expires_ms, &false])?;
            Ok(Some(id))
        })
        .await
    }

    pub fn xorb_grant(&self, id: UploadId) -> Result<Option<XorbGrant>, DbError> {
        let sql = "SELECT repo_id, hash, size, expires_ms FROM xorb_grant WHERE id = ?1";
        let grant = |row: &rusqlite::Row<'_>| {
            let (holder, hash, size, expires_ms) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(XorbGrant { holder, hash, size, expires_ms })
        };
        self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row([id], grant).optional()?))
    }

    /// What came of it is stored elsewhere.
    pub async fn xorb_grant_taken(&self, id: UploadId) -> Result<(), DbError> {
        self.write(move |conn, _| {
            XORB_GRANT.change(conn, "id = ?1", [id], |row| row.set("taken", true))?;
            Ok(())
        })
        .await
    }

    /// Those that expired before then.
    pub fn xorb_grants_expired(&self, before_ms: i64, limit: u32) -> Result<Vec<UploadId>, DbError> {
        let sql = "SELECT id FROM xorb_grant WHERE expires_ms < ?1 ORDER BY expires_ms LIMIT ?2";
        self.read(|conn| all(conn, sql, params![before_ms, limit], |row| row.get(0)))
    }

    /// After whatever lay there is gone.
    pub async fn xorb_grants_swept(&self, ids: Vec<UploadId>) -> Result<(), DbError> {
        self.write(move |conn, _| {
            let mut delete = conn.prepare_cached("DELETE FROM xorb_grant WHERE id = ?1")?;
            ids.iter().try_for_each(|id| delete.execute([id]).map(drop))?;
            Ok(())
        })
        .await
    }
}
