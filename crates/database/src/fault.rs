//! Fault points: places where a crash test ends the process as `kill -9` would. Always compiled; inert unless
//! `GRANARY_FAULT` names one. `granary debug faults` lists [`Point::ALL`]; a listed point that no test hits
//! fails the run.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

macro_rules! points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A place where the process can be made to die. The names are `operation.moment`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point { $($(#[$doc])* $variant,)* }

        impl Point {
            pub const ALL: &[Point] = &[$(Point::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(Point::$variant => $name,)* }
            }
        }
    };
}

points! {
    /// The push body is complete and indexed, nothing is stored.
    PushIndexed = "push.indexed",
    /// The `staged` row is committed, the pack file is not written.
    PushStaged = "push.staged",
    /// The pack file and its directory are durable, no row names it.
    PushPackDurable = "push.pack-durable",
    /// The pack of a commit over HTTP is durable (or goes into its row), no change names it.
    CommitDurable = "commit.durable",
    /// The pack of a merge is durable (or goes into its row), no change names it.
    MergeDurable = "merge.durable",
    /// Inside the transaction of a change, before COMMIT.
    ApplyBeforeCommit = "apply.before-commit",
    /// After COMMIT, before the client is told.
    ApplyAfterCommit = "apply.after-commit",
    /// A compaction has written its pack, its change is not applied.
    CompactPackDurable = "compact.pack-durable",
    /// The compaction's change is applied.
    CompactApplied = "compact.applied",
    /// A garbage collection has written its pack, its change is not applied.
    GcPackDurable = "gc.pack-durable",
    /// The collection's change is applied.
    GcApplied = "gc.applied",
    /// A condemned blob is deleted, its row still says condemned.
    SweepDeleted = "sweep.deleted",
    /// A manifest has been written, its row is not.
    ManifestWritten = "manifest.written",
    /// The journal of a bucket has been written, its row is not.
    BucketJournaled = "bucket.journaled",
    /// The row of a bucket says deleted, its journal does not.
    BucketDeleted = "bucket.deleted",
    /// A backup has copied the database, not yet the packs.
    BackupDatabaseCopied = "backup.database-copied",
    /// A backup has copied everything but its completion mark.
    BackupPacksCopied = "backup.packs-copied",
    /// The row of an LFS upload is committed, its client is not told where to upload.
    LfsUploadBegun = "lfs.upload-begun",
    /// All bytes of an LFS object are received and proven, not yet under its key.
    LfsObjectStaged = "lfs.object-staged",
    /// An LFS object is durable under its key, no row names it.
    LfsObjectDurable = "lfs.object-durable",
    /// An LFS object is linked, its client is not told.
    LfsObjectPublished = "lfs.object-published",
    /// An object in a bucket is linked as claimed, it is not read back.
    LfsClaimed = "lfs.claimed",
    /// The parts of an LFS object are assembled, no row names it.
    LfsMultipartCompleted = "lfs.multipart-completed",
    /// The bytes of a condemned LFS object are deleted, its row still says condemned.
    LfsKeyDeleted = "lfs.key-deleted",
    /// A xorb is received and proven, its row staged, nothing under its keys.
    XetXorbStaged = "xet.xorb-staged",
    /// The row of a grant is committed, its client is not told where to put the xorb.
    XetXorbGranted = "xet.xorb-granted",
    /// A xorb that a client put into the bucket is copied to its key, it is not read back.
    XetXorbCopied = "xet.xorb-copied",
    /// A xorb and its index are durable, no live row names them.
    XetXorbDurable = "xet.xorb-durable",
    /// The files of a shard are registered, their client is not told.
    XetShardCommitted = "xet.shard-committed",
    /// The row of a copy of a file in xorbs is staged, nothing is under its key.
    XetWholeStaged = "xet.whole-staged",
    /// A copy of a file in xorbs is durable, no live row names it.
    XetWholeDurable = "xet.whole-durable",
    /// The bytes of a condemned xorb are deleted, its row still says condemned.
    XetKeyDeleted = "xet.key-deleted",
    /// A delivery of a webhook is read and about to be sent.
    WebhookSending = "webhook.sending",
    /// The target of a webhook has answered, the row of the delivery still says that it waits.
    WebhookAnswered = "webhook.answered",
}

/// Ends the process here if `GRANARY_FAULT=<name>[:<n>]` names this point (at its n-th pass, default the first).
pub fn point(point: Point) {
    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSES: AtomicU64 = AtomicU64::new(0);
    let armed = ARMED.get_or_init(|| {
        let value = std::env::var("GRANARY_FAULT").ok()?;
        let (name, n) = value.split_once(':').unwrap_or((&value, "1"));
        Some((name.to_owned(), n.parse().unwrap_or(1)))
    });
    let Some((name, n)) = armed else { return };
    if name == point.name() && PASSES.fetch_add(1, Ordering::SeqCst) + 1 == *n {
        eprintln!("fault point {name} reached: ending the process");
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
