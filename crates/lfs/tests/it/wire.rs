//! What clients send and what they are answered, byte by byte.

use std::time::{Duration, Instant};

use database::{Lock, LockId, Sha256, UserId};
use lfs::wire::batch::{
    Action, Answer, Malformed, Object, Operation, Outcome, Request, Response, Subject, Transfer, Why,
};
use lfs::wire::locks::{self, Create, List, NO_LOCK, Page, PathError, Unlock, Verify};
use lfs::wire::{Limits, transfer};
use serde_json::{Value, json};

const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(request: &Value) -> Result<Request, Malformed> {
    Request::parse(request.to_string().as_bytes(), &Limits::default())
}

fn sha256() -> Sha256 {
    OID.parse().unwrap()
}

/// A request of one object, with one more field.
fn with(field: &str, value: Value) -> Result<Request, Malformed> {
    let mut request = json!({"operation": "upload", "objects": [{"oid": OID, "size": 7}]});
    request[field] = value;
    parse(&request)
}

#[test]
fn refs_of_all_clients_are_taken() {
    let name = |value| with("ref", value).unwrap().ref_name;
    assert_eq!(name(json!({"name": "refs/heads/main"})).as_deref(), Some("refs/heads/main"));
    assert_eq!(name(json!({"name": "main"})).as_deref(), Some("main"));
    for absent in
        [json!(null), json!({}), json!({"name": null}), json!({"name": ""}), json!("main"), json!([1])]
    {
        assert_eq!(name(absent.clone()), None, "{absent}");
    }
    let long = "r".repeat(Limits::default().ref_bytes);
    assert_eq!(name(json!({"name": long})), Some(long.clone()));
    assert_eq!(name(json!({"name": long + "r"})), None);
}

#[test]
fn transfers_are_a_set() {
    let offers = |value| with("transfers", value).unwrap().offers_multipart;
    assert!(offers(json!(["ssh", "lfs-standalone-file", "multipart", "basic"])));
    assert!(offers(json!(["multipart"])));
    assert!(!offers(json!(["ssh", "basic"])));
    for none in [json!(null), json!([]), json!("multipart"), json!({}), json!([1, null, ["multipart"]])] {
        assert!(!offers(none.clone()), "{none}");
    }
    assert!(!with("unknown", json!(1)).unwrap().offers_multipart);
}

#[test]
fn objects_are_sha256_only() {
    for fine in [json!("sha256"), json!(null), json!("")] {
        assert!(with("hash_algo", fine).is_ok());
    }
    for other in [json!("sha1"), json!(256), json!("x".repeat(99))] {
        let request = with("hash_algo", other.clone()).unwrap();
        assert!(!request.objects.is_empty());
        for object in request.objects {
            let Outcome::Failed { code, message } = object.unwrap_err().answer().outcome else { panic!() };
            assert_eq!(code.number(), 409, "{other}");
            assert_eq!(message, "objects are named by sha256 here, not by the hash that this batch says");
        }
    }
}

#[test]
fn objects_are_read_one_by_one() {
    let request = |operation: &str, object: &str| {
        let good = format!(r#"{{"oid":"{OID}","size":7}}"#);
        let body = format!(r#"{{"operation":"{operation}","objects":[{object},{good}]}}"#);
        let mut objects = Request::parse(body.as_bytes(), &Limits::default()).unwrap().objects;
        assert_eq!(objects.pop(), Some(Ok(Object { sha256: sha256(), size: Some(7) })), "{object}");
        objects.remove(0)
    };
    let object = |oid: &str, size: &str| format!(r#"{{"oid":"{oid}","size":{size}}}"#);
    let (upper, short, long) = (OID.to_uppercase(), &OID[1..], format!("{OID}0"));
    for (text, why) in [
        (object("a", "1"), Why::Oid),
        (object("", "1"), Why::Oid),
        (object(&upper, "1"), Why::Oid),
        (object(short, "1"), Why::Oid),
        (object(&long, "1"), Why::Oid),
        (object(&OID.replace('4', "-"), "1"), Why::Oid),
        (object(OID, "-1"), Why::Size),
        (object(OID, "-0"), Why::Size),
        (object(OID, "1.0"), Why::Size),
        (object(OID, "1e3"), Why::Size),
        (object(OID, "1e999"), Why::Size),
        (object(OID, "\"1\""), Why::Size),
        (object(OID, "[]"), Why::Size),
        (object(OID, "9223372036854775808"), Why::Size),
        (object(OID, &"9".repeat(400)), Why::Size),
        (object(OID, "0"), Why::NotEmpty),
        (object(EMPTY, "1"), Why::Empty),
        (format!(r#"{{"oid":1,"size":1,"more":"{OID}"}}"#), Why::Oid),
        (r#"{"size":1}"#.into(), Why::Oid),
        (format!(r#"{{"oid":"{OID}","oid":"{OID}","size":1}}"#), Why::NotObject),
        (format!(r#"["{OID}",1]"#), Why::NotObject),
        (format!("\"{OID}\""), Why::NotObject),
        ("null".into(), Why::NotObject),
        ("1".into(), Why::NotObject),
        ("[".repeat(500) + &"]".repeat(500), Why::NotObject),
    ] {
        for operation in ["download", "upload"] {
            assert_eq!(request(operation, &text).unwrap_err().why, why, "{operation} {text}");
        }
    }
    for (text, sha256, size) in [
        (object(OID, "9223372036854775807"), OID, i64::MAX as u64),
        (object(EMPTY, "0"), EMPTY, 0),
        (format!(r#"{{"size":7,"x":{{"oid":1}},"oid":"\u0034{}"}}"#, &OID[1..]), OID, 7),
    ] {
        let expected = Object { sha256: sha256.parse().unwrap(), size: Some(size) };
        assert_eq!(request("upload", &text), Ok(expected), "{text}");
    }
    for text in [format!(r#"{{"oid":"{OID}"}}"#), object(OID, "null")] {
        assert_eq!(request("download", &text), Ok(Object { sha256: sha256(), size: None }));
        assert_eq!(request("upload", &text).unwrap_err().why, Why::NoSize);
    }
}

#[test]
fn unreadable_objects_are_answered_by_the_name_they_were_given() {
    let long = "ä".repeat(100);
    let objects = json!([
        {"oid": "a\"b", "size": 1},
        {"oid": OID, "size": -1},
        {"oid": long, "size": 2},
        {"oid": OID, "size": 7},
    ]);
    let request = parse(&json!({"operation": "download", "objects": objects})).unwrap();
    let answers = request.objects.iter().filter_map(|object| object.as_ref().err()).map(|one| one.answer());
    let response = Response { transfer: Transfer::Basic, objects: answers.collect() };
    let json: Value = serde_json::from_slice(&response.to_json()).unwrap();
    let why = |why: Why| json!({"code": 422, "message": why.to_string()});
    assert_eq!(
        json["objects"],
        json!([
            {"oid": "a\"b", "size": 1, "error": why(Why::Oid)},
            {"oid": OID, "size": 0, "error": why(Why::Size)},
            {"oid": "ä".repeat(64), "size": 2, "error": why(Why::Oid)},
        ])
    );
}

#[test]
fn repetitions_stay_in_place() {
    let objects = json!([{"oid": OID, "size": 7}, {"oid": "x", "size": 7}, {"oid": OID, "size": 7}]);
    let request = parse(&json!({"operation": "upload", "objects": objects})).unwrap();
    assert_eq!(request.objects.len(), 3);
    assert_eq!(request.objects[0], request.objects[2]);
}

#[test]
fn requests_that_make_no_sense_as_a_whole() {
    let objects = json!([{"oid": OID, "size": 7}]);
    for operation in [json!("verify"), json!("Upload"), json!(""), json!(null), json!(1)] {
        let refused = parse(&json!({"operation": operation, "objects": objects})).unwrap_err();
        assert_eq!((refused.code().number(), refused), (422, Malformed::Operation));
    }
    assert_eq!(parse(&json!({"objects": objects})), Err(Malformed::Operation));
    for objects in [json!([]), json!(null), json!({}), json!("x")] {
        assert_eq!(parse(&json!({"operation": "upload", "objects": objects})), Err(Malformed::NoObjects));
    }
    let none = json!([{"oid": OID, "size": -1}, {"oid": "x", "size": 1}]);
    let refused = parse(&json!({"operation": "upload", "objects": none})).unwrap_err();
    assert_eq!((refused.code().number(), refused), (422, Malformed::NoneValid(Why::Size)));
    for body in ["", "  ", "null", "[]", "{", "\u{feff}{}", "operation=upload", "{}{}", "{\"objects\":[1,]}"]
    {
        let refused = Request::parse(body.as_bytes(), &Limits::default()).unwrap_err();
        assert!(matches!(refused, Malformed::NotJson(_) | Malformed::Operation), "{body} {refused}");
        assert_eq!(refused.code().number(), 422);
    }
    assert!(matches!(Request::parse(b"{\"ref\":\"\xff\"}", &Limits::default()), Err(Malformed::NotJson(_))));
}

#[test]
fn batches_are_bounded() {
    let limits = Limits { objects: 3, ..Limits::default() };
    let ask = |count: usize| {
        let objects: Vec<_> = (0..count).map(|_| json!({"oid": OID, "size": 7})).collect();
        let body = json!({"operation": "upload", "objects": objects}).to_string();
        Request::parse(body.as_bytes(), &limits).map(|request| request.objects.len())
    };
    assert_eq!(ask(3), Ok(3));
    let refused = ask(4).unwrap_err();
    assert_eq!((refused.code().number(), refused), (413, Malformed::TooMany { max: 3 }));

    let body = json!({"operation": "upload", "objects": [{"oid": OID, "size": 7}]}).to_string();
    let limits = |body_bytes| Limits { body_bytes, ..Limits::default() };
    assert!(Request::parse(body.as_bytes(), &limits(body.len())).is_ok());
    let refused = Request::parse(body.as_bytes(), &limits(body.len() - 1)).unwrap_err();
    assert!(matches!(refused, Malformed::TooLarge { .. }));
    assert_eq!(refused.code().number(), 413);
}

fn action(href: &str) -> Action {
    Action::bare(href.into(), Duration::from_secs(3600))
}

fn answered(transfer: Transfer, outcome: Outcome) -> String {
    let objects = vec![Answer { subject: Subject::Object(sha256()), size: 7, outcome }];
    String::from_utf8(Response { transfer, objects }.to_json()).unwrap()
}

#[test]
fn answers_to_the_byte() {
    let golden = |transfer: &str, rest: &str| {
        format!(
            r#"{{"transfer":"{transfer}","hash_algo":"sha256","objects":[{{"oid":"{OID}","size":7,{rest}}}]}}"#
        )
    };
    assert_eq!(answered(Transfer::Basic, Outcome::Present), golden("basic", r#""authenticated":true"#));
    assert_eq!(
        answered(Transfer::Basic, Outcome::Download(action("https://h/a?b=c&d=\"e\""))),
        golden(
            "basic",
            r#""authenticated":true,"actions":{"download":{"href":"https://h/a?b=c&d=\"e\"","expires_in":3600}}"#
        )
    );
    let header = vec![("x-amz-checksum-sha256", "abc=".to_owned()), ("Content-Type", "a/b".to_owned())];
    let upload = Action { header, ..action("https://b/1") };
    assert_eq!(
        answered(Transfer::Basic, Outcome::Upload { upload, verify: Some(action("https://h/v")) }),
        golden(
            "basic",
            concat!(
                r#""authenticated":true,"actions":{"upload":{"href":"https://b/1","#,
                r#""header":{"x-amz-checksum-sha256":"abc=","Content-Type":"a/b"},"expires_in":3600},"#,
                r#""verify":{"href":"https://h/v","expires_in":3600}}"#
            )
        )
    );
    let multipart = Outcome::Multipart {
        complete: action("https://h/c"),
        chunk_size: 16_777_216,
        parts: vec!["https://b/1".into(), "https://b/2".into()],
        verify: None,
    };
    assert_eq!(
        answered(Transfer::Multipart, multipart),
        golden(
            "multipart",
            concat!(
                r#""authenticated":true,"actions":{"upload":{"href":"https://h/c","#,
                r#""header":{"chunk_size":"16777216","00001":"https://b/1","00002":"https://b/2"},"#,
                r#""expires_in":3600}}"#
            )
        )
    );
    let code = lfs::wire::batch::ErrorCode::InsufficientStorage;
    assert_eq!(
        answered(Transfer::Basic, Outcome::Failed { code, message: "acme has used 9 of 8".into() }),
        golden("basic", r#""error":{"code":507,"message":"acme has used 9 of 8"}"#)
    );
}

#[test]
fn keys_of_parts_sort_as_their_numbers() {
    let outcome = Outcome::Multipart {
        complete: action("https://h/c"),
        chunk_size: 1,
        parts: (1..=10_000).map(|number| number.to_string()).collect(),
        verify: Some(action("https://h/v")),
    };
    let json: Value = serde_json::from_str(&answered(Transfer::Multipart, outcome)).unwrap();
    let header = json["objects"][0]["actions"]["upload"]["header"].as_object().unwrap();
    let mut keys: Vec<&String> = header.keys().filter(|key| *key != "chunk_size").collect();
    keys.sort();
    let urls: Vec<&str> = keys.iter().map(|key| header[*key].as_str().unwrap()).collect();
    assert!(urls.iter().zip(1..).all(|(url, number)| *url == number.to_string()));
    assert_eq!(urls.len(), 10_000);
}

#[test]
fn lifetimes_fit_into_what_git_lfs_reads() {
    // It takes 0 for "never".
    for (lifetime, told) in
        [(Duration::from_secs(u64::MAX), 2_147_483_647), (Duration::from_millis(999), 1), (Duration::ZERO, 1)]
    {
        let answer = answered(Transfer::Basic, Outcome::Download(Action::bare("h".into(), lifetime)));
        assert!(answer.contains(&format!("\"expires_in\":{told}}}")), "{answer}");
    }
}

fn lock() -> Lock {
    Lock {
        id: "01kagt2x3d7g0000000000000z".parse().unwrap(),
        path: "dir/ü \"x\".bin".into(),
        owner: UserId(1),
        owner_name: "acme".into(),
        ref_name: Some("refs/heads/main".into()),
        locked_ms: 1_798_761_599_999,
    }
}

#[test]
fn locks_are_shown_to_the_byte() {
    let shown = concat!(
        r#"{"id":"01kagt2x3d7g0000000000000z","path":"dir/ü \"x\".bin","#,
        r#""locked_at":"2026-12-31T23:59:59Z","owner":{"name":"acme"}}"#
    );
    let text = |json: Vec<u8>| String::from_utf8(json).unwrap();
    let (lock, next) = (lock(), Some(lock().id));
    assert_eq!(text(locks::one(&lock)), format!(r#"{{"lock":{shown}}}"#));
    let conflict = format!(r#"{{"lock":{shown},"message":"already created lock","request_id":"r"}}"#);
    assert_eq!(text(locks::conflict(&lock, "already created lock", "r")), conflict);
    assert_eq!(text(locks::list(&[], None)), r#"{"locks":[]}"#);
    let page = format!(r#"{{"locks":[{shown}],"next_cursor":"01kagt2x3d7g0000000000000z"}}"#);
    assert_eq!(text(locks::list(std::slice::from_ref(&lock), next)), page);
    assert_eq!(text(locks::verified(&[], &[], None)), r#"{"ours":[],"theirs":[]}"#);
    let both = format!(r#"{{"ours":[],"theirs":[{shown}],"next_cursor":"01kagt2x3d7g0000000000000z"}}"#);
    assert_eq!(text(locks::verified(&[], std::slice::from_ref(&lock), next)), both);
    assert!(lock.id.to_string().bytes().all(|byte| byte.is_ascii_alphanumeric()));
}

#[test]
fn paths_of_locks_are_those_that_git_can_hold() {
    let limits = Limits { path_bytes: 20, ..Limits::default() };
    let table = [
        ("a", Ok(())),
        ("a b/c.bin", Ok(())),
        ("...", Ok(())),
        ("a/..b/.c", Ok(())),
        (".gitattributes", Ok(())),
        ("ü/ß", Ok(())),
        ("12345678901234567890", Ok(())),
        ("123456789012345678901", Err(PathError::TooLong { max: 20 })),
        ("", Err(PathError::Empty)),
        ("/a", Err(PathError::Absolute)),
        ("/", Err(PathError::Absolute)),
        ("a/", Err(PathError::Directory)),
        ("a//b", Err(PathError::Dots)),
        (".", Err(PathError::Dots)),
        ("..", Err(PathError::Dots)),
        ("a/../b", Err(PathError::Dots)),
        ("./a", Err(PathError::Dots)),
        ("a/..", Err(PathError::Dots)),
        ("a\\b", Err(PathError::Character)),
        ("a\0b", Err(PathError::Character)),
        ("a\nb", Err(PathError::Character)),
        ("a\u{7f}", Err(PathError::Character)),
        ("a\u{85}", Err(PathError::Character)),
        (".git", Err(PathError::DotGit)),
        (".GIT/config", Err(PathError::DotGit)),
        ("sub/.git/x", Err(PathError::DotGit)),
    ];
    for (path, expected) in table {
        assert_eq!(locks::check_path(path, &limits), expected, "{path:?}");
        let created = Create::parse(json!({"path": path}).to_string().as_bytes(), &limits);
        assert_eq!(created.map(|create| create.path), expected.map(|()| path.to_owned()).map_err(Into::into));
    }
}

#[test]
fn requests_about_locks() {
    let limits = Limits { locks: 50, ..Limits::default() };
    let id: LockId = lock().id;
    let create = |body: &str| Create::parse(body.as_bytes(), &limits);
    let named = create(r#"{"path":"a","ref":{"name":"refs/heads/x"}}"#).unwrap();
    assert_eq!(named.ref_name.as_deref(), Some("refs/heads/x"));
    for body in ["{}", r#"{"path":null}"#, r#"{"path":7}"#] {
        assert_eq!(create(body), Err(locks::Malformed::NoPath));
    }
    assert!(matches!(create("[]"), Err(locks::Malformed::NotJson(_))));

    let page = |after, limit| Page { after, limit };
    let verify = |body: &str| Verify::parse(body.as_bytes(), &limits).map(|verify| verify.page);
    assert_eq!(verify("{}"), Ok(page(None, 50)));
    assert_eq!(verify(r#"{"cursor":"","limit":0}"#), Ok(page(None, 50)));
    assert_eq!(verify(r#"{"cursor":null,"limit":50}"#), Ok(page(None, 50)));
    assert_eq!(verify(&format!(r#"{{"cursor":"{id}","limit":49}}"#)), Ok(page(Some(id), 49)));
    assert_eq!(verify(r#"{"limit":51}"#), Ok(page(None, 50)));
    assert_eq!(verify(r#"{"limit":99999999999}"#), Ok(page(None, 50)));
    for cursor in ["\"2\"", "2", "\"01KAGT2X3D7G0000000000000Z\""] {
        assert_eq!(verify(&format!(r#"{{"cursor":{cursor}}}"#)), Err(locks::Malformed::Cursor));
    }

    let unlock = |body: &str| Unlock::parse(body.as_bytes(), &limits).map(|unlock| unlock.force);
    assert_eq!(unlock(r#"{"force":true,"ref":{"name":"x"}}"#), Ok(true));
    for body in ["", " \n", "{}", r#"{"force":null}"#, r#"{"force": false }"#] {
        assert_eq!(unlock(body), Ok(false), "{body}");
    }
    for force in ["1", "\"true\"", "[]"] {
        assert_eq!(unlock(&format!(r#"{{"force":{force}}}"#)), Err(locks::Malformed::Force));
    }
}

#[test]
fn queries_of_lists_are_decoded() {
    let limits = Limits { locks: 50, body_bytes: 100, ..Limits::default() };
    let list = |query: &str| List::parse(query, &limits);
    let all = List { path: None, id: None, page: Page { after: None, limit: 50 } };
    for query in ["", "&", "path=", "limit=0", "limit=x", "limit=-1", "refspec=refs%2Fheads%2Fmain", "cursor"]
    {
        assert_eq!(list(query), Ok(all.clone()), "{query}");
    }
    let path = |query: &str| list(query).unwrap().path.unwrap();
    assert_eq!(path("path=a+b%2Fc%2B.bin"), "a b/c+.bin");
    assert_eq!(path("limit=3&path=%C3%BC&path=z"), "ü");
    assert_eq!(path("pat%68=x"), "x");
    assert_eq!(path("path=%ff%zz"), "\u{fffd}%zz");
    assert_eq!(path("path=a=b"), "a=b");
    assert_eq!(list(&format!("id={}", lock().id)).unwrap().id, Some(lock().id));
    assert_eq!(list("id=7-8").unwrap().id, Some(NO_LOCK));
    assert_eq!(list("limit=7").unwrap().page.limit, 7);
    assert_eq!(list(&format!("cursor={}", lock().id)).unwrap().page.after, Some(lock().id));
    assert_eq!(list("cursor=7"), Err(locks::Malformed::Cursor));
    assert!(list(&"&".repeat(100)).is_ok());
    assert!(matches!(list(&"&".repeat(101)), Err(locks::Malformed::TooLarge { .. })));
}

/// Bodies of the largest size are read in time that depends on nothing but their size.
#[test]
fn full_bodies_are_read_at_once() {
    let limits = Limits::default();
    let oids: Vec<String> = (0..5000).map(|n| format!("{n:064x}")).collect();
    let objects: Vec<Value> = oids.iter().map(|oid| json!({"oid": oid, "size": 7})).collect();
    let request = parse(&json!({"operation": "upload", "objects": objects})).unwrap();
    assert_eq!(request.operation, Operation::Upload);
    assert_eq!(request.objects.iter().filter(|object| object.is_ok()).count(), 5000);

    let commas = format!("{{\"operation\":\"upload\",\"objects\":[{}0]}}", "0,".repeat(2_000_000));
    assert_eq!(Request::parse(commas.as_bytes(), &limits), Err(Malformed::TooMany { max: 5000 }));
    let deep = format!("{{\"operation\":\"upload\",\"objects\":{}", "[".repeat(4_000_000));
    assert!(matches!(Request::parse(deep.as_bytes(), &limits), Err(Malformed::NotJson(_))));
    let parts: Vec<Value> =
        (1..=10_000).map(|n| json!({"partNumber": n, "etag": "\"0123456789\""})).collect();
    let body = json!({"oid": OID, "parts": parts}).to_string();
    assert_eq!(transfer::Complete::parse(body.as_bytes(), &limits).unwrap().parts.len(), 10_000);
}

/// `cargo test --release -p lfs --test it -- --ignored --nocapture speed`
#[test]
#[ignore = "a measurement"]
fn speed() {
    const ROUNDS: u32 = 40;
    let objects: Vec<Value> = (0..5000).map(|n| json!({"oid": format!("{n:064x}"), "size": 7})).collect();
    let body = json!({"operation": "download", "objects": objects}).to_string();
    let href = format!("https://hub.example/api/lfs/objects/{OID}?token={}", "x".repeat(350));
    let (mut reading, mut writing) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let request = Request::parse(body.as_bytes(), &Limits::default()).unwrap();
        reading += begun.elapsed();
        let answer = |object: Result<Object, _>| Answer {
            subject: Subject::Object(object.unwrap().sha256),
            size: 7,
            outcome: Outcome::Download(action(&href)),
        };
        let objects = request.objects.into_iter().map(answer).collect();
        let response = Response { transfer: Transfer::Basic, objects };
        let begun = Instant::now();
        assert!(response.to_json().len() > 5000 * href.len());
        writing += begun.elapsed();
    }
    println!("per object: read {:?}, write {:?}", reading / (5000 * ROUNDS), writing / (5000 * ROUNDS));
}
