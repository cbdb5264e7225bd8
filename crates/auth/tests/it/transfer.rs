//! Transfer tokens: what forges them, what ends them, what they still stand for.

use std::time::Instant;

use auth::transfer::{
    Grant, KeysError, Operation, PART_NUMBER_MAX, Part, TOKEN_BYTES_MAX, TransferError, TransferKeys,
    lifetime, redeem,
};
use auth::{Admin, AuthError, Denied, Propose, Read, ReauthorizeError, Settings, Write};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use database::{RepoId, Sha256, TokenId, TokenRole, UploadId, UserId, Visibility};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::Hub;

const NOW_MS: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 60 * 60 * 1000;
/// In the settings row.
const SETTING: &str = "lfs.transfer_keys";

fn grant() -> Grant {
    Grant {
        operation: Operation::Upload,
        repo: RepoId(7),
        sha256: Sha256([0xab; 32]),
        size: u64::MAX,
        upload: Some(UploadId::new()),
        part: None,
        multipart: None,
        token: Some(TokenId(3)),
        user: Some(UserId(4)),
        expires_ms: NOW_MS,
    }
}

async fn keys() -> (Hub, TransferKeys) {
    let hub = Hub::new().await;
    let keys = TransferKeys::open(&hub.database).await.unwrap();
    (hub, keys)
}

/// The secret of the `n`th key, newest first, and its name.
fn secret(hub: &Hub, n: usize) -> (Vec<u8>, String) {
    let row: Value = serde_json::from_str(&hub.database.setting(SETTING).unwrap().unwrap()).unwrap();
    let text = |field: &str| row[n][field].as_str().unwrap().to_owned();
    (URL_SAFE_NO_PAD.decode(text("secret")).unwrap(), text("kid"))
}

/// A token as somebody with the key could make it.
fn signed(hub: &Hub, algorithm: Algorithm, claims: &Value) -> String {
    let (secret, kid) = secret(hub, 0);
    let header = Header { kid: Some(kid), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(&secret)).unwrap()
}

fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test]
async fn what_was_granted_comes_back() {
    let (_hub, keys) = keys().await;
    let part = Some(Part { number: PART_NUMBER_MAX, size: 16 << 20 });
    let multipart = Some("\"2~\u{e4}/+=".repeat(100));
    for grant in [
        grant(),
        Grant { operation: Operation::Download, upload: None, token: None, user: None, ..grant() },
        Grant { operation: Operation::Part, part, multipart: multipart.clone(), ..grant() },
        Grant { operation: Operation::Complete, multipart, size: 0, ..grant() },
        Grant { operation: Operation::Verify, repo: RepoId(i64::MAX), ..grant() },
    ] {
        let token = keys.issue(&grant);
        let url_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        assert!(token.bytes().all(url_safe), "{token}");
        assert_eq!(keys.check(&token, NOW_MS - 1), Ok(grant));
    }
}

#[tokio::test]
async fn a_token_ends_to_the_millisecond() {
    let (_hub, keys) = keys().await;
    let token = keys.issue(&grant());
    assert!(keys.check(&token, NOW_MS - 1).is_ok());
    assert_eq!(keys.check(&token, NOW_MS), Err(TransferError::Expired));
    assert_eq!(keys.check(&token, NOW_MS + 1), Err(TransferError::Expired));
    assert_eq!(keys.check(&token, i64::MAX), Err(TransferError::Expired));
}

#[tokio::test]
async fn a_changed_token_is_none() {
    let (_hub, keys) = keys().await;
    let token = keys.issue(&grant());
    let changed = |at: usize, digit: u8| {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = digit;
        String::from_utf8(bytes).unwrap()
    };
    for at in 0..token.len() {
        for digit in *b"A9-_.=%/" {
            if token.as_bytes()[at] != digit {
                assert_eq!(keys.check(&changed(at, digit), 0), Err(TransferError::Invalid), "{at}");
            }
        }
        assert_eq!(keys.check(&token[..at], 0), Err(TransferError::Invalid), "{at}");
        assert_eq!(
            keys.check(&format!("{}{}", &token[..at], &token[at + 1..]), 0),
            Err(TransferError::Invalid)
        );
    }
    for other in ["", ".", "..", "...", "ä.ö.ü", "e30.e30.", &format!("{token}."), &format!("{token}.x")] {
        assert_eq!(keys.check(other, 0), Err(TransferError::Invalid), "{other}");
    }
    // The claims of one, signed as another.
    let other = keys.issue(&Grant { operation: Operation::Download, ..grant() });
    let (head, _) = token.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    assert_eq!(keys.check(&format!("{head}.{signature}"), 0), Err(TransferError::Invalid));
}

#[tokio::test]
async fn only_our_algorithm_and_our_keys_count() {
    let (hub, keys) = keys().await;
    let claims = claims_of(&keys.issue(&grant()));
    assert!(keys.check(&signed(&hub, Algorithm::HS256, &claims), 0).is_ok());
    for other in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(keys.check(&signed(&hub, other, &claims), 0), Err(TransferError::Invalid), "{other:?}");
    }
    let (secret, kid) = secret(&hub, 0);
    let encode = |header: &Header, secret: &[u8]| {
        jsonwebtoken::encode(header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let header = |kid: Option<&str>| Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::HS256) };
    assert!(keys.check(&encode(&header(Some(&kid)), &secret), 0).is_ok());
    for (header, secret) in [
        (header(None), &secret[..]),
        (header(Some("")), &secret),
        (header(Some("other")), &secret),
        (header(Some(&kid)), b"another key of thirty-two bytes!"),
        (header(Some(&kid)), b""),
    ] {
        assert_eq!(keys.check(&encode(&header, secret), 0), Err(TransferError::Invalid), "{header:?}");
    }
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    for alg in ["none", "None", "", "hs256", "RS256", "HS256 "] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": kid, "typ": "JWT"}).to_string());
        for signature in ["", "AAAA"] {
            let token = format!("{header}.{payload}.{signature}");
            assert_eq!(keys.check(&token, 0), Err(TransferError::Invalid), "{alg}");
        }
    }
}

#[tokio::test]
async fn claims_are_typed_and_bounded() {
    let (hub, keys) = keys().await;
    let part = Some(Part { number: 1, size: 1 });
    let good = claims_of(&keys.issue(&Grant { operation: Operation::Part, part, ..grant() }));
    let check = |claims: &Value| keys.check(&signed(&hub, Algorithm::HS256, claims), 0);
    assert!(check(&good).is_ok());
    let hex = |digits: usize| json!("a".repeat(digits));
    for (name, value) in [
        ("o", json!("delete")),
        ("o", json!("GET")),
        ("o", Value::Null),
        ("r", json!("7")),
        ("r", json!(1.5)),
        ("h", hex(63)),
        ("h", hex(65)),
        ("h", json!("A".repeat(64))),
        ("s", json!(-1)),
        ("s", json!(1.0)),
        ("s", json!("1")),
        ("u", json!("01")),
        ("u", json!(1)),
        ("p", Value::Null),
        ("p", json!([0, 1])),
        ("p", json!([PART_NUMBER_MAX + 1, 1])),
        ("p", json!([1, 0])),
        ("p", json!([1])),
        ("p", json!([1, 1, 1])),
        ("m", json!("m".repeat(2049))),
        ("t", json!("3")),
        ("x", json!(1.5)),
        ("x", Value::Null),
        ("more", json!(1)),
    ] {
        let mut claims = good.clone();
        claims[name] = value.clone();
        assert_eq!(check(&claims), Err(TransferError::Invalid), "{name} {value}");
    }
    for name in ["o", "r", "h", "s", "p", "x"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        assert_eq!(check(&claims), Err(TransferError::Invalid), "without {name}");
    }
    let bound = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        check(&claims).is_ok()
    };
    assert!(bound("s", json!(u64::MAX)) && bound("s", json!(0)));
    assert!(bound("p", json!([PART_NUMBER_MAX, u64::MAX])));
    assert!(bound("m", json!("m".repeat(2048))));
}

#[tokio::test]
async fn long_tokens_are_not_looked_at() {
    let (hub, keys) = keys().await;
    // White space between claims fills a genuine token up to any length.
    let (secret, kid) = secret(&hub, 0);
    let header = Header { kid: Some(kid), ..Header::new(Algorithm::HS256) };
    let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).unwrap());
    let claims = claims_of(&keys.issue(&grant())).to_string();
    let token = |spaces: usize| {
        let message =
            format!("{header}.{}", URL_SAFE_NO_PAD.encode(format!("{}{claims}", " ".repeat(spaces))));
        let key = EncodingKey::from_secret(&secret);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    };
    let tokens: Vec<String> = (2000..4000).map(token).collect();
    let at_the_bound = tokens.iter().rfind(|token| token.len() <= TOKEN_BYTES_MAX).unwrap();
    let beyond = tokens.iter().find(|token| token.len() > TOKEN_BYTES_MAX).unwrap();
    assert!(beyond.len() - at_the_bound.len() <= 2);
    assert!(keys.check(at_the_bound, 0).is_ok());
    assert_eq!(keys.check(beyond, 0), Err(TransferError::Invalid));
}

#[tokio::test]
async fn all_who_open_get_the_same_keys() {
    let hub = Hub::new().await;
    let open = || TransferKeys::open(&hub.database);
    let (one, two, three) = tokio::join!(open(), open(), open());
    let (one, two, three) = (one.unwrap(), two.unwrap(), three.unwrap());
    let token = one.issue(&grant());
    assert_eq!((two.issue(&grant()).len(), three.issue(&grant()).len()), (token.len(), token.len()));
    assert!(two.check(&token, 0).is_ok() && three.check(&token, 0).is_ok());
    assert!(open().await.unwrap().check(&token, 0).is_ok());
    assert!(!format!("{one:?}").contains(&URL_SAFE_NO_PAD.encode(secret(&hub, 0).0)));
    assert_eq!(secret(&hub, 0).0.len(), 32);
}

#[tokio::test]
async fn rotated_keys_check_until_their_last_token_has_ended() {
    let (hub, keys) = keys().await;
    let clock = hub.database.clock().clone();
    let token = |keys: &TransferKeys| keys.issue(&Grant { expires_ms: i64::MAX, ..grant() });
    let (clone, first) = (keys.clone(), token(&keys));
    let before_ms = clock.now_ms();
    keys.rotate(&hub.database).await.unwrap();
    let after_ms = clock.now_ms();
    let second = token(&keys);
    assert_ne!(first.split('.').next(), second.split('.').next());

    // All that share the keys, and those who open them later, know both.
    let reopened = TransferKeys::open(&hub.database).await.unwrap();
    for keys in [&keys, &clone, &reopened] {
        assert!(keys.check(&second, after_ms).is_ok() && keys.check(&first, after_ms).is_ok());
        assert!(keys.check(&first, before_ms + 25 * HOUR_MS - 1).is_ok());
        assert_eq!(keys.check(&first, after_ms + 25 * HOUR_MS), Err(TransferError::Invalid));
        assert!(keys.check(&second, after_ms + 25 * HOUR_MS).is_ok());
    }
    assert_eq!(token(&reopened).split('.').next(), second.split('.').next());

    // The next rotation forgets what has ended.
    clock.advance_ms(25 * HOUR_MS);
    keys.rotate(&hub.database).await.unwrap();
    let row: Value = serde_json::from_str(&hub.database.setting(SETTING).unwrap().unwrap()).unwrap();
    assert_eq!(row.as_array().unwrap().len(), 2);
    assert!(keys.check(&second, clock.now_ms()).is_ok());
    assert_eq!(keys.check(&first, before_ms), Err(TransferError::Invalid));
}

/// The margin that the rotation relies on.
#[test]
fn no_token_outlives_its_key() {
    assert!(lifetime(u64::MAX).as_millis() + HOUR_MS as u128 <= 25 * HOUR_MS as u128);
}

#[tokio::test]
async fn a_broken_row_is_told() {
    let hub = Hub::new().await;
    let short = json!([{"kid": "a", "secret": "AAAA"}]).to_string();
    for row in ["", "{}", "[]", "[{}]", "[1]", &short] {
        hub.database.set_setting(SETTING, row).await.unwrap();
        assert!(matches!(TransferKeys::open(&hub.database).await, Err(KeysError::Corrupt)), "{row}");
    }
}

/// The grant of a link that `hub`'s user asked for.
async fn asked_by(hub: &Hub, operation: Operation, role: TokenRole) -> Grant {
    let secret = hub.token(role).await;
    let identity = hub.identify(&secret).unwrap();
    let token = identity.principal().map(|principal| principal.token);
    Grant { operation, repo: hub.repo.id, token, user: Some(hub.user.id), ..grant() }
}

fn redeemed<A: auth::Right>(hub: &Hub, grant: &Grant) -> Result<(), ReauthorizeError> {
    let right = redeem::<A>(Settings::default(), &hub.database, grant)?;
    assert_eq!((right.repo_id(), right.token(), right.actor()), (grant.repo, grant.token, grant.user));
    Ok(())
}

#[tokio::test]
async fn a_link_is_worth_what_its_asker_may_now() {
    let hub = Hub::new().await;
    let grant = asked_by(&hub, Operation::Upload, TokenRole::Write).await;
    redeemed::<Propose>(&hub, &grant).unwrap();

    // Under a new name it is the same repository.
    hub.database.rename_repo(hub.repo.id, "acme/other".parse().unwrap()).await.unwrap();
    redeemed::<Propose>(&hub, &grant).unwrap();

    hub.database.set_user_disabled(hub.user.id, true).await.unwrap();
    let refused = redeemed::<Propose>(&hub, &grant).unwrap_err();
    assert!(matches!(refused, ReauthorizeError::Credential(AuthError::Disabled)));
    hub.database.set_user_disabled(hub.user.id, false).await.unwrap();

    hub.database.revoke_token(grant.token.unwrap()).await.unwrap();
    let refused = redeemed::<Propose>(&hub, &grant).unwrap_err();
    assert!(matches!(refused, ReauthorizeError::Credential(AuthError::Revoked)));

    let grant = asked_by(&hub, Operation::Download, TokenRole::Read).await;
    redeemed::<Read>(&hub, &grant).unwrap();
    for wrong in [
        Grant { token: Some(TokenId(999)), ..grant.clone() },
        Grant { user: Some(UserId(999)), ..grant.clone() },
    ] {
        let refused = redeemed::<Read>(&hub, &wrong).unwrap_err();
        assert!(matches!(refused, ReauthorizeError::Credential(AuthError::Invalid)));
    }
    let elsewhere = Grant { repo: RepoId(999), ..grant.clone() };
    assert!(matches!(redeemed::<Read>(&hub, &elsewhere), Err(ReauthorizeError::RepoGone)));
    hub.database.delete_repo(hub.repo.id, 0).await.unwrap();
    assert!(matches!(redeemed::<Read>(&hub, &grant), Err(ReauthorizeError::RepoGone)));
}

#[tokio::test]
async fn others_lose_a_repository_that_turns_private() {
    let hub = Hub::new().await;
    hub.database.set_visibility(hub.repo.id, Visibility::Public).await.unwrap();
    let other = hub.database.create_user("other".parse().unwrap(), false).await.unwrap();
    let (token, _) = auth::issue(&hub.database, other.id, "t".into(), TokenRole::Write).await.unwrap();
    let by =
        |token, user| Grant { operation: Operation::Download, repo: hub.repo.id, token, user, ..grant() };
    let (theirs, anonymous) = (by(Some(token), Some(other.id)), by(None, None));
    redeemed::<Read>(&hub, &theirs).unwrap();
    redeemed::<Read>(&hub, &anonymous).unwrap();
    let closed = Settings { anonymous_read: false };
    let refused = redeem::<Read>(closed, &hub.database, &anonymous).unwrap_err();
    assert!(matches!(refused, ReauthorizeError::Denied(Denied::Unauthenticated)));

    hub.database.set_visibility(hub.repo.id, Visibility::Private).await.unwrap();
    let refused = redeemed::<Read>(&hub, &theirs).unwrap_err();
    assert!(matches!(refused, ReauthorizeError::Denied(Denied::NotFound)));
    let refused = redeemed::<Read>(&hub, &anonymous).unwrap_err();
    assert!(matches!(refused, ReauthorizeError::Denied(Denied::Unauthenticated)));
}

#[tokio::test]
async fn a_link_gives_no_more_than_its_operation_takes() {
    let hub = Hub::new().await;
    let refused = |result: Result<(), ReauthorizeError>| {
        assert!(matches!(result, Err(ReauthorizeError::Denied(Denied::Forbidden))), "{result:?}");
    };
    let download = asked_by(&hub, Operation::Download, TokenRole::Write).await;
    redeemed::<Read>(&hub, &download).unwrap();
    refused(redeemed::<Propose>(&hub, &download));
    for operation in [Operation::Upload, Operation::Part, Operation::Complete, Operation::Verify] {
        let upload = Grant { operation, ..download.clone() };
        redeemed::<Propose>(&hub, &upload).unwrap();
        refused(redeemed::<Write>(&hub, &upload));
        refused(redeemed::<Admin>(&hub, &upload));
        // A token to read with was enough for nothing of this.
        refused(redeemed::<Propose>(&hub, &asked_by(&hub, operation, TokenRole::Read).await));
    }
}

/// Who reads a public repository may propose, and upload what that takes.
#[tokio::test]
async fn a_link_to_upload_by_takes_the_right_to_propose() {
    let hub = Hub::new().await;
    hub.database.set_visibility(hub.repo.id, Visibility::Public).await.unwrap();
    let other = hub.database.create_user("other".parse().unwrap(), false).await.unwrap();
    let (token, _) = auth::issue(&hub.database, other.id, "t".into(), TokenRole::Write).await.unwrap();
    let by = |operation| {
        let (repo, token, user) = (hub.repo.id, Some(token), Some(other.id));
        Grant { operation, repo, token, user, ..grant() }
    };
    redeemed::<Read>(&hub, &by(Operation::Download)).unwrap();
    for operation in [Operation::Upload, Operation::Part, Operation::Complete, Operation::Verify] {
        redeemed::<Propose>(&hub, &by(operation)).unwrap();
    }
    hub.database.set_visibility(hub.repo.id, Visibility::Private).await.unwrap();
    for operation in [Operation::Upload, Operation::Part, Operation::Complete, Operation::Verify] {
        let refused = redeemed::<Propose>(&hub, &by(operation));
        assert!(matches!(refused, Err(ReauthorizeError::Denied(Denied::NotFound))), "{refused:?}");
    }
}

/// `cargo test --release -p auth --test it -- --ignored --nocapture speed`
#[tokio::test]
#[ignore = "a measurement"]
async fn speed() {
    const ROUNDS: u32 = 100_000;
    let (_hub, keys) = keys().await;
    let grant = grant();
    let begun = Instant::now();
    let bytes: usize = (0..ROUNDS).map(|_| keys.issue(&grant).len()).sum();
    let issuing = begun.elapsed() / ROUNDS;
    let token = keys.issue(&grant);
    let begun = Instant::now();
    assert!((0..ROUNDS).all(|_| keys.check(&token, 0).is_ok()));
    println!("issue {issuing:?}, check {:?}, {} bytes", begun.elapsed() / ROUNDS, bytes / ROUNDS as usize);
}
