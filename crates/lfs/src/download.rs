//! Who may read which object, and its bytes where they pass through the hub.

use std::ops::Range;

use auth::transfer::{Grant, Operation};
use auth::{Authorized, Read};
use database::{Link, LinkState, Proof, Sha256, UserId};
use storage::{Reader, StoreError};

use crate::counters::count;
use crate::wire::batch::is_empty_object;
use crate::{Objects, OpenError};

/// An object that may be read.
#[derive(Clone)]
pub struct Object {
    objects: Objects,
    pub sha256: Sha256,
    pub size: u64,
    /// `None` for the empty object, of which nothing is stored.
    key: Option<String>,
}

impl Objects {
    /// Decides again, from the link as it is now: it may have been removed since the URL was handed out.
    pub async fn open(&self, access: &Authorized<Read>, grant: &Grant) -> Result<Object, OpenError> {
        let Grant { sha256, size, .. } = *grant;
        if grant.operation != Operation::Download || grant.repo != access.repo_id() {
            return Err(OpenError::Grant);
        }
        if is_empty_object(&sha256) {
            return Ok(Object { objects: self.clone(), sha256, size: 0, key: None });
        }
        let link = self.0.database.link(grant.repo, &sha256)?;
        let link = readable(link.as_ref(), access.actor())?;
        if link.size != size {
            return Err(OpenError::Grant);
        }
        Ok(Object { objects: self.clone(), sha256, size, key: link.storage_key() })
    }
}

impl Objects {
    pub(crate) fn object(&self, sha256: Sha256, size: u64, key: Option<String>) -> Object {
        Object { objects: self.clone(), sha256, size, key }
    }
}

impl Object {
    /// The bytes of `range`, which lies within the object. `None` if there are none.
    pub async fn reader(&self, range: Range<u64>) -> Result<Option<Reader>, StoreError> {
        let Some(key) = self.key.as_ref().filter(|_| !range.is_empty()) else { return Ok(None) };
        count(&self.objects.0.counters.bytes_out, range.end - range.start);
        self.objects.0.store.reader(key, range).await.map(Some)
    }
}

/// What is claimed is there for its uploader only: nobody else is given bytes that may be other ones.
pub(crate) fn readable(link: Option<&Link>, user: Option<UserId>) -> Result<&Link, OpenError> {
    let link = link.ok_or(OpenError::NotFound)?;
    match (link.state, &link.backing) {
        (LinkState::Removed, _) => Err(OpenError::Removed),
        (LinkState::Corrupt, _) => Err(OpenError::Corrupt),
        (LinkState::Live, None) => Err(OpenError::NotFound),
        (LinkState::Live, Some(backing)) if backing.proof == Proof::Claimed => {
            match user.is_some() && user == link.by {
                true => Ok(link),
                false => Err(OpenError::Unverified),
            }
        }
        (LinkState::Live, Some(_)) => Ok(link),
    }
}
