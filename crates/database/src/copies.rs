//! Large objects of one repo that another may use from now on, without a byte being copied.

use crate::{Quota, RepoId, Sha256, UserId};

/// What is to be linked, if both repos are as they were when this was allowed.
#[derive(Clone, Debug)]
pub struct ObjectCopies {
    pub from: RepoId,
    pub from_acl_version: i64,
    pub to: RepoId,
    pub to_acl_version: i64,
    /// Each once.
    pub objects: Vec<Sha256>,
    pub quota: Quota,
    pub by: Option<UserId>,
}

/// What became of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// With its size. It may have been there before.
    Linked(u64),
    /// The source has it no more; it is removed, or corrupt, in the other repo too, unless that has it.
    Lost,
    /// The source never had it.
    Missing,
    /// Only what is proven is given to other repos.
    Unverified,
}
