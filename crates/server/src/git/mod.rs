//! The doors of git over HTTP: who comes in, and through which.
//!
//! Each door opens the repository with the right it needs (`open`), then hands bytes to `git-protocol` and
//! `change`. Whether a repository is missing or may not be seen makes no difference to any answer.

mod builds;
mod info_refs;
mod listing;
mod prefixes;
mod receive_pack;
mod upload_pack;

use std::sync::Arc;

use auth::{Access, Authorized, Credential, Denied, Identity, Propose, Right};
use database::{Found, Repo};
use git_protocol::Version;
use http::{HeaderMap, header};
use repository::Snapshot;

pub(crate) use builds::Builds;
pub(crate) use info_refs::info_refs;
pub use receive_pack::Pushing;
pub(crate) use receive_pack::receive_pack;
pub(crate) use upload_pack::upload_pack;

use crate::error::{Error, PUSH_FORBIDDEN};
use crate::http::Exchange;
use crate::route::Target;
use crate::serve::Server;

/// How this server calls itself in every protocol version.
const AGENT: &str = concat!("granary/", env!("CARGO_PKG_VERSION"));

/// A repository, found and opened.
struct Opened<A: Right> {
    access: Authorized<A>,
    /// It was asked for by a former name, or spelled otherwise.
    renamed: bool,
}

/// Finds the repository and decides. Nothing of the answer before the decision depends on what was found.
fn open<A: Right>(
    server: &Server,
    headers: &HeaderMap,
    exchange: &mut Exchange,
    target: &Target,
) -> Result<Opened<A>, Error> {
    let identity = identify(server, headers)?;
    exchange.set_user(identity.name());
    let missing = || Error::from(Denied::missing(&identity));
    let path = target.path.as_ref().ok_or_else(missing)?;
    let (repo, redirected) = match server.node.database.find_repo(path)? {
        Some(Found::Repo(repo)) => (repo, false),
        Some(Found::Redirect(repo)) => (repo, true),
        None => {
            exchange.set_repo(path);
            return Err(missing());
        }
    };
    exchange.set_repo(&repo.path);
    let access = auth::authorize::<A>(server.node.auth, &identity, repo)?;
    Ok(Opened { renamed: redirected || access.repo().path != *path, access })
}

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

/// For pushes. Who may propose but not write has nothing to push to before pull requests exist, and is told before the
/// upload instead of ref by ref after it.
fn open_for_push(
    server: &Server,
    headers: &HeaderMap,
    exchange: &mut Exchange,
    target: &Target,
) -> Result<Opened<Propose>, Error> {
    let opened = open::<Propose>(server, headers, exchange, target)?;
    if opened.access.granted() < Access::Write {
        return Err(Error::Forbidden(PUSH_FORBIDDEN));
    }
    Ok(opened)
}

/// A credential that does not count is an error, also where none is needed.
fn identify(server: &Server, headers: &HeaderMap) -> Result<Identity, Error> {
    let value = headers.get(header::AUTHORIZATION).map(|value| value.to_str());
    let value = value.transpose().map_err(|_| Error::Credential("it is not ASCII".to_owned()))?;
    let credential = Credential::from_header(value)?;
    Ok(auth::identify(&server.node.database, &credential)?)
}

fn version(headers: &HeaderMap) -> Version {
    Version::from_header(headers.get("git-protocol").map(|value| value.as_bytes()))
}
