//! Which refs a push may move, before anything is computed. The texts end up behind `! [remote rejected]`.

use database::{Oid, Repo};
use repository::Snapshot;

use crate::Limits;
use crate::pulls::PullRef;

/// Who is pushing, as far as refs are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pusher {
    /// Holds the Write right.
    pub write: bool,
    pub admin: bool,
}

/// One ref update as asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update<'a> {
    pub name: &'a str,
    pub new: Oid,
    /// Of the pull request whose ref it is, if it is one.
    pub pull: Option<&'a Result<PullRef, String>>,
}

/// `Err` is the reason in git's own words where git has some.
pub(crate) fn check(
    pusher: Pusher,
    snapshot: &Snapshot,
    update: Update<'_>,
    limits: &Limits,
) -> Result<(), String> {
    let Update { name, new, .. } = update;
    if !name.starts_with("refs/") || name.len() < "refs/x".len() {
        return Err("funny refname".to_owned());
    }
    if name.len() > limits.ref_name_bytes_max {
        return Err(format!("ref name is longer than {} bytes", limits.ref_name_bytes_max));
    }
    let repo = snapshot.repo();
    if pusher.admin && (repo.mirror || snapshot.refs().is_empty()) {
        return Ok(());
    }
    if let Some(namespace) = server_owned(name) {
        return check_server_owned(snapshot, update, namespace);
    }
    if !pusher.write {
        return Err("you may read this repository but not write to it".to_owned());
    }
    if new.is_null() && name == repo.head_ref {
        return Err(default_branch(repo));
    }
    Ok(())
}

fn default_branch(repo: &Repo) -> String {
    let branch = repo.head_ref.strip_prefix("refs/heads/").unwrap_or(&repo.head_ref);
    format!("refusing to delete the default branch '{branch}'")
}

/// Refs that the hub itself makes.
fn server_owned(name: &str) -> Option<&'static str> {
    ["refs/pr/", "refs/convert/"].into_iter().find(|prefix| name.starts_with(prefix))
}

/// A pull request's ref may be moved by its author and by who may write; it is created and closed through the hub, not by
/// a push.
fn check_server_owned(snapshot: &Snapshot, update: Update<'_>, namespace: &str) -> Result<(), String> {
    if namespace != "refs/pr/" {
        return Err(format!("{namespace}* is kept by the hub"));
    }
    if update.new.is_null() {
        return Err("a pull request is closed through the hub, not by deleting its ref".to_owned());
    }
    match update.pull {
        Some(Ok(_)) if snapshot.find_ref(update.name).is_some() => Ok(()),
        Some(Err(reason)) => Err(reason.clone()),
        Some(Ok(_)) | None => Err("no such pull request; open one through the hub first".to_owned()),
    }
}

/// Where `HEAD` should point after `created` branches came into being: it follows the first branch pushed while it
/// is unborn, `main` preferred. `None` leaves it.
pub(crate) fn head_after<'a>(snapshot: &Snapshot, created: impl Iterator<Item = &'a str>) -> Option<String> {
    let head = &snapshot.repo().head_ref;
    if snapshot.find_ref(head).is_some() {
        return None;
    }
    let branches: Vec<&str> = created.filter(|name| name.starts_with("refs/heads/")).collect();
    if branches.contains(&head.as_str()) {
        return None;
    }
    let preferred = ["refs/heads/main", "refs/heads/master"].into_iter().find(|name| branches.contains(name));
    preferred.or(branches.first().copied()).map(str::to_owned)
}
