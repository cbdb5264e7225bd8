//! From a genuine token to the right it stands for, if that is still there.

use database::{Database, RepoId, RepoState, TokenId, UserId};

use super::{Grant, RedeemError};
use crate::access::{self, Denied};
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
    let holder = Holder { token: grant.token, user: grant.user, repo: grant.repo };
    holder.authorize(settings, database, grant.operation.access())
}

/// To whom a token was given out, and for which repository.
pub(crate) struct Holder {
    pub token: Option<TokenId>,
    pub user: Option<UserId>,
    pub repo: RepoId,
}

impl Holder {
    /// What they may do there now. Refused if that is less than `least`.
    pub(crate) fn authorize<A: Right>(
        self,
        settings: Settings,
        database: &Database,
        least: Access,
    ) -> Result<Authorized<A>, RedeemError> {
        let identity = match self.token {
            None => Identity::Anonymous,
            Some(token) => Identity::User(principal(database, token, self.user)?),
        };
        let repo = database.repo(self.repo)?;
        let repo = repo.filter(|repo| repo.state == RepoState::Live).ok_or(RedeemError::RepoGone)?;
        let access = access::authorize(settings, &identity, repo)?;
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
