//! Writes the pack of a new commit.

use std::io;
use std::sync::Arc;

use database::{Oid, PackId, PackKind};
use storage::TempFile;

use super::apply::{Changed, NewTree};
use super::{Description, EditError, Made, MadeTag};
use crate::object;
use crate::pack::{BlobBuilder, BlobWriter, EntryHeader, EntrySource, entry};
use crate::pointer::{self, Pointer};
use crate::{Kind, Pack, Snapshot, delta};

/// Deltas that stand one on the other, before a tree is stored whole again.
const CHAIN_MAX: usize = 32;
/// A larger tree is stored whole: to find a delta takes both in memory, and time.
const DELTA_BYTES_MAX: usize = 8 << 20;

pub(super) fn write(
    s: &Snapshot,
    parents: &[Oid],
    changed: Changed,
    description: &Description,
    out: impl FnOnce() -> io::Result<TempFile>,
) -> Result<Made, EditError> {
    let commit = encode(changed.root, parents, description);
    let commit_id = object::try_hash(Kind::Commit, &commit)?;
    let objects = 1 + changed.trees.len() + changed.blobs.len();
    let count = u32::try_from(objects).map_err(io::Error::other)?;
    let mut writer = BlobWriter::new(out);
    writer.expect(changed.blobs.iter().map(|(_, data)| data.len() as u64 / 4).sum())?;
    let mut builder = BlobBuilder::new(&mut writer, count)?;
    builder.whole(commit_id, Kind::Commit, &commit)?;
    for tree in &changed.trees {
        add_tree(s, &mut builder, tree)?;
    }
    let mut pointers = Vec::new();
    for (blob, data) in &changed.blobs {
        builder.whole(*blob, Kind::Blob, data)?;
        if let Some(target) = pointer::parse(data) {
            let pointer = Pointer { blob: *blob, sha256: target.sha256, size: target.size };
            builder.pointer(pointer);
            pointers.push(pointer);
        }
    }
    pointers.sort_unstable();
    builder.finish()?;
    let blob = writer.finish()?;
    let generation = s.generation() + 1;
    let pack = Pack::from_blob(PackId::new(), PackKind::Api, false, generation, blob.bytes()?)?;
    Ok(Made {
        commit: commit_id,
        tree: changed.root,
        objects: objects as u64,
        blob,
        pointers,
        pack: Arc::new(pack),
    })
}

/// An annotated tag of `commit`, which the repository has, in a pack of its own.
pub fn tag(
    commit: Oid,
    name: &str,
    description: &Description,
    out: impl FnOnce() -> io::Result<TempFile>,
) -> Result<MadeTag, EditError> {
    let (ident, message) = (ident(description), description.message.replace('\0', ""));
    let end = if message.ends_with('\n') { "" } else { "\n" };
    let data =
        format!("object {commit}\ntype commit\ntag {name}\ntagger {ident}\n\n{message}{end}").into_bytes();
    let oid = object::try_hash(Kind::Tag, &data)?;
    let mut writer = BlobWriter::new(out);
    let mut builder = BlobBuilder::new(&mut writer, 1)?;
    builder.whole(oid, Kind::Tag, &data)?;
    builder.finish()?;
    Ok(MadeTag { tag: oid, blob: writer.finish()? })
}

fn add_tree<W: io::Write>(
    s: &Snapshot,
    builder: &mut BlobBuilder<W>,
    tree: &NewTree,
) -> Result<(), EditError> {
    let Some((base, delta)) = tree_delta(s, tree)? else {
        builder.whole(tree.oid, Kind::Tree, &tree.data)?;
        return Ok(());
    };
    let mut compressed = Vec::new();
    entry::deflate(&delta, &mut compressed)?;
    let header = EntryHeader::RefDelta { base };
    let source = EntrySource { header, inflated_size: delta.len() as u64, compressed: &compressed };
    builder.raw(tree.oid, Kind::Tree, tree.data.len() as u64, source)?;
    Ok(())
}

/// A delta on the tree that stood at the same path, if there is one that pays.
fn tree_delta(s: &Snapshot, tree: &NewTree) -> Result<Option<(Oid, Vec<u8>)>, EditError> {
    let Some(before) = tree.before else { return Ok(None) };
    if tree.data.len() > DELTA_BYTES_MAX || s.size(&before).is_none_or(|size| size > DELTA_BYTES_MAX as u64) {
        return Ok(None);
    }
    if s.chain_len(&before, CHAIN_MAX)? >= CHAIN_MAX {
        return Ok(None);
    }
    let base = crate::tree::read_tree(s, before)?;
    Ok(delta::delta_entry(&base, &tree.data).map(|delta| (before, delta)))
}

/// The commit as git writes it. Author and committer are the same, in UTC.
fn encode(tree: Oid, parents: &[Oid], description: &Description) -> Vec<u8> {
    let parents: String = parents.iter().map(|parent| format!("parent {parent}\n")).collect();
    let (ident, message) = (ident(description), description.message.replace('\0', ""));
    let end = if message.ends_with('\n') { "" } else { "\n" };
    format!("tree {tree}\n{parents}author {ident}\ncommitter {ident}\n\n{message}{end}").into_bytes()
}

fn ident(description: &Description) -> String {
    let Description { author_name, author_email, seconds, .. } = description;
    // What would end the name or the address early is left out, as git leaves it out.
    let plain = |text: &str| text.replace(['<', '>', '\n', '\0'], "");
    format!("{} <{}> {seconds} +0000", plain(author_name).trim(), plain(author_email).trim())
}
