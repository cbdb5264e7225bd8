//! Uploads in parts: ours, and those whose parts a client sends to the bucket.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::Bucket;
use super::client::{long_timeouts, store_error};
use crate::StoreError;

/// A bucket may assemble parts by copying them: it gets this many times longer than `storage.s3_timeout`, retries
/// included. Longer than git-lfs waits; but the completion goes on without the client, and who asks again is told how
/// it ended.
const COMPLETION_FACTOR: u32 = 10;

const NO_SUCH_UPLOAD: &str = "NoSuchUpload";

impl Bucket {
    /// Begins an upload in parts, and gives the bucket's id of it.
    pub async fn create_multipart(&self, key: &str) -> Result<String, StoreError> {
        self.confirm().await?;
        self.begin_parts(key).await
    }

    /// As [`Bucket::create_multipart`], of whatever bucket it is.
    pub(super) async fn begin_parts(&self, key: &str) -> Result<String, StoreError> {
        let request = self.0.client.create_multipart_upload().bucket(&self.0.config.bucket);
        let created = Box::pin(request.key(self.object_name(key)).send()).await.map_err(store_error)?;
        created.upload_id.ok_or_else(|| StoreError::unavailable("an answer without UploadId"))
    }

    /// Makes an object of `parts` (number and ETag). Succeeds again if it did so before.
    pub async fn complete_multipart(
        &self,
        key: &str,
        upload: &str,
        parts: &[(u32, String)],
    ) -> Result<(), StoreError> {
        let part = |(number, etag): &(u32, String)| {
            CompletedPart::builder().part_number(number.cast_signed()).e_tag(etag).build()
        };
        let parts =
            CompletedMultipartUpload::builder().set_parts(Some(parts.iter().map(part).collect())).build();
        let within: Duration = self.0.config.timeout * COMPLETION_FACTOR;
        let request = self.0.client.complete_multipart_upload().bucket(&self.0.config.bucket);
        let request =
            request.key(self.object_name(key)).upload_id(upload).multipart_upload(parts).customize();
        let settings = aws_sdk_s3::Config::builder().timeout_config(long_timeouts(within, 1));
        let Err(error) = Box::pin(request.config_override(settings).send()).await else { return Ok(()) };
        match code(&error) {
            Some(NO_SUCH_UPLOAD) => match self.head(key).await? {
                Some(_) => Ok(()),
                None => Err(StoreError::NotFound),
            },
            Some(code @ ("InvalidPart" | "InvalidPartOrder" | "EntityTooSmall" | "MalformedXML")) => {
                let message =
                    error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default();
                Err(StoreError::InvalidParts(format!("{code}: {message}")))
            }
            _ => Err(store_error(error)),
        }
    }

    /// The parts that have arrived, by number, with their sizes. `NotFound` if there is no such upload (any more).
    pub async fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<(u32, u64)>, StoreError> {
        // A part that was sent again counts once, as sent last; some buckets list it once per sending.
        let mut parts = BTreeMap::new();
        let request = self.0.client.list_parts().bucket(&self.0.config.bucket);
        let mut pages = request.key(self.object_name(key)).upload_id(upload).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = match page.map_err(store_error) {
                Err(StoreError::NotFound) => {
                    self.confirm().await?;
                    return Err(StoreError::NotFound);
                }
                other => other?,
            };
            for part in page.parts() {
                let number = part.part_number().and_then(|number| u32::try_from(number).ok());
                let size = part.size().and_then(|size| u64::try_from(size).ok());
                let (number, size) =
                    number.zip(size).ok_or_else(|| StoreError::unavailable("a part without a size"))?;
                let sent = (part.last_modified().copied(), size);
                let last = parts.entry(number).or_insert(sent);
                *last = sent.max(*last);
            }
        }
        Ok(parts.into_iter().map(|(number, (_, size))| (number, size)).collect())
    }

    /// Drops an upload and its parts. One that is gone already is dropped.
    pub async fn abort_multipart(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        let request = self.0.client.abort_multipart_upload().bucket(&self.0.config.bucket);
        let request = request.key(self.object_name(key)).upload_id(upload);
        match Box::pin(request.send()).await.map_err(store_error) {
            Ok(_) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Drops what uploads that passed through this process left under `key`: parts that nobody sees and somebody pays for.
    pub(super) async fn end_multiparts(&self, key: &str) -> Result<(), StoreError> {
        for upload in self.multiparts(key).await? {
            self.abort_multipart(key, &upload).await?;
        }
        Ok(())
    }

    /// The ids of uploads begun under `key`: what passed through this process has no row of its own, and a crash leaves
    /// it. A bucket that cannot say is taken to have none.
    pub async fn multiparts(&self, key: &str) -> Result<Vec<String>, StoreError> {
        let name = self.object_name(key);
        let request = self.0.client.list_multipart_uploads().bucket(&self.0.config.bucket).prefix(&name);
        match Box::pin(request.send()).await {
            Ok(found) => {
                let of_key = found.uploads().iter().filter(|upload| upload.key() == Some(&name));
                Ok(of_key.filter_map(|upload| upload.upload_id().map(str::to_owned)).collect())
            }
            Err(error) if says_nothing(&error) => Ok(Vec::new()),
            Err(error) => match store_error(error) {
                StoreError::NotFound => Ok(Vec::new()),
                error => Err(error),
            },
        }
    }
}

/// The bucket cannot list uploads, or we may not.
fn says_nothing<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    matches!(status, Some(403 | 405 | 501)) || code(error) == Some("NotImplemented")
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}
