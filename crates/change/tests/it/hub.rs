//! A hub without HTTP, and a git work tree beside it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use auth::{Authorized, Propose};
use bytes::Bytes;
use change::{Changes, Limits};
use database::{Clock, Database, NewRepo, Oid, Repo, Visibility};
use git_protocol::receive_pack::{Capabilities, Commands, Report, Update};
use repository::Repositories;
use repository::snapshot::CacheLimits;
use storage::Disk;
use tempfile::TempDir;

pub struct Hub {
    pub changes: Changes,
    pub directory: TempDir,
    pub clock: Clock,
}

pub async fn hub() -> Hub {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::default();
    let changes = open(&directory.path().join("data"), clock.clone());
    changes.database().create_user("ada".parse().unwrap(), false).await.unwrap();
    Hub { changes, directory, clock }
}

pub fn open(data: &Path, clock: Clock) -> Changes {
    let disk = Disk::open(data).unwrap();
    let database = Database::open(&data.join("granary.db"), clock).unwrap();
    let repositories = Arc::new(Repositories::new(database.clone(), disk.clone(), CacheLimits::default()));
    Changes::new(database, disk, repositories, Limits::default())
}

impl Hub {
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub async fn repo(&self, name: &str) -> Repo {
        let new = NewRepo {
            path: format!("ada/{name}").parse().unwrap(),
            visibility: Visibility::Private,
            mirror: false,
            blob_bytes_max: None,
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
        let updates = updates
            .iter()
            .map(|(name, old, new)| Update { old: *old, new: *new, name: (*name).to_owned(), problem: None })
            .collect();
        let capabilities = Capabilities { atomic, ..Capabilities::default() };
        let commands = Commands { updates, capabilities, ..Commands::default() };
        let access = Authorized::<Propose>::system("test", repo);
        self.changes.push(access, commands, pack).await.unwrap()
    }

    pub async fn assert_sound(&self) {
        let report = self.changes.fsck(None).await.unwrap();
        assert!(report.findings.is_empty(), "{report}");
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
