//! HTTP on raw sockets: what patient, impatient and hostile clients meet.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use server::config::{Config, Size};
use tokio::io::AsyncWriteExt;

use crate::hub::{Client, Hub, basic};

const LS_REFS: &[u8] = b"0014command=ls-refs\n0000";
const FETCH_TYPE: &str = "Content-Type: application/x-git-upload-pack-request";
const PUSH_TYPE: &str = "Content-Type: application/x-git-receive-pack-request";
const V2: &str = "Git-Protocol: version=2";

/// A fetch request of the public repository that is answered without any right.
fn ls_refs() -> String {
    format!("POST /ann/Model/git-upload-pack HTTP/1.1\r\n{FETCH_TYPE}\r\n{V2}")
}

fn push_by(token: &str) -> String {
    format!("POST /ann/Model/git-receive-pack HTTP/1.1\r\n{PUSH_TYPE}\r\n{}", basic(token))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

fn impatient(config: &mut Config) {
    let server = &mut config.server;
    let short = "300ms".parse().unwrap();
    (server.header_timeout, server.idle_timeout, server.body_timeout) = (short, short, short);
    server.write_timeout = short;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_pages_and_what_is_not_there() {
    let hub = Hub::start(|_| {}).await;
    assert_eq!(hub.ask("GET /healthz HTTP/1.1", b"").await.text(), "ok\n");
    let ready = hub.ask("GET /readyz HTTP/1.1", b"").await;
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
    assert_eq!(ready.header("cache-control"), Some("no-store"));
    let home = hub.ask("GET / HTTP/1.1", b"").await;
    assert!(home.text().contains("git clone http://hub.test/NAMESPACE/NAME"), "{}", home.text());
    assert_eq!(home.header("content-type"), Some("text/html; charset=utf-8"));

    let unknown = hub.ask("GET /api/nothing?token=hf_x HTTP/1.1", b"").await;
    assert_eq!((unknown.status, unknown.header("x-error-code")), (404, Some("NotFound")));
    assert_eq!(unknown.text(), r#"{"error":"there is nothing at this address"}"#);
    let method = hub.ask("DELETE /ann/Model/git-upload-pack HTTP/1.1", b"").await;
    assert_eq!((method.status, method.header("allow")), (405, Some("POST")));
    let dumb = hub.ask("GET /ann/Model/info/refs HTTP/1.1", b"").await;
    assert_eq!(dumb.status, 403);
    assert!(dumb.text().contains("smart HTTP"), "{}", dumb.text());
    assert_eq!(hub.ask(&format!("GET /{} HTTP/1.1", "a".repeat(15_000)), b"").await.status, 414);

    let page = hub.ask("GET /metrics HTTP/1.1", b"").await.text();
    for line in [
        "granary_http_requests_total{route=\"health\",method=\"GET\",status=\"200\"} 1",
        "granary_http_requests_total{route=\"none\",method=\"DELETE\",status=\"405\"} 1",
        "granary_repositories 2",
        "granary_http_requests_in_flight 1",
    ] {
        assert!(page.lines().any(|got| got == line), "{line}\n{page}");
    }

    let mut bare = hub.connect().await;
    bare.raw(b"GET /healthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!((bare.response().await.status, bare.response().await.status), (400, 200));
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids_are_echoed_or_made() {
    let hub = Hub::start(|_| {}).await;
    let id = |response: crate::hub::Response| response.header("x-request-id").unwrap().to_owned();
    assert_eq!(id(hub.ask("GET /healthz HTTP/1.1\r\nX-Request-Id: trace-1/a", b"").await), "trace-1/a");
    let made = id(hub.ask("GET /healthz HTTP/1.1\r\nX-Request-Id: \"bad id\"", b"").await);
    assert_eq!(made.len(), 26, "{made}");
    assert_ne!(id(hub.ask("GET /nothing HTTP/1.1", b"").await), made);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_seen_is_like_what_is_not_there() {
    let hub = Hub::start(|_| {}).await;
    let bob = basic(&hub.bob);
    let paths = ["/ann/secret", "/ann/missing", "/nobody/missing", "/ann/-impossible-", "/ann/SECRET.git"];
    let doors = [
        ("GET", "/info/refs?service=git-upload-pack", "Accept: */*", &b""[..]),
        ("GET", "/info/refs?service=git-receive-pack", "Accept: */*", b""),
        ("POST", "/git-upload-pack", FETCH_TYPE, LS_REFS),
        ("POST", "/git-receive-pack", PUSH_TYPE, b"0000"),
    ];
    for (method, door, header, body) in doors {
        for (credential, status) in [("X-None: 1", 401), (bob.as_str(), 404)] {
            let mut seen = Vec::new();
            for path in paths {
                let head = format!("{method} {path}{door} HTTP/1.1\r\n{header}\r\n{credential}");
                seen.push(hub.ask(&head, body).await.comparable());
            }
            assert_eq!(seen[0].status, status, "{method} {door}: {:?}", seen[0]);
            let challenge = (status == 401).then_some("Basic realm=\"Granary\"");
            assert_eq!(seen[0].header("www-authenticate"), challenge);
            assert!(seen.iter().all(|other| *other == seen[0]), "{method} {door}: {seen:#?}");
        }
    }

    // What is public is so for all, but pushing needs a name, and a wrong token is always told.
    let refs = |service: &str, header: &str| {
        format!("GET /ann/Model/info/refs?service=git-{service} HTTP/1.1\r\n{header}")
    };
    assert_eq!(hub.ask(&refs("upload-pack", "X-None: 1"), b"").await.status, 200);
    assert_eq!(hub.ask(&refs("receive-pack", "X-None: 1"), b"").await.status, 401);
    let forbidden = hub.ask(&refs("receive-pack", &bob), b"").await;
    assert_eq!(forbidden.status, 403);
    assert_eq!(forbidden.text(), "you may read this repository but not write to it\n");
    assert_eq!(forbidden.header("content-type"), Some("text/plain; charset=utf-8"));
    for wrong in
        [basic("hf_wrong"), "Authorization: Bearer hf_wrong".into(), "Authorization: Digest x".into()]
    {
        let response = hub.ask(&refs("upload-pack", &wrong), b"").await;
        assert_eq!(response.status, 401, "{wrong}");
        assert!(response.header("www-authenticate").is_some());
    }
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_names_redirect_whoever_may_know_them() {
    let hub = Hub::start(|_| {}).await;
    let found = hub.node.database.find_repo(&"ann/secret".parse().unwrap()).unwrap().unwrap();
    let (database::Found::Repo(repo) | database::Found::Redirect(repo)) = found;
    hub.node.database.rename_repo(repo.id, "ann/Renamed".parse().unwrap()).await.unwrap();
    let ann = basic(&hub.ann);
    for (path, location) in [
        ("/ann/secret.git", "/ann/Renamed.git"),
        ("/ANN/SECRET", "/ann/Renamed"),
        ("/ann/renamed", "/ann/Renamed"),
        ("/ann/model", "/ann/Model"),
    ] {
        for service in ["git-upload-pack", "git-receive-pack"] {
            let head = format!("GET {path}/info/refs?service={service} HTTP/1.1\r\n{ann}");
            let response = hub.ask(&head, b"").await;
            assert_eq!(response.status, 307, "{path}");
            let expected = format!("{location}/info/refs?service={service}");
            assert_eq!(response.header("location"), Some(expected.as_str()));
        }
    }
    let stranger = hub.ask("GET /ann/secret/info/refs?service=git-upload-pack HTTP/1.1", b"").await;
    assert_eq!((stranger.status, stranger.header("location")), (401, None));
    // A POST is served in place.
    let head = format!("POST /ann/secret/git-upload-pack HTTP/1.1\r\n{FETCH_TYPE}\r\n{V2}\r\n{ann}");
    assert_eq!(hub.ask(&head, LS_REFS).await.status, 200);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let hub = Hub::start(|_| {}).await;
    let mut client = hub.connect().await;
    let post = format!("{}\r\nHost: h\r\nContent-Length: {}\r\n\r\n", ls_refs(), LS_REFS.len());
    let health = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    let refused = format!(
        "POST /ann/secret/git-upload-pack HTTP/1.1\r\nHost: h\r\n{FETCH_TYPE}\r\nContent-Length: 9\r\n\r\nGET / HTT"
    );
    client
        .raw(&[health.as_bytes(), post.as_bytes(), LS_REFS, refused.as_bytes(), health.as_bytes()].concat())
        .await;
    let statuses = [
        client.response().await.status,
        client.response().await.status,
        client.response().await.status,
        client.response().await.status,
    ];
    // The body that nobody wanted is not taken for a request.
    assert_eq!(statuses, [200, 200, 401, 200]);

    // The client's end of the last request is not the end of its answer.
    client.raw(health.as_bytes()).await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.response().await.status, 200);
    assert!(client.is_closed().await);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_that_is_refused_does_not_hide_the_refusal() {
    let hub = Hub::start(|_| {}).await;
    let mut client = hub.connect().await;
    let head =
        format!("POST /ann/secret/git-receive-pack HTTP/1.1\r\n{PUSH_TYPE}\r\nTransfer-Encoding: chunked");
    client.send(&head, b"").await;
    // Sends all before it reads, as simple clients do.
    let chunk = chunked(&[7; 65536], 65536);
    for _ in 0..100 {
        client.raw(&chunk[..chunk.len() - 5]).await;
    }
    let response = client.response().await;
    assert_eq!((response.status, response.header("connection")), (401, Some("close")));
    client.stream.shutdown().await.unwrap();
    assert!(client.is_closed().await);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_before_it_sends_is_answered_before_it_sends() {
    let hub = Hub::start(|_| {}).await;
    let expect = "Expect: 100-continue\r\nContent-Length: 4";
    let mut client = hub.connect().await;
    client.send(&format!("{}\r\n{expect}", push_by(&hub.bob)), b"").await;
    assert_eq!(client.response().await.status, 403);

    let mut client = hub.connect().await;
    client.send(&format!("{}\r\n{expect}", push_by(&hub.ann)), b"").await;
    assert_eq!(client.response().await.status, 100);
    client.raw(b"0000").await;
    let probed = client.response().await;
    assert_eq!((probed.status, probed.body.len()), (200, 0));
    assert_eq!(probed.header("content-type"), Some("application/x-git-receive-pack-result"));
    assert_eq!(probed.header("cache-control"), Some("no-cache, max-age=0, must-revalidate"));
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_come_plain_chunked_and_deflated() {
    let hub = Hub::start(|_| {}).await;
    let plain = hub.ask(&ls_refs(), LS_REFS).await;
    assert_eq!(plain.status, 200, "{plain:?}");
    assert_eq!(plain.header("content-type"), Some("application/x-git-upload-pack-result"));
    let encodings = [
        ("Transfer-Encoding: chunked", chunked(LS_REFS, 3)),
        ("Content-Encoding: gzip", gzip(LS_REFS)),
        ("Content-Encoding: x-gzip\r\nTransfer-Encoding: chunked", chunked(&gzip(LS_REFS), 5)),
        ("Content-Encoding: identity", LS_REFS.to_vec()),
    ];
    for (headers, body) in encodings {
        let response = hub.ask(&format!("{}\r\n{headers}", ls_refs()), &body).await;
        assert_eq!(response.comparable(), hub.ask(&ls_refs(), LS_REFS).await.comparable(), "{headers}");
    }
    for (headers, body, status) in [
        ("Content-Encoding: br", LS_REFS.to_vec(), 415),
        ("Content-Encoding: gzip, gzip", gzip(&gzip(LS_REFS)), 415),
        ("Content-Encoding: gzip", LS_REFS.to_vec(), 400),
        ("Content-Encoding: gzip", gzip(LS_REFS)[..20].to_vec(), 400),
    ] {
        let response = hub.ask(&format!("{}\r\n{headers}", ls_refs()), &body).await;
        assert_eq!(response.status, status, "{headers}");
    }
    let untyped = format!("POST /ann/Model/git-upload-pack HTTP/1.1\r\nContent-Type: text/plain\r\n{V2}");
    assert_eq!(hub.ask(&untyped, LS_REFS).await.status, 415);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded_before_and_after_inflating() {
    let hub = Hub::start(|config| config.limits.request_inflated = Size::mib(2)).await;
    let filler = vec![b'0'; 2 << 20];
    assert_ne!(hub.ask(&ls_refs(), &filler).await.status, 413, "at the bound");
    assert_eq!(hub.ask(&ls_refs(), &[&filler[..], b"0"].concat()).await.status, 413);
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100 << 10);
    assert_eq!(hub.ask(&format!("{}\r\nContent-Encoding: gzip", ls_refs()), &bomb).await.status, 413);
    assert!(hub.metric("granary_fetch_bodies_bytes").await < 1.0);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_under_way_keep_neither_pushes_nor_each_other_out() {
    let hub = Hub::start(|config| {
        config.storage.fetch_bodies_max = Size::mib(4);
        config.storage.staging_max = Size::mib(4);
    })
    .await;
    // All but the end of a body that inflates to more than there is room for.
    let bomb = gzip(&vec![b'0'; 8 << 20]);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = hub.connect().await;
        let deflated = format!("Content-Encoding: gzip\r\nContent-Length: {}", bomb.len());
        client.send(&format!("{}\r\n{deflated}", ls_refs()), b"").await;
        client.raw(&bomb[..bomb.len() / 4]).await;
        held.push(client);
    }
    while hub.metric("granary_fetch_bodies_bytes").await < 2e6 {
        tokio::task::yield_now().await;
    }
    assert!(hub.metric("granary_fetch_bodies_bytes").await <= 3.2e6, "a quarter is for small ones");
    assert_eq!(hub.metric("granary_staging_bytes").await, 0.0);
    assert_eq!(hub.ask(&ls_refs(), LS_REFS).await.status, 200);
    assert_eq!(hub.ask(&push_by(&hub.ann), b"0000").await.status, 200);
    let refused = hub.ask(&format!("{}\r\nContent-Encoding: gzip", ls_refs()), &bomb).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("5")), "{}", refused.text());
    drop(held);
    while hub.metric("granary_fetch_bodies_bytes").await > 0.0 {
        tokio::task::yield_now().await;
    }
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_has_to_be_complete_some_time() {
    let hub = Hub::start(|config| config.server.body_timeout = "300ms".parse().unwrap()).await;
    let mut client = hub.connect().await;
    client.send(&format!("{}\r\nContent-Length: 1000000", ls_refs()), b"").await;
    let began = std::time::Instant::now();
    let (mut reading, mut writing) = client.stream.into_split();
    let trickle = tokio::spawn(async move {
        // Enough in each window, but never the end.
        while writing.write_all(&[b'0'; 500]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut reading, &mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(began.elapsed() >= Duration::from_millis(600));
    drop(reading);
    trickle.await.unwrap();
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_over_the_limit_is_told_in_the_report() {
    let hub = Hub::start(|config| config.limits.pack_bytes = Size::kib(64)).await;
    let command =
        format!("{} {} refs/heads/main\0report-status side-band-64k", "0".repeat(40), "1".repeat(40));
    let mut body = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
    body.resize(65 << 20, b'x');
    let response = hub.ask(&push_by(&hub.ann), &body).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(response.text().contains("unpack the pack has more than the 65536 bytes"), "{}", response.text());
    assert!(response.text().contains("ng refs/heads/main"));
    assert!(hub.metric("granary_pushes_total{result=\"rejected\"}").await > 0.0);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_pushes_in_words() {
    let hub = Hub::start(|config| config.storage.min_free = Size(u64::MAX / 2)).await;
    let head = format!("GET /ann/Model/info/refs?service=git-receive-pack HTTP/1.1\r\n{}", basic(&hub.ann));
    let refused = hub.ask(&head, b"").await;
    assert_eq!(refused.status, 507);
    assert!(refused.text().contains("nearly full"), "{}", refused.text());
    let delete = format!("{} {} refs/heads/main\0report-status", "1".repeat(40), "0".repeat(40));
    let body = format!("{:04x}{delete}0000", delete.len() + 4).into_bytes();
    let refused = hub.ask(&push_by(&hub.ann), &body).await;
    assert_eq!(refused.status, 200);
    assert!(refused.text().contains("unpack nothing can be written"), "{}", refused.text());
    assert_eq!(hub.ask("GET /readyz HTTP/1.1", b"").await.status, 503);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_bodies_and_idlers_lose_their_connection() {
    let hub = Hub::start(impatient).await;
    // Never a byte; half a head; a head that trickles; nothing after a request.
    let mut silent = hub.connect().await;
    let mut half = hub.connect().await;
    half.raw(b"GET /healthz HTTP/1.1\r\nHo").await;
    let mut idle = hub.connect().await;
    idle.send("GET /healthz HTTP/1.1", b"").await;
    assert_eq!(idle.response().await.status, 200);
    let trickle = tokio::spawn(async move {
        let mut client: Client = half;
        // One byte at a time does not buy more time.
        while client.stream.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(silent.is_closed().await);
    assert!(idle.is_closed().await);
    trickle.await.unwrap();

    let mut body = hub.connect().await;
    body.send(&format!("{}\r\nContent-Length: 100", ls_refs()), b"").await;
    body.raw(b"0014").await;
    assert_eq!(body.response().await.status, 408);
    assert!(body.is_closed().await);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_connections_at_a_time() {
    let hub = Hub::start(|config| config.server.max_connections = 1.try_into().unwrap()).await;
    let mut first = hub.connect().await;
    first.send("GET /healthz HTTP/1.1", b"").await;
    assert_eq!(first.response().await.status, 200);
    let mut second = hub.connect().await;
    second.send("GET /healthz HTTP/1.1", b"").await;
    let waiting = tokio::time::timeout(Duration::from_millis(200), second.response()).await;
    assert!(waiting.is_err(), "it waits in the kernel's queue");
    drop(first);
    assert_eq!(second.response().await.status, 200);
    drop(second);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_ends_before_the_server_does() {
    let hub = Hub::start(|_| {}).await;
    let mut idle = hub.connect().await;
    idle.send("GET /healthz HTTP/1.1", b"").await;
    assert_eq!(idle.response().await.status, 200);
    let mut busy = hub.connect().await;
    busy.send(&format!("{}\r\nContent-Length: {}", ls_refs(), LS_REFS.len()), b"").await;
    busy.raw(&LS_REFS[..10]).await;
    while hub.metric("granary_http_requests_in_flight").await < 2.0 {
        tokio::task::yield_now().await;
    }
    hub.begin_to_stop();
    assert!(idle.is_closed().await, "it had nothing to wait for");
    busy.raw(&LS_REFS[10..]).await;
    let last = busy.response().await;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(busy.is_closed().await);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_has_an_end() {
    let hub = Hub::start(|config| config.server.drain_timeout = "200ms".parse().unwrap()).await;
    let mut stuck = hub.connect().await;
    stuck.send(&format!("{}\r\nContent-Length: 100", ls_refs()), b"").await;
    while hub.metric("granary_http_requests_in_flight").await < 2.0 {
        tokio::task::yield_now().await;
    }
    hub.stopped().await;
    assert!(stuck.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_routes_have_a_listener_of_their_own() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut hub = Hub::start(|config| config.server.metrics_listen = Some(free)).await;
    assert_eq!(hub.ask("GET /metrics HTTP/1.1", b"").await.status, 404);
    let public = std::mem::replace(&mut hub.address, free);
    assert_eq!(hub.ask("GET /metrics HTTP/1.1", b"").await.status, 200);
    assert_eq!(hub.ask("GET /healthz HTTP/1.1", b"").await.status, 200);
    assert_eq!(hub.ask("GET / HTTP/1.1", b"").await.status, 404);
    hub.address = public;
    assert_eq!(hub.ask("GET / HTTP/1.1", b"").await.status, 200);
    hub.stopped().await;
}
