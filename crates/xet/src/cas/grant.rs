//! Xorbs that clients put into the bucket themselves.
//!
//! What lies where a client may write can be replaced at any moment by whoever has the address, so that is never what is
//! proven: the bucket copies it to a key that nobody was given, and the copy is read back. It becomes live as one that
//! passed through the hub does, or goes as litter of a staged one does.

use auth::{Authorized, Holder, Propose};
use database::fault::{self, Point};
use database::{UploadId, XorbGrant, xorb_draft_key};
use storage::{Bucket, SignedPut, StoreError};

use super::keys::millis;
use super::sweep::STAGED_MS;
use super::{Cas, ReceivedXorb, XorbRefused, detached};
use crate::xorb::XorbError;
use crate::{Hash, Index};

/// What a client is told that has a xorb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The repository has it.
    Here,
    At(Grant),
}

/// Where to put it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// By which the client says that it is there.
    pub id: UploadId,
    pub put: SignedPut,
}

impl Cas {
    /// `size` and `crc64` (NVME) are those of the chunks as they are stored. `None`: it has to pass through the hub.
    pub async fn grant_xorb(
        &self,
        access: &Authorized<Propose, Holder>,
        hash: Hash,
        size: u64,
        crc64: u64,
    ) -> Result<Option<Granted>, XorbRefused> {
        let Some(bucket) = self.0.store.bucket() else { return Ok(None) };
        let (can, config) = (bucket.capabilities(), &self.0.config);
        if !can.takes_drafts() {
            return Ok(None);
        }
        match size {
            0 => return Err(XorbError::Empty.into()),
            size if size > u64::from(config.xorb.serialized_bytes) => {
                return Err(XorbError::TooLarge { max: config.xorb.serialized_bytes }.into());
            }
            _ => {}
        }
        if self.has_brought(access, hash).await?.is_some() {
            return Ok(Some(Granted::Here));
        }
        let signer = bucket.signer().await?;
        let lifetime = config.address_lifetime.min(signer.lifetime_max());
        let expires_ms = self.0.database.clock().now_ms() + millis(lifetime);
        let grant = XorbGrant { holder: access.holder_id(), hash: hash.into(), size, expires_ms };
        let Some(id) = self.0.database.grant_xorb(grant, config.grants_max).await? else { return Ok(None) };
        fault::point(Point::XetXorbGranted);
        let crc64 = Some(crc64).filter(|_| can.signed_crc64);
        let put = signer.put_draft(&xorb_draft_key(id), size, crc64, lifetime);
        Ok(Some(Granted::At(Grant { id, put })))
    }

    /// The client says that a xorb is where it was told to put it. Runs to its end even if this is dropped. Told twice, it
    /// succeeds twice. `None`: there is no such grant (any more), or nothing lies there.
    pub async fn commit_grant(
        &self,
        access: Authorized<Propose, Holder>,
        hash: Hash,
        id: UploadId,
    ) -> Result<Option<ReceivedXorb>, XorbRefused> {
        let share = self.0.xorbs.take(access.actor(), 1).ok_or(XorbRefused::Busy)?;
        if let Some(known) = self.has_brought(&access, hash).await? {
            return Ok(Some(known));
        }
        let now_ms = self.0.database.clock().now_ms();
        let grant = self.0.database.xorb_grant(id)?.filter(|grant| {
            grant.holder == access.holder_id()
                && grant.hash == hash.into()
                && now_ms < grant.expires_ms.saturating_add(STAGED_MS)
        });
        let Some(grant) = grant else { return Ok(None) };
        let cas = self.clone();
        detached(async move {
            let _share = share;
            let Some(bucket) = cas.0.store.bucket() else { return Ok(None) };
            match cas.take_draft(bucket, &access, hash, id, grant.size).await {
                Ok(taken) => {
                    cas.forget_draft(id).await;
                    Ok(Some(taken))
                }
                Err(XorbRefused::Store(StoreError::NotFound)) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// The live xorb, if the repository brought it or has chunks of it: then its client proved before to have it. It is kept
    /// from now on for as long as clients remember.
    async fn has_brought(
        &self,
        access: &Authorized<Propose, Holder>,
        hash: Hash,
    ) -> Result<Option<ReceivedXorb>, XorbRefused> {
        let (database, holder) = (&self.0.database, access.holder_id());
        let Some(xorb) = database.xorb(&hash.into())? else { return Ok(None) };
        let is_its = database.has_xorb(holder, xorb.id)? && database.link_xorb(holder, xorb.id).await?;
        Ok(is_its.then_some(ReceivedXorb { xorb, was_inserted: false }))
    }

    async fn take_draft(
        &self,
        bucket: &Bucket,
        access: &Authorized<Propose, Holder>,
        hash: Hash,
        id: UploadId,
        granted: u64,
    ) -> Result<ReceivedXorb, XorbRefused> {
        let draft = xorb_draft_key(id);
        let stored = bucket.head(&draft).await?.ok_or(StoreError::NotFound)?.size;
        if stored != granted {
            return Err(XorbRefused::Size { stored, granted });
        }
        if let Some(xorb) = self.0.database.xorb(&hash.into())? {
            // Somebody else's: to know its name is not to have it.
            self.proven_at(&draft, stored, hash).await?;
            return self.brought_again(access, xorb).await;
        }
        let landing = self.landing(hash).await?;
        bucket.copy(&draft, &landing.key(), stored).await?;
        fault::point(Point::XetXorbCopied);
        let index = match self.proven_at(&landing.key(), stored, hash).await {
            // The bucket said that it is there.
            Err(XorbRefused::Store(StoreError::NotFound | StoreError::Truncated { .. })) => {
                return Err(StoreError::Unavailable("it does not have what it copied".into()).into());
            }
            proven => proven?,
        };
        self.put_index(&landing, &index).await?;
        self.record(access, landing, index).await
    }

    /// What lies under `key` is that xorb, and nothing besides.
    async fn proven_at(&self, key: &str, len: u64, hash: Hash) -> Result<Index, XorbRefused> {
        let index = self.read_stored(key, len, &hash).await??;
        match len - u64::from(index.serialized_len()) {
            0 => Ok(index),
            bytes => Err(XorbRefused::Footer { bytes }),
        }
    }

    /// It is stored where it belongs. If any of this fails, the sweep of grants does it.
    async fn forget_draft(&self, id: UploadId) {
        let deleted = self.0.store.delete(&xorb_draft_key(id), 0).await;
        if let Err(error) = deleted {
            tracing::info!(%id, %error, "a xorb that was copied is deleted later");
        }
        if let Err(error) = self.0.database.xorb_grant_taken(id).await {
            tracing::info!(%id, %error, "a grant counts as open until it expires");
        }
    }
}
