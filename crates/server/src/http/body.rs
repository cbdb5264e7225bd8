//! Response bodies: what is sent, without copying it where it need not be copied.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use git_protocol::sideband::{Band, Framing, frame_header};
use http_body::{Frame, SizeHint};

use super::Files;
use crate::git::Pushing;
use crate::hub::PatchText;
use crate::spool;
use crate::xet::ShardAnswer;

/// The body of a response.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    /// Sent in order.
    Chunks(VecDeque<Chunk>),
    Bytes(Bytes),
    /// Follows the writer of a spooled answer.
    Spooled(spool::Reader),
    /// The report of a push that is running.
    Pushing(Box<Pushing>),
    /// What becomes of a shard.
    Shard(Box<ShardLines>),
    /// A patch, as it is made.
    Patch(Box<PatchLines>),
    /// A large object, as it is read.
    Object(Stored),
}

struct PatchLines(PatchText);

impl fmt::Debug for PatchLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PatchLines")
    }
}

struct ShardLines(ShardAnswer);

impl fmt::Debug for ShardLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShardLines")
    }
}

struct Stored(lfs::Body);

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({} bytes to come)", self.0.remaining())
    }
}

/// The body ended before its end. The connection is closed without the final chunk, which every client notices.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the answer was cut short: {0}")]
    Spool(#[from] spool::Broken),
    #[error("the object was cut short: {0}")]
    Store(#[from] storage::StoreError),
    #[error("the patch was cut short: {0}")]
    Patch(#[from] hub::HubError),
}

/// A piece of a body.
#[derive(Debug)]
pub enum Chunk {
    Bytes(Bytes),
    Frames(Frames),
    /// So many bytes of a file, which the connection was given ([`Files`]).
    StandIn(u64),
}

/// A pack framed as side-band packets while it is sent: headers of five bytes between slices of the (mapped) pack.
#[derive(Debug)]
pub struct Frames {
    pack: Bytes,
    payload_max: usize,
    full: [u8; HEADER],
    last: [u8; HEADER],
    /// Bytes sent of headers and pack together.
    position: usize,
}

const HEADER: usize = 5;
/// Handed over at a time, so that what is counted as sent is not far from what was.
const PIECE: usize = 1 << 20;
/// The same for packets: a header and a payload each, of which one `writev` takes 64.
const PIECE_FRAMES: usize = 32;

impl Body {
    pub fn empty() -> Body {
        Body(Kind::Bytes(Bytes::new()))
    }

    pub fn spooled(reader: spool::Reader) -> Body {
        Body(Kind::Spooled(reader))
    }

    pub fn chunks(chunks: Vec<Chunk>) -> Body {
        Body(Kind::Chunks(chunks.into_iter().filter(Buf::has_remaining).collect()))
    }

    pub fn object(reader: lfs::Body) -> Body {
        Body(Kind::Object(Stored(reader)))
    }

    /// What comes next, if the kernel can send it. Whoever takes it must.
    pub(super) fn cached(&mut self) -> Option<Result<storage::Cached, BodyError>> {
        match &mut self.0 {
            Kind::Object(Stored(reader)) => reader.cached().map_err(BodyError::from).transpose(),
            _ => None,
        }
    }

    pub(crate) fn shard(answer: ShardAnswer) -> Body {
        Body(Kind::Shard(Box::new(ShardLines(answer))))
    }

    pub(crate) fn patch(text: PatchText) -> Body {
        Body(Kind::Patch(Box::new(PatchLines(text))))
    }

    pub fn pushing(pushing: Pushing) -> Body {
        Body(Kind::Pushing(Box::new(pushing)))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body(Kind::Bytes(bytes))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Bytes::from(text).into()
    }
}

impl http_body::Body for Body {
    type Data = Chunk;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, BodyError>>> {
        let chunk = match &mut self.get_mut().0 {
            Kind::Bytes(bytes) if bytes.is_empty() => None,
            Kind::Bytes(bytes) => Some(Ok(Chunk::Bytes(bytes.split_to(bytes.len().min(PIECE))))),
            Kind::Chunks(chunks) => chunks.pop_front().map(|mut chunk| {
                let piece = chunk.split_piece();
                if chunk.has_remaining() {
                    chunks.push_front(chunk);
                }
                Ok(piece)
            }),
            Kind::Spooled(reader) => std::task::ready!(reader.poll_next(cx))
                .map(|next| next.map(Chunk::Bytes).map_err(BodyError::from)),
            Kind::Pushing(pushing) => {
                std::task::ready!(pushing.poll_next(cx)).map(|bytes| Ok(Chunk::Bytes(bytes)))
            }
            Kind::Shard(lines) => {
                std::task::ready!(lines.0.poll_next(cx)).map(|bytes| Ok(Chunk::Bytes(bytes)))
            }
            Kind::Patch(lines) => std::task::ready!(lines.0.poll_next(cx))
                .map(|next| next.map(Chunk::Bytes).map_err(BodyError::from)),
            Kind::Object(Stored(reader)) => match std::task::ready!(reader.poll_next(cx)) {
                Ok(next) => next.map(|bytes| Ok(Chunk::Bytes(bytes))),
                Err(error) => Some(Err(error.into())),
            },
        };
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Bytes(bytes) => bytes.is_empty(),
            Kind::Chunks(chunks) => chunks.is_empty(),
            Kind::Spooled(reader) => reader.remaining() == Some(0),
            Kind::Pushing(pushing) => pushing.is_done(),
            Kind::Shard(lines) => lines.0.is_done(),
            Kind::Patch(lines) => lines.0.is_done(),
            Kind::Object(Stored(reader)) => reader.remaining() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = match &self.0 {
            Kind::Bytes(bytes) => Some(bytes.len() as u64),
            Kind::Chunks(chunks) => Some(chunks.iter().map(|chunk| chunk.remaining() as u64).sum()),
            Kind::Spooled(reader) => reader.remaining(),
            Kind::Pushing(_) | Kind::Shard(_) | Kind::Patch(_) => None,
            Kind::Object(Stored(reader)) => Some(reader.remaining()),
        };
        exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Frames {
    /// `framing` is not [`Framing::Raw`]: then there is nothing to frame.
    pub fn new(pack: Bytes, framing: Framing) -> Option<Frames> {
        let payload_max = framing.payload_max()?;
        let last = match pack.len() % payload_max {
            0 => payload_max,
            rest => rest,
        };
        let header = |len| frame_header(Band::Data, len);
        Some(Frames { pack, payload_max, full: header(payload_max), last: header(last), position: 0 })
    }

    /// The first packets of what was not begun to be sent; leaves the others.
    fn split_piece(&mut self) -> Frames {
        let bytes = self.pack.len().min(PIECE_FRAMES * self.payload_max);
        let pack = self.pack.split_to(bytes);
        let last = if self.pack.is_empty() { self.last } else { self.full };
        Frames { pack, payload_max: self.payload_max, full: self.full, last, position: 0 }
    }

    fn len(&self) -> usize {
        self.pack.len() + self.pack.len().div_ceil(self.payload_max) * HEADER
    }

    /// What comes at `position` without a gap; empty at the end.
    fn slice_at(&self, position: usize) -> &[u8] {
        let (frame, within) =
            (position / (HEADER + self.payload_max), position % (HEADER + self.payload_max));
        let start = frame * self.payload_max;
        if start >= self.pack.len() {
            return &[];
        }
        let end = self.pack.len().min(start + self.payload_max);
        if within < HEADER {
            let header = if end == self.pack.len() { &self.last } else { &self.full };
            &header[within..]
        } else {
            &self.pack[start + within - HEADER..end]
        }
    }
}

impl Buf for Frames {
    fn remaining(&self) -> usize {
        self.len() - self.position
    }

    fn chunk(&self) -> &[u8] {
        self.slice_at(self.position)
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "cannot advance past the end");
        self.position += count;
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut position = self.position;
        let mut filled = 0;
        for slice in slices {
            let next = self.slice_at(position);
            if next.is_empty() {
                break;
            }
            *slice = IoSlice::new(next);
            position += next.len();
            filled += 1;
        }
        filled
    }
}

impl Chunk {
    fn split_piece(&mut self) -> Chunk {
        match self {
            Chunk::Bytes(bytes) => Chunk::Bytes(bytes.split_to(bytes.len().min(PIECE))),
            Chunk::Frames(frames) => Chunk::Frames(frames.split_piece()),
            Chunk::StandIn(len) => Chunk::StandIn(std::mem::take(len)),
        }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match self {
            Chunk::Bytes(bytes) => bytes.remaining(),
            Chunk::Frames(frames) => frames.remaining(),
            Chunk::StandIn(len) => usize::try_from(*len).unwrap_or(usize::MAX),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Chunk::Bytes(bytes) => bytes.chunk(),
            Chunk::Frames(frames) => frames.chunk(),
            Chunk::StandIn(len) => Files::stand_in(*len),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Chunk::Bytes(bytes) => bytes.advance(count),
            Chunk::Frames(frames) => frames.advance(count),
            Chunk::StandIn(len) => *len -= count as u64,
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match self {
            Chunk::Bytes(bytes) => bytes.chunks_vectored(slices),
            Chunk::Frames(frames) => frames.chunks_vectored(slices),
            Chunk::StandIn(len) => match slices.first_mut() {
                Some(slice) if *len > 0 => {
                    *slice = IoSlice::new(Files::stand_in(*len));
                    1
                }
                _ => 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use git_protocol::sideband::Sideband;
    use http_body_util::BodyExt;

    use super::*;

    /// What the framing of `git-protocol` makes of it, without the final flush packet.
    fn expected(pack: &[u8], framing: Framing) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sideband = Sideband::new(&mut out, framing);
        sideband.write_all(pack).unwrap();
        sideband.finish().unwrap();
        out.truncate(out.len() - 4);
        out
    }

    #[test]
    fn frames_equal_those_of_the_side_band_writer() {
        for framing in [Framing::Small, Framing::Large] {
            let max = framing.payload_max().unwrap();
            for len in [0, 1, max - 1, max, max + 1, 2 * max, 3 * max + 7] {
                let pack: Vec<u8> = (0..len).map(|at| at as u8).collect();
                let expected = expected(&pack, framing);
                let frames = || Frames::new(Bytes::from(pack.clone()), framing).unwrap();
                assert_eq!(frames().remaining(), expected.len());

                let mut whole = frames();
                assert_eq!(whole.copy_to_bytes(whole.remaining()), expected);

                // In steps that never meet a boundary, as a socket takes them, gathering a few slices each time.
                let mut stepped = frames();
                let mut out = Vec::new();
                while stepped.has_remaining() {
                    let mut slices = [IoSlice::new(&[]); 3];
                    let filled = stepped.chunks_vectored(&mut slices);
                    let gathered: Vec<u8> =
                        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                    let taken = gathered.len().min(4099);
                    out.extend_from_slice(&gathered[..taken]);
                    stepped.advance(taken);
                }
                assert_eq!(out, expected, "{framing:?} {len}");
            }
        }
        assert!(Frames::new(Bytes::from_static(b"x"), Framing::Raw).is_none());
    }

    #[tokio::test]
    async fn pieces_join_to_the_whole() {
        for len in [1, 65515 * 32, 65515 * 32 + 1, 65515 * 70 + 5] {
            let pack: Vec<u8> = (0..len).map(|at| (at / 3) as u8).collect();
            let frames = Frames::new(Bytes::from(pack.clone()), Framing::Large).unwrap();
            let mut body =
                Body::chunks(vec![Chunk::Frames(frames), Chunk::Bytes(Bytes::from_static(b"0000"))]);
            let mut out = Vec::new();
            while let Some(frame) = body.frame().await {
                let mut chunk = frame.unwrap().into_data().unwrap();
                assert!(chunk.remaining() <= PIECE_FRAMES * 65520);
                out.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
            }
            assert!(out == [expected(&pack, Framing::Large), b"0000".to_vec()].concat(), "{len}");
            assert!(http_body::Body::is_end_stream(&body));
        }
    }

    #[test]
    fn lengths_are_known_beforehand() {
        let frames = Frames::new(Bytes::from(vec![0; 100_000]), Framing::Large).unwrap();
        let body = Body::chunks(vec![
            Chunk::Bytes(Bytes::from_static(b"000dpackfile\n")),
            Chunk::Frames(frames),
            Chunk::Bytes(Bytes::from_static(b"0000")),
        ]);
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(13 + 100_000 + 10 + 4));
        assert!(http_body::Body::is_end_stream(&Body::empty()));
    }
}
