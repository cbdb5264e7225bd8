//! What the `.gitattributes` and `.gitignore` files of a tree say about a path.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use database::Oid;
use gix_attributes::StateRef;
use gix_attributes::search::{MetadataCollection, Outcome};
use gix_glob::pattern::Case;

use crate::{Kind, ReadError, Snapshot, tree};

/// Larger files say nothing, as for git itself above 100 MB. A model's own have a few KB.
pub const FILE_BYTES_MAX: u64 = 256 << 10;
/// More wildcards than this in one pattern make matching exponential.
const WILDCARDS_MAX: usize = 16;

/// The rules of one tree. Files in folders are read when a path below them is asked for.
pub struct Attributes<'s> {
    /// Where the trees of folders are.
    s: Option<&'s Snapshot>,
    search: gix_attributes::Search,
    names: MetadataCollection,
    /// The root first.
    folders: Vec<Folder>,
    outcome: Outcome,
    outdated: bool,
}

/// Holds no path but its children's names, so that many deep paths take no more memory than they have bytes.
#[derive(Default)]
struct Folder {
    /// In the repository, if it is there.
    tree: Option<Oid>,
    /// Its file of rules was read, or given.
    read: bool,
    children: HashMap<Box<str>, usize>,
}

/// A list of patterns as in `.gitignore`.
pub struct Ignore(gix_ignore::Search);

impl<'s> Attributes<'s> {
    /// `None`: of no files at all.
    pub fn new(s: &'s Snapshot, tree: Option<Oid>) -> Attributes<'s> {
        Attributes {
            s: Some(s),
            folders: vec![Folder { tree, ..Folder::default() }],
            ..Attributes::of_nothing()
        }
    }

    pub fn of_nothing() -> Attributes<'s> {
        Attributes {
            s: None,
            search: gix_attributes::Search::default(),
            names: MetadataCollection::default(),
            folders: vec![Folder::default()],
            outcome: Outcome::default(),
            outdated: true,
        }
    }

    /// The same, had the file `.gitattributes` of the folder this content. To be told before any path in it is asked for.
    pub fn set(&mut self, folder: &str, content: &[u8]) -> Result<(), ReadError> {
        let mut at = 0;
        for name in folder.split('/').filter(|name| !name.is_empty()) {
            at = self.child(at, name)?;
        }
        if !std::mem::replace(&mut self.folders[at].read, true) {
            self.add(folder, content);
        }
        Ok(())
    }

    /// Whether files of this path are to be stored by Git LFS.
    pub fn is_lfs(&mut self, path: &str) -> Result<bool, ReadError> {
        self.read_folders_of(path)?;
        if std::mem::take(&mut self.outdated) {
            self.outcome.initialize_with_selection(&self.names, ["filter"]);
        }
        self.outcome.reset();
        let case = Case::Sensitive;
        self.search.pattern_matching_relative_path(path.into(), case, Some(false), &mut self.outcome);
        let filter = self.outcome.iter_selected().next();
        Ok(filter.is_some_and(|filter| match filter.assignment.state {
            StateRef::Value(value) => value.as_bstr() == "lfs",
            _ => false,
        }))
    }

    fn read_folders_of(&mut self, path: &str) -> Result<(), ReadError> {
        self.read(0, "")?;
        let mut at = 0;
        for (end, _) in path.match_indices('/') {
            let start = path[..end].rfind('/').map_or(0, |slash| slash + 1);
            at = self.child(at, &path[start..end])?;
            self.read(at, &path[..end])?;
            let Folder { tree, children, .. } = &self.folders[at];
            if tree.is_none() && children.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// The folder of this name in the folder `at`, whether it is there or not.
    fn child(&mut self, at: usize, name: &str) -> Result<usize, ReadError> {
        if let Some(child) = self.folders[at].children.get(name) {
            return Ok(*child);
        }
        let found = match (self.s, self.folders[at].tree) {
            (Some(s), Some(tree)) => tree::find(s, tree, name)?,
            _ => None,
        };
        let tree = found.filter(tree::Found::is_tree).map(|found| found.oid);
        let child = self.folders.len();
        self.folders.push(Folder { tree, ..Folder::default() });
        self.folders[at].children.insert(name.into(), child);
        Ok(child)
    }

    fn read(&mut self, at: usize, path: &str) -> Result<(), ReadError> {
        if std::mem::replace(&mut self.folders[at].read, true) {
            return Ok(());
        }
        if let (Some(s), Some(tree)) = (self.s, self.folders[at].tree)
            && let Some(content) = small_file(s, tree, NAME)?
        {
            self.add(path, &content);
        }
        Ok(())
    }

    fn add(&mut self, folder: &str, content: &[u8]) {
        let source: PathBuf = Path::new(folder).join(NAME);
        let harmless = harmless(content);
        // Macros count in the root's file alone.
        let macros = folder.is_empty();
        let root = Some(Path::new(""));
        // What cannot be read line by line is left out line by line.
        if self.search.add_patterns_buffer(&harmless, source, root, &mut self.names, macros).is_ok() {
            self.outdated = true;
        }
    }
}

impl Ignore {
    /// The patterns of a `.gitignore` in the root of a repository.
    pub fn new(content: &[u8]) -> Ignore {
        let mut search = gix_ignore::Search::default();
        let parse = gix_ignore::search::Ignore { support_precious: false };
        let (source, root) = (PathBuf::from(".gitignore"), Some(Path::new("")));
        let added = search.add_patterns_buffer(&harmless(content), source, root, parse);
        // The only error is that of a source outside of the root.
        debug_assert!(added.is_ok());
        Ignore(search)
    }

    /// Those of the root of `tree`.
    pub fn of_tree(s: &Snapshot, tree: Oid) -> Result<Option<Ignore>, ReadError> {
        Ok(small_file(s, tree, ".gitignore")?.map(|content| Ignore::new(&content)))
    }

    /// Whether git would leave the file out, by its own name or by that of a folder it is in.
    pub fn is_ignored(&self, path: &str) -> bool {
        let folders = path.match_indices('/').map(|(at, _)| (&path[..at], true));
        let mut parts = folders.chain(std::iter::once((path, false)));
        parts.any(|(part, is_folder)| {
            let found = self.0.pattern_matching_relative_path(part.into(), Some(is_folder), Case::Sensitive);
            found.is_some_and(|found| !found.pattern.is_negative())
        })
    }
}

const NAME: &str = ".gitattributes";

/// The content of a regular file that is not large.
fn small_file(s: &Snapshot, root: Oid, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
    let found = tree::find(s, root, path)?;
    let regular = |found: &tree::Found| found.mode & 0o170000 == 0o100000;
    let Some(found) = found.filter(regular) else { return Ok(None) };
    if s.size(&found.oid).is_none_or(|size| size > FILE_BYTES_MAX) {
        return Ok(None);
    }
    let mut content = Vec::new();
    s.read_as(&found.oid, Kind::Blob, &mut content)?;
    Ok(Some(content))
}

/// The lines that can be matched in reasonable time.
fn harmless(content: &[u8]) -> Vec<u8> {
    let lines = content[..content.len().min(FILE_BYTES_MAX as usize)].split_inclusive(|&byte| byte == b'\n');
    let wildcards = |line: &&[u8]| line.iter().filter(|byte| b"*?[".contains(byte)).count();
    lines.filter(|line| wildcards(line) <= WILDCARDS_MAX).flatten().copied().collect()
}
