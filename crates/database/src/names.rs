//! Names as they appear in URLs: parsed at the edge, trusted afterwards.

use std::{fmt, str::FromStr};

/// What a repository holds. Data, never a reason for a second code path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RepoKind {
    Model,
    Dataset,
    Space,
}

impl RepoKind {
    pub const ALL: [RepoKind; 3] = [RepoKind::Model, RepoKind::Dataset, RepoKind::Space];

    /// The URL segment before the namespace; models have none.
    pub fn url_prefix(self) -> &'static str {
        match self {
            RepoKind::Model => "",
            RepoKind::Dataset => "datasets/",
            RepoKind::Space => "spaces/",
        }
    }

    /// The stable number in rows.
    pub fn code(self) -> i64 {
        self as i64
    }

    pub fn from_code(code: i64) -> Option<RepoKind> {
        RepoKind::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// A user (later: organisation) name that passed the name rules. Keeps its case; compares by ASCII lower case in rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace(String);

/// `NS/NAME`, `datasets/NS/NAME` or `spaces/NS/NAME`. Keeps its case; unique per kind by ASCII lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepoPath {
    pub kind: RepoKind,
    pub namespace: Namespace,
    name: String,
}

/// `NS/NAME` of a bucket. Keeps its case; unique among buckets by ASCII lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BucketPath {
    pub namespace: Namespace,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("'{0}' is not a repository: give NS/NAME, datasets/NS/NAME or spaces/NS/NAME")]
    Shape(String),
    #[error(
        "'{0}' is not a valid name: use 1 to 96 of A-Z a-z 0-9 - _ . without '--' or '..', and neither '-' nor '.' at either end"
    )]
    Characters(String),
    #[error("'{0}' is reserved")]
    Reserved(String),
}

/// Refused for users, organisations and canonical aliases: they are, or will be, routes.
pub const RESERVED: &[&str] = &[
    "api",
    "assets",
    "static",
    "buckets",
    "cas",
    "collections",
    "datasets",
    "docs",
    "healthz",
    "join",
    "kernels",
    "login",
    "logout",
    "mcp",
    "metrics",
    "models",
    "new",
    "oauth",
    "organizations",
    "papers",
    "readyz",
    "resolve",
    "search",
    "settings",
    "signup",
    "spaces",
    "tasks",
    "uploads",
    "users",
    "v1",
    "v2",
    ".well-known",
];

impl Namespace {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that is unique.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// A name that was checked when its row was written: rules that came later do not apply to it.
    pub(crate) fn from_row(name: String) -> Namespace {
        Namespace(name)
    }
}

impl FromStr for Namespace {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        check_characters(s)?;
        let folded = s.to_ascii_lowercase();
        if RESERVED.contains(&folded.as_str()) {
            return Err(NameError::Reserved(s.to_owned()));
        }
        Ok(Namespace(s.to_owned()))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RepoPath {
    pub fn new(kind: RepoKind, namespace: &str, name: &str) -> Result<RepoPath, NameError> {
        let namespace = namespace.parse()?;
        check_characters(name)?;
        Ok(RepoPath { kind, namespace, name: name.to_owned() })
    }

    /// See [`Namespace::from_row`].
    pub(crate) fn from_row(kind: RepoKind, namespace: String, name: String) -> RepoPath {
        RepoPath { kind, namespace: Namespace(namespace), name }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `namespace/name` in the form that is unique per kind.
    pub fn folded(&self) -> String {
        format!("{}/{}", self.namespace.as_str(), self.name).to_ascii_lowercase()
    }
}

impl FromStr for RepoPath {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        let parts: Vec<&str> = s.split('/').collect();
        match parts.as_slice() {
            [namespace, name] => RepoPath::new(RepoKind::Model, namespace, name),
            ["models", namespace, name] => RepoPath::new(RepoKind::Model, namespace, name),
            ["datasets", namespace, name] => RepoPath::new(RepoKind::Dataset, namespace, name),
            ["spaces", namespace, name] => RepoPath::new(RepoKind::Space, namespace, name),
            _ => Err(NameError::Shape(shown(s))),
        }
    }
}

impl BucketPath {
    pub fn new(namespace: &str, name: &str) -> Result<BucketPath, NameError> {
        let namespace = namespace.parse()?;
        check_characters(name)?;
        Ok(BucketPath { namespace, name: name.to_owned() })
    }

    /// See [`Namespace::from_row`].
    pub(crate) fn from_row(namespace: String, name: String) -> BucketPath {
        BucketPath { namespace: Namespace(namespace), name }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `namespace/name` in the form that is unique.
    pub fn folded(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }
}

/// `NS/NAME`, as the Hub's API names it.
impl fmt::Display for BucketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}", self.kind.url_prefix(), self.namespace, self.name)
    }
}

/// The rules of `huggingface_hub.utils.validate_repo_id`, plus "nothing ends in `.git`".
fn check_characters(s: &str) -> Result<(), NameError> {
    let characters = s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let ends = !s.starts_with(['-', '.']) && !s.ends_with(['-', '.']);
    if s.is_empty() || s.len() > 96 || !characters || !ends || s.contains("--") || s.contains("..") {
        return Err(NameError::Characters(shown(s)));
    }
    if s.to_ascii_lowercase().ends_with(".git") {
        return Err(NameError::Reserved(s.to_owned()));
    }
    Ok(())
}

/// What is no name may be of any length; a message is not.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    match text.char_indices().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names() {
        for good in ["acme/model", "a/b", "datasets/acme/Data.v1", "spaces/A_b/c-d"] {
            assert_eq!(good.parse::<RepoPath>().unwrap().to_string(), good);
        }
        for bad in [
            "acme",
            "a/b/c/d",
            "api/x",
            "Datasets/x",
            "a/b.git",
            "a/..",
            "a/b--c",
            "-a/b",
            "a/b.",
            "a/",
            "é/b",
        ] {
            assert!(bad.parse::<RepoPath>().is_err(), "{bad}");
        }
        assert!("a".repeat(96).parse::<Namespace>().is_ok());
        assert!("a".repeat(97).parse::<Namespace>().is_err());
        assert_eq!("Acme/Model".parse::<RepoPath>().unwrap().folded(), "acme/model");
    }
}
