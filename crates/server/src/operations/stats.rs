//! How much large objects take, and how much chunks that are stored once save.

use std::fmt;

use database::{LargeStats, Repo};
use serde::{Deserialize, Serialize};

use super::{OperationError, Outcome};
use crate::Node;

/// `granary stats --json` prints this.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Those that have large objects; one, if it was asked for.
    pub repos: Vec<RepoStats>,
    /// All together, where what several repositories need counts once. Absent if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<StatsLine>,
    /// Bytes of xorbs that no file needs, and that are kept since clients may remember them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_bytes: Option<u64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct RepoStats {
    pub repo: String,
    #[serde(flatten)]
    pub line: StatsLine,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatsLine {
    pub objects: u64,
    /// As they are read.
    pub logical_bytes: u64,
    /// Whole objects and xorbs, as they are stored: the next two together.
    pub stored_bytes: u64,
    /// Needed by this repository alone; of all, by one alone.
    pub own_bytes: u64,
    /// Needed by others as well.
    pub shared_bytes: u64,
    /// Logical bytes to one that is stored; `None` if nothing is.
    pub ratio: Option<f64>,
}

/// See [`super::Operation::Stats`].
pub(super) async fn of(node: &Node, repo: Option<Repo>) -> Result<Outcome, OperationError> {
    let database = node.database.clone();
    // It reads all links, which may be millions.
    let read = tokio::task::spawn_blocking(move || database.large_stats());
    let stats = read.await.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()))?;
    let line = |(path, stats): (database::RepoPath, LargeStats)| RepoStats {
        repo: path.to_string(),
        line: stats.into(),
    };
    Ok(Outcome::Stats(match repo {
        None => Stats {
            repos: stats.repos.into_iter().map(line).collect(),
            all: Some(stats.all.into()),
            kept_bytes: Some(stats.kept_bytes),
        },
        Some(repo) => {
            let found = stats.repos.into_iter().find(|(path, _)| *path == repo.path);
            let found = found.unwrap_or_else(|| (repo.path, LargeStats::default()));
            Stats { repos: vec![line(found)], all: None, kept_bytes: None }
        }
    }))
}

impl From<LargeStats> for StatsLine {
    fn from(stats: LargeStats) -> StatsLine {
        let LargeStats { objects, logical_bytes, own_bytes, shared_bytes } = stats;
        let stored_bytes = stats.stored_bytes();
        let ratio = (stored_bytes > 0).then(|| {
            let hundredths = u128::from(logical_bytes) * 100 / u128::from(stored_bytes);
            hundredths as f64 / 100.0
        });
        StatsLine { objects, logical_bytes, stored_bytes, own_bytes, shared_bytes, ratio }
    }
}

const HEADS: [&str; 7] = ["repository", "objects", "bytes", "stored", "alone", "shared", "ratio"];

/// A table: names to the left, numbers to the right.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![HEADS.map(str::to_owned)];
        rows.extend(self.repos.iter().map(|repo| row(&repo.repo, &repo.line)));
        rows.extend(self.all.iter().map(|all| row("all", all)));
        let width = |at: usize| rows.iter().map(|row: &[String; 7]| row[at].len()).max().unwrap_or(0);
        let widths: [usize; 7] = std::array::from_fn(width);
        for (number, row) in rows.iter().enumerate() {
            let newline = if number == 0 { "" } else { "\n" };
            write!(f, "{newline}{:<1$}", row[0], widths[0])?;
            for (cell, width) in row.iter().zip(widths).skip(1) {
                write!(f, "  {cell:>width$}")?;
            }
        }
        match self.kept_bytes {
            None | Some(0) => Ok(()),
            Some(kept) => {
                write!(f, "\n{kept} bytes more are stored since clients may remember them (xet.lease)")
            }
        }
    }
}

fn row(name: &str, line: &StatsLine) -> [String; 7] {
    let StatsLine { objects, logical_bytes, stored_bytes, own_bytes, shared_bytes, ratio } = line;
    let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    let [objects, logical, stored, own, shared] =
        [objects, logical_bytes, stored_bytes, own_bytes, shared_bytes].map(ToString::to_string);
    [name.to_owned(), objects, logical, stored, own, shared, ratio]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_for_people_and_a_document_for_programs() {
        let stats = |objects, logical_bytes, own_bytes, shared_bytes| LargeStats {
            objects,
            logical_bytes,
            own_bytes,
            shared_bytes,
        };
        let repo = |name: &str, of: LargeStats| RepoStats { repo: name.to_owned(), line: of.into() };
        let all = Stats {
            repos: vec![repo("ann/x", stats(2, 3000, 500, 1000)), repo("datasets/ann/y", stats(1, 0, 0, 0))],
            all: Some(stats(3, 3000, 500, 1000).into()),
            kept_bytes: Some(7),
        };
        let table = "\
repository      objects  bytes  stored  alone  shared  ratio
ann/x                 2   3000    1500    500    1000   2.00
datasets/ann/y        1      0       0      0       0      -
all                   3   3000    1500    500    1000   2.00
7 bytes more are stored since clients may remember them (xet.lease)";
        assert_eq!(all.to_string(), table);
        let one = Stats { repos: vec![repo("ann/x", stats(1, 1000, 3, 0))], all: None, kept_bytes: None };
        let document = serde_json::json!({"repos": [{
            "repo": "ann/x", "objects": 1, "logical_bytes": 1000, "stored_bytes": 3, "own_bytes": 3,
            "shared_bytes": 0, "ratio": 333.33,
        }]});
        assert_eq!(serde_json::to_value(&one).unwrap(), document);
    }
}
