//! Objects that come from a file instead of a client: an import.

use std::fs::File;
use std::io::Read;

use bytes::Bytes;
use database::{RepoId, Sha256, UploadId, UserId};
use storage::StoreError;

use crate::publish::{Arrival, Known, blocking, detached};
use crate::wire::batch::is_empty_object;
use crate::{Objects, ReceiveError};

const PIECE: usize = 256 * 1024;

impl Objects {
    /// Makes the bytes of `source` the object `sha256` of `repo`, if that is what they are. Counts against no quota: an
    /// administrator imports.
    pub async fn take_in(
        &self,
        repo: RepoId,
        by: Option<UserId>,
        sha256: Sha256,
        size: u64,
        source: File,
    ) -> Result<(), ReceiveError> {
        if size == 0 && is_empty_object(&sha256) {
            return Ok(());
        }
        let arrival = Arrival { repo, by, upload: UploadId::new(), sha256, size };
        if let Known::Here = self.known(&arrival)? {
            return Ok(());
        }
        let objects = self.clone();
        detached(async move { objects.copy_in(&arrival, source).await }).await
    }

    async fn copy_in(&self, arrival: &Arrival, mut source: File) -> Result<(), ReceiveError> {
        self.announce(arrival).await?;
        let Arrival { upload, sha256, size, .. } = *arrival;
        let _flight = self.0.flights.begin(upload, sha256).ok_or(ReceiveError::Busy)?;
        let mut writer = self.0.store.writer(&arrival.key(), size).await?;
        loop {
            let (back, piece) = blocking(move || {
                let mut piece = Vec::with_capacity(PIECE);
                let read = (&mut source).take(PIECE as u64).read_to_end(&mut piece);
                (source, read.map(|_| piece))
            })
            .await;
            source = back;
            let piece = piece.map_err(StoreError::from)?;
            if piece.is_empty() {
                return self.land(arrival, writer, None).await;
            }
            if piece.len() as u64 > size - writer.written() {
                return Err(ReceiveError::TooLong { size });
            }
            writer.write(Bytes::from(piece)).await?;
        }
    }
}
