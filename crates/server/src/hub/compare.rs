//! Two revisions side by side.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use auth::Read;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use hub::HubError;
use hub::compare::Difference;

use super::{Call, REPO_COMMIT};
use crate::error::Error;
use crate::http::Body;
use crate::route::Target;

pub(super) async fn compare(
    mut call: Call<'_>,
    target: &Target,
    revisions: &str,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>(target)?;
    let mut difference = call.hub().compare(&access, revisions).await?;
    let commit = super::files::commit_header(difference.commit);
    // What fails at once is an error like any other; later it can only be cut short.
    let first = difference.first().await?;
    let body = match difference.is_done() {
        true => Body::from(first),
        false => Body::patch(PatchText { first, next: Next::Idle(Some(difference)) }),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(REPO_COMMIT, commit);
    Ok(response)
}

/// A patch that is made while it is sent.
pub(crate) struct PatchText {
    first: Bytes,
    next: Next,
}

enum Next {
    Idle(Option<Difference>),
    Running(Pin<Box<dyn Future<Output = Made> + Send + Sync>>),
}

type Made = (Difference, Result<Option<Bytes>, HubError>);

impl PatchText {
    /// `None` at the end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, HubError>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.first))));
        }
        if let Next::Idle(difference) = &mut self.next {
            let Some(mut difference) = difference.take() else { return Poll::Ready(None) };
            self.next = Next::Running(Box::pin(async move {
                let piece = difference.next().await;
                (difference, piece)
            }));
        }
        let Next::Running(running) = &mut self.next else { return Poll::Ready(None) };
        let (difference, piece) = ready!(running.as_mut().poll(cx));
        let more = matches!(piece, Ok(Some(_)));
        self.next = Next::Idle(more.then_some(difference));
        Poll::Ready(piece.transpose())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.first.is_empty() && matches!(self.next, Next::Idle(None))
    }
}
