//! Making rows anew from manifests and packs.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use auth::transfer::TransferKeys;
use auth::{Authorized, Propose};
use database::{
    AsOf, Change, Clock, CreateError, Database, Expected, Gating, HeadEdit, Namespace, NewPack, NewRepo, Oid,
    PackContent, PackId, RefEdit, RepoId, RepoPath, RepoSettings, Visibility,
};
use repository::Repositories;
use repository::snapshot::CacheLimits;
use serde::{Deserialize, Serialize};
use storage::{Disk, ObjectStore};

use super::buckets;
use super::format::{FileEntry, KINDS, PackEntry, RefEntry, Told, from_hex, read_chain};
use crate::{large, rows};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RebuildReport {
    pub repos: u64,
    pub packs: u64,
    pub refs: u64,
    /// Large objects (LFS) that were found, proven and linked again.
    #[serde(default)]
    pub large: u64,
    #[serde(default)]
    pub buckets: u64,
    /// That were found and proven, each as often as it has a path.
    #[serde(default)]
    pub bucket_files: u64,
    /// Repositories and buckets that could not be rebuilt, or not whole, and why.
    pub problems: Vec<String>,
}

impl std::fmt::Display for RebuildReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        let RebuildReport { repos, packs, refs, large, buckets, bucket_files, .. } = self;
        write!(f, "rebuilt {repos} repositories, {refs} refs, {packs} packs, {large} large objects")?;
        match buckets {
            0 => Ok(()),
            _ => write!(f, ", {buckets} buckets with {bucket_files} files"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("{0} already holds rows; a rebuild is for a data directory that lost them")]
    Occupied(PathBuf),
    #[error("{0} holds no manifests: there is nothing to rebuild from")]
    NoManifests(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Open(#[from] database::OpenError),
    #[error(transparent)]
    Storage(#[from] storage::OpenError),
    #[error("keys: {0}")]
    Keys(#[from] auth::transfer::KeysError),
    #[error(transparent)]
    Database(#[from] database::DbError),
}

/// Where the manifests that a rebuild reads are kept; new rows give new ids, so they must not mix with new manifests.
const READ_FROM: &str = "manifests.before-rebuild";
/// Where they are left once the rows are there: another rebuild reads what is written from then on.
const DONE_WITH: &str = "manifests.rebuilt";

/// Makes new rows in `data_dir` from its manifests and packs: repositories, refs, pack lists, buckets and for each namespace one
/// user (without token) or organisation (without members). Tokens, users' rights and ref logs were in the rows that are
/// gone. Can be repeated if it is cut off: the rows appear under their name last.
///
/// Large objects are looked for in `store` (the data directory, if `None`): those that LFS pointers name are read,
/// proven and linked. Of those in xorbs the manifests say what they are made of; their chunks are proven now, and their
/// SHA-256 once a server runs.
pub async fn rebuild(data_dir: &Path, store: Option<ObjectStore>) -> Result<RebuildReport, RebuildError> {
    let rows = data_dir.join("granary.db");
    if rows.exists() {
        return Err(RebuildError::Occupied(data_dir.to_owned()));
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| RebuildError::Io { path, source }
    };
    let (manifests, read_from) = (data_dir.join("manifests"), data_dir.join(READ_FROM));
    if !read_from.exists() {
        match std::fs::rename(&manifests, &read_from) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(RebuildError::NoManifests(data_dir.to_owned()));
            }
            other => other.map_err(at(&manifests))?,
        }
    }
    let partial = data_dir.join("granary.db.rebuilding");
    rows::remove(&partial).map_err(at(&partial))?;
    let disk = Disk::open(data_dir)?;
    let database = Database::open(&partial, Clock::default())?;
    let store = store.unwrap_or_else(|| ObjectStore::on(disk.clone()));
    let keys = TransferKeys::open(&database).await?;
    let objects =
        lfs::Objects::new(database.clone(), store, keys, auth::Settings::default(), lfs::Config::default());
    let mut report = RebuildReport::default();
    let mut placed = HashMap::new();
    let in_buckets = read_from.join(buckets::DIRECTORY);
    for directory in directories(&read_from).map_err(at(&read_from))? {
        if directory == in_buckets {
            continue;
        }
        let rebuilt = match read_chain(&directory) {
            Ok(Some(mut told)) => {
                let files = std::mem::take(&mut told.files);
                match rebuild_repo(&database, &disk, told, &mut placed, &mut report).await {
                    Ok(repo) => adopt_large(&database, &disk, &objects, repo, &files, &mut report).await,
                    Err(problem) => Err(problem),
                }
            }
            Ok(None) => Ok(()),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = rebuilt {
            report.problems.push(format!("{}: {problem}", directory.display()));
        }
    }
    for directory in directories(&in_buckets).map_err(at(&in_buckets))? {
        if let Err(problem) = buckets::rebuild_bucket(&database, &objects, &directory, &mut report).await {
            report.problems.push(format!("{}: {problem}", directory.display()));
        }
    }
    // Clients know of xorbs that no file here is made of.
    xet::begin_epoch(&database).await?;
    database.close().await;
    rows::put_in_place(&partial, &rows).map_err(at(&rows))?;
    let done_with = data_dir.join(DONE_WITH);
    match std::fs::remove_dir_all(&done_with) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(&done_with)(error)),
        _ => std::fs::rename(&read_from, &done_with).map_err(at(&done_with))?,
    }
    Ok(report)
}

/// What is directly in `root`, in the order of names; nothing if it is not there.
fn directories(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A user's, or an organisation's, unless it is there.
pub(super) async fn make_namespace(
    database: &Database,
    namespace: Namespace,
    of_org: bool,
) -> Result<(), String> {
    let made = match of_org {
        true => database.create_org(namespace, None).await.map(drop),
        false => database.create_user(namespace, false).await.map(drop),
    };
    match made {
        Ok(()) | Err(CreateError::Taken) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// `placed`: which repository has each stored pack already.
async fn rebuild_repo(
    database: &Database,
    disk: &Disk,
    told: Told,
    placed: &mut HashMap<PackId, RepoId>,
    report: &mut RebuildReport,
) -> Result<RepoId, String> {
    let path: RepoPath = told.last.path.parse().map_err(|error| format!("{error}"))?;
    make_namespace(database, path.namespace.clone(), told.last.org).await?;
    let gating = told.last.gating();
    let visibility = match (told.last.public, gating) {
        (true, Some(_)) => Visibility::Public,
        _ => Visibility::Private,
    };
    let new = NewRepo {
        path,
        visibility,
        mirror: told.last.mirror,
        blob_bytes_max: told.last.blob_bytes_max,
        lfs_incomplete: told.last.lfs_incomplete,
    };
    let new = free_name(database, new)?;
    let mut packs =
        told.packs.values().map(|entry| pack(disk, entry)).collect::<Result<Vec<NewPack>, String>>()?;
    for pack in &mut packs {
        // Two manifests name the same pack.
        if let (PackContent::Stored { bytes }, Some(from)) = (&pack.content, placed.get(&pack.id)) {
            pack.content = PackContent::Shared { from: *from, bytes: *bytes };
        }
    }
    let refs = told.refs.iter().map(edit).collect::<Result<Vec<RefEdit>, String>>()?;
    let repo = database.create_repo(new).await.map_err(|error| error.to_string())?;
    if let Some(gating) = gating.filter(|gating| *gating != Gating::Off) {
        let settings = RepoSettings { gating: Some(gating), ..RepoSettings::default() };
        database
            .set_repo_settings(repo.id, settings, AsOf::default())
            .await
            .map_err(|error| error.to_string())?;
    }
    for pack in &packs {
        if matches!(pack.content, PackContent::Stored { .. }) {
            database.stage_pack(pack.id, repo.id).await.map_err(|error| error.to_string())?;
            placed.insert(pack.id, repo.id);
        }
    }
    let (pack_count, ref_count) = (packs.len() as u64, refs.len() as u64);
    let change = Change {
        repo: repo.id,
        acl_version: None,
        gc_epoch: repo.gc_epoch,
        refs,
        refs_max: u64::MAX,
        atomic: true,
        packs_added: packs,
        packs_superseded: Vec::new(),
        superseded_until_ms: 0,
        generation: None,
        head_ref: Some(HeadEdit::Set(told.last.head_ref)),
        links_required: Vec::new(),
        links_dropped: Vec::new(),
        locks_version: None,
        collects: false,
        actor: None,
        message: "rebuild".to_owned(),
    };
    database.apply(change).await.map_err(|error| error.to_string())?;
    report.repos += 1;
    report.packs += pack_count;
    report.refs += ref_count;
    Ok(repo.id)
}

/// Links the objects of the repository's LFS pointers, as far as they are stored and what they should be. Only where a
/// push had to bring each object: where pointers may stand for what was never there, one of them may name an object of
/// somebody else's.
async fn adopt_large(
    database: &Database,
    disk: &Disk,
    objects: &lfs::Objects,
    repo: RepoId,
    files: &BTreeMap<String, FileEntry>,
    report: &mut RebuildReport,
) -> Result<(), String> {
    let repo = database.repo(repo).map_err(|error| error.to_string())?.ok_or("the repository is gone")?;
    let repositories = Repositories::new(database.clone(), disk.clone(), CacheLimits::default());
    let snapshot = repositories.snapshot(&repo).map_err(|error| error.to_string())?;
    let pointers = large::pointed_at(&snapshot);
    if repo.lfs_incomplete {
        return match pointers.len() {
            0 => Ok(()),
            n => Err(format!("{}: {n} LFS objects have to be uploaded again if they were here", repo.path)),
        };
    }
    let access = Authorized::<Propose>::system("rebuild", repo.clone());
    let mut missing = Vec::new();
    for (sha256, size, _) in pointers {
        let failed = |error: &dyn std::fmt::Display| format!("{}: LFS object {sha256}: {error}", repo.path);
        if objects.adopt(repo.id, sha256, size).await.map_err(|error| failed(&error))? {
            report.large += 1;
            continue;
        }
        let recipe = files.get(&sha256.to_string()).and_then(FileEntry::recipe);
        let adopted = match recipe {
            Some(recipe) => {
                objects.xet().adopt(&access, sha256, &recipe).await.map_err(|error| failed(&error))?
            }
            None => false,
        };
        match adopted {
            true => report.large += 1,
            false => missing.push(sha256),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("{}: LFS objects are not in the store: {}", repo.path, large::listed(&missing)))
}

/// Two manifests may tell the same name if a rename or a deletion was not journalled any more. Neither repository is
/// left out: the later one gets a name beside it.
fn free_name(database: &Database, mut new: NewRepo) -> Result<NewRepo, String> {
    let (wanted, mut n) = (new.path.clone(), 1);
    while let Some(database::Found::Repo(_)) =
        database.find_repo(&new.path).map_err(|error| error.to_string())?
    {
        n += 1;
        let name = format!("{}-rebuilt-{n}", wanted.name());
        new.path = RepoPath::new(wanted.kind, wanted.namespace.as_str(), &name)
            .map_err(|error| error.to_string())?;
    }
    Ok(new)
}

fn pack(disk: &Disk, entry: &PackEntry) -> Result<NewPack, String> {
    let id = PackId(entry.id.parse().map_err(|_| format!("'{}' is not a pack id", entry.id))?);
    let kind = KINDS.iter().find(|(_, name)| *name == entry.kind);
    let kind = kind.ok_or_else(|| format!("'{}' is not a pack kind", entry.kind))?.0;
    let content = match &entry.inline {
        Some(hex) => {
            let blob =
                from_hex(hex).ok_or_else(|| format!("pack {}: its bytes are not hexadecimal", entry.id))?;
            PackContent::Inline(blob.into())
        }
        None => match disk.size_bytes(&id.storage_key()).map_err(|error| error.to_string())? {
            Some(bytes) if bytes == entry.bytes => PackContent::Stored { bytes },
            Some(bytes) => {
                return Err(format!("pack {}: {bytes} bytes are stored, {} were", entry.id, entry.bytes));
            }
            None => return Err(format!("pack {}: its bytes are missing", entry.id)),
        },
    };
    Ok(NewPack { id, kind, objects: entry.objects, closure: false, content })
}

fn edit((name, entry): (&String, &RefEntry)) -> Result<RefEdit, String> {
    let oid = |text: &str| text.parse::<Oid>().map_err(|error| format!("{name}: {error}"));
    let peeled = entry.peeled.as_deref().map(oid).transpose()?;
    Ok(RefEdit { name: name.clone(), expected: Expected::Absent, new: oid(&entry.oid)?, peeled })
}
