//! Histories put in order: squashed to one commit, or made anew without some files.

use std::collections::HashSet;
use std::sync::Arc;

use auth::{Authorized, Write};
use database::{Expected, Oid, PackId, PackKind, RefEdit, Sha256};
use repository::edit::{self, Description, RewriteError, Rewritten};
use repository::pointer::Pointer;
use repository::{Pack, ReadError};

use crate::refs::{ATTEMPTS_MAX, full, is_commit};
use crate::store::StoreError;
use crate::{Changes, RefError, needs};

impl Changes {
    /// The branch then has one commit, with the files of its tip. What it had before stays for as long as the log of refs
    /// is kept, and where another ref leads to it.
    pub async fn squash_branch(
        &self,
        access: Authorized<Write>,
        name: &str,
        description: Description,
    ) -> Result<Oid, RefError> {
        let name = full("refs/heads/", name)?;
        for _ in 0..ATTEMPTS_MAX {
            // What came between may have changed the row, too.
            let access = self.still_may(&access)?;
            let snapshot = self.0.repositories.snapshot(access.repo()).map_err(RefError::internal)?;
            let Some(row) = snapshot.find_ref(&name) else {
                let short = name.trim_start_matches("refs/heads/").to_owned();
                return Err(match snapshot.find_ref(&format!("refs/tags/{short}")) {
                    Some(_) => RefError::Invalid(format!("{short} is a tag")),
                    None => RefError::Missing(name),
                });
            };
            let tip = row.oid;
            is_commit(&snapshot, tip)?;
            let (base, description, disk) = (Arc::clone(&snapshot), description.clone(), self.0.disk.clone());
            let made = self
                .compute(move || {
                    let tree = base.commit(&tip)?.tree;
                    edit::root_commit(&base, tree, &description, || disk.temp_file())
                })
                .await?;
            let new = made.commit;
            if new == tip {
                return Ok(tip);
            }
            let edit = RefEdit { name: name.clone(), expected: Expected::At(tip), new, peeled: None };
            let pack = Some((made.objects, made.blob));
            // No path changes, so nobody's lock is in the way.
            if self.move_ref(&access, &snapshot, edit, pack, None, "super-squash").await? {
                return Ok(new);
            }
        }
        Err(RefError::Contended)
    }

    /// As if none of the branches and tags had ever had files that point at these objects. Everything that is left keeps its
    /// place; commits from the first one on that had such a file have other ids then.
    pub async fn forget_files(&self, access: &Authorized<Write>, objects: &[Sha256]) -> Result<(), RefError> {
        let objects: HashSet<Sha256> = objects.iter().copied().collect();
        for _ in 0..ATTEMPTS_MAX {
            // What came between may have changed the row, too.
            let access = self.still_may(access)?;
            let snapshot = self.0.repositories.snapshot(access.repo()).map_err(RefError::internal)?;
            let (locks_version, locks) = self.0.database.locks_of_others(access.repo_id(), access.actor())?;
            let (base, sought, disk) = (Arc::clone(&snapshot), objects.clone(), self.0.disk.clone());
            let made = self
                .compute(move || {
                    let pointers = base.packs().iter().flat_map(|pack| pack.pointers());
                    let is_sought = |pointer: &Pointer| sought.contains(&Sha256(pointer.sha256));
                    let blobs = pointers.filter(is_sought).map(|pointer| pointer.blob).collect();
                    let tips: Vec<Oid> = base.refs().iter().map(|row| row.oid).collect();
                    edit::without(&base, &tips, &blobs, || disk.temp_file())
                })
                .await?;
            let Some(Rewritten { tips, objects, blob }) = made else { return Ok(()) };
            let pack = Pack::from_blob(
                PackId::new(),
                PackKind::Api,
                false,
                1,
                blob.bytes().map_err(StoreError::Io)?,
            )
            .map_err(RefError::internal)?;
            let overlay = Arc::new(snapshot.with_pack(Arc::new(pack)));
            let moved = snapshot.refs().iter().filter_map(|row| Some((row, *tips.get(&row.oid)?)));
            let mut edits = Vec::new();
            for (row, new) in moved {
                let peeled = row.peeled.map(|_| overlay.peel(&new)).transpose()?;
                edits.push(RefEdit { name: row.name.clone(), expected: Expected::At(row.oid), new, peeled });
            }
            if !locks.is_empty() {
                let (overlay, moves) = (Arc::clone(&overlay), snapshot.refs().to_vec());
                let locked = self.compute(move || {
                    let branches = moves.iter().filter(|row| row.name.starts_with("refs/heads/"));
                    for row in branches {
                        let Some(new) = tips.get(&row.oid) else { continue };
                        let found = needs::locked(&overlay, Some(row.oid), *new, &locks)?;
                        let text = needs::locked_by(&found);
                        if !text.is_empty() {
                            return Ok(text);
                        }
                    }
                    Ok::<_, ReadError>(String::new())
                });
                let locked = locked.await?;
                if !locked.is_empty() {
                    return Err(RefError::Locked(locked));
                }
            }
            let pack = Some((objects, blob));
            if self.move_refs(&access, &snapshot, edits, pack, Some(locks_version), "rewrite").await? {
                return Ok(());
            }
        }
        Err(RefError::Contended)
    }
}

impl From<RewriteError> for RefError {
    fn from(error: RewriteError) -> RefError {
        match error {
            RewriteError::TooManyCommits | RewriteError::TooLarge | RewriteError::TooDeep => {
                RefError::Refused(format!("{error}: delete the large files without rewriting the history"))
            }
            other => RefError::internal(other),
        }
    }
}
