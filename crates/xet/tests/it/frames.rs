//! Xorbs that others made.

use xet::Hash;
use xet::hash::chunk_hash;
use xet::xorb::{Limits, XorbError};

use crate::support::{data, decode, make, read};

const FRAMES: &str = "99b9a89ff5e38c5cb9f1fb30a0625258c02c1181f7f056909bfdae3818a8531e";
const CLIENT: &str = "9a81a1fc441d9f82fd50146f03aa2024e8fe87233a4a18fe9215975e0d5b8b22";

fn check(body: &[u8], name: &str) -> Vec<u8> {
    let expected: Hash = name.parse().unwrap();
    let index = read(body, usize::MAX, Limits::default(), &expected).unwrap();
    for piece in [1, 7, 8, 9, 1000, 4096, body.len() - 1] {
        assert_eq!(read(body, piece, Limits::default(), &expected), Ok(index.clone()), "{piece}");
    }
    let serialized = &body[..index.serialized_len() as usize];
    let raw = decode(serialized, usize::MAX);
    for piece in [1, 7, 1000, 65_536] {
        assert!(decode(serialized, piece) == raw, "{piece}");
    }
    assert_eq!(index.raw_len() as usize, raw.len());
    for (number, chunk) in index.iter(0..index.chunks()).unwrap().enumerate() {
        let number = number as u32;
        let range = index.raw_range(number..number + 1).unwrap();
        let content = &raw[range.start as usize..range.end as usize];
        assert_eq!((chunk.raw_start, chunk.raw_len as usize), (range.start, content.len()));
        assert_eq!(chunk.hash, chunk_hash(content));
        let packed = index.serialized_range(number..number + 1).unwrap();
        assert!(decode(&serialized[packed.start as usize..packed.end as usize], 4096) == content);
    }
    raw
}

/// Linked and independent blocks of all sizes, with every checksum there is and without.
#[test]
fn frames_of_the_reference_implementation() {
    let raw = check(&data("frames.xorb"), FRAMES);
    let repeats = make("repeats", 300, 131_072);
    let (compressed, rest) = raw.split_at(7 * repeats.len());
    assert!(compressed.chunks(repeats.len()).all(|content| content == repeats));
    let floats = make("floats", 301, 2003);
    let planes = [2003, 2002, 2001, 2000, 4].map(|len| &floats[..len]).concat();
    assert!(rest.starts_with(&planes));
}

/// As hf_xet 1.8.0 sent it for four files.
#[test]
fn a_xorb_of_the_client() {
    let raw = check(&data("client.xorb"), CLIENT);
    let files =
        [("text", 200, 12_000), ("repeats", 203, 140_000), ("random", 202, 5000), ("ramp", 201, 30_001)];
    let expected: Vec<u8> = files.into_iter().flat_map(|(kind, seed, len)| make(kind, seed, len)).collect();
    assert!(raw == expected);
}

/// The oldest clients send one.
#[test]
fn a_footer_is_left_off() {
    let xorb = data("frames.xorb");
    let body = [xorb.clone(), data("footer")].concat();
    let expected = FRAMES.parse().unwrap();
    for piece in [1, 5, 1000, xorb.len(), xorb.len() + 3, usize::MAX] {
        let index = read(&body, piece, Limits::default(), &expected).unwrap();
        assert_eq!(index.serialized_len() as usize, xorb.len());
        // Of one that is cut off, too: nobody reads it.
        assert!(read(&body[..xorb.len() + 8], piece, Limits::default(), &expected).is_ok());
        let cut = read(&body[..xorb.len() + 7], piece, Limits::default(), &expected);
        assert_eq!(cut, Err(XorbError::Truncated { bytes: 7 }));
        let footer_bytes = (body.len() - xorb.len()) as u32;
        let limits = |footer_bytes| Limits { footer_bytes, ..Limits::default() };
        assert!(read(&body, piece, limits(footer_bytes), &expected).is_ok());
        let refused = Err(XorbError::FooterTooLarge { max: footer_bytes - 1 });
        assert_eq!(read(&body, piece, limits(footer_bytes - 1), &expected), refused);
    }
    assert_eq!(read(&data("footer"), 100, Limits::default(), &expected), Err(XorbError::Empty));
}
