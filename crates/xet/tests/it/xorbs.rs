//! Xorbs of our own making, and every limit.

use xet::xorb::{Compression, FullError, Limits, Writer, XorbError};
use xet::{Hash, merkle};

use crate::support::{decode, make, read, xorb};

const ALL: [Compression; 4] =
    [Compression::None, Compression::Lz4, Compression::Bg4Lz4, Compression::Smallest];

#[test]
fn what_is_written_is_read() {
    for kind in ["zeros", "random", "text", "floats", "ramp", "repeats"] {
        let lens = [1, 2, 3, 4, 5, 12, 13, 14, 100, 8191, 8192, 65_535, 65_536, 65_537, 131_072];
        let chunks: Vec<_> = lens.iter().map(|&len| make(kind, 9, len)).collect();
        let raw = chunks.concat();
        for compression in ALL {
            let (bytes, index) = xorb(chunks.iter().map(Vec::as_slice), compression);
            let expected = index.xorb_hash();
            for piece in [17, 10_000, usize::MAX] {
                assert_eq!(read(&bytes, piece, Limits::default(), &expected), Ok(index.clone()), "{kind}");
                assert!(decode(&bytes, piece) == raw, "{kind} {compression:?}");
            }
            assert_eq!(bytes.len(), index.serialized_len() as usize);
            assert!(bytes.len() <= raw.len() + 8 * lens.len());
        }
    }
}

#[test]
fn what_does_not_shrink_is_left_as_it_is() {
    let scheme_and_len = |kind, compression| {
        let (bytes, _) = xorb([make(kind, 1, 50_000).as_slice()], compression);
        (bytes[4], bytes.len())
    };
    for compression in ALL {
        assert_eq!(scheme_and_len("random", compression), (0, 50_008));
    }
    assert_eq!(scheme_and_len("ramp", Compression::None).0, 0);
    assert_eq!(scheme_and_len("ramp", Compression::Bg4Lz4).0, 2);
    assert_eq!(scheme_and_len("ramp", Compression::Smallest).0, 2);
    assert_eq!(scheme_and_len("text", Compression::Lz4).0, 1);
    assert_eq!(scheme_and_len("text", Compression::Smallest).0, 1);
}

#[test]
fn the_name_is_checked() {
    let (bytes, index) = xorb([b"one".as_slice(), b"two"], Compression::None);
    let found = index.xorb_hash();
    let expected = Hash::from_bytes([7; 32]);
    let mismatch = XorbError::Mismatch { found, expected };
    assert_eq!(read(&bytes, 5, Limits::default(), &expected), Err(mismatch));
    assert_eq!(mismatch.to_string(), format!("the xorb is {found}, but was announced as {expected}"));
    // The name of the file of these chunks is another.
    let chunks = index.iter(0..2).unwrap().map(|chunk| (chunk.hash, u64::from(chunk.raw_len)));
    let expected = merkle::file_hash(chunks);
    assert_eq!(read(&bytes, 5, Limits::default(), &expected), Err(XorbError::Mismatch { found, expected }));
}

#[test]
fn a_xorb_has_so_many_chunks() {
    let limits = Limits::default();
    let mut writer = Writer::new(limits);
    for number in 0..8192u32 {
        writer.push(&number.to_le_bytes(), Compression::None).unwrap();
    }
    assert_eq!(writer.push(b"more", Compression::None), Err(FullError::Full));
    let (mut bytes, index) = writer.finish().unwrap();
    let expected = index.xorb_hash();
    assert_eq!(read(&bytes, 65_536, limits, &expected), Ok(index));
    bytes.extend_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0, b'x']);
    let refused = read(&bytes, 65_536, limits, &expected);
    assert_eq!(refused, Err(XorbError::TooManyChunks { max: 8192 }));
    assert!(refused.unwrap_err().is_too_large());
}

/// 64 MiB of content that does not shrink, in the least and in the most chunks there can be, are taken.
#[test]
fn a_xorb_has_so_many_bytes() {
    let limits = Limits::default();
    for len in [8192, 131_072] {
        let chunk = make("random", 1, len);
        let mut writer = Writer::new(limits);
        for _ in 0..64 * 1024 * 1024 / len {
            writer.push(&chunk, Compression::None).unwrap();
        }
        let full = writer.serialized_len();
        assert_eq!(full as usize, 64 * 1024 * 1024 / len * (len + 8));
        let (mut bytes, index) = writer.finish().unwrap();
        let expected = index.xorb_hash();
        assert_eq!(read(&bytes, 1 << 20, limits, &expected), Ok(index));
        let exactly = Limits { serialized_bytes: full, ..limits };
        assert!(read(&bytes, 1 << 20, exactly, &expected).is_ok());
        let less = Limits { serialized_bytes: full - 1, ..limits };
        assert_eq!(read(&bytes, 1 << 20, less, &expected), Err(XorbError::TooLarge { max: full - 1 }));
        if len == 131_072 {
            bytes.extend_from_within(..len + 8);
            let max = limits.serialized_bytes;
            assert_eq!(read(&bytes, 1 << 20, limits, &expected), Err(XorbError::TooLarge { max }));
        }
    }
}

#[test]
fn a_writer_is_full_before_it_is_too_large() {
    let limits = Limits { serialized_bytes: 1000, ..Limits::default() };
    let mut writer = Writer::new(limits);
    writer.push(&[1; 492], Compression::None).unwrap();
    assert_eq!(writer.push(&[2; 493], Compression::None), Err(FullError::Full));
    writer.push(&[3; 492], Compression::None).unwrap();
    assert_eq!((writer.chunks(), writer.serialized_len()), (2, 1000));
    assert_eq!(writer.push(&[4; 1], Compression::None), Err(FullError::Full));
    let (bytes, index) = writer.finish().unwrap();
    assert_eq!(decode(&bytes, 10), [[1; 492], [3; 492]].concat());
    assert_eq!(index.chunks(), 2);
}

#[test]
fn a_chunk_has_so_many_bytes() {
    let mut writer = Writer::new(Limits::default());
    for len in [0, 131_073, 300_000] {
        let refused = Err(FullError::Chunk { len });
        assert_eq!(writer.push(&vec![0; len], Compression::Lz4), refused);
    }
    assert!(writer.finish().is_none());
}
