//! The manifest journal: refs and pack lists written beside the packs, so that git data can be rebuilt from the
//! stored bytes alone when the rows are lost.
//!
//! One file per repository and state, `manifests/<repo id>/<generation>.<acl version>`. A base says everything, a delta
//! what changed since the file it names; inline packs are embedded where they first appear. A base replaces all files
//! before it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use database::{
    Change, Clock, Database, Expected, HeadEdit, NewPack, NewRepo, Oid, PackContent, PackId, PackKind,
    PackRow, RefEdit, RefRow, Repo, RepoId, RepoPath, SnapshotRows, Visibility, fault,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use storage::Disk;

use crate::{Changes, rows};

/// A chain is rewritten as a base once its deltas are larger than its base plus this, in bytes.
const CHAIN_SLACK: u64 = 64 * 1024;
/// Chains remembered between writes; a forgotten one starts with a new base.
const CHAINS_MAX: usize = 10_000;
const FORMAT: u32 = 1;

/// A busy repository's manifest is written this often, in milliseconds.
const PAUSE_MS: i64 = 5_000;

/// What is remembered of a repository's chain, so that the next file can be a delta.
#[derive(Clone, Debug)]
struct Chain {
    generation: i64,
    /// The last file.
    file: String,
    packs: HashSet<PackId>,
    written_ms: i64,
    base_bytes: u64,
    delta_bytes: u64,
}

/// The chains of this process.
#[derive(Default)]
pub(crate) struct Journal(Mutex<HashMap<RepoId, Chain>>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("storage: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Database(#[from] database::DbError),
    #[error("manifest: {0}")]
    Json(#[from] serde_json::Error),
}

/// One file of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// The generation this file brings its reader to.
    generation: i64,
    /// The file this one continues; `None` for a base.
    after: Option<String>,
    path: String,
    public: bool,
    mirror: bool,
    blob_bytes_max: Option<u64>,
    head_ref: String,
    /// Full names; `null` deletes.
    refs: BTreeMap<String, Option<RefEntry>>,
    packs_added: Vec<PackEntry>,
    packs_removed: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RefEntry {
    oid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    peeled: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PackEntry {
    id: String,
    kind: String,
    objects: u64,
    bytes: u64,
    /// The blob in hexadecimal if it lives in its row.
    #[serde(skip_serializing_if = "Option::is_none")]
    inline: Option<String>,
}

/// In the directory of a deleted repository: its manifests are not to be rebuilt from.
const DELETED: &str = "deleted";

fn directory(repo: RepoId) -> String {
    format!("manifests/{}", repo.0)
}

fn file_name(repo: &Repo) -> String {
    format!("{}.{}", repo.generation, repo.acl_version)
}

/// In the order of the states they describe.
fn parse_file_name(name: &str) -> Option<(i64, i64)> {
    let (generation, acl_version) = name.split_once('.')?;
    Some((generation.parse().ok()?, acl_version.parse().ok()?))
}

impl Changes {
    /// Writes the manifests that are behind, those of busy repositories only now and then unless `now`. Returns how
    /// many.
    pub(crate) async fn write_manifests(&self, limit: u32, now: bool) -> Result<u64, ManifestError> {
        let due = self.0.database.manifests_due(limit)?;
        let mut written = 0;
        for repo in due {
            if !now && self.is_pausing(repo) {
                continue;
            }
            let changes = self.clone();
            match self.compute_behind(move || changes.write_manifest(repo)).await {
                Ok(Some((generation, acl_version))) => {
                    fault::point(fault::Point::ManifestWritten);
                    self.0.database.manifest_written(repo, generation, acl_version).await?;
                    written += 1;
                }
                Ok(None) => {}
                // It is tried again in the next round; the others have theirs.
                Err(error) => tracing::error!(repo = repo.0, %error, "a manifest cannot be written"),
            }
        }
        Ok(written)
    }

    fn is_pausing(&self, repo: RepoId) -> bool {
        let now_ms = self.0.database.clock().now_ms();
        let chains = self.0.journal.0.lock();
        chains.get(&repo).is_some_and(|chain| (0..PAUSE_MS).contains(&(now_ms - chain.written_ms)))
    }

    /// Called once `repo` is deleted: a rebuild must not bring it back.
    pub(crate) async fn bury_manifest(&self, repo: RepoId) -> Result<(), ManifestError> {
        let changes = self.clone();
        self.compute_behind(move || {
            let disk = &changes.0.disk;
            match disk.publish(disk.temp_file()?, &format!("{}/{DELETED}", directory(repo))) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            changes.forget_manifest(repo);
            changes.drop_manifests_but(repo, DELETED)
        })
        .await
    }

    /// The next manifest of `repo` says everything, and what the ones before it embed goes.
    pub(crate) fn forget_manifest(&self, repo: RepoId) {
        self.0.journal.0.lock().remove(&repo);
    }

    fn drop_manifests_but(&self, repo: RepoId, kept: &str) -> Result<(), ManifestError> {
        let directory = directory(repo);
        let names = self.0.disk.names_in(&directory)?;
        let mut others = names.iter().filter(|name| *name != kept);
        others.try_for_each(|name| Ok(self.0.disk.delete(&format!("{directory}/{name}"))?))
    }

    fn write_manifest(&self, repo: RepoId) -> Result<Option<(i64, i64)>, ManifestError> {
        let Some(rows) = self.0.database.snapshot(repo)? else { return Ok(None) };
        let generation = rows.repo.generation;
        let known = self.0.journal.0.lock().get(&repo).cloned();
        let continued = known.filter(|chain| {
            chain.generation < generation && chain.delta_bytes <= chain.base_bytes + CHAIN_SLACK
        });
        let manifest = match &continued {
            Some(chain) => delta(&rows, chain, self.edits_since(repo, chain.generation, &rows)?),
            None => base(&rows),
        };
        let bytes = sealed(&manifest)?;
        let name = file_name(&rows.repo);
        let mut file = self.0.disk.temp_file()?;
        file.write_all(&bytes)?;
        match self.0.disk.publish(file, &format!("{}/{name}", directory(repo))) {
            // A crash came between these bytes and their row. They say the same.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        if continued.is_none() {
            self.drop_manifests_but(repo, &name)?;
        }
        let packs = rows.packs.iter().map(|pack| pack.id).collect();
        self.remember(repo, generation, name, packs, bytes.len() as u64, continued);
        Ok(Some((generation, rows.repo.acl_version)))
    }

    /// Where the refs that moved since `since` stand now.
    fn edits_since(
        &self,
        repo: RepoId,
        since: i64,
        rows: &SnapshotRows,
    ) -> Result<BTreeMap<String, Option<RefEntry>>, ManifestError> {
        let log = self.0.database.ref_log_after(repo, since)?;
        let now = |name: &str| {
            let found = rows.refs.binary_search_by(|row| row.name.as_str().cmp(name));
            found.ok().map(|index| RefEntry::from(&rows.refs[index]))
        };
        Ok(log.into_iter().map(|row| (row.name.clone(), now(&row.name))).collect())
    }

    fn remember(
        &self,
        repo: RepoId,
        generation: i64,
        file: String,
        packs: HashSet<PackId>,
        bytes: u64,
        continued: Option<Chain>,
    ) {
        let (base_bytes, delta_bytes) = match continued {
            Some(chain) => (chain.base_bytes, chain.delta_bytes + bytes),
            None => (bytes, 0),
        };
        let written_ms = self.0.database.clock().now_ms();
        let mut chains = self.0.journal.0.lock();
        if chains.len() >= CHAINS_MAX && !chains.contains_key(&repo) {
            chains.clear();
        }
        chains.insert(repo, Chain { generation, file, packs, written_ms, base_bytes, delta_bytes });
    }

    /// What is wrong with the manifests of `repo`, for fsck: each must be readable and lead to a base.
    pub(crate) fn check_manifests(&self, repo: RepoId) -> Option<String> {
        read_chain(&self.0.disk.path(&directory(repo))).err()
    }
}

/// JSON, a newline, and its CRC-32 in hexadecimal.
fn sealed(manifest: &Manifest) -> Result<Vec<u8>, ManifestError> {
    let mut bytes = serde_json::to_vec(manifest)?;
    let crc32 = crc32fast::hash(&bytes);
    bytes.extend_from_slice(format!("\n{crc32:08x}\n").as_bytes());
    Ok(bytes)
}

fn unsealed(bytes: &[u8]) -> Result<Manifest, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let mut lines = text.split('\n');
    let (Some(json), Some(seal), Some(""), None) = (lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return Err("it is cut short".to_owned());
    };
    if seal != format!("{:08x}", crc32fast::hash(json.as_bytes())) {
        return Err("its checksum does not match".to_owned());
    }
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn base(rows: &SnapshotRows) -> Manifest {
    let refs = rows.refs.iter().map(|row| (row.name.clone(), Some(RefEntry::from(row)))).collect();
    let packs = rows.packs.iter().map(PackEntry::from).collect();
    manifest(&rows.repo, None, refs, packs, Vec::new())
}

fn delta(rows: &SnapshotRows, chain: &Chain, refs: BTreeMap<String, Option<RefEntry>>) -> Manifest {
    let now: HashSet<PackId> = rows.packs.iter().map(|pack| pack.id).collect();
    let added =
        rows.packs.iter().filter(|pack| !chain.packs.contains(&pack.id)).map(PackEntry::from).collect();
    let removed = chain.packs.difference(&now).map(|id| id.0.to_string()).collect();
    manifest(&rows.repo, Some(chain.file.clone()), refs, added, removed)
}

fn manifest(
    repo: &Repo,
    after: Option<String>,
    refs: BTreeMap<String, Option<RefEntry>>,
    packs_added: Vec<PackEntry>,
    packs_removed: Vec<String>,
) -> Manifest {
    Manifest {
        format: FORMAT,
        generation: repo.generation,
        after,
        path: repo.path.to_string(),
        public: repo.visibility == Visibility::Public,
        mirror: repo.mirror,
        blob_bytes_max: repo.blob_bytes_max,
        head_ref: repo.head_ref.clone(),
        refs,
        packs_added,
        packs_removed,
    }
}

impl From<&RefRow> for RefEntry {
    fn from(row: &RefRow) -> RefEntry {
        RefEntry { oid: row.oid.to_string(), peeled: row.peeled.map(|oid| oid.to_string()) }
    }
}

impl From<&PackRow> for PackEntry {
    fn from(row: &PackRow) -> PackEntry {
        PackEntry {
            id: row.id.0.to_string(),
            kind: kind_name(row.kind).to_owned(),
            objects: row.objects,
            bytes: row.bytes,
            inline: row.inline.as_deref().map(to_hex),
        }
    }
}

const KINDS: [(PackKind, &str); 4] = [
    (PackKind::Api, "api"),
    (PackKind::Receive, "receive"),
    (PackKind::Compact, "compact"),
    (PackKind::Gc, "gc"),
];

fn kind_name(kind: PackKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("receive", |(_, name)| name)
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

// Rebuilding.

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RebuildReport {
    pub repos: u64,
    pub packs: u64,
    pub refs: u64,
    /// Repositories that could not be rebuilt, and why.
    pub problems: Vec<String>,
}

impl std::fmt::Display for RebuildReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        write!(f, "rebuilt {} repositories, {} refs, {} packs", self.repos, self.refs, self.packs)
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
}

/// A repository as its manifests tell it.
struct Told {
    last: Manifest,
    refs: BTreeMap<String, RefEntry>,
    packs: BTreeMap<String, PackEntry>,
}

/// Where the manifests that a rebuild reads are kept; new rows give new ids, so they must not mix with new manifests.
const READ_FROM: &str = "manifests.before-rebuild";

/// Makes new rows in `data_dir` from its manifests and packs: repositories, refs, pack lists and one user (without
/// token) per namespace. Tokens, users' rights and ref logs were in the rows that are gone. Can be repeated if it is
/// cut off: the rows appear under their name last.
pub async fn rebuild(data_dir: &Path) -> Result<RebuildReport, RebuildError> {
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
    let mut report = RebuildReport::default();
    for directory in std::fs::read_dir(&read_from).map_err(at(&read_from))? {
        let directory = directory.map_err(at(&read_from))?.path();
        let rebuilt = match read_chain(&directory) {
            Ok(Some(told)) => rebuild_repo(&database, &disk, told, &mut report).await,
            Ok(None) => Ok(()),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = rebuilt {
            report.problems.push(format!("{}: {problem}", directory.display()));
        }
    }
    database.close().await;
    rows::put_in_place(&partial, &rows).map_err(at(&rows))?;
    Ok(report)
}

/// Follows the chain back from the newest file to its base, then applies it forward. `None` if there is nothing to tell
/// or the repository was deleted.
fn read_chain(directory: &Path) -> Result<Option<Told>, String> {
    if directory.join(DELETED).exists() {
        return Ok(None);
    }
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| error.to_string())?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let Some((_, newest)) = names.filter_map(|name| Some((parse_file_name(&name)?, name))).max() else {
        return Ok(None);
    };
    let mut chain: Vec<Manifest> = Vec::new();
    let mut next = Some(newest);
    while let Some(name) = next {
        let bytes =
            std::fs::read(directory.join(&name)).map_err(|error| format!("manifest {name}: {error}"))?;
        let manifest = unsealed(&bytes).map_err(|error| format!("manifest {name}: {error}"))?;
        if manifest.format != FORMAT {
            return Err(format!("manifest {name}: format {} is not known", manifest.format));
        }
        if chain.last().is_some_and(|later| later.generation <= manifest.generation) {
            return Err(format!("manifest {name}: it does not precede the one that continues it"));
        }
        next = manifest.after.clone();
        chain.push(manifest);
    }
    let mut refs = BTreeMap::new();
    let mut packs = BTreeMap::new();
    for manifest in chain.iter().rev() {
        for (name, entry) in &manifest.refs {
            match entry {
                Some(entry) => refs.insert(name.clone(), entry.clone()),
                None => refs.remove(name),
            };
        }
        packs.extend(manifest.packs_added.iter().map(|pack| (pack.id.clone(), pack.clone())));
        for id in &manifest.packs_removed {
            packs.remove(id);
        }
    }
    Ok(chain.into_iter().next().map(|last| Told { last, refs, packs }))
}

async fn rebuild_repo(
    database: &Database,
    disk: &Disk,
    told: Told,
    report: &mut RebuildReport,
) -> Result<(), String> {
    let path: RepoPath = told.last.path.parse().map_err(|error| format!("{error}"))?;
    if database.user(path.namespace.as_str()).map_err(|error| error.to_string())?.is_none() {
        database.create_user(path.namespace.clone(), false).await.map_err(|error| error.to_string())?;
    }
    let visibility = if told.last.public { Visibility::Public } else { Visibility::Private };
    let new =
        NewRepo { path, visibility, mirror: told.last.mirror, blob_bytes_max: told.last.blob_bytes_max };
    let new = free_name(database, new)?;
    let packs =
        told.packs.values().map(|entry| pack(disk, entry)).collect::<Result<Vec<NewPack>, String>>()?;
    let refs = told.refs.iter().map(edit).collect::<Result<Vec<RefEdit>, String>>()?;
    let repo = database.create_repo(new).await.map_err(|error| error.to_string())?;
    for pack in &packs {
        if matches!(pack.content, PackContent::Stored { .. }) {
            database.stage_pack(pack.id, repo.id).await.map_err(|error| error.to_string())?;
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
        collects: false,
        actor: None,
        message: "rebuild".to_owned(),
    };
    database.apply(change).await.map_err(|error| error.to_string())?;
    report.repos += 1;
    report.packs += pack_count;
    report.refs += ref_count;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal() {
        assert_eq!(to_hex(&[0, 15, 255]), "000fff");
        assert_eq!(from_hex("000fff"), Some(vec![0, 15, 255]));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("zz"), None);
    }
}
