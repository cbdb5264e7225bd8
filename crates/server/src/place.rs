//! Where large objects are: opened as configured, remembered, and, if it is a bucket, examined.
//!
//! A hub that is told of another place than the one where its objects are would serve none of them, so that is refused
//! until somebody says that they were moved. Names do not tell places apart (a NAS may not be mounted), so a row holds
//! the id that the store was marked with when it was first used, too: a directory without that mark is refused, and a
//! bucket without it counts as down. What a bucket enforces is found out by trying it, once a day.

use std::path::{Path, PathBuf};

use database::{Clock, Database, DbError, XorbId};
use lfs::Objects;
use serde::{Deserialize, Serialize};
use storage::{
    Bucket, Capabilities, Disk, Expected, ObjectStore, S3Config, S3Credentials, StoreError, StoreId,
};

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
    #[error("the row that says where large objects are cannot be read: {0}")]
    Row(#[from] serde_json::Error),
    #[error("the mark of {place} cannot be read or written: {source}")]
    Mark { place: String, source: StoreError },
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Names the row that says where the objects are.
const PLACE: &str = "storage.objects";
/// Names the row that says what the bucket was seen to enforce.
const EXAMINED: &str = "storage.examined";
const EXAMINED_FOR_MS: i64 = 24 * 3600 * 1000;
/// What was found out longer ago counts for nothing, should the bucket not have been examined since.
const TRUSTED_FOR_MS: i64 = 7 * EXAMINED_FOR_MS;
/// Buckets refuse signatures that are off by a quarter of an hour.
const SKEW_NOTABLE_S: u64 = 60;

/// Where the objects are, as a row says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Without the endpoint: the same bucket may be reached by several.
    name: String,
    /// What the store is marked with. `None`: the data directory, where the rows are themselves.
    store: Option<StoreId>,
    /// The mark was seen there, or there is to be none. Before, it may have to be made.
    marked: bool,
}

#[derive(Serialize, Deserialize)]
struct Examined {
    bucket: String,
    at_ms: i64,
    capabilities: Capabilities,
}

/// The store, if it is where the objects are. Of a bucket that is only found out once it answers; what is known of it
/// from before counts, and it is asked nothing yet.
pub async fn open(config: &Config, disk: &Disk, database: &Database) -> Result<ObjectStore, PlaceError> {
    let url = config.storage.url.as_ref();
    let stats = database.stats()?;
    let has_xorbs = !database.xorbs_after(XorbId(0), 1)?.is_empty();
    let is_used = stats.objects + stats.uploads_open > 0 || has_xorbs;
    let place = match Place::known(database)? {
        Some(known) if known.name == name(url) => known,
        // Before there was a choice, and before the first start.
        None if url.is_none() => Place::new(None),
        known if is_used => {
            let known = known.map_or_else(|| DATA_DIRECTORY.to_owned(), |known| known.name);
            return Err(PlaceError::Moved { known, configured: name(url), objects: stats.objects });
        }
        // The id is in the row before it is in the store: which may never answer, or be lost to a crash.
        _ => Place::new(url).remembered(database).await?,
    };
    let expected = match place.store {
        None => Expected::Any,
        Some(id) if place.marked || is_used => Expected::Known(id),
        Some(id) => Expected::New(id),
    };
    let store = open_as(config, expected, Some(disk), database.clock()).await?;
    let store = store.unwrap_or_else(|| ObjectStore::on(disk.clone()));
    if store.bucket().is_none() {
        settle(&store, database).await?;
    }
    with_known_capabilities(store, database)
}

/// The store that is configured, whether or not the objects were there before.
pub async fn open_anywhere(
    config: &Config,
    disk: &Disk,
    database: &Database,
) -> Result<ObjectStore, PlaceError> {
    let store = open_as(config, Expected::Any, Some(disk), database.clock()).await?;
    with_known_capabilities(store.unwrap_or_else(|| ObjectStore::on(disk.clone())), database)
}

/// As [`open_anywhere`], before there are rows. `None` if objects are in the data directory.
pub async fn elsewhere(config: &Config, clock: &Clock) -> Result<Option<ObjectStore>, PlaceError> {
    open_as(config, Expected::Any, None, clock).await
}

/// `data_disk` takes what of uploads to a bucket does not fit into memory.
async fn open_as(
    config: &Config,
    expected: Expected,
    data_disk: Option<&Disk>,
    clock: &Clock,
) -> Result<Option<ObjectStore>, PlaceError> {
    Ok(match &config.storage.url {
        None => None,
        Some(StorageUrl::Directory(path)) => {
            let opened = ObjectStore::in_directory(path, expected);
            Some(opened.map_err(|source| PlaceError::Directory { path: path.clone(), source })?)
        }
        Some(url @ StorageUrl::Bucket { bucket, prefix }) => {
            let opened = ObjectStore::s3(s3_config(config, bucket, prefix, clock)?).await;
            let store = opened.map_err(|source| PlaceError::Bucket { url: url.to_string(), source })?;
            store.expect(expected);
            if let (Some(bucket), Some(disk)) = (store.bucket(), data_disk) {
                bucket.spool_in(disk.clone(), config.storage.min_free.bytes());
            }
            Some(store)
        }
    })
}

fn with_known_capabilities(store: ObjectStore, database: &Database) -> Result<ObjectStore, PlaceError> {
    if let Some(bucket) = store.bucket()
        && let Some(examined) = examined(bucket, database)?
    {
        bucket.set_capabilities(examined.capabilities);
    }
    Ok(store)
}

impl Place {
    fn new(url: Option<&StorageUrl>) -> Place {
        Place { name: name(url), store: url.map(|_| StoreId::random()), marked: url.is_none() }
    }

    fn known(database: &Database) -> Result<Option<Place>, PlaceError> {
        let row = database.setting(PLACE)?;
        Ok(row.map(|row| serde_json::from_str(&row)).transpose()?)
    }

    async fn remembered(self, database: &Database) -> Result<Place, PlaceError> {
        database.set_setting(PLACE, &serde_json::to_string(&self)?).await?;
        Ok(self)
    }
}

/// Asks the store whether it is ours, marks it if it is new, and remembers that.
async fn settle(store: &ObjectStore, database: &Database) -> Result<(), PlaceError> {
    let mark = |source| PlaceError::Mark { place: store.describe(), source };
    store.confirm().await.map_err(mark)?;
    match Place::known(database)? {
        Some(place) if !place.marked => {
            Place { marked: true, ..place }.remembered(database).await?;
        }
        _ => {}
    }
    Ok(())
}

/// The objects are where the configuration says from now on, which is where `store` is. False if no mark came along
/// with them, so that it was given a new one.
pub async fn remember(
    config: &Config,
    store: Option<&ObjectStore>,
    database: &Database,
) -> Result<bool, PlaceError> {
    match (config.storage.url.as_ref(), store) {
        (Some(url), Some(store)) => remember_as(url, store, database).await,
        _ => Place::new(None).remembered(database).await.map(|_| true),
    }
}

/// They are in the directory `path`, which need not exist, or in the data directory.
pub async fn remember_restored(path: Option<&Path>, database: &Database) -> Result<(), PlaceError> {
    let Some(path) = path else {
        return Place::new(None).remembered(database).await.map(drop);
    };
    let failed = |source| PlaceError::Directory { path: path.to_owned(), source };
    std::fs::create_dir_all(path)
        .map_err(|source| failed(storage::OpenError::Io { path: path.to_owned(), source }))?;
    let store = ObjectStore::at(path).map_err(failed)?;
    remember_as(&StorageUrl::Directory(path.to_owned()), &store, database).await.map(drop)
}

async fn remember_as(url: &StorageUrl, store: &ObjectStore, database: &Database) -> Result<bool, PlaceError> {
    let mark = |source| PlaceError::Mark { place: store.describe(), source };
    let found = store.mark().await.map_err(mark)?;
    let id = match found {
        Some(id) => id,
        None => {
            let id = StoreId::random();
            store.expect(Expected::New(id));
            store.confirm().await.map_err(mark)?;
            id
        }
    };
    Place { name: url.to_string(), store: Some(id), marked: true }.remembered(database).await?;
    Ok(found.is_some())
}

/// Finds out whether the bucket is ours and what it enforces, if that was not done lately. True if all is known.
pub async fn examine_if_due(objects: &Objects) -> bool {
    let (store, database) = (objects.store(), objects.database());
    let Some(bucket) = store.bucket() else { return true };
    if let Err(error) = settle(store, database).await {
        let error = crate::error::chain(&error);
        tracing::warn!(store = store.describe(), %error, "large objects are out of reach; it is tried again");
        return false;
    }
    let known = examined(bucket, database).ok().flatten();
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
    store.confirm().await?;
    let capabilities = bucket.probe().await?;
    if capabilities.open_to_write {
        tracing::error!(
            store = store.describe(),
            "the bucket takes uploads without a signature, from everybody: close it"
        );
    }
    let skew_s = capabilities.clock_skew_s;
    if skew_s.unsigned_abs() > SKEW_NOTABLE_S {
        tracing::warn!(
            skew_s,
            "the clock of the bucket is ahead of ours by so much; at 900 it refuses our signatures"
        );
    }
    bucket.set_capabilities(capabilities.clone());
    let at_ms = database.clock().now_ms();
    let row = Examined { bucket: bucket.examined_as(), at_ms, capabilities: capabilities.clone() };
    let row = serde_json::to_string(&row).expect("because all its keys are text");
    if let Err(error) = database.set_setting(EXAMINED, &row).await {
        tracing::warn!(%error, "what was found out of the bucket is forgotten at the next start");
    }
    Ok(Some(capabilities))
}

/// What is known of this bucket, by this way to it, from an examination such as we make.
fn examined(bucket: &Bucket, database: &Database) -> Result<Option<Examined>, DbError> {
    let row = database.setting(EXAMINED)?;
    let examined = row.and_then(|row| serde_json::from_str::<Examined>(&row).ok());
    let now_ms = database.clock().now_ms();
    Ok(examined.filter(|examined| {
        examined.bucket == bucket.examined_as() && now_ms - examined.at_ms < TRUSTED_FOR_MS
    }))
}

const DATA_DIRECTORY: &str = "the data directory";

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
        let nas = directory.path().join("nas");
        let there = config(&format!("[storage]\nurl = 'file:{}'", nas.display()));
        let disk = Disk::open(directory.path()).unwrap();
        for config in [&here, &there, &there, &here] {
            open(config, &disk, &database).await.unwrap();
        }
        assert_eq!(Place::known(&database).unwrap(), Some(Place::new(None)));
        database.close().await;
    }

    #[tokio::test]
    async fn a_directory_is_known_by_its_mark_from_the_first_start_on() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("granary.db"), Clock::default()).unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let nas = directory.path().join("nas");
        let config = config(&format!("[storage]\nurl = 'file:{}'", nas.display()));
        let first = open(&config, &disk, &database).await.unwrap().mark().await.unwrap().unwrap();
        let known = Place::known(&database).unwrap().unwrap();
        assert_eq!((known.store, known.marked), (Some(first), true));
        open(&config, &disk, &database).await.unwrap().confirm().await.unwrap();

        // Not mounted; and what somebody put there instead.
        std::fs::rename(&nas, directory.path().join("server")).unwrap();
        let refused = open(&config, &disk, &database).await.map(drop).unwrap_err().to_string();
        assert!(refused.contains("storage.url") && refused.contains("is it mounted"), "{refused}");
        std::fs::create_dir(&nas).unwrap();
        let refused = open(&config, &disk, &database).await.map(drop).unwrap_err().to_string();
        assert!(refused.contains("is it mounted") && refused.contains("granary lfs moved"), "{refused}");
        assert_eq!(std::fs::read_dir(&nas).unwrap().count(), 0);

        // A copy without its mark is followed; it is said to have had none.
        let store = open_anywhere(&config, &disk, &database).await.unwrap();
        assert!(!remember(&config, Some(&store), &database).await.unwrap());
        assert!(remember(&config, Some(&store), &database).await.unwrap());
        drop(store);
        let second = open(&config, &disk, &database).await.unwrap().mark().await.unwrap().unwrap();
        assert_ne!(first, second);
        database.close().await;
    }

    #[tokio::test]
    async fn a_bucket_that_never_answered_is_marked_when_it_does() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("granary.db"), Clock::default()).unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let config = config(
            "[storage]\nurl = 's3://bucket'\ns3_endpoint = 'http://127.0.0.1:9'\ns3_timeout = '1s'\n\
             s3_access_key = 'a'\ns3_secret_key = 'b'",
        );
        let store = open(&config, &disk, &database).await.unwrap();
        let first = Place::known(&database).unwrap().unwrap();
        assert!(first.store.is_some() && !first.marked);
        assert!(settle(&store, &database).await.is_err());
        open(&config, &disk, &database).await.unwrap();
        assert_eq!(Place::known(&database).unwrap(), Some(first), "the id stays");
        database.close().await;
    }

    #[tokio::test]
    async fn what_is_known_of_a_bucket_counts_only_for_the_same_way_to_it_and_for_a_week() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::default();
        let database = Database::open(&directory.path().join("granary.db"), clock.clone()).unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let text = "[storage]\nurl = 's3://bucket'\ns3_endpoint = 'http://s3.example:9'\ns3_access_key = 'a'\n\
                    s3_secret_key = 'b'\n";
        let able = Capabilities { signed_checksum: true, ..Capabilities::default() };
        let known = async |text: &str| {
            let store = open(&config(text), &disk, &database).await.unwrap();
            store.bucket().unwrap().capabilities()
        };
        let store = open(&config(text), &disk, &database).await.unwrap();
        let bucket = store.bucket().unwrap().examined_as();
        let row = Examined { bucket, at_ms: clock.now_ms(), capabilities: able.clone() };
        database.set_setting(EXAMINED, &serde_json::to_string(&row).unwrap()).await.unwrap();
        assert_eq!(known(text).await, able);
        for other in
            ["s3_public_endpoint = 'http://public.example'", "s3_path_style = false", "s3_region = 'eu-1'"]
        {
            assert_eq!(known(&format!("{text}{other}")).await, Capabilities::default(), "{other}");
        }
        clock.advance_ms(TRUSTED_FOR_MS);
        assert_eq!(known(text).await, Capabilities::default());
        database.close().await;
    }
}
