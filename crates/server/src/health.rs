//! What operators and their tools ask: is it alive, can it work, what has it done.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};

use crate::error::{Error, chain};
use crate::http::Body;
use crate::metrics::{Lfs, Reading, Webhooks};
use crate::serve::Server;

/// A disk that hangs must not hang the probe.
const READY_WITHIN: Duration = Duration::from_secs(3);

/// The process answers; nothing more is claimed.
pub(crate) fn alive() -> Response<Body> {
    text(StatusCode::OK, "ok\n".to_owned())
}

/// 200 if the rows can be read, the disk can be written, and the server is not stopping; 503 with the reasons if not.
pub(crate) async fn ready(server: &Arc<Server>) -> Result<Response<Body>, Error> {
    if server.draining.load(Ordering::Relaxed) {
        return Ok(text(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n".to_owned()));
    }
    let probed = Arc::clone(server);
    let problems = tokio::task::spawn_blocking(move || problems(&probed));
    let problems = match tokio::time::timeout(READY_WITHIN, problems).await {
        Ok(problems) => problems.map_err(Error::internal)?,
        Err(_) => vec!["the disk does not answer".to_owned()],
    };
    Ok(match problems.as_slice() {
        [] => text(StatusCode::OK, "ready\n".to_owned()),
        problems => text(StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n"),
    })
}

pub(crate) async fn metrics(server: &Arc<Server>) -> Result<Response<Body>, Error> {
    let read = Arc::clone(server);
    // Counting rows takes a moment when there are many.
    let page = tokio::task::spawn_blocking(move || read.metrics.render(&reading(&read))).await;
    let page = page.map_err(Error::internal)?.map_err(Error::internal)?;
    let mut response = Response::new(Body::from(page));
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

fn problems(server: &Server) -> Vec<String> {
    let node = &server.node;
    let mut problems = Vec::new();
    if let Err(error) = node.database.setting("readiness") {
        tracing::warn!(error = %chain(&error), "not ready");
        problems.push("the database cannot be read".to_owned());
    }
    if let Err(error) = node.disk.temp_file() {
        tracing::warn!(%error, "not ready");
        problems.push("the data directory cannot be written".to_owned());
    }
    if let Err(full) = node.writable() {
        problems.push(full.to_string());
    }
    problems
}

fn reading(server: &Server) -> Reading {
    Reading {
        spool: server.spool.stats(),
        staging_bytes: server.staging.held_bytes(),
        fetch_bodies_bytes: server.fetch_bodies.held_bytes(),
        database: server.node.database.stats().ok(),
        disk_free_bytes: server.node.disk.free_bytes().ok(),
        lfs: Lfs::new(server.node.objects.counters()),
        webhooks: Webhooks::new(&server.node.webhooks.counters),
    }
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
