//! Making packs durable before a row names them.

use database::{NewPack, PackContent, PackId, PackKind, Repo, fault};
use repository::pack::Blob;

use crate::Changes;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("storage: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Database(#[from] database::DbError),
}

/// A stored pack that no change names yet. Dropped without [`Stored::keep`], its row is condemned and the sweep
/// removes its bytes.
pub(crate) struct Stored {
    changes: Changes,
    pack: Option<PackId>,
}

impl Stored {
    /// The change that names the pack is applied.
    pub(crate) fn keep(mut self) {
        self.pack = None;
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let Some(pack) = self.pack.take() else { return };
        let changes = self.changes.clone();
        // At shutdown there may be no runtime left; then the row ages out as `staged`.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = changes.0.database.unstage_pack(pack).await {
                    tracing::warn!(?pack, %error, "a pack that is not needed stays staged until the sweep");
                }
            });
        }
    }
}

/// Which fault point stands after the pack is durable.
#[derive(Clone, Copy)]
pub(crate) struct Moments {
    pub staged: Option<fault::Point>,
    pub durable: fault::Point,
}

impl Changes {
    /// Gives `blob` an id and makes it durable: a `staged` row, the bytes, their directory. The order is the promise
    /// that a crash leaves litter that a row knows, never a row without its bytes.
    pub(crate) async fn store(
        &self,
        repo: &Repo,
        kind: PackKind,
        objects: u64,
        blob: Blob,
        moments: Moments,
    ) -> Result<(NewPack, Stored), StoreError> {
        let id = PackId::new();
        let new = |content| NewPack { id, kind, objects, closure: false, content };
        match blob {
            Blob::Inline(bytes) => {
                fault::point(moments.durable);
                Ok((new(PackContent::Inline(bytes)), Stored { changes: self.clone(), pack: None }))
            }
            Blob::File(file) => {
                let bytes = file.as_file().metadata()?.len();
                self.0.database.stage_pack(id, repo.id).await?;
                let stored = Stored { changes: self.clone(), pack: Some(id) };
                if let Some(point) = moments.staged {
                    fault::point(point);
                }
                let disk = self.0.disk.clone();
                self.compute(move || disk.publish(file, &id.storage_key())).await?;
                fault::point(moments.durable);
                Ok((new(PackContent::Stored { bytes }), stored))
            }
        }
    }
}

impl StoreError {
    pub(crate) fn into_push(self) -> crate::PushError {
        match self {
            StoreError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                crate::PushError::Full
            }
            StoreError::Io(error) => crate::PushError::internal(error),
            StoreError::Database(error) => error.into(),
        }
    }
}
