//! Objects that pass through the hub to the disk.

use auth::transfer::TransferError;
use auth::{Identity, ReauthorizeError};
use bytes::Bytes;
use database::{LinkState, Proof};
use lfs::{OpenError, ReceiveError, Why};

use crate::support::{DAY_MS, error_of, hub, list, sha, upload_of, user};

const WEIGHTS: &[u8] = b"weights of a model";

#[tokio::test]
async fn what_is_put_is_got_and_announced_no_more() {
    let hub = hub().await;
    let sha256 = hub.store(&hub.repo, WEIGHTS).await;
    assert_eq!(hub.proof(&hub.repo, sha256), Some(Proof::Verified));
    let action = hub.offered(&hub.owner, &hub.repo, sha256).await.unwrap();
    assert!(action.href.starts_with(&format!("https://hub.example/api/lfs/objects/{sha256}?token=")));
    assert_eq!(hub.get(&action.href).await, WEIGHTS);

    let again = hub.upload(&hub.repo, &list(&[WEIGHTS])).await;
    assert_eq!(again.objects[0].outcome, lfs::wire::batch::Outcome::Present);
    assert_eq!(hub.objects.require(hub.repo.id, &[(sha256, 18)]).await.unwrap(), []);
    assert_eq!(hub.files().len(), 1);
    hub.assert_sound();
}

#[tokio::test]
async fn wrong_bytes_short_and_long_ones_leave_nothing() {
    let hub = hub().await;
    let grant = hub.announce(&hub.repo, WEIGHTS).await;
    let (short, long) = (&WEIGHTS[1..], b"weights of a model!");
    let wrong = b"weights of a modem";

    let error = hub.put(&grant, wrong).await.unwrap_err();
    let expected = format!(
        "the bytes received have SHA-256 {}, not {} as announced; nothing was stored",
        sha(wrong),
        sha(WEIGHTS)
    );
    assert_eq!(error.to_string(), expected);
    let error = hub.put(&grant, short).await.unwrap_err();
    assert!(matches!(error, ReceiveError::TooShort { received: 17, size: 18 }), "{error}");
    let error = hub.put(&grant, long).await.unwrap_err();
    assert!(matches!(error, ReceiveError::TooLong { size: 18 }), "{error}");
    let error = hub.put(&grant, b"").await.unwrap_err();
    assert!(matches!(error, ReceiveError::TooShort { received: 0, .. }), "{error}");

    assert_eq!(hub.files(), [""; 0]);
    assert_eq!(hub.db.link(hub.repo.id, &grant.sha256).unwrap(), None);
    hub.put(&grant, WEIGHTS).await.unwrap();
    hub.assert_sound();
}

#[tokio::test]
async fn a_long_body_is_refused_before_its_end() {
    let hub = hub().await;
    let grant = hub.announce(&hub.repo, WEIGHTS).await;
    let mut receiving = hub.objects.receive(hub.redeem(&grant), &grant).await.unwrap();
    receiving.write(Bytes::from_static(WEIGHTS)).await.unwrap();
    assert_eq!(receiving.remaining(), 0);
    let error = receiving.write(Bytes::from_static(b"!")).await.unwrap_err();
    assert!(matches!(error, ReceiveError::TooLong { size: 18 }));
}

#[tokio::test]
async fn a_client_that_goes_midway_leaves_nothing() {
    let hub = hub().await;
    let large = vec![7; 9_000];
    let grant = hub.announce(&hub.repo, &large).await;
    let mut receiving = hub.objects.receive(hub.redeem(&grant), &grant).await.unwrap();
    receiving.write(Bytes::copy_from_slice(&large[..4_500])).await.unwrap();
    drop(receiving);
    assert_eq!(hub.files(), [""; 0]);
    hub.put(&grant, &large).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_after_the_last_byte_has_uploaded() {
    let hub = hub().await;
    let grant = hub.announce(&hub.repo, WEIGHTS).await;
    let mut receiving = hub.objects.receive(hub.redeem(&grant), &grant).await.unwrap();
    receiving.write(Bytes::from_static(WEIGHTS)).await.unwrap();
    let mut finishing = Box::pin(receiving.finish());
    // Polled once, as a server does before its client goes away.
    assert!(futures_poll(finishing.as_mut()).await.is_pending());
    drop(finishing);
    while hub.proof(&hub.repo, grant.sha256).is_none() {
        tokio::task::yield_now().await;
    }
    hub.assert_sound();
}

async fn futures_poll<F: Future + Unpin>(mut future: F) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut future).poll(cx))).await
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_succeeds_again() {
    let hub = hub().await;
    let grant = hub.announce(&hub.repo, WEIGHTS).await;
    hub.put(&grant, WEIGHTS).await.unwrap();
    hub.put(&grant, WEIGHTS).await.unwrap();
    assert_eq!(hub.files().len(), 1);
}

#[tokio::test]
async fn two_clients_with_the_same_object_both_succeed() {
    let hub = hub().await;
    let (one, two) = (hub.announce(&hub.repo, WEIGHTS).await, hub.announce(&hub.repo, WEIGHTS).await);
    let there = hub.announce(&hub.fork, WEIGHTS).await;
    let (a, b, c) = tokio::join!(hub.put(&one, WEIGHTS), hub.put(&two, WEIGHTS), hub.put(&there, WEIGHTS));
    a.and(b).and(c).unwrap();
    assert_eq!(hub.files().len(), 1, "of equal bytes one copy is kept: {:?}", hub.files());
    for repo in [&hub.repo, &hub.fork] {
        let action = hub.offered(&hub.owner, repo, one.sha256).await.unwrap();
        assert_eq!(hub.get(&action.href).await, WEIGHTS);
    }
    hub.assert_sound();
}

#[tokio::test]
async fn one_link_used_twice_at_once_is_used_once() {
    let hub = hub().await;
    let grant = hub.announce(&hub.repo, WEIGHTS).await;
    let first = hub.objects.receive(hub.redeem(&grant), &grant).await.unwrap();
    assert!(matches!(hub.put(&grant, WEIGHTS).await, Err(ReceiveError::Busy)));
    drop(first);
    hub.put(&grant, WEIGHTS).await.unwrap();
}

#[tokio::test]
async fn knowing_an_oid_gives_nothing() {
    let hub = hub().await;
    let sha256 = hub.store(&hub.repo, WEIGHTS).await;
    let missing = hub.offered(&hub.owner, &hub.fork, sha256).await.unwrap_err();
    assert_eq!(missing, (404, "the object is not in this repository".into()));
    // It has to be brought again.
    let grant = hub.announce(&hub.fork, WEIGHTS).await;
    assert!(matches!(hub.put(&grant, b"weights of a modem").await, Err(ReceiveError::WrongBytes { .. })));
    assert!(hub.offered(&hub.owner, &hub.fork, sha256).await.is_err());
}

#[tokio::test]
async fn a_grant_is_for_one_operation_object_and_repository() {
    let hub = hub().await;
    let sha256 = hub.store(&hub.repo, WEIGHTS).await;
    let upload = hub.announce(&hub.repo, b"others").await;
    let download = hub.grant(&hub.offered(&hub.owner, &hub.repo, sha256).await.unwrap().href);

    // By operation.
    let access = hub.may(&hub.owner, &hub.repo);
    let error = hub.objects.receive(access.clone(), &download).await.err().unwrap();
    assert!(matches!(error, ReceiveError::Grant));
    let parts = vec![(1, "\"e\"".to_owned())];
    assert!(matches!(hub.objects.complete(access.clone(), &upload, parts).await, Err(ReceiveError::Grant)));
    assert!(matches!(hub.objects.receive_part(access.clone(), &upload).await, Err(ReceiveError::Grant)));
    let claimed = (upload.sha256, upload.size);
    assert!(matches!(hub.objects.verify(access, &upload, claimed).await, Err(ReceiveError::Grant)));
    let read = hub.may(&hub.owner, &hub.repo);
    assert!(matches!(hub.objects.open(&read, &upload).await, Err(OpenError::Grant)));

    // By repository.
    let elsewhere = hub.may(&hub.owner, &hub.fork);
    assert!(matches!(hub.objects.receive(elsewhere, &upload).await, Err(ReceiveError::Grant)));
    let elsewhere = hub.may(&hub.owner, &hub.fork);
    assert!(matches!(hub.objects.open(&elsewhere, &download).await, Err(OpenError::Grant)));

    // By object: its bytes are not the other's.
    assert!(matches!(hub.put(&upload, b"Others").await, Err(ReceiveError::WrongBytes { .. })));

    // By time.
    let link = hub.offered(&hub.owner, &hub.repo, sha256).await.unwrap();
    hub.clock.advance_ms(link.expires_in.as_millis() as i64);
    let token = link.href.split_once("?token=").unwrap().1;
    assert_eq!(hub.keys.check(token, hub.clock.now_ms()), Err(TransferError::Expired));
    assert_eq!(hub.keys.check(&token[1..], hub.clock.now_ms()), Err(TransferError::Invalid));
}

#[tokio::test]
async fn a_right_taken_away_while_the_bytes_arrive_is_gone_at_their_end() {
    let hub = hub().await;
    let grant = hub.announce(&hub.repo, WEIGHTS).await;
    let mut receiving = hub.objects.receive(hub.redeem(&grant), &grant).await.unwrap();
    receiving.write(Bytes::from_static(WEIGHTS)).await.unwrap();
    let Identity::User(principal) = &hub.owner else { panic!() };
    hub.db.revoke_token(principal.token).await.unwrap();
    let error = receiving.finish().await.unwrap_err();
    assert!(matches!(error, ReceiveError::Denied(ReauthorizeError::Credential(_))), "{error}");
    assert_eq!(hub.proof(&hub.repo, grant.sha256), None);
    // What lies under the key is known by the upload's row.
    hub.clock.advance_ms(3 * DAY_MS);
    assert_eq!(hub.objects.sweep().await.unwrap().uploads, 1);
    assert_eq!(hub.files(), [""; 0]);
}

#[tokio::test]
async fn a_deleted_repository_takes_nothing() {
    let hub = hub().await;
    let grant = hub.announce(&hub.repo, WEIGHTS).await;
    let mut receiving = hub.objects.receive(hub.redeem(&grant), &grant).await.unwrap();
    receiving.write(Bytes::from_static(WEIGHTS)).await.unwrap();
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    assert!(matches!(receiving.finish().await, Err(ReceiveError::RepoGone)));
}

#[tokio::test]
async fn so_many_at_once_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let store = storage::ObjectStore::on(storage::Disk::open(directory.path()).unwrap());
    let config = lfs::Config { uploads_max: 4, ..crate::support::config() };
    let hub = crate::support::with(directory, database::Clock::default(), store, config).await;
    let mut receiving = Vec::new();
    for bytes in [b"1", b"2"] {
        let grant = hub.announce(&hub.repo, bytes).await;
        receiving.push(hub.objects.receive(hub.redeem(&grant), &grant).await.unwrap());
    }
    let grant = hub.announce(&hub.repo, b"3").await;
    assert!(matches!(hub.put(&grant, b"3").await, Err(ReceiveError::Busy)), "nobody has more than half");
    let mut theirs = Vec::new();
    for bytes in [b"4", b"5", b"6"] {
        let up = hub.upload_as(&hub.other, &hub.repo, &list(&[bytes])).await;
        theirs.push(hub.grant(&upload_of(&up.objects[0]).href));
    }
    for grant in &theirs[..2] {
        receiving.push(hub.objects.receive(hub.redeem(grant), grant).await.unwrap());
    }
    assert!(matches!(hub.put(&theirs[2], b"6").await, Err(ReceiveError::Busy)));
    receiving.remove(0);
    hub.put(&grant, b"3").await.unwrap();
}

/// Whoever is told that an object is here is about to push what needs it.
#[tokio::test]
async fn an_old_object_that_is_asked_for_is_as_new_as_one_that_is_uploaded() {
    let hub = hub().await;
    let sha256 = hub.store(&hub.repo, WEIGHTS).await;
    let linked_ms = || hub.db.link(hub.repo.id, &sha256).unwrap().unwrap().linked_ms;
    let first = linked_ms();
    hub.clock.advance_ms(3600 * 1000);
    hub.upload(&hub.repo, &list(&[WEIGHTS])).await;
    assert_eq!(linked_ms(), first, "an idle hub does not write");
    hub.clock.advance_ms(8 * DAY_MS);
    hub.download_as(&hub.owner, &hub.repo, &list(&[WEIGHTS])).await;
    assert_eq!(linked_ms(), first);
    let up = hub.upload(&hub.repo, &list(&[WEIGHTS, b"new"])).await;
    assert_eq!(up.objects[0].outcome, lfs::wire::batch::Outcome::Present);
    assert!(linked_ms() >= first + 8 * DAY_MS);
}

#[tokio::test]
async fn a_removed_object_is_gone_until_it_is_uploaded_again() {
    let hub = hub().await;
    let sha256 = hub.store(&hub.repo, WEIGHTS).await;
    let link = hub.grant(&hub.offered(&hub.owner, &hub.repo, sha256).await.unwrap().href);
    assert!(hub.db.remove_link(hub.repo.id, sha256).await.unwrap());
    let (code, message) = hub.offered(&hub.owner, &hub.repo, sha256).await.unwrap_err();
    assert_eq!((code, message.as_str()), (410, "the object was removed from this repository"));
    let opened = hub.objects.open(&hub.redeem(&link), &link).await;
    assert!(matches!(opened, Err(OpenError::Removed)), "a link handed out before is dead");
    let unmet = hub.objects.require(hub.repo.id, &[(sha256, 18)]).await.unwrap();
    assert_eq!(unmet[0].why, Why::Removed);

    hub.store(&hub.repo, WEIGHTS).await;
    assert!(hub.offered(&hub.owner, &hub.repo, sha256).await.is_ok());
    hub.objects.sweep().await.unwrap();
    assert_eq!(hub.files().len(), 1, "the first copy is deleted, the second is not");
    hub.assert_sound();
}

#[tokio::test]
async fn a_used_link_never_brings_a_removed_object_back_under_its_old_key() {
    let hub = hub().await;
    let grant = hub.announce(&hub.repo, WEIGHTS).await;
    // A second object keeps the upload open.
    let both = hub.upload(&hub.repo, &list(&[b"one", b"two"])).await;
    let one = hub.grant(&upload_of(&both.objects[0]).href);
    hub.put(&one, b"one").await.unwrap();
    hub.db.remove_link(hub.repo.id, one.sha256).await.unwrap();
    assert!(matches!(hub.put(&one, b"one").await, Err(ReceiveError::Closed)));
    hub.put(&grant, WEIGHTS).await.unwrap();
}

#[tokio::test]
async fn what_a_push_needs() {
    let hub = hub().await;
    let sha256 = hub.store(&hub.repo, WEIGHTS).await;
    let stranger = sha(b"never uploaded");
    let needed = [(sha256, 18), (sha256, 19), (stranger, 14), (stranger, 0)];
    let unmet = hub.objects.require(hub.repo.id, &needed).await.unwrap();
    let unmet: Vec<_> = unmet.iter().map(|unmet| (unmet.sha256, unmet.size, unmet.why)).collect();
    assert_eq!(unmet, [(sha256, 19, Why::Size(18)), (stranger, 14, Why::Missing)]);
    assert_eq!(hub.objects.require(hub.fork.id, &[(sha256, 18)]).await.unwrap()[0].why, Why::Missing);
}

#[tokio::test]
async fn an_import_takes_files_that_are_what_they_are_called() {
    let hub = hub().await;
    let path = hub.directory.path().join("source");
    std::fs::write(&path, WEIGHTS).unwrap();
    let open = || std::fs::File::open(&path).unwrap();
    let by = Some(user(&hub.owner));
    let take = |sha256, size| hub.objects.take_in(hub.repo.id, by, sha256, size, open());
    assert!(matches!(take(sha(b"x"), 18).await, Err(ReceiveError::WrongBytes { .. })));
    assert!(matches!(take(sha(WEIGHTS), 17).await, Err(ReceiveError::TooLong { size: 17 })));
    assert!(matches!(take(sha(WEIGHTS), 19).await, Err(ReceiveError::TooShort { received: 18, size: 19 })));
    assert_eq!(hub.files(), [""; 0]);
    take(sha(WEIGHTS), 18).await.unwrap();
    take(sha(WEIGHTS), 18).await.unwrap();
    let link = hub.db.link(hub.repo.id, &sha(WEIGHTS)).unwrap().unwrap();
    assert_eq!((link.state, link.by, hub.files().len()), (LinkState::Live, by, 1));
    take(sha(b""), 0).await.unwrap();
    assert_eq!(hub.db.link(hub.repo.id, &sha(b"")).unwrap(), None, "the empty object is never stored");
}

#[tokio::test]
async fn the_quota_names_what_is_used() {
    let mut hub = hub().await;
    hub.client.quota = Some(40);
    hub.store(&hub.repo, WEIGHTS).await;
    let response = hub.upload(&hub.repo, &list(&[b"twenty-two bytes more.", b"one more"])).await;
    hub.put(&hub.grant(&upload_of(&response.objects[0]).href), b"twenty-two bytes more.").await.unwrap();
    let (code, message) = error_of(&response.objects[1]);
    assert_eq!((code.number(), message), (507, "acme has used 18 B of 40 B; this object does not fit"));
    hub.db.set_quota("acme".parse().unwrap(), Some(1000)).await.unwrap();
    hub.store(&hub.repo, b"one more").await;
}
