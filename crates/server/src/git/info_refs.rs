//! `GET …/info/refs?service=…`: the start of every conversation with git.

use std::sync::Arc;

use auth::Read;
use database::Repo;
use git_protocol::{AdvertiseOptions, Service, Version, advertise};
use http::{HeaderValue, Response, StatusCode, header};

use super::listing::{self, Question};
use super::{AGENT, snapshot, version};
use crate::door::Visitor;
use crate::error::Error;
use crate::http::{Body, Exchange, Request, accepts_gzip};
use crate::route::Target;
use crate::serve::Server;

/// A request for a push is refused here already: a client that is told "no" in the middle of an upload cannot rewind.
pub(crate) async fn info_refs(
    server: &Arc<Server>,
    request: &Request,
    exchange: &mut Exchange,
    target: &Target,
    service: Service,
) -> Result<Response<Body>, Error> {
    let visitor = Visitor::new(server, request.headers(), exchange, target)?;
    let repo = match service {
        Service::UploadPack => visitor.may::<Read>(server)?.repo().clone(),
        Service::ReceivePack => visitor.may_push(server)?.repo().clone(),
    };
    if visitor.renamed {
        return Ok(redirect(&repo, target, service));
    }
    if service == Service::ReceivePack {
        server.node.writable()?;
    }
    let version = version(request.headers());
    let snapshot = snapshot(server, &repo).await?;
    let session_id = server.session_id.clone();
    let list = move |snapshot: &_| {
        let options = AdvertiseOptions { agent: AGENT, session_id: Some(&session_id) };
        advertise(service, version, snapshot, &options)
    };
    let mut response = if service == Service::UploadPack && version == Version::V2 {
        // Capabilities alone, however many refs there are.
        Response::new(Body::from(list(&snapshot)))
    } else {
        let details = [version as u8];
        let question =
            Question { kind: service.name(), details: &details, gzip: accepts_gzip(request.headers()) };
        listing::answer(server, snapshot, question, list).await?
    };
    let content_type = HeaderValue::from_static(service.advertisement_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// 307, since a former name may be given to another repository. Git takes the new address for the requests that follow.
fn redirect(repo: &Repo, target: &Target, service: Service) -> Response<Body> {
    let location = format!("{}/info/refs?service={}", target.url_path(&repo.path), service.name());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let location = HeaderValue::try_from(location).expect("because names of repositories are ASCII");
    response.headers_mut().insert(header::LOCATION, location);
    response
}
