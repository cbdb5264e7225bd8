//! The process dies at each point: nothing that was told is lost, and nothing that was not stays for ever.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use database::Clock;
use xet::xorb::Compression;

use crate::store::{DAY_MS, Made, config, files, hub, made, open};
use crate::support::make;

const DIRECTORY: &str = "XET_CRASH_DIRECTORY";

fn file() -> Made {
    made(&make("random", 41, 700_000), 8, Compression::None)
}

/// What the child does: an upload, and then the end of all it brought.
#[tokio::test]
async fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let clock = Clock::default();
    let (db, cas) = open(Path::new(&directory), &clock, config());
    let repo = db.repo(database::RepoId(1)).unwrap().unwrap();
    let access = || auth::Authorized::system("test", repo.clone());
    let made = file();
    for (hash, bytes, _) in &made.xorbs {
        let mut receiving = cas.receive_xorb(access(), *hash, None).await.unwrap();
        receiving.write(Bytes::copy_from_slice(bytes)).await.unwrap();
        receiving.finish().await.unwrap();
    }
    let checked = cas.check_shard(made.shard().into(), |_| {}).await.unwrap().objects().unwrap();
    let files = cas.commit_shard(access(), database::Quota::Exempt, checked).await.unwrap();
    db.remove_link(repo.id, files[0].sha256).await.unwrap();
    for _ in 0..3 {
        cas.sweep().await.unwrap();
        clock.advance_ms(40 * DAY_MS);
    }
}

#[expect(clippy::disallowed_methods, reason = "the test is its own child")]
fn run(directory: &Path, fault: &str) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "crash::child"]).env(DIRECTORY, directory).env("GRANARY_FAULT", fault);
    child.output().unwrap().status.success()
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_is_left() {
    for fault in [
        "xet.xorb-staged",
        "xet.xorb-durable",
        "xet.xorb-durable:2",
        "xet.shard-committed",
        "xet.key-deleted",
    ] {
        let hub = hub().await;
        hub.db.close().await;
        assert!(!run(hub.directory.path(), fault), "{fault} is reached");
        let clock = Clock::default();
        let (db, cas) = open(hub.directory.path(), &clock, config());
        assert_eq!(db.check().unwrap(), [""; 0], "{fault}");
        let repo = db.repo(hub.repo.id).unwrap().unwrap();
        let made = file();
        let is_there = db.xet_file_of(repo.id, &made.hash.into()).unwrap().is_some();
        assert_eq!(is_there, fault == "xet.shard-committed", "{fault}");
        let mut findings = Vec::new();
        cas.check(true, |finding| findings.push(finding.to_string())).await.unwrap();
        assert_eq!(findings, [""; 0], "{fault}");
        if is_there {
            let sha256 = database::Sha256(made.sha256);
            db.remove_link(repo.id, sha256).await.unwrap();
        }
        for _ in 0..4 {
            clock.advance_ms(40 * DAY_MS);
            cas.sweep().await.unwrap();
        }
        assert_eq!(files(hub.directory.path()), [""; 0], "{fault}");
        assert_eq!(db.xet_stats().unwrap(), Default::default(), "{fault}");
        db.close().await;
        // The same once more, to its end.
        assert!(run(hub.directory.path(), "none"), "{fault}");
        assert_eq!(files(hub.directory.path()), [""; 0], "{fault}");
    }
}
