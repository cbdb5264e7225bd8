//! The Hub's API over HTTP. What happens is decided in the crate `hub`; here requests are read and answers written.

mod access;
mod buckets;
mod collections;
mod commit;
mod compare;
mod copies;
mod discussions;
mod files;
mod large_files;
mod likes;
mod people;
mod query;
mod refs;
mod repos;
mod resolve;
mod search;
mod webhooks;
mod xet;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ::hub::HubError;
use auth::{Authorized, Right};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::{Client, base_url};
use crate::door::Visitor;
use crate::error::Error;
use crate::http::{Body, Exchange, Request};
use crate::hub_route::{HubRoute, PeopleRoute, ToolRoute};
use crate::route::Target;
use crate::serve::Server;
pub(crate) use compare::PatchText;
pub(crate) use query::Query;
pub(crate) use repos::kind_segment;

pub(crate) const REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");

pub(crate) async fn dispatch(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    route: HubRoute,
) -> Result<Response<Body>, Error> {
    let mut call = Call { server, request, exchange };
    match route {
        HubRoute::WhoAmI => people::whoami(call).await,
        HubRoute::UserOverview { name } => people::user(call, &name),
        HubRoute::OrgOverview { name } => people::org(call, &name),
        HubRoute::OrgMembers { name } => people::members(call, &name),
        HubRoute::RepoCreate => repos::create(call).await,
        HubRoute::RepoDelete => repos::delete(call).await,
        HubRoute::RepoMove => repos::rename(call).await,
        HubRoute::List { kind } => repos::list(call, kind).await,
        HubRoute::Info { repo, revision } => repos::info(call, &repo, revision.as_deref()).await,
        HubRoute::Settings { repo } => repos::set(call, &repo).await,
        HubRoute::AuthCheck { repo, write } => repos::auth_check(call, &repo, write),
        HubRoute::Tree { repo, revision, path } => files::tree(call, &repo, &revision, &path).await,
        HubRoute::PathsInfo { repo, revision } => files::paths(call, &repo, &revision).await,
        HubRoute::Refs { repo } => refs::list(call, &repo).await,
        HubRoute::Commits { repo, revision } => refs::commits(call, &repo, &revision).await,
        HubRoute::BranchCreate { repo, name } => refs::create_branch(call, &repo, &name).await,
        HubRoute::BranchDelete { repo, name } => refs::delete_branch(call, &repo, &name).await,
        HubRoute::TagCreate { repo, revision } => refs::create_tag(call, &repo, &revision).await,
        HubRoute::TagDelete { repo, name } => refs::delete_tag(call, &repo, &name).await,
        HubRoute::Preupload { repo, revision } => commit::preupload(call, &repo, &revision).await,
        HubRoute::Commit { repo, revision } => commit::commit(call, &repo, &revision).await,
        HubRoute::XetToken { repo, revision, write } => xet::token(call, &repo, &revision, write).await,
        HubRoute::Discussions(route) => discussions::dispatch(call, route).await,
        HubRoute::Resolve { repo, revision, path } => resolve::file(call, &repo, &revision, &path).await,
        HubRoute::Raw { repo, revision, path } => resolve::raw(call, &repo, &revision, &path).await,
        HubRoute::ValidateYaml => repos::validate_yaml(call).await,
        HubRoute::AgentHarnesses => Ok(json(&serde_json::json!({ "standardEnvVars": [], "harnesses": {} }))),
        HubRoute::Telemetry => {
            call.discard().await;
            Ok(json(&serde_json::json!({})))
        }
        HubRoute::Tasks => Ok(json(&repos::tasks())),
        HubRoute::Tools(ToolRoute::Compare { repo, revisions }) => {
            compare::compare(call, &repo, &revisions).await
        }
        HubRoute::Tools(ToolRoute::SuperSquash { repo, revision }) => {
            refs::super_squash(call, &repo, &revision).await
        }
        HubRoute::Tools(ToolRoute::Duplicate { repo }) => copies::duplicate(call, &repo).await,
        HubRoute::Tools(ToolRoute::LfsFilesDuplicate { repo }) => copies::share(call, &repo).await,
        HubRoute::Tools(ToolRoute::LfsFiles { repo }) => large_files::list(call, &repo).await,
        HubRoute::Tools(ToolRoute::LfsFileDelete { repo, sha256 }) => {
            large_files::delete(call, &repo, sha256).await
        }
        HubRoute::Tools(ToolRoute::LfsFilesBatch { repo }) => large_files::batch(call, &repo).await,
        HubRoute::Tools(ToolRoute::TreeSize { repo, revision, path }) => {
            large_files::tree_size(call, &repo, &revision, &path).await
        }
        HubRoute::Tools(ToolRoute::Storage { organization }) => {
            large_files::storage(call, organization.as_deref())
        }
        HubRoute::People(route) => of_people(call, route).await,
        HubRoute::Buckets(route) => buckets::dispatch(call, route).await,
        HubRoute::Webhooks(route) => webhooks::dispatch(call, route).await,
        HubRoute::Refused { what } => {
            call.discard().await;
            Err(Error::NotImplemented(format!("this hub does not support {what}")))
        }
    }
}

async fn of_people(call: Call<'_>, route: PeopleRoute) -> Result<Response<Body>, Error> {
    match route {
        PeopleRoute::Tags { kind } => search::tags(call, kind).await,
        PeopleRoute::QuickSearch => search::quick(call).await,
        PeopleRoute::Trending => search::trending(call).await,
        PeopleRoute::Like { repo, likes } => likes::set(call, &repo, likes).await,
        PeopleRoute::Likers { repo } => likes::likers(call, &repo),
        PeopleRoute::Likes { name } => likes::of_user(call, &name),
        PeopleRoute::AskAccess { repo } => access::ask(call, &repo).await,
        PeopleRoute::AccessList { repo, status } => access::list(call, &repo, &status),
        PeopleRoute::AccessHandle { repo } => access::handle(call, &repo).await,
        PeopleRoute::AccessBatch { repo } => access::handle_many(call, &repo).await,
        PeopleRoute::AccessGrant { repo } => access::grant(call, &repo).await,
        PeopleRoute::AccessCancel { repo } => access::cancel(call, &repo).await,
        PeopleRoute::AccessReport { repo } => access::report(call, &repo),
        PeopleRoute::CollectionList => collections::list(call),
        PeopleRoute::CollectionCreate => collections::create(call).await,
        PeopleRoute::Collection { slug } => collections::get(call, &slug),
        PeopleRoute::CollectionEdit { slug } => collections::edit(call, &slug).await,
        PeopleRoute::CollectionDelete { slug } => collections::delete(call, &slug).await,
        PeopleRoute::ItemAdd { slug } => collections::add(call, &slug).await,
        PeopleRoute::ItemEdit { slug, id } => collections::edit_item(call, &slug, &id).await,
        PeopleRoute::ItemDelete { slug, id } => collections::drop_item(call, &slug, &id).await,
    }
}

/// One request, and all that is needed to answer it.
pub(crate) struct Call<'c> {
    server: &'c Arc<Server>,
    request: &'c mut Request,
    exchange: &'c mut Exchange,
}

impl Call<'_> {
    fn hub(&self) -> &::hub::Hub {
        &self.server.node.hub
    }

    fn origin(&self) -> String {
        base_url(&self.server.node.config, self.request.headers())
    }

    /// The address that it came from.
    fn client(&self) -> IpAddr {
        let client = self.request.head.extensions.get::<Client>();
        client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0)
    }

    fn query(&self) -> Result<Query, Error> {
        Query::parse(self.request.head.uri.query().unwrap_or_default())
    }

    fn visitor(&mut self, target: &Target) -> Result<Visitor, Error> {
        Visitor::new(self.server, self.request.headers(), self.exchange, target)
    }

    /// Who reads by a former name, or spelled otherwise, is sent to the same address below the name that the repository has
    /// now; what changes something is done where it was asked for.
    fn access<A: Right>(&mut self, target: &Target) -> Result<Authorized<A>, Error> {
        let visitor = self.visitor(target)?;
        let access = visitor.may::<A>(self.server)?;
        let reads = matches!(self.request.head.method, Method::GET | Method::HEAD);
        match visitor.renamed && reads {
            true => Err(Error::Moved(self.below(access.repo()))),
            false => Ok(access),
        }
    }

    /// This address of the API with the name of `repo`: `/api/{type}/{namespace}/{name}…`
    fn below(&self, repo: &database::Repo) -> String {
        let uri = &self.request.head.uri;
        let rest = uri.path().splitn(6, '/').nth(5).map(|rest| format!("/{rest}")).unwrap_or_default();
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let (kind, id) = (repos::kind_segment(repo.path.kind), ::hub::repos::id(&repo.path));
        format!("{}/api/{kind}/{id}{rest}{query}", self.origin())
    }

    fn identity(&mut self) -> Result<auth::Identity, Error> {
        let identity = crate::door::identify(self.server, self.request.headers())?;
        self.exchange.set_user(identity.name());
        Ok(identity)
    }

    async fn body(&mut self) -> Result<Bytes, Error> {
        self.request.stage(&self.server.fetch_bodies).await
    }

    /// A document that must be understood. Nothing at all is one without fields.
    async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let body = self.body().await?;
        let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
        serde_json::from_slice(text).map_err(|error| Error::Malformed(format!("the request's JSON: {error}")))
    }

    /// What changes something goes on though its client leaves, and a server that stops waits for it.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, HubError>> + Send + 'static,
    ) -> Result<T, HubError> {
        self.server.pushes.spawn(work).await.map_err(HubError::internal)?
    }

    /// Whatever was sent with a request that needs no body.
    async fn discard(&mut self) {
        self.request.body.settle().await;
    }
}

/// A document of JSON.
pub(crate) fn json(document: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_string(document).expect("because our documents have string keys");
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A page of a list, with the address of the next one: this one's, and where that begins.
fn page(call: &Call<'_>, page: ::hub::listing::Page) -> Response<Body> {
    let mut response = json(&page.items);
    if let Some(cursor) = page.cursor {
        let uri = &call.request.head.uri;
        let others = uri.query().unwrap_or_default().split('&');
        let others = others.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
        let others: String = others.map(|pair| format!("{pair}&")).collect();
        let url = format!("{}{}?{others}cursor={cursor}", call.origin(), uri.path());
        link_next(response.headers_mut(), &url);
    }
    response
}

fn ok() -> Response<Body> {
    json(&serde_json::json!({}))
}

/// `Link: <…>; rel="next"`, absolute: some clients follow nothing else.
fn link_next(headers: &mut HeaderMap, url: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("<{url}>; rel=\"next\"")) {
        headers.insert(header::LINK, value);
    }
}

/// The answer to a browser that asks whether a page of another origin may ask us.
pub(crate) fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    );
    // Whatever it would send: every header is as harmless from a page as from any other client.
    let allowed = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let allowed = allowed.unwrap_or_else(|| HeaderValue::from_static("Authorization, Content-Type, Range"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// Any page may ask, with a token of its own; cookies do not count here.
pub(crate) fn allow_any_origin(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "X-Repo-Commit, X-Request-Id, X-Error-Code, X-Error-Message, X-Total-Count, X-HF-Warning, ETag, Link, Accept-Ranges, \
             Content-Disposition, Content-Range, X-Linked-Size, X-Linked-ETag, X-Xet-Hash, X-Xet-Cas-Url, \
             X-Xet-Access-Token, X-Xet-Token-Expiration",
        ),
    );
}
