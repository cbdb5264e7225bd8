//! Who is told that a chunk is here, and of what beside it.

use std::time::Duration;

use database::Repo;
use xet::hash::keyed;
use xet::shard::{Limits, Shard};
use xet::xorb::Compression;
use xet::{Config, DedupScope, Hash};

use crate::store::{DAY_MS, Hub, Made, config, hub, made, with};
use crate::support::make;

fn file() -> Made {
    made(&make("random", 21, 4_000_000), 12, Compression::None)
}

fn first_chunk(made: &Made) -> Hash {
    made.xorbs[0].2.iter(0..1).unwrap().next().unwrap().hash
}

/// Xorbs that are named, if any are.
async fn told(hub: &Hub, repo: &Repo, chunk: &Hash) -> Option<Vec<Hash>> {
    let answer = hub.cas.dedup(&hub.reader(repo), chunk).await.unwrap()?;
    let shard = Shard::parse(&answer, &Limits::default()).unwrap();
    assert_eq!(shard.files().count(), 0);
    Some(shard.xorbs().map(|xorb| xorb.hash).collect())
}

#[tokio::test]
async fn an_answer_names_the_file_s_xorbs_by_keyed_hashes() {
    let hub = hub().await;
    let made = file();
    assert!(made.xorbs.len() > 3);
    hub.upload(&hub.repo, &made).await;
    let chunk = first_chunk(&made);
    let answer = hub.cas.dedup(&hub.reader(&hub.repo), &chunk).await.unwrap().unwrap();
    let shard = Shard::parse(&answer, &Limits::default()).unwrap();
    let xorbs: Vec<_> = shard.xorbs().collect();
    assert_eq!(xorbs[0].hash, made.xorbs[0].0, "the hit comes first");
    assert_eq!(xorbs.len(), made.xorbs.len());
    // The footer says the key and when it ends.
    let footer = &answer[answer.len() - 200..];
    let key: [u8; 32] = footer[72..104].try_into().unwrap();
    let number = |at: usize| u64::from_le_bytes(footer[at..at + 8].try_into().unwrap());
    assert_eq!(number(112) - number(104), 7 * 24 * 3600);
    let named: Vec<Hash> = xorbs[0].chunks().map(|chunk| chunk.hash).collect();
    assert_eq!(named[0], keyed(&chunk, &key));
    assert!(!named.contains(&chunk), "no hash is given out as it is");
    assert_ne!(key, [0; 32]);
    hub.cas.rotate_keys().await.unwrap();
    let again = hub.cas.dedup(&hub.reader(&hub.repo), &chunk).await.unwrap().unwrap();
    assert_ne!(again[again.len() - 128..][..32], key);
    assert_eq!(told(&hub, &hub.repo, &Hash::from_bytes([3; 32])).await, None);
    // The first half is not enough.
    let mut near = *chunk.as_bytes();
    near[31] ^= 1;
    assert_eq!(told(&hub, &hub.repo, &Hash::from_bytes(near)).await, None);
}

#[tokio::test]
async fn only_what_one_may_read_is_named() {
    let hub = hub().await;
    let made = file();
    hub.upload(&hub.repo, &made).await;
    let chunk = first_chunk(&made);
    assert!(told(&hub, &hub.fork, &chunk).await.is_some(), "a repository of the same user");
    assert_eq!(told(&hub, &hub.secret, &chunk).await, None, "somebody else's");
    hub.upload(&hub.secret, &made).await;
    assert!(told(&hub, &hub.secret, &chunk).await.is_some());
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    assert_eq!(told(&hub, &hub.fork, &chunk).await, None, "what was deleted counts no more");
    hub.assert_sound();

    let narrow = with(Config { dedup_scope: DedupScope::Repo, ..config() }).await;
    narrow.upload(&narrow.repo, &made).await;
    assert!(told(&narrow, &narrow.repo, &chunk).await.is_some());
    assert_eq!(told(&narrow, &narrow.fork, &chunk).await, None);
}

#[tokio::test]
async fn answers_are_bounded_and_keep_what_they_name() {
    let hub = with(Config { dedup_xorbs_max: 2, key_lifetime: Duration::from_secs(3600), ..config() }).await;
    let made = file();
    let registered = hub.upload(&hub.repo, &made).await;
    hub.db.remove_link(hub.repo.id, registered.sha256).await.unwrap();
    hub.cas.sweep().await.unwrap();
    let chunk = first_chunk(&made);
    hub.clock.advance_ms(20 * DAY_MS);
    // The file is gone, its xorbs are not: who is told of one may use it for weeks.
    assert_eq!(told(&hub, &hub.repo, &chunk).await.unwrap(), [made.xorbs[0].0]);
    hub.clock.advance_ms(20 * DAY_MS);
    let report = hub.cas.sweep().await.unwrap();
    assert_eq!(report.condemned as usize, made.xorbs.len() - 1);
    assert!(told(&hub, &hub.repo, &chunk).await.is_some());
    hub.upload(&hub.repo, &made).await;
    assert_eq!(told(&hub, &hub.repo, &chunk).await.unwrap().len(), 2);
    hub.assert_sound();
}
