//! Objects that are stored but that no row knows: after the rows were made anew.

use database::{NewUpload, Proof, Quota, RepoId, Sha256, UploadId};
use storage::StoreError;

use crate::publish::{Arrival, Known};
use crate::{Objects, ReceiveError};

/// More than it takes.
const EXPIRES_MS: i64 = 48 * 3600 * 1000;

impl Objects {
    /// Looks in the store for the object `sha256` of `size` bytes, proves its bytes and links it to `repo`. False if it
    /// is not there. For a rebuild of the rows, while no server uses the store.
    pub async fn adopt(&self, repo: RepoId, sha256: Sha256, size: u64) -> Result<bool, ReceiveError> {
        let hex = sha256.to_string();
        let keys = self.0.store.keys_under(&format!("objects/{}/{hex}/", &hex[..2])).await?;
        for key in keys {
            let Some(upload) = key.rsplit('/').next().and_then(|name| name.parse::<UploadId>().ok()) else {
                continue;
            };
            let arrival = Arrival { repo, by: None, upload, sha256, size };
            if let Known::Here = self.known(&arrival)? {
                return Ok(true);
            }
            match self.adopt_key(&arrival).await {
                Ok(()) => return Ok(true),
                Err(ReceiveError::WrongBytes { .. } | ReceiveError::Store(StoreError::NotFound)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    async fn adopt_key(&self, arrival: &Arrival) -> Result<(), ReceiveError> {
        let found = self.0.store.sha256(&arrival.key()).await?;
        if found != (arrival.sha256, arrival.size) {
            return Err(ReceiveError::WrongBytes { expected: arrival.sha256, actual: found.0 });
        }
        self.announce(arrival).await?;
        match self.publish(arrival, Proof::Verified, None).await {
            Ok(_) => Ok(()),
            // Another repository has adopted this very key. One copy more, and the publication finds it to be one.
            Err(ReceiveError::Closed) => self.copy(arrival).await,
            Err(error) => Err(error),
        }
    }

    async fn copy(&self, from: &Arrival) -> Result<(), ReceiveError> {
        let to = Arrival { upload: UploadId::new(), ..*from };
        self.announce(&to).await?;
        let mut reader = self.0.store.reader(&from.key(), 0..from.size).await?;
        let mut writer = self.0.store.writer(&to.key(), to.size).await?;
        while let Some(piece) = reader.next().await? {
            writer.write(piece).await?;
        }
        self.land(&to, writer, None).await
    }

    /// The row that knows the key until a backing does. Counts against no quota: an administrator brings what is here.
    pub(crate) async fn announce(&self, arrival: &Arrival) -> Result<(), ReceiveError> {
        let Arrival { repo, by, upload, sha256, size } = *arrival;
        let (objects, expires_ms) = (vec![(sha256, size)], self.now_ms() + EXPIRES_MS);
        let new = NewUpload { id: upload, repo, by, objects, expires_ms, quota: Quota::Exempt };
        self.0.database.begin_upload(new).await?;
        Ok(())
    }
}
