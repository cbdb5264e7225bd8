//! The keys under which chunks' hashes are given out and addresses are signed: kept in one settings row, the newest first,
//! replaced when they are old.

use std::fmt::Write;
use std::time::Duration;

use database::{Database, DbError};
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::Mutex;

use super::Cas;

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
    #[error("the settings row '{SETTING}' does not hold keys; restore it from a backup, or delete it")]
    Corrupt,
    #[error(transparent)]
    Db(#[from] DbError),
}

const SETTING: &str = "xet.keys";
/// Those before the newest still check addresses.
const KEPT: usize = 2;

#[derive(Default)]
pub(super) struct Keys(Mutex<Vec<Key>>);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    made_ms: i64,
    secret: [u8; 32],
}

impl Key {
    /// Of chunks' hashes.
    pub(super) fn dedup(&self) -> [u8; 32] {
        blake3::derive_key("granary 2026 xet chunk hashes", &self.secret)
    }

    /// Of addresses.
    pub(super) fn address(&self) -> [u8; 32] {
        blake3::derive_key("granary 2026 xet addresses", &self.secret)
    }
}

impl Cas {
    /// Makes the first key, so that whoever only reads never waits for a write, which a full disk would refuse.
    pub async fn make_keys(&self) -> Result<(), KeysError> {
        self.keys().await.map(drop)
    }

    /// The newest first; one that is too old is replaced, once that can be written.
    pub(super) async fn keys(&self) -> Result<Vec<Key>, KeysError> {
        let mut keys = self.0.keys.0.lock().await;
        if keys.is_empty() {
            *keys = load(&self.0.database)?;
        }
        let now_ms = self.0.database.clock().now_ms();
        let lifetime_ms = millis(self.0.config.key_lifetime);
        if keys.first().is_none_or(|newest| newest.made_ms + lifetime_ms <= now_ms) {
            match add(&self.0.database, &mut keys, now_ms).await {
                Err(error) if !keys.is_empty() => {
                    tracing::info!(%error, "the keys of addresses are not replaced yet");
                }
                added => added?,
            }
        }
        Ok(keys.clone())
    }

    /// A new key counts from now on. Addresses that the one before it signed are still taken, for as long as they live.
    pub async fn rotate_keys(&self) -> Result<(), KeysError> {
        let mut keys = self.0.keys.0.lock().await;
        if keys.is_empty() {
            *keys = load(&self.0.database)?;
        }
        let now_ms = self.0.database.clock().now_ms();
        add(&self.0.database, &mut keys, now_ms).await
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

async fn add(database: &Database, keys: &mut Vec<Key>, now_ms: i64) -> Result<(), KeysError> {
    let mut secret = [0; 32];
    SysRng.try_fill_bytes(&mut secret).map_err(|error| KeysError::Random(error.to_string()))?;
    let mut all = vec![Key { made_ms: now_ms, secret }];
    all.extend(keys.iter().take(KEPT));
    database.set_setting(SETTING, &written(&all)).await?;
    *keys = all;
    Ok(())
}

fn load(database: &Database) -> Result<Vec<Key>, KeysError> {
    let Some(row) = database.setting(SETTING)? else { return Ok(Vec::new()) };
    row.lines().map(|line| read(line).ok_or(KeysError::Corrupt)).collect()
}

fn written(keys: &[Key]) -> String {
    let mut row = String::new();
    for key in keys {
        // A String takes everything.
        let _ = writeln!(row, "{} {}", key.made_ms, blake3::Hash::from(key.secret).to_hex());
    }
    row
}

fn read(line: &str) -> Option<Key> {
    let (made_ms, secret) = line.split_once(' ')?;
    let secret = *blake3::Hash::from_hex(secret).ok()?.as_bytes();
    Some(Key { made_ms: made_ms.parse().ok()?, secret })
}
