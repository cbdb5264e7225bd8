//! A request from its head to its response.

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Response, StatusCode, Version, header, request};
use hyper::body::Incoming;

use super::exchange::Measured;
use super::{Body, Exchange, Files, Phase, Request, RequestBody};
use crate::error::Error;
use crate::route::{CacheClass, Dialect, Origin, Policy, Route};
use crate::serve::Server;
use crate::{git, health, home, hub, lfs, xet};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// By which `huggingface_hub` names its requests.
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// For as long as an address of an object lives at most.
const IMMUTABLE: &str = "private, immutable, max-age=86400";

/// Never fails: what goes wrong is in the response.
pub(crate) async fn handle(
    server: Arc<Server>,
    phase: Arc<Phase>,
    files: Arc<Files>,
    origin: Origin,
    request: http::Request<Incoming>,
) -> Result<Response<Measured>, Infallible> {
    let (head, incoming) = request.into_parts();
    let route = match is_for_datasets_server(&head) && origin != Origin::Operator {
        true => Ok(Route::DatasetsServer),
        false => Route::parse(&head.method, origin, head.uri.path(), head.uri.query()),
    };
    let policy = route.as_ref().map_or_else(|no_route| no_route.policy(), Route::policy);
    let mut exchange = Exchange::begin(
        Arc::clone(&server),
        Arc::clone(&phase),
        &head.method,
        policy.name,
        head.headers.get(&REQUEST_ID).or_else(|| head.headers.get(&TRACE_ID)),
    );
    let window = server.node.config.server.body_timeout.duration();
    let body = RequestBody::new(incoming, &head.headers, window, exchange.received());
    let mut request = Request { head, body, body_max: server.body_max(policy.body) };
    let answered = match (check_host(&request.head), route) {
        (Err(error), _) => Err(error),
        (Ok(()), Ok(route)) => dispatch(&server, route, &mut request, &mut exchange).await,
        (Ok(()), Err(no_route)) => Err(no_route.into()),
    };
    let mut response =
        answered.unwrap_or_else(|error| error.into_response(policy.dialect, exchange.request_id()));
    stamp(&mut response, &policy, &exchange);
    if !request.body.settle().await {
        phase.body_left();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let (parts, body) = response.into_parts();
    let body = exchange.respond(parts.status, body, files);
    Ok(Response::from_parts(parts, body))
}

async fn dispatch(
    server: &Arc<Server>,
    route: Route,
    request: &mut Request,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Error> {
    match route {
        Route::Home => Ok(home::page(server, request)),
        Route::Health => Ok(health::alive()),
        Route::Ready => health::ready(server).await,
        Route::Metrics => health::metrics(server).await,
        Route::InfoRefs { repo, service } => git::info_refs(server, request, exchange, &repo, service).await,
        Route::UploadPack { repo } => git::upload_pack(server, request, exchange, &repo).await,
        Route::ReceivePack { repo } => git::receive_pack(server, request, exchange, &repo).await,
        Route::LfsBatch { repo } => lfs::batch(server, request, exchange, &repo).await,
        Route::LfsLocks { repo } => lfs::list_locks(server, request, exchange, &repo).await,
        Route::LfsLock { repo } => lfs::lock(server, request, exchange, &repo).await,
        Route::LfsLocksVerify { repo } => lfs::verify_locks(server, request, exchange, &repo).await,
        Route::LfsUnlock { repo, id } => lfs::unlock(server, request, exchange, &repo, &id).await,
        Route::LfsDownload { sha256 } => lfs::download(server, request, exchange, sha256).await,
        Route::LfsUpload { sha256 } => lfs::upload(server, request, exchange, sha256).await,
        Route::LfsPart { sha256, number } => {
            lfs::upload_part(server, request, exchange, sha256, number).await
        }
        Route::LfsComplete { sha256 } => lfs::complete(server, request, exchange, sha256).await,
        Route::LfsVerify { sha256 } => lfs::verify(server, request, exchange, sha256).await,
        Route::Hub(route) => hub::dispatch(server, request, exchange, route).await,
        Route::Xet(route) => xet::dispatch(server, request, exchange, route).await,
        Route::Preflight => Ok(hub::preflight(request.headers())),
        Route::DatasetsServer => {
            Err(Error::Missing("this hub has no dataset viewer; datasets are read without it".to_owned()))
        }
        Route::Unsupported => Err(Error::SmartOnly),
    }
}

/// `datasets` makes the name of that service from ours.
fn is_for_datasets_server(head: &request::Parts) -> bool {
    let host = head.headers.get(header::HOST).map(|host| host.as_bytes());
    host.is_some_and(|host| host.starts_with(b"datasets-server."))
}

/// RFC 9112, section 3.2. Proxies disagree about what a request without or with two means.
fn check_host(head: &request::Parts) -> Result<(), Error> {
    match head.headers.get_all(header::HOST).iter().count() {
        1 => Ok(()),
        0 if head.version == Version::HTTP_10 => Ok(()),
        _ => Err(Error::BadRequest("the request must have one Host header")),
    }
}

/// The headers that every response of a route has.
fn stamp(response: &mut Response<Body>, policy: &Policy, exchange: &Exchange) {
    let response_is_content = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(exchange.request_id()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Whatever takes a token in a header. Not git, whose clients are no pages.
    if matches!(policy.dialect, Dialect::Hub | Dialect::Lfs | Dialect::Xet) {
        hub::allow_any_origin(headers);
    }
    let cache_control = match policy.cache {
        CacheClass::GitNever => {
            headers.insert(header::EXPIRES, HeaderValue::from_static("Fri, 01 Jan 1980 00:00:00 GMT"));
            headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
            "no-cache, max-age=0, must-revalidate"
        }
        CacheClass::Never => "no-store",
        CacheClass::Revalidate => "no-cache",
        CacheClass::Immutable if response_is_content => IMMUTABLE,
        CacheClass::Immutable => "no-store",
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
}
