//! Organisations and their members.

use database::{Namespace, Org};

use super::{MemberLine, OperationError, OrgLine, OrgRole, Outcome};
use crate::Node;

type Result<T = Outcome> = std::result::Result<T, OperationError>;

/// See [`super::Operation::OrgCreate`].
pub(super) async fn create(node: &Node, name: Namespace, owner: &str) -> Result {
    node.writable()?;
    let user = user(node, owner)?;
    let text = name.to_string();
    let made = node.database.create_org(name, Some(user.id)).await;
    made.map_err(|error| OperationError::from_create(error, &text, owner))?;
    Ok(Outcome::Done(format!("organisation {text} created; {} administrates it", user.name)))
}

/// See [`super::Operation::OrgList`].
pub(super) fn list(node: &Node) -> Result {
    let line = |org: Org| OrgLine { name: org.name.to_string(), created_ms: org.created_ms };
    Ok(Outcome::Orgs(node.database.orgs()?.into_iter().map(line).collect()))
}

/// See [`super::Operation::OrgMembers`].
pub(super) fn members(node: &Node, org: &str) -> Result {
    let org = find(node, org)?;
    let members = node.database.members(org.id)?;
    let line =
        |member: database::Member| MemberLine { name: member.name.to_string(), role: member.role.into() };
    Ok(Outcome::Members(members.into_iter().map(line).collect()))
}

/// See [`super::Operation::OrgSetMember`].
pub(super) async fn set_member(node: &Node, org: &str, name: &str, role: Option<OrgRole>) -> Result {
    node.writable()?;
    let (org, user) = (find(node, org)?, user(node, name)?);
    let changed = node.database.set_member(org.id, user.id, role.map(Into::into)).await;
    if !changed.map_err(|error| OperationError::from_create(error, name, name))? {
        return Err(OperationError::LastAdmin { org: org.name.to_string(), user: user.name.to_string() });
    }
    let is = if role.is_some() { "is a member" } else { "is no member" };
    Ok(Outcome::Done(format!("{} {is} of {}", user.name, org.name)))
}

fn find(node: &Node, name: &str) -> Result<Org> {
    node.database.org(name)?.ok_or_else(|| OperationError::NoOrg(name.to_owned()))
}

fn user(node: &Node, name: &str) -> Result<database::User> {
    node.database.user(name)?.ok_or_else(|| OperationError::NoUser(name.to_owned()))
}

impl From<OrgRole> for database::OrgRole {
    fn from(role: OrgRole) -> database::OrgRole {
        match role {
            OrgRole::Read => database::OrgRole::Read,
            OrgRole::Contributor => database::OrgRole::Contributor,
            OrgRole::Write => database::OrgRole::Write,
            OrgRole::Admin => database::OrgRole::Admin,
        }
    }
}

impl From<database::OrgRole> for OrgRole {
    fn from(role: database::OrgRole) -> OrgRole {
        match role {
            database::OrgRole::Read => OrgRole::Read,
            database::OrgRole::Contributor => OrgRole::Contributor,
            database::OrgRole::Write => OrgRole::Write,
            database::OrgRole::Admin => OrgRole::Admin,
        }
    }
}
