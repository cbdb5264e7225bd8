//! What the command line can do to a node, as data.
//!
//! A command becomes an [`Operation`]; whoever owns the data directory (the command's own process, or the server that
//! it reaches over the control socket) gives it to [`run`] and gets an [`Outcome`]. So both ways are one way.

mod error;
mod objects;
mod orgs;
mod outcome;
mod repos;
mod stats;
mod users;

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use auth::TokenSecret;
use change::GcOptions;
use database::{Namespace, RepoPath, Sha256};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Node;
use crate::doctor;

pub use error::OperationError;
pub use outcome::{
    MemberLine, OrgLine, Outcome, QuotaLine, RepoLine, TokenIssued, TokenLine, UserLine, timestamp,
};
pub use stats::{RepoStats, Stats, StatsLine};

/// Paths in it are absolute: the two processes need not share a working directory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    UserCreate {
        #[serde(with = "as_text")]
        name: Namespace,
        admin: bool,
    },
    UserList {},
    UserSetDisabled {
        name: String,
        disabled: bool,
    },
    TokenCreate {
        user: String,
        role: Role,
        name: String,
        /// Take this one instead of making one.
        import: Option<TokenSecret>,
    },
    TokenList {
        user: String,
    },
    TokenRevoke {
        token: TokenRef,
    },
    OrgCreate {
        #[serde(with = "as_text")]
        name: Namespace,
        owner: String,
    },
    OrgList {},
    OrgMembers {
        org: String,
    },
    /// `None` takes the user out.
    OrgSetMember {
        org: String,
        user: String,
        role: Option<OrgRole>,
    },
    RepoCreate {
        repo: NewRepo,
    },
    /// One page, in order of kind and name.
    RepoList {
        /// The last name of the page before.
        after: Option<String>,
    },
    RepoDelete {
        #[serde(with = "as_text")]
        repo: RepoPath,
    },
    RepoRename {
        #[serde(with = "as_text")]
        repo: RepoPath,
        #[serde(with = "as_text")]
        to: RepoPath,
    },
    RepoSetVisibility {
        #[serde(with = "as_text")]
        repo: RepoPath,
        public: bool,
    },
    RepoSetMirror {
        #[serde(with = "as_text")]
        repo: RepoPath,
        mirror: bool,
    },
    /// Every ref of a git repository on the server's disk, into a repository that exists or is made.
    RepoImport {
        dir: PathBuf,
        repo: NewRepo,
    },
    RepoExport {
        #[serde(with = "as_text")]
        repo: RepoPath,
        dir: PathBuf,
    },
    /// What a namespace takes of large objects, and how much it may; changed first if `set` is given.
    Quota {
        #[serde(with = "as_text")]
        namespace: Namespace,
        set: Option<Quota>,
    },
    /// For good: downloads of the object from this repository are answered 410.
    LfsRemove {
        #[serde(with = "as_text")]
        repo: RepoPath,
        #[serde(with = "as_text")]
        oid: Sha256,
    },
    /// Signs links by a new key; those handed out stay good until they expire.
    LfsRotateKeys {},
    /// What large objects take.
    Stats {
        /// A repository's path, or all.
        repo: Option<String>,
    },
    Fsck {
        /// A repository's path, or all.
        repo: Option<String>,
    },
    Gc {
        /// A repository's path, or all.
        repo: Option<String>,
        dry_run: bool,
        /// Without retention; cached answers go too.
        purge: bool,
    },
    Maintain {
        /// All that could be done, instead of all that is due.
        now: bool,
    },
    Backup {
        dir: PathBuf,
    },
    Doctor {},
    /// Moves the clock of a server that runs with `GRANARY_DEBUG=1`.
    AdvanceClock {
        by_ms: i64,
    },
}

/// Repositories on one page of [`Operation::RepoList`].
pub const REPOS_PER_PAGE: u32 = 1000;

/// How many bytes of large objects a namespace may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// What `lfs.quota` says.
    Default,
    Unlimited,
    Bytes(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrgRole {
    Read,
    Contributor,
    Write,
    Admin,
}

/// Which token to revoke.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenRef {
    /// As `token list` shows it.
    Id(i64),
    /// By its text: one that was found where it should not be.
    Secret(TokenSecret),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRepo {
    #[serde(with = "as_text")]
    pub path: RepoPath,
    /// `None` is what `repos.default_visibility` says.
    pub public: Option<bool>,
    pub mirror: bool,
    pub blob_bytes_max: Option<u64>,
    /// Pushes and imports may leave LFS objects out.
    #[serde(default)]
    pub lfs_incomplete: bool,
}

/// Runs one operation to its end. The caller owns the data directory, by itself or as the server.
pub async fn run(node: &Arc<Node>, operation: Operation) -> Result<Outcome, OperationError> {
    match operation {
        Operation::UserCreate { name, admin } => users::create(node, name, admin).await,
        Operation::UserList {} => users::list(node),
        Operation::UserSetDisabled { name, disabled } => users::set_disabled(node, &name, disabled).await,
        Operation::TokenCreate { user, role, name, import } => {
            users::create_token(node, &user, role, name, import).await
        }
        Operation::TokenList { user } => users::list_tokens(node, &user),
        Operation::TokenRevoke { token } => users::revoke_token(node, token).await,
        Operation::OrgCreate { name, owner } => orgs::create(node, name, &owner).await,
        Operation::OrgList {} => orgs::list(node),
        Operation::OrgMembers { org } => orgs::members(node, &org),
        Operation::OrgSetMember { org, user, role } => orgs::set_member(node, &org, &user, role).await,
        Operation::RepoCreate { repo } => repos::create(node, repo).await,
        Operation::RepoList { after } => repos::list(node, after.as_deref()),
        Operation::RepoDelete { repo } => repos::delete(node, &repo).await,
        Operation::RepoRename { repo, to } => repos::rename(node, &repo, to).await,
        Operation::RepoSetVisibility { repo, public } => repos::set_visibility(node, &repo, public).await,
        Operation::RepoSetMirror { repo, mirror } => repos::set_mirror(node, &repo, mirror).await,
        Operation::RepoImport { dir, repo } => repos::import(node, dir, repo).await,
        Operation::RepoExport { repo, dir } => {
            let repo = repos::live(node, &repo)?;
            Ok(Outcome::Export(node.changes.export(&repo, dir).await?))
        }
        Operation::Quota { namespace, set } => objects::quota(node, namespace, set).await,
        Operation::LfsRemove { repo, oid } => objects::remove(node, &repo, oid).await,
        Operation::LfsRotateKeys {} => objects::rotate_keys(node).await,
        Operation::Stats { repo } => {
            let repo = repos::one_or_all(node, repo.as_deref())?;
            stats::of(node, repo).await
        }
        Operation::Fsck { repo } => {
            let repo = repos::one_or_all(node, repo.as_deref())?;
            Ok(Outcome::Fsck(node.changes.fsck(repo.as_ref()).await?))
        }
        Operation::Gc { repo, dry_run, purge } => {
            let repo = repos::one_or_all(node, repo.as_deref())?;
            let report = node.changes.gc(GcOptions { repo, dry_run, purge, ..GcOptions::default() }).await?;
            if purge && !dry_run {
                node.drop_cached_answers();
            }
            Ok(Outcome::Gc(report))
        }
        Operation::Maintain { now } => {
            let report = node.changes.maintain(now).await?;
            node.hub.write_downloads().await?;
            Ok(Outcome::Maintain(report))
        }
        Operation::Backup { dir } => Ok(Outcome::Backup(node.changes.backup(dir).await?)),
        Operation::Doctor {} => Ok(Outcome::Doctor(doctor::of_node(node).await)),
        Operation::AdvanceClock { by_ms } => advance_clock(node, by_ms),
    }
}

fn advance_clock(node: &Node, by_ms: i64) -> Result<Outcome, OperationError> {
    if !node.debug {
        return Err(OperationError::DebugOff);
    }
    node.clock().advance_ms(by_ms);
    node.maintenance.notify_one();
    Ok(Outcome::Done(format!("the server's clock says {}", timestamp(node.clock().now_ms()))))
}

/// Names as the text they are parsed from and printed as.
mod as_text {
    use super::*;

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
