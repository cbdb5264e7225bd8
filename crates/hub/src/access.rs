//! Requests for access to gated repositories. Who is let in is a row that `auth` reads; here it is asked for and decided.

use auth::{Admin, Authorized, Discover, Identity};
use database::{AccessRequest, AccessRequestId, AccessStatus, Asked, Decide, Decided, Request, User};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::dates::iso;
use crate::listing::Page;
use crate::{Hub, HubError, gated_fields};

/// What somebody fills in, as JSON.
pub const FIELDS_BYTES_MAX: usize = 16 << 10;
const REASON_CHARS_MAX: usize = 1000;
const PAGE: u32 = 500;
/// Requests decided at once.
const BATCH_MAX: usize = 1000;
/// A report has all of them, so far.
const REPORTED_MAX: usize = 100_000;

/// The owner's word on a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    #[serde(flatten)]
    pub of: Of,
    pub status: String,
    pub rejection_reason: Option<String>,
}

/// Many of them: a list, or an object with one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Decisions {
    List(Vec<Decision>),
    Named { requests: Vec<Decision> },
}

/// Whose request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Of {
    pub user: Option<String>,
    pub user_id: Option<String>,
    pub request_id: Option<String>,
}

impl Decision {
    /// The new status, and why if it is a rejection.
    fn verdict(&self) -> Result<(AccessStatus, Option<String>), HubError> {
        let status = status_named(&self.status).ok_or_else(|| {
            HubError::Invalid("status is \"pending\", \"accepted\" or \"rejected\"".to_owned())
        })?;
        let reason = self.rejection_reason.clone().filter(|reason| !reason.is_empty());
        if reason.is_some() && status != AccessStatus::Rejected {
            return Err(HubError::Invalid("a rejectionReason is for those that are rejected".to_owned()));
        }
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
            let text = format!("a rejectionReason has {REASON_CHARS_MAX} characters at most");
            return Err(HubError::Invalid(text));
        }
        Ok((status, reason))
    }
}

impl Decisions {
    fn each(self) -> Vec<Decision> {
        match self {
            Decisions::List(requests) | Decisions::Named { requests } => requests,
        }
    }
}

impl Of {
    /// As it was asked for, and what became of it.
    fn told(&self, error: Option<HubError>) -> Value {
        let mut told = json!({ "success": error.is_none() });
        for (name, value) in
            [("user", &self.user), ("userId", &self.user_id), ("requestId", &self.request_id)]
        {
            if let Some(value) = value {
                told[name] = value.as_str().into();
            }
        }
        if let Some(error) = error {
            told["error"] = error.to_string().into();
        }
        told
    }
}

pub fn status_named(name: &str) -> Option<AccessStatus> {
    match name {
        "pending" => Some(AccessStatus::Pending),
        "accepted" => Some(AccessStatus::Accepted),
        "rejected" => Some(AccessStatus::Rejected),
        _ => None,
    }
}

pub fn status_name(status: AccessStatus) -> &'static str {
    match status {
        AccessStatus::Pending => "pending",
        AccessStatus::Accepted => "accepted",
        AccessStatus::Rejected => "rejected",
    }
}

impl Hub {
    /// Returns where the request stands, also if it was made before. A new one has to have what the card asks for.
    pub async fn ask_for_access(
        &self,
        identity: &Identity,
        access: &Authorized<Discover>,
        given: Map<String, Value>,
    ) -> Result<AccessStatus, HubError> {
        let principal = identity.principal().ok_or(auth::Denied::Unauthenticated)?;
        let fields = Value::Object(given.clone()).to_string();
        if fields.len() > FIELDS_BYTES_MAX {
            return Err(HubError::TooLarge(format!(
                "a request has {FIELDS_BYTES_MAX} bytes of answers at most"
            )));
        }
        if access.granted() >= auth::Access::Read {
            return Err(HubError::Conflict("you may read this repository already".to_owned()));
        }
        if self.0.database.access_status(access.repo_id(), principal.user.id)?.is_none() {
            self.check_fields(access, &given).await?;
        }
        match self.0.database.ask_for_access(access.repo_id(), principal.user.id, fields).await? {
            Asked::Now(status) | Asked::Already(status) => Ok(status),
            Asked::Open => Err(HubError::Invalid("this repository is not gated".to_owned())),
            Asked::TooMany => Err(HubError::Forbidden(format!(
                "you asked for access to {} repositories, which is all that one user may",
                database::ACCESS_REQUESTS_MAX
            ))),
        }
    }

    /// Against `extra_gated_fields` of the card on the default branch.
    async fn check_fields(
        &self,
        access: &Authorized<Discover>,
        given: &Map<String, Value>,
    ) -> Result<(), HubError> {
        let Some(head) = self.head(access).await? else { return Ok(()) };
        let known = self.known(&head).await?;
        let card = known.facts.card_data.as_ref();
        let declared = card.and_then(|card| card.get("extra_gated_fields")).and_then(Value::as_object);
        declared.map_or(Ok(()), |declared| gated_fields::check(declared, given)).map_err(HubError::Invalid)
    }

    /// One's own, while it waits.
    pub async fn withdraw_request(
        &self,
        identity: &Identity,
        access: &Authorized<Discover>,
    ) -> Result<(), HubError> {
        let principal = identity.principal().ok_or(auth::Denied::Unauthenticated)?;
        match self.0.database.withdraw_request(access.repo_id(), principal.user.id).await? {
            true => Ok(()),
            false => Err(HubError::NotFound("you have no request for access that waits".to_owned())),
        }
    }

    pub fn access_requests(
        &self,
        access: &Authorized<Admin>,
        status: AccessStatus,
        cursor: Option<&str>,
    ) -> Result<Page, HubError> {
        let before = cursor.map(|cursor| parse_id(cursor, "this cursor is not one of ours")).transpose()?;
        let rows = self.0.database.access_requests(access.repo_id(), status, before, PAGE)?;
        let more = rows.last().filter(|_| rows.len() == PAGE as usize);
        let cursor = more.map(|last| format!("{:024x}", last.id.0));
        Ok(Page { items: rows.iter().map(request).collect(), cursor })
    }

    /// All of them, whatever became of each.
    pub fn access_report(&self, access: &Authorized<Admin>) -> Result<Vec<Value>, HubError> {
        let mut report = Vec::new();
        for status in [AccessStatus::Accepted, AccessStatus::Pending, AccessStatus::Rejected] {
            let mut before = None;
            loop {
                let rows = self.0.database.access_requests(access.repo_id(), status, before, PAGE)?;
                report.extend(rows.iter().map(request));
                let Some(last) = rows.last() else { break };
                if report.len() > REPORTED_MAX {
                    return Err(HubError::Unprocessable(
                        "there are too many requests for one report: list them by status".to_owned(),
                    ));
                }
                before = Some(last.id);
            }
        }
        Ok(report)
    }

    pub async fn decide(&self, access: &Authorized<Admin>, decision: Decision) -> Result<(), HubError> {
        let (status, reason) = decision.verdict()?;
        let request = self.request_of(&decision.of)?;
        let access = access.reauthorize(&self.0.database)?;
        let decided = self.0.database.decide_request(access.repo_id(), request, status, reason).await?;
        said(decided, status)
    }

    /// Decides many, and says of each in order what became of it: who is not there keeps nobody else waiting. Nothing is
    /// decided if one of them cannot be meant.
    pub async fn decide_many(
        &self,
        access: &Authorized<Admin>,
        decisions: Decisions,
    ) -> Result<Vec<Value>, HubError> {
        let decisions = decisions.each();
        if decisions.is_empty() || decisions.len() > BATCH_MAX {
            return Err(HubError::Invalid(format!("1 to {BATCH_MAX} requests are decided at once")));
        }
        let (mut decides, mut outcomes) = (Vec::new(), Vec::new());
        for decision in &decisions {
            let (status, reason) = decision.verdict()?;
            outcomes.push(match self.request_of(&decision.of) {
                Ok(request) => {
                    decides.push(Decide { request, status, reason });
                    Ok(status)
                }
                Err(HubError::NotFound(text)) => Err(HubError::NotFound(text)),
                Err(error) => return Err(error),
            });
        }
        let access = access.reauthorize(&self.0.database)?;
        let mut decided = self.0.database.decide_requests(access.repo_id(), decides).await?.into_iter();
        let told = decisions.iter().zip(outcomes).map(|(decision, outcome)| {
            let outcome =
                outcome.and_then(|status| said(decided.next().unwrap_or(Decided::NoRequest), status));
            decision.of.told(outcome.err())
        });
        Ok(told.collect())
    }

    fn request_of(&self, of: &Of) -> Result<Request, HubError> {
        Ok(match &of.request_id {
            Some(id) => Request::Id(parse_id(id, "requestId is not one of ours")?),
            None => Request::Of(self.user_of(of)?.id),
        })
    }

    /// Lets somebody in who did not ask.
    pub async fn grant(&self, access: &Authorized<Admin>, of: &Of) -> Result<(), HubError> {
        let user = self.user_of(of)?;
        if access.repo().gating == database::Gating::Off {
            return Err(HubError::Invalid("this repository is not gated: everybody may read it".to_owned()));
        }
        let access = access.reauthorize(&self.0.database)?;
        let granted = self.0.database.grant_access(access.repo_id(), user.id).await?;
        said(granted, AccessStatus::Accepted)
    }

    fn user_of(&self, of: &Of) -> Result<User, HubError> {
        let missing = || HubError::NotFound("User not found".to_owned());
        let user = match (&of.user, &of.user_id) {
            (Some(name), _) => self.0.database.user(name)?,
            (None, Some(id)) => {
                let id = i64::from_str_radix(id, 16).map_err(|_| missing())?;
                self.0.database.user_by_id(database::UserId(id))?
            }
            (None, None) => return Err(HubError::Invalid("a user or a requestId is needed".to_owned())),
        };
        user.filter(|user| !user.disabled).ok_or_else(missing)
    }
}

fn said(decided: Decided, status: AccessStatus) -> Result<(), HubError> {
    match decided {
        Decided::Done => Ok(()),
        Decided::NoRequest => Err(HubError::NotFound("there is no such request for access".to_owned())),
        Decided::Already => {
            Err(HubError::Conflict(format!("this request for access is {} already", status_name(status))))
        }
        Decided::TooMany => {
            Err(HubError::Conflict("this user was let into as many repositories as one may".to_owned()))
        }
    }
}

fn parse_id(text: &str, otherwise: &'static str) -> Result<AccessRequestId, HubError> {
    let id = i64::from_str_radix(text, 16).map(AccessRequestId);
    id.map_err(|_| HubError::Invalid(otherwise.to_owned()))
}

fn request(row: &AccessRequest) -> Value {
    let name = row.name.as_str();
    let fields: Value = serde_json::from_str(&row.fields).unwrap_or(Value::Null);
    let mut document = json!({
        "requestId": format!("{:024x}", row.id.0),
        "status": status_name(row.status),
        "timestamp": iso(row.asked_ms),
        "grantedBy": if row.granted { "owner".into() } else { Value::Null },
        // Addresses for mail are not known here.
        "user": { "_id": format!("{:024x}", row.user.0), "user": name, "fullname": name, "email": null, "type": "user" },
    });
    if fields.as_object().is_some_and(|fields| !fields.is_empty()) {
        document["fields"] = fields;
    }
    if let Some(reason) = &row.reason {
        document["rejectionReason"] = reason.as_str().into();
    }
    document
}
