//! Writes the pack that answers a fetch.
//!
//! What is stored is sent as it is stored: the zlib stream of an entry is copied, only its header is new. A stored
//! delta is kept if its base is in the pack too, or if the client has the base and takes thin packs; otherwise the
//! object is inflated and compressed anew. The pack holds as many objects as its header says, or there is an error:
//! whatever cannot be read stops the writing.

use std::io::{self, Write};

use database::Oid;
use flate2::{Compress, Compression, FlushCompress, Status};
use sha1::{Digest, Sha1};

use crate::delta;
use crate::pack::entry::{encode_header, encode_ofs};
use crate::pack::{Entry, EntryHeader, PackError, TRAILER_BYTES, build};
use crate::snapshot::Location;
use crate::walk::{Interrupted, Ranks, Selection, Ticker};
use crate::{Kind, Pack, ReadError, Snapshot};

/// What the client understands.
#[derive(Clone, Copy, Debug)]
pub struct PackOptions {
    /// A delta may name its base by its distance.
    pub ofs_delta: bool,
    /// A delta's base may be missing if the client has it.
    pub thin: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackStats {
    pub objects: u32,
    /// Of these, entries that are deltas.
    pub deltas: u32,
    /// Entries whose zlib stream was copied.
    pub reused: u32,
    /// Length of the pack.
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The receiver failed, not we.
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("object {oid}: {source}")]
    Pack { oid: Oid, source: PackError },
    #[error("object {0} is damaged in its pack (CRC-32)")]
    Damaged(Oid),
    #[error("{0} objects do not fit a pack")]
    TooManyObjects(usize),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Writes `selection`, which must have been made from `s`, as a pack of version 2. `out` gets pieces of 64 KiB and
/// more. `progress` is called now and then with the number of objects written. After an error the pack is useless.
pub fn write_pack(
    s: &Snapshot,
    selection: &Selection,
    options: &PackOptions,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64) -> Result<(), Interrupted>,
) -> Result<PackStats, WriteError> {
    let count = selection.entries().len();
    let objects = u32::try_from(count).map_err(|_| WriteError::TooManyObjects(count))?;
    let mut ticker = Ticker::new(progress);
    let mut writer = Writer {
        s,
        selection,
        options: *options,
        ranks: selection.selected().ranks(),
        places: vec![UNWRITTEN; count],
        out: Trailing { out, sha1: Sha1::new(), pending: Vec::with_capacity(PIECE), written: 0 },
        stats: PackStats { objects, ..PackStats::default() },
        scratch: Scratch::default(),
    };
    writer.out.write(&build::pack_header(objects))?;
    let mut waiting = Vec::new();
    for &location in selection.entries() {
        writer.write_with_bases(location, &mut waiting, &mut ticker)?;
    }
    writer.stats.bytes = writer.out.finish()?;
    Ok(writer.stats)
}

/// Offsets of entries start at 12, so these are free.
const UNWRITTEN: u64 = 0;
/// Waits for its base: a delta that leads back to it has come full circle.
const WAITING: u64 = 1;

const PIECE: usize = 64 << 10;
/// New zlib streams are for this one answer: the fastest level, at some percent in size. Compaction, which happens once,
/// compresses better.
const LEVEL: u32 = 1;
/// A stored zlib stream shorter than this is not worth a search for a delta.
const SEARCH_BYTES_MIN: usize = 512;
/// Objects beyond this size in bytes are not searched for deltas.
const SEARCH_BYTES_MAX: u64 = 4 << 20;

struct Writer<'a> {
    s: &'a Snapshot,
    selection: &'a Selection,
    options: PackOptions,
    ranks: Ranks<'a>,
    /// Per object of the selection: the offset of its entry, [`UNWRITTEN`] or [`WAITING`].
    places: Vec<u64>,
    out: Trailing<'a>,
    stats: PackStats,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    header: Vec<u8>,
    object: Vec<u8>,
    base: Vec<u8>,
    delta: Vec<u8>,
    compressed: Vec<u8>,
    deflate: Option<Compress>,
}

/// What a delta's base is to the new pack.
enum Base {
    /// In the pack, at this place in [`Writer::places`].
    Selected(Location, usize),
    /// At the client, under this id.
    Client(Oid),
    Absent,
}

/// How the base is named in the new pack.
enum BaseName {
    Offset(u64),
    Id(Oid),
}

impl<'a> Writer<'a> {
    /// Writes an object unless it is written, and before it those of the selection that it is a delta on.
    fn write_with_bases(
        &mut self,
        location: Location,
        waiting: &mut Vec<Location>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), WriteError> {
        waiting.push(location);
        while let Some(&location) = waiting.last() {
            let place = self.place(location)?;
            if self.places[place] > WAITING {
                waiting.pop();
                continue;
            }
            self.places[place] = WAITING;
            let entry = self.entry(location)?;
            let base = self.base(location, &entry)?;
            if let Base::Selected(base, place) = base
                && self.places[place] == UNWRITTEN
            {
                waiting.push(base);
                continue;
            }
            ticker.tick()?;
            let offset = self.out.written;
            self.write_entry(location, &entry, base)?;
            self.places[place] = offset;
            waiting.pop();
        }
        Ok(())
    }

    fn write_entry(&mut self, location: Location, entry: &Entry<'_>, base: Base) -> Result<(), WriteError> {
        match (entry.header, base) {
            (EntryHeader::Whole(kind), _) => {
                if entry.compressed.len() >= SEARCH_BYTES_MIN && self.write_thin_delta(location)? {
                    return Ok(());
                }
                self.check(location, entry)?;
                self.whole_header(kind, entry.inflated_size);
                self.copy(entry.compressed)
            }
            (_, Base::Selected(base, place)) if self.places[place] > WAITING => {
                let name = match self.options.ofs_delta {
                    true => BaseName::Offset(self.places[place]),
                    false => BaseName::Id(self.s.oid_at(base)),
                };
                self.copy_delta(location, entry, name)
            }
            (_, Base::Client(oid)) => self.copy_delta(location, entry, BaseName::Id(oid)),
            // The base stays away, or waits for this very object: deltas of different packs can form a circle.
            _ => match self.write_thin_delta(location)? {
                true => Ok(()),
                false => self.write_whole(location),
            },
        }
    }

    fn copy_delta(
        &mut self,
        location: Location,
        entry: &Entry<'_>,
        base: BaseName,
    ) -> Result<(), WriteError> {
        self.check(location, entry)?;
        self.stats.deltas += 1;
        self.delta_header(entry.inflated_size, base);
        self.copy(entry.compressed)
    }

    fn copy(&mut self, compressed: &[u8]) -> Result<(), WriteError> {
        self.stats.reused += 1;
        self.out.write(&self.scratch.header)?;
        Ok(self.out.write(compressed)?)
    }

    fn write_whole(&mut self, location: Location) -> Result<(), WriteError> {
        let kind = self.s.read_at(location, &mut self.scratch.object)?;
        self.whole_header(kind, self.scratch.object.len() as u64);
        let Scratch { header, object, compressed, deflate, .. } = &mut self.scratch;
        compress(deflate, object, compressed)?;
        self.out.write(header)?;
        Ok(self.out.write(compressed)?)
    }

    /// Writes the object as a delta on what the client has at the same path, if that makes it much smaller.
    fn write_thin_delta(&mut self, location: Location) -> Result<bool, WriteError> {
        let Some(base) = self.thin_base(location) else { return Ok(false) };
        let Scratch { object, base: base_data, delta, compressed, deflate, .. } = &mut self.scratch;
        self.s.read_at(location, object)?;
        self.s.read_at(base, base_data)?;
        let size_max = (object.len() / 2).saturating_sub(20);
        if !delta::Index::new(base_data).encode(object, size_max, delta) {
            return Ok(false);
        }
        compress(deflate, delta, compressed)?;
        let size = delta.len() as u64;
        self.stats.deltas += 1;
        self.delta_header(size, BaseName::Id(self.s.oid_at(base)));
        self.out.write(&self.scratch.header)?;
        self.out.write(&self.scratch.compressed)?;
        Ok(true)
    }

    fn whole_header(&mut self, kind: Kind, size: u64) {
        self.scratch.header.clear();
        encode_header(kind as u8, size, &mut self.scratch.header);
    }

    fn delta_header(&mut self, size: u64, base: BaseName) {
        let header = &mut self.scratch.header;
        header.clear();
        match base {
            BaseName::Offset(offset) => {
                encode_header(6, size, header);
                encode_ofs(self.out.written - offset, header);
            }
            BaseName::Id(oid) => {
                encode_header(7, size, header);
                header.extend_from_slice(&oid.0);
            }
        }
    }

    fn thin_base(&self, location: Location) -> Option<Location> {
        if !self.options.thin {
            return None;
        }
        let base = self.selection.previous(location)?;
        let small = |location: Location| self.pack(location).size_of(location.index) <= SEARCH_BYTES_MAX;
        (self.selection.is_thin_base(base) && small(location) && small(base)).then_some(base)
    }

    /// Where the stored delta's base is now. Its own pack may hold a copy that is not the one the selection uses; what
    /// counts is the id.
    fn base(&self, location: Location, entry: &Entry<'_>) -> Result<Base, WriteError> {
        let oid = match entry.header {
            EntryHeader::Whole(_) => return Ok(Base::Absent),
            EntryHeader::RefDelta { base } => base,
            EntryHeader::OfsDelta { base_offset } => {
                let pack = self.pack(location);
                let index = pack.index_at_offset(base_offset).ok_or_else(|| WriteError::Pack {
                    oid: self.s.oid_at(location),
                    source: PackError::Offset,
                })?;
                pack.oid(index)
            }
        };
        let Some(base) = self.s.locate(&oid) else { return Ok(Base::Absent) };
        if let Some(place) = self.ranks.rank(self.selection.numbering().number(base)) {
            return Ok(Base::Selected(base, place));
        }
        let at_client = self.options.thin && self.selection.is_thin_base(base);
        Ok(if at_client { Base::Client(oid) } else { Base::Absent })
    }

    fn place(&self, location: Location) -> Result<usize, WriteError> {
        let number = self.selection.numbering().number(location);
        self.ranks.rank(number).ok_or_else(|| ReadError::Missing(self.s.oid_at(location)).into())
    }

    fn pack(&self, location: Location) -> &'a Pack {
        &self.s.packs()[location.pack as usize]
    }

    fn entry(&self, location: Location) -> Result<Entry<'a>, WriteError> {
        let pack = self.pack(location);
        pack.entry(location.index)
            .map_err(|source| WriteError::Pack { oid: pack.oid(location.index), source })
    }

    /// Damage on the disk must not travel: what is copied is not inflated, so this is the only look at it.
    fn check(&self, location: Location, entry: &Entry<'_>) -> Result<(), WriteError> {
        let pack = self.pack(location);
        let start = pack.offset_of(location.index) as usize;
        let bytes = &pack.blob()[start..start + entry.entry_len as usize];
        match crc32fast::hash(bytes) == pack.crc32_of(location.index) {
            true => Ok(()),
            false => Err(WriteError::Damaged(pack.oid(location.index))),
        }
    }
}

/// Puts the SHA-1 of everything behind it. Collisions of our own making are no concern, so this is the fast SHA-1.
struct Trailing<'a> {
    out: &'a mut dyn Write,
    sha1: Sha1,
    pending: Vec<u8>,
    written: u64,
}

impl Trailing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        if self.pending.len() + bytes.len() < PIECE {
            self.pending.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        if bytes.len() < PIECE {
            self.pending.extend_from_slice(bytes);
            return Ok(());
        }
        self.sha1.update(bytes);
        self.out.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sha1.update(&self.pending);
        self.out.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// Returns the length of the pack.
    fn finish(mut self) -> io::Result<u64> {
        self.sha1.update(&self.pending);
        let trailer = self.sha1.finalize();
        self.pending.extend_from_slice(&trailer);
        self.out.write_all(&self.pending)?;
        self.out.flush()?;
        Ok(self.written + TRAILER_BYTES as u64)
    }
}

/// Replaces the content of `out` by the zlib stream of `data`.
fn compress(deflate: &mut Option<Compress>, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let deflate = deflate.get_or_insert_with(|| Compress::new(Compression::new(LEVEL), true));
    deflate.reset();
    out.clear();
    loop {
        out.reserve(data.len() / 2 + 64);
        let read = deflate.total_in() as usize;
        match deflate.compress_vec(&data[read..], out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}
