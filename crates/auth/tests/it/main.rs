//! From tokens in rows to decisions, on a real database.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod transfer;
mod xet;

use auth::{
    AuthError, Authorized, Credential, Identity, ImportError, Propose, Read, ReauthorizeError, Settings,
    TokenSecret, authorize, identify,
};
use database::{Clock, Database, NewRepo, Repo, TokenRole, User, Visibility};

struct Hub {
    database: Database,
    user: User,
    repo: Repo,
    _directory: tempfile::TempDir,
}

impl Hub {
    async fn new() -> Hub {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("granary.db"), Clock::default()).unwrap();
        let user = database.create_user("acme".parse().unwrap(), false).await.unwrap();
        let new = NewRepo {
            path: "acme/model".parse().unwrap(),
            visibility: Visibility::Private,
            mirror: false,
            blob_bytes_max: None,
            lfs_incomplete: false,
        };
        let repo = database.create_repo(new).await.unwrap();
        Hub { database, user, repo, _directory: directory }
    }

    async fn token(&self, role: TokenRole) -> TokenSecret {
        auth::issue(&self.database, self.user.id, "test".into(), role).await.unwrap().1
    }

    fn identify(&self, token: &TokenSecret) -> Result<Identity, AuthError> {
        identify(&self.database, &Credential::Token(token.clone()))
    }

    async fn propose(&self) -> (TokenSecret, Authorized<Propose>) {
        let token = self.token(TokenRole::Write).await;
        let identity = self.identify(&token).unwrap();
        (token, authorize(Settings::default(), &identity, self.repo.clone()).unwrap())
    }
}

#[tokio::test]
async fn tokens_lead_to_their_user_until_revoked_or_disabled() {
    let hub = Hub::new().await;
    let token = hub.token(TokenRole::Read).await;
    let identity = hub.identify(&token).unwrap();
    assert_eq!(identity.name(), Some("acme"));
    assert_eq!(identity.principal().unwrap().role, TokenRole::Read);
    assert_eq!(identify(&hub.database, &Credential::Anonymous).unwrap(), Identity::Anonymous);

    let wrong = TokenSecret::presented(format!("{}x", token.expose()));
    assert!(matches!(hub.identify(&wrong), Err(AuthError::Invalid)));

    hub.database.set_user_disabled(hub.user.id, true).await.unwrap();
    assert!(matches!(hub.identify(&token), Err(AuthError::Disabled)));
    hub.database.set_user_disabled(hub.user.id, false).await.unwrap();
    assert!(hub.identify(&token).is_ok());

    hub.database.revoke_token(identity.principal().unwrap().token).await.unwrap();
    assert!(matches!(hub.identify(&token), Err(AuthError::Revoked)));
}

#[tokio::test]
async fn imported_tokens_may_have_any_visible_form() {
    let hub = Hub::new().await;
    let import = async |text: &str| {
        let secret = TokenSecret::presented(text.into());
        auth::import(&hub.database, hub.user.id, "old".into(), TokenRole::Write, &secret).await
    };
    import("glpat-0123456789_x/y=").await.unwrap();
    assert!(hub.identify(&TokenSecret::presented("glpat-0123456789_x/y=".into())).is_ok());
    assert!(matches!(import("glpat-0123456789_x/y=").await, Err(ImportError::Exists)));
    for bad in ["short", "has a space in it ...", "line\nbreak, long enough", &"x".repeat(1025)] {
        assert!(matches!(import(bad).await, Err(ImportError::Form)), "{bad:?}");
    }
    assert!(import(&"x".repeat(1024)).await.is_ok());
}

#[tokio::test]
async fn a_right_is_lost_with_its_token_user_or_repository() {
    let hub = Hub::new().await;
    let (_, right) = hub.propose().await;
    assert_eq!(right.reauthorize(&hub.database).unwrap().acl_version(), hub.repo.acl_version);

    hub.database.revoke_token(right.token().unwrap()).await.unwrap();
    let lost = right.reauthorize(&hub.database).unwrap_err();
    assert!(matches!(lost, ReauthorizeError::Credential(AuthError::Revoked)));

    let (_, right) = hub.propose().await;
    hub.database.set_user_disabled(hub.user.id, true).await.unwrap();
    let lost = right.reauthorize(&hub.database).unwrap_err();
    assert!(matches!(lost, ReauthorizeError::Credential(AuthError::Disabled)));
    hub.database.set_user_disabled(hub.user.id, false).await.unwrap();

    let (_, right) = hub.propose().await;
    hub.database.delete_repo(hub.repo.id, 0).await.unwrap();
    assert!(matches!(right.reauthorize(&hub.database), Err(ReauthorizeError::RepoGone)));
}

#[tokio::test]
async fn a_reader_of_a_public_repository_loses_it_when_it_turns_private() {
    let hub = Hub::new().await;
    hub.database.set_visibility(hub.repo.id, Visibility::Public).await.unwrap();
    let public = hub.database.repo(hub.repo.id).unwrap().unwrap();
    let right = authorize::<Read>(Settings::default(), &Identity::Anonymous, public).unwrap();
    assert!(right.reauthorize(&hub.database).is_ok());

    hub.database.set_visibility(hub.repo.id, Visibility::Private).await.unwrap();
    assert!(matches!(right.reauthorize(&hub.database), Err(ReauthorizeError::Denied(_))));
}
