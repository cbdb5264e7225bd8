//! Deciding each ref edit of a change, without writing: expected values, name clashes, the limit.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use rusqlite::{Connection, OptionalExtension, params};

use super::super::{DbError, all};
use crate::{Change, Expected, Oid, RefEdit, RefOutcome, RefRejection, RepoId};

/// A change with so many edits reads all of the repo's refs at once, if they are not too many more.
const SCAN_EDITS_MIN: usize = 64;
const SCAN_REFS_PER_EDIT: i64 = 4;

pub(super) struct Plan {
    /// One per edit, in the change's order.
    pub outcomes: Vec<RefOutcome>,
    /// Edits that were not rejected; some may leave the ref where it is.
    pub accepted: usize,
    /// What to write, in this order.
    pub moves: Vec<Move>,
    /// Refs created less refs deleted.
    pub created: i64,
}

pub(super) struct Move {
    /// Position in the change.
    pub edit: usize,
    pub old: Oid,
}

pub(super) fn plan(conn: &Connection, change: &Change, refs_count: i64) -> Result<Plan, DbError> {
    let mut view = View::of(conn, change, refs_count)?;
    let mut decided: Vec<Option<Result<Oid, RefRejection>>> = vec![None; change.refs.len()];
    let mut moves = Vec::new();
    let mut created = 0;
    // Deletions first, so that a ref may take the place of a directory, or the other way round, in one
    // change.
    let (deletions, others): (Vec<usize>, Vec<usize>) =
        (0..change.refs.len()).partition(|&index| change.refs[index].new.is_null());
    for index in deletions.into_iter().chain(others) {
        let edit = &change.refs[index];
        let refs_now = u64::try_from(refs_count + created).unwrap_or(0);
        let decision = view.decide(edit, refs_now < change.refs_max, change.refs_max)?;
        if let Ok(old) = decision
            && old != edit.new
        {
            created += i64::from(old.is_null()) - i64::from(edit.new.is_null());
            view.planned.insert(edit.name.clone(), edit.new);
            moves.push(Move { edit: index, old });
        }
        decided[index] = Some(decision);
    }
    let decided: Vec<Result<Oid, RefRejection>> = decided.into_iter().flatten().collect();
    let rejected = decided.iter().any(Result::is_err);
    let all_or_none = change.atomic && rejected;
    let outcomes: Vec<RefOutcome> = decided
        .into_iter()
        .map(|decision| match decision {
            Ok(_) if all_or_none => RefOutcome::Rejected(RefRejection::Atomic),
            Ok(old) => RefOutcome::Moved { old },
            Err(rejection) => RefOutcome::Rejected(rejection),
        })
        .collect();
    if all_or_none {
        (moves, created) = (Vec::new(), 0);
    }
    let accepted = outcomes.iter().filter(|outcome| matches!(outcome, RefOutcome::Moved { .. })).count();
    Ok(Plan { outcomes, accepted, moves, created })
}

/// The refs as they will be after the edits accepted so far.
struct View<'a> {
    conn: &'a Connection,
    repo: RepoId,
    /// Differences to the rows; null is absent. All refs if `complete`.
    planned: BTreeMap<String, Oid>,
    complete: bool,
    /// Names that are directories of edited refs and were found not to be refs in the rows.
    directories: HashSet<String>,
}

impl<'a> View<'a> {
    fn of(conn: &'a Connection, change: &Change, refs_count: i64) -> Result<View<'a>, DbError> {
        let edits = change.refs.len();
        let scan = edits >= SCAN_EDITS_MIN && refs_count <= SCAN_REFS_PER_EDIT.saturating_mul(edits as i64);
        let complete = refs_count == 0 || scan;
        let planned = if complete && refs_count > 0 {
            let sql = "SELECT name, oid FROM ref WHERE repo_id = ?1 ORDER BY name";
            all(conn, sql, [change.repo], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect()
        } else {
            BTreeMap::new()
        };
        Ok(View { conn, repo: change.repo, planned, complete, directories: HashSet::new() })
    }

    /// The ref's value before the edit, if the edit may be made.
    fn decide(
        &mut self,
        edit: &RefEdit,
        may_create: bool,
        max: u64,
    ) -> Result<Result<Oid, RefRejection>, DbError> {
        let name = &edit.name;
        let actual = self.at(name)?;
        let as_expected = match edit.expected {
            Expected::Absent => actual.is_null(),
            Expected::At(oid) => actual == oid,
            Expected::Any => true,
        };
        if !as_expected {
            return Ok(Err(RefRejection::Moved { name: name.clone(), actual }));
        }
        if actual.is_null() && !edit.new.is_null() {
            if let Some(existing) = self.clash(name)? {
                return Ok(Err(RefRejection::NameClash { name: name.clone(), existing }));
            }
            if !may_create {
                return Ok(Err(RefRejection::TooManyRefs { max }));
            }
        }
        Ok(Ok(actual))
    }

    /// Null if there is no such ref.
    fn at(&self, name: &str) -> Result<Oid, DbError> {
        if let Some(oid) = self.planned.get(name) {
            return Ok(*oid);
        }
        if self.complete {
            return Ok(Oid::NULL);
        }
        let sql = "SELECT oid FROM ref WHERE repo_id = ?1 AND name = ?2";
        let oid = self
            .conn
            .prepare_cached(sql)?
            .query_row(params![self.repo, name], |row| row.get(0))
            .optional()?;
        Ok(oid.unwrap_or(Oid::NULL))
    }

    /// A ref that cannot stand beside a new ref `name`: one that would have to be a directory, as in git's
    /// own store.
    fn clash(&mut self, name: &str) -> Result<Option<String>, DbError> {
        // "refs" itself is never a ref, hence the skip.
        for (end, _) in name.match_indices('/').skip(1) {
            let directory = &name[..end];
            if self.directories.contains(directory) && !self.planned.contains_key(directory) {
                continue;
            }
            if !self.at(directory)?.is_null() {
                return Ok(Some(directory.to_owned()));
            }
            self.directories.insert(directory.to_owned());
        }
        self.first_below(name)
    }

    /// The first ref in the directory `name`.
    fn first_below(&self, name: &str) -> Result<Option<String>, DbError> {
        // '0' is the byte behind '/'.
        let (from, to) = (format!("{name}/"), format!("{name}0"));
        let range = (Bound::Excluded(from.as_str()), Bound::Excluded(to.as_str()));
        let planned = self.planned.range::<str, _>(range).find(|(_, oid)| !oid.is_null());
        let planned = planned.map(|(existing, _)| existing.clone());
        if self.complete {
            return Ok(planned);
        }
        let sql = "SELECT name FROM ref WHERE repo_id = ?1 AND name > ?2 AND name < ?3 ORDER BY name";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params![self.repo, from, to])?;
        while let Some(row) = rows.next()? {
            let existing: String = row.get(0)?;
            // What is planned is counted already, or goes away in this change.
            if !self.planned.contains_key(&existing) {
                return Ok(Some(planned.into_iter().fold(existing, String::min)));
            }
        }
        Ok(planned)
    }
}
