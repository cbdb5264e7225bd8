//! The answer to a batch, strict: git-lfs refuses all of it over one value of another type.

use std::time::Duration;

use database::Sha256;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use super::json;

/// How the objects of one answer are transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transfer {
    Basic,
    /// As Hugging Face's clients do it: parts by PUT, then a completion by POST.
    Multipart,
    /// To the Xet CAS, by a token that the address gives out.
    Xet,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub transfer: Transfer,
    /// In the order of the request.
    pub objects: Vec<Answer>,
}

/// What becomes of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub subject: Subject,
    /// In bytes.
    pub size: u64,
    pub outcome: Outcome,
}

/// The `oid` of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Object(Sha256),
    /// What the client wrote in its place.
    Unreadable(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is to be done: an upload of what is here.
    Present,
    Download(Action),
    Upload {
        upload: Action,
        verify: Option<Action>,
    },
    Multipart {
        /// Where completion is reported.
        complete: Action,
        /// Of every part but the last, in bytes.
        chunk_size: u64,
        /// The URL of each, from part 1 on.
        parts: Vec<String>,
        verify: Option<Action>,
    },
    Failed {
        code: ErrorCode,
        /// Shown to the user as it is.
        message: String,
    },
}

/// One request for the client to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub href: String,
    /// Which the client sends along, if it is of the family that does.
    pub header: Vec<(&'static str, String)>,
    /// Counted by the client from its own request on.
    pub expires_in: Duration,
}

/// The status codes of LFS errors, of an object or of a whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    Forbidden,
    NotFound,
    Conflict,
    Gone,
    TooLarge,
    Unprocessable,
    Internal,
    Unavailable,
    /// The quota is used up.
    InsufficientStorage,
}

impl ErrorCode {
    pub fn number(self) -> u16 {
        match self {
            ErrorCode::Forbidden => 403,
            ErrorCode::NotFound => 404,
            ErrorCode::Conflict => 409,
            ErrorCode::Gone => 410,
            ErrorCode::TooLarge => 413,
            ErrorCode::Unprocessable => 422,
            ErrorCode::Internal => 500,
            ErrorCode::Unavailable => 503,
            ErrorCode::InsufficientStorage => 507,
        }
    }
}

impl Action {
    /// Of a link that authenticates itself, without headers.
    pub fn bare(href: String, expires_in: Duration) -> Action {
        Action { href, header: Vec::new(), expires_in }
    }
}

impl Response {
    /// Written into one buffer, for a batch may hold thousands of links.
    pub fn to_json(&self) -> Vec<u8> {
        json::encode(self, self.bytes_about())
    }

    fn bytes_about(&self) -> usize {
        let action = |action: &Action| {
            let header: usize = action.header.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
            64 + action.href.len() + header
        };
        let answer = |answer: &Answer| match &answer.outcome {
            Outcome::Present => 0,
            Outcome::Download(download) => action(download),
            Outcome::Upload { upload, verify } => action(upload) + verify.as_ref().map_or(0, action),
            Outcome::Multipart { complete, parts, verify, .. } => {
                let parts: usize = parts.iter().map(|part| part.len() + 11).sum();
                64 + action(complete) + parts + verify.as_ref().map_or(0, action)
            }
            Outcome::Failed { message, .. } => 40 + message.len(),
        };
        64 + self.objects.iter().map(|object| 160 + answer(object)).sum::<usize>()
    }
}

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Response", 3)?;
        fields.serialize_field("transfer", &self.transfer)?;
        fields.serialize_field("hash_algo", "sha256")?;
        fields.serialize_field("objects", &self.objects)?;
        fields.end()
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        match &self.subject {
            Subject::Object(sha256) => fields.serialize_entry("oid", &sha256.to_string())?,
            Subject::Unreadable(oid) => fields.serialize_entry("oid", oid)?,
        }
        fields.serialize_entry("size", &self.size)?;
        match &self.outcome {
            Outcome::Failed { code, message } => {
                fields.serialize_entry("error", &Failed { code: code.number(), message })?;
            }
            outcome => {
                // Else the client asks its user for a password to the host of the link.
                fields.serialize_entry("authenticated", &true)?;
                // That there is nothing to do is said by leaving them out.
                if !matches!(outcome, Outcome::Present) {
                    fields.serialize_entry("actions", &Actions(outcome))?;
                }
            }
        }
        fields.end()
    }
}

#[derive(Serialize)]
struct Failed<'a> {
    code: u16,
    message: &'a str,
}

struct Actions<'a>(&'a Outcome);

impl Serialize for Actions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut actions = serializer.serialize_map(None)?;
        let verify = match self.0 {
            Outcome::Present | Outcome::Failed { .. } => None,
            Outcome::Download(download) => {
                actions.serialize_entry("download", download)?;
                None
            }
            Outcome::Upload { upload, verify } => {
                actions.serialize_entry("upload", upload)?;
                verify.as_ref()
            }
            Outcome::Multipart { complete, chunk_size, parts, verify } => {
                actions.serialize_entry("upload", &Parts { complete, chunk_size: *chunk_size, parts })?;
                verify.as_ref()
            }
        };
        if let Some(verify) = verify {
            actions.serialize_entry("verify", verify)?;
        }
        actions.end()
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let header = Header(&self.header);
        write_action(serializer, &self.href, (!self.header.is_empty()).then_some(&header), self.expires_in)
    }
}

struct Header<'a>(&'a [(&'static str, String)]);

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// The upload action of a multipart upload: the URLs of the parts stand where headers do.
struct Parts<'a> {
    complete: &'a Action,
    chunk_size: u64,
    parts: &'a [String],
}

impl Serialize for Parts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_action(serializer, &self.complete.href, Some(&PartHeader(self)), self.complete.expires_in)
    }
}

struct PartHeader<'a>(&'a Parts<'a>);

impl Serialize for PartHeader<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut header = serializer.serialize_map(None)?;
        header.serialize_entry("chunk_size", &self.0.chunk_size.to_string())?;
        for (part, number) in self.0.parts.iter().zip(1u32..) {
            // git-lfs sorts the keys as text before its agent takes the URLs in that order: 2 must not follow 10.
            header.serialize_entry(&format_args!("{number:05}"), part)?;
        }
        header.end()
    }
}

fn write_action<S: Serializer>(
    serializer: S,
    href: &str,
    header: Option<&impl Serialize>,
    expires_in: Duration,
) -> Result<S::Ok, S::Error> {
    /// Of git-lfs, in both directions; 0 is "never" to it.
    const EXPIRES_IN: std::ops::RangeInclusive<u64> = 1..=i32::MAX as u64;
    let mut action = serializer.serialize_map(None)?;
    action.serialize_entry("href", href)?;
    if let Some(header) = header {
        action.serialize_entry("header", header)?;
    }
    action
        .serialize_entry("expires_in", &expires_in.as_secs().clamp(*EXPIRES_IN.start(), *EXPIRES_IN.end()))?;
    action.end()
}
