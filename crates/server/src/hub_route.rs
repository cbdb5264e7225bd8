//! The routes of the Hub's API, below `/api` and below the address of a repository.
//!
//! Unlike git's, these addresses hold encoded slashes (a revision `refs%2Fpr%2F1`, a path `a%2Fb`), so a segment may
//! decode to something with slashes in it.
//!
//! The whole list, with what is refused on purpose, is `hub_catalogue`.

mod buckets;
mod discussions;
mod people;
mod tools;
mod webhooks;

use std::borrow::Cow;

use database::RepoKind;
use http::Method;
use percent_encoding::percent_decode_str;

pub use buckets::{BucketName, BucketRoute};
pub use discussions::DiscussionRoute;

use crate::hub_catalogue;
use crate::route::{NoRoute, Target};
pub use people::PeopleRoute;
pub use tools::ToolRoute;
pub use webhooks::WebhookRoute;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubRoute {
    /// `GET /api/whoami-v2`
    WhoAmI,
    /// `GET /api/users/{name}/overview`
    UserOverview { name: String },
    /// `GET /api/organizations/{name}/overview`
    OrgOverview { name: String },
    /// `GET /api/organizations/{name}/members`
    OrgMembers { name: String },
    /// `POST /api/repos/create`
    RepoCreate,
    /// `DELETE /api/repos/delete`
    RepoDelete,
    /// `POST /api/repos/move`
    RepoMove,
    /// `GET /api/{type}`
    List { kind: RepoKind },
    /// `GET /api/{type}/{repo}[/revision/{revision}]`
    Info { repo: Target, revision: Option<String> },
    /// `PUT /api/{type}/{repo}/settings`
    Settings { repo: Target },
    /// `GET /api/{type}/{repo}/auth-check[/write]`
    AuthCheck { repo: Target, write: bool },
    /// `GET /api/{type}/{repo}/tree/{revision}[/{path}]`
    Tree { repo: Target, revision: String, path: String },
    /// `POST /api/{type}/{repo}/paths-info/{revision}`
    PathsInfo { repo: Target, revision: String },
    /// `GET /api/{type}/{repo}/refs`
    Refs { repo: Target },
    /// `GET /api/{type}/{repo}/commits/{revision}`
    Commits { repo: Target, revision: String },
    /// `POST /api/{type}/{repo}/branch/{name}`
    BranchCreate { repo: Target, name: String },
    /// `DELETE /api/{type}/{repo}/branch/{name}`
    BranchDelete { repo: Target, name: String },
    /// `POST /api/{type}/{repo}/tag/{revision}`
    TagCreate { repo: Target, revision: String },
    /// `DELETE /api/{type}/{repo}/tag/{name}`
    TagDelete { repo: Target, name: String },
    /// `POST /api/{type}/{repo}/preupload/{revision}`
    Preupload { repo: Target, revision: String },
    /// `POST /api/{type}/{repo}/commit/{revision}`
    Commit { repo: Target, revision: String },
    /// `GET /api/{type}/{repo}/xet-read-token/{revision}`, or for writing.
    XetToken { repo: Target, revision: String, write: bool },
    /// `/api/{type}/{repo}/discussions…`
    Discussions(DiscussionRoute),
    /// `GET …/resolve/{revision}/{path}`: a file as it is.
    Resolve { repo: Target, revision: String, path: String },
    /// `GET …/raw/{revision}/{path}`: what git has of it.
    Raw { repo: Target, revision: String, path: String },
    /// `POST /api/validate-yaml`
    ValidateYaml,
    /// `GET /api/agent-harnesses`: asked by `huggingface_hub` when it is loaded.
    AgentHarnesses,
    /// `HEAD /api/telemetry/…`: told by libraries unless they are told not to.
    Telemetry,
    /// `GET /api/tasks`
    Tasks,
    /// History and large files, looked at and put in order.
    Tools(ToolRoute),
    /// What people do beside changing repositories.
    People(PeopleRoute),
    /// Files without history.
    Buckets(BucketRoute),
    /// Who is told of what happens.
    Webhooks(WebhookRoute),
    /// What this hub does not do, and says so: see `hub_catalogue::REFUSED`.
    Refused { what: &'static str },
}

pub(crate) const GET: &str = "GET, HEAD";
pub(crate) const POST: &str = "POST";

impl HubRoute {
    /// Below `/api`; `rest` are the raw segments behind it.
    pub(crate) fn api(method: &Method, rest: &[&str]) -> Result<HubRoute, NoRoute> {
        let rest = decoded(rest).ok_or(NOT_FOUND)?;
        let rest: Vec<&str> = rest.iter().map(AsRef::as_ref).collect();
        let found = people::api(method, &rest)
            .or_else(|| buckets::api(method, &rest))
            .or_else(|| webhooks::api(method, &rest));
        if let Some(route) = found {
            return route;
        }
        let (allow, route) = match rest.as_slice() {
            ["whoami-v2"] => (GET, HubRoute::WhoAmI),
            ["users", name, "overview"] => (GET, HubRoute::UserOverview { name: (*name).to_owned() }),
            ["organizations", name, "overview"] => (GET, HubRoute::OrgOverview { name: (*name).to_owned() }),
            ["organizations", name, "members"] => (GET, HubRoute::OrgMembers { name: (*name).to_owned() }),
            ["repos", "create"] => (POST, HubRoute::RepoCreate),
            ["repos", "delete"] => ("DELETE", HubRoute::RepoDelete),
            ["repos", "move"] => (POST, HubRoute::RepoMove),
            ["validate-yaml"] => (POST, HubRoute::ValidateYaml),
            ["agent-harnesses"] => (GET, HubRoute::AgentHarnesses),
            ["telemetry", ..] => ("GET, HEAD, POST", HubRoute::Telemetry),
            ["tasks"] => (GET, HubRoute::Tasks),
            [kind] if kind_of(kind).is_some() => {
                (GET, HubRoute::List { kind: kind_of(kind).ok_or(NOT_FOUND)? })
            }
            rest if tools::of_hub(method, rest).is_some() => {
                return tools::of_hub(method, rest).unwrap_or(Err(NOT_FOUND));
            }
            [kind, rest @ ..] => match kind_of(kind) {
                Some(kind) => return repo(method, kind, rest),
                None => return Err(NOT_FOUND),
            },
            [] => return Err(NOT_FOUND),
        };
        only(method, allow, route)
    }

    /// Below the address of a repository: `verb` is `resolve` or `raw`, `rest` are the raw segments behind it.
    pub(crate) fn file(
        method: &Method,
        repo: Target,
        verb: &str,
        rest: &[&str],
    ) -> Result<HubRoute, NoRoute> {
        let rest = decoded(rest).ok_or(NOT_FOUND)?;
        let [revision, path @ ..] = rest.as_slice() else { return Err(NOT_FOUND) };
        let (revision, path) = (revision.to_string(), path.join("/"));
        let route = match verb {
            "resolve" => HubRoute::Resolve { repo, revision, path },
            _ => HubRoute::Raw { repo, revision, path },
        };
        only(method, GET, route)
    }

    /// What other hubs have at this address and this one does not; `segments` are those of the whole path, as they came.
    pub(crate) fn refused(method: &Method, segments: &[&str]) -> Option<Result<HubRoute, NoRoute>> {
        let row = hub_catalogue::REFUSED.iter().find(|row| row.is_at(segments))?;
        Some(only(method, row.methods, HubRoute::Refused { what: row.what }))
    }

    pub(crate) fn takes_files(&self) -> bool {
        matches!(self, HubRoute::Commit { .. })
    }

    pub(crate) fn takes_a_body(&self) -> bool {
        match self {
            HubRoute::Discussions(route) => return route.takes_a_body(),
            HubRoute::Tools(route) => return route.takes_a_body(),
            HubRoute::People(route) => return route.takes_a_body(),
            HubRoute::Buckets(route) => return route.takes_a_body(),
            HubRoute::Webhooks(route) => return route.takes_a_body(),
            _ => {}
        }
        matches!(
            self,
            HubRoute::RepoCreate
                | HubRoute::RepoDelete
                | HubRoute::RepoMove
                | HubRoute::Settings { .. }
                | HubRoute::PathsInfo { .. }
                | HubRoute::BranchCreate { .. }
                | HubRoute::TagCreate { .. }
                | HubRoute::Preupload { .. }
                | HubRoute::ValidateYaml
        ) || matches!(self, HubRoute::Tools(route) if route.takes_a_body())
    }
}

/// Gives every route its label for logs and metrics, each of which has its rows in `hub_catalogue`.
macro_rules! labels {
    ($routes:ident: $($route:ident => $label:literal,)* $(; $($nested:ident,)*)?) => {
        impl $routes {
            pub(crate) fn name(&self) -> &'static str {
                match self {
                    $($routes::$route { .. } => $label,)*
                    $($($routes::$nested(route) => route.name(),)*)?
                }
            }

            #[cfg(test)]
            pub(crate) const LABELS: &[&str] = &[$($label,)*];
        }
    };
}
use labels;

labels! {
    HubRoute:
    WhoAmI => "hub.whoami",
    UserOverview => "hub.user",
    OrgOverview => "hub.org",
    OrgMembers => "hub.org.members",
    RepoCreate => "hub.create",
    RepoDelete => "hub.delete",
    RepoMove => "hub.move",
    List => "hub.list",
    Info => "hub.info",
    Settings => "hub.settings",
    AuthCheck => "hub.auth-check",
    Tree => "hub.tree",
    PathsInfo => "hub.paths-info",
    Refs => "hub.refs",
    Commits => "hub.commits",
    BranchCreate => "hub.branch.create",
    BranchDelete => "hub.branch.delete",
    TagCreate => "hub.tag.create",
    TagDelete => "hub.tag.delete",
    Preupload => "hub.preupload",
    Commit => "hub.commit",
    XetToken => "hub.xet-token",
    Resolve => "hub.resolve",
    Raw => "hub.raw",
    ValidateYaml => "hub.validate-yaml",
    AgentHarnesses => "hub.agent-harnesses",
    Telemetry => "hub.telemetry",
    Tasks => "hub.tasks",
    Refused => "hub.refused",
    ;
    Buckets,
    Discussions,
    People,
    Tools,
    Webhooks,
}

const NOT_FOUND: NoRoute = NoRoute::NotFound(crate::route::Dialect::Hub);

/// What is asked of a repository, with something behind it.
const VERBS: [&str; 8] =
    ["revision", "tree", "paths-info", "commits", "branch", "tag", "preupload", "commit"];

fn repo(method: &Method, kind: RepoKind, rest: &[&str]) -> Result<HubRoute, NoRoute> {
    let all = rest;
    let (repo, rest) = match rest {
        // The Hub once gave out names without namespace; here nothing is called so.
        [_] => (Target::nowhere(), &[][..]),
        [namespace, name, rest @ ..] => (Target::new(kind, namespace, name), rest),
        [] => return Err(NOT_FOUND),
    };
    let owned = |text: &&str| (*text).to_owned();
    let (allow, route) = match rest {
        [] => (GET, HubRoute::Info { repo, revision: None }),
        ["revision", revision] => (GET, HubRoute::Info { repo, revision: Some(owned(revision)) }),
        ["settings"] => ("PUT", HubRoute::Settings { repo }),
        ["auth-check"] => (GET, HubRoute::AuthCheck { repo, write: false }),
        ["auth-check", "write"] => (GET, HubRoute::AuthCheck { repo, write: true }),
        ["tree", revision, path @ ..] => {
            (GET, HubRoute::Tree { repo, revision: owned(revision), path: path.join("/") })
        }
        ["paths-info", revision] => (POST, HubRoute::PathsInfo { repo, revision: owned(revision) }),
        ["refs"] => (GET, HubRoute::Refs { repo }),
        ["commits", revision] => (GET, HubRoute::Commits { repo, revision: owned(revision) }),
        ["branch", name @ ..] if !name.is_empty() => match *method {
            Method::DELETE => ("POST, DELETE", HubRoute::BranchDelete { repo, name: name.join("/") }),
            _ => ("POST, DELETE", HubRoute::BranchCreate { repo, name: name.join("/") }),
        },
        ["tag", name @ ..] if !name.is_empty() => match *method {
            Method::DELETE => ("POST, DELETE", HubRoute::TagDelete { repo, name: name.join("/") }),
            _ => ("POST, DELETE", HubRoute::TagCreate { repo, revision: name.join("/") }),
        },
        ["preupload", revision] => (POST, HubRoute::Preupload { repo, revision: owned(revision) }),
        ["xet-read-token", revision] => {
            (GET, HubRoute::XetToken { repo, revision: owned(revision), write: false })
        }
        ["xet-write-token", revision] => {
            (GET, HubRoute::XetToken { repo, revision: owned(revision), write: true })
        }
        ["discussions", rest @ ..] => {
            let (allow, route) = DiscussionRoute::parse(method, repo, rest).ok_or(NOT_FOUND)?;
            (allow, HubRoute::Discussions(route))
        }
        ["commit", revision] => (POST, HubRoute::Commit { repo, revision: owned(revision) }),
        _ => {
            if let Some(found) = tools::of_repo(method, &repo, rest) {
                return found;
            }
            return match all {
                // One without namespace, as above, and what is asked of it.
                [_, verb, _, ..] if VERBS.contains(verb) => {
                    Ok(HubRoute::Info { repo: Target::nowhere(), revision: None })
                }
                _ => Err(NOT_FOUND),
            };
        }
    };
    only(method, allow, route)
}

fn kind_of(segment: &str) -> Option<RepoKind> {
    match segment {
        "models" => Some(RepoKind::Model),
        "datasets" => Some(RepoKind::Dataset),
        "spaces" => Some(RepoKind::Space),
        _ => None,
    }
}

/// `None` if one of them is no text.
fn decoded<'a>(segments: &[&'a str]) -> Option<Vec<Cow<'a, str>>> {
    let decode = |segment: &&'a str| {
        let text = percent_decode_str(segment).decode_utf8().ok()?;
        (!text.chars().any(char::is_control)).then_some(text)
    };
    segments.iter().map(decode).collect()
}

fn only(method: &Method, allow: &'static str, route: HubRoute) -> Result<HubRoute, NoRoute> {
    if allow.split(", ").any(|allowed| allowed == method.as_str()) {
        Ok(route)
    } else {
        Err(NoRoute::Method { dialect: crate::route::Dialect::Hub, allow })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Dialect, Origin, Route};

    fn repo() -> Target {
        Target { path: Some("acme/x".parse().unwrap()), dot_git: false }
    }

    fn parse(method: &str, path: &str) -> Result<Route, NoRoute> {
        Route::parse(&method.parse().unwrap(), Origin::Whole, path, None)
    }

    #[test]
    fn table() {
        let (revision, repo) = ("main".to_owned(), repo());
        let file = |revision: &str, path: &str| HubRoute::Resolve {
            repo: repo.clone(),
            revision: revision.to_owned(),
            path: path.to_owned(),
        };
        let tree = |revision: &str, path: &str| HubRoute::Tree {
            repo: repo.clone(),
            revision: revision.to_owned(),
            path: path.to_owned(),
        };
        let dataset = Target { path: Some("datasets/acme/x".parse().unwrap()), dot_git: false };
        for (method, path, expected) in [
            ("GET", "/api/whoami-v2", HubRoute::WhoAmI),
            ("POST", "/api/repos/create", HubRoute::RepoCreate),
            ("GET", "/api/models/acme/x", HubRoute::Info { repo: repo.clone(), revision: None }),
            ("GET", "/api/models/gpt2", HubRoute::Info { repo: Target::nowhere(), revision: None }),
            (
                "GET",
                "/api/models/acme/x/revision/refs%2Fpr%2F1",
                HubRoute::Info { repo: repo.clone(), revision: Some("refs/pr/1".to_owned()) },
            ),
            ("GET", "/api/models/acme/x/tree/main", tree("main", "")),
            ("GET", "/api/models/acme/x/tree/main/a/b", tree("main", "a/b")),
            ("GET", "/api/models/acme/x/tree/main/a%2Fb", tree("main", "a/b")),
            ("GET", "/api/datasets/acme/x/refs", HubRoute::Refs { repo: dataset.clone() }),
            (
                "DELETE",
                "/api/models/acme/x/branch/a%2Fb",
                HubRoute::BranchDelete { repo: repo.clone(), name: "a/b".to_owned() },
            ),
            (
                "POST",
                "/api/models/acme/x/commit/main",
                HubRoute::Commit { repo: repo.clone(), revision: revision.clone() },
            ),
            ("HEAD", "/acme/x/resolve/main/a/b%20c", file("main", "a/b c")),
            ("GET", "/acme/x/resolve/refs%2Fpr%2F1/a", file("refs/pr/1", "a")),
            (
                "GET",
                "/datasets/acme/x/resolve/main/a",
                HubRoute::Resolve { repo: dataset.clone(), revision: revision.clone(), path: "a".to_owned() },
            ),
            (
                "GET",
                "/acme/x/raw/main/a",
                HubRoute::Raw { repo: repo.clone(), revision: revision.clone(), path: "a".to_owned() },
            ),
            (
                "GET",
                "/gpt2/resolve/main/a",
                HubRoute::Resolve { repo: Target::nowhere(), revision, path: "a".to_owned() },
            ),
            ("HEAD", "/api/telemetry/a/b", HubRoute::Telemetry),
        ] {
            assert_eq!(parse(method, path), Ok(Route::Hub(expected)), "{method} {path}");
        }
        for path in
            ["/api", "/api/", "/api/models/acme/x/nothing", "/api/gadgets/a/b", "/api/models/acme/x/tree/%ff"]
        {
            assert_eq!(parse("GET", path), Err(NoRoute::NotFound(Dialect::Hub)), "{path}");
        }
        for (method, path, allow) in [
            ("POST", "/api/whoami-v2", "GET, HEAD"),
            ("GET", "/api/models/acme/x/commit/main", "POST"),
            ("PUT", "/acme/x/resolve/main/a", "GET, HEAD"),
        ] {
            assert_eq!(parse(method, path), Err(NoRoute::Method { dialect: Dialect::Hub, allow }), "{path}");
        }
        // Git's own addresses stay git's.
        assert!(matches!(parse("POST", "/acme/x/git-upload-pack"), Ok(Route::UploadPack { .. })));
    }
}
