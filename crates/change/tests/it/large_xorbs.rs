//! Large objects that came in xorbs, on the server's own ways: push, export, backup, fsck.

use database::{Clock, Oid, Quota, Repo};
use xet::hash::chunk_hash;
use xet::merkle::Tree;
use xet::shard::{self, Term};
use xet::xorb::{Compression, Limits, Writer};

use crate::hub::{Hub, Large, hub, open, open_with, refused};

const MAIN: &str = "refs/heads/main";

/// As `hf` does.
async fn bring(hub: &Hub, repo: &Repo, large: &Large) {
    let access = || auth::Authorized::<auth::Propose>::system("test", repo.clone());
    let (mut xorb, mut tree) = (Writer::new(Limits::default()), Tree::default());
    for chunk in large.bytes.chunks(1000) {
        xorb.push(chunk, Compression::Lz4).unwrap();
        tree.push(chunk_hash(chunk), chunk.len() as u64);
    }
    let (bytes, index) = xorb.finish().unwrap();
    let (xorb_hash, chunk_end) = (index.xorb_hash(), index.chunks());
    let objects = hub.changes.objects();
    let mut receiving = objects.xet().receive_xorb(access(), xorb_hash, None).await.unwrap();
    receiving.write(bytes.into()).await.unwrap();
    receiving.finish().await.unwrap();
    let term = Term { xorb_hash, raw_bytes: index.raw_len(), chunk_start: 0, chunk_end };
    let verification = [index.range_hash(0..chunk_end).unwrap()];
    let mut shard = shard::Writer::default();
    shard.push_file(&tree.file_hash(), &[term], Some(&verification), Some(large.sha256.0));
    let registered = objects.register_shard(access(), Quota::Exempt, shard.finish().into(), |_| {}).await;
    assert_eq!(registered.unwrap()[0].size, large.bytes.len() as u64);
}

async fn pushed(hub: &Hub, repo: &Repo, larges: &[&Large]) {
    let git = hub.git("work");
    let mut tip = git.commit("README.md", b"text");
    for large in larges {
        tip = git.commit(&format!("{}.bin", &large.sha256.to_string()[..8]), &large.pointer());
    }
    let report = hub.push(repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    assert!(refused(&report).is_empty(), "{report:?}");
}

#[tokio::test]
async fn they_are_pushed_exported_backed_up_and_checked_as_others_are() {
    let hub = hub().await;
    let [chunked, whole] = ["in xorbs", "whole"].map(Large::new);
    let repo = hub.repo("model").await;
    bring(&hub, &repo, &chunked).await;
    hub.upload(&repo, &whole).await;
    pushed(&hub, &repo, &[&chunked, &whole]).await;
    let checked = hub.changes.fsck(None).await.unwrap();
    assert_eq!((checked.large, checked.xorbs, checked.findings), (1, 1, vec![]));

    let out = hub.path("out.git");
    let now = hub.changes.database().repo(repo.id).unwrap().unwrap();
    let report = hub.changes.export(&now, out.clone()).await.unwrap();
    assert_eq!((report.large, report.large_missing.len()), (2, 0));
    assert_eq!(std::fs::read(out.join("lfs/objects").join(chunked.path())).unwrap(), chunked.bytes);

    let backup = hub.path("backup");
    let report = hub.changes.backup(backup.clone()).await.unwrap();
    assert_eq!((report.large, report.xorbs), (1, 1));
    let (restored, apart, nas) = (hub.path("restored"), hub.path("apart"), hub.path("nas"));
    for report in [
        change::restore(&backup, &restored, None).await.unwrap(),
        change::restore(&backup, &apart, Some(&nas)).await.unwrap(),
    ] {
        assert_eq!((report.large, report.xorbs), (1, 1));
    }
    for (changes, root) in [
        (open(&restored, Clock::default()).await, &restored),
        (open_with(&apart, Clock::default(), Some(&nas)).await, &nas),
    ] {
        let checked = changes.fsck(None).await.unwrap();
        assert_eq!((checked.large, checked.xorbs, checked.findings), (1, 1, vec![]));
        let link = changes.database().link(repo.id, &chunked.sha256).unwrap().unwrap();
        let object = changes.objects().linked(&link);
        let mut body = object.reader(0..object.size).await.unwrap().unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
        assert_eq!(bytes, chunked.bytes);
        let xorb = changes.database().xorbs_after(database::XorbId(0), 9).unwrap().remove(0);
        std::fs::write(root.join(xorb.storage_key()), b"rotten").unwrap();
        let findings = changes.fsck(None).await.unwrap().findings;
        assert!(findings.len() == 1 && findings[0].contains(&xorb.storage_key()), "{findings:?}");
    }
    std::fs::remove_dir_all(backup.join("xorbs")).unwrap();
    assert!(change::restore(&backup, &hub.path("third"), None).await.is_err());
}
