//! Xorbs and files as rows: who has them, and when they go.

use database::{
    BackingId, Database, NewUpload, NewXetFile, NewXetObject, Proof, ProvenXorb, Publish, PublishError,
    Quota, RegisterError, RepoId, Sha256, UploadId, XetFile, XetHash, XetRegistration, XetTerm, Xorb,
    XorbGrant, XorbId, XorbPlaced,
};

use crate::support::{Hub, hub, new_repo};

const DAY_MS: i64 = 24 * 3600 * 1000;

fn proven(id: XorbId) -> ProvenXorb {
    ProvenXorb { id, chunks: 3, raw_bytes: 30, stored_bytes: 54, dedup_keys: vec![[7; 16]] }
}

impl Hub {
    async fn xorb(&self, n: u8) -> Xorb {
        let (id, _) = self.db.stage_xorb(XetHash([n; 32])).await.unwrap();
        match self.db.publish_xorb(self.repo.id, proven(id)).await.unwrap() {
            XorbPlaced::Live(xorb) => xorb,
            XorbPlaced::Duplicate(xorb) => panic!("{xorb:?}"),
        }
    }

    async fn register(&self, repo: RepoId, n: u8, xorbs: &[XorbId]) -> Result<XetFile, RegisterError> {
        let term = |xorb: &XorbId| XetTerm {
            xorb: *xorb,
            chunk_start: 0,
            chunk_end: 3,
            raw_bytes: 30,
            byte_start: 0,
            byte_end: 54,
        };
        let file = NewXetFile {
            hash: XetHash([n; 32]),
            size: 30 * xorbs.len() as u64,
            terms: xorbs.iter().map(term).collect(),
            dedup_key: Some([n; 16]),
        };
        let hash = file.hash;
        let objects = vec![NewXetObject { file, sha256: Sha256([n; 32]), proof: Proof::Possessed }];
        let registration = XetRegistration { repo, by: None, quota: Quota::Exempt, xorbs: vec![], objects };
        self.db.register_xet(registration).await?;
        Ok(self.db.xet_file_of(repo, &hash).unwrap().unwrap())
    }
}

#[tokio::test]
async fn a_xorb_is_staged_then_live_then_condemned_then_gone() {
    let hub = hub().await;
    let hash = XetHash([1; 32]);
    let (id, upload) = hub.db.stage_xorb(hash).await.unwrap();
    assert_eq!(hub.db.xorb(&hash).unwrap(), None, "staged is not there");
    assert!(!hub.db.link_xorb(hub.repo.id, id).await.unwrap());
    assert_eq!(hub.db.xorbs_with_chunk(&[7; 16], 9).unwrap(), []);
    let XorbPlaced::Live(xorb) = hub.db.publish_xorb(hub.repo.id, proven(id)).await.unwrap() else {
        panic!()
    };
    assert_eq!((xorb.id, xorb.hash, xorb.upload), (id, hash, upload));
    assert_eq!(hub.db.xorb(&hash).unwrap(), Some(xorb));
    assert_eq!(hub.db.xorbs_named(&[XetHash([2; 32]), hash]).unwrap(), [None, Some(xorb)]);
    assert_eq!(hub.db.xorbs_with_chunk(&[7; 16], 9).unwrap(), [xorb]);
    let again = hub.db.publish_xorb(hub.repo.id, proven(id)).await;
    assert!(matches!(again, Err(PublishError::UploadGone)), "once");
    // Given up, it is no more staged; a live one is not given up.
    hub.db.give_up_xorb(id).await.unwrap();
    assert_eq!(hub.db.xorb(&hash).unwrap(), Some(xorb));
    let (other, _) = hub.db.stage_xorb(XetHash([2; 32])).await.unwrap();
    hub.db.give_up_xorb(other).await.unwrap();
    assert_eq!(hub.db.xorbs_due(9).unwrap().iter().map(|xorb| xorb.id).collect::<Vec<_>>(), [other]);
    let late = hub.db.publish_xorb(hub.repo.id, proven(other)).await;
    assert!(matches!(late, Err(PublishError::UploadGone)));
    hub.db.xorbs_deleted(vec![id, other]).await.unwrap();
    assert_eq!(hub.db.xorb(&hash).unwrap(), Some(xorb), "a live one is left alone");
    assert_eq!(hub.db.xorbs(&[other]).unwrap(), [None]);

    hub.clock.advance_ms(DAY_MS);
    let now_ms = hub.clock.now_ms();
    let (count, more) = hub.db.condemn_xorbs(XorbId(0), 9, now_ms, now_ms + 60_000).await.unwrap();
    assert_eq!((count, more), (1, None));
    assert_eq!(hub.db.xorb(&hash).unwrap(), None);
    assert!(!hub.db.has_xorb(hub.repo.id, id).unwrap());
    assert_eq!(hub.db.xorbs_with_chunk(&[7; 16], 9).unwrap(), []);
    assert_eq!(hub.db.xorbs_due(9).unwrap(), [], "not yet");
    // It comes again while the old one waits for its end.
    let new = hub.xorb(1).await;
    assert_ne!(new.storage_key(), xorb.storage_key());
    hub.clock.advance_ms(60_000);
    assert_eq!(hub.db.xorbs_due(9).unwrap(), [xorb]);
    hub.db.xorbs_deleted(vec![id]).await.unwrap();
    assert_eq!(hub.db.xorb(&new.hash).unwrap(), Some(new));
    hub.assert_sound();
}

#[tokio::test]
async fn the_second_of_two_is_condemned_at_once() {
    let hub = hub().await;
    let (first, _) = hub.db.stage_xorb(XetHash([1; 32])).await.unwrap();
    let (second, _) = hub.db.stage_xorb(XetHash([1; 32])).await.unwrap();
    let fork = hub.db.create_repo(new_repo("acme/fork")).await.unwrap().id;
    let placed = hub.db.publish_xorb(hub.repo.id, proven(first)).await.unwrap();
    let XorbPlaced::Live(xorb) = placed else { panic!() };
    let placed = hub.db.publish_xorb(fork, proven(second)).await.unwrap();
    assert_eq!(placed, XorbPlaced::Duplicate(xorb));
    assert!(hub.db.has_xorb(fork, first).unwrap());
    assert_eq!(hub.db.xorbs_due(9).unwrap().len(), 1);
    let gone = hub.db.publish_xorb(RepoId(99), proven(second)).await;
    assert!(matches!(gone, Err(PublishError::RepoGone)));
    assert!(matches!(hub.db.link_xorb(RepoId(99), first).await, Err(PublishError::RepoGone)));
    hub.assert_sound();
}

#[tokio::test]
async fn a_file_keeps_its_xorbs_and_goes_with_its_last_backing() {
    let hub = hub().await;
    let (one, two, three) = (hub.xorb(1).await, hub.xorb(2).await, hub.xorb(3).await);
    let file = hub.register(hub.repo.id, 9, &[one.id, two.id, one.id]).await.unwrap();
    assert_eq!((file.size, file.terms.len()), (90, 3));
    assert_eq!(hub.db.xet_file(file.id).unwrap(), Some(file.clone()));
    assert_eq!(hub.db.xet_hash(file.id).unwrap(), Some(file.hash));
    assert_eq!(hub.db.xorbs_with_chunk(&[9; 16], 9).unwrap(), [one]);
    assert_eq!(hub.db.xorbs_beside(hub.repo.id, two.id, 9).unwrap(), [two, one]);
    assert_eq!(hub.db.holders_of_xorb(one.id, 9).unwrap(), [hub.repo.id.into()]);
    let possessed = hub.db.possessed(BackingId(0), 9).unwrap();
    assert_eq!((possessed.len(), possessed[0].file, possessed[0].size), (1, file.id, 90));
    assert_eq!(hub.db.backings(BackingId(0), 9).unwrap(), [], "nothing lies under its key");
    hub.clock.advance_ms(DAY_MS);
    let now_ms = hub.clock.now_ms();
    let condemned = hub.db.condemn_xorbs(XorbId(0), 9, now_ms, now_ms).await.unwrap();
    assert_eq!((condemned.0, hub.db.xorbs_due(9).unwrap()), (1, vec![three]));
    let missing = hub.register(hub.repo.id, 8, &[one.id, three.id]).await;
    assert!(matches!(missing, Err(RegisterError::XorbGone(id)) if id == three.id));
    assert_eq!(hub.db.xet_stats().unwrap().files, 1, "all or none");

    hub.db.remove_link(hub.repo.id, Sha256([9; 32])).await.unwrap();
    assert_eq!(hub.db.xet_file_of(hub.repo.id, &file.hash).unwrap(), None);
    assert_eq!(hub.db.backings_due(9).await.unwrap(), [], "there are no bytes to delete");
    assert_eq!(hub.db.drop_xet_backings(9).await.unwrap(), 1);
    assert_eq!(hub.db.drop_xet_backings(9).await.unwrap(), 0);
    assert_eq!(hub.db.xet_file(file.id).unwrap(), None);
    let now_ms = hub.clock.now_ms() + 1;
    let (condemned, last) = hub.db.condemn_xorbs(XorbId(0), 1, now_ms, now_ms).await.unwrap();
    assert_eq!((condemned, last), (1, Some(one.id)));
    let (condemned, _) = hub.db.condemn_xorbs(one.id, 1, now_ms, now_ms).await.unwrap();
    assert_eq!(condemned, 1);
    hub.assert_sound();
}

#[tokio::test]
async fn a_deleted_repository_has_no_xorbs_and_its_files_go_with_its_links() {
    let hub = hub().await;
    let xorb = hub.xorb(1).await;
    hub.register(hub.repo.id, 9, &[xorb.id]).await.unwrap();
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    assert!(!hub.db.has_xorb(hub.repo.id, xorb.id).unwrap());
    assert_eq!(hub.db.holders_of_xorb(xorb.id, 9).unwrap(), []);
    assert!(matches!(hub.register(hub.repo.id, 8, &[xorb.id]).await, Err(RegisterError::RepoGone)));
    hub.assert_sound();
}

#[tokio::test]
async fn a_file_that_is_another_than_was_said_is_corrupt_where_it_was_said() {
    let hub = hub().await;
    let xorb = hub.xorb(1).await;
    hub.register(hub.repo.id, 9, &[xorb.id]).await.unwrap();
    let backing = hub.db.possessed(BackingId(0), 9).unwrap()[0].backing;
    assert!(!hub.db.object_corrupt(backing, 0).await.unwrap(), "that is for claims");
    assert!(hub.db.xet_object_corrupt(backing).await.unwrap());
    assert!(!hub.db.xet_object_corrupt(backing).await.unwrap());
    let link = hub.db.link(hub.repo.id, &Sha256([9; 32])).unwrap().unwrap();
    assert_eq!((link.state, link.backing), (database::LinkState::Corrupt, None));
    hub.register(hub.repo.id, 9, &[xorb.id]).await.unwrap();
    let backing = hub.db.possessed(BackingId(0), 9).unwrap()[0].backing;
    assert!(hub.db.object_verified(backing).await.unwrap());
    assert!(!hub.db.xet_object_corrupt(backing).await.unwrap(), "what is proven stays");
    hub.assert_sound();
}

#[tokio::test]
async fn a_file_is_not_exchanged_for_another_form_of_it_when_it_is_verified() {
    let hub = hub().await;
    let whole_repo = hub.db.create_repo(new_repo("acme/whole")).await.unwrap().id;
    let other_repo = hub.db.create_repo(new_repo("acme/other")).await.unwrap().id;
    let xorb = hub.xorb(1).await;
    let sha256 = Sha256([9; 32]);
    let (upload, by, proof) = (UploadId::new(), None, Proof::Verified);
    let (objects, expires_ms, quota) = (vec![(sha256, 30)], hub.clock.now_ms() + 1000, Quota::Exempt);
    hub.db
        .begin_upload(NewUpload { id: upload, repo: whole_repo, by, objects, expires_ms, quota })
        .await
        .unwrap();
    hub.db.publish_object(Publish { upload, repo: whole_repo, sha256, size: 30, proof, by }).await.unwrap();
    let verified = |repo| {
        let backing = hub.db.link(repo, &sha256).unwrap().unwrap().backing.unwrap();
        (backing.id, backing.proof)
    };
    for repo in [hub.repo.id, other_repo] {
        hub.register(repo, 9, &[xorb.id]).await.unwrap();
    }
    for possessed in hub.db.possessed(BackingId(0), 9).unwrap() {
        hub.db.object_verified(possessed.backing).await.unwrap();
    }
    let (whole, one, other) = (verified(whole_repo), verified(hub.repo.id), verified(other_repo));
    assert_eq!([whole.1, one.1, other.1], [Proof::Verified; 3]);
    assert_ne!(whole.0, one.0, "its readers know it by the name of its chunks");
    assert_eq!(one, other, "the same file once");
    assert!(hub.db.xet_file_of(hub.repo.id, &XetHash([9; 32])).unwrap().is_some());
    hub.assert_sound();
}

#[tokio::test]
async fn a_grant_stays_until_its_address_is_dead() {
    let hub = hub().await;
    let now_ms = hub.clock.now_ms();
    let grant = XorbGrant {
        holder: hub.repo.id.into(),
        hash: XetHash([1; 32]),
        size: 9,
        expires_ms: now_ms + DAY_MS,
    };
    let first = hub.db.grant_xorb(grant, 2).await.unwrap().unwrap();
    let second = hub.db.grant_xorb(grant, 2).await.unwrap().unwrap();
    assert_eq!(hub.db.xorb_grant(first).unwrap(), Some(grant));
    assert_eq!(hub.db.grant_xorb(grant, 2).await.unwrap(), None, "too many that nothing came of");
    hub.db.xorb_grant_taken(first).await.unwrap();
    let third = hub.db.grant_xorb(grant, 2).await.unwrap().unwrap();
    assert_eq!(hub.db.xorb_grant(first).unwrap(), Some(grant), "it can still be told twice");
    assert!(hub.db.delete_repo(hub.repo.id, 0).await.unwrap());
    let gone = hub.db.grant_xorb(grant, 9).await.unwrap_err();
    assert!(matches!(gone, PublishError::RepoGone), "{gone}");
    assert_eq!(hub.db.xorb_grants_expired(now_ms + DAY_MS, 9).unwrap(), []);
    let mut expired = hub.db.xorb_grants_expired(now_ms + DAY_MS + 1, 9).unwrap();
    expired.sort_unstable();
    let mut all = vec![first, second, third];
    all.sort_unstable();
    assert_eq!(expired, all);
    hub.db.xorb_grants_swept(expired).await.unwrap();
    assert_eq!(hub.db.xorb_grant(first).unwrap(), None);
    assert_eq!(hub.db.check().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_copy_goes_with_its_file() {
    let hub = hub().await;
    let xorb = hub.xorb(1).await;
    hub.register(hub.repo.id, 2, &[xorb.id]).await.unwrap();
    let sha256 = Sha256([2; 32]);
    let link = || hub.db.link(hub.repo.id, &sha256).unwrap().unwrap();
    let backing = link().backing.unwrap().id;
    assert_eq!(hub.db.stage_whole(backing).await.unwrap(), None, "nobody knows whether it is that object");
    hub.db.object_verified(backing).await.unwrap();
    let copy = hub.db.stage_whole(backing).await.unwrap().unwrap();
    let second = hub.db.stage_whole(backing).await.unwrap().unwrap();
    assert_eq!(link().whole_key(), None, "staged is not there");
    assert!(hub.db.publish_whole(copy).await.unwrap());
    assert!(!hub.db.publish_whole(second).await.unwrap(), "one is enough");
    assert!(!hub.db.publish_whole(second).await.unwrap());
    assert_eq!(hub.db.stage_whole(backing).await.unwrap(), None);
    let key = database::object_key(&sha256, copy);
    assert_eq!((link().whole_key(), link().storage_key()), (Some(key.clone()), None));
    assert_eq!(hub.db.wholes_after(BackingId(0), 9).unwrap(), [(backing, sha256, 30, copy)]);
    let due = |db: &Database| db.wholes_due(9).unwrap();
    assert_eq!(due(&hub.db), [(second, database::object_key(&sha256, second), 30)]);
    hub.db.wholes_deleted(vec![second, copy]).await.unwrap();
    assert!(due(&hub.db).is_empty() && link().whole_key().is_some(), "a live one is left alone");
    assert_eq!(hub.db.check().unwrap(), Vec::<String>::new());
    assert!(hub.db.remove_link(hub.repo.id, sha256).await.unwrap());
    assert!(due(&hub.db).is_empty());
    assert_eq!(hub.db.drop_xet_backings(9).await.unwrap(), 1);
    assert_eq!(due(&hub.db), [(copy, key, 30)]);
    hub.db.wholes_deleted(vec![copy]).await.unwrap();
    assert!(due(&hub.db).is_empty());
    assert_eq!(hub.db.check().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn copies_that_never_came_or_are_not_wanted() {
    let hub = hub().await;
    let xorb = hub.xorb(1).await;
    hub.register(hub.repo.id, 2, &[xorb.id]).await.unwrap();
    let sha256 = Sha256([2; 32]);
    let link = || hub.db.link(hub.repo.id, &sha256).unwrap().unwrap();
    let backing = link().backing.unwrap().id;
    hub.db.object_verified(backing).await.unwrap();
    let lost = hub.db.stage_whole(backing).await.unwrap().unwrap();
    let now_ms = hub.clock.now_ms();
    assert_eq!(hub.db.wholes_staged(now_ms - DAY_MS, 9).unwrap(), []);
    assert_eq!(hub.db.wholes_staged(now_ms + DAY_MS, 9).unwrap(), [(lost, backing)]);
    hub.db.give_up_whole(lost).await.unwrap();
    assert_eq!(hub.db.wholes_due(9).unwrap().len(), 1);
    let copy = hub.db.stage_whole(backing).await.unwrap().unwrap();
    assert!(hub.db.publish_whole(copy).await.unwrap());
    hub.db.give_up_whole(copy).await.unwrap();
    assert!(link().whole_key().is_some(), "only staged ones are given up");
    hub.db.condemn_wholes(hub.clock.now_ms() + DAY_MS).await.unwrap();
    assert_eq!((link().whole_key(), hub.db.wholes_due(9).unwrap().len()), (None, 1));
    hub.clock.advance_ms(DAY_MS + 1);
    assert_eq!(hub.db.wholes_due(9).unwrap().len(), 2);
    let late = hub.db.stage_whole(backing).await.unwrap().unwrap();
    hub.db.remove_link(hub.repo.id, sha256).await.unwrap();
    assert!(!hub.db.publish_whole(late).await.unwrap(), "nobody needs it any more");
    assert_eq!(hub.db.wholes_due(9).unwrap().len(), 3);
    assert_eq!(hub.db.check().unwrap(), Vec::<String>::new());
}
