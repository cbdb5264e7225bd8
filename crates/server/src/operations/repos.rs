//! Repositories as rows: created, listed, renamed, deleted; and imported, which creates.

use std::path::PathBuf;

use database::{Found, NewRepo as Row, Repo, RepoPath, Visibility};

use super::{NewRepo, OperationError, Outcome, REPOS_PER_PAGE};
use crate::Node;

type Result<T = Outcome> = std::result::Result<T, OperationError>;

/// See [`super::Operation::RepoCreate`].
pub(super) async fn create(node: &Node, new: NewRepo) -> Result {
    node.writable()?;
    let repo = create_row(node, &new).await?;
    Ok(Outcome::Done(format!("repository {} created", repo.path)))
}

/// See [`super::Operation::RepoList`].
pub(super) fn list(node: &Node, after: Option<&str>) -> Result {
    let after: Option<RepoPath> = after.map(str::parse).transpose()?;
    let repos = node.database.repos(after.as_ref(), REPOS_PER_PAGE)?;
    Ok(Outcome::Repos(repos.into_iter().map(Into::into).collect()))
}

/// See [`super::Operation::RepoDelete`].
pub(super) async fn delete(node: &Node, path: &RepoPath) -> Result {
    let repo = live(node, path)?;
    node.changes.delete_repo(&repo).await?;
    Ok(Outcome::Done(format!("repository {} deleted", repo.path)))
}

/// See [`super::Operation::RepoSetVisibility`].
pub(super) async fn set_visibility(node: &Node, path: &RepoPath, public: bool) -> Result {
    let repo = live(node, path)?;
    let (visibility, name) =
        if public { (Visibility::Public, "public") } else { (Visibility::Private, "private") };
    let purges = public && repo.visibility == Visibility::Private;
    let changed = node.changes.set_visibility(&repo, visibility).await;
    if purges {
        // What was collected for it must not come out of a cache either; also if it failed half way.
        node.drop_cached_answers();
    }
    changed?;
    Ok(Outcome::Done(format!("repository {} is {name}", repo.path)))
}

/// See [`super::Operation::RepoSetMirror`].
pub(super) async fn set_mirror(node: &Node, path: &RepoPath, mirror: bool) -> Result {
    let repo = live(node, path)?;
    if !node.database.set_mirror(repo.id, mirror).await? {
        return Err(OperationError::NoRepo(repo.path));
    }
    let is = if mirror { "is a mirror" } else { "is no mirror" };
    Ok(Outcome::Done(format!("repository {} {is}", repo.path)))
}

/// See [`super::Operation::RepoRename`].
pub(super) async fn rename(node: &Node, path: &RepoPath, to: RepoPath) -> Result {
    let repo = live(node, path)?;
    let renamed = rename_row(node, &repo, to).await?;
    Ok(Outcome::Done(format!("repository {} is now {}", repo.path, renamed.path)))
}

/// See [`super::Operation::RepoImport`].
pub(super) async fn import(node: &Node, dir: PathBuf, mut new: NewRepo) -> Result {
    node.writable()?;
    let path = new.path.clone();
    let redirects = match node.database.find_repo(&path)? {
        Some(Found::Repo(repo)) if new.is_plain() => {
            return Ok(Outcome::Import(import_into(node, &repo, dir).await?));
        }
        Some(Found::Repo(repo)) => return Err(OperationError::Exists(repo.path)),
        Some(Found::Redirect(_)) => true,
        None => false,
    };
    if redirects {
        // Free, but taken only once there is something to put there: the redirect would be lost for nothing. (The other
        // name redirects to the repository from then on, which nobody will notice.)
        new.path = beside(&path)?;
    }
    let created = create_row(node, &new).await?;
    let imported = match import_into(node, &created, dir).await {
        Ok(report) if redirects => rename_row(node, &created, path).await.map(|_| report),
        imported => imported,
    };
    if imported.is_err()
        && let Err(error) = node.changes.delete_repo(&created).await
    {
        // The name was free before, and should be again; why there is no import is what counts.
        tracing::warn!(repo = %created.path, %error, "a repository without its import is left over");
    }
    Ok(Outcome::Import(imported?))
}

/// The live repository of that name. One that was renamed is named by its new name in the error.
pub(super) fn live(node: &Node, path: &RepoPath) -> Result<Repo> {
    match node.database.find_repo(path)? {
        Some(Found::Repo(repo)) => Ok(repo),
        Some(Found::Redirect(repo)) => Err(OperationError::Renamed { from: path.clone(), to: repo.path }),
        None => Err(OperationError::NoRepo(path.clone())),
    }
}

pub(super) fn one_or_all(node: &Node, path: Option<&str>) -> Result<Option<Repo>> {
    path.map(|path| live(node, &path.parse()?)).transpose()
}

async fn import_into(node: &Node, repo: &Repo, dir: PathBuf) -> Result<change::ImportReport> {
    let report = node.changes.import(repo, dir, None).await?;
    node.maintenance.notify_one();
    Ok(report)
}

async fn rename_row(node: &Node, repo: &Repo, to: RepoPath) -> Result<Repo> {
    let (name, user) = (to.to_string(), to.namespace.to_string());
    let renamed = node.database.rename_repo(repo.id, to).await;
    renamed.map_err(|error| OperationError::from_create(error, &name, &user))
}

/// A name in the same namespace that nobody has.
fn beside(path: &RepoPath) -> Result<RepoPath> {
    let unique = ulid::Ulid::new().to_string().to_ascii_lowercase();
    Ok(format!("{}{}/import-{unique}", path.kind.url_prefix(), path.namespace).parse()?)
}

async fn create_row(node: &Node, new: &NewRepo) -> Result<Repo> {
    let visibility = match new.public {
        None => node.config.repos.default_visibility.into(),
        Some(true) => Visibility::Public,
        Some(false) => Visibility::Private,
    };
    let NewRepo { path, mirror, blob_bytes_max, lfs_incomplete, .. } = new;
    let row = Row {
        path: path.clone(),
        visibility,
        mirror: *mirror,
        blob_bytes_max: *blob_bytes_max,
        lfs_incomplete: *lfs_incomplete,
    };
    let created = node.database.create_repo(row).await;
    created.map_err(|error| OperationError::from_create(error, &path.to_string(), path.namespace.as_str()))
}

impl NewRepo {
    /// Says nothing that only a new repository could follow.
    fn is_plain(&self) -> bool {
        self.public.is_none() && !self.mirror && self.blob_bytes_max.is_none() && !self.lfs_incomplete
    }
}
