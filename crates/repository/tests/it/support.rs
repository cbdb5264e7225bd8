//! What the tests share: a real git repository, packs made by hand, and a snapshot of some packs.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use database::{Oid, PackId, PackKind, Repo, RepoId, RepoState, Visibility};
use repository::ingest::{IngestError, Ingested, Limits, ingest};
use repository::pack::{BlobBuilder, entry};
use repository::{Kind, Pack, Snapshot, object};

/// A repository with a work tree, driven by the `git` on the PATH.
pub struct Git {
    pub directory: tempfile::TempDir,
}

impl Git {
    pub fn init() -> Git {
        let git = Git { directory: tempfile::tempdir().unwrap() };
        git.run(&["init", "-q", "-b", "main"]);
        git
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Standard output as text, without the final line feed.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.run_with(args, b"");
        String::from_utf8(output).unwrap().trim_end().to_owned()
    }

    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.try_run(args, input);
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    pub fn try_run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("git")
            .args(args)
            .current_dir(self.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_AUTHOR_NAME", "A")
            .env("GIT_AUTHOR_EMAIL", "a@example.com")
            .env("GIT_AUTHOR_DATE", "1700000000 +0000")
            .env("GIT_COMMITTER_NAME", "C")
            .env("GIT_COMMITTER_EMAIL", "c@example.com")
            .env("GIT_COMMITTER_DATE", "1700000000 +0000")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // Git may stop reading early.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    pub fn write(&self, path: &str, data: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    }

    /// Commits the work tree.
    pub fn commit(&self, message: &str) -> Oid {
        self.run(&["add", "-A"]);
        self.run(&["commit", "-q", "--allow-empty", "-m", message]);
        self.oid("HEAD")
    }

    pub fn oid(&self, revision: &str) -> Oid {
        self.run(&["rev-parse", "--verify", revision]).parse().unwrap()
    }

    /// `git pack-objects` of what `revisions` (one per line, `^` excludes, `--all` is every ref) reach.
    pub fn pack(&self, options: &[&str], revisions: &str) -> Bytes {
        let refs = self.run(&["for-each-ref", "--format=%(refname)"]) + "\n";
        let args = [&["pack-objects", "--stdout", "--revs", "-q"], options].concat();
        self.run_with(&args, revisions.replace("--all\n", &refs).as_bytes()).into()
    }

    /// `git index-pack --strict` of a pack in this repository.
    pub fn index_pack(&self, pack: &[u8]) -> Result<(), String> {
        let output = self.try_run(&["index-pack", "--stdin", "--strict"], pack);
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Kind and bytes, as `git cat-file --batch` has them.
    pub fn objects(&self, oids: &[Oid]) -> Vec<(Kind, Vec<u8>)> {
        let names: String = oids.iter().map(|oid| format!("{oid}\n")).collect();
        let out = self.run_with(&["cat-file", "--batch"], names.as_bytes());
        let mut rest = &out[..];
        oids.iter()
            .map(|oid| {
                let end = rest.iter().position(|&byte| byte == b'\n').unwrap();
                let header = std::str::from_utf8(&rest[..end]).unwrap();
                let mut words = header.split(' ');
                assert_eq!(words.next().unwrap(), oid.to_string());
                let kind = Kind::from_name(words.next().unwrap().as_bytes()).unwrap();
                let size: usize = words.next().unwrap().parse().unwrap();
                let data = rest[end + 1..end + 1 + size].to_vec();
                rest = &rest[end + 2 + size..];
                (kind, data)
            })
            .collect()
    }

    /// `commits` commits that change a long file, a directory of small files and an LFS pointer: deltas of all kinds.
    pub fn with_history(commits: u32) -> Git {
        let git = Git::init();
        let mut noise = Noise(7);
        let mut lines: Vec<String> = (0..400).map(|_| format!("{:x}\n", noise.next())).collect();
        for n in 0..commits {
            let line = noise.next() as usize % lines.len();
            lines[line] = format!("changed in {n} {:x}\n", noise.next());
            git.write("long.txt", lines.concat());
            git.write(&format!("many/file-{:03}.txt", n % 60), format!("{n} {:x}\n", noise.next()));
            git.write("many/deep/er/constant", "x");
            git.write("model.bin", pointer_text(n));
            git.commit(&format!("commit {n}"));
        }
        git.run(&["tag", "-a", "-m", "one", "v1"]);
        git.run(&["tag", "-a", "-m", "two", "v2", "v1"]);
        git
    }
}

pub fn pointer_text(size: u32) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {size}\n", "ab".repeat(32))
}

/// Xorshift: the same in every run.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

pub fn repo_row() -> Repo {
    Repo {
        id: RepoId(1),
        path: "acme/model".parse().unwrap(),
        visibility: Visibility::Public,
        state: RepoState::Live,
        head_ref: "refs/heads/main".to_owned(),
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

pub fn snapshot(packs: Vec<Arc<Pack>>) -> Snapshot {
    Snapshot::from_packs(repo_row(), Vec::new(), packs)
}

pub fn empty() -> Snapshot {
    snapshot(Vec::new())
}

pub fn try_ingest(pack: &Bytes, base: &Snapshot, limits: &Limits) -> Result<Ingested, IngestError> {
    ingest(pack.clone(), base, limits, tempfile::NamedTempFile::new, &|| true)
}

/// Ingests with default limits.
pub fn ingested(pack: &Bytes, base: &Snapshot) -> Ingested {
    try_ingest(pack, base, &Limits::default()).unwrap()
}

pub fn blob_of(ingested: &Ingested) -> Bytes {
    match &ingested.blob {
        repository::pack::Blob::Inline(bytes) => bytes.clone(),
        repository::pack::Blob::File(file) => std::fs::read(file.path()).unwrap().into(),
    }
}

/// A pack of whole objects, and their ids.
pub fn craft(objects: &[(Kind, Vec<u8>)]) -> (Bytes, Vec<Oid>) {
    let pack = craft_pack(objects);
    (pack.pack_bytes(), objects.iter().map(|(kind, data)| object::hash(*kind, data)).collect())
}

pub fn craft_pack(objects: &[(Kind, Vec<u8>)]) -> Pack {
    let mut blob = Vec::new();
    let mut builder = BlobBuilder::new(&mut blob, objects.len() as u32).unwrap();
    for (kind, data) in objects {
        builder.whole(object::hash(*kind, data), *kind, data).unwrap();
    }
    builder.finish().unwrap();
    Pack::from_blob(PackId::new(), PackKind::Receive, false, 1, blob.into()).unwrap()
}

pub fn tree(entries: &[(&str, &[u8], Oid)]) -> (Kind, Vec<u8>) {
    let mut data = Vec::new();
    for (mode, name, oid) in entries {
        data.extend(format!("{mode} ").bytes().chain(name.iter().copied()).chain([0]).chain(oid.0));
    }
    (Kind::Tree, data)
}

pub fn blob(data: impl AsRef<[u8]>) -> (Kind, Vec<u8>) {
    (Kind::Blob, data.as_ref().to_vec())
}

pub fn commit(tree: Oid, parents: &[Oid]) -> (Kind, Vec<u8>) {
    let parents: String = parents.iter().map(|parent| format!("parent {parent}\n")).collect();
    (
        Kind::Commit,
        format!("tree {tree}\n{parents}author A <a> 1 +0000\ncommitter C <c> 2 +0000\n\nx\n").into_bytes(),
    )
}

pub fn id(object: &(Kind, Vec<u8>)) -> Oid {
    object::hash(object.0, &object.1)
}

/// A pack written byte by byte, right or wrong.
pub struct RawPack {
    pub bytes: Vec<u8>,
    objects: u32,
}

impl RawPack {
    pub fn new() -> RawPack {
        RawPack { bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(), objects: 0 }
    }

    /// `number` is the entry's type; `extra` stands between header and zlib stream (the base of a delta).
    pub fn entry(&mut self, number: u8, size: u64, extra: &[u8], data: &[u8]) -> u64 {
        let offset = self.bytes.len() as u64;
        self.objects += 1;
        entry::encode_header(number, size, &mut self.bytes);
        self.bytes.extend_from_slice(extra);
        entry::deflate(data, &mut self.bytes).unwrap();
        offset
    }

    pub fn whole(&mut self, object: &(Kind, Vec<u8>)) -> u64 {
        self.entry(object.0 as u8, object.1.len() as u64, &[], &object.1)
    }

    pub fn ofs_delta(&mut self, base: u64, delta: &[u8]) -> u64 {
        let mut distance = Vec::new();
        entry::encode_ofs(self.bytes.len() as u64 - base, &mut distance);
        self.entry(6, delta.len() as u64, &distance, delta)
    }

    pub fn ref_delta(&mut self, base: Oid, delta: &[u8]) -> u64 {
        self.entry(7, delta.len() as u64, &base.0, delta)
    }

    pub fn finish(mut self) -> Bytes {
        self.bytes[8..12].copy_from_slice(&self.objects.to_be_bytes());
        sealed(self.bytes)
    }
}

/// A delta that copies the first `keep` bytes of `base` and appends `tail` (at most 127 bytes).
pub fn delta(base: &[u8], keep: usize, tail: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for mut size in [base.len(), keep + tail.len()] {
        while size > 0x7f {
            out.push(size as u8 | 0x80);
            size >>= 7;
        }
        out.push(size as u8);
    }
    let mut at = 0;
    while at < keep {
        let length = (keep - at).min(0xffff);
        out.push(0x80 | 0x0f | 0x30);
        out.extend((at as u32).to_le_bytes());
        out.extend((length as u16).to_le_bytes());
        at += length;
    }
    if !tail.is_empty() {
        out.push(tail.len() as u8);
        out.extend_from_slice(tail);
    }
    out
}

/// Adds the trailer.
pub fn sealed(mut bytes: Vec<u8>) -> Bytes {
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&bytes);
    bytes.extend_from_slice(hasher.try_finalize().unwrap().as_slice());
    bytes.into()
}

/// Every object of `pack` is what `git` has under its id.
pub fn assert_same_objects(git: &Git, snapshot: &Snapshot, pack: &Pack) {
    let oids: Vec<Oid> = (0..pack.objects()).map(|index| pack.oid(index)).collect();
    let mut data = Vec::new();
    for (index, (kind, expected)) in (0..).zip(git.objects(&oids)) {
        let oid = oids[index as usize];
        assert_eq!(snapshot.read(&oid, &mut data).unwrap(), kind, "{oid}");
        assert!(data == expected, "{oid} has other bytes");
        assert_eq!((pack.kind_of(index), pack.size_of(index)), (kind, expected.len() as u64), "{oid}");
        assert_eq!((snapshot.kind(&oid), snapshot.size(&oid)), (Some(kind), Some(expected.len() as u64)));
    }
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
