//! The bytes of an object, however it is stored.

use std::task::{Context, Poll};

use bytes::Bytes;
use storage::StoreError;

/// A range of an object on its way out, piece by piece.
pub enum Body {
    Whole(storage::Reader),
    Xet(Box<xet::Stream>),
}

impl Body {
    /// The next piece, never empty. `None` after the last byte of the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Body::next`], for bodies of answers.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StoreError>> {
        match self {
            Body::Whole(reader) => reader.poll_next(cx),
            Body::Xet(stream) => stream.poll_next(cx),
        }
    }

    /// The next bytes, if the kernel can send them without our seeing them. `None`: ask [`Body::poll_next`].
    pub fn cached(&mut self) -> Result<Option<storage::Cached>, StoreError> {
        match self {
            Body::Whole(reader) => reader.cached(),
            Body::Xet(_) => Ok(None),
        }
    }

    /// Bytes of the range that did not come yet.
    pub fn remaining(&self) -> u64 {
        match self {
            Body::Whole(reader) => reader.remaining(),
            Body::Xet(stream) => stream.remaining(),
        }
    }
}
