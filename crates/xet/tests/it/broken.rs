//! What is not a xorb, and what is said of it.

use xet::Hash;
use xet::xorb::{BadFrame, ChunkError, Compression, DecodeError, Decoder, Limits, XorbError};

use crate::support::{Random, data, make, read, xorb};

fn serialized(scheme: u8, packed: &[u8], raw_len: u32) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&(packed.len() as u32).to_le_bytes()[..3]);
    bytes.push(scheme);
    bytes.extend_from_slice(&raw_len.to_le_bytes()[..3]);
    bytes.extend_from_slice(packed);
    bytes
}

/// The error of both readers, however the bytes come, after a chunk that is sound.
fn refusal(chunk: &[u8]) -> ChunkError {
    let body = [serialized(0, b"sound", 5), chunk.to_vec()].concat();
    let refused = read(&body, usize::MAX, Limits::default(), &Hash::ZERO);
    for piece in [1, 3, 8, 20] {
        assert_eq!(read(&body, piece, Limits::default(), &Hash::ZERO), refused);
    }
    let Err(XorbError::Chunk { number: 1, why }) = refused else { panic!("{refused:?}") };
    let (mut decoder, mut raw, mut input) = (Decoder::default(), Vec::new(), body.as_slice());
    assert_eq!(decoder.next_chunk(&mut input, &mut raw), Ok(Some(5)));
    let decoded = decoder.next_chunk(&mut input, &mut raw);
    assert_eq!(decoded, Err(DecodeError::Chunk { number: 1, why }));
    assert_eq!(raw, b"sound");
    why
}

#[test]
fn headers() {
    for (change, why) in [
        ((0, 1), ChunkError::Version(1)),
        ((0, b'X'), ChunkError::Version(b'X')),
        ((4, 3), ChunkError::Scheme(3)),
        ((4, 255), ChunkError::Scheme(255)),
        ((3, 5), ChunkError::PackedLen { len: 0x50003, max: 262_144 }),
        ((7, 3), ChunkError::RawLen { len: 0x30003, max: 131_072 }),
        ((5, 0), ChunkError::RawLen { len: 0, max: 131_072 }),
        ((5, 2), ChunkError::Lengths { packed: 3, raw: 2 }),
    ] {
        let mut chunk = serialized(0, b"abc", 3);
        chunk[change.0] = change.1;
        assert_eq!(refusal(&chunk), why);
    }
    let message = XorbError::Chunk { number: 7, why: ChunkError::Scheme(9) }.to_string();
    assert_eq!(message, "chunk 7 of the xorb: its compression scheme is 9, but only 0, 1 and 2 are known");
}

#[test]
fn xorbs_that_end_early() {
    let (bytes, index) = xorb([b"one".as_slice(), &[0; 3000]], Compression::Lz4);
    let first = 11;
    for end in 0..bytes.len() {
        for piece in [1, 10, usize::MAX] {
            let read = read(&bytes[..end], piece, Limits::default(), &index.xorb_hash());
            let expected = match end {
                0 => XorbError::Empty,
                1..11 => XorbError::Truncated { bytes: end as u64 },
                11 => {
                    XorbError::Mismatch { found: xet::hash::chunk_hash(b"one"), expected: index.xorb_hash() }
                }
                _ => XorbError::Truncated { bytes: (end - first) as u64 },
            };
            assert_eq!(read, Err(expected), "{end}");
        }
        let (mut decoder, mut raw, mut input) = (Decoder::default(), Vec::new(), &bytes[..end]);
        while decoder.next_chunk(&mut input, &mut raw).unwrap().is_some() {}
        let left = if end < first { end } else { end - first } as u64;
        let expected = match left {
            0 => Ok(u32::from(end == first)),
            bytes => Err(DecodeError::Truncated { bytes }),
        };
        assert_eq!(decoder.finish(), expected);
    }
}

/// A frame of 16 bytes of content: the flags, the descriptor's size byte, then blocks.
fn frame(flags: u8, size: u8, more: &[u8], blocks: &[u8]) -> Vec<u8> {
    let descriptor = [&[0x40 | flags, size], more].concat();
    let checksum = (twox_hash::XxHash32::oneshot(0, &descriptor) >> 8) as u8;
    [&[4, 0x22, 0x4d, 0x18], descriptor.as_slice(), &[checksum], blocks].concat()
}

const CONTENT: &[u8; 16] = b"sixteen letters.";

/// Not compressed.
fn stored(content: &[u8]) -> Vec<u8> {
    let len = content.len() as u32 | 1 << 31;
    [&len.to_le_bytes(), content].concat()
}

#[test]
fn frames() {
    let end = [0; 4];
    let whole = [stored(CONTENT), end.to_vec()].concat();
    let sound = frame(0x20, 0x40, &[], &whole);
    let body = serialized(1, &sound, 16);
    let (_, plain) = xorb([CONTENT.as_slice()], Compression::None);
    assert!(read(&body, 9, Limits::default(), &plain.xorb_hash()).is_ok());

    let why = |frame: Vec<u8>| match refusal(&serialized(1, &frame, 16)) {
        ChunkError::Frame(why) => why,
        other => panic!("{other}"),
    };
    let changed = |at: usize, to: u8| {
        let mut frame = sound.clone();
        frame[at] = to;
        frame
    };
    assert_eq!(why(changed(0, 5)), BadFrame::Magic);
    assert_eq!(why(changed(6, 0)), BadFrame::HeaderChecksum);
    for (flags, size) in [(0x80, 0x40), (0x22, 0x40), (0x20, 0x30), (0x20, 0xc0), (0x20, 0x41)] {
        assert_eq!(why(frame(flags, size, &[], &whole)), BadFrame::Flags);
    }
    assert_eq!(why(frame(0x21, 0x40, &[1, 2, 3, 4], &whole)), BadFrame::Dictionary);
    for cut in 0..sound.len() {
        assert_eq!(why(sound[..cut].to_vec()), BadFrame::Truncated, "{cut}");
    }
    assert_eq!(why([sound.as_slice(), &[0]].concat()), BadFrame::Trailing);
    assert_eq!(why([sound.as_slice(), &sound].concat()), BadFrame::Trailing);

    let blocks = |blocks: &[Vec<u8>]| frame(0x20, 0x40, &[], &[blocks.concat(), end.to_vec()].concat());
    let too_long = (65_537u32 | 1 << 31).to_le_bytes().to_vec();
    assert_eq!(why(blocks(&[too_long])), BadFrame::BlockLen);
    assert_eq!(why(blocks(&[65_537u32.to_le_bytes().to_vec()])), BadFrame::BlockLen);
    assert_eq!(why(blocks(&[stored(b"seventeen letters")])), BadFrame::Block);
    assert_eq!(why(blocks(&[stored(CONTENT), stored(b"!")])), BadFrame::Block);
    assert_eq!(why(blocks(&[stored(b""), stored(CONTENT)])), BadFrame::Block);
    assert_eq!(why(blocks(&[stored(b"fifteen letters")])), BadFrame::ContentLen { len: 15, expected: 16 });
    // Compressed: 16 literals are too few or too many; a match that reaches before the block.
    let compressed = |block: &[u8]| [&(block.len() as u32).to_le_bytes(), block].concat();
    let literals = [&[0xf0, 1], CONTENT.as_slice()].concat();
    assert_eq!(why(blocks(&[compressed(&literals[..9])])), BadFrame::Block);
    assert_eq!(why(blocks(&[compressed(&[&literals[..], &[1, 0, 0]].concat())])), BadFrame::Block);
    assert_eq!(
        why(blocks(&[stored(b"abcdefgh"), compressed(&[0, 8, 0, 0x40, 1, 2, 3, 4])])),
        BadFrame::Block
    );

    let with_sizes = |len: u64| frame(0x28, 0x40, &len.to_le_bytes(), &whole);
    assert_eq!(why(with_sizes(17)), BadFrame::ContentLen { len: 17, expected: 16 });
    assert_eq!(why(with_sizes(u64::MAX)), BadFrame::ContentLen { len: u64::MAX, expected: 16 });
    let sums = [stored(CONTENT), vec![1, 2, 3, 4], end.to_vec()].concat();
    assert_eq!(why(frame(0x30, 0x40, &[], &sums)), BadFrame::BlockChecksum);
    let sum = [whole.as_slice(), &[1, 2, 3, 4]].concat();
    assert_eq!(why(frame(0x24, 0x40, &[], &sum)), BadFrame::ContentChecksum);
}

/// A block that refers to the one before it is sound only if the frame says that blocks are linked.
#[test]
fn linked_blocks() {
    // No literals, eight bytes from eight before, then four literals.
    let linked = [8, 0, 0, 0, 4, 8, 0, 0x40, b'i', b'j', b'k', b'l'];
    let blocks = [stored(b"abcdefgh"), linked.to_vec(), vec![0; 4]].concat();
    let (_, plain) = xorb([b"abcdefghabcdefghijkl".as_slice()], Compression::None);
    let body = serialized(1, &frame(0, 0x40, &[], &blocks), 20);
    assert_eq!(read(&body, 100, Limits::default(), &plain.xorb_hash()).map(|index| index.raw_len()), Ok(20));
    let body = serialized(1, &frame(0x20, 0x40, &[], &blocks), 20);
    assert_eq!(refusal(&body), ChunkError::Frame(BadFrame::Block));
}

/// Content of another length than announced is neither written nor read beyond it.
#[test]
fn content_is_bounded_by_what_is_announced() {
    for kind in ["zeros", "ramp"] {
        let (bytes, _) = xorb([make(kind, 1, 131_072).as_slice()], Compression::Bg4Lz4);
        for raw_len in [1u32, 100, 65_536, 131_071] {
            let mut body = bytes.clone();
            body[5..8].copy_from_slice(&raw_len.to_le_bytes()[..3]);
            assert_eq!(refusal(&body), ChunkError::Frame(BadFrame::Block), "{kind} {raw_len}");
        }
    }
    let (bytes, _) = xorb([make("zeros", 1, 1000).as_slice()], Compression::Lz4);
    let mut body = bytes.clone();
    body[5..8].copy_from_slice(&1001u32.to_le_bytes()[..3]);
    let why = ChunkError::Frame(BadFrame::ContentLen { len: 1000, expected: 1001 });
    assert_eq!(refusal(&body), why);
}

/// Whatever is changed of a sound xorb: it is another one, or none.
#[test]
fn no_change_goes_unnoticed() {
    let mut random = Random(1);
    for name in ["frames.xorb", "client.xorb"] {
        let body = data(name);
        let Err(XorbError::Mismatch { found, .. }) = read(&body, usize::MAX, Limits::default(), &Hash::ZERO)
        else {
            panic!("{name}")
        };
        for _ in 0..2000 {
            let mut changed = body.clone();
            let at = random.next() as usize % body.len();
            changed[at] ^= 1 << (random.next() % 8);
            let piece = 1 + random.next() as usize % body.len();
            let outcome = read(&changed, piece, Limits::default(), &found);
            assert_eq!(read(&changed, 4096, Limits::default(), &found), outcome);
            if let Ok(index) = outcome {
                // What was changed is how it is packed, and says the same.
                assert_eq!(index.xorb_hash(), found);
                assert_eq!(crate::support::decode(&changed, 4096), crate::support::decode(&body, 4096));
            }
        }
    }
}
