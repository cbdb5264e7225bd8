//! Large objects as plain data: what an upload may bring, what is stored, which repo may read it; and locks.
//!
//! A *backing* is bytes under a storage key. A *link* lets one repo use them as the object of that SHA-256. Who may
//! read an object is asked of links alone: knowing a SHA-256 gives nothing.

use std::{fmt, str::FromStr};

use crate::{RepoId, Sha256, UserId, XetFileId};

macro_rules! ulids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub ulid::Ulid);

        impl $name {
            #[expect(clippy::new_without_default, reason = "each is another, so none is a default")]
            pub fn new() -> $name {
                $name(ulid::Ulid::new())
            }
        }

        /// 26 digits and lower-case letters.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; ulid::ULID_LEN];
                let text = self.0.array_to_str(&mut buffer);
                text.make_ascii_lowercase();
                f.write_str(text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let id = ulid::Ulid::from_string(text).map($name).map_err(|_| InvalidId)?;
                // One text per id: what is compared as text somewhere must not have twins.
                if id.to_string() == text { Ok(id) } else { Err(InvalidId) }
            }
        }
    )*};
}

ulids! {
    /// Names what one batch may upload, for ever; the last part of the storage keys of what it brings.
    UploadId;
    /// Names a lock. Of one repo, a later one sorts behind every earlier one.
    LockId;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of 26 digits and lower-case letters")]
pub struct InvalidId;

/// Names a backing. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackingId(pub i64);

/// `objects/<first two digits>/<sha256>/<upload>`: where an upload puts an object.
pub fn object_key(sha256: &Sha256, upload: UploadId) -> String {
    let hex = sha256.to_string();
    format!("objects/{}/{hex}/{upload}", &hex[..2])
}

/// How sure it is that a backing is the object it is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// Somebody says so.
    Claimed,
    /// All bytes are there and were checked by other hashes than SHA-256.
    Possessed,
    /// The SHA-256 was computed by us, or enforced by the S3 server.
    Verified,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    Live,
    /// By its owner, for good.
    Removed,
    /// Its bytes turned out not to be what they were said to be.
    Corrupt,
}

/// A repo's right to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub sha256: Sha256,
    /// In bytes.
    pub size: u64,
    pub state: LinkState,
    /// When its bytes were last uploaded here.
    pub linked_ms: i64,
    pub by: Option<UserId>,
    /// `None` iff the state is not `Live`.
    pub backing: Option<Backing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backing {
    pub id: BackingId,
    pub upload: UploadId,
    pub proof: Proof,
    /// The file in xorbs that it is. `None`: bytes under the key of its upload.
    pub xet: Option<XetFileId>,
    /// Of a file in xorbs, what ends the key of all its bytes, if they are stored so as well.
    pub whole: Option<UploadId>,
}

impl Link {
    /// Of an object that is stored whole.
    pub fn storage_key(&self) -> Option<String> {
        let whole = self.backing.filter(|backing| backing.xet.is_none());
        whole.map(|backing| object_key(&self.sha256, backing.upload))
    }

    /// Of all its bytes: of an object that is stored whole, or was copied so.
    pub fn whole_key(&self) -> Option<String> {
        let copy = self.backing.and_then(|backing| backing.whole);
        copy.map(|upload| object_key(&self.sha256, upload)).or_else(|| self.storage_key())
    }

    /// Of an object that is stored in xorbs.
    pub fn xet(&self) -> Option<XetFileId> {
        self.backing.and_then(|backing| backing.xet)
    }

    /// A ref may point at it.
    pub fn is_usable(&self) -> bool {
        self.state == LinkState::Live && self.backing.is_some_and(|backing| backing.proof >= Proof::Possessed)
    }
}

/// What a batch wants to upload; an object that is named twice counts once.
#[derive(Clone, Debug)]
pub struct NewUpload {
    pub id: UploadId,
    pub repo: RepoId,
    pub by: Option<UserId>,
    pub objects: Vec<(Sha256, u64)>,
    pub expires_ms: i64,
    pub quota: Quota,
}

/// What an upload counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Nothing: whoever brings it is above that.
    Exempt,
    /// What is set for the namespace, or, if nothing is, this many bytes; `None`: then there is no limit.
    Default(Option<u64>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Per object of [`NewUpload`], in order: it fits into the quota.
    pub admitted: Vec<bool>,
    /// Of the namespace before this upload, with what others have reserved. 0 if there is no quota.
    pub used: u64,
    /// What it was compared with.
    pub quota: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    pub id: UploadId,
    pub repo: RepoId,
    pub by: Option<UserId>,
    pub expires_ms: i64,
    pub objects: Vec<(Sha256, u64)>,
}

/// An object that an open upload is to bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    pub upload: UploadId,
    /// Whose upload it is.
    pub by: Option<UserId>,
    pub sha256: Sha256,
    pub size: u64,
}

/// The bytes under the upload's key are durable, and as certain as `proof` says.
#[derive(Clone, Copy, Debug)]
pub struct Publish {
    pub upload: UploadId,
    pub repo: RepoId,
    pub sha256: Sha256,
    pub size: u64,
    pub proof: Proof,
    pub by: Option<UserId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// A link of the repo names this key, now or since it was told before.
    Linked(BackingId),
    /// The repo has the object by another key, and no row but the upload's ever named this one: it is litter, which may
    /// be deleted now and is deleted when the upload is swept.
    Duplicate,
}

/// A backing whose SHA-256 is still to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub backing: BackingId,
    /// The one repo that may read it meanwhile.
    pub repo: RepoId,
    pub sha256: Sha256,
    pub size: u64,
    pub upload: UploadId,
    pub by: Option<UserId>,
}

/// What a namespace takes, in bytes: each object counts in each repo that links it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub used: u64,
    /// By uploads under way, of those that began under a quota.
    pub reserved: u64,
    /// If one is set for it.
    pub quota: Option<u64>,
}

/// A file lock of Git LFS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub id: LockId,
    pub path: String,
    pub owner: UserId,
    pub owner_name: String,
    pub ref_name: Option<String>,
    pub locked_ms: i64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct LockFilter<'a> {
    pub id: Option<LockId>,
    pub path: Option<&'a str>,
    /// Exclusive; locks come in the order of their ids.
    pub after: Option<LockId>,
    pub limit: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_text() {
        let id = LockId::new();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert!(text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()), "{text}");
        for wrong in [text.to_uppercase().as_str(), &text[1..], "", "01jd0000000000000000000o0l"] {
            assert_eq!(wrong.parse::<LockId>(), Err(InvalidId), "{wrong}");
        }
    }

    #[test]
    fn keys_spread_by_content() {
        let upload: UploadId = "01jd00000000000000000000ab".parse().unwrap();
        assert_eq!(
            object_key(&Sha256::EMPTY, upload),
            format!("objects/e3/{}/01jd00000000000000000000ab", Sha256::EMPTY)
        );
    }
}
