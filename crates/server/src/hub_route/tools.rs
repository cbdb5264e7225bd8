//! The routes by which a history and the large files of a repository are looked at and put in order.

use http::Method;

use super::{GET, HubRoute, POST, only};
use crate::route::{NoRoute, Target};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolRoute {
    /// `GET /api/{type}/{repo}/compare/{a}..{b}`, or with three dots
    Compare { repo: Target, revisions: String },
    /// `POST /api/{type}/{repo}/super-squash/{revision}`
    SuperSquash { repo: Target, revision: String },
    /// `POST /api/{type}/{repo}/duplicate`
    Duplicate { repo: Target },
    /// `GET /api/{type}/{repo}/lfs-files`
    LfsFiles { repo: Target },
    /// `DELETE /api/{type}/{repo}/lfs-files/{sha}`
    LfsFileDelete { repo: Target, sha256: String },
    /// `POST /api/{type}/{repo}/lfs-files/batch`
    LfsFilesBatch { repo: Target },
    /// `POST /api/{type}/{repo}/lfs-files/duplicate`
    LfsFilesDuplicate { repo: Target },
    /// `GET /api/{type}/{repo}/treesize/{revision}[/{path}]`
    TreeSize { repo: Target, revision: String, path: String },
    /// `GET /api/settings/repositories`, or `/api/organizations/{name}/settings/repositories`
    Storage { organization: Option<String> },
}

/// `None` if it is none of these; `rest` is behind `/api`.
pub(super) fn of_hub(method: &Method, rest: &[&str]) -> Option<Result<HubRoute, NoRoute>> {
    let organization = match rest {
        ["settings", "repositories"] => None,
        ["organizations", name, "settings", "repositories"] => Some((*name).to_owned()),
        _ => return None,
    };
    Some(only(method, GET, HubRoute::Tools(ToolRoute::Storage { organization })))
}

/// `None` if it is none of these.
pub(super) fn of_repo(method: &Method, repo: &Target, rest: &[&str]) -> Option<Result<HubRoute, NoRoute>> {
    let repo = repo.clone();
    let (allow, route) = match rest {
        ["compare", revisions @ ..] if !revisions.is_empty() => {
            (GET, ToolRoute::Compare { repo, revisions: revisions.join("/") })
        }
        ["super-squash", revision] => {
            (POST, ToolRoute::SuperSquash { repo, revision: (*revision).to_owned() })
        }
        ["duplicate"] => (POST, ToolRoute::Duplicate { repo }),
        ["lfs-files"] => (GET, ToolRoute::LfsFiles { repo }),
        ["lfs-files", "batch"] => (POST, ToolRoute::LfsFilesBatch { repo }),
        ["lfs-files", "duplicate"] => (POST, ToolRoute::LfsFilesDuplicate { repo }),
        ["lfs-files", sha256] => ("DELETE", ToolRoute::LfsFileDelete { repo, sha256: (*sha256).to_owned() }),
        ["treesize", revision, path @ ..] => {
            (GET, ToolRoute::TreeSize { repo, revision: (*revision).to_owned(), path: path.join("/") })
        }
        _ => return None,
    };
    Some(only(method, allow, HubRoute::Tools(route)))
}

impl ToolRoute {
    pub(super) fn takes_a_body(&self) -> bool {
        matches!(
            self,
            ToolRoute::SuperSquash { .. }
                | ToolRoute::Duplicate { .. }
                | ToolRoute::LfsFilesBatch { .. }
                | ToolRoute::LfsFilesDuplicate { .. }
        )
    }
}

super::labels! {
    ToolRoute:
    Compare => "hub.compare",
    SuperSquash => "hub.super-squash",
    Duplicate => "hub.duplicate",
    LfsFiles => "hub.lfs-files",
    LfsFileDelete => "hub.lfs-files.delete",
    LfsFilesBatch => "hub.lfs-files.batch",
    LfsFilesDuplicate => "hub.lfs-files.duplicate",
    TreeSize => "hub.treesize",
    Storage => "hub.storage",
}
