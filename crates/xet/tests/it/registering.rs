//! Shards from clients: what they say of files is proven, or refused.

use database::{Proof, Quota};
use xet::shard::{Term, Writer};
use xet::xorb::Compression;
use xet::{CommitError, Hash, ShardRefused};

use crate::store::{DAY_MS, Made, create, hub, made};
use crate::support::make;

fn file() -> Made {
    made(&make("text", 5, 3_000_000), 20, Compression::Smallest)
}

#[tokio::test]
async fn files_become_readable_all_at_once() {
    let hub = hub().await;
    let files = [file(), made(&make("random", 6, 500_000), 20, Compression::None)];
    assert!(files[0].xorbs.len() > 2);
    let mut shard = Writer::default();
    for made in &files {
        for (hash, bytes, _) in &made.xorbs {
            hub.send(&hub.repo, *hash, bytes).await.unwrap();
        }
        made.push(&mut shard);
    }
    // Empty files need nothing, and are there.
    let empty: [u8; 32] = database::Sha256::EMPTY.0;
    shard.push_file(&Hash::ZERO, &[], None, Some(empty));
    let shard = shard.finish();
    let mut told = Vec::new();
    let checked = hub.cas.check_shard(shard.clone().into(), |progress| told.push(progress)).await.unwrap();
    let last = told.last().unwrap();
    assert_eq!((last.verified, last.total), (last.total, (files[0].terms.len() + 1) as u64));
    for made in &files {
        assert_eq!(hub.read(&hub.repo, made).await, None, "it is proven, not linked");
    }
    let registered = hub.commit(&hub.repo, checked.objects().unwrap()).await.unwrap();
    assert_eq!(registered.len(), 2);
    for (made, file) in files.iter().zip(&registered) {
        assert_eq!((file.hash, file.size, file.sha256.0), (made.hash, made.size(), made.sha256));
        assert_eq!((file.proof, file.was_here), (Proof::Possessed, false));
        assert_eq!(hub.read(&hub.repo, made).await.unwrap(), made.content);
        let link = hub.db.link(hub.repo.id, &file.sha256).unwrap().unwrap();
        assert!(link.is_usable() && link.xet().is_some() && link.storage_key().is_none());
    }
    // Once more it changes nothing.
    let again = hub.commit(&hub.repo, hub.check(shard).await.unwrap()).await.unwrap();
    assert!(
        again.iter().zip(&registered).all(|(again, file)| again.was_here && again.backing == file.backing)
    );
    assert_eq!(hub.findings().await, [""; 0]);
    hub.assert_sound();
}

#[tokio::test]
async fn what_a_shard_says_wrong_is_found() {
    let hub = hub().await;
    let good = file();
    let absent = made(b"never uploaded", 20, Compression::None);
    for (hash, bytes, _) in &good.xorbs {
        hub.send(&hub.repo, *hash, bytes).await.unwrap();
    }
    let with = |change: fn(&mut Made)| {
        let mut made = good.clone();
        change(&mut made);
        made.shard()
    };
    let mut bare = Writer::default();
    bare.push_file(&good.hash, &good.terms, None, Some(good.sha256));
    let mut nameless = Writer::default();
    nameless.push_file(&good.hash, &good.terms, Some(&good.verification), None);
    let mut beside = Writer::default();
    good.push(&mut beside);
    beside.push_xorb(&absent.xorbs[0].0, 5, std::iter::empty());
    let mut none = Writer::default();
    none.push_file(&good.hash, &[], Some(&[]), Some(good.sha256));
    let other = Hash::from_bytes([9; 32]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("file with no verification", bare.finish()),
        ("has no SHA-256", nameless.finish()),
        ("is not stored here (any more)", absent.shard()),
        ("is not stored here (any more)", beside.finish()),
        ("has no terms", none.finish()),
        ("names chunks", with(|made| made.terms[1].chunk_end = 21)),
        ("bytes, not", with(|made| made.terms[0].raw_bytes += 1)),
        ("verification hash of term 1", with(|made| made.verification.swap(0, 1))),
        ("verification hash of term 0", with(|made| made.verification[0] = Hash::ZERO)),
        ("make up file", with(|made| made.terms.swap(0, 1))),
        ("make up file", {
            let mut made = good.clone();
            made.hash = other;
            made.shard()
        }),
        ("does not begin as a shard", vec![0; 500]),
        ("ends before", good.shard()[..200].to_vec()),
    ];
    for (message, shard) in cases {
        let error = hub.check(shard).await.unwrap_err();
        let said = error.to_string();
        match message {
            "file with no verification" => assert!(matches!(error, ShardRefused::NoVerification { .. })),
            "verification hash of term 1" => {
                assert!(matches!(error, ShardRefused::Verification { term: 0, .. }), "{said}");
            }
            "make up file" => {
                let is_it = matches!(
                    error,
                    ShardRefused::FileHash { .. }
                        | ShardRefused::Verification { .. }
                        | ShardRefused::RawBytes { .. }
                );
                assert!(is_it, "{said}");
            }
            message => assert!(said.contains(message), "{message}: {said}"),
        }
    }
    let huge = hub.check(vec![0; 64 * 1024 * 1024 + 1]).await.unwrap_err();
    assert!(matches!(huge, ShardRefused::Shard(error) if error.is_too_large()));
    assert_eq!(hub.db.xet_stats().unwrap().files, 0);
    hub.assert_sound();
}

#[tokio::test]
async fn a_shard_may_name_what_others_brought_if_it_proves_to_have_the_chunks() {
    let hub = hub().await;
    let made = file();
    hub.upload(&hub.secret, &made).await;
    assert_eq!(hub.read(&hub.repo, &made).await, None, "knowing a hash gives nothing");
    // The verification hashes can be made by who has the chunks, and by nobody else.
    let registered = hub.commit(&hub.repo, hub.check(made.shard()).await.unwrap()).await.unwrap();
    assert_eq!(registered[0].proof, Proof::Possessed);
    assert_eq!(hub.read(&hub.repo, &made).await.unwrap(), made.content);
    let xorb = hub.db.xorb(&made.xorbs[0].0.into()).unwrap().unwrap();
    assert!(hub.db.has_xorb(hub.repo.id, xorb.id).unwrap());
    assert_eq!(hub.read(&hub.fork, &made).await, None);
    hub.assert_sound();
}

#[tokio::test]
async fn one_file_by_two_lists_of_terms_is_one_file() {
    let hub = hub().await;
    let first = file();
    let other_xorbs = made(&first.content, 7, Compression::Lz4);
    assert_eq!(first.hash, other_xorbs.hash);
    let mut pieces = first.clone();
    pieces.split_term(0);
    pieces.split_term(0);
    hub.upload(&hub.repo, &first).await;
    hub.upload(&hub.fork, &other_xorbs).await;
    hub.upload(&hub.secret, &pieces).await;
    assert_eq!(hub.db.xet_stats().unwrap().files, 1);
    for repo in [&hub.repo, &hub.fork, &hub.secret] {
        assert_eq!(hub.read(repo, &first).await.unwrap(), first.content);
    }
    assert_eq!(hub.findings().await, [""; 0]);
    hub.assert_sound();
}

#[tokio::test]
async fn a_verified_file_is_shared_and_a_possessed_one_is_not() {
    let hub = hub().await;
    let made = file();
    let first = hub.upload(&hub.repo, &made).await;
    let second = hub.upload(&hub.fork, &made).await;
    assert_ne!(first.backing, second.backing);
    assert!(hub.db.object_verified(first.backing).await.unwrap());
    let third = hub.upload(&hub.secret, &made).await;
    assert_eq!((third.backing, third.proof), (first.backing, Proof::Verified));
    // The other one joins them.
    assert!(!hub.db.object_verified(second.backing).await.unwrap());
    let link = hub.db.link(hub.fork.id, &second.sha256).unwrap().unwrap();
    assert_eq!(link.backing.unwrap().id, first.backing);
    assert_eq!(hub.cas.sweep().await.unwrap().files, 1);
    assert_eq!(hub.read(&hub.fork, &made).await.unwrap(), made.content);
    hub.assert_sound();
}

#[tokio::test]
async fn a_quota_counts_files_as_it_counts_others() {
    let hub = hub().await;
    let files = [file(), made(&make("random", 8, 500_000), 20, Compression::None)];
    let mut shard = Writer::default();
    for made in &files {
        for (hash, bytes, _) in &made.xorbs {
            hub.send(&hub.repo, *hash, bytes).await.unwrap();
        }
        made.push(&mut shard);
    }
    let checked = hub.check(shard.finish()).await.unwrap();
    let total = files[0].size() + files[1].size();
    let commit = |max| hub.cas.commit_shard(hub.may(&hub.repo), Quota::Default(Some(max)), checked.clone());
    let refused = commit(total - 1).await.unwrap_err();
    assert!(
        matches!(refused, CommitError::OverQuota { used, quota } if used == files[0].size() && quota == total - 1),
        "{refused}"
    );
    assert_eq!(hub.db.xet_stats().unwrap().files, 0, "all or none");
    commit(total).await.unwrap();
    commit(0).await.unwrap();
    let usage = hub.db.usage(&"acme".parse().unwrap()).unwrap();
    assert_eq!(usage.used, total);
    hub.assert_sound();
}

#[tokio::test]
async fn two_registrations_at_once_agree() {
    let hub = hub().await;
    let made = file();
    for (hash, bytes, _) in &made.xorbs {
        hub.send(&hub.repo, *hash, bytes).await.unwrap();
    }
    let checked = hub.check(made.shard()).await.unwrap();
    let (one, two, three) = tokio::join!(
        hub.commit(&hub.repo, checked.clone()),
        hub.commit(&hub.repo, checked.clone()),
        hub.commit(&hub.fork, checked.clone()),
    );
    let (one, two) = (one.unwrap()[0], two.unwrap()[0]);
    assert_eq!(one.backing, two.backing);
    assert!(one.was_here != two.was_here && !three.unwrap()[0].was_here);
    assert_eq!(hub.db.xet_stats().unwrap().files, 1);
    hub.assert_sound();
}

#[tokio::test]
async fn a_repository_that_is_deleted_and_made_again_takes_the_same_upload() {
    let hub = hub().await;
    let made = file();
    hub.upload(&hub.repo, &made).await;
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    hub.assert_sound();
    let again = create(&hub.db, "acme/model").await;
    assert_eq!(hub.read(&again, &made).await, None);
    // A client that remembers its xorbs sends none of them.
    let registered = hub.commit(&again, hub.check(made.shard()).await.unwrap()).await.unwrap();
    assert!(!registered[0].was_here);
    assert_eq!(hub.read(&again, &made).await.unwrap(), made.content);
    assert!(matches!(
        hub.commit(&hub.fork, hub.check(made.shard()).await.unwrap()).await,
        Ok(files) if files.len() == 1
    ));
    hub.clock.advance_ms(DAY_MS);
    hub.assert_sound();
}

#[tokio::test]
async fn a_range_is_bounded_by_its_xorb_and_not_by_what_terms_say() {
    let hub = hub().await;
    let made = file();
    for (hash, bytes, _) in &made.xorbs {
        hub.send(&hub.repo, *hash, bytes).await.unwrap();
    }
    let mut writer = Writer::default();
    let term = Term { chunk_start: 8191, chunk_end: 8192, ..made.terms[0] };
    writer.push_file(&made.hash, &[term], Some(&[Hash::ZERO]), Some(made.sha256));
    let error = hub.check(writer.finish()).await.unwrap_err();
    assert!(matches!(error, ShardRefused::Range { start: 8191, end: 8192, chunks: 20, .. }), "{error}");
}
