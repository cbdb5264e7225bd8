//! How clients make a file, or a part of one, of ranges of xorbs.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};

use auth::{Authorized, Read, Right, Subject};
use database::{DbError, XetFile, XetTerm, Xorb, XorbId};

use super::errors::ReadError;
use super::{Cas, ReconstructError};
use crate::Hash;

/// What to fetch, and what to make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconstruction {
    /// Of the whole file, in bytes.
    pub size: u64,
    /// What was asked for, cut to the size.
    pub range: Range<u64>,
    /// Bytes of the first term that come before the range. The last term may hold more than it, too.
    pub offset_into_first_range: u64,
    /// In the order of the file.
    pub terms: Vec<Term>,
    /// Each xorb once, in the order in which terms name them first.
    pub fetches: Vec<Fetch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    pub xorb_hash: Hash,
    /// Of the content of its chunks, in bytes.
    pub unpacked_length: u32,
    pub chunks: Range<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub xorb: Xorb,
    /// Apart from each other, in the order of chunks.
    pub ranges: Vec<FetchRange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRange {
    pub chunks: Range<u32>,
    /// In the stored xorb, as a `Range` header says it.
    pub bytes: RangeInclusive<u64>,
}

impl Cas {
    /// Of a file of the holder that `access` is for; `range` is in bytes, of which those beyond the end are left out.
    /// A file as a whole takes rows only; the ends of a range take an index each.
    pub async fn reconstruct<S: Subject>(
        &self,
        access: &Authorized<Read, S>,
        hash: &Hash,
        range: Option<Range<u64>>,
    ) -> Result<Reconstruction, ReconstructError> {
        let file = self.0.database.xet_file_of(access.holder_id(), &(*hash).into())?;
        let file = file.ok_or(ReconstructError::NotFound)?;
        let range = range.unwrap_or(0..file.size);
        let range = range.start..range.end.min(file.size);
        if range.start >= file.size || range.is_empty() {
            return Err(ReconstructError::Beyond { size: file.size });
        }
        Ok(self.reconstruct_file(&file, range).await?)
    }

    /// The size of a file of the holder.
    pub fn file_size<S: Subject>(
        &self,
        access: &Authorized<Read, S>,
        hash: &Hash,
    ) -> Result<u64, ReconstructError> {
        let file = self.0.database.xet_file_of(access.holder_id(), &(*hash).into())?;
        Ok(file.ok_or(ReconstructError::NotFound)?.size)
    }

    /// As it is stored, of a xorb that this holder brought or has files of; whoever else has it.
    pub fn xorb_size<A: Right, S: Subject>(
        &self,
        access: &Authorized<A, S>,
        hash: &Hash,
    ) -> Result<Option<u64>, DbError> {
        let Some(xorb) = self.0.database.xorb(&(*hash).into())? else { return Ok(None) };
        let is_its = self.0.database.has_xorb(access.holder_id(), xorb.id)?;
        Ok(is_its.then_some(xorb.stored_bytes))
    }

    async fn reconstruct_file(&self, file: &XetFile, range: Range<u64>) -> Result<Reconstruction, ReadError> {
        let (terms, skip) = self.terms_of(&file.terms, range.clone()).await?;
        let mut ids = Vec::new();
        let mut places: HashMap<XorbId, usize> = HashMap::new();
        for term in &terms {
            places.entry(term.xorb).or_insert_with(|| {
                ids.push(term.xorb);
                ids.len() - 1
            });
        }
        let mut fetches: Vec<Fetch> = Vec::with_capacity(ids.len());
        fetches.extend(self.rows(ids).await?.into_iter().map(|xorb| Fetch { xorb, ranges: Vec::new() }));
        let mut named = Vec::with_capacity(terms.len());
        for term in &terms {
            let fetch = &mut fetches[places[&term.xorb]];
            let chunks = term.chunk_start..term.chunk_end;
            let bytes = u64::from(term.byte_start)..=u64::from(term.byte_end) - 1;
            fetch.ranges.push(FetchRange { chunks: chunks.clone(), bytes });
            let xorb_hash = fetch.xorb.hash.into();
            named.push(Term { xorb_hash, unpacked_length: term.raw_bytes, chunks });
        }
        fetches.iter_mut().for_each(|fetch| merge(&mut fetch.ranges));
        let size = file.size;
        Ok(Reconstruction { size, range, offset_into_first_range: skip, terms: named, fetches })
    }

    /// The terms that `range` needs, the first and the last cut to the chunks that it needs, and how many bytes come before
    /// it in them. The range is not empty and within the terms.
    pub(super) async fn terms_of(
        &self,
        terms: &[XetTerm],
        range: Range<u64>,
    ) -> Result<(Vec<XetTerm>, u64), ReadError> {
        let (mut needed, mut offset) = (Vec::new(), 0u64);
        let (mut skip, mut end) = (0, 0);
        for term in terms {
            let after = offset + u64::from(term.raw_bytes);
            if after > range.start && offset < range.end {
                if needed.is_empty() {
                    skip = range.start - offset;
                }
                needed.push(*term);
                end = after;
            }
            offset = after;
        }
        // The last first: it may be the first as well, whose numbers then change.
        if let Some(last) = needed.last_mut().filter(|_| end > range.end) {
            let len = u64::from(last.raw_bytes) - (end - range.end);
            self.cut_end(last, len).await?;
        }
        if let Some(first) = needed.first_mut().filter(|_| skip > 0) {
            skip = self.cut_start(first, skip).await?;
        }
        Ok((needed, skip))
    }

    /// To the chunks that hold its first `len` bytes, at least one.
    async fn cut_end(&self, term: &mut XetTerm, len: u64) -> Result<(), ReadError> {
        let index = self.index_of(term).await?;
        let base = index.raw_range(term.chunk_start..term.chunk_end).map_err(|_| ReadError::Term)?.start;
        let last = u64::from(base) + len - 1;
        let chunk = u32::try_from(last).ok().and_then(|last| index.chunk_at(last)).ok_or(ReadError::Term)?;
        recut(term, &index, term.chunk_start..chunk + 1)
    }

    /// To the chunks from that on which holds the byte after the first `skip`; says how many of those are left.
    async fn cut_start(&self, term: &mut XetTerm, skip: u64) -> Result<u64, ReadError> {
        let index = self.index_of(term).await?;
        let base = index.raw_range(term.chunk_start..term.chunk_end).map_err(|_| ReadError::Term)?.start;
        let first = u64::from(base) + skip;
        let chunk =
            u32::try_from(first).ok().and_then(|first| index.chunk_at(first)).ok_or(ReadError::Term)?;
        recut(term, &index, chunk..term.chunk_end)?;
        let start = index.raw_range(chunk..term.chunk_end).map_err(|_| ReadError::Term)?.start;
        Ok(first - u64::from(start))
    }

    async fn index_of(&self, term: &XetTerm) -> Result<std::sync::Arc<crate::Index>, ReadError> {
        if let Some(index) = self.0.indexes.get(term.xorb) {
            return Ok(index);
        }
        let xorb = self.rows(vec![term.xorb]).await?.pop().ok_or(ReadError::XorbGone)?;
        self.index(&xorb).await
    }
}

fn recut(term: &mut XetTerm, index: &crate::Index, chunks: Range<u32>) -> Result<(), ReadError> {
    let bytes = index.serialized_range(chunks.clone()).map_err(|_| ReadError::Term)?;
    let raw = index.raw_range(chunks.clone()).map_err(|_| ReadError::Term)?;
    (term.chunk_start, term.chunk_end) = (chunks.start, chunks.end);
    (term.byte_start, term.byte_end) = (bytes.start, bytes.end);
    term.raw_bytes = raw.end - raw.start;
    Ok(())
}

/// Ranges that touch become one.
fn merge(ranges: &mut Vec<FetchRange>) {
    ranges.sort_by_key(|range| (range.chunks.start, range.chunks.end));
    ranges.dedup_by(|next, before| {
        let touches = next.chunks.start <= before.chunks.end;
        if touches && next.chunks.end > before.chunks.end {
            before.chunks.end = next.chunks.end;
            before.bytes = *before.bytes.start()..=*next.bytes.end();
        }
        touches
    });
}
