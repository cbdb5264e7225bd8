//! What was read so far of a line, or of an element of a list, and what it is once it ends.

use super::Problem;
use super::member::{self, Kind, Member, Set};
use super::operation::{Encoding, Header, Limits, Operation};

/// What the sink is to be told.
pub(super) enum Event {
    Header(Header),
    ContentStart(u32, Option<Encoding>),
    Operation(Operation),
}

#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Members seen of the line or body, and of the value or element in it.
    outer: Set,
    inner: Set,
    kind: Option<Kind>,
    header: Header,
    has_header: bool,
    entry: Entry,
    operations: u32,
    contents: u32,
}

/// What an operation is made of. Whether a member was there says the set of those seen.
#[derive(Debug, Default)]
struct Entry {
    path: String,
    content: u32,
    encoding: Option<Encoding>,
    old_path: Option<String>,
    oid: String,
    size_bytes: Option<u64>,
}

impl Draft {
    pub fn has_header(&self) -> bool {
        self.has_header
    }

    /// A member of the line or body, which has the `known` ones.
    pub fn outer_member(&mut self, name: String, known: Set, of: &'static str) -> Result<Member, Problem> {
        new_member(name, known, of, &mut self.outer)
    }

    /// A member of the value or element.
    pub fn inner_member(&mut self, name: String) -> Result<Member, Problem> {
        let (known, of) = self.kind.map_or((member::ENTRY, "a value"), |kind| (kind.members(), kind.name()));
        new_member(name, known, of, &mut self.inner)
    }

    /// Elements of this list follow.
    pub fn list(&mut self, list: Member) {
        self.kind = list.list_of();
    }

    /// The text of a content follows.
    pub fn content(&mut self) -> Event {
        self.entry.content = self.contents;
        self.contents += 1;
        Event::ContentStart(self.entry.content, self.entry.encoding)
    }

    /// The string, or number, that a member has.
    pub fn assign(&mut self, member: Member, text: String) -> Result<(), Problem> {
        match member {
            Member::Key => self.kind = Some(self.check_order(text)?),
            Member::Summary => self.header.summary = text,
            Member::Description => self.header.description = text,
            Member::ParentCommit => self.header.parent_commit = Some(text),
            Member::Path => self.entry.path = text,
            Member::OldPath => self.entry.old_path = Some(text),
            Member::Oid if !is_sha256(&text) => return Err(Problem::Oid),
            Member::Oid => self.entry.oid = text,
            Member::Algo if text == "sha256" => {}
            Member::Algo => return Err(Problem::Algorithm(text)),
            Member::Encoding => self.entry.encoding = Some(encoding(text)?),
            Member::Size => self.entry.size_bytes = Some(size(&text).ok_or(Problem::Size)?),
            _ => return Err(member.type_problem()),
        }
        Ok(())
    }

    fn check_order(&self, key: String) -> Result<Kind, Problem> {
        match Kind::named(&key) {
            None => Err(Problem::UnknownKey(key)),
            Some(Kind::Header) if self.has_header => Err(Problem::SecondHeader),
            Some(kind) if kind != Kind::Header && !self.has_header => {
                Err(Problem::HeaderNotFirst(kind.name()))
            }
            Some(kind) => Ok(kind),
        }
    }

    pub fn end_line(&mut self, limits: &Limits) -> Result<Event, Problem> {
        member::check(std::mem::take(&mut self.outer), member::LINE, member::LINE, "a line")?;
        let event = self.end_element(limits);
        self.kind = None;
        event
    }

    pub fn end_body(&mut self) -> Result<Event, Problem> {
        member::check(self.outer, Kind::Header.required(), member::BODY, "a commit")?;
        Ok(self.take_header())
    }

    pub fn end_element(&mut self, limits: &Limits) -> Result<Event, Problem> {
        let kind = self.kind.ok_or(Problem::Missing { member: "key", of: "a line" })?;
        member::check(std::mem::take(&mut self.inner), kind.required(), kind.members(), kind.name())?;
        let entry = std::mem::take(&mut self.entry);
        let operation = match kind {
            Kind::Header => return Ok(self.take_header()),
            Kind::File => entry.into_file()?,
            Kind::LfsFile => entry.into_lfs_file(),
            Kind::DeletedFile => Operation::DeletedFile { path: entry.path },
            Kind::DeletedFolder => Operation::DeletedFolder { path: entry.path },
            Kind::DeletedEntry => Operation::DeletedEntry { path: entry.path },
        };
        if self.operations == limits.operations_max {
            return Err(Problem::TooManyOperations { max: limits.operations_max });
        }
        self.operations += 1;
        Ok(Event::Operation(operation))
    }

    fn take_header(&mut self) -> Event {
        self.has_header = true;
        Event::Header(std::mem::take(&mut self.header))
    }
}

impl Entry {
    fn into_file(self) -> Result<Operation, Problem> {
        let Entry { path, content, encoding, old_path, .. } = self;
        let encoding = encoding.ok_or(Problem::Missing { member: "encoding", of: "file" })?;
        Ok(Operation::File { path, content, encoding, old_path })
    }

    fn into_lfs_file(self) -> Operation {
        let Entry { path, oid, size_bytes, old_path, .. } = self;
        Operation::LfsFile { path, oid, size_bytes, old_path }
    }
}

fn new_member(name: String, known: Set, of: &'static str, seen: &mut Set) -> Result<Member, Problem> {
    let Some(member) = Member::named(&name, known) else { return Err(Problem::UnknownMember { name, of }) };
    if *seen & member.bit() != 0 {
        return Err(Problem::Repeated { member: member.name() });
    }
    *seen |= member.bit();
    Ok(member)
}

fn encoding(name: String) -> Result<Encoding, Problem> {
    match name.as_str() {
        "base64" => Ok(Encoding::Base64),
        "utf-8" => Ok(Encoding::Utf8),
        _ => Err(Problem::Encoding(name)),
    }
}

fn is_sha256(oid: &str) -> bool {
    oid.len() == 64 && oid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A whole number as git-lfs can hold it (`int64`), as JSON writes it: no sign, fraction, exponent or leading zero.
fn size(digits: &str) -> Option<u64> {
    let plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| digits.parse().ok())?.filter(|&size| size <= i64::MAX as u64)
}
