//! The batch: which objects a client may get, or must bring.
//!
//! One look-up of all links, one row for all uploads, no request to the bucket (but the one that begins an upload in
//! parts). An object that cannot be answered for gets its own error; the others go on.

use auth::{Authorized, Propose, Read};
use bytes::Bytes;

use crate::actions::Links;
use crate::download::readable;
use crate::wire::batch::{
    Action, Answer, ErrorCode, Family, Object, Outcome, Request, Response, Subject, Transfer, is_empty_object,
};
use crate::{BatchError, Objects, OpenError};
use auth::shares::Share;

/// What the client may do, by what it asked for.
#[derive(Clone, Debug)]
pub enum Batching {
    Download(Authorized<Read>),
    Upload(Authorized<Propose>),
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Client {
    pub family: Family,
    /// Of the hub as the client reaches it: `https://hub.example`.
    pub base_url: String,
    /// Of namespaces that have none of their own, in bytes.
    pub quota: Option<u64>,
    /// Where clients that can upload to the Xet CAS get what they need for it, of an upload.
    pub xet: Option<Action>,
}

/// The answer. It holds room for its links until its bytes are dropped.
pub struct Batched {
    pub response: Response,
    pub(crate) held: Option<Share>,
}

impl Batched {
    pub fn into_json(self) -> Bytes {
        let json = self.response.to_json();
        match self.held {
            None => Bytes::from(json),
            Some(held) => Bytes::from_owner(Held { json, _held: held }),
        }
    }
}

struct Held {
    json: Vec<u8>,
    _held: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

/// Answers made between two chances for other tasks.
pub(crate) const AT_ONCE: usize = 256;

impl Objects {
    pub async fn batch(
        &self,
        access: &Batching,
        request: &Request,
        client: &Client,
    ) -> Result<Batched, BatchError> {
        match access {
            Batching::Download(access) => self.batch_download(access, request, client).await,
            Batching::Upload(access) => self.batch_upload(access, request, client).await,
        }
    }

    async fn batch_download(
        &self,
        access: &Authorized<Read>,
        request: &Request,
        client: &Client,
    ) -> Result<Batched, BatchError> {
        let ids: Vec<_> = readable_objects(request).map(|object| object.sha256).collect();
        let mut found = self.0.database.links(access.repo_id(), &ids)?.into_iter();
        let links = Links::new(self, &client.base_url, access).await?;
        let mut objects = Vec::with_capacity(request.objects.len());
        for (n, object) in request.objects.iter().enumerate() {
            if n % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            objects.push(match object {
                Err(unreadable) => unreadable.answer(),
                Ok(object) if is_empty_object(&object.sha256) => {
                    found.next();
                    answer(object, 0, Outcome::Download(links.download(object.sha256, 0, None)))
                }
                Ok(object) => match readable(found.next().flatten().as_ref(), access.actor()) {
                    Err(error) => answer(object, object.size.unwrap_or(0), refusal(&error)),
                    Ok(link) if object.size.is_some_and(|size| size != link.size) => {
                        answer(object, link.size, other_size(link.size))
                    }
                    Ok(link) => {
                        let key = link.whole_key().filter(|_| self.0.store.bucket().is_some());
                        let action = links.download(object.sha256, link.size, key.as_deref());
                        answer(object, link.size, Outcome::Download(action))
                    }
                },
            });
        }
        Ok(Batched { response: Response { transfer: Transfer::Basic, objects }, held: None })
    }
}

pub(crate) fn readable_objects(request: &Request) -> impl Iterator<Item = &Object> {
    request.objects.iter().filter_map(|object| object.as_ref().ok())
}

pub(crate) fn answer(object: &Object, size: u64, outcome: Outcome) -> Answer {
    Answer { subject: Subject::Object(object.sha256), size, outcome }
}

pub(crate) fn failed(code: ErrorCode, message: impl ToString) -> Outcome {
    Outcome::Failed { code, message: message.to_string() }
}

pub(crate) fn other_size(size: u64) -> Outcome {
    failed(ErrorCode::Unprocessable, format_args!("the object has {size} bytes, not as many as announced"))
}

fn refusal(error: &OpenError) -> Outcome {
    let code = match error {
        OpenError::Removed => ErrorCode::Gone,
        OpenError::NotFound | OpenError::Corrupt | OpenError::Unverified => ErrorCode::NotFound,
        OpenError::Grant | OpenError::Store(_) | OpenError::Db(_) => ErrorCode::Internal,
    };
    failed(code, error)
}
