//! Base64 that arrives in pieces.

use ::base64::Engine;
use ::base64::alphabet::STANDARD;
use ::base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const GROUPS: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireNone),
);
/// Padding may be left out, as some encoders do; bits that no byte uses must be zero.
const LAST_GROUP: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text is not base64. Offsets are into the unescaped text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBase64 {
    #[error(
        "the content is not base64: byte 0x{byte:02x} at offset {offset}; send it without line breaks (base64 -w0)"
    )]
    Character { offset: u64, byte: u8 },
    #[error(
        "the content is not base64: its last characters, from offset {offset} on, are no whole byte; is it cut short?"
    )]
    LastGroup { offset: u64 },
}

/// Decodes base64 of the standard alphabet (RFC 4648 §4), padded or not, of any length.
#[derive(Debug, Default)]
pub struct Base64Decoder {
    /// Characters that were decoded: a multiple of 4.
    decoded_chars: u64,
    /// Up to 4 characters after them that may be the last group.
    held: Vec<u8>,
}

impl Base64Decoder {
    /// Appends to `out` the bytes of all groups of four characters that are complete.
    pub fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
        let mut text = text;
        if !self.held.is_empty() {
            let (head, rest) = text.split_at(text.len().min(4 - self.held.len()));
            self.held.extend_from_slice(head);
            text = rest;
            if self.held.len() == 4 && !text.is_empty() || self.held.len() == 4 && self.held[3] != b'=' {
                let group = std::mem::take(&mut self.held);
                self.groups(&group, out)?;
            }
        }
        let whole = text.len() & !3;
        // The very last group may be padded, so it waits if it is.
        let whole = if whole > 0 && text[whole - 1] == b'=' { whole - 4 } else { whole };
        if text.len() - whole > 4 {
            self.groups(&text[..whole + 4], out)?;
        } else {
            self.groups(&text[..whole], out)?;
            self.held.extend_from_slice(&text[whole..]);
        }
        Ok(())
    }

    /// Appends the bytes of the last group.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), NotBase64> {
        let of_alphabet = |byte: u8| STANDARD.as_str().as_bytes().contains(&byte) || byte == b'=';
        if let Some(at) = self.held.iter().position(|&byte| !of_alphabet(byte)) {
            return Err(NotBase64::Character { offset: self.decoded_chars + at as u64, byte: self.held[at] });
        }
        LAST_GROUP
            .decode_vec(&self.held, out)
            .map_err(|_| NotBase64::LastGroup { offset: self.decoded_chars })
    }

    /// Decodes whole groups without padding, up to the one that is none.
    fn groups(&mut self, groups: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
        let start = out.len();
        out.resize(start + groups.len() / 4 * 3, 0);
        if GROUPS.decode_slice_unchecked(groups, &mut out[start..]).is_ok() {
            self.decoded_chars += groups.len() as u64;
            return Ok(());
        }
        out.truncate(start);
        let of_alphabet = |byte: &u8| STANDARD.as_str().as_bytes().contains(byte);
        let good = groups.iter().position(|byte| !of_alphabet(byte)).unwrap_or(0);
        let error = NotBase64::Character { offset: self.decoded_chars + good as u64, byte: groups[good] };
        self.groups(&groups[..good & !3], out).and(Err(error))
    }

    pub(super) fn decoded_chars(&self) -> u64 {
        self.decoded_chars
    }

    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }
}
