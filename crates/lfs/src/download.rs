//! Who may read which object, and its bytes where they pass through the hub.

use std::fs::File;
use std::io::Write;
use std::ops::Range;

use auth::transfer::{Grant, Operation};
use auth::{Authorized, Read};
use aws_lc_rs::digest::{Context, SHA256};
use database::{Backing, BackingId, Link, LinkState, Proof, Sha256, UserId, XetFileId};
use storage::StoreError;

use crate::counters::count;
use crate::publish::blocking;
use crate::wire::batch::is_empty_object;
use crate::{Body, Objects, OpenError};

/// An object that may be read.
#[derive(Clone)]
pub struct Object {
    objects: Objects,
    pub sha256: Sha256,
    pub size: u64,
    stored: Stored,
}

/// Where its bytes are.
#[derive(Clone)]
pub(crate) enum Stored {
    /// The empty object.
    Nowhere,
    Whole(String),
    Xet(InXorbs),
}

/// A file in xorbs that has no copy as one object.
#[derive(Clone, Copy)]
pub(crate) struct InXorbs {
    pub(crate) backing: BackingId,
    pub(crate) file: XetFileId,
    pub(crate) proof: Proof,
}

impl Stored {
    pub(crate) fn of(link: &Link) -> Stored {
        match (link.whole_key(), link.backing) {
            (Some(key), _) => Stored::Whole(key),
            (None, Some(Backing { id: backing, xet: Some(file), proof, .. })) => {
                Stored::Xet(InXorbs { backing, file, proof })
            }
            (None, _) => Stored::Nowhere,
        }
    }
}

impl Objects {
    /// Decides again, from the link as it is now: it may have been removed since the URL was handed out.
    pub async fn open(&self, access: &Authorized<Read>, grant: &Grant) -> Result<Object, OpenError> {
        let Grant { sha256, size, .. } = *grant;
        if grant.operation != Operation::Download || grant.repo != access.repo_id() {
            return Err(OpenError::Grant);
        }
        if is_empty_object(&sha256) {
            return Ok(self.object(sha256, 0, Stored::Nowhere));
        }
        let link = self.0.database.link(grant.repo, &sha256)?;
        let link = readable(link.as_ref(), access.actor())?;
        if link.size != size {
            return Err(OpenError::Grant);
        }
        Ok(self.object(sha256, size, Stored::of(link)))
    }
}

impl Objects {
    /// What a link that was just read is to. Whoever asks decides who may read it.
    pub fn linked(&self, link: &Link) -> Object {
        self.object(link.sha256, link.size, Stored::of(link))
    }

    pub(crate) fn object(&self, sha256: Sha256, size: u64, stored: Stored) -> Object {
        Object { objects: self.clone(), sha256, size, stored }
    }
}

impl Object {
    /// The bytes of `range`, which lies within the object. `None` if there are none.
    pub async fn reader(&self, range: Range<u64>) -> Result<Option<Body>, StoreError> {
        if range.is_empty() {
            return Ok(None);
        }
        let objects = &self.objects.0;
        let len = range.end - range.start;
        let body = match &self.stored {
            Stored::Nowhere => return Ok(None),
            Stored::Whole(key) => Body::Whole(objects.store.reader(key, range).await?),
            Stored::Xet(InXorbs { file, .. }) => {
                let stream = objects.xet.stream_file(*file, range).await.map_err(StoreError::from)?;
                Body::Xet(Box::new(stream))
            }
        };
        count(&objects.counters.bytes_out, len);
        if let Stored::Xet(of) = &self.stored {
            self.objects.note_read(*of, self.sha256, self.size, len);
        }
        Ok(Some(body))
    }

    /// Writes all its bytes into `file`, durably, and says what they are: of an object that is only possessed, or that a disk
    /// got wrong, something else than its name.
    pub async fn copy_to(&self, mut file: File) -> Result<Sha256, StoreError> {
        let mut hasher = Context::new(&SHA256);
        if let Some(mut body) = self.reader(0..self.size).await? {
            while let Some(piece) = body.next().await? {
                let written = blocking(move || {
                    hasher.update(&piece);
                    file.write_all(&piece).map(|()| (file, hasher))
                });
                (file, hasher) = written.await?;
            }
        }
        let digest = blocking(move || file.sync_all().map(|()| hasher.finish())).await?;
        Ok(Sha256(digest.as_ref().try_into().expect("because SHA-256 has 32 bytes")))
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
