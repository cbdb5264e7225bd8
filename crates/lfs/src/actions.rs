//! The links of a batch answer. Each authenticates itself: a token of ours, or a presigned URL of the bucket.

use std::fmt::Write;
use std::time::Duration;

use auth::transfer::{Grant, Operation, Part, lifetime};
use auth::{Authorized, Right};
use database::{RepoId, Sha256, TokenId, UploadId, UserId, object_key};
use storage::{Binding, Signer, StoreError};

use crate::Objects;
use crate::counters::count;
use crate::wire::batch::{Action, Outcome};

/// Makes links for one client to objects of one repository.
pub(crate) struct Links<'a> {
    objects: &'a Objects,
    base_url: &'a str,
    repo: RepoId,
    token: Option<TokenId>,
    user: Option<UserId>,
    now_ms: i64,
    signer: Option<Signer>,
}

/// An object that is to be uploaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) upload: UploadId,
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
}

/// Of the links by which an upload ends. It may have begun when its own links were about to expire, and run long; but
/// keys of tokens are forgotten an hour after the longest lifetime.
const ENDING: Duration = Duration::from_secs(25 * 3600);
/// Signed between two chances for other tasks.
const PARTS_AT_ONCE: u32 = 256;

impl<'a> Links<'a> {
    pub(crate) async fn new<A: Right>(
        objects: &'a Objects,
        base_url: &'a str,
        access: &Authorized<A>,
    ) -> Result<Links<'a>, StoreError> {
        let signer = match objects.store().bucket() {
            Some(bucket) => Some(bucket.signer().await?),
            None => None,
        };
        Ok(Links {
            objects,
            base_url: base_url.trim_end_matches('/'),
            repo: access.repo_id(),
            token: access.token(),
            user: access.actor(),
            now_ms: objects.now_ms(),
            signer,
        })
    }

    /// The object stored under `key`. Without one (the empty object) the hub answers.
    pub(crate) fn download(&self, sha256: Sha256, size: u64, key: Option<&str>) -> Action {
        if let (Some(signer), Some(key)) = (&self.signer, key) {
            let lifetime = self.presigned_lifetime(size);
            count(&self.objects.0.counters.presigned_download, 1);
            return Action::bare(signer.get(key, lifetime), lifetime);
        }
        let grant = self.grant(Operation::Download, None, sha256, size);
        Action::bare(self.href(&grant, ""), lifetime(size))
    }

    /// One PUT to the hub.
    pub(crate) fn hub(&self, wanted: &Wanted) -> Outcome {
        let grant = self.grant_of(Operation::Upload, wanted);
        let upload = Action::bare(self.href(&grant, ""), lifetime(wanted.size));
        Outcome::Upload { upload, verify: None }
    }

    /// One PUT to the bucket, then verify.
    pub(crate) fn presigned(&self, wanted: &Wanted, binding: Binding) -> Outcome {
        let Some(signer) = &self.signer else { return self.hub(wanted) };
        let Wanted { upload, sha256, size } = wanted;
        let lifetime = self.presigned_lifetime(*size);
        let put = signer.put(&object_key(sha256, *upload), sha256, *size, binding, lifetime);
        count(&self.objects.0.counters.presigned_upload, 1);
        Outcome::Upload {
            upload: Action { href: put.href, header: put.header, expires_in: lifetime },
            verify: Some(self.ending(Operation::Verify, wanted, None, "/verify")),
        }
    }

    /// Parts of `chunk_size` bytes, to the bucket if it gave an id for them, else to the hub.
    pub(crate) async fn multipart(
        &self,
        wanted: &Wanted,
        chunk_size: u64,
        multipart: Option<&str>,
    ) -> Outcome {
        let last = u32::try_from(wanted.size.div_ceil(chunk_size)).unwrap_or(u32::MAX);
        let (key, lifetime) =
            (object_key(&wanted.sha256, wanted.upload), self.presigned_lifetime(wanted.size));
        let mut parts = Vec::with_capacity(last as usize);
        for number in 1..=last {
            if number % PARTS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            parts.push(match (&self.signer, multipart) {
                (Some(signer), Some(id)) => signer.part(&key, id, number, lifetime),
                _ => self.part(wanted, number, chunk_size),
            });
        }
        if multipart.is_some() {
            count(&self.objects.0.counters.presigned_part, parts.len() as u64);
        }
        let mut complete = self.ending(Operation::Complete, wanted, multipart, "/complete");
        // The client takes it for the parts as well.
        complete.expires_in = self.presigned_lifetime(wanted.size);
        Outcome::Multipart { complete, chunk_size, parts, verify: None }
    }

    fn part(&self, wanted: &Wanted, number: u32, size: u64) -> String {
        let mut grant = self.grant_of(Operation::Part, wanted);
        grant.part = Some(Part { number, size });
        self.href(&grant, &format!("/parts/{number}"))
    }

    fn ending(&self, operation: Operation, of: &Wanted, multipart: Option<&str>, path: &str) -> Action {
        let mut grant = self.grant_of(operation, of);
        grant.multipart = multipart.map(str::to_owned);
        grant.expires_ms = self.now_ms + ENDING.as_millis() as i64;
        Action::bare(self.href(&grant, path), ENDING)
    }

    /// Those of temporary credentials die with them.
    fn presigned_lifetime(&self, size: u64) -> Duration {
        let longest = self.signer.as_ref().map_or(Duration::MAX, Signer::lifetime_max);
        lifetime(size).min(longest)
    }

    fn grant_of(&self, operation: Operation, wanted: &Wanted) -> Grant {
        self.grant(operation, Some(wanted.upload), wanted.sha256, wanted.size)
    }

    fn grant(&self, operation: Operation, upload: Option<UploadId>, sha256: Sha256, size: u64) -> Grant {
        let expires_ms = self.now_ms + lifetime(size).as_millis() as i64;
        let (part, multipart) = (None, None);
        let Links { repo, token, user, .. } = *self;
        Grant { operation, repo, sha256, size, upload, part, multipart, token, user, expires_ms }
    }

    fn href(&self, grant: &Grant, path: &str) -> String {
        let token = self.objects.0.keys.issue(grant);
        let mut href = String::with_capacity(self.base_url.len() + token.len() + path.len() + 96);
        let _ = write!(href, "{}/api/lfs/objects/{}{path}?token={token}", self.base_url, grant.sha256);
        href
    }
}
