//! The batch of an upload: what is here, what does not fit, and for the rest one upload row and the links.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use auth::transfer::LIFETIME_MAX;
use auth::{Authorized, Propose};
use database::{
    Begun, DbError, Link, LinkState, NewUpload, Proof, Quota, Repo, Sha256, UploadId, UserId, object_key,
};
use storage::{Bucket, StoreError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::actions::{Links, Wanted};
use crate::batch::{AT_ONCE, Batched, answer, failed, other_size, readable_objects};
use crate::modes::{SINGLE_PUT_MAX, settle};
use crate::wire::batch::{
    Action, Answer, ErrorCode, Object, Outcome, Request, Response, Transfer, is_empty_object,
};
use crate::{BatchError, Client, Engine, Mode, Objects, mode};
use auth::shares::Share;

/// How long an upload may run that began at the last moment, before it is swept.
const LONGEST_RUN: Duration = Duration::from_secs(25 * 3600);
/// Requests to the bucket at once, for one batch.
const CREATES_AT_ONCE: usize = 16;
/// Links to parts in one answer, about: parts grow with what is asked for at once.
const PARTS_ABOUT: u64 = 10_000;
/// In one answer, at most: some ten megabytes.
const PARTS_MAX: u64 = 2 * PARTS_ABOUT;
/// In all answers that are being made or sent.
pub(crate) const PARTS_HELD_MAX: usize = 100_000;

/// What is known of an object before anything is granted.
enum Decision {
    Answered(Outcome),
    /// By its place among the wanted.
    Wanted(usize),
    /// It is wanted, and was named before.
    Again(usize),
}

/// Objects and their sizes, each once.
type Announced = Vec<(Sha256, u64)>;

impl Objects {
    pub(crate) async fn batch_upload(
        &self,
        access: &Authorized<Propose>,
        request: &Request,
        client: &Client,
    ) -> Result<Batched, BatchError> {
        let links = self.renewed_links(access, request).await?;
        let (mut decisions, wanted) = self.decide(access, request, &links);
        let granted = match &client.xet {
            Some(way) if request.offers_xet => Granted::by_xet(wanted.len(), way),
            _ => self.grant(access, request, client, &wanted).await?,
        };
        let Granted { transfer, mut outcomes, held } = granted;
        // From the last: what is said of an object again is made of what is said of it first.
        let objects = request.objects.iter().rev().map(|object| match object {
            Err(unreadable) => unreadable.answer(),
            Ok(object) => answer_for(object, decisions.pop(), &mut outcomes),
        });
        let mut objects: Vec<_> = objects.collect();
        objects.reverse();
        Ok(Batched { response: Response { transfer, objects }, held })
    }

    /// One decision per readable object, in order; and what is wanted, each once.
    fn decide(
        &self,
        access: &Authorized<Propose>,
        request: &Request,
        links: &[Option<Link>],
    ) -> (Vec<Decision>, Announced) {
        let mut wanted = Vec::new();
        let mut places: HashMap<Sha256, usize> = HashMap::new();
        let mut decide = |object: &Object, link: Option<&Link>| {
            let size = object.size.unwrap_or(0);
            if let Some(outcome) = self.settled(object, size, link, access.actor()) {
                return Decision::Answered(outcome);
            }
            let place = *places.entry(object.sha256).or_insert(wanted.len());
            if place == wanted.len() {
                wanted.push((object.sha256, size));
                return Decision::Wanted(place);
            }
            match wanted[place].1 == size {
                true => Decision::Again(place),
                false => Decision::Answered(other_size(wanted[place].1)),
            }
        };
        let decisions: Vec<_> = readable_objects(request)
            .zip(links)
            .map(|(object, link)| decide(object, link.as_ref()))
            .collect();
        (decisions, wanted)
    }

    /// The links of the objects that make sense, in order. Those that need no upload are as new as if there had been one:
    /// a collection would otherwise drop what no pack points at, though the push that needs it is on its way.
    async fn renewed_links(
        &self,
        access: &Authorized<Propose>,
        request: &Request,
    ) -> Result<Vec<Option<Link>>, DbError> {
        let (database, repo) = (&self.0.database, access.repo_id());
        let ids: Vec<_> = readable_objects(request).map(|object| object.sha256).collect();
        let links = database.links(repo, &ids)?;
        let before_ms = self.now_ms() - self.0.config.touch_after.as_millis() as i64;
        let old = links.iter().flatten().filter(|link| link.linked_ms <= before_ms);
        let mut old: Vec<_> =
            old.filter(|link| link.state == LinkState::Live).map(|link| link.sha256).collect();
        if old.is_empty() {
            return Ok(links);
        }
        old.sort_unstable();
        old.dedup();
        database.renew_links(repo, old).await?;
        // What was dropped before that is not here.
        database.links(repo, &ids)
    }

    /// What needs no upload, or gets none. The limit comes first: it holds for what is here, too.
    fn settled(
        &self,
        object: &Object,
        size: u64,
        link: Option<&Link>,
        user: Option<UserId>,
    ) -> Option<Outcome> {
        let max = self.0.config.object_bytes_max;
        if size > max {
            let message = format!("the object has {size} bytes; this hub takes at most {max}");
            return Some(failed(ErrorCode::Unprocessable, message));
        }
        if is_empty_object(&object.sha256) {
            return Some(Outcome::Present);
        }
        let link = link.filter(|link| link.state == LinkState::Live)?;
        // What is not proven is here for who brought it only: it may be something else.
        let is_proven = link.backing.is_some_and(|backing| backing.proof == Proof::Verified);
        let here = is_proven || (user.is_some() && link.by == user);
        here.then(|| if link.size == size { Outcome::Present } else { other_size(link.size) })
    }

    /// The outcome for each of `wanted`.
    async fn grant(
        &self,
        access: &Authorized<Propose>,
        request: &Request,
        client: &Client,
        wanted: &[(Sha256, u64)],
    ) -> Result<Granted, BatchError> {
        if wanted.is_empty() {
            return Ok(Granted { transfer: Transfer::Basic, outcomes: Vec::new(), held: None });
        }
        let links = Links::new(self, &client.base_url, access).await?;
        let engine = match self.store().bucket() {
            Some(bucket) => Engine::Bucket(bucket.capabilities()),
            None => Engine::Disk,
        };
        let from = self.0.config.multipart_from;
        let mut modes: Vec<_> = wanted
            .iter()
            .map(|(_, size)| mode(&engine, client.family, request.offers_multipart, *size, from))
            .collect();
        let multipart = settle(client.family, &mut modes);
        let chunk_min = chunk_min(wanted, &modes);
        let parts_of = |size: u64| size.div_ceil(self.0.config.part_bytes(size, chunk_min));
        let in_parts = wanted.iter().zip(&modes).filter(|(_, mode)| **mode == Mode::Multipart);
        let parts = in_parts.fold(0u64, |sum, ((_, size), _)| sum.saturating_add(parts_of(*size)));
        let held = self.hold_parts(access.actor(), parts.min(PARTS_MAX))?;

        let upload = UploadId::new();
        let Begun { admitted, used, quota } = self.begin(access, client, upload, wanted).await?;
        let used = Used { repo: access.repo(), used, quota };
        let in_parts = |n: &usize| admitted[*n] && modes[*n] == Mode::Multipart;
        let in_parts: Vec<_> = (0..wanted.len()).filter(in_parts).map(|n| wanted[n].0).collect();
        let ids = self.create_multiparts(upload, in_parts).await?;

        let mut outcomes = Vec::with_capacity(wanted.len());
        let mut parts_left = PARTS_MAX;
        for (n, (&(sha256, size), mode)) in wanted.iter().zip(&modes).enumerate() {
            if n % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let object = Wanted { upload, sha256, size };
            outcomes.push(match mode {
                _ if !admitted[n] => used.refusal(),
                Mode::Hub => links.hub(&object),
                Mode::Presigned(binding) => links.presigned(&object, *binding),
                Mode::Multipart => {
                    let chunk = self.0.config.part_bytes(size, chunk_min);
                    let parts = parts_of(size);
                    if parts > parts_left {
                        failed(
                            ErrorCode::Unprocessable,
                            "too many parts in one answer; ask for fewer objects at once",
                        )
                    } else {
                        parts_left -= parts;
                        links.multipart(&object, chunk, ids.get(&sha256).map(String::as_str)).await
                    }
                }
            });
        }
        let transfer = if multipart { Transfer::Multipart } else { Transfer::Basic };
        Ok(Granted { transfer, outcomes, held })
    }

    /// Room for the links of an answer, until it is sent.
    fn hold_parts(&self, user: Option<UserId>, parts: u64) -> Result<Option<Share>, BatchError> {
        match usize::try_from(parts).unwrap_or(usize::MAX) {
            0 => Ok(None),
            parts => self.0.parts_held.take(user, parts).map(Some).ok_or(BatchError::Busy),
        }
    }

    async fn begin(
        &self,
        access: &Authorized<Propose>,
        client: &Client,
        id: UploadId,
        wanted: &[(Sha256, u64)],
    ) -> Result<Begun, BatchError> {
        let longest = LIFETIME_MAX + LONGEST_RUN;
        let new = NewUpload {
            id,
            repo: access.repo_id(),
            by: access.actor(),
            objects: wanted.to_vec(),
            expires_ms: self.now_ms() + longest.as_millis() as i64,
            quota: Quota::Default(client.quota),
        };
        let begun = self.0.database.begin_upload(new).await?;
        database::fault::point(database::fault::Point::LfsUploadBegun);
        Ok(begun)
    }

    /// Begins uploads in parts in the bucket and records their ids, so that the sweep can end them.
    async fn create_multiparts(
        &self,
        upload: UploadId,
        objects: Vec<Sha256>,
    ) -> Result<HashMap<Sha256, String>, BatchError> {
        let Some(bucket) = self.store().bucket().filter(|_| !objects.is_empty()) else {
            return Ok(HashMap::new());
        };
        let (created, failure) = create_all(bucket, upload, objects).await;
        // Those of a batch that fails, too.
        self.0.database.set_multipart(upload, created.clone()).await?;
        match failure {
            None => Ok(created.into_iter().collect()),
            Some(error) => Err(error.into()),
        }
    }
}

/// What is granted, by the places of the wanted.
struct Granted {
    transfer: Transfer,
    outcomes: Vec<Outcome>,
    held: Option<Share>,
}

impl Granted {
    /// The CAS takes all of them; the quota is looked at when it is told what they are made of.
    fn by_xet(wanted: usize, way: &Action) -> Granted {
        let outcomes = vec![Outcome::Upload { upload: way.clone(), verify: None }; wanted];
        Granted { transfer: Transfer::Xet, outcomes, held: None }
    }
}

fn answer_for(object: &Object, decision: Option<Decision>, outcomes: &mut [Outcome]) -> Answer {
    let outcome = match decision.expect("because each readable object has one") {
        Decision::Answered(outcome) => outcome,
        Decision::Wanted(place) => std::mem::replace(&mut outcomes[place], Outcome::Present),
        Decision::Again(place) => again(&outcomes[place]),
    };
    answer(object, object.size.unwrap_or(0), outcome)
}

/// What is said of an object that is named a second time. Links to parts are many and are given once: who brings the
/// object by those has nothing left to do for this one.
fn again(first: &Outcome) -> Outcome {
    match first {
        Outcome::Multipart { .. } => Outcome::Present,
        small => small.clone(),
    }
}

/// What was created, and the first error.
async fn create_all(
    bucket: &Bucket,
    upload: UploadId,
    objects: Vec<Sha256>,
) -> (Vec<(Sha256, String)>, Option<StoreError>) {
    let permits = Arc::new(Semaphore::new(CREATES_AT_ONCE));
    let mut creating = JoinSet::new();
    for sha256 in objects {
        let (bucket, permits) = (bucket.clone(), Arc::clone(&permits));
        creating.spawn(async move {
            let Ok(_permit) = permits.acquire().await else { return None };
            let created = bucket.create_multipart(&object_key(&sha256, upload)).await;
            if created.is_err() {
                // The others need not try.
                permits.close();
            }
            Some((sha256, created))
        });
    }
    let (mut created, mut failure) = (Vec::new(), None);
    while let Some(done) = creating.join_next().await {
        match done {
            Ok(Some((sha256, Ok(id)))) => created.push((sha256, id)),
            Ok(Some((_, Err(error)))) => failure = failure.or(Some(error)),
            Ok(None) => {}
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    (created, failure)
}

/// Parts of at least so many bytes keep the answer small.
fn chunk_min(wanted: &[(Sha256, u64)], modes: &[Mode]) -> u64 {
    let in_parts = wanted.iter().zip(modes).filter(|(_, mode)| **mode == Mode::Multipart);
    let bytes = in_parts.fold(0u64, |sum, ((_, size), _)| sum.saturating_add(*size));
    // S3 takes no larger part than what it takes in one PUT.
    (bytes / PARTS_ABOUT).min(SINGLE_PUT_MAX)
}

/// Both numbers, so that it can be told what would.
pub(crate) fn does_not_fit(namespace: &database::Namespace, used: u64, quota: Option<u64>) -> String {
    let (used, quota) = (Bytes(used), Bytes(quota.unwrap_or(u64::MAX)));
    format!("{namespace} has used {used} of {quota}; this object does not fit")
}

/// For the message of what does not fit.
struct Used<'a> {
    repo: &'a Repo,
    used: u64,
    quota: Option<u64>,
}

impl Used<'_> {
    fn refusal(&self) -> Outcome {
        let message = does_not_fit(&self.repo.path.namespace, self.used, self.quota);
        failed(ErrorCode::InsufficientStorage, message)
    }
}

/// In the largest unit that leaves at least one.
struct Bytes(u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let power = (self.0.max(1).ilog2() / 10) as usize;
        match power.checked_sub(1) {
            None => write!(f, "{} B", self.0),
            Some(unit) => write!(f, "{:.1} {}", self.0 as f64 / (1u64 << (10 * power)) as f64, UNITS[unit]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_words() {
        let table =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 << 40, "10.0 TiB"), (u64::MAX, "16.0 EiB")];
        for (bytes, words) in table {
            assert_eq!(Bytes(bytes).to_string(), words);
        }
    }

    #[test]
    fn parts_grow_with_what_is_asked_for_at_once() {
        let many =
            |n: usize, size: u64| chunk_min(&vec![(Sha256([0; 32]), size); n], &vec![Mode::Multipart; n]);
        assert_eq!(many(1, 64 << 20), 6710, "below any part size");
        let (objects, size) = (256, 100 << 30);
        let chunk = many(objects, size);
        assert!(objects as u64 * size.div_ceil(chunk) <= PARTS_MAX);
        assert_eq!(many(5000, 5 << 40), SINGLE_PUT_MAX);
        assert_eq!(chunk_min(&[(Sha256([0; 32]), u64::MAX)], &[Mode::Hub]), 0);
    }
}
