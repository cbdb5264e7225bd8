//! Serialized chunks, found in bytes that come in pieces of any size.

use super::{ChunkError, HEADER_LEN, Header, Limits};

/// Of the footer that some clients send after the chunks.
const FOOTER_IDENT: &[u8; 7] = b"XETBLOB";

#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// The beginning of a chunk that did not lie whole in one piece.
    open: Vec<u8>,
    /// `open` was handed out.
    is_done: bool,
}

pub(super) enum Next<'a> {
    Chunk(Header, &'a [u8]),
    /// A footer begins here; it is not taken.
    Footer,
    /// All is taken, and no chunk is whole.
    More,
}

impl Splitter {
    /// Takes the next chunk from the beginning of `input`, which goes on where it ended last time.
    pub(super) fn next<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b [u8],
        limits: &Limits,
    ) -> Result<Next<'a>, ChunkError> {
        if self.is_done {
            self.open.clear();
            self.is_done = false;
        }
        if self.open.is_empty()
            && let Some(header) = input.first_chunk()
        {
            if header.starts_with(FOOTER_IDENT) {
                return Ok(Next::Footer);
            }
            let header = Header::parse(header, limits)?;
            let len = HEADER_LEN + header.packed_len as usize;
            if let Some((chunk, rest)) = input.split_at_checked(len) {
                *input = rest;
                return Ok(Next::Chunk(header, &chunk[HEADER_LEN..]));
            }
        }
        self.gather(HEADER_LEN, input);
        let Some(header) = self.open.first_chunk() else { return Ok(Next::More) };
        if header.starts_with(FOOTER_IDENT) {
            return Ok(Next::Footer);
        }
        let header = Header::parse(header, limits)?;
        let len = HEADER_LEN + header.packed_len as usize;
        self.gather(len, input);
        if self.open.len() < len {
            return Ok(Next::More);
        }
        self.is_done = true;
        Ok(Next::Chunk(header, &self.open[HEADER_LEN..]))
    }

    /// Bytes of a chunk that is not whole.
    pub(super) fn open_len(&self) -> usize {
        if self.is_done { 0 } else { self.open.len() }
    }

    fn gather(&mut self, len: usize, input: &mut &[u8]) {
        let missing = len.saturating_sub(self.open.len());
        self.open.reserve(missing);
        let (taken, rest) = input.split_at(missing.min(input.len()));
        self.open.extend_from_slice(taken);
        *input = rest;
    }
}
