//! Git object ids as plain data, so that rows need no git library.

use std::{fmt, str::FromStr};

/// A SHA-1 git object id: 20 bytes, 40 lower-case hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Oid(pub [u8; 20]);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a 40-digit hexadecimal object id")]
pub struct InvalidOid;

impl Oid {
    /// "No object" in git's ref update commands.
    pub const NULL: Oid = Oid([0; 20]);

    pub fn is_null(&self) -> bool {
        *self == Oid::NULL
    }

    pub fn from_slice(bytes: &[u8]) -> Result<Oid, InvalidOid> {
        Ok(Oid(bytes.try_into().map_err(|_| InvalidOid)?))
    }

    /// Parses exactly 40 hexadecimal digits; upper case is accepted, as git does.
    pub fn from_hex(hex: &[u8]) -> Result<Oid, InvalidOid> {
        if hex.len() != 40 {
            return Err(InvalidOid);
        }
        let mut out = [0; 20];
        for (byte, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0]).ok_or(InvalidOid)? << 4 | digit(pair[1]).ok_or(InvalidOid)?;
        }
        Ok(Oid(out))
    }

    /// The 40 hexadecimal digits as ASCII.
    pub fn to_hex(&self) -> [u8; 40] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = [0; 40];
        for (pair, byte) in out.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        out
    }
}

fn digit(c: u8) -> Option<u8> {
    char::from(c).to_digit(16).map(|d| d as u8)
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_hex()).expect("because hex digits are ASCII"))
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Oid {
    type Err = InvalidOid;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Oid::from_hex(s.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_rejects_the_rest() {
        let hex = "0123456789abcdef0123456789abcdef01234567";
        let oid: Oid = hex.parse().unwrap();
        assert_eq!(oid.to_string(), hex);
        assert_eq!(hex.to_uppercase().parse::<Oid>(), Ok(oid));
        assert_eq!("0123".parse::<Oid>(), Err(InvalidOid));
        assert_eq!("g123456789abcdef0123456789abcdef01234567".parse::<Oid>(), Err(InvalidOid));
        assert!(Oid::NULL.is_null());
    }
}
