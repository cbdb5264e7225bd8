//! Bytes made of a seed, as the expected values were.

use std::path::{Path, PathBuf};

use xet::xorb::{Compression, Decoder, Limits, Reader, Writer, XorbError};
use xet::{Hash, Index};

pub fn data(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// Lines of `key: values`, without comments.
pub fn table(name: &str) -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(path(name)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (key, values) = line.split_once(": ").unwrap();
        (key.to_owned(), values.split(' ').map(str::to_owned).collect())
    });
    lines.collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const WORDS: &str = "the xorb holds chunks that a shard names by hash and range of term";

pub fn make(kind: &str, seed: u64, len: usize) -> Vec<u8> {
    let words: Vec<&str> = WORDS.split(' ').collect();
    let (mut random, mut made) = (Random(seed), Vec::new());
    while made.len() < len {
        match kind {
            "zeros" => made.resize(len, 0),
            "ramp" => {
                let number = 0x3f80_0000 + (made.len() / 4) as u32 * seed as u32;
                made.extend_from_slice(&number.to_le_bytes());
            }
            "random" => made.extend_from_slice(&random.next().to_le_bytes()),
            "text" => {
                let choice = random.next();
                for shift in 0..8 {
                    let word = (choice >> (8 * shift)) % words.len() as u64;
                    made.extend_from_slice(words[word as usize].as_bytes());
                    made.push(b' ');
                }
            }
            "floats" => {
                let both = random.next();
                for half in [both as u32, (both >> 32) as u32] {
                    let number = (half & 0x807f_ffff) | (0x78 + (half >> 23 & 7)) << 23;
                    made.extend_from_slice(&number.to_le_bytes());
                }
            }
            "repeats" => {
                let choice = random.next();
                let count = 1 + (choice >> 8) % 1000;
                made.resize(made.len() + count as usize, choice as u8);
            }
            other => panic!("{other} is no kind of data"),
        }
    }
    made.truncate(len);
    made
}

/// A xorb of these chunks.
pub fn xorb<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, compression: Compression) -> (Vec<u8>, Index) {
    let mut writer = Writer::new(Limits::default());
    chunks.into_iter().for_each(|chunk| writer.push(chunk, compression).unwrap());
    writer.finish().unwrap()
}

/// What the reader says of a body that comes in pieces of this size.
pub fn read(body: &[u8], piece: usize, limits: Limits, expected: &Hash) -> Result<Index, XorbError> {
    let mut reader = Reader::new(limits);
    for piece in body.chunks(piece) {
        reader.push(piece)?;
    }
    reader.finish(expected)
}

/// The content of chunks that come in pieces of this size.
pub fn decode(serialized: &[u8], piece: usize) -> Vec<u8> {
    let (mut decoder, mut raw) = (Decoder::default(), Vec::new());
    for mut piece in serialized.chunks(piece) {
        while decoder.next_chunk(&mut piece, &mut raw).unwrap().is_some() {}
        assert!(piece.is_empty());
    }
    decoder.finish().unwrap();
    raw
}
