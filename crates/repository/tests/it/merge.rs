//! Merges of two commits: what git makes of the same, where git merges by files.

use database::Oid;
use repository::edit::{CONFLICTS_MAX, Conflicts, Description, conflicts, merge};
use repository::{Snapshot, walk};

use crate::support::*;

fn description() -> Description {
    let (author_name, author_email) = ("Ada".to_owned(), "ada@example.com".to_owned());
    Description { author_name, author_email, seconds: 1_700_000_000, message: "merged".to_owned() }
}

fn everything(git: &Git) -> Snapshot {
    snapshot(vec![ingested(&git.pack(&[], "--all\n"), &empty()).pack().clone()])
}

/// The same files on both sides; then what each side does to them.
struct Sides {
    git: Git,
    base: Oid,
}

impl Sides {
    fn new(files: &[&str]) -> Sides {
        let git = Git::init();
        // Modes are set in the index.
        git.run(&["config", "core.fileMode", "false"]);
        for path in files {
            git.write(path, format!("{path}\n"));
        }
        let base = git.commit("base");
        Sides { git, base }
    }

    fn side(&self, name: &str, change: impl FnOnce(&Git)) -> Oid {
        self.git.run(&["checkout", "--quiet", "-B", name, &self.base.to_string()]);
        change(&self.git);
        self.git.commit(name)
    }

    fn merge(&self, ours: Oid, theirs: Oid) -> Result<Oid, Conflicts> {
        let s = everything(&self.git);
        let base = walk::merge_base(&s, &ours, &theirs, &walk::WalkLimits::default()).unwrap();
        let sides = [ours, theirs];
        let made = merge(&s, base, sides, &description(), tempfile::NamedTempFile::new).unwrap();
        let found = conflicts(&s, base, sides).unwrap();
        assert_eq!(made.as_ref().err().cloned().unwrap_or_default(), found);
        let made = made?;
        let pack = repository::Pack::from_blob(
            database::PackId::new(),
            database::PackKind::Api,
            false,
            2,
            made.blob.bytes().unwrap(),
        );
        self.git.run_with(&["index-pack", "--stdin", "--fix-thin", "--strict"], &pack.unwrap().pack_bytes());
        self.git.run(&["fsck", "--strict", &made.commit.to_string()]);
        let parents = self.git.run(&["show", "-s", "--format=%P", &made.commit.to_string()]);
        assert_eq!(parents, format!("{ours} {theirs}"));
        Ok(made.commit)
    }

    /// As git merges it.
    fn tree_of_git(&self, ours: Oid, theirs: Oid) -> String {
        self.git.run(&["checkout", "--quiet", "--detach", &ours.to_string()]);
        let options = ["merge", "--quiet", "--no-ff", "-m", "m", "-X", "no-renames"];
        self.git.run(&[&options[..], &[&theirs.to_string()]].concat());
        self.git.run(&["rev-parse", "HEAD^{tree}"])
    }
}

#[test]
fn what_only_one_side_changed_is_as_that_side_has_it() {
    let sides = Sides::new(&["a", "b", "gone", "x/1", "x/2", "x/y/3", "z/only", "w/1", "run", "same"]);
    let ours = sides.side("ours", |git| {
        git.write("a", "ours");
        git.write("x/1", "ours");
        git.write("new/ours", "1");
        git.write("same", "both");
        git.run(&["rm", "--quiet", "z/only"]);
        git.run(&["update-index", "--chmod=+x", "run"]);
    });
    let theirs = sides.side("theirs", |git| {
        git.write("b", "theirs");
        git.write("x/y/3", "theirs");
        git.write("x/y/4", "theirs");
        git.write("new/theirs", "2");
        git.write("same", "both");
        git.write("run", "theirs");
        git.run(&["rm", "--quiet", "gone", "w/1"]);
    });
    let made = sides.merge(ours, theirs).unwrap();
    let tree = sides.git.run(&["rev-parse", &format!("{made}^{{tree}}")]);
    assert_eq!(tree, sides.tree_of_git(ours, theirs));
    assert!(sides.git.run(&["ls-tree", &made.to_string(), "run"]).starts_with("100755"));
}

#[test]
fn files_and_folders_take_each_others_place() {
    let sides = Sides::new(&["a", "d/1", "e/1", "keep"]);
    let ours = sides.side("ours", |git| {
        git.run(&["rm", "--quiet", "a"]);
        git.write("a/inside", "ours");
        git.run(&["rm", "--quiet", "d/1"]);
    });
    let theirs = sides.side("theirs", |git| {
        git.run(&["rm", "--quiet", "d/1", "e/1"]);
        git.write("d", "a file");
        git.write("e", "a file");
    });
    let made = sides.merge(ours, theirs).unwrap();
    let files = sides.git.run(&["ls-tree", "-r", "--name-only", &made.to_string()]);
    assert_eq!(files.lines().collect::<Vec<_>>(), ["a/inside", "d", "e", "keep"]);
}

#[test]
fn what_both_changed_is_told_file_by_file() {
    let sides = Sides::new(&["both", "x/both", "deleted", "x/fine", "folder/1", "é"]);
    let ours = sides.side("ours", |git| {
        for path in ["both", "x/both", "added", "é"] {
            git.write(path, "ours");
        }
        git.run(&["rm", "--quiet", "deleted", "folder/1"]);
        git.write("clash", "a file");
    });
    let theirs = sides.side("theirs", |git| {
        for path in ["both", "x/both", "added", "deleted", "x/fine", "folder/1", "é", "clash/inside"] {
            git.write(path, "theirs");
        }
    });
    let paths = ["added", "both", "clash", "deleted", "folder/1", "x/both", "é"];
    let expected = Conflicts { paths: paths.map(str::to_owned).to_vec(), more: false };
    assert_eq!(sides.merge(ours, theirs), Err(expected));
}

#[test]
fn conflicts_are_named_up_to_a_bound() {
    let names: Vec<String> = (0..CONFLICTS_MAX + 5).map(|n| format!("f{n:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sides = Sides::new(&names);
    let all = |content: &'static str| {
        let names = names.clone();
        move |git: &Git| names.iter().for_each(|name| git.write(name, content))
    };
    let (ours, theirs) = (sides.side("ours", all("ours")), sides.side("theirs", all("theirs")));
    let found = sides.merge(ours, theirs).unwrap_err();
    assert_eq!((found.paths.len(), found.more), (CONFLICTS_MAX, true));
}

#[test]
fn histories_without_anything_in_common() {
    let sides = Sides::new(&["a", "same"]);
    let ours = sides.base;
    sides.git.run(&["checkout", "--quiet", "--orphan", "other"]);
    sides.git.run(&["rm", "--quiet", "-rf", "."]);
    sides.git.write("b", "b\n");
    sides.git.write("same", "same\n");
    let theirs = sides.git.commit("other");
    let made = sides.merge(ours, theirs).unwrap();
    let files = sides.git.run(&["ls-tree", "-r", "--name-only", &made.to_string()]);
    assert_eq!(files.lines().collect::<Vec<_>>(), ["a", "b", "same"]);
}

#[test]
fn what_a_ref_brings_is_what_git_lists() {
    let sides = Sides::new(&["a"]);
    let ours = sides.side("ours", |git| git.write("a", "1"));
    let first = sides.side("theirs", |git| git.write("b", "1"));
    sides.git.write("b", "2");
    let second = sides.git.commit("second");
    let s = everything(&sides.git);
    let limits = walk::WalkLimits::default();
    assert_eq!(walk::new_commits(&s, &second, &[ours], &limits).unwrap(), [first, second]);
    assert_eq!(walk::new_commits(&s, &second, &[ours, first], &limits).unwrap(), [second]);
    assert_eq!(walk::new_commits(&s, &second, &[second], &limits).unwrap(), []);
    assert_eq!(walk::new_commits(&s, &second, &[], &limits).unwrap(), [sides.base, first, second]);
}
