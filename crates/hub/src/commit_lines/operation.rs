//! What a commit asks for, and who takes it.

use super::LineError;

/// How the body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/x-ndjson`: `{"key", "value"}` a line. The header comes first.
    Lines,
    /// `application/json`, of old clients: one object with the lists `files`, `lfsFiles`, `deletedFiles`,
    /// `deletedFolders` and `deletedEntries`. Members come in any order, so the header is given out last.
    Object,
}

/// Bounds of one body, except for the length of files: who takes their text bounds that.
#[derive(Clone, Debug)]
pub struct Limits {
    pub operations_max: u32,
    /// Bytes of a path, unescaped, as are all of these.
    pub path_bytes_max: usize,
    pub summary_bytes_max: usize,
    pub description_bytes_max: usize,
    /// Bytes of keys, names of members, oids, encodings and numbers.
    pub word_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            operations_max: 50_000,
            path_bytes_max: 4096,
            summary_bytes_max: 64 * 1024,
            description_bytes_max: 1024 * 1024,
            word_bytes_max: 128,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub summary: String,
    /// Empty if there is none.
    pub description: String,
    /// As sent.
    pub parent_commit: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Base64,
    Utf8,
}

/// One thing to do. Paths are as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    File {
        path: String,
        /// The number that [`Sink::content_start`] told.
        content: u32,
        encoding: Encoding,
        /// The file was renamed: this one goes.
        old_path: Option<String>,
    },
    LfsFile {
        path: String,
        /// A SHA-256: 64 lower-case hexadecimal digits.
        oid: String,
        /// Not there if the file is a copy of one that the hub has.
        size_bytes: Option<u64>,
        old_path: Option<String>,
    },
    DeletedFile {
        path: String,
    },
    DeletedFolder {
        path: String,
    },
    /// A file or a folder.
    DeletedEntry {
        path: String,
    },
}

impl Operation {
    /// Where it puts or deletes something, and where that was before if it is to go there.
    pub fn paths(&self) -> (&str, Option<&str>) {
        match self {
            Operation::File { path, old_path, .. } | Operation::LfsFile { path, old_path, .. } => {
                (path, old_path.as_deref())
            }
            Operation::DeletedFile { path }
            | Operation::DeletedFolder { path }
            | Operation::DeletedEntry { path } => (path, None),
        }
    }
}

/// Takes what a [`Parser`](super::Parser) reads. What fails here ends the parsing.
pub trait Sink {
    type Error: From<LineError>;

    /// Once.
    fn header(&mut self, header: Header) -> Result<(), Self::Error>;

    /// The text of a file follows. `number` counts from 0; `declared` is the encoding if it was sent before, which no
    /// known client does. Each content belongs to the next [`Operation::File`] — or to a line that turns out to be wrong.
    fn content_start(&mut self, number: u32, declared: Option<Encoding>) -> Result<(), Self::Error>;

    /// The next piece of the text, unescaped; not longer than what was pushed, or than 20 KiB.
    fn content(&mut self, text: &str) -> Result<(), Self::Error>;

    fn operation(&mut self, operation: Operation) -> Result<(), Self::Error>;
}
