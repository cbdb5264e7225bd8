//! `serve` as a process: first start, one owner, signals, the control socket.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::granary::{Granary, git};

#[test]
fn the_first_start_makes_an_administrator_and_says_what_to_try() {
    let granary = Granary::new();
    let server = granary.serve();
    assert!(
        server.announced.starts_with("Granary is listening on http://127.0.0.1:"),
        "{}",
        server.announced
    );
    let path = granary.data_dir().join("initial-admin-token");
    let token = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(granary.ok("token list admin").contains("\tinitial\twrite\tactive\t"));

    let (code, rest) = server.stop();
    assert_eq!(code, Some(0), "{}", granary.log());
    assert!(rest.contains("./data/initial-admin-token"), "{rest}");
    assert!(rest.contains(" repo create admin/hello --data-dir ./data\n"), "{rest}");
    assert!(!rest.contains(token.trim()) && !granary.log().contains(token.trim()), "not a terminal");

    // Later starts say where, and nothing else.
    let server = granary.serve();
    let (code, rest) = server.stop();
    assert_eq!((code, rest.as_str()), (Some(0), ""));
    assert_eq!(granary.ok("user list").lines().count(), 1);
}

#[test]
fn a_hub_that_has_users_gets_no_administrator() {
    let granary = Granary::new();
    granary.ok("user create ann --admin");
    let server = granary.serve();
    assert!(!granary.data_dir().join("initial-admin-token").exists());
    assert_eq!(granary.ok("user list").lines().count(), 1);
    drop(server);
}

#[test]
fn a_second_server_is_refused_and_told_by_whom() {
    let granary = Granary::new();
    let server = granary.serve();
    let message = granary.fails("serve --listen 127.0.0.1:0");
    assert!(message.contains(&format!("is in use by process {}", server.pid())), "{message}");
    assert!(granary.ok("user list").starts_with("admin\t"), "the first goes on");
}

#[test]
fn a_killed_server_leaves_nothing_that_stands_in_the_way() {
    let granary = Granary::new();
    granary.serve().kill();
    assert!(granary.data_dir().join("control.sock").exists());
    assert!(granary.ok("user list").starts_with("admin\t"), "without a server");
    let server = granary.serve();
    assert!(granary.ok("user list").starts_with("admin\t"), "by the server");
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_port_that_is_taken_is_refused_before_anything_is_created() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let granary = Granary::new();
    let message = granary.fails(&format!("serve --listen {}", taken.local_addr().unwrap()));
    assert!(message.contains("cannot listen on"), "{message}");
    assert!(!granary.data_dir().join("initial-admin-token").exists());
}

#[test]
fn the_clock_moves_only_when_debugging() {
    let granary = Granary::new();
    granary.fails("debug clock +1d");
    let server = granary.serve();
    assert!(granary.fails("debug clock +1d").contains("GRANARY_DEBUG=1"));
    assert_eq!(server.stop().0, Some(0));
    assert!(granary.fails("debug clock +1d").contains("no server is running"));

    let granary = granary.with("GRANARY_DEBUG", "1");
    let server = granary.serve();
    let before = granary.ok("debug clock +0s");
    let after = granary.ok("debug clock +15d");
    assert!(after > before, "{before} {after}");
    assert!(granary.ok("doctor").contains("WARN debug clock: moved by 1296000 s"));
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_data_directory_with_a_long_path_has_a_control_socket_too() {
    let granary = Granary::new();
    let long = granary.path(&"d".repeat(150));
    fs::create_dir(&long).unwrap();
    std::os::unix::fs::symlink(&long, granary.data_dir()).unwrap();
    let server = granary.serve();
    assert!(granary.ok("user list").starts_with("admin\t"));
    assert!(long.join("control.sock").exists());
    drop(server);
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let granary = Granary::new();
    granary.ok("user create ann");
    // `user_version` of SQLite's header: bytes 60 to 63, big-endian.
    let path = granary.data_dir().join("granary.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[60..64].copy_from_slice(&9999_u32.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    for command in ["user list", "serve --listen 127.0.0.1:0"] {
        let message = granary.fails(command);
        assert!(message.contains("newer granary") && message.contains("9999"), "{message}");
    }
    let doctor = granary.run("doctor");
    assert_eq!(doctor.code, 1);
    assert!(
        doctor.stdout.contains("BAD  opening the data: ") && doctor.stdout.contains("9999"),
        "{doctor:?}"
    );
}

#[test]
fn maintenance_follows_the_clock_at_once() {
    let granary = Granary::new().with("GRANARY_DEBUG", "1").with("GRANARY__MAINTENANCE__INTERVAL", "1h");
    let source = granary.path("source");
    fs::create_dir(&source).unwrap();
    git(&source, "init -q -b main .");
    // Does not compress to less than what a row holds.
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    fs::write(source.join("weights.bin"), noise.take(200_000).collect::<Vec<_>>()).unwrap();
    git(&source, "add weights.bin");
    git(&source, "commit -q -m first");

    let server = granary.serve();
    granary.ok("repo import source admin/model");
    let packs = || {
        let directories = fs::read_dir(granary.data_dir().join("packs")).unwrap();
        directories.map(|directory| fs::read_dir(directory.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    assert_eq!(packs(), 1);
    granary.ok("repo delete admin/model");
    granary.ok("maintain --now");
    granary.ok("debug clock +13d");
    granary.ok("maintain --now");
    assert_eq!(packs(), 1, "kept for maintenance.gc_retention");
    granary.ok("debug clock +2d");
    // Each command takes some time.
    assert!((0..500).any(|_| granary.ok("user list").is_empty() || packs() == 0), "{}", granary.log());
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn the_control_socket_takes_operations_only() {
    let granary = Granary::new();
    let server = granary.serve();
    let socket = granary.data_dir().join("control.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = |request_line: &str, body: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let length = body.len();
        write!(stream, "{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for (request_line, body, status) in [
        ("POST /operations", r#"{"operation":"user_list"}"#, "200 OK"),
        ("POST /operations", r#"{"operation":"user_list","more":1}"#, "400 Bad Request"),
        ("POST /operations", r#"{"operation":"reboot"}"#, "400 Bad Request"),
        ("POST /operations", "nonsense", "400 Bad Request"),
        ("POST /operations", r#"{"operation":"repo_delete","repo":"a/../b"}"#, "400 Bad Request"),
        ("POST /operations", r#"{"operation":"token_list","user":"bob"}"#, "409 Conflict"),
        ("POST /operations", &" ".repeat((1 << 20) + 1), "400 Bad Request"),
        ("GET /operations", "", "405 Method Not Allowed"),
        ("POST /", "", "404 Not Found"),
    ] {
        let answer = ask(request_line, body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request_line} {body:.80}: {answer}");
    }
    assert_eq!(server.stop().0, Some(0));
    assert!(!socket.exists());
}

#[test]
fn links_stay_out_of_the_log_however_much_is_logged() {
    let granary = Granary::new().with("GRANARY__LOG__LEVEL", "trace");
    let server = granary.serve();
    let address = server.announced.split("http://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let oid = "ab".repeat(32);
    for request in [
        format!("GET /api/lfs/objects/{oid}?token=eyJ-hush.hush.hush HTTP/1.1"),
        format!("PUT /api/lfs/objects/{oid}?token=eyJ-hush.hush.hush HTTP/1.1"),
        "GET /admin/x/info/lfs/locks?token=eyJ-hush.hush.hush HTTP/1.1\r\nAuthorization: Bearer hf_hush"
            .to_owned(),
    ] {
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = format!("{request}\r\nHost: hub\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 40"), "{answer}");
    }
    assert_eq!(server.stop().0, Some(0));
    let log = granary.log();
    assert!(log.contains("\"route\":\"lfs.download\"") && log.contains("\"route\":\"lfs.upload\""), "{log}");
    assert!(!log.contains("hush"), "{log}");
}
