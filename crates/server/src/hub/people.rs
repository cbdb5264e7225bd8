//! Who one is, and who others are.

use http::Response;

use super::{Call, json};
use crate::error::Error;
use crate::http::Body;

pub(super) async fn whoami(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let principal = identity.principal().ok_or_else(|| Error::Credential("no token was given".to_owned()))?;
    Ok(json(&call.hub().whoami(principal)?))
}

pub(super) fn user(mut call: Call<'_>, name: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    Ok(json(&call.hub().user_overview(&identity, name)?))
}

pub(super) fn org(mut call: Call<'_>, name: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    Ok(json(&call.hub().org_overview(&identity, name)?))
}

pub(super) fn members(mut call: Call<'_>, name: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    Ok(json(&call.hub().org_members(&identity, name)?))
}
