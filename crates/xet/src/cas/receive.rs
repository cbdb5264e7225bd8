//! A xorb from a client: proven while it is written.
//!
//! Pieces go to a blocking thread that unpacks and hashes them, and only what is proven goes on to the store: so nothing of
//! a footer is ever written, nor more of a bad xorb than came before the fault. Bytes and index are durable before the row
//! says so. Who brings a xorb that is here proves to have it as well, and its bytes are dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use auth::shares::Share;
use auth::{Authorized, Holder, Propose};
use bytes::Bytes;
use database::fault::{self, Point};
use database::{ProvenXorb, UploadId, Xorb, XorbPlaced, xorb_index_key, xorb_key};
use storage::{StoreError, Writer};
use tokio::task::JoinHandle;

use super::{Cas, Flight, XorbRefused, detached};
use crate::xorb::{Reader, XorbError};
use crate::{Hash, Index};

/// Gathered before a thread, being idle, gets it.
const PIECE_MIN: usize = 128 * 1024;
/// Gathered at most while it is busy.
const PIECE_MAX: usize = 512 * 1024;

/// A xorb that is arriving. Dropped, nothing of it stays.
pub struct ReceivingXorb {
    cas: Cas,
    access: Authorized<Propose, Holder>,
    hash: Hash,
    /// Not looked at yet.
    gathered: Vec<Bytes>,
    gathered_len: usize,
    proving: Proving,
    /// Looked at; the last chunk may not be whole yet.
    seen: VecDeque<Bytes>,
    kept: Kept,
    _share: Share,
}

/// What is to become of the bytes.
enum Kept {
    Written {
        writer: Writer,
        written: u64,
        landing: Landing,
    },
    /// It is here already.
    Not(Xorb),
}

/// Where they go.
pub(super) struct Landing {
    pub(super) flight: Flight,
    pub(super) hash: Hash,
    pub(super) upload: UploadId,
}

impl Landing {
    pub(super) fn key(&self) -> String {
        xorb_key(&self.hash.into(), self.upload)
    }
}

enum Proving {
    Idle(Box<Reader>),
    Busy(JoinHandle<Looked>),
    Failed,
}

/// What a thread gives back.
struct Looked {
    reader: Box<Reader>,
    pieces: Vec<Bytes>,
    proven: Result<(), XorbError>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedXorb {
    pub xorb: Xorb,
    pub was_inserted: bool,
}

impl Cas {
    /// `size` is the length of the body, if that is known.
    pub async fn receive_xorb(
        &self,
        access: impl Into<Authorized<Propose, Holder>>,
        hash: Hash,
        size: Option<u64>,
    ) -> Result<ReceivingXorb, XorbRefused> {
        let (access, limits) = (access.into(), self.0.config.xorb);
        let max = u64::from(limits.serialized_bytes);
        if size.is_some_and(|size| size > max + u64::from(limits.footer_bytes)) {
            return Err(XorbError::TooLarge { max: limits.serialized_bytes }.into());
        }
        let share = self.0.xorbs.take(access.actor(), 1).ok_or(XorbRefused::Busy)?;
        let kept = match self.0.database.xorb(&hash.into())? {
            Some(xorb) => Kept::Not(xorb),
            None => self.land(hash, size.unwrap_or(max).min(max)).await?,
        };
        Ok(ReceivingXorb {
            cas: self.clone(),
            access,
            hash,
            gathered: Vec::new(),
            gathered_len: 0,
            proving: Proving::Idle(Box::new(Reader::new(limits))),
            seen: VecDeque::new(),
            kept,
            _share: share,
        })
    }

    /// Names the keys, then opens them.
    async fn land(&self, hash: Hash, size: u64) -> Result<Kept, XorbRefused> {
        let landing = self.landing(hash).await?;
        let writer = self.0.store.writer(&landing.key(), size).await?.without_sha256();
        Ok(Kept::Written { writer, written: 0, landing })
    }

    /// Names the keys.
    pub(super) async fn landing(&self, hash: Hash) -> Result<Landing, XorbRefused> {
        let (id, upload) = self.0.database.stage_xorb(hash.into()).await?;
        Ok(Landing { flight: self.fly(id), hash, upload })
    }
}

impl ReceivingXorb {
    /// The next bytes, in any cut. After an error only the drop is left.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), XorbRefused> {
        self.gathered_len += bytes.len();
        self.gathered.push(bytes);
        let is_busy = matches!(&self.proving, Proving::Busy(job) if !job.is_finished());
        if self.gathered_len >= if is_busy { PIECE_MAX } else { PIECE_MIN } {
            let reader = self.settle().await?;
            self.prove(reader);
        }
        Ok(())
    }

    /// After the last byte. Runs to its end even if this is dropped. Returns when it is durable and its holder has it.
    pub async fn finish(self) -> Result<ReceivedXorb, XorbRefused> {
        detached(self.end()).await
    }

    async fn end(mut self) -> Result<ReceivedXorb, XorbRefused> {
        let reader = self.settle().await?;
        self.prove(reader);
        let reader = self.settle().await?;
        let index = reader.finish(&self.hash)?;
        let ReceivingXorb { cas, access, kept, _share, .. } = self;
        match kept {
            Kept::Not(xorb) => cas.brought_again(&access, xorb).await,
            Kept::Written { writer, landing, .. } => cas.publish(&access, writer, landing, index).await,
        }
    }

    /// Gives what was gathered to a blocking thread.
    fn prove(&mut self, mut reader: Box<Reader>) {
        let pieces = std::mem::take(&mut self.gathered);
        self.gathered_len = 0;
        self.proving = Proving::Busy(tokio::task::spawn_blocking(move || {
            let proven = pieces.iter().try_for_each(|piece| reader.push(piece));
            Looked { reader, pieces, proven }
        }));
    }

    /// Waits for that, and writes what is proven. Leaves `Failed` behind.
    async fn settle(&mut self) -> Result<Box<Reader>, XorbRefused> {
        let Looked { reader, pieces, proven } = match &mut self.proving {
            Proving::Idle(_) => match std::mem::replace(&mut self.proving, Proving::Failed) {
                Proving::Idle(reader) => return Ok(reader),
                Proving::Busy(_) | Proving::Failed => return Err(failed().into()),
            },
            // It stays until it has ended, lest a dropped future forget it.
            Proving::Busy(job) => job.await.map_err(|_| failed())?,
            Proving::Failed => return Err(failed().into()),
        };
        self.proving = Proving::Failed;
        proven?;
        let Kept::Written { writer, written, .. } = &mut self.kept else { return Ok(reader) };
        self.seen.extend(pieces);
        let proven_len = u64::from(reader.serialized_len());
        while *written < proven_len {
            let Some(mut piece) = self.seen.pop_front() else { return Err(failed().into()) };
            let len = usize::try_from(proven_len - *written).unwrap_or(usize::MAX).min(piece.len());
            let taken = piece.split_to(len);
            if !piece.is_empty() {
                self.seen.push_front(piece);
            }
            *written += taken.len() as u64;
            writer.write(taken).await?;
        }
        Ok(reader)
    }
}

fn failed() -> StoreError {
    StoreError::Io(std::io::Error::other("an earlier piece was not taken"))
}

impl Cas {
    async fn publish(
        &self,
        access: &Authorized<Propose, Holder>,
        writer: Writer,
        landing: Landing,
        index: Index,
    ) -> Result<ReceivedXorb, XorbRefused> {
        let complete = writer.finish().await?;
        if complete.size() != u64::from(index.serialized_len()) {
            return Err(failed().into());
        }
        fault::point(Point::XetXorbStaged);
        let (chunks, beside) = tokio::join!(complete.publish(), self.put_index(&landing, &index));
        chunks?;
        beside?;
        self.record(access, landing, index).await
    }

    /// Beside the xorb.
    pub(super) async fn put_index(&self, landing: &Landing, index: &Index) -> Result<(), StoreError> {
        let key = xorb_index_key(&landing.hash.into(), landing.upload);
        let bytes = Bytes::copy_from_slice(index.as_bytes());
        let mut writer = self.0.store.writer(&key, bytes.len() as u64).await?;
        writer.write(bytes).await?;
        writer.finish().await?.publish().await
    }

    /// The row. Chunks and index are durable, and proven.
    pub(super) async fn record(
        &self,
        access: &Authorized<Propose, Holder>,
        landing: Landing,
        index: Index,
    ) -> Result<ReceivedXorb, XorbRefused> {
        let mut flight = landing.flight;
        fault::point(Point::XetXorbDurable);
        still_allowed(self, access)?;
        let proven = ProvenXorb {
            id: flight.id,
            chunks: index.chunks(),
            raw_bytes: u64::from(index.raw_len()),
            stored_bytes: u64::from(index.serialized_len()),
            dedup_keys: index.dedup_keys(),
        };
        let placed = self.0.database.publish_xorb(access.holder_id(), proven).await?;
        // Live or condemned: either way the row is not staged any more.
        flight.landed = true;
        Ok(match placed {
            XorbPlaced::Live(xorb) => {
                self.0.indexes.put(xorb.id, Arc::new(index));
                ReceivedXorb { xorb, was_inserted: true }
            }
            XorbPlaced::Duplicate(xorb) => ReceivedXorb { xorb, was_inserted: false },
        })
    }

    pub(super) async fn brought_again(
        &self,
        access: &Authorized<Propose, Holder>,
        xorb: Xorb,
    ) -> Result<ReceivedXorb, XorbRefused> {
        still_allowed(self, access)?;
        match self.0.database.link_xorb(access.holder_id(), xorb.id).await? {
            true => Ok(ReceivedXorb { xorb, was_inserted: false }),
            // Collected meanwhile, and its bytes were dropped: the next try stores them.
            false => Err(XorbRefused::Busy),
        }
    }
}

/// A token may have been revoked while the bytes arrived, or a role taken away.
fn still_allowed(cas: &Cas, access: &Authorized<Propose, Holder>) -> Result<(), XorbRefused> {
    access.reauthorize(&cas.0.database)?;
    Ok(())
}
