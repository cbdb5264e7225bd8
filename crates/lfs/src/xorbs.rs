//! Objects that are stored in xorbs: how they come, and the proof that their SHA-256 is what their uploaders said.
//!
//! That a file's chunks are here is proven when it is registered; then it can be read and pushed. Its SHA-256 is computed
//! behind that, from rows, so that a restart resumes it: until then nobody else is told that the object is here.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use auth::{Authorized, Propose};
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use database::{BackingId, Bucket, DbError, Link, NewXetObject, Possessed, Proof, Quota, RepoId, Sha256};
use storage::StoreError;
use tokio::task::JoinError;
use tokio::time::Instant;
use xet::{CommitError, Progress, RegisteredFile, ShardRefused, Stream};

use crate::counters::count;
use crate::lane::Turn;
use crate::publish::{Arrival, blocking};
use crate::{Objects, ReceiveError};

/// Rows taken up in one go.
const RESUMED: u32 = 1000;
/// Hashed in one hop.
const PIECE: usize = 1 << 20;
/// Hashed in one turn: a few seconds.
const SLICE: u64 = 1 << 30;
/// Between two looks at whether a proof has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    #[error(transparent)]
    Refused(#[from] ShardRefused),
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The repository has another file by this SHA-256, so this one was computed at once.
    #[error("the file that is said to have SHA-256 {said} has {actual}")]
    OtherSha256 { said: Sha256, actual: Sha256 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Objects {
    /// What a client uploaded in xorbs becomes objects of the repository: all that a shard names, or none. Runs to its end
    /// even if this is dropped. Their SHA-256, which the shard must say, are computed afterwards.
    pub async fn register_shard(
        &self,
        access: Authorized<Propose>,
        quota: Quota,
        shard: Bytes,
        progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Vec<RegisteredFile>, ShardError> {
        let objects = self.clone();
        crate::publish::detached(async move {
            let mut checked = objects.0.xet.check_shard(shard, progress).await?.objects()?;
            for object in &mut checked.objects {
                objects.decide_contest(&access, object).await?;
            }
            let registered = objects.0.xet.commit_shard(access, quota, checked).await?;
            let published = registered.iter().filter(|file| !file.was_here).count();
            count(&objects.0.counters.objects_published, published as u64);
            for file in registered.iter().filter(|file| file.proof == Proof::Possessed) {
                objects.verify_registered(file.backing)?;
            }
            Ok(registered)
        })
        .await
    }

    /// Files of a bucket come as they do for a repository, but no SHA-256 of theirs is asked for: they are named by their
    /// chunks, which are proven. True if the bucket had all of them.
    pub async fn register_in_bucket(
        &self,
        access: Authorized<Propose, Bucket>,
        quota: Quota,
        shard: Bytes,
        progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<bool, ShardError> {
        let objects = self.clone();
        crate::publish::detached(async move {
            let checked = objects.0.xet.check_shard(shard, progress).await?;
            Ok(objects.0.xet.commit_to_bucket(access, quota, checked).await?)
        })
        .await
    }

    /// Two files that are said to be one object: one of them is not. What can be proven takes the place of what is only
    /// said, and nothing else does.
    async fn decide_contest(
        &self,
        access: &Authorized<Propose>,
        object: &mut NewXetObject,
    ) -> Result<(), ShardError> {
        let link = self.0.database.link(access.repo_id(), &object.sha256)?;
        let Some(link) = link.filter(|link| link.is_usable()) else { return Ok(()) };
        let NewXetObject { file, sha256, proof } = object;
        let is_proven = link.backing.is_some_and(|backing| backing.proof == Proof::Verified);
        let same_file = match link.xet() {
            Some(id) => self.0.database.xet_hash(id)? == Some(file.hash),
            None => false,
        };
        if link.size == file.size && (is_proven || same_file) {
            return Ok(());
        }
        let turn = self.0.read_backs.lane(file.size).take(access.actor(), file.size.min(SLICE)).await;
        let stream = self.0.xet.stream_terms(&file.terms, 0..file.size).await;
        let actual = sha256_of(turn, stream.map_err(StoreError::from)?).await?;
        if actual != *sha256 {
            return Err(ShardError::OtherSha256 { said: *sha256, actual });
        }
        *proof = Proof::Verified;
        Ok(())
    }

    /// What is claimed is not given up for what is possessed, nor the reverse: whoever comes second waits until it is known
    /// what the first is.
    pub(crate) async fn await_possessed(&self, arrival: &Arrival) -> Result<(), ReceiveError> {
        let ends = Instant::now() + self.0.config.verify_wait;
        loop {
            let link = self.0.database.link(arrival.repo, &arrival.sha256)?;
            let backing = link.and_then(|link| link.backing);
            let Some(backing) = backing.filter(|backing| backing.proof == Proof::Possessed) else {
                return Ok(());
            };
            if Instant::now() >= ends {
                return Err(ReceiveError::Busy);
            }
            self.verify_registered(backing.id)?;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Which of these objects of a repository are stored, but not proven by `deadline`. Their proof is begun.
    pub async fn await_verified(
        &self,
        repo: RepoId,
        objects: &[Sha256],
        deadline: Instant,
    ) -> Result<Vec<Sha256>, DbError> {
        let mut open = objects.to_vec();
        loop {
            let links = self.0.database.links(repo, &open)?;
            let is_open = |link: &Link| link.backing.is_some_and(|backing| backing.proof != Proof::Verified);
            let links: Vec<Link> = links.into_iter().flatten().filter(is_open).collect();
            open = links.iter().map(|link| link.sha256).collect();
            if open.is_empty() || Instant::now() >= deadline {
                return Ok(open);
            }
            for link in &links {
                match (self.claim_of(repo, link), link.backing) {
                    (Some(claim), _) => drop(self.read_back(claim)),
                    (None, Some(backing)) => self.verify_registered(backing.id)?,
                    (None, None) => {}
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn verify_registered(&self, backing: BackingId) -> Result<(), DbError> {
        // It is the first behind the one before it, unless it was proven or dropped just now.
        let found = self.0.database.possessed(BackingId(backing.0 - 1), 1)?;
        found
            .into_iter()
            .filter(|found| found.backing == backing)
            .for_each(|found| self.verify_possessed(found));
        Ok(())
    }

    /// Starts to compute all SHA-256 that are only said, if that is not under way. At start and with each sweep.
    pub(crate) fn resume_possessed(&self) -> Result<u64, DbError> {
        let mut resumed = 0;
        let mut after = BackingId(0);
        loop {
            let page = self.0.database.possessed(after, RESUMED)?;
            let Some(last) = page.last() else { return Ok(resumed) };
            after = last.backing;
            for possessed in page {
                resumed += 1;
                self.verify_possessed(possessed);
            }
        }
    }

    fn verify_possessed(&self, of: Possessed) {
        let running = move |objects: &Objects, begins: bool| {
            let mut running = objects.0.read_backs.xorbs.lock().unwrap_or_else(PoisonError::into_inner);
            match begins {
                true => running.insert(of.backing),
                false => running.remove(&of.backing),
            }
        };
        if !running(self, true) {
            return;
        }
        let objects = self.clone();
        tokio::spawn(async move {
            let task = objects.clone();
            // On a task of its own, so that a panic does not keep it from being tried again.
            let proven = tokio::spawn(async move { task.prove_possessed(&of).await }).await;
            running(&objects, false);
            match proven {
                Ok(Ok(())) => {}
                // The server stops: the next one goes on from the rows.
                Ok(Err(error)) if is_end_of_server(&error) => {}
                Ok(Err(error)) => tracing::warn!(
                    backing = of.backing.0, %error, "a file could not be verified; it is tried again later"
                ),
                Err(error) => {
                    tracing::error!(backing = of.backing.0, %error, "the proof of a file ended abnormally")
                }
            }
        });
    }

    async fn prove_possessed(&self, of: &Possessed) -> Result<(), StoreError> {
        let turn = self.0.read_backs.lane(of.size).take(of.by, of.size.min(SLICE)).await;
        let db = |error: DbError| StoreError::Io(io::Error::other(error));
        // It may be nobody's any more, or proven by another upload.
        if self.0.database.backing_proof(of.backing).map_err(db)? != Some(Proof::Possessed) {
            return Ok(());
        }
        let stream = self.0.xet.stream_file(of.file, 0..of.size).await.map_err(StoreError::from)?;
        let actual = sha256_of(turn, stream).await?;
        count(&self.0.counters.read_back_bytes, of.size);
        if actual == of.sha256 {
            self.0.database.object_verified(of.backing).await.map_err(db)?;
            return Ok(());
        }
        if self.0.database.xet_object_corrupt(of.backing).await.map_err(db)? {
            tracing::warn!(
                repo = of.repo.0,
                by = of.by.map(|user| user.0),
                sha256 = %of.sha256,
                %actual,
                "a file has another SHA-256 than its uploader said"
            );
            count(&self.0.counters.objects_corrupt, 1);
        }
        Ok(())
    }
}

/// Its database is closed, or its runtime cancels what is under way.
fn is_end_of_server(error: &StoreError) -> bool {
    let mut error: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = error {
        if matches!(current.downcast_ref::<DbError>(), Some(DbError::Closed))
            || current.downcast_ref::<JoinError>().is_some_and(JoinError::is_cancelled)
        {
            return true;
        }
        error = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // Its own source is that of what it holds.
            Some(held) => Some(held),
            None => current.source(),
        };
    }
    false
}

/// Of all its bytes, in turns. Hashing goes off the async threads, while what comes next is unpacked.
async fn sha256_of(mut turn: Turn, mut stream: Stream) -> Result<Sha256, StoreError> {
    let mut hashing = tokio::task::spawn_blocking(|| Context::new(&SHA256));
    let mut ends_at = stream.remaining().saturating_sub(SLICE);
    loop {
        if stream.remaining() <= ends_at && ends_at > 0 {
            turn = turn.renew(stream.remaining().min(SLICE)).await;
            ends_at = stream.remaining().saturating_sub(SLICE);
        }
        let (mut pieces, mut len) = (Vec::new(), 0);
        while len < PIECE {
            let Some(piece) = stream.next().await? else { break };
            len += piece.len();
            pieces.push(piece);
        }
        let mut hasher = hashing.await.map_err(|panic| StoreError::Io(io::Error::other(panic)))?;
        if pieces.is_empty() {
            let digest = blocking(move || hasher.finish()).await;
            let digest = digest.as_ref().try_into().expect("because SHA-256 has 32 bytes");
            return Ok(Sha256(digest));
        }
        hashing = tokio::task::spawn_blocking(move || {
            pieces.iter().for_each(|piece| hasher.update(piece));
            hasher
        });
    }
}
