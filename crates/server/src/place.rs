//! Where large objects are: opened as configured, remembered, and, if it is a bucket, examined.
//!
//! A hub that is told of another place than the one where its objects are would serve none of them, so that is refused
//! until somebody says that they were moved. What a bucket enforces is found out by trying it, once a day.

use std::path::PathBuf;

use database::{Clock, Database, DbError};
use lfs::Objects;
use serde::{Deserialize, Serialize};
use storage::{Capabilities, Disk, ObjectStore, S3Config, S3Credentials, StoreError};

use crate::config::{Config, Secret, SecretError, StorageUrl};

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("cannot use {path} for large objects (storage.url): {source}")]
    Directory { path: PathBuf, source: storage::OpenError },
    #[error("cannot use {url} for large objects (storage.url): {source}")]
    Bucket { url: String, source: StoreError },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(
        "storage.s3_access_key and storage.s3_secret_key (or s3_secret_key_file) are given together or not at all"
    )]
    HalfCredentials,
    #[error(
        "{objects} large objects of this hub are in {known}, but storage.url says {configured}. Set it back; or copy \
         them there, under the same names, and then run `granary lfs moved`"
    )]
    Moved { known: String, configured: String, objects: u64 },
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Names the row that says where the objects are.
const PLACE: &str = "storage.objects";
/// Names the row that says what the bucket was seen to enforce.
const EXAMINED: &str = "storage.examined";
const EXAMINED_FOR_MS: i64 = 24 * 3600 * 1000;
/// Buckets refuse signatures that are off by a quarter of an hour.
const SKEW_NOTABLE_S: u64 = 60;

#[derive(Serialize, Deserialize)]
struct Examined {
    bucket: String,
    at_ms: i64,
    capabilities: Capabilities,
}

/// What is known of a bucket from before counts; it is asked nothing yet.
pub async fn open(config: &Config, disk: &Disk, database: &Database) -> Result<ObjectStore, PlaceError> {
    let store = elsewhere(config, database.clock()).await?.unwrap_or_else(|| ObjectStore::on(disk.clone()));
    if let (Some(bucket), Some(examined)) = (store.bucket(), examined(&store, database)?) {
        bucket.set_capabilities(examined.capabilities);
    }
    Ok(store)
}

/// `None` if objects are in the data directory.
pub async fn elsewhere(config: &Config, clock: &Clock) -> Result<Option<ObjectStore>, PlaceError> {
    Ok(match &config.storage.url {
        None => None,
        Some(StorageUrl::Directory(path)) => {
            let opened = ObjectStore::at(path);
            Some(opened.map_err(|source| PlaceError::Directory { path: path.clone(), source })?)
        }
        Some(url @ StorageUrl::Bucket { bucket, prefix }) => {
            let opened = ObjectStore::s3(s3_config(config, bucket, prefix, clock)?).await;
            Some(opened.map_err(|source| PlaceError::Bucket { url: url.to_string(), source })?)
        }
    })
}

/// Refuses a place that is not the one where the objects are.
pub async fn check(config: &Config, database: &Database) -> Result<(), PlaceError> {
    let configured = name(config.storage.url.as_ref());
    let known = match database.setting(PLACE)? {
        Some(known) if known == configured => return Ok(()),
        // Before there was a choice, and before the first start.
        None if config.storage.url.is_none() => return Ok(()),
        known => known.unwrap_or_else(|| DATA_DIRECTORY.to_owned()),
    };
    let stats = database.stats()?;
    if stats.objects + stats.uploads_open > 0 {
        return Err(PlaceError::Moved { known, configured, objects: stats.objects });
    }
    remember(config, database).await
}

/// The objects are where the configuration says from now on.
pub async fn remember(config: &Config, database: &Database) -> Result<(), PlaceError> {
    remember_as(config.storage.url.as_ref(), database).await
}

/// They are at `url`, or in the data directory.
pub async fn remember_as(url: Option<&StorageUrl>, database: &Database) -> Result<(), PlaceError> {
    Ok(database.set_setting(PLACE, &name(url)).await?)
}

/// Finds out what the bucket enforces, if that was not done lately. True if all is known.
pub async fn examine_if_due(objects: &Objects) -> bool {
    let (store, database) = (objects.store(), objects.database());
    if store.bucket().is_none() {
        return true;
    }
    let known = examined(store, database).ok().flatten();
    let now_ms = database.clock().now_ms();
    if known.is_some_and(|known| (0..EXAMINED_FOR_MS).contains(&(now_ms - known.at_ms))) {
        return true;
    }
    match examine(objects).await {
        Ok(_) => true,
        Err(error) => {
            let error = crate::error::chain(&error);
            tracing::warn!(store = store.describe(), %error, "the bucket cannot be examined; it is tried again");
            false
        }
    }
}

/// Tries the bucket, and has uploads go by what was found from now on. `None` if there is no bucket.
pub async fn examine(objects: &Objects) -> Result<Option<Capabilities>, StoreError> {
    let (store, database) = (objects.store(), objects.database());
    let Some(bucket) = store.bucket() else { return Ok(None) };
    let capabilities = bucket.probe().await?;
    let skew_s = capabilities.clock_skew_s;
    if skew_s.unsigned_abs() > SKEW_NOTABLE_S {
        tracing::warn!(
            skew_s,
            "the clock of the bucket is ahead of ours by so much; at 900 it refuses our signatures"
        );
    }
    bucket.set_capabilities(capabilities.clone());
    let at_ms = database.clock().now_ms();
    let row = Examined { bucket: store.describe(), at_ms, capabilities: capabilities.clone() };
    let row = serde_json::to_string(&row).expect("because all its keys are text");
    if let Err(error) = database.set_setting(EXAMINED, &row).await {
        tracing::warn!(%error, "what was found out of the bucket is forgotten at the next start");
    }
    Ok(Some(capabilities))
}

/// What is known of this bucket, however old.
fn examined(store: &ObjectStore, database: &Database) -> Result<Option<Examined>, DbError> {
    let row = database.setting(EXAMINED)?;
    let examined = row.and_then(|row| serde_json::from_str::<Examined>(&row).ok());
    Ok(examined.filter(|examined| examined.bucket == store.describe()))
}

const DATA_DIRECTORY: &str = "the data directory";

/// Without the endpoint: the same bucket may be reached by several.
fn name(url: Option<&StorageUrl>) -> String {
    url.map_or_else(|| DATA_DIRECTORY.to_owned(), StorageUrl::to_string)
}

fn s3_config(config: &Config, bucket: &str, prefix: &str, clock: &Clock) -> Result<S3Config, PlaceError> {
    let storage = &config.storage;
    let url = |url: &Option<crate::config::PublicUrl>| url.as_ref().map(ToString::to_string);
    Ok(S3Config {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        region: storage.s3_region.clone(),
        endpoint: url(&storage.s3_endpoint),
        public_endpoint: url(&storage.s3_public_endpoint),
        path_style: storage.s3_path_style.unwrap_or(storage.s3_endpoint.is_some()),
        credentials: credentials(config)?,
        part_buffers: storage.s3_part_buffers.get(),
        part_size: config.part_bytes(),
        timeout: storage.s3_timeout.duration(),
        clock: clock.clone(),
    })
}

fn credentials(config: &Config) -> Result<S3Credentials, PlaceError> {
    let storage = &config.storage;
    let secret_key = Secret::given(
        "storage.s3_secret_key",
        storage.s3_secret_key.as_ref(),
        storage.s3_secret_key_file.as_deref(),
    )?;
    let session_token = storage.s3_session_token.as_ref().map(|token| token.expose().to_owned());
    match (&storage.s3_access_key, secret_key) {
        (Some(access_key), Some(secret_key)) => Ok(S3Credentials::Static {
            access_key: access_key.clone(),
            secret_key: secret_key.expose().to_owned(),
            session_token,
        }),
        (None, None) if session_token.is_none() => Ok(S3Credentials::Ambient),
        _ => Err(PlaceError::HalfCredentials),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn credentials_are_whole_or_ambient() {
        let given = |keys: &str| credentials(&config(&format!("[storage]\n{keys}")));
        assert!(matches!(given(""), Ok(S3Credentials::Ambient)));
        let whole = given("s3_access_key = 'a'\ns3_secret_key = 'b'\ns3_session_token = 'c'");
        let Ok(S3Credentials::Static { access_key, secret_key, session_token }) = whole else { panic!() };
        assert_eq!(
            (access_key.as_str(), secret_key.as_str(), session_token.as_deref()),
            ("a", "b", Some("c"))
        );
        for half in ["s3_access_key = 'a'", "s3_secret_key = 'b'", "s3_session_token = 'c'"] {
            assert!(matches!(given(half), Err(PlaceError::HalfCredentials)), "{half}");
        }
    }

    #[test]
    fn a_bucket_behind_an_endpoint_is_named_in_the_path() {
        let clock = Clock::default();
        let s3 = |text: &str| s3_config(&config(text), "bucket", "a/b", &clock).unwrap();
        let amazon = s3("");
        assert_eq!((amazon.path_style, amazon.endpoint), (false, None));
        let ours = s3("[storage]\ns3_endpoint = 'http://127.0.0.1:8333/'\n[lfs]\npart_size = '1MiB'");
        assert_eq!((ours.path_style, ours.endpoint.as_deref()), (true, Some("http://127.0.0.1:8333")));
        assert_eq!((ours.prefix.as_str(), ours.part_size), ("a/b", 5 << 20));
        let styled = s3("[storage]\ns3_endpoint = 'http://s3'\ns3_path_style = false");
        assert!(!styled.path_style);
    }

    #[tokio::test]
    async fn an_empty_hub_may_change_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("granary.db"), Clock::default()).unwrap();
        let here = config("");
        let there = config("[storage]\nurl = 'file:/nas/granary'");
        for config in [&here, &there, &there, &here] {
            check(config, &database).await.unwrap();
        }
        assert_eq!(database.setting(PLACE).unwrap().as_deref(), Some(DATA_DIRECTORY));
        database.close().await;
    }
}
