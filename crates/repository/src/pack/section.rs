//! The index section and the footer of a pack blob: layout, reading and writing. See [`super`] for the table.

use std::io::{self, Write};

use database::Oid;

use super::{HEADER_BYTES, PackError, TRAILER_BYTES};
use crate::Kind;
use crate::pointer::Pointer;

/// Magic (4), version (u8), flags (u8, bit 0: wide), two zero bytes, length of the git pack (u64), objects (u32),
/// pointers (u32), CRC-32 (u32) of the index section and of the footer before it.
pub const FOOTER_BYTES: usize = 28;

const MAGIC: &[u8; 4] = b"GrPk";
const VERSION: u8 = 1;
const WIDE: u8 = 1;
const FANOUT_OBJECTS_MIN: u32 = 256;
const FANOUT_BYTES: usize = 256 * 4;
const POINTER_BYTES: usize = 20 + 32 + 8;
/// The CRC-32 of an index up to this size is checked whenever it is opened: it costs less than reading the row.
const CHECKED_AT_OPEN_BYTES_MAX: usize = 1 << 20;

/// What is known of one object of a pack that is being written.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub oid: Oid,
    pub kind: Kind,
    pub crc32: u32,
    pub offset: u64,
    /// Inflated, deltas applied, in bytes.
    pub size: u64,
}

/// Where the columns of an index section lie in its blob.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) objects: u32,
    pub(crate) pointers: u32,
    pub(crate) pack_len: usize,
    crc32: u32,
    wide: bool,
    has_fanout: bool,
    oids: usize,
    offsets: usize,
    sizes: usize,
    crcs: usize,
    order: usize,
    kinds: usize,
    pointer_rows: usize,
}

/// How many bytes follow a git pack of `pack_len` bytes with these rows.
pub(crate) fn section_len(pack_len: u64, rows: &[Row], pointers: usize) -> u64 {
    let n = rows.len() as u64;
    let width = if is_wide(pack_len, rows) { 8 } else { 4 };
    let fanout = if n >= u64::from(FANOUT_OBJECTS_MIN) { FANOUT_BYTES as u64 } else { 0 };
    fanout + n * (20 + 2 * width + 4 + 4 + 1) + (pointers * POINTER_BYTES + FOOTER_BYTES) as u64
}

/// Writes index section and footer behind a git pack of `pack_len` bytes. Sorts `rows` by id and `pointers` by blob;
/// returns the number of bytes written. Two rows with one id are an error.
pub(crate) fn write(
    out: &mut impl Write,
    pack_len: u64,
    rows: &mut [Row],
    pointers: &mut [Pointer],
) -> io::Result<u64> {
    let invalid = |message: &str| io::Error::new(io::ErrorKind::InvalidInput, message.to_owned());
    let objects = u32::try_from(rows.len()).map_err(|_| invalid("too many objects for one pack"))?;
    rows.sort_unstable_by_key(|row| row.oid);
    pointers.sort_unstable();
    if rows.windows(2).any(|pair| pair[0].oid == pair[1].oid) {
        return Err(invalid("an object occurs twice in one pack"));
    }
    let wide = is_wide(pack_len, rows);
    let mut out =
        CrcWriter { out, crc: crc32fast::Hasher::new(), written: 0, buffer: Vec::with_capacity(BUFFER) };
    if objects >= FANOUT_OBJECTS_MIN {
        let mut upto = 0;
        for first in 0..=255u8 {
            upto += rows[upto..].iter().take_while(|row| row.oid.0[0] == first).count();
            out.u32(upto as u32)?;
        }
    }
    for row in rows.iter() {
        out.bytes(&row.oid.0)?;
    }
    for row in rows.iter() {
        out.number(row.offset, wide)?;
    }
    for row in rows.iter() {
        out.number(row.size, wide)?;
    }
    for row in rows.iter() {
        out.u32(row.crc32)?;
    }
    let mut order: Vec<u32> = (0..objects).collect();
    order.sort_unstable_by_key(|&index| rows[index as usize].offset);
    for index in order {
        out.u32(index)?;
    }
    for row in rows.iter() {
        out.bytes(&[row.kind as u8 - 1])?;
    }
    for pointer in pointers.iter() {
        out.bytes(&pointer.blob.0)?;
        out.bytes(&pointer.sha256)?;
        out.bytes(&pointer.size.to_be_bytes())?;
    }
    out.bytes(MAGIC)?;
    out.bytes(&[VERSION, if wide { WIDE } else { 0 }, 0, 0])?;
    out.bytes(&pack_len.to_be_bytes())?;
    out.u32(objects)?;
    out.u32(u32::try_from(pointers.len()).map_err(|_| invalid("too many LFS pointers for one pack"))?)?;
    out.flush()?;
    let crc = out.crc.clone().finalize();
    out.u32(crc)?;
    out.flush()?;
    Ok(out.written)
}

impl Section {
    pub(crate) fn open(blob: &[u8]) -> Result<Section, PackError> {
        let section_end = blob.len().checked_sub(FOOTER_BYTES).ok_or(PackError::NotAPack)?;
        let footer = &blob[section_end..];
        if &footer[..4] != MAGIC {
            return Err(PackError::NotAPack);
        }
        if footer[4] != VERSION {
            return Err(PackError::Version(footer[4]));
        }
        let wide = footer[5] & WIDE != 0;
        let pack_len = usize::try_from(u64_at(footer, 8)).map_err(|_| PackError::Lengths)?;
        let (objects, pointers) = (u32_at(footer, 16), u32_at(footer, 20));
        let (n, width) = (objects as usize, if wide { 8 } else { 4 });
        let has_fanout = objects >= FANOUT_OBJECTS_MIN;
        let oids =
            pack_len.checked_add(if has_fanout { FANOUT_BYTES } else { 0 }).ok_or(PackError::Lengths)?;
        let mut end = oids;
        let mut column = |width: usize| {
            let start = end;
            end = n.checked_mul(width).and_then(|len| end.checked_add(len)).ok_or(PackError::Lengths)?;
            Ok(start)
        };
        let oids = column(20)?;
        let (offsets, sizes, crcs, order, kinds) =
            (column(width)?, column(width)?, column(4)?, column(4)?, column(1)?);
        let pointer_rows = end;
        let expected_end =
            (pointers as usize).checked_mul(POINTER_BYTES).and_then(|len| end.checked_add(len));
        let header_is_right = blob.starts_with(b"PACK\0\0\0\x02") && u32_at(blob, 8) == objects;
        if expected_end != Some(section_end) || pack_len < HEADER_BYTES + TRAILER_BYTES || !header_is_right {
            return Err(PackError::Lengths);
        }
        let crc32 = u32_at(footer, 24);
        let section = Section {
            objects,
            pointers,
            pack_len,
            crc32,
            wide,
            has_fanout,
            oids,
            offsets,
            sizes,
            crcs,
            order,
            kinds,
            pointer_rows,
        };
        if section_end - pack_len <= CHECKED_AT_OPEN_BYTES_MAX {
            section.check_crc(blob)?;
        }
        Ok(section)
    }

    pub(crate) fn check_crc(&self, blob: &[u8]) -> Result<(), PackError> {
        match crc32fast::hash(&blob[self.pack_len..blob.len() - 4]) == self.crc32 {
            true => Ok(()),
            false => Err(PackError::IndexDamaged),
        }
    }

    pub(crate) fn find(&self, blob: &[u8], oid: &Oid) -> Option<u32> {
        let (mut low, mut high) = (0, self.objects);
        if self.has_fanout {
            let first = usize::from(oid.0[0]);
            let fanout = &blob[self.pack_len..self.oids];
            high = u32_at(fanout, first * 4).min(self.objects);
            low = if first == 0 { 0 } else { u32_at(fanout, first * 4 - 4).min(high) };
        }
        let oids = &blob[self.oids..self.offsets];
        while low < high {
            let middle = low + (high - low) / 2;
            let at = middle as usize * 20;
            match oids[at..at + 20].cmp(&oid.0[..]) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    pub(crate) fn oid(&self, blob: &[u8], index: u32) -> Oid {
        let at = self.oids + index as usize * 20;
        if index < self.objects {
            Oid::from_slice(&blob[at..at + 20]).unwrap_or(Oid::NULL)
        } else {
            Oid::NULL
        }
    }

    pub(crate) fn kind(&self, blob: &[u8], index: u32) -> Kind {
        let code = if index < self.objects { blob[self.kinds + index as usize] } else { 0 };
        Kind::ALL[usize::from(code & 3)]
    }

    pub(crate) fn size(&self, blob: &[u8], index: u32) -> u64 {
        self.number(blob, self.sizes, index)
    }

    pub(crate) fn offset(&self, blob: &[u8], index: u32) -> u64 {
        self.number(blob, self.offsets, index)
    }

    pub(crate) fn crc32(&self, blob: &[u8], index: u32) -> u32 {
        if index < self.objects { u32_at(blob, self.crcs + index as usize * 4) } else { 0 }
    }

    /// Never out of bounds, even if the column is damaged.
    pub(crate) fn in_pack_order(&self, blob: &[u8], nth: u32) -> u32 {
        let index = if nth < self.objects { u32_at(blob, self.order + nth as usize * 4) } else { u32::MAX };
        index.min(self.objects.saturating_sub(1))
    }

    pub(crate) fn nth_at_offset(&self, blob: &[u8], offset: u64) -> Option<u32> {
        let (mut low, mut high) = (0, self.objects);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.offset(blob, self.in_pack_order(blob, middle)).cmp(&offset) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    pub(crate) fn pointer(&self, blob: &[u8], nth: u32) -> Pointer {
        let at = self.pointer_rows + nth as usize * POINTER_BYTES;
        let row = &blob[at..at + POINTER_BYTES];
        let mut pointer = Pointer { blob: Oid::NULL, sha256: [0; 32], size: u64_at(row, 52) };
        pointer.blob.0.copy_from_slice(&row[..20]);
        pointer.sha256.copy_from_slice(&row[20..52]);
        pointer
    }

    fn number(&self, blob: &[u8], column: usize, index: u32) -> u64 {
        match (index < self.objects, self.wide) {
            (false, _) => 0,
            (true, true) => u64_at(blob, column + index as usize * 8),
            (true, false) => u64::from(u32_at(blob, column + index as usize * 4)),
        }
    }
}

fn is_wide(pack_len: u64, rows: &[Row]) -> bool {
    let narrow = u64::from(u32::MAX);
    pack_len > narrow || rows.iter().any(|row| row.size > narrow)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(
        *bytes[at..].first_chunk().expect("because the columns were measured when the blob was opened"),
    )
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(
        *bytes[at..].first_chunk().expect("because the columns were measured when the blob was opened"),
    )
}

const BUFFER: usize = 16 * 1024;

/// Buffers, sums and counts.
struct CrcWriter<'a, W: Write> {
    out: &'a mut W,
    crc: crc32fast::Hasher,
    written: u64,
    buffer: Vec<u8>,
}

impl<W: Write> CrcWriter<'_, W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER - 64 { self.flush() } else { Ok(()) }
    }

    fn u32(&mut self, value: u32) -> io::Result<()> {
        self.bytes(&value.to_be_bytes())
    }

    fn number(&mut self, value: u64, wide: bool) -> io::Result<()> {
        if wide { self.bytes(&value.to_be_bytes()) } else { self.u32(value as u32) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.crc.update(&self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
