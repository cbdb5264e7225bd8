//! Objects that came in xorbs, beside those that came whole.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use auth::{Propose, Read};
use bytes::Bytes;
use database::{LinkState, Proof, Quota, Repo, Sha256};
use lfs::wire::batch::Outcome;
use lfs::{Object, OpenError, Resolved, ShardError, Why};
use xet::shard::{Term, Writer};
use xet::xorb::{self, Compression};
use xet::{RegisteredFile, chunker};

use crate::bucket::{enforcing, hub_on};
use crate::double::Double;
use crate::support::{Hub, hub, list, list_offering_parts, sha, upload_of};

/// A file of several chunks.
fn content(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(byte).take(len).collect()
}

/// What its client sends, saying that it has this SHA-256.
fn made(content: &[u8], sha256: Sha256) -> (xet::Hash, Vec<u8>, Vec<u8>) {
    let mut packed = xorb::Writer::new(xorb::Limits::default());
    let mut chunker = chunker::Chunker::default();
    let mut tree = xet::merkle::Tree::default();
    let mut add = |chunk: &[u8]| {
        packed.push(chunk, Compression::Lz4).unwrap();
        tree.push(xet::hash::chunk_hash(chunk), chunk.len() as u64);
    };
    chunker.push(content, &mut add);
    chunker.finish(&mut add);
    let (bytes, index) = packed.finish().unwrap();
    let (xorb_hash, chunk_end) = (index.xorb_hash(), index.chunks());
    let term = Term { xorb_hash, raw_bytes: index.raw_len(), chunk_start: 0, chunk_end };
    let mut shard = Writer::default();
    let verification = [index.range_hash(0..chunk_end).unwrap()];
    shard.push_file(&tree.file_hash(), &[term], Some(&verification), Some(sha256.0));
    (xorb_hash, bytes, shard.finish())
}

impl Hub {
    async fn bring(&self, repo: &Repo, content: &[u8], sha256: Sha256) -> Result<RegisteredFile, ShardError> {
        let (hash, bytes, shard) = made(content, sha256);
        let access = self.may(&self.owner, repo);
        let mut receiving = self.objects.xet().receive_xorb(access, hash, None).await.unwrap();
        receiving.write(bytes.into()).await.unwrap();
        receiving.finish().await.unwrap();
        let (access, quota) = (self.may(&self.owner, repo), Quota::Default(None));
        let registered = self.objects.register_shard(access, quota, shard.into(), |_| {}).await?;
        Ok(registered[0])
    }

    /// In xorbs, as it is.
    async fn bring_true(&self, repo: &Repo, content: &[u8]) -> RegisteredFile {
        self.bring(repo, content, sha(content)).await.unwrap()
    }

    async fn settled(&self, repo: &Repo, sha256: Sha256) {
        for _ in 0..1000 {
            let link = self.db.link(repo.id, &sha256).unwrap().unwrap();
            let open = |backing: database::Backing| backing.proof == Proof::Possessed;
            if !link.backing.is_some_and(open) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{sha256} is still not proven");
    }

    fn state(&self, repo: &Repo, sha256: Sha256) -> LinkState {
        self.db.link(repo.id, &sha256).unwrap().unwrap().state
    }

    async fn resolved(&self, repo: &Repo, content: &[u8]) -> Object {
        let access = self.may::<Read>(&self.owner, repo);
        let (sha256, size) = (sha(content), content.len() as u64);
        match self.objects.resolve(&access, sha256, size, "attachment").await.unwrap() {
            Resolved::Here(object) => object,
            Resolved::Elsewhere(url) => panic!("{url}"),
        }
    }

    fn xet_hash(&self, repo: &Repo, content: &[u8]) -> Option<xet::Hash> {
        let access = self.may::<Read>(&self.owner, repo);
        self.objects.xet_hash(&access, sha(content), content.len() as u64).unwrap()
    }
}

async fn bytes(object: &Object, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut body = object.reader(range.clone()).await.unwrap().unwrap();
    assert_eq!(body.remaining(), range.end - range.start);
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

#[tokio::test]
async fn what_came_in_xorbs_is_read_as_what_came_whole() {
    let hub = hub().await;
    let content = content(1, 700_000);
    let sha256 = sha(&content);
    let registered = hub.bring_true(&hub.repo, &content).await;
    assert!(registered.proof == Proof::Possessed && !registered.was_here);
    let pointer = (sha256, content.len() as u64);
    assert_eq!(hub.objects.require(hub.repo.id, &[pointer]).await.unwrap(), [], "a ref may point at it");
    let link = hub.offered(&hub.owner, &hub.repo, sha256).await.unwrap();
    assert_eq!(hub.get(&link.href).await, content);
    let object = hub.resolved(&hub.repo, &content).await;
    assert_eq!(bytes(&object, 100_000..600_001).await, content[100_000..600_001]);
    assert!(object.reader(5..5).await.unwrap().is_none());
    assert_eq!(hub.xet_hash(&hub.repo, &content), Some(registered.hash));
    assert_eq!(hub.xet_hash(&hub.fork, &content), None);
    hub.settled(&hub.repo, sha256).await;
    assert_eq!(hub.proof(&hub.repo, sha256), Some(Proof::Verified));
    assert_eq!(hub.files(), [""; 0], "nothing of it is stored whole");
    let again = hub.upload(&hub.repo, &list(&[&content])).await;
    assert_eq!(again.objects[0].outcome, Outcome::Present);
    let access = hub.may::<Read>(&hub.owner, &hub.repo);
    let of = [(sha256, 5), pointer, (sha(b""), 0), (sha(b"x"), 1)];
    let hashes = hub.objects.xet_hashes(&access, &of).unwrap();
    assert_eq!(hashes, [None, Some(registered.hash), None, None]);
    assert_eq!(hub.objects.check_objects(true, |_| {}).await.unwrap().objects, 0);
    let of_repo = hub.objects.check_objects_of(hub.repo.id, true, |finding| panic!("{finding}")).await;
    assert_eq!(of_repo.unwrap().objects, 0);
    hub.assert_sound();
}

#[tokio::test]
async fn a_lie_harms_nobody_else() {
    let hub = hub().await;
    let (truth, lie) = (content(2, 400_000), content(3, 400_000));
    let sha256 = sha(&truth);
    hub.bring(&hub.repo, &lie, sha256).await.unwrap();
    // Until it is found out, it is not here for others.
    let elsewhere = hub.upload(&hub.fork, &list(&[&truth])).await;
    assert!(matches!(elsewhere.objects[0].outcome, Outcome::Upload { .. }));
    assert_eq!(hub.offered(&hub.owner, &hub.fork, sha256).await.unwrap_err().0, 404);
    hub.store(&hub.fork, &truth).await;
    hub.settled(&hub.repo, sha256).await;
    assert_eq!(hub.state(&hub.repo, sha256), LinkState::Corrupt);
    let unmet = hub.objects.require(hub.repo.id, &[(sha256, truth.len() as u64)]).await.unwrap();
    assert_eq!(unmet[0].why, Why::Corrupt);
    assert_eq!(hub.objects.counters().objects_corrupt.load(Relaxed), 1);
    let access = hub.may::<Read>(&hub.owner, &hub.repo);
    let denied = hub.objects.resolve(&access, sha256, truth.len() as u64, "attachment").await;
    assert!(matches!(denied, Err(OpenError::Corrupt)));
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().used, truth.len() as u64);
    // The truth heals it.
    hub.bring_true(&hub.repo, &truth).await;
    hub.settled(&hub.repo, sha256).await;
    assert_eq!(hub.state(&hub.repo, sha256), LinkState::Live);
    let object = hub.resolved(&hub.repo, &truth).await;
    assert_eq!(bytes(&object, 0..object.size).await, truth);
    hub.assert_sound();
}

#[tokio::test]
async fn of_two_files_by_one_name_the_proven_one_counts() {
    let hub = hub().await;
    let (truth, lie, other) = (content(4, 300_000), content(5, 300_000), content(6, 200_000));
    let sha256 = sha(&truth);
    hub.possess(&hub.repo, &lie, sha256).await;
    let refused = hub.bring(&hub.repo, &other, sha256).await.unwrap_err();
    assert!(matches!(refused, ShardError::OtherSha256 { .. }), "{refused}");
    assert_eq!(hub.proof(&hub.repo, sha256), Some(Proof::Possessed), "a second lie changes nothing");
    let taken = hub.bring_true(&hub.repo, &truth).await;
    assert_eq!((taken.proof, taken.was_here), (Proof::Verified, false));
    let object = hub.resolved(&hub.repo, &truth).await;
    assert_eq!(bytes(&object, 0..object.size).await, truth);
    // And nothing takes its place any more.
    assert!(matches!(hub.bring(&hub.repo, &other, sha256).await, Err(ShardError::OtherSha256 { .. })));
    let kept = hub.bring(&hub.repo, &lie, sha256).await.unwrap();
    assert!(kept.was_here && kept.proof == Proof::Verified);
    assert_eq!(bytes(&hub.resolved(&hub.repo, &truth).await, 0..300_000).await, truth);
    assert_eq!(hub.db.usage(&"acme".parse().unwrap()).unwrap().used, truth.len() as u64);
    hub.assert_sound();
}

impl Hub {
    /// In xorbs, and nobody computes its SHA-256 yet.
    async fn possess(&self, repo: &Repo, content: &[u8], sha256: Sha256) {
        let (hash, packed, shard) = made(content, sha256);
        let cas = self.objects.xet();
        let mut receiving =
            cas.receive_xorb(self.may::<Propose>(&self.owner, repo), hash, None).await.unwrap();
        receiving.write(Bytes::from(packed)).await.unwrap();
        receiving.finish().await.unwrap();
        let checked = cas.check_shard(shard.into(), |_| {}).await.unwrap().objects().unwrap();
        cas.commit_shard(self.may(&self.owner, repo), Quota::Exempt, checked).await.unwrap();
        assert_eq!(self.proof(repo, sha256), Some(Proof::Possessed));
    }
}

#[tokio::test]
async fn what_is_not_proven_keeps_nobody_from_bringing_the_object() {
    let hub = hub().await;
    let (truth, lie) = (content(21, 300_000), content(22, 300_000));
    let sha256 = sha(&truth);
    hub.possess(&hub.repo, &lie, sha256).await;
    let mine = hub.upload(&hub.repo, &list(&[&truth])).await;
    assert_eq!(mine.objects[0].outcome, Outcome::Present, "its uploader says so");
    let theirs = hub.upload_as(&hub.other, &hub.repo, &list(&[&truth])).await;
    let grant = hub.grant(&upload_of(&theirs.objects[0]).href);
    hub.put(&grant, &truth).await.unwrap();
    assert_eq!(hub.proof(&hub.repo, sha256), Some(Proof::Verified));
    assert_eq!(bytes(&hub.resolved(&hub.repo, &truth).await, 0..300_000).await, truth);
    hub.objects.sweep().await.unwrap();
    assert_eq!(hub.db.xet_stats().unwrap().files, 0);
    hub.assert_sound();
}

#[tokio::test]
async fn what_lies_in_a_bucket_waits_for_what_is_in_xorbs() {
    for (seed, is_lie) in [(23, true), (25, false)] {
        let double = Double::start().await;
        let hub = hub_on(&double, enforcing()).await;
        let truth = content(seed, 300_000);
        let sha256 = sha(&truth);
        let (href, grant) = crate::bucket::announce(&hub, &truth).await;
        let said = if is_lie { content(24, 300_000) } else { truth.clone() };
        hub.possess(&hub.repo, &said, sha256).await;
        double.put(&href, &truth, false);
        crate::bucket::verify(&hub, &grant).await.unwrap();
        hub.objects.require(hub.repo.id, &[(sha256, 300_000)]).await.unwrap();
        let link = hub.db.link(hub.repo.id, &sha256).unwrap().unwrap();
        assert_eq!((link.state, hub.proof(&hub.repo, sha256)), (LinkState::Live, Some(Proof::Verified)));
        assert_eq!(link.xet().is_none(), is_lie, "the first that is true stays");
        hub.assert_sound();
    }
}

#[tokio::test]
async fn an_object_in_both_ways_stays_what_its_readers_were_told() {
    let hub = hub().await;
    let content = content(7, 300_000);
    let sha256 = hub.store(&hub.repo, &content).await;
    let here = hub.bring_true(&hub.repo, &content).await;
    assert!(here.was_here && here.proof == Proof::Verified, "the whole one stays");
    assert_eq!(hub.xet_hash(&hub.repo, &content), None);
    hub.bring_true(&hub.fork, &content).await;
    hub.settled(&hub.fork, sha256).await;
    let backing = |repo: &Repo| hub.db.link(repo.id, &sha256).unwrap().unwrap().backing.unwrap().id;
    assert_ne!(backing(&hub.fork), backing(&hub.repo));
    assert_eq!(hub.objects.sweep().await.unwrap().xet_files, 0);
    assert!(hub.xet_hash(&hub.fork, &content).is_some());
    assert_eq!(bytes(&hub.resolved(&hub.fork, &content).await, 0..300_000).await, content);
    hub.assert_sound();

    // And the other way round: who brings whole what is here in xorbs stores nothing.
    let other = self::content(8, 300_000);
    hub.bring_true(&hub.repo, &other).await;
    hub.settled(&hub.repo, sha(&other)).await;
    let files = hub.files().len();
    hub.store(&hub.fork, &other).await;
    hub.clock.advance_ms(crate::support::DAY_MS * 3);
    hub.objects.sweep().await.unwrap();
    assert_eq!(hub.files().len(), files);
    assert!(hub.xet_hash(&hub.fork, &other).is_some());
    hub.assert_sound();
}

#[tokio::test]
async fn proofs_that_did_not_end_are_taken_up_again() {
    let hub = hub().await;
    let content = content(9, 300_000);
    let sha256 = sha(&content);
    let (hash, packed, shard) = made(&content, sha256);
    let cas = hub.objects.xet();
    let mut receiving =
        cas.receive_xorb(hub.may::<Propose>(&hub.owner, &hub.repo), hash, None).await.unwrap();
    receiving.write(Bytes::from(packed.clone())).await.unwrap();
    let xorb = receiving.finish().await.unwrap().xorb;
    let checked = cas.check_shard(shard.into(), |_| {}).await.unwrap().objects().unwrap();
    cas.commit_shard(hub.may(&hub.owner, &hub.repo), Quota::Exempt, checked).await.unwrap();
    // A store that is away says nothing of what is there.
    let path = hub.directory.path().join(xorb.storage_key());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(hub.objects.resume_claims().await.unwrap(), 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(hub.proof(&hub.repo, sha256), Some(Proof::Possessed));
    std::fs::write(&path, packed).unwrap();
    assert_eq!(hub.objects.resume_claims().await.unwrap(), 1);
    hub.settled(&hub.repo, sha256).await;
    assert_eq!(hub.proof(&hub.repo, sha256), Some(Proof::Verified));
    assert_eq!(hub.objects.resume_claims().await.unwrap(), 0);
}

#[tokio::test]
async fn from_a_bucket_it_comes_through_the_hub() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let content = content(10, 700_000);
    let sha256 = sha(&content);
    hub.bring_true(&hub.repo, &content).await;
    let link = hub.offered(&hub.owner, &hub.repo, sha256).await.unwrap();
    assert!(link.href.starts_with(crate::support::BASE), "{}", link.href);
    assert_eq!(hub.get(&link.href).await, content);
    let object = hub.resolved(&hub.repo, &content).await;
    assert_eq!(bytes(&object, 5..699_999).await, content[5..699_999]);
    hub.settled(&hub.repo, sha256).await;
    assert_eq!(hub.proof(&hub.repo, sha256), Some(Proof::Verified));
    let access = hub.may::<Read>(&hub.owner, &hub.repo);
    let hash = hub.xet_hash(&hub.repo, &content).unwrap();
    let plan = hub.objects.xet().reconstruct(&access, &hash, None).await.unwrap();
    let addresses = hub.objects.xet().addresses("http://hub/x").await.unwrap();
    let url = addresses.of(&plan.fetches[0].xorb, &plan.fetches[0].ranges[0].bytes);
    assert!(url.contains("/xorbs/") && url.contains("SignedHeaders=host%3Brange"), "{url}");
    let parts = hub.upload(&hub.fork, &list_offering_parts(&[b"small"])).await;
    assert!(upload_of(&parts.objects[0]).href.contains("X-Amz-"), "what comes whole goes past the hub");
    hub.assert_sound();
}

/// In a bucket; its uploader and everybody else are sent there.
#[tokio::test]
async fn what_is_read_often_is_stored_as_one_object_besides() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let content = content(9, 700_000);
    let (sha256, size) = (sha(&content), content.len() as u64);
    let registered = hub.bring_true(&hub.repo, &content).await;
    hub.settled(&hub.repo, sha256).await;
    let times = hub.objects.config().whole_after;
    for _ in 0..2 * times {
        let object = hub.resolved(&hub.repo, &content).await;
        assert!(double.state().objects.keys().all(|key| !key.starts_with("objects/")), "not yet");
        assert_eq!(bytes(&object, 0..size / 2).await, content[..content.len() / 2]);
    }
    let whole = async || {
        let access = hub.may::<Read>(&hub.owner, &hub.repo);
        match hub.objects.resolve(&access, sha256, size, "attachment").await.unwrap() {
            Resolved::Here(_) => None,
            Resolved::Elsewhere(url) => Some(double.key_of(&url)),
        }
    };
    let mut key = None;
    for _ in 0..1000 {
        key = whole().await;
        if key.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let key = key.expect("because it was read often");
    assert_eq!(double.state().objects[&key], content);
    assert_eq!(hub.objects.counters().wholes_made.load(Relaxed), 1);
    let link = hub.offered(&hub.owner, &hub.repo, sha256).await.unwrap();
    assert_eq!(double.key_of(&link.href), key);
    assert_eq!(hub.xet_hash(&hub.repo, &content), Some(registered.hash), "and in xorbs, as before");
    assert_eq!(hub.objects.check_objects(true, |finding| panic!("{finding}")).await.unwrap().objects, 1);
    double.state().objects.insert(key, b"other".to_vec());
    let mut found = Vec::new();
    hub.objects.check_objects_of(hub.repo.id, true, |finding| found.push(finding)).await.unwrap();
    assert_eq!(found.len(), 1);
}
