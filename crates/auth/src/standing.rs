//! What a user may do who is not asking: for what the hub does on their behalf.

use database::{Database, DbError, Repo, TokenId, TokenRole, UserId};

use crate::access::{Access, Bearer, Settings, granted};
use crate::identity::Principal;
use crate::subject::Subject;

/// The most that a token of `user` which reads could do to the repository, as its row says; `None` if they may not even
/// see it, are disabled or gone.
pub fn may_read_as(
    database: &Database,
    settings: Settings,
    user: UserId,
    repo: &Repo,
) -> Result<Option<Access>, DbError> {
    let Some(user) = database.user_by_id(user)?.filter(|user| !user.disabled) else { return Ok(None) };
    let (memberships, admissions) = (database.memberships(user.id)?, database.admissions(user.id)?);
    // No token is meant, and none is looked for.
    let (token, role, token_sha256) = (TokenId(0), TokenRole::Read, [0; 32]);
    let bearer = Bearer::User(Principal { user, token, role, memberships, admissions, token_sha256 });
    Ok(granted(settings, &bearer, repo.facts()))
}
