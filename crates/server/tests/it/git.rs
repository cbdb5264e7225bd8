//! Real git against the server in this process.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::task::block_in_place;

use crate::granary::{git, git_fails};
use crate::hub::{Hub, basic};

const FETCH_TYPE: &str = "Content-Type: application/x-git-upload-pack-request";
const V2: &str = "Git-Protocol: version=2";

impl Hub {
    /// The address of a repository, with a token in it.
    fn url(&self, token: &str, path: &str) -> String {
        format!("http://git:{token}@{}/{path}", self.address)
    }

    fn git(&self, directory: &str, words: &str) -> String {
        block_in_place(|| git(&self.path().join(directory), words))
    }

    fn git_fails(&self, directory: &str, words: &str) -> String {
        block_in_place(|| git_fails(&self.path().join(directory), words))
    }

    /// A working copy `work` with one commit, pushed to `ann/Model`.
    fn pushed(&self) -> PathBuf {
        let work = self.path().join("work");
        self.git(".", "init -q -b main work");
        commit(&work, "README.md", b"# Model\n");
        self.git("work", &format!("push -q {} main", self.url(&self.ann, "ann/Model")));
        work
    }

    fn push(&self) {
        self.git("work", &format!("push -q {} --all", self.url(&self.ann, "ann/Model")));
    }
}

fn commit(work: &Path, name: &str, content: &[u8]) {
    fs::write(work.join(name), content).unwrap();
    block_in_place(|| {
        git(work, &format!("add {name}"));
        git(work, &format!("commit -q -m {name}"));
    });
}

/// Bytes that do not compress, so that packs are as large as they.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The body of a v2 clone of `oid`.
fn clone_request(oid: &str) -> Vec<u8> {
    format!("0011command=fetch0001000dofs-delta0032want {oid}\n0009done\n0000").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn push_clone_fetch_in_every_version() {
    let hub = Hub::start(|_| {}).await;
    let work = hub.pushed();
    let url = hub.url("", "ann/Model.git").replace("git:@", "");
    for version in [0, 1, 2] {
        hub.git(".", &format!("-c protocol.version={version} clone -q {url} v{version}"));
        assert_eq!(hub.git(&format!("v{version}"), "rev-parse HEAD"), hub.git("work", "rev-parse HEAD"));
    }
    commit(&work, "weights.bin", &noise(3 << 20));
    commit(&work, "config.json", b"{}");
    hub.push();
    for version in [0, 1, 2] {
        let clone = format!("v{version}");
        hub.git(&clone, &format!("-c protocol.version={version} pull -q"));
        assert_eq!(hub.git(&clone, "rev-parse HEAD"), hub.git("work", "rev-parse HEAD"));
        hub.git(&clone, "fsck --strict");
    }
    hub.git(".", &format!("clone -q --depth 1 {url} shallow"));
    assert_eq!(hub.git("shallow", "rev-list --count HEAD"), "1");
    hub.git("shallow", "fetch -q --unshallow");
    assert_eq!(hub.git("shallow", "rev-list --count HEAD"), "3");
    hub.git(".", &format!("clone -q --filter=blob:none --no-checkout {url} partial"));
    assert_eq!(hub.git("partial", "show HEAD:config.json"), "{}");

    // The two large packs came through files, and came whole.
    assert!(hub.metric("granary_cache_disk_bytes").await >= 3e6);
    let before = hub.metric("granary_fetch_cold_builds_total").await;
    hub.git(".", &format!("clone -q --depth 1 {url} again"));
    assert_eq!(hub.metric("granary_fetch_cold_builds_total").await, before, "from the cache");
    assert!(hub.metric("granary_refs_moved_total").await >= 2.0);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_repository_is_sent_as_it_is_stored() {
    let hub = Hub::start(|_| {}).await;
    let work = hub.pushed();
    commit(&work, "weights.bin", &noise(2 << 20));
    hub.push();
    hub.node.changes.maintain(true).await.unwrap();
    let before = hub.metric("granary_fetch_cold_builds_total").await;
    for version in [0, 2] {
        let url = hub.url("", "ann/Model").replace("git:@", "");
        hub.git(".", &format!("-c protocol.version={version} clone -q {url} v{version}"));
        hub.git(&format!("v{version}"), "fsck --strict");
    }
    assert_eq!(hub.metric("granary_fetch_verbatim_total").await, 2.0);
    assert_eq!(hub.metric("granary_fetch_cold_builds_total").await, before);

    let head = format!("POST /ann/Model/git-upload-pack HTTP/1.1\r\n{FETCH_TYPE}\r\n{V2}");
    let answer = hub.ask(&head, &clone_request(&hub.git("work", "rev-parse HEAD"))).await;
    assert!(answer.header("content-length").is_some(), "its length is known beforehand");
    assert!(answer.body.ends_with(b"0000"));
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_ask_the_same_one_is_computed_for() {
    let hub = Hub::start(|config| config.limits.cold_builds = 1).await;
    let work = hub.pushed();
    commit(&work, "weights.bin", &noise(3 << 20));
    hub.push();
    let head = format!("POST /ann/Model/git-upload-pack HTTP/1.1\r\n{FETCH_TYPE}\r\n{V2}");
    let request = clone_request(&hub.git("work", "rev-parse HEAD"));
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = hub.connect().await;
        client.send(&head, &request).await;
        clients.push(client);
    }
    let mut answers = Vec::new();
    for mut client in clients {
        answers.push(client.response().await);
    }
    assert!(answers[0].status == 200 && answers[0].body.len() > 3 << 20);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    assert_eq!(hub.metric("granary_fetch_cold_builds_total").await, 1.0);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_is_left_and_holds_nobody_up() {
    let hub = Hub::start(|config| {
        config.server.write_timeout = "500ms".parse().unwrap();
        config.limits.cold_builds = 1;
    })
    .await;
    let work = hub.pushed();
    // More than sockets hold.
    commit(&work, "weights.bin", &noise(9 << 20));
    commit(&work, "more.bin", &noise(9 << 20));
    hub.push();
    let head = format!("POST /ann/Model/git-upload-pack HTTP/1.1\r\n{FETCH_TYPE}\r\n{V2}");
    let request = clone_request(&hub.git("work", "rev-parse HEAD"));
    let mut lazy = hub.connect().await;
    lazy.send(&head, &request).await;
    // The only turn is free again though the first answer is not taken: this one is another answer.
    let other = clone_request(&hub.git("work", "rev-parse HEAD~1"));
    assert_eq!(hub.ask(&head, &other).await.status, 200);
    while hub.metric("granary_http_connections").await > 1.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(lazy.try_response().await, None, "cut short, and seen to be");
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_of_many_refs_are_deflated_for_who_takes_it() {
    let hub = Hub::start(|_| {}).await;
    let work = hub.pushed();
    for n in 0..200 {
        block_in_place(|| git(&work, &format!("branch branch-{n}")));
    }
    hub.push();
    let url = hub.url("", "ann/Model").replace("git:@", "");
    for version in [0, 2] {
        let listed = hub.git(".", &format!("-c protocol.version={version} ls-remote --heads {url}"));
        assert_eq!(listed.lines().count(), 201);
    }
    let refs = "GET /ann/Model/info/refs?service=git-upload-pack HTTP/1.1";
    let plain = hub.ask(refs, b"").await;
    assert_eq!(plain.header("content-encoding"), None);
    for _ in 0..2 {
        let deflated = hub.ask(&format!("{refs}\r\nAccept-Encoding: deflate, gzip"), b"").await;
        assert_eq!(deflated.header("content-encoding"), Some("gzip"));
        assert_eq!(deflated.header("vary"), Some("Accept-Encoding"));
        assert!(deflated.body.len() * 2 < plain.body.len());
    }
    // What changes nothing is found in the cache, whoever made it up.
    let head = format!("POST /ann/Model/git-upload-pack HTTP/1.1\r\n{FETCH_TYPE}\r\n{V2}");
    let listing = |junk: &str| {
        let prefix = |prefix: &str| format!("{:04x}ref-prefix {prefix}\n", prefix.len() + 16);
        format!("0014command=ls-refs\n0001{}{}0000", prefix("refs/heads/"), prefix(junk)).into_bytes()
    };
    let first = hub.ask(&head, &listing("refs/heads/")).await;
    let before = hub.metric("granary_cache_hits_total").await;
    for junk in ["junk-1", "junk-2", "refs/heads/main", "refs/junk"] {
        assert_eq!(hub.ask(&head, &listing(junk)).await.body, first.body);
    }
    assert_eq!(hub.metric("granary_cache_hits_total").await, before + 4.0);
    // A push shows at once.
    block_in_place(|| git(&work, "branch one-more"));
    hub.push();
    assert!(hub.git(".", &format!("ls-remote {url}")).contains("refs/heads/one-more"));
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_listings_take_turns() {
    let hub = Hub::start(|config| {
        config.limits.cold_builds = 1;
        config.limits.cold_builds_waiting = 0;
    })
    .await;
    let work = hub.pushed();
    let tip = hub.git("work", "rev-parse HEAD");
    let packed: String = (0..20_000).map(|n| format!("{tip} refs/heads/b{n:05}\n")).collect();
    let header = "# pack-refs with: peeled fully-peeled sorted \n";
    fs::write(work.join(".git/packed-refs"), format!("{header}{packed}")).unwrap();
    // A push takes git longer than all the rest of this file.
    let found = hub.node.database.find_repo(&"ann/model".parse().unwrap()).unwrap().unwrap();
    let (database::Found::Repo(repo) | database::Found::Redirect(repo)) = found;
    hub.node.changes.import(&repo, work, None).await.unwrap();

    let head = format!("POST /ann/Model/git-upload-pack HTTP/1.1\r\n{FETCH_TYPE}\r\n{V2}");
    let mut clients = Vec::new();
    for n in 0..40 {
        let mut client = hub.connect().await;
        // Half of the refs, and another one.
        let line = |prefix: &str| format!("{:04x}ref-prefix {prefix}\n", prefix.len() + 16);
        let prefixes = line("refs/heads/b1") + &line(&format!("refs/heads/b{n:05}"));
        client.send(&head, format!("0014command=ls-refs\n0001{prefixes}0000").as_bytes()).await;
        clients.push(client);
    }
    let mut refused = 0;
    for (n, mut client) in clients.into_iter().enumerate() {
        let response = client.response().await;
        match response.status {
            200 => {
                let text = response.text();
                assert_eq!(text.lines().count(), 10_002, "with the flush packet");
                assert!(text.contains(&format!("refs/heads/b{n:05}\n")));
            }
            429 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!((1..40).contains(&refused), "one is made at a time and none waits: {refused}");
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git_tells_its_user_why_not() {
    let hub = Hub::start(|config| config.limits.pack_bytes = "1MiB".parse().unwrap()).await;
    let work = hub.pushed();
    let said = hub.git_fails("work", &format!("push {} main", hub.url(&hub.bob, "ann/Model")));
    assert!(said.contains("remote: you may read this repository but not write to it"), "{said}");
    let said = hub.git_fails(".", &format!("clone {} x", hub.url("hf_wrong", "ann/secret")));
    assert!(said.contains("Authentication failed"), "{said}");
    let said = hub.git_fails(".", &format!("clone {} x", hub.url(&hub.bob, "ann/secret")));
    assert!(said.contains("repository not found") || said.contains("not found"), "{said}");
    commit(&work, "weights.bin", &noise(2 << 20));
    let said = hub.git_fails("work", &format!("push {} main", hub.url(&hub.ann, "ann/Model")));
    assert!(said.contains("allowed in one push"), "{said}");
    let said = hub.git_fails("work", &format!("fetch {} {}", hub.url(&hub.ann, "ann/Model"), "1".repeat(40)));
    assert!(said.contains("not our ref"), "{said}");
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git_follows_a_repository_to_its_new_name() {
    let hub = Hub::start(|_| {}).await;
    let work = hub.pushed();
    let found = hub.node.database.find_repo(&"ann/model".parse().unwrap()).unwrap().unwrap();
    let (database::Found::Repo(repo) | database::Found::Redirect(repo)) = found;
    hub.node.database.rename_repo(repo.id, "ann/Other".parse().unwrap()).await.unwrap();
    hub.git(".", &format!("clone -q {} moved", hub.url(&hub.ann, "ann/Model.git")));
    commit(&work, "late.txt", b"late");
    hub.git("work", &format!("push -q {} main", hub.url(&hub.ann, "ann/model")));
    hub.git("moved", "pull -q");
    assert_eq!(hub.git("moved", "rev-parse HEAD"), hub.git("work", "rev-parse HEAD"));
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_goes_on_without_its_client() {
    let hub = Hub::start(|_| {}).await;
    let work = hub.pushed();
    let old = hub.git("work", "rev-parse HEAD");
    commit(&work, "next.txt", b"next");
    let new = hub.git("work", "rev-parse HEAD");
    hub.git("work", "tag tip");
    hub.git("work", "repack -q -a -d");
    let mut packs = fs::read_dir(work.join(".git/objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    let pack = packs.find(|path| path.extension().is_some_and(|name| name == "pack")).unwrap();
    let command = format!("{old} {new} refs/heads/main\0report-status");
    let mut body = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
    body.extend_from_slice(&fs::read(pack).unwrap());
    let content_type = "Content-Type: application/x-git-receive-pack-request";
    let head = format!("POST /ann/Model/git-receive-pack HTTP/1.1\r\n{content_type}\r\n{}", basic(&hub.ann));
    let mut client = hub.connect().await;
    client.send(&head, &body).await;
    drop(client);
    while !hub.git("work", &format!("ls-remote {}", hub.url(&hub.ann, "ann/Model"))).contains(&new) {
        tokio::task::yield_now().await;
    }
    hub.stopped().await;
}
