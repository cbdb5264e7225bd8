//! Sorts edits by folder. The order of edits counts: a folder that is deleted after a file was put into it stays deleted.

use std::collections::BTreeMap;

use bytes::Bytes;
use database::Oid;

use super::path::check_path;
use super::{Action, Edit, EditError};

/// What is to become of one path, and of the paths below it.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub file: Option<File>,
    pub gone: Option<Gone>,
    pub children: BTreeMap<String, Node>,
}

#[derive(Debug)]
pub(super) enum File {
    New(Bytes),
    Known { mode: u32, blob: Oid },
}

/// What was there goes, whatever comes in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub what: What,
    /// It must have been there. Not so if an edit before this one brought what goes.
    pub required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    File,
    Folder,
    Either,
}

/// Files and folders on the ways to all edits: each is kept until the commit is made.
pub(super) const NODES_MAX: usize = 200_000;

pub(super) fn plan(edits: Vec<Edit>) -> Result<Node, EditError> {
    let mut root = Node::default();
    let mut nodes = 0;
    for Edit { path, action } in edits {
        // The Hub's clients write folders with a slash at the end.
        let name = match action {
            Action::DeleteFolder | Action::Delete => path.strip_suffix('/').unwrap_or(&path),
            _ => &path,
        };
        check_path(name).map_err(|source| EditError::Path { path: path.clone(), source })?;
        let mut node = &mut root;
        for part in name.split('/') {
            if !node.children.contains_key(part) {
                node.children.insert(part.to_owned(), Node::default());
                nodes += 1;
                if nodes > NODES_MAX {
                    return Err(EditError::TooMany);
                }
            }
            node = node.children.get_mut(part).expect("because it was inserted if it was missing");
        }
        node.take(action);
    }
    Ok(root)
}

impl Node {
    fn take(&mut self, action: Action) {
        match action {
            Action::Put(content) => self.file = Some(File::New(content)),
            Action::Link { mode, blob } => self.file = Some(File::Known { mode, blob }),
            Action::DeleteFile => {
                let required = self.file.take().is_none();
                self.go(What::File, required);
            }
            Action::DeleteFolder => {
                let required = !self.has_files();
                self.children.clear();
                self.go(What::Folder, required);
            }
            Action::Delete => {
                let required = self.file.take().is_none() && !self.has_files();
                self.children.clear();
                self.go(What::Either, required);
            }
        }
    }

    fn go(&mut self, what: What, required: bool) {
        self.gone = Some(match self.gone {
            // What went already need not be there once more.
            Some(gone) if gone.what == what => gone,
            Some(gone) => Gone { what: What::Either, required: gone.required },
            None => Gone { what, required },
        });
    }

    /// Something below it is put there.
    pub(super) fn has_files(&self) -> bool {
        self.children.values().any(|child| child.file.is_some() || child.has_files())
    }
}
