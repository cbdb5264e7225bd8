//! Repositories whose refs moved since their facts were last looked at, so that nobody has to search for them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Database;
use super::recent::Commits;
use crate::RepoId;

#[derive(Clone, Default)]
pub(super) struct Moved {
    commits: Commits,
    /// How many transactions had ended at the first and at the last mark.
    marks: Arc<Mutex<HashMap<RepoId, (u64, u64)>>>,
}

impl Moved {
    pub(super) fn new(commits: Commits) -> Moved {
        Moved { commits, marks: Arc::default() }
    }

    /// Called within the transaction that moves it. If that fails, somebody looks in vain.
    pub(super) fn mark(&self, repo: RepoId) {
        let now = self.commits.ended();
        self.marks.lock().entry(repo).and_modify(|mark| mark.1 = now).or_insert((now, now));
    }

    /// Marks of a transaction that has not ended stay: what it does cannot be seen yet.
    fn take(&self, max: usize) -> Vec<RepoId> {
        let now = self.commits.ended();
        let mut marks = self.marks.lock();
        let mut taken: Vec<RepoId> =
            marks.iter().filter(|(_, (first, _))| *first < now).map(|(repo, _)| *repo).take(max).collect();
        for repo in &taken {
            if let Some(mark) = marks.get_mut(repo) {
                *mark = (mark.1, mark.1);
            }
        }
        marks.retain(|repo, (_, last)| *last >= now || !taken.contains(repo));
        taken.sort_unstable();
        taken
    }
}

impl Database {
    /// Repos made or changed since they were last given out here, or since the start; at most so many. Who takes them looks
    /// after their facts.
    pub fn take_moved(&self, max: usize) -> Vec<RepoId> {
        self.0.moved.take(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_yet_is_given_out_later() {
        let commits = Commits::default();
        let moved = Moved::new(commits.clone());
        moved.mark(RepoId(1));
        assert_eq!(moved.take(9), []);
        commits.during(|| ());
        // The first can be seen, and there is more to come.
        moved.mark(RepoId(1));
        assert_eq!(moved.take(9), [RepoId(1)]);
        assert_eq!(moved.take(9), []);
        commits.during(|| ());
        assert_eq!(moved.take(9), [RepoId(1)]);
        assert_eq!(moved.take(9), []);
        for repo in 1..=3 {
            moved.mark(RepoId(repo));
        }
        commits.during(|| ());
        assert_eq!(moved.take(2).len() + moved.take(2).len(), 3);
    }
}
