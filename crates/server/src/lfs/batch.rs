//! `POST …/info/lfs/objects/batch`: what is to be moved, and how.

use std::sync::Arc;

use ::lfs::wire::Family;
use ::lfs::wire::batch::{Action, Operation, Request as Batch};
use ::lfs::{Batching, Client};
use auth::xet::Scope;
use auth::{Authorized, Propose, Read};
use http::{Response, header};

use super::json;
use crate::address::base_url;
use crate::door::Visitor;
use crate::error::Error;
use crate::http::{Body, Exchange, Request};
use crate::route::Target;
use crate::serve::Server;
use crate::{hub, xet};

pub(crate) async fn batch(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    target: &Target,
) -> Result<Response<Body>, Error> {
    let visitor = Visitor::new(server, request.headers(), exchange, target)?;
    // Only the body says what is asked for; whoever may not even read is told before it is read.
    let reader = visitor.may::<Read>(server)?;
    let body = request.stage(&server.fetch_bodies).await?;
    let batch = Batch::parse(&body, &server.wire)?;
    let origin = base_url(&server.node.config, request.headers());
    let mut xet = None;
    let access = match batch.operation {
        Operation::Download => Batching::Download(reader),
        Operation::Upload => {
            // Nothing says yet which ref it is for: what is pushed to is decided then.
            let pusher = visitor.may_propose(server)?;
            server.node.objects_writable(0)?;
            if batch.offers_xet {
                xet = Some(way_of_xet(server, &pusher, &origin)?);
            }
            Batching::Upload(pusher)
        }
    };
    let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let client = Client {
        family: Family::of(agent),
        base_url: origin,
        quota: server.node.config.lfs.quota.map(|quota| quota.bytes()),
        xet,
    };
    let answer = server.node.objects.batch(&access, &batch, &client).await?;
    Ok(json(answer.into_json()))
}

/// The address of a token for the CAS, and one beside it for clients that take it from there.
fn way_of_xet(server: &Server, access: &Authorized<Propose>, origin: &str) -> Result<Action, Error> {
    let (path, given) = (&access.repo().path, xet::give(server, access, Scope::Write, origin)?);
    let (kind, id) = (hub::kind_segment(path.kind), ::hub::repos::id(path));
    Ok(Action {
        href: format!(
            "{origin}/api/{kind}/{id}/xet-write-token/main{}",
            if access.may_write() { "" } else { "?create_pr=1" }
        ),
        header: given.headers().to_vec(),
        expires_in: server.node.config.xet.token_lifetime(),
    })
}
