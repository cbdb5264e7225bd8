//! From the text of a file to its bytes, when nobody has told the encoding yet.

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;

use super::operation::Encoding;
use super::{Base64Decoder, NotBase64};

/// Decodes a content of which the encoding may come later. It is base64 whenever a known client sends it, so it is decoded
/// as that while this works: what comes out can be hashed and spooled at once. If it was not base64, the text can still
/// be had from what was spooled, for whole groups of base64 are the same again when encoded: see [`Restore`].
#[derive(Debug, Default)]
pub struct ContentDecoder {
    declared: Option<Encoding>,
    base64: Base64Decoder,
    failed: Option<NotBase64>,
}

impl ContentDecoder {
    /// `declared` as [`Sink::content_start`](super::Sink::content_start) tells it.
    pub fn new(declared: Option<Encoding>) -> ContentDecoder {
        ContentDecoder { declared, ..ContentDecoder::default() }
    }

    /// Appends to `out` what is to be spooled for the next piece of text: at most 4 bytes more than it has. Fails only if
    /// base64 was declared.
    pub fn push(&mut self, text: &str, out: &mut Vec<u8>) -> Result<(), NotBase64> {
        let text = text.as_bytes();
        match self.declared {
            Some(Encoding::Base64) => self.base64.push(text, out)?,
            None if self.failed.is_none() => self.presume_base64(text, out),
            Some(Encoding::Utf8) | None => out.extend_from_slice(text),
        }
        Ok(())
    }

    /// Appends the rest; `encoding` as the operation tells it. The spool then holds the bytes of the file (`None`), or is
    /// to be read through a [`Restore`], in which case hashes over it are void.
    pub fn finish(self, encoding: Encoding, out: &mut Vec<u8>) -> Result<Option<Restore>, NotBase64> {
        match (encoding, self.declared, self.failed) {
            (Encoding::Base64, _, Some(error)) => Err(error),
            (Encoding::Base64, ..) => self.base64.finish(out).map(|()| None),
            (Encoding::Utf8, None, failed) => {
                if failed.is_none() {
                    out.extend_from_slice(self.base64.held());
                }
                let decoded = self.base64.decoded_chars() / 4 * 3;
                Ok((decoded > 0).then_some(Restore { decoded, left: decoded, carry: Vec::new() }))
            }
            (Encoding::Utf8, Some(_), _) => Ok(None),
        }
    }

    fn presume_base64(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let held = self.base64.held().to_vec();
        let before = self.base64.decoded_chars();
        if let Err(error) = self.base64.push(text, out) {
            let decoded = (self.base64.decoded_chars() - before) as usize;
            match decoded.checked_sub(held.len()) {
                Some(of_text) => out.extend_from_slice(&text[of_text..]),
                // A group is decoded with all that was held, so that nothing was.
                None => out.extend(held.iter().chain(text)),
            }
            self.failed = Some(error);
        }
    }
}

/// Makes the text of an utf-8 content again from a spool whose beginning was decoded as base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// Bytes at the beginning of the spool that were decoded: a multiple of 3. The rest is text.
    decoded: u64,
    left: u64,
    carry: Vec<u8>,
}

impl Restore {
    /// Bytes of the content, of which the spool has `spooled`. The header of a git blob wants them first.
    pub fn content_bytes(&self, spooled: u64) -> u64 {
        spooled + self.decoded / 3
    }

    /// Appends to `out` the content for the next bytes of the spool, which are to be pushed from its beginning.
    pub fn push(&mut self, spooled: &[u8], out: &mut Vec<u8>) {
        let (decoded, text) = spooled.split_at(spooled.len().min(self.left.try_into().unwrap_or(usize::MAX)));
        self.left -= decoded.len() as u64;
        self.carry.extend_from_slice(decoded);
        let whole = self.carry.len() / 3 * 3;
        let start = out.len();
        out.resize(start + whole / 3 * 4, 0);
        STANDARD
            .encode_slice(&self.carry[..whole], &mut out[start..])
            .expect("because three bytes are encoded as four");
        self.carry.drain(..whole);
        out.extend_from_slice(text);
    }
}
