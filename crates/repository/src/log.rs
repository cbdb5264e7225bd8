//! The history of a commit, newest first, as people read it.

use std::collections::{BinaryHeap, HashMap, HashSet};

use database::Oid;

use crate::object;
use crate::walk::{self, WalkError, WalkLimits};
use crate::{Kind, ReadError, Snapshot};

/// A commit with all that people are shown of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: Oid,
    pub tree: Oid,
    pub parents: Vec<Oid>,
    /// Author's name and address, as far as they are there. Bytes that are not UTF-8 are replaced.
    pub author_name: String,
    pub author_email: String,
    pub author_seconds: i64,
    pub committer_seconds: i64,
    pub message: String,
}

impl Entry {
    /// The first line.
    pub fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default().trim_end()
    }

    /// What follows the first line and the empty one behind it.
    pub fn body(&self) -> &str {
        self.message.split_once('\n').map_or("", |(_, rest)| rest.trim_start_matches('\n').trim_end())
    }
}

pub fn entry(s: &Snapshot, id: &Oid) -> Result<Entry, ReadError> {
    let mut data = Vec::new();
    s.read_as(id, Kind::Commit, &mut data)?;
    let commit = object::parse_commit(&data)
        .map_err(|error| ReadError::Corrupt { oid: *id, reason: error.to_string() })?;
    let details = object::parse_commit_details(&data);
    Ok(Entry {
        id: *id,
        tree: commit.tree,
        parents: commit.parents,
        author_name: details.author_name,
        author_email: details.author_email,
        author_seconds: details.author_seconds,
        committer_seconds: commit.committer_seconds,
        message: details.message,
    })
}

/// The commits that `tip` reaches, itself first, by the date of the committer, as `git log` has them.
pub fn order(s: &Snapshot, tip: &Oid, limits: &WalkLimits) -> Result<Vec<Oid>, WalkError> {
    let mut queue = Queue::new(s, tip)?;
    let mut order = Vec::new();
    while let Some((id, parents)) = queue.next()? {
        if order.len() >= limits.commits_max {
            return Err(WalkError::TooManyCommits { max: limits.commits_max });
        }
        order.push(id);
        queue.add(&parents)?;
    }
    Ok(order)
}

/// For each of `paths` the last commit that `tip` reaches in which it was changed; `None` for those of which that is not
/// found within `commits_max` commits, or that are not there.
///
/// Of a merge, a path that is the same in one parent is followed to that parent, as `git log` follows it.
pub fn last_changes(
    s: &Snapshot,
    tip: &Oid,
    paths: &[&str],
    commits_max: usize,
) -> Result<Vec<Option<Oid>>, WalkError> {
    let sought = walk::Paths::new(paths);
    let mut last = vec![None; paths.len()];
    let tip_commit = s.commit(tip)?;
    // Against nothing, what is there has changed.
    let there = sought.changed(s, None, Some(tip_commit.tree))?;
    let mut pending: HashMap<Oid, Vec<u32>> = HashMap::from([(*tip, there)]);
    // A commit comes back if more paths lead to it after it was looked at, as dates that mislead make happen.
    let mut heap = BinaryHeap::from([(tip_commit.committer_seconds, *tip)]);
    let mut looked_at = 0;
    while let Some((_, id)) = heap.pop() {
        let Some(mut here) = pending.remove(&id) else { continue };
        looked_at += 1;
        if looked_at > commits_max {
            break;
        }
        let commit = s.commit(&id)?;
        for parent in commit.parents {
            let before = s.commit(&parent)?;
            let changed = sought.changed(s, Some(before.tree), Some(commit.tree))?;
            let (stay, go) = apart(here, &changed);
            if !go.is_empty() {
                pending.entry(parent).and_modify(|more| more.extend(&go)).or_insert(go);
                heap.push((before.committer_seconds, parent));
            }
            here = stay;
            if here.is_empty() {
                break;
            }
        }
        for at in here {
            last[at as usize] = Some(id);
        }
    }
    Ok(last)
}

/// Those that are in `changed`, which is sorted, and those that are not. Mostly nothing is, and nothing is copied.
fn apart(all: Vec<u32>, changed: &[u32]) -> (Vec<u32>, Vec<u32>) {
    if changed.is_empty() {
        return (Vec::new(), all);
    }
    all.into_iter().partition(|at| changed.binary_search(at).is_ok())
}

/// Commits by date, each once.
struct Queue<'s> {
    s: &'s Snapshot,
    heap: BinaryHeap<(i64, std::cmp::Reverse<usize>, Oid)>,
    seen: HashSet<Oid>,
    added: usize,
}

impl<'s> Queue<'s> {
    fn new(s: &'s Snapshot, tip: &Oid) -> Result<Queue<'s>, ReadError> {
        let mut queue = Queue { s, heap: BinaryHeap::new(), seen: HashSet::new(), added: 0 };
        queue.add(&[*tip])?;
        Ok(queue)
    }

    fn add(&mut self, commits: &[Oid]) -> Result<(), ReadError> {
        for id in commits {
            if self.seen.insert(*id) {
                let date = self.s.commit(id)?.committer_seconds;
                self.heap.push((date, std::cmp::Reverse(self.added), *id));
                self.added += 1;
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(Oid, Vec<Oid>)>, ReadError> {
        let Some((_, _, id)) = self.heap.pop() else { return Ok(None) };
        Ok(Some((id, self.s.commit(&id)?.parents)))
    }
}
