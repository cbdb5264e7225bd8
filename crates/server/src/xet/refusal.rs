//! What goes wrong below, as clients of the CAS are told: they try again after 429 and 5xx, and give up after the rest.

use ::lfs::ShardError;
use ::xet::{
    AddressError, CommitError, DedupError, KeysError, ReadError, ReconstructError, ShardRefused, XorbRefused,
};
use auth::transfer::RedeemError;
use auth::{AuthError, Denied, ReauthorizeError};

use crate::error::{Error, PUSH_FORBIDDEN};

pub(super) fn revoked(error: RedeemError) -> Error {
    match error {
        RedeemError::RepoGone | RedeemError::Denied(Denied::NotFound) => Error::RepoNotFound,
        RedeemError::Credential(AuthError::Db(error)) | RedeemError::Db(error) => error.into(),
        RedeemError::Credential(error) => Error::Credential(error.to_string()),
        RedeemError::Denied(Denied::Unauthenticated) => Error::Unauthenticated,
        RedeemError::Denied(Denied::Forbidden | Denied::Gated { .. }) => Error::Forbidden(PUSH_FORBIDDEN),
    }
}

fn withdrawn(error: ReauthorizeError) -> Error {
    match error {
        ReauthorizeError::RepoGone => Error::RepoNotFound,
        ReauthorizeError::Db(error) => error.into(),
        _ => Error::Forbidden(PUSH_FORBIDDEN),
    }
}

impl From<KeysError> for Error {
    fn from(error: KeysError) -> Error {
        match error {
            KeysError::Db(error) => error.into(),
            other => Error::internal(other),
        }
    }
}

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Error {
        match error {
            AddressError::Keys(error) => error.into(),
            AddressError::Store(error) => error.into(),
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Error {
        match error {
            ReadError::Store(error) => crate::lfs::unreadable(error),
            ReadError::Db(error) => error.into(),
            other => Error::internal(other),
        }
    }
}

impl From<ReconstructError> for Error {
    fn from(error: ReconstructError) -> Error {
        match error {
            ReconstructError::NotFound => Error::Missing(error.to_string()),
            ReconstructError::Beyond { size } => Error::NoSuchRange { size },
            ReconstructError::Read(error) => error.into(),
            ReconstructError::Db(error) => error.into(),
        }
    }
}

impl From<DedupError> for Error {
    fn from(error: DedupError) -> Error {
        match error {
            DedupError::Keys(error) => error.into(),
            DedupError::Read(error) => error.into(),
            DedupError::Db(error) => error.into(),
        }
    }
}

impl From<XorbRefused> for Error {
    fn from(error: XorbRefused) -> Error {
        let text = error.to_string();
        match error {
            XorbRefused::Xorb(error) if error.is_too_large() => Error::TooMany(text),
            XorbRefused::Xorb(_) | XorbRefused::Size { .. } | XorbRefused::Footer { .. } => {
                Error::Malformed(text)
            }
            XorbRefused::Busy => Error::Busy("too many xorbs are being received"),
            XorbRefused::RepoGone => Error::RepoNotFound,
            XorbRefused::Denied(error) => withdrawn(error),
            XorbRefused::Store(error) => error.into(),
            XorbRefused::Db(error) => error.into(),
        }
    }
}

impl From<ShardError> for Error {
    fn from(error: ShardError) -> Error {
        let text = error.to_string();
        match error {
            ShardError::Refused(ShardRefused::Shard(error)) if error.is_too_large() => Error::TooMany(text),
            ShardError::Refused(ShardRefused::Busy) => Error::Busy("too many shards are being checked"),
            ShardError::Refused(ShardRefused::Read(error)) => error.into(),
            ShardError::Refused(ShardRefused::Db(error)) => error.into(),
            ShardError::Refused(_) | ShardError::OtherSha256 { .. } => Error::Malformed(text),
            ShardError::Commit(CommitError::RepoGone) => Error::RepoNotFound,
            ShardError::Commit(CommitError::Denied(error)) => withdrawn(error),
            ShardError::Commit(CommitError::XorbGone(_)) => Error::Malformed(text),
            // Clients try again after 507, and older ones show nothing but the status.
            ShardError::Commit(CommitError::OverQuota { .. }) => Error::TooMany(text),
            ShardError::Commit(CommitError::Db(error)) => error.into(),
            ShardError::Store(error) => error.into(),
            ShardError::Db(error) => error.into(),
        }
    }
}
