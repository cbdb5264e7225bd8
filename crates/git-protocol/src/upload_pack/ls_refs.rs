//! `ls-refs` of protocol v2.

use std::ops::Range;

use bytes::Bytes;
use database::{Oid, RefRow};
use repository::Snapshot;

use crate::advertise::PULL_REQUESTS;
use crate::pktline;

/// The arguments of `ls-refs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LsRefs {
    /// Say where symbolic refs point.
    pub symrefs: bool,
    /// Say what annotated tags point at.
    pub peel: bool,
    /// Show a `HEAD` whose branch does not exist yet.
    pub unborn: bool,
    /// Show only refs that begin with one of them; all if empty.
    pub prefixes: Vec<Vec<u8>>,
}

/// The complete answer: `HEAD` first, then the refs by name, then a flush packet.
///
/// `refs/pr/*` is shown only to prefixes that cover it explicitly, that is which begin with `refs/`: mirrors send that
/// much. Otherwise a client that names no prefix would fetch every pull request.
///
/// Costs a binary search per prefix and a line per shown ref.
pub fn ls_refs(snapshot: &Snapshot, request: &LsRefs) -> Bytes {
    let refs = snapshot.refs();
    let shown = shown(refs, &request.prefixes);
    let lines: usize = shown.iter().map(|range| range.len()).sum();
    let mut out = Vec::with_capacity(64 + lines * 80);
    if request.prefixes.is_empty() || request.prefixes.iter().any(|prefix| b"HEAD".starts_with(prefix)) {
        head(&mut out, snapshot, request);
    }
    for row in shown.into_iter().flat_map(|range| &refs[range]) {
        line(&mut out, Some(row.oid), &row.name, None, row.peeled.filter(|_| request.peel));
    }
    out.extend_from_slice(pktline::FLUSH);
    out.into()
}

fn head(out: &mut Vec<u8>, snapshot: &Snapshot, request: &LsRefs) {
    let symref = Some(snapshot.repo().head_ref.as_str()).filter(|_| request.symrefs);
    match snapshot.head_target() {
        Some(row) => line(out, Some(row.oid), "HEAD", symref, row.peeled.filter(|_| request.peel)),
        None if request.unborn && request.symrefs => line(out, None, "HEAD", symref, None),
        None => {}
    }
}

fn line(out: &mut Vec<u8>, oid: Option<Oid>, name: &str, symref: Option<&str>, peeled: Option<Oid>) {
    let start = pktline::begin(out);
    match oid {
        Some(oid) => out.extend_from_slice(&oid.to_hex()),
        None => out.extend_from_slice(b"unborn"),
    }
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    if let Some(target) = symref {
        out.extend_from_slice(b" symref-target:");
        out.extend_from_slice(target.as_bytes());
    }
    if let Some(peeled) = peeled {
        out.extend_from_slice(b" peeled:");
        out.extend_from_slice(&peeled.to_hex());
    }
    out.push(b'\n');
    pktline::end(out, start);
}

/// The ranges of `refs` to show, ascending and without overlap.
fn shown(refs: &[RefRow], prefixes: &[Vec<u8>]) -> Vec<Range<usize>> {
    let pull_requests = with_prefix(refs, PULL_REQUESTS.as_bytes());
    let mut ranges = Vec::new();
    let everything = [Vec::new()];
    for range in ranges_of(refs, if prefixes.is_empty() { &everything } else { prefixes }, b"") {
        ranges.push(range.start..range.end.min(pull_requests.start));
        ranges.push(range.start.max(pull_requests.end)..range.end);
    }
    for range in ranges_of(refs, prefixes, b"refs/") {
        ranges.push(range.start.max(pull_requests.start)..range.end.min(pull_requests.end));
    }
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    ranges
}

/// The ranges under those of `prefixes` that begin with `root`, without overlap.
fn ranges_of(refs: &[RefRow], prefixes: &[Vec<u8>], root: &[u8]) -> Vec<Range<usize>> {
    let mut prefixes: Vec<&[u8]> =
        prefixes.iter().map(Vec::as_slice).filter(|prefix| prefix.starts_with(root)).collect();
    prefixes.sort_unstable();
    // Sorted, a prefix follows right after those that it begins with.
    prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter));
    prefixes.into_iter().map(|prefix| with_prefix(refs, prefix)).collect()
}

fn with_prefix(refs: &[RefRow], prefix: &[u8]) -> Range<usize> {
    let start = refs.partition_point(|row| row.name.as_bytes() < prefix);
    let len = refs[start..].partition_point(|row| row.name.as_bytes().starts_with(prefix));
    start..start + len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(names: &[&str]) -> Vec<RefRow> {
        let row = |name: &&str| RefRow { name: (*name).to_owned(), oid: Oid::NULL, peeled: None };
        names.iter().map(row).collect()
    }

    fn check(prefixes: &[&str]) -> Vec<String> {
        let refs =
            rows(&["refs/heads/a", "refs/heads/b", "refs/pp/x", "refs/pr/1", "refs/pr/2", "refs/tags/a"]);
        let prefixes: Vec<Vec<u8>> = prefixes.iter().map(|prefix| prefix.as_bytes().to_vec()).collect();
        let ranges = shown(&refs, &prefixes);
        assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{ranges:?}");
        ranges
            .into_iter()
            .flat_map(|range| &refs[range])
            .map(|row| row.name["refs/".len()..].to_owned())
            .collect()
    }

    #[test]
    fn prefixes_choose_each_ref_once() {
        let plain = ["heads/a", "heads/b", "pp/x", "tags/a"];
        for prefixes in [&[][..], &[""], &["ref"], &["", "refs/heads/"], &["refs"]] {
            assert_eq!(check(prefixes), plain, "{prefixes:?}");
        }
        let all = ["heads/a", "heads/b", "pp/x", "pr/1", "pr/2", "tags/a"];
        for prefixes in [&["refs/"][..], &["refs/", "refs/pr/1"], &["", "refs/p"]] {
            assert_eq!(check(prefixes), all, "{prefixes:?}");
        }
        assert_eq!(check(&["refs/p"]), ["pp/x", "pr/1", "pr/2"]);
        assert_eq!(check(&["refs/pr/2", "refs/heads/b", "refs/pr/2"]), ["heads/b", "pr/2"]);
        assert_eq!(check(&["ref", "refs/pr/2"]), ["heads/a", "heads/b", "pp/x", "pr/2", "tags/a"]);
        assert_eq!(check(&["refs/heads/", "refs/heads/a", "refs/tags/"]), ["heads/a", "heads/b", "tags/a"]);
        assert_eq!(check(&["zzz", "HEAD", "refs/heads/ab"]), [""; 0]);
    }
}
