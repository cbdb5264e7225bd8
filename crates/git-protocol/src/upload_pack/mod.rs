//! The service behind clone and fetch: from a POST's body to its answer.
//!
//! [`parse`] turns a body into a [`Request`]. [`ls_refs`] answers the one kind; a [`Fetch`] is answered in steps, so that
//! the server can reuse work: [`Fetch::check_wants`], then [`verbatim`] or what is cached under [`Fetch::cache_key`], else
//! [`answer`].
//!
//! Over HTTP every POST stands alone: a client that negotiates in several rounds repeats what both sides know.

mod answer;
mod arguments;
mod fetch;
mod filter;
mod ls_refs;
mod negotiate;
mod stream;
mod v0;
mod v2;
mod verbatim;

pub use answer::{FetchError, answer};
pub use arguments::{Acks, Deepen, Dialect, Fetch, FilterSpec};
pub use filter::FilterError;
pub use ls_refs::{LsRefs, ls_refs};
pub use verbatim::{Verbatim, verbatim};

use crate::pktline::PacketError;
use crate::{Limits, Version};

/// What the body of a `POST git-upload-pack` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// v2 only; v0 and v1 list refs in their advertisement.
    LsRefs(LsRefs),
    /// May want nothing, as when the body is a lone flush packet; then the answer is empty.
    Fetch(Fetch),
}

/// Why a body is no request. Answer it with [`crate::pktline::error_body`]; the texts are for users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("no command requested")]
    NoCommand,
    #[error("invalid command '{0}'")]
    InvalidCommand(String),
    #[error("command '{second}' requested after already requesting command '{first}'")]
    SecondCommand { first: &'static str, second: String },
    #[error("unknown capability '{0}'")]
    UnknownCapability(String),
    #[error("object format capability requires an argument")]
    NoObjectFormat,
    #[error("unknown object format '{0}'")]
    UnknownObjectFormat(String),
    #[error("mismatched object format: server sha1; client {0}")]
    ObjectFormat(String),
    #[error("unexpected line: '{0}'")]
    UnexpectedLine(String),
    #[error("expected flush after {0} arguments")]
    NoFlush(&'static str),
    #[error("git upload-pack: protocol error, expected to get object ID, not '{0}'")]
    Want(String),
    #[error("duplicate want-ref {0}")]
    DuplicateWantRef(String),
    #[error("git upload-pack: expected SHA1 object, got '{0}'")]
    Have(String),
    #[error("git upload-pack: expected SHA1 list, got '{0}'")]
    NoHave(String),
    #[error("invalid shallow line: {0}")]
    Shallow(String),
    #[error("Invalid deepen: {0}")]
    Deepen(String),
    #[error("Invalid deepen-since: {0}")]
    DeepenSince(String),
    #[error("git upload-pack: deepen and deepen-since (or deepen-not) cannot be used together")]
    DeepenConflict,
    #[error("git upload-pack: filtering capability not negotiated")]
    FilterNotNegotiated,
    #[error("multiple filter-specs cannot be combined")]
    SecondFilter,
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A bound of [`Limits`].
    #[error("this server takes at most {max} {what} in one request")]
    TooMany { what: &'static str, max: usize },
}

/// Parses a complete body.
pub fn parse(version: Version, body: &[u8], limits: &Limits) -> Result<Request, RequestError> {
    match version {
        Version::V0 | Version::V1 => v0::parse(body, limits).map(Request::Fetch),
        Version::V2 => v2::parse(body, limits),
    }
}
