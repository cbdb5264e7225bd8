//! What people do with repositories beside changing them: search, like, ask for access, collect.

use database::RepoKind;
use http::Method;

use super::{GET, HubRoute, NOT_FOUND, POST, kind_of, only};
use crate::route::{NoRoute, Target};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeopleRoute {
    /// `GET /api/models-tags-by-type`, or those of datasets.
    Tags { kind: RepoKind },
    /// `GET /api/quicksearch`
    QuickSearch,
    /// `GET /api/trending`
    Trending,
    /// `POST /api/{type}/{repo}/like`, or `DELETE`.
    Like { repo: Target, likes: bool },
    /// `GET /api/{type}/{repo}/likers`
    Likers { repo: Target },
    /// `GET /api/users/{name}/likes`
    Likes { name: String },
    /// `POST /{repo}/ask-access`
    AskAccess { repo: Target },
    /// `GET /api/{type}/{repo}/user-access-request/{status}`
    AccessList { repo: Target, status: String },
    /// `POST /api/{type}/{repo}/user-access-request/handle`
    AccessHandle { repo: Target },
    /// `POST /api/{type}/{repo}/user-access-request/batch`
    AccessBatch { repo: Target },
    /// `POST /api/{type}/{repo}/user-access-request/grant`
    AccessGrant { repo: Target },
    /// `POST /api/{type}/{repo}/user-access-request/cancel`: one's own.
    AccessCancel { repo: Target },
    /// `GET /api/{type}/{repo}/user-access-report`
    AccessReport { repo: Target },
    /// `GET /api/collections`
    CollectionList,
    /// `POST /api/collections`
    CollectionCreate,
    /// `GET /api/collections/{slug}`
    Collection { slug: String },
    /// `PATCH /api/collections/{slug}`
    CollectionEdit { slug: String },
    /// `DELETE /api/collections/{slug}`
    CollectionDelete { slug: String },
    /// `POST /api/collections/{slug}/items`
    ItemAdd { slug: String },
    /// `PATCH /api/collections/{slug}/items/{id}`
    ItemEdit { slug: String, id: String },
    /// `DELETE /api/collections/{slug}/items/{id}`
    ItemDelete { slug: String, id: String },
}

const POST_OR_DELETE: &str = "POST, DELETE";
const PATCH_OR_DELETE: &str = "PATCH, DELETE";

/// Below `/api`; `None` if it is none of these.
pub(super) fn api(method: &Method, rest: &[&str]) -> Option<Result<HubRoute, NoRoute>> {
    let (allow, route) = match rest {
        ["models-tags-by-type"] => (GET, PeopleRoute::Tags { kind: RepoKind::Model }),
        ["datasets-tags-by-type"] => (GET, PeopleRoute::Tags { kind: RepoKind::Dataset }),
        ["quicksearch"] => (GET, PeopleRoute::QuickSearch),
        ["trending"] => (GET, PeopleRoute::Trending),
        ["users", name, "likes"] => (GET, PeopleRoute::Likes { name: (*name).to_owned() }),
        ["collections", rest @ ..] => collections(method, rest)?,
        [kind, namespace, name, rest @ ..] => {
            let repo = Target::new(kind_of(kind)?, namespace, name);
            match rest {
                ["like"] => (POST_OR_DELETE, PeopleRoute::Like { repo, likes: *method != Method::DELETE }),
                ["likers"] => (GET, PeopleRoute::Likers { repo }),
                ["user-access-report"] => (GET, PeopleRoute::AccessReport { repo }),
                ["user-access-request", "handle"] => (POST, PeopleRoute::AccessHandle { repo }),
                ["user-access-request", "batch"] => (POST, PeopleRoute::AccessBatch { repo }),
                ["user-access-request", "grant"] => (POST, PeopleRoute::AccessGrant { repo }),
                ["user-access-request", "cancel"] => (POST, PeopleRoute::AccessCancel { repo }),
                ["user-access-request", status @ ("pending" | "accepted" | "rejected")] => {
                    (GET, PeopleRoute::AccessList { repo, status: (*status).to_owned() })
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(only(method, allow, HubRoute::People(route)))
}

/// A slug has a slash in it, which some clients encode.
fn collections(method: &Method, rest: &[&str]) -> Option<(&'static str, PeopleRoute)> {
    Some(match rest {
        [] if method == Method::POST => ("GET, HEAD, POST", PeopleRoute::CollectionCreate),
        [] => ("GET, HEAD, POST", PeopleRoute::CollectionList),
        [.., "resource-group"] => return None,
        [slug @ .., "items"] if !slug.is_empty() => (POST, PeopleRoute::ItemAdd { slug: slug.join("/") }),
        [slug @ .., "items", id] if !slug.is_empty() => {
            let (slug, id) = (slug.join("/"), (*id).to_owned());
            match *method {
                Method::DELETE => (PATCH_OR_DELETE, PeopleRoute::ItemDelete { slug, id }),
                _ => (PATCH_OR_DELETE, PeopleRoute::ItemEdit { slug, id }),
            }
        }
        slug => {
            let slug = slug.join("/");
            let route = match *method {
                Method::PATCH => PeopleRoute::CollectionEdit { slug },
                Method::DELETE => PeopleRoute::CollectionDelete { slug },
                _ => PeopleRoute::Collection { slug },
            };
            ("GET, HEAD, PATCH, DELETE", route)
        }
    })
}

impl HubRoute {
    /// `POST /{repo}/ask-access`
    pub(crate) fn ask_access(method: &Method, repo: Target) -> Result<HubRoute, NoRoute> {
        match repo.path {
            Some(_) => only(method, POST, HubRoute::People(PeopleRoute::AskAccess { repo })),
            None => Err(NOT_FOUND),
        }
    }
}

impl PeopleRoute {
    pub(super) fn takes_a_body(&self) -> bool {
        matches!(
            self,
            PeopleRoute::AskAccess { .. }
                | PeopleRoute::AccessHandle { .. }
                | PeopleRoute::AccessBatch { .. }
                | PeopleRoute::AccessGrant { .. }
                | PeopleRoute::CollectionCreate
                | PeopleRoute::CollectionEdit { .. }
                | PeopleRoute::ItemAdd { .. }
                | PeopleRoute::ItemEdit { .. }
        )
    }
}

super::labels! {
    PeopleRoute:
    Tags => "hub.tags",
    QuickSearch => "hub.quicksearch",
    Trending => "hub.trending",
    Like => "hub.like",
    Likers => "hub.likers",
    Likes => "hub.likes",
    AskAccess => "hub.ask-access",
    AccessList => "hub.access.list",
    AccessHandle => "hub.access.handle",
    AccessBatch => "hub.access.batch",
    AccessGrant => "hub.access.grant",
    AccessCancel => "hub.access.cancel",
    AccessReport => "hub.access.report",
    CollectionList => "hub.collections",
    CollectionCreate => "hub.collection.create",
    Collection => "hub.collection",
    CollectionEdit => "hub.collection.edit",
    CollectionDelete => "hub.collection.delete",
    ItemAdd => "hub.collection.add",
    ItemEdit => "hub.collection.item",
    ItemDelete => "hub.collection.drop",
}
