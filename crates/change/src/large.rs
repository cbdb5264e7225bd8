//! Large objects on the server's own ways in and out: import, export, backup, rebuild.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use database::{Link, Oid, Repo, Sha256, UserId};
use lfs::{ReceiveError, Unmet, Why};
use repository::Snapshot;
use storage::{StoreError, sync_directory};

use crate::Changes;

/// How many and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub objects: u64,
    pub bytes: u64,
}

/// What became of the objects that an export wants.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub count: Count,
    pub missing: Vec<Sha256>,
    pub damaged: Vec<Sha256>,
}

/// Links looked up at a time.
const LOOKUP: usize = 4096;

/// Where git-lfs keeps an object, below its directory of objects.
fn path_of(sha256: &Sha256) -> PathBuf {
    let hex = sha256.to_string();
    [&hex[..2], &hex[2..4], &hex].iter().collect()
}

/// What the live packs point at: objects and sizes, each once, and a blob that says so.
pub(crate) fn pointed_at(snapshot: &Snapshot) -> Vec<(Sha256, u64, Oid)> {
    let pointers = snapshot.packs().iter().flat_map(|pack| pack.pointers());
    let needed = pointers.filter(|pointer| pointer.size > 0);
    let mut needed: Vec<_> =
        needed.map(|pointer| (Sha256(pointer.sha256), pointer.size, pointer.blob)).collect();
    needed.sort_unstable();
    needed.dedup_by_key(|(sha256, size, _)| (*sha256, *size));
    needed
}

impl Changes {
    /// Takes those of `unmet` that lie in `directory` as git-lfs keeps them, proven by their hash.
    pub(crate) async fn take_large(
        &self,
        repo: &Repo,
        by: Option<UserId>,
        unmet: &[Unmet],
        directory: &Path,
    ) -> Result<Count, ReceiveError> {
        let mut count = Count::default();
        for Unmet { sha256, size, why } in unmet {
            // The object is here, and the pointer says another size: no file makes that right.
            if matches!(why, Why::Size(_)) {
                continue;
            }
            let Ok(file) = File::open(directory.join(path_of(sha256))) else { continue };
            match self.0.objects.take_in(repo.id, by, *sha256, *size, file).await {
                Ok(()) => {
                    count.objects += 1;
                    count.bytes += size;
                }
                // Such a file is none of this object; that it is missing is said with the others.
                Err(
                    ReceiveError::WrongBytes { .. }
                    | ReceiveError::TooLong { .. }
                    | ReceiveError::TooShort { .. },
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Writes what the live packs of `snapshot` point at into `directory`, as git-lfs keeps it. Also what is missing, and
    /// what is not what it is called, which is not written.
    pub(crate) async fn write_large(
        &self,
        snapshot: &Snapshot,
        directory: &Path,
    ) -> Result<Written, StoreError> {
        let Written { mut count, mut missing, mut damaged } = Written::default();
        for pointers in pointed_at(snapshot).chunks(LOOKUP) {
            let ids: Vec<_> = pointers.iter().map(|(sha256, ..)| *sha256).collect();
            let links = self.0.database.links(snapshot.repo().id, &ids).map_err(io::Error::other)?;
            for ((sha256, size, _), link) in pointers.iter().zip(links) {
                match link.filter(|link| link.is_usable() && link.size == *size) {
                    None => missing.push(*sha256),
                    Some(link) => match self.write_one(&link, &directory.join(path_of(sha256))).await? {
                        true => {
                            count.objects += 1;
                            count.bytes += size;
                        }
                        false => damaged.push(*sha256),
                    },
                }
            }
        }
        if count.objects > 0 {
            let directory = directory.to_owned();
            blocking(move || {
                sync_directories(&directory)?;
                // `lfs`, and the repository it is in.
                directory.ancestors().skip(1).take(2).try_for_each(sync_directory)
            })
            .await?;
        }
        Ok(Written { count, missing, damaged })
    }

    /// False if what was read has another SHA-256: then it does not stay.
    async fn write_one(&self, link: &Link, to: &Path) -> Result<bool, StoreError> {
        let (path, wrong) = (to.to_owned(), to.to_owned());
        let file = blocking(move || {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            File::create(&path)
        })
        .await?;
        let is_it = self.0.objects.linked(link).copy_to(file).await? == link.sha256;
        if !is_it {
            blocking(move || fs::remove_file(wrong)).await?;
        }
        Ok(is_it)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Makes the entries of `directory` and of those below it durable.
fn sync_directories(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_directories(&entry.path())?;
        }
    }
    sync_directory(directory)
}

/// What is said of objects that could not be found: the first few, and how many more.
pub(crate) fn listed(missing: &[Sha256]) -> String {
    const NAMED: usize = 3;
    let unique: BTreeSet<&Sha256> = missing.iter().collect();
    let named: Vec<String> = unique.iter().take(NAMED).map(ToString::to_string).collect();
    match unique.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_lie_where_git_lfs_keeps_them() {
        let hex = Sha256::EMPTY.to_string();
        assert_eq!(path_of(&Sha256::EMPTY), Path::new("e3").join("b0").join(hex));
    }

    #[test]
    fn a_few_are_named() {
        let missing: Vec<_> = (0..5).map(|n| Sha256([n; 32])).collect();
        assert!(listed(&missing).ends_with(" and 2 more"));
        assert_eq!(listed(&missing[..1]), missing[0].to_string());
    }
}
