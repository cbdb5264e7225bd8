//! Git objects: their kinds, their ids, and the parts of them the server reads.
//!
//! Ids are hashed by gix (collision-detecting SHA-1). The parsers are our own because they must accept what git
//! accepts, defects included, and must not allocate per tree entry; [`crate::fsck`] decides what is refused.

use database::Oid;
use gix::hash::Hasher;

/// The four kinds of git objects, with their numbers in pack entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Commit = 1,
    Tree = 2,
    Blob = 3,
    Tag = 4,
}

/// Why the bytes of an object cannot be read as what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error("a commit needs a 'tree' line with an object id")]
    CommitTree,
    #[error("a 'parent' line without an object id")]
    CommitParent,
    #[error("a tree entry is cut short or has no mode")]
    TreeEntry,
    #[error("a tag needs 'object', 'type' and 'tag' lines")]
    Tag,
    /// The bytes were made to collide under SHA-1; no id may be given to them.
    #[error("SHA-1 collision attack detected")]
    Collision,
}

/// What the server reads of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub tree: Oid,
    pub parents: Vec<Oid>,
    /// Seconds since the epoch; 0 if the line does not hold a number, as git reads it.
    pub committer_seconds: i64,
}

/// One line of a tree. `mode` is the number as stored (`0o100644`, `0o40000`, …), cut to 16 bits as git does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeEntry<'a> {
    pub mode: u32,
    pub name: &'a [u8],
    pub oid: Oid,
}

/// What the server reads of an annotated tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub target: Oid,
    pub target_kind: Kind,
    pub name: Vec<u8>,
}

/// The id of an object. [`Oid::NULL`], under which nothing is ever stored, if `data` is a SHA-1 collision attack;
/// use [`try_hash`] where that needs telling.
pub fn hash(kind: Kind, data: &[u8]) -> Oid {
    try_hash(kind, data).unwrap_or(Oid::NULL)
}

/// The id of an object, or [`ObjectError::Collision`].
pub fn try_hash(kind: Kind, data: &[u8]) -> Result<Oid, ObjectError> {
    let mut hasher = ObjectHasher::new(kind, data.len() as u64);
    hasher.update(data);
    hasher.finish()
}

/// Hashes an object whose bytes come in pieces.
pub struct ObjectHasher(Hasher);

impl ObjectHasher {
    /// `size` is that of the whole object in bytes; exactly so many must follow.
    pub fn new(kind: Kind, size: u64) -> ObjectHasher {
        let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
        let mut digits = [0; 20];
        hasher.update(kind.name().as_bytes());
        hasher.update(b" ");
        hasher.update(decimal(size, &mut digits));
        hasher.update(b"\0");
        ObjectHasher(hasher)
    }

    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub fn finish(self) -> Result<Oid, ObjectError> {
        finish(self.0)
    }
}

/// The plain SHA-1 of a pack's bytes, as in its trailer.
pub(crate) struct PackHasher(Hasher);

impl PackHasher {
    pub(crate) fn new() -> PackHasher {
        PackHasher(gix::hash::hasher(gix::hash::Kind::Sha1))
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(crate) fn finish(self) -> Result<Oid, ObjectError> {
        finish(self.0)
    }
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag];

    /// From the number in a pack entry; `None` for deltas and unassigned numbers.
    pub fn from_number(number: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Commit => "commit",
            Kind::Tree => "tree",
            Kind::Blob => "blob",
            Kind::Tag => "tag",
        }
    }

    pub fn from_name(name: &[u8]) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }
}

impl TreeEntry<'_> {
    pub fn is_tree(&self) -> bool {
        self.mode & 0o170000 == 0o40000
    }

    pub fn is_symlink(&self) -> bool {
        self.mode & 0o170000 == 0o120000
    }

    /// The kind of the object the entry names; `None` for a gitlink, whose commit lives in another repository. A mode
    /// with an unknown type is a gitlink, as in git.
    pub fn kind(&self) -> Option<Kind> {
        match self.mode & 0o170000 {
            0o40000 => Some(Kind::Tree),
            0o100000 | 0o120000 => Some(Kind::Blob),
            _ => None,
        }
    }
}

/// Reads the headers that matter. Accepts every commit git can walk: defects of the author, committer or message
/// do not matter here.
pub fn parse_commit(data: &[u8]) -> Result<Commit, ObjectError> {
    let rest = data.strip_prefix(b"tree ").ok_or(ObjectError::CommitTree)?;
    let (tree, mut rest) = take_oid_line(rest).ok_or(ObjectError::CommitTree)?;
    let mut parents = Vec::new();
    while let Some(line) = rest.strip_prefix(b"parent ") {
        let (parent, after) = take_oid_line(line).ok_or(ObjectError::CommitParent)?;
        parents.push(parent);
        rest = after;
    }
    let committer =
        lines(rest).take_while(|line| !line.is_empty()).find_map(|l| l.strip_prefix(b"committer "));
    Ok(Commit { tree, parents, committer_seconds: committer.map_or(0, ident_seconds) })
}

/// What people are shown of a commit. What is missing is empty, what is not UTF-8 is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitDetails {
    pub author_name: String,
    pub author_email: String,
    /// 0 if the line does not hold a number.
    pub author_seconds: i64,
    pub message: String,
}

pub fn parse_commit_details(data: &[u8]) -> CommitDetails {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (headers, message) = match end {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &[][..]),
    };
    let author = lines(headers).find_map(|line| line.strip_prefix(b"author ")).unwrap_or_default();
    let (name, rest) = author.split_at(author.iter().position(|&byte| byte == b'<').unwrap_or(author.len()));
    let email = rest.strip_prefix(b"<").unwrap_or_default();
    let email = &email[..email.iter().position(|&byte| byte == b'>').unwrap_or(email.len())];
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
    CommitDetails {
        author_name: text(name),
        author_email: text(email),
        author_seconds: ident_seconds(author),
        message: String::from_utf8_lossy(message).into_owned(),
    }
}

/// The entries of a tree in stored order; stops after the first error.
pub fn tree_entries(data: &[u8]) -> TreeEntries<'_> {
    TreeEntries { rest: data }
}

/// See [`tree_entries`].
#[derive(Clone, Debug)]
pub struct TreeEntries<'a> {
    rest: &'a [u8],
}

impl TreeEntries<'_> {
    /// Bytes of the tree that were not looked at.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for TreeEntries<'a> {
    type Item = Result<TreeEntry<'a>, ObjectError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = split_entry(self.rest);
        self.rest = entry.as_ref().map_or(&[], |(_, rest)| rest);
        Some(entry.map(|(entry, _)| entry).ok_or(ObjectError::TreeEntry))
    }
}

/// Reads the headers of an annotated tag; a missing tagger and odd names are accepted.
pub fn parse_tag(data: &[u8]) -> Result<Tag, ObjectError> {
    let (target, rest) = data.strip_prefix(b"object ").and_then(take_oid_line).ok_or(ObjectError::Tag)?;
    let mut lines = lines(rest);
    let kind = lines.next().and_then(|line| line.strip_prefix(b"type ")).and_then(Kind::from_name);
    let name = lines.next().and_then(|line| line.strip_prefix(b"tag "));
    match (kind, name) {
        (Some(target_kind), Some(name)) => Ok(Tag { target, target_kind, name: name.to_vec() }),
        _ => Err(ObjectError::Tag),
    }
}

/// 40 hexadecimal digits and a line feed at the start of `data`.
pub(crate) fn take_oid_line(data: &[u8]) -> Option<(Oid, &[u8])> {
    let (hex, rest) = data.split_at_checked(40)?;
    Some((Oid::from_hex(hex).ok()?, rest.strip_prefix(b"\n")?))
}

pub(crate) fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|&byte| byte == b'\n')
}

fn finish(hasher: Hasher) -> Result<Oid, ObjectError> {
    let id = hasher.try_finalize().map_err(|_| ObjectError::Collision)?;
    Oid::from_slice(id.as_slice()).map_err(|_| ObjectError::Collision)
}

fn split_entry(data: &[u8]) -> Option<(TreeEntry<'_>, &[u8])> {
    let mut mode = 0u32;
    let mut digits = 0;
    loop {
        match *data.get(digits)? {
            digit @ b'0'..=b'7' => mode = (mode << 3 | u32::from(digit - b'0')) & 0xffff,
            b' ' if digits > 0 => break,
            _ => return None,
        }
        digits += 1;
    }
    let rest = &data[digits + 1..];
    let name_len = rest.iter().position(|&byte| byte == 0)?;
    let (name, rest) = rest.split_at(name_len);
    let (oid, rest) = rest[1..].split_first_chunk()?;
    Some((TreeEntry { mode, name, oid: Oid(*oid) }, rest))
}

/// The number after the last `>`, which may be negative or absent.
fn ident_seconds(ident: &[u8]) -> i64 {
    let start = ident.iter().rposition(|&byte| byte == b'>').map_or(0, |at| at + 1);
    let digits = ident[start..].trim_ascii_start();
    let end = digits.iter().position(u8::is_ascii_whitespace).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn decimal(mut value: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn ids_are_gits() {
        assert_eq!(hash(Kind::Blob, b"").to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(hash(Kind::Tree, b"").to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        assert_eq!(hash(Kind::Blob, b"hello\n").to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn commits_with_defects_are_read() {
        let text = format!(
            "tree {HEX}\nparent {HEX}\nauthor x\ncommitter A <a> 12 +0000\n\ncommitter B <b> 99 +0\n"
        );
        let commit = parse_commit(text.as_bytes()).unwrap();
        assert_eq!((commit.parents.len(), commit.committer_seconds), (1, 12));
        let seconds = |committer: &str| {
            parse_commit(format!("tree {HEX}\ncommitter {committer}\n").as_bytes()).unwrap().committer_seconds
        };
        assert_eq!(seconds("A <a>7 +0000"), 7);
        assert_eq!(seconds("A a"), 0);
        assert_eq!(seconds("A <a> 99999999999999999999 +0000"), 0);
        assert_eq!(parse_commit(b"tree 12\n"), Err(ObjectError::CommitTree));
        assert_eq!(
            parse_commit(format!("tree {HEX}\nparent x\n").as_bytes()),
            Err(ObjectError::CommitParent)
        );
    }

    #[test]
    fn trees_give_entries_until_the_first_error() {
        let mut tree = b"100644 a\0".to_vec();
        tree.extend([7; 20]);
        tree.extend(b"040000 b\0");
        tree.extend([8; 20]);
        let entries: Vec<_> = tree_entries(&tree).map(Result::unwrap).collect();
        assert_eq!(
            (entries[0].mode, entries[0].name, entries[0].kind()),
            (0o100644, &b"a"[..], Some(Kind::Blob))
        );
        assert_eq!(
            (entries[1].mode, entries[1].oid, entries[1].kind()),
            (0o40000, Oid([8; 20]), Some(Kind::Tree))
        );
        assert_eq!(tree_entries(&tree[..tree.len() - 1]).filter(Result::is_err).count(), 1);
        for broken in [&b" a\0aaaaaaaaaaaaaaaaaaaa"[..], b"9 a\0aaaaaaaaaaaaaaaaaaaa", b"1", b"1 a"] {
            assert_eq!(tree_entries(broken).collect::<Vec<_>>(), [Err(ObjectError::TreeEntry)]);
        }
    }

    #[test]
    fn tags_name_their_target() {
        let tag = parse_tag(format!("object {HEX}\ntype commit\ntag v1\n\n").as_bytes()).unwrap();
        assert_eq!((tag.target_kind, &tag.name[..]), (Kind::Commit, &b"v1"[..]));
        assert!(parse_tag(format!("object {HEX}\ntype thing\ntag v1\n").as_bytes()).is_err());
        assert!(parse_tag(b"object 12\n").is_err());
    }
}
