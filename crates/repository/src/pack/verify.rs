//! Checks a pack blob completely: what `granary fsck` runs over every pack.

use database::Oid;

use super::{HEADER_BYTES, Pack, TRAILER_BYTES, entry};
use crate::Kind;
use crate::object::{self, PackHasher};
use crate::pointer;
use crate::snapshot::{ObjectCache, Reader, Snapshot};

/// More findings than this say nothing new.
const FINDINGS_MAX: usize = 100;
const CACHE_BYTES: usize = 32 << 20;
const OBJECT_BYTES_MAX: u64 = u64::MAX;

impl Pack {
    /// Reads every byte: trailer, index, every entry, and the id of every object. Returns one sentence per finding,
    /// at most a hundred. `snapshot` holds the delta bases that a pack of kind `Api` has elsewhere.
    pub fn verify(&self, snapshot: Option<&Snapshot>) -> Vec<String> {
        let mut findings = Vec::new();
        let (pack, trailer) =
            self.blob[..self.section.pack_len].split_at(self.section.pack_len - TRAILER_BYTES);
        let mut hasher = PackHasher::new();
        hasher.update(pack);
        if !hasher.finish().is_ok_and(|sha1| sha1.0 == trailer) {
            findings.push("the trailer is not the SHA-1 of the pack".to_owned());
        }
        if let Err(error) = self.section.check_crc(&self.blob) {
            findings.push(error.to_string());
        }
        self.verify_layout(&mut findings);
        // Without a sound index every object would only repeat the same finding.
        if findings.is_empty() {
            self.verify_objects(snapshot, &mut findings);
        }
        findings
    }

    /// The entries lie one behind the other, and the index has them in order.
    fn verify_layout(&self, findings: &mut Vec<String>) {
        let mut expected = HEADER_BYTES as u64;
        let mut scratch = [0; 16 * 1024];
        let mut seen = vec![false; self.objects() as usize];
        for nth in 0..self.objects() {
            let index = self.in_pack_order(nth);
            let twice = std::mem::replace(&mut seen[index as usize], true);
            if twice || self.offset_of(index) != expected {
                findings.push(format!("entry {nth} should start at {expected}, the index says otherwise"));
                return;
            }
            match entry_len(self, expected, &mut scratch) {
                Ok(length) => {
                    let bytes = &self.blob[expected as usize..(expected + length) as usize];
                    if crc32fast::hash(bytes) != self.crc32_of(index) {
                        findings.push(format!(
                            "the entry of {} has another CRC-32 than the index",
                            self.oid(index)
                        ));
                    }
                    expected += length;
                }
                Err(error) => {
                    findings.push(format!("entry at {expected}: {error}"));
                    return;
                }
            }
        }
        if expected != (self.section.pack_len - TRAILER_BYTES) as u64 {
            findings.push("there is something between the last entry and the trailer".to_owned());
        }
        let sorted = (1..self.objects()).all(|index| self.oid(index - 1) < self.oid(index));
        if !sorted || (0..self.objects()).any(|index| self.find(&self.oid(index)) != Some(index)) {
            findings.push("the index does not find its own objects".to_owned());
        }
    }

    fn verify_objects(&self, snapshot: Option<&Snapshot>, findings: &mut Vec<String>) {
        let cache = ObjectCache::new(CACHE_BYTES);
        let locate = |oid: &Oid| {
            let (pack, index) = snapshot.and_then(|snapshot| snapshot.locate_pack(oid))?;
            Some((pack, pack.offset_of(index)))
        };
        let reader = Reader { locate: &locate, cache: &cache, size_max: OBJECT_BYTES_MAX };
        let mut pointers = self.pointers().peekable();
        let mut data = Vec::new();
        for nth in 0..self.objects() {
            let index = self.in_pack_order(nth);
            if findings.len() >= FINDINGS_MAX {
                return;
            }
            let oid = self.oid(index);
            match reader.read(&oid, self, index, &mut data) {
                Err(error) => findings.push(error.to_string()),
                Ok(kind) => {
                    let named = object::try_hash(kind, &data);
                    if named != Ok(oid) {
                        findings.push(format!("{} {oid} holds other bytes than its id says", kind.name()));
                    }
                }
            }
        }
        for index in 0..self.objects() {
            let oid = self.oid(index);
            let recorded = pointers.next_if(|pointer| pointer.blob == oid);
            let may_be_one =
                self.kind_of(index) == Kind::Blob && self.size_of(index) < pointer::POINTER_BYTES_MAX;
            if !may_be_one && recorded.is_none() || findings.len() >= FINDINGS_MAX {
                continue;
            }
            let found = reader.read(&oid, self, index, &mut data).ok().and_then(|_| pointer::parse(&data));
            if found != recorded.map(|pointer| pointer::Target { sha256: pointer.sha256, size: pointer.size })
            {
                findings.push(format!("the list of LFS pointers is wrong about blob {oid}"));
            }
        }
        if pointers.next().is_some() {
            findings.push("the list of LFS pointers names blobs that are not in the pack".to_owned());
        }
    }
}

/// The length of the entry at `offset`, from its own bytes alone.
fn entry_len(pack: &Pack, offset: u64, scratch: &mut [u8]) -> Result<u64, super::PackError> {
    let entry = pack.entry_at(offset)?;
    let stream = entry::inflate_chunks(entry.compressed, entry.inflated_size, scratch, |_| ())
        .map_err(|source| super::PackError::Entry { offset, source })?;
    Ok(entry.entry_len - entry.compressed.len() as u64 + stream as u64)
}
