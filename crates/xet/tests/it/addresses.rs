//! Addresses of ranges of xorbs.

use xet::FetchError;
use xet::xorb::Compression;

use crate::store::{hub, made};
use crate::support::make;

#[tokio::test]
async fn an_address_is_good_for_its_bytes_and_its_time() {
    let hub = hub().await;
    let made = made(&make("random", 1, 600_000), 8192, Compression::None);
    let (hash, bytes, _) = &made.xorbs[0];
    let xorb = hub.send(&hub.repo, *hash, bytes).await.unwrap().xorb;
    let addresses = hub.cas.addresses("http://hub/cas/").await.unwrap();
    let url = addresses.of(&xorb, &(100..=299));
    let token = url.strip_prefix("http://hub/cas/").unwrap();
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{token}");
    let fetch = hub.cas.open_address(token).await.unwrap();
    assert_eq!((fetch.len(), fetch.xorb_bytes()), (200, bytes.len() as u64));
    let mut reader = fetch.reader(100..=299).await.unwrap().unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), bytes[100..300]);
    assert!(fetch.reader(150..=160).await.unwrap().is_some());
    for range in [99..=299, 100..=300, 0..=u64::MAX, 0..=99] {
        assert!(fetch.reader(range).await.unwrap().is_none());
    }
    for wrong in [
        token.replacen("100", "000", 1),
        token.replacen("-299-", "-599-", 1),
        format!("2{token}"),
        format!("{}0", &token[..token.len() - 1]),
        token[..token.len() - 1].to_owned(),
        token.replace('-', ""),
        String::new(),
    ] {
        if wrong != token {
            let refused = hub.cas.open_address(&wrong).await;
            assert!(matches!(refused, Err(FetchError::Invalid)), "{wrong}");
        }
    }
    hub.cas.rotate_keys().await.unwrap();
    assert!(hub.cas.open_address(token).await.is_ok(), "a new key ends nothing");
    hub.clock.advance_ms(3_600_000);
    assert!(matches!(hub.cas.open_address(token).await, Err(FetchError::Expired)));
    let (_, again) = crate::store::open(hub.directory.path(), &hub.clock, crate::store::config());
    let url = hub.cas.addresses("http://hub/cas").await.unwrap().of(&xorb, &(0..=9));
    assert!(again.open_address(url.rsplit('/').next().unwrap()).await.is_ok(), "keys are in rows");
}
