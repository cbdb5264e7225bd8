//! The same request to `git upload-pack --stateless-rpc` and to ours: the same answer up to the pack, and packs with the
//! same objects.

use std::collections::BTreeSet;
use std::time::Instant;

use git_protocol::upload_pack::{self, Request};
use git_protocol::{AdvertiseOptions, Limits, Service, Version};
use repository::Snapshot;

use crate::support::{Git, Parts, git_is_recent, lines, parts, v2};

struct Pair {
    git: Git,
    snapshot: Snapshot,
}

impl Pair {
    fn new() -> (Pair, Vec<String>) {
        let git = Git::new();
        let commits = git.history("r");
        for key in ["allowFilter", "allowAnySHA1InWant", "allowRefInWant"] {
            git.run("r", &["config", &format!("uploadpack.{key}"), "true"]);
        }
        // Hides what we hide.
        git.run("r", &["config", "uploadpack.hideRefs", "refs/pr"]);
        let snapshot = git.snapshot("r");
        (Pair { git, snapshot }, commits.iter().map(ToString::to_string).collect())
    }

    fn theirs(&self, v2: bool, body: &[u8]) -> Vec<u8> {
        self.git.pipe("r", &["upload-pack", "--strict", "--stateless-rpc", ".git"], v2, body).stdout
    }

    fn ours(&self, v2: bool, body: &[u8]) -> Vec<u8> {
        let version = if v2 { Version::V2 } else { Version::V0 };
        let limits = Limits::default();
        match upload_pack::parse(version, body, &limits) {
            Ok(Request::LsRefs(request)) => upload_pack::ls_refs(&self.snapshot, &request).to_vec(),
            Ok(Request::Fetch(fetch)) => {
                let mut out = Vec::new();
                let _ = upload_pack::answer(&self.snapshot, &fetch, &limits, &mut out, &Instant::now);
                out
            }
            Err(error) => git_protocol::pktline::error_body(&error.to_string()).to_vec(),
        }
    }

    /// The objects in a pack, deltas on objects of the repository included.
    fn objects(&self, pack: &[u8]) -> BTreeSet<String> {
        if pack.is_empty() {
            return BTreeSet::new();
        }
        let scratch = self.git.path("scratch");
        if !scratch.exists() {
            self.git.run(".", &["clone", "--quiet", "--bare", "--shared", "r", "scratch"]);
        }
        let output = self.git.pipe("scratch", &["index-pack", "--stdin", "--strict"], false, pack);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let dir = std::fs::read_dir(scratch.join("objects/pack")).unwrap();
        let idx =
            dir.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "idx"));
        let idx = std::fs::read(idx.unwrap()).unwrap();
        std::fs::remove_dir_all(scratch.join("objects/pack")).unwrap();
        let listing = self.git.pipe("scratch", &["show-index"], false, &idx).stdout;
        let listing = String::from_utf8(listing).unwrap();
        listing.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    /// What a client that sends `request` has for certain: all below its haves; only their trees, and those of where its
    /// history ends, if it is shallow.
    fn client_objects(&self, request: &str) -> BTreeSet<String> {
        let oids = |word: &str| {
            let word = format!("{word} ");
            let words = request.split(&word).skip(1).map(|rest| rest[..40].to_owned());
            words.filter(|oid| !oid.starts_with("1111")).collect::<Vec<_>>()
        };
        let (mut haves, shallow) = (oids("have"), oids("shallow"));
        let args: &[&str] = match shallow.is_empty() {
            true => &["rev-list", "--objects", "--no-object-names"],
            false => &["ls-tree", "-r", "-t", "--format=%(objectname)"],
        };
        if !haves.is_empty() {
            haves.extend(shallow);
        }
        let listings = haves.iter().map(|have| self.git.run("r", &[args, &[have]].concat()));
        listings.flat_map(|listing| listing.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    fn check(&self, v2: bool, body: &[u8]) -> (Parts, Parts) {
        let (theirs, ours) = (parts(&self.theirs(v2, body)), parts(&self.ours(v2, body)));
        let shown = String::from_utf8_lossy(body);
        // Older gits also acknowledge what is common only by what was acknowledged before, and list wanted refs in no
        // order.
        let comparable = |head: &[String]| {
            let kept = head.iter().filter(|line| git_is_recent() || !line.starts_with("ACK "));
            let mut kept: Vec<_> = kept.cloned().collect();
            if !git_is_recent() {
                kept.sort();
            }
            kept
        };
        assert_eq!(comparable(&ours.head), comparable(&theirs.head), "{shown}");
        let (their_objects, our_objects) = (self.objects(&theirs.pack), self.objects(&ours.pack));
        let client_has = self.client_objects(&shown);
        if client_has.is_empty() {
            assert_eq!(our_objects, their_objects, "{shown}");
        } else {
            // How much of what the client has is sent all the same depends on the order of the walk.
            let lacks: Vec<_> = their_objects
                .iter()
                .filter(|oid| !our_objects.contains(*oid) && !client_has.contains(*oid))
                .collect();
            assert!(lacks.is_empty(), "{shown}: {lacks:?}");
            assert!(our_objects.len() <= their_objects.len() + 3, "{shown}");
        }
        assert_eq!(ours.ended, theirs.ended, "{shown}");
        (ours, theirs)
    }
}

fn words(text: &str, commits: &[String]) -> Vec<String> {
    let word = |word: &str| match word.split_once('#') {
        Some((before, n)) => {
            let (n, after) = n.split_once(' ').unwrap_or((n, ""));
            let oid = n.parse().ok().and_then(|n: usize| commits.get(n).cloned());
            format!("{before}{} {after}", oid.unwrap_or_else(|| "1".repeat(40))).trim_end().to_owned()
        }
        None => word.to_owned(),
    };
    text.split('|').map(|part| word(part.trim())).collect()
}

#[test]
fn ls_refs_bytes_are_gits() {
    let (pair, _) = Pair::new();
    let cases = [
        "peel|symrefs|unborn",
        "peel|symrefs|unborn|ref-prefix refs/heads/|ref-prefix refs/tags/|ref-prefix HEAD",
        "ref-prefix refs/heads/s",
        "symrefs|ref-prefix HEA",
        "peel|ref-prefix refs/tags/v1|ref-prefix refs/tags/v1|ref-prefix refs/tags/",
        "ref-prefix nothing",
        "bogus",
    ];
    for case in cases {
        let body = v2("ls-refs", &words(case, &[]));
        let theirs = pair.theirs(true, &body);
        let ours = pair.ours(true, &body);
        if case == "bogus" {
            assert!(theirs.is_empty());
            assert_eq!(ours, b"0020ERR unexpected line: 'bogus'");
            continue;
        }
        assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap(), "{case}");
    }
}

#[test]
fn advertisements_are_gits() {
    let (pair, _) = Pair::new();
    pair.git.run("r", &["config", "receive.advertisePushOptions", "true"]);
    let options = AdvertiseOptions { agent: "AGENT", session_id: None };
    for (service, command) in [(Service::UploadPack, "upload-pack"), (Service::ReceivePack, "receive-pack")] {
        for v2 in [false, true] {
            let args = [command, "--http-backend-info-refs", ".git"];
            let theirs = String::from_utf8(pair.git.pipe("r", &args, v2, b"").stdout).unwrap();
            let version = if v2 { Version::V2 } else { Version::V0 };
            let ours = git_protocol::advertise(service, version, &pair.snapshot, &options).to_vec();
            let ours = String::from_utf8(ours).unwrap();
            let ours = match v2 {
                true => &ours[..],
                false => ours
                    .strip_prefix(&format!("{:04x}# service=git-{command}\n0000", 15 + command.len() + 4))
                    .unwrap(),
            };
            let comparable = |text: &str| {
                // Without lengths: the agents differ.
                let lines = text.split('\n').map(|line| {
                    let words = line.get(4..).unwrap_or(line).split(' ');
                    words.filter(|word| !word.contains("agent=")).collect::<Vec<_>>().join(" ")
                });
                // Older gits offer this unasked.
                lines.filter(|line| line != "object-info").collect::<Vec<_>>()
            };
            assert_eq!(comparable(ours), comparable(&theirs), "{command} v2={v2}");
        }
    }
}

#[test]
fn v2_fetches() {
    let (pair, commits) = Pair::new();
    let cases = [
        "want #9|done",
        "ofs-delta|no-progress|include-tag|want #9|want #9|done",
        "want #9",
        "want #9|want #3|have #5|done",
        "want #9|have #5",
        "want #9|have #99",
        "want #9|have #99|have #98|have #5",
        "want #4|have #9",
        "want #0|have #9|have #8|have #3",
        "wait-for-done|want #9|have #5",
        "wait-for-done|have #5|have #99",
        "have #5",
        "want #9|deepen 1|done",
        "want #9|deepen 3|done",
        "want #9|deepen 100|done",
        "want #9|deepen 2147483647|done",
        "want #9|deepen 2147483647|shallow #5|done",
        "want #9|deepen 3|shallow #9|have #9|done",
        "want #9|deepen 2|deepen-relative|shallow #8|have #9|done",
        "want #9|shallow #5|have #5|done",
        "want #9|shallow #5|have #5",
        "want #9|shallow #99|shallow #4|deepen 4|done",
        "want #9|deepen-since 1577837000|done",
        "want #9|deepen-since 0|done",
        "want #9|deepen-not v1|done",
        "want #9|deepen-not refs/heads/side|done",
        "want #9|deepen-not side|deepen-since 1577837280|done",
        "want #9|filter blob:none|done",
        "want #9|filter blob:limit=5|done",
        "want #9|filter blob:limit=1k|done",
        "want #9|filter tree:0|done",
        "want #9|filter tree:1|done",
        "want #9|filter tree:2|done",
        "want #9|filter object:type=tree|done",
        "want #9|filter object:type=commit|done",
        "want #9|filter combine:tree:1+blob:none|done",
        "want #9|filter combine:blob%3Anone+object%3Atype=blob|done",
        "want-ref refs/heads/main|done",
        "want-ref refs/heads/main|want-ref HEAD|want-ref refs/tags/v1|want #9|done",
        "want-ref refs/heads/main|have #5",
        "include-tag|want #4|done",
        "include-tag|want #9|have #4|done",
    ];
    for case in cases {
        pair.check(true, &v2("fetch", &words(case, &commits)));
    }
    for name in ["vv1", "v1", "blob", "HEAD:dir", "HEAD:file"] {
        let oid = pair.git.rev("r", name);
        pair.check(true, &v2("fetch", &[format!("want {oid}"), "done".to_owned()]));
    }
}

#[test]
fn the_sections_stand_in_the_order_that_clients_read() {
    let (pair, commits) = Pair::new();
    let body = v2("fetch", &words("want-ref refs/heads/main|deepen 1|done", &commits));
    let head = parts(&pair.ours(true, &body)).head;
    let tip = &commits[9];
    let expected = [
        "shallow-info",
        &format!("shallow {tip}"),
        "0001",
        "wanted-refs",
        &format!("{tip} refs/heads/main"),
        "0001",
        "packfile",
    ];
    assert_eq!(head, expected);
}

#[test]
fn v0_fetches() {
    let (pair, commits) = Pair::new();
    let full = "multi_ack_detailed no-done side-band-64k thin-pack ofs-delta agent=x";
    let mut cases = vec![
        format!("want #9 {full}|0000|done"),
        "want #9|0000|done".to_owned(),
        "want #9 side-band|0000|done".to_owned(),
        "want #9 side-band-64k no-progress include-tag|want #3|0000|done".to_owned(),
        format!("want #9 {full}|deepen 1|0000"),
        format!("want #9 {full}|deepen 1|0000|done"),
        format!("want #9 {full}|shallow #8|deepen 3|0000|have #9|done"),
        format!("want #9 {full} deepen-relative|shallow #8|deepen 3|0000|have #9|done"),
        format!("want #9 {full}|deepen-since 1577837000|0000|done"),
        format!("want #9 {full}|deepen-not v1|0000|done"),
        format!("want #9 {full} filter|filter blob:none|0000|done"),
        format!("want #9 {full}|shallow #5|0000|have #5|0000"),
        format!("want #9 {full}|0000"),
        "0000".to_owned(),
    ];
    let rounds = [
        "have #5|0000",
        "have #5|done",
        "have #5|have #4|have #3|0000",
        "have #5|have #4|have #3|done",
        "have #99|0000",
        "have #99|done",
        "have #99|have #98|have #5|have #97|0000",
        "have #5|have #99|0000",
        "have #5|have #99|done",
        "0000",
        "done",
    ];
    for acks in ["", "multi_ack", "multi_ack_detailed", "multi_ack_detailed no-done", "multi_ack no-done"] {
        for round in rounds {
            cases.push(format!("want #9 {acks} side-band-64k ofs-delta|0000|{round}"));
            cases.push(format!("want #4 {acks} side-band-64k ofs-delta|0000|{round}"));
        }
    }
    for case in &cases {
        pair.check(false, &lines(&words(case, &commits)));
    }
}

#[test]
fn refusals_are_in_gits_words() {
    let (pair, commits) = Pair::new();
    let cases = [
        "want #99|done",
        "want-ref refs/heads/nope|done",
        "want-ref refs/heads/main|want-ref refs/heads/main|done",
        "want #9|deepen-not nope|done",
        "want #9|deepen 1|deepen-since 5|done",
        "want #9|deepen-since 99999999999|done",
        "want #9|deepen 0|done",
        "want #9|deepen -1|done",
        "want #9|deepen x|done",
        "want #9|deepen-since x|done",
        "want #9|shallow x|done",
        "want #9|bogus",
        "want #9|filter foo|done",
        "want #9|filter blob:none|filter blob:none|done",
        "want #9|filter tree:x|done",
        "have x|want #9",
    ];
    for case in cases {
        let body = v2("fetch", &words(case, &commits));
        let output = pair.git.pipe("r", &["upload-pack", "--strict", "--stateless-rpc", ".git"], true, &body);
        let theirs = String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("fatal: ").to_owned();
        if theirs.is_empty() && !git_is_recent() {
            // It learned to refuse this later.
            continue;
        }
        let ours = parts(&pair.ours(true, &body));
        let [line] = &ours.head[..] else { panic!("{case}: {ours:?}") };
        let ours = line.strip_prefix("ERR ").unwrap();
        assert!(theirs.ends_with(ours), "{case}: ours {ours:?}, git's {theirs:?}");
    }
}
