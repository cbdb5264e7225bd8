//! Our types as column values. The codes are for ever; a value that is none of them is corruption.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::{
    AccessRequestId, AccessStatus, BackingId, BlobState, BucketId, CollectionId, CollectionItemId,
    DeliveryId, DeliveryState, DiscussionStatus, EventKind, EventSort, Gating, HolderId, LinkState, LockId,
    Oid, OrgId, OrgRole, PackId, PackKind, Proof, RepoId, RepoKind, RepoState, Sha256, TokenId, TokenRole,
    UploadId, UserId, Visibility, WebhookDomains, WebhookEventId, WebhookId, WebhookState, XetFileId,
    XetHash, XorbId,
};

macro_rules! ids {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.0))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                i64::column_result(value).map($name)
            }
        }
    )*};
}

ids!(
    UserId,
    TokenId,
    RepoId,
    BucketId,
    BackingId,
    OrgId,
    XorbId,
    XetFileId,
    AccessRequestId,
    CollectionId,
    CollectionItemId,
    WebhookId,
    WebhookEventId
);

macro_rules! codes {
    ($($name:ident { $($variant:ident = $code:literal),* })*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(match self { $($name::$variant => $code,)* }))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match i64::column_result(value)? {
                    $($code => Ok($name::$variant),)*
                    other => Err(FromSqlError::OutOfRange(other)),
                }
            }
        }
    )*};
}

codes! {
    RepoKind { Model = 0, Dataset = 1, Space = 2 }
    Visibility { Public = 0, Private = 1 }
    RepoState { Live = 0, Deleted = 1 }
    TokenRole { Read = 0, Write = 1 }
    PackKind { Api = 0, Receive = 1, Compact = 2, Gc = 3 }
    BlobState { Staged = 0, Live = 1, Condemned = 2, Deleted = 3 }
    Proof { Claimed = 0, Possessed = 1, Verified = 2 }
    OrgRole { Read = 0, Contributor = 1, Write = 2, Admin = 3 }
    Gating { Off = 0, Auto = 1, Manual = 2 }
    AccessStatus { Pending = 0, Accepted = 1, Rejected = 2 }
    LinkState { Live = 0, Removed = 1, Corrupt = 2 }
    DiscussionStatus { Draft = 0, Open = 1, Closed = 2, Merged = 3 }
    EventKind { Comment = 0, Status = 1, Title = 2, Commit = 3 }
    WebhookState { Enabled = 0, Disabled = 1, Suspended = 2 }
    EventSort {
        Created = 0, Deleted = 1, Moved = 2, Content = 3, Config = 4, DiscussionOpened = 5, DiscussionChanged = 6,
        Commented = 7, CommentChanged = 8
    }
    DeliveryState { Waiting = 0, Delivered = 1, GivenUp = 2, Gone = 3, Dropped = 4 }
}

/// One bit for each.
impl ToSql for WebhookDomains {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(i64::from(self.repo) + 2 * i64::from(self.discussion)))
    }
}

impl FromSql for WebhookDomains {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match i64::column_result(value)? {
            bits @ 1..=3 => Ok(WebhookDomains { repo: bits & 1 != 0, discussion: bits & 2 != 0 }),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

impl ToSql for HolderId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.code()))
    }
}

impl FromSql for HolderId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(HolderId::from_code)
    }
}

impl ToSql for Oid {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(&self.0[..]))
    }
}

impl FromSql for Oid {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Oid::from_slice(value.as_blob()?).map_err(FromSqlError::other)
    }
}

impl ToSql for Sha256 {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(&self.0[..]))
    }
}

impl FromSql for Sha256 {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Sha256::from_slice(value.as_blob()?).map_err(FromSqlError::other)
    }
}

impl ToSql for XetHash {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(&self.0[..]))
    }
}

impl FromSql for XetHash {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 32]>::column_result(value).map(XetHash)
    }
}

macro_rules! ulids {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.0.to_bytes().to_vec()))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                <[u8; 16]>::column_result(value).map(|bytes| $name(ulid::Ulid::from_bytes(bytes)))
            }
        }
    )*};
}

ulids!(PackId, UploadId, LockId, DeliveryId);
