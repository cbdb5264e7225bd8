//! Objects that go to a bucket, past the hub or through it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use auth::transfer::Grant;
use database::{Clock, Proof};
use lfs::wire::batch::{Family, Outcome, Transfer};
use lfs::{BatchError, Batching, ReceiveError, Unmet, Why};
use storage::Capabilities;

use crate::double::Double;
use crate::support::{DAY_MS, Hub, config, list, list_offering_parts, request, sha, with};

const WEIGHTS: &[u8] = b"weights of a model";

pub fn enforcing() -> Capabilities {
    Capabilities { signed_checksum: true, head_checksum: true, multipart: true, ..Capabilities::default() }
}

pub async fn hub_on(double: &Double, can: Capabilities) -> Hub {
    let clock = Clock::default();
    let store = double.store(&clock, can).await;
    with(tempfile::tempdir().unwrap(), clock, store, config()).await
}

/// Where the client is to put the object, and the grant of its verify.
pub async fn announce(hub: &Hub, bytes: &[u8]) -> (String, Grant) {
    let up = hub.upload(&hub.repo, &list(&[bytes])).await;
    match &up.objects[0].outcome {
        Outcome::Upload { upload, verify: Some(verify) } => (upload.href.clone(), hub.grant(&verify.href)),
        outcome => panic!("{outcome:?}"),
    }
}

pub async fn verify(hub: &Hub, grant: &Grant) -> Result<(), ReceiveError> {
    hub.objects.verify(hub.redeem(grant), grant, (grant.sha256, grant.size)).await
}

pub struct Parts {
    pub hrefs: Vec<String>,
    pub complete: Grant,
}

pub async fn announce_parts(hub: &Hub, bytes: &[u8]) -> Parts {
    let up = hub.upload(&hub.repo, &list_offering_parts(&[bytes])).await;
    assert_eq!(up.transfer, Transfer::Multipart);
    match &up.objects[0].outcome {
        Outcome::Multipart { parts, complete, chunk_size: 40, verify: None } => {
            Parts { hrefs: parts.clone(), complete: hub.grant(&complete.href) }
        }
        outcome => panic!("{outcome:?}"),
    }
}

pub async fn complete(hub: &Hub, parts: &Parts, tags: &[String]) -> Result<(), ReceiveError> {
    let tags = (1..).zip(tags.iter().cloned()).collect();
    hub.objects.complete(hub.redeem(&parts.complete), &parts.complete, tags).await
}

fn object() -> Vec<u8> {
    (0..110).collect()
}

#[tokio::test]
async fn a_checksum_that_the_bucket_enforced_is_proof_enough() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let (href, grant) = announce(&hub, WEIGHTS).await;
    assert!(double.state().log.is_empty(), "a batch asks nothing of the bucket: {:?}", double.state().log);
    double.put(&href, WEIGHTS, true);
    verify(&hub, &grant).await.unwrap();
    verify(&hub, &grant).await.unwrap();
    assert_eq!(hub.proof(&hub.repo, grant.sha256), Some(Proof::Verified));
    let counters = hub.objects.counters();
    assert_eq!((counters.bytes_in.load(Relaxed), counters.read_back_bytes.load(Relaxed)), (0, 0));
    assert_eq!(counters.presigned_upload.load(Relaxed), 1);

    let action = hub.offered(&hub.owner, &hub.repo, grant.sha256).await.unwrap();
    assert_eq!(double.key_of(&action.href), double.key_of(&href));
    assert_eq!(counters.presigned_download.load(Relaxed), 1);
    hub.assert_sound();
}

#[tokio::test]
async fn what_the_bucket_does_not_show_is_read_back() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let (href, grant) = announce(&hub, WEIGHTS).await;
    double.put(&href, WEIGHTS, false);
    verify(&hub, &grant).await.unwrap();
    assert_eq!(hub.proof(&hub.repo, grant.sha256), Some(Proof::Verified));
    assert_eq!(hub.objects.counters().read_back_bytes.load(Relaxed), 18);
}

#[tokio::test]
async fn what_is_not_there_or_of_another_size_or_another_object_is_refused() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let (href, grant) = announce(&hub, WEIGHTS).await;
    let error = verify(&hub, &grant).await.unwrap_err();
    assert_eq!(error.to_string(), format!("nothing was uploaded for {}; upload it again", sha(WEIGHTS)));
    double.put(&href, b"short", false);
    let error = verify(&hub, &grant).await.unwrap_err();
    assert!(matches!(error, ReceiveError::WrongSize { stored: 5, size: 18 }), "{error}");
    double.put(&href, b"weights of a modem", true);
    let error = verify(&hub, &grant).await.unwrap_err();
    assert!(matches!(error, ReceiveError::WrongBytes { actual, .. } if actual == sha(b"weights of a modem")));
    for claimed in [(sha(b"other"), 18), (grant.sha256, 17)] {
        let error = hub.objects.verify(hub.redeem(&grant), &grant, claimed).await.unwrap_err();
        assert!(matches!(error, ReceiveError::OtherObject { .. }), "{error}");
    }
    assert_eq!(hub.proof(&hub.repo, grant.sha256), None);
    double.put(&href, WEIGHTS, true);
    verify(&hub, &grant).await.unwrap();
}

#[tokio::test]
async fn a_bucket_that_is_away_is_said_to_be() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let (href, grant) = announce(&hub, WEIGHTS).await;
    double.put(&href, WEIGHTS, true);
    double.state().failing = Some(503);
    let error = verify(&hub, &grant).await.unwrap_err();
    assert!(matches!(error, ReceiveError::Store(storage::StoreError::Unavailable(_))), "{error}");
    let access = Batching::Upload(hub.may(&hub.owner, &hub.repo));
    let parts = request("upload", &list_offering_parts(&[&object()]));
    let batch = hub.objects.batch(&access, &parts, &hub.client).await;
    assert!(matches!(batch, Err(BatchError::Store(storage::StoreError::Unavailable(_)))));
    double.state().failing = None;
    verify(&hub, &grant).await.unwrap();
}

#[tokio::test]
async fn parts_are_put_together_and_read_back() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let object = object();
    let parts = announce_parts(&hub, &object).await;
    assert_eq!(double.state().log.len(), 1, "one request begins the upload");
    let mut tags = Vec::new();
    for (href, chunk) in parts.hrefs.iter().zip(object.chunks(40)) {
        tags.push(double.put_part(href, chunk));
    }
    let error = complete(&hub, &parts, &tags[..2]).await.unwrap_err();
    assert_eq!(error.to_string(), "the completion names 2 parts, not 1 to 3");
    let (a, b) = tokio::join!(complete(&hub, &parts, &tags), complete(&hub, &parts, &tags));
    a.and(b).unwrap();
    complete(&hub, &parts, &tags).await.unwrap();
    assert_eq!(hub.proof(&hub.repo, sha(&object)), Some(Proof::Verified));
    assert_eq!(hub.objects.counters().presigned_part.load(Relaxed), 3);
    assert_eq!(hub.objects.counters().read_back_bytes.load(Relaxed), 110, "once");
    hub.assert_sound();
}

#[tokio::test]
async fn parts_of_another_size_are_refused_before_they_are_put_together() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let object = object();
    let parts = announce_parts(&hub, &object).await;
    let tags: Vec<_> = parts.hrefs.iter().map(|href| double.put_part(href, b"short")).collect();
    let error = complete(&hub, &parts, &tags).await.unwrap_err();
    assert_eq!(error.to_string(), "the parts have 15 bytes together, not the 110 announced");
    // They can still be sent again.
    let chunks = parts.hrefs.iter().zip(object.chunks(40));
    let tags: Vec<_> = chunks.map(|(href, chunk)| double.put_part(href, chunk)).collect();
    complete(&hub, &parts, &tags).await.unwrap();
}

#[tokio::test]
async fn what_is_not_enforced_passes_through_the_hub() {
    let double = Double::start().await;
    let mut hub = hub_on(&double, Capabilities::default()).await;
    hub.client.family = Family::HuggingFace;
    hub.store(&hub.repo, WEIGHTS).await;
    assert_eq!(double.state().objects.values().collect::<Vec<_>>(), [WEIGHTS]);
    assert_eq!(hub.proof(&hub.repo, sha(WEIGHTS)), Some(Proof::Verified));
    assert_eq!(hub.objects.counters().bytes_in.load(Relaxed), 18);

    let grant = hub.announce(&hub.repo, b"others").await;
    let error = hub.put(&grant, b"Others").await.unwrap_err();
    assert!(matches!(error, ReceiveError::WrongBytes { .. }));
    double.state().failing = Some(503);
    let error = hub.put(&grant, b"others").await.unwrap_err();
    assert!(matches!(error, ReceiveError::Store(storage::StoreError::Unavailable(_))), "{error}");
    assert_eq!(double.state().objects.len(), 1);
}

#[tokio::test]
async fn what_was_never_finished_is_cleared_away_once_the_bucket_is_back() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let (href, _) = announce(&hub, WEIGHTS).await;
    double.put(&href, WEIGHTS, true);
    let parts = announce_parts(&hub, &object()).await;
    double.put_part(&parts.hrefs[0], b"part");
    // Of an object that a bucket takes in parts a crash of the hub left one that has no row of its own.
    let (href, _) = announce(&hub, &vec![7; (5 << 20) + 1]).await;
    let key = double.key_of(&href);
    double.state().multiparts.insert("crashed".into(), (key, Default::default()));

    hub.clock.advance_ms(3 * DAY_MS);
    double.state().failing = Some(503);
    let report = hub.objects.sweep().await.unwrap();
    assert_eq!((report.uploads, report.left), (0, 3));
    double.state().failing = None;
    let report = hub.objects.sweep().await.unwrap();
    assert_eq!((report.uploads, report.left), (3, 0));
    let state = double.state();
    assert!(state.objects.is_empty() && state.multiparts.is_empty());
}

#[tokio::test]
async fn what_a_client_told_nobody_of_is_found_when_it_is_needed() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let (href, grant) = announce(&hub, WEIGHTS).await;
    let needed = [(grant.sha256, grant.size)];
    let missing = [Unmet { sha256: grant.sha256, size: grant.size, why: Why::Missing }];
    assert_eq!(hub.objects.require(hub.repo.id, &needed).await.unwrap(), missing);
    double.put(&href, WEIGHTS, true);
    double.state().failing = Some(503);
    assert_eq!(hub.objects.require(hub.repo.id, &needed).await.unwrap(), missing);
    double.state().failing = None;
    assert_eq!(
        hub.objects.require(hub.fork.id, &needed).await.unwrap(),
        missing,
        "it was announced elsewhere"
    );
    assert_eq!(hub.objects.require(hub.repo.id, &needed).await.unwrap(), []);
    assert_eq!(hub.proof(&hub.repo, grant.sha256), Some(Proof::Verified));
    hub.assert_sound();
}

#[tokio::test]
async fn a_bucket_that_does_not_list_is_swept_all_the_same() {
    for status in [403, 405, 501] {
        let double = Double::start().await;
        let hub = hub_on(&double, enforcing()).await;
        let parts = announce_parts(&hub, &object()).await;
        double.put_part(&parts.hrefs[0], b"part");
        double.state().lists_refused = Some(status);
        hub.clock.advance_ms(3 * DAY_MS);
        let report = hub.objects.sweep().await.unwrap();
        assert_eq!((report.uploads, report.left), (1, 0), "{status}");
        assert!(double.state().multiparts.is_empty(), "what was recorded is ended");
    }
}

#[tokio::test]
async fn a_sweep_ends_with_the_first_failure_and_with_its_time() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    for n in 0..20u8 {
        announce(&hub, &[n; 10]).await;
    }
    hub.clock.advance_ms(3 * DAY_MS);
    double.state().failing = Some(403);
    let report = hub.objects.sweep().await.unwrap();
    assert_eq!((report.uploads, report.left), (0, 20));
    let asked = double.state().log.len();
    assert!(asked < 20, "the others need not try: {asked} requests");
    double.state().failing = None;

    let store = double.store(&hub.clock, enforcing()).await;
    let config = lfs::Config { sweep_wait: Duration::ZERO, ..config() };
    let settings = auth::Settings::default();
    let busy = lfs::Objects::new(hub.db.clone(), store, hub.keys.clone(), settings, config);
    let report = busy.sweep().await.unwrap();
    assert_eq!((report.uploads, report.left), (0, 20));
    assert_eq!(hub.objects.sweep().await.unwrap().uploads, 20);
}

/// It comes first in every round.
#[tokio::test]
async fn a_key_that_cannot_be_deleted_keeps_no_other() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let (href, _) = announce(&hub, b"stays").await;
    double.put(&href, b"stays", true);
    double.state().undeletable = Some(double.key_of(&href));
    hub.clock.advance_ms(1000);
    for n in 0..20u8 {
        announce(&hub, &[n; 10]).await;
    }
    hub.clock.advance_ms(3 * DAY_MS);
    let report = hub.objects.sweep().await.unwrap();
    assert_eq!((report.uploads, report.left), (20, 1));
    double.state().undeletable = None;
    let report = hub.objects.sweep().await.unwrap();
    assert_eq!((report.uploads, report.left), (1, 0));
    assert!(double.state().objects.is_empty());
}

/// A copy that one request finds needless may be what another links meanwhile.
#[tokio::test]
async fn what_is_being_deleted_is_not_linked() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let up = hub.upload(&hub.fork, &list(&[WEIGHTS])).await;
    let Outcome::Upload { upload, verify: Some(told) } = &up.objects[0].outcome else { panic!("{up:?}") };
    double.put(&upload.href, WEIGHTS, true);
    verify(&hub, &hub.grant(&told.href)).await.unwrap();
    let (href, grant) = announce(&hub, WEIGHTS).await;
    double.put(&href, WEIGHTS, true);
    let tell = || {
        let (objects, access, grant) = (hub.objects.clone(), hub.redeem(&grant), grant.clone());
        tokio::spawn(async move { objects.verify(access, &grant, (grant.sha256, grant.size)).await })
    };
    double.deletes_held.send_replace(true);
    let needless = tell();
    while hub.proof(&hub.repo, grant.sha256).is_none() {
        tokio::task::yield_now().await;
    }
    for repo in [&hub.repo, &hub.fork] {
        assert!(hub.db.remove_link(repo.id, grant.sha256).await.unwrap());
    }
    let mut linking = tell();
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut linking).await.is_err(), "not its turn");
    double.deletes_held.send_replace(false);
    needless.await.unwrap().unwrap();
    let error = linking.await.unwrap().unwrap_err();
    assert!(matches!(error, ReceiveError::NotUploaded { .. }), "{error}");
    assert_eq!(hub.proof(&hub.repo, grant.sha256), None);
    hub.assert_sound();
}

#[tokio::test]
async fn parts_prove_nothing_whatever_the_bucket_shows() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    for shown in [sha(&object()), sha(b"a checksum of checksums")] {
        let bytes = [object(), vec![shown.0[0]]].concat();
        let parts = announce_parts(&hub, &bytes).await;
        let chunks = parts.hrefs.iter().zip(bytes.chunks(40));
        let tags: Vec<_> = chunks.map(|(href, chunk)| double.put_part(href, chunk)).collect();
        let key = double.key_of(&parts.hrefs[0]);
        double.state().checksums.insert(key, shown);
        let before = hub.objects.counters().read_back_bytes.load(Relaxed);
        complete(&hub, &parts, &tags).await.unwrap();
        assert_eq!(hub.objects.counters().read_back_bytes.load(Relaxed) - before, 111);
        assert_eq!(hub.proof(&hub.repo, sha(&bytes)), Some(Proof::Verified));
    }
}

/// git-lfs gives up after 30 s of silence and would send everything once more.
#[tokio::test]
async fn a_bucket_that_takes_its_time_costs_no_second_upload() {
    let double = Double::start().await;
    let clock = Clock::default();
    let store = double.store(&clock, Capabilities::default()).await;
    let config = lfs::Config { verify_wait: Duration::from_millis(20), ..config() };
    let hub = with(tempfile::tempdir().unwrap(), clock, store, config).await;
    double.puts_held.send_replace(true);
    let sha256 = hub.store(&hub.repo, WEIGHTS).await;
    assert_eq!(hub.proof(&hub.repo, sha256), None, "the client is told before it is durable");
    let (objects, repo) = (hub.objects.clone(), hub.repo.id);
    let mut push = tokio::spawn(async move { objects.require(repo, &[(sha256, 18)]).await });
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut push).await.is_err(), "it waits");
    double.puts_held.send_replace(false);
    assert_eq!(push.await.unwrap().unwrap(), []);
    assert_eq!(hub.proof(&hub.repo, sha256), Some(Proof::Verified));
    hub.assert_sound();
}

/// The same where the bytes are in the bucket already, and the bucket is slow to say so.
#[tokio::test]
async fn a_bucket_that_is_slow_to_answer_keeps_no_client() {
    let double = Double::start().await;
    let clock = Clock::default();
    let store = double.store(&clock, enforcing()).await;
    let config = lfs::Config { verify_wait: Duration::from_millis(20), ..config() };
    let hub = with(tempfile::tempdir().unwrap(), clock, store, config).await;
    let (href, grant) = announce(&hub, WEIGHTS).await;
    double.put(&href, WEIGHTS, true);
    double.heads_held.send_replace(true);
    verify(&hub, &grant).await.unwrap();
    assert_eq!(hub.proof(&hub.repo, grant.sha256), None, "the client is told before it is known");
    let (objects, repo) = (hub.objects.clone(), hub.repo.id);
    let mut push = tokio::spawn(async move { objects.require(repo, &[(sha(WEIGHTS), 18)]).await });
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut push).await.is_err(), "it waits");
    double.heads_held.send_replace(false);
    assert_eq!(push.await.unwrap().unwrap(), []);
    assert_eq!(hub.proof(&hub.repo, grant.sha256), Some(Proof::Verified));
    hub.assert_sound();
}

#[tokio::test]
async fn a_push_is_refused_if_its_object_was_not_stored_after_all() {
    let double = Double::start().await;
    let clock = Clock::default();
    let store = double.store(&clock, Capabilities::default()).await;
    let config = lfs::Config { verify_wait: Duration::from_millis(20), ..config() };
    let hub = with(tempfile::tempdir().unwrap(), clock, store, config).await;
    double.puts_held.send_replace(true);
    let sha256 = hub.store(&hub.repo, WEIGHTS).await;
    double.state().failing = Some(403);
    double.puts_held.send_replace(false);
    let unmet = hub.objects.require(hub.repo.id, &[(sha256, 18)]).await.unwrap();
    assert_eq!(unmet[0].why, lfs::Why::Missing);
}

#[tokio::test]
async fn a_full_store_is_told_apart() {
    let double = Double::start().await;
    let hub = hub_on(&double, Capabilities::default()).await;
    let grant = hub.announce(&hub.repo, WEIGHTS).await;
    double.state().failing = Some(507);
    let error = hub.put(&grant, WEIGHTS).await.unwrap_err();
    assert!(matches!(error, ReceiveError::Store(storage::StoreError::Full)), "{error}");
    assert_eq!(hub.proof(&hub.repo, sha(WEIGHTS)), None);
    double.state().failing = None;
    hub.put(&grant, WEIGHTS).await.unwrap();
}
