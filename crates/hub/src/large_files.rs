//! The large files of a repository as its owner sees them, and what repositories take.

use std::collections::HashMap;
use std::sync::Arc;

use auth::{Authorized, Identity, Read, Write};
use database::{BucketId, HolderId, Link, LinkState, Oid, RepoId, Sha256, Visibility};
use repository::tree::{self, Found};
use repository::{Snapshot, walk};
use serde::Serialize;

use crate::at::At;
use crate::dates::iso;
use crate::repos::{id, kind_name};
use crate::{Hub, HubError, blocking};

/// One large object, under a name that it has, or had.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LargeFile {
    /// By which it is asked to be deleted: its SHA-256, as `oid`.
    pub file_oid: String,
    pub oid: String,
    pub filename: String,
    pub size: u64,
    pub pushed_at: String,
    /// The full name of a ref whose files it is among.
    #[serde(rename = "ref")]
    pub ref_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xet_hash: Option<String>,
}

#[derive(Debug)]
pub struct LargeFiles {
    pub files: Vec<LargeFile>,
    /// Behind what the next page begins.
    pub next: Option<Sha256>,
}

#[derive(Debug, Serialize)]
pub struct FolderSize {
    pub path: String,
    /// In bytes; of large files their own size, not that of their pointers.
    pub size: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub updated_at: String,
    pub visibility: &'static str,
    /// Bytes: git data and large files.
    pub storage: u64,
    pub storage_percent: f64,
}

const PAGE: usize = 1000;
/// Named in one request.
pub const DELETED_MAX: usize = 1000;
/// Files and folders that are added up.
const ENTRIES_MAX: usize = 5_000_000;
/// Items taken from a tree at a time.
const STEP: usize = 10_000;

impl Hub {
    /// In the order of their SHA-256.
    pub async fn large_files(
        &self,
        access: &Authorized<Write>,
        after: Option<Sha256>,
        limit: Option<usize>,
    ) -> Result<LargeFiles, HubError> {
        let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
        let mut links = self.0.database.links_after(access.repo_id(), after, limit as u32 + 1)?;
        let more = links.len() > limit;
        links.truncate(limit);
        let next = links.last().filter(|_| more).map(|link| link.sha256);
        links.retain(|link| link.state == LinkState::Live);
        let snapshot = self.snapshot(access.repo()).await?;
        let named: Vec<Sha256> = links.iter().map(|link| link.sha256).collect();
        let places = blocking(move || places(&snapshot, &named)).await;
        let reads = access.elsewhere::<Read, _>(access.repo().clone())?;
        let sizes: Vec<_> = links.iter().map(|link| (link.sha256, link.size)).collect();
        let hashes = self.0.objects.xet_hashes(&reads, &sizes)?;
        let files = links
            .iter()
            .zip(hashes)
            .map(|(link, hash)| file(link, places.get(&link.sha256), hash.map(|hash| hash.to_string())));
        Ok(LargeFiles { files: files.collect(), next })
    }

    /// For good: who asks for one of these is told that it was removed, wherever a file still points at it. If the history
    /// is rewritten, no file of a branch or tag does. Other branches that use one are no reason to keep it.
    pub async fn delete_large_files(
        &self,
        access: &Authorized<Write>,
        objects: &[String],
        rewrite_history: bool,
    ) -> Result<(), HubError> {
        if objects.len() > DELETED_MAX {
            return Err(HubError::Invalid(format!("at most {DELETED_MAX} files can be deleted at once")));
        }
        let parse = |text: &String| {
            let shown = crate::at::shown(text);
            text.parse::<Sha256>()
                .map_err(|_| HubError::Invalid(format!("\"{shown}\" is no SHA-256 of 64 digits")))
        };
        let objects = objects.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let links = self.0.database.links(access.repo_id(), &objects)?;
        if let Some((sha256, _)) = objects.iter().zip(&links).find(|(_, link)| link.is_none()) {
            return Err(HubError::NotFound(format!("there is no large file {sha256} in this repository")));
        }
        if rewrite_history {
            self.0.changes.forget_files(access, &objects).await?;
        }
        for sha256 in objects {
            let access = access.reauthorize(&self.0.database)?;
            self.0.database.remove_link(access.repo_id(), sha256).await?;
        }
        Ok(())
    }

    /// Of everything below a folder, or of one file.
    pub async fn tree_size(&self, at: &At, path: &str) -> Result<FolderSize, HubError> {
        let (at, path) = (at.clone(), path.trim_matches('/').to_owned());
        blocking(move || {
            let found = at.find(&path)?.ok_or_else(|| at.no_entry(&path))?;
            let mut size = 0u64;
            if !found.is_tree() {
                size = file_size(&at.snapshot, &found);
                return Ok(FolderSize { path, size });
            }
            let (mut after, mut seen): (Option<Vec<u8>>, usize) = (None, 0);
            loop {
                let items =
                    tree::list(&at.snapshot, found.oid, path.as_bytes(), true, after.as_deref(), STEP)?;
                seen += items.len();
                if seen > ENTRIES_MAX {
                    let text = format!("there are more than {ENTRIES_MAX} files and folders here");
                    return Err(HubError::Unprocessable(text));
                }
                for item in &items {
                    size = size.saturating_add(file_size(&at.snapshot, &item.found));
                }
                match items.last() {
                    Some(last) if items.len() == STEP => after = Some(last.key()),
                    _ => return Ok(FolderSize { path, size }),
                }
            }
        })
        .await
    }

    /// What each repository of the user, or of an organisation they belong to, takes, and each bucket behind those; and behind
    /// which one the next page begins.
    pub fn storage(
        &self,
        identity: &Identity,
        org: Option<&str>,
        after: Option<HolderId>,
    ) -> Result<(Vec<Storage>, Option<HolderId>), HubError> {
        let principal = identity.principal().ok_or(auth::Denied::Unauthenticated)?;
        let namespace = match org {
            None => principal.user.name.clone(),
            Some(name) => {
                let org = self.0.database.org(name)?;
                let org = org.ok_or_else(|| HubError::NotFound("Organization not found".to_owned()))?;
                if !principal.user.admin && principal.role_in(&org.name.folded()).is_none() {
                    return Err(HubError::Forbidden(
                        "only members see what an organization stores".to_owned(),
                    ));
                }
                org.name
            }
        };
        let folded = namespace.folded();
        let total = self.0.database.storage_total(&folded)?.max(1);
        let storage = |id, kind, updated_ms, visibility, storage: u64| Storage {
            id,
            kind,
            updated_at: iso(updated_ms),
            visibility: match visibility {
                Visibility::Public => "public",
                Visibility::Private => "private",
            },
            storage,
            storage_percent: storage as f64 * 100.0 / total as f64,
        };
        let (after_repo, after_bucket) = match after {
            None => (Some(RepoId(0)), BucketId(0)),
            Some(HolderId::Repo(id)) => (Some(id), BucketId(0)),
            Some(HolderId::Bucket(id)) => (None, id),
        };
        // One more than a page has: is there another?
        let mut found = Vec::with_capacity(PAGE + 1);
        if let Some(after) = after_repo {
            found.extend(self.0.database.storage_of(&folded, after, PAGE as u32 + 1)?.into_iter().map(
                |row| {
                    let (repo, bytes) = (row.repo, row.packs_bytes.saturating_add(row.large_bytes));
                    let updated_ms = row.modified_ms.unwrap_or(repo.created_ms);
                    let kind = kind_name(repo.path.kind);
                    (repo.id.into(), storage(id(&repo.path), kind, updated_ms, repo.visibility, bytes))
                },
            ));
        }
        let room = (PAGE + 1).saturating_sub(found.len());
        let buckets = self.0.database.buckets_of(&folded, after_bucket, room as u32)?;
        found.extend(buckets.into_iter().map(|bucket| {
            let (path, bytes) = (bucket.path.to_string(), bucket.bytes);
            (bucket.id.into(), storage(path, "bucket", bucket.created_ms, bucket.visibility, bytes))
        }));
        let more = found.len() > PAGE;
        found.truncate(PAGE);
        let next: Option<HolderId> = found.last().filter(|_| more).map(|(id, _)| *id);
        Ok((found.into_iter().map(|(_, storage)| storage).collect(), next))
    }
}

type Place = (String, Option<String>);

/// What cannot be found has no name.
fn places(snapshot: &Arc<Snapshot>, objects: &[Sha256]) -> HashMap<Sha256, Place> {
    let sought: std::collections::HashSet<Sha256> = objects.iter().copied().collect();
    let pointers = snapshot.packs().iter().flat_map(|pack| pack.pointers());
    let pointers: HashMap<Oid, Sha256> = pointers
        .map(|pointer| (pointer.blob, Sha256(pointer.sha256)))
        .filter(|(_, sha256)| sought.contains(sha256))
        .collect();
    let blobs: Vec<Oid> = pointers.keys().copied().collect();
    let mut found: HashMap<Sha256, Place> = HashMap::new();
    for (blob, place) in walk::places(snapshot, &blobs) {
        if let Some(sha256) = pointers.get(&blob) {
            // Two blobs may point at one object, in other words.
            let better = found.get(sha256).is_none_or(|known| known.1.is_none() && place.1.is_some());
            if better {
                found.insert(*sha256, place);
            }
        }
    }
    found
}

fn file(link: &Link, place: Option<&Place>, xet_hash: Option<String>) -> LargeFile {
    let oid = link.sha256.to_string();
    LargeFile {
        filename: place.map_or_else(|| oid.clone(), |(path, _)| path.clone()),
        ref_name: place.and_then(|(_, name)| name.clone()),
        file_oid: oid.clone(),
        oid,
        size: link.size,
        pushed_at: iso(link.linked_ms),
        xet_hash,
    }
}

fn file_size(snapshot: &Snapshot, found: &Found) -> u64 {
    match found.is_blob() {
        true => match snapshot.pointer(&found.oid) {
            Some(target) => target.size,
            None => snapshot.size(&found.oid).unwrap_or(0),
        },
        false => 0,
    }
}
