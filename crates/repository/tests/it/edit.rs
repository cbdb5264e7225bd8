//! Commits made of single edits: what git makes of the same changes, in packs that git can read.

use std::collections::BTreeMap;

use bytes::Bytes;
use database::Oid;
use repository::edit::{Action, Description, Edit, EditError, Made, PathError, commit};
use repository::pack::{Blob, EntryHeader};
use repository::{Pack, Snapshot, pointer};

use crate::support::*;

fn description(message: &str) -> Description {
    let (author_name, author_email) = ("Ada".to_owned(), "ada@example.com".to_owned());
    Description { author_name, author_email, seconds: 1_700_000_000, message: message.to_owned() }
}

fn put(path: &str, content: impl AsRef<[u8]>) -> Edit {
    Edit { path: path.to_owned(), action: Action::Put(Bytes::copy_from_slice(content.as_ref())) }
}

fn delete(path: &str, action: Action) -> Edit {
    Edit { path: path.to_owned(), action }
}

fn make(s: &Snapshot, parent: Option<Oid>, edits: Vec<Edit>) -> Result<Option<Made>, EditError> {
    commit(s, parent, edits, &description("edited"), tempfile::NamedTempFile::new)
}

fn everything(git: &Git) -> Snapshot {
    snapshot(vec![ingested(&git.pack(&[], "--all\n"), &empty()).pack().clone()])
}

fn bytes_of(made: &Made) -> Bytes {
    made.blob.bytes().unwrap()
}

fn pack_of(made: &Made) -> Pack {
    Pack::from_blob(database::PackId::new(), database::PackKind::Api, false, 2, bytes_of(made)).unwrap()
}

/// Gives the new objects to git, which completes the pack from its own, and checks all of them.
fn into_git(git: &Git, made: &Made) {
    let pack = pack_of(made).pack_bytes();
    git.run_with(&["index-pack", "--stdin", "--fix-thin", "--strict"], &pack);
    git.run(&["fsck", "--strict", &made.commit.to_string()]);
}

fn files(git: &Git, commit: Oid) -> BTreeMap<String, String> {
    let listed = git.run(&["-c", "core.quotePath=false", "ls-tree", "-r", &commit.to_string()]);
    let line = |line: &str| line.split_once('\t').map(|(left, path)| (path.to_owned(), left.to_owned()));
    listed.lines().filter_map(line).collect()
}

#[test]
fn the_first_commit_is_the_one_git_makes() {
    let git = Git::init();
    let made = make(&empty(), None, vec![put("a", "1\n"), put("d/b", "2\n"), put("d.c", "3\n")]);
    let made = made.unwrap().unwrap();
    into_git(&git, &made);
    git.write("a", "1\n");
    git.write("d/b", "2\n");
    git.write("d.c", "3\n");
    git.run(&["add", "-A"]);
    assert_eq!(made.tree.to_string(), git.run(&["write-tree"]));
    let text = git.run(&["cat-file", "-p", &made.commit.to_string()]);
    let ident = "Ada <ada@example.com> 1700000000 +0000";
    assert_eq!(text, format!("tree {}\nauthor {ident}\ncommitter {ident}\n\nedited", made.tree));
    assert!(matches!(made.blob, Blob::Inline(_)));
    assert_eq!(made.objects, 6);
}

#[test]
fn edits_do_what_git_does() {
    let git = Git::init();
    for path in ["a", "b", "x/1", "x/2", "x/deep/3", "x.y", "x0", "run", "old/only"] {
        git.write(path, path);
    }
    git.run(&["add", "-A"]);
    git.run(&["update-index", "--chmod=+x", "run"]);
    git.run(&["commit", "-q", "-m", "base"]);
    let base = git.oid("HEAD");
    let s = everything(&git);
    let table: Vec<(Vec<Edit>, &[&str])> = vec![
        (vec![put("a", "new")], &["a"]),
        (vec![put("new/deep/er/file", "n"), put("x/new", "n")], &["new/deep/er/file", "x/new"]),
        (vec![put("run", "still executable")], &["run"]),
        (vec![put("é/ü b.txt", "n")], &["é/ü b.txt"]),
        (vec![delete("x/deep/3", Action::DeleteFile)], &["x/deep/3"]),
        (vec![delete("old/only", Action::Delete), delete("x", Action::DeleteFolder)], &["old/only", "x"]),
        (vec![delete("x/", Action::DeleteFolder), put("x/again", "n")], &["x", "x/again"]),
        (vec![delete("a", Action::DeleteFile), put("a/now/folder", "n")], &["a", "a/now/folder"]),
        (vec![delete("x", Action::Delete), put("x", "now a file")], &["x"]),
        (vec![put("b", "1"), put("b", "2")], &["b"]),
        (vec![put("c", "1"), delete("c", Action::DeleteFile), put("b", "n")], &["b"]),
    ];
    for (edits, touched) in table {
        let text = format!("{edits:?}");
        let made = make(&s, Some(base), edits.clone()).unwrap().unwrap();
        into_git(&git, &made);
        git.run(&["checkout", "-qf", "main"]);
        git.run(&["clean", "-qfdx"]);
        for Edit { path, action } in edits {
            match action {
                Action::Put(content) => git.write(&path, content),
                _ => {
                    let path = git.path().join(path);
                    std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path)).unwrap();
                }
            }
        }
        git.run(&["add", "-A"]);
        assert_eq!(made.tree.to_string(), git.run(&["write-tree"]), "{text}");
        let (before, after) = (files(&git, base), files(&git, made.commit));
        let differs = before.iter().chain(&after).filter(|(path, _)| before.get(*path) != after.get(*path));
        for (path, _) in differs {
            assert!(touched.iter().any(|touched| path.starts_with(touched)), "{path}: {text}");
        }
        assert_eq!(git.run(&["rev-parse", &format!("{}^", made.commit)]), base.to_string());
        let mut data = Vec::new();
        let overlay = made.overlay(&s);
        overlay.read(&made.tree, &mut data).unwrap();
        git.run(&["reset", "-q", "--hard"]);
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let git = Git::init();
    git.write("file", "f");
    git.write("d/f", "f");
    let base = git.commit("base");
    let s = everything(&git);
    let refused = |edits: Vec<Edit>| make(&s, Some(base), edits).unwrap_err();
    let missing = |edits| match refused(edits) {
        EditError::Missing(path) => path,
        other => panic!("{other}"),
    };
    assert_eq!(missing(vec![delete("no", Action::DeleteFile)]), "no");
    assert_eq!(missing(vec![delete("d", Action::DeleteFile)]), "d");
    assert_eq!(missing(vec![delete("file", Action::DeleteFolder)]), "file");
    assert_eq!(missing(vec![delete("d/no", Action::Delete)]), "d/no");
    assert_eq!(missing(vec![delete("file/in/it", Action::Delete)]), "file/in/it");
    assert_eq!(missing(vec![delete("no/such/x", Action::DeleteFile)]), "no/such/x");
    for edits in [
        vec![put("d", "a file")],
        vec![put("file/in", "it")],
        vec![put("new", "1"), put("new/in", "2")],
        vec![put("new/in", "2"), put("new", "1")],
    ] {
        let text = format!("{edits:?}");
        assert!(matches!(refused(edits), EditError::Clash { .. }), "{text}");
    }
    let path = |path: &str| match refused(vec![put(path, "x")]) {
        EditError::Path { source, .. } => source,
        other => panic!("{other}"),
    };
    assert_eq!(path("../x"), PathError::Dots);
    assert_eq!(path("a/.git/config"), PathError::DotGit);
    assert_eq!(path("a//b"), PathError::Empty);
    let submodule = "[submodule \"../x\"]\n\tpath = x\n\turl = y\n";
    assert!(matches!(refused(vec![put(".gitmodules", submodule)]), EditError::Defect { .. }));
}

#[test]
fn what_changes_nothing_is_no_commit() {
    let git = Git::init();
    git.write("a", "a");
    git.write("d/b", "b");
    let base = git.commit("base");
    let s = everything(&git);
    assert!(make(&s, Some(base), vec![]).unwrap().is_none());
    assert!(make(&s, Some(base), vec![put("a", "a"), put("d/b", "b")]).unwrap().is_none());
    let emptied = make(&s, Some(base), vec![delete("a", Action::Delete), delete("d", Action::Delete)])
        .unwrap()
        .unwrap();
    assert_eq!(emptied.tree.to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    into_git(&git, &emptied);
    // What the repository has is not stored again.
    let again = make(&s, Some(base), vec![put("copy", "a")]).unwrap().unwrap();
    assert_eq!(again.objects, 2);
    into_git(&git, &again);
}

#[test]
fn pointers_are_told() {
    let text = pointer_text(12);
    let made = make(&empty(), None, vec![put("model.bin", &text), put("plain", "x")]).unwrap().unwrap();
    let target = pointer::parse(text.as_bytes()).unwrap();
    assert_eq!(made.pointers.iter().map(|pointer| pointer.sha256).collect::<Vec<_>>(), [target.sha256]);
    assert_eq!(pack_of(&made).pointers().collect::<Vec<_>>(), made.pointers);
}

#[test]
fn a_wide_folder_costs_little_for_ever() {
    let git = Git::init();
    for n in 0..3000 {
        git.write(&format!("flat/file-{n:05}.txt"), format!("{n}"));
    }
    let mut parent = git.commit("base");
    let mut s = everything(&git);
    let mut sizes = Vec::new();
    let mut longest = 0;
    for n in 0..80 {
        let edit = put(&format!("flat/file-{:05}.txt", n * 37), format!("edited {n}"));
        let made = make(&s, Some(parent), vec![edit]).unwrap().unwrap();
        let pack = pack_of(&made);
        sizes.push(bytes_of(&made).len());
        let deltas = (0..pack.objects())
            .filter(|&index| matches!(pack.entry(index).unwrap().header, EntryHeader::RefDelta { .. }));
        longest = if deltas.count() > 0 { longest + 1 } else { 0 };
        assert!(longest <= 32, "chains end");
        into_git(&git, &made);
        (parent, s) = (made.commit, made.overlay(&s));
    }
    sizes.sort_unstable();
    assert!(sizes[sizes.len() / 2] < 2000, "{sizes:?}");
    // Through all the deltas.
    let mut data = Vec::new();
    let tree = s.commit(&parent).unwrap().tree;
    for (path, found) in [("flat", None), ("flat/file-00037.txt", Some("edited 1"))] {
        let at = repository::tree::find(&s, tree, path).unwrap().unwrap();
        s.read(&at.oid, &mut data).unwrap();
        if let Some(found) = found {
            assert_eq!(data, found.as_bytes());
        }
    }
}
