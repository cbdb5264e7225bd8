//! Xorbs from clients, good and bad.

use auth::Propose;
use bytes::Bytes;
use xet::xorb::{ChunkError, Compression, XorbError};
use xet::{Config, Hash, Index, XorbRefused};

use crate::store::{DAY_MS, config, hub, made, with};
use crate::support::{data, make};

#[tokio::test]
async fn a_xorb_is_stored_as_its_chunks_with_its_index_beside_it() {
    let hub = hub().await;
    let made = made(&make("text", 1, 900_000), 8192, Compression::Smallest);
    let [(hash, bytes, index)] = &made.xorbs[..] else { panic!() };
    // As clients before 1.1.10 did.
    let mut with_footer = bytes.clone();
    with_footer.extend_from_slice(&data("footer"));
    let received = hub.send_in(&hub.repo, *hash, &with_footer, 7777).await.unwrap();
    assert!(received.was_inserted);
    let key = hub.directory.path().join(received.xorb.storage_key());
    assert_eq!(std::fs::read(&key).unwrap(), *bytes, "nothing of the footer");
    let beside = std::fs::read(hub.directory.path().join(received.xorb.index_key())).unwrap();
    assert_eq!(Index::parse(beside).unwrap(), *index);
    assert_eq!(hub.files().len(), 2);
    assert_eq!(hub.cas.xorb_size(&hub.reader(&hub.repo), hash).unwrap(), Some(bytes.len() as u64));
    assert_eq!(hub.cas.xorb_size(&hub.reader(&hub.fork), hash).unwrap(), None, "it did not bring it");
    assert_eq!(hub.findings().await, [""; 0]);
    hub.assert_sound();
}

#[tokio::test]
async fn who_brings_it_again_has_it_too_and_it_is_stored_once() {
    let hub = hub().await;
    let made = made(&make("random", 1, 600_000), 8192, Compression::None);
    let (hash, bytes, _) = &made.xorbs[0];
    let first = hub.send(&hub.repo, *hash, bytes).await.unwrap();
    let files = hub.files();
    for repo in [&hub.repo, &hub.fork, &hub.secret] {
        let again = hub.send(repo, *hash, bytes).await.unwrap();
        assert_eq!((again.xorb, again.was_inserted), (first.xorb, false));
        assert!(hub.db.has_xorb(repo.id, first.xorb.id).unwrap());
    }
    assert_eq!(hub.files(), files);
    // To know its name is not to have it.
    let error = hub.send(&hub.fork, *hash, &bytes[..bytes.len() - 1]).await.unwrap_err();
    assert!(matches!(error, XorbRefused::Xorb(XorbError::Truncated { .. })), "{error}");
    hub.assert_sound();
}

#[tokio::test]
async fn two_at_once_are_one() {
    let hub = hub().await;
    let made = made(&make("random", 2, 600_000), 8192, Compression::None);
    let (hash, bytes, _) = &made.xorbs[0];
    let mut both = Vec::new();
    for repo in [&hub.repo, &hub.fork] {
        let mut receiving = hub.cas.receive_xorb(hub.may::<Propose>(repo), *hash, None).await.unwrap();
        receiving.write(Bytes::copy_from_slice(bytes)).await.unwrap();
        both.push(receiving.finish());
    }
    let (second, first) = (both.pop().unwrap(), both.pop().unwrap());
    let (first, second) = tokio::join!(first, second);
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.xorb, second.xorb);
    assert!(first.was_inserted != second.was_inserted);
    assert_eq!(hub.cas.sweep().await.unwrap().deleted, 1);
    assert_eq!(hub.files().len(), 2);
    assert!(hub.db.has_xorb(hub.repo.id, first.xorb.id).unwrap());
    assert!(hub.db.has_xorb(hub.fork.id, first.xorb.id).unwrap());
    assert_eq!(hub.findings().await, [""; 0]);
    hub.assert_sound();
}

#[tokio::test]
async fn a_bad_xorb_is_refused_and_leaves_nothing() {
    let limits = xet::xorb::Limits { serialized_bytes: 1_000_000, ..Default::default() };
    let hub = with(Config { xorb: limits, ..config() }).await;
    let good = made(&make("text", 3, 700_000), 8192, Compression::Lz4);
    let (hash, bytes, _) = &good.xorbs[0];
    let other = Hash::from_bytes([7; 32]);
    let mut flipped = bytes.clone();
    flipped[5000] ^= 1;
    let mut large = vec![0, 1, 0, 2, 0, 1, 0, 2];
    large.resize(8 + 128 * 1024 + 1, 7);
    let random = made(&make("random", 3, 1_100_000), 8192, Compression::None);
    let cases: Vec<(&str, Hash, Vec<u8>)> = vec![
        ("another hash", other, bytes.clone()),
        ("cut", *hash, bytes[..bytes.len() - 1].to_vec()),
        ("nothing", *hash, Vec::new()),
        ("a flipped bit", *hash, flipped),
        ("a chunk that is too large", *hash, large),
        ("too many bytes", random.xorbs[0].0, random.xorbs[0].1.clone()),
    ];
    for (what, hash, body) in cases {
        let error = hub.send(&hub.repo, hash, &body).await.unwrap_err();
        let XorbRefused::Xorb(error) = error else { panic!("{what}: {error}") };
        match what {
            "another hash" => assert!(matches!(error, XorbError::Mismatch { .. }), "{error}"),
            "cut" => assert!(matches!(error, XorbError::Truncated { .. }), "{error}"),
            "nothing" => assert!(matches!(error, XorbError::Empty), "{error}"),
            "too many bytes" => assert!(error.is_too_large(), "{error}"),
            "a chunk that is too large" => {
                assert!(matches!(error, XorbError::Chunk { why: ChunkError::RawLen { .. }, .. }), "{error}");
            }
            _ => {}
        }
    }
    let announced = hub.cas.receive_xorb(hub.may(&hub.repo), *hash, Some(2_000_000)).await;
    assert!(matches!(announced, Err(XorbRefused::Xorb(error)) if error.is_too_large()));
    // A client that goes away.
    let mut gone = hub.cas.receive_xorb(hub.may(&hub.repo), *hash, None).await.unwrap();
    gone.write(Bytes::copy_from_slice(&bytes[..300_000])).await.unwrap();
    drop(gone);
    hub.clock.advance_ms(2 * DAY_MS);
    for _ in 0..100 {
        hub.cas.sweep().await.unwrap();
        if hub.files().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(hub.files(), [""; 0]);
    assert_eq!(hub.db.xorb(&(*hash).into()).unwrap(), None);
    assert_eq!(hub.db.xorbs_staged(i64::MAX, 10).unwrap(), []);
    hub.assert_sound();
    assert!(hub.send(&hub.repo, *hash, bytes).await.unwrap().was_inserted, "a good one comes after all");
}

#[tokio::test]
async fn only_so_many_at_once() {
    let hub = with(Config { xorbs_max: 1, ..config() }).await;
    let (hash, bytes, _) = &made(b"hello", 8192, Compression::None).xorbs[0];
    let first = hub.cas.receive_xorb(hub.may(&hub.repo), *hash, None).await.unwrap();
    let second = hub.cas.receive_xorb(hub.may(&hub.repo), *hash, None).await;
    assert!(matches!(second, Err(XorbRefused::Busy)));
    drop(first);
    hub.send(&hub.repo, *hash, bytes).await.unwrap();
}

#[tokio::test]
async fn what_is_no_longer_allowed_is_not_stored() {
    let hub = hub().await;
    let (hash, bytes, _) = &made(b"hello", 8192, Compression::None).xorbs[0];
    let mut receiving = hub.cas.receive_xorb(hub.may(&hub.repo), *hash, None).await.unwrap();
    receiving.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    assert!(matches!(receiving.finish().await, Err(XorbRefused::RepoGone)));
    let mut receiving = hub.cas.receive_xorb(hub.may(&hub.fork), *hash, None).await.unwrap();
    receiving.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    let token = hub.owner.principal().unwrap().token;
    hub.db.revoke_token(token).await.unwrap();
    assert!(matches!(receiving.finish().await, Err(XorbRefused::Denied(_))));
    assert_eq!(hub.db.xorb(&(*hash).into()).unwrap(), None);
    hub.assert_sound();
}
