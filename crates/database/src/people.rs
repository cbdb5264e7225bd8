//! What people do with repositories: like them, ask for access, collect them.

use crate::{Namespace, Repo, RepoId, UserId};

/// Whom a request for access concerns, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRequest {
    pub id: AccessRequestId,
    pub user: UserId,
    pub name: Namespace,
    pub status: AccessStatus,
    pub asked_ms: i64,
    /// By the owner, unasked.
    pub granted: bool,
    /// What was filled in, as JSON.
    pub fields: String,
    /// Of a rejection.
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessRequestId(pub i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessStatus {
    Pending,
    Accepted,
    Rejected,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Now(AccessStatus),
    /// It had been made before.
    Already(AccessStatus),
    /// The repository is not there, or is not gated.
    Open,
    /// They asked for too many.
    TooMany,
}

/// Which request is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Of(UserId),
    Id(AccessRequestId),
}

/// The owner's word on one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decide {
    pub request: Request,
    pub status: AccessStatus,
    /// Of a rejection.
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    Done,
    NoRequest,
    /// It stood so before.
    Already,
    /// They were let into too many.
    TooMany,
}

/// Repositories that one person asked to be let into; more than anybody works with.
pub const ACCESS_REQUESTS_MAX: u32 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionId(pub i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionItemId(pub i64);

/// Repositories that belong together in somebody's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    pub id: CollectionId,
    /// Whose it is.
    pub namespace: Namespace,
    pub title: String,
    pub slug: String,
    pub description: Option<String>,
    pub private: bool,
    pub theme: String,
    pub position: i64,
    pub updated_ms: i64,
}

#[derive(Clone, Debug)]
pub struct CollectionItem {
    pub id: CollectionItemId,
    pub repo: Repo,
    pub position: i64,
    pub note: Option<String>,
}

#[derive(Clone, Debug)]
pub struct NewCollection {
    pub namespace: Namespace,
    pub title: String,
    pub slug: String,
    pub description: Option<String>,
    pub private: bool,
    pub theme: String,
}

/// What is to be changed; the rest stays.
#[derive(Clone, Debug, Default)]
pub struct CollectionEdit {
    /// With its slug.
    pub title: Option<(String, String)>,
    pub description: Option<String>,
    pub private: Option<bool>,
    pub theme: Option<String>,
    pub position: Option<i64>,
}

/// Which collections to list.
#[derive(Clone, Debug)]
pub struct Collections {
    pub seen: crate::Seen,
    /// Folded; of any of them. Empty: of all.
    pub owners: Vec<String>,
    /// With any of them in it. Empty: with anything.
    pub with: Vec<RepoId>,
    pub limit: u32,
    pub offset: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected<T> {
    Done(T),
    Gone,
    /// It is there already.
    There(T),
    TooMany,
}

/// More is no list that people read.
pub const COLLECTION_ITEMS_MAX: i64 = 1000;
pub const COLLECTIONS_MAX: i64 = 1000;
