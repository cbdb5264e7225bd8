//! The keys that sign transfer tokens: made at the first start, kept in one settings row, rotated on demand.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use database::{Database, DbError};
use parking_lot::RwLock;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::claims::Claims;
use super::{Grant, LIFETIME_MAX, TOKEN_BYTES_MAX, TransferError};

/// Signs and checks transfer tokens. Clones share their keys.
#[derive(Clone)]
pub struct TransferKeys(Arc<RwLock<Ring>>);

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
    #[error(
        "the settings row '{SETTING}' does not hold keys; restore it from a backup, or delete it: new keys are made \
         then, and links already handed out end"
    )]
    Corrupt,
    #[error(transparent)]
    Db(#[from] DbError),
}

const SETTING: &str = "lfs.transfer_keys";

/// For how long a retired key still checks: no token that it signed lives longer.
const RETIRED_MS: i64 = (LIFETIME_MAX.as_secs() as i64 + 60 * 60) * 1000;

/// Whoever reads the row to write it does so alone. A process owns its database, so that this suffices.
static ROW: Mutex<()> = Mutex::const_new(());

impl TransferKeys {
    /// Loads the keys, or makes the first.
    pub async fn open(database: &Database) -> Result<TransferKeys, KeysError> {
        let _alone = ROW.lock().await;
        let ring = match Ring::load(database)? {
            Some(ring) => ring,
            None => {
                let ring = Ring { newest: Key::generate()?, retired: Vec::new() };
                ring.store(database).await?;
                ring
            }
        };
        Ok(TransferKeys(Arc::new(RwLock::new(ring))))
    }

    /// A new key signs from now on. Those before it check until the last token that they signed has ended.
    pub async fn rotate(&self, database: &Database) -> Result<(), KeysError> {
        let _alone = ROW.lock().await;
        let now_ms = database.clock().now_ms();
        let Ring { newest, mut retired } = Ring::load(database)?.ok_or(KeysError::Corrupt)?;
        retired.insert(0, Key { retired_ms: Some(now_ms), ..newest });
        retired.retain(|key| key.checks(now_ms));
        let ring = Ring { newest: Key::generate()?, retired };
        ring.store(database).await?;
        *self.0.write() = ring;
        Ok(())
    }

    /// A token of letters, digits, `-`, `_` and `.`: it can stand in a URL as it is.
    pub fn issue(&self, grant: &Grant) -> String {
        self.sign(&Claims::of(grant))
    }

    pub(crate) fn sign(&self, claims: &impl Serialize) -> String {
        self.0.read().newest.sign(claims)
    }

    /// What the token grants. `now_ms` is compared to the millisecond: this hub wrote the time itself.
    pub fn check(&self, token: &str, now_ms: i64) -> Result<Grant, TransferError> {
        let grant = self.verified::<Claims<'static>>(token, now_ms)?.grant()?;
        if now_ms >= grant.expires_ms { Err(TransferError::Expired) } else { Ok(grant) }
    }

    /// The claims of a genuine token. Whether it has expired, they say themselves.
    pub(crate) fn verified<C: DeserializeOwned>(&self, token: &str, now_ms: i64) -> Result<C, TransferError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TransferError::Invalid);
        }
        self.0.read().signer_of(token, now_ms).ok_or(TransferError::Invalid)?.verify(token)
    }
}

impl fmt::Debug for TransferKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = self.0.read();
        write!(f, "TransferKeys({} and {} retired)", ring.newest.kid, ring.retired.len())
    }
}

struct Ring {
    newest: Key,
    /// Last retired first.
    retired: Vec<Key>,
}

struct Key {
    kid: String,
    secret: [u8; 32],
    retired_ms: Option<i64>,
    hmac: hmac::Key,
    /// The first third of each token, with its dot.
    header: String,
}

/// The header of a token, as everybody writes it.
#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: &'static str,
    kid: &'a str,
}

/// A key in the settings row.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    kid: String,
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_ms: Option<i64>,
}

impl Ring {
    fn load(database: &Database) -> Result<Option<Ring>, KeysError> {
        let Some(row) = database.setting(SETTING)? else { return Ok(None) };
        let stored: Vec<Stored> = serde_json::from_str(&row).map_err(|_| KeysError::Corrupt)?;
        let mut keys = stored.into_iter().map(Key::from_stored);
        let newest = keys.next().ok_or(KeysError::Corrupt)??;
        Ok(Some(Ring { newest, retired: keys.collect::<Result<_, _>>()? }))
    }

    async fn store(&self, database: &Database) -> Result<(), KeysError> {
        let stored: Vec<Stored> = self.keys().map(Key::to_stored).collect();
        let row = serde_json::to_string(&stored).expect("because strings and numbers are JSON");
        Ok(database.set_setting(SETTING, &row).await?)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.newest).chain(&self.retired)
    }

    /// By the header, which is always the same: there is none but ours, and no algorithm to choose.
    fn signer_of(&self, token: &str, now_ms: i64) -> Option<&Key> {
        self.keys().find(|key| token.starts_with(&key.header) && key.checks(now_ms))
    }
}

impl Key {
    fn generate() -> Result<Key, KeysError> {
        let (mut secret, mut name) = ([0; 32], [0; 6]);
        for bytes in [&mut secret[..], &mut name[..]] {
            SysRng.try_fill_bytes(bytes).map_err(|error| KeysError::Random(error.to_string()))?;
        }
        Ok(Key::new(URL_SAFE_NO_PAD.encode(name), secret, None))
    }

    fn new(kid: String, secret: [u8; 32], retired_ms: Option<i64>) -> Key {
        let header = Header { typ: "JWT", alg: "HS256", kid: &kid };
        let header = serde_json::to_vec(&header).expect("because a header is JSON");
        Key {
            header: URL_SAFE_NO_PAD.encode(header) + ".",
            hmac: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            kid,
            secret,
            retired_ms,
        }
    }

    fn from_stored(stored: Stored) -> Result<Key, KeysError> {
        let secret = URL_SAFE_NO_PAD.decode(&stored.secret).ok().and_then(|secret| secret.try_into().ok());
        Ok(Key::new(stored.kid, secret.ok_or(KeysError::Corrupt)?, stored.retired_ms))
    }

    fn to_stored(&self) -> Stored {
        let secret = URL_SAFE_NO_PAD.encode(self.secret);
        Stored { kid: self.kid.clone(), secret, retired_ms: self.retired_ms }
    }

    fn checks(&self, now_ms: i64) -> bool {
        self.retired_ms.is_none_or(|retired_ms| now_ms < retired_ms.saturating_add(RETIRED_MS))
    }

    /// As RFC 7519 has it, with what is always the same made once: a batch asks for thousands.
    fn sign(&self, claims: &impl Serialize) -> String {
        let claims = serde_json::to_vec(claims).expect("because claims are strings and numbers");
        let mut token = String::with_capacity(self.header.len() + claims.len() * 4 / 3 + 50);
        token.push_str(&self.header);
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = hmac::sign(&self.hmac, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// The claims have an expiry of their own, which reads the hub's clock.
    fn verify<C: DeserializeOwned>(&self, token: &str) -> Result<C, TransferError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TransferError::Invalid)?;
        let claims = signed.strip_prefix(&self.header).ok_or(TransferError::Invalid)?;
        let decoded = |text| URL_SAFE_NO_PAD.decode(text).map_err(|_| TransferError::Invalid);
        hmac::verify(&self.hmac, signed.as_bytes(), &decoded(signature)?)
            .map_err(|_| TransferError::Invalid)?;
        serde_json::from_slice(&decoded(claims)?).map_err(|_| TransferError::Invalid)
    }
}
