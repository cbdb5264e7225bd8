//! Stores to test.

use std::time::Duration;

use bytes::Bytes;
use database::{Clock, Sha256};
use storage::{Complete, ObjectStore, S3Config, S3Credentials, StoreError};

/// `url` is `http://ACCESS:SECRET@HOST:PORT/BUCKET`.
pub fn config(url: &str) -> S3Config {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (credentials, rest) = rest.split_once('@').unwrap();
    let (access_key, secret_key) = credentials.split_once(':').unwrap();
    let (host, bucket) = rest.split_once('/').unwrap();
    S3Config {
        bucket: bucket.into(),
        prefix: "a prefix".into(),
        region: "us-east-1".into(),
        endpoint: Some(format!("{scheme}://{host}")),
        public_endpoint: None,
        path_style: true,
        credentials: S3Credentials::Static {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            session_token: None,
        },
        part_buffers: 2,
        part_size: 5 << 20,
        timeout: Duration::from_secs(30),
        clock: Clock::default(),
    }
}

/// Bytes that differ from each other and repeat nowhere near.
pub fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16).wrapping_mul(31)) as u8).collect::<Vec<_>>().into()
}

pub fn sha256(bytes: &[u8]) -> Sha256 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    Sha256(digest.as_ref().try_into().unwrap())
}

/// Writes `bytes` in frames of `frame`.
pub async fn write(
    store: &ObjectStore,
    key: &str,
    bytes: &Bytes,
    frame: usize,
) -> Result<Complete, StoreError> {
    let mut writer = store.writer(key, bytes.len() as u64).await?;
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        writer.write(rest.split_to(frame.min(rest.len()))).await?;
    }
    assert_eq!(writer.written(), bytes.len() as u64);
    writer.finish().await
}

pub async fn put(store: &ObjectStore, key: &str, bytes: &Bytes) -> Result<(), StoreError> {
    write(store, key, bytes, 100_000).await?.publish().await
}

pub async fn get(store: &ObjectStore, key: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>, StoreError> {
    let mut reader = store.reader(key, range.clone()).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await? {
        assert!(!piece.is_empty());
        bytes.extend_from_slice(&piece);
        assert_eq!(reader.remaining(), range.end - range.start - bytes.len() as u64);
    }
    assert_eq!(reader.remaining(), 0);
    Ok(bytes)
}
