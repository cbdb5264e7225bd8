//! What goes wrong below, as what a client of Git LFS is told. The texts are those of the crates that know why.

use ::lfs::wire::batch::{ErrorCode, Malformed as MalformedBatch};
use ::lfs::wire::{locks, transfer as wire};
use ::lfs::{BatchError, OpenError, ReceiveError};
use auth::transfer::{RedeemError, TransferError};
use auth::{AuthError, Denied};
use database::LockError;
use storage::StoreError;

use crate::error::Error;

/// Passes once one of them has ended.
const BUSY: &str = "too many uploads are under way";

/// The right behind a link is gone. Not 401: the link has its own credential, and git-lfs would ask for another one
/// and send it in vain.
pub(super) fn revoked(error: RedeemError) -> Error {
    match error {
        RedeemError::RepoGone | RedeemError::Denied(Denied::NotFound | Denied::Unauthenticated) => {
            Error::RepoNotFound
        }
        RedeemError::Credential(AuthError::Db(error)) | RedeemError::Db(error) => error.into(),
        RedeemError::Credential(_) | RedeemError::Denied(Denied::Forbidden | Denied::Gated { .. }) => {
            Error::LinkRefused("the right by which this link was handed out is gone".to_owned())
        }
    }
}

/// A row says that the bytes are there.
pub(crate) fn unreadable(error: StoreError) -> Error {
    match error {
        StoreError::Unavailable(_) | StoreError::Refused(_) => Error::StoreDown(error),
        error => Error::internal(error),
    }
}

impl From<TransferError> for Error {
    fn from(error: TransferError) -> Error {
        Error::LinkRefused(error.to_string())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        match error {
            StoreError::Full => Error::DiskFull(error.to_string()),
            StoreError::TooLong { .. } => Error::Unprocessable(error.to_string()),
            error => unreadable(error),
        }
    }
}

impl From<MalformedBatch> for Error {
    fn from(malformed: MalformedBatch) -> Error {
        let why = malformed.to_string();
        match malformed.code() {
            ErrorCode::TooLarge => Error::TooMany(why),
            _ => Error::Unprocessable(why),
        }
    }
}

impl From<locks::Malformed> for Error {
    fn from(malformed: locks::Malformed) -> Error {
        match malformed {
            locks::Malformed::TooLarge { .. } => Error::TooMany(malformed.to_string()),
            malformed => Error::Unprocessable(malformed.to_string()),
        }
    }
}

impl From<wire::Malformed> for Error {
    fn from(malformed: wire::Malformed) -> Error {
        let why = malformed.to_string();
        if malformed.is_too_large() { Error::TooMany(why) } else { Error::Unprocessable(why) }
    }
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Error {
        match error {
            BatchError::RepoGone => Error::RepoNotFound,
            BatchError::Busy => Error::Busy(BUSY),
            BatchError::Store(error) => error.into(),
            BatchError::Db(error) => error.into(),
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Error {
        match error {
            OpenError::Grant => Error::LinkRefused(error.to_string()),
            OpenError::NotFound | OpenError::Corrupt | OpenError::Unverified => {
                Error::Missing(error.to_string())
            }
            OpenError::Removed => Error::Gone(error.to_string()),
            OpenError::Store(error) => unreadable(error),
            OpenError::Db(error) => error.into(),
        }
    }
}

impl From<ReceiveError> for Error {
    fn from(error: ReceiveError) -> Error {
        match error {
            // git-lfs asks for another link then.
            ReceiveError::Grant | ReceiveError::Closed => Error::LinkRefused(error.to_string()),
            ReceiveError::RepoGone => Error::RepoNotFound,
            ReceiveError::Denied(error) => revoked(error),
            ReceiveError::Busy => Error::Busy(BUSY),
            ReceiveError::TooLong { .. }
            | ReceiveError::TooShort { .. }
            | ReceiveError::WrongBytes { .. }
            | ReceiveError::Corrupt { .. }
            | ReceiveError::WrongSize { .. }
            | ReceiveError::OtherObject { .. }
            | ReceiveError::Parts(_) => Error::Unprocessable(error.to_string()),
            ReceiveError::OverQuota { .. } => Error::DiskFull(error.to_string()),
            ReceiveError::NotUploaded { .. } => Error::Missing(error.to_string()),
            ReceiveError::PartsForgotten { .. } => Error::Gone(error.to_string()),
            ReceiveError::Store(error) => error.into(),
            ReceiveError::Db(error) => error.into(),
        }
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Error {
        match error {
            LockError::Exists(lock) => {
                Error::Conflict(format!("{} is already locked by {}", lock.path, lock.owner_name))
            }
            LockError::NotOwner(_) => Error::Forbidden(
                "the lock is somebody else's; an administrator of the repository can break it: git lfs unlock --force",
            ),
            LockError::NotFound => Error::Missing(error.to_string()),
            LockError::RepoGone => Error::RepoNotFound,
            LockError::TooMany { .. } => Error::Conflict(error.to_string()),
            LockError::Db(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn links_are_refused_without_asking_for_credentials() {
        for (error, status) in [
            (RedeemError::RepoGone, StatusCode::NOT_FOUND),
            (Denied::NotFound.into(), StatusCode::NOT_FOUND),
            (Denied::Unauthenticated.into(), StatusCode::NOT_FOUND),
            (Denied::Forbidden.into(), StatusCode::FORBIDDEN),
            (AuthError::Invalid.into(), StatusCode::FORBIDDEN),
            (database::DbError::Closed.into(), StatusCode::SERVICE_UNAVAILABLE),
        ] {
            let text = format!("{error:?}");
            assert_eq!(revoked(error).status(), status, "{text}");
        }
        for error in [TransferError::Expired, TransferError::Invalid] {
            assert_eq!(Error::from(error).status(), StatusCode::FORBIDDEN);
        }
    }

    #[test]
    fn stores_that_fail_and_stores_that_lie_are_told_apart() {
        let down = StoreError::Unavailable("connection refused".into());
        for (error, status) in [
            (down, StatusCode::SERVICE_UNAVAILABLE),
            (StoreError::Refused("AccessDenied".to_owned()), StatusCode::SERVICE_UNAVAILABLE),
            (StoreError::Full, StatusCode::INSUFFICIENT_STORAGE),
            (StoreError::NotFound, StatusCode::INTERNAL_SERVER_ERROR),
            (StoreError::Truncated { missing: 1 }, StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            let text = format!("{error:?}");
            assert_eq!(Error::from(error).status(), status, "{text}");
        }
    }

    #[test]
    fn requests_that_make_no_sense_have_the_status_of_the_documentation() {
        for (malformed, status) in [
            (MalformedBatch::TooMany { max: 1 }, StatusCode::PAYLOAD_TOO_LARGE),
            (MalformedBatch::NoObjects, StatusCode::UNPROCESSABLE_ENTITY),
        ] {
            assert_eq!(Error::from(malformed).status(), status);
        }
    }
}
