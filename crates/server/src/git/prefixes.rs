//! Prefixes of a listing, reduced to those that matter: what a client adds that changes nothing must not make an answer
//! that has to be made, and kept, anew.

use database::RefRow;
use git_protocol::upload_pack::LsRefs;

/// Only such prefixes show pull requests; see [`git_protocol::upload_pack::ls_refs`].
const EXPLICIT: &[u8] = b"refs/";
const HEAD: &[u8] = b"HEAD";
/// No ref is named so. It stands for prefixes without an effect, since no prefix at all would ask for everything.
const NOTHING: &[u8] = b"refs/\0";

/// Leaves the answer what it is. `refs` are sorted by name.
pub(super) fn reduce(listed: &mut LsRefs, refs: &[RefRow]) {
    if listed.prefixes.is_empty() {
        return;
    }
    let (mut explicit, mut others): (Vec<_>, Vec<_>) =
        listed.prefixes.drain(..).partition(|prefix| prefix.starts_with(EXPLICIT));
    keep_shortest(&mut others);
    others.retain_mut(|prefix| {
        let shows_refs = shows_any(refs, prefix);
        let shows_head = HEAD.starts_with(prefix);
        if shows_head && !shows_refs {
            *prefix = HEAD.to_vec();
        }
        shows_refs || shows_head
    });
    keep_shortest(&mut explicit);
    explicit.retain(|prefix| shows_any(refs, prefix));
    others.append(&mut explicit);
    if others.is_empty() {
        others.push(NOTHING.to_vec());
    }
    listed.prefixes = others;
}

/// Sorts, and drops what begins with another one.
fn keep_shortest(prefixes: &mut Vec<Vec<u8>>) {
    prefixes.sort_unstable();
    // Sorted, a prefix follows right after those that it begins with.
    prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter));
}

fn shows_any(refs: &[RefRow], prefix: &[u8]) -> bool {
    let first = refs.partition_point(|row| row.name.as_bytes() < prefix);
    refs.get(first).is_some_and(|row| row.name.as_bytes().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use database::{Oid, Repo, RepoId, RepoState, Visibility};
    use git_protocol::upload_pack::ls_refs;
    use repository::Snapshot;

    use super::*;

    fn snapshot(names: &[&str]) -> Snapshot {
        let repo = Repo {
            id: RepoId(1),
            path: "ann/model".parse().unwrap(),
            visibility: Visibility::Public,
            state: RepoState::Live,
            head_ref: "refs/heads/main".to_owned(),
            generation: 1,
            gc_epoch: 0,
            acl_version: 0,
            mirror: false,
            blob_bytes_max: None,
            lfs_incomplete: false,
            gating: database::Gating::Off,
            creator: None,
            created_ms: 0,
        };
        let row = |name: &&str| RefRow { name: (*name).to_owned(), oid: Oid([1; 20]), peeled: None };
        Snapshot::from_packs(repo, names.iter().map(row).collect(), Vec::new())
    }

    fn listed(prefixes: &[&str]) -> LsRefs {
        let prefixes = prefixes.iter().map(|prefix| prefix.as_bytes().to_vec()).collect();
        LsRefs { symrefs: true, peel: true, unborn: true, prefixes }
    }

    fn reduced(snapshot: &Snapshot, prefixes: &[&str]) -> LsRefs {
        let mut reduced = listed(prefixes);
        reduce(&mut reduced, snapshot.refs());
        reduced
    }

    #[test]
    fn the_answer_stays_the_same() {
        let words = [
            "",
            "H",
            "HEAD",
            "HEADx",
            "r",
            "ref",
            "refs",
            "refs/",
            "refs/heads/",
            "refs/heads/main",
            "refs/p",
            "refs/pr/",
            "refs/pr/2",
            "refs/tags/",
            "refs/x",
            "refs0",
            "zzz",
        ];
        for names in [
            &["refs/heads/main", "refs/heads/next", "refs/pp/x", "refs/pr/1", "refs/pr/2", "refs/tags/a"][..],
            &["refs/pr/1"],
            &["refs/heads/other"],
            &[],
        ] {
            let snapshot = snapshot(names);
            let check = |prefixes: &[&str]| {
                let reduced = reduced(&snapshot, prefixes);
                assert_eq!(
                    ls_refs(&snapshot, &reduced),
                    ls_refs(&snapshot, &listed(prefixes)),
                    "{prefixes:?} {reduced:?}"
                );
            };
            check(&[]);
            for a in words {
                check(&[a]);
                for b in words {
                    check(&[a, b]);
                    words.iter().for_each(|c| check(&[a, b, c]));
                }
            }
        }
    }

    #[test]
    fn what_changes_nothing_is_not_told_apart() {
        let snapshot = snapshot(&["refs/heads/main", "refs/pr/1", "refs/tags/a"]);
        let usual = reduced(&snapshot, &["HEAD", "refs/heads/", "refs/tags/"]);
        for same in [
            &["refs/tags/", "HEAD", "refs/heads/", "HEAD"][..],
            &["HEAD", "refs/heads/", "refs/tags/", "junk-17"],
            &["HEAD", "refs/heads/", "refs/heads/main", "refs/heads/gone", "refs/tags/", "refs/zzz"],
            &["HE", "HEAD", "refs/heads/", "refs/tags/"],
        ] {
            assert_eq!(reduced(&snapshot, same), usual, "{same:?}");
        }
        assert_eq!(reduced(&snapshot, &["junk-1"]), reduced(&snapshot, &["junk-2", "refs/heads/x"]));
        assert_ne!(reduced(&snapshot, &["refs/heads/"]), usual);
    }
}
