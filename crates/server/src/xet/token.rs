//! Tokens for the CAS, and where it is.

use auth::xet::{Scope, XetGrant};
use auth::{Authorized, Right, Subject};
use http::{HeaderName, HeaderValue, Response};
use serde::Serialize;

use crate::error::Error;
use crate::http::Body;
use crate::hub::json;
use crate::serve::Server;

const CAS_URL: HeaderName = HeaderName::from_static("x-xet-cas-url");
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-xet-access-token");
const EXPIRATION: HeaderName = HeaderName::from_static("x-xet-token-expiration");

/// `hf_xet` reads the document, `huggingface_hub` the headers of the same answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Given {
    pub access_token: String,
    /// In seconds since 1970.
    pub exp: i64,
    pub cas_url: String,
}

/// The base of all addresses of the CAS. Its last part changes when clients have to forget what they know of xorbs.
pub(crate) fn cas_url(server: &Server, origin: &str) -> Result<String, Error> {
    Ok(format!("{origin}/cas/{}", server.node.objects.xet().epoch()?))
}

pub(crate) fn give<A: Right, S: Subject>(
    server: &Server,
    access: &Authorized<A, S>,
    scope: Scope,
    origin: &str,
) -> Result<Given, Error> {
    let lifetime = server.node.config.xet.token_lifetime();
    let grant = XetGrant::to(access, scope, lifetime, server.node.clock().now_ms());
    Ok(Given {
        access_token: server.node.objects.keys().issue_xet(&grant),
        exp: grant.expires_ms / 1000,
        cas_url: cas_url(server, origin)?,
    })
}

impl Given {
    /// By name, as a batch of Git LFS has them.
    pub(crate) fn headers(&self) -> [(&'static str, String); 3] {
        [
            ("X-Xet-Cas-Url", self.cas_url.clone()),
            ("X-Xet-Access-Token", self.access_token.clone()),
            ("X-Xet-Token-Expiration", self.exp.to_string()),
        ]
    }

    pub(crate) fn response(&self) -> Result<Response<Body>, Error> {
        let mut response = json(self);
        let headers = response.headers_mut();
        headers.insert(CAS_URL, HeaderValue::try_from(&self.cas_url).map_err(Error::internal)?);
        headers.insert(ACCESS_TOKEN, HeaderValue::try_from(&self.access_token).map_err(Error::internal)?);
        headers.insert(EXPIRATION, HeaderValue::from(self.exp));
        Ok(response)
    }
}
