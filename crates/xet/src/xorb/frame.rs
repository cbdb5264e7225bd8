//! LZ4 frames, whole and of a known content length: <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>.
//!
//! A frame is decoded where its content belongs, without memory of its own. What the readers of clients would refuse
//! is refused, so that whatever is taken in can be read by all; every checksum that is there is checked.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, decompress_into_with_dict};
use twox_hash::XxHash32;

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 0b0010_0000;
const BLOCK_CHECKSUM: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const FLAGS_RESERVED: u8 = 0b0000_0010;
const DICTIONARY: u8 = 0b0000_0001;
const BLOCK_SIZE_RESERVED: u8 = 0b1000_1111;
/// Of the length of a block that is not compressed.
const STORED: u32 = 1 << 31;

/// Of what [`encode`] writes: independent blocks of up to 256 KiB, no checksums but that of the header.
const HEADER: [u8; 7] = [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], VERSION | INDEPENDENT, 5 << 4, 0xfb];
const ENCODED_MAX: usize = 256 * 1024;

/// Why a frame is none. The message goes on after "but ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("does not begin as an LZ4 frame")]
    Magic,
    #[error("the LZ4 frame has a version or flags that are not known")]
    Flags,
    #[error("the LZ4 frame needs a dictionary")]
    Dictionary,
    #[error("the header of the LZ4 frame does not match its checksum")]
    HeaderChecksum,
    #[error("the LZ4 frame ends early")]
    Truncated,
    #[error("bytes follow the LZ4 frame")]
    Trailing,
    #[error("a block of the LZ4 frame is larger than the frame says")]
    BlockLen,
    #[error("a block of the LZ4 frame cannot be decompressed to the content announced")]
    Block,
    #[error("a block of the LZ4 frame does not match its checksum")]
    BlockChecksum,
    #[error("the content does not match the checksum of the LZ4 frame")]
    ContentChecksum,
    #[error("the LZ4 frame has {len} bytes of content, but {expected} were announced")]
    ContentLen { len: u64, expected: u64 },
}

/// Fills `content` from one frame, which has that much and is all there is.
pub(super) fn decode(bytes: &[u8], content: &mut [u8]) -> Result<(), BadFrame> {
    let mut bytes = Bytes(bytes);
    let frame = Frame::parse(&mut bytes, content.len())?;
    let mut filled = 0;
    loop {
        let header = bytes.u32()?;
        if header == 0 {
            break;
        }
        let block = bytes.take(frame.checked_len(header & !STORED)?)?;
        if frame.flags & BLOCK_CHECKSUM != 0 && bytes.u32()? != XxHash32::oneshot(0, block) {
            return Err(BadFrame::BlockChecksum);
        }
        let (before, room) = content.split_at_mut(filled);
        let room_max = room.len().min(frame.block_max);
        let room = &mut room[..room_max];
        let len = if header & STORED != 0 {
            room.get_mut(..block.len()).ok_or(BadFrame::Block)?.copy_from_slice(block);
            block.len()
        } else if before.is_empty() || frame.flags & INDEPENDENT != 0 {
            decompress_into(block, room).map_err(|_| BadFrame::Block)?
        } else {
            decompress_into_with_dict(block, room, before).map_err(|_| BadFrame::Block)?
        };
        // Readers of clients take it for the end.
        if len == 0 {
            return Err(BadFrame::Block);
        }
        filled += len;
    }
    if filled != content.len() {
        return Err(BadFrame::ContentLen { len: filled as u64, expected: content.len() as u64 });
    }
    if frame.flags & CONTENT_CHECKSUM != 0 && bytes.u32()? != XxHash32::oneshot(0, content) {
        return Err(BadFrame::ContentChecksum);
    }
    if !bytes.0.is_empty() {
        return Err(BadFrame::Trailing);
    }
    Ok(())
}

struct Frame {
    flags: u8,
    block_max: usize,
}

impl Frame {
    fn parse(bytes: &mut Bytes<'_>, content_len: usize) -> Result<Frame, BadFrame> {
        if bytes.take(MAGIC.len())? != MAGIC {
            return Err(BadFrame::Magic);
        }
        let descriptor = bytes.0;
        let (flags, block_size) = (bytes.u8()?, bytes.u8()?);
        let unknown = flags & FLAGS_RESERVED | block_size & BLOCK_SIZE_RESERVED;
        let block_max = match block_size >> 4 {
            4 => 64 * 1024,
            5 => 256 * 1024,
            6 => 1024 * 1024,
            7 => 4 * 1024 * 1024,
            _ => return Err(BadFrame::Flags),
        };
        if flags & VERSION_MASK != VERSION || unknown != 0 {
            return Err(BadFrame::Flags);
        }
        if flags & DICTIONARY != 0 {
            return Err(BadFrame::Dictionary);
        }
        let announced = match flags & CONTENT_SIZE {
            0 => None,
            _ => Some(u64::from(bytes.u32()?) | u64::from(bytes.u32()?) << 32),
        };
        let descriptor = &descriptor[..descriptor.len() - bytes.0.len()];
        if bytes.u8()? != (XxHash32::oneshot(0, descriptor) >> 8) as u8 {
            return Err(BadFrame::HeaderChecksum);
        }
        match announced {
            Some(len) if len != content_len as u64 => {
                Err(BadFrame::ContentLen { len, expected: content_len as u64 })
            }
            Some(_) | None => Ok(Frame { flags, block_max }),
        }
    }

    fn checked_len(&self, len: u32) -> Result<usize, BadFrame> {
        let len = len as usize;
        if len > self.block_max { Err(BadFrame::BlockLen) } else { Ok(len) }
    }
}

/// Appends `content` as a frame, if it takes less than `less_than` bytes. It has at most 256 KiB.
pub(super) fn encode(
    content: &[u8],
    less_than: usize,
    table: &mut CompressTable,
    frame: &mut Vec<u8>,
) -> bool {
    const OVERHEAD: usize = HEADER.len() + 4 + 4;
    assert!(content.len() <= ENCODED_MAX, "because chunks are not larger");
    let start = frame.len();
    frame.extend_from_slice(&HEADER);
    frame.extend_from_slice(&[0; 4]);
    let block = frame.len();
    // The compressor wants room for the worst case before it begins.
    frame.resize(block + lz4_flex::block::get_maximum_output_size(content.len()), 0);
    let len = compress_into_with_table(content, &mut frame[block..], table).unwrap_or(usize::MAX);
    if len >= less_than.saturating_sub(OVERHEAD) || content.is_empty() {
        frame.truncate(start);
        return false;
    }
    frame.truncate(block + len);
    frame[block - 4..block].copy_from_slice(&(len as u32).to_le_bytes());
    frame.extend_from_slice(&[0; 4]);
    true
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BadFrame> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BadFrame::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, BadFrame> {
        let (&byte, rest) = self.0.split_first().ok_or(BadFrame::Truncated)?;
        self.0 = rest;
        Ok(byte)
    }

    fn u32(&mut self) -> Result<u32, BadFrame> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(BadFrame::Truncated)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*bytes))
    }
}
