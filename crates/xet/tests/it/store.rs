//! A hub with repositories of two users, and a client.

use std::path::Path;
use std::time::Duration;

use auth::{Authorized, Identity, Propose, Read, Right, Settings, authorize};
use bytes::Bytes;
use database::{Clock, Database, NewRepo, Quota, Repo, TokenRole, User, Visibility};
use storage::{Disk, ObjectStore};
use xet::merkle::Tree;
use xet::shard::{self, Term};
use xet::xorb::{Compression, Limits, Writer};
use xet::{
    Cas, CheckedObjects, CommitError, Config, Hash, Index, ReceivedXorb, RegisteredFile, ShardRefused,
    Stream, XorbRefused, chunker,
};

pub const DAY_MS: i64 = 24 * 3600 * 1000;

pub struct Hub {
    pub db: Database,
    pub clock: Clock,
    pub cas: Cas,
    /// `acme/model`
    pub repo: Repo,
    /// `acme/fork`
    pub fork: Repo,
    /// `other/secret`, which acme may not see.
    pub secret: Repo,
    pub owner: Identity,
    pub other: Identity,
    pub directory: tempfile::TempDir,
}

pub fn config() -> Config {
    Config { turn_wait: Duration::from_millis(50), ..Config::default() }
}

pub async fn hub() -> Hub {
    with(config()).await
}

pub async fn with(config: Config) -> Hub {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::default();
    let (db, cas) = open(directory.path(), &clock, config);
    let owner = db.create_user("acme".parse().unwrap(), false).await.unwrap();
    let other = db.create_user("other".parse().unwrap(), false).await.unwrap();
    let (owner, other) = (identity(&db, &owner).await, identity(&db, &other).await);
    let repo = create(&db, "acme/model").await;
    let (fork, secret) = (create(&db, "acme/fork").await, create(&db, "other/secret").await);
    Hub { db, clock, cas, repo, fork, secret, owner, other, directory }
}

pub fn open(directory: &Path, clock: &Clock, config: Config) -> (Database, Cas) {
    let db = Database::open(&directory.join("granary.db"), clock.clone()).unwrap();
    let store = ObjectStore::on(Disk::open(directory).unwrap());
    let cas = Cas::new(db.clone(), store, config);
    (db, cas)
}

async fn identity(db: &Database, user: &User) -> Identity {
    let (_, secret) = auth::issue(db, user.id, "test".into(), TokenRole::Write).await.unwrap();
    auth::identify(db, &auth::Credential::Token(secret)).unwrap()
}

pub async fn create(db: &Database, path: &str) -> Repo {
    let (path, visibility) = (path.parse().unwrap(), Visibility::Private);
    let new = NewRepo { path, visibility, mirror: false, blob_bytes_max: None, lfs_incomplete: false };
    db.create_repo(new).await.unwrap()
}

impl Hub {
    /// As its owner.
    pub fn may<A: Right>(&self, repo: &Repo) -> Authorized<A> {
        let who = if repo.path.to_string().starts_with("other/") { &self.other } else { &self.owner };
        authorize(Settings::default(), who, repo.clone()).unwrap()
    }

    pub async fn send(&self, repo: &Repo, hash: Hash, body: &[u8]) -> Result<ReceivedXorb, XorbRefused> {
        self.send_in(repo, hash, body, 100_000).await
    }

    /// In pieces of that size.
    pub async fn send_in(
        &self,
        repo: &Repo,
        hash: Hash,
        body: &[u8],
        piece: usize,
    ) -> Result<ReceivedXorb, XorbRefused> {
        let mut receiving = self.cas.receive_xorb(self.may::<Propose>(repo), hash, None).await?;
        for piece in body.chunks(piece) {
            receiving.write(Bytes::copy_from_slice(piece)).await?;
        }
        receiving.finish().await
    }

    pub async fn check(&self, shard: Vec<u8>) -> Result<CheckedObjects, ShardRefused> {
        self.cas.check_shard(shard.into(), |_| {}).await?.objects()
    }

    pub async fn commit(
        &self,
        repo: &Repo,
        checked: CheckedObjects,
    ) -> Result<Vec<RegisteredFile>, CommitError> {
        self.cas.commit_shard(self.may(repo), Quota::Default(None), checked).await
    }

    /// Xorbs and shard of a file.
    pub async fn upload(&self, repo: &Repo, made: &Made) -> RegisteredFile {
        for (hash, bytes, _) in &made.xorbs {
            self.send(repo, *hash, bytes).await.unwrap();
        }
        let checked = self.check(made.shard()).await.unwrap();
        self.commit(repo, checked).await.unwrap()[0]
    }

    pub async fn read(&self, repo: &Repo, made: &Made) -> Option<Vec<u8>> {
        let file = self.db.xet_file_of(repo.id, &made.hash.into()).unwrap()?;
        Some(read(self.cas.stream(&file, 0..file.size).await.unwrap()).await)
    }

    pub fn reader(&self, repo: &Repo) -> Authorized<Read> {
        self.may(repo)
    }

    /// The files of the store, by the last parts of their keys.
    pub fn files(&self) -> Vec<String> {
        files(self.directory.path())
    }

    /// Nothing that ever happened may leave the rows in disorder.
    pub fn assert_sound(&self) {
        assert_eq!(self.db.check().unwrap(), Vec::<String>::new());
    }

    pub async fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        self.cas.check(true, |finding| findings.push(finding.to_string())).await.unwrap();
        findings
    }
}

pub fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![directory.join("xorbs"), directory.join("staging")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => directories.push(path),
                false => found.push(path.to_str().unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

pub async fn read(mut stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        assert!(!piece.is_empty());
        bytes.extend_from_slice(&piece);
        assert!(stream.remaining() <= u64::MAX / 2);
    }
    assert_eq!(stream.remaining(), 0);
    bytes
}

/// A file as a client makes it.
#[derive(Clone)]
pub struct Made {
    pub content: Vec<u8>,
    pub hash: Hash,
    pub sha256: [u8; 32],
    pub xorbs: Vec<(Hash, Vec<u8>, Index)>,
    pub terms: Vec<Term>,
    pub verification: Vec<Hash>,
}

/// With so many chunks in a xorb.
pub fn made(content: &[u8], chunks: u32, compression: Compression) -> Made {
    let limits = Limits { chunks, ..Limits::default() };
    let (mut xorbs, mut writer) = (Vec::new(), Writer::new(limits));
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut chunker = chunker::Chunker::default();
    chunker.push(content, |chunk| all.push(chunk.to_vec()));
    chunker.finish(|chunk| all.push(chunk.to_vec()));
    let mut tree = Tree::default();
    for chunk in &all {
        tree.push(xet::hash::chunk_hash(chunk), chunk.len() as u64);
        if writer.push(chunk, compression).is_err() {
            xorbs.push(std::mem::replace(&mut writer, Writer::new(limits)).finish().unwrap());
            writer.push(chunk, compression).unwrap();
        }
    }
    xorbs.push(writer.finish().unwrap());
    let xorbs: Vec<(Hash, Vec<u8>, Index)> =
        xorbs.into_iter().map(|(bytes, index)| (index.xorb_hash(), bytes, index)).collect();
    let whole = |(hash, _, index): &(Hash, Vec<u8>, Index)| Term {
        xorb_hash: *hash,
        raw_bytes: index.raw_len(),
        chunk_start: 0,
        chunk_end: index.chunks(),
    };
    let terms: Vec<Term> = xorbs.iter().map(whole).collect();
    let verification =
        xorbs.iter().map(|(_, _, index)| index.range_hash(0..index.chunks()).unwrap()).collect();
    let sha256 = sha256(content);
    Made { content: content.to_vec(), hash: tree.file_hash(), sha256, xorbs, terms, verification }
}

impl Made {
    pub fn shard(&self) -> Vec<u8> {
        let mut writer = shard::Writer::default();
        self.push(&mut writer);
        writer.finish()
    }

    pub fn push(&self, writer: &mut shard::Writer) {
        writer.push_file(&self.hash, &self.terms, Some(&self.verification), Some(self.sha256));
    }

    pub fn size(&self) -> u64 {
        self.content.len() as u64
    }

    /// A term cut in two.
    pub fn split_term(&mut self, term: usize) {
        let Term { xorb_hash, chunk_start, chunk_end, .. } = self.terms[term];
        let (_, _, index) = self.xorbs.iter().find(|(hash, ..)| *hash == xorb_hash).unwrap();
        let middle = chunk_start.midpoint(chunk_end);
        let part = |start, end| {
            let raw = index.raw_range(start..end).unwrap();
            let term = Term { xorb_hash, raw_bytes: raw.end - raw.start, chunk_start: start, chunk_end: end };
            (term, index.range_hash(start..end).unwrap())
        };
        let parts = [part(chunk_start, middle), part(middle, chunk_end)];
        self.terms.splice(term..=term, parts.iter().map(|(term, _)| *term));
        self.verification.splice(term..=term, parts.iter().map(|(_, hash)| *hash));
    }
}

/// Nothing here computes it: any bytes do.
pub fn sha256(content: &[u8]) -> [u8; 32] {
    *xet::hash::chunk_hash(content).as_bytes()
}
