//! Histories without some of their files: what `git filter-branch` makes of them.

use std::collections::HashSet;

use database::Oid;
use repository::edit::{Rewritten, without};
use repository::{Pack, Snapshot};

use crate::support::*;

fn everything(git: &Git) -> Snapshot {
    snapshot(vec![ingested(&git.pack(&[], "--all\n"), &empty()).pack().clone()])
}

fn drop_from(s: &Snapshot, tips: &[Oid], blobs: &[Oid]) -> Option<Rewritten> {
    let blobs: HashSet<Oid> = blobs.iter().copied().collect();
    without(s, tips, &blobs, tempfile::NamedTempFile::new).unwrap()
}

#[test]
fn commits_and_tags_are_those_that_git_makes() {
    let git = Git::init();
    git.write("keep/a", "a");
    let before = git.commit("before");
    git.write("deep/er/large", "large");
    git.write("keep/large", "large");
    let with = git.commit("with it");
    let blob = git.oid("HEAD:deep/er/large");
    git.run(&["checkout", "-q", "-b", "side"]);
    git.write("side", "s");
    git.commit("side");
    git.run(&["checkout", "-q", "main"]);
    git.write("keep/b", "b");
    git.commit("main");
    git.run(&["merge", "-q", "--no-ff", "-m", "merged", "side"]);
    git.run(&["rm", "-q", "deep/er/large", "keep/large"]);
    let after = git.commit("after");
    git.run(&["tag", "-a", "-m", "a tag", "v1", &with.to_string()]);
    let (tag, side) = (git.oid("v1"), git.oid("side"));
    let s = everything(&git);

    let made = drop_from(&s, &[after, tag, side, before], &[blob]).unwrap();
    let pack = Pack::from_blob(
        database::PackId::new(),
        database::PackKind::Api,
        false,
        2,
        made.blob.bytes().unwrap(),
    );
    git.run_with(&["index-pack", "--stdin", "--strict"], &pack.unwrap().pack_bytes());
    let filter = "git rm -q --cached --ignore-unmatch deep/er/large keep/large";
    let run = [
        "-c",
        "advice.diverging=false",
        "filter-branch",
        "-f",
        "--index-filter",
        filter,
        "--",
        "main",
        "side",
    ];
    git.run(&run);
    assert_eq!(made.tips[&after], git.oid("main"));
    assert_eq!(made.tips[&side], git.oid("side"));
    assert!(!made.tips.contains_key(&before), "it never had one");
    let new_tag = made.tips[&tag].to_string();
    git.run(&["fsck", "--strict", &new_tag]);
    assert_eq!(git.run(&["cat-file", "-t", &new_tag]), "tag");
    assert_eq!(git.run(&["rev-parse", &format!("{new_tag}^{{commit}}")]), git.run(&["rev-parse", "side~1"]));
    assert!(drop_from(&s, &[after, tag], &[Oid([9; 20])]).is_none());
}

#[test]
fn nothing_may_be_left_and_signatures_go() {
    let git = Git::init();
    git.write("large", "large");
    let only = git.commit("only");
    let blob = git.oid("HEAD:large");
    let text = git.run(&["cat-file", "commit", &only.to_string()]);
    let (headers, message) = text.split_once("\n\n").unwrap();
    let signed = format!(
        "{headers}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n abc\n -----END PGP SIGNATURE-----\n\n{message}\n"
    );
    let signed: Oid =
        String::from_utf8(git.run_with(&["hash-object", "-t", "commit", "-w", "--stdin"], signed.as_bytes()))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
    git.run(&["update-ref", "refs/heads/signed", &signed.to_string()]);
    let s = everything(&git);
    let made = drop_from(&s, &[signed], &[blob]).unwrap();
    let pack = Pack::from_blob(
        database::PackId::new(),
        database::PackKind::Api,
        false,
        2,
        made.blob.bytes().unwrap(),
    );
    git.run_with(&["index-pack", "--stdin", "--strict"], &pack.unwrap().pack_bytes());
    let new = made.tips[&signed].to_string();
    let text = git.run(&["cat-file", "commit", &new]);
    assert!(!text.contains("gpgsig") && text.ends_with("\n\nonly"), "{text}");
    assert_eq!(git.run(&["ls-tree", "-r", &new]), "");
}
