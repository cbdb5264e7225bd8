//! Git object ids as plain data, so that rows need no git library.

use std::{fmt, str::FromStr};

/// A SHA-1 git object id: 20 bytes, 40 lower-case hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
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

/// Bytewise, as machine words: sorting and searching ids is most of what indexing a pack does besides inflating.
impl Ord for Oid {
    fn cmp(&self, other: &Oid) -> std::cmp::Ordering {
        self.words().cmp(&other.words())
    }
}

impl PartialOrd for Oid {
    fn partial_cmp(&self, other: &Oid) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Oid {
    fn words(&self) -> (u64, u64, u32) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = self.0;
        let first = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let second = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
        (first, second, u32::from_be_bytes([q, r, s, t]))
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

    #[test]
    fn order_is_that_of_the_bytes() {
        let mut bytes = [[0u8; 20]; 41];
        for (n, one) in bytes.iter_mut().enumerate().skip(1) {
            one[(n - 1) / 2] = if n % 2 == 0 { 0xff } else { 1 };
        }
        for a in bytes {
            for b in bytes {
                assert_eq!(Oid(a).cmp(&Oid(b)), a.cmp(&b));
            }
        }
    }
}
