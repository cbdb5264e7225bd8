//! What nobody needs goes, when no client remembers it; what somebody needs never does.

use xet::xorb::Compression;
use xet::{CommitError, ShardRefused};

use crate::store::{DAY_MS, Made, hub, made};
use crate::support::make;

fn file() -> Made {
    made(&make("random", 31, 2_000_000), 12, Compression::None)
}

#[tokio::test]
async fn a_xorb_goes_four_weeks_and_a_grace_after_its_last_file() {
    let hub = hub().await;
    let (kept, gone) = (file(), made(&make("text", 32, 2_000_000), 12, Compression::Lz4));
    let registered = hub.upload(&hub.repo, &gone).await;
    hub.upload(&hub.repo, &kept).await;
    hub.clock.advance_ms(100 * DAY_MS);
    assert_eq!(hub.cas.sweep().await.unwrap(), Default::default(), "files keep them");
    hub.db.remove_link(hub.repo.id, registered.sha256).await.unwrap();
    let report = hub.cas.sweep().await.unwrap();
    assert_eq!((report.files, report.condemned as usize, report.deleted), (1, gone.xorbs.len(), 0));
    hub.assert_sound();
    let files = hub.files().len();
    let error = hub.check(gone.shard()).await.unwrap_err();
    assert!(matches!(error, ShardRefused::MissingXorb { .. }) && error.to_string().contains("HF_XET_CACHE"));
    hub.clock.advance_ms(8 * DAY_MS);
    let report = hub.cas.sweep().await.unwrap();
    assert_eq!((report.condemned, report.deleted as usize), (0, gone.xorbs.len()));
    assert_eq!(hub.files().len(), files - 2 * gone.xorbs.len());
    assert_eq!(hub.read(&hub.repo, &kept).await.unwrap(), kept.content);
    // The same content comes again, under new keys.
    hub.upload(&hub.repo, &gone).await;
    assert_eq!(hub.read(&hub.repo, &gone).await.unwrap(), gone.content);
    assert_eq!(hub.findings().await, [""; 0]);
    hub.assert_sound();
}

#[tokio::test]
async fn what_was_uploaded_and_never_named_waits_as_long() {
    let hub = hub().await;
    let made = file();
    for (hash, bytes, _) in &made.xorbs {
        hub.send(&hub.repo, *hash, bytes).await.unwrap();
    }
    hub.clock.advance_ms(27 * DAY_MS);
    assert_eq!(hub.cas.sweep().await.unwrap().condemned, 0);
    // Brought again, it is as new.
    hub.send(&hub.repo, made.xorbs[0].0, &made.xorbs[0].1).await.unwrap();
    hub.clock.advance_ms(2 * DAY_MS);
    assert_eq!(hub.cas.sweep().await.unwrap().condemned as usize, made.xorbs.len() - 1);
    hub.assert_sound();
}

#[tokio::test]
async fn what_is_condemned_while_a_shard_is_proven_is_refused() {
    let hub = hub().await;
    let made = file();
    for (hash, bytes, _) in &made.xorbs {
        hub.send(&hub.repo, *hash, bytes).await.unwrap();
    }
    let checked = hub.check(made.shard()).await.unwrap();
    hub.clock.advance_ms(29 * DAY_MS);
    assert!(hub.cas.sweep().await.unwrap().condemned > 0);
    let refused = hub.commit(&hub.repo, checked).await.unwrap_err();
    assert!(matches!(refused, CommitError::XorbGone(_)) && refused.to_string().contains("HF_XET_CACHE"));
    assert_eq!(hub.db.xet_stats().unwrap().files, 0);
    // And the other way round.
    hub.upload(&hub.repo, &made).await;
    hub.clock.advance_ms(29 * DAY_MS);
    hub.cas.sweep().await.unwrap();
    assert_eq!(hub.read(&hub.repo, &made).await.unwrap(), made.content);
    hub.assert_sound();
}

#[tokio::test]
async fn a_file_goes_with_the_last_repository_that_has_it() {
    let hub = hub().await;
    let made = file();
    let first = hub.upload(&hub.repo, &made).await;
    hub.upload(&hub.secret, &made).await;
    hub.db.remove_link(hub.repo.id, first.sha256).await.unwrap();
    assert_eq!(hub.cas.sweep().await.unwrap().files, 1);
    assert_eq!(hub.read(&hub.secret, &made).await.unwrap(), made.content);
    assert_eq!(hub.db.xet_stats().unwrap().files, 1);
    hub.db.remove_link(hub.secret.id, first.sha256).await.unwrap();
    hub.cas.sweep().await.unwrap();
    assert_eq!(hub.db.xet_stats().unwrap().files, 0);
    hub.assert_sound();
}
