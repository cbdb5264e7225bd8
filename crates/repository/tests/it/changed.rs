//! Paths that differ and histories that part, as git tells them; names of blobs.

use database::{Oid, RefRow};
use repository::walk::{WalkLimits, changed_paths, merge_base, paths_at_tips, paths_in_pack};
use repository::{Kind, Snapshot};

use crate::support::*;

fn everything(git: &Git) -> Snapshot {
    snapshot(vec![ingested(&git.pack(&[], "--all\n"), &empty()).pack().clone()])
}

#[test]
fn paths_differ_where_git_says_so() {
    let git = Git::init();
    for path in ["a", "d/e/f", "d/e/g", "d/h", "x.d", "x/y", "mode", "was-file", "was-dir/z"] {
        git.write(path, path);
    }
    let old = git.commit("old");
    git.run(&["rm", "-rq", "was-file", "was-dir", "x.d"]);
    for (path, text) in [("d/e/f", "other"), ("was-file/in", "1"), ("was-dir", "2"), ("new/deep/er", "3")] {
        git.write(path, text);
    }
    git.run(&["update-index", "--chmod=+x", "mode"]);
    git.run(&["add", "d", "was-file", "was-dir", "new"]);
    git.run(&["commit", "-q", "-m", "new"]);
    let new = git.oid("HEAD");
    let s = everything(&git);

    let paths = [
        "a",
        "d",
        "d/",
        "d/e",
        "d/e/f",
        "d/e/g",
        "d/e/f/under",
        "d/h",
        "x",
        "x/y",
        "x.d",
        "X.d",
        "mode",
        "was-file",
        "was-file/in",
        "was-dir",
        "was-dir/z",
        "new",
        "new/deep",
        "new/deep/er",
        "new/other",
        "no/such",
    ];
    let tree = |commit: &Oid| s.commit(commit).unwrap().tree;
    let found = |old, new| -> Vec<&str> {
        changed_paths(&s, old, new, &paths).unwrap().into_iter().map(|at| paths[at]).collect()
    };
    let as_git = |old: &str, new: &str| -> Vec<&str> {
        let listed = git.run(&["diff", "--no-renames", "--name-only", old, new]);
        let below = |path: &str| {
            let path = path.trim_end_matches('/');
            listed.lines().any(|line| {
                line.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        paths.into_iter().filter(|path| below(path)).collect()
    };
    let (old_name, new_name) = (old.to_string(), new.to_string());
    let changed = found(Some(tree(&old)), Some(tree(&new)));
    assert_eq!(changed, as_git(&old_name, &new_name));
    assert!(changed.contains(&"d") && changed.contains(&"mode") && !changed.contains(&"d/e/g"));
    assert_eq!(found(Some(tree(&new)), Some(tree(&old))), as_git(&new_name, &old_name));
    let empty_tree = git.run(&["hash-object", "-t", "tree", "/dev/null"]);
    assert_eq!(found(None, Some(tree(&new))), as_git(&empty_tree, &new_name));
    assert_eq!(found(Some(tree(&new)), Some(tree(&new))), [""; 0]);
    assert_eq!(found(None, None), [""; 0]);
    // A tree that is missing is an error, but only where somebody has to look into it.
    assert!(changed_paths(&s, Some(Oid([9; 20])), Some(tree(&new)), &["a"]).is_err());
}

#[test]
fn a_million_levels_and_many_paths_are_looked_up_without_recursion() {
    let mut objects = vec![blob("x"), blob("y")];
    let mut roots = Vec::new();
    for leaf in 0..2 {
        let mut below = tree(&[("100644", b"leaf", id(&objects[leaf]))]);
        for _ in 0..2000 {
            let above = tree(&[("40000", b"d", id(&below))]);
            objects.push(below);
            below = above;
        }
        roots.push(id(&below));
        objects.push(below);
    }
    let s = snapshot(vec![craft_pack(&objects).into()]);
    let deep = "d/".repeat(2000);
    let paths = [format!("{deep}leaf"), deep.clone(), format!("{deep}other"), "d/d/e".to_owned()];
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    assert_eq!(changed_paths(&s, Some(roots[0]), Some(roots[1]), &paths).unwrap(), [0, 1]);
    assert_eq!(s.kind(&roots[0]), Some(Kind::Tree));
}

#[test]
fn bases_of_merges_are_gits() {
    let git = Git::init();
    git.write("a", "1");
    let root = git.commit("root");
    git.run(&["branch", "side"]);
    git.write("a", "2");
    let two = git.commit("two");
    git.run(&["checkout", "-q", "side"]);
    git.write("b", "1");
    let side = git.commit("side");
    git.run(&["merge", "-q", "--no-edit", "main"]);
    let merged = git.oid("HEAD");
    git.write("b", "2");
    let ahead = git.commit("ahead");
    git.run(&["checkout", "-q", "main"]);
    git.write("a", "3");
    let three = git.commit("three");
    git.run(&["checkout", "-q", "--orphan", "apart"]);
    let apart = git.commit("apart");
    let s = everything(&git);
    let limits = WalkLimits::default();
    let all = [root, two, side, merged, ahead, three, apart];
    for a in &all {
        for b in &all {
            let output = git.try_run(&["merge-base", &a.to_string(), &b.to_string()], b"");
            let expected = String::from_utf8(output.stdout).unwrap().trim().parse().ok();
            assert_eq!(merge_base(&s, a, b, &limits).unwrap(), expected, "{a} {b}");
        }
    }
    assert_eq!(merge_base(&s, &ahead, &three, &limits).unwrap(), Some(two), "not the root, where it began");
    assert!(merge_base(&s, &ahead, &three, &WalkLimits { commits_max: 2 }).is_err());
}

#[test]
fn blobs_have_the_names_of_the_trees_they_stand_in() {
    let git = Git::init();
    git.write("weights/a.bin", pointer_text(1));
    let old = git.commit("one");
    git.write("weights/b.bin", pointer_text(2));
    git.commit("two");
    std::fs::remove_file(git.path().join("weights/b.bin")).unwrap();
    git.write("weights/c.bin", pointer_text(3));
    git.commit("three");
    let base = ingested(&git.pack(&[], &format!("{old}\n")), &empty()).overlay(&empty());
    let new = ingested(&git.pack(&[], &format!("HEAD\n^{old}\n")), &base);
    let blobs = [1, 2, 3].map(|size| id(&blob(pointer_text(size))));
    let received: Vec<u64> = new.pointers.iter().map(|pointer| pointer.size).collect();
    assert!(received.len() == 2 && received.contains(&2) && received.contains(&3));

    let names = paths_in_pack(new.pack(), &new.overlay(&base), &blobs);
    let name = |blob: &Oid| names.get(blob).map(String::as_str);
    // What is in the old tree stands in the new one too.
    assert_eq!(name(&blobs[0]), Some("weights/a.bin"));
    assert_eq!(name(&blobs[1]), Some("weights/b.bin"), "in the middle of the push, gone at its end");
    assert_eq!(name(&blobs[2]), Some("weights/c.bin"));

    let main = RefRow { name: "refs/heads/main".to_owned(), oid: git.oid("HEAD"), peeled: None };
    let s = Snapshot::from_packs(repo_row(), vec![main], new.overlay(&base).packs().to_vec());
    let names = paths_at_tips(&s, &blobs);
    assert_eq!(names.len(), 2);
    assert_eq!(names[&blobs[2]], "weights/c.bin");
}

#[test]
fn the_bases_of_a_thin_pack_are_not_received() {
    let git = Git::init();
    let long = |n: u32| format!("{}{}", pointer_text(n).trim_end(), "\n".repeat(500));
    git.write("model.bin", long(1));
    let old = git.commit("one");
    git.write("model.bin", long(2));
    git.commit("two");
    let base = ingested(&git.pack(&[], &format!("{old}\n")), &empty()).overlay(&empty());
    let (before, after) = (long(1), long(2));
    // Handmade, since git may find a blob this small not worth a delta.
    let mut raw = RawPack::new();
    let same = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
    let tail = [&after.as_bytes()[same..same + 1], b"\n"].concat();
    raw.ref_delta(id(&blob(&before)), &delta(before.as_bytes(), same, &tail));
    let new = ingested(&raw.finish(), &base);
    assert_eq!(new.pack().pointers().len(), 2, "the sidecar knows every blob of its pack");
    assert_eq!(new.pointers.iter().map(|pointer| pointer.size).collect::<Vec<_>>(), [2]);
}
