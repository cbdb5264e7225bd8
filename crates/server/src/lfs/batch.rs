//! `POST …/info/lfs/objects/batch`: what is to be moved, and how.

use std::sync::Arc;

use ::lfs::wire::Family;
use ::lfs::wire::batch::{Operation, Request as Batch};
use ::lfs::{Batching, Client};
use auth::Read;
use http::{Response, header};

use super::json;
use crate::address::base_url;
use crate::door::Visitor;
use crate::error::Error;
use crate::http::{Body, Exchange, Request};
use crate::route::Target;
use crate::serve::Server;

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
    let access = match batch.operation {
        Operation::Download => Batching::Download(reader),
        Operation::Upload => {
            let pusher = visitor.may_push(server)?;
            server.node.objects_writable(0)?;
            Batching::Upload(pusher)
        }
    };
    let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let client = Client {
        family: Family::of(agent),
        base_url: base_url(&server.node.config, request.headers()),
        quota: server.node.config.lfs.quota.map(|quota| quota.bytes()),
    };
    let answer = server.node.objects.batch(&access, &batch, &client).await?;
    Ok(json(answer.into_json()))
}
