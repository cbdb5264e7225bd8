//! What people look up in a repository: files by path, folders in pages, revisions, the log, rules of attributes.

use database::{Oid, RefRow};
use repository::attributes::{Attributes, Ignore};
use repository::log::{entry, last_changes, order};
use repository::revision::{RevisionError, resolve};
use repository::tree::{Item, find, list};
use repository::walk::{WalkError, WalkLimits};
use repository::{Kind, Snapshot};

use crate::support::*;

fn with_refs(git: &Git) -> Snapshot {
    let pack = ingested(&git.pack(&[], "--all\n"), &empty()).pack().clone();
    let format = "--format=%(refname) %(objectname) %(*objectname)";
    let refs = git.run(&["for-each-ref", format]);
    let refs = refs.lines().map(|line| {
        let mut words = line.split(' ');
        let (name, oid) = (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap());
        let peeled = words.next().and_then(|peeled| peeled.parse().ok());
        RefRow { name, oid, peeled }
    });
    Snapshot::from_packs(repo_row(), refs.collect(), vec![pack])
}

#[test]
fn folders_are_listed_as_git_lists_them() {
    let git = Git::init();
    for path in ["a", "a.b/x", "a/../c", "d/e/f/g", "d/e/h", "d.e", "d0", "d-/z", "é/ü", "z/1", "z/2"] {
        git.write(&path.replace("a/../", ""), path);
    }
    let tree = git.commit("x");
    let s = with_refs(&git);
    let tree = s.commit(&tree).unwrap().tree;
    let text = |item: &Item| {
        format!("{:06o} {}\t{}", item.found.mode, item.found.oid, String::from_utf8_lossy(&item.path))
    };
    let as_git = |args: &[&str]| -> Vec<String> {
        let listed = git.run(&[&["-c", "core.quotePath=false", "ls-tree", "-t"], args, &["HEAD"]].concat());
        let line = |line: &str| {
            let (left, path) = line.split_once('\t').unwrap();
            let words: Vec<_> = left.split_whitespace().collect();
            format!("{} {}\t{path}", words[0], words[2])
        };
        listed.lines().map(line).collect()
    };
    let all = list(&s, tree, b"", true, None, usize::MAX).unwrap();
    assert_eq!(all.iter().map(text).collect::<Vec<_>>(), as_git(&["-r"]));
    let flat = list(&s, tree, b"", false, None, usize::MAX).unwrap();
    assert_eq!(flat.iter().map(text).collect::<Vec<_>>(), as_git(&[]));

    for size in 1..=all.len() {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = list(&s, tree, b"", true, after.as_deref(), size).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.key());
            paged.extend(page);
        }
        assert_eq!(paged, all, "in pages of {size}");
    }
    let below = find(&s, tree, "d").unwrap().unwrap();
    let below = list(&s, below.oid, b"d", true, Some(b"d/e/f/"), usize::MAX).unwrap();
    let paths: Vec<_> = below.iter().map(|item| item.path.as_slice()).collect();
    assert_eq!(paths, [&b"d/e/f/g"[..], b"d/e/h"]);

    assert!(find(&s, tree, "d/e/h").unwrap().unwrap().is_blob());
    assert!(find(&s, tree, "d/e").unwrap().unwrap().is_tree());
    for missing in ["no", "d/no", "a/b", "d/e/", "/d", "D"] {
        assert_eq!(find(&s, tree, missing).unwrap(), None, "{missing}");
    }
}

#[test]
fn revisions_mean_what_the_hub_means() {
    let git = Git::with_history(6);
    git.run(&["branch", "v1", "HEAD~2"]);
    git.run(&["branch", "feature/x", "HEAD~3"]);
    git.run(&["update-ref", "refs/pr/1", "HEAD~4"]);
    git.run(&["update-ref", "refs/tags/a-tree", "HEAD^{tree}"]);
    let s = with_refs(&git);
    let commit = |revision: &str| git.oid(&format!("{revision}^{{commit}}"));
    let head = commit("main").to_string();
    let table = [
        ("main", "main", Some("refs/heads/main")),
        ("v1", "HEAD~2", Some("refs/heads/v1")),
        ("v2", "refs/tags/v2", Some("refs/tags/v2")),
        ("refs/tags/v1", "refs/tags/v1", Some("refs/tags/v1")),
        ("feature/x", "HEAD~3", Some("refs/heads/feature/x")),
        ("refs/pr/1", "HEAD~4", Some("refs/pr/1")),
        ("HEAD", "main", Some("refs/heads/main")),
        (&head, "main", None),
        (&head[..7], "main", None),
        (&head[..5], "main", None),
        (&head.to_uppercase(), "main", None),
    ];
    for (text, expected, name) in table {
        let found = resolve(&s, text).unwrap();
        assert_eq!((found.commit, found.ref_name.as_deref()), (commit(expected), name), "{text}");
    }
    let tag = git.oid("refs/tags/v2").to_string();
    assert_eq!(resolve(&s, &tag).unwrap().commit, commit("v2"));
    for missing in
        ["", "no", &head[..4], "0000000", "a-tree", "refs/heads/no", "heads/main", &"f".repeat(40), "../main"]
    {
        assert_eq!(resolve(&s, missing), Err(RevisionError::NotFound), "{missing}");
    }
}

#[test]
fn the_log_is_gits() {
    let git = Git::init();
    for n in 0..5 {
        git.write("a", format!("{n}"));
        git.write(&format!("f{n}"), "x");
        git.commit(&format!("title {n}\n\nbody {n}\nmore"));
    }
    let s = with_refs(&git);
    let tip = git.oid("HEAD");
    let as_git: Vec<Oid> =
        git.run(&["log", "--format=%H"]).lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(order(&s, &tip, &WalkLimits::default()).unwrap(), as_git);
    let few = order(&s, &tip, &WalkLimits { commits_max: 4 });
    assert!(matches!(few, Err(WalkError::TooManyCommits { max: 4 })), "{few:?}");
    let newest = entry(&s, &tip).unwrap();
    assert_eq!((newest.title(), newest.body()), ("title 4", "body 4\nmore"));
    assert_eq!((newest.author_name.as_str(), newest.author_email.as_str()), ("A", "a@example.com"));
    assert_eq!((newest.author_seconds, newest.committer_seconds), (1_700_000_000, 1_700_000_000));
}

#[test]
fn the_last_change_of_a_path_is_where_git_log_finds_it() {
    let git = Git::init();
    for path in ["kept", "a", "d/x", "d/y", "both"] {
        git.write(path, path);
    }
    git.commit("base");
    git.run(&["checkout", "-q", "-b", "side"]);
    git.write("d/x", "side");
    git.write("both", "side");
    git.commit("side");
    git.run(&["checkout", "-q", "main"]);
    git.write("a", "main");
    git.commit("main");
    git.run(&["merge", "-q", "--no-ff", "-m", "merge", "side"]);
    git.write("d/y", "later");
    git.commit("later");
    let s = with_refs(&git);
    let tip = git.oid("HEAD");
    let paths = ["kept", "a", "d/x", "d/y", "both", "d"];
    let found = last_changes(&s, &tip, &paths, 1000).unwrap();
    for (path, found) in paths.iter().zip(&found) {
        let expected: Oid = git.run(&["log", "-1", "--format=%H", "--", path]).parse().unwrap();
        assert_eq!(*found, Some(expected), "{path}");
    }
    assert_eq!(last_changes(&s, &tip, &["no such path", "d/no", "kept/no"], 1000).unwrap(), [None; 3]);
    assert_eq!(last_changes(&s, &tip, &["kept"], 2).unwrap(), [None]);
    assert_eq!(last_changes(&s, &tip, &[], 1000).unwrap(), []);
}

/// Files that come, change, go, and become folders, in a long history without merges.
#[test]
fn last_changes_of_many_paths_are_gits() {
    let git = Git::init();
    let mut number = 1u32;
    let mut next = |below: u32| {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (number >> 16) % below
    };
    for commit in 0..60 {
        for _ in 0..=next(3) {
            let path = format!("{}/{}/{}", next(3), next(3), next(4));
            let text = format!("{commit}");
            let (at, kind) = (git.path().join(&path), next(6));
            match at.is_dir() {
                true => std::fs::remove_dir_all(&at).unwrap(),
                false => drop(std::fs::remove_file(&at)),
            }
            match kind {
                0 => {}
                1 => git.write(&format!("{path}/below"), text),
                _ => git.write(&path, text),
            }
        }
        git.write("always", format!("{commit}"));
        git.commit("x");
    }
    let s = with_refs(&git);
    let tip = git.oid("HEAD");
    let listed = git.run(&["ls-tree", "-r", "-t", "--name-only", "HEAD"]);
    let paths: Vec<&str> = listed.lines().collect();
    assert!(paths.len() > 20);
    let found = last_changes(&s, &tip, &paths, 1000).unwrap();
    for (path, found) in paths.iter().zip(&found) {
        let expected: Oid = git.run(&["log", "-1", "--format=%H", "--", path]).parse().unwrap();
        assert_eq!(*found, Some(expected), "{path}");
    }
}

#[test]
fn attributes_are_gits() {
    let git = Git::init();
    let root = "*.bin filter=lfs diff=lfs merge=lfs -text\n\
                saved_model/**/* filter=lfs\n\
                *.txt -filter\n\
                [attr]large filter=lfs -text\n\
                *.huge large\n\
                \"with space.x\" filter=lfs\n\
                # *.no filter=lfs\n\
                *tfevents* filter=lfs\n\
                not.bin !filter\n\
                other.bin filter=other\n";
    git.write(".gitattributes", root);
    git.write(
        "d/.gitattributes",
        "*.bin -filter\n*.dat filter=lfs\n/only filter=lfs\n[attr]mine filter=lfs\n*.m mine\n",
    );
    git.write("d/e/.gitattributes", "again.bin filter=lfs\n");
    let commit = git.commit("attributes");
    let s = with_refs(&git);
    let tree = s.commit(&commit).unwrap().tree;
    let mut attributes = Attributes::new(&s, Some(tree));
    let paths = [
        "a.bin",
        "x/a.bin",
        "d/a.bin",
        "d/e/a.bin",
        "d/e/again.bin",
        "a.txt",
        "saved_model/a/b",
        "saved_model/a",
        "a.huge",
        "with space.x",
        "a.no",
        "runs/events.out.tfevents.1",
        "not.bin",
        "other.bin",
        "d/x.dat",
        "x.dat",
        "d/only",
        "d/e/only",
        "only",
        "A.BIN",
        "d/f/x.dat",
        ".gitattributes",
        "d/x.m",
        "x.m",
    ];
    for path in paths {
        let told = git.run(&["check-attr", "filter", "--", path]);
        assert_eq!(attributes.is_lfs(path).unwrap(), told.ends_with(": lfs"), "{told}");
    }
    let mut changed = Attributes::new(&s, Some(tree));
    changed.set("", b"*.new filter=lfs\n").unwrap();
    assert!(changed.is_lfs("x.new").unwrap() && !changed.is_lfs("a.bin").unwrap());
    assert!(!Attributes::new(&s, None).is_lfs("a.bin").unwrap());
}

#[test]
fn hostile_attributes_end() {
    let s = empty();
    let mut attributes = Attributes::new(&s, None);
    let evil = format!("{}b filter=lfs\n{} filter=lfs\n*.ok filter=lfs\n", "*a".repeat(60), "[".repeat(5000));
    attributes.set("", evil.as_bytes()).unwrap();
    assert!(!attributes.is_lfs(&"a".repeat(200)).unwrap());
    assert!(attributes.is_lfs("x.ok").unwrap());
}

#[test]
fn ignored_files_are_gits() {
    let git = Git::init();
    let rules = "*.log\n!keep.log\n/build\ncache/\n**/tmp/*.x\n# a comment\n\\#real\n";
    git.write(".gitignore", rules);
    let commit = git.commit("ignore");
    let s = with_refs(&git);
    let tree = s.commit(&commit).unwrap().tree;
    let ignore = Ignore::of_tree(&s, tree).unwrap().unwrap();
    for path in [
        "a.log",
        "d/a.log",
        "keep.log",
        "d/keep.log",
        "build",
        "build/x",
        "d/build",
        "cache",
        "cache/x",
        "d/cache/y/z",
        "a/tmp/b.x",
        "#real",
        "a",
    ] {
        let told = git.try_run(&["check-ignore", "-q", "--no-index", "--", path], b"").status.success();
        // git looks at what is there to tell a folder; none is.
        assert_eq!(ignore.is_ignored(path), told, "{path}");
    }
    let none = repository::tree::find(&s, tree, "d").unwrap();
    assert!(none.is_none() && s.kind(&tree) == Some(Kind::Tree));
}
