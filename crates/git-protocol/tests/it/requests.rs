//! Bodies that real git sent (the seeds of the fuzz targets), and requests that are wrong in every way.

use std::path::PathBuf;

use git_protocol::pktline;
use git_protocol::receive_pack::{self, Parsed, Status};
use git_protocol::sideband::Framing;
use git_protocol::upload_pack::{self, Acks, Deepen, Dialect, Fetch, LsRefs, Request};
use git_protocol::{Limits, Version};

use crate::support::{lines, v2};

fn recorded(target: &str, name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../fuzz/corpus", target, name].iter().collect();
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn fetch(name: &str) -> Fetch {
    let version = if name.starts_with("v0") { Version::V0 } else { Version::V2 };
    match upload_pack::parse(version, &recorded("v2_commands", name), &Limits::default()) {
        Ok(Request::Fetch(fetch)) => fetch,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn recorded_ls_refs() {
    let parse = |name| upload_pack::parse(Version::V2, &recorded("v2_commands", name), &Limits::default());
    let prefixes = |prefixes: &[&str]| prefixes.iter().map(|prefix| prefix.as_bytes().to_vec()).collect();
    let clone = LsRefs {
        symrefs: true,
        peel: true,
        unborn: true,
        prefixes: prefixes(&["HEAD", "refs/heads/", "refs/tags/"]),
    };
    assert_eq!(parse("v2-clone-16"), Ok(Request::LsRefs(clone.clone())));
    let mirror = LsRefs { prefixes: prefixes(&["HEAD", "refs/", "refs/tags/"]), ..clone.clone() };
    let Ok(Request::LsRefs(request)) = parse("v2-mirror-34") else { panic!() };
    assert_eq!(
        LsRefs {
            prefixes: {
                let mut p = request.prefixes.clone();
                p.sort();
                p
            },
            ..request
        },
        mirror
    );
    let Ok(Request::LsRefs(request)) = parse("v2-lsremote-33") else { panic!() };
    assert_eq!(request.prefixes, Vec::<Vec<u8>>::new());
}

#[test]
fn recorded_clones() {
    let clone = fetch("v2-clone-17");
    assert_eq!((clone.wants.len(), clone.haves.len()), (3, 0));
    assert!(clone.thin && clone.ofs_delta && !clone.include_tag && clone.no_progress && clone.done);
    assert_eq!((&clone.deepen, &clone.filter), (&None, &None));
    let v0 = fetch("v0-clone-1");
    assert_eq!((&v0.wants.len(), &v0.haves, v0.done), (&3, &clone.haves, true));
    let Dialect::V0 { acks: Acks::Detailed, no_done: true, framing: Framing::Large, negotiates: true } =
        v0.dialect
    else {
        panic!("{:?}", v0.dialect)
    };
}

#[test]
fn recorded_partial_and_shallow_clones() {
    assert_eq!(fetch("v2-filter-31").filter.unwrap().spec, "blob:none");
    assert_eq!(fetch("v0-filter-13").filter.unwrap().spec, "blob:none");
    let lazy = fetch("v2-filter-32");
    assert!(lazy.wants.len() > 1 && lazy.done && lazy.filter.is_some());
    for name in ["v2-shallow-19", "v0-shallow-2", "v0-shallow-3"] {
        assert_eq!(fetch(name).deepen, Some(Deepen::Commits { depth: 1, relative: false }), "{name}");
    }
    let Dialect::V0 { negotiates: false, .. } = fetch("v0-shallow-2").dialect else { panic!() };
    for name in ["v2-deepen-21", "v0-deepen-4"] {
        let deepen = fetch(name);
        assert_eq!(deepen.deepen, Some(Deepen::Commits { depth: 1, relative: true }), "{name}");
        assert_eq!(deepen.shallow.len(), 1);
    }
    for name in ["v2-unshallow-27", "v0-unshallow-9"] {
        let depth = Deepen::Commits { depth: 0x7fff_ffff, relative: false };
        assert_eq!(fetch(name).deepen, Some(depth), "{name}");
    }
    for name in ["v2-since-29", "v0-since-11"] {
        let Some(Deepen::Revisions { since_seconds: Some(_), not }) = fetch(name).deepen else {
            panic!("{name}")
        };
        assert!(not.is_empty());
    }
    for name in ["v2-exclude-25", "v0-exclude-7"] {
        let deepen = Deepen::Revisions { since_seconds: None, not: vec!["v1".to_owned()] };
        assert_eq!(fetch(name).deepen, Some(deepen), "{name}");
    }
}

#[test]
fn recorded_negotiations() {
    let first = fetch("v2-fetch-40");
    assert_eq!((first.wants.len(), first.done), (1, false));
    assert!(first.haves.len() >= 3);
    let only = fetch("v2-negotiate-only-41");
    assert_eq!((only.wants.len(), only.dialect), (0, Dialect::V2 { wait_for_done: true }));
    assert!(!fetch("v0-fetch-38").haves.is_empty());
}

#[test]
fn recorded_pushes() {
    let parse = |name| {
        let body = recorded("receive_pack_commands", name);
        match receive_pack::parse_commands(&body, &Limits::default()) {
            Ok(Parsed::Complete { commands, consumed }) => (commands, body[consumed..].to_vec()),
            other => panic!("{name}: {other:?}"),
        }
    };
    let (new, pack) = parse("push-new-0");
    let names: Vec<_> = new.updates.iter().map(|update| update.name.as_str()).collect();
    assert_eq!(names, ["refs/heads/main", "refs/tags/v1", "refs/heads/old"]);
    assert_eq!((new.capabilities.status, new.capabilities.framing), (Status::V2, Framing::Large));
    assert!(pack.starts_with(b"PACK") && new.updates.iter().all(|update| update.old.is_null()));
    let (forward, pack) = parse("push-ff-36");
    assert_eq!(forward.push_options, ["ci.skip", "a=b"]);
    assert!(forward.capabilities.atomic && pack.starts_with(b"PACK"));
    let (delete, pack) = parse("push-delete-37");
    assert!(!delete.expects_pack() && pack.is_empty() && delete.updates[0].new.is_null());
    assert_eq!(parse("push-shallow-44").0.shallow.len(), 1);
}

#[test]
fn every_prefix_of_a_recorded_body_is_an_error_or_a_request() {
    for name in ["v2-clone-17", "v2-deepen-21", "v0-fetch-38", "v0-filter-14"] {
        let version = if name.starts_with("v0") { Version::V0 } else { Version::V2 };
        let body = recorded("v2_commands", name);
        for end in 0..body.len() {
            let parsed = upload_pack::parse(version, &body[..end], &Limits::default());
            if let Ok(request) = parsed {
                let whole_round = end == 0 || body[..end].ends_with(pktline::FLUSH);
                assert!(whole_round, "{name} cut at {end} parses: {request:?}");
            }
        }
    }
}

fn refusal(version: Version, body: &[u8]) -> String {
    upload_pack::parse(version, body, &Limits::default()).unwrap_err().to_string()
}

#[test]
fn commands_and_capabilities() {
    let request = |lines: &[&str], tail: &[u8]| {
        let mut out = Vec::new();
        lines.iter().for_each(|line| pktline::text(&mut out, line));
        out.extend(tail);
        out
    };
    let cases: [(&[&str], &str); 11] = [
        (&["agent=x"], "no command requested"),
        (&["command=nope"], "invalid command 'nope'"),
        (&["command=ls-refs=x"], "invalid command 'ls-refs=x'"),
        (&["command=object-info"], "invalid command 'object-info'"),
        (
            &["command=fetch", "command=ls-refs"],
            "command 'ls-refs' requested after already requesting command 'fetch'",
        ),
        (&["command=fetch", "bogus"], "unknown capability 'bogus'"),
        (&["command=fetch", "fetch=shallow"], "unknown capability 'fetch=shallow'"),
        (&["command=fetch", "object-format=sha256"], "mismatched object format: server sha1; client sha256"),
        (&["command=fetch", "object-format=md5"], "unknown object format 'md5'"),
        (&["command=fetch", "object-format"], "object format capability requires an argument"),
        (&["object-format=sha256"], "no command requested"),
    ];
    for (lines, text) in cases {
        assert_eq!(refusal(Version::V2, &request(lines, b"0000")), text);
    }
    let good = [
        "command=ls-refs",
        "agent=x",
        "server-option=a=b",
        "server-option=c",
        "session-id=7",
        "object-format=sha1",
    ];
    for tail in [&b"0000"[..], b"00010000", b"00010000trailing"] {
        let parsed = upload_pack::parse(Version::V2, &request(&good, tail), &Limits::default());
        assert_eq!(parsed, Ok(Request::LsRefs(LsRefs::default())));
    }
    for (body, text) in [
        (request(&["command=fetch"], b"00010001"), "expected flush after fetch arguments"),
        (request(&["command=ls-refs"], b"00010002"), "expected flush after ls-refs arguments"),
        (request(&["command=fetch"], b"0002"), "unexpected line: '0002'"),
        (request(&["command=fetch"], b"0001"), "the remote end hung up unexpectedly"),
        (request(&["command=fetch"], b""), "the remote end hung up unexpectedly"),
        (b"zzzz".to_vec(), "protocol error: bad line length character: zzzz"),
    ] {
        assert_eq!(refusal(Version::V2, &body), text);
    }
    for nothing in [&b""[..], b"0000"] {
        let Ok(Request::Fetch(fetch)) = upload_pack::parse(Version::V2, nothing, &Limits::default()) else {
            panic!()
        };
        assert!(fetch.wants.is_empty());
    }
}

#[test]
fn v0_requests_that_are_wrong() {
    let oid = "1".repeat(40);
    let words = |text: &str| lines(&text.split('|').map(|word| word.replace('#', &oid)).collect::<Vec<_>>());
    let hung_up = "the remote end hung up unexpectedly";
    let cases = [
        ("", hung_up.to_owned()),
        ("want #", hung_up.to_owned()),
        (
            "want x|0000",
            "git upload-pack: protocol error, expected to get object ID, not 'want x'".to_owned(),
        ),
        (
            "have #|0000",
            format!("git upload-pack: protocol error, expected to get object ID, not 'have {oid}'"),
        ),
        ("want #|0000|have #", hung_up.to_owned()),
        ("want #|0000|have x|done", "git upload-pack: expected SHA1 object, got 'x'".to_owned()),
        ("want #|0000|want #|done", format!("git upload-pack: expected SHA1 list, got 'want {oid}'")),
        (
            "want #|filter blob:none|0000|done",
            "git upload-pack: filtering capability not negotiated".to_owned(),
        ),
        ("want #|deepen 2147483648|0000", "Invalid deepen: deepen 2147483648".to_owned()),
        ("want #|deepen 99999999999999999999|0000", "Invalid deepen: deepen 99999999999999999999".to_owned()),
        (
            "want #|deepen 1|deepen-not a|0000",
            "git upload-pack: deepen and deepen-since (or deepen-not) cannot be used together".to_owned(),
        ),
    ];
    for (text, expected) in cases {
        let body = if text.is_empty() { Vec::new() } else { words(text) };
        assert_eq!(refusal(Version::V0, &body), expected, "{text}");
    }
}

#[test]
fn bounds() {
    let limits = Limits {
        wants_max: 2,
        haves_max: 2,
        shallow_max: 2,
        deepen_not_max: 2,
        capabilities_max: 4,
        filter_bytes_max: 9,
        ..Limits::default()
    };
    let check = |args: &[String]| {
        upload_pack::parse(Version::V2, &v2("fetch", args), &limits)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let oids = |verb: &str, count: usize| -> Vec<String> {
        (0..count).map(|n| format!("{verb} {n:040x}")).collect()
    };
    for verb in ["want", "have", "shallow", "want-ref", "deepen-not"] {
        assert_eq!(check(&oids(verb, 2)), Ok(()), "{verb}");
        let error = check(&oids(verb, 3)).unwrap_err();
        assert!(error.starts_with("this server takes at most 2 "), "{error}");
    }
    let same: Vec<String> = std::iter::repeat_n(oids("want", 1).remove(0), 100).collect();
    assert_eq!(check(&same), Ok(()), "wanting something again costs nothing");
    assert_eq!(check(&["filter blob:none".to_owned()]), Ok(()));
    assert!(check(&["filter tree:00001".to_owned()]).unwrap_err().contains("longer than the 9 bytes"));
    let mut many = Vec::new();
    (0..5).for_each(|_| pktline::text(&mut many, "server-option=x"));
    many.extend(pktline::FLUSH);
    let error = upload_pack::parse(Version::V2, &many, &limits).unwrap_err();
    assert_eq!(error.to_string(), "this server takes at most 4 capability lines in one request");
}

#[test]
fn too_many_prefixes_are_no_filter() {
    let prefixes = |count: usize| {
        let args: Vec<String> = (0..count).map(|n| format!("ref-prefix refs/heads/{n}")).collect();
        match upload_pack::parse(Version::V2, &v2("ls-refs", &args), &Limits::default()) {
            Ok(Request::LsRefs(request)) => request.prefixes.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(prefixes(65535), 65535);
    assert_eq!(prefixes(65536), 0);
    assert_eq!(prefixes(65537), 0);
}

#[test]
fn names_as_git_check_ref_format_judges_them() {
    let names = [
        "heads/main",
        "heads/a.b",
        "tags/v1.0",
        "a",
        "@",
        "a@",
        "heads/@",
        "heads/@{",
        "heads/a@{b",
        "heads/.a",
        "heads/a.",
        "heads/a./b",
        "heads/a.lock",
        "heads/a.lock/b",
        "heads//a",
        "/heads/a",
        "heads/a/",
        "heads/a..b",
        "heads/a b",
        "heads/a~",
        "heads/a^",
        "heads/a:b",
        "heads/a?",
        "heads/a*",
        "heads/[a",
        "heads/a]",
        "heads/a\\b",
        "heads/a\x7f",
        "heads/a\x01",
        "heads/\u{e9}",
        "heads/-a",
        "",
        "heads/{",
        "heads/.lock",
        "heads/a.lockx",
    ];
    for name in names {
        let status = std::process::Command::new("git")
            .args(["check-ref-format", "--allow-onelevel", name])
            .status()
            .unwrap();
        assert_eq!(receive_pack::is_well_formed(name), status.success(), "{name:?}");
    }
}
