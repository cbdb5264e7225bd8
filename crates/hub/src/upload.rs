//! A commit on its way in: the lines of its body as they arrive, the bytes of its files in one spool, and what becomes
//! of them.
//!
//! [`Receiving`] holds no file: what it decodes is handed back to be put behind what the spool has. When all is there,
//! [`Hub::commit`] looks at each file in the spool, makes large ones LFS objects, and commits.

use auth::{Authorized, Propose};
use bytes::Bytes;
use change::{NewCommit, Proposal};
use database::{DiscussionNum, Oid, RepoKind, Sha256, pull_of_ref};
use repository::attributes::Attributes;
use repository::edit::{Action, Edit};
use repository::pointer::{self, Target};

use crate::at::{At, shown};
use crate::commit_lines::{
    ContentDecoder, Encoding, Form, Header, LineError, NotBase64, Operation, Parser, Restore, Sink,
};
use crate::discussions::{comment, title_of_commit};
use crate::rules::{Rules, check_card, checked, is_large};
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
    path_bytes: usize,
}

struct Stored {
    start: u64,
    end: u64,
    /// What lies in the spool is to be undone first.
    restore: Option<Restore>,
}

/// Copies the contents of a draft into another spool, each as it is meant.
pub struct Restoring {
    draft: Draft,
    from: Bytes,
    /// The content that is being copied, and how much of it was.
    number: usize,
    copied: u64,
    /// Where it begins in the other spool, and where that ends.
    start: u64,
    end: u64,
}

/// What is to be told of a commit.
#[derive(Clone, Debug)]
pub struct Told {
    pub commit: Oid,
    pub moved: bool,
    /// The pull request that it opened.
    pub opened: Option<DiscussionNum>,
}

#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("the content of {path} is not what its encoding says: {source}")]
    Content { path: String, source: NotBase64 },
    #[error("the paths have more than {PATH_BYTES_MAX} bytes in all; split the commit into several")]
    Paths,
}

/// Bytes of a file by which it is told whether it is text.
const SAMPLE: usize = 512;
/// Of all paths of a commit: they are held until it is made.
const PATH_BYTES_MAX: usize = 32 << 20;
const RESTORED_AT_ONCE: u64 = 256 << 10;

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
            path_bytes: 0,
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
    /// Some contents were taken for base64, and are none: what was spooled is to be copied by [`Restoring`] into
    /// another spool, that [`Hub::commit`] gets instead.
    pub fn is_to_be_restored(&self) -> bool {
        self.contents.iter().any(|stored| stored.restore.is_some())
    }

    pub fn restore(self, spool: Bytes) -> Restoring {
        Restoring { draft: self, from: spool, number: 0, copied: 0, start: 0, end: 0 }
    }

    fn at(&self) -> u64 {
        self.spooled + self.out.len() as u64
    }
}

impl Restoring {
    /// What is to be put behind what the other spool has; `None` when that has all.
    pub fn next_piece(&mut self) -> Option<Vec<u8>> {
        let stored = self.draft.contents.get_mut(self.number)?;
        let from = stored.start + self.copied;
        let to = stored.end.min(from + RESTORED_AT_ONCE);
        let bytes = &self.from[from as usize..to as usize];
        let mut piece = Vec::with_capacity(bytes.len() * 4 / 3 + 4);
        match &mut stored.restore {
            Some(restore) => restore.push(bytes, &mut piece),
            None => piece.extend_from_slice(bytes),
        }
        self.copied += bytes.len() as u64;
        self.end += piece.len() as u64;
        if to == stored.end {
            *stored = Stored { start: self.start, end: self.end, restore: None };
            (self.number, self.copied, self.start) = (self.number + 1, 0, self.end);
        }
        Some(piece)
    }

    pub fn finish(self) -> Draft {
        self.draft
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
        let (path, old_path) = operation.paths();
        self.path_bytes += path.len() + old_path.map_or(0, str::len);
        if self.path_bytes > PATH_BYTES_MAX {
            return Err(BodyError::Paths);
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
    /// `revision` names a branch, or the ref of a pull request. With `proposes`, the commit opens a pull request for that
    /// branch. `spool` is all that [`Receiving::push`] gave, or [`Restoring::next_piece`].
    pub async fn commit(
        &self,
        access: Authorized<Propose>,
        revision: &str,
        proposes: bool,
        draft: Draft,
        spool: Bytes,
    ) -> Result<Told, HubError> {
        let header = draft.header.ok_or_else(|| HubError::Invalid("the commit has no header".to_owned()))?;
        let parent = header.parent_commit.as_deref().filter(|parent| !parent.is_empty());
        if parent.is_some_and(|parent| !is_id(parent)) {
            return Err(HubError::Invalid("parentCommit is not the id of a commit".to_owned()));
        }
        let branch = branch(access.repo(), revision)?;
        if proposes {
            self.may_discuss(&access)?;
            if pull_of_ref(&branch).is_some() {
                return Err(HubError::Invalid(format!(
                    "{branch} is a pull request already; commit to it without create_pr"
                )));
            }
        }
        let snapshot = self.snapshot(access.repo()).await?;
        // Before large files are stored for a commit that is refused afterwards.
        let foreseen = self.0.changes.foresee_commit(&access, &snapshot, &branch, parent, proposes);
        let tip = snapshot.find_ref(&branch).map(|row| row.oid);
        let tip = foreseen.map_err(|error| HubError::of_commit(error, revision, tip))?;
        let at = tip.map(|tip| At::of(std::sync::Arc::clone(&snapshot), tip)).transpose()?;
        let (operations, contents) = (draft.operations, draft.contents);
        let rules = self.rules();
        let kind = access.repo().path.kind;
        let planned =
            blocking(move || plan(&snapshot, at.as_ref(), operations, contents, &spool, rules, kind)).await?;
        let proposal = match proposes {
            true => Some(Proposal {
                title: title_of_commit(&header.summary),
                text: comment(&header.description)?,
            }),
            false => None,
        };
        let edits = self.edits(&access, planned).await?;
        let (author_name, author_email) = refs::author(&access);
        let summary = header.summary.trim();
        let summary = if summary.is_empty() { "Upload files" } else { summary };
        let message = match header.description.trim() {
            "" => summary.to_owned(),
            description => format!("{summary}\n\n{description}"),
        };
        let parent = parent.map(str::to_owned);
        let commit = NewCommit { branch, parent, proposal, edits, author_name, author_email, message };
        let made = self.0.changes.commit(access, commit).await;
        let made = made.map_err(|error| HubError::of_commit(error, revision, tip))?;
        Ok(Told { commit: made.commit, moved: made.moved, opened: made.opened })
    }

    pub(crate) async fn edits(
        &self,
        access: &Authorized<Propose>,
        planned: Vec<Planned>,
    ) -> Result<Vec<Edit>, HubError> {
        let mut edits = Vec::with_capacity(planned.len());
        for planned in planned {
            edits.push(self.edit(access, planned).await?);
        }
        Ok(edits)
    }

    /// Stores what goes to LFS.
    async fn edit(&self, access: &Authorized<Propose>, planned: Planned) -> Result<Edit, HubError> {
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

pub(crate) struct Planned {
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
    rules: Rules,
    kind: RepoKind,
) -> Result<Vec<Planned>, HubError> {
    let contents: Vec<Bytes> = contents
        .iter()
        .map(|stored| match stored.restore {
            None => Ok(spool.slice(stored.start as usize..stored.end as usize)),
            Some(_) => Err(HubError::internal(NotRestored)),
        })
        .collect::<Result<_, _>>()?;
    let mut attributes = Attributes::new(snapshot, at.map(|at| at.tree));
    for operation in &operations {
        if let Operation::File { path, content, .. } = operation {
            set_attributes(&mut attributes, path, &contents[*content as usize])?;
        }
    }
    let mut planned = Vec::with_capacity(operations.len());
    // First, since two files may be given each other's name.
    for operation in &operations {
        if let (path, Some(old_path)) = operation.paths()
            && path != old_path
        {
            planned.push(Planned { path: old_path.to_owned(), what: What::Edit(Action::DeleteFile) });
        }
    }
    for operation in operations {
        let (path, what) = match operation {
            Operation::File { path, content, .. } => {
                planned.push(planned_file(
                    &mut attributes,
                    path,
                    contents[content as usize].clone(),
                    rules,
                    kind,
                )?);
                continue;
            }
            Operation::LfsFile { path, oid, size_bytes, .. } => {
                checked(&path)?;
                let sha256 = oid.parse().map_err(|_| HubError::Invalid(format!("{oid} is not a SHA-256")))?;
                let what = match (size_bytes, sha256 == Sha256::EMPTY) {
                    // Empty files are no objects.
                    (None | Some(0), true) => What::Edit(Action::Put(Bytes::new())),
                    (Some(0), false) => {
                        return Err(HubError::Invalid(format!(
                            "{} has no bytes, but the oid of some",
                            shown(&path)
                        )));
                    }
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

/// Of a tree in which this file is put: what it says of others, if it is one of those that do.
pub(crate) fn set_attributes(
    attributes: &mut Attributes<'_>,
    path: &str,
    content: &[u8],
) -> Result<(), HubError> {
    if let Some(folder) = path.strip_suffix(".gitattributes")
        && (folder.is_empty() || folder.ends_with('/'))
    {
        checked(path)?;
        attributes.set(folder, content)?;
    }
    Ok(())
}

/// Of a commit of these files alone, the first.
pub(crate) fn planned_files(
    files: Vec<(String, Bytes)>,
    rules: Rules,
    kind: RepoKind,
) -> Result<Vec<Planned>, HubError> {
    let mut attributes = Attributes::of_nothing();
    for (path, content) in &files {
        set_attributes(&mut attributes, path, content)?;
    }
    files
        .into_iter()
        .map(|(path, content)| planned_file(&mut attributes, path, content, rules, kind))
        .collect()
}

/// `attributes` know all of the commit's own.
pub(crate) fn planned_file(
    attributes: &mut Attributes<'_>,
    path: String,
    content: Bytes,
    rules: Rules,
    kind: RepoKind,
) -> Result<Planned, HubError> {
    // Before a large file is stored for a path that is refused afterwards.
    checked(&path)?;
    if path == "README.md" {
        check_card(&content, kind).map_err(HubError::Invalid)?;
    }
    let sample = &content[..content.len().min(SAMPLE)];
    let what = match is_large(attributes, &path, content.len() as u64, sample, rules)? {
        true => What::Large { sha256: lfs::sha256(&content), content },
        false => What::Edit(Action::Put(content)),
    };
    Ok(Planned { path, what })
}

#[derive(Debug, thiserror::Error)]
#[error("the contents of a draft were not restored")]
struct NotRestored;

/// Full name of the branch that is meant, or of the pull request's ref.
fn branch(repo: &database::Repo, revision: &str) -> Result<String, HubError> {
    match revision {
        "HEAD" => Ok(repo.head_ref.clone()),
        name if name.starts_with("refs/heads/") => Ok(name.to_owned()),
        name if pull_of_ref(name).is_some() => Ok(name.to_owned()),
        name if name.starts_with("refs/") => Err(HubError::Invalid(format!("{} is no branch", shown(name)))),
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
