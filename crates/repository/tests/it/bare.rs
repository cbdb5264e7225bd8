//! Import from and export to git directories, with real git on the other side.

use std::path::Path;

use database::{Oid, PackKind};
use repository::bare::{ImportError, Referrer, Source, SourceError, export};
use tempfile::TempDir;

use crate::histories::{self, Git};

const LIMIT: u64 = 1 << 30;

fn imported(source: &Source) -> Vec<u8> {
    let mut pack = Vec::new();
    let done = source.write_pack(&mut pack, &|| true).unwrap();
    assert_eq!(done.bytes, pack.len() as u64);
    assert_eq!(done.objects, u32::from_be_bytes(pack[8..12].try_into().unwrap()));
    pack
}

fn objects(git: &Git) -> Vec<String> {
    let text = git.run(&["cat-file", "--batch-all-objects", "--batch-check"]);
    text.lines().map(str::to_owned).collect()
}

/// The pack of this directory has exactly what its refs reach.
fn check(git: &Git, directory: &Path) -> Vec<u8> {
    let source = Source::open(directory, LIMIT).unwrap();
    assert_eq!(source.refs(), git.refs());
    let pack = imported(&source);
    let receiver = Git::init();
    receiver.pipe(&["index-pack", "--stdin", "--strict"], &pack);
    let mut reachable: Vec<_> = git
        .run(&["rev-list", "--all", "--objects", "--no-object-names"])
        .lines()
        .map(str::to_owned)
        .collect();
    reachable.sort();
    let names: Vec<_> = objects(&receiver).iter().map(|line| line[..40].to_owned()).collect();
    assert_eq!(names, reachable);
    pack
}

fn tagged() -> Git {
    let git = histories::text(20);
    git.run(&["tag", "-a", "-m", "a release", "v1", "main~3"]);
    git.run(&["tag", "light", "main~5"]);
    git.run(&["tag", "-a", "-m", "a tree", "tree", "main^{tree}"]);
    git.run(&["update-ref", "refs/pull/1/head", "main~1"]);
    git.run(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/heads/main"]);
    git
}

#[test]
fn packed_repositories_are_copied_with_their_deltas() {
    let git = tagged();
    git.run(&["repack", "-adfq"]);
    let theirs = std::fs::metadata(pack_path(&git)).unwrap().len();
    let ours = check(&git, git.path());
    assert!(ours.len() as u64 <= theirs + theirs / 50, "{} from {theirs}", ours.len());
    git.run(&["pack-refs", "--all"]);
    check(&git, git.path());
}

#[test]
fn loose_objects_worktrees_and_alternates() {
    let git = tagged();
    unpack(&git);
    check(&git, git.path());

    let work = Git { dir: TempDir::new().unwrap() };
    work.run(&["clone", "--quiet", "--shared", git.path().to_str().unwrap(), "."]);
    std::fs::write(work.path().join("new file"), "new").unwrap();
    work.run(&["add", "."]);
    work.run(&["commit", "--quiet", "-m", "new"]);
    let source = Source::open(work.path(), LIMIT).unwrap();
    assert_eq!(source.head(), Some("refs/heads/main"));
    check(&work, work.path());
    check(&work, &work.path().join(".git"));
    work.run(&["worktree", "add", "--quiet", "-b", "side", "side"]);
    let side = Source::open(&work.path().join("side"), LIMIT).unwrap();
    assert_eq!(side.head(), Some("refs/heads/side"));
    check(&work, &work.path().join("side"));
}

#[test]
fn many_packs_with_copies() {
    let git = histories::text(30);
    for nth in 0..4 {
        // Packs that overlap, with different deltas.
        let tip = format!("main~{}", 20 - 5 * nth);
        let pack = git.pipe(
            &["pack-objects", "--revs", "--stdout", "-q", "--no-reuse-delta"],
            format!("{tip}\n").as_bytes(),
        );
        git.pipe(&["index-pack", "--stdin"], &pack);
    }
    check(&git, git.path());
}

#[test]
fn empty_repositories_and_unborn_heads() {
    let git = Git::init();
    let source = Source::open(git.path(), LIMIT).unwrap();
    assert!(source.refs().is_empty());
    assert_eq!(source.head(), Some("refs/heads/main"));
    assert_eq!(imported(&source).len(), 32);

    let git = histories::text(2);
    git.run(&["update-ref", "--no-deref", "HEAD", "main"]);
    assert_eq!(Source::open(git.path(), LIMIT).unwrap().head(), None);
}

#[test]
fn incomplete_and_foreign_repositories_are_refused() {
    let error = Source::open(TempDir::new().unwrap().path(), LIMIT).err().unwrap();
    assert!(matches!(error, SourceError::NotARepository { .. }), "{error}");

    let sha256 = Git { dir: TempDir::new().unwrap() };
    sha256.run(&["init", "--quiet", "--bare", "--object-format=sha256", "."]);
    let error = Source::open(sha256.path(), LIMIT).err().unwrap();
    assert!(matches!(&error, SourceError::ObjectFormat { format, .. } if format == "sha256"), "{error}");

    let git = histories::text(5);
    let shallow = Git { dir: TempDir::new().unwrap() };
    let url = format!("file://{}", git.path().display());
    shallow.run(&["clone", "--quiet", "--bare", "--depth=2", &url, "."]);
    let error = Source::open(shallow.path(), LIMIT).err().unwrap();
    assert!(matches!(error, SourceError::Shallow { .. }), "{error}");

    // A blob is gone.
    unpack(&git);
    let (tree, blob) =
        (git.run(&["rev-parse", "main:src/data"]), git.run(&["rev-parse", "main:src/data/module_2.py"]));
    let tree: Oid = tree.parse().unwrap();
    std::fs::remove_file(git.path().join("objects").join(&blob[..2]).join(&blob[2..])).unwrap();
    let error = Source::open(git.path(), LIMIT).unwrap().write_pack(Vec::new(), &|| true).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ImportError::Missing { referrer: Referrer::Object(_), .. }), "{text}");
    assert!(text.contains(&blob), "{text}");
    assert!(git.run(&["ls-tree", &tree.to_string()]).contains(&blob));

    // A ref points nowhere.
    std::fs::write(git.path().join("refs/heads/lost"), format!("{}\n", "1".repeat(40))).unwrap();
    let error = Source::open(git.path(), LIMIT).err().unwrap().to_string();
    assert!(error.contains("refs/heads/lost") && error.contains(&"1".repeat(40)), "{error}");
}

#[test]
fn an_import_is_bounded_and_can_be_stopped() {
    let git = histories::binary(3);
    let largest = 150_000;
    let source = Source::open(git.path(), largest - 1).unwrap();
    let error = source.write_pack(Vec::new(), &|| true).unwrap_err();
    assert!(matches!(error, ImportError::TooLarge { .. } | ImportError::Unreadable { .. }), "{error}");
    let source = Source::open(git.path(), largest).unwrap();
    source.write_pack(Vec::new(), &|| true).unwrap();
    assert!(matches!(source.write_pack(Vec::new(), &|| false), Err(ImportError::Interrupted)));
}

#[test]
fn exports_are_repositories() {
    let git = tagged();
    git.run(&["symbolic-ref", "-d", "refs/remotes/origin/HEAD"]);
    let pack = git.blob(&git.pack(&[]), PackKind::Receive, 1);
    let s = git.snapshot([pack]);
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("new/export.git");
    let done = export(&s, &directory, &|| true).unwrap();
    assert_eq!(done.refs, git.refs().len());

    let exported = Git { dir: TempDir::new().unwrap() };
    std::fs::rename(&directory, exported.path()).unwrap();
    let complaints = exported.run(&["fsck", "--full", "--strict"]);
    assert_eq!(complaints, "");
    assert_eq!(
        exported.run(&["show-ref", "--head", "--dereference"]),
        git.run(&["show-ref", "--head", "--dereference"])
    );
    assert_eq!(exported.run(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert_eq!(objects(&exported), objects(&git));
    let idx = std::fs::read(pack_path(&exported).with_extension("idx")).unwrap();
    let theirs = parent.path().join("theirs.idx");
    exported.run(&["index-pack", "-o", theirs.to_str().unwrap(), pack_path(&exported).to_str().unwrap()]);
    assert_eq!(idx, std::fs::read(theirs).unwrap());
    // Its refs are still git's own to change.
    exported.run(&["update-ref", "refs/heads/main", "main~1"]);
    exported.run(&["gc", "--quiet"]);
    check(&exported, exported.path());
}

#[test]
fn an_export_is_all_or_nothing() {
    let git = Git::init();
    let parent = TempDir::new().unwrap();
    let s = git.snapshot([]);
    let empty = parent.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert_eq!(export(&s, &empty, &|| true).unwrap().objects, 0);
    let clone = Git { dir: TempDir::new().unwrap() };
    clone.run(&["clone", "--quiet", "--bare", empty.to_str().unwrap(), "."]);

    assert!(export(&s, &empty, &|| true).unwrap_err().to_string().contains("not an empty directory"));
    let git = histories::text(2);
    let s = git.snapshot(git.pushes(1));
    assert!(export(&s, &parent.path().join("stopped"), &|| false).is_err());
    let left: Vec<_> =
        std::fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["empty"]);
}

/// Takes the packs of a repository apart.
fn unpack(git: &Git) {
    let packs = TempDir::new().unwrap();
    let elsewhere = packs.path().join("pack");
    std::fs::rename(git.path().join("objects/pack"), &elsewhere).unwrap();
    for entry in std::fs::read_dir(elsewhere).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pack") {
            git.pipe(&["unpack-objects", "-q"], &std::fs::read(path).unwrap());
        }
    }
    assert!(git.run(&["count-objects", "-v"]).contains("packs: 0"));
}

fn pack_path(git: &Git) -> std::path::PathBuf {
    let mut entries =
        std::fs::read_dir(git.path().join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.extension().is_some_and(|extension| extension == "pack")).unwrap()
}
