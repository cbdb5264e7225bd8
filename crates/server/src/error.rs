//! The only place where an error becomes a response.
//!
//! Handlers return [`Error`]; the route's [`Dialect`] decides in whose words it is written. What is unexpected stays
//! opaque: the client gets "internal error" and the request's id, the log gets the whole chain, once, here. Errors of
//! git's own conversation, once that has begun, go in-band with status 200: [`git_refusal`].

use auth::{AuthError, Denied, MalformedHeader};
use bytes::Bytes;
use database::{DbError, Oid};
use git_protocol::{Service, pktline};
use http::{HeaderValue, Response, StatusCode, header};
use hub::HubError;
use lfs::wire::{Failure, MEDIA_TYPE};
use repository::snapshot::SnapshotError;

use crate::free::Full;
use crate::http::Body;
use crate::route::{Dialect, NoRoute};
use crate::spool::Broken;
use crate::staging::StagingError;

/// Why a request is not answered as hoped. The texts are for users.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is nothing at this address")]
    NotFound,
    #[error("this address takes {0} only")]
    Method(&'static str),
    #[error("the address is too long")]
    UriTooLong,
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("the Content-Type of this request must be {0}")]
    MediaType(&'static str),
    #[error("Content-Encoding '{0}' is not supported; use gzip or none")]
    Encoding(String),
    #[error("a commit cannot be sent with Content-Encoding '{0}'; send it as it is")]
    EncodedCommit(String),
    #[error("the request is larger than the {max} bytes that are accepted here")]
    TooLarge { max: u64 },
    /// The same, of what is in it.
    #[error("{0}")]
    TooMany(String),
    #[error("the request arrived too slowly")]
    Slow,
    /// The client went away while it was sending; nobody reads the response.
    #[error("the request was cut short")]
    CutShort,
    #[error(
        "this server speaks the smart HTTP protocol for git-upload-pack and git-receive-pack only; \
         use a git client that does (any since 1.6.6), and check that no proxy removes '?service=' from the URL"
    )]
    SmartOnly,
    /// Anonymous; also for what does not exist, so that nobody learns what does.
    #[error("authentication required: give an access token as the password")]
    Unauthenticated,
    /// A credential was given and does not count.
    #[error("Invalid credentials in Authorization header: {0}")]
    Credential(String),
    #[error("repository not found")]
    RepoNotFound,
    #[error("{0}")]
    Forbidden(&'static str),
    /// The same, in words made for the occasion.
    #[error("{0}")]
    NotAllowed(String),
    /// The following are told to clients of the Hub's API.
    #[error("{0}")]
    Malformed(String),
    #[error("Invalid rev id: {0}")]
    RevisionNotFound(String),
    #[error("{message}")]
    EntryNotFound { message: String, commit: Oid },
    /// Of a bucket.
    #[error("{0}")]
    NoSuchFile(String),
    #[error(
        "Access to {kind} {repo} is restricted and you are not in the authorized list. Ask its owner for access."
    )]
    Gated { kind: &'static str, repo: String, anonymous: bool },
    /// They asked, and were not let in.
    #[error("{0}")]
    NotLetIn(String),
    /// To the address that the repository has now.
    #[error("the repository was renamed: {0}")]
    Moved(String),
    #[error("{0}")]
    Stale(String),
    /// A repository that is to be made is there already, under this address.
    #[error("{message}")]
    Exists { message: String, url: String },
    /// The same of a collection, by its slug.
    #[error("{message}")]
    CollectionExists { message: String, slug: String },
    #[error("{0}")]
    NotImplemented(String),
    #[error("{0}")]
    QuotaExceeded(String),
    #[error("{0}; try again in a moment")]
    TryAgain(String),
    /// Passes soon. 429 and not 503, since git (from 2.54) waits and tries again for that alone.
    #[error("the server is busy: {0}; try again in a moment")]
    Busy(&'static str),
    #[error("the server is stopping; try again in a moment")]
    Draining,
    #[error("nothing can be written at the moment: {0}")]
    DiskFull(String),
    /// The following are told to clients of Git LFS, who show the text.
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Gone(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Unprocessable(String),
    /// An address that was handed out is of no use, or not any more. git-lfs asks for another one.
    #[error("{0}")]
    LinkRefused(String),
    #[error("there are no such bytes: the object has {size}")]
    NoSuchRange { size: u64 },
    /// The body says which lock is there already.
    #[error("already locked")]
    Locked(Bytes),
    /// Passes, once somebody has looked after the bucket.
    #[error("large objects cannot be reached at the moment; try again in a few minutes")]
    StoreDown(#[source] storage::StoreError),
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The same, where whoever found out has written the log line.
    #[error("internal error")]
    InternalLogged,
}

/// What a refused push is told, wherever in the conversation it happens.
pub const PUSH_FORBIDDEN: &str = "you may read this repository but not write to it";

const REALM: HeaderValue = HeaderValue::from_static("Basic realm=\"Granary\"");
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");
const LFS_AUTHENTICATE: &str = "lfs-authenticate";
const LFS_DOCUMENTATION: &str = "https://github.com/git-lfs/git-lfs/tree/main/docs/api";
const INVALID_CREDENTIALS: &str = "Invalid credentials in Authorization header";
/// Proxies refuse an answer with more.
const HEADER_TEXT_MAX: usize = 2048;
const ERROR_CODE: &str = "x-error-code";
const ERROR_MESSAGE: &str = "x-error-message";

impl Error {
    pub fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Internal(Box::new(error))
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Error::NotFound | Error::RepoNotFound => StatusCode::NOT_FOUND,
            Error::RevisionNotFound(_) | Error::EntryNotFound { .. } | Error::NoSuchFile(_) => {
                StatusCode::NOT_FOUND
            }
            Error::Malformed(_) => StatusCode::BAD_REQUEST,
            Error::NotAllowed(_) | Error::NotLetIn(_) => StatusCode::FORBIDDEN,
            Error::Gated { anonymous: true, .. } => StatusCode::UNAUTHORIZED,
            Error::Gated { anonymous: false, .. } => StatusCode::FORBIDDEN,
            Error::Moved(_) => StatusCode::TEMPORARY_REDIRECT,
            Error::Stale(_) => StatusCode::PRECONDITION_FAILED,
            Error::Exists { .. } | Error::CollectionExists { .. } => StatusCode::CONFLICT,
            Error::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Error::QuotaExceeded(_) => StatusCode::INSUFFICIENT_STORAGE,
            Error::TryAgain(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Error::UriTooLong => StatusCode::URI_TOO_LONG,
            Error::BadRequest(_) | Error::CutShort => StatusCode::BAD_REQUEST,
            Error::MediaType(_) | Error::Encoding(_) | Error::EncodedCommit(_) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Error::TooLarge { .. } | Error::TooMany(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Error::Slow => StatusCode::REQUEST_TIMEOUT,
            Error::SmartOnly | Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::Unauthenticated | Error::Credential(_) => StatusCode::UNAUTHORIZED,
            Error::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::Draining | Error::StoreDown(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Missing(_) => StatusCode::NOT_FOUND,
            Error::Gone(_) => StatusCode::GONE,
            Error::Conflict(_) | Error::Locked(_) => StatusCode::CONFLICT,
            Error::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::LinkRefused(_) => StatusCode::FORBIDDEN,
            Error::NoSuchRange { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Error::DiskFull(_) => StatusCode::INSUFFICIENT_STORAGE,
            Error::Internal(_) | Error::InternalLogged => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Writes the response, and the log line if the error is ours.
    pub fn into_response(self, dialect: Dialect, request_id: &str) -> Response<Body> {
        let message = match &self {
            Error::Internal(source) => {
                tracing::error!(request_id, error = %chain(source.as_ref()), "internal error");
                format!("internal error (request {request_id})")
            }
            Error::InternalLogged => format!("internal error (request {request_id})"),
            Error::StoreDown(source) => {
                tracing::warn!(request_id, error = %chain(source), "the object store failed a request");
                self.to_string()
            }
            other => other.to_string(),
        };
        let (content_type, body) = match dialect {
            Dialect::Lfs => (MEDIA_TYPE, self.lfs_body(&message, request_id)),
            Dialect::Git | Dialect::Plain => ("text/plain; charset=utf-8", format!("{message}\n")),
            Dialect::Hub | Dialect::Xet => ("application/json", self.hub_body(&message)),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if dialect == Dialect::Hub {
            headers.insert(ERROR_CODE, HeaderValue::from_static(self.code()));
            let told = match &self {
                // Word for word, or the client takes it for a missing repository.
                Error::Credential(_) => INVALID_CREDENTIALS,
                _ => &message,
            };
            headers.insert(ERROR_MESSAGE, header_text(told));
        }
        match self {
            // Which a browser does not turn into a dialogue.
            Error::Unauthenticated | Error::Credential(_) | Error::Gated { anonymous: true, .. }
                if dialect == Dialect::Lfs =>
            {
                headers.insert(LFS_AUTHENTICATE, REALM);
            }
            // Without it git sends no credentials, also if it has some.
            Error::Unauthenticated | Error::Credential(_) | Error::Gated { anonymous: true, .. } => {
                headers.insert(header::WWW_AUTHENTICATE, REALM);
            }
            Error::NoSuchRange { size } => {
                headers.insert(header::CONTENT_RANGE, content_range_of_none(size));
            }
            // By which clients remember that the file is not in this commit.
            Error::EntryNotFound { commit, .. } => {
                let commit = HeaderValue::try_from(commit.to_string()).expect("because it is hexadecimal");
                headers.insert(crate::hub::REPO_COMMIT, commit);
            }
            Error::Busy(_) | Error::Draining | Error::StoreDown(_) | Error::TryAgain(_) => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            Error::Moved(location) => {
                // Made of an address, so that it is ASCII; in whole, unlike messages.
                if let Ok(location) = HeaderValue::try_from(location) {
                    headers.insert(header::LOCATION, location);
                }
            }
            Error::Method(allow) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            _ => {}
        }
        response
    }

    /// Clients go on with the address of what they wanted to make.
    fn hub_body(&self, message: &str) -> String {
        let document = match self {
            Error::Exists { url, .. } => serde_json::json!({ "error": message, "url": url }),
            Error::CollectionExists { slug, .. } => serde_json::json!({ "error": message, "slug": slug }),
            _ => serde_json::json!({ "error": message }),
        };
        document.to_string()
    }

    /// git-lfs prints the message.
    fn lfs_body(&self, message: &str, request_id: &str) -> String {
        match self {
            Error::Locked(body) => String::from_utf8_lossy(body).into_owned(),
            _ => {
                let failure = Failure { message, documentation_url: Some(LFS_DOCUMENTATION), request_id };
                String::from_utf8_lossy(&failure.to_json()).into_owned()
            }
        }
    }

    /// `X-Error-Code`, by which `huggingface_hub` chooses the exception.
    fn code(&self) -> &'static str {
        match self {
            Error::NotFound | Error::Missing(_) => "NotFound",
            Error::Unauthenticated | Error::RepoNotFound => "RepoNotFound",
            Error::RevisionNotFound(_) => "RevisionNotFound",
            Error::EntryNotFound { .. } | Error::NoSuchFile(_) => "EntryNotFound",
            Error::Gated { .. } | Error::NotLetIn(_) => "GatedRepo",
            Error::NotAllowed(_) => "Forbidden",
            Error::Moved(_) => "Moved",
            Error::Stale(_) => "PreconditionFailed",
            Error::Exists { .. } | Error::CollectionExists { .. } | Error::Conflict(_) => "Conflict",
            Error::NotImplemented(_) => "NotImplemented",
            Error::QuotaExceeded(_) => "QuotaExceeded",
            Error::TryAgain(_) => "Busy",
            Error::Credential(_) => "InvalidCredentials",
            Error::Forbidden(_) | Error::SmartOnly => "Forbidden",
            Error::Busy(_) | Error::Draining | Error::StoreDown(_) => "Busy",
            Error::DiskFull(_) => "DiskFull",
            Error::Internal(_) | Error::InternalLogged => "InternalError",
            Error::TooLarge { .. } | Error::TooMany(_) => "TooLarge",
            Error::Gone(_) => "Gone",
            Error::Locked(_) => "Locked",
            Error::LinkRefused(_) => "Forbidden",
            Error::Unprocessable(_) => "UnprocessableEntity",
            Error::Method(_) => "MethodNotAllowed",
            Error::UriTooLong => "UriTooLong",
            Error::MediaType(_) | Error::Encoding(_) | Error::EncodedCommit(_) => "UnsupportedMediaType",
            Error::NoSuchRange { .. } => "RangeNotSatisfiable",
            Error::Slow => "Timeout",
            Error::BadRequest(_) | Error::Malformed(_) | Error::CutShort => "BadRequest",
        }
    }
}

/// The answer to a git request that was understood well enough to be refused in git's own way: status 200 and an `ERR`
/// packet, which git prints behind `fatal: remote error:`. The text of any other status it would not show.
pub fn git_refusal(service: Service, message: &str) -> Response<Body> {
    git_answer(service, pktline::error_body(message))
}

/// As [`git_refusal`], for `body` that already is in git's form.
pub fn git_answer(service: Service, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    let content_type = HeaderValue::from_static(service.result_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// An error and its causes, for the log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent wrappers repeat what they wrap.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl From<NoRoute> for Error {
    fn from(no_route: NoRoute) -> Error {
        match no_route {
            NoRoute::NotFound(_) => Error::NotFound,
            NoRoute::Method { allow, .. } => Error::Method(allow),
            NoRoute::TooLong => Error::UriTooLong,
        }
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Error {
        match denied {
            Denied::Unauthenticated => Error::Unauthenticated,
            Denied::NotFound => Error::RepoNotFound,
            Denied::Forbidden => Error::Forbidden(PUSH_FORBIDDEN),
            // Who knows the name says it: see `door`.
            Denied::Gated { anonymous } => {
                Error::Gated { kind: "repository", repo: String::new(), anonymous }
            }
        }
    }
}

impl From<HubError> for Error {
    fn from(error: HubError) -> Error {
        let text = error.to_string();
        match error {
            HubError::Denied(denied) => denied.into(),
            HubError::RepoNotFound => Error::RepoNotFound,
            HubError::RevisionNotFound(revision) => Error::RevisionNotFound(revision),
            HubError::EntryNotFound { message, commit } => Error::EntryNotFound { message, commit },
            HubError::Invalid(_) => Error::Malformed(text),
            HubError::Unprocessable(_) => Error::Unprocessable(text),
            HubError::Forbidden(_) => Error::NotAllowed(text),
            HubError::NotFound(_) => Error::Missing(text),
            HubError::Gone(_) => Error::Gone(text),
            HubError::Conflict(_) => Error::Conflict(text),
            HubError::Exists { path, .. } => Error::Exists { message: text, url: format!("/{path}") },
            HubError::BucketExists { path } => {
                Error::Exists { message: text, url: format!("/buckets/{path}") }
            }
            HubError::NoSuchFile(_) => Error::NoSuchFile(text),
            HubError::CollectionExists { slug } => Error::CollectionExists { message: text, slug },
            HubError::Stale(_) => Error::Stale(text),
            HubError::TooLarge(_) => Error::TooMany(text),
            HubError::QuotaExceeded(_) => Error::QuotaExceeded(text),
            HubError::Busy(_) => Error::TryAgain(text),
            HubError::NotImplemented(_) => Error::NotImplemented(text),
            HubError::Full => Error::DiskFull("the disk is full".to_owned()),
            HubError::Store(error) => crate::lfs::unreadable(error),
            HubError::Internal(source) => Error::Internal(source),
        }
    }
}

impl From<MalformedHeader> for Error {
    fn from(malformed: MalformedHeader) -> Error {
        Error::Credential(malformed.to_string())
    }
}

impl From<AuthError> for Error {
    fn from(error: AuthError) -> Error {
        match error {
            AuthError::Db(error) => error.into(),
            refused => Error::Credential(refused.to_string()),
        }
    }
}

impl From<DbError> for Error {
    fn from(error: DbError) -> Error {
        match error {
            DbError::Full => Error::DiskFull(error.to_string()),
            DbError::Closed => Error::Draining,
            other => Error::internal(other),
        }
    }
}

impl From<SnapshotError> for Error {
    fn from(error: SnapshotError) -> Error {
        match error {
            // Deleted since the right to it was granted, a moment ago.
            SnapshotError::Gone => Error::RepoNotFound,
            other => Error::internal(other),
        }
    }
}

impl From<Full> for Error {
    fn from(full: Full) -> Error {
        Error::DiskFull(full.to_string())
    }
}

impl From<StagingError> for Error {
    fn from(error: StagingError) -> Error {
        match error {
            StagingError::NoRoom => Error::Busy("too much is being sent to it"),
            StagingError::Full(full) => full.into(),
            StagingError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                Error::DiskFull("the disk is full".to_owned())
            }
            StagingError::Io(error) => Error::internal(error),
        }
    }
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Error {
        match broken {
            Broken::Busy => Error::Busy("too many fetches are being prepared"),
            Broken::NoRoom => Error::Busy("too much is being downloaded"),
            Broken::DiskFull => Error::DiskFull("the disk is nearly full".to_owned()),
            Broken::Failed => Error::InternalLogged,
        }
    }
}

fn content_range_of_none(size: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{size}")).expect("because it is ASCII")
}

/// Headers hold visible ASCII; what a message quotes may not be.
fn header_text(message: &str) -> HeaderValue {
    let text: Bytes = message
        .bytes()
        .take(HEADER_TEXT_MAX)
        .map(|byte| if matches!(byte, b' '..=b'~') { byte } else { b'?' })
        .collect();
    HeaderValue::from_maybe_shared(text).expect("because every byte is visible ASCII or a space")
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use http_body_util::BodyExt;

    use super::*;

    /// Status, headers that matter and body, as a client sees them.
    async fn rendered(error: Error, dialect: Dialect) -> String {
        let (parts, body) = error.into_response(dialect, "req-1").into_parts();
        let mut text = parts.status.as_u16().to_string();
        for name in [
            "allow",
            "content-range",
            "content-type",
            "lfs-authenticate",
            "retry-after",
            "www-authenticate",
            ERROR_CODE,
            ERROR_MESSAGE,
        ] {
            if let Some(value) = parts.headers.get(name) {
                text += &format!("\n{name}: {}", value.to_str().unwrap());
            }
        }
        let mut body = body.collect().await.unwrap().aggregate();
        let body = body.copy_to_bytes(body.remaining());
        text + "\n\n" + std::str::from_utf8(&body).unwrap()
    }

    #[tokio::test]
    async fn git_reads_text() {
        assert_eq!(
            rendered(Error::Unauthenticated, Dialect::Git).await,
            "401\ncontent-type: text/plain; charset=utf-8\nwww-authenticate: Basic realm=\"Granary\"\n\n\
             authentication required: give an access token as the password\n"
        );
        assert_eq!(
            rendered(Error::Busy("x"), Dialect::Git).await,
            "429\ncontent-type: text/plain; charset=utf-8\nretry-after: 5\n\nthe server is busy: x; try again in a moment\n"
        );
        assert_eq!(
            rendered(Error::Method("POST"), Dialect::Git).await,
            "405\nallow: POST\ncontent-type: text/plain; charset=utf-8\n\nthis address takes POST only\n"
        );
    }

    #[tokio::test]
    async fn the_hub_reads_json_and_headers() {
        assert_eq!(
            rendered(Error::NotFound, Dialect::Hub).await,
            "404\ncontent-type: application/json\nx-error-code: NotFound\n\
             x-error-message: there is nothing at this address\n\n{\"error\":\"there is nothing at this address\"}"
        );
        let hostile = Error::Encoding("a\r\nX-Evil: \u{e9}".to_owned());
        let text = rendered(hostile, Dialect::Hub).await;
        assert!(text.contains("x-error-message: Content-Encoding 'a??X-Evil: ??' is not"), "{text}");
    }

    #[tokio::test]
    async fn git_lfs_reads_a_message() {
        let body = |message: &str| {
            format!(
                "{{\"message\":\"{message}\",\"documentation_url\":\"{LFS_DOCUMENTATION}\",\"request_id\":\"req-1\"}}"
            )
        };
        let full = || Error::DiskFull("x".to_owned());
        let down = || Error::StoreDown(storage::StoreError::Refused("AccessDenied: s3cret".to_owned()));
        let table = [
            (
                Error::Unauthenticated,
                "401\ncontent-type: application/vnd.git-lfs+json\nlfs-authenticate: Basic realm=\"Granary\"",
                "authentication required: give an access token as the password",
            ),
            (
                Error::Forbidden(PUSH_FORBIDDEN),
                "403\ncontent-type: application/vnd.git-lfs+json",
                PUSH_FORBIDDEN,
            ),
            (Error::RepoNotFound, "404\ncontent-type: application/vnd.git-lfs+json", "repository not found"),
            (
                Error::TooLarge { max: 5 },
                "413\ncontent-type: application/vnd.git-lfs+json",
                "the request is larger than the 5 bytes that are accepted here",
            ),
            (
                Error::NoSuchRange { size: 7 },
                "416\ncontent-range: bytes */7\ncontent-type: application/vnd.git-lfs+json",
                "there are no such bytes: the object has 7",
            ),
            (Error::Unprocessable("no".to_owned()), "422\ncontent-type: application/vnd.git-lfs+json", "no"),
            (
                Error::Busy("x"),
                "429\ncontent-type: application/vnd.git-lfs+json\nretry-after: 5",
                "the server is busy: x; try again in a moment",
            ),
            (
                down(),
                "503\ncontent-type: application/vnd.git-lfs+json\nretry-after: 5",
                "large objects cannot be reached at the moment; try again in a few minutes",
            ),
            (
                full(),
                "507\ncontent-type: application/vnd.git-lfs+json",
                "nothing can be written at the moment: x",
            ),
        ];
        for (error, head, message) in table {
            assert_eq!(rendered(error, Dialect::Lfs).await, format!("{head}\n\n{}", body(message)));
        }
        let lock = Bytes::from_static(b"{\"lock\":{}}");
        let locked = rendered(Error::Locked(lock), Dialect::Lfs).await;
        assert!(locked.starts_with("409") && locked.ends_with("\n\n{\"lock\":{}}"), "{locked}");
    }

    #[tokio::test]
    async fn the_unexpected_stays_opaque() {
        let error = Error::internal(std::io::Error::other("secret path /srv/data"));
        for dialect in [Dialect::Git, Dialect::Lfs, Dialect::Hub, Dialect::Plain] {
            let text = rendered(Error::internal(std::io::Error::other("secret path")), dialect).await;
            assert!(text.starts_with("500") && text.contains("req-1") && !text.contains("secret"), "{text}");
        }
        assert!(matches!(error, Error::Internal(_)));
    }

    #[test]
    fn missing_and_private_are_one_answer() {
        let missing = Denied::missing(&auth::Identity::Anonymous);
        assert!(matches!(Error::from(missing), Error::Unauthenticated));
        assert!(matches!(Error::from(Denied::NotFound), Error::RepoNotFound));
    }

    #[test]
    fn chains_say_each_thing_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read the pack")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(chain(&Outer(std::io::Error::other("no"))), "cannot read the pack: no");
        let transparent = StagingError::from(std::io::Error::other("no"));
        assert_eq!(chain(&transparent), "staging: no");
    }
}
