//! Patches, byte for byte as `git diff --full-index --no-renames` prints them.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use database::Oid;
use repository::Snapshot;
use repository::diff::{Limits, Patch};

use crate::support::*;

fn everything(git: &Git) -> Arc<Snapshot> {
    Arc::new(snapshot(vec![ingested(&git.pack(&[], "--all\n"), &empty()).pack().clone()]))
}

fn patch(s: &Arc<Snapshot>, old: Option<Oid>, new: Option<Oid>, limits: Limits, step: usize) -> Vec<u8> {
    let tree = |commit: Oid| s.commit(&commit).unwrap().tree;
    let mut patch = Patch::new(Arc::clone(s), old.map(tree), new.map(tree), limits).unwrap();
    let mut text = Vec::new();
    while patch.write(step, &mut text).unwrap() {}
    assert!(!patch.write(step, &mut text).unwrap(), "the end is the end");
    text
}

fn by_git(git: &Git, old: &str, new: &str) -> Vec<u8> {
    // No attributes count, those of the work tree neither.
    git.run_with(&["-C", ".git", "diff", "--full-index", "--no-renames", old, new], b"")
}

#[track_caller]
fn check(git: &Git, old: Oid, new: Oid) {
    let s = everything(git);
    let nothing = git.run(&["hash-object", "-t", "tree", "/dev/null"]);
    for (old, new) in [(Some(old), Some(new)), (Some(new), Some(old)), (None, Some(new)), (Some(new), None)] {
        let name = |commit: Option<Oid>| commit.map_or(nothing.clone(), |oid| oid.to_string());
        let expected = by_git(git, &name(old), &name(new));
        for step in [1, 1 << 20] {
            let made = patch(&s, old, new, Limits::default(), step);
            let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
            assert!(made == expected, "ours:\n{}\ngit's:\n{}", shown(&made), shown(&expected));
        }
    }
}

#[test]
fn every_kind_of_change() {
    let git = Git::init();
    let text: String = (0..60).map(|n| format!("def f{n}():\n    return {n}\n\n")).collect();
    for (path, content) in [
        ("text.py", text.as_str()),
        ("same", "same\n"),
        ("deleted", "1\n2\n"),
        ("empty-deleted", ""),
        ("no-end", "a\nb"),
        ("gets-end", "a\nb"),
        ("loses-end", "a\nb\n"),
        ("mode", "#!/bin/sh\n"),
        ("mode-and-text", "#!/bin/sh\n"),
        ("was-file", "x\n"),
        ("was-dir/in", "x\n"),
        ("was-dir.a", "x\n"),
        ("was-link-soon", "x\n"),
        ("crlf", "a\r\nb\r\n"),
        ("dir/one", "1\n"),
        ("with space", "1\n"),
        ("ümlaut", "1\n"),
        ("tab\tquote\"back\\slash", "1\n"),
        ("long-heading", &format!("{}\n{}", "ä".repeat(60), "x\n".repeat(20))),
        ("long heading", &format!("f{}\n{}", "ä".repeat(60), " x\n".repeat(20))),
    ] {
        git.write(path, content);
    }
    git.write("binary", [b'a', 0, 1, 2]);
    git.write("binary-deleted", [0; 100]);
    git.write("late-zero", [vec![b'x'; 8000], vec![0]].concat());
    git.write("latin1", b"caf\xe9\nx\n");
    git.write("model.bin", pointer_text(1));
    symlink("same", git.path().join("link")).unwrap();
    let old = git.commit("old");
    git.run(&[
        "rm",
        "-rq",
        "deleted",
        "empty-deleted",
        "binary-deleted",
        "was-file",
        "was-dir",
        "was-link-soon",
        "dir",
    ]);
    let text = text
        .replace("return 5\n", "return 55\n")
        .replace("def f30", "async def f30")
        .replace("return 59\n\n", "");
    for (path, content) in [
        ("text.py", text.as_str()),
        ("new", "1\n"),
        ("new-empty", ""),
        ("new-no-end", "1"),
        ("no-end", "a\nc"),
        ("gets-end", "a\nb\n"),
        ("loses-end", "a\nb"),
        ("mode-and-text", "#!/bin/bash\n"),
        ("was-file/in", "y\n"),
        ("was-dir", "y\n"),
        ("crlf", "a\r\nc\r\n"),
        ("with space", "2\n"),
        ("ümlaut", "2\n"),
        ("tab\tquote\"back\\slash", "2\n"),
        ("deep/er/new", "3\n"),
        ("long-heading", &format!("{}\n{}y\n", "ä".repeat(60), "x\n".repeat(20))),
        ("long heading", &format!("f{}\n{}y\n", "ä".repeat(60), " x\n".repeat(20))),
    ] {
        git.write(path, content);
    }
    git.write("binary", [b'b', 0, 1, 2]);
    git.write("binary-new", [0; 100]);
    git.write("late-zero", [vec![b'y'; 8000], vec![0]].concat());
    git.write("latin1", b"caf\xe9\ny\n");
    git.write("model.bin", pointer_text(2));
    std::fs::remove_file(git.path().join("link")).unwrap();
    symlink("text.py", git.path().join("link")).unwrap();
    symlink("same", git.path().join("was-link-soon")).unwrap();
    git.run(&["add", "-A"]);
    git.run(&["update-index", "--chmod=+x", "mode", "mode-and-text"]);
    git.run(&["update-index", "--add", "--cacheinfo", &format!("160000,{old},module")]);
    git.run(&["commit", "-q", "-m", "new"]);
    let new = git.oid("HEAD");
    check(&git, old, new);
    git.run(&["update-index", "--add", "--cacheinfo", &format!("160000,{new},module")]);
    git.run(&["commit", "-q", "-m", "newer"]);
    check(&git, new, git.oid("HEAD"));
}

/// Nearly always. Where lines repeat a lot, git's search for the shortest way and ours may find another of its kind.
#[test]
fn texts_that_were_edited_at_random() {
    let git = Git::init();
    let mut noise = Noise(11);
    for file in 0..200 {
        let words = 2 + noise.next() % 400;
        let line = |noise: &mut Noise| {
            let indent = " ".repeat((noise.next() % 3 * 4) as usize);
            format!("{indent}word{}\n", noise.next() % words)
        };
        let mut lines: Vec<String> = (0..noise.next() % 120).map(|_| line(&mut noise)).collect();
        git.write(&format!("f{file}"), lines.concat());
        for _ in 0..1 + noise.next() % 8 {
            let at = noise.next() as usize % (lines.len() + 1);
            let to = (at + noise.next() as usize % 6).min(lines.len());
            let with: Vec<String> = (0..noise.next() % 6).map(|_| line(&mut noise)).collect();
            lines.splice(at..to, with);
        }
        git.write(&format!("g{file}"), lines.concat());
    }
    let all = git.commit("all");
    let mut equal = 0;
    for file in 0..200 {
        git.run(&["read-tree", "--empty"]);
        let commit = |side: &str| {
            let blob = git.run(&["rev-parse", &format!("{all}:{side}{file}")]);
            git.run(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},file")]);
            let tree = git.run(&["write-tree"]);
            git.run(&["commit-tree", "-m", side, &tree])
        };
        let (old, new) = (commit("f"), commit("g"));
        git.run(&["update-ref", &format!("refs/heads/old{file}"), &old]);
        git.run(&["update-ref", &format!("refs/heads/new{file}"), &new]);
    }
    let s = everything(&git);
    for file in 0..200 {
        let (old, new) = (git.oid(&format!("old{file}")), git.oid(&format!("new{file}")));
        let made = patch(&s, Some(old), Some(new), Limits::default(), 1 << 16);
        equal += usize::from(made == by_git(&git, &old.to_string(), &new.to_string()));
        // Whichever way: it leads from one to the other.
        git.run(&["checkout", "-q", "-f", &old.to_string()]);
        git.run_with(&["apply", "--index", "--allow-empty"], &made);
        assert_eq!(git.run(&["write-tree"]), git.run(&["rev-parse", &format!("{new}^{{tree}}")]));
    }
    assert!(equal >= 198, "{equal} of 200 are git's");
}

#[test]
fn what_is_too_much_is_left_out_and_said() {
    let git = Git::init();
    git.write("a-changed", "x\n".repeat(500));
    let old = git.commit("old");
    for file in 0..5 {
        git.write(&format!("f{file}"), "line\n".repeat(10));
    }
    git.write("a-changed", "y\n".repeat(500));
    git.write("large", "line\n".repeat(1000));
    let new = git.commit("new");
    let s = everything(&git);
    let with = |limits| String::from_utf8(patch(&s, Some(old), Some(new), limits, 1)).unwrap();
    let all = Limits::default();
    let text = with(Limits { file_bytes_max: 100, ..all });
    assert!(
        text.ends_with("Files /dev/null and b/large are too large to be compared\n")
            && text.contains("+++ b/f4")
    );
    let text = with(Limits { file_lines_max: 1000, ..all });
    assert!(text.ends_with("Files /dev/null and b/large have too many lines to be compared\n"));
    let text = with(Limits { file_lines_compared_max: 900, ..all });
    assert!(text.contains("Files a/a-changed and b/a-changed have too many lines to be compared\n"));
    assert!(text.contains("@@ -0,0 +1,1000 @@\n"), "what is only added costs nothing");
    let text = with(Limits { files_max: 2, ..all });
    assert!(text.ends_with("The rest is left out: more than 2 files differ.\n") && !text.contains("b/f2"));
    let text = with(Limits { bytes_max: 100, ..all });
    assert!(
        text.ends_with("The rest is left out: this is longer than 100 bytes.\n") && !text.contains("b/f1")
    );
    let text = with(Limits { entries_max: 2, ..all });
    assert!(text.ends_with("The rest is left out: these trees are too large to be compared.\n"));
}
