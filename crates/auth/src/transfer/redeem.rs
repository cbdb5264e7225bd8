//! From a genuine token to the right it stands for, if that is still there.

use database::{Database, TokenId, UserId};

use super::{Grant, RedeemError};
use crate::access::{self, Denied};
use crate::subject::Subject;
use crate::{Access, AuthError, Authorized, Identity, Right, Settings, identity};

/// Decides anew, from the rows as they are: the access token may have been revoked, the user disabled, the repository
/// deleted or hidden since. Three row reads, inline. A right beyond what the operation takes is refused, so that a link
/// to read with can never be used to write; and so is a holder who would not be given the link now.
pub fn redeem<A: Right>(
    settings: Settings,
    database: &Database,
    grant: &Grant,
) -> Result<Authorized<A>, RedeemError> {
    if A::ACCESS > grant.operation.access() {
        return Err(Denied::Forbidden.into());
    }
    let given = GivenTo { token: grant.token, user: grant.user };
    given.authorize(settings, database, database.repo(grant.repo)?, grant.operation.access())
}

/// To whom a token was given out.
pub(crate) struct GivenTo {
    pub token: Option<TokenId>,
    pub user: Option<UserId>,
}

impl GivenTo {
    /// What they may do now to `subject`, whose row was just read. Refused if that is less than `least`.
    pub(crate) fn authorize<A: Right, S: Subject>(
        self,
        settings: Settings,
        database: &Database,
        subject: Option<S>,
        least: Access,
    ) -> Result<Authorized<A, S>, RedeemError> {
        let identity = match self.token {
            None => Identity::Anonymous,
            Some(token) => Identity::User(principal(database, token, self.user)?),
        };
        let subject = subject.filter(|subject| subject.facts().is_live).ok_or(RedeemError::RepoGone)?;
        let access = access::authorize_for(settings, &identity, subject)?;
        match access.granted() < least {
            true => Err(Denied::Forbidden.into()),
            false => Ok(access),
        }
    }
}

/// Whose token it is, if that is who was given the link.
fn principal(
    database: &Database,
    token: TokenId,
    user: Option<UserId>,
) -> Result<identity::Principal, RedeemError> {
    let (row, sha256) = database.token_by_id(token)?.ok_or(AuthError::Invalid)?;
    let principal = identity::principal(database, row, sha256)?;
    if user.is_some_and(|user| user != principal.user.id) {
        return Err(AuthError::Invalid.into());
    }
    Ok(principal)
}
