//! Files and folders as the API lists them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use auth::{Authorized, Read};
use database::{Oid, Sha256};
use repository::log;
use repository::tree::{self, Found, Item};
use serde::Serialize;

use crate::at::At;
use crate::dates::iso;
use crate::{Hub, HubError, blocking};

/// One item of a tree, in the words of the API.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Entry {
    File(File),
    Directory {
        oid: String,
        size: u64,
        path: String,
        #[serde(rename = "lastCommit", skip_serializing_if = "Option::is_none")]
        last_commit: Option<LastCommit>,
    },
}

#[derive(Debug, Serialize)]
pub struct File {
    /// Of the blob: of a large file, that is its pointer.
    pub oid: String,
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lfs: Option<Lfs>,
    /// By which the CAS knows it, if it is stored there.
    #[serde(rename = "xetHash", skip_serializing_if = "Option::is_none")]
    pub xet_hash: Option<String>,
    pub path: String,
    #[serde(rename = "lastCommit", skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<LastCommit>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lfs {
    /// SHA-256.
    pub oid: String,
    pub size: u64,
    pub pointer_size: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct LastCommit {
    pub id: String,
    pub title: String,
    pub date: String,
}

/// A page of a tree.
#[derive(Debug)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Behind what the next page begins; `None` if this is the last.
    pub next: Option<Vec<u8>>,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub recursive: bool,
    /// With the commit that last changed each.
    pub expand: bool,
    pub after: Option<Vec<u8>>,
    pub limit: Option<usize>,
}

/// llama.cpp reads the first page only.
const PAGE: usize = 1000;
const PAGE_EXPANDED: usize = 100;
pub const PATHS_MAX: usize = 2000;

impl Hub {
    /// Of files that are stored in the Xet CAS. By that, clients get them there without a further question.
    pub fn name_xet(&self, access: &Authorized<Read>, entries: &mut [Entry]) -> Result<(), HubError> {
        let large = entries.iter_mut().filter_map(|entry| match entry {
            Entry::File(File { lfs: Some(lfs), xet_hash, .. }) => Some((lfs, xet_hash)),
            _ => None,
        });
        let (objects, places): (Vec<_>, Vec<_>) = large
            .filter_map(|(lfs, place)| Some(((lfs.oid.parse::<Sha256>().ok()?, lfs.size), place)))
            .unzip();
        if objects.is_empty() {
            return Ok(());
        }
        let found = self.0.objects.xet_hashes(access, &objects)?;
        for (place, hash) in places.into_iter().zip(found) {
            *place = hash.map(|hash| hash.to_string());
        }
        Ok(())
    }

    /// What lies in the folder `path` of a commit; the path is empty for the root.
    pub async fn folder(&self, at: &At, path: &str, listing: Listing) -> Result<Page, HubError> {
        let path = path.trim_end_matches('/').to_owned();
        let (expand, recursive) = (listing.expand, listing.recursive);
        let listed = (at.clone(), path.clone());
        // Some milliseconds for a full page.
        let (items, next) = blocking(move || listed.0.items(&listed.1, &listing)).await?;
        let last = match (expand, recursive) {
            (false, _) => Vec::new(),
            (true, false) => self.last_changes_in(at, &path, &items).await?,
            (true, true) => {
                let (at, items) = (at.clone(), items.clone());
                blocking(move || at.last_changes(&items)).await?
            }
        };
        let at = at.clone();
        let entries = blocking(move || at.entries(&items, &last)).await?;
        Ok(Page { entries, next })
    }
}

impl At {
    /// And behind what the next page begins.
    fn items(&self, path: &str, listing: &Listing) -> Result<(Vec<Item>, Option<Vec<u8>>), HubError> {
        let folder = self.find(path)?.filter(Found::is_tree).ok_or_else(|| self.no_entry(path))?;
        let page = if listing.expand { PAGE_EXPANDED } else { PAGE };
        let max = listing.limit.unwrap_or(page).clamp(1, page);
        let after = listing.after.as_deref();
        let mut items =
            tree::list(&self.snapshot, folder.oid, path.as_bytes(), listing.recursive, after, max + 1)?;
        let more = items.len() > max;
        items.truncate(max);
        let next = items.last().filter(|_| more).map(Item::key);
        Ok((items, next))
    }

    /// `last`: the commits that changed them, if these are wanted.
    fn entries(&self, items: &[Item], last: &[Option<Oid>]) -> Result<Vec<Entry>, HubError> {
        let mut described: HashMap<Oid, LastCommit> = HashMap::new();
        let mut entries = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            let last_commit = match last.get(place).copied().flatten() {
                None => None,
                // Many came with the same one.
                Some(commit) => Some(match described.entry(commit) {
                    Slot::Occupied(known) => known.get().clone(),
                    Slot::Vacant(slot) => slot.insert(self.last_commit(&commit)?).clone(),
                }),
            };
            entries.extend(self.entry(&item.path, &item.found, last_commit)?);
        }
        Ok(entries)
    }

    /// Those of `paths` that are there, in the order in which they are asked for.
    pub async fn paths(&self, paths: Vec<String>, expand: bool) -> Result<Vec<Entry>, HubError> {
        if paths.len() > PATHS_MAX {
            return Err(HubError::Invalid(format!("at most {PATHS_MAX} paths can be asked for at once")));
        }
        let at = self.clone();
        blocking(move || {
            let mut items = Vec::new();
            for path in &paths {
                let path = path.trim_end_matches('/');
                // The root is no entry of anything.
                if let Some(found) = at.find(path)?.filter(|_| !path.is_empty()) {
                    items.push(Item { path: path.as_bytes().to_vec(), found });
                }
            }
            let last = if expand { at.last_changes(&items)? } else { Vec::new() };
            at.entries(&items, &last)
        })
        .await
    }

    /// `None` for what is neither file nor folder (a commit of another repository), or has no name in UTF-8.
    fn entry(
        &self,
        path: &[u8],
        found: &Found,
        last_commit: Option<LastCommit>,
    ) -> Result<Option<Entry>, HubError> {
        // No address of the API can name others.
        let Ok(path) = String::from_utf8(path.to_vec()) else { return Ok(None) };
        if found.is_tree() {
            return Ok(Some(Entry::Directory { oid: found.oid.to_string(), size: 0, path, last_commit }));
        }
        if !found.is_blob() {
            return Ok(None);
        }
        let blob_size = self.snapshot.size(&found.oid).unwrap_or(0);
        let lfs = self.snapshot.pointer(&found.oid).map(|target| Lfs {
            oid: database::Sha256(target.sha256).to_string(),
            size: target.size,
            pointer_size: blob_size,
        });
        let size = lfs.as_ref().map_or(blob_size, |lfs| lfs.size);
        Ok(Some(Entry::File(File {
            oid: found.oid.to_string(),
            size,
            lfs,
            xet_hash: None,
            path,
            last_commit,
        })))
    }

    fn last_commit(&self, commit: &Oid) -> Result<LastCommit, HubError> {
        let entry = log::entry(&self.snapshot, commit)?;
        let date = iso(entry.committer_seconds.saturating_mul(1000));
        Ok(LastCommit { id: commit.to_string(), title: entry.title().to_owned(), date })
    }
}
