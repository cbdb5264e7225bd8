//! What clients remember of xorbs, they remember by the address of the CAS, for weeks and without asking. When xorbs go
//! that they were promised, the address changes with the epoch in it, and they know nothing.

use database::{Database, DbError};

use super::Cas;

const SETTING: &str = "xet.epoch";
const FIRST: &str = "e1";

impl Cas {
    /// A part of the CAS's address.
    pub fn epoch(&self) -> Result<String, DbError> {
        Ok(self.0.database.setting(SETTING)?.unwrap_or_else(|| FIRST.to_owned()))
    }
}

/// From now on there is another epoch: after a restore from a backup, which may lack what clients know of, and after
/// xorbs went that clients were promised.
pub async fn begin_epoch(database: &Database) -> Result<(), DbError> {
    database.set_setting(SETTING, &format!("e{}", database.clock().now_ms())).await
}
