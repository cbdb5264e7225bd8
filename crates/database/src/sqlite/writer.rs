//! The one writer: a thread that runs waiting jobs as savepoints of one transaction (group commit).
//!
//! A job is answered only after its transaction is committed, that is after fsync. A failing job undoes its
//! own savepoint. If the commit fails, or the engine gives up the transaction, every job that ran in it gets
//! the error: even one that found a conflict may have found it with a neighbour that is now undone.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Notify, mpsc, oneshot};

use super::error::WriteError;
use super::recent::Commits;
use super::{DbError, schema, webhooks};
use crate::fault;

/// Jobs that may wait; callers beyond it wait for a place.
const QUEUE_MAX: usize = 1024;
/// Jobs of one transaction.
const BATCH_MAX: usize = 256;
/// No further job joins a transaction that is as old as this: the first one waits for its answer.
const BATCH_TIME: Duration = Duration::from_millis(50);

/// WAL pages (4 MiB) from which a quiet moment is used for a checkpoint.
const WAL_PAGES_IDLE: u32 = 1_000;
/// WAL pages (32 MiB) from which one is made in any case, and the WAL begun anew.
const WAL_PAGES_MAX: u32 = 8_000;
/// How long that one waits for readers (a running backup may read for minutes) while writes wait for it.
const RESTART_TIMEOUT: Duration = Duration::from_millis(200);

thread_local! {
    /// Pages in the WAL after the last commit; set by SQLite's hook, on the writer thread.
    static WAL_PAGES: Cell<u32> = const { Cell::new(0) };
}

/// Whether the crash test's points apply to a job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Plain,
    Apply,
}

pub(super) struct Writer {
    queue: Option<mpsc::Sender<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// `queued` is notified after each commit that queued deliveries of webhooks.
    pub(super) fn start(conn: Connection, commits: Commits, queued: Arc<Notify>) -> std::io::Result<Writer> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("rows-writer".to_owned())
            .spawn(move || serve(conn, jobs, commits, &queued))?;
        Ok(Writer { queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    /// Queues `work` and waits for its transaction.
    pub(super) async fn run<T, E>(
        &self,
        sort: Sort,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError,
    {
        let (reply, answer) = oneshot::channel();
        let job = Typed { sort, work: Some(work), outcome: None, reply };
        let queue = self.queue.as_ref().ok_or(DbError::Closed)?;
        queue.send(Message::Job(Box::new(job))).await.map_err(|_| DbError::Closed)?;
        // The sender is dropped unanswered if the writer has stopped, or died, with the job in its queue.
        answer.await.map_err(|_| DbError::Closed)?
    }

    /// Returns after everything queued before is done and the file is closed.
    pub(super) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if let Some(queue) = &self.queue
            && queue.send(Message::Stop(done)).await.is_ok()
        {
            // An error says that the writer stopped already.
            let _ = stopped.await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the database writer had panicked");
        }
    }
}

enum Message {
    Job(Box<dyn Job>),
    Stop(oneshot::Sender<()>),
}

/// A write with its types hidden.
trait Job: Send {
    fn sort(&self) -> Sort;
    /// Runs the work, keeps its outcome, and says whether it went well.
    fn run(&mut self, conn: &Connection) -> bool;
    /// Called instead of keeping an outcome when `run` panicked.
    fn panicked(&mut self);
    /// The database error among its outcomes, if it is one.
    fn failure(&self) -> Option<&DbError>;
    /// Tells the caller: its own outcome, or what became of the transaction.
    fn answer(self: Box<Self>, transaction: &Result<(), DbError>);
}

struct Typed<W, T, E> {
    sort: Sort,
    work: Option<W>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<W, T, E> Job for Typed<W, T, E>
where
    W: FnOnce(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: WriteError,
{
    fn sort(&self) -> Sort {
        self.sort
    }

    fn run(&mut self, conn: &Connection) -> bool {
        let outcome = match self.work.take() {
            Some(work) => work(conn),
            None => Err(E::from(DbError::Closed)),
        };
        let good = outcome.is_ok();
        self.outcome = Some(outcome);
        good
    }

    fn panicked(&mut self) {
        self.outcome = Some(Err(E::from(DbError::Panicked)));
    }

    fn failure(&self) -> Option<&DbError> {
        self.outcome.as_ref()?.as_ref().err()?.database()
    }

    fn answer(self: Box<Self>, transaction: &Result<(), DbError>) {
        let outcome = match (transaction, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(E::from(DbError::Closed)),
            (Err(error), _) => Err(E::from(error.again())),
        };
        // A caller that left does not need it.
        let _ = self.reply.send(outcome);
    }
}

/// The thread's life.
fn serve(conn: Connection, mut jobs: mpsc::Receiver<Message>, commits: Commits, queued: &Notify) {
    conn.wal_hook(Some(|_, pages| {
        WAL_PAGES.set(u32::try_from(pages).unwrap_or(0));
        Ok(())
    }));
    let mut next_checkpoint = Checkpoints::default();
    let stopped = loop {
        match jobs.blocking_recv() {
            None => break None,
            Some(Message::Stop(done)) => break Some(done),
            Some(Message::Job(first)) => {
                let stop = batch(&conn, first, &mut jobs, &commits);
                if webhooks::take_queued() {
                    queued.notify_one();
                }
                if stop.is_some() {
                    break stop;
                }
                next_checkpoint.tend(&conn, jobs.is_empty());
            }
        }
    };
    // Jobs that came after the stop are dropped with the queue: their callers are told `Closed`.
    drop(jobs);
    if let Err(error) = checkpoint(&conn, "TRUNCATE") {
        tracing::warn!(%error, "the last checkpoint failed; the next start does it");
    }
    if let Err((_, error)) = conn.close() {
        tracing::warn!(%error, "closing the database failed");
    }
    if let Some(done) = stopped {
        // Nobody may be waiting any more.
        let _ = done.send(());
    }
}

/// One transaction: `first` and whatever is waiting, within bounds. Returns the stop order if it came upon
/// one.
fn batch(
    conn: &Connection,
    first: Box<dyn Job>,
    jobs: &mut mpsc::Receiver<Message>,
    commits: &Commits,
) -> Option<oneshot::Sender<()>> {
    let started = Instant::now();
    let mut stop = None;
    let mut ran: Vec<Box<dyn Job>> = Vec::new();
    let mut result = conn.execute_batch("BEGIN IMMEDIATE").map_err(DbError::from);
    let mut next = Some(first);
    while let Some(mut job) = next.take() {
        if result.is_ok() {
            result = in_savepoint(conn, job.as_mut());
        }
        ran.push(job);
        if result.is_ok() && ran.len() < BATCH_MAX && started.elapsed() < BATCH_TIME {
            match jobs.try_recv() {
                Ok(Message::Job(job)) => next = Some(job),
                Ok(Message::Stop(done)) => stop = Some(done),
                // Empty, or no sender is left; the latter is noticed by the next receive.
                Err(_) => {}
            }
        }
    }
    let applies = ran.iter().any(|job| job.sort() == Sort::Apply);
    let result = result.and_then(|()| {
        if applies {
            fault::point(fault::Point::ApplyBeforeCommit);
        }
        Ok(commits.during(|| conn.execute_batch("COMMIT"))?)
    });
    match &result {
        Ok(()) if applies => fault::point(fault::Point::ApplyAfterCommit),
        Ok(()) => {}
        Err(error) => {
            tracing::error!(%error, jobs = ran.len(), "a transaction failed and was undone");
            if !conn.is_autocommit()
                && let Err(error) = conn.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "rollback failed");
            }
        }
    }
    for job in ran {
        job.answer(&result);
    }
    stop
}

/// Runs one job so that its failure undoes it alone. An error means that the whole transaction is lost.
fn in_savepoint(conn: &Connection, job: &mut dyn Job) -> Result<(), DbError> {
    conn.prepare_cached("SAVEPOINT job")?.execute([])?;
    let good = match catch_unwind(AssertUnwindSafe(|| job.run(conn))) {
        Ok(good) => good,
        Err(_) => {
            tracing::error!("a write panicked; it is undone");
            job.panicked();
            false
        }
    };
    // A full disk or an I/O error may end the transaction behind our back.
    if conn.is_autocommit() {
        let error = job.failure().map(DbError::again);
        return Err(error.unwrap_or_else(|| DbError::Corrupt("a job ended the transaction".to_owned())));
    }
    if !good {
        conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    conn.prepare_cached("RELEASE job")?.execute([])?;
    Ok(())
}

/// When to move the WAL's pages into the database. SQLite's own way is at the end of whichever commit passes
/// a mark, while its caller waits, and without an upper bound; this is between commits, and starts the WAL
/// anew at the bound.
#[derive(Default)]
struct Checkpoints {
    /// Pages at which the next attempt is made, after one that readers kept from finishing.
    retry_idle: u32,
    retry_full: u32,
}

impl Checkpoints {
    fn tend(&mut self, conn: &Connection, idle: bool) {
        let pages = WAL_PAGES.get();
        if pages < WAL_PAGES_IDLE {
            *self = Checkpoints::default();
            return;
        }
        let result = if pages >= self.retry_full.max(WAL_PAGES_MAX) {
            self.retry_full = pages + WAL_PAGES_MAX;
            conn.busy_timeout(RESTART_TIMEOUT)
                .and_then(|()| checkpoint(conn, "RESTART"))
                .and_then(|()| conn.busy_timeout(schema::BUSY_TIMEOUT))
        } else if idle && pages >= self.retry_idle.max(WAL_PAGES_IDLE) {
            self.retry_idle = pages + WAL_PAGES_IDLE;
            checkpoint(conn, "PASSIVE")
        } else {
            return;
        };
        if let Err(error) = result {
            tracing::warn!(%error, pages, "a checkpoint failed; the log grows until one succeeds");
        }
    }
}

/// That readers kept it from finishing is not an error.
fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<()> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<i64, DbError>>;

    fn job(
        work: impl FnOnce(&Connection) -> Result<i64, DbError> + Send + 'static,
    ) -> (Box<dyn Job>, Answer) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Typed { sort: Sort::Plain, work: Some(work), outcome: None, reply }), answer)
    }

    /// Inserts `n` and returns it.
    fn insert(n: i64) -> (Box<dyn Job>, Answer) {
        job(move |conn| {
            conn.execute("INSERT INTO t VALUES (?1, NULL)", [n])?;
            Ok(n)
        })
    }

    fn database() -> (tempfile::TempDir, Connection) {
        let directory = tempfile::tempdir().unwrap();
        let conn = schema::open_writer(&directory.path().join("t.db")).unwrap();
        let sql =
            "CREATE TABLE t (n INTEGER PRIMARY KEY, up INTEGER REFERENCES t DEFERRABLE INITIALLY DEFERRED)";
        conn.execute_batch(sql).unwrap();
        (directory, conn)
    }

    /// Runs all of them as one batch; what they were told, and what is in the table.
    fn run(conn: &Connection, jobs: Vec<(Box<dyn Job>, Answer)>) -> (Vec<Result<i64, DbError>>, Vec<i64>) {
        let (queue, mut waiting) = mpsc::channel(jobs.len());
        let mut answers = vec![];
        for (job, answer) in jobs {
            queue.try_send(Message::Job(job)).ok().unwrap();
            answers.push(answer);
        }
        while let Ok(Message::Job(first)) = waiting.try_recv() {
            assert!(batch(conn, first, &mut waiting, &Commits::default()).is_none());
            assert!(conn.is_autocommit());
        }
        let told = answers.iter_mut().map(|answer| answer.try_recv().unwrap()).collect();
        let mut statement = conn.prepare("SELECT n FROM t ORDER BY n").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        (told, rows)
    }

    #[test]
    fn a_failing_or_panicking_job_is_undone_alone() {
        let (_directory, conn) = database();
        let fails = job(|conn| {
            conn.execute_batch("INSERT INTO t VALUES (10, NULL)")?;
            Err(DbError::Corrupt("x".to_owned()))
        });
        let panics = job(|conn| {
            conn.execute_batch("INSERT INTO t VALUES (11, NULL)")?;
            panic!("on purpose");
        });
        let twice = insert(1);
        let (told, rows) = run(&conn, vec![insert(1), fails, panics, twice, insert(2)]);
        assert_eq!(rows, [1, 2]);
        assert!(matches!(
            told[..],
            [Ok(1), Err(DbError::Corrupt(_)), Err(DbError::Panicked), Err(DbError::Sqlite(_)), Ok(2)]
        ));
    }

    #[test]
    fn a_commit_that_fails_fails_every_job() {
        let (_directory, conn) = database();
        let orphan = job(|conn| {
            conn.execute_batch("INSERT INTO t VALUES (10, 99)")?;
            Ok(10)
        });
        let (told, rows) = run(&conn, vec![insert(1), orphan, insert(2)]);
        assert_eq!(rows, [] as [i64; 0]);
        assert!(told.iter().all(|told| matches!(told, Err(DbError::Sqlite(_)))), "{told:?}");
        assert_eq!(run(&conn, vec![insert(3)]).1, [3], "the next batch is not affected");
    }

    #[test]
    fn when_the_engine_gives_up_the_transaction_the_rest_runs_in_another() {
        let (_directory, conn) = database();
        let loses = job(|conn| {
            conn.execute_batch("ROLLBACK")?;
            Err(DbError::Full)
        });
        let (told, rows) = run(&conn, vec![insert(1), loses, insert(2)]);
        assert_eq!(rows, [2]);
        assert!(matches!(told[..], [Err(DbError::Full), Err(DbError::Full), Ok(2)]), "{told:?}");
    }

    #[test]
    fn a_full_disk_is_told_as_such() {
        let (_directory, conn) = database();
        conn.execute_batch("CREATE TABLE big (b BLOB)").unwrap();
        let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        conn.pragma_update(None, "max_page_count", pages + 2).unwrap();
        let big = job(|conn| {
            conn.execute("INSERT INTO big VALUES (zeroblob(100000))", [])?;
            Ok(0)
        });
        // The engine may give up the transaction, and those before in it. Not those behind.
        let (told, rows) = run(&conn, vec![big, insert(1), insert(2)]);
        assert!(matches!(told[..], [Err(DbError::Full), Ok(1), Ok(2)]), "{told:?}");
        assert_eq!(rows, [1, 2]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let (_directory, conn) = database();
        let (queue, mut waiting) = mpsc::channel(2 * BATCH_MAX);
        for n in 1..2 * BATCH_MAX as i64 {
            queue.try_send(Message::Job(insert(n).0)).ok().unwrap();
        }
        batch(&conn, insert(0).0, &mut waiting, &Commits::default());
        assert!(waiting.len() >= BATCH_MAX);
    }

    #[test]
    fn durability_is_asked_for() {
        let (_directory, conn) = database();
        let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(
            (pragma("synchronous"), pragma("foreign_keys"), pragma("page_size")),
            (2, 1, i64::from(super::schema::PAGE_SIZE))
        );
    }

    /// A reader that stays keeps the log from being begun anew, not from being written; once it leaves, it
    /// is.
    #[test]
    fn checkpoints_wait_briefly_for_readers() {
        let (directory, conn) = database();
        conn.wal_hook(Some(|_, pages| {
            WAL_PAGES.set(u32::try_from(pages).unwrap_or(0));
            Ok(())
        }));
        conn.execute_batch("CREATE TABLE big (b BLOB)").unwrap();
        let fill = || conn.execute("INSERT INTO big VALUES (zeroblob(4000000))", []).unwrap();
        let mut checkpoints = Checkpoints::default();
        let reader = schema::open_reader(&directory.path().join("t.db")).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        while WAL_PAGES.get() < WAL_PAGES_MAX {
            fill();
        }
        checkpoints.tend(&conn, false);
        let held = checkpoints.retry_full;
        assert!(held > WAL_PAGES.get(), "the next attempt is not made at once");
        fill();
        checkpoints.tend(&conn, true);
        assert_eq!(checkpoints.retry_full, held);
        reader.execute_batch("COMMIT").unwrap();
        while WAL_PAGES.get() < held && WAL_PAGES.get() >= WAL_PAGES_IDLE {
            fill();
            checkpoints.tend(&conn, true);
        }
        fill();
        assert!(WAL_PAGES.get() < WAL_PAGES_MAX, "{} pages", WAL_PAGES.get());
    }
}
