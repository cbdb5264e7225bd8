//! Why a body is no commit, in words for the one who sent it.

/// What is wrong, and where. Answered by 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the commit: {problem}")]
pub struct LineError {
    /// Counted from 1, empty lines included.
    pub line: u64,
    pub problem: Problem,
}

/// Texts of the client inside are at most [`Limits::word_bytes_max`](super::Limits) long, and shown escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("found {found:?} instead of {expected}")]
    Unexpected { found: char, expected: &'static str },
    #[error("it ends in the middle; send one whole JSON object per line")]
    Truncated,
    #[error("a string holds the raw byte 0x{0:02x}; write control characters as \\u{0:04x}")]
    ControlCharacter(u8),
    #[error("a string holds an escape that JSON does not have; a backslash itself is written \\\\")]
    Escape,
    #[error("a string holds half of a surrogate pair, which is no character; \\ud83d needs its \\ude00")]
    Surrogate,
    #[error("it is not UTF-8; send the content of binary files with encoding base64")]
    Utf8,
    #[error(
        "the key {0:?} is unknown; known are header, file, lfsFile, deletedFile, deletedFolder and deletedEntry"
    )]
    UnknownKey(String),
    #[error("{of} has no member {name:?}")]
    UnknownMember { name: String, of: &'static str },
    #[error("{member:?} is there twice")]
    Repeated { member: &'static str },
    #[error("{of} needs the member {member:?}")]
    Missing { member: &'static str, of: &'static str },
    #[error("{member:?} is not {expected}")]
    Type { member: &'static str, expected: &'static str },
    #[error("{what} has more than {bytes_max} bytes")]
    TooLong { what: &'static str, bytes_max: usize },
    #[error("more than {max} operations; split the commit into several")]
    TooManyOperations { max: u32 },
    #[error("the encoding {0:?} is unknown; use base64 or utf-8")]
    Encoding(String),
    #[error("large objects are named by sha256, not by {0:?}")]
    Algorithm(String),
    #[error("the oid is not a SHA-256 of 64 lower-case hexadecimal digits")]
    Oid,
    #[error("the size is not a whole number from 0 to 9223372036854775807")]
    Size,
    #[error(
        "there is no header; the first line must be {{\"key\": \"header\", \"value\": {{\"summary\": …}}}}"
    )]
    NoHeader,
    #[error("{0} comes before the header, which must be first")]
    HeaderNotFirst(&'static str),
    #[error("a second header; a commit has one")]
    SecondHeader,
    #[error("the body was refused before")]
    Refused,
}
