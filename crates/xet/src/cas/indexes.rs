//! Indexes of xorbs, the last ones used in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use database::{Xorb, XorbId};
use storage::StoreError;
use tokio::task::JoinSet;

use super::errors::ReadError;
use super::{Cas, blocking};
use crate::{Hash, Index};

pub(super) struct Indexes {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_id: HashMap<XorbId, (Arc<Index>, u64)>,
    /// By when they were last used.
    by_use: BTreeMap<u64, XorbId>,
    uses: u64,
    bytes: usize,
}

impl Indexes {
    pub(super) fn new(bytes_max: usize) -> Indexes {
        Indexes { bytes_max, kept: Mutex::default() }
    }

    pub(super) fn get(&self, id: XorbId) -> Option<Arc<Index>> {
        let kept = &mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, used) = kept.by_id.get_mut(&id)?;
        kept.uses += 1;
        kept.by_use.remove(used);
        *used = kept.uses;
        kept.by_use.insert(kept.uses, id);
        Some(Arc::clone(index))
    }

    pub(super) fn put(&self, id: XorbId, index: Arc<Index>) {
        let kept = &mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let uses = kept.uses;
        kept.bytes += index.as_bytes().len();
        if let Some((old, used)) = kept.by_id.insert(id, (index, uses)) {
            kept.bytes -= old.as_bytes().len();
            kept.by_use.remove(&used);
        }
        kept.by_use.insert(uses, id);
        while kept.bytes > self.bytes_max {
            let Some((_, oldest)) = kept.by_use.pop_first() else { break };
            if let Some((index, _)) = kept.by_id.remove(&oldest) {
                kept.bytes -= index.as_bytes().len();
            }
        }
    }
}

impl Cas {
    pub(super) async fn index(&self, xorb: &Xorb) -> Result<Arc<Index>, ReadError> {
        if let Some(index) = self.0.indexes.get(xorb.id) {
            return Ok(index);
        }
        let index = Arc::new(self.read_index(xorb).await?);
        self.0.indexes.put(xorb.id, Arc::clone(&index));
        Ok(index)
    }

    /// Of each of `xorbs`, in their order; those that are not in memory are read at once.
    pub(super) async fn indexes(&self, xorbs: &[Xorb]) -> Result<Vec<Arc<Index>>, ReadError> {
        let mut known: HashMap<XorbId, Arc<Index>> = HashMap::new();
        let (mut reading, mut asked) = (JoinSet::new(), HashSet::new());
        for xorb in xorbs.iter().filter(|xorb| asked.insert(xorb.id)) {
            match self.0.indexes.get(xorb.id) {
                Some(index) => drop(known.insert(xorb.id, index)),
                None => {
                    let (cas, xorb) = (self.clone(), *xorb);
                    reading.spawn(async move { Ok((xorb.id, cas.index(&xorb).await?)) });
                }
            }
        }
        while let Some(read) = reading.join_next().await {
            let read: Result<_, ReadError> =
                read.map_err(|panic| StoreError::Io(std::io::Error::other(panic)))?;
            let (id, index) = read?;
            known.insert(id, index);
        }
        xorbs.iter().map(|xorb| known.get(&xorb.id).cloned().ok_or(ReadError::XorbGone)).collect()
    }

    /// Rows of xorbs, in the order of `ids`, off the async threads if they are many.
    pub(super) async fn rows(&self, ids: Vec<XorbId>) -> Result<Vec<Xorb>, ReadError> {
        const INLINE: usize = 256;
        let rows = match ids.len() <= INLINE {
            true => self.0.database.xorbs(&ids)?,
            false => {
                let database = self.0.database.clone();
                blocking(move || database.xorbs(&ids)).await?
            }
        };
        rows.into_iter().map(|row| row.ok_or(ReadError::XorbGone)).collect()
    }

    /// As it is stored, whatever is in memory.
    pub(super) async fn read_index(&self, xorb: &Xorb) -> Result<Index, ReadError> {
        let len = Index::stored_len(xorb.chunks);
        let mut reader = self.0.store.reader(&xorb.index_key(), 0..len).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        while let Some(piece) = reader.next().await? {
            bytes.extend_from_slice(&piece);
        }
        let index = Index::parse(bytes)?;
        let is_its = index.xorb_hash() == Hash::from(xorb.hash)
            && u64::from(index.raw_len()) == xorb.raw_bytes
            && u64::from(index.serialized_len()) == xorb.stored_bytes;
        if is_its { Ok(index) } else { Err(ReadError::OtherIndex) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xorb::{Compression, Limits, Writer};

    #[test]
    fn the_last_ones_used_are_kept_within_bytes() {
        let mut xorb = Writer::new(Limits::default());
        xorb.push(b"x", Compression::None).unwrap();
        let (_, index) = xorb.finish().unwrap();
        let index = Arc::new(index);
        let indexes = Indexes::new(index.as_bytes().len() * 2);
        for id in [1, 2] {
            indexes.put(XorbId(id), Arc::clone(&index));
        }
        assert!(indexes.get(XorbId(1)).is_some());
        indexes.put(XorbId(3), Arc::clone(&index));
        indexes.put(XorbId(3), index);
        let is_kept = |id| indexes.get(XorbId(id)).is_some();
        assert_eq!([1, 2, 3].map(is_kept), [true, false, true]);
    }
}
