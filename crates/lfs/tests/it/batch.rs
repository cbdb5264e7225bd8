//! Answers of a batch, object by object.

use auth::Identity;
use lfs::wire::batch::{ErrorCode, Family, Outcome, Transfer};
use lfs::{BatchError, Batching};

use crate::support::{error_of, hub, list, list_offering_parts, request, sha, upload_of};

#[tokio::test]
async fn each_object_has_its_own_answer() {
    let hub = hub().await;
    let here = hub.store(&hub.repo, b"here").await;
    let body = format!(
        r#"[{{"oid":"{here}","size":4}},{{"oid":"{here}","size":5}},{{"oid":"{}","size":4}},
            {{"oid":"NOT AN OID","size":4}},{{"oid":"{}","size":0}},{{"oid":"{}","size":10000001}},
            {{"oid":"{}","size":10000}}]"#,
        sha(b"new"),
        sha(b""),
        sha(b"too large"),
        sha(b"large"),
    );
    let up = hub.upload(&hub.repo, &body).await;
    assert_eq!(up.transfer, Transfer::Basic);
    assert_eq!(up.objects[0].outcome, Outcome::Present);
    let message = "the object has 4 bytes, not as many as announced";
    assert_eq!(error_of(&up.objects[1]), (ErrorCode::Unprocessable, message));
    assert!(matches!(&up.objects[2].outcome, Outcome::Upload { verify: None, .. }));
    assert_eq!(error_of(&up.objects[3]).0, ErrorCode::Unprocessable);
    assert_eq!(up.objects[4].outcome, Outcome::Present, "the empty object is nowhere, and always there");
    let message = "the object has 10000001 bytes; this hub takes at most 10000000";
    assert_eq!(error_of(&up.objects[5]), (ErrorCode::Unprocessable, message));
    assert!(matches!(&up.objects[6].outcome, Outcome::Upload { .. }));

    let down = hub.download_as(&hub.owner, &hub.repo, &body).await;
    assert!(matches!(&down.objects[0].outcome, Outcome::Download(_)));
    assert_eq!(error_of(&down.objects[1]).0, ErrorCode::Unprocessable);
    assert_eq!(error_of(&down.objects[2]).0, ErrorCode::NotFound);
    assert_eq!(error_of(&down.objects[3]).0, ErrorCode::Unprocessable);
    let Outcome::Download(empty) = &down.objects[4].outcome else { panic!() };
    assert_eq!(hub.get(&empty.href).await, b"");
}

#[tokio::test]
async fn an_object_named_twice_is_granted_once() {
    let hub = hub().await;
    let up = hub.upload(&hub.repo, &list(&[b"twice", b"once", b"twice"])).await;
    let uploads: Vec<_> = up.objects.iter().map(|answer| hub.grant(&upload_of(answer).href)).collect();
    assert_eq!(uploads[0], uploads[2]);
    let open = hub.db.upload(uploads[0].upload.unwrap()).unwrap().unwrap();
    assert_eq!(open.objects.len(), 2);

    let other_size = format!(r#"[{{"oid":"{0}","size":5}},{{"oid":"{0}","size":6}}]"#, sha(b"other"));
    let up = hub.upload(&hub.repo, &other_size).await;
    assert!(matches!(&up.objects[0].outcome, Outcome::Upload { .. }));
    assert_eq!(error_of(&up.objects[1]).0, ErrorCode::Unprocessable);
}

/// Links to parts are many: a request that names one object a thousand times is not answered with all of them each time.
#[tokio::test]
async fn an_object_in_parts_that_is_named_again_has_nothing_left_to_do() {
    let hub = hub().await;
    let large = [3; 101];
    let up = hub.upload(&hub.repo, &list_offering_parts(&[&large, b"x", &large, &large])).await;
    assert!(matches!(&up.objects[0].outcome, Outcome::Multipart { parts, .. } if parts.len() == 3));
    assert!(matches!(&up.objects[1].outcome, Outcome::Multipart { parts, .. } if parts.len() == 1));
    assert_eq!([&up.objects[2].outcome, &up.objects[3].outcome], [&Outcome::Present; 2]);
    let other_size = format!(
        r#"[{{"oid":"{0}","size":101}},{{"oid":"{0}","size":102}},{{"oid":"{0}","size":101}}],"transfers":["multipart"]"#,
        sha(b"other")
    );
    let up = hub.upload(&hub.repo, &other_size).await;
    assert!(matches!(&up.objects[0].outcome, Outcome::Multipart { .. }));
    assert_eq!(error_of(&up.objects[1]).0, ErrorCode::Unprocessable);
    assert_eq!(up.objects[2].outcome, Outcome::Present);
}

#[tokio::test]
async fn so_many_links_to_parts_are_held_at_once() {
    let hub = hub().await;
    let objects: Vec<_> = (0..30).map(|n| format!(r#"{{"oid":"{}","size":10000}}"#, sha(&[n]))).collect();
    let body = format!(r#"[{}],"transfers":["multipart","basic"]"#, objects.join(","));
    let request = request("upload", &body);
    let ask = async |who: &Identity| {
        let access = Batching::Upload(hub.may(who, &hub.repo));
        hub.objects.batch(&access, &request, &hub.client).await
    };
    let mut answers = Vec::new();
    let busy = loop {
        match ask(&hub.owner).await {
            Ok(answer) => answers.push(answer.into_json()),
            Err(error) => break error,
        }
    };
    assert!(matches!(busy, BatchError::Busy), "{busy}");
    // 30 objects of 250 parts each; of 100,000 at most half.
    assert_eq!(answers.len(), 6);
    assert!(ask(&hub.other).await.is_ok(), "one does not shut out the others");
    let part_of_the_first = answers[0].slice(10..20);
    answers.remove(0);
    assert!(ask(&hub.owner).await.is_err(), "its bytes are still being sent");
    drop(part_of_the_first);
    assert!(ask(&hub.owner).await.is_ok());
}

#[tokio::test]
async fn nothing_wanted_makes_no_row() {
    let hub = hub().await;
    hub.store(&hub.repo, b"here").await;
    hub.upload(&hub.repo, &list(&[b"here", b""])).await;
    assert_eq!(hub.db.stats().unwrap().uploads_open, 0);
}

#[tokio::test]
async fn links_live_by_the_size_of_their_object() {
    let hub = hub().await;
    let up = hub.upload(&hub.repo, &list(&[b"x"])).await;
    let action = upload_of(&up.objects[0]);
    assert_eq!(action.expires_in.as_secs(), 3601);
    hub.clock.advance_ms(3_590_000);
    hub.grant(&action.href);
    hub.clock.advance_ms(11_001);
    let token = action.href.split_once("?token=").unwrap().1;
    assert!(hub.keys.check(token, hub.clock.now_ms()).is_err());
}

#[tokio::test]
async fn parts_for_all_objects_of_git_lfs_and_for_large_ones_of_hugging_face() {
    let mut hub = hub().await;
    let (small, large) = ([1; 100], [2; 101]);
    let body = &list_offering_parts(&[&small, &large]);

    hub.client.family = Family::GitLfs;
    let up = hub.upload(&hub.repo, body).await;
    assert_eq!(up.transfer, Transfer::Multipart);
    for answer in &up.objects {
        let Outcome::Multipart { parts, chunk_size: 40, .. } = &answer.outcome else { panic!("{answer:?}") };
        assert_eq!(parts.len(), 3);
    }

    hub.client.family = Family::HuggingFace;
    let up = hub.upload(&hub.repo, body).await;
    assert_eq!(up.transfer, Transfer::Multipart);
    assert!(matches!(&up.objects[0].outcome, Outcome::Upload { .. }));
    assert!(matches!(&up.objects[1].outcome, Outcome::Multipart { .. }));

    let up = hub.upload(&hub.repo, &list_offering_parts(&[&small])).await;
    assert_eq!(up.transfer, Transfer::Basic);
    let up = hub.upload(&hub.repo, &list(&[&large])).await;
    assert!(matches!(&up.objects[0].outcome, Outcome::Upload { .. }), "not offered, not taken");
}
