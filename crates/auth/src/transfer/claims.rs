//! What a transfer token says, as JSON. The names are short, because a batch answer holds thousands of them.

use std::borrow::Cow;

use database::{RepoId, TokenId, UploadId, UserId};
use serde::{Deserialize, Serialize};

use super::{Grant, Operation, PART_NUMBER_MAX, Part, TransferError};

/// Longer ids of multipart uploads are not read; buckets are seen to use up to 300 bytes.
const MULTIPART_BYTES_MAX: usize = 2048;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims<'a> {
    /// The operation.
    o: Verb,
    /// The repository's id.
    r: i64,
    /// SHA-256 of the object.
    h: Cow<'a, str>,
    /// Its size.
    s: u64,
    /// The upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    u: Option<Cow<'a, str>>,
    /// The part: its number, the size of parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<(u32, u64)>,
    /// The bucket's multipart id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<Cow<'a, str>>,
    /// The access token's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<i64>,
    /// The user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<i64>,
    /// Expiry in milliseconds, which `exp` cannot say.
    x: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Get,
    Put,
    Part,
    Done,
    Check,
}

impl<'a> Claims<'a> {
    pub(super) fn of(grant: &'a Grant) -> Claims<'a> {
        Claims {
            o: match grant.operation {
                Operation::Download => Verb::Get,
                Operation::Upload => Verb::Put,
                Operation::Part => Verb::Part,
                Operation::Complete => Verb::Done,
                Operation::Verify => Verb::Check,
            },
            r: grant.repo.0,
            h: Cow::Owned(grant.sha256.to_string()),
            s: grant.size,
            u: grant.upload.map(|upload| Cow::Owned(upload.to_string())),
            p: grant.part.map(|part| (part.number, part.size)),
            m: grant.multipart.as_deref().map(Cow::Borrowed),
            t: grant.token.map(|token| token.0),
            a: grant.user.map(|user| user.0),
            x: grant.expires_ms,
        }
    }

    /// Not yet compared with the clock.
    pub(super) fn grant(self) -> Result<Grant, TransferError> {
        let operation = match self.o {
            Verb::Get => Operation::Download,
            Verb::Put => Operation::Upload,
            Verb::Part => Operation::Part,
            Verb::Done => Operation::Complete,
            Verb::Check => Operation::Verify,
        };
        let part = self.p.map(|(number, size)| Part { number, size });
        let part_is_sound = match part {
            Some(part) => (1..=PART_NUMBER_MAX).contains(&part.number) && part.size > 0,
            None => operation != Operation::Part,
        };
        let multipart = self.m.map(Cow::into_owned);
        if !part_is_sound || multipart.as_ref().is_some_and(|id| id.len() > MULTIPART_BYTES_MAX) {
            return Err(TransferError::Invalid);
        }
        let upload = match self.u {
            None => None,
            Some(id) => Some(id.parse::<UploadId>().map_err(|_| TransferError::Invalid)?),
        };
        Ok(Grant {
            operation,
            repo: RepoId(self.r),
            sha256: self.h.parse().map_err(|_| TransferError::Invalid)?,
            size: self.s,
            upload,
            part,
            multipart,
            token: self.t.map(TokenId),
            user: self.a.map(UserId),
            expires_ms: self.x,
        })
    }
}
