//! The doors of git over HTTP: who comes in, and through which.
//!
//! Each door opens the repository with the right it needs ([`crate::door`]), then hands bytes to `git-protocol` and
//! `change`.

mod builds;
mod info_refs;
mod listing;
mod prefixes;
mod receive_pack;
mod upload_pack;

use std::sync::Arc;

use database::Repo;
use git_protocol::Version;
use http::HeaderMap;
use repository::Snapshot;

pub(crate) use builds::Builds;
pub(crate) use info_refs::info_refs;
pub use receive_pack::Pushing;
pub(crate) use receive_pack::receive_pack;
pub(crate) use upload_pack::upload_pack;

use crate::error::Error;
use crate::serve::Server;

/// How this server calls itself in every protocol version.
const AGENT: &str = concat!("granary/", env!("CARGO_PKG_VERSION"));

/// The repository as it is now. One that is in memory costs no thread; reading a hundred thousand refs, after a push say,
/// takes one, and all who ask meanwhile wait for the same.
async fn snapshot(server: &Server, repo: &Repo) -> Result<Arc<Snapshot>, Error> {
    if let Some(cached) = server.node.repositories.cached(repo) {
        return Ok(cached);
    }
    let (repositories, repo) = (Arc::clone(&server.node.repositories), repo.clone());
    let loaded = tokio::task::spawn_blocking(move || repositories.snapshot(&repo));
    Ok(loaded.await.map_err(Error::internal)??)
}

fn version(headers: &HeaderMap) -> Version {
    Version::from_header(headers.get("git-protocol").map(|value| value.as_bytes()))
}
