//! The names in a commit body, and which of them go together.

use super::Problem;

/// A set of members, a bit each.
pub(super) type Set = u32;

/// The member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Key,
    Value,
    Summary,
    Description,
    ParentCommit,
    Path,
    Content,
    Encoding,
    OldPath,
    Algo,
    Oid,
    Size,
    Files,
    LfsFiles,
    DeletedFiles,
    DeletedFolders,
    DeletedEntries,
}

use Member::*;

/// In the order of the enum.
const NAMES: [(Member, &str); 17] = [
    (Key, "key"),
    (Value, "value"),
    (Summary, "summary"),
    (Description, "description"),
    (ParentCommit, "parentCommit"),
    (Path, "path"),
    (Content, "content"),
    (Encoding, "encoding"),
    (OldPath, "oldPath"),
    (Algo, "algo"),
    (Oid, "oid"),
    (Size, "size"),
    (Files, "files"),
    (LfsFiles, "lfsFiles"),
    (DeletedFiles, "deletedFiles"),
    (DeletedFolders, "deletedFolders"),
    (DeletedEntries, "deletedEntries"),
];

pub(super) const LINE: Set = set(&[Key, Value]);
pub(super) const BODY: Set =
    set(&[Summary, Description, ParentCommit, Files, LfsFiles, DeletedFiles, DeletedFolders, DeletedEntries]);
/// Members of any value.
pub(super) const ENTRY: Set =
    set(&[Summary, Description, ParentCommit, Path, Content, Encoding, OldPath, Algo, Oid, Size]);
/// May be `null`, which is as if they were not there.
pub(super) const NULLABLE: Set = set(&[Description, ParentCommit, OldPath, Size]);

const fn set(members: &[Member]) -> Set {
    let (mut set, mut n) = (0, 0);
    while n < members.len() {
        set |= members[n].bit();
        n += 1;
    }
    set
}

impl Member {
    pub const fn bit(self) -> Set {
        1 << self as u32
    }

    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    pub fn named(name: &str, among: Set) -> Option<Member> {
        let found = NAMES.iter().find(|(member, known)| *known == name && among & member.bit() != 0);
        found.map(|(member, _)| *member)
    }

    /// What the elements of this list are.
    pub fn list_of(self) -> Option<Kind> {
        match self {
            Files => Some(Kind::File),
            LfsFiles => Some(Kind::LfsFile),
            DeletedFiles => Some(Kind::DeletedFile),
            DeletedFolders => Some(Kind::DeletedFolder),
            DeletedEntries => Some(Kind::DeletedEntry),
            _ => None,
        }
    }

    pub fn type_problem(self) -> Problem {
        let expected = match self {
            Value => "an object",
            Size => "a number",
            _ if self.list_of().is_some() => "an array",
            _ => "a string",
        };
        Problem::Type { member: self.name(), expected }
    }
}

/// What a line, or an element of a list, is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header,
    File,
    LfsFile,
    DeletedFile,
    DeletedFolder,
    DeletedEntry,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Header, Kind::File, Kind::LfsFile, Kind::DeletedFile, Kind::DeletedFolder, Kind::DeletedEntry];

    pub fn named(key: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == key)
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Header => "header",
            Kind::File => "file",
            Kind::LfsFile => "lfsFile",
            Kind::DeletedFile => "deletedFile",
            Kind::DeletedFolder => "deletedFolder",
            Kind::DeletedEntry => "deletedEntry",
        }
    }

    pub fn required(self) -> Set {
        match self {
            Kind::Header => set(&[Summary]),
            Kind::File => set(&[Path, Content, Encoding]),
            Kind::LfsFile => set(&[Path, Algo, Oid]),
            Kind::DeletedFile | Kind::DeletedFolder | Kind::DeletedEntry => set(&[Path]),
        }
    }

    pub fn members(self) -> Set {
        self.required()
            | match self {
                Kind::Header => set(&[Description, ParentCommit]),
                Kind::File => set(&[OldPath]),
                Kind::LfsFile => set(&[OldPath, Size]),
                Kind::DeletedFile | Kind::DeletedFolder | Kind::DeletedEntry => 0,
            }
    }
}

/// Whether `seen` has all of `required` and nothing but `known`.
pub(super) fn check(seen: Set, required: Set, known: Set, of: &'static str) -> Result<(), Problem> {
    let first_in = |set: Set| NAMES.iter().find(|(member, _)| set & member.bit() != 0).map(|(_, name)| *name);
    if let Some(name) = first_in(seen & !known) {
        return Err(Problem::UnknownMember { name: name.to_owned(), of });
    }
    first_in(required & !seen).map_or(Ok(()), |member| Err(Problem::Missing { member, of }))
}
