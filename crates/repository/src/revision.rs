//! What people mean by a revision: a branch, a tag, a full name of a ref, an id or the beginning of one, `HEAD`.

use database::{Oid, RefRow};

use crate::{Kind, ReadError, Snapshot};

/// A commit, and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub commit: Oid,
    /// Full name of the ref that was meant; `None` for an id.
    pub ref_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    #[error("there is no such revision")]
    NotFound,
    #[error("more than one commit begins with these digits")]
    Ambiguous,
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Fewer digits are no id. As the Hub has it.
const PREFIX_DIGITS_MIN: usize = 5;

/// The commit that `text` means, in the order of the Hub: branch, tag, full name of a ref, id, `HEAD`. Only what this
/// repository has is found.
pub fn resolve(s: &Snapshot, text: &str) -> Result<Revision, RevisionError> {
    if let Some(row) = named(s, text) {
        return of_ref(s, row);
    }
    if let Some(found) = by_id(s, text)? {
        return Ok(Revision { commit: found, ref_name: None });
    }
    match (text, s.head_target()) {
        ("HEAD", Some(row)) => of_ref(s, row),
        _ => Err(RevisionError::NotFound),
    }
}

fn named<'s>(s: &'s Snapshot, text: &str) -> Option<&'s RefRow> {
    let in_folder = |folder: &str| s.find_ref(&format!("{folder}{text}"));
    in_folder("refs/heads/")
        .or_else(|| in_folder("refs/tags/"))
        .or_else(|| text.starts_with("refs/").then(|| s.find_ref(text))?)
}

fn of_ref(s: &Snapshot, row: &RefRow) -> Result<Revision, RevisionError> {
    let commit = row.peeled.unwrap_or(row.oid);
    match s.kind(&commit) {
        Some(Kind::Commit) => Ok(Revision { commit, ref_name: Some(row.name.clone()) }),
        // A tag of a tree, say, which git allows.
        _ => Err(RevisionError::NotFound),
    }
}

fn by_id(s: &Snapshot, text: &str) -> Result<Option<Oid>, RevisionError> {
    let digits = text.as_bytes();
    if !(PREFIX_DIGITS_MIN..=40).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Ok(None);
    }
    let lower = text.to_ascii_lowercase();
    if let Ok(oid) = Oid::from_hex(lower.as_bytes()) {
        return peel_to_commit(s, oid);
    }
    let id = |hex: String| Oid::from_hex(hex.as_bytes()).unwrap_or(Oid::NULL);
    let (first, last) = (id(format!("{lower:0<40}")), id(format!("{lower:f<40}")));
    let mut found = None;
    for pack in s.packs() {
        for oid in pack.oids_between(&first, &last) {
            if s.kind(&oid) == Some(Kind::Commit) && found.replace(oid).is_some_and(|other| other != oid) {
                return Err(RevisionError::Ambiguous);
            }
        }
    }
    Ok(found)
}

fn peel_to_commit(s: &Snapshot, oid: Oid) -> Result<Option<Oid>, RevisionError> {
    if !s.contains(&oid) {
        return Ok(None);
    }
    let commit = s.peel(&oid)?;
    Ok((s.kind(&commit) == Some(Kind::Commit)).then_some(commit))
}
