//! A hub without HTTP, and a git work tree beside it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use auth::transfer::TransferKeys;
use auth::{Authorized, Credential, Identity, Propose, Right};
use bytes::Bytes;
use change::{Changes, Limits};
use database::{Clock, Database, NewRepo, Oid, Repo, Sha256, TokenRole, UserId, Visibility, object_key};
use git_protocol::receive_pack::{Capabilities, Commands, Report, Update};
use repository::snapshot::CacheLimits;
use repository::{Repositories, pointer};
use sha2::Digest;
use storage::{Disk, ObjectStore};
use tempfile::TempDir;

pub struct Hub {
    pub changes: Changes,
    pub directory: TempDir,
    pub clock: Clock,
}

pub async fn hub() -> Hub {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::default();
    let changes = open(&directory.path().join("data"), clock.clone()).await;
    changes.database().create_user("ada".parse().unwrap(), false).await.unwrap();
    Hub { changes, directory, clock }
}

pub async fn open(data: &Path, clock: Clock) -> Changes {
    open_with(data, clock, None).await
}

/// With large objects in `large`, if it is given.
pub async fn open_with(data: &Path, clock: Clock, large: Option<&Path>) -> Changes {
    let disk = Disk::open(data).unwrap();
    let database = Database::open(&data.join("granary.db"), clock).unwrap();
    let repositories = Arc::new(Repositories::new(database.clone(), disk.clone(), CacheLimits::default()));
    let keys = TransferKeys::open(&database).await.unwrap();
    let store = large.map_or_else(|| ObjectStore::on(disk.clone()), |at| ObjectStore::at(at).unwrap());
    let settings = auth::Settings::default();
    let objects = lfs::Objects::new(database.clone(), store, keys, settings, lfs::Config::default());
    let check_card: change::CheckCard = |card, _| match card.starts_with(b"broken") {
        true => Err("it is broken".to_owned()),
        false => Ok(()),
    };
    Changes::new(database, disk, repositories, objects, Limits::default(), check_card)
}

impl Hub {
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub async fn repo(&self, name: &str) -> Repo {
        self.new_repo(name, false).await
    }

    pub async fn incomplete_repo(&self, name: &str) -> Repo {
        self.new_repo(name, true).await
    }

    async fn new_repo(&self, name: &str, lfs_incomplete: bool) -> Repo {
        let new = NewRepo {
            path: format!("ada/{name}").parse().unwrap(),
            visibility: Visibility::Private,
            mirror: false,
            blob_bytes_max: None,
            lfs_incomplete,
        };
        self.changes.database().create_repo(new).await.unwrap()
    }

    pub fn git(&self, name: &str) -> Git {
        let git = Git { directory: self.path(name) };
        std::fs::create_dir_all(&git.directory).unwrap();
        git.run(&["init", "-q", "-b", "main"]);
        git
    }

    pub async fn push(&self, repo: &Repo, updates: &[(&str, Oid, Oid)], pack: Option<Bytes>) -> Report {
        self.push_with(repo, updates, pack, false).await
    }

    pub async fn push_with(
        &self,
        repo: &Repo,
        updates: &[(&str, Oid, Oid)],
        pack: Option<Bytes>,
        atomic: bool,
    ) -> Report {
        let repo = self.changes.database().repo(repo.id).unwrap().unwrap();
        self.push_by(Authorized::<Propose>::system("test", repo), updates, pack, atomic).await
    }

    pub async fn push_by(
        &self,
        access: Authorized<Propose>,
        updates: &[(&str, Oid, Oid)],
        pack: Option<Bytes>,
        atomic: bool,
    ) -> Report {
        let updates = updates
            .iter()
            .map(|(name, old, new)| Update { old: *old, new: *new, name: (*name).to_owned(), problem: None })
            .collect();
        let capabilities = Capabilities { atomic, ..Capabilities::default() };
        let commands = Commands { updates, capabilities, ..Commands::default() };
        self.changes.push(access, commands, pack).await.unwrap()
    }

    pub async fn assert_sound(&self) {
        let report = self.changes.fsck(None).await.unwrap();
        assert!(report.findings.is_empty(), "{report}");
    }

    pub async fn user(&self, name: &str) -> UserId {
        self.changes.database().create_user(name.parse().unwrap(), true).await.unwrap().id
    }

    /// What `user` may do with `repo`, by a new token of theirs.
    pub async fn access<A: Right>(&self, user: UserId, repo: &Repo) -> Authorized<A> {
        let database = self.changes.database();
        let (_, secret) = auth::issue(database, user, "test".to_owned(), TokenRole::Write).await.unwrap();
        let identity: Identity = auth::identify(database, &Credential::Token(secret)).unwrap();
        let repo = database.repo(repo.id).unwrap().unwrap();
        auth::authorize(auth::Settings::default(), &identity, repo).unwrap()
    }

    /// Makes `large` an object of `repo`, as an upload does.
    pub async fn upload(&self, repo: &Repo, large: &Large) {
        let file = self.path("upload");
        std::fs::write(&file, &large.bytes).unwrap();
        let (size, file) = (large.bytes.len() as u64, std::fs::File::open(file).unwrap());
        self.changes.objects().take_in(repo.id, None, large.sha256, size, file).await.unwrap();
    }

    pub fn has(&self, repo: &Repo, large: &Large) -> bool {
        let link = self.changes.database().link(repo.id, &large.sha256).unwrap();
        link.is_some_and(|link| link.is_usable())
    }

    /// Packs that hold something of `repo`.
    pub fn live_packs(&self, repo: &Repo) -> usize {
        self.changes.database().snapshot(repo.id).unwrap().unwrap().packs.len()
    }

    pub fn tip(&self, repo: &Repo, name: &str) -> Option<Oid> {
        let rows = self.changes.database().snapshot(repo.id).unwrap().unwrap();
        rows.refs.into_iter().find(|row| row.name == name).map(|row| row.oid)
    }
}

/// Names and reasons of the refs that were refused.
pub fn refused(report: &Report) -> Vec<(&str, &str)> {
    let refs = report.refs.iter();
    refs.filter_map(|(name, result)| Some((name.as_str(), result.as_ref().err()?.as_str()))).collect()
}

pub struct Git {
    pub directory: PathBuf,
}

impl Git {
    pub fn run(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.raw(arguments, b"")).unwrap().trim().to_owned()
    }

    pub fn raw(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut child = Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "gc.auto=0"])
            .args(arguments)
            .current_dir(&self.directory)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", &self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Writes a file and commits it; the new commit.
    pub fn commit(&self, name: &str, content: &[u8]) -> Oid {
        let path = self.directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self.run(&["add", "-A"]);
        self.run(&["commit", "-q", "-m", name]);
        self.tip()
    }

    pub fn tip(&self) -> Oid {
        self.run(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    /// A pack of what `revisions` select (`--not` works), thin if there is something to be thin against.
    pub fn pack(&self, revisions: &str) -> Bytes {
        let input = revisions.replace(' ', "\n") + "\n";
        self.raw(&["pack-objects", "--revs", "--stdout", "--thin", "-q"], input.as_bytes()).into()
    }
}

/// A large object, and what stands for it in git.
#[derive(Clone)]
pub struct Large {
    pub bytes: Vec<u8>,
    pub sha256: Sha256,
}

impl Large {
    pub fn new(content: &str) -> Large {
        let bytes = content.repeat(1000).into_bytes();
        let sha256 = Sha256(sha2::Sha256::digest(&bytes).into());
        Large { bytes, sha256 }
    }

    pub fn pointer(&self) -> Vec<u8> {
        self.pointer_saying(self.bytes.len() as u64)
    }

    pub fn pointer_saying(&self, size: u64) -> Vec<u8> {
        pointer::encode(&pointer::Target { sha256: self.sha256.0, size }).into_bytes()
    }

    /// Where git-lfs keeps it, below its `objects`.
    pub fn path(&self) -> PathBuf {
        let oid = self.sha256.to_string();
        [&oid[..2], &oid[2..4], &oid].iter().collect()
    }

    /// Lays it where git-lfs would, below `git_directory`.
    pub fn lay(&self, git_directory: &Path, bytes: &[u8]) {
        let path = git_directory.join("lfs/objects").join(self.path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// The files under its keys in the store at `root`.
    pub fn stored(&self, root: &Path) -> Vec<PathBuf> {
        let key = object_key(&self.sha256, database::UploadId::new());
        let directory = root.join(key).parent().unwrap().to_owned();
        let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}
