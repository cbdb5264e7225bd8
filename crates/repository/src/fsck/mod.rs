//! What a pushed object must look like.
//!
//! Old histories carry harmless defects, and refusing them would refuse the whole history: bad or zero-padded file
//! modes, every defect of an author or committer line, several authors, NUL in a commit message, odd tag names and
//! missing taggers are accepted. Refused is what harms those who check it out (names that escape the work tree or
//! reach into `.git`, `.gitmodules` that run commands) and what no tool can walk. Ids and messages are those of
//! `git fsck`, so that a search for them finds git's own documentation.

mod gitmodules;
mod names;

use std::borrow::Cow;
use std::fmt;

use database::Oid;

pub use gitmodules::check_gitmodules;
pub use names::{is_dotgit, is_gitmodules};

use crate::Kind;
use crate::object::{self, TreeEntry, take_oid_line, tree_entries};

/// Why an object is refused. Displays as `object <oid>: hasDotgit: contains '.git'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    pub oid: Oid,
    pub problem: Problem,
}

/// A defect as `git fsck` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The id of the message, as in git-fsck(1).
    pub id: &'static str,
    pub message: Cow<'static, str>,
}

/// Checks one object by itself. What needs others (edges, the content of `.gitmodules`) is [`crate::ingest`]'s.
pub fn check(kind: Kind, oid: &Oid, data: &[u8]) -> Result<(), Defect> {
    let checked = match kind {
        Kind::Blob => Ok(()),
        Kind::Commit => check_commit(data),
        Kind::Tag => check_tag(data),
        Kind::Tree => check_tree(data, |_| ()),
    };
    checked.map_err(|problem| Defect { oid: *oid, problem })
}

/// Checks a commit's headers.
pub fn check_commit(data: &[u8]) -> Result<(), Problem> {
    check_header_end(data)?;
    let rest =
        data.strip_prefix(b"tree ").ok_or(problem("missingTree", "invalid format - expected 'tree' line"))?;
    let (_, mut rest) =
        take_oid_line(rest).ok_or(problem("badTreeSha1", "invalid 'tree' line format - bad sha1"))?;
    while let Some(line) = rest.strip_prefix(b"parent ") {
        let parent = take_oid_line(line);
        (_, rest) = parent.ok_or(problem("badParentSha1", "invalid 'parent' line format - bad sha1"))?;
    }
    let mut lines = object::lines(rest).peekable();
    if lines.next_if(|line| line.starts_with(b"author ")).is_none() {
        return Err(problem("missingAuthor", "invalid format - expected 'author' line"));
    }
    while lines.next_if(|line| line.starts_with(b"author ")).is_some() {}
    match lines.next() {
        Some(line) if line.starts_with(b"committer ") => Ok(()),
        _ => Err(problem("missingCommitter", "invalid format - expected 'committer' line")),
    }
}

/// Checks an annotated tag's headers.
pub fn check_tag(data: &[u8]) -> Result<(), Problem> {
    check_header_end(data)?;
    let rest = data
        .strip_prefix(b"object ")
        .ok_or(problem("missingObject", "invalid format - expected 'object' line"))?;
    let (_, rest) =
        take_oid_line(rest).ok_or(problem("badObjectSha1", "invalid 'object' line format - bad sha1"))?;
    let mut lines = object::lines(rest);
    let kind = lines.next().and_then(|line| line.strip_prefix(b"type "));
    let kind = kind.ok_or(problem("missingTypeEntry", "invalid format - expected 'type' line"))?;
    if Kind::from_name(kind).is_none() {
        return Err(problem("badType", "invalid 'type' value"));
    }
    match lines.next() {
        Some(line) if line.starts_with(b"tag ") => Ok(()),
        _ => Err(problem("missingTagEntry", "invalid format - expected 'tag' line")),
    }
}

/// Checks a tree's entries and their order, and gives each sound entry to `visit`.
pub fn check_tree<'a>(data: &'a [u8], mut visit: impl FnMut(TreeEntry<'a>)) -> Result<(), Problem> {
    let mut previous: Option<TreeEntry<'a>> = None;
    // Files whose name starts the current name. A directory `a` sorts as `a/`, so a file `a` of the same name may
    // stand before it with others (`a.b`, `a-`) between them.
    let mut files: Vec<&[u8]> = Vec::new();
    for entry in tree_entries(data) {
        let entry = entry.map_err(|_| problem("badTree", "cannot be parsed as a tree"))?;
        check_entry(&entry)?;
        if let Some(previous) = previous {
            check_order(&previous, &entry)?;
        }
        while files.last().is_some_and(|file| !may_clash_later(file, entry.name)) {
            files.pop();
        }
        match (entry.is_tree(), files.last()) {
            (_, Some(file)) if *file == entry.name => return Err(DUPLICATE),
            (true, _) => {}
            (false, _) => files.push(entry.name),
        }
        previous = Some(entry);
        visit(entry);
    }
    Ok(())
}

const DUPLICATE: Problem = problem("duplicateEntries", "contains duplicate file entries");

const fn problem(id: &'static str, message: &'static str) -> Problem {
    Problem { id, message: Cow::Borrowed(message) }
}

fn check_entry(entry: &TreeEntry<'_>) -> Result<(), Problem> {
    let name = entry.name;
    match name {
        b"" => return Err(problem("emptyName", "contains empty pathname")),
        b"." => return Err(problem("hasDot", "contains '.'")),
        b".." => return Err(problem("hasDotdot", "contains '..'")),
        _ if name.contains(&b'/') => return Err(problem("fullPathname", "contains full pathnames")),
        _ => {}
    }
    if names::is_dotgit(name) {
        return Err(problem("hasDotgit", "contains '.git'"));
    }
    if entry.oid.is_null() {
        return Err(problem("nullSha1", "contains entries pointing to null sha1"));
    }
    if is_gitmodules(name) {
        if entry.is_symlink() {
            return Err(problem("gitmodulesSymlink", ".gitmodules is a symbolic link"));
        }
        if entry.kind() != Some(Kind::Blob) {
            return Err(problem("gitmodulesBlob", "non-blob found at .gitmodules"));
        }
    }
    Ok(())
}

fn check_order(first: &TreeEntry<'_>, second: &TreeEntry<'_>) -> Result<(), Problem> {
    if first.name == second.name {
        return Err(DUPLICATE);
    }
    let key = |entry: &TreeEntry<'_>, at: usize| match entry.name.get(at) {
        None if entry.is_tree() => b'/',
        None => 0,
        Some(&byte) => byte,
    };
    let common = first.name.iter().zip(second.name).take_while(|(a, b)| a == b).count();
    match key(first, common) < key(second, common) {
        true => Ok(()),
        false => Err(problem("treeNotSorted", "not properly sorted")),
    }
}

/// Whether a directory of the name `file` can still follow `name` in a sorted tree.
fn may_clash_later(file: &[u8], name: &[u8]) -> bool {
    name.strip_prefix(file).is_some_and(|rest| rest.first().is_none_or(|&byte| byte < b'/'))
}

/// The headers end with an empty line, or the object ends with them.
fn check_header_end(data: &[u8]) -> Result<(), Problem> {
    let mut previous = 0;
    for (at, &byte) in data.iter().enumerate() {
        match byte {
            0 => {
                let message = format!("unterminated header: NUL at offset {at}");
                return Err(Problem { id: "nulInHeader", message: message.into() });
            }
            b'\n' if previous == b'\n' => return Ok(()),
            _ => previous = byte,
        }
    }
    if previous == b'\n' { Ok(()) } else { Err(problem("unterminatedHeader", "unterminated header")) }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.message)
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}: {}", self.oid, self.problem)
    }
}

impl std::error::Error for Defect {}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef01234567";

    /// The id of the defect, or "".
    fn id(checked: Result<(), Problem>) -> &'static str {
        checked.err().map_or("", |problem| problem.id)
    }

    fn tree(entries: &[(&str, &[u8])]) -> &'static str {
        let mut data = Vec::new();
        for (mode, name) in entries {
            data.extend(format!("{mode} ").bytes().chain(name.iter().copied()).chain([0]));
            data.extend([7; 20]);
        }
        id(check_tree(&data, |_| ()))
    }

    #[test]
    fn refused_names() {
        let file = |name: &[u8]| tree(&[("100644", name)]);
        assert_eq!(file(b""), "emptyName");
        assert_eq!(file(b"."), "hasDot");
        assert_eq!(file(b".."), "hasDotdot");
        assert_eq!(file(b".git"), "hasDotgit");
        assert_eq!(file(b"a/b"), "fullPathname");
        assert_eq!(tree(&[("120000", b".gitmodules")]), "gitmodulesSymlink");
        assert_eq!(tree(&[("120000", b".GITMODULES .")]), "gitmodulesSymlink");
        assert_eq!(tree(&[("40000", b".gitmodules")]), "gitmodulesBlob");
        assert_eq!(tree(&[("160000", b".gitmodules")]), "gitmodulesBlob");
        for fine in [&b"..."[..], b".gitignore", b"git", b"a\\b", b"\xff", b".gitmodules", b"CON", b" "] {
            assert_eq!(file(fine), "", "{fine:?}");
        }
        let mut null = b"100644 a\0".to_vec();
        null.extend([0; 20]);
        assert_eq!(id(check_tree(&null, |_| ())), "nullSha1");
        assert_eq!(id(check_tree(b"100644 a\0short", |_| ())), "badTree");
    }

    #[test]
    fn order_and_duplicates() {
        let (f, d) = ("100644", "40000");
        assert_eq!(tree(&[(f, b"a"), (f, b"a")]), "duplicateEntries");
        assert_eq!(tree(&[(f, b"a"), (d, b"a")]), "duplicateEntries");
        assert_eq!(
            tree(&[(f, b"a"), (f, b"a.b"), (f, b"a.b.c"), (d, b"a.b"), (d, b"a")]),
            "duplicateEntries"
        );
        assert_eq!(tree(&[(f, b"a"), (f, b"a-"), (f, b"a.b"), (d, b"a")]), "duplicateEntries");
        assert_eq!(tree(&[(f, b"a"), (f, b"a-"), (d, b"a.b"), (d, b"b")]), "");
        assert_eq!(tree(&[(f, b"a"), (f, b"a.b"), (f, b"a0"), (d, b"aa")]), "");
        assert_eq!(tree(&[(f, b"b"), (f, b"a")]), "treeNotSorted");
        assert_eq!(tree(&[(d, b"a"), (f, b"a.b")]), "treeNotSorted");
        assert_eq!(tree(&[(f, b"a.b"), (d, b"a")]), "");
        assert_eq!(tree(&[(f, b"a0"), (d, b"a")]), "treeNotSorted");
        assert_eq!(tree(&[(f, b"ab"), (f, b"a")]), "treeNotSorted");
    }

    #[test]
    fn accepted_defects_of_trees() {
        for mode in ["0100644", "100664", "100600", "040000", "0", "160000", "777777"] {
            assert_eq!(tree(&[(mode, b"a")]), "", "{mode}");
        }
        assert_eq!(tree(&[]), "");
    }

    #[test]
    fn commits() {
        let commit = |text: &str| id(check_commit(text.replace("HEX", HEX).as_bytes()));
        for accepted in [
            "tree HEX\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nmessage",
            "tree HEX\nparent HEX\nparent HEX\nauthor \ncommitter \n",
            "tree HEX\nauthor A\ncommitter A <> 0001 x\n\nmess\0age",
            "tree HEX\nauthor A<a> 1 +00000000\nauthor B <b> 99999999999999999999999 -1\ncommitter <a> \n",
            "tree HEX\nauthor <<>> 1\ncommitter A <a@b> 1 +0000\nencoding x\ngpgsig -\n -\n\n",
        ] {
            assert_eq!(commit(accepted), "", "{accepted}");
        }
        for (refused, expected) in [
            ("", "unterminatedHeader"),
            ("tree HEX", "unterminatedHeader"),
            ("tree HEX\nauthor a\0\n\n", "nulInHeader"),
            ("author A\n\n", "missingTree"),
            ("tree HE\n\n", "badTreeSha1"),
            ("tree HEX0\n\n", "badTreeSha1"),
            ("tree HEX\nparent x\n\n", "badParentSha1"),
            ("tree HEX\ncommitter A\n\n", "missingAuthor"),
            ("tree HEX\nauthor A\n\n", "missingCommitter"),
            ("tree HEX\nauthor A\nencoding x\ncommitter A\n\n", "missingCommitter"),
            ("tree HEX\n\nauthor A\ncommitter A\n", "missingAuthor"),
        ] {
            assert_eq!(commit(refused), expected, "{refused}");
        }
    }

    #[test]
    fn tags() {
        let tag = |text: &str| id(check_tag(text.replace("HEX", HEX).as_bytes()));
        for accepted in [
            "object HEX\ntype commit\ntag v1\ntagger A <a@b> 1 +0000\n\nmessage",
            "object HEX\ntype blob\ntag ..bad..\n",
            "object HEX\ntype tree\ntag v1\nsomething else\n\nmess\0age",
        ] {
            assert_eq!(tag(accepted), "", "{accepted}");
        }
        for (refused, expected) in [
            ("object HEX\ntype commit\ntag v1", "unterminatedHeader"),
            ("type commit\n\n", "missingObject"),
            ("object HEXX\n\n", "badObjectSha1"),
            ("object HEX\ntag v1\n\n", "missingTypeEntry"),
            ("object HEX\ntype bogus\ntag v1\n\n", "badType"),
            ("object HEX\ntype commit\ntagger A\n\n", "missingTagEntry"),
        ] {
            assert_eq!(tag(refused), expected, "{refused}");
        }
    }

    #[test]
    fn messages_read_like_gits() {
        let mut data = b"100644 .git\0".to_vec();
        data.extend([7; 20]);
        let oid = HEX.parse().unwrap();
        let defect = check(Kind::Tree, &oid, &data).unwrap_err();
        assert_eq!(defect.to_string(), format!("object {HEX}: hasDotgit: contains '.git'"));
    }
}
