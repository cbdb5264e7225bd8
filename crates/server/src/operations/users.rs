//! Users and their tokens.

use auth::TokenSecret;
use database::{Namespace, TokenId, User};

use super::{OperationError, Outcome, Role, TokenIssued, TokenRef};
use crate::Node;

type Result<T = Outcome> = std::result::Result<T, OperationError>;

/// See [`super::Operation::UserCreate`].
pub(super) async fn create(node: &Node, name: Namespace, admin: bool) -> Result {
    node.writable()?;
    let text = name.to_string();
    node.database
        .create_user(name, admin)
        .await
        .map_err(|error| OperationError::from_create(error, &text, &text))?;
    Ok(Outcome::Done(format!("user {text} created")))
}

/// See [`super::Operation::UserList`].
pub(super) fn list(node: &Node) -> Result {
    Ok(Outcome::Users(node.database.users()?.into_iter().map(Into::into).collect()))
}

/// See [`super::Operation::UserSetDisabled`].
pub(super) async fn set_disabled(node: &Node, name: &str, disabled: bool) -> Result {
    let user = find(node, name)?;
    node.database.set_user_disabled(user.id, disabled).await?;
    let state = if disabled { "disabled" } else { "enabled" };
    Ok(Outcome::Done(format!("user {} {state}", user.name)))
}

/// See [`super::Operation::TokenCreate`].
pub(super) async fn create_token(
    node: &Node,
    user: &str,
    role: Role,
    name: String,
    import: Option<TokenSecret>,
) -> Result {
    node.writable()?;
    let user = find(node, user)?;
    let (id, secret) = match import {
        None => auth::issue(&node.database, user.id, name, role.into()).await?,
        Some(secret) => (auth::import(&node.database, user.id, name, role.into(), &secret).await?, secret),
    };
    Ok(Outcome::Token(TokenIssued { id: id.0, secret }))
}

/// See [`super::Operation::TokenList`].
pub(super) fn list_tokens(node: &Node, user: &str) -> Result {
    let user = find(node, user)?;
    Ok(Outcome::Tokens(node.database.tokens(user.id)?.into_iter().map(Into::into).collect()))
}

/// See [`super::Operation::TokenRevoke`].
pub(super) async fn revoke_token(node: &Node, token: TokenRef) -> Result {
    let id = match &token {
        TokenRef::Id(id) => TokenId(*id),
        TokenRef::Secret(secret) => {
            let found = node.database.token_by_hash(&secret.sha256())?;
            found.ok_or_else(|| OperationError::NoToken("like this".to_owned()))?.id
        }
    };
    if !node.database.revoke_token(id).await? {
        return Err(OperationError::NoToken(id.0.to_string()));
    }
    Ok(Outcome::Done(format!("token {} revoked", id.0)))
}

fn find(node: &Node, name: &str) -> Result<User> {
    node.database.user(name)?.ok_or_else(|| OperationError::NoUser(name.to_owned()))
}
