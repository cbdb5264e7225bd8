//! A database with a user and a repository, and short ways to say a change.

use bytes::Bytes;
use database::{
    Applied, ApplyError, Change, Clock, Conflict, Database, Expected, NewPack, NewRepo, Oid, PackContent,
    PackId, PackKind, RefEdit, RefOutcome, RefRejection, Repo, RepoId, RepoPath, Visibility,
};

/// Deleted with its directory when dropped.
pub struct Hub {
    pub db: Database,
    pub clock: Clock,
    pub repo: Repo,
    pub directory: tempfile::TempDir,
}

/// With the user `Acme` and her empty model `Acme/model`.
pub async fn hub() -> Hub {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::default();
    let db = open(&directory, &clock);
    db.create_user("Acme".parse().unwrap(), false).await.unwrap();
    let repo = db.create_repo(new_repo("acme/model")).await.unwrap();
    Hub { db, clock, repo, directory }
}

/// The one place that knows the engine.
pub fn open(directory: &tempfile::TempDir, clock: &Clock) -> Database {
    Database::open(&directory.path().join("granary.db"), clock.clone()).unwrap()
}

impl Hub {
    /// The repo as its row is now.
    pub fn repo(&self) -> Repo {
        self.db.repo(self.repo.id).unwrap().unwrap()
    }

    /// `name oid` of each ref, short.
    pub fn refs(&self) -> Vec<(String, Oid)> {
        let rows = self.db.snapshot(self.repo.id).unwrap().unwrap();
        rows.refs.into_iter().map(|row| (row.name, row.oid)).collect()
    }

    pub fn live_packs(&self) -> Vec<PackId> {
        self.db.snapshot(self.repo.id).unwrap().unwrap().packs.into_iter().map(|pack| pack.id).collect()
    }

    pub async fn apply(&self, refs: Vec<RefEdit>) -> Applied {
        self.db.apply(change(self.repo.id, refs)).await.unwrap()
    }

    pub async fn conflict(&self, change: Change) -> Conflict {
        match self.db.apply(change).await {
            Err(ApplyError::Conflict(conflict)) => conflict,
            other => panic!("{other:?} is no conflict"),
        }
    }

    /// A stored pack, staged, added and so live.
    pub async fn stored(&self, bytes: u64) -> PackId {
        let id = PackId::new();
        self.db.stage_pack(id, self.repo.id).await.unwrap();
        let pack = NewPack { content: PackContent::Stored { bytes }, ..pack(id, 0) };
        self.db.apply(Change { packs_added: vec![pack], ..change(self.repo.id, vec![]) }).await.unwrap();
        id
    }

    /// Nothing that ever happened may leave the rows in disorder.
    pub fn assert_sound(&self) {
        assert_eq!(self.db.check().unwrap(), Vec::<String>::new());
    }
}

pub fn path(path: &str) -> RepoPath {
    path.parse().unwrap()
}

pub fn new_repo(name: &str) -> NewRepo {
    NewRepo {
        path: path(name),
        visibility: Visibility::Private,
        mirror: false,
        blob_bytes_max: None,
        lfs_incomplete: false,
    }
}

pub fn oid(n: u8) -> Oid {
    Oid([n; 20])
}

pub fn change(repo: RepoId, refs: Vec<RefEdit>) -> Change {
    Change {
        repo,
        acl_version: None,
        gc_epoch: 0,
        refs,
        refs_max: 1_000_000,
        atomic: false,
        packs_added: vec![],
        packs_superseded: vec![],
        superseded_until_ms: 0,
        generation: None,
        head_ref: None,
        links_required: Vec::new(),
        links_dropped: Vec::new(),
        locks_version: None,
        collects: false,
        actor: None,
        message: "push".to_owned(),
    }
}

/// An inline pack of so many bytes.
pub fn pack(id: PackId, bytes: usize) -> NewPack {
    let content = PackContent::Inline(Bytes::from(vec![7; bytes]));
    NewPack { id, kind: PackKind::Receive, objects: 3, closure: false, content }
}

pub fn create(name: &str, new: Oid) -> RefEdit {
    RefEdit { name: name.to_owned(), expected: Expected::Absent, new, peeled: None }
}

pub fn update(name: &str, old: Oid, new: Oid) -> RefEdit {
    RefEdit { name: name.to_owned(), expected: Expected::At(old), new, peeled: None }
}

pub fn delete(name: &str, old: Oid) -> RefEdit {
    update(name, old, Oid::NULL)
}

pub fn moved(old: Oid) -> RefOutcome {
    RefOutcome::Moved { old }
}

pub fn not_there(name: &str, actual: Oid) -> RefOutcome {
    RefOutcome::Rejected(RefRejection::Moved { name: name.to_owned(), actual })
}

pub fn clash(name: &str, existing: &str) -> RefOutcome {
    RefOutcome::Rejected(RefRejection::NameClash { name: name.to_owned(), existing: existing.to_owned() })
}
