//! Tokens of Xet: one repository, one scope, one hour, and what the rows say.

use std::time::Duration;

use auth::transfer::{Grant, Operation, TransferError, TransferKeys};
use auth::xet::{Scope, XetGrant, redeem};
use auth::{Admin, AuthError, Denied, Identity, Propose, Read, ReauthorizeError, Settings, authorize};
use database::{Sha256, TokenRole, UserId, Visibility};

use crate::Hub;

const NOW_MS: i64 = 1_800_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn what_was_granted_comes_back_for_an_hour() {
    let hub = Hub::new().await;
    let keys = TransferKeys::open(&hub.database).await.unwrap();
    let (_, access) = hub.propose().await;
    let now_ms = hub.database.clock().now_ms();
    let end_ms = now_ms + HOUR.as_millis() as i64;
    for scope in [Scope::Read, Scope::Write] {
        let grant = XetGrant::to(&access, scope, HOUR, now_ms);
        assert_eq!((grant.holder, grant.user), (hub.repo.id.into(), Some(hub.user.id)));
        let token = keys.issue_xet(&grant);
        assert_eq!(keys.check_xet(&token, end_ms - 1), Ok(grant));
        assert_eq!(keys.check_xet(&token, end_ms), Err(TransferError::Expired));
        keys.rotate(&hub.database).await.unwrap();
        assert_eq!(keys.check_xet(&token, now_ms), Ok(grant));
        assert_eq!(keys.check_xet(&token[1..], now_ms), Err(TransferError::Invalid));
        // Neither kind of token is the other.
        assert_eq!(keys.check(&token, now_ms), Err(TransferError::Invalid));
    }
    let transfer = Grant {
        operation: Operation::Download,
        repo: hub.repo.id,
        sha256: Sha256([1; 32]),
        size: 1,
        upload: None,
        part: None,
        multipart: None,
        token: None,
        user: None,
        expires_ms: end_ms,
    };
    assert_eq!(keys.check_xet(&keys.issue(&transfer), now_ms), Err(TransferError::Invalid));
}

#[tokio::test]
async fn it_stands_for_what_its_holder_may_do_now() {
    let hub = Hub::new().await;
    let (_, access) = hub.propose().await;
    let database = &hub.database;
    let write = XetGrant::to(&access, Scope::Write, HOUR, NOW_MS);
    let read = XetGrant { scope: Scope::Read, ..write };
    let settings = Settings::default();
    assert!(redeem::<Propose>(settings, database, &write).is_ok());
    assert!(redeem::<Read>(settings, database, &write).is_ok());
    assert!(redeem::<Read>(settings, database, &read).is_ok());
    let denied = |error: ReauthorizeError| matches!(error, ReauthorizeError::Denied(Denied::Forbidden));
    assert!(denied(redeem::<Propose>(settings, database, &read).unwrap_err()));
    assert!(denied(redeem::<Admin>(settings, database, &write).unwrap_err()));
    let others = XetGrant { user: Some(UserId(99)), ..read };
    assert!(matches!(
        redeem::<Read>(settings, database, &others),
        Err(ReauthorizeError::Credential(AuthError::Invalid))
    ));
    let nobody = XetGrant { user: None, token: None, ..read };
    assert!(redeem::<Read>(settings, database, &nobody).is_err(), "it is private");
    database.set_visibility(hub.repo.id, Visibility::Public).await.unwrap();
    assert!(redeem::<Read>(settings, database, &nobody).is_ok());

    let reader = hub.token(TokenRole::Read).await;
    let identity: Identity = hub.identify(&reader).unwrap();
    let repo = database.repo(hub.repo.id).unwrap().unwrap();
    let weak =
        XetGrant::to(&authorize::<Read>(settings, &identity, repo).unwrap(), Scope::Write, HOUR, NOW_MS);
    assert!(denied(redeem::<Propose>(settings, database, &weak).unwrap_err()));

    database.revoke_token(write.token.unwrap()).await.unwrap();
    assert!(matches!(
        redeem::<Read>(settings, database, &read),
        Err(ReauthorizeError::Credential(AuthError::Revoked))
    ));
    database.delete_repo(hub.repo.id, 0).await.unwrap();
    assert!(matches!(redeem::<Read>(settings, database, &nobody), Err(ReauthorizeError::RepoGone)));
}

#[tokio::test]
async fn what_one_may_do_here_says_nothing_of_elsewhere() {
    let hub = Hub::new().await;
    let (_, access) = hub.propose().await;
    let other = hub.database.create_user("other".parse().unwrap(), false).await.unwrap();
    let new = database::NewRepo {
        path: "other/secret".parse().unwrap(),
        visibility: Visibility::Private,
        mirror: false,
        blob_bytes_max: None,
        lfs_incomplete: false,
    };
    let secret = hub.database.create_repo(new).await.unwrap();
    assert_ne!(other.id, hub.user.id);
    assert!(matches!(access.elsewhere::<Read, _>(secret), Err(Denied::NotFound)));
    assert!(access.elsewhere::<Read, _>(hub.repo.clone()).is_ok());
}
