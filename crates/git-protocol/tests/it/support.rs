//! Repositories made by real git, and snapshots of them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use database::{Oid, PackId, PackKind, RefRow, Repo, RepoId, RepoState, Visibility};
use git_protocol::pktline::{self, Packet, Packets};
use repository::pack::BlobBuilder;
use repository::{Kind, Pack, Snapshot};

/// A directory for repositories, and git without the configuration of whoever runs the tests.
pub struct Git {
    dir: tempfile::TempDir,
    program: &'static str,
    /// Holds what [`Git::history`] copies as long as a test needs it, so that others find it made.
    template: OnceLock<Arc<(Git, Vec<Oid>)>>,
}

impl Git {
    pub fn new() -> Git {
        Git::with_program("git")
    }

    pub fn with_program(program: &'static str) -> Git {
        Git { dir: tempfile::tempdir().unwrap(), program, template: OnceLock::new() }
    }

    /// Every git that is installed: the client's side differs between versions.
    pub fn programs() -> Vec<&'static str> {
        let debian = Some("/usr/bin/git").filter(|path| Path::new(path).exists());
        ["git"].into_iter().chain(debian).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, repo: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.current_dir(self.path(repo)).args(args);
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_PROTOCOL", "GIT_ALTERNATE_OBJECT_DIRECTORIES"] {
            command.env_remove(name);
        }
        command.envs([
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_AUTHOR_NAME", "A"),
            ("GIT_AUTHOR_EMAIL", "a@example.com"),
            ("GIT_COMMITTER_NAME", "A"),
            ("GIT_COMMITTER_EMAIL", "a@example.com"),
            ("LC_ALL", "C"),
        ]);
        command
    }

    /// Runs git and gives back its trimmed standard output.
    pub fn run(&self, repo: &str, args: &[&str]) -> String {
        let output = self.command(repo, args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs git, which must fail, and gives back its standard error.
    pub fn fail(&self, repo: &str, args: &[&str]) -> String {
        let output = self.command(repo, args).output().unwrap();
        assert!(!output.status.success(), "git {args:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn pipe(&self, repo: &str, args: &[&str], v2: bool, input: &[u8]) -> Output {
        let mut command = self.command(repo, args);
        if v2 {
            command.env("GIT_PROTOCOL", "version=2");
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // It may stop reading when it has seen enough.
                let _ = stdin.write_all(input);
            });
            child.wait_with_output().unwrap()
        })
    }

    pub fn init(&self, repo: &str) {
        self.run(".", &["init", "--quiet", "--initial-branch=main", repo]);
    }

    /// Commits a change of `file`. Dates are `seconds` after the start of 2020.
    pub fn commit(&self, repo: &str, file: &str, content: &str, seconds: i64) -> Oid {
        std::fs::write(self.path(repo).join(file), content).unwrap();
        self.run(repo, &["add", "."]);
        let date = format!("{} +0000", START + seconds);
        let mut command = self.command(repo, &["commit", "--quiet", "--allow-empty", "-m", content]);
        let status = command.env("GIT_COMMITTER_DATE", &date).env("GIT_AUTHOR_DATE", &date).status().unwrap();
        assert!(status.success());
        self.rev(repo, "HEAD")
    }

    pub fn rev(&self, repo: &str, name: &str) -> Oid {
        self.run(repo, &["rev-parse", "--verify", name]).parse().unwrap()
    }

    /// Ten commits on `main` a minute apart, a branch `side` from the fourth merged at the eighth, annotated tags `v1`
    /// (of the third) and `vv1` (of the tag), a light tag, a tag of a blob, and `refs/pr/1`.
    pub fn history(&self, repo: &str) -> Vec<Oid> {
        static TEMPLATE: Mutex<Weak<(Git, Vec<Oid>)>> = Mutex::new(Weak::new());
        let mut made = TEMPLATE.lock().unwrap();
        let template = made.upgrade().unwrap_or_else(|| {
            let git = Git::new();
            let commits = git.make_history("r");
            Arc::new((git, commits))
        });
        *made = Arc::downgrade(&template);
        drop(made);
        let (git, commits) = &**self.template.get_or_init(|| template);
        copy(&git.path("r"), &self.path(repo));
        commits.clone()
    }

    fn make_history(&self, repo: &str) -> Vec<Oid> {
        self.init(repo);
        let mut commits: Vec<Oid> = Vec::new();
        std::fs::create_dir(self.path(repo).join("dir")).unwrap();
        for n in 0..10 {
            if n == 7 {
                self.run(repo, &["checkout", "--quiet", "-b", "side", &commits[3].to_string()]);
                self.commit(repo, "side", "side", 7 * 60 - 30);
                self.run(repo, &["checkout", "--quiet", "main"]);
                let mut merge = self.command(repo, &["merge", "--quiet", "--no-edit", "--no-ff", "side"]);
                let date = format!("{} +0000", START + 7 * 60);
                merge.env("GIT_COMMITTER_DATE", &date).env("GIT_AUTHOR_DATE", &date);
                assert!(merge.status().unwrap().success());
                commits.push(self.rev(repo, "HEAD"));
            } else {
                let file = if n % 2 == 0 { "file" } else { "dir/file" };
                commits.push(self.commit(repo, file, &format!("content {n}\n"), n * 60));
            }
        }
        self.run(repo, &["tag", "-a", "-m", "one", "v1", &commits[2].to_string()]);
        self.run(repo, &["tag", "-a", "-m", "again", "vv1", "v1"]);
        self.run(repo, &["tag", "light", &commits[5].to_string()]);
        self.run(repo, &["tag", "-a", "-m", "blob", "blob", "HEAD:file"]);
        self.run(repo, &["update-ref", "refs/pr/1", &commits[1].to_string()]);
        commits
    }

    pub fn snapshot(&self, repo: &str) -> Snapshot {
        Snapshot::from_packs(repo_row("refs/heads/main"), self.refs(repo), vec![Arc::new(self.pack(repo))])
    }

    pub fn refs(&self, repo: &str) -> Vec<RefRow> {
        let format = "--format=%(refname) %(objectname) %(objecttype)";
        let rows = self.run(repo, &["for-each-ref", format]);
        let row = |line: &str| {
            let [name, oid, kind] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let peeled = (kind == "tag").then(|| self.rev(repo, &format!("{oid}^{{}}")));
            RefRow { name: name.to_owned(), oid: oid.parse().unwrap(), peeled }
        };
        rows.lines().map(row).collect()
    }

    /// All objects of `repo` in one pack.
    pub fn pack(&self, repo: &str) -> Pack {
        let args = ["cat-file", "--batch", "--batch-all-objects", "--unordered"];
        let listing = self.pipe(repo, &args, false, b"").stdout;
        let mut objects = Vec::new();
        let mut rest = &listing[..];
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'\n').unwrap();
            let line = std::str::from_utf8(&rest[..end]).unwrap();
            let [oid, kind, size] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let (data, after) = rest[end + 1..].split_at(size.parse().unwrap());
            objects.push((oid.parse().unwrap(), Kind::from_name(kind.as_bytes()).unwrap(), data));
            rest = &after[1..];
        }
        let mut blob = Vec::new();
        let mut builder = BlobBuilder::new(&mut blob, objects.len() as u32).unwrap();
        for (oid, kind, data) in objects {
            builder.whole(oid, kind, data).unwrap();
        }
        builder.finish().unwrap();
        Pack::from_blob(PackId::new(), PackKind::Compact, true, 1, blob.into()).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// 2020-01-01.
pub const START: i64 = 1_577_836_800;

pub fn repo_row(head_ref: &str) -> Repo {
    Repo {
        id: RepoId(1),
        path: "acme/model".parse().unwrap(),
        visibility: Visibility::Public,
        state: RepoState::Live,
        head_ref: head_ref.to_owned(),
        generation: 1,
        gc_epoch: 0,
        acl_version: 0,
        mirror: false,
        blob_bytes_max: None,
        lfs_incomplete: false,
        gating: database::Gating::Off,
        creator: None,
        created_ms: 0,
    }
}

/// A v2 request; `args` as lines.
pub fn v2(command: &str, args: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    pktline::text(&mut out, &format!("command={command}"));
    pktline::data(&mut out, b"agent=git/2.47.3");
    pktline::data(&mut out, b"object-format=sha1");
    out.extend(pktline::DELIM);
    args.iter().for_each(|arg| pktline::text(&mut out, arg));
    out.extend(pktline::FLUSH);
    out
}

/// Packets from words: `0000` is a flush, everything else a line.
pub fn lines(words: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words {
        if word == "0000" {
            out.extend(pktline::FLUSH);
        } else {
            pktline::text(&mut out, word);
        }
    }
    out
}

/// An answer taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The packets before the pack, specials as `0000` and `0001`; neighbouring `shallow` lines sorted.
    pub head: Vec<String>,
    pub pack: Vec<u8>,
    pub progress: String,
    pub error: String,
    /// A flush packet ended a pack in side bands.
    pub ended: bool,
}

pub fn parts(answer: &[u8]) -> Parts {
    let mut parts = Parts::default();
    let mut packets = Packets::new(answer);
    loop {
        if packets.rest().starts_with(b"PACK") {
            parts.pack = packets.rest().to_vec();
            break;
        }
        let Some(packet) = packets.next() else { break };
        match packet.unwrap() {
            Packet::Data([1, data @ ..]) => parts.pack.extend_from_slice(data),
            Packet::Data([2, data @ ..]) => parts.progress += &String::from_utf8_lossy(data),
            Packet::Data([3, data @ ..]) => parts.error += &String::from_utf8_lossy(data),
            Packet::Data(line) => parts.head.push(String::from_utf8(pktline::line(line).to_vec()).unwrap()),
            Packet::Flush if !parts.pack.is_empty() => parts.ended = true,
            Packet::Flush => parts.head.push("0000".to_owned()),
            Packet::Delim => parts.head.push("0001".to_owned()),
            Packet::ResponseEnd => panic!("0002"),
        }
    }
    let history = |line: &String| line.starts_with("shallow ") || line.starts_with("unshallow ");
    for run in parts.head.chunk_by_mut(|a, b| history(a) && history(b)) {
        run.sort();
    }
    parts
}

/// Whether the git on the `PATH` is one whose newer judgements (ids of fsck, words of refusals, acknowledgments) are
/// ours. Older ones are compared in what they agree on.
pub fn git_is_recent() -> bool {
    let output = Command::new("git").arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers =
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u32>().ok());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (2, 45)
}
