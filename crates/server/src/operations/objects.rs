//! Large objects: how many one may have, and what is to go.

use database::{Namespace, RepoPath, Sha256};

use super::repos::live;
use super::{OperationError, Outcome, Quota, QuotaLine};
use crate::Node;

type Result<T = Outcome> = std::result::Result<T, OperationError>;

/// A quota that no disk will ever meet; rows know no larger number.
const UNLIMITED: u64 = i64::MAX as u64;

/// See [`super::Operation::Quota`].
pub(super) async fn quota(node: &Node, namespace: Namespace, set: Option<Quota>) -> Result {
    let name = namespace.as_str();
    if node.database.user(name)?.is_none() && node.database.org(name)?.is_none() {
        return Err(OperationError::NoNamespace(name.to_owned()));
    }
    if let Some(quota) = set {
        let bytes_max = match quota {
            Quota::Default => None,
            Quota::Unlimited => Some(UNLIMITED),
            Quota::Bytes(bytes) => Some(bytes),
        };
        node.database.set_quota(namespace.clone(), bytes_max).await?;
    }
    let usage = node.database.usage(&namespace)?;
    let default = node.config.lfs.quota.map(|quota| quota.bytes());
    Ok(Outcome::Quota(QuotaLine {
        used: usage.used,
        reserved: usage.reserved,
        limit: usage.quota.or(default).filter(|&limit| limit < UNLIMITED),
        is_default: usage.quota.is_none(),
    }))
}

/// See [`super::Operation::LfsRemove`].
pub(super) async fn remove(node: &Node, path: &RepoPath, oid: Sha256) -> Result {
    let repo = live(node, path)?;
    if !node.database.remove_link(repo.id, oid).await? {
        return Err(OperationError::NoObject { repo: repo.path, oid });
    }
    Ok(Outcome::Done(format!("object {oid} removed from {}", repo.path)))
}

/// See [`super::Operation::LfsRotateKeys`].
pub(super) async fn rotate_keys(node: &Node) -> Result {
    node.objects.keys().rotate(&node.database).await?;
    Ok(Outcome::Done(
        "links are signed by a new key; those handed out stay good until they expire".to_owned(),
    ))
}
