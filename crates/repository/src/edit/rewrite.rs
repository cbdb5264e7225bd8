//! A history made anew without some of its files, as if they had never been committed.
//!
//! Commits keep everything else, empty ones too; signatures go, since they would not hold. What does not change keeps its
//! id, and so do all commits before the first that had one of the files.

use std::collections::{HashMap, HashSet};
use std::io;

use database::Oid;
use storage::TempFile;

use crate::object::{self, ObjectError, tree_entries};
use crate::pack::{Blob, BlobBuilder, BlobWriter};
use crate::tree::{read_tree, unreadable};
use crate::walk::after_first;
use crate::{Kind, ReadError, Snapshot};

/// What is new, and nowhere yet.
#[derive(Debug)]
pub struct Rewritten {
    /// What takes the place of each of the tips; those that stay are not here.
    pub tips: HashMap<Oid, Oid>,
    pub objects: u64,
    pub blob: Blob,
}

#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    #[error("the history has more than {COMMITS_MAX} commits")]
    TooManyCommits,
    #[error("the new history would take more than {BYTES_MAX} bytes")]
    TooLarge,
    #[error("folders lie in each other more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("{0}")]
    Object(#[from] ObjectError),
    #[error("cannot read what is here: {0}")]
    Read(#[from] ReadError),
    #[error("cannot write the pack: {0}")]
    Io(#[from] io::Error),
}

const COMMITS_MAX: usize = 1_000_000;
/// Of new trees, commits and tags, which are held until they are written.
const BYTES_MAX: usize = 512 << 20;
const DEPTH_MAX: usize = 1024;
/// Tags of tags.
const PEEL_MAX: usize = 64;

/// `tips` without the blobs in `dropped`. `None` if none of them has any. Tips are commits or annotated tags; what else
/// refs may point at stays as it is.
pub fn without(
    s: &Snapshot,
    tips: &[Oid],
    dropped: &HashSet<Oid>,
    out: impl FnOnce() -> io::Result<TempFile>,
) -> Result<Option<Rewritten>, RewriteError> {
    let mut work = Work {
        s,
        dropped,
        trees: HashMap::new(),
        commits: HashMap::new(),
        new: Vec::new(),
        bytes: 0,
        made: HashSet::new(),
    };
    let mut changed = HashMap::new();
    for tip in tips {
        let new = work.tip(*tip, 0)?;
        if new != *tip {
            changed.insert(*tip, new);
        }
    }
    if changed.is_empty() {
        return Ok(None);
    }
    let count = u32::try_from(work.new.len()).map_err(io::Error::other)?;
    let mut writer = BlobWriter::new(out);
    let mut builder = BlobBuilder::new(&mut writer, count)?;
    for (oid, kind, data) in &work.new {
        builder.whole(*oid, *kind, data)?;
    }
    builder.finish()?;
    Ok(Some(Rewritten { tips: changed, objects: u64::from(count), blob: writer.finish()? }))
}

struct Work<'s> {
    s: &'s Snapshot,
    dropped: &'s HashSet<Oid>,
    /// What became of each tree; `None` if nothing is left of it.
    trees: HashMap<Oid, Option<Oid>>,
    commits: HashMap<Oid, Oid>,
    /// What the repository does not have yet.
    new: Vec<(Oid, Kind, Vec<u8>)>,
    bytes: usize,
    made: HashSet<Oid>,
}

impl Work<'_> {
    fn tip(&mut self, oid: Oid, depth: usize) -> Result<Oid, RewriteError> {
        match self.s.kind(&oid).ok_or(ReadError::Missing(oid))? {
            Kind::Commit => self.commit(oid),
            Kind::Tag if depth < PEEL_MAX => {
                let target = self.s.tag(&oid)?.target;
                let new = self.tip(target, depth + 1)?;
                if new == target { Ok(oid) } else { self.tag(oid, new) }
            }
            _ => Ok(oid),
        }
    }

    /// Parents first. A history may be too long for recursion.
    fn commit(&mut self, tip: Oid) -> Result<Oid, RewriteError> {
        let mut open = vec![tip];
        while let Some(&oid) = open.last() {
            if self.commits.contains_key(&oid) {
                open.pop();
                continue;
            }
            let commit = self.s.commit(&oid)?;
            let before = open.len();
            open.extend(commit.parents.iter().filter(|parent| !self.commits.contains_key(parent)));
            if open.len() > before {
                if open.len() > COMMITS_MAX {
                    return Err(RewriteError::TooManyCommits);
                }
                continue;
            }
            open.pop();
            if self.commits.len() == COMMITS_MAX {
                return Err(RewriteError::TooManyCommits);
            }
            let tree = match self.tree(commit.tree, 0)? {
                Some(tree) => tree,
                // A repository of no files: the one empty tree that git knows.
                None => self.add(Kind::Tree, Vec::new())?,
            };
            let parents: Vec<Oid> = commit
                .parents
                .iter()
                .map(|parent| self.commits.get(parent).copied().unwrap_or(*parent))
                .collect();
            let new = match tree == commit.tree && parents == commit.parents {
                true => oid,
                false => self.new_commit(oid, tree, &parents)?,
            };
            self.commits.insert(oid, new);
        }
        Ok(self.commits.get(&tip).copied().unwrap_or(tip))
    }

    fn new_commit(&mut self, old: Oid, tree: Oid, parents: &[Oid]) -> Result<Oid, RewriteError> {
        let mut data = Vec::new();
        self.s.read_as(&old, Kind::Commit, &mut data)?;
        let end = data.windows(2).position(|pair| pair == b"\n\n").map_or(data.len(), |at| at + 1);
        let (headers, message) = data.split_at(end);
        let mut text = format!("tree {tree}\n").into_bytes();
        for parent in parents {
            text.extend_from_slice(format!("parent {parent}\n").as_bytes());
        }
        let mut in_signature = false;
        for line in headers.split_inclusive(|&byte| byte == b'\n') {
            in_signature = line.starts_with(b"gpgsig") || (in_signature && line.starts_with(b" "));
            if !in_signature && !line.starts_with(b"tree ") && !line.starts_with(b"parent ") {
                text.extend_from_slice(line);
            }
        }
        text.extend_from_slice(message);
        self.add(Kind::Commit, text)
    }

    fn tag(&mut self, old: Oid, target: Oid) -> Result<Oid, RewriteError> {
        const SIGNATURES: [&[u8]; 2] =
            [b"-----BEGIN PGP SIGNATURE-----\n", b"-----BEGIN SSH SIGNATURE-----\n"];
        let mut data = Vec::new();
        self.s.read_as(&old, Kind::Tag, &mut data)?;
        let mut text = format!("object {target}\n").into_bytes();
        for line in data.split_inclusive(|&byte| byte == b'\n').skip(1) {
            if SIGNATURES.contains(&line) {
                break;
            }
            text.extend_from_slice(line);
        }
        self.add(Kind::Tag, text)
    }

    /// `None` if nothing is left.
    fn tree(&mut self, oid: Oid, depth: usize) -> Result<Option<Oid>, RewriteError> {
        if let Some(known) = self.trees.get(&oid) {
            return Ok(*known);
        }
        if depth > DEPTH_MAX {
            return Err(RewriteError::TooDeep);
        }
        let data = read_tree(self.s, oid)?;
        let (mut text, mut rest, mut is_new) = (Vec::with_capacity(data.len()), &data[..], false);
        while let Some(entry) = tree_entries(rest).next() {
            let entry = entry.map_err(|error| unreadable(oid, &error))?;
            let behind = after_first(rest);
            let line = &rest[..rest.len() - behind.len()];
            rest = behind;
            let left = match entry.kind() {
                Some(Kind::Tree) => self.tree(entry.oid, depth + 1)?,
                Some(Kind::Blob) if self.dropped.contains(&entry.oid) => None,
                _ => Some(entry.oid),
            };
            is_new |= left != Some(entry.oid);
            if let Some(left) = left {
                // Mode and name as they are.
                text.extend_from_slice(&line[..line.len() - left.0.len()]);
                text.extend_from_slice(&left.0);
            }
        }
        let left = match (is_new, text.is_empty()) {
            (false, _) => Some(oid),
            (true, true) => None,
            (true, false) => Some(self.add(Kind::Tree, text)?),
        };
        self.trees.insert(oid, left);
        Ok(left)
    }

    fn add(&mut self, kind: Kind, data: Vec<u8>) -> Result<Oid, RewriteError> {
        let oid = object::try_hash(kind, &data)?;
        if !self.s.contains(&oid) && self.made.insert(oid) {
            self.bytes += data.len();
            if self.bytes > BYTES_MAX {
                return Err(RewriteError::TooLarge);
            }
            self.new.push((oid, kind, data));
        }
        Ok(oid)
    }
}
