//! From a credential to the user behind it.

use std::sync::Arc;

use database::{Database, DbError, Membership, OrgRole, RepoId, Token, TokenId, TokenRole, User};

use crate::Credential;

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Anonymous,
    User(Principal),
}

/// A user, known by one of their tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub user: User,
    pub token: TokenId,
    /// What the token may do at most.
    pub role: TokenRole,
    /// The organisations that the user belongs to.
    pub memberships: Arc<[Membership]>,
    /// The gated repositories that the user was let into, in order.
    pub admissions: Arc<[RepoId]>,
    /// By which the token is found again, should it be revoked before the request ends.
    pub(crate) token_sha256: [u8; 32],
}

/// A credential that was presented and does not count. 401 everywhere, also where an anonymous client would be served:
/// a client with a wrong token is told so, rather than shown less than it expects.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("the token is not valid")]
    Invalid,
    #[error("the user is disabled")]
    Disabled,
    #[error("the token was revoked")]
    Revoked,
    #[error(transparent)]
    Db(#[from] DbError),
}

/// One hash and two row reads at most, inline.
pub fn identify(database: &Database, credential: &Credential) -> Result<Identity, AuthError> {
    match credential {
        Credential::Anonymous => Ok(Identity::Anonymous),
        Credential::Token(secret) => by_token(database, &secret.sha256()).map(Identity::User),
    }
}

pub(crate) fn by_token(database: &Database, sha256: &[u8; 32]) -> Result<Principal, AuthError> {
    let token = database.token_by_hash(sha256)?.ok_or(AuthError::Invalid)?;
    principal(database, token, *sha256)
}

/// `sha256` is the hash by which `token` is found.
pub(crate) fn principal(database: &Database, token: Token, sha256: [u8; 32]) -> Result<Principal, AuthError> {
    if token.revoked {
        return Err(AuthError::Revoked);
    }
    if token.user.disabled {
        return Err(AuthError::Disabled);
    }
    let memberships = database.memberships(token.user.id)?;
    let admissions = database.admissions(token.user.id)?;
    let Token { id, user, role, .. } = token;
    Ok(Principal { user, token: id, role, memberships, admissions, token_sha256: sha256 })
}

impl Principal {
    /// As a member of the organisation of this folded name.
    pub fn role_in(&self, folded: &str) -> Option<OrgRole> {
        let named = |membership: &&Membership| membership.org.folded() == folded;
        self.memberships.iter().find(named).map(|membership| membership.role)
    }

    /// The owner of this gated repository, or a rule of theirs, let the user in.
    pub fn is_admitted(&self, repo: RepoId) -> bool {
        self.admissions.binary_search(&repo).is_ok()
    }
}

impl Identity {
    /// The name for logs; `None` for anonymous clients.
    pub fn name(&self) -> Option<&str> {
        self.principal().map(|principal| principal.user.name.as_str())
    }

    pub fn principal(&self) -> Option<&Principal> {
        match self {
            Identity::Anonymous => None,
            Identity::User(principal) => Some(principal),
        }
    }
}
