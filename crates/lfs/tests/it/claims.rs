//! Between the upload to a bucket and its proof.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use database::{LinkState, Proof};
use lfs::wire::batch::Outcome;
use lfs::{OpenError, ReceiveError, Why};

use crate::bucket::{announce, enforcing, hub_on, verify};
use crate::double::Double;
use crate::support::{DAY_MS, Hub, config, list, sha, user, with};

const WEIGHTS: &[u8] = b"weights of a model";
const MODEM: &[u8] = b"weights of a modem";

/// Does not wait for read-backs.
async fn hasty(double: &Double) -> Hub {
    let clock = database::Clock::default();
    let store = double.store(&clock, enforcing()).await;
    let config = lfs::Config { verify_wait: Duration::from_millis(20), ..config() };
    with(tempfile::tempdir().unwrap(), clock, store, config).await
}

/// Uploaded, told, and not proven: reads are held.
async fn claimed(double: &Double, hub: &Hub, bytes: &[u8]) {
    double.reads_held.send_replace(true);
    let (href, grant) = announce(hub, WEIGHTS).await;
    double.put(&href, bytes, false);
    verify(hub, &grant).await.unwrap();
    assert_eq!(hub.proof(&hub.repo, grant.sha256), Some(Proof::Claimed));
}

#[tokio::test]
async fn a_claimed_object_is_there_for_its_uploader_only() {
    let double = Double::start().await;
    let hub = hasty(&double).await;
    claimed(&double, &hub, WEIGHTS).await;
    let sha256 = sha(WEIGHTS);
    assert!(hub.offered(&hub.owner, &hub.repo, sha256).await.is_ok());
    let (code, message) = hub.offered(&hub.other, &hub.repo, sha256).await.unwrap_err();
    assert_eq!((code, message.as_str()), (404, "the object is still being verified"));
    assert_eq!(hub.offered(&hub.owner, &hub.fork, sha256).await.unwrap_err().0, 404);

    // The uploader need not bring it again, others must.
    let mine = hub.upload(&hub.repo, &list(&[WEIGHTS])).await;
    assert_eq!(mine.objects[0].outcome, Outcome::Present);
    let theirs = hub.upload_as(&hub.other, &hub.repo, &list(&[WEIGHTS])).await;
    assert!(matches!(theirs.objects[0].outcome, Outcome::Upload { .. }));

    double.reads_held.send_replace(false);
    assert_eq!(hub.objects.require(hub.repo.id, &[(sha256, 18)]).await.unwrap(), []);
    assert!(hub.offered(&hub.other, &hub.repo, sha256).await.is_ok());
    hub.assert_sound();
}

#[tokio::test]
async fn a_push_waits_for_the_proof() {
    let double = Double::start().await;
    let hub = hasty(&double).await;
    claimed(&double, &hub, WEIGHTS).await;
    let (objects, repo) = (hub.objects.clone(), hub.repo.id);
    let mut push = tokio::spawn(async move { objects.require(repo, &[(sha(WEIGHTS), 18)]).await });
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut push).await.is_err(), "it waits");
    double.reads_held.send_replace(false);
    assert_eq!(push.await.unwrap().unwrap(), []);
}

#[tokio::test]
async fn a_push_does_not_wait_for_ever() {
    let double = Double::start().await;
    let clock = database::Clock::default();
    let store = double.store(&clock, enforcing()).await;
    let short = Duration::from_millis(20);
    let config = lfs::Config { verify_wait: short, require_wait: short, ..config() };
    let hub = with(tempfile::tempdir().unwrap(), clock, store, config).await;
    claimed(&double, &hub, WEIGHTS).await;
    let unmet = hub.objects.require(hub.repo.id, &[(sha(WEIGHTS), 18)]).await.unwrap();
    assert_eq!(unmet[0].why, Why::Unverified);
    // Nor once more after each try.
    let hub = hasty(&double).await;
    claimed(&double, &hub, WEIGHTS).await;
    let past = hub.objects.require_deadline() - Duration::from_secs(3600);
    let unmet = hub.objects.require_by(hub.repo.id, &[(sha(WEIGHTS), 18)], past).await.unwrap();
    assert_eq!(unmet[0].why, Why::Unverified);
}

#[tokio::test]
async fn other_bytes_are_found_served_to_nobody_and_can_be_replaced() {
    let double = Double::start().await;
    let hub = hasty(&double).await;
    claimed(&double, &hub, MODEM).await;
    let sha256 = sha(WEIGHTS);
    double.reads_held.send_replace(false);
    let unmet = hub.objects.require(hub.repo.id, &[(sha256, 18)]).await.unwrap();
    assert_eq!(unmet[0].why, Why::Corrupt);
    let (code, message) = hub.offered(&hub.owner, &hub.repo, sha256).await.unwrap_err();
    let expected = "the bytes that were uploaded are not those of the object; upload it again";
    assert_eq!((code, message.as_str()), (404, expected));
    assert_eq!(hub.objects.counters().objects_corrupt.load(std::sync::atomic::Ordering::Relaxed), 1);
    hub.objects.sweep().await.unwrap();
    assert!(double.state().objects.is_empty(), "the bytes are condemned");

    let (href, grant) = announce(&hub, WEIGHTS).await;
    double.put(&href, WEIGHTS, true);
    verify(&hub, &grant).await.unwrap();
    assert_eq!(hub.objects.require(hub.repo.id, &[(sha256, 18)]).await.unwrap(), []);
    hub.assert_sound();
}

#[tokio::test]
async fn other_bytes_that_are_found_in_time_are_told_of() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    let (href, grant) = announce(&hub, WEIGHTS).await;
    double.put(&href, MODEM, false);
    let error = verify(&hub, &grant).await.unwrap_err();
    assert!(matches!(error, ReceiveError::WrongBytes { actual, .. } if actual == sha(MODEM)), "{error}");
    // git-lfs asks three times and shows the last answer.
    let error = verify(&hub, &grant).await.unwrap_err();
    assert!(matches!(error, ReceiveError::Corrupt { sha256 } if sha256 == sha(WEIGHTS)), "{error}");
}

#[tokio::test]
async fn a_claim_of_others_does_not_cost_an_upload() {
    let double = Double::start().await;
    let hub = hasty(&double).await;
    claimed(&double, &hub, MODEM).await;
    // The right bytes, by somebody else, come while the wrong ones are claimed.
    let up = hub.upload_as(&hub.other, &hub.repo, &list(&[WEIGHTS])).await;
    let Outcome::Upload { upload, verify: Some(told) } = &up.objects[0].outcome else { panic!("{up:?}") };
    double.put(&upload.href, WEIGHTS, false);
    let grant = hub.grant(&told.href);
    verify(&hub, &grant).await.unwrap();
    assert_eq!(double.state().objects.len(), 2, "not given up before the other is decided");
    let (objects, repo) = (hub.objects.clone(), hub.repo.id);
    let mut push = tokio::spawn(async move { objects.require(repo, &[(sha(WEIGHTS), 18)]).await });
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut push).await.is_err(), "it waits");
    double.reads_held.send_replace(false);
    assert_eq!(push.await.unwrap().unwrap(), []);
    let link = hub.db.link(hub.repo.id, &sha(WEIGHTS)).unwrap().unwrap();
    assert_eq!(link.by, Some(user(&hub.other)));
    hub.assert_sound();
}

/// Both did well: the second is told so though its bytes are not needed.
#[tokio::test]
async fn two_uploads_of_one_object_at_once_leave_one_copy() {
    let double = Double::start().await;
    let hub = hasty(&double).await;
    claimed(&double, &hub, WEIGHTS).await;
    let up = hub.upload_as(&hub.other, &hub.repo, &list(&[WEIGHTS])).await;
    let Outcome::Upload { upload, verify: Some(told) } = &up.objects[0].outcome else { panic!("{up:?}") };
    double.put(&upload.href, WEIGHTS, false);
    let grant = hub.grant(&told.href);
    verify(&hub, &grant).await.unwrap();
    verify(&hub, &grant).await.unwrap();
    double.reads_held.send_replace(false);
    assert_eq!(hub.objects.require(hub.repo.id, &[(sha(WEIGHTS), 18)]).await.unwrap(), []);
    assert_eq!(hub.proof(&hub.repo, sha(WEIGHTS)), Some(Proof::Verified));
    assert_eq!(double.state().objects.len(), 1);
    assert_eq!(hub.objects.counters().read_back_bytes.load(Relaxed), 18);
    hub.assert_sound();
}

#[tokio::test]
async fn a_push_reads_nothing_back_that_was_read_meanwhile() {
    let double = Double::start().await;
    let hub = hasty(&double).await;
    double.reads_held.send_replace(true);
    let objects: Vec<_> = (0..8u8).map(|n| vec![n; 100]).collect();
    let mut pointers = Vec::new();
    for object in &objects {
        let (href, grant) = announce(&hub, object).await;
        double.put(&href, object, false);
        verify(&hub, &grant).await.unwrap();
        pointers.push((grant.sha256, 100));
    }
    let (waiting, repo) = (hub.objects.clone(), hub.repo.id);
    let mut push = tokio::spawn(async move { waiting.require(repo, &pointers).await });
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut push).await.is_err(), "it waits");
    double.reads_held.send_replace(false);
    assert_eq!(push.await.unwrap().unwrap(), []);
    assert_eq!(hub.objects.counters().read_back_bytes.load(Relaxed), 800, "each once");
}

/// With so many tries and no pauses between them.
async fn impatient(double: &Double, tries: usize) -> Hub {
    let clock = database::Clock::default();
    let store = double.store(&clock, enforcing()).await;
    let pauses = vec![Duration::from_millis(20); tries - 1];
    let config = lfs::Config { read_back_pauses: pauses, ..config() };
    with(tempfile::tempdir().unwrap(), clock, store, config).await
}

#[tokio::test]
async fn bytes_that_are_away_for_a_moment_are_read_when_they_are_back() {
    let double = Double::start().await;
    let hub = impatient(&double, 500).await;
    double.reads_held.send_replace(true);
    let (href, grant) = announce(&hub, WEIGHTS).await;
    double.put(&href, WEIGHTS, false);
    let (objects, access, told) = (hub.objects.clone(), hub.redeem(&grant), grant.clone());
    let verifying =
        tokio::spawn(async move { objects.verify(access, &told, (told.sha256, told.size)).await });
    while hub.proof(&hub.repo, grant.sha256).is_none() {
        tokio::task::yield_now().await;
    }
    let key = double.key_of(&href);
    let bytes = double.state().objects.remove(&key).unwrap();
    double.reads_held.send_replace(false);
    let looks = |double: &Double| double.state().log.iter().filter(|line| line.starts_with("HEAD")).count();
    while looks(&double) < 5 {
        tokio::task::yield_now().await;
    }
    double.state().objects.insert(key, bytes);
    verifying.await.unwrap().unwrap();
    assert_eq!(hub.proof(&hub.repo, grant.sha256), Some(Proof::Verified));
}

#[tokio::test]
async fn bytes_that_are_gone_are_said_so_only_if_the_bucket_is_ours() {
    for is_ours in [false, true] {
        let double = Double::start().await;
        let hub = impatient(&double, 2).await;
        if !is_ours {
            hub.objects.store().expect(storage::Expected::Known(storage::StoreId::random()));
        }
        let upload = database::UploadId::new();
        let (sha256, size, repo) = (sha(WEIGHTS), 18, hub.repo.id);
        let (objects, quota) = (vec![(sha256, size)], database::Quota::Exempt);
        let new = database::NewUpload { id: upload, repo, by: None, objects, expires_ms: i64::MAX, quota };
        hub.db.begin_upload(new).await.unwrap();
        let proof = Proof::Claimed;
        let publish = database::Publish { upload, repo, sha256, size, proof, by: None };
        hub.db.publish_object(publish).await.unwrap();

        let unmet = hub.objects.require(repo, &[(sha256, size)]).await.unwrap();
        let state = hub.db.link(repo, &sha256).unwrap().unwrap().state;
        if is_ours {
            assert_eq!((unmet[0].why, state), (Why::Corrupt, LinkState::Corrupt));
            assert_eq!(hub.objects.sweep().await.unwrap().objects, 0, "there is time to look for them");
            hub.clock.advance_ms(14 * DAY_MS);
            assert!(hub.db.backings_due(1).await.unwrap().len() == 1);
        } else {
            assert_eq!((unmet[0].why, state), (Why::Unverified, LinkState::Live));
        }
        hub.assert_sound();
    }
}

#[tokio::test]
async fn a_restart_resumes_what_is_claimed() {
    let double = Double::start().await;
    let hub = hasty(&double).await;
    claimed(&double, &hub, WEIGHTS).await;
    // Another process over the same rows.
    let store = double.store(&hub.clock, enforcing()).await;
    let objects =
        lfs::Objects::new(hub.db.clone(), store, hub.keys.clone(), auth::Settings::default(), config());
    assert_eq!(objects.resume_claims().await.unwrap(), 1);
    double.reads_held.send_replace(false);
    assert_eq!(objects.require(hub.repo.id, &[(sha(WEIGHTS), 18)]).await.unwrap(), []);
    assert_eq!(objects.resume_claims().await.unwrap(), 0);
}

#[tokio::test]
async fn equal_objects_of_two_repositories_become_one() {
    let double = Double::start().await;
    let hub = hub_on(&double, enforcing()).await;
    for repo in [&hub.repo, &hub.fork] {
        let up = hub.upload(repo, &list(&[WEIGHTS])).await;
        let Outcome::Upload { upload, verify: Some(told) } = &up.objects[0].outcome else { panic!("{up:?}") };
        double.put(&upload.href, WEIGHTS, false);
        verify(&hub, &hub.grant(&told.href)).await.unwrap();
    }
    hub.objects.sweep().await.unwrap();
    assert_eq!(double.state().objects.len(), 1);
    for repo in [&hub.repo, &hub.fork] {
        let action = hub.offered(&hub.owner, repo, sha(WEIGHTS)).await.unwrap();
        assert_eq!(double.state().objects[&double.key_of(&action.href)], WEIGHTS);
    }
    hub.assert_sound();
}

#[tokio::test]
async fn a_claimed_object_is_opened_by_its_uploader_only() {
    let double = Double::start().await;
    let hub = hasty(&double).await;
    claimed(&double, &hub, WEIGHTS).await;
    let mut grant = announce(&hub, b"any").await.1;
    (grant.operation, grant.sha256, grant.size) = (auth::transfer::Operation::Download, sha(WEIGHTS), 18);
    assert!(hub.objects.open(&hub.may(&hub.owner, &hub.repo), &grant).await.is_ok());
    let opened = hub.objects.open(&hub.may(&hub.other, &hub.repo), &grant).await;
    assert!(matches!(opened, Err(OpenError::Unverified)));
    double.reads_held.send_replace(false);
}
