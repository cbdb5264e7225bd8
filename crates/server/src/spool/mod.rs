//! Fetch answers on their way out: written once at full speed, read by any number of clients at theirs.
//!
//! A producer writes into an entry; readers follow it and need not wait for its end. The first MiB
//! of an unfinished answer is in memory; what is longer goes to a file without a name, which is mapped, so that
//! readers share page cache and own nothing. Finished answers of a known question stay and are the response cache:
//! they are immutable, hence bounded by bytes alone, the least recently used leaving first.
//!
//! A key must stand for everything the answer depends on. Who may have the answer is decided before it is asked for.

mod entry;
mod index;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use storage::Disk;

use crate::free::FreeSpace;

use entry::Entry;
pub use entry::{Broken, Reader, Writer};
use index::Index;

/// What the answer is an answer to, as a hash.
pub type Key = [u8; 32];

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one unfinished answer in memory; beyond it they go to the file.
    pub memory_per_answer: usize,
    /// Bytes of answers under way, those kept for later not counted.
    pub under_way_max: u64,
    /// Bytes of finished answers kept in memory: those up to `memory_per_answer`.
    pub kept_memory_max: u64,
    /// Bytes of finished answers kept on disk.
    pub kept_disk_max: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Spool(Arc<Shared>);

struct Shared {
    disk: Disk,
    free: FreeSpace,
    limits: Limits,
    index: Mutex<Index>,
    /// Bytes of all entries that somebody still holds, kept ones included.
    held: Arc<AtomicU64>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What [`Spool::claim`] found.
pub enum Claim {
    /// Finished, or being written by somebody else.
    Found(Reader),
    /// The caller is the one who writes it.
    Write(Writer, Reader),
}

/// Sizes for metrics, in bytes and in lookups since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub held_bytes: u64,
    pub kept_memory_bytes: u64,
    pub kept_disk_bytes: u64,
    pub hits: u64,
    pub misses: u64,
}

impl Spool {
    /// Files are made in the staging directory of `disk`, which is emptied at the next start, and grow as long as there
    /// is `free` space.
    pub fn new(disk: Disk, free: FreeSpace, limits: Limits) -> Spool {
        let index = Mutex::new(Index::new(limits.kept_memory_max, limits.kept_disk_max));
        let (held, hits, misses) = (Arc::default(), AtomicU64::new(0), AtomicU64::new(0));
        Spool(Arc::new(Shared { disk, free, limits, index, held, hits, misses }))
    }

    /// The finished or growing answer to `key`.
    pub fn get(&self, key: &Key) -> Option<Reader> {
        let found = self.0.index.lock().get(key).map(|entry| Reader::new(&entry));
        self.count(found.is_some());
        found
    }

    /// The answer to `key`, or the task to write it: of several who ask at once one gets it. Without a key it is
    /// always the caller's, and nobody else's.
    pub fn claim(&self, key: Option<Key>) -> Result<Claim, Broken> {
        let mut index = self.0.index.lock();
        if let Some(entry) = key.and_then(|key| index.get(&key)) {
            self.count(true);
            return Ok(Claim::Found(Reader::new(&entry)));
        }
        self.count(false);
        if !self.has_room(self.0.limits.memory_per_answer as u64) {
            return Err(Broken::NoRoom);
        }
        let entry = Arc::new(Entry::new(Arc::clone(&self.0.held)));
        let reader = Reader::new(&entry);
        if let Some(key) = key {
            index.begin(key, Arc::clone(&entry));
        }
        Ok(Claim::Write(Writer::new(self.clone(), key, entry), reader))
    }

    /// Drops every kept answer. Those being read are read to their end.
    pub fn clear(&self) {
        self.0.index.lock().clear();
    }

    pub fn stats(&self) -> Stats {
        let (kept_memory_bytes, kept_disk_bytes) = self.0.index.lock().kept_bytes();
        Stats {
            held_bytes: self.0.held.load(Ordering::Relaxed),
            kept_memory_bytes,
            kept_disk_bytes,
            hits: self.0.hits.load(Ordering::Relaxed),
            misses: self.0.misses.load(Ordering::Relaxed),
        }
    }

    fn has_room(&self, bytes: u64) -> bool {
        let limits = &self.0.limits;
        let max =
            limits.under_way_max.saturating_add(limits.kept_memory_max).saturating_add(limits.kept_disk_max);
        self.0.held.load(Ordering::Relaxed).saturating_add(bytes) <= max
    }

    fn count(&self, hit: bool) {
        let counter = if hit { &self.0.hits } else { &self.0.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;

    use bytes::Bytes;

    use super::*;
    use crate::config::Size;

    const LIMITS: Limits = Limits {
        memory_per_answer: 256 * 1024,
        under_way_max: 8 << 20,
        kept_memory_max: 1 << 20,
        kept_disk_max: 4 << 20,
    };

    fn spool(limits: Limits) -> (tempfile::TempDir, Spool) {
        spool_on(limits, Size(0))
    }

    fn spool_on(limits: Limits, min_free: Size) -> (tempfile::TempDir, Spool) {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let free = FreeSpace::new(disk.clone(), min_free, database::Clock::default());
        (directory, Spool::new(disk, free, limits))
    }

    fn write(spool: &Spool, key: Option<Key>) -> (Writer, Reader) {
        match spool.claim(key).unwrap() {
            Claim::Write(writer, reader) => (writer, reader),
            Claim::Found(_) => panic!("it should be ours to write"),
        }
    }

    async fn next(reader: &mut Reader) -> Option<Result<Bytes, Broken>> {
        poll_fn(|cx| reader.poll_next(cx)).await
    }

    async fn read_all(mut reader: Reader) -> Result<Vec<u8>, Broken> {
        let mut all = Vec::new();
        while let Some(chunk) = next(&mut reader).await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    /// Writes an answer that nobody reads further.
    fn keep(spool: &Spool, key: Key, answer: &[u8]) {
        let (mut writer, _reader) = write(spool, Some(key));
        writer.write_all(answer).unwrap();
        writer.finish().unwrap();
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 7) as u8 ^ at as u8).collect()
    }

    #[tokio::test]
    async fn small_answers_stay_in_memory_large_ones_go_to_a_file() {
        let (_directory, spool) = spool(LIMITS);
        for (n, len) in [0, 1, 65_536, 65_537, 256 * 1024, 256 * 1024 + 1, 3_000_001].into_iter().enumerate()
        {
            let key = [n as u8; 32];
            let (mut writer, reader) = write(&spool, Some(key));
            for part in pattern(len).chunks(1000) {
                writer.write_all(part).unwrap();
            }
            writer.finish().unwrap();
            assert_eq!(reader.remaining(), Some(len as u64));
            assert!(read_all(reader).await.unwrap() == pattern(len), "{len}");
            let again = spool.get(&key).unwrap();
            assert!(read_all(again).await.unwrap() == pattern(len), "{len} from the cache");
        }
        let stats = spool.stats();
        assert_eq!(stats.kept_disk_bytes, 256 * 1024 + 1 + 3_000_001);
        assert!(stats.kept_memory_bytes >= 1 + 65_536 + 65_537 + 256 * 1024);
        assert_eq!((stats.hits, stats.misses), (7, 7));
    }

    #[tokio::test]
    async fn readers_follow_the_writer_each_at_its_own_pace() {
        let (_directory, spool) = spool(LIMITS);
        let key = [1; 32];
        let (mut writer, mut early) = write(&spool, Some(key));
        let content = pattern(2_000_000);
        writer.write_all(&content[..10]).unwrap();
        writer.flush().unwrap();
        assert_eq!(next(&mut early).await.unwrap().unwrap(), content[..10]);

        let Claim::Found(slow) = spool.claim(Some(key)).unwrap() else { panic!("one writer only") };
        let quick = tokio::spawn(read_all(spool.get(&key).unwrap()));
        let rest = content[10..].to_vec();
        let production = tokio::task::spawn_blocking(move || {
            writer.write_all(&rest).unwrap();
            writer.finish().unwrap();
        });
        assert!(quick.await.unwrap().unwrap() == content);
        production.await.unwrap();
        // Nobody waited for the slow one, who still gets everything.
        assert!(read_all(slow).await.unwrap() == content);
        assert!(read_all(early).await.unwrap() == content[10..]);
    }

    #[tokio::test]
    async fn a_failed_production_never_looks_complete() {
        let (_directory, spool) = spool(LIMITS);
        let key = [2; 32];
        let (mut writer, reader) = write(&spool, Some(key));
        let mut other = spool.get(&key).unwrap();
        writer.write_all(&pattern(100_000)).unwrap();
        drop(writer);
        assert_eq!(read_all(reader).await, Err(Broken::Failed));
        assert!(next(&mut other).await.unwrap().is_ok(), "what was written can be read");
        assert_eq!(next(&mut other).await, Some(Err(Broken::Failed)));
        assert!(spool.get(&key).is_none(), "the next one tries again");

        let (writer, reader) = write(&spool, Some(key));
        writer.fail(Broken::Busy);
        assert_eq!(reader.started().await, Err(Broken::Busy));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_to_be_kept_is_still_read_to_its_end() {
        let (_directory, spool) = spool(LIMITS);
        let key = [3; 32];
        let (mut writer, reader) = write(&spool, Some(key));
        writer.write_all(b"ERR").unwrap();
        writer.finish_unkept().unwrap();
        assert_eq!(read_all(reader).await.unwrap(), b"ERR");
        assert!(spool.get(&key).is_none());
    }

    #[tokio::test]
    async fn nobody_reads_so_nobody_writes() {
        let (_directory, spool) = spool(LIMITS);
        let key = [4; 32];
        let (mut writer, reader) = write(&spool, Some(key));
        drop(reader);
        let written = writer.write_all(&pattern(1_000_000));
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        assert!(spool.get(&key).is_none());
        drop(writer);
        assert_eq!(spool.stats().held_bytes, 0);
    }

    #[tokio::test]
    async fn the_cap_holds_for_all_answers_together() {
        let limits = Limits { kept_memory_max: 0, kept_disk_max: 0, ..LIMITS };
        let (_directory, spool) = spool(limits);
        let (mut first, kept_by_reader) = write(&spool, None);
        first.write_all(&pattern(6 << 20)).unwrap();
        first.finish().unwrap();
        let (mut second, reader) = write(&spool, None);
        let error = second.write_all(&pattern(3 << 20)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        drop(second);
        assert_eq!(read_all(reader).await, Err(Broken::NoRoom));

        let (mut third, third_reader) = write(&spool, None);
        third.write_all(&pattern((2 << 20) - 100)).unwrap();
        third.flush().unwrap();
        assert!(matches!(spool.claim(None), Err(Broken::NoRoom)), "not even begun");
        drop((kept_by_reader, third, third_reader));
        assert_eq!(spool.stats().held_bytes, 0);
        assert!(spool.claim(None).is_ok());
    }

    #[tokio::test]
    async fn an_answer_with_a_gap_is_never_complete() {
        let limits = Limits { kept_memory_max: 0, kept_disk_max: 0, ..LIMITS };
        let (_directory, spool) = spool(limits);
        let (mut first, first_reader) = write(&spool, None);
        first.write_all(&pattern(7 << 20)).unwrap();
        let (mut second, second_reader) = write(&spool, None);
        second.write_all(&pattern(2 << 20)).unwrap_err();
        // There is room again for what tells of the error, but what comes before it is lost.
        drop((first, first_reader));
        assert!(second.write_all(&pattern(100_000)).is_err());
        let error = second.finish_unkept().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(read_all(second_reader).await, Err(Broken::NoRoom));
    }

    #[tokio::test]
    async fn files_do_not_grow_when_the_disk_is_nearly_full() {
        let (_directory, spool) = spool_on(LIMITS, Size(u64::MAX / 2));
        let (mut small, reader) = write(&spool, None);
        small.write_all(&pattern(LIMITS.memory_per_answer)).unwrap();
        small.finish().unwrap();
        assert!(read_all(reader).await.is_ok(), "it needs no file");
        let (mut large, reader) = write(&spool, None);
        let error = large.write_all(&pattern(LIMITS.memory_per_answer + 65_536)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        drop(large);
        assert_eq!(read_all(reader).await, Err(Broken::DiskFull));
    }

    #[tokio::test]
    async fn the_least_recently_used_leave_the_cache() {
        let (_directory, spool) = spool(LIMITS);
        let key = |n: u8| [n; 32];
        for n in 0..4 {
            keep(&spool, key(n), &[n; 250_000]);
        }
        assert!(spool.get(&key(0)).is_some());
        keep(&spool, key(4), &[4; 250_000]);
        let there: Vec<u8> = (0..5).filter(|&n| spool.get(&key(n)).is_some()).collect();
        assert_eq!(there, [0, 2, 3, 4]);
        assert!(spool.stats().held_bytes <= LIMITS.kept_memory_max);
        spool.clear();
        assert_eq!(spool.stats().held_bytes, 0);
    }

    #[tokio::test]
    async fn an_answer_larger_than_the_cache_is_not_kept() {
        let (_directory, spool) = spool(LIMITS);
        keep(&spool, [7; 32], &pattern((4 << 20) + 1));
        assert!(spool.get(&[7; 32]).is_none());
        assert_eq!(spool.stats(), Stats { misses: 2, ..Stats::default() });
        keep(&spool, [8; 32], &pattern(4 << 20));
        assert!(spool.get(&[8; 32]).is_some(), "at the bound");
    }
}
