//! The Xet CAS over HTTP. What happens is decided in the crates `xet` and `lfs`; here requests are read and answers
//! written.
//!
//! Clients come with a token that the Hub's API gave them for one repository or bucket ([`token`]), and nothing else counts. Ranges
//! of xorbs lie at addresses that authenticate themselves.

mod fetch;
mod refusal;
mod shard;
mod token;
mod upload;

use std::sync::Arc;

use auth::{Authorized, Holder, Right};
use http::{HeaderValue, Response, header};

pub(crate) use fetch::reconstruction_address;
pub(crate) use shard::ShardAnswer;
pub(crate) use token::{cas_url, give};

use crate::address::base_url;
use crate::error::Error;
use crate::http::{Body, Exchange, Request};
use crate::hub::json;
use crate::serve::Server;
use crate::xet_route::XetRoute;

pub(crate) async fn dispatch(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    route: XetRoute,
) -> Result<Response<Body>, Error> {
    let call = Call { server, request, exchange };
    match route {
        XetRoute::Reconstruction { file, form } => fetch::one(call, file, form).await,
        XetRoute::Reconstructions => fetch::many(call).await,
        XetRoute::Data { token } => fetch::data(call, &token).await,
        XetRoute::Chunk { chunk } => fetch::chunk(call, chunk).await,
        XetRoute::XorbSize { xorb } => fetch::xorb_size(call, xorb),
        XetRoute::FileSize { file } => fetch::file_size(call, file),
        XetRoute::Xorb { xorb } => upload::xorb(call, xorb).await,
        XetRoute::XorbGrant { xorb } => upload::grant(call, xorb).await,
        XetRoute::XorbCommit { xorb, grant } => upload::commit(call, xorb, &grant).await,
        XetRoute::Shard => shard::whole(call).await,
        XetRoute::ShardStream => shard::streamed(call).await,
        XetRoute::Telemetry => {
            call.request.body.settle().await;
            Ok(json(&serde_json::json!({})))
        }
        XetRoute::Absent { what } => {
            call.request.body.settle().await;
            Err(Error::Missing(format!("this hub does not offer {what}")))
        }
    }
}

/// One request, and all that is needed to answer it.
struct Call<'c> {
    server: &'c Arc<Server>,
    request: &'c mut Request,
    exchange: &'c mut Exchange,
}

impl Call<'_> {
    fn cas(&self) -> &::xet::Cas {
        self.server.node.objects.xet()
    }

    fn cas_url(&self) -> Result<String, Error> {
        cas_url(self.server, &base_url(&self.server.node.config, self.request.headers()))
    }

    /// The right behind the token, as it is now.
    fn access<A: Right>(&mut self) -> Result<Authorized<A, Holder>, Error> {
        let value = self.request.headers().get(header::AUTHORIZATION);
        let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err(Error::Unauthenticated),
        };
        let node = &self.server.node;
        let grant = node.objects.keys().check_xet(token, node.clock().now_ms());
        let grant = grant.map_err(|error| Error::Credential(error.to_string()))?;
        let access = auth::xet::redeem::<A>(node.auth, &node.database, &grant).map_err(refusal::revoked)?;
        self.exchange.set_user(access.actor_name());
        match access.holder() {
            Holder::Repo(repo) => self.exchange.set_repo(&repo.path),
            Holder::Bucket(bucket) => self.exchange.set_repo(format!("buckets/{}", bucket.path)),
        }
        Ok(access)
    }
}

/// Bytes of one of the formats.
fn binary(bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes::Bytes::from(bytes)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}
