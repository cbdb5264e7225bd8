//! What a request is for: one closed enum, and what holds for each of its variants.
//!
//! The raw path is split first and each segment decoded after, so that an encoded slash never becomes a separator.
//! The names in logs (`route=`) and in metrics come from [`Route::policy`].

use std::borrow::Cow;

use database::{RepoKind, RepoPath, names};
use git_protocol::Service;
use http::Method;
use percent_encoding::percent_decode_str;

/// Where a request came in, which decides the routes it can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The only listener: everything is here.
    Whole,
    /// The public listener, when `server.metrics_listen` keeps the operator's routes elsewhere.
    Public,
    /// `server.metrics_listen`: the operator's routes alone.
    Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /`: what this is and what to paste.
    Home,
    /// `GET /healthz`: the process answers.
    Health,
    /// `GET /readyz`: it can do its work.
    Ready,
    /// `GET /metrics`
    Metrics,
    /// `GET …/info/refs?service=…`
    InfoRefs { repo: Target, service: Service },
    /// `POST …/git-upload-pack`
    UploadPack { repo: Target },
    /// `POST …/git-receive-pack`
    ReceivePack { repo: Target },
    /// What a client of git's "dumb" protocol asks for, and services we do not have. The same for every repository, so
    /// that it tells nothing about one.
    Unsupported,
}

/// The repository a git URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `None` if no repository can have that name. Such a request is answered as one for a missing repository, after
    /// the same look at the credentials.
    pub path: Option<RepoPath>,
    /// The URL ended in `.git`, and so does where it is redirected to.
    pub dot_git: bool,
}

/// There is no such route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    NotFound(Dialect),
    /// The path exists, but not with this method.
    Method {
        dialect: Dialect,
        allow: &'static str,
    },
    TooLong,
}

/// In whose words an answer that is not a success is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Text, which git prints behind `remote:`.
    Git,
    /// JSON with `X-Error-Code` and `X-Error-Message`, as `huggingface_hub` reads them.
    Hub,
    /// A line of text for probes and scrapers.
    Plain,
}

/// What a route accepts as a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLimit {
    /// Nothing; what is sent nevertheless is discarded.
    None,
    /// `limits.request_inflated`.
    Fetch,
    /// `limits.pack_bytes`, and the commands before the pack.
    Push,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheClass {
    /// The three headers that git sends, for caches of any age.
    GitNever,
    /// `Cache-Control: no-store`
    Never,
    /// `Cache-Control: no-cache`: may be kept, must be asked for again.
    Revalidate,
}

/// What holds for every request of a route. The timeouts are those of `[server]` for all of them so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `route=` in logs, `route` in metrics.
    pub name: &'static str,
    pub dialect: Dialect,
    pub body: BodyLimit,
    pub cache: CacheClass,
}

/// Longer paths name nothing: three names of 96 bytes, even fully percent-encoded, stay far below.
pub const PATH_BYTES_MAX: usize = 4096;

impl Route {
    /// `raw_path` as it came, percent-encoded; `query` without its `?`.
    pub fn parse(
        method: &Method,
        origin: Origin,
        raw_path: &str,
        query: Option<&str>,
    ) -> Result<Route, NoRoute> {
        if raw_path.len() > PATH_BYTES_MAX {
            return Err(NoRoute::TooLong);
        }
        let Some(segments) = split(raw_path) else { return Err(NoRoute::NotFound(Dialect::Hub)) };
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        if origin != Origin::Public
            && let Some(route) = operator(&segments)
        {
            return only(method, Dialect::Plain, GET, route);
        }
        if origin == Origin::Operator {
            return Err(NoRoute::NotFound(Dialect::Plain));
        }
        match segments.as_slice() {
            [""] => only(method, Dialect::Plain, GET, Route::Home),
            [kind @ ("datasets" | "spaces"), namespace, name, rest @ ..] => {
                let kind = if *kind == "datasets" { RepoKind::Dataset } else { RepoKind::Space };
                git(method, kind, namespace, name, rest, query)
            }
            [first, ..] if is_reserved(first) => Err(NoRoute::NotFound(Dialect::Hub)),
            [namespace, name, rest @ ..] => git(method, RepoKind::Model, namespace, name, rest, query),
            _ => Err(NoRoute::NotFound(Dialect::Hub)),
        }
    }

    pub fn policy(&self) -> Policy {
        let (name, dialect, body, cache) = match self {
            Route::Home => ("home", Dialect::Plain, BodyLimit::None, CacheClass::Revalidate),
            Route::Health => ("health", Dialect::Plain, BodyLimit::None, CacheClass::Never),
            Route::Ready => ("ready", Dialect::Plain, BodyLimit::None, CacheClass::Never),
            Route::Metrics => ("metrics", Dialect::Plain, BodyLimit::None, CacheClass::Never),
            Route::InfoRefs { service: Service::UploadPack, .. } => {
                ("git.refs.fetch", Dialect::Git, BodyLimit::None, CacheClass::GitNever)
            }
            Route::InfoRefs { service: Service::ReceivePack, .. } => {
                ("git.refs.push", Dialect::Git, BodyLimit::None, CacheClass::GitNever)
            }
            Route::UploadPack { .. } => {
                ("git.upload-pack", Dialect::Git, BodyLimit::Fetch, CacheClass::GitNever)
            }
            Route::ReceivePack { .. } => {
                ("git.receive-pack", Dialect::Git, BodyLimit::Push, CacheClass::GitNever)
            }
            Route::Unsupported => ("git.unsupported", Dialect::Git, BodyLimit::None, CacheClass::GitNever),
        };
        Policy { name, dialect, body, cache }
    }
}

impl NoRoute {
    /// A request without a route has a policy too: it is logged, counted and answered.
    pub fn policy(self) -> Policy {
        let dialect = match self {
            NoRoute::NotFound(dialect) | NoRoute::Method { dialect, .. } => dialect,
            NoRoute::TooLong => Dialect::Plain,
        };
        Policy { name: "none", dialect, body: BodyLimit::None, cache: CacheClass::Never }
    }
}

impl Target {
    fn new(kind: RepoKind, namespace: &str, name: &str) -> Target {
        let (name, dot_git) = match name.strip_suffix(".git") {
            Some(name) => (name, true),
            None => (name, false),
        };
        Target { path: RepoPath::new(kind, namespace, name).ok(), dot_git }
    }

    /// The path of `repo` in the form that this request used.
    pub fn url_path(&self, repo: &RepoPath) -> String {
        format!("/{repo}{}", if self.dot_git { ".git" } else { "" })
    }
}

const GET: &str = "GET, HEAD";
const POST: &str = "POST";

/// `None` if no path of ours looks like this.
fn split(raw_path: &str) -> Option<Vec<Cow<'_, str>>> {
    let segments = raw_path.strip_prefix('/')?.split('/');
    let decoded: Option<Vec<_>> = segments.map(decode).collect();
    let decoded = decoded?;
    // Empty in the middle or at the end: `//`, `/a/`. The root alone is `[""]`.
    let empty = decoded.len() > 1 && decoded.iter().any(|segment| segment.is_empty());
    (!empty).then_some(decoded)
}

fn decode(segment: &str) -> Option<Cow<'_, str>> {
    let bytes = segment.as_bytes();
    let stray_percent = bytes.iter().enumerate().any(|(at, &byte)| {
        let digits = bytes.get(at + 1..at + 3);
        byte == b'%' && !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if stray_percent {
        return None;
    }
    let decoded = percent_decode_str(segment).decode_utf8().ok()?;
    let hostile = decoded == "." || decoded == ".." || decoded.contains(|c: char| c == '/' || c.is_control());
    (!hostile).then_some(decoded)
}

fn operator(segments: &[&str]) -> Option<Route> {
    match segments {
        ["healthz"] => Some(Route::Health),
        ["readyz"] => Some(Route::Ready),
        ["metrics"] => Some(Route::Metrics),
        _ => None,
    }
}

fn git(
    method: &Method,
    kind: RepoKind,
    namespace: &str,
    name: &str,
    rest: &[&str],
    query: Option<&str>,
) -> Result<Route, NoRoute> {
    let repo = Target::new(kind, namespace, name);
    let (allow, route) = match rest {
        ["info", "refs"] => match service(query) {
            Some(service) => (GET, Route::InfoRefs { repo, service }),
            None => (GET, Route::Unsupported),
        },
        ["git-upload-pack"] => (POST, Route::UploadPack { repo }),
        ["git-receive-pack"] => (POST, Route::ReceivePack { repo }),
        ["git-upload-archive"] => (POST, Route::Unsupported),
        ["HEAD"] | ["objects", _, ..] => (GET, Route::Unsupported),
        _ => return Err(NoRoute::NotFound(Dialect::Hub)),
    };
    only(method, Dialect::Git, allow, route)
}

fn service(query: Option<&str>) -> Option<Service> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(key, _)| *key == "service").map(|(_, value)| value).next()?;
    Service::from_name(&percent_decode_str(value).decode_utf8().ok()?)
}

fn only(method: &Method, dialect: Dialect, allow: &'static str, route: Route) -> Result<Route, NoRoute> {
    if allow.split(", ").any(|allowed| allowed == method.as_str()) {
        Ok(route)
    } else {
        Err(NoRoute::Method { dialect, allow })
    }
}

fn is_reserved(segment: &str) -> bool {
    names::RESERVED.contains(&segment.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str, dot_git: bool) -> Target {
        Target { path: Some(path.parse().unwrap()), dot_git }
    }

    fn nameless(dot_git: bool) -> Target {
        Target { path: None, dot_git }
    }

    #[test]
    fn table() {
        use Service::{ReceivePack, UploadPack};
        let refs = |repo: Target, service| Ok(Route::InfoRefs { repo, service });
        let not_found = Err(NoRoute::NotFound(Dialect::Hub));
        let method = |dialect, allow| Err(NoRoute::Method { dialect, allow });
        let table = [
            ("GET", "/", None, Ok(Route::Home)),
            ("HEAD", "/", None, Ok(Route::Home)),
            ("POST", "/", None, method(Dialect::Plain, GET)),
            ("GET", "/healthz", None, Ok(Route::Health)),
            ("GET", "/readyz", None, Ok(Route::Ready)),
            ("GET", "/metrics", Some("x=1"), Ok(Route::Metrics)),
            ("PUT", "/metrics", None, method(Dialect::Plain, GET)),
            // The three forms, with and without the suffix.
            (
                "GET",
                "/a/b/info/refs",
                Some("service=git-upload-pack"),
                refs(target("a/b", false), UploadPack),
            ),
            (
                "GET",
                "/a/b.git/info/refs",
                Some("service=git-receive-pack"),
                refs(target("a/b", true), ReceivePack),
            ),
            (
                "HEAD",
                "/a/b.git/info/refs",
                Some("service=git-upload-pack"),
                refs(target("a/b", true), UploadPack),
            ),
            ("POST", "/a/b.git/git-upload-pack", None, Ok(Route::UploadPack { repo: target("a/b", true) })),
            (
                "POST",
                "/datasets/A/b/git-upload-pack",
                None,
                Ok(Route::UploadPack { repo: target("datasets/A/b", false) }),
            ),
            (
                "POST",
                "/spaces/a/B.git/git-receive-pack",
                None,
                Ok(Route::ReceivePack { repo: target("spaces/a/B", true) }),
            ),
            // Decoded after the split.
            (
                "GET",
                "/%61/b%2Egit/info/refs",
                Some("service=git-upload-pack"),
                refs(target("a/b", true), UploadPack),
            ),
            (
                "GET",
                "/a/b/info/refs",
                Some("x&service=git%2Dupload-pack&y=1"),
                refs(target("a/b", false), UploadPack),
            ),
            // No repository can be called that.
            ("GET", "/a/b--c/info/refs", Some("service=git-upload-pack"), refs(nameless(false), UploadPack)),
            (
                "GET",
                "/a/b.git.git/info/refs",
                Some("service=git-upload-pack"),
                refs(nameless(true), UploadPack),
            ),
            ("POST", "/-a/b/git-receive-pack", None, Ok(Route::ReceivePack { repo: nameless(false) })),
            ("POST", "/a/.git/git-receive-pack", None, Ok(Route::ReceivePack { repo: nameless(true) })),
            // The dumb protocol and foreign services.
            ("GET", "/a/b/info/refs", None, Ok(Route::Unsupported)),
            ("GET", "/a/b/info/refs", Some("service=git-upload-archive"), Ok(Route::Unsupported)),
            ("GET", "/a/b/info/refs", Some("service="), Ok(Route::Unsupported)),
            ("GET", "/a/b.git/HEAD", None, Ok(Route::Unsupported)),
            ("GET", "/a/b.git/objects/info/packs", None, Ok(Route::Unsupported)),
            ("POST", "/a/b.git/git-upload-archive", None, Ok(Route::Unsupported)),
            // Methods.
            ("POST", "/a/b/info/refs", Some("service=git-upload-pack"), method(Dialect::Git, GET)),
            ("GET", "/a/b/git-upload-pack", None, method(Dialect::Git, POST)),
            ("OPTIONS", "/a/b/git-receive-pack", None, method(Dialect::Git, POST)),
            ("get", "/", None, method(Dialect::Plain, GET)),
            // Nothing of ours.
            ("GET", "/a", None, not_found.clone()),
            ("GET", "/a/b", None, not_found.clone()),
            ("GET", "/a/b/c/info/refs", Some("service=git-upload-pack"), not_found.clone()),
            ("GET", "/api/models", None, not_found.clone()),
            ("GET", "/API/b/info/refs", Some("service=git-upload-pack"), not_found.clone()),
            ("GET", "/models/a/b/info/refs", Some("service=git-upload-pack"), not_found.clone()),
            ("GET", "/datasets/a", None, not_found.clone()),
            ("GET", "/a/b/info/lfs/objects/batch", None, not_found.clone()),
        ];
        for (method, path, query, expected) in table {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(
                Route::parse(&method, Origin::Whole, path, query),
                expected,
                "{method} {path} {query:?}"
            );
        }
    }

    #[test]
    fn hostile_paths_name_nothing() {
        let service = Some("service=git-upload-pack");
        for path in [
            "",
            "a/b/info/refs",
            "//a/b/info/refs",
            "/a//b/info/refs",
            "/a/b//info/refs",
            "/a/b/info/refs/",
            "/./a/b/info/refs",
            "/../a/b/info/refs",
            "/a/../b/info/refs",
            "/a/%2e%2e/info/refs",
            "/a/%2E./info/refs",
            "/a/b%00/info/refs",
            "/a%2Fb/info/refs",
            "/a%2fb/c/info/refs",
            "/a/b/info%2Frefs",
            "/a/b/objects/../../../../etc/passwd",
            "/a/b/objects/%2e%2e/%2e%2e/granary.db",
            "/a/b%/info/refs",
            "/a/b%4/info/refs",
            "/a/b%zz/info/refs",
            "/a/%ff%fe/info/refs",
            "/a/b\u{7f}/info/refs",
            "/a/%0d%0aX-Evil:1/info/refs",
        ] {
            let got = Route::parse(&Method::GET, Origin::Whole, path, service);
            assert_eq!(got, Err(NoRoute::NotFound(Dialect::Hub)), "{path:?}");
        }
        // A backslash or a wide slash is a character, and no name has it.
        for path in ["/a/..%5Cb/info/refs", "/a/b%EF%BC%8Fc/info/refs", "/a/%25%32%65/info/refs"] {
            let got = Route::parse(&Method::GET, Origin::Whole, path, service).unwrap();
            assert_eq!(
                got,
                Route::InfoRefs { repo: nameless(false), service: Service::UploadPack },
                "{path:?}"
            );
        }
    }

    #[test]
    fn long_paths_are_refused_at_the_bound() {
        let at = format!("/a/{}", "b".repeat(PATH_BYTES_MAX - 3));
        assert_eq!(
            Route::parse(&Method::GET, Origin::Whole, &at, None),
            Err(NoRoute::NotFound(Dialect::Hub))
        );
        assert_eq!(Route::parse(&Method::GET, Origin::Whole, &format!("{at}b"), None), Err(NoRoute::TooLong));
    }

    #[test]
    fn the_operators_routes_move_to_their_listener() {
        let at = |origin, path| Route::parse(&Method::GET, origin, path, None);
        assert_eq!(at(Origin::Operator, "/metrics"), Ok(Route::Metrics));
        assert_eq!(at(Origin::Operator, "/"), Err(NoRoute::NotFound(Dialect::Plain)));
        assert_eq!(at(Origin::Public, "/metrics"), Err(NoRoute::NotFound(Dialect::Hub)));
        assert_eq!(at(Origin::Public, "/healthz"), Err(NoRoute::NotFound(Dialect::Hub)));
        assert_eq!(at(Origin::Public, "/"), Ok(Route::Home));
    }

    #[test]
    fn redirects_keep_the_suffix() {
        let repo = "datasets/Acme/Data".parse().unwrap();
        assert_eq!(target("datasets/acme/data", true).url_path(&repo), "/datasets/Acme/Data.git");
        assert_eq!(target("datasets/acme/data", false).url_path(&repo), "/datasets/Acme/Data");
    }
}
