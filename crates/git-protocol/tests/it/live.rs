//! Real git clones, fetches and pushes over HTTP, in every protocol version and with every git that is installed.

use database::Repo;
use repository::Snapshot;

use crate::hub::Hub;
use crate::support::{Git, repo_row};

/// v1 is v0 with another first line.
const VERSIONS: [&str; 2] = ["0", "2"];

/// Runs `test` with each git and protocol version.
fn each(test: impl Fn(&Git, &Hub, &str)) {
    each_of(&VERSIONS, test);
}

fn each_of(versions: &[&str], test: impl Fn(&Git, &Hub, &str)) {
    for program in Git::programs() {
        for version in versions {
            let git = Git::with_program(program);
            git.history("r");
            let hub = Hub::new(git.snapshot("r"));
            let config = format!("protocol.version={version}");
            test(&git, &hub, &config);
        }
    }
}

fn same_refs(git: &Git, repo: &str, name: &str, commit: &str) {
    assert_eq!(git.rev(repo, name), git.rev("r", commit));
    git.run(repo, &["fsck", "--full", "--strict", "--no-dangling"]);
}

#[test]
fn clone_and_fetch() {
    each_of(&["0", "1", "2"], |git, hub, config| {
        git.run(".", &["-c", config, "clone", "--quiet", &hub.url, "c"]);
        same_refs(git, "c", "main", "main");
        same_refs(git, "c", "origin/side", "side");
        assert_eq!(git.run("c", &["tag"]), "blob\nlight\nv1\nvv1");
        assert_eq!(git.run("c", &["for-each-ref", "refs/pr", "refs/remotes/origin/pr"]), "");
        assert_eq!(hub.verbatim(), 0, "a pull request's ref is not wanted, so the pack is not exact");

        let new = git.commit("r", "new", "new\n", 7000);
        git.run("r", &["tag", "-a", "-m", "new", "v2"]);
        hub.replace(git.snapshot("r"));
        git.run("c", &["commit", "--quiet", "--allow-empty", "-m", "unknown to the server"]);
        git.run("c", &["-c", config, "fetch", "--quiet"]);
        assert_eq!(git.rev("c", "origin/main"), new);
        same_refs(git, "c", "v2", "v2");
        git.run("c", &["-c", config, "fetch", "--quiet"]);
    });
}

#[test]
fn a_whole_pack_for_a_whole_clone() {
    each(|git, hub, config| {
        git.run("r", &["update-ref", "-d", "refs/pr/1"]);
        hub.replace(git.snapshot("r"));
        git.run(".", &["-c", config, "clone", "--quiet", &hub.url, "c"]);
        assert_eq!(hub.verbatim(), 1);
        same_refs(git, "c", "main", "main");
        git.run(".", &["-c", config, "clone", "--quiet", "--mirror", &hub.url, "m"]);
        assert_eq!(hub.verbatim(), 2);
        assert_eq!(git.run("m", &["for-each-ref"]), git.run("r", &["for-each-ref"]));
    });
}

#[test]
fn pull_requests_are_fetched_when_asked_for() {
    let git = Git::new();
    git.history("r");
    let hub = Hub::new(git.snapshot("r"));
    git.run(".", &["clone", "--quiet", &hub.url, "c"]);
    assert!(!git.run("c", &["ls-remote", "origin"]).contains("refs/pr"));
    git.run("c", &["fetch", "--quiet", "origin", "refs/pr/1:pr1"]);
    same_refs(&git, "c", "pr1", "refs/pr/1");
    git.run(".", &["clone", "--quiet", "--mirror", &hub.url, "m"]);
    assert_eq!(git.run("m", &["for-each-ref"]), git.run("r", &["for-each-ref"]));
}

#[test]
fn shallow_histories() {
    each(|git, hub, config| {
        let count = |repo: &str| git.run(repo, &["rev-list", "--count", "HEAD"]);
        git.run(".", &["-c", config, "clone", "--quiet", "--depth", "2", &hub.url, "s"]);
        assert_eq!(count("s"), "2");
        same_refs(git, "s", "HEAD", "main");
        git.run("s", &["-c", config, "fetch", "--quiet", "--deepen", "1"]);
        assert_eq!(count("s"), "3");
        git.run("s", &["-c", config, "fetch", "--quiet", "--depth", "1"]);
        assert_eq!(count("s"), "1");
        git.run("s", &["-c", config, "fetch", "--quiet", "--shallow-exclude=v1"]);
        same_refs(git, "s", "HEAD", "main");
        assert_eq!(count("s"), git.run("r", &["rev-list", "--count", "main", "^v1"]));
        git.run("s", &["-c", config, "fetch", "--quiet", "--unshallow"]);
        assert_eq!(count("s"), count("r"));
        assert!(!git.path("s/.git/shallow").exists());
        same_refs(git, "s", "HEAD", "main");
        git.run(
            ".",
            &["-c", config, "clone", "--quiet", "--shallow-since=2020-01-01T00:05:00Z", &hub.url, "since"],
        );
        assert_eq!(
            count("since"),
            git.run("r", &["rev-list", "--count", "--since=2020-01-01T00:05:00Z", "HEAD"])
        );
        let new = git.commit("r", "new", "new\n", 7000);
        hub.replace(git.snapshot("r"));
        git.run("since", &["-c", config, "fetch", "--quiet"]);
        assert_eq!(git.rev("since", "origin/main"), new);
        let error = git.fail(".", &["-c", config, "clone", "--shallow-since=2030-01-01", &hub.url, "none"]);
        assert!(error.contains("no commits selected for shallow requests"), "{error}");
    });
}

#[test]
fn partial_clones() {
    each(|git, hub, config| {
        for (n, filter) in
            ["blob:none", "tree:0", "blob:limit=11", "combine:blob:none+tree:2"].into_iter().enumerate()
        {
            let name = format!("p{n}");
            let filter = format!("--filter={filter}");
            // Checking out fetches what is missing.
            git.run(".", &["-c", config, "clone", "--quiet", &filter, &hub.url, &name]);
            same_refs(git, &name, "HEAD", "main");
            git.run(&name, &["-c", config, "log", "--patch"]);
            assert_eq!(git.run(&name, &["-c", config, "show", "HEAD:dir/file"]), "content 9");
        }
        let error = git.fail(
            ".",
            &["-c", config, "clone", "--no-checkout", "--filter=sparse:oid=main:file", &hub.url, "x"],
        );
        assert!(error.contains("filter 'sparse:oid' not supported"), "{error}");
    });
}

#[test]
fn what_is_not_here() {
    each(|git, hub, config| {
        git.init("c");
        let missing = "1".repeat(40);
        let error = git.fail("c", &["-c", config, "fetch", &hub.url, &missing]);
        assert!(error.contains(&format!("not our ref {missing}")), "{error}");
        let inner = git.rev("r", "main~4").to_string();
        git.run("c", &["-c", config, "fetch", "--quiet", &hub.url, &inner]);
        assert_eq!(git.rev("c", "FETCH_HEAD").to_string(), inner, "any commit can be asked for");
    });
}

#[test]
fn empty_repositories() {
    for program in Git::programs() {
        for version in VERSIONS {
            let git = Git::with_program(program);
            let config = format!("protocol.version={version}");
            let hub = Hub::new(Snapshot::from_packs(repo_row("refs/heads/trunk"), Vec::new(), Vec::new()));
            git.run(".", &["-c", &config, "clone", "--quiet", &hub.url, "c"]);
            if version == "2" {
                assert_eq!(git.run("c", &["symbolic-ref", "HEAD"]), "refs/heads/trunk");
            }
            git.commit("c", "file", "first\n", 0);
            git.run("c", &["-c", &config, "push", "--quiet", "origin", "HEAD:refs/heads/trunk"]);
            git.run(".", &["-c", &config, "clone", "--quiet", &hub.url, "d"]);
            assert_eq!(git.rev("d", "HEAD"), git.rev("c", "HEAD"));
            assert_eq!(git.run("d", &["symbolic-ref", "HEAD"]), "refs/heads/trunk");
        }
    }
}

#[test]
fn pushes() {
    each(|git, hub, config| {
        git.run(".", &["-c", config, "clone", "--quiet", &hub.url, "c"]);
        git.commit("c", "pushed", "pushed\n", 8000);
        git.run("c", &["tag", "-a", "-m", "t", "t1"]);
        git.run("c", &["-c", config, "push", "--quiet", "origin", "main", "t1", "main:refs/heads/b/new"]);
        let snapshot = hub.snapshot();
        let tip = git.rev("c", "main");
        assert_eq!(snapshot.find_ref("refs/heads/b/new").unwrap().oid, tip);
        assert_eq!(snapshot.find_ref("refs/tags/t1").unwrap().peeled, Some(tip));

        let output =
            git.command("c", &["-c", config, "push", "origin", "HEAD:refs/heads/again"]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("remote: welcome"), "{output:?}");
        git.run("c", &["-c", config, "push", "--quiet", "-o", "ci.skip", "-o", "x=y", "origin", ":again"]);
        assert_eq!(hub.last_push().push_options, ["ci.skip", "x=y"]);
        assert!(hub.snapshot().find_ref("refs/heads/again").is_none());

        let refused = "HEAD:refs/heads/protected";
        let error = git.fail("c", &["-c", config, "push", "origin", refused, "HEAD:refs/heads/fine"]);
        assert!(error.contains("[remote rejected] HEAD -> protected (protected branch)"), "{error}");
        assert!(hub.snapshot().find_ref("refs/heads/fine").is_some());
        let error =
            git.fail("c", &["-c", config, "push", "--atomic", "origin", refused, "HEAD:refs/heads/other"]);
        assert!(error.contains("protected branch") && error.contains("atomic push failed"), "{error}");
        assert!(hub.snapshot().find_ref("refs/heads/other").is_none());
        let error = git.fail("c", &["-c", config, "push", "origin", "HEAD:refs/stash"]);
        assert!(error.contains("(funny refname)"), "{error}");
        git.run("c", &["-c", config, "push", "--quiet", "origin", "main~1:refs/pr/1"]);
        assert_eq!(hub.snapshot().find_ref("refs/pr/1").unwrap().oid, git.rev("c", "main~1"));
    });
}

#[test]
fn a_refused_pack_is_said_to_be() {
    each(|git, hub, config| {
        git.run(".", &["-c", config, "clone", "--quiet", &hub.url, "c"]);
        // A tree with an entry that no server takes.
        let blob = git.rev("c", "HEAD:file");
        let tree = git.pipe("c", &["mktree"], false, format!("100644 blob {blob}\t.git\n").as_bytes()).stdout;
        let tree = String::from_utf8(tree).unwrap();
        let commit = git.run("c", &["commit-tree", "-m", "bad", tree.trim()]);
        let error = git.fail("c", &["-c", config, "push", "origin", &format!("{commit}:refs/heads/bad")]);
        assert!(error.contains("remote unpack failed") && error.contains("hasDotgit"), "{error}");
        assert!(error.contains("(unpacker error)"), "{error}");
    });
}

#[test]
fn mirrors() {
    each(|git, hub, config| {
        git.run(".", &["-c", config, "clone", "--quiet", "--mirror", &hub.url, "m"]);
        // v0 and v1 cannot ask for what they are not shown.
        git.run("m", &["update-ref", "refs/pr/1", "main"]);
        git.run("m", &["update-ref", "refs/convert/parquet", "side"]);
        let row = Repo { mirror: true, ..repo_row("refs/heads/main") };
        let copy = Hub::new(Snapshot::from_packs(row, Vec::new(), Vec::new()));
        for _ in 0..2 {
            git.run("m", &["-c", config, "push", "--quiet", "--mirror", &copy.url]);
            let refs = copy
                .snapshot()
                .refs()
                .iter()
                .map(|row| format!("{} {}", row.oid, row.name))
                .collect::<Vec<_>>();
            let expected = git.run("m", &["for-each-ref", "--format=%(objectname) %(refname)"]);
            assert_eq!(refs.join("\n"), expected);
            git.run("m", &["update-ref", "refs/pr/1", "main~1"]);
            git.run("m", &["update-ref", "-d", "refs/heads/side"]);
        }
    });
}
