//! One entry of a pack: its header, and the zlib stream behind it. See gitformat-pack(5).

use std::cell::RefCell;
use std::io;

use database::Oid;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::Kind;

/// How an entry says what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryHeader {
    Whole(Kind),
    /// A delta on the entry that starts at `base_offset` of the same pack, always before this one.
    OfsDelta {
        base_offset: u64,
    },
    /// A delta on an object of the same pack or, in packs of kind `Api` and thin packs, of another one.
    RefDelta {
        base: Oid,
    },
}

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub entry: EntryHeader,
    /// Of what the zlib stream holds, in bytes: the object, or the delta.
    pub inflated_size: u64,
    /// Bytes from the entry's start to its zlib stream.
    pub length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("the entry's header is cut short")]
    Truncated,
    #[error("unknown entry type {0}")]
    Type(u8),
    #[error("the entry's size does not fit 64 bits")]
    Size,
    #[error("the delta's base offset lies outside the pack")]
    BaseOffset,
    #[error("the compressed data is damaged")]
    Zlib,
    #[error("the compressed data holds another number of bytes than the {0} announced")]
    Length(u64),
}

/// Zlib cannot shrink below this ratio; a size beyond it is a lie that must not be allocated.
const ZLIB_RATIO_MAX: u64 = 1032;

/// `kind_number` is 1–4 for whole objects, 6 for OFS_DELTA, 7 for REF_DELTA; `size` is the inflated one in bytes.
pub fn encode_header(kind_number: u8, size: u64, out: &mut Vec<u8>) {
    let mut rest = size >> 4;
    let mut byte = kind_number << 4 | (size & 15) as u8;
    while rest > 0 {
        out.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
}

/// The base of an OFS_DELTA: bytes back from the entry's start to its base's start.
pub fn encode_ofs(distance: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 10];
    let mut at = digits.len() - 1;
    let mut rest = distance;
    digits[at] = (rest & 0x7f) as u8;
    rest >>= 7;
    while rest > 0 {
        rest -= 1;
        at -= 1;
        digits[at] = 0x80 | (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Reads the header at the start of `bytes`, which is the pack from `offset` on.
pub fn decode(bytes: &[u8], offset: u64) -> Result<Header, EntryError> {
    let mut at = 0;
    let mut next = || {
        let byte = bytes.get(at).copied().ok_or(EntryError::Truncated);
        at += 1;
        byte
    };
    let first = next()?;
    let mut byte = first;
    let mut inflated_size = u64::from(first & 15);
    let mut shift = 4;
    while byte & 0x80 != 0 {
        byte = next()?;
        let digit = u64::from(byte & 0x7f);
        if shift > 63 || digit << shift >> shift != digit {
            return Err(EntryError::Size);
        }
        inflated_size |= digit << shift;
        shift += 7;
    }
    let number = first >> 4 & 7;
    let entry = match number {
        6 => {
            byte = next()?;
            let mut distance = u64::from(byte & 0x7f);
            while byte & 0x80 != 0 {
                byte = next()?;
                let high = distance + 1;
                if high >> 57 != 0 {
                    return Err(EntryError::BaseOffset);
                }
                distance = high << 7 | u64::from(byte & 0x7f);
            }
            // A base starts behind the pack's header of 12 bytes.
            let base_offset = offset.checked_sub(distance).filter(|&base| base >= 12 && distance > 0);
            EntryHeader::OfsDelta { base_offset: base_offset.ok_or(EntryError::BaseOffset)? }
        }
        7 => {
            let oid = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(EntryError::Truncated)?;
            at += oid.len();
            EntryHeader::RefDelta { base: Oid(*oid) }
        }
        number => EntryHeader::Whole(Kind::from_number(number).ok_or(EntryError::Type(number))?),
    };
    Ok(Header { entry, inflated_size, length: at })
}

thread_local! {
    // Both hold tens of KiB that cost more to set up than a typical object costs to process.
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(true));
    static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(6), true));
}

/// Replaces the content of `out` by the `size` bytes that the zlib stream at the start of `compressed` must hold, and
/// returns the stream's length. Bytes behind the stream are not looked at.
pub fn inflate(compressed: &[u8], size: u64, out: &mut Vec<u8>) -> Result<usize, EntryError> {
    out.clear();
    if size / ZLIB_RATIO_MAX > compressed.len() as u64 {
        return Err(EntryError::Length(size));
    }
    // One byte more than announced, so that a longer stream shows.
    let room = usize::try_from(size).ok().and_then(|size| size.checked_add(1)).ok_or(EntryError::Size)?;
    out.reserve(room);
    INFLATE.with_borrow_mut(|inflate| {
        inflate.reset(true);
        // With `Finish` and all the input, zlib copies nothing into a window.
        let status = inflate.decompress_vec(compressed, out, FlushDecompress::Finish);
        if out.len() as u64 > size {
            return Err(EntryError::Length(size));
        }
        match status {
            Ok(Status::StreamEnd) if out.len() as u64 == size => Ok(inflate.total_in() as usize),
            Ok(Status::StreamEnd) => Err(EntryError::Length(size)),
            _ => Err(EntryError::Zlib),
        }
    })
}

/// As [`inflate`], but hands the bytes to `chunk` in pieces of at most `buffer.len()` instead of holding them.
pub fn inflate_chunks(
    compressed: &[u8],
    size: u64,
    buffer: &mut [u8],
    mut chunk: impl FnMut(&[u8]),
) -> Result<usize, EntryError> {
    INFLATE.with_borrow_mut(|inflate| {
        inflate.reset(true);
        loop {
            let (read, written) = (inflate.total_in() as usize, inflate.total_out());
            let status = inflate.decompress(&compressed[read..], buffer, FlushDecompress::None);
            let produced = (inflate.total_out() - written) as usize;
            if inflate.total_out() > size {
                return Err(EntryError::Length(size));
            }
            chunk(&buffer[..produced]);
            match status {
                Ok(Status::StreamEnd) if inflate.total_out() == size => {
                    return Ok(inflate.total_in() as usize);
                }
                Ok(Status::StreamEnd) => return Err(EntryError::Length(size)),
                Ok(Status::Ok) if produced > 0 || inflate.total_in() as usize > read => {}
                _ => return Err(EntryError::Zlib),
            }
        }
    })
}

/// Appends the zlib stream of `data` to `out`, at the level git uses by default.
pub fn deflate(data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    DEFLATE.with_borrow_mut(|deflate| {
        deflate.reset();
        out.reserve(data.len() / 2 + 64);
        loop {
            let read = deflate.total_in() as usize;
            match deflate.compress_vec(&data[read..], out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => return Ok(()),
                Ok(_) => out.reserve(data.len() / 4 + 64),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip() {
        for size in [0, 1, 15, 16, 2047, 2048, u64::from(u32::MAX) + 1, u64::MAX] {
            for number in [1, 2, 3, 4] {
                let mut bytes = Vec::new();
                encode_header(number, size, &mut bytes);
                let header = decode(&bytes, 12).unwrap();
                assert_eq!(header.entry, EntryHeader::Whole(Kind::from_number(number).unwrap()));
                assert_eq!((header.inflated_size, header.length), (size, bytes.len()));
            }
        }
        for distance in [1, 127, 128, 129, 16_511, 16_512, 1 << 40] {
            let mut bytes = Vec::new();
            encode_header(6, 77, &mut bytes);
            encode_ofs(distance, &mut bytes);
            let header = decode(&bytes, distance + 12).unwrap();
            assert_eq!(header.entry, EntryHeader::OfsDelta { base_offset: 12 });
            assert_eq!(decode(&bytes, distance + 11), Err(EntryError::BaseOffset));
        }
    }

    #[test]
    fn refuses_headers_that_lie() {
        assert_eq!(decode(&[], 12), Err(EntryError::Truncated));
        assert_eq!(decode(&[0x90], 12), Err(EntryError::Truncated));
        assert_eq!(decode(&[0x00], 12), Err(EntryError::Type(0)));
        assert_eq!(decode(&[0x50], 12), Err(EntryError::Type(5)));
        assert_eq!(decode(&[0x60, 0], 12), Err(EntryError::BaseOffset));
        assert_eq!(decode(&[0x70, 1, 2], 12), Err(EntryError::Truncated));
        assert_eq!(decode(&[0xff; 30], 12), Err(EntryError::Size));
        let mut endless = vec![0x60];
        endless.extend([0xff; 30]);
        assert_eq!(decode(&endless, u64::MAX), Err(EntryError::BaseOffset));
    }

    #[test]
    fn streams_must_hold_what_they_announce() {
        let data = b"some weights ".repeat(10_000);
        let mut stream = Vec::new();
        deflate(&data, &mut stream).unwrap();
        let length = stream.len();
        stream.extend(b"the next entry");
        let size = data.len() as u64;
        let mut out = b"left over".to_vec();
        assert_eq!(inflate(&stream, size, &mut out), Ok(length));
        assert_eq!(out, data);
        assert_eq!(inflate(&stream, size - 1, &mut out), Err(EntryError::Length(size - 1)));
        assert_eq!(inflate(&stream, size + 1, &mut out), Err(EntryError::Length(size + 1)));
        assert_eq!(inflate(&stream[..length - 1], size, &mut out), Err(EntryError::Zlib));
        assert_eq!(inflate(&stream, u64::MAX, &mut out), Err(EntryError::Length(u64::MAX)));

        let mut pieces = Vec::new();
        let mut buffer = [0; 1000];
        let mut run = |stream: &[u8], size| {
            pieces.clear();
            inflate_chunks(stream, size, &mut buffer, |piece| pieces.extend_from_slice(piece))
        };
        assert_eq!(run(&stream, size - 1), Err(EntryError::Length(size - 1)));
        assert_eq!(run(&stream, size + 1), Err(EntryError::Length(size + 1)));
        assert_eq!(run(&stream[..length - 1], size), Err(EntryError::Zlib));
        assert_eq!(run(&stream, size), Ok(length));
        assert_eq!(pieces, data);
    }

    #[test]
    fn empty_objects() {
        let mut stream = Vec::new();
        deflate(b"", &mut stream).unwrap();
        let mut out = Vec::new();
        assert_eq!(inflate(&stream, 0, &mut out), Ok(stream.len()));
        assert_eq!(inflate_chunks(&stream, 0, &mut [0; 10], |_| ()), Ok(stream.len()));
    }
}
