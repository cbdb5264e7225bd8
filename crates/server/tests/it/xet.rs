//! Large files in xorbs, as clients bring and fetch them, over a backup and a restore; and what commands say of them.

use serde_json::{Value, json};
use server::operations::{Operation, Outcome};
use sha2::{Digest, Sha256};
use xet::shard::{Term, Writer};
use xet::xorb::{self, Compression, Decoder};
use xet::{Hash, chunker};

use crate::commands::copy;
use crate::granary::Granary;
use crate::hub::{Hub, Response, basic};

/// A file, and what its client makes of it.
struct File {
    content: Vec<u8>,
    hash: Hash,
    xorb_hash: Hash,
    xorb: Vec<u8>,
    shard: Vec<u8>,
}

impl File {
    fn new(seed: u32) -> File {
        let mut state = seed;
        let byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let content: Vec<u8> = std::iter::repeat_with(byte).take(700_000).collect();
        let mut packed = xorb::Writer::new(xorb::Limits::default());
        let (mut chunker, mut tree) = (chunker::Chunker::default(), xet::merkle::Tree::default());
        let mut add = |chunk: &[u8]| {
            packed.push(chunk, Compression::Lz4).unwrap();
            tree.push(xet::hash::chunk_hash(chunk), chunk.len() as u64);
        };
        chunker.push(&content, &mut add);
        chunker.finish(&mut add);
        let (xorb, index) = packed.finish().unwrap();
        let (xorb_hash, chunk_end, hash) = (index.xorb_hash(), index.chunks(), tree.file_hash());
        let term = Term { xorb_hash, raw_bytes: index.raw_len(), chunk_start: 0, chunk_end };
        let verification = [index.range_hash(0..chunk_end).unwrap()];
        let mut shard = Writer::default();
        shard.push_file(&hash, &[term], Some(&verification), Some(Sha256::digest(&content).into()));
        File { content, hash, xorb_hash, xorb, shard: shard.finish() }
    }

    fn oid(&self) -> String {
        database::Sha256(Sha256::digest(&self.content).into()).to_string()
    }
}

/// Address of the CAS below this server, and the header with the token.
struct Cas {
    path: String,
    token: String,
}

fn parsed(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("{response:?}"))
}

fn path(url: &str) -> String {
    let after_scheme = url.split_once("://").unwrap().1;
    format!("/{}", after_scheme.split_once('/').unwrap().1)
}

impl Hub {
    async fn good(&self, head: &str, body: &[u8]) -> Response {
        let answer = self.ask(head, body).await;
        assert!(matches!(answer.status, 200 | 206), "{head}: {answer:?}");
        answer
    }

    async fn cas(&self, right: &str) -> Cas {
        let head = format!(
            "GET /api/models/ann/Model/xet-{right}-token/main HTTP/1.1\r\nAuthorization: Bearer {}",
            self.ann
        );
        let given = parsed(&self.good(&head, b"").await);
        let token = format!("Authorization: Bearer {}", given["accessToken"].as_str().unwrap());
        Cas { path: path(given["casUrl"].as_str().unwrap()), token }
    }

    /// Uploads and commits it as `name`.
    async fn bring(&self, file: &File, name: &str) {
        let Cas { path, token } = self.cas("write").await;
        let head = format!("POST {path}/v1/xorbs/default/{} HTTP/1.1\r\n{token}", file.xorb_hash);
        self.good(&head, &file.xorb).await;
        self.good(&format!("POST {path}/v1/shards HTTP/1.1\r\n{token}"), &file.shard).await;
        let header = json!({"key": "header", "value": {"summary": name, "description": ""}});
        let value = json!({"path": name, "algo": "sha256", "oid": file.oid(), "size": file.content.len()});
        let lines = format!("{header}\n{}\n", json!({"key": "lfsFile", "value": value}));
        let head = format!(
            "POST /api/models/ann/Model/commit/main HTTP/1.1\r\nContent-Type: application/x-ndjson\r\n\
             Authorization: Bearer {}",
            self.ann
        );
        self.good(&head, lines.as_bytes()).await;
    }

    /// By every way that a client may take.
    async fn serves(&self, file: &File, name: &str) {
        let resolved = self.good(&format!("GET /ann/Model/resolve/main/{name} HTTP/1.1"), b"").await;
        assert!(resolved.body == file.content, "by resolve");

        let object = json!({"oid": file.oid(), "size": file.content.len()});
        let request = json!({"operation": "download", "objects": [object], "transfers": ["basic"]});
        let head = format!(
            "POST /ann/Model.git/info/lfs/objects/batch HTTP/1.1\r\n\
             Content-Type: application/vnd.git-lfs+json\r\nUser-Agent: git-lfs/3.6.1\r\n{}",
            basic(&self.ann)
        );
        let answer = parsed(&self.good(&head, request.to_string().as_bytes()).await);
        let href = answer["objects"][0]["actions"]["download"]["href"].as_str().unwrap();
        let downloaded = self.good(&format!("GET {} HTTP/1.1", path(href)), b"").await;
        assert!(downloaded.body == file.content, "by git-lfs");

        let Cas { path: cas, token } = self.cas("read").await;
        let head = format!("GET {cas}/v1/reconstructions/{} HTTP/1.1\r\n{token}", file.hash);
        let plan = parsed(&self.good(&head, b"").await);
        let fetch = &plan["fetch_info"][file.xorb_hash.to_string()][0];
        let range = [&fetch["url_range"]["start"], &fetch["url_range"]["end"]].map(|at| at.as_u64().unwrap());
        let url = path(fetch["url"].as_str().unwrap());
        let head = format!("GET {url} HTTP/1.1\r\nRange: bytes={}-{}", range[0], range[1]);
        let packed = self.good(&head, b"").await.body;
        let (mut rest, mut raw, mut decoder) = (&packed[..], Vec::new(), Decoder::default());
        while decoder.next_chunk(&mut rest, &mut raw).unwrap().is_some() {}
        assert!(raw == file.content, "by reconstruction");
    }

    async fn command(&self, operation: Operation) -> Outcome {
        server::operations::run(&self.node, operation).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_hub_serves_what_came_in_xorbs() {
    let hub = Hub::start(|_| {}).await;
    let [before, after] = [1, 2].map(File::new);
    hub.bring(&before, "before.bin").await;
    hub.serves(&before, "before.bin").await;
    let backup = hub.path().join("backup");
    let report = hub.command(Operation::Backup { dir: backup.clone() }).await;
    assert!(report.to_string().contains("0 whole large objects, 1 xorbs, "), "{report}");
    hub.bring(&after, "after.bin").await;

    let restored = hub.restored(&backup).await;
    restored.serves(&before, "before.bin").await;
    assert_ne!(restored.cas("read").await.path, hub.cas("read").await.path, "clients forget");
    // What came after the backup comes once more, with all its chunks.
    restored.bring(&after, "after.bin").await;
    restored.serves(&after, "after.bin").await;
    let checked = restored.command(Operation::Fsck { repo: None }).await;
    assert!(checked.is_good(), "{checked}");
    assert!(checked.to_string().contains("2 files in 2 xorbs: no problems"), "{checked}");
    restored.stopped().await;
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_know_of_xorbs() {
    let hub = Hub::start(|_| {}).await;
    let file = File::new(3);
    hub.bring(&file, "model.bin").await;
    let stats = hub.command(Operation::Stats { repo: Some("ann/Model".to_owned()) }).await;
    let Outcome::Stats(stats) = stats else { panic!("{stats}") };
    let (bytes, stored) = (file.content.len() as u64, file.xorb.len() as u64);
    let line = &stats.repos[0].line;
    assert_eq!((line.objects, line.logical_bytes, line.own_bytes, line.shared_bytes), (1, bytes, stored, 0));
    assert_eq!((stats.repos.len(), stats.all), (1, None));
    let none = hub.command(Operation::Stats { repo: Some("ann/secret".to_owned()) }).await.to_string();
    assert!(none.lines().nth(1).unwrap().starts_with("ann/secret        0 "), "{none}");
    let all = hub.command(Operation::Stats { repo: None }).await.to_string();
    assert_eq!(all.lines().count(), 3, "{all}");

    let xorb = hub.node.database.xorb(&file.xorb_hash.into()).unwrap().unwrap();
    let stored = hub.node.data_dir().path().join(xorb.storage_key());
    std::fs::remove_file(&stored).unwrap();
    for repo in [None, Some("ann/Model".to_owned())] {
        let checked = hub.command(Operation::Fsck { repo }).await;
        assert!(!checked.is_good());
        let finding = format!("xorb {}: its bytes are gone\n", xorb.storage_key());
        assert!(checked.to_string().starts_with(&finding), "{checked}");
    }
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xorbs_stay_where_they_are_until_they_are_said_to_have_moved() {
    let hub = Hub::start(|_| {}).await;
    let file = File::new(4);
    hub.bring(&file, "model.bin").await;
    let (granary, backup) = (Granary::new(), hub.path().join("backup"));
    hub.command(Operation::Backup { dir: backup.clone() }).await;
    granary.ok(&format!("restore {}", backup.display()));
    let nas = granary.path("nas");
    std::fs::create_dir(&nas).unwrap();
    let granary = granary.with("GRANARY__STORAGE__URL", &format!("file:{}", nas.display()));
    assert!(granary.fails("user list").contains("are in the data directory"));
    let refused = granary.fails("lfs moved");
    assert!(refused.contains("1 of 1 objects are not in"), "{refused}");
    copy(&granary.data_dir().join("xorbs"), &nas.join("xorbs"));
    let moved = granary.ok("lfs moved");
    assert!(moved.starts_with("1 objects are in "), "{moved}");
    std::fs::remove_dir_all(granary.data_dir().join("xorbs")).unwrap();
    granary.ok("fsck");
    hub.stopped().await;
}
