//! Connections for reads on the calling thread.

use std::path::PathBuf;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::{DbError, schema};

/// Idle connections kept. More threads than this may read at once; theirs are opened and closed as needed.
const IDLE_MAX: usize = 16;

pub(super) struct Readers {
    path: PathBuf,
    /// The last one returned is taken first: its caches are warm.
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Readers {
        Readers { path, idle: Mutex::new(Vec::new()) }
    }

    /// Runs `work` on a connection of its own. Statements see one state each; several need
    /// [`Readers::snapshot`].
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, DbError>) -> Result<T, DbError> {
        let taken = self.idle.lock().pop();
        let conn = match taken {
            Some(conn) => conn,
            None => schema::open_reader(&self.path)?,
        };
        let result = work(&conn);
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(conn);
        }
        result
    }

    /// Runs `work` in one read transaction.
    pub(super) fn snapshot<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        self.read(|conn| {
            // Rolled back when dropped, so the connection goes back clean.
            let transaction = conn.unchecked_transaction()?;
            work(&transaction)
        })
    }

    /// As [`Readers::snapshot`], on a connection that nothing was read on before. What another one knows of an index of words
    /// from before the last write is what `integrity_check` would compare with.
    pub(super) fn fresh_snapshot<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let conn = schema::open_reader(&self.path)?;
        let transaction = conn.unchecked_transaction()?;
        work(&transaction)
    }

    /// Closes what is idle.
    pub(super) fn drain(&self) {
        self.idle.lock().clear();
    }
}
