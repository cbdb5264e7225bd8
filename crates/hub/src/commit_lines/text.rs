//! The inside of a JSON string, unescaped as it arrives.

use super::Problem;

/// Where in a string we are.
#[derive(Debug, Default)]
pub(super) struct Unescape {
    escape: Escape,
    /// The first half of a surrogate pair; the second must follow.
    high: Option<u16>,
    /// The beginning of a character of which the rest was not pushed yet.
    partial: [u8; 4],
    partial_len: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum Escape {
    #[default]
    No,
    Backslash,
    Hex {
        digits: u8,
        value: u16,
    },
}

#[derive(Debug)]
pub(super) enum Piece<'a> {
    Run(&'a str),
    Char(char),
    /// Nothing yet.
    More,
    /// The closing quote.
    End,
}

impl Unescape {
    /// The next piece of what follows the opening quote. Takes at least one byte off `input`, which is not empty, and all
    /// of it if there is [`Piece::More`] to come.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, Problem> {
        loop {
            match self.advance(input)? {
                Piece::More if !input.is_empty() => {}
                piece => return Ok(piece),
            }
        }
    }

    fn advance<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, Problem> {
        if matches!(self.escape, Escape::No) && self.high.is_none() && self.partial_len == 0 {
            let len = plain_len(input);
            if len > 0 {
                return self.run(input, len);
            }
        }
        let Some((&byte, rest)) = input.split_first() else { return Ok(Piece::More) };
        *input = rest;
        match self.escape {
            Escape::Backslash => self.escaped(byte),
            Escape::Hex { digits, value } => self.hex(byte, digits, value),
            Escape::No if self.partial_len > 0 => self.complete(byte),
            Escape::No if byte == b'\\' => {
                self.escape = Escape::Backslash;
                Ok(Piece::More)
            }
            Escape::No if self.high.is_some() => Err(Problem::Surrogate),
            Escape::No if byte == b'"' => Ok(Piece::End),
            Escape::No => Err(Problem::ControlCharacter(byte)),
        }
    }

    /// Takes what is UTF-8 of the next `len` bytes, which have no meaning to JSON.
    fn run<'a>(&mut self, input: &mut &'a [u8], len: usize) -> Result<Piece<'a>, Problem> {
        let (bytes, rest) = input.split_at(len);
        let valid = match std::str::from_utf8(bytes) {
            Ok(run) => {
                *input = rest;
                return Ok(Piece::Run(run));
            }
            Err(error) if error.valid_up_to() > 0 => error.valid_up_to(),
            Err(error) if error.error_len().is_none() && rest.is_empty() => {
                self.partial[..len].copy_from_slice(bytes);
                self.partial_len = len;
                *input = rest;
                return Ok(Piece::More);
            }
            Err(_) => return Err(Problem::Utf8),
        };
        *input = &input[valid..];
        std::str::from_utf8(&bytes[..valid]).map(Piece::Run).map_err(|_| Problem::Utf8)
    }

    fn complete(&mut self, byte: u8) -> Result<Piece<'static>, Problem> {
        self.partial[self.partial_len] = byte;
        self.partial_len += 1;
        match std::str::from_utf8(&self.partial[..self.partial_len]) {
            Ok(character) => {
                self.partial_len = 0;
                Ok(character.chars().next().map_or(Piece::More, Piece::Char))
            }
            Err(error) if error.error_len().is_none() => Ok(Piece::More),
            Err(_) => Err(Problem::Utf8),
        }
    }

    fn escaped(&mut self, byte: u8) -> Result<Piece<'static>, Problem> {
        self.escape = Escape::No;
        if self.high.is_some() && byte != b'u' {
            return Err(Problem::Surrogate);
        }
        Ok(Piece::Char(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.escape = Escape::Hex { digits: 0, value: 0 };
                return Ok(Piece::More);
            }
            _ => return Err(Problem::Escape),
        }))
    }

    fn hex(&mut self, byte: u8, digits: u8, value: u16) -> Result<Piece<'static>, Problem> {
        let digit = char::from(byte).to_digit(16).ok_or(Problem::Escape)?;
        let value = value << 4 | digit as u16;
        if digits < 3 {
            self.escape = Escape::Hex { digits: digits + 1, value };
            return Ok(Piece::More);
        }
        self.escape = Escape::No;
        if self.high.is_none() && (0xd800..0xdc00).contains(&value) {
            self.high = Some(value);
            return Ok(Piece::More);
        }
        let mut decoded = char::decode_utf16(self.high.take().into_iter().chain([value]));
        decoded.next().and_then(Result::ok).map(Piece::Char).ok_or(Problem::Surrogate)
    }
}

/// How many bytes come before the first that JSON gives a meaning, or forbids. By blocks, which the compiler turns into
/// vector instructions: a line of base64 is spent here. By short ones first, for text with many escapes.
fn plain_len(bytes: &[u8]) -> usize {
    if bytes.first().is_some_and(|&byte| special(byte)) {
        return 0;
    }
    let near = plain_blocks(16, &bytes[..bytes.len().min(128)]);
    let far = if near == 128 { plain_blocks(128, &bytes[near..]) } else { 0 };
    let rest = &bytes[near + far..];
    near + far + rest.iter().position(|&byte| special(byte)).unwrap_or(rest.len())
}

fn special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

#[inline(always)]
fn plain_blocks(block_bytes: usize, bytes: &[u8]) -> usize {
    let plain = |block: &&[u8]| !block.iter().fold(false, |any, &byte| any | special(byte));
    block_bytes * bytes.chunks_exact(block_bytes).take_while(plain).count()
}
