//! The command line, with a server and without: the same commands, the same results.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::granary::{Granary, git};

/// Runs `check` with nobody owning the data directory, and with a server.
fn both_ways(check: impl Fn(&Granary)) {
    let granary = Granary::new();
    granary.ok("user create admin --admin");
    check(&granary);

    let granary = Granary::new();
    let server = granary.serve();
    check(&granary);
    assert_eq!(server.stop().0, Some(0), "{}", granary.log());
}

#[test]
fn users() {
    both_ways(|granary| {
        assert_eq!(granary.ok("user create Ann"), "user Ann created");
        assert!(granary.fails("user create ann").contains("'ann' is taken"));
        let list = granary.ok("user list");
        let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(
            lines.iter().map(|line| line[..3].to_vec()).collect::<Vec<_>>(),
            [vec!["admin", "admin", "active"], vec!["Ann", "user", "active"],]
        );
        granary.ok("user disable ann");
        assert!(granary.ok("user list").contains("Ann\tuser\tdisabled"));
        granary.ok("user enable ann");
        assert!(!granary.ok("user list").contains("disabled"));
        assert!(granary.fails("user disable nobody").contains("no user 'nobody'"));
    });
}

#[test]
fn tokens() {
    both_ways(|granary| {
        let token = granary.ok("token create admin --role write --name laptop");
        assert!(token.starts_with("hf_") && token.len() == 43 && !token.contains('\n'), "{token}");
        let listed = |granary: &Granary| {
            let list = granary.ok("token list admin");
            let line = list.lines().find(|line| line.contains("\tlaptop\t")).unwrap();
            line.split('\t').map(str::to_owned).collect::<Vec<_>>()
        };
        let fields = listed(granary);
        assert_eq!(fields[2..4], ["write", "active"]);
        granary.ok(&format!("token revoke {}", fields[0]));
        assert_eq!(listed(granary)[3], "revoked");

        let old = "glpat-0123456789abcdef";
        let imported = granary.run_with_input("token create admin --role read --import", &format!("{old}\n"));
        assert_eq!((imported.code, imported.stdout.trim_end()), (0, old));
        let again = granary.run_with_input("token create admin --role read --import", old);
        assert_eq!(again.code, 1);
        assert!(again.stderr.contains("exists already") && !again.stderr.contains(old), "{again:?}");
        assert_eq!(granary.run_with_input("token revoke --stdin", old).code, 0);
        assert_eq!(granary.run_with_input("token revoke --stdin", "another-unknown-token").code, 1);
        assert!(granary.fails("token revoke 999").contains("no token 999"));
        assert!(granary.fails("token create bob --role read").contains("no user 'bob'"));
    });
}

#[test]
fn repositories() {
    both_ways(|granary| {
        granary.ok("repo create admin/Model");
        granary.ok("repo create datasets/admin/data --public --mirror");
        assert!(granary.fails("repo create admin/model").contains("'admin/model' is taken"));
        assert!(granary.fails("repo create nobody/x").contains("no user 'nobody'"));
        let list = granary.ok("repo list");
        let lines: Vec<&str> = list.lines().map(|line| line.rsplit_once('\t').unwrap().0).collect();
        assert_eq!(lines, ["admin/Model\tprivate\t-", "datasets/admin/data\tpublic\tmirror"]);

        let line = |name: &str| {
            let list = granary.ok("repo list");
            let line = list.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.rsplit_once('\t').unwrap().0.to_owned()
        };
        assert_eq!(granary.ok("repo visibility admin/model public"), "repository admin/Model is public");
        assert_eq!(line("admin/Model"), "\tpublic\t-");
        granary.ok("repo visibility admin/model public");
        granary.ok("repo visibility admin/model private");
        assert_eq!(line("admin/Model"), "\tprivate\t-");
        assert_eq!(granary.ok("repo mirror admin/model on"), "repository admin/Model is a mirror");
        assert_eq!(line("admin/Model"), "\tprivate\tmirror");
        granary.ok("repo mirror admin/model off");
        assert_eq!(line("admin/Model"), "\tprivate\t-");
        assert!(granary.fails("repo visibility admin/none public").contains("no repository admin/none"));
        assert!(granary.fails("repo mirror admin/none on").contains("no repository admin/none"));

        granary.ok("repo rename admin/model admin/other");
        assert!(granary.fails("repo delete admin/model").contains("admin/model was renamed to admin/other"));
        assert!(granary.fails("repo rename admin/other datasets/admin/other").contains("stays what it is"));
        granary.ok("repo delete admin/other");
        assert!(granary.fails("repo delete admin/other").contains("no repository admin/other"));
        assert_eq!(granary.ok("repo list").lines().count(), 1);
    });
}

#[test]
fn import_and_export_round_trip() {
    both_ways(|granary| {
        let source = granary.path("source");
        fs::create_dir_all(&source).unwrap();
        git(&source, "init -q -b main .");
        fs::write(source.join("README.md"), "# Hello\n").unwrap();
        git(&source, "add README.md");
        git(&source, "commit -q -m first");
        git(&source, "tag v1");

        granary.ok("repo import source admin/hello --mirror");
        assert!(granary.fails("repo import source admin/hello --mirror").contains("exists"));
        granary.ok("repo export admin/hello exported.git");
        let exported = granary.path("exported.git");
        assert_eq!(git(&exported, "for-each-ref"), git(&source, "for-each-ref"));
        git(&exported, "fsck --full --strict");
        granary.ok("fsck");

        // What cannot be imported leaves no repository behind, and a redirect where it was.
        granary.fails("repo import nowhere admin/nothing");
        granary.ok("repo rename admin/hello admin/moved");
        granary.fails("repo import nowhere admin/hello");
        assert_eq!(granary.ok("repo list").lines().count(), 1);
        let renamed = granary.fails("repo delete admin/hello");
        assert!(renamed.contains("admin/hello was renamed to admin/moved"), "{renamed}");
        // What can be imported takes its place.
        granary.ok("repo import source admin/hello --public");
        let list = granary.ok("repo list");
        assert!(list.starts_with("admin/hello\tpublic\t") && list.lines().count() == 2, "{list}");
        granary.ok("repo export admin/hello again.git");
        assert_eq!(git(&granary.path("again.git"), "for-each-ref"), git(&source, "for-each-ref"));
        granary.ok("fsck");
    });
}

#[test]
fn blob_limit_of_a_repository() {
    both_ways(|granary| {
        let source = granary.path("source");
        fs::create_dir_all(&source).unwrap();
        git(&source, "init -q -b main .");
        fs::write(source.join("weights.bin"), vec![7; 3000]).unwrap();
        git(&source, "add weights.bin");
        git(&source, "commit -q -m first");

        let refusal = granary.fails("repo import source admin/small --blob-max 2KiB");
        assert!(refusal.contains("weights.bin"), "{refusal}");
        granary.ok("repo import source admin/large --blob-max 3000");
    });
}

#[test]
fn maintenance_backup_and_restore() {
    both_ways(|granary| {
        granary.ok("repo create admin/model");
        granary.ok("gc --dry-run");
        assert!(granary.ok("stats").ends_with("\nall               0      0       0      0       0      -"));
        let stats = granary.ok("stats --json");
        assert!(stats.starts_with(r#"{"all":{"logical_bytes":0,"#), "{stats}");
        let one = granary.ok("stats --repo admin/model --json");
        assert!(one.starts_with(r#"{"repos":[{"logical_bytes":0,"#), "{one}");
        assert!(granary.fails("stats --repo admin/none").contains("no repository admin/none"));
        granary.ok("gc --purge admin/model");
        granary.ok("maintain");
        granary.ok("maintain --now");
        granary.ok("backup saved");
        assert!(granary.path("saved").join("backup.json").exists());
        assert!(granary.fails("gc --purge admin/none").contains("no repository admin/none"));

        let restored = Granary::new();
        let backup = granary.path("saved");
        restored.ok(&format!("restore {}", backup.display()));
        assert!(restored.ok("repo list").starts_with("admin/model\t"));
        restored.ok("fsck");
        restored.fails(&format!("restore {}", backup.display()));
    });
}

#[test]
fn quotas_of_large_objects() {
    both_ways(|granary| {
        assert_eq!(granary.ok("quota admin"), "used\t0\nreserved\t0\nlimit\tnone\tdefault");
        assert_eq!(granary.ok("quota admin 10TiB"), "used\t0\nreserved\t0\nlimit\t10995116277760\tset");
        assert_eq!(granary.ok("quota admin none"), "used\t0\nreserved\t0\nlimit\tnone\tset");
        granary.ok("quota admin default");
        assert!(granary.fails("quota nobody 1GiB").contains("no user or organisation 'nobody'"));
    });
    let granary = Granary::new().with("GRANARY__LFS__QUOTA", "1KiB");
    granary.ok("user create ann");
    assert!(granary.ok("quota ann").ends_with("limit\t1024\tdefault"));
    assert!(granary.ok("quota ann 0").ends_with("limit\t0\tset"));
}

#[test]
fn large_objects_by_command() {
    both_ways(|granary| {
        granary.ok("repo create admin/partial --lfs-incomplete");
        let list = granary.ok("repo list");
        assert!(list.starts_with("admin/partial\tprivate\tlfs-incomplete\t"), "{list}");
        let oid = "ab".repeat(32);
        let missing = granary.fails(&format!("lfs remove admin/partial {oid}"));
        assert!(missing.contains(&format!("no object {oid} in admin/partial")), "{missing}");
        assert!(granary.ok("lfs rotate-keys").contains("new key"));
    });
}

#[test]
fn large_objects_stay_where_they_are_until_they_are_said_to_have_moved() {
    let granary = Granary::new();
    let source = granary.path("source");
    fs::create_dir_all(&source).unwrap();
    granary.ok("user create admin --admin");
    git(&source, "init -q -b main .");
    let content = b"large";
    let oid = "d35c416a85b807e9b5384915d6ebb4a9f7352713efd89857b45a242f473728a9";
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", content.len());
    fs::write(source.join("large.bin"), pointer).unwrap();
    git(&source, "add large.bin");
    git(&source, "commit -q -m first");
    let store = source.join(format!(".git/lfs/objects/{}/{}", &oid[..2], &oid[2..4]));
    fs::create_dir_all(&store).unwrap();
    fs::write(store.join(oid), content).unwrap();
    granary.ok("repo import source admin/model");

    let nas = granary.path("nas");
    let granary = granary.with("GRANARY__STORAGE__URL", &format!("file:{}", nas.display()));
    for words in ["user list", "serve --listen 127.0.0.1:0"] {
        let refused = granary.fails(words);
        assert!(refused.contains("1 large objects of this hub are in the data directory"), "{refused}");
        assert!(refused.contains("granary lfs moved"), "{refused}");
    }
    let refused = granary.fails("lfs moved");
    assert!(refused.contains("there is no directory") && !nas.exists(), "{refused}");
    fs::create_dir(&nas).unwrap();
    let refused = granary.fails("lfs moved");
    assert!(refused.contains("1 of 1 objects are not in"), "{refused}");
    copy(&granary.data_dir().join("objects"), &nas.join("objects"));
    let moved = granary.ok("lfs moved");
    assert!(moved.starts_with("1 objects are in "), "{moved}");
    assert!(moved.contains("There was no file granary-store with them"), "{moved}");
    fs::remove_dir_all(granary.data_dir().join("objects")).unwrap();
    granary.ok("fsck");
    granary.ok("repo export admin/model exported.git");
    let exported =
        granary.path("exported.git").join(format!("lfs/objects/{}/{}/{oid}", &oid[..2], &oid[2..4]));
    assert_eq!(fs::read(exported).unwrap(), content);

    // Not mounted: nothing is served, checked or written there.
    let server = granary.path("server");
    fs::rename(&nas, &server).unwrap();
    for exists in [false, true] {
        if exists {
            fs::create_dir(&nas).unwrap();
        }
        for words in ["fsck", "maintain --now", "serve --listen 127.0.0.1:0"] {
            let refused = granary.fails(words);
            assert!(refused.contains("is it mounted"), "{refused}");
        }
    }
    fs::remove_dir(&nas).expect("it is still empty");
    fs::rename(&server, &nas).unwrap();
    granary.ok("fsck");

    // A copy that has its mark is followed without a word.
    let other = granary.path("other");
    copy(&nas, &other);
    let granary = granary.with("GRANARY__STORAGE__URL", &format!("file:{}", other.display()));
    assert!(!granary.ok("lfs moved").contains("granary-store"));
    granary.ok("fsck");
}

pub fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn doctor_says_what_is_in_force() {
    both_ways(|granary| {
        let report = granary.ok("doctor");
        for expected in [
            "ok   data directory: ",
            "free space: ",
            "ok   schema: version ",
            "ok   clock: ",
            "ok   large objects: ",
            "blob_bytes = \"10MiB\"",
        ] {
            assert!(report.contains(expected), "{expected}: {report}");
        }
    });
    let granary = Granary::new().with("GRANARY__STORAGE__S3_SECRET_KEY", "hush-hush");
    let nothing = granary.run("doctor");
    assert!(!nothing.stdout.contains("hush-hush"), "{nothing:?}");
    assert_eq!(nothing.code, 1);
    assert!(nothing.stdout.contains("BAD  data directory: "), "{nothing:?}");
    assert!(!granary.data_dir().exists());
}

#[test]
fn a_nearly_full_disk_refuses_what_writes_and_nothing_else() {
    let granary = Granary::new();
    granary.ok("user create admin --admin");
    let granary = granary.with("GRANARY__STORAGE__MIN_FREE", "1000TiB");
    for refused in ["repo create admin/x", "user create ann", "token create admin --role read"] {
        let message = granary.fails(refused);
        assert!(
            message.contains("the disk is nearly full") && message.contains("storage.min_free"),
            "{message}"
        );
    }
    granary.ok("user list");
    granary.ok("gc");
    granary.ok("maintain");
    assert_eq!(granary.run("doctor").code, 1);
}

#[test]
fn wrong_usage_and_configuration_exit_with_2() {
    let granary = Granary::new();
    for words in ["", "nonsense", "user create api", "repo create x", "serve --listen here"] {
        assert_eq!(granary.run(words).code, 2, "{words}");
    }
    assert_eq!(granary.run("user list").code, 1, "there is no data");
    fs::write(granary.path("granary.toml"), "[limits]\nblobs = 1\n").unwrap();
    let ran = granary.run("user list --config granary.toml");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("granary.toml") && ran.stderr.contains("unknown field `blobs`"), "{ran:?}");
    let ran = granary.with("GRANARY__LIMITS__BLOBS", "1").run("user list");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("GRANARY__LIMITS__BLOBS: unknown field"), "{ran:?}");
}

#[test]
fn fault_points_are_listed() {
    let list = Granary::new().ok("debug faults");
    assert!(list.lines().any(|line| line == "apply.before-commit"), "{list}");
    assert!(list.lines().all(|line| line.split_once('.').is_some()));
}

#[test]
fn files_are_for_their_owner_alone() {
    let granary = Granary::new();
    fs::create_dir(granary.data_dir()).unwrap();
    fs::set_permissions(granary.data_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = granary.serve();
    let mut seen = 0;
    for entry in fs::read_dir(granary.data_dir()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.file_name());
        seen += 1;
    }
    assert!(seen >= 4, "{seen} files");
    drop(server);
}
