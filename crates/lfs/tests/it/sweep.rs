//! What nobody needs goes, what somebody needs stays, and what is broken is found.

use lfs::{Problem, ReceiveError};

use crate::support::{DAY_MS, hub, list, sha, upload_of};

#[tokio::test]
async fn an_upload_that_expired_is_cleared_away_and_takes_nothing_any_more() {
    let hub = hub().await;
    let up = hub.upload(&hub.repo, &list(&[b"arrives", b"does not"])).await;
    let [arrives, late] = [0, 1].map(|n| hub.grant(&upload_of(&up.objects[n]).href));
    hub.put(&arrives, b"arrives").await.unwrap();
    let mut receiving = hub.objects.receive(hub.redeem(&late), &late).await.unwrap();
    receiving.write(bytes::Bytes::from_static(b"does not")).await.unwrap();

    hub.clock.advance_ms(2 * DAY_MS);
    assert_eq!(hub.objects.sweep().await.unwrap(), Default::default(), "not yet");
    hub.clock.advance_ms(2 * 3600 * 1000);
    let report = hub.objects.sweep().await.unwrap();
    assert_eq!((report.uploads, report.left), (0, 1), "one is under way");
    assert!(matches!(receiving.finish().await, Err(ReceiveError::Closed)));
    let report = hub.objects.sweep().await.unwrap();
    assert_eq!((report.uploads, report.left), (1, 0));
    assert_eq!(hub.files().len(), 1, "what arrived stays");
    assert!(hub.offered(&hub.owner, &hub.repo, arrives.sha256).await.is_ok());
    assert_eq!(hub.objects.sweep().await.unwrap(), Default::default());
    hub.assert_sound();
}

#[tokio::test]
async fn the_last_link_takes_the_bytes_with_it() {
    let hub = hub().await;
    let sha256 = hub.store(&hub.repo, b"shared").await;
    hub.store(&hub.fork, b"shared").await;
    hub.db.remove_link(hub.repo.id, sha256).await.unwrap();
    hub.objects.sweep().await.unwrap();
    assert_eq!(hub.files().len(), 1);
    hub.db.remove_link(hub.fork.id, sha256).await.unwrap();
    assert_eq!(hub.objects.sweep().await.unwrap().objects, 1);
    assert_eq!(hub.files(), [""; 0]);
    hub.assert_sound();
}

#[tokio::test]
async fn a_check_finds_what_is_broken() {
    let hub = hub().await;
    for bytes in [&b"whole"[..], b"flipped", b"gone", b"cut"] {
        hub.store(&hub.repo, bytes).await;
    }
    let path = |bytes: &[u8]| {
        let key = hub.db.link(hub.repo.id, &sha(bytes)).unwrap().unwrap().storage_key().unwrap();
        hub.directory.path().join(key)
    };
    std::fs::write(path(b"flipped"), b"flopped").unwrap();
    std::fs::remove_file(path(b"gone")).unwrap();
    std::fs::write(path(b"cut"), b"c").unwrap();

    let mut found = Vec::new();
    let report = hub.objects.check_objects(true, |finding| found.push(finding)).await.unwrap();
    assert_eq!((report.objects, report.bytes, report.findings), (4, 19, 3));
    let problem =
        |bytes: &[u8]| found.iter().find(|finding| finding.sha256 == sha(bytes)).map(|of| of.problem.clone());
    assert_eq!(problem(b"whole"), None);
    assert_eq!(problem(b"flipped"), Some(Problem::Bytes { actual: sha(b"flopped") }));
    assert_eq!(problem(b"gone"), Some(Problem::Missing));
    assert_eq!(problem(b"cut"), Some(Problem::Size { expected: 3, actual: 1 }));

    let mut quick = 0;
    hub.objects.check_objects(false, |_| quick += 1).await.unwrap();
    assert_eq!(quick, 2, "without reading, equal sizes look whole");
}

#[tokio::test]
async fn what_is_stored_is_found_again_by_its_name() {
    let old = hub().await;
    old.store(&old.repo, b"weights").await;
    old.store(&old.repo, b"flipped").await;
    let flipped = old.db.link(old.repo.id, &sha(b"flipped")).unwrap().unwrap().storage_key().unwrap();
    std::fs::write(old.directory.path().join(flipped), b"flopped").unwrap();

    // New rows over the same bytes.
    let directory = tempfile::tempdir().unwrap();
    let store = old.objects.store().clone();
    let hub = crate::support::with(directory, old.clock.clone(), store, crate::support::config()).await;
    for repo in [&hub.repo, &hub.fork] {
        assert!(hub.objects.adopt(repo.id, sha(b"weights"), 7).await.unwrap());
        assert!(hub.objects.adopt(repo.id, sha(b"weights"), 7).await.unwrap());
        assert!(!hub.objects.adopt(repo.id, sha(b"flipped"), 7).await.unwrap());
        assert!(!hub.objects.adopt(repo.id, sha(b"unknown"), 7).await.unwrap());
        let action = hub.offered(&hub.owner, repo, sha(b"weights")).await.unwrap();
        assert_eq!(hub.get(&action.href).await, b"weights");
    }
    assert_eq!(old.files().len(), 2, "no copies are left: {:?}", old.files());
    hub.assert_sound();
}
