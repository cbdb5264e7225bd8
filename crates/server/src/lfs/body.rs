//! The bodies of uploads: checked by their heads where that can be, and handed on piece by piece.

use std::future::Future;

use ::lfs::{ReceiveError, Receiving, ReceivingPart};
use bytes::Bytes;
use http::header;

use crate::error::Error;
use crate::http::Request;
use crate::node::Node;

/// What takes the bytes of an upload.
pub(super) trait Sink {
    fn write(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), ReceiveError>> + Send;
}

impl Sink for Receiving {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ReceiveError> {
        Receiving::write(self, bytes).await
    }
}

impl Sink for ReceivingPart {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ReceiveError> {
        ReceivingPart::write(self, bytes).await
    }
}

/// Refuses a body that cannot be the `size` bytes that were announced, before any of it is read. One in chunks says
/// nothing of its length; it is counted as it comes.
pub(super) fn check_head(request: &Request, size: u64) -> Result<(), Error> {
    let mut codings = request.headers().get_all(header::CONTENT_ENCODING).iter();
    if codings.any(|coding| !matches!(coding.as_bytes(), b"" | b"identity")) {
        let why = "send the bytes of the object as they are, without Content-Encoding";
        return Err(Error::Unprocessable(why.to_owned()));
    }
    match request.body.len() {
        Some(given) if given != size => {
            let why = format!("the request has {given} bytes, not the {size} announced; nothing was stored");
            Err(Error::Unprocessable(why))
        }
        _ => Ok(()),
    }
}

/// Hands on the body to its end. However slow it comes is fine, as long as it comes.
pub(super) async fn pour(node: &Node, request: &mut Request, sink: &mut impl Sink) -> Result<(), Error> {
    while let Some(bytes) = request.body.receive().await? {
        node.objects_taken(bytes.len() as u64)?;
        sink.write(bytes).await?;
    }
    Ok(())
}
