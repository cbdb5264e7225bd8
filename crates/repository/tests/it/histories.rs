//! Git repositories of different character, made by real git, and their packs as pack blobs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use database::{Oid, PackId, PackKind, RefRow, Repo, RepoId, RepoState, Visibility};
use repository::pack::{BlobBuilder, EntryHeader, EntrySource, entry};
use repository::{Kind, Pack, Snapshot};
use tempfile::TempDir;

/// A bare repository in a directory that goes away with it.
pub struct Git {
    pub dir: TempDir,
}

impl Git {
    pub fn init() -> Git {
        let git = Git { dir: TempDir::new().unwrap() };
        git.run(&["init", "--quiet", "--bare", "--initial-branch=main", "."]);
        git.run(&["config", "gc.auto", "0"]);
        git
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The output of a command that must succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.pipe(arguments, b"")).unwrap().trim_end().to_owned()
    }

    pub fn pipe(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child =
            command(self.path(), arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            // The child may close its input early.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "git {arguments:?} failed");
        output.stdout
    }

    /// Runs a fast-import stream of commits on `refs/heads/main`, given as changes of files.
    pub fn import(&self, commits: impl IntoIterator<Item = Vec<(String, Vec<u8>)>>) {
        let mut stream = Vec::new();
        for (nth, files) in commits.into_iter().enumerate() {
            let message = format!("commit {nth}");
            let seconds = 1_700_000_000 + 60 * nth;
            write!(
                stream,
                "commit refs/heads/main\ncommitter A U Thor <author@example.com> {seconds} +0000\ndata {}\n{message}\n",
                message.len()
            )
            .unwrap();
            for (path, content) in files {
                write!(stream, "M 100644 inline {path}\ndata {}\n", content.len()).unwrap();
                stream.extend(content);
                stream.push(b'\n');
            }
        }
        self.pipe(&["fast-import", "--quiet", "--force"], &stream);
    }

    /// Everything that is reachable, as one pack made with these options of pack-objects.
    pub fn pack(&self, options: &[&str]) -> Vec<u8> {
        let arguments = [&["pack-objects", "--all", "--revs", "--stdout", "--quiet"], options].concat();
        self.pipe(&arguments, b"")
    }

    /// The packs that arrive when the first-parent history of `main` is pushed in so many steps to a server that, as
    /// we do, completes thin packs and keeps them.
    pub fn pushes(&self, steps: usize) -> Vec<Pack> {
        let receiver = Git::init();
        let history = self.run(&["rev-list", "--reverse", "--first-parent", "main"]);
        let history: Vec<_> = history.lines().collect();
        let mut packs = Vec::new();
        let mut pushed: Option<&str> = None;
        for tips in history.chunks(history.len().div_ceil(steps)) {
            let tip = tips[tips.len() - 1];
            let revisions = pushed.iter().fold(format!("{tip}\n"), |text, old| text + &format!("^{old}\n"));
            let arguments =
                ["pack-objects", "--thin", "--delta-base-offset", "--revs", "--stdout", "--quiet"];
            let pack = self.pipe(&arguments, revisions.as_bytes());
            let name = receiver.pipe(&["index-pack", "--fix-thin", "--stdin"], &pack);
            let name = String::from_utf8(name).unwrap();
            let path =
                receiver.path().join("objects/pack").join(format!("pack-{}.pack", name.trim()[5..].trim()));
            packs.push(receiver.blob(
                &std::fs::read(path).unwrap(),
                PackKind::Receive,
                packs.len() as i64 + 1,
            ));
            pushed = Some(tip);
        }
        packs
    }

    /// A git pack as a pack blob. Its objects must be in this repository too.
    pub fn blob(&self, pack: &[u8], kind: PackKind, generation: i64) -> Pack {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("x.pack");
        std::fs::write(&path, pack).unwrap();
        self.run(&["index-pack", path.to_str().unwrap()]);
        let idx = std::fs::read(path.with_extension("idx")).unwrap();
        let rows = String::from_utf8(self.pipe(&["show-index"], &idx)).unwrap();
        let mut rows: Vec<(u64, Oid)> = rows
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(offset, rest)| (offset.parse().unwrap(), rest[..40].parse().unwrap()))
            .collect();
        rows.sort_unstable();
        let names = rows.iter().fold(String::new(), |text, (_, oid)| text + &format!("{oid}\n"));
        let facts = String::from_utf8(self.pipe(&["cat-file", "--batch-check"], names.as_bytes())).unwrap();

        let mut blob = Vec::new();
        let mut builder = BlobBuilder::new(&mut blob, rows.len() as u32).unwrap();
        let ends = rows[1..].iter().map(|(offset, _)| *offset).chain([pack.len() as u64 - 20]);
        for (((offset, oid), end), facts) in rows.iter().zip(ends).zip(facts.lines()) {
            let mut facts = facts.split(' ').skip(1);
            let kind = Kind::from_name(facts.next().unwrap().as_bytes()).unwrap();
            let size = facts.next().unwrap().parse().unwrap();
            let bytes = &pack[*offset as usize..end as usize];
            let header = entry::decode(bytes, *offset).unwrap();
            let compressed = &bytes[header.length..];
            let source =
                EntrySource { header: header.entry, inflated_size: header.inflated_size, compressed };
            assert_eq!(builder.raw(*oid, kind, size, source).unwrap(), *offset);
        }
        builder.finish().unwrap();
        Pack::from_blob(PackId::new(), kind, false, generation, blob.into()).unwrap()
    }

    pub fn refs(&self) -> Vec<RefRow> {
        let format = "--format=%(objectname) %(*objectname) %(refname)";
        let text = self.run(&["for-each-ref", format]);
        let row = |line: &str| {
            let mut words = line.split(' ');
            let oid = words.next().unwrap().parse().unwrap();
            let peeled = words.next().unwrap();
            // Git peels one level here; the tests make no tags of tags.
            let peeled = (!peeled.is_empty()).then(|| peeled.parse().unwrap());
            RefRow { name: words.next().unwrap().to_owned(), oid, peeled }
        };
        text.lines().map(row).collect()
    }

    /// These packs with the refs of this repository.
    pub fn snapshot(&self, packs: impl IntoIterator<Item = Pack>) -> Snapshot {
        let packs: Vec<_> = packs.into_iter().map(Arc::new).collect();
        let generation = packs.iter().map(|pack| pack.added_generation()).max().unwrap_or(0);
        Snapshot::from_packs(repo(generation), self.refs(), packs)
    }
}

pub fn repo(generation: i64) -> Repo {
    Repo {
        id: RepoId(1),
        path: "someone/something".parse().unwrap(),
        visibility: Visibility::Private,
        state: RepoState::Live,
        head_ref: "refs/heads/main".into(),
        generation,
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

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(directory).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1"), ("LC_ALL", "C"), ("TZ", "UTC")]);
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "A U Thor")
            .env(format!("GIT_{role}_EMAIL"), "author@example.com");
    }
    command
}

/// A generator of numbers that are the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.roll(256) as u8).collect()
    }

    fn line(&mut self) -> String {
        const WORDS: [&str; 16] = [
            "tensor", "weights", "layer", "the", "of", "model", "config", "train", "loss", "epoch", "(", ")",
            "=", "0.1", "return", "self",
        ];
        let mut line = String::new();
        for _ in 0..3 + self.roll(9) {
            let word = WORDS[self.roll(WORDS.len())];
            write!(
                line,
                "{word}{} ",
                if self.roll(4) == 0 { self.roll(1000).to_string() } else { String::new() }
            )
            .unwrap();
        }
        line
    }
}

/// A few source files whose lines are changed, added and deleted.
pub fn text(commits: usize) -> Git {
    let git = Git::init();
    let mut dice = Dice::new(1);
    let mut files: Vec<Vec<String>> = (0..12).map(|_| (0..300).map(|_| dice.line()).collect()).collect();
    let path = |nth: usize| format!("src/{}/module_{nth}.py", ["train", "model", "data"][nth % 3]);
    git.import((0..commits).map(|commit| {
        let all = commit == 0;
        let touched: Vec<_> = (0..files.len()).filter(|_| all || dice.roll(6) == 0).collect();
        let change = |nth: usize| {
            let lines = &mut files[nth];
            for _ in 0..1 + dice.roll(4) {
                let at = dice.roll(lines.len());
                match dice.roll(3) {
                    0 => lines[at] = dice.line(),
                    1 => lines.insert(at, dice.line()),
                    _ => drop(lines.remove(at)),
                }
            }
            (path(nth), lines.join("\n").into_bytes())
        };
        touched.into_iter().map(change).collect()
    }));
    git
}

/// Files without lines, of which parts are replaced, and files that share nothing.
pub fn binary(commits: usize) -> Git {
    let git = Git::init();
    let mut dice = Dice::new(2);
    let mut table = dice.bytes(150_000);
    git.import((0..commits).map(|commit| {
        let at = dice.roll(table.len() - 2000);
        let patch = dice.bytes(500);
        table[at..at + 500].copy_from_slice(&patch);
        if dice.roll(4) == 0 {
            table.drain(at..at + 300);
        }
        vec![("table.bin".to_owned(), table.clone()), (format!("sample-{commit}.bin"), dice.bytes(5_000))]
    }));
    git
}

/// Thousands of files of a few lines.
pub fn small_files(commits: usize) -> Git {
    let git = Git::init();
    let mut dice = Dice::new(3);
    let mut file = move |nth: usize| {
        let text = format!("id: {nth}\nlabel: {}\nscore: 0.{}\n", dice.roll(40), dice.roll(10_000));
        (format!("data/{:02}/{nth:05}.yaml", nth % 40), text.into_bytes())
    };
    git.import((0..commits).map(|commit| match commit {
        0 => (0..2000).map(&mut file).collect(),
        _ => (0..15).map(|nth| file((commit * 131 + nth * 977) % 2000)).collect::<Vec<_>>(),
    }));
    git
}

/// One directory of ten thousand files, in which each commit changes one line of one file.
pub fn wide_tree(commits: usize) -> Git {
    let git = Git::init();
    let mut dice = Dice::new(4);
    git.import((0..commits).map(|commit| {
        let file = |nth: usize, version: usize| {
            (format!("file-{nth:05}.txt"), format!("{nth} {version}\n").into_bytes())
        };
        match commit {
            0 => (0..10_000).map(|nth| file(nth, 0)).collect(),
            _ => vec![file(dice.roll(10_000), commit)],
        }
    }));
    git
}

/// Sources of crates this one is built from, or of the workspace: committed piecemeal, then renamed words.
pub fn packages(commits: usize) -> Git {
    let git = Git::init();
    let mut files = Vec::new();
    for directory in package_directories() {
        gather(&directory, &directory, &mut files);
    }
    files.truncate(400);
    let mut dice = Dice::new(5);
    let (share, mut at) = (files.len().div_ceil(commits / 2), 0);
    git.import((0..commits).map(|commit| {
        if at < files.len() {
            let end = (at + share).min(files.len());
            let fresh = files[at..end].to_vec();
            at = end;
            return fresh;
        }
        let change = |_| {
            let nth = dice.roll(files.len());
            let (path, content) = &mut files[nth];
            let text = String::from_utf8_lossy(content).replacen(
                "let ",
                &format!("let v{commit}_"),
                1 + dice.roll(3),
            );
            *content = text.into_bytes();
            (path.clone(), content.clone())
        };
        (0..4).map(change).collect()
    }));
    git
}

fn package_directories() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let registries = home.and_then(|home| std::fs::read_dir(home.join("registry/src")).ok());
    let mut found: Vec<_> = registries
        .into_iter()
        .flatten()
        .filter_map(|registry| std::fs::read_dir(registry.ok()?.path()).ok())
        .flatten()
        .filter_map(|package| Some(package.ok()?.path()))
        .filter(|path| {
            path.to_str().is_some_and(|path| path.contains("/gix-ref-") || path.contains("/gix-odb-"))
        })
        .collect();
    found.sort();
    if found.is_empty() {
        found.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    }
    found
}

fn gather(root: &Path, directory: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            gather(root, &path, files);
        } else {
            let name = path.strip_prefix(root.parent().unwrap()).unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read(&path).unwrap()));
        }
    }
}

/// Writes the git pack of a blob into a fresh repository and lets git check it: the repository.
pub fn accepted_by_git(pack: &Pack) -> Git {
    let git = Git::init();
    git.pipe(&["index-pack", "--stdin", "--strict"], &pack.pack_bytes());
    git
}

/// How many deltas git has to apply to read the deepest object of the only pack of a repository.
pub fn deepest(git: &Git) -> usize {
    let directory = std::fs::read_dir(git.path().join("objects/pack")).unwrap();
    let idx = directory
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "idx"));
    let text = git.run(&["verify-pack", "-v", idx.unwrap().to_str().unwrap()]);
    let depth =
        |line: &str| line.split_whitespace().nth(5).filter(|_| line.len() > 40)?.parse::<usize>().ok();
    text.lines().filter_map(depth).max().unwrap_or(0)
}

pub fn is_delta(pack: &Pack, index: u32) -> bool {
    !matches!(pack.entry(index).unwrap().header, EntryHeader::Whole(_))
}

pub fn pack_from(blob: Bytes, kind: PackKind, closure: bool, generation: i64) -> Pack {
    Pack::from_blob(PackId::new(), kind, closure, generation, blob).unwrap()
}
