//! `POST …/info/lfs/objects/batch`: which objects a client asks for, object by object.

use database::Sha256;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use super::Family;
use super::Limits;
use super::json::{self, NotElements};
pub use super::response::{Action, Answer, ErrorCode, Outcome, Response, Subject, Transfer};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Download,
    Upload,
}

/// A batch request, as far as it makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub operation: Operation,
    /// The client can do [`Transfer::Multipart`]. All can do [`Transfer::Basic`].
    pub offers_multipart: bool,
    /// The client can do [`Transfer::Xet`].
    pub offers_xet: bool,
    /// As it was sent: Hugging Face's client leaves out `refs/heads/`.
    pub ref_name: Option<String>,
    /// In the order of the request, repetitions included. At least one is [`Ok`], unless they are named by another hash.
    pub objects: Vec<Result<Object, Unreadable>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    pub sha256: Sha256,
    /// Always there in an upload.
    pub size: Option<u64>,
}

/// An object that makes no sense. Answered by an error of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// As the client wrote it, so that it knows which one is meant; at most [`OID_BYTES_MAX`] bytes of it.
    pub oid: String,
    /// 0 if that is what made no sense.
    pub size: u64,
    pub why: Why,
}

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("an object is {{\"oid\", \"size\"}}")]
    NotObject,
    #[error("the oid is not a SHA-256 of 64 lower-case hexadecimal digits")]
    Oid,
    #[error("the size is missing")]
    NoSize,
    #[error("the size is not a whole number from 0 to 9223372036854775807")]
    Size,
    #[error("only the empty object has size 0, and its oid is another")]
    NotEmpty,
    #[error("this is the oid of the empty object, which has size 0")]
    Empty,
    #[error("objects are named by sha256 here, not by the hash that this batch says")]
    HashAlgo,
}

/// The request as a whole makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error(
        "the request has {bytes} bytes, more than the {max} that are taken; ask for fewer objects at once"
    )]
    TooLarge { bytes: usize, max: usize },
    #[error(
        "the request names more than {max} objects; ask for fewer at once (git config lfs.transfer.batchSize {max})"
    )]
    TooMany { max: usize },
    #[error("the request is not a JSON object: {0}")]
    NotJson(String),
    #[error("the operation is neither \"download\" nor \"upload\"")]
    Operation,
    #[error("the request names no objects")]
    NoObjects,
    /// Holds what is wrong with the first.
    #[error("none of the objects is valid: {0}")]
    NoneValid(Why),
}

/// A longer oid is answered cut short.
pub const OID_BYTES_MAX: usize = 128;

#[derive(Deserialize)]
struct RawRequest<'a> {
    #[serde(borrow, default)]
    operation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    transfers: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "ref")]
    reference: Option<&'a RawValue>,
    #[serde(borrow, default)]
    objects: Option<&'a RawValue>,
    #[serde(borrow, default)]
    hash_algo: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawObject<'a> {
    #[serde(borrow, default)]
    oid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    size: Option<&'a RawValue>,
}

impl Request {
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Request, Malformed> {
        if body.len() > limits.body_bytes {
            return Err(Malformed::TooLarge { bytes: body.len(), max: limits.body_bytes });
        }
        let raw: RawRequest<'_> = json::object(body).map_err(Malformed::NotJson)?;
        let is_sha256 = raw.hash_algo.is_none_or(is_sha256);
        let operation = match raw.operation.and_then(json::text).as_deref() {
            Some("download") => Operation::Download,
            Some("upload") => Operation::Upload,
            Some(_) | None => return Err(Malformed::Operation),
        };
        let elements = match raw.objects.map(|objects| json::elements(objects, limits.objects)) {
            Some(Ok(elements)) if !elements.is_empty() => elements,
            Some(Err(NotElements::TooMany)) => return Err(Malformed::TooMany { max: limits.objects }),
            Some(Ok(_) | Err(NotElements::NotArray)) | None => return Err(Malformed::NoObjects),
        };
        let objects = elements.into_iter().map(|element| match object(element, operation) {
            Ok(Object { sha256, size }) if !is_sha256 => {
                let (oid, size) = (sha256.to_string(), size.unwrap_or(0));
                Err(Unreadable { oid, size, why: Why::HashAlgo })
            }
            Err(unreadable) if !is_sha256 => Err(Unreadable { why: Why::HashAlgo, ..unreadable }),
            object => object,
        });
        let objects: Vec<_> = objects.collect();
        if let (Some(Err(first)), false) = (objects.first(), objects.iter().any(Result::is_ok))
            && is_sha256
        {
            return Err(Malformed::NoneValid(first.why));
        }
        Ok(Request {
            operation,
            offers_multipart: raw.transfers.is_some_and(|raw| offers(raw, "multipart")),
            offers_xet: raw.transfers.is_some_and(|raw| offers(raw, "xet")),
            ref_name: raw.reference.and_then(|reference| json::ref_name(reference, limits.ref_bytes)),
            objects,
        })
    }
}

impl Malformed {
    /// The status that the LFS documentation gives for it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Malformed::TooLarge { .. } | Malformed::TooMany { .. } => ErrorCode::TooLarge,
            Malformed::NotJson(_) | Malformed::Operation | Malformed::NoObjects | Malformed::NoneValid(_) => {
                ErrorCode::Unprocessable
            }
        }
    }
}

impl Unreadable {
    pub fn answer(&self) -> Answer {
        // The documentation gives 409 to an object for this alone.
        let code = if self.why == Why::HashAlgo { ErrorCode::Conflict } else { ErrorCode::Unprocessable };
        Answer {
            subject: Subject::Unreadable(self.oid.clone()),
            size: self.size,
            outcome: Outcome::Failed { code, message: self.why.to_string() },
        }
    }
}

fn is_sha256(hash_algo: &RawValue) -> bool {
    // With an underscore it comes from @huggingface/hub.
    json::text(hash_algo).is_some_and(|algo| matches!(&*algo, "sha256" | "sha_256" | ""))
}

/// `transfers` is a set: git-lfs writes it in the order of a Go map.
fn offers(raw: &RawValue, transfer: &str) -> bool {
    const TRANSFERS_MAX: usize = 64;
    let elements = json::elements(raw, TRANSFERS_MAX).unwrap_or_default();
    elements.into_iter().filter_map(json::text).any(|name| name == transfer)
}

fn object(element: &RawValue, operation: Operation) -> Result<Object, Unreadable> {
    let unreadable = |oid: &str, size: Option<u64>, why| {
        let oid = json::short(oid, OID_BYTES_MAX);
        Err(Unreadable { oid, size: size.unwrap_or(0), why })
    };
    let Ok(raw) = json::object::<RawObject<'_>>(element.get().as_bytes()) else {
        return unreadable("", None, Why::NotObject);
    };
    let size = raw.size.and_then(json::size);
    let oid = raw.oid.and_then(json::text).unwrap_or_default();
    let Ok(sha256) = oid.parse::<Sha256>() else { return unreadable(&oid, size, Why::Oid) };
    let why = match (raw.size, size) {
        (None, _) if operation == Operation::Upload => Some(Why::NoSize),
        (Some(_), None) => Some(Why::Size),
        (_, Some(0)) if !is_empty_object(&sha256) => Some(Why::NotEmpty),
        (_, Some(1..)) if is_empty_object(&sha256) => Some(Why::Empty),
        _ => None,
    };
    match why {
        Some(why) => unreadable(&oid, size, why),
        None => Ok(Object { sha256, size }),
    }
}

/// SHA-256 of nothing: an object that is neither stored nor linked.
pub fn is_empty_object(sha256: &Sha256) -> bool {
    *sha256 == Sha256::EMPTY
}
