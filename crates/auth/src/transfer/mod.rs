//! Transfer tokens: what stands behind `?token=` in the links that a batch answer hands out.
//!
//! Clients send such links bare (some send no header at all), so the token says everything: one operation on one object
//! of one repository, for whom and until when. It is a JWT signed by a key of this hub, and only a promise: what its
//! holder may still do is decided anew by [`redeem`], from the rows as they are then.

mod claims;
mod keys;
mod redeem;

use std::time::Duration;

use database::{RepoId, Sha256, TokenId, UploadId, UserId};

pub use keys::{KeysError, TransferKeys};
pub(crate) use redeem::GivenTo;
pub use redeem::redeem;

use crate::{Access, ReauthorizeError};

/// What a link is good for; a token of one is none of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// GET and HEAD of the object.
    Download,
    /// PUT of the whole object.
    Upload,
    /// PUT of one part.
    Part,
    /// The parts are all there.
    Complete,
    /// The object was put into the bucket.
    Verify,
}

/// Which part of a multipart upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// 1 to [`PART_NUMBER_MAX`].
    pub number: u32,
    /// Of every part but the last, in bytes: it says where this one begins.
    pub size: u64,
}

/// All that a link says. Names the repository by its id, so that it outlives a rename and never reaches another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub operation: Operation,
    pub repo: RepoId,
    pub sha256: Sha256,
    /// Of the whole object, in bytes.
    pub size: u64,
    /// `None` for downloads.
    pub upload: Option<UploadId>,
    /// Set for [`Operation::Part`].
    pub part: Option<Part>,
    /// The bucket's id of the multipart upload.
    pub multipart: Option<String>,
    /// The access token by which the link was asked for; `None` if nobody had to be known.
    pub token: Option<TokenId>,
    pub user: Option<UserId>,
    /// From here on the link begins nothing; what has begun goes on.
    pub expires_ms: i64,
}

/// The token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// It was good once. A client that asks for the object again gets a new link.
    #[error("this link has expired; run the command again to get a new one")]
    Expired,
    #[error("the token of this link is not valid")]
    Invalid,
}

/// Why a genuine token is worth nothing now: just what a change under way would be told.
pub type RedeemError = ReauthorizeError;

/// As S3 counts them.
pub const PART_NUMBER_MAX: u32 = 10_000;
/// Longer ones are not looked at.
pub const TOKEN_BYTES_MAX: usize = 4096;
/// No link begins anything later than this after it was handed out.
pub const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const LIFETIME_MIN: Duration = Duration::from_secs(60 * 60);
/// The slowest line that is waited for, in bytes per second.
const SLOWEST: u64 = 1024 * 1024;

/// How long a link to an object of `size` bytes may begin a transfer: a client takes one link after the other, so that
/// the last begins when those before it are done.
pub fn lifetime(size: u64) -> Duration {
    LIFETIME_MAX.min(LIFETIME_MIN + Duration::from_secs(size.div_ceil(SLOWEST)))
}

impl Operation {
    /// The right that it takes, and that its holder must still be granted.
    pub fn access(self) -> Access {
        match self {
            Operation::Download => Access::Read,
            Operation::Upload | Operation::Part | Operation::Complete | Operation::Verify => Access::Propose,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_grow_with_the_size_up_to_a_day() {
        const HOUR: u64 = 3600;
        const MIB: u64 = 1024 * 1024;
        for (size, seconds) in [
            (0, HOUR),
            (1, HOUR + 1),
            (MIB, HOUR + 1),
            (MIB + 1, HOUR + 2),
            (HOUR * MIB, 2 * HOUR),
            (23 * HOUR * MIB - 1, 24 * HOUR),
            (23 * HOUR * MIB + 1, 24 * HOUR),
            (u64::MAX, 24 * HOUR),
        ] {
            assert_eq!(lifetime(size), Duration::from_secs(seconds), "{size}");
        }
    }
}
