//! Makes the new trees, and the blobs they name.

use bytes::Bytes;
use database::Oid;

use super::plan::{File, Gone, Node, What};
use super::{EditError, TREE_BYTES_MAX};
use crate::fsck::{self, Defect};
use crate::object::{self, TreeEntry, tree_entries};
use crate::tree::{Found, read_tree, unreadable};
use crate::{Kind, Snapshot};

/// What a commit needs that the repository lacks, or may lack.
#[derive(Debug)]
pub(super) struct Changed {
    pub root: Oid,
    /// The root first, each once.
    pub trees: Vec<NewTree>,
    pub blobs: Vec<(Oid, Bytes)>,
}

#[derive(Debug)]
pub(super) struct NewTree {
    pub oid: Oid,
    pub data: Vec<u8>,
    /// The tree at the same path before: what it is likely to be a small delta on.
    pub before: Option<Oid>,
}

/// `base` is the tree of the parent.
pub(super) fn apply(s: &Snapshot, base: Option<Oid>, plan: Node) -> Result<Changed, EditError> {
    let mut work = Work::new(s);
    let root = match work.folder(base, plan, "")? {
        Some(root) => root,
        // A repository of no files: the one empty tree that git knows.
        None => work.add_tree(Vec::new(), base, "")?,
    };
    Ok(work.finish(root))
}

pub(super) struct Work<'s> {
    s: &'s Snapshot,
    trees: Vec<NewTree>,
    blobs: Vec<(Oid, Bytes)>,
}

/// An entry of the tree that is being made: its name lies in the tree it comes from, or in the plan.
pub(super) struct Entry<'a> {
    pub name: &'a [u8],
    pub found: Found,
}

impl Entry<'_> {
    /// Compares as git does: the name of a folder ends in a slash.
    fn key(&self) -> impl Iterator<Item = u8> + '_ {
        self.name.iter().copied().chain(self.found.is_tree().then_some(b'/'))
    }
}

/// The content of the tree with these entries.
pub(super) fn tree_of(mut entries: Vec<Entry<'_>>) -> Vec<u8> {
    // Nearly sorted already, which this sort is good at.
    entries.sort_by(|a, b| a.key().cmp(b.key()));
    let mut made = Vec::with_capacity(entries.iter().map(|entry| entry.name.len() + 28).sum());
    for Entry { name, found } in &entries {
        made.extend_from_slice(format!("{:o} ", found.mode).as_bytes());
        made.extend_from_slice(name);
        made.push(0);
        made.extend_from_slice(&found.oid.0);
    }
    made
}

impl<'s> Work<'s> {
    pub(super) fn new(s: &'s Snapshot) -> Work<'s> {
        Work { s, trees: Vec::new(), blobs: Vec::new() }
    }

    pub(super) fn finish(self, root: Oid) -> Changed {
        let Work { s, mut trees, mut blobs } = self;
        // Made from the leaves up.
        trees.reverse();
        let mut seen = std::collections::HashSet::new();
        trees.retain(|tree| !s.contains(&tree.oid) && seen.insert(tree.oid));
        blobs.retain(|(oid, _)| !s.contains(oid) && seen.insert(*oid));
        Changed { root, trees, blobs }
    }

    /// The folder `path` with its part of the plan; `None` if nothing is left in it.
    fn folder(&mut self, before: Option<Oid>, plan: Node, path: &str) -> Result<Option<Oid>, EditError> {
        let data = before.map(|tree| read_tree(self.s, tree)).transpose()?;
        let mut children = plan.children;
        let mut names: Vec<(String, Found)> = Vec::new();
        let mut kept = Vec::new();
        for entry in tree_entries(data.as_deref().unwrap_or_default()) {
            let TreeEntry { mode, name, oid } =
                entry.map_err(|error| unreadable(before.unwrap_or(Oid::NULL), &error))?;
            let found = Found { mode, oid };
            let planned = std::str::from_utf8(name).ok().and_then(|name| children.remove_entry(name));
            match planned {
                None => kept.push(Entry { name, found }),
                Some((name, child)) => {
                    if let Some(found) = self.child(Some(found), child, &join(path, &name))? {
                        names.push((name, found));
                    }
                }
            }
        }
        for (name, child) in children {
            if let Some(found) = self.child(None, child, &join(path, &name))? {
                names.push((name, found));
            }
        }
        let new = names.iter().map(|(name, found)| Entry { name: name.as_bytes(), found: *found });
        kept.extend(new);
        if kept.is_empty() {
            return Ok(None);
        }
        self.add_tree(tree_of(kept), before, path).map(Some)
    }

    /// What stands at `path` from now on.
    fn child(&mut self, before: Option<Found>, plan: Node, path: &str) -> Result<Option<Found>, EditError> {
        let before = match plan.gone {
            Some(gone) => after(before, gone, path)?,
            None => before,
        };
        let clash = || EditError::Clash { path: path.to_owned() };
        let has_files = plan.has_files();
        if let Some(file) = plan.file {
            // A folder must be deleted before a file takes its place, lest a slip of the pen delete it.
            if has_files || before.is_some_and(|found| found.is_tree()) {
                return Err(clash());
            }
            // What is to go below a file was not there.
            if let Some((name, _)) = plan.children.iter().next() {
                return Err(EditError::Missing(join(path, name)));
            }
            return self.file(before, file, path).map(Some);
        }
        if plan.children.is_empty() {
            return Ok(before);
        }
        let folder = match before {
            Some(found) if found.is_tree() => Some(found.oid),
            Some(_) if has_files => return Err(clash()),
            Some(_) | None => None,
        };
        let node = Node { file: None, gone: None, children: plan.children };
        let made = self.folder(folder, node, path)?;
        Ok(made.map(|oid| Found { mode: 0o40000, oid }))
    }

    fn file(&mut self, before: Option<Found>, file: File, path: &str) -> Result<Found, EditError> {
        let regular = |mode: u32| mode & 0o170000 == 0o100000;
        let kept = before.map(|found| found.mode).filter(|mode| regular(*mode));
        match file {
            File::Known { mode, blob } => Ok(Found { mode: kept.unwrap_or(mode), oid: blob }),
            File::New(content) => {
                let oid = object::try_hash(Kind::Blob, &content)?;
                let name = path.rsplit('/').next().unwrap_or(path);
                if fsck::is_gitmodules(name.as_bytes()) {
                    fsck::check_gitmodules(&content)
                        .map_err(|problem| defect(path, Defect { oid, problem }))?;
                }
                self.blobs.push((oid, content));
                Ok(Found { mode: kept.unwrap_or(0o100644), oid })
            }
        }
    }

    pub(super) fn add_tree(
        &mut self,
        data: Vec<u8>,
        before: Option<Oid>,
        path: &str,
    ) -> Result<Oid, EditError> {
        let bytes = data.len() as u64;
        if bytes > TREE_BYTES_MAX {
            return Err(EditError::FolderTooLarge { path: path.to_owned(), bytes, max: TREE_BYTES_MAX });
        }
        let oid = object::try_hash(Kind::Tree, &data)?;
        if before != Some(oid) {
            // What came by a push may have defects that are let through there; what is made here has none.
            fsck::check_tree(&data, |_| {}).map_err(|problem| defect(path, Defect { oid, problem }))?;
            self.trees.push(NewTree { oid, data, before });
        }
        Ok(oid)
    }
}

/// What is left of what was there.
fn after(before: Option<Found>, gone: Gone, path: &str) -> Result<Option<Found>, EditError> {
    let goes = before.is_some_and(|found| match gone.what {
        What::File => !found.is_tree(),
        What::Folder => found.is_tree(),
        What::Either => true,
    });
    match goes {
        true => Ok(None),
        false if gone.required => Err(EditError::Missing(path.to_owned())),
        false => Ok(before),
    }
}

fn defect(path: &str, source: Defect) -> EditError {
    EditError::Defect { path: path.to_owned(), source }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
