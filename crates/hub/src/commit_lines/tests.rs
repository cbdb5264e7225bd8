use super::fuzz::{Event, Recorder, decode, read};
use super::*;

const OID: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HEADER: &str = r#"{"key": "header", "value": {"summary": "s", "description": ""}}"#;

/// As the clients write them: Python's `json.dumps` with its spaces and ASCII, JavaScript without either, Rust sorted.
fn sample() -> String {
    [
        r#"{"key": "header", "value": {"summary": "Upload \u00e9\ud83d\ude00", "description": "a\n\"b\"", "parentCommit": "0123"}}"#,
        "",
        r#"{"key": "file", "value": {"content": "aGVsbG8=", "path": "a\/b.txt", "encoding": "base64"}}"#,
        r#"{"key":"file","value":{"content":"aGV\u0073bG8","encoding":"base64","path":"é😀.bin"}}"#,
        " \t\r",
        r#"{ "value" : {"encoding":"utf-8","content":"x\ty\u0000é\ud83d\ude00ü","oldPath":"o","path":"p"} , "key":"file" }"#,
        &format!(r#"{{"key": "lfsFile", "value": {{"path": "m", "algo": "sha256", "oid": "{OID}", "size": 12}}}}"#),
        &format!(r#"{{"key": "lfsFile", "value": {{"path": "c", "algo": "sha256", "oid": "{OID}", "size": null}}}}"#),
        r#"{"key": "deletedFile", "value": {"path": "d"}}"#,
        r#"{"key": "deletedFolder", "value": {"path": "e/"}}"#,
        r#"{"key":"deletedEntry","value":{"path":"f"}}"#,
    ]
    .join("\r\n")
}

fn lines(body: &str) -> Result<Vec<Event>, LineError> {
    read(Form::Lines, &Limits::default(), [body.as_bytes()])
}

fn content(number: u32, declared: Option<Encoding>, text: &str) -> Event {
    Event::Content { number, declared, text: text.to_owned() }
}

fn file(path: &str, content: u32, encoding: Encoding, old_path: Option<&str>) -> Event {
    let old_path = old_path.map(str::to_owned);
    Event::Operation(Operation::File { path: path.to_owned(), content, encoding, old_path })
}

fn lfs_file(path: &str, size_bytes: Option<u64>) -> Event {
    let (path, oid) = (path.to_owned(), OID.to_owned());
    Event::Operation(Operation::LfsFile { path, oid, size_bytes, old_path: None })
}

fn header(summary: &str, description: &str, parent_commit: Option<&str>) -> Event {
    let parent_commit = parent_commit.map(str::to_owned);
    Event::Header(Header { summary: summary.to_owned(), description: description.to_owned(), parent_commit })
}

#[test]
fn what_clients_send_is_read() {
    let expected = [
        header("Upload é😀", "a\n\"b\"", Some("0123")),
        content(0, None, "aGVsbG8="),
        file("a/b.txt", 0, Encoding::Base64, None),
        content(1, None, "aGVsbG8"),
        file("é😀.bin", 1, Encoding::Base64, None),
        content(2, Some(Encoding::Utf8), "x\ty\0é😀ü"),
        file("p", 2, Encoding::Utf8, Some("o")),
        lfs_file("m", Some(12)),
        lfs_file("c", None),
        Event::Operation(Operation::DeletedFile { path: "d".to_owned() }),
        Event::Operation(Operation::DeletedFolder { path: "e/".to_owned() }),
        Event::Operation(Operation::DeletedEntry { path: "f".to_owned() }),
    ];
    assert_eq!(lines(&sample()).unwrap(), expected);
    assert_eq!(lines(&(sample() + "\n\n")).unwrap(), expected);
    // JavaScript leaves out what is undefined.
    assert_eq!(lines(r#"{"key":"header","value":{"summary":"s"}}"#).unwrap(), [header("s", "", None)]);
}

fn object_sample() -> String {
    format!(
        r#"{{"files": [{{"path":"a","content":"aA==","encoding":"base64"}}, {{"encoding":"utf-8","content":"x","path":"b"}}],
        "lfsFiles": [{{"path":"c","algo":"sha256","oid":"{OID}","size":0}}], "summary": "s", "deletedFiles":[{{"path":"d"}}],
        "deletedFolders" : [ ] , "parentCommit": null, "deletedEntries":[{{"path":"e"}}]}}
        "#
    )
}

#[test]
fn the_old_form_is_read() {
    let expected = [
        content(0, None, "aA=="),
        file("a", 0, Encoding::Base64, None),
        content(1, Some(Encoding::Utf8), "x"),
        file("b", 1, Encoding::Utf8, None),
        lfs_file("c", Some(0)),
        Event::Operation(Operation::DeletedFile { path: "d".to_owned() }),
        Event::Operation(Operation::DeletedEntry { path: "e".to_owned() }),
        header("s", "", None),
    ];
    let read = |body: &str| read(Form::Object, &Limits::default(), [body.as_bytes()]);
    assert_eq!(read(&object_sample()).unwrap(), expected);
    let refused = |body| read(body).unwrap_err().to_string();
    let line_1 = "line 1 of the commit: ";
    assert_eq!(refused("{}"), format!("{line_1}a commit needs the member \"summary\""));
    assert_eq!(refused(r#"{"key":1}"#), format!("{line_1}a commit has no member \"key\""));
    assert_eq!(refused(r#"{"files":[],"files":[]}"#), format!("{line_1}\"files\" is there twice"));
    assert_eq!(refused(r#"{"files":[{"path":"a"}]}"#), format!("{line_1}file needs the member \"content\""));
    assert_eq!(refused(r#"{"files":[["#), format!("{line_1}found '[' instead of an object {{…}} or ']'"));
    assert_eq!(
        refused("{\"summary\":\"s\"}\n{"),
        "line 2 of the commit: found '{' instead of the end of the body"
    );
    assert!(read(" \n").unwrap_err().to_string().contains("no header"));
}

#[test]
fn every_cut_reads_the_same() {
    let mut random = Random(1);
    for (form, body) in [(Form::Lines, sample()), (Form::Object, object_sample())] {
        let (body, limits) = (body.as_bytes(), Limits::default());
        let whole = read(form, &limits, [body]).unwrap();
        for at in 0..=body.len() {
            assert_eq!(read(form, &limits, [&body[..at], &body[at..]]).unwrap(), whole, "cut at {at}");
        }
        for _ in 0..500 {
            let (mut pieces, mut rest) = (Vec::new(), body);
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(random.below(40).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            assert_eq!(read(form, &limits, pieces).unwrap(), whole);
        }
    }
}

/// Each is the second line, after a good header, and however it is cut the message is the same.
#[test]
fn what_is_wrong_is_told() {
    let deep = format!(r#"{{"key":{}"#, "[".repeat(100_000));
    let long_number = format!(r#"{{"key":"lfsFile","value":{{"size":{}}}}}"#, "9".repeat(100_000));
    let value = |value: &str| format!(r#"{{"key":"file","value":{{{value}}}}}"#);
    let lfs = |value: &str| format!(r#"{{"key":"lfsFile","value":{{{value}}}}}"#);
    for (line, message) in [
        (r#"{"key":"copyFile""#.to_owned(), "the key \"copyFile\" is unknown; known are header"),
        (value(r#""mode":1"#), "file has no member \"mode\""),
        (r#"{"value":{"path":"a","size":1},"key":"file"}"#.to_owned(), "file has no member \"size\""),
        (r#"{"value":{"huh":"a"}}"#.to_owned(), "a value has no member \"huh\""),
        (r#"{"kay\n":1}"#.to_owned(), "a line has no member \"kay\\n\""),
        (value(r#""path":"a","path":"#), "\"path\" is there twice"),
        (r#"{"key":"file","key":"#.to_owned(), "\"key\" is there twice"),
        (value(r#""path":"a","content":"""#), "file needs the member \"encoding\""),
        (value(r#""path":"a","encoding":"base64""#), "file needs the member \"content\""),
        (r#"{"key":"file"}"#.to_owned(), "a line needs the member \"value\""),
        (r#"{"value":{}}"#.to_owned(), "a line needs the member \"key\""),
        ("{}".to_owned(), "a line needs the member \"key\""),
        (HEADER.to_owned(), "a second header; a commit has one"),
        (value(r#""path":null"#), "\"path\" is not a string"),
        (value(r#""content":1"#), "\"content\" is not a string"),
        (value(r#""oldPath":nil"#), "\"oldPath\" is not a string"),
        (r#"{"key":"file","value":[]}"#.to_owned(), "\"value\" is not an object"),
        (deep, "\"key\" is not a string"),
        (value(r#""encoding":"utf8""#), "the encoding \"utf8\" is unknown; use base64 or utf-8"),
        (lfs(r#""algo":"md5""#), "large objects are named by sha256, not by \"md5\""),
        (lfs(r#""oid":"E3B0""#), "the oid is not a SHA-256 of 64 lower-case hexadecimal digits"),
        (lfs(r#""size":"1""#), "\"size\" is not a number"),
        (lfs(r#""size":-1"#), "the size is not a whole number"),
        (lfs(r#""size":1.0"#), "the size is not"),
        (lfs(r#""size":1e3"#), "the size is not"),
        (lfs(r#""size":01"#), "the size is not"),
        (lfs(r#""size":9223372036854775808"#), "the size is not"),
        (long_number, "size has more than 128 bytes"),
        (value(r#""path":"\ud800""#), "a string holds half of a surrogate pair"),
        (value(r#""content":"\ud800x""#), "a string holds half of a surrogate pair"),
        (value(r#""content":"\ud800\n""#), "a string holds half of a surrogate pair"),
        (value(r#""content":"\ud800\ud800""#), "a string holds half of a surrogate pair"),
        (value(r#""content":"\udc00""#), "a string holds half of a surrogate pair"),
        (value(r#""content":"\x""#), "a string holds an escape that JSON does not have"),
        (value(r#""content":"\u00g0""#), "a string holds an escape that JSON does not have"),
        (
            value("\"content\":\"a\tb\""),
            "a string holds the raw byte 0x09; write control characters as \\u0009",
        ),
        (value("\"content\":\"ab\n"), "a string holds the raw byte 0x0a"),
        (value("\n"), "it ends in the middle"),
        (r#"{"key":"file","value":{"content":"aGVs"#.to_owned(), "it ends in the middle"),
        (
            r#"{"key":"deletedFile","value":{"path":"a"}} {"#.to_owned(),
            "found '{' instead of the end of the line",
        ),
        ("[]".to_owned(), "found '[' instead of an object {…}"),
        ("\u{feff}{}".to_owned(), "found '\u{fffd}' instead of an object {…}"),
        (r#"{"key" "file"}"#.to_owned(), "found '\"' instead of ':'"),
        (r#"{"key":"file",}"#.to_owned(), "found '}' instead of the name of a member"),
        (r#"{,}"#.to_owned(), "found ',' instead of the name of a member or '}'"),
        (r#"{"key":"file";"#.to_owned(), "found ';' instead of ',' or '}'"),
    ] {
        let body = format!("{HEADER}\n{line}");
        let error = lines(&body).unwrap_err();
        let expected = format!("line 2 of the commit: {message}");
        assert!(error.to_string().starts_with(&expected), "{error}\ninstead of\n{expected}");
        let bytes = body.as_bytes().chunks(1);
        assert_eq!(read(Form::Lines, &Limits::default(), bytes).unwrap_err(), error);
    }
}

#[test]
fn the_header_comes_first() {
    let deleted = r#"{"key":"deletedFile","value":{"path":"a"}}"#;
    let first = lines(&format!("\n{deleted}\n{HEADER}")).unwrap_err();
    assert_eq!(first, LineError { line: 2, problem: Problem::HeaderNotFirst("deletedFile") });
    for empty in ["", "\n \r\n"] {
        assert_eq!(lines(empty).unwrap_err().problem, Problem::NoHeader);
    }
}

#[test]
fn utf_8_is_checked_across_cuts() {
    for bad in
        [&b"\xff"[..], b"\xc3", b"\xc3\"", b"\xe2\x82x", b"\xed\xa0\x80", b"\xf0\x9f\x98\\n", b"\xc0\x80"]
    {
        let line =
            [HEADER.as_bytes(), b"\n", br#"{"key":"file","value":{"content":"ok"#, bad, b"\""].concat();
        for step in 1..5 {
            let error = read(Form::Lines, &Limits::default(), line.chunks(step)).unwrap_err();
            assert_eq!(error, LineError { line: 2, problem: Problem::Utf8 }, "{bad:?}");
        }
    }
}

#[test]
fn every_bound_is_kept() {
    let limits = Limits {
        operations_max: 2,
        path_bytes_max: 7,
        summary_bytes_max: 5,
        description_bytes_max: 6,
        word_bytes_max: 64,
    };
    let read = |body: String| read(Form::Lines, &limits, [body.as_bytes()]).map_err(|error| error.problem);
    let long = |what, bytes_max| Err(Problem::TooLong { what, bytes_max });
    let header = |summary: usize, description: usize, parent: usize| {
        let (summary, description, parent) =
            ("é".repeat(summary / 2) + &"s".repeat(summary % 2), "d".repeat(description), "0".repeat(parent));
        format!(
            r#"{{"key":"header","value":{{"summary":"{summary}","description":"{description}","parentCommit":"{parent}"}}}}"#
        )
    };
    assert!(read(header(5, 6, 64)).is_ok());
    assert_eq!(read(header(6, 0, 0)), long("summary", 5));
    assert_eq!(read(header(0, 7, 0)), long("description", 6));
    assert_eq!(read(header(0, 0, 65)), long("parentCommit", 64));
    let delete = |path: usize| {
        format!("\n{{\"key\":\"deletedFile\",\"value\":{{\"path\":\"{}\"}}}}", "\\n".repeat(path))
    };
    assert!(read(header(0, 0, 0) + &delete(7) + &delete(7)).is_ok());
    assert_eq!(read(header(0, 0, 0) + &delete(8)), long("path", 7));
    let three = header(0, 0, 0) + &delete(1).repeat(3);
    assert_eq!(read(three), Err(Problem::TooManyOperations { max: 2 }));
    let name = |bytes: usize| format!("{{\"{}\"", "n".repeat(bytes));
    assert!(matches!(read(name(64)), Err(Problem::UnknownMember { .. })));
    assert_eq!(read(name(65)), long("the name of a member", 64));
    assert_eq!(read(format!("{{\"key\":\"{}", "k".repeat(65))), long("key", 64));
}

#[test]
fn after_an_error_nothing_is_read() {
    let (mut parser, mut sink) = (Parser::new(Form::Lines, Limits::default()), Recorder::default());
    assert!(parser.push(b"x", &mut sink).is_err());
    assert_eq!(parser.push(HEADER.as_bytes(), &mut sink).unwrap_err().problem, Problem::Refused);
    assert_eq!(parser.finish().unwrap_err().problem, Problem::Refused);
}

#[test]
fn base64_is_strict_and_tells_where() {
    let decode = |text: &str, step: usize| {
        let (mut decoder, mut out) = (Base64Decoder::default(), Vec::new());
        text.as_bytes().chunks(step).try_for_each(|piece| decoder.push(piece, &mut out))?;
        decoder.finish(&mut out).map(|()| out)
    };
    let character = |offset, byte| Err(NotBase64::Character { offset, byte });
    let last_group = |offset| Err(NotBase64::LastGroup { offset });
    for (text, expected) in [
        ("", Ok(&b""[..])),
        ("aGVsbG8=", Ok(b"hello")),
        ("aGVsbG8", Ok(b"hello")),
        ("aGVsbA==", Ok(b"hell")),
        ("+/+/", Ok(b"\xfb\xff\xbf")),
        ("aGVs\nbG8=", character(4, b'\n')),
        ("aGVsbG8-", character(7, b'-')),
        ("aGVsbG8=aGVs", character(7, b'=')),
        ("aA==aGVs", character(2, b'=')),
        ("aGVsa", last_group(4)),
        ("aGVsbA=", Ok(b"hell")),
        ("aGVsb===", last_group(4)),
        ("=", last_group(0)),
        ("aGVsbB==", last_group(4)),
        ("aGVs b", character(4, b' ')),
    ] {
        for step in 1..12 {
            assert_eq!(decode(text, step), expected.clone().map(<[u8]>::to_vec), "{text} by {step}");
        }
    }
}

#[test]
fn content_is_right_before_its_encoding_is_known() {
    for text in [
        "",
        "a",
        "hello",
        "hello world",
        "aGVsbG8=",
        "aGVsbG8=\n",
        "aGVsbG8hé",
        "====",
        "a===b",
        "Qü😀",
        "abcdefgh ijk",
    ] {
        for step in 1..16 {
            assert_eq!(decode(text, Encoding::Utf8, step).unwrap(), text.as_bytes(), "{text} by {step}");
        }
    }
    for step in 1..16 {
        assert_eq!(decode("aGVsbG8gd29ybGQ=", Encoding::Base64, step).unwrap(), b"hello world");
        assert_eq!(decode("hello world", Encoding::Base64, step), None);
    }
    for (declared, text) in [(Encoding::Base64, "aGVsbG8="), (Encoding::Utf8, "hello")] {
        let (mut decoder, mut out) = (ContentDecoder::new(Some(declared)), Vec::new());
        decoder.push(text, &mut out).unwrap();
        assert_eq!((decoder.finish(declared, &mut out), out), (Ok(None), b"hello".to_vec()));
    }
    assert!(ContentDecoder::new(Some(Encoding::Base64)).push("hell o w", &mut Vec::new()).is_err());
}

/// xorshift64, so that a failure comes back.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

#[test]
fn mutations_never_panic() {
    let mut random = Random(7);
    for round in 0..30_000 {
        // Even the first byte, for the lines.
        let form = round % 2;
        let mut data = if form == 0 { sample() } else { object_sample() }.into_bytes();
        data.insert(0, (random.below(128) * 2 + form) as u8);
        for _ in 0..random.below(4) + usize::from(round > 2000) {
            let at = 1 + random.below(data.len().max(2) - 1);
            data.resize(data.len().max(2), b' ');
            let tokens = br#""\{}[]:,u0dn= "#;
            match random.below(5) {
                0 => data[at] = random.below(256) as u8,
                1 => data[at] = tokens[random.below(tokens.len())],
                2 => data.insert(at, tokens[random.below(tokens.len())]),
                3 => drop(data.drain(at..(at + random.below(20)).min(data.len()))),
                _ => data.truncate(at + 1),
            }
        }
        fuzz(&data);
    }
}

#[test]
fn the_corpus_of_the_fuzzer() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/commit_lines");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let data = std::fs::read(entry.unwrap().path()).unwrap();
        for end in 0..=data.len() {
            fuzz(&data[..end]);
        }
        count += 1;
    }
    assert!(count > 0, "no corpus in {corpus}");
}

/// What any JSON parser makes of a line is what this one makes of it.
#[test]
fn strings_are_read_as_serde_json_reads_them() {
    let mut random = Random(3);
    let parts = [
        "a", "é", "😀", "\\n", "\\u0041", "\\ud83d", "\\ude00", "\\", "\"", "\\/", "\u{1}", "\\uD7FF",
        "\\uE000", "\\\"",
    ];
    for _ in 0..20_000 {
        let text: String = (0..random.below(6)).map(|_| parts[random.below(parts.len())]).collect();
        let line = format!(r#"{{"key":"header","value":{{"summary":"{text}"}}}}"#);
        let ours = lines(&line).ok().map(|events| match &events[0] {
            Event::Header(header) => header.summary.clone(),
            other => panic!("{other:?}"),
        });
        let theirs = serde_json::from_str::<serde_json::Value>(&line).ok();
        let theirs = theirs.and_then(|value| Some(value["value"]["summary"].as_str()?.to_owned()));
        assert_eq!(ours, theirs, "{line}");
    }
}

/// What this thread had of a processor, which does not depend on who else runs.
fn cpu_ns() -> u64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    times.split(' ').next().unwrap().parse().unwrap()
}

/// `cargo test --release -- --ignored --nocapture`
#[test]
#[ignore = "a measurement: a line of 1 GB, its speed and its memory"]
fn a_gigabyte_in_a_line() {
    struct Count(Option<ContentDecoder>, Vec<u8>, u64);
    impl Sink for Count {
        type Error = LineError;
        fn header(&mut self, _: Header) -> Result<(), LineError> {
            Ok(())
        }
        fn content_start(&mut self, _: u32, _: Option<Encoding>) -> Result<(), LineError> {
            Ok(())
        }
        fn content(&mut self, text: &str) -> Result<(), LineError> {
            if let Some(decoder) = &mut self.0 {
                self.1.clear();
                decoder.push(text, &mut self.1).unwrap();
                self.2 += self.1.len() as u64;
            } else {
                self.2 += text.len() as u64;
            }
            Ok(())
        }
        fn operation(&mut self, _: Operation) -> Result<(), LineError> {
            Ok(())
        }
    }
    for (what, text, decode) in [
        ("scan", "aGVsbG8gd29ybGQh", false),
        ("scan and decode", "aGVsbG8gd29ybGQh", true),
        ("text with an escape per 32 bytes", "this is some line of a text.! \\n", false),
        ("only escapes", "\\n\\u0041", false),
    ] {
        let piece = text.repeat(65536 / text.len());
        let mut sink = Count(decode.then(|| ContentDecoder::new(None)), Vec::new(), 0);
        let mut parser = Parser::new(Form::Lines, Limits::default());
        let start = cpu_ns();
        parser
            .push(format!("{HEADER}\n{{\"key\":\"file\",\"value\":{{\"content\":\"").as_bytes(), &mut sink)
            .unwrap();
        for _ in 0..16_384 {
            parser.push(piece.as_bytes(), &mut sink).unwrap();
        }
        parser.push(br#"","path":"a","encoding":"base64"}}"#, &mut sink).unwrap();
        parser.finish().unwrap();
        let gigabytes = 65536.0 * 16_384.0 / 1e9;
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let anon = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
        let anon_kb: u64 = anon.split_whitespace().nth(1).unwrap().parse().unwrap();
        println!(
            "{what}: {:.2} GB/s, {} bytes out, {anon_kb} kB",
            gigabytes * 1e9 / (cpu_ns() - start) as f64,
            sink.2
        );
        assert!(anon_kb < 16 * 1024);
    }
}
