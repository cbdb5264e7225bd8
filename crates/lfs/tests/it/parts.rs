//! Uploads in parts, on the disk.

use auth::transfer::Grant;
use bytes::Bytes;
use lfs::ReceiveError;
use lfs::wire::batch::Outcome;

use crate::support::{DAY_MS, Hub, hub, list_offering_parts, sha};

/// Three parts of 40 bytes, the last of 30.
fn object() -> Vec<u8> {
    (0..110).collect()
}

struct Granted {
    parts: Vec<Grant>,
    complete: Grant,
}

impl Hub {
    async fn announce_parts(&self, bytes: &[u8]) -> Granted {
        let up = self.upload(&self.repo, &list_offering_parts(&[bytes])).await;
        let Outcome::Multipart { complete, parts, chunk_size: 40, verify: None } = &up.objects[0].outcome
        else {
            panic!("{up:?}")
        };
        let parts = parts.iter().map(|href| self.grant(href)).collect();
        Granted { parts, complete: self.grant(&complete.href) }
    }

    async fn put_part(&self, granted: &Granted, n: usize, bytes: &[u8]) -> Result<String, ReceiveError> {
        let grant = &granted.parts[n];
        let mut part = self.objects.receive_part(self.redeem(grant), grant).await?;
        part.write(Bytes::copy_from_slice(bytes)).await?;
        part.finish().await
    }

    async fn complete(&self, granted: &Granted, numbers: &[u32]) -> Result<(), ReceiveError> {
        let parts = numbers.iter().map(|number| (*number, format!("\"part-{number}\""))).collect();
        self.objects.complete(self.redeem(&granted.complete), &granted.complete, parts).await
    }
}

#[tokio::test]
async fn parts_in_order_and_out_of_order_make_the_object() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let (hub, object) = (hub().await, object());
        let granted = hub.announce_parts(&object).await;
        let chunks: Vec<_> = object.chunks(40).collect();
        for n in order {
            let tag = hub.put_part(&granted, n, chunks[n]).await.unwrap();
            assert_eq!(tag, format!("\"part-{}\"", n + 1));
        }
        hub.complete(&granted, &[1, 2, 3]).await.unwrap();
        hub.complete(&granted, &[1, 2, 3]).await.unwrap();
        let action = hub.offered(&hub.owner, &hub.repo, sha(&object)).await.unwrap();
        assert_eq!(hub.get(&action.href).await, object);
        assert_eq!(hub.files().len(), 1);
        // Its answer was lost.
        hub.put_part(&granted, 0, chunks[0]).await.unwrap();
        hub.assert_sound();
    }
}

#[tokio::test]
async fn a_part_sent_again_counts_as_it_came_last() {
    let (hub, object) = (hub().await, object());
    let granted = hub.announce_parts(&object).await;
    for (n, chunk) in object.chunks(40).enumerate() {
        hub.put_part(&granted, n, &vec![9; chunk.len()]).await.unwrap();
        hub.put_part(&granted, n, chunk).await.unwrap();
    }
    hub.complete(&granted, &[1, 2, 3]).await.unwrap();

    // What was hashed in order does not count for what lies there now.
    let other: Vec<u8> = (1..111).collect();
    let granted = hub.announce_parts(&other).await;
    for (n, chunk) in other.chunks(40).enumerate() {
        hub.put_part(&granted, n, chunk).await.unwrap();
    }
    hub.put_part(&granted, 1, &[9; 40]).await.unwrap();
    let error = hub.complete(&granted, &[1, 2, 3]).await.unwrap_err();
    assert!(matches!(error, ReceiveError::WrongBytes { .. }), "{error}");
}

#[tokio::test]
async fn what_is_missing_is_named_and_can_be_brought() {
    let (hub, object) = (hub().await, object());
    let granted = hub.announce_parts(&object).await;
    hub.put_part(&granted, 0, &object[..40]).await.unwrap();
    hub.put_part(&granted, 2, &object[80..]).await.unwrap();
    let error = hub.complete(&granted, &[1, 2, 3]).await.unwrap_err();
    assert_eq!(error.to_string(), "1 of 3 parts are missing, part 2 first; upload them, then complete again");
    hub.put_part(&granted, 1, &object[40..80]).await.unwrap();
    let error = hub.complete(&granted, &[1, 2]).await.unwrap_err();
    assert_eq!(error.to_string(), "the completion names 2 parts, not 1 to 3");
    hub.complete(&granted, &[1, 2, 3]).await.unwrap();
}

#[tokio::test]
async fn parts_have_their_size_and_one_writer() {
    let (hub, object) = (hub().await, object());
    let granted = hub.announce_parts(&object).await;
    let error = hub.put_part(&granted, 0, &object[..41]).await.unwrap_err();
    assert!(matches!(error, ReceiveError::TooLong { size: 40 }));
    let error = hub.put_part(&granted, 2, &object[..31]).await.unwrap_err();
    assert!(matches!(error, ReceiveError::TooLong { size: 30 }));
    let error = hub.put_part(&granted, 2, &object[..29]).await.unwrap_err();
    assert!(matches!(error, ReceiveError::TooShort { received: 29, size: 30 }));

    let grant = &granted.parts[0];
    let first = hub.objects.receive_part(hub.redeem(grant), grant).await.unwrap();
    assert!(matches!(hub.put_part(&granted, 0, &object[..40]).await, Err(ReceiveError::Busy)));
    drop(first);
    hub.put_part(&granted, 0, &object[..40]).await.unwrap();
    let error = hub.complete(&granted, &[1, 2, 3]).await.unwrap_err();
    assert!(error.to_string().starts_with("2 of 3 parts are missing, part 2 first"), "{error}");
}

#[tokio::test]
async fn wrong_bytes_are_found_and_leave_nothing() {
    let (hub, object) = (hub().await, object());
    let granted = hub.announce_parts(&object).await;
    for (n, chunk) in object.chunks(40).enumerate() {
        let mut chunk = chunk.to_vec();
        chunk[0] ^= u8::from(n == 1);
        hub.put_part(&granted, n, &chunk).await.unwrap();
    }
    let error = hub.complete(&granted, &[1, 2, 3]).await.unwrap_err();
    assert!(matches!(error, ReceiveError::WrongBytes { .. }), "{error}");
    assert_eq!(hub.files(), [""; 0]);
    let error = hub.complete(&granted, &[1, 2, 3]).await.unwrap_err();
    assert!(matches!(error, ReceiveError::PartsForgotten { .. }), "{error}");
}

#[tokio::test]
async fn expired_parts_are_forgotten_with_their_file() {
    let (hub, object) = (hub().await, object());
    let granted = hub.announce_parts(&object).await;
    hub.put_part(&granted, 0, &object[..40]).await.unwrap();
    assert_eq!(hub.files().len(), 1);
    let complete = hub.redeem(&granted.complete);
    hub.clock.advance_ms(3 * DAY_MS);
    assert_eq!(hub.objects.sweep().await.unwrap().uploads, 1);
    assert_eq!(hub.files(), [""; 0]);
    let parts = vec![(1, "\"part-1\"".to_owned())];
    let error = hub.objects.complete(complete, &granted.complete, parts).await.unwrap_err();
    assert!(matches!(error, ReceiveError::Closed), "{error}");
}

#[tokio::test]
async fn two_completions_at_once_both_succeed() {
    let (hub, object) = (hub().await, object());
    let granted = hub.announce_parts(&object).await;
    for (n, chunk) in object.chunks(40).enumerate() {
        hub.put_part(&granted, n, chunk).await.unwrap();
    }
    let (a, b) = tokio::join!(hub.complete(&granted, &[1, 2, 3]), hub.complete(&granted, &[1, 2, 3]));
    a.and(b).unwrap();
    assert_eq!(hub.files().len(), 1);
}
