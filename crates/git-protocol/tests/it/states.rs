//! What the server asks of a fetch before and while it is answered: wants, cache keys, verbatim packs, keepalives,
//! errors half way.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use database::{Oid, PackId, PackKind, RefRow, Repo, RepoId};
use git_protocol::sideband::{Band, Framing, frame_header};
use git_protocol::upload_pack::{self, Fetch, FetchError, Request, verbatim};
use git_protocol::{Limits, Version};
use repository::{Pack, Snapshot};

use crate::support::{Git, Parts, lines, parts, repo_row, v2};

fn fetch(args: &[String]) -> Fetch {
    match upload_pack::parse(Version::V2, &v2("fetch", args), &Limits::default()) {
        Ok(Request::Fetch(fetch)) => fetch,
        other => panic!("{other:?}"),
    }
}

fn fetch_v0(words: &[String]) -> Fetch {
    match upload_pack::parse(Version::V0, &lines(words), &Limits::default()) {
        Ok(Request::Fetch(fetch)) => fetch,
        other => panic!("{other:?}"),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split('|').map(str::to_owned).collect()
}

fn answer(snapshot: &Snapshot, fetch: &Fetch) -> Result<Vec<u8>, (FetchError, Vec<u8>)> {
    let mut out = Vec::new();
    match upload_pack::answer(snapshot, fetch, &Limits::default(), &mut out, &Instant::now) {
        Ok(()) => Ok(out),
        Err(error) => Err((error, out)),
    }
}

/// The same objects under other refs, generation or settings.
fn with(snapshot: &Snapshot, repo: Repo, refs: Vec<RefRow>) -> Snapshot {
    Snapshot::from_packs(repo, refs, snapshot.packs().to_vec())
}

#[test]
fn wants_are_checked_against_the_packs() {
    let git = Git::new();
    let commits = git.history("r");
    let snapshot = git.snapshot("r");
    let check = |args: &str| fetch(&words(args)).check_wants(&snapshot).map_err(|error| error.to_string());
    assert_eq!(check(&format!("want {}|want {}", commits[9], commits[0])), Ok(()));
    assert_eq!(check(&format!("want {}", git.rev("r", "HEAD:dir/file"))), Ok(()), "any object will do");
    let missing = Oid([0x11; 20]);
    assert_eq!(check(&format!("want {missing}")), Err(format!("upload-pack: not our ref {missing}")));
    assert_eq!(check("want-ref HEAD|want-ref refs/pr/1"), Ok(()));
    assert_eq!(check("want-ref refs/heads/nope"), Err("unknown ref refs/heads/nope".to_owned()));
    assert_eq!(check("want-ref main"), Err("unknown ref main".to_owned()), "full names only");
    let unborn = with(&snapshot, repo_row("refs/heads/nope"), git.refs("r"));
    assert!(fetch(&words("want-ref HEAD")).check_wants(&unborn).is_err());
}

#[test]
fn cache_keys_differ_where_answers_do() {
    let git = Git::new();
    let commits = git.history("r");
    let snapshot = git.snapshot("r");
    let absent = "1".repeat(40);
    let key = |args: &str| {
        let args = args.replace("#x", &absent);
        let args =
            (0..10).rev().fold(args, |args, n| args.replace(&format!("#{n}"), &commits[n].to_string()));
        fetch(&words(&args)).cache_key(&snapshot)
    };
    let base = key("want #9|done").unwrap();
    let different = [
        "want #8|done",
        "want #9|want #8|done",
        "want #9",
        "want #9|have #4|done",
        "want #9|have #4|have #5|done",
        "want #9|have #4",
        "want #9|have #5|have #4",
        "want #9|shallow #4|done",
        "want #9|deepen 1|done",
        "want #9|deepen 2|done",
        "want #9|deepen 1|deepen-relative|done",
        "want #9|deepen-since 1|done",
        "want #9|deepen-since 2|done",
        "want #9|deepen-not v1|done",
        "want #9|deepen-not light|done",
        "want #9|deepen-not v1|deepen-since 1|done",
        "want #9|filter blob:none|done",
        "want #9|filter tree:0|done",
        "want #9|thin-pack|done",
        "want #9|ofs-delta|done",
        "want #9|include-tag|done",
        "want #9|no-progress|done",
        "want #9|wait-for-done|done",
        "want-ref refs/heads/main|done",
        "want-ref HEAD|done",
    ];
    let mut keys: Vec<_> = different.iter().map(|args| key(args).unwrap()).collect();
    keys.push(base);
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
    for same in ["want #9|want #9|done", "want #9|have #x|done", "want #9|shallow #x|done", "done|want #9"] {
        assert_eq!(key(same), Some(base), "{same}");
    }
    assert_eq!(key("want #9|want #8|done"), key("want #8|want #9|done"));
    let haves = |count: usize| {
        let objects = git.run("r", &["rev-list", "--objects", "--all", "--no-object-names"]);
        let haves = objects.lines().take(count).map(|oid| format!("have {oid}"));
        fetch(&[words(&format!("want {}", commits[9])), haves.collect()].concat()).cache_key(&snapshot)
    };
    assert!(haves(16).is_some() && haves(17).is_none());
    assert_eq!(key("want-ref refs/heads/nope|done"), None);
}

#[test]
fn cache_keys_follow_refs_only_where_answers_do() {
    let git = Git::new();
    let commits = git.history("r");
    let before = git.snapshot("r");
    let mut refs = git.refs("r");
    refs.retain(|row| row.name != "refs/tags/v1" && row.name != "refs/pr/1");
    let main = refs.iter_mut().find(|row| row.name == "refs/heads/main").unwrap();
    main.oid = commits[8];
    let after = with(&before, Repo { generation: 2, ..repo_row("refs/heads/main") }, refs.clone());
    let elsewhere = with(&before, Repo { id: RepoId(2), ..repo_row("refs/heads/main") }, git.refs("r"));
    let key = |snapshot: &Snapshot, args: &str| {
        fetch(&words(&args.replace('#', &commits[9].to_string()))).cache_key(snapshot)
    };
    for (args, moves) in [
        ("want #|done", false),
        ("want #|include-tag|done", true),
        ("want-ref refs/heads/main|done", true),
        ("want #|deepen-not main|done", true),
    ] {
        assert_eq!(key(&before, args) != key(&after, args), moves, "{args}");
        assert_ne!(key(&before, args), key(&elsewhere, args), "{args}");
    }
    let v0 =
        |round: &str| fetch_v0(&words(&format!("want {} {round}", commits[9]))).cache_key(&before).unwrap();
    let rounds = [
        "side-band-64k|0000|done",
        "side-band|0000|done",
        "|0000|done",
        "multi_ack|0000|done",
        "|0000",
        "no-done|0000|done",
    ];
    let mut keys: Vec<_> = rounds.iter().map(|round| v0(round)).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), rounds.len());
    let unknown = format!("|0000|have {}|done", "1".repeat(40));
    assert_ne!(v0(&unknown), v0("|0000|done"), "v0 may acknowledge what we do not have");
}

fn framed(verbatim: &upload_pack::Verbatim) -> Vec<u8> {
    let mut out = verbatim.preamble.to_vec();
    let pack = verbatim.pack.pack_bytes();
    match verbatim.framing.payload_max() {
        None => out.extend_from_slice(&pack),
        Some(max) => {
            for chunk in pack.chunks(max) {
                out.extend(frame_header(Band::Data, chunk.len()));
                out.extend_from_slice(chunk);
            }
        }
    }
    out.extend_from_slice(verbatim.trailer);
    assert_eq!(out.len() as u64, verbatim.total_bytes());
    out
}

#[test]
fn one_exact_pack_is_sent_as_it_is() {
    let git = Git::new();
    let commits = git.history("r");
    git.run("r", &["update-ref", "-d", "refs/pr/1"]);
    // The branch `side` and the light tag point at what is not otherwise wanted by id.
    let snapshot = git.snapshot("r");
    let wants: Vec<String> = git.refs("r").iter().map(|row| format!("want {}", row.oid)).collect();
    let clone = [words("thin-pack|ofs-delta|include-tag|done"), wants.clone()].concat();
    let answered = verbatim(&snapshot, &fetch(&clone)).expect("a clone of everything");
    let Parts { head, pack, ended, progress, .. } = parts(&framed(&answered));
    assert_eq!((head, ended), (vec!["packfile".to_owned()], true));
    assert!(progress.starts_with("Enumerating objects: "));
    assert_eq!(pack, snapshot.packs()[0].pack_bytes());
    let silent = [clone.clone(), words("no-progress")].concat();
    assert_eq!(parts(&framed(&verbatim(&snapshot, &fetch(&silent)).unwrap())).progress, "");

    // Tags come along with what they point at, and bring what they point at.
    let version_tags = ["v1", "vv1"].map(|name| git.rev("r", name).to_string());
    let is_tip = |want: &&String| !version_tags.iter().any(|tag| want.ends_with(tag));
    let tips: Vec<String> = wants.iter().filter(is_tip).cloned().collect();
    assert!(verbatim(&snapshot, &fetch(&[words("ofs-delta|include-tag"), tips.clone()].concat())).is_none());
    git.run("r", &["update-ref", "refs/heads/third", &commits[2].to_string()]);
    let third = with(&snapshot, repo_row("refs/heads/main"), git.refs("r"));
    assert!(verbatim(&third, &fetch(&clone)).is_some(), "a wanted tag brings its commit");
    let third_tips = [tips, vec![format!("want {}", commits[2])]].concat();
    assert!(
        verbatim(&third, &fetch(&[words("ofs-delta|include-tag"), third_tips.clone()].concat())).is_some()
    );
    assert!(verbatim(&third, &fetch(&[words("ofs-delta"), third_tips].concat())).is_none());

    let named: Vec<String> = git.refs("r").iter().map(|row| format!("want-ref {}", row.name)).collect();
    let named = verbatim(&third, &fetch(&[words("ofs-delta|done"), named].concat())).unwrap();
    assert_eq!(parts(&framed(&named)).head[0], "wanted-refs");
}

#[test]
fn what_is_not_provably_one_pack_is_not() {
    let git = Git::new();
    let commits = git.history("r");
    git.run("r", &["update-ref", "-d", "refs/pr/1"]);
    let snapshot = git.snapshot("r");
    let wants: Vec<String> = git.refs("r").iter().map(|row| format!("want {}", row.oid)).collect();
    let clone = |extra: &str| fetch(&[words(extra), wants.clone()].concat());
    assert!(verbatim(&snapshot, &clone("ofs-delta|done")).is_some());
    assert!(verbatim(&snapshot, &clone("ofs-delta")).is_some(), "v2 sends the pack without done too");
    for extra in ["done", "ofs-delta|filter blob:none|done", "ofs-delta|deepen 5|done"] {
        assert!(verbatim(&snapshot, &clone(extra)).is_none(), "{extra}");
    }
    let have = format!("ofs-delta|have {}|done", commits[0]);
    assert!(verbatim(&snapshot, &clone(&have)).is_none());
    assert!(verbatim(&snapshot, &clone(&format!("ofs-delta|shallow {}|done", commits[0]))).is_none());
    assert!(verbatim(&snapshot, &fetch(&words(&format!("ofs-delta|want {}|done", commits[9])))).is_none());
    assert!(verbatim(&snapshot, &fetch(&words("ofs-delta|done"))).is_none());
    assert!(verbatim(&snapshot, &fetch(&words("ofs-delta|want-ref refs/heads/nope|done"))).is_none());

    let pack = &snapshot.packs()[0];
    let reopened = |kind, closure, generation| {
        let pack = Pack::from_blob(PackId::new(), kind, closure, generation, pack.blob().clone()).unwrap();
        Snapshot::from_packs(repo_row("refs/heads/main"), git.refs("r"), vec![Arc::new(pack)])
    };
    assert!(verbatim(&reopened(PackKind::Gc, true, 1), &clone("ofs-delta|done")).is_some());
    assert!(verbatim(&reopened(PackKind::Gc, false, 1), &clone("ofs-delta|done")).is_none());
    assert!(
        verbatim(&reopened(PackKind::Gc, true, 0), &clone("ofs-delta|done")).is_none(),
        "refs moved since"
    );
    assert!(verbatim(&reopened(PackKind::Api, true, 1), &clone("ofs-delta|done")).is_none());
    let two =
        Snapshot::from_packs(repo_row("refs/heads/main"), git.refs("r"), vec![pack.clone(), pack.clone()]);
    assert!(verbatim(&two, &clone("ofs-delta|done")).is_none());

    // v0 in each framing.
    let v0 = |features: &str, end: &str| {
        let first = format!("{} ofs-delta {features}", wants[0]);
        let words: Vec<String> = [vec![first], wants[1..].to_vec(), words("0000"), words(end)]
            .concat()
            .into_iter()
            .filter(|w| !w.is_empty())
            .collect();
        verbatim(&snapshot, &fetch_v0(&words))
    };
    for (features, framing) in
        [("", Framing::Raw), ("side-band", Framing::Small), ("side-band-64k", Framing::Large)]
    {
        let answered = v0(features, "done").unwrap();
        assert_eq!(answered.framing, framing);
        let parts = parts(&framed(&answered));
        assert_eq!((parts.head, parts.pack), (vec!["NAK".to_owned()], pack.pack_bytes().to_vec()));
    }
    assert!(v0("side-band-64k", "0000").is_none() && v0("side-band-64k", "").is_none());
}

/// Counts what reaches it and fails after so many bytes.
struct Failing {
    written: Vec<u8>,
    after: usize,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.len() + bytes.len() > self.after {
            return Err(io::Error::other("full"));
        }
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_fails_is_an_error_wherever_it_fails() {
    let git = Git::new();
    let commits = git.history("r");
    let snapshot = git.snapshot("r");
    let request = fetch(&words(&format!("want {}|done", commits[9])));
    let whole = answer(&snapshot, &request).unwrap().len();
    for after in 0..whole {
        let mut out = Failing { written: Vec::new(), after };
        let result = upload_pack::answer(&snapshot, &request, &Limits::default(), &mut out, &Instant::now);
        assert!(result.is_err(), "{after} of {whole}");
    }
}

#[test]
fn a_damaged_pack_ends_in_the_third_band() {
    let git = Git::new();
    git.init("r");
    let mut noise = 1u64;
    let content: String = (0..20_000)
        .map(|_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (noise >> 60) as u8)
        })
        .collect();
    let tip = git.commit("r", "file", &content, 0);
    // A second file of no interest, so that the pack is not sent as a whole.
    git.commit("r", "other", "other", 60);
    let snapshot = git.snapshot("r");
    let pack = &snapshot.packs()[0];
    let blob = git.rev("r", "HEAD:file");
    let offset = pack.offset_of(pack.find(&blob).unwrap()) as usize;
    let mut bytes = pack.blob().to_vec();
    bytes[offset + 500] ^= 0x55;
    let damaged = Pack::from_blob(PackId::new(), PackKind::Receive, false, 1, bytes.into()).unwrap();
    let damaged = Snapshot::from_packs(repo_row("refs/heads/main"), git.refs("r"), vec![Arc::new(damaged)]);
    let request = fetch(&words(&format!("want {tip}|done")));
    let (error, out) = answer(&damaged, &request).unwrap_err();
    assert!(!error.is_refusal(), "{error}");
    let parts = parts(&out);
    assert_eq!(parts.error, "git upload-pack: the server cannot read this repository");
    assert!(!parts.ended && parts.head == ["packfile"]);
}

#[test]
fn errors_before_the_pack_are_all_there_is() {
    let git = Git::new();
    let commits = git.history("r");
    let snapshot = git.snapshot("r");
    let (error, out) =
        answer(&snapshot, &fetch(&words(&format!("want {}|done", "1".repeat(40))))).unwrap_err();
    assert!(matches!(error, FetchError::NotOurRef(_)) && error.is_refusal());
    assert_eq!(out, format!("0049ERR upload-pack: not our ref {}", "1".repeat(40)).into_bytes());
    let blob = git.rev("r", "HEAD:file");
    let (_, out) =
        answer(&snapshot, &fetch(&words(&format!("want {}|shallow {blob}|deepen 1|done", commits[9]))))
            .unwrap_err();
    assert_eq!(parts(&out).head, [format!("ERR invalid shallow object {blob}")]);
    let limits = Limits { walk: repository::walk::WalkLimits { commits_max: 3 }, ..Limits::default() };
    let mut out = Vec::new();
    let request = fetch(&words(&format!("want {}|deepen 9|done", commits[9])));
    let error = upload_pack::answer(&snapshot, &request, &limits, &mut out, &Instant::now).unwrap_err();
    assert!(error.is_refusal());
    assert_eq!(parts(&out).head, ["ERR more than 3 commits would have to be looked at"]);
}

#[test]
fn a_quiet_connection_is_kept_alive() {
    let git = Git::new();
    git.init("r");
    for n in 0..40 {
        let names: Vec<String> = (0..20).map(|file| format!("d{n}/f{file}")).collect();
        std::fs::create_dir(git.path("r").join(format!("d{n}"))).unwrap();
        for name in names {
            std::fs::write(git.path("r").join(name), format!("{n}")).unwrap();
        }
        git.commit("r", "file", &n.to_string(), n);
    }
    let snapshot = git.snapshot("r");
    let tip = git.rev("r", "HEAD~1");
    let request = fetch(&words(&format!("want {tip}|no-progress|done")));
    // Every look at the clock is six seconds later.
    let start = Instant::now();
    let looks = Cell::new(0);
    let clock = || {
        looks.set(looks.get() + 1);
        start + Duration::from_secs(6 * looks.get())
    };
    let mut out = Vec::new();
    upload_pack::answer(&snapshot, &request, &Limits::default(), &mut out, &clock).unwrap();
    let keepalives = out.windows(5).filter(|window| window == b"0005\x01").count();
    assert!(keepalives > 0);
    let calm = parts(&answer(&snapshot, &request).unwrap());
    assert_eq!(parts(&out).pack, calm.pack);
    let shown = fetch(&words(&format!("want {tip}|done")));
    let mut out = Vec::new();
    upload_pack::answer(&snapshot, &shown, &Limits::default(), &mut out, &clock).unwrap();
    let progress = parts(&out).progress;
    let (steps, done) = progress.split_once(", done.\n").unwrap();
    assert!(steps.matches("Enumerating objects: ").count() > 1 && steps.contains('\r'), "{steps:?}");
    assert!(done.starts_with("Total "), "{done:?}");
    let raw = fetch_v0(&words(&format!("want {tip}|0000|done")));
    let mut out = Vec::new();
    upload_pack::answer(&snapshot, &raw, &Limits::default(), &mut out, &clock).unwrap();
    assert!(out.starts_with(b"0008NAK\nPACK"), "no side band, no keepalive");
}

#[test]
fn nothing_wanted_nothing_sent() {
    let git = Git::new();
    git.history("r");
    let snapshot = git.snapshot("r");
    assert_eq!(answer(&snapshot, &fetch(&words("done"))).unwrap(), b"");
    assert_eq!(answer(&snapshot, &fetch_v0(&words("0000"))).unwrap(), b"");
}
