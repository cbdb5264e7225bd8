//! Git's own fsck is the oracle for what is refused and what it is called.

use database::Oid;
use repository::Kind;
use repository::ingest::{IngestError, Limits};

use crate::support::*;

/// Messages of `git fsck` that we refuse; the others are accepted by name (see the docs of [`repository::fsck`]).
const REFUSED: &[&str] = &[
    "hasDot",
    "hasDotdot",
    "hasDotgit",
    "fullPathname",
    "emptyName",
    "nullSha1",
    "duplicateEntries",
    "treeNotSorted",
    "badTree",
    "gitmodulesName",
    "gitmodulesUrl",
    "gitmodulesPath",
    "gitmodulesUpdate",
    "gitmodulesSymlink",
    "gitmodulesBlob",
    "missingTree",
    "badTreeSha1",
    "badParentSha1",
    "missingAuthor",
    "missingCommitter",
    "unterminatedHeader",
    "nulInHeader",
    "missingObject",
    "badObjectSha1",
    "missingTypeEntry",
    "missingType",
    "badType",
    "missingTagEntry",
    "missingTag",
];

/// The defect we name, or "".
fn ours(objects: &[(Kind, Vec<u8>)]) -> String {
    match try_ingest(&craft(objects).0, &empty(), &Limits::default()) {
        Ok(_) => String::new(),
        Err(IngestError::Defect(defect)) => defect.problem.id.to_owned(),
        Err(other) => panic!("{other}"),
    }
}

/// All defects git names; `unreadable` where its parser gives up before the checks.
fn gits(objects: &[(Kind, Vec<u8>)]) -> Vec<String> {
    let git = Git::init();
    for (kind, data) in objects {
        git.run_with(&["hash-object", "-w", "--literally", "--stdin", "-t", kind.name()], data);
    }
    let output = git.try_run(&["fsck", "--strict", "--no-dangling"], b"");
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // `error in tree <oid>: hasDotgit: contains '.git'`
    let named = text.lines().filter(|line| line.starts_with("error in") || line.starts_with("warning in"));
    let mut ids: Vec<_> = named.filter_map(|line| Some(line.split(": ").nth(1)?.to_owned())).collect();
    if text.contains("object corrupt or missing") || text.contains("could not be parsed") {
        ids.push("unreadable".to_owned());
    }
    ids
}

fn agrees(objects: &[(Kind, Vec<u8>)], what: &str) {
    let (ours, gits) = (ours(objects), gits(objects));
    let refused: Vec<_> =
        gits.iter().filter(|id| *id == "unreadable" || REFUSED.contains(&id.as_str())).collect();
    assert_eq!(ours.is_empty(), refused.is_empty(), "{what}: we say {ours:?}, git says {gits:?}");
    let same = gits.iter().any(|id| *id == ours || id == "unreadable");
    assert!(ours.is_empty() || same, "{what}: we say {ours:?}, git says {gits:?}");
}

#[test]
fn names_in_trees() {
    let file = blob("x");
    for name in [
        ".git",
        ".GiT",
        "git~1",
        ".git ",
        ".git...",
        ".git::$INDEX_ALLOCATION",
        "a\\.git",
        "a\\.git\\b",
        "\u{200c}.git",
        ".g\u{200d}it",
        ".git\\x",
        ".",
        "..",
        "...",
        "a/b",
        "git~2",
        ".gitx",
        "..git",
        ".git\u{e9}",
        "\u{fffe}.git",
        ".gitignore",
        "a\\b",
        ".git x",
        "con",
        ".git\u{fffe}",
        "\u{200b}.git",
        "caf\u{e9}",
    ] {
        agrees(&[file.clone(), tree(&[("100644", name.as_bytes(), id(&file))])], name);
    }
    for name in [&b".git\xff"[..], b"\xff", b".g\xe2\x80it"] {
        agrees(&[file.clone(), tree(&[("100644", name, id(&file))])], &name.escape_ascii().to_string());
    }
    for name in [
        ".gitmodules",
        ".GITMODULES",
        "gitmod~1",
        "gi7eba~3",
        "~1000000",
        "gi~10000",
        ".gitmodules .",
        ".gitmodules::x",
        "a\\.gitmodules",
        ".git\u{200c}modules",
        "gitmod~5",
        "gi7eba~0",
        "gitmodules",
    ] {
        agrees(&[file.clone(), tree(&[("120000", name.as_bytes(), id(&file))])], name);
    }
}

#[test]
fn order_modes_and_nulls() {
    let (file, folder) = (blob("x"), tree(&[]));
    let (f, d) = (id(&file), id(&folder));
    let check = |entries: &[(&str, &[u8], Oid)]| {
        agrees(&[file.clone(), folder.clone(), tree(entries)], &format!("{entries:?}"));
    };
    check(&[("100644", b"a", f), ("100644", b"a", f)]);
    check(&[("100644", b"a", f), ("40000", b"a", d)]);
    check(&[("100644", b"a", f), ("100644", b"a-", f), ("100644", b"a.b", f), ("40000", b"a", d)]);
    check(&[
        ("100644", b"a", f),
        ("100644", b"a.b", f),
        ("100644", b"a.b.c", f),
        ("40000", b"a.b", d),
        ("40000", b"a", d),
    ]);
    check(&[("100644", b"a", f), ("40000", b"a-", d), ("100644", b"a0", f), ("40000", b"b", d)]);
    check(&[("100644", b"b", f), ("100644", b"a", f)]);
    check(&[("40000", b"a", d), ("100644", b"a.b", f)]);
    check(&[("100644", b"a.b", f), ("40000", b"a", d)]);
    check(&[("100644", b"ab", f), ("100644", b"a", f)]);
    check(&[("100644", b"a", Oid::NULL)]);
    check(&[("0100644", b"a", f), ("040000", b"b", d)]);
    check(&[("100664", b"a", f), ("100600", b"b", f)]);
}

#[test]
fn commits_and_tags() {
    let folder = tree(&[]);
    let root = commit(id(&folder), &[]);
    let check = |kind, text: &str| {
        let text = text.replace("TREE", &id(&folder).to_string()).replace("COMMIT", &id(&root).to_string());
        agrees(&[folder.clone(), root.clone(), (kind, text.clone().into_bytes())], &text);
    };
    for text in [
        "tree TREE\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nNUL\0 here\n",
        "tree TREE\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n",
        "tree TREE\nauthor A <a@b> 01 +0000\ncommitter A <a@b 1 +0000\n\n",
        "tree TREE\nauthor A <a@b>1 +0000\ncommitter A 1 +0000\n\n",
        "tree TREE\nauthor A<a@b> 1 +00000\ncommitter <a@b> 99999999999999999999 +0000\n\n",
        "tree TREE\nauthor A <a@b> 1 +0000\nauthor B <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n",
        "tree TREE\nauthor A <a@b> 1 +0000\n\n",
        "tree TREE\ncommitter A <a@b> 1 +0000\n\n",
        "author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n",
        "tree TREE0\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n",
        "tree TREE\nparent x\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n",
        "tree TREE\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000",
        "tree TREE\nauthor A\0 <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n",
    ] {
        check(Kind::Commit, text);
    }
    for text in [
        "object COMMIT\ntype commit\ntag v1\ntagger A <a@b> 1 +0000\n\nx\n",
        "object COMMIT\ntype commit\ntag v1\n\nno tagger\n",
        "object COMMIT\ntype commit\ntag ..\ntagger A 1\n\n",
        "type commit\ntag v1\n\n",
        "object x\ntype commit\ntag v1\n\n",
        "object COMMIT\ntag v1\n\n",
        "object COMMIT\ntype commit\n\n",
        "object COMMIT\ntype bogus\ntag v1\n\n",
        "object COMMIT\ntype commit\ntag v1",
    ] {
        check(Kind::Tag, text);
    }
}

#[test]
fn gitmodules() {
    if !git_is_recent() {
        // Its rules for URLs were others.
        return;
    }
    let check = |text: &str| {
        let file = blob(text);
        agrees(&[file.clone(), tree(&[("100644", b".gitmodules", id(&file))])], text);
    };
    let url = |url: &str| check(&format!("[submodule \"a\"]\n\tpath = a\n\turl = \"{url}\"\n"));
    for value in [
        "-oProxy",
        "./%0ahost=x",
        "git://h/%0Ax",
        "../:x",
        "../../:8080/x",
        "./..//x",
        "https://h/%0ax",
        "https:///x",
        "https::///x",
        "http::https:///x",
        "https://h:x/y",
        "https://h/../x",
        "https://h/%zz",
        "https://user@/x",
        "https://example.com/a.git",
        "http://u:p@h:80/x",
        "https://[::1]:443/a",
        "../a.git",
        "./a",
        "git@h:a/b.git",
        "ssh://h/x",
        "/local/path",
        "file:///x",
        "https::https://h/x",
        "../a:b",
        "git://h/x",
        "https://h/a/../b?x=..",
        "https://h:0/x",
        "https://h:65536/x",
        "ftp://h/x",
        "https://h\\nx/",
        "https://",
        "http://h",
        "https://h/%2e%2e/x",
        "https:/x",
    ] {
        url(value);
    }
    for name in ["..", "../a", "a/..", "a/../b", "a\\\\..", "", "a", "a..b", "...", "a/.b"] {
        check(&format!("[submodule \"{name}\"]\npath = x\nurl = y\n"));
    }
    for text in [
        "[submodule \"a\"]\npath = -x",
        "[submodule \"a\"]\nupdate = !rm",
        "[submodule \"a\"]\nupdate = merge",
        "[SubModule \"a\"]\r\n  URL = -x # comment\r\n",
        "[submodule \"a\"]\nurl = \\\n-x",
        "[submodule \"a\"]\nurl = \"\"-x",
        "[submodule \"a\"]\n# url = -x\n; url = -x\nurl = a;-x",
        "[submodule \"a\"]\nurl = \"open\nurl = -x",
        "[submodule \"a\"]\nurl = -x\n][",
        "[submodule \"\\..\"]\nurl = x",
        "[submodule.a]\npath = -",
        "[submodule]\nurl = -x",
        "[other \"..\"]\npath = -x",
        "[submodule \"a\"]\nurl",
        "[submodule \"a\"]url = -x",
        "[submodule \"a\" ]\nurl = -x",
        "[submodule\t\"a\"]\nurl=-x",
        "[submodule \"a\"]\nurl_x = 1\nurl = -x",
        "= x",
        "",
        "[",
        "[submodule \"a\"]\nurl =\\",
        "[submodule \"a\"]\n  url  \t=\t -x  ",
    ] {
        check(text);
    }
}

#[test]
fn gitmodules_that_are_no_files() {
    let folder = tree(&[]);
    assert_eq!(ours(&[folder.clone(), tree(&[("40000", b".gitmodules", id(&folder))])]), "gitmodulesBlob");
}

/// A blob that was harmless under another name.
#[test]
fn gitmodules_that_are_here_already() {
    let file = blob("[submodule \"a\"]\nurl = -x");
    let base = snapshot(vec![craft_pack(&[file.clone(), tree(&[("100644", b"notes", id(&file))])]).into()]);
    let (pack, _) = craft(&[tree(&[("100644", b".gitmodules", id(&file))])]);
    let text = try_ingest(&pack, &base, &Limits::default()).unwrap_err().to_string();
    assert_eq!(text, format!("object {}: gitmodulesUrl: disallowed submodule url: -x", id(&file)));
}
