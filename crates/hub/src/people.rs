//! Users and organisations as the API shows them.

use auth::{Identity, Principal};
use database::{OrgRole, TokenRole};
use serde_json::{Value, json};

use crate::dates::iso;
use crate::{Hub, HubError};

impl Hub {
    /// Who the token belongs to.
    pub fn whoami(&self, principal: &Principal) -> Result<Value, HubError> {
        let user = &principal.user;
        let token = self.0.database.token_by_id(principal.token)?;
        let (name, created_ms) =
            token.map_or((String::new(), 0), |(token, _)| (token.name, token.created_ms));
        let orgs: Vec<Value> = principal
            .memberships
            .iter()
            .map(|membership| {
                let name = membership.org.as_str();
                json!({
                    "type": "org", "id": name, "name": name, "fullname": name, "isEnterprise": false,
                    "roleInOrg": role(membership.role), "avatarUrl": "",
                })
            })
            .collect();
        Ok(json!({
            "type": "user",
            "id": format!("{:024x}", user.id.0),
            "name": user.name.as_str(),
            "fullname": user.name.as_str(),
            "email": null,
            "emailVerified": false,
            "isPro": false,
            "canPay": false,
            "periodEnd": null,
            "avatarUrl": "",
            "orgs": orgs,
            "auth": { "type": "access_token", "accessToken": {
                "displayName": name,
                "role": match principal.role { TokenRole::Read => "read", TokenRole::Write => "write" },
                "createdAt": iso(created_ms),
            }},
        }))
    }

    /// With the organisations that whoever asks belongs to as well.
    pub fn user_overview(&self, identity: &Identity, name: &str) -> Result<Value, HubError> {
        self.may_look(identity)?;
        let user = self.0.database.user(name)?.filter(|user| !user.disabled);
        let user = user.ok_or_else(|| HubError::NotFound("User not found".to_owned()))?;
        let orgs: Vec<Value> = self
            .0
            .database
            .memberships(user.id)?
            .iter()
            .filter(|membership| belongs(identity, &membership.org.folded()))
            .map(|membership| json!({ "name": membership.org.as_str(), "fullname": membership.org.as_str(), "avatarUrl": "" }))
            .collect();
        let name = user.name.as_str();
        Ok(json!({
            "_id": format!("{:024x}", user.id.0), "user": name, "fullname": name, "avatarUrl": "", "isPro": false,
            "type": "user", "createdAt": iso(user.created_ms), "orgs": orgs,
        }))
    }

    pub fn org_overview(&self, identity: &Identity, name: &str) -> Result<Value, HubError> {
        self.may_look(identity)?;
        let org = self.org(name)?;
        let members = self.0.database.members(org.id)?.len();
        let name = org.name.as_str();
        Ok(json!({
            "_id": format!("{:024x}", org.id.0), "name": name, "fullname": name, "avatarUrl": "", "type": "org",
            "isEnterprise": false, "numUsers": members, "createdAt": iso(org.created_ms),
        }))
    }

    /// For those who belong to it: who else does is nobody else's business.
    pub fn org_members(&self, identity: &Identity, name: &str) -> Result<Value, HubError> {
        let org = self.org(name)?;
        if !belongs(identity, &org.name.folded()) {
            return Err(HubError::Forbidden("only members see who the members are".to_owned()));
        }
        let members = self.0.database.members(org.id)?;
        let member = |member: &database::Member| {
            json!({
                "_id": format!("{:024x}", member.user.0), "user": member.name.as_str(), "fullname": member.name.as_str(),
                "avatarUrl": "", "isPro": false, "type": "user", "role": role(member.role),
            })
        };
        Ok(members.iter().map(member).collect())
    }

    /// A closed hub tells strangers nothing.
    pub(crate) fn may_look(&self, identity: &Identity) -> Result<(), HubError> {
        match identity.principal().is_some() || self.0.settings.auth.anonymous_read {
            true => Ok(()),
            false => Err(auth::Denied::Unauthenticated.into()),
        }
    }

    fn org(&self, name: &str) -> Result<database::Org, HubError> {
        self.0.database.org(name)?.ok_or_else(|| HubError::NotFound("Organization not found".to_owned()))
    }
}

/// To an organisation of this folded name, or to those who see everything.
fn belongs(identity: &Identity, org: &str) -> bool {
    identity.principal().is_some_and(|principal| principal.user.admin || principal.role_in(org).is_some())
}

fn role(role: OrgRole) -> &'static str {
    match role {
        OrgRole::Read => "read",
        OrgRole::Contributor => "contributor",
        OrgRole::Write => "write",
        OrgRole::Admin => "admin",
    }
}
