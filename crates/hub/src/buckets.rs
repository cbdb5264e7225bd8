//! Buckets: files by path without history. What they hold came by the Xet CAS, and is named by its Xet hash.

use std::collections::HashMap;
use std::ops::Range;

use auth::{Admin, Authorized, Identity, Read, Right, Write};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use database::{
    BatchError, Bucket, BucketAct, BucketBatch, BucketEdit, BucketEntry, BucketFile, BucketListing,
    BucketPath, BucketPut, BucketSource, CreateError, Found, NewBucket, Quota, RepoKind, RepoPath,
    Visibility, XetHash,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::at::shown;
use crate::dates::iso;
use crate::listing::Page;
use crate::repos::visibility;
use crate::{Hub, HubError};

/// Operations of one request. The Hub's clients send 1000.
pub const OPERATIONS_MAX: usize = 10_000;
/// Paths asked for at once.
pub const PATHS_MAX: usize = 10_000;
/// Of a path, in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// Of what a client says of a file's content, in bytes.
const CONTENT_TYPE_BYTES_MAX: usize = 128;
/// Files, or buckets, of one page, unless something else is asked for.
const PAGE: usize = 1000;
const PAGE_MAX: usize = 10_000;
/// A client that uploads to a bucket may be about to name a xorb that it was told of so lately.
const NAMED_MS: i64 = 24 * 3_600_000;
const ATTEMPTS_MAX: u32 = 8;

/// How a bucket is to be made.
#[derive(Debug, Default, Deserialize)]
pub struct Create {
    pub visibility: Option<String>,
    pub private: Option<bool>,
}

/// What is to be changed of one.
#[derive(Debug, Deserialize)]
pub struct Settings {
    pub visibility: Option<String>,
    pub private: Option<bool>,
}

/// A line of a batch.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Operation {
    AddFile {
        path: String,
        xet_hash: String,
        /// In milliseconds since 1970.
        mtime: Option<f64>,
        content_type: Option<String>,
    },
    CopyFile {
        path: String,
        xet_hash: String,
        mtime: Option<f64>,
        content_type: Option<String>,
        /// `model`, `dataset`, `space` or `bucket`.
        source_repo_type: String,
        source_repo_id: String,
    },
    DeleteFile {
        path: String,
    },
}

/// An operation that was not done, and why.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    pub path: String,
    pub error: String,
}

impl Hub {
    /// `namespace` may be `me`.
    pub fn bucket_path(
        &self,
        identity: &Identity,
        namespace: &str,
        name: &str,
    ) -> Result<BucketPath, HubError> {
        let namespace = own_namespace(identity, namespace)?;
        BucketPath::new(&namespace, name).map_err(|error| HubError::Invalid(error.to_string()))
    }

    /// By the name that it has, or had. Whether a bucket is missing or may not be seen makes no difference.
    pub fn bucket<A: Right>(
        &self,
        identity: &Identity,
        path: &BucketPath,
    ) -> Result<Authorized<A, Bucket>, HubError> {
        let bucket = self.0.database.find_bucket(path)?.ok_or_else(|| auth::Denied::missing(identity))?;
        Ok(auth::authorize_bucket(self.0.settings.auth, identity, bucket)?)
    }

    pub async fn create_bucket(
        &self,
        identity: &Identity,
        path: BucketPath,
        create: Create,
    ) -> Result<Bucket, HubError> {
        let principal = identity.principal().ok_or(auth::Denied::Unauthenticated)?;
        may_create(identity, &path)?;
        let visibility = visibility(create.visibility.as_deref(), create.private)?
            .unwrap_or(self.0.settings.default_visibility);
        let new = NewBucket { path: path.clone(), visibility, creator: Some(principal.user.id) };
        match self.0.database.create_bucket(new).await {
            Err(CreateError::Taken) => Err(HubError::BucketExists { path }),
            other => Ok(other?),
        }
    }

    pub async fn delete_bucket(&self, access: &Authorized<Admin, Bucket>) -> Result<(), HubError> {
        let access = access.reauthorize(&self.0.database)?;
        Ok(self.0.changes.delete_bucket(access.bucket().id).await?)
    }

    /// The old name leads to the bucket from now on.
    pub async fn rename_bucket(
        &self,
        identity: &Identity,
        access: &Authorized<Admin, Bucket>,
        to: BucketPath,
    ) -> Result<Bucket, HubError> {
        let access = access.reauthorize(&self.0.database)?;
        if to.namespace.folded() != access.bucket().path.namespace.folded() {
            may_create(identity, &to)?;
        }
        match self.0.database.rename_bucket(access.bucket().id, to.clone()).await {
            Err(CreateError::Taken) => {
                Err(HubError::Conflict(format!("A bucket called {to} already exists")))
            }
            other => Ok(other?),
        }
    }

    pub async fn set_bucket(
        &self,
        access: &Authorized<Admin, Bucket>,
        settings: Settings,
    ) -> Result<(), HubError> {
        let Some(visibility) = visibility(settings.visibility.as_deref(), settings.private)? else {
            return Ok(());
        };
        let database = &self.0.database;
        for _ in 0..ATTEMPTS_MAX {
            let access = access.reauthorize(database)?;
            let (id, version) = (access.bucket().id, access.acl_version());
            let seen_ms = database.clock().now_ms() - NAMED_MS;
            if database.set_bucket_visibility(id, version, visibility, seen_ms).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Those of a namespace (or of `me`) that may be seen, whose names have `search` in them.
    pub fn buckets(
        &self,
        identity: &Identity,
        namespace: &str,
        search: &str,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page, HubError> {
        let namespace = own_namespace(identity, namespace)?.to_ascii_lowercase();
        let search = search.to_ascii_lowercase();
        let after = cursor.map(read_cursor).transpose()?;
        let limit = page_of(limit);
        let public = match auth::seen(self.0.settings.auth, identity) {
            database::Seen::All => false,
            database::Seen::None => return Ok(Page { items: Vec::new(), cursor: None }),
            database::Seen::Public { and_namespaces } => !and_namespaces.contains(&namespace),
        };
        let listing = BucketListing {
            namespace: &namespace,
            search: &search,
            public,
            after: after.as_deref(),
            limit: u32::try_from(limit + 1).unwrap_or(u32::MAX),
        };
        let mut found = self.0.database.list_buckets(&listing)?;
        let is_more = found.len() > limit;
        found.truncate(limit);
        let cursor = found.last().filter(|_| is_more).map(|last| cursor_at(&last.path.folded()));
        Ok(Page { items: found.iter().map(bucket_info).collect(), cursor })
    }

    /// What begins with `prefix`. If not `recursive`, folders instead of what is in them.
    pub fn bucket_tree(
        &self,
        access: &Authorized<Read, Bucket>,
        prefix: &str,
        recursive: bool,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page, HubError> {
        let from = cursor.map(read_cursor).transpose()?;
        let (id, limit) = (access.bucket().id, page_of(limit));
        let (entries, next) =
            self.0.database.bucket_entries(id, prefix, recursive, from.as_deref(), limit)?;
        let items = entries.iter().map(entry).collect();
        Ok(Page { items, cursor: next.as_deref().map(cursor_at) })
    }

    /// Those of these that are files.
    pub fn bucket_paths(
        &self,
        access: &Authorized<Read, Bucket>,
        paths: &[String],
    ) -> Result<Vec<Value>, HubError> {
        if paths.len() > PATHS_MAX {
            return Err(HubError::Invalid(format!("at most {PATHS_MAX} paths can be asked for at once")));
        }
        let found = self.0.database.bucket_files(access.bucket().id, paths)?;
        Ok(found.into_iter().map(|file| entry(&BucketEntry::File(file))).collect())
    }

    pub fn bucket_file(&self, access: &Authorized<Read, Bucket>, path: &str) -> Result<BucketFile, HubError> {
        let bucket = access.bucket();
        let found = self.0.database.bucket_file(bucket.id, path)?;
        let missing =
            || HubError::NoSuchFile(format!("{} is not in the bucket {}", shown(path), bucket.path));
        found.ok_or_else(missing)
    }

    /// `None` if there are no bytes in the range.
    pub async fn bucket_bytes(
        &self,
        file: &BucketFile,
        range: Range<u64>,
    ) -> Result<Option<xet::Stream>, xet::ReadError> {
        match file.file.filter(|_| !range.is_empty()) {
            Some(id) => Ok(Some(self.0.objects.xet().stream_file(id, range).await?)),
            None => Ok(None),
        }
    }

    /// Does what can be done, in order and in one transaction, and tells of the rest.
    pub async fn edit_bucket(
        &self,
        access: &Authorized<Write, Bucket>,
        operations: &[Operation],
    ) -> Result<Vec<Failed>, HubError> {
        for _ in 0..ATTEMPTS_MAX {
            // Decided anew each time, by one look at whoever asks: the operations may have been long on their way.
            let access = access.reauthorize(&self.0.database)?;
            let mut sources = Sources { hub: self, access: &access, known: HashMap::new() };
            let mut failed = Vec::new();
            let mut edits = Vec::with_capacity(operations.len());
            for operation in operations {
                match sources.edit(operation)? {
                    Ok(edit) => edits.push(edit),
                    Err(error) => failed.push(Failed { path: operation.path().to_owned(), error }),
                }
            }
            if edits.is_empty() {
                return Ok(failed);
            }
            let paths: Vec<String> = edits.iter().map(|edit| edit.path.clone()).collect();
            let batch = BucketBatch {
                bucket: access.bucket().id,
                acl_version: access.acl_version(),
                quota: Quota::Default(self.0.settings.quota),
                edits,
            };
            match self.0.database.edit_bucket(batch).await {
                Ok(refusals) => {
                    failed.extend(
                        paths
                            .into_iter()
                            .zip(refusals)
                            .filter_map(|(path, refusal)| Some(Failed { path, error: refusal?.to_string() })),
                    );
                    return Ok(failed);
                }
                Err(BatchError::Moved) => {}
                Err(BatchError::Gone) => return Err(HubError::RepoNotFound),
                Err(BatchError::Db(error)) => return Err(error.into()),
            }
        }
        Err(contended())
    }
}

/// Each of the places that files are copied from, looked at once.
struct Sources<'s> {
    hub: &'s Hub,
    /// Of whoever asks, to where they are copied.
    access: &'s Authorized<Write, Bucket>,
    known: HashMap<(&'s str, &'s str), Option<BucketSource>>,
}

impl<'s> Sources<'s> {
    /// The inner error is told of this operation alone.
    fn edit(&mut self, operation: &'s Operation) -> Result<Result<BucketEdit, String>, HubError> {
        if let Err(error) = check_path(operation.path()) {
            return Ok(Err(error.to_owned()));
        }
        let (path, xet_hash, mtime, content_type, from) = match operation {
            Operation::DeleteFile { path } => {
                return Ok(Ok(BucketEdit { path: path.clone(), act: BucketAct::Delete }));
            }
            Operation::AddFile { path, xet_hash, mtime, content_type } => {
                (path, xet_hash, mtime, content_type, BucketSource::Here)
            }
            Operation::CopyFile { path, xet_hash, mtime, content_type, source_repo_type, source_repo_id } => {
                match self.source(source_repo_type, source_repo_id)? {
                    Ok(source) => (path, xet_hash, mtime, content_type, source),
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        let Ok(hash) = xet_hash.parse::<xet::Hash>() else {
            return Ok(Err(format!("\"{}\" is no Xet hash of 64 digits", shown(xet_hash))));
        };
        let put = BucketPut {
            hash: XetHash::from(hash),
            from,
            mtime_ms: mtime.map(milliseconds),
            content_type: content_type.clone().filter(|text| is_content_type(text)),
        };
        Ok(Ok(BucketEdit { path: path.clone(), act: BucketAct::Put(put) }))
    }

    fn source(&mut self, kind: &'s str, id: &'s str) -> Result<Result<BucketSource, String>, HubError> {
        let found = match self.known.get(&(kind, id)) {
            Some(found) => *found,
            None => {
                let found = self.read_source(kind, id)?;
                self.known.insert((kind, id), found);
                found
            }
        };
        let missing = || format!("there is no {} {} that you may read", shown(kind), shown(id));
        Ok(found.ok_or_else(missing))
    }

    fn read_source(&self, kind: &str, id: &str) -> Result<Option<BucketSource>, HubError> {
        let Hub(hub) = self.hub;
        let Some((namespace, name)) = id.split_once('/') else { return Ok(None) };
        let kind = match kind {
            "model" => RepoKind::Model,
            "dataset" => RepoKind::Dataset,
            "space" => RepoKind::Space,
            "bucket" => {
                let Ok(path) = BucketPath::new(namespace, name) else { return Ok(None) };
                let Some(bucket) = hub.database.find_bucket(&path)? else { return Ok(None) };
                let access = self.access.elsewhere::<Read, _>(bucket).ok();
                return Ok(access.map(|access| source(&access)));
            }
            _ => return Ok(None),
        };
        let Ok(path) = RepoPath::new(kind, namespace, name) else { return Ok(None) };
        let (Found::Repo(repo) | Found::Redirect(repo)) = match hub.database.find_repo(&path)? {
            Some(found) => found,
            None => return Ok(None),
        };
        let access = self.access.elsewhere::<Read, _>(repo).ok();
        Ok(access.map(|access| source(&access)))
    }
}

fn source<S: auth::Subject>(access: &Authorized<Read, S>) -> BucketSource {
    BucketSource::Other { holder: access.holder_id(), acl_version: access.acl_version() }
}

impl Operation {
    fn path(&self) -> &str {
        match self {
            Operation::AddFile { path, .. }
            | Operation::CopyFile { path, .. }
            | Operation::DeleteFile { path } => path,
        }
    }
}

/// One document per line. Lines without anything are none.
pub fn operations(body: &[u8]) -> Result<Vec<Operation>, HubError> {
    let mut operations = Vec::new();
    for (at, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if operations.len() == OPERATIONS_MAX {
            return Err(HubError::TooLarge(format!(
                "a batch has at most {OPERATIONS_MAX} operations; send several"
            )));
        }
        let operation = serde_json::from_slice(line)
            .map_err(|error| HubError::Invalid(format!("line {} of the batch: {error}", at + 1)))?;
        operations.push(operation);
    }
    Ok(operations)
}

/// As clients parse it.
pub fn bucket_info(bucket: &Bucket) -> Value {
    json!({
        "id": bucket.path.to_string(),
        "name": bucket.path.name(),
        "author": bucket.path.namespace.as_str(),
        "private": bucket.visibility == Visibility::Private,
        "visibility": if bucket.visibility == Visibility::Private { "private" } else { "public" },
        "createdAt": iso(bucket.created_ms),
        "size": bucket.bytes,
        "totalFiles": bucket.files,
    })
}

fn entry(entry: &BucketEntry) -> Value {
    match entry {
        BucketEntry::Folder(path) => json!({ "type": "directory", "path": path }),
        BucketEntry::File(file) => json!({
            "type": "file",
            "path": file.path,
            "size": file.size,
            "xetHash": file.hash.to_string(),
            "mtime": file.mtime_ms.map(iso),
            "uploadedAt": iso(file.uploaded_ms),
        }),
    }
}

fn own_namespace(identity: &Identity, namespace: &str) -> Result<String, HubError> {
    match namespace {
        "me" => Ok(identity.name().ok_or(auth::Denied::Unauthenticated)?.to_owned()),
        other => Ok(other.to_owned()),
    }
}

fn may_create(identity: &Identity, path: &BucketPath) -> Result<(), HubError> {
    auth::may_create(identity, &path.namespace.folded()).map_err(|denied| match denied {
        auth::Denied::Forbidden => HubError::Forbidden(format!(
            "You don't have the rights to create a bucket under the namespace \"{}\"",
            path.namespace
        )),
        other => other.into(),
    })
}

fn contended() -> HubError {
    HubError::Busy("access to the bucket is being changed too often".to_owned())
}

/// It must be one that a file on a client's disk can have.
fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > PATH_BYTES_MAX {
        return Err("the path is longer than 1024 bytes");
    }
    if path.chars().any(char::is_control) {
        return Err("the path has control characters in it");
    }
    match path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        true => Err("the path has a segment that is empty, \".\" or \"..\""),
        false => Ok(()),
    }
}

/// What does not fit is no time of a file.
fn milliseconds(mtime: f64) -> i64 {
    /// The year 9999.
    const MAX: f64 = 253_402_300_799_999.0;
    mtime.clamp(0.0, MAX) as i64
}

/// Whether it can stand in a header.
fn is_content_type(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    !text.is_empty() && text.len() <= CONTENT_TYPE_BYTES_MAX && text.bytes().all(is_plain)
}

fn page_of(limit: Option<u32>) -> usize {
    limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(PAGE_MAX)).clamp(1, PAGE_MAX)
}

fn cursor_at(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

fn read_cursor(cursor: &str) -> Result<String, HubError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    bytes.ok_or_else(|| HubError::Invalid("this cursor was not made here".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for good in ["a", "a/b.txt", "é/ ü", ".keep", "a/.b/...", &"x".repeat(1024)] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "a/../b", ".", "a/.", "a\nb", "a\0", &"x".repeat(1025)] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines() {
        let hash = "0".repeat(64);
        let add = format!(
            r#"{{"type":"addFile","path":"a","xetHash":"{hash}","mtime":12,"contentType":"text/plain"}}"#
        );
        let copy = format!(
            r#"{{"type":"copyFile","path":"b","xetHash":"{hash}","mtime":null,"sourceRepoType":"model","sourceRepoId":"a/b"}}"#
        );
        let body = format!("{add}\n\n{copy}\r\n{{\"type\":\"deleteFile\",\"path\":\"c\"}}");
        let found = operations(body.as_bytes()).unwrap();
        assert_eq!(found.iter().map(Operation::path).collect::<Vec<_>>(), ["a", "b", "c"]);
        for bad in ["{}", "[", r#"{"type":"addFile","path":"a"}"#, r#"{"type":"moveFile","path":"a"}"#] {
            assert!(operations(bad.as_bytes()).unwrap_err().to_string().starts_with("line 1 "), "{bad}");
        }
        let many = "{\"type\":\"deleteFile\",\"path\":\"c\"}\n".repeat(OPERATIONS_MAX);
        assert_eq!(operations(many.as_bytes()).unwrap().len(), OPERATIONS_MAX);
        assert!(matches!(operations((many.clone() + &many).as_bytes()), Err(HubError::TooLarge(_))));
    }

    #[test]
    fn what_clients_say_is_bounded() {
        assert_eq!([-1.0, 0.5, 1e300, f64::NAN].map(milliseconds), [0, 0, 253_402_300_799_999, 0]);
        assert!(is_content_type("text/plain; charset=utf-8"));
        for bad in ["", "a\r\nb", "é", &"x".repeat(129)] {
            assert!(!is_content_type(bad), "{bad}");
        }
        assert_eq!(read_cursor(&cursor_at("a/b")).unwrap(), "a/b");
        assert!(read_cursor("?").is_err());
    }
}
