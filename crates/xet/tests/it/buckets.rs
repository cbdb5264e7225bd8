//! Files of buckets: they come as those of repositories do, and are told of to whoever may read the bucket.

use auth::{Authorized, Denied, Identity, Propose, Read, ReauthorizeError, Settings, authorize_bucket};
use bytes::Bytes;
use database::{Bucket, BucketPath, NewBucket, Quota, Visibility};
use xet::shard::Writer;
use xet::xorb::Compression;
use xet::{CommitError, XorbRefused};

use crate::store::{DAY_MS, Hub, Made, hub, made, read};
use crate::support::make;

fn file(seed: u64) -> Made {
    made(&make("random", seed, 1_000_000), 12, Compression::None)
}

/// As clients describe it: without a SHA-256.
fn shard(made: &Made) -> Bytes {
    let mut shard = Writer::default();
    shard.push_file(&made.hash, &made.terms, Some(&made.verification), None);
    shard.finish().into()
}

async fn bucket(hub: &Hub, name: &str, visibility: Visibility) -> Bucket {
    let (namespace, name) = name.split_once('/').unwrap();
    let path = BucketPath::new(namespace, name).unwrap();
    hub.db.create_bucket(NewBucket { path, visibility, creator: None }).await.unwrap()
}

fn may<A: auth::Right>(who: &Identity, bucket: &Bucket) -> Result<Authorized<A, Bucket>, Denied> {
    authorize_bucket(Settings::default(), who, bucket.clone())
}

async fn send(hub: &Hub, access: Authorized<Propose, Bucket>, made: &Made) -> Result<(), XorbRefused> {
    for (hash, bytes, _) in &made.xorbs {
        let mut receiving = hub.cas.receive_xorb(access.clone(), *hash, None).await?;
        receiving.write(Bytes::copy_from_slice(bytes)).await?;
        receiving.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_file_is_uploaded_and_read() {
    let hub = hub().await;
    let (mine, made) = (bucket(&hub, "acme/files", Visibility::Private).await, file(1));
    let access = may::<Propose>(&hub.owner, &mine).unwrap();
    send(&hub, access.clone(), &made).await.unwrap();
    let checked = hub.cas.check_shard(shard(&made), |_| {}).await.unwrap();
    assert_eq!(checked.files[0].sha256, None);
    assert!(checked.clone().objects().unwrap_err().to_string().contains("has no SHA-256"));
    let commit = || hub.cas.commit_to_bucket(access.clone(), Quota::Exempt, checked.clone());
    assert_eq!((commit().await.unwrap(), commit().await.unwrap()), (false, true));
    let reader = may::<Read>(&hub.owner, &mine).unwrap();
    let plan = hub.cas.reconstruct(&reader, &made.hash, None).await.unwrap();
    assert_eq!(plan.size, made.size());
    assert_eq!(hub.cas.file_size(&reader, &made.hash).unwrap(), made.size());
    let found = hub.db.xet_file_of(mine.id, &made.hash.into()).unwrap().unwrap();
    let stream = hub.cas.stream_file(found.id, 0..found.size).await.unwrap();
    assert_eq!(read(stream).await, made.content);
    assert!(
        hub.cas.reconstruct(&hub.reader(&hub.repo), &made.hash, None).await.is_err(),
        "no repository has it"
    );
    hub.assert_sound();
    // At no path, it goes after a day; its xorbs when clients have forgotten them.
    hub.clock.advance_ms(DAY_MS + 1);
    hub.cas.sweep().await.unwrap();
    assert!(hub.db.xet_file_of(mine.id, &made.hash.into()).unwrap().is_none());
    assert!(!hub.files().is_empty());
    for _ in 0..2 {
        hub.clock.advance_ms(40 * DAY_MS);
        hub.cas.sweep().await.unwrap();
    }
    hub.cas.sweep().await.unwrap();
    assert_eq!(
        hub.files().iter().filter(|file| !file.starts_with("granary")).count(),
        0,
        "{:?}",
        hub.files()
    );
    hub.assert_sound();
}

#[tokio::test]
async fn chunks_are_told_of_to_whoever_may_read_the_bucket() {
    let hub = hub().await;
    let (mine, made) = (bucket(&hub, "acme/files", Visibility::Private).await, file(2));
    let access = may::<Propose>(&hub.owner, &mine).unwrap();
    send(&hub, access.clone(), &made).await.unwrap();
    let checked = hub.cas.check_shard(shard(&made), |_| {}).await.unwrap();
    hub.cas.commit_to_bucket(access, Quota::Exempt, checked).await.unwrap();
    let chunk = made.xorbs[0].2.iter(0..1).unwrap().next().unwrap().hash;
    let told = |by| {
        let (cas, chunk) = (hub.cas.clone(), chunk);
        async move { cas.dedup(&by, &chunk).await.unwrap().is_some() }
    };
    assert!(told(hub.reader(&hub.repo)).await, "the owner, of another place");
    assert!(!told(hub.reader(&hub.secret)).await, "a stranger");
    assert!(hub.db.set_bucket_visibility(mine.id, 0, Visibility::Public, 0).await.unwrap());
    assert!(told(hub.reader(&hub.secret)).await);
    let of_bucket = hub.db.bucket(mine.id).unwrap().unwrap();
    let reader = may::<Read>(&hub.other, &of_bucket).unwrap();
    assert!(hub.cas.dedup(&reader, &chunk).await.unwrap().is_some());
    assert_eq!(hub.cas.xorb_size(&reader, &made.xorbs[0].0).unwrap(), Some(made.xorbs[0].1.len() as u64));
}

#[tokio::test]
async fn who_reads_a_bucket_proposes_nothing_to_it() {
    let hub = hub().await;
    let (shown, made) = (bucket(&hub, "acme/files", Visibility::Public).await, file(3));
    assert!(may::<Read>(&hub.other, &shown).is_ok() && may::<Read>(&Identity::Anonymous, &shown).is_ok());
    assert_eq!(may::<Propose>(&hub.other, &shown).unwrap_err(), Denied::Forbidden);
    assert_eq!(may::<Propose>(&Identity::Anonymous, &shown).unwrap_err(), Denied::Unauthenticated);
    // What was allowed at first is asked again in the end.
    let access = may::<Propose>(&hub.owner, &shown).unwrap();
    send(&hub, access.clone(), &made).await.unwrap();
    let checked = hub.cas.check_shard(shard(&made), |_| {}).await.unwrap();
    let user = hub.owner.principal().unwrap().user.id;
    hub.db.set_user_disabled(user, true).await.unwrap();
    let refused = hub.cas.commit_to_bucket(access.clone(), Quota::Exempt, checked.clone()).await;
    assert!(matches!(refused, Err(CommitError::Denied(ReauthorizeError::Credential(_)))), "{refused:?}");
    assert!(matches!(send(&hub, access.clone(), &file(4)).await, Err(XorbRefused::Denied(_))));
    hub.db.set_user_disabled(user, false).await.unwrap();
    hub.db.delete_bucket(shown.id).await.unwrap();
    let gone = hub.cas.commit_to_bucket(access, Quota::Exempt, checked).await;
    assert!(matches!(gone, Err(CommitError::RepoGone)), "{gone:?}");
}
