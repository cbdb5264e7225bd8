//! The 32 bytes that name a chunk, a xorb or a file.

use std::fmt;
use std::str::FromStr;

use database::XetHash;

/// The key of chunks' hashes.
const CHUNK_KEY: [u8; 32] = [
    102, 151, 245, 119, 91, 149, 80, 222, 49, 53, 203, 172, 165, 151, 24, 28, 157, 228, 33, 16, 155, 235, 43,
    88, 180, 208, 176, 75, 147, 173, 242, 41,
];

/// The key of the hashes by which a client proves to know a range of chunks.
const RANGE_KEY: [u8; 32] = [
    127, 24, 87, 214, 206, 86, 237, 102, 18, 127, 249, 19, 231, 165, 195, 243, 164, 205, 38, 213, 181, 219,
    73, 230, 65, 36, 152, 127, 40, 251, 148, 195,
];

/// One of this many chunks is looked for by all clients.
const DEDUP_MODULUS: u64 = 1024;

/// Of a chunk, a xorb or a file, as it stands in binary formats.
///
/// Text has it as four little-endian numbers of 64 bits in 16 hexadecimal digits each, so each group of eight bytes is
/// turned round.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Hash([u8; 32]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 lower-case hexadecimal digits")]
pub struct InvalidHash;

impl Hash {
    /// Of the empty file.
    pub const ZERO: Hash = Hash([0; 32]);
    pub const TEXT_LEN: usize = 64;

    pub const fn from_bytes(bytes: [u8; 32]) -> Hash {
        Hash(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As shards hold a SHA-256: its plain hexadecimal digits are the text of this hash.
    pub fn from_sha256(sha256: [u8; 32]) -> Hash {
        Hash(turned(sha256))
    }

    /// The plain digest of a SHA-256 that stood in a shard.
    pub fn to_sha256(self) -> [u8; 32] {
        turned(self.0)
    }

    /// Whether clients ask for this chunk wherever in a file they find it. They ask for the first of a file as well.
    pub fn is_dedup_key(&self) -> bool {
        self.tail().is_multiple_of(DEDUP_MODULUS)
    }

    /// By which chunks are looked for.
    pub(crate) fn dedup_key(&self) -> [u8; 16] {
        *self.0.first_chunk().expect("because a hash is longer")
    }

    /// By which trees and samples are cut.
    pub(crate) fn tail(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    pub(crate) fn write_text(&self, text: &mut [u8; Hash::TEXT_LEN]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(turned(self.0)) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
    }
}

impl From<XetHash> for Hash {
    fn from(hash: XetHash) -> Hash {
        Hash(hash.0)
    }
}

impl From<Hash> for XetHash {
    fn from(hash: Hash) -> XetHash {
        XetHash(hash.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Hash::TEXT_LEN];
        self.write_text(&mut text);
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Hash, InvalidHash> {
        let digits: &[u8; Hash::TEXT_LEN] = text.as_bytes().try_into().map_err(|_| InvalidHash)?;
        let mut bytes = [0; 32];
        for (byte, &[high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Ok(Hash(turned(bytes)))
    }
}

/// Of the content of a chunk.
pub fn chunk_hash(content: &[u8]) -> Hash {
    Hash(*blake3::keyed_hash(&CHUNK_KEY, content).as_bytes())
}

/// Of a run of chunks, by their own hashes one after another. Who names it has had the chunks.
pub fn range_hash(hashes: &[[u8; 32]]) -> Hash {
    Hash(*blake3::keyed_hash(&RANGE_KEY, hashes.as_flattened()).as_bytes())
}

/// A hash as it is given out under a key: who has the chunk recognises it, who has not learns nothing.
pub fn keyed(hash: &Hash, key: &[u8; 32]) -> Hash {
    Hash(*blake3::keyed_hash(key, &hash.0).as_bytes())
}

/// Each group of eight bytes backwards.
fn turned(mut bytes: [u8; 32]) -> [u8; 32] {
    bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|group| group.reverse());
    bytes
}

fn digit(text: u8) -> Result<u8, InvalidHash> {
    match text {
        b'0'..=b'9' => Ok(text - b'0'),
        b'a'..=b'f' => Ok(text - b'a' + 10),
        _ => Err(InvalidHash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "d8d408e608fb9ca213b9909a65d86d725f2de4d8d540324be8a363e7a6e228cb";

    #[test]
    fn text_is_four_little_endian_numbers() {
        let bytes: [u8; 32] = std::array::from_fn(|at| at as u8);
        let hash = Hash::from_bytes(bytes);
        let text = "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918";
        assert_eq!(hash.to_string(), text);
        assert_eq!(format!("{hash:?}"), text);
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(hash.tail(), 0x1f1e_1d1c_1b1a_1918);
        assert_eq!(Hash::ZERO.to_string(), "0".repeat(64));
    }

    #[test]
    fn other_texts_are_no_hashes() {
        assert!(TEXT.parse::<Hash>().is_ok());
        for text in [
            "",
            &TEXT[1..],
            &format!("{TEXT}0"),
            &TEXT.to_uppercase(),
            &TEXT.replace('d', "g"),
            &TEXT.replace("d8", " 8"),
            &TEXT.replace("d8", "+8"),
            &TEXT.replacen("d8", "ä", 1),
        ] {
            assert_eq!(text.parse::<Hash>(), Err(InvalidHash), "{text}");
        }
    }

    #[test]
    fn a_sha256_reads_as_its_plain_digits() {
        let digest: [u8; 32] = std::array::from_fn(|at| at as u8 + 1);
        let hash = Hash::from_sha256(digest);
        assert!(hash.to_string().starts_with("0102030405060708090a"));
        assert_eq!(hash.to_sha256(), digest);
    }

    #[test]
    fn one_of_1024_is_a_key_of_dedup() {
        let ending = |tail: u64| {
            let mut bytes = [0xff; 32];
            bytes[24..].copy_from_slice(&tail.to_le_bytes());
            Hash::from_bytes(bytes).is_dedup_key()
        };
        assert!(ending(0) && ending(1024) && ending(u64::MAX - 1023));
        assert!(!ending(1) && !ending(1023) && !ending(512) && !ending(u64::MAX));
    }
}
