//! Where clients fetch ranges of xorbs: at the bucket, or here. Either way the address says which bytes, and until when, and
//! is good for nothing else: a xorb holds chunks of other files, too.

use std::ops::RangeInclusive;

use database::{DbError, Xorb, XorbId};
use storage::{Reader, Signer, StoreError};

use super::keys::{Key, millis};
use super::{AddressError, Cas, KeysError};

/// Makes addresses, for one answer.
pub struct Addresses(Kind);

enum Kind {
    Bucket { signer: Signer, lifetime: std::time::Duration },
    Here { base_url: String, key: [u8; 32], expires_ms: i64 },
}

/// A range of a xorb that may be read without further question.
pub struct LocalFetch {
    cas: Cas,
    xorb: Xorb,
    pub bytes: RangeInclusive<u64>,
}

/// An address that is not taken: clients ask for a new one after any of these (403).
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("this address has expired")]
    Expired,
    #[error("this address is not valid")]
    Invalid,
    /// The xorb was deleted since.
    #[error("these bytes are gone")]
    Gone,
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Cas {
    /// `base_url` is where this hub serves ranges of xorbs itself; the token comes behind a slash.
    pub async fn addresses(&self, base_url: &str) -> Result<Addresses, AddressError> {
        let lifetime = self.0.config.address_lifetime;
        if let Some(bucket) = self.0.store.bucket() {
            let signer = bucket.signer().await?;
            let lifetime = lifetime.min(signer.lifetime_max());
            return Ok(Addresses(Kind::Bucket { signer, lifetime }));
        }
        let key = newest(&self.keys().await?)?.address();
        let expires_ms = self.0.database.clock().now_ms() + millis(lifetime);
        let base_url = base_url.trim_end_matches('/').to_owned();
        Ok(Addresses(Kind::Here { base_url, key, expires_ms }))
    }

    /// What the token behind the base URL says.
    pub async fn open_address(&self, token: &str) -> Result<LocalFetch, FetchError> {
        let (said, mac) = token.rsplit_once('-').ok_or(FetchError::Invalid)?;
        let mac = blake3::Hash::from_hex(mac).map_err(|_| FetchError::Invalid)?;
        // Hashes compare in constant time.
        if !self.keys().await?.iter().any(|key| signature(&key.address(), said) == mac) {
            return Err(FetchError::Invalid);
        }
        let numbers: Option<Vec<i64>> = said.split('-').map(|number| number.parse().ok()).collect();
        let Some([id, start, end, expires_ms]) = numbers.as_deref() else { return Err(FetchError::Invalid) };
        if self.0.database.clock().now_ms() >= *expires_ms {
            return Err(FetchError::Expired);
        }
        let xorb = self.0.database.xorbs(&[XorbId(*id)])?.into_iter().next().flatten();
        let bytes = start.unsigned_abs()..=end.unsigned_abs();
        Ok(LocalFetch { cas: self.clone(), xorb: xorb.ok_or(FetchError::Gone)?, bytes })
    }
}

impl Addresses {
    /// Of these bytes and no others. A client has to ask for exactly them by a `Range` header.
    pub fn of(&self, xorb: &Xorb, bytes: &RangeInclusive<u64>) -> String {
        match &self.0 {
            Kind::Bucket { signer, lifetime } => signer.get_range(&xorb.storage_key(), bytes, *lifetime),
            Kind::Here { base_url, key, expires_ms } => {
                let said = format!("{}-{}-{}-{expires_ms}", xorb.id.0, bytes.start(), bytes.end());
                format!("{base_url}/{said}-{}", signature(key, &said).to_hex())
            }
        }
    }
}

impl LocalFetch {
    /// Of all that may be read, in bytes.
    pub fn len(&self) -> u64 {
        self.bytes.end() - self.bytes.start() + 1
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    /// Of the whole xorb, for `Content-Range`.
    pub fn xorb_bytes(&self) -> u64 {
        self.xorb.stored_bytes
    }

    /// The bytes of `range`, in the xorb. `None` if the address is not for all of them: that is a 403, too.
    pub async fn reader(&self, range: RangeInclusive<u64>) -> Result<Option<Reader>, StoreError> {
        let is_within = range.start() >= self.bytes.start() && range.end() <= self.bytes.end();
        if !is_within || range.is_empty() {
            return Ok(None);
        }
        let bytes = *range.start()..range.end() + 1;
        self.cas.0.store.reader(&self.xorb.storage_key(), bytes).await.map(Some)
    }
}

fn newest(keys: &[Key]) -> Result<Key, KeysError> {
    keys.first().copied().ok_or(KeysError::Corrupt)
}

fn signature(key: &[u8; 32], said: &str) -> blake3::Hash {
    blake3::keyed_hash(key, said.as_bytes())
}
