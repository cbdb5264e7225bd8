//! Git LFS on raw sockets: what its clients send and see, byte for byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use auth::transfer::{Grant, Operation};
use database::{Namespace, RepoId, Sha256 as Oid};
use serde_json::{Value, json};
use server::config::Size;
use sha2::{Digest, Sha256};

use crate::hub::{Client, Hub, Response, basic};

const BATCH: &str = "POST /ann/Model.git/info/lfs/objects/batch HTTP/1.1";
const LFS: &str = "Content-Type: application/vnd.git-lfs+json; charset=utf-8";
const LFS_TYPE: Option<&str> = Some("application/vnd.git-lfs+json");

fn oid(content: &[u8]) -> Oid {
    Oid(Sha256::digest(content).into())
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7) as u8 ^ at as u8).collect()
}

fn parsed(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("{response:?}"))
}

/// What a client puts into a request line: the part of `url` after host and port.
fn path(url: &str) -> String {
    let after_scheme = url.split_once("://").unwrap().1;
    format!("/{}", after_scheme.split_once('/').unwrap().1)
}

impl Hub {
    async fn batch(&self, token: &str, operation: &str, objects: &[&[u8]]) -> Value {
        let objects: Vec<_> = objects
            .iter()
            .map(|content| json!({"oid": oid(content).to_string(), "size": content.len()}))
            .collect();
        let request = json!({"operation": operation, "objects": objects, "transfers": ["basic"]});
        let head = format!("{BATCH}\r\n{LFS}\r\nUser-Agent: git-lfs/3.6.1\r\n{}", basic(token));
        let answer = self.ask(&head, request.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            (answer.header("content-type"), answer.header("cache-control")),
            (LFS_TYPE, Some("no-store"))
        );
        parsed(&answer)
    }

    /// Where `content` is to be sent.
    async fn upload_path(&self, content: &[u8]) -> String {
        let answer = self.batch(&self.ann, "upload", &[content]).await;
        path(answer["objects"][0]["actions"]["upload"]["href"].as_str().unwrap_or_else(|| panic!("{answer}")))
    }

    async fn download_path(&self, content: &[u8]) -> String {
        let answer = self.batch(&self.ann, "download", &[content]).await;
        path(
            answer["objects"][0]["actions"]["download"]["href"]
                .as_str()
                .unwrap_or_else(|| panic!("{answer}")),
        )
    }

    /// Uploads, and says from where it can be downloaded.
    async fn stored(&self, content: &[u8]) -> String {
        let put = self.upload_path(content).await;
        let answer = self.ask(&format!("PUT {put} HTTP/1.1"), content).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.download_path(content).await
    }

    fn repo(&self) -> RepoId {
        match self.node.database.find_repo(&"ann/Model".parse().unwrap()).unwrap() {
            Some(database::Found::Repo(repo)) => repo.id,
            _ => panic!("it was made"),
        }
    }

    /// A link as a batch hands out, but for what `change` changes.
    fn link(&self, content: &[u8], change: impl FnOnce(&mut Grant)) -> String {
        let mut grant = Grant {
            operation: Operation::Download,
            repo: self.repo(),
            sha256: oid(content),
            size: content.len() as u64,
            upload: None,
            part: None,
            multipart: None,
            token: None,
            user: None,
            expires_ms: self.node.clock().now_ms() + 60_000,
        };
        change(&mut grant);
        format!("/api/lfs/objects/{}?token={}", oid(content), self.node.objects.keys().issue(&grant))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_goes_up_and_comes_down() {
    let hub = Hub::start(|_| {}).await;
    for content in [pattern(1), pattern(1024), pattern(3_000_001)] {
        let up = hub.batch(&hub.ann, "upload", &[&content]).await;
        let upload = &up["objects"][0]["actions"]["upload"];
        let href = upload["href"].as_str().unwrap();
        assert!(
            href.starts_with(&format!("http://hub.test/api/lfs/objects/{}?token=", oid(&content))),
            "{href}"
        );
        assert_eq!(up["objects"][0]["authenticated"], true);
        assert!(upload["expires_in"].as_u64().unwrap() >= 3600, "{up}");
        assert_eq!(up["objects"][0]["actions"].get("verify"), None, "the answer to the PUT says it");

        let answer =
            hub.ask(&format!("PUT {} HTTP/1.1\r\nContent-Type: text/plain", path(href)), &content).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
        let again = hub.batch(&hub.ann, "upload", &[&content]).await;
        assert_eq!(again["objects"][0].get("actions"), None, "it is there");

        let get = hub.download_path(&content).await;
        let got = hub.ask(&format!("GET {get} HTTP/1.1"), b"").await;
        assert_eq!(got.status, 200);
        assert!(got.body == content);
        let etag = format!("\"{}\"", oid(&content));
        for (name, value) in [
            ("etag", etag.as_str()),
            ("accept-ranges", "bytes"),
            ("content-type", "application/octet-stream"),
            ("content-disposition", "attachment"),
            ("cache-control", "private, immutable, max-age=86400"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(got.header(name), Some(value));
        }
        // Its head alone, which says the same.
        let mut client = hub.connect().await;
        client.send(&format!("HEAD {get} HTTP/1.1\r\nRange: bytes=0-0"), b"").await;
        let head = client.head().await;
        assert_eq!((head.status, head.header("content-length")), (200, got.header("content-length")));
        assert_eq!(head.header("etag"), Some(etag.as_str()));
    }
    // Whoever may read may download.
    let request =
        json!({"operation": "download", "objects": [{"oid": oid(&pattern(1)).to_string(), "size": 1}]});
    let answer = parsed(&hub.ask(&format!("{BATCH}\r\n{LFS}"), request.to_string().as_bytes()).await);
    let href = answer["objects"][0]["actions"]["download"]["href"].as_str().unwrap();
    assert_eq!(hub.ask(&format!("GET {} HTTP/1.1", path(href)), b"").await.body, pattern(1));
    assert!(hub.metric("granary_lfs_bytes_in_total").await >= 3_001_026.0);
    assert!(hub.metric("granary_lfs_bytes_out_total").await >= 3_001_026.0);
    assert!((hub.metric("granary_lfs_objects_published_total").await - 3.0).abs() < 0.1);
    assert!((hub.metric("granary_lfs_objects").await - 3.0).abs() < 0.1);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_an_object() {
    let hub = Hub::start(|_| {}).await;
    let content = pattern(200_000);
    let get = hub.stored(&content).await;
    let etag = format!("\"{}\"", oid(&content));
    let ask = |headers: String| {
        let (hub, head) = (&hub, format!("GET {get} HTTP/1.1\r\n{headers}"));
        async move { hub.ask(&head, b"").await }
    };
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100000-199999", 100_000, 200_000),
        ("bytes=65536-", 65_536, 200_000),
        ("bytes=-5", 199_995, 200_000),
        ("bytes=199999-999999", 199_999, 200_000),
    ] {
        for condition in [String::new(), format!("\r\nIf-Range: {etag}")] {
            let part = ask(format!("Range: {range}{condition}")).await;
            assert_eq!(part.status, 206, "{range}");
            assert_eq!(
                part.header("content-range"),
                Some(format!("bytes {from}-{}/200000", to - 1).as_str())
            );
            assert!(part.body == content[from..to], "{range}");
        }
    }
    for whole in ["Range: bytes=0-1,3-4", "Range: lines=1-2", "Range: bytes=5-\r\nIf-Range: \"other\""] {
        let answer = ask(whole.to_owned()).await;
        assert_eq!((answer.status, answer.header("content-range")), (200, None), "{whole}");
        assert!(answer.body == content);
    }
    let beyond = ask("Range: bytes=200000-".to_owned()).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */200000")));
    assert_eq!(beyond.header("cache-control"), Some("no-store"));
    let known = ask(format!("If-None-Match: {etag}")).await;
    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, Some(etag.as_str())));
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_is_told_so_in_json() {
    let hub = Hub::start(|_| {}).await;
    let upload =
        json!({"operation": "upload", "objects": [{"oid": oid(b"x").to_string(), "size": 1}]}).to_string();
    let download = upload.replace("upload", "download");
    let secret = BATCH.replace("Model", "secret");
    for (head, body, credential, status) in [
        (BATCH, &upload, "X-None: 1".to_owned(), 401),
        (BATCH, &download, basic("hf_wrong"), 401),
        (&secret, &download, "X-None: 1".to_owned(), 401),
        (&secret, &download, basic(&hub.bob), 404),
        (&BATCH.replace("Model", "none"), &download, basic(&hub.bob), 404),
    ] {
        let refused = hub.ask(&format!("{head}\r\n{LFS}\r\n{credential}"), body.as_bytes()).await;
        assert_eq!(refused.status, status, "{}", refused.text());
        assert_eq!(refused.header("content-type"), LFS_TYPE);
        let challenge = (status == 401).then_some("Basic realm=\"Granary\"");
        assert_eq!(
            (refused.header("lfs-authenticate"), refused.header("www-authenticate")),
            (challenge, None)
        );
        let said = parsed(&refused);
        assert!(said["message"].as_str().is_some_and(|message| message.len() > 10), "{said}");
        assert_eq!(said["request_id"].as_str(), refused.header("x-request-id"));
    }
    // Missing and hidden are one answer.
    let mut seen = Vec::new();
    for name in ["secret", "none"] {
        let head =
            format!("{}\r\n{LFS}\r\nX-Request-Id: same\r\n{}", BATCH.replace("Model", name), basic(&hub.bob));
        seen.push(hub.ask(&head, download.as_bytes()).await.comparable());
    }
    assert_eq!(seen[0], seen[1]);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_make_no_sense() {
    let hub = Hub::start(|config| config.lfs.batch_objects = 2.try_into().unwrap()).await;
    let object = |oid: String| json!({"oid": oid, "size": 1});
    let good = || object(oid(b"x").to_string());
    for (request, status) in [
        (json!({"operation": "download", "objects": [good(), good()]}), 200),
        (json!({"operation": "download", "objects": [good(), good(), good()]}), 413),
        (json!({"operation": "download", "objects": []}), 422),
        (json!({"operation": "steal", "objects": [good()]}), 422),
        (json!({"operation": "download", "objects": [object("AB".repeat(32))]}), 422),
        (json!({"operation": "download", "objects": [good(), object("AB".repeat(32))]}), 200),
        (json!({"operation": "download", "objects": [good()], "hash_algo": "md5"}), 200),
        (json!("no object"), 422),
    ] {
        let answer = hub.ask(&format!("{BATCH}\r\n{LFS}"), request.to_string().as_bytes()).await;
        assert_eq!(answer.status, status, "{request}: {}", answer.text());
        assert_eq!(answer.header("content-type"), LFS_TYPE);
    }
    let other_hash = json!({"operation": "upload", "objects": [good()], "hash_algo": "md5"});
    let answer = parsed(
        &hub.ask(&format!("{BATCH}\r\n{LFS}\r\n{}", basic(&hub.ann)), other_hash.to_string().as_bytes())
            .await,
    );
    assert_eq!(answer["objects"][0]["error"]["code"], 409, "{answer}");
    assert!(answer["objects"][0]["actions"].is_null());
    let huge = hub.ask(&format!("{BATCH}\r\n{LFS}"), &vec![b' '; (4 << 20) + 1]).await;
    assert_eq!(huge.status, 413, "{}", huge.text());
    let missing = json!({"operation": "download", "objects": [good()]});
    let answer =
        parsed(&hub.ask(&format!("{BATCH}\r\nAccept: text/html"), missing.to_string().as_bytes()).await);
    assert_eq!(answer["objects"][0]["error"]["code"], 404, "{answer}");
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_good_for_one_thing_and_for_a_time() {
    let hub = Hub::start(|_| {}).await;
    let (content, other) = (pattern(1000), pattern(1001));
    let (get, get_other) = (hub.stored(&content).await, hub.stored(&other).await);
    let put = hub.upload_path(b"not yet").await;
    let token = |link: &str| link.split_once("?token=").unwrap().1.to_owned();
    let refused = async |method: &str, link: &str, body: &[u8], why: &str| {
        let answer = hub.ask(&format!("{method} {link} HTTP/1.1\r\n{}", basic(&hub.ann)), body).await;
        assert_eq!(answer.status, 403, "{method} {link}: {}", answer.text());
        assert!(
            answer.text().contains(why) && answer.header("lfs-authenticate").is_none(),
            "{}",
            answer.text()
        );
    };
    let id = oid(&content);
    refused("GET", &format!("/api/lfs/objects/{id}"), b"", "lacks its token").await;
    refused("GET", &format!("/api/lfs/objects/{id}?token=x.y.z"), b"", "not valid").await;
    let mut forged = token(&get);
    forged.truncate(forged.len() - 4);
    refused("GET", &format!("/api/lfs/objects/{id}?token={forged}AAAA"), b"", "not valid").await;
    // Of another object, for another operation.
    refused("GET", &format!("/api/lfs/objects/{id}?token={}", token(&get_other)), b"", "something else")
        .await;
    refused("PUT", &get, &content, "something else").await;
    refused("GET", &put, b"", "something else").await;
    refused("POST", &format!("/api/lfs/objects/{id}/verify?token={}", token(&get)), b"{}", "something else")
        .await;
    // Of another repository, in which it is not linked.
    let missing = hub.link(&content, |grant| grant.repo = RepoId(grant.repo.0 + 1));
    let answer = hub.ask(&format!("GET {missing} HTTP/1.1"), b"").await;
    assert_eq!(answer.status, 404, "the other repository is private: {}", answer.text());
    // Of another size.
    refused("GET", &hub.link(&content, |grant| grant.size += 1), b"", "").await;
    // At its end, to the millisecond.
    let now_ms = hub.node.clock().now_ms();
    refused("GET", &hub.link(&content, |grant| grant.expires_ms = now_ms), b"", "expired").await;
    assert_eq!(hub.ask(&format!("GET {get} HTTP/1.1\r\n{}", basic("hf_wrong")), b"").await.status, 200);
    // Who signed by the old key signed well.
    hub.node.objects.keys().rotate(&hub.node.database).await.unwrap();
    assert_eq!(hub.ask(&format!("GET {get} HTTP/1.1"), b"").await.status, 200);
    hub.node.clock().advance_ms(2 * 3600 * 1000);
    refused("GET", &get, b"", "expired").await;
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_gone_takes_its_links_along() {
    let hub = Hub::start(|_| {}).await;
    let content = pattern(1000);
    let get = hub.stored(&content).await;
    let put = hub.upload_path(b"later").await;
    let ann = hub.node.database.user("ann").unwrap().unwrap();
    for token in hub.node.database.tokens(ann.id).unwrap() {
        hub.node.database.revoke_token(token.id).await.unwrap();
    }
    for (method, link, body) in [("GET", &get, &b""[..]), ("PUT", &put, b"later")] {
        let answer = hub.ask(&format!("{method} {link} HTTP/1.1"), body).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    assert!(hub.node.database.link(hub.repo(), &oid(b"later")).unwrap().is_none());
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_the_object() {
    let hub = Hub::start(|_| {}).await;
    let content = pattern(100_000);
    let put = hub.upload_path(&content).await;
    let head = format!("PUT {put} HTTP/1.1");
    let mut wrong = content.clone();
    wrong[5] ^= 1;
    let chunked = |body: &[u8]| [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
    for (headers, body, why) in [
        ("", wrong, "have SHA-256"),
        ("", content[1..].to_vec(), "99999 bytes, not the 100000"),
        ("", [&content[..], b"x"].concat(), "100001 bytes, not the 100000"),
        ("\r\nTransfer-Encoding: chunked", chunked(&content[1..]), "99999 bytes were received"),
        ("\r\nTransfer-Encoding: chunked", chunked(&[&content[..], b"x"].concat()), "more bytes were sent"),
        ("\r\nContent-Encoding: gzip", content.clone(), "without Content-Encoding"),
        ("", Vec::new(), "0 bytes, not the 100000"),
    ] {
        let answer = hub.ask(&format!("{head}{headers}"), &body).await;
        assert_eq!(answer.status, 422, "{headers} {}", answer.text());
        assert!(answer.text().contains(why), "{}", answer.text());
        assert!(hub.node.database.link(hub.repo(), &oid(&content)).unwrap().is_none(), "{why}");
    }
    // The same link is still good for the right ones.
    let answer = hub.ask(&format!("{head}\r\nTransfer-Encoding: chunked"), &chunked(&content)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_comes_before_the_body_and_reaches_a_client_that_only_writes() {
    let hub = Hub::start(|_| {}).await;
    let put = hub.upload_path(&pattern(10)).await;
    let mut client = hub.connect().await;
    client.send(&format!("PUT {put} HTTP/1.1\r\nContent-Length: 5000000000"), b"").await;
    let refused = client.response().await;
    assert_eq!((refused.status, refused.header("connection")), (422, Some("close")));
    drop(client);
    // One that asks first is not asked to send.
    let mut client = hub.connect().await;
    let expect = "Expect: 100-continue\r\nContent-Length";
    client.send(&format!("PUT {put} HTTP/1.1\r\n{expect}: 11"), b"").await;
    assert_eq!(client.response().await.status, 422);
    drop(client);
    let mut client = hub.connect().await;
    client.send(&format!("PUT {put} HTTP/1.1\r\n{expect}: 10"), b"").await;
    assert_eq!(client.response().await.status, 100);
    client.raw(&pattern(10)).await;
    assert_eq!(client.response().await.status, 200);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_leaves_nothing() {
    let hub = Hub::start(|_| {}).await;
    let content = pattern(2_000_000);
    let put = hub.upload_path(&content).await;
    let mut client = hub.connect().await;
    client.send(&format!("PUT {put} HTTP/1.1\r\nContent-Length: {}", content.len()), b"").await;
    client.raw(&content[..1_000_000]).await;
    while hub.metric("granary_lfs_bytes_in_total").await < 1e6 {
        tokio::task::yield_now().await;
    }
    drop(client);
    while hub.metric("granary_http_requests_in_flight").await > 1.0 {
        tokio::task::yield_now().await;
    }
    assert!(hub.node.database.link(hub.repo(), &oid(&content)).unwrap().is_none());
    let answer = hub.ask(&format!("PUT {put} HTTP/1.1"), &content).await;
    assert_eq!(answer.status, 200, "again: {}", answer.text());
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_uploads_at_a_time() {
    let hub = Hub::start(|config| config.lfs.uploads = 1.try_into().unwrap()).await;
    let (first, second) = (pattern(1000), pattern(1001));
    let (put_first, put_second) = (hub.upload_path(&first).await, hub.upload_path(&second).await);
    let mut slow = hub.connect().await;
    slow.send(&format!("PUT {put_first} HTTP/1.1\r\nContent-Length: 1000"), b"").await;
    slow.raw(&first[..10]).await;
    while hub.metric("granary_lfs_bytes_in_total").await < 10.0 {
        tokio::task::yield_now().await;
    }
    let refused = hub.ask(&format!("PUT {put_second} HTTP/1.1"), &second).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("5")), "{}", refused.text());
    slow.raw(&first[10..]).await;
    assert_eq!(slow.response().await.status, 200);
    assert_eq!(hub.ask(&format!("PUT {put_second} HTTP/1.1"), &second).await.status, 200);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_under_way_ends_before_the_server_does() {
    let hub = Hub::start(|_| {}).await;
    let content = pattern(500_000);
    let put = hub.upload_path(&content).await;
    let mut client = hub.connect().await;
    client.send(&format!("PUT {put} HTTP/1.1\r\nContent-Length: {}", content.len()), b"").await;
    client.raw(&content[..1000]).await;
    while hub.metric("granary_lfs_bytes_in_total").await < 1000.0 {
        tokio::task::yield_now().await;
    }
    hub.begin_to_stop();
    client.raw(&content[1000..]).await;
    let answer = client.response().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{}", answer.text());
    assert!(hub.node.database.link(hub.repo(), &oid(&content)).unwrap().unwrap().is_usable());
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_uploads_in_words() {
    let hub = Hub::start(|config| config.storage.min_free = Size(u64::MAX / 2)).await;
    let request = json!({"operation": "upload", "objects": [{"oid": oid(b"x").to_string(), "size": 1}]});
    let head = format!("{BATCH}\r\n{LFS}\r\n{}", basic(&hub.ann));
    let refused = hub.ask(&head, request.to_string().as_bytes()).await;
    assert_eq!(refused.status, 507);
    assert!(parsed(&refused)["message"].as_str().unwrap().contains("nearly full"), "{}", refused.text());
    let mut grant_of_upload = hub.link(b"x", |grant| grant.operation = Operation::Upload);
    grant_of_upload = grant_of_upload.replace("?token", "?x=1&token");
    let refused = hub.ask(&format!("PUT {grant_of_upload} HTTP/1.1"), b"x").await;
    assert_eq!(refused.status, 404, "no right: {}", refused.text());
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_objects_and_quotas() {
    let hub = Hub::start(|config| config.lfs.quota = Some(Size(1500))).await;
    let (first, second) = (pattern(1000), pattern(1001));
    let get = hub.stored(&first).await;
    let over = hub.batch(&hub.ann, "upload", &[&second, &pattern(400)]).await;
    assert_eq!(over["objects"][0]["error"]["code"], 507, "{over}");
    let said = over["objects"][0]["error"]["message"].as_str().unwrap();
    assert!(said.contains("ann has used"), "{said}");
    assert!(over["objects"][1]["actions"]["upload"]["href"].is_string(), "{over}");
    let ann: Namespace = "ann".parse().unwrap();
    hub.node.database.set_quota(ann, Some(1 << 40)).await.unwrap();
    hub.stored(&second).await;

    assert!(hub.node.database.remove_link(hub.repo(), oid(&first)).await.unwrap());
    assert_eq!(hub.ask(&format!("GET {get} HTTP/1.1"), b"").await.status, 410);
    let answer = hub.batch(&hub.ann, "download", &[&first]).await;
    assert_eq!(answer["objects"][0]["error"]["code"], 410, "{answer}");
    let get = hub.stored(&first).await;
    assert_eq!(hub.ask(&format!("GET {get} HTTP/1.1"), b"").await.status, 200);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_an_object() {
    let hub = Hub::start(|config| {
        config.lfs.multipart_from = Size::mib(6);
        config.lfs.part_size = Size::mib(5);
    })
    .await;
    let content = pattern((12 << 20) + 1);
    let request = json!({
        "operation": "upload",
        "transfers": ["multipart", "basic"],
        "objects": [{"oid": oid(&content).to_string(), "size": content.len()}],
        "hash_algo": "sha256",
        "ref": {"name": "main"},
    });
    let head = format!("{BATCH}\r\n{LFS}\r\nUser-Agent: unknown; hf_hub/2.4.0\r\n{}", basic(&hub.ann));
    let answer = parsed(&hub.ask(&head, request.to_string().as_bytes()).await);
    assert_eq!(answer["transfer"], "multipart", "{answer}");
    let upload = &answer["objects"][0]["actions"]["upload"];
    let chunk_size: usize = upload["header"]["chunk_size"].as_str().unwrap().parse().unwrap();
    let complete = path(upload["href"].as_str().unwrap());
    let part_path = |n: usize| path(upload["header"][format!("{n:05}")].as_str().unwrap());
    let mut parts = Vec::new();
    for (n, chunk) in content.chunks(chunk_size).enumerate() {
        if n == 1 {
            let short = hub.ask(&format!("PUT {} HTTP/1.1", part_path(2)), &chunk[1..]).await;
            assert_eq!(short.status, 422, "{}", short.text());
            let early = json!({"oid": oid(&content).to_string(), "parts": parts});
            let early = hub.ask(&format!("POST {complete} HTTP/1.1"), early.to_string().as_bytes()).await;
            assert_eq!(early.status, 422, "{}", early.text());
            let elsewhere = part_path(2).replace("/parts/2?", "/parts/3?");
            assert_eq!(hub.ask(&format!("PUT {elsewhere} HTTP/1.1"), chunk).await.status, 403);
        }
        let put = hub.ask(&format!("PUT {} HTTP/1.1", part_path(n + 1)), chunk).await;
        assert_eq!(put.status, 200, "{}", put.text());
        parts.push(json!({"partNumber": n + 1, "etag": put.header("etag").unwrap()}));
    }
    let other = json!({"oid": oid(b"other").to_string(), "parts": parts});
    let other = hub.ask(&format!("POST {complete} HTTP/1.1"), other.to_string().as_bytes()).await;
    assert_eq!(other.status, 422, "{}", other.text());
    let body = json!({"oid": oid(&content).to_string(), "parts": parts}).to_string();
    for _ in 0..2 {
        let done = hub.ask(&format!("POST {complete} HTTP/1.1"), body.as_bytes()).await;
        assert_eq!(done.status, 200, "{}", done.text());
    }
    let get = hub.download_path(&content).await;
    assert!(hub.ask(&format!("GET {get} HTTP/1.1"), b"").await.body == content);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks() {
    let hub = Hub::start(|config| config.lfs.locks = 3).await;
    let at = "/ann/Model.git/info/lfs/locks";
    let ask = async |method: &str, path: String, token: &str, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!("{method} {path} HTTP/1.1\r\n{LFS}\r\n{}", basic(token));
        let answer = hub.ask(&head, body.as_bytes()).await;
        assert_eq!(answer.header("content-type"), LFS_TYPE, "{}", answer.text());
        (answer.status, parsed(&answer))
    };
    let lock = async |path: &str| {
        ask("POST", at.to_owned(), &hub.ann, json!({"path": path, "ref": {"name": "refs/heads/main"}})).await
    };
    let (status, first) = lock("a/b.bin").await;
    assert_eq!((status, &first["lock"]["owner"]["name"]), (201, &json!("ann")), "{first}");
    let id = first["lock"]["id"].as_str().unwrap().to_owned();
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    let (status, exists) = lock("a/b.bin").await;
    assert_eq!((status, &exists["lock"]["id"]), (409, &json!(id)), "{exists}");
    assert!(exists["message"].as_str().unwrap().contains("ann"));
    for bad in ["../x", "/x", "", ".git/x", "a//b", "a\\b"] {
        assert_eq!(lock(bad).await.0, 422, "{bad}");
    }
    assert_eq!((lock("c").await.0, lock("d").await.0, lock("e").await.0), (201, 201, 409));

    // Page by page, without skipping any.
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let (status, page) = ask("GET", format!("{at}?limit=2{cursor}"), &hub.ann, Value::Null).await;
        assert_eq!(status, 200);
        seen.extend(
            page["locks"].as_array().unwrap().iter().map(|lock| lock["path"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str().filter(|next| !next.is_empty()) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["a/b.bin", "c", "d"]);
    let (_, one) = ask("GET", format!("{at}?path=a%2Fb.bin"), &hub.bob, Value::Null).await;
    assert_eq!(one["locks"].as_array().unwrap().len(), 1);
    assert_eq!(
        ask("GET", format!("{at}?id={}", "0".repeat(26)), &hub.bob, Value::Null).await.1["locks"],
        json!([])
    );

    // Who may only read has none, and verifies none.
    assert_eq!(ask("POST", at.to_owned(), &hub.bob, json!({"path": "x"})).await.0, 403);
    assert_eq!(ask("POST", format!("{at}/verify"), &hub.bob, json!({})).await.0, 403);
    let (status, verified) = ask("POST", format!("{at}/verify"), &hub.ann, json!({"limit": 2})).await;
    assert_eq!((status, verified["ours"].as_array().unwrap().len()), (200, 2), "{verified}");
    assert_eq!(verified["theirs"], json!([]));
    assert!(verified["next_cursor"].is_string());

    let unlock =
        async |id: &str| ask("POST", format!("{at}/{id}/unlock"), &hub.ann, json!({"force": false})).await;
    let (status, gone) = unlock(&id).await;
    assert_eq!((status, &gone["lock"]["path"]), (200, &json!("a/b.bin")), "{gone}");
    assert_eq!((unlock(&id).await.0, unlock("what").await.0), (404, 404));
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_others_are_broken_by_force_alone() {
    let hub = Hub::start(|_| {}).await;
    let admin = crate::hub::administrator(&hub.node, "root").await;
    let at = "/ann/Model/info/lfs/locks";
    let ask = async |path: String, token: &str, body: Value| {
        let answer =
            hub.ask(&format!("POST {path} HTTP/1.1\r\n{}", basic(token)), body.to_string().as_bytes()).await;
        (answer.status, parsed(&answer))
    };
    let (_, lock) = ask(at.to_owned(), &hub.ann, json!({"path": "a"})).await;
    let unlock = format!("{at}/{}/unlock", lock["lock"]["id"].as_str().unwrap());
    let (_, verified) = ask(format!("{at}/verify"), &admin, json!({})).await;
    assert_eq!(
        (verified["ours"].as_array().unwrap().len(), &verified["theirs"][0]["path"]),
        (0, &json!("a"))
    );
    let (status, refused) = ask(unlock.clone(), &admin, json!({})).await;
    assert_eq!(status, 403);
    assert!(refused["message"].as_str().unwrap().contains("--force"), "{refused}");
    assert_eq!(ask(unlock, &admin, json!({"force": true})).await.0, 200);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_empty_object_is_nothing_and_is_there() {
    let hub = Hub::start(|_| {}).await;
    let up = hub.batch(&hub.ann, "upload", &[b""]).await;
    assert_eq!(up["objects"][0].get("actions"), None, "{up}");
    let get = hub.download_path(b"").await;
    let got = hub.ask(&format!("GET {get} HTTP/1.1"), b"").await;
    assert_eq!((got.status, got.header("content-length"), got.body.len()), (200, Some("0"), 0));
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renamed_repositories_are_served_in_place() {
    let hub = Hub::start(|_| {}).await;
    let content = pattern(10);
    let put = hub.upload_path(&content).await;
    hub.node.database.rename_repo(hub.repo(), "ann/Other".parse().unwrap()).await.unwrap();
    assert_eq!(hub.ask(&format!("PUT {put} HTTP/1.1"), &content).await.status, 200, "links name no path");
    let get = hub.download_path(&content).await;
    assert_eq!(hub.ask(&format!("GET {get} HTTP/1.1"), b"").await.body, content);
    hub.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_from_one_connection_each() {
    let hub = Arc::new(Hub::start(|_| {}).await);
    let done = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..16)
        .map(|n| {
            let (hub, done) = (Arc::clone(&hub), Arc::clone(&done));
            tokio::spawn(async move {
                for round in 0..8 {
                    // Half of them bring what others bring at the same time.
                    let content = pattern(5000 + (n / 2) * 100 + round);
                    let answer = hub.batch(&hub.ann, "upload", &[&content]).await;
                    if let Some(href) = answer["objects"][0]["actions"]["upload"]["href"].as_str() {
                        let put = hub.ask(&format!("PUT {} HTTP/1.1", path(href)), &content).await;
                        assert_eq!(put.status, 200, "{}", put.text());
                    }
                    let get = hub.download_path(&content).await;
                    assert!(hub.ask(&format!("GET {get} HTTP/1.1"), b"").await.body == content);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), 128);
}

/// A small object leaves the server with its head before it, so that no client waits for a second packet.
#[tokio::test(flavor = "multi_thread")]
async fn small_objects_come_in_one_piece() {
    let hub = Hub::start(|_| {}).await;
    let content = pattern(1024);
    let get = hub.stored(&content).await;
    let mut client: Client = hub.connect().await;
    for _ in 0..20 {
        client.send(&format!("GET {get} HTTP/1.1"), b"").await;
        let mut buffer = vec![0; 64 * 1024];
        client.stream.readable().await.unwrap();
        let read = tokio::time::timeout(
            Duration::from_secs(5),
            tokio::io::AsyncReadExt::read(&mut client.stream, &mut buffer),
        );
        let read = read.await.unwrap().unwrap();
        let body = buffer[..read].windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert!(buffer[body..read] == content, "{} of {} bytes at first", read - body, content.len());
    }
    drop(client);
    hub.stopped().await;
}
