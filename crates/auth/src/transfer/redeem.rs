//! From a genuine token to the right it stands for, if that is still there.

use database::{Database, RepoState, TokenId, UserId};

use super::{Grant, RedeemError};
use crate::access::{self, Denied};
use crate::{AuthError, Authorized, Identity, Right, Settings, identity};

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
    let identity = match grant.token {
        None => Identity::Anonymous,
        Some(token) => Identity::User(principal(database, token, grant.user)?),
    };
    let repo = database.repo(grant.repo)?;
    let repo = repo.filter(|repo| repo.state == RepoState::Live).ok_or(RedeemError::RepoGone)?;
    let access = access::authorize(settings, &identity, repo)?;
    if access.granted() < grant.operation.least() {
        return Err(Denied::Forbidden.into());
    }
    Ok(access)
}

/// Whose token it is, if that is who was given the link.
pub(crate) fn principal(
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
