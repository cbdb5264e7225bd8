//! A hub with two repositories and short ways to be its client.

use std::time::Duration;

use auth::transfer::{Grant, TransferKeys, redeem};
use auth::{Authorized, Identity, Propose, Read, Right, Settings, authorize};
use bytes::Bytes;
use database::{Clock, Database, NewRepo, Proof, Repo, Sha256, TokenRole, User, UserId, Visibility};
use lfs::wire::Limits;
use lfs::wire::batch::{Action, Answer, ErrorCode, Family, Outcome, Request, Response};
use lfs::{Batching, Client, Config, Objects, ReceiveError};
use storage::{Disk, ObjectStore};

pub const BASE: &str = "https://hub.example";
pub const DAY_MS: i64 = 24 * 3600 * 1000;

pub struct Hub {
    pub db: Database,
    pub clock: Clock,
    pub keys: TransferKeys,
    pub objects: Objects,
    /// `acme/model`
    pub repo: Repo,
    /// `acme/fork`
    pub fork: Repo,
    pub owner: Identity,
    /// An administrator.
    pub other: Identity,
    pub client: Client,
    pub directory: tempfile::TempDir,
}

/// On the disk.
pub async fn hub() -> Hub {
    let directory = tempfile::tempdir().unwrap();
    let store = ObjectStore::on(Disk::open(directory.path()).unwrap());
    with(directory, Clock::default(), store, config()).await
}

/// Everything small, so that the bounds are near.
pub fn config() -> Config {
    Config {
        multipart_from: 100,
        part_size: 40,
        object_bytes_max: 10_000_000,
        verify_wait: Duration::from_secs(10),
        ..Config::default()
    }
}

pub async fn with(directory: tempfile::TempDir, clock: Clock, store: ObjectStore, config: Config) -> Hub {
    let db = Database::open(&directory.path().join("granary.db"), clock.clone()).unwrap();
    let keys = TransferKeys::open(&db).await.unwrap();
    let objects = Objects::new(db.clone(), store, keys.clone(), Settings::default(), config);
    let owner = db.create_user("acme".parse().unwrap(), false).await.unwrap();
    let other = db.create_user("other".parse().unwrap(), true).await.unwrap();
    let (owner, other) = (identity(&db, &owner).await, identity(&db, &other).await);
    let (repo, fork) = (repo(&db, "acme/model").await, repo(&db, "acme/fork").await);
    let client = Client { family: Family::GitLfs, base_url: BASE.into(), quota: None, xet: None };
    Hub { db, clock, keys, objects, repo, fork, owner, other, client, directory }
}

async fn identity(db: &Database, user: &User) -> Identity {
    let (_, secret) = auth::issue(db, user.id, "test".into(), TokenRole::Write).await.unwrap();
    auth::identify(db, &auth::Credential::Token(secret)).unwrap()
}

async fn repo(db: &Database, path: &str) -> Repo {
    let (path, visibility) = (path.parse().unwrap(), Visibility::Private);
    let new = NewRepo { path, visibility, mirror: false, blob_bytes_max: None, lfs_incomplete: false };
    db.create_repo(new).await.unwrap()
}

impl Hub {
    pub fn may<A: Right>(&self, who: &Identity, repo: &Repo) -> Authorized<A> {
        authorize(Settings::default(), who, repo.clone()).unwrap()
    }

    pub async fn upload(&self, repo: &Repo, body: &str) -> Response {
        self.upload_as(&self.owner, repo, body).await
    }

    /// `body` is the list of objects, and other members behind it.
    pub async fn upload_as(&self, who: &Identity, repo: &Repo, body: &str) -> Response {
        let request = request("upload", body);
        let access = Batching::Upload(self.may::<Propose>(who, repo));
        self.objects.batch(&access, &request, &self.client).await.unwrap().response
    }

    pub async fn download_as(&self, who: &Identity, repo: &Repo, body: &str) -> Response {
        let request = request("download", body);
        let access = Batching::Download(self.may::<Read>(who, repo));
        self.objects.batch(&access, &request, &self.client).await.unwrap().response
    }

    /// Whether `who` would be given the object.
    pub async fn offered(
        &self,
        who: &Identity,
        repo: &Repo,
        sha256: Sha256,
    ) -> Result<Action, (u16, String)> {
        let mut response = self.download_as(who, repo, &format!(r#"[{{"oid":"{sha256}"}}]"#)).await;
        match response.objects.remove(0).outcome {
            Outcome::Download(action) => Ok(action),
            Outcome::Failed { code, message } => Err((code.number(), message)),
            outcome => panic!("{outcome:?}"),
        }
    }

    pub fn grant(&self, href: &str) -> Grant {
        let token = href.split_once("?token=").unwrap().1;
        self.keys.check(token, self.clock.now_ms()).unwrap()
    }

    pub fn redeem<A: Right>(&self, grant: &Grant) -> Authorized<A> {
        redeem(Settings::default(), &self.db, grant).unwrap()
    }

    /// The grant of an upload of `bytes` to the hub, as announced.
    pub async fn announce(&self, repo: &Repo, bytes: &[u8]) -> Grant {
        let response = self.upload(repo, &list(&[bytes])).await;
        self.grant(&upload_of(&response.objects[0]).href)
    }

    /// A PUT of `bytes`, in two frames.
    pub async fn put(&self, grant: &Grant, bytes: &[u8]) -> Result<(), ReceiveError> {
        let mut receiving = self.objects.receive(self.redeem(grant), grant).await?;
        let (first, second) = bytes.split_at(bytes.len() / 2);
        receiving.write(Bytes::copy_from_slice(first)).await?;
        receiving.write(Bytes::copy_from_slice(second)).await?;
        receiving.finish().await
    }

    /// Announced and brought.
    pub async fn store(&self, repo: &Repo, bytes: &[u8]) -> Sha256 {
        let grant = self.announce(repo, bytes).await;
        self.put(&grant, bytes).await.unwrap();
        grant.sha256
    }

    /// What a GET by the hub's own link answers.
    pub async fn get(&self, href: &str) -> Vec<u8> {
        let grant = self.grant(href);
        let object = self.objects.open(&self.redeem(&grant), &grant).await.unwrap();
        let mut bytes = Vec::new();
        if let Some(mut reader) = object.reader(0..object.size).await.unwrap() {
            while let Some(piece) = reader.next().await.unwrap() {
                bytes.extend_from_slice(&piece);
            }
        }
        bytes
    }

    pub fn proof(&self, repo: &Repo, sha256: Sha256) -> Option<Proof> {
        self.db.link(repo.id, &sha256).unwrap().and_then(|link| link.backing).map(|backing| backing.proof)
    }

    /// The files that hold objects.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut directories =
            vec![self.directory.path().join("objects"), self.directory.path().join("staging")];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let path = path.strip_prefix(self.directory.path()).unwrap();
                    found.push(path.to_str().unwrap().to_owned());
                }
            }
        }
        found
    }

    /// Nothing that ever happened may leave the rows in disorder.
    pub fn assert_sound(&self) {
        assert_eq!(self.db.check().unwrap(), Vec::<String>::new());
    }
}

pub fn user(identity: &Identity) -> UserId {
    identity.principal().unwrap().user.id
}

pub fn request(operation: &str, objects: &str) -> Request {
    let body = format!(r#"{{"operation":"{operation}","objects":{objects}}}"#);
    Request::parse(body.as_bytes(), &Limits::default()).unwrap()
}

pub fn sha(bytes: &[u8]) -> Sha256 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    Sha256(digest.as_ref().try_into().unwrap())
}

/// As a batch announces them.
pub fn list(objects: &[&[u8]]) -> String {
    let object = |bytes: &&[u8]| format!(r#"{{"oid":"{}","size":{}}}"#, sha(bytes), bytes.len());
    format!("[{}]", objects.iter().map(object).collect::<Vec<_>>().join(","))
}

/// From a client that can do parts.
pub fn list_offering_parts(objects: &[&[u8]]) -> String {
    format!(r#"{},"transfers":["multipart","basic"]"#, list(objects))
}

pub fn upload_of(answer: &Answer) -> &Action {
    match &answer.outcome {
        Outcome::Upload { upload, .. } => upload,
        outcome => panic!("{outcome:?}"),
    }
}

pub fn error_of(answer: &Answer) -> (ErrorCode, &str) {
    match &answer.outcome {
        Outcome::Failed { code, message } => (*code, message),
        outcome => panic!("{outcome:?}"),
    }
}
