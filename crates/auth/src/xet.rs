//! Xet tokens: what a client of the Xet CAS is given for one repository or bucket, and shows with each call.
//!
//! Signed by the keys of transfer tokens and as little to be trusted alone: what its holder may still do is decided anew by
//! [`redeem`], from the rows as they are then.

use std::time::Duration;

use database::{Database, HolderId, TokenId, UserId};
use serde::{Deserialize, Serialize};

use crate::access::Denied;
use crate::subject::{Holder, Subject};
use crate::transfer::{GivenTo, RedeemError, TransferError, TransferKeys};
use crate::{Access, Authorized, Right, Settings};

/// Clients ask for another so long before it ends, and never in the middle of a call.
pub const REFRESHED_BEFORE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Read,
    Write,
}

impl Scope {
    /// The right that it takes, and that its holder must still be granted. To a bucket, who may propose may write.
    pub fn access(self) -> Access {
        match self {
            Scope::Read => Access::Read,
            Scope::Write => Access::Propose,
        }
    }
}

/// Names its subject by the id, so that it outlives a rename and never reaches another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XetGrant {
    pub holder: HolderId,
    pub scope: Scope,
    /// The access token by which it was asked for; `None` if nobody had to be known.
    pub token: Option<TokenId>,
    pub user: Option<UserId>,
    /// From here on it begins nothing; what has begun goes on.
    pub expires_ms: i64,
}

impl XetGrant {
    /// To whoever holds `access`, for `lifetime` from now.
    pub fn to<A: Right, S: Subject>(
        access: &Authorized<A, S>,
        scope: Scope,
        lifetime: Duration,
        now_ms: i64,
    ) -> XetGrant {
        XetGrant {
            holder: access.holder_id(),
            scope,
            token: access.token(),
            user: access.actor(),
            expires_ms: now_ms.saturating_add(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

/// No claims of a transfer token are these, and the reverse.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    xet: Scope,
    /// [`HolderId::code`].
    r: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<i64>,
    /// Expiry in milliseconds.
    x: i64,
}

impl TransferKeys {
    pub fn issue_xet(&self, grant: &XetGrant) -> String {
        let XetGrant { holder, scope, token, user, expires_ms } = *grant;
        let (t, a) = (token.map(|token| token.0), user.map(|user| user.0));
        self.sign(&Claims { xet: scope, r: holder.code(), t, a, x: expires_ms })
    }

    /// What the token grants, as [`TransferKeys::check`].
    pub fn check_xet(&self, token: &str, now_ms: i64) -> Result<XetGrant, TransferError> {
        let Claims { xet, r, t, a, x } = self.verified(token, now_ms)?;
        let (token, user) = (t.map(TokenId), a.map(UserId));
        match now_ms >= x {
            true => Err(TransferError::Expired),
            false => Ok(XetGrant { holder: HolderId::from_code(r), scope: xet, token, user, expires_ms: x }),
        }
    }
}

/// Decides anew, from the rows as they are; a right beyond the scope is refused.
pub fn redeem<A: Right>(
    settings: Settings,
    database: &Database,
    grant: &XetGrant,
) -> Result<Authorized<A, Holder>, RedeemError> {
    if A::ACCESS > grant.scope.access() {
        return Err(Denied::Forbidden.into());
    }
    let given = GivenTo { token: grant.token, user: grant.user };
    given.authorize(settings, database, Holder::read(database, grant.holder)?, grant.scope.access())
}
