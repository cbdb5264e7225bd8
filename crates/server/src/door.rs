//! Who comes in, and to which repository: the same for git and for Git LFS.
//!
//! Whether a repository is missing or may not be seen makes no difference to any answer.

use auth::{Authorized, Credential, Denied, Identity, Propose, Right};
use database::{AccessStatus, Found, Repo};
use http::{HeaderMap, header};

use crate::error::{Error, PUSH_FORBIDDEN};
use crate::http::Exchange;
use crate::route::Target;
use crate::serve::Server;

/// Somebody, in front of a repository that exists. Nothing is decided yet.
pub(crate) struct Visitor {
    identity: Identity,
    repo: Repo,
    /// It was asked for by a former name, or spelled otherwise.
    pub renamed: bool,
}

impl Visitor {
    /// Reads the credentials and finds the repository.
    pub(crate) fn new(
        server: &Server,
        headers: &HeaderMap,
        exchange: &mut Exchange,
        target: &Target,
    ) -> Result<Visitor, Error> {
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
        let renamed = redirected || repo.path != *path;
        Ok(Visitor { identity, repo, renamed })
    }

    pub(crate) fn may<A: Right>(&self, server: &Server) -> Result<Authorized<A>, Error> {
        auth::authorize::<A>(server.node.auth, &self.identity, self.repo.clone()).map_err(|denied| {
            match denied {
                Denied::Gated { anonymous } => self.gated(server, anonymous),
                other => other.into(),
            }
        })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Who asked already is told what became of it.
    fn gated(&self, server: &Server, anonymous: bool) -> Error {
        let path = &self.repo.path;
        let (kind, repo) = (hub::repos::kind_name(path.kind), hub::repos::id(path));
        let user = self.identity.principal().map(|principal| principal.user.id);
        let asked = user.map_or(Ok(None), |user| server.node.database.access_status(self.repo.id, user));
        match asked {
            Err(error) => error.into(),
            Ok(Some(AccessStatus::Pending)) => Error::NotLetIn(format!(
                "Your request to access {kind} {repo} is awaiting a review from the repo authors."
            )),
            Ok(Some(AccessStatus::Rejected)) => Error::NotLetIn(format!(
                "Your request to access {kind} {repo} has been rejected by the repo's authors."
            )),
            Ok(Some(AccessStatus::Accepted) | None) => Error::Gated { kind, repo, anonymous },
        }
    }

    /// For pushes. Who may propose but not write, and has no pull request here to push to, is told before the upload
    /// instead of ref by ref after it.
    pub(crate) fn may_push(&self, server: &Server) -> Result<Authorized<Propose>, Error> {
        let access = self.may::<Propose>(server)?;
        if access.may_write() {
            return Ok(access);
        }
        let database = &server.node.database;
        match access.actor().map(|author| database.has_open_pull(access.repo_id(), author)).transpose()? {
            Some(true) => Ok(access),
            _ => Err(Error::Forbidden(PUSH_FORBIDDEN)),
        }
    }

    /// For what a pull request needs, which may not be there yet.
    pub(crate) fn may_propose(&self, server: &Server) -> Result<Authorized<Propose>, Error> {
        let access = self.may::<Propose>(server)?;
        if !access.may_write() && server.node.database.discussions_disabled(access.repo_id())? {
            return Err(Error::Forbidden(PUSH_FORBIDDEN));
        }
        Ok(access)
    }

    /// For what goes to branches.
    pub(crate) fn may_write(&self, server: &Server) -> Result<Authorized<Propose>, Error> {
        let access = self.may::<Propose>(server)?;
        match access.may_write() {
            true => Ok(access),
            false => Err(Error::Forbidden(PUSH_FORBIDDEN)),
        }
    }
}

/// A credential that does not count is an error, also where none is needed.
pub(crate) fn identify(server: &Server, headers: &HeaderMap) -> Result<Identity, Error> {
    let value = headers.get(header::AUTHORIZATION).map(|value| value.to_str());
    let value = value.transpose().map_err(|_| Error::Credential("it is not ASCII".to_owned()))?;
    let credential = Credential::from_header(value)?;
    Ok(auth::identify(&server.node.database, &credential)?)
}
