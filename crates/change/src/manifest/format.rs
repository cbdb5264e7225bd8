//! What a manifest file says, and under which name.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use database::{Gating, PackId, PackKind, PackRow, RefRow, Repo, RepoId, SnapshotRows, Visibility};
use serde::{Deserialize, Serialize};
use xet::Recipe;

use super::ManifestError;

const FORMAT: u32 = 1;

/// One file of the journal.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// The generation this file brings its reader to.
    pub(super) generation: i64,
    /// The file this one continues; `None` for a base.
    pub(super) after: Option<String>,
    pub(super) path: String,
    /// The namespace is an organisation's.
    #[serde(default)]
    pub(super) org: bool,
    pub(super) public: bool,
    /// Who must be let in first, though it is public. Absent: nobody knows, so it is not shown to everybody.
    #[serde(default)]
    pub(super) gated: Option<String>,
    pub(super) mirror: bool,
    pub(super) blob_bytes_max: Option<u64>,
    #[serde(default)]
    pub(super) lfs_incomplete: bool,
    pub(super) head_ref: String,
    /// Full names; `null` deletes.
    pub(super) refs: BTreeMap<String, Option<RefEntry>>,
    pub(super) packs_added: Vec<PackEntry>,
    pub(super) packs_removed: Vec<String>,
    /// Large files in xorbs that came since the file before, by SHA-256: what they are made of is nowhere but in rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) files: BTreeMap<String, FileEntry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FileEntry {
    hash: String,
    /// Of each term the xorb, its first chunk, and the one behind the last.
    terms: Vec<(String, u32, u32)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RefEntry {
    pub(super) oid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peeled: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PackEntry {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) objects: u64,
    pub(super) bytes: u64,
    /// The blob in hexadecimal if it lives in its row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inline: Option<String>,
}

/// In the directory of a deleted repository: its manifests are not to be rebuilt from.
pub(super) const DELETED: &str = "deleted";

pub(super) fn directory(repo: RepoId) -> String {
    format!("manifests/{}", repo.0)
}

pub(super) fn file_name(repo: &Repo) -> String {
    format!("{}.{}", repo.generation, repo.acl_version)
}

/// In the order of the states they describe.
pub(super) fn parse_file_name(name: &str) -> Option<(i64, i64)> {
    let (generation, acl_version) = name.split_once('.')?;
    Some((generation.parse().ok()?, acl_version.parse().ok()?))
}

/// A repository as its manifests tell it.
pub(super) struct Told {
    pub(super) last: Manifest,
    pub(super) refs: BTreeMap<String, RefEntry>,
    pub(super) packs: BTreeMap<String, PackEntry>,
    /// Some may be needed no more.
    pub(super) files: BTreeMap<String, FileEntry>,
}

/// JSON, a newline, and its CRC-32 in hexadecimal.
pub(super) fn sealed(manifest: &Manifest) -> Result<Vec<u8>, ManifestError> {
    let mut bytes = serde_json::to_vec(manifest)?;
    let crc32 = crc32fast::hash(&bytes);
    bytes.extend_from_slice(format!("\n{crc32:08x}\n").as_bytes());
    Ok(bytes)
}

pub(super) fn unsealed(bytes: &[u8]) -> Result<Manifest, String> {
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

/// `of_org`: the repository belongs to an organisation.
pub(super) fn base(rows: &SnapshotRows, of_org: bool) -> Manifest {
    let refs = rows.refs.iter().map(|row| (row.name.clone(), Some(RefEntry::from(row)))).collect();
    let packs = rows.packs.iter().map(PackEntry::from).collect();
    manifest(&rows.repo, of_org, None, refs, packs, Vec::new())
}

/// What changed since the state that the file `after`, which listed `packs`, describes.
pub(super) fn delta(
    rows: &SnapshotRows,
    of_org: bool,
    after: &str,
    packs: &HashSet<PackId>,
    refs: BTreeMap<String, Option<RefEntry>>,
) -> Manifest {
    let now: HashSet<PackId> = rows.packs.iter().map(|pack| pack.id).collect();
    let added = rows.packs.iter().filter(|pack| !packs.contains(&pack.id)).map(PackEntry::from).collect();
    let removed = packs.difference(&now).map(|id| id.0.to_string()).collect();
    manifest(&rows.repo, of_org, Some(after.to_owned()), refs, added, removed)
}

fn manifest(
    repo: &Repo,
    org: bool,
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
        org,
        public: repo.visibility == Visibility::Public,
        gated: Some(gating_name(repo.gating).to_owned()),
        mirror: repo.mirror,
        blob_bytes_max: repo.blob_bytes_max,
        lfs_incomplete: repo.lfs_incomplete,
        head_ref: repo.head_ref.clone(),
        refs,
        packs_added,
        packs_removed,
        files: BTreeMap::new(),
    }
}

impl From<&Recipe> for FileEntry {
    fn from(recipe: &Recipe) -> FileEntry {
        let terms = recipe.terms.iter().map(|(xorb, start, end)| (xorb.to_string(), *start, *end));
        FileEntry { hash: recipe.hash.to_string(), terms: terms.collect() }
    }
}

impl FileEntry {
    /// `None` if it is none: a seal keeps out what time does to bytes, but not what people do.
    pub(super) fn recipe(&self) -> Option<Recipe> {
        let term = |(xorb, start, end): &(String, u32, u32)| Some((xorb.parse().ok()?, *start, *end));
        let terms = self.terms.iter().map(term).collect::<Option<_>>()?;
        Some(Recipe { hash: self.hash.parse().ok()?, terms })
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

pub(super) const KINDS: [(PackKind, &str); 4] = [
    (PackKind::Api, "api"),
    (PackKind::Receive, "receive"),
    (PackKind::Compact, "compact"),
    (PackKind::Gc, "gc"),
];

fn kind_name(kind: PackKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("receive", |(_, name)| name)
}

const GATINGS: [(Gating, &str); 3] =
    [(Gating::Off, "no"), (Gating::Auto, "auto"), (Gating::Manual, "manual")];

fn gating_name(gating: Gating) -> &'static str {
    GATINGS.iter().find(|(known, _)| *known == gating).map_or("manual", |(_, name)| name)
}

impl Manifest {
    /// `None` if it does not say, or nothing that is known.
    pub(super) fn gating(&self) -> Option<Gating> {
        let name = self.gated.as_deref()?;
        GATINGS.iter().find(|(_, known)| *known == name).map(|(gating, _)| *gating)
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Follows the chain back from the newest file to its base, then applies it forward. `None` if there is nothing to tell
/// or the repository was deleted.
pub(super) fn read_chain(directory: &Path) -> Result<Option<Told>, String> {
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
    let (mut packs, mut files) = (BTreeMap::new(), BTreeMap::new());
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
        files.extend(manifest.files.iter().map(|(sha256, file)| (sha256.clone(), file.clone())));
    }
    Ok(chain.into_iter().next().map(|last| Told { last, refs, packs, files }))
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
