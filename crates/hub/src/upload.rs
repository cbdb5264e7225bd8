//! A commit on its way in: the lines of its body as they arrive, the bytes of its files in one spool, and what becomes
//! of them.
//!
//! [`Receiving`] holds no file: what it decodes is handed back to be put behind what the spool has. When all is there,
//! [`Hub::commit`] looks at each file in the spool, makes large ones LFS objects, and commits.

use auth::{Authorized, Write};
use bytes::Bytes;
use change::NewCommit;
use database::{Oid, Sha256};
use repository::attributes::Attributes;
use repository::edit::{Action, Edit, EditError, check_path};
use repository::pointer::{self, Target};

use crate::at::{At, shown};
use crate::card;
use crate::commit_lines::{
    ContentDecoder, Encoding, Form, Header, LineError, NotBase64, Operation, Parser, Restore, Sink,
};
use crate::preupload::is_large;
use crate::{Hub, HubError, blocking, commit_lines, refs};

/// The body of a commit as it arrives.
pub struct Receiving {
    parser: Parser,
    draft: Draft,
}

/// What a body said, its files by their place in the spool.
pub struct Draft {
    header: Option<Header>,
    operations: Vec<Operation>,
    contents: Vec<Stored>,
    /// Of the content that is arriving.
    decoder: Option<ContentDecoder>,
    /// Decoded, and not handed back yet.
    out: Vec<u8>,
    /// Handed back.
    spooled: u64,
}

struct Stored {
    start: u64,
    end: u64,
    /// What lies in the spool is to be undone first.
    restore: Option<Restore>,
}

/// What is to be told of a commit.
#[derive(Clone, Debug)]
pub struct Told {
    pub commit: Oid,
    pub moved: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("the content of {path} is not what its encoding says: {source}")]
    Content { path: String, source: NotBase64 },
}

/// Bytes of a file by which it is told whether it is text.
const SAMPLE: usize = 512;

impl Receiving {
    pub fn new(form: Form) -> Receiving {
        let parser = Parser::new(form, commit_lines::Limits::default());
        let draft = Draft {
            header: None,
            operations: Vec::new(),
            contents: Vec::new(),
            decoder: None,
            out: Vec::new(),
            spooled: 0,
        };
        Receiving { parser, draft }
    }

    /// The next bytes of the body, in any cut. Gives what is to be put behind what the spool has.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
        self.parser.push(bytes, &mut self.draft)?;
        let out = std::mem::take(&mut self.draft.out);
        self.draft.spooled += out.len() as u64;
        Ok(out)
    }

    pub fn finish(self) -> Result<Draft, BodyError> {
        self.parser.finish()?;
        Ok(self.draft)
    }
}

impl Draft {
    fn at(&self) -> u64 {
        self.spooled + self.out.len() as u64
    }
}

impl Sink for Draft {
    type Error = BodyError;

    fn header(&mut self, header: Header) -> Result<(), BodyError> {
        self.header = Some(header);
        Ok(())
    }

    fn content_start(&mut self, _number: u32, declared: Option<Encoding>) -> Result<(), BodyError> {
        self.decoder = Some(ContentDecoder::new(declared));
        let at = self.at();
        self.contents.push(Stored { start: at, end: at, restore: None });
        Ok(())
    }

    fn content(&mut self, text: &str) -> Result<(), BodyError> {
        if let Some(decoder) = &mut self.decoder {
            decoder.push(text, &mut self.out).map_err(not_yet_named)?;
        }
        Ok(())
    }

    fn operation(&mut self, operation: Operation) -> Result<(), BodyError> {
        if let Operation::File { encoding, path, .. } = &operation
            && let Some(decoder) = self.decoder.take()
        {
            let restore = decoder
                .finish(*encoding, &mut self.out)
                .map_err(|source| BodyError::Content { path: shown(path), source })?;
            let end = self.at();
            if let Some(stored) = self.contents.last_mut() {
                (stored.end, stored.restore) = (end, restore);
            }
        }
        self.operations.push(operation);
        Ok(())
    }
}

/// The path comes after the content.
fn not_yet_named(source: NotBase64) -> BodyError {
    BodyError::Content { path: "a file".to_owned(), source }
}

impl Hub {
    /// `revision` names a branch. `spool` is all that [`Receiving::push`] gave.
    pub async fn commit(
        &self,
        access: Authorized<Write>,
        revision: &str,
        draft: Draft,
        spool: Bytes,
    ) -> Result<Told, HubError> {
        let header = draft.header.ok_or_else(|| HubError::Invalid("the commit has no header".to_owned()))?;
        let parent = header.parent_commit.as_deref().filter(|parent| !parent.is_empty());
        if parent.is_some_and(|parent| !is_id(parent)) {
            return Err(HubError::Invalid("parentCommit is not the id of a commit".to_owned()));
        }
        let branch = branch(access.repo(), revision)?;
        let snapshot = self.snapshot(access.repo()).await?;
        let tip = snapshot.find_ref(&branch).map(|row| row.oid);
        let at = tip.map(|tip| At::of(std::sync::Arc::clone(&snapshot), tip)).transpose()?;
        let (operations, contents) = (draft.operations, draft.contents);
        let rules = self.rules();
        let kind = access.repo().path.kind;
        let planned = {
            let at = at.clone();
            blocking(move || plan(&snapshot, at.as_ref(), operations, contents, &spool, rules, kind)).await?
        };
        let mut edits = Vec::with_capacity(planned.len());
        for planned in planned {
            edits.push(self.edit(&access, planned).await?);
        }
        let (author_name, author_email) = refs::author(&access);
        let summary = header.summary.trim();
        let summary = if summary.is_empty() { "Upload files" } else { summary };
        let message = match header.description.trim() {
            "" => summary.to_owned(),
            description => format!("{summary}\n\n{description}"),
        };
        let parent = parent.map(str::to_owned);
        let commit = NewCommit { branch, parent, edits, author_name, author_email, message };
        let made = self.0.changes.commit(access, commit).await;
        let made = made.map_err(|error| HubError::of_commit(error, revision, tip))?;
        Ok(Told { commit: made.commit, moved: made.moved })
    }

    /// Stores what goes to LFS.
    async fn edit(&self, access: &Authorized<Write>, planned: Planned) -> Result<Edit, HubError> {
        let Planned { path, what } = planned;
        let target = match what {
            What::Edit(action) => return Ok(Edit { path, action }),
            What::Large { sha256, content } => {
                let size = content.len() as u64;
                let quota = self.0.settings.quota;
                self.0.objects.take_inline(access, sha256, content, quota).await.map_err(inline)?;
                (sha256, size)
            }
            What::Pointer { sha256, size: Some(size) } => (sha256, size),
            What::Pointer { sha256, size: None } => {
                let link = self.0.database.link(access.repo_id(), &sha256)?;
                let link = link.filter(|link| link.is_usable()).ok_or_else(|| {
                    HubError::Invalid(format!(
                        "LFS pointer pointed to a file that does not exist: {path}: {sha256}"
                    ))
                })?;
                (sha256, link.size)
            }
        };
        let text = pointer::encode(&Target { sha256: target.0.0, size: target.1 });
        Ok(Edit { path, action: Action::Put(text.into()) })
    }
}

struct Planned {
    path: String,
    what: What,
}

enum What {
    Edit(Action),
    /// Came inside the commit, and is to be an object.
    Large {
        sha256: Sha256,
        content: Bytes,
    },
    Pointer {
        sha256: Sha256,
        size: Option<u64>,
    },
}

fn plan(
    snapshot: &repository::Snapshot,
    at: Option<&At>,
    operations: Vec<Operation>,
    contents: Vec<Stored>,
    spool: &Bytes,
    rules: crate::preupload::Rules,
    kind: database::RepoKind,
) -> Result<Vec<Planned>, HubError> {
    let contents: Vec<Bytes> = contents.iter().map(|stored| content(stored, spool)).collect();
    let mut attributes = Attributes::new(snapshot, at.map(|at| at.tree));
    for operation in &operations {
        if let Operation::File { path, content, .. } = operation
            && let Some(folder) = path.strip_suffix(".gitattributes")
            && (folder.is_empty() || folder.ends_with('/'))
        {
            attributes.set(folder.trim_end_matches('/'), &contents[*content as usize]);
        }
    }
    let mut planned = Vec::with_capacity(operations.len());
    for operation in operations {
        let (path, what) = match operation {
            Operation::File { path, content, .. } => {
                // Before a large file is stored for a path that is refused afterwards.
                checked(&path)?;
                let content = contents[content as usize].clone();
                if path == "README.md" {
                    check_card(&content, kind)?;
                }
                let sample = &content[..content.len().min(SAMPLE)];
                let what = match is_large(&mut attributes, &path, content.len() as u64, sample, rules)? {
                    true => What::Large { sha256: lfs::sha256(&content), content },
                    // Not a view of the spool, which would stay as long as the row it goes into is waited for.
                    false => What::Edit(Action::Put(content)),
                };
                (path, what)
            }
            Operation::LfsFile { path, oid, size_bytes, .. } => {
                checked(&path)?;
                let sha256 = oid.parse().map_err(|_| HubError::Invalid(format!("{oid} is not a SHA-256")))?;
                let what = match (size_bytes, sha256 == Sha256::EMPTY) {
                    // Empty files are no objects.
                    (None | Some(0), true) => What::Edit(Action::Put(Bytes::new())),
                    (size, _) => What::Pointer { sha256, size },
                };
                (path, what)
            }
            Operation::DeletedFile { path } => (path, What::Edit(Action::DeleteFile)),
            Operation::DeletedFolder { path } => (path, What::Edit(Action::DeleteFolder)),
            Operation::DeletedEntry { path } => (path, What::Edit(Action::Delete)),
        };
        planned.push(Planned { path, what });
    }
    Ok(planned)
}

fn content(stored: &Stored, spool: &Bytes) -> Bytes {
    let spooled = spool.slice(stored.start as usize..stored.end as usize);
    match stored.restore.clone() {
        None => spooled,
        Some(mut restore) => {
            let mut content = Vec::new();
            restore.push(&spooled, &mut content);
            content.into()
        }
    }
}

fn checked(path: &str) -> Result<(), HubError> {
    check_path(path)
        .map_err(|source| HubError::Unprocessable(EditError::Path { path: shown(path), source }.to_string()))
}

fn check_card(readme: &[u8], kind: database::RepoKind) -> Result<(), HubError> {
    let errors = card::validate(readme, kind).errors;
    match errors.is_empty() {
        true => Ok(()),
        false => Err(HubError::Invalid(format!("Invalid metadata in README.md: {}", errors.join("; ")))),
    }
}

/// Full name of the branch that is meant.
fn branch(repo: &database::Repo, revision: &str) -> Result<String, HubError> {
    match revision {
        "HEAD" => Ok(repo.head_ref.clone()),
        name if name.starts_with("refs/heads/") => Ok(name.to_owned()),
        name if name.starts_with("refs/") => {
            Err(HubError::NotImplemented(format!("commits to {} are not supported", shown(name))))
        }
        name => Ok(format!("refs/heads/{name}")),
    }
}

fn is_id(text: &str) -> bool {
    (5..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn inline(error: lfs::ReceiveError) -> HubError {
    let text = error.to_string();
    match error {
        lfs::ReceiveError::Store(error) => error.into(),
        lfs::ReceiveError::Db(error) => error.into(),
        lfs::ReceiveError::RepoGone => HubError::RepoNotFound,
        lfs::ReceiveError::OverQuota { .. } => HubError::QuotaExceeded(text),
        lfs::ReceiveError::Denied(_) => HubError::Denied(auth::Denied::Forbidden),
        lfs::ReceiveError::Busy | lfs::ReceiveError::Closed => HubError::Busy(text),
        _ => HubError::internal(error),
    }
}
