//! What a request is for: one closed enum, and what holds for each of its variants.
//!
//! The raw path is split first and each segment decoded after, so that an encoded slash never becomes a separator.
//! The names in logs (`route=`) and in metrics come from [`Route::policy`].

use std::borrow::Cow;

use database::{RepoKind, RepoPath, Sha256, names};
use git_protocol::Service;
use http::Method;
use percent_encoding::percent_decode_str;

use crate::hub_route::{BucketRoute, HubRoute};
use crate::xet_route::XetRoute;

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
    /// `POST …/info/lfs/objects/batch`: which objects are to be moved, and how.
    LfsBatch { repo: Target },
    /// `GET …/info/lfs/locks`
    LfsLocks { repo: Target },
    /// `POST …/info/lfs/locks`
    LfsLock { repo: Target },
    /// `POST …/info/lfs/locks/verify`: ours and theirs, before every push.
    LfsLocksVerify { repo: Target },
    /// `POST …/info/lfs/locks/{id}/unlock`
    LfsUnlock { repo: Target, id: String },
    /// `GET /api/lfs/objects/{oid}`, with a token in its query, as all that follow.
    LfsDownload { sha256: Sha256 },
    /// `PUT /api/lfs/objects/{oid}`
    LfsUpload { sha256: Sha256 },
    /// `PUT /api/lfs/objects/{oid}/parts/{n}`
    LfsPart { sha256: Sha256, number: u32 },
    /// `POST /api/lfs/objects/{oid}/complete`: the parts are one object now.
    LfsComplete { sha256: Sha256 },
    /// `POST /api/lfs/objects/{oid}/verify`: what was uploaded past this server is there.
    LfsVerify { sha256: Sha256 },
    /// The Hub's API.
    Hub(HubRoute),
    /// The Xet CAS.
    Xet(XetRoute),
    /// `OPTIONS`: a browser asks for a page of another origin.
    Preflight,
    /// Below `datasets-server.HOST`, where `datasets` looks for a service that is not here.
    DatasetsServer,
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
    /// JSON of which git-lfs shows the `message`.
    Lfs,
    /// JSON with `X-Error-Code` and `X-Error-Message`, as `huggingface_hub` reads them.
    Hub,
    /// JSON of which `hf_xet` shows nothing, but logs all.
    Xet,
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
    /// A JSON document of Git LFS.
    Lfs,
    /// The bytes of an object, as many as its token says.
    Object,
    /// A JSON document of the Hub's API.
    Hub,
    /// A commit with its files.
    Commit,
    /// A shard, or a list of files.
    Shard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheClass {
    /// The three headers that git sends, for caches of any age.
    GitNever,
    /// `Cache-Control: no-store`
    Never,
    /// `Cache-Control: no-cache`: may be kept, must be asked for again.
    Revalidate,
    /// What the address gives never changes, but it is for one client: errors excepted, kept as long as an address lives.
    Immutable,
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

/// Longer ones name nothing: a file's path has up to 4096 bytes, and each may be percent-encoded.
pub const PATH_BYTES_MAX: usize = 14 << 10;

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
        if origin != Origin::Operator
            && let Some(route) = hub(method, raw_path)
        {
            return if method == Method::OPTIONS { Ok(Route::Preflight) } else { route.map(Route::Hub) };
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
        if method == Method::OPTIONS && (is_of_lfs(&segments) || segments[0] == "cas") {
            return Ok(Route::Preflight);
        }
        match segments.as_slice() {
            [""] => only(method, Dialect::Plain, GET, Route::Home),
            [kind @ ("datasets" | "spaces"), namespace, name, rest @ ..] => {
                let kind = if *kind == "datasets" { RepoKind::Dataset } else { RepoKind::Space };
                git(method, kind, namespace, name, rest, query)
            }
            ["api", "lfs", "objects", oid, rest @ ..] => lfs_object(method, oid, rest),
            ["cas", _, rest @ ..] => XetRoute::parse(method, rest).map(Route::Xet),
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
            Route::LfsBatch { .. } => ("lfs.batch", Dialect::Lfs, BodyLimit::Lfs, CacheClass::Never),
            Route::LfsLocks { .. } => ("lfs.locks", Dialect::Lfs, BodyLimit::None, CacheClass::Never),
            Route::LfsLock { .. } => ("lfs.lock", Dialect::Lfs, BodyLimit::Lfs, CacheClass::Never),
            Route::LfsLocksVerify { .. } => {
                ("lfs.locks.verify", Dialect::Lfs, BodyLimit::Lfs, CacheClass::Never)
            }
            Route::LfsUnlock { .. } => ("lfs.unlock", Dialect::Lfs, BodyLimit::Lfs, CacheClass::Never),
            Route::LfsDownload { .. } => {
                ("lfs.download", Dialect::Lfs, BodyLimit::None, CacheClass::Immutable)
            }
            Route::LfsUpload { .. } => ("lfs.upload", Dialect::Lfs, BodyLimit::Object, CacheClass::Never),
            Route::LfsPart { .. } => ("lfs.part", Dialect::Lfs, BodyLimit::Object, CacheClass::Never),
            Route::LfsComplete { .. } => ("lfs.complete", Dialect::Lfs, BodyLimit::Lfs, CacheClass::Never),
            Route::LfsVerify { .. } => ("lfs.verify", Dialect::Lfs, BodyLimit::Lfs, CacheClass::Never),
            Route::Hub(route) => {
                let body = match route {
                    route if route.takes_files() => BodyLimit::Commit,
                    route if route.takes_a_body() => BodyLimit::Hub,
                    _ => BodyLimit::None,
                };
                let cache = match route {
                    HubRoute::XetToken { .. } | HubRoute::Buckets(BucketRoute::XetToken { .. }) => {
                        CacheClass::Never
                    }
                    _ => CacheClass::Revalidate,
                };
                (route.name(), Dialect::Hub, body, cache)
            }
            Route::Xet(route) => {
                let (body, cache) = match route {
                    XetRoute::Xorb { .. } => (BodyLimit::Object, CacheClass::Never),
                    XetRoute::Shard | XetRoute::ShardStream | XetRoute::Reconstructions => {
                        (BodyLimit::Shard, CacheClass::Never)
                    }
                    XetRoute::XorbGrant { .. } => (BodyLimit::Hub, CacheClass::Never),
                    XetRoute::Data { .. } => (BodyLimit::None, CacheClass::Immutable),
                    _ => (BodyLimit::None, CacheClass::Never),
                };
                (route.name(), Dialect::Xet, body, cache)
            }
            Route::Preflight => ("preflight", Dialect::Hub, BodyLimit::None, CacheClass::Revalidate),
            Route::DatasetsServer => {
                ("hub.datasets-server", Dialect::Hub, BodyLimit::None, CacheClass::Never)
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
            NoRoute::TooLong => Dialect::Hub,
        };
        Policy { name: "none", dialect, body: BodyLimit::None, cache: CacheClass::Never }
    }
}

impl Target {
    /// A repository that no name leads to.
    pub(crate) fn nowhere() -> Target {
        Target { path: None, dot_git: false }
    }

    pub(crate) fn new(kind: RepoKind, namespace: &str, name: &str) -> Target {
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
const PUT: &str = "PUT";
const GET_OR_POST: &str = "GET, HEAD, POST";
const GET_OR_PUT: &str = "GET, HEAD, PUT";

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

/// `None` if the address is none of the Hub's API.
fn hub(method: &Method, raw_path: &str) -> Option<Result<HubRoute, NoRoute>> {
    let segments: Vec<&str> = raw_path.strip_prefix('/')?.split('/').collect();
    match segments.as_slice() {
        ["api", "lfs", ..] => None,
        ["api", rest @ ..] => Some(match HubRoute::api(method, rest) {
            // The Hub has more words where this one has names only, as in /api/spaces/hardware.
            nothing @ (Err(NoRoute::NotFound(_))
            | Ok(HubRoute::Info { repo: Target { path: None, .. }, .. })) => {
                HubRoute::refused(method, &segments).unwrap_or(nothing)
            }
            route => route,
        }),
        [kind @ ("datasets" | "spaces"), namespace, name, verb @ ("resolve" | "raw"), rest @ ..] => {
            let kind = if *kind == "datasets" { RepoKind::Dataset } else { RepoKind::Space };
            Some(HubRoute::file(method, Target::new(kind, namespace, name), verb, rest))
        }
        [kind @ ("datasets" | "spaces"), namespace, name, "ask-access"] => {
            let kind = if *kind == "datasets" { RepoKind::Dataset } else { RepoKind::Space };
            Some(HubRoute::ask_access(method, Target::new(kind, namespace, name)))
        }
        ["buckets", namespace, name, "resolve", rest @ ..] if !rest.is_empty() => {
            Some(HubRoute::bucket_file(method, namespace, name, rest))
        }
        [first, ..] if is_reserved(first) => HubRoute::refused(method, &segments),
        [namespace, name, "ask-access"] => {
            Some(HubRoute::ask_access(method, Target::new(RepoKind::Model, namespace, name)))
        }
        [namespace, name, verb @ ("resolve" | "raw"), rest @ ..] => {
            Some(HubRoute::file(method, Target::new(RepoKind::Model, namespace, name), verb, rest))
        }
        // A name without namespace, which nothing here has.
        [_, verb @ ("resolve" | "raw"), _, _, ..] => {
            Some(HubRoute::file(method, Target::nowhere(), verb, &segments[2..]))
        }
        _ => HubRoute::refused(method, &segments),
    }
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
        ["info", "lfs", rest @ ..] => return lfs(method, repo, rest),
        _ => return Err(NoRoute::NotFound(Dialect::Hub)),
    };
    only(method, Dialect::Git, allow, route)
}

/// A page may ask for these, too.
fn is_of_lfs(segments: &[&str]) -> bool {
    match segments {
        ["api", "lfs", "objects", ..] => true,
        ["datasets" | "spaces", _, _, rest @ ..] | [_, _, rest @ ..] => matches!(rest, ["info", "lfs", ..]),
        _ => false,
    }
}

/// Below `…/info/lfs`.
fn lfs(method: &Method, repo: Target, rest: &[&str]) -> Result<Route, NoRoute> {
    let (allow, route) = match rest {
        ["objects", "batch"] => (POST, Route::LfsBatch { repo }),
        ["locks"] if method == Method::POST => (GET_OR_POST, Route::LfsLock { repo }),
        ["locks"] => (GET_OR_POST, Route::LfsLocks { repo }),
        ["locks", "verify"] => (POST, Route::LfsLocksVerify { repo }),
        ["locks", id, "unlock"] => (POST, Route::LfsUnlock { repo, id: (*id).to_owned() }),
        _ => return Err(NoRoute::NotFound(Dialect::Lfs)),
    };
    only(method, Dialect::Lfs, allow, route)
}

/// Below `/api/lfs/objects/{oid}`.
fn lfs_object(method: &Method, oid: &str, rest: &[&str]) -> Result<Route, NoRoute> {
    let missing = NoRoute::NotFound(Dialect::Lfs);
    let sha256: Sha256 = oid.parse().map_err(|_| missing)?;
    let (allow, route) = match rest {
        [] if method == Method::PUT => (GET_OR_PUT, Route::LfsUpload { sha256 }),
        [] => (GET_OR_PUT, Route::LfsDownload { sha256 }),
        ["parts", number] => (PUT, Route::LfsPart { sha256, number: number.parse().map_err(|_| missing)? }),
        ["complete"] => (POST, Route::LfsComplete { sha256 }),
        ["verify"] => (POST, Route::LfsVerify { sha256 }),
        _ => return Err(missing),
    };
    only(method, Dialect::Lfs, allow, route)
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
            ("GET", "/api/models", None, Ok(Route::Hub(HubRoute::List { kind: RepoKind::Model }))),
            ("OPTIONS", "/api/models", None, Ok(Route::Preflight)),
            ("GET", "/api/nothing", None, not_found.clone()),
            ("GET", "/API/b/info/refs", Some("service=git-upload-pack"), not_found.clone()),
            ("GET", "/models/a/b/info/refs", Some("service=git-upload-pack"), not_found.clone()),
            ("GET", "/datasets/a", None, not_found.clone()),
            // Git LFS.
            (
                "POST",
                "/a/b.git/info/lfs/objects/batch",
                None,
                Ok(Route::LfsBatch { repo: target("a/b", true) }),
            ),
            (
                "POST",
                "/datasets/a/b/info/lfs/objects/batch",
                None,
                Ok(Route::LfsBatch { repo: target("datasets/a/b", false) }),
            ),
            ("POST", "/a/b--c/info/lfs/objects/batch", None, Ok(Route::LfsBatch { repo: nameless(false) })),
            ("GET", "/a/b/info/lfs/objects/batch", None, method(Dialect::Lfs, POST)),
            (
                "GET",
                "/a/b/info/lfs/locks",
                Some("limit=1"),
                Ok(Route::LfsLocks { repo: target("a/b", false) }),
            ),
            ("POST", "/a/b/info/lfs/locks", None, Ok(Route::LfsLock { repo: target("a/b", false) })),
            ("DELETE", "/a/b/info/lfs/locks", None, method(Dialect::Lfs, GET_OR_POST)),
            (
                "POST",
                "/spaces/a/b.git/info/lfs/locks/verify",
                None,
                Ok(Route::LfsLocksVerify { repo: target("spaces/a/b", true) }),
            ),
            (
                "POST",
                "/a/b/info/lfs/locks/verify/unlock",
                None,
                Ok(Route::LfsUnlock { repo: target("a/b", false), id: "verify".to_owned() }),
            ),
            ("POST", "/a/b/info/lfs/locks/x", None, Err(NoRoute::NotFound(Dialect::Lfs))),
            ("GET", "/a/b/info/lfs", None, Err(NoRoute::NotFound(Dialect::Lfs))),
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
    fn addresses_of_objects() {
        let sha256: Sha256 = "01".repeat(32).parse().unwrap();
        let (oid, missing) = (sha256.to_string(), Err(NoRoute::NotFound(Dialect::Lfs)));
        let method = |allow| Err(NoRoute::Method { dialect: Dialect::Lfs, allow });
        let table = [
            ("GET", format!("/api/lfs/objects/{oid}"), Ok(Route::LfsDownload { sha256 })),
            ("HEAD", format!("/api/lfs/objects/{oid}"), Ok(Route::LfsDownload { sha256 })),
            ("PUT", format!("/api/lfs/objects/{oid}"), Ok(Route::LfsUpload { sha256 })),
            ("POST", format!("/api/lfs/objects/{oid}"), method(GET_OR_PUT)),
            ("PUT", format!("/api/lfs/objects/{oid}/parts/7"), Ok(Route::LfsPart { sha256, number: 7 })),
            ("GET", format!("/api/lfs/objects/{oid}/parts/7"), method(PUT)),
            ("PUT", format!("/api/lfs/objects/{oid}/parts/x"), missing.clone()),
            ("PUT", format!("/api/lfs/objects/{oid}/parts/4294967296"), missing.clone()),
            ("POST", format!("/api/lfs/objects/{oid}/complete"), Ok(Route::LfsComplete { sha256 })),
            ("POST", format!("/api/lfs/objects/{oid}/verify"), Ok(Route::LfsVerify { sha256 })),
            ("GET", format!("/api/lfs/objects/{oid}/verify"), method(POST)),
            ("GET", format!("/api/lfs/objects/{oid}/more"), missing.clone()),
            ("GET", format!("/api/lfs/objects/{}", "AB".repeat(32)), missing.clone()),
            ("GET", format!("/api/lfs/objects/{}", &oid[1..]), missing.clone()),
            ("GET", format!("/API/lfs/objects/{oid}"), Err(NoRoute::NotFound(Dialect::Hub))),
            ("GET", "/api/lfs/objects".to_owned(), Err(NoRoute::NotFound(Dialect::Hub))),
        ];
        for (method, path, expected) in table {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let got = Route::parse(&method, Origin::Whole, &path, Some("token=x"));
            assert_eq!(got, expected, "{method} {path}");
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
