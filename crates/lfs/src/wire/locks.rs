//! `…/info/lfs/locks`: to create, list, verify and remove locks.

use std::borrow::Cow;

use database::{Lock, LockId};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ulid::Ulid;

use super::Limits;
use super::json;
use super::time::Instant;

/// `POST …/locks`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// Within the repository; see [`check_path`].
    pub path: String,
    pub ref_name: Option<String>,
}

/// `GET …/locks`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    pub path: Option<String>,
    /// [`NO_LOCK`] if the client asks for what cannot be an id: nothing is found then.
    pub id: Option<LockId>,
    pub page: Page,
}

/// `POST …/locks/verify`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    pub ref_name: Option<String>,
    pub page: Page,
}

/// `POST …/locks/{id}/unlock`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlock {
    pub force: bool,
    pub ref_name: Option<String>,
}

/// Which of the locks are answered at once. The cursor is the last id of the page before, so that locks which vanish
/// in between make none be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub after: Option<LockId>,
    /// 1 to [`Limits::locks`].
    pub limit: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the request has {bytes} bytes, more than the {max} that are taken")]
    TooLarge { bytes: usize, max: usize },
    #[error("the request is not a JSON object: {0}")]
    NotJson(String),
    #[error("the request names no path to lock")]
    NoPath,
    #[error("a path to lock {0}")]
    Path(#[from] PathError),
    #[error("'force' is neither true nor false")]
    Force,
    #[error("the cursor is not one that this server gave")]
    Cursor,
}

/// Why no file of a repository has this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("is not empty")]
    Empty,
    #[error("has at most {max} bytes")]
    TooLong { max: usize },
    #[error("is relative to the root of the repository and does not begin with '/'")]
    Absolute,
    #[error("is that of a file and does not end with '/'")]
    Directory,
    #[error("has no empty parts, no '.' and no '..'")]
    Dots,
    #[error("holds no backslash and no control characters")]
    Character,
    #[error("is not within .git")]
    DotGit,
}

/// An id that no lock has.
pub const NO_LOCK: LockId = LockId(Ulid::nil());

#[derive(Deserialize)]
struct RawBody<'a> {
    #[serde(borrow, default)]
    path: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "ref")]
    reference: Option<&'a RawValue>,
    #[serde(borrow, default)]
    force: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    limit: Option<&'a RawValue>,
}

impl Create {
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Create, Malformed> {
        let raw = read(body, limits)?;
        let path = raw.path.and_then(json::text).ok_or(Malformed::NoPath)?;
        check_path(&path, limits)?;
        Ok(Create { path: path.into_owned(), ref_name: ref_name(&raw, limits) })
    }
}

impl List {
    /// `query` as it came, without its `?`. Unknown keys, such as `refspec`, do not matter; of a key given twice the
    /// first counts.
    pub fn parse(query: &str, limits: &Limits) -> Result<List, Malformed> {
        if query.len() > limits.body_bytes {
            return Err(Malformed::TooLarge { bytes: query.len(), max: limits.body_bytes });
        }
        let value = |name: &str| pairs(query).find(|(key, value)| key == name && !value.is_empty());
        let value = |name: &str| value(name).map(|(_, value)| value);
        Ok(List {
            path: value("path").map(Cow::into_owned),
            id: value("id").map(|id| id.parse().unwrap_or(NO_LOCK)),
            page: Page {
                after: cursor(value("cursor"))?,
                limit: limit(value("limit").and_then(|limit| limit.parse().ok()), limits),
            },
        })
    }
}

impl Verify {
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Verify, Malformed> {
        let raw = read(body, limits)?;
        let after = cursor(raw.cursor.map(|cursor| json::text(cursor).unwrap_or(Cow::Borrowed("?"))))?;
        let page = Page { after, limit: limit(raw.limit.and_then(json::size), limits) };
        Ok(Verify { ref_name: ref_name(&raw, limits), page })
    }
}

impl Unlock {
    /// An empty body asks for nothing in particular.
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Unlock, Malformed> {
        if body.trim_ascii().is_empty() {
            return Ok(Unlock { force: false, ref_name: None });
        }
        let raw = read(body, limits)?;
        let force = match raw.force.map(RawValue::get) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Malformed::Force),
        };
        Ok(Unlock { force, ref_name: ref_name(&raw, limits) })
    }
}

/// Whether a file of a repository can have this path. Git itself refuses the others, and a lock that names one would
/// protect nothing while it seems to.
pub fn check_path(path: &str, limits: &Limits) -> Result<(), PathError> {
    let refused = |reason: PathError| Err(reason);
    match () {
        () if path.is_empty() => refused(PathError::Empty),
        () if path.len() > limits.path_bytes => refused(PathError::TooLong { max: limits.path_bytes }),
        () if path.contains(|c: char| c == '\\' || c.is_control()) => refused(PathError::Character),
        () if path.starts_with('/') => refused(PathError::Absolute),
        () if path.ends_with('/') => refused(PathError::Directory),
        () if path.split('/').any(|part| matches!(part, "" | "." | "..")) => refused(PathError::Dots),
        () if path.split('/').any(|part| part.eq_ignore_ascii_case(".git")) => refused(PathError::DotGit),
        () => Ok(()),
    }
}

/// `{"lock"}`: one that was created or removed.
pub fn one(lock: &Lock) -> Vec<u8> {
    #[derive(Serialize)]
    struct One<'a> {
        lock: Shown<'a>,
    }
    json::encode(&One { lock: Shown::of(lock) }, 256)
}

/// `{"lock", "message"}`: it exists already.
pub fn conflict(lock: &Lock, message: &str, request_id: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Conflict<'a> {
        lock: Shown<'a>,
        message: &'a str,
        request_id: &'a str,
    }
    json::encode(&Conflict { lock: Shown::of(lock), message, request_id }, 512)
}

/// `{"locks", "next_cursor"}`. `next` is the last id of this page if there are more.
pub fn list(locks: &[Lock], next: Option<LockId>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Listed<'a> {
        locks: Vec<Shown<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    }
    let next_cursor = next.map(|next| next.to_string());
    json::encode(&Listed { locks: shown(locks), next_cursor }, 64 + 256 * locks.len())
}

/// `{"ours", "theirs", "next_cursor"}`. `next` is the last id of this page if there are more.
pub fn verified(ours: &[Lock], theirs: &[Lock], next: Option<LockId>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Verified<'a> {
        ours: Vec<Shown<'a>>,
        theirs: Vec<Shown<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    }
    let next_cursor = next.map(|next| next.to_string());
    let capacity = 64 + 256 * (ours.len() + theirs.len());
    json::encode(&Verified { ours: shown(ours), theirs: shown(theirs), next_cursor }, capacity)
}

#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    path: &'a str,
    locked_at: Instant,
    owner: Owner<'a>,
}

#[derive(Serialize)]
struct Owner<'a> {
    name: &'a str,
}

impl Shown<'_> {
    fn of(lock: &Lock) -> Shown<'_> {
        let owner = Owner { name: &lock.owner_name };
        Shown { id: lock.id.to_string(), path: &lock.path, locked_at: Instant(lock.locked_ms), owner }
    }
}

fn shown(locks: &[Lock]) -> Vec<Shown<'_>> {
    locks.iter().map(Shown::of).collect()
}

fn read<'a>(body: &'a [u8], limits: &Limits) -> Result<RawBody<'a>, Malformed> {
    if body.len() > limits.body_bytes {
        return Err(Malformed::TooLarge { bytes: body.len(), max: limits.body_bytes });
    }
    json::object(body).map_err(Malformed::NotJson)
}

fn ref_name(raw: &RawBody<'_>, limits: &Limits) -> Option<String> {
    raw.reference.and_then(|reference| json::ref_name(reference, limits.ref_bytes))
}

/// A wrong one is refused: to begin anew would show the client the same locks for ever.
fn cursor(cursor: Option<Cow<'_, str>>) -> Result<Option<LockId>, Malformed> {
    match cursor {
        Some(cursor) if !cursor.is_empty() => cursor.parse().map(Some).map_err(|_| Malformed::Cursor),
        Some(_) | None => Ok(None),
    }
}

/// What makes no sense is no limit, which is what git-lfs sends.
fn limit(asked: Option<u64>, limits: &Limits) -> u32 {
    match asked.map(|asked| u32::try_from(asked).unwrap_or(u32::MAX)) {
        Some(asked @ 1..) => asked.min(limits.locks),
        Some(0) | None => limits.locks,
    }
}

/// Of a query string as HTML forms write it, which is Go's way too: `+` is a space.
fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decoded(key), form_decoded(value))
    })
}

fn form_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}
