//! The control socket: how commands reach the server that owns the data directory.
//!
//! HTTP/1.1 over `DIR/control.sock` (0600): `POST /operations` with an [`Operation`] as JSON is answered by
//! `{"ok": Outcome}` or `{"error": "…"}`. It is bound and connected through a handle of the directory, since the paths
//! of sockets are limited to 108 bytes.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::Node;
use crate::datadir::{DataDir, Handle};
use crate::operations::{self, Operation, Outcome};

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answers there: no server, or one that is just starting or stopping.
    #[error("no server answers on the control socket: {0}")]
    NotListening(#[source] io::Error),
    /// The operation ran and failed; the text is the server's.
    #[error("{0}")]
    Failed(String),
    #[error("the server went away before it answered: {0}")]
    Broken(String),
}

/// Operations are small; their inputs are names and paths.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// A page of repositories or the findings of an fsck.
const RESPONSE_BYTES_MAX: usize = 256 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Ok(Outcome),
    Error(String),
}

/// Binds the socket of a directory that this process owns; what a killed owner left there is replaced.
pub fn bind(data_dir: &DataDir) -> io::Result<UnixListener> {
    let path = data_dir.handle().socket_path();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The process's umask (0077) lets nobody else in between these two.
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until `stop`, then removes the socket. An operation that was begun goes on though its client leaves.
pub async fn serve(node: Arc<Node>, listener: UnixListener, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(connection(Arc::clone(&node), stream))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the control socket");
                // Out of file descriptors, most likely: that passes.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
    if let Err(error) = fs::remove_file(node.data_dir().handle().socket_path()) {
        tracing::debug!(%error, "the control socket is left behind; the next start replaces it");
    }
}

/// A connection to the server that owns `data_dir`, if one listens.
pub async fn connect(data_dir: &Path) -> Result<UnixStream, CallError> {
    let handle = Handle::open(data_dir).map_err(CallError::NotListening)?;
    UnixStream::connect(handle.socket_path()).await.map_err(CallError::NotListening)
}

/// Has the server that owns `data_dir` run one operation.
pub async fn call(data_dir: &Path, operation: &Operation) -> Result<Outcome, CallError> {
    let stream = connect(data_dir).await?;
    let broken = |error: &dyn std::fmt::Display| CallError::Broken(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    tokio::spawn(connection);
    let body = serde_json::to_vec(operation).map_err(|error| broken(&error))?;
    let request = Request::post("/operations")
        .header(header::HOST, "granary")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| broken(&error))?;
    match serde_json::from_slice(&body.to_bytes()).map_err(|error| broken(&error))? {
        Reply::Ok(outcome) => Ok(outcome),
        Reply::Error(text) => Err(CallError::Failed(text)),
    }
}

async fn connection(node: Arc<Node>, stream: UnixStream) {
    let service = service_fn(move |request| {
        let node = Arc::clone(&node);
        async move { Ok::<_, Infallible>(answer(node, request).await) }
    });
    let served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client of the control socket went away");
    }
}

async fn answer(node: Arc<Node>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/operations" {
        return reply(StatusCode::NOT_FOUND, &Reply::Error("POST /operations is all there is".to_owned()));
    }
    if request.method() != Method::POST {
        return reply(StatusCode::METHOD_NOT_ALLOWED, &Reply::Error("use POST".to_owned()));
    }
    let operation = match Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect().await {
        Ok(body) => serde_json::from_slice::<Operation>(&body.to_bytes()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let operation = match operation {
        Ok(operation) => operation,
        Err(error) => {
            let text = format!(
                "the running server (granary {}) does not take this: {error}",
                env!("CARGO_PKG_VERSION")
            );
            return reply(StatusCode::BAD_REQUEST, &Reply::Error(text));
        }
    };
    // A task of its own, so that it ends properly if the client is interrupted.
    match tokio::spawn(async move { operations::run(&node, operation).await }).await {
        Ok(Ok(outcome)) => reply(StatusCode::OK, &Reply::Ok(outcome)),
        Ok(Err(error)) => reply(StatusCode::CONFLICT, &Reply::Error(error.full_text())),
        Err(failure) => {
            tracing::error!(%failure, "an operation of the control socket ended abnormally");
            reply(
                StatusCode::INTERNAL_SERVER_ERROR,
                &Reply::Error("internal error; see the server's log".to_owned()),
            )
        }
    }
}

fn reply(status: StatusCode, reply: &Reply) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(reply).expect("because outcomes have text keys only");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
