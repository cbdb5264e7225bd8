use database::{CreateError, TokenRole};

use crate::support::{hub, new_repo};

#[tokio::test]
async fn a_user_is_found_in_any_case_and_unique_in_any_case() {
    let hub = hub().await;
    let user = hub.db.user("aCME").unwrap().unwrap();
    assert_eq!((user.name.as_str(), user.admin, user.disabled), ("Acme", false, false));
    assert!(hub.db.user("acm").unwrap().is_none());
    let again = hub.db.create_user("ACME".parse().unwrap(), true).await;
    assert!(matches!(again, Err(CreateError::Taken)), "{again:?}");
    let zoe = hub.db.create_user("zoe".parse().unwrap(), true).await.unwrap();
    assert!(zoe.admin && zoe.id != user.id);
    let names: Vec<String> = hub.db.users().unwrap().iter().map(|user| user.name.to_string()).collect();
    assert_eq!(names, ["Acme", "zoe"]);
    hub.assert_sound();
}

#[tokio::test]
async fn disabling_a_user_moves_the_acl_version_of_that_users_repos_only() {
    let hub = hub().await;
    // Names that sort around `acme/`.
    for name in ["acme-2", "acme0", "acm"] {
        hub.db.create_user(name.parse().unwrap(), false).await.unwrap();
    }
    let own = hub.db.create_repo(new_repo("datasets/Acme/data")).await.unwrap();
    let mut others = vec![];
    for name in ["acme-2/m", "acme0/m", "acm/e"] {
        others.push(hub.db.create_repo(new_repo(name)).await.unwrap());
    }
    let user = hub.db.user("acme").unwrap().unwrap();
    assert!(hub.db.set_user_disabled(user.id, true).await.unwrap());
    assert!(hub.db.user("acme").unwrap().unwrap().disabled);
    for repo in [&hub.repo, &own] {
        assert_eq!(hub.db.repo(repo.id).unwrap().unwrap().acl_version, repo.acl_version + 1);
    }
    for repo in &others {
        assert_eq!(hub.db.repo(repo.id).unwrap().unwrap(), *repo);
    }
    assert!(hub.db.set_user_disabled(user.id, false).await.unwrap());
    assert!(!hub.db.user("acme").unwrap().unwrap().disabled);
    assert!(!hub.db.set_user_disabled(database::UserId(99), true).await.unwrap());
}

#[tokio::test]
async fn tokens() {
    let hub = hub().await;
    let user = hub.db.user("acme").unwrap().unwrap();
    let (read, write) = ([1; 32], [2; 32]);
    let first = hub.db.create_token(user.id, "ci".to_owned(), TokenRole::Read, read).await.unwrap();
    let second = hub.db.create_token(user.id, "me".to_owned(), TokenRole::Write, write).await.unwrap();
    let taken = hub.db.create_token(user.id, "me".to_owned(), TokenRole::Write, write).await;
    assert!(matches!(taken, Err(CreateError::Taken)), "{taken:?}");
    let nobody = hub.db.create_token(database::UserId(99), "x".to_owned(), TokenRole::Read, [3; 32]).await;
    assert!(matches!(nobody, Err(CreateError::NoUser)), "{nobody:?}");

    let token = hub.db.token_by_hash(&write).unwrap().unwrap();
    assert_eq!(
        (token.id, token.name.as_str(), token.role, token.revoked),
        (second, "me", TokenRole::Write, false)
    );
    assert_eq!(token.user, user);
    assert!(hub.db.token_by_hash(&[9; 32]).unwrap().is_none());
    let ids: Vec<_> = hub.db.tokens(user.id).unwrap().iter().map(|token| token.id).collect();
    assert_eq!(ids, [first, second]);

    assert!(hub.db.revoke_token(first).await.unwrap());
    assert!(hub.db.token_by_hash(&read).unwrap().unwrap().revoked);
    assert!(!hub.db.revoke_token(database::TokenId(99)).await.unwrap());
    hub.db.set_user_disabled(user.id, true).await.unwrap();
    assert!(hub.db.token_by_hash(&write).unwrap().unwrap().user.disabled);
    hub.assert_sound();
}

#[tokio::test]
async fn settings() {
    let hub = hub().await;
    assert_eq!(hub.db.setting("last-gc").unwrap(), None);
    hub.db.set_setting("last-gc", "1").await.unwrap();
    hub.db.set_setting("last-gc", "2").await.unwrap();
    assert_eq!(hub.db.setting("last-gc").unwrap().as_deref(), Some("2"));
}
