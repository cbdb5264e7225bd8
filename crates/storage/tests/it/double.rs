//! An S3 server in this process that misbehaves on order. It checks no signatures; payload hashes and checksums it does.
//!
//! Path style, one bucket. What it does not know it answers with 501.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Get,
    Head,
    Put,
    Delete,
    List,
    CreateMultipart,
    PutPart,
    Complete,
    Abort,
    ListParts,
    ListMultiparts,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// This answer, and nothing is done.
    Refuse(u16, &'static str),
    /// This answer, and what was asked for is done nevertheless.
    KeepAnd(u16, &'static str),
    /// The connection is closed after so many bytes of the body.
    CutAt(usize),
    /// As [`Fault::CutAt`], but it stays open and silent.
    HangAt(usize),
    /// No answer, and nothing is done.
    Silence,
    /// 200 and everything, whatever the range.
    WholeForRange,
    /// 200, `Content-Range` and the range.
    OkForRange,
    /// 200, and nothing is kept.
    Lose,
    /// 200, and only so many bytes are kept.
    Shorten(usize),
}

#[derive(Clone)]
pub struct Object {
    pub bytes: Bytes,
    /// Base64.
    pub sha256: Option<String>,
}

#[derive(Default)]
pub struct State {
    pub objects: BTreeMap<String, Object>,
    /// Id -> key and parts.
    pub uploads: BTreeMap<String, (String, BTreeMap<u32, Bytes>)>,
    /// Each is for the next request of its kind.
    pub faults: VecDeque<(Op, Fault)>,
    pub requests: Vec<Op>,
    pub ignores_if_match: bool,
    next_upload: u32,
}

/// Serves until it is dropped.
pub struct Double {
    pub address: SocketAddr,
    pub state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

struct Request {
    method: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Bytes,
}

/// Not a status.
const SILENCE: u16 = 0;

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    /// `Some(hang)`: the body is cut there.
    cut: Option<(usize, bool)>,
}

impl Double {
    pub async fn start() -> Double {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::<Mutex<State>>::default());
        let served = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = Arc::clone(&served);
                tokio::spawn(async move {
                    let mut socket = BufStream::new(socket);
                    while let Ok(true) = serve(&mut socket, &state).await {}
                });
            }
        });
        Double { address, state, task }
    }

    /// `http://ACCESS:SECRET@ADDRESS/BUCKET`
    pub fn url(&self) -> String {
        format!("http://access:secret@{}/bucket", self.address)
    }

    pub fn fault(&self, op: Op, fault: Fault) {
        self.state.lock().unwrap().faults.push_back((op, fault));
    }

    pub fn count(&self, op: Op) -> usize {
        self.state.lock().unwrap().requests.iter().filter(|&&asked| asked == op).count()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// False at the end of the connection.
async fn serve(socket: &mut BufStream<TcpStream>, state: &Mutex<State>) -> io::Result<bool> {
    let Some(request) = read_request(socket).await? else { return Ok(false) };
    let is_head = request.method == "HEAD";
    let answer = answer(&request, state);
    if answer.status == SILENCE {
        // Until the client gives up.
        let _ = socket.read(&mut [0]).await;
        return Ok(false);
    }
    let mut head = format!("HTTP/1.1 {} It\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        // HEAD tells the length of what it does not send.
        match (is_head, *name) {
            (true, "content-length") => {
                head = head.replacen("content-length: 0", &format!("content-length: {value}"), 1)
            }
            _ => head += &format!("{name}: {value}\r\n"),
        }
    }
    socket.write_all(format!("{head}\r\n").as_bytes()).await?;
    let sent = answer.cut.map_or(answer.body.len(), |(at, _)| at.min(answer.body.len()));
    socket.write_all(&answer.body[..sent]).await?;
    socket.flush().await?;
    match answer.cut {
        None => Ok(true),
        Some((_, false)) => Ok(false),
        Some((_, true)) => {
            let _ = socket.read(&mut [0]).await;
            Ok(false)
        }
    }
}

async fn read_request(socket: &mut BufStream<TcpStream>) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return Ok(None),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n");
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let target = target.split_once(' ').unwrap().0;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    assert!(!headers.contains_key("transfer-encoding"), "every body's length is known");
    if headers.get("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
        socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        socket.flush().await?;
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    });
    let key = decode(path.strip_prefix("/bucket").unwrap_or(path)).trim_start_matches('/').to_owned();
    Ok(Some(Request { method: method.into(), key, query: query.collect(), headers, body: body.into() }))
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        (bytes, rest) = match (first, tail) {
            (b'%', [_, _, tail @ ..]) => {
                let digits = std::str::from_utf8(&rest[1..3]).unwrap();
                (with(bytes, u8::from_str_radix(digits, 16).unwrap()), tail)
            }
            _ => (with(bytes, *first), tail),
        };
    }
    String::from_utf8(bytes).unwrap()
}

fn with(mut bytes: Vec<u8>, byte: u8) -> Vec<u8> {
    bytes.push(byte);
    bytes
}

fn op(request: &Request) -> Option<Op> {
    let has = |name: &str| request.query.contains_key(name);
    Some(match (request.method.as_str(), request.key.is_empty()) {
        ("GET", true) if has("uploads") => Op::ListMultiparts,
        ("GET", true) => Op::List,
        ("GET", false) if has("uploadId") => Op::ListParts,
        ("GET", false) => Op::Get,
        ("HEAD", false) => Op::Head,
        ("PUT", false) if has("uploadId") => Op::PutPart,
        ("PUT", false) => Op::Put,
        ("POST", false) if has("uploads") => Op::CreateMultipart,
        ("POST", false) if has("uploadId") => Op::Complete,
        ("DELETE", false) if has("uploadId") => Op::Abort,
        ("DELETE", false) => Op::Delete,
        _ => return None,
    })
}

fn answer(request: &Request, state: &Mutex<State>) -> Answer {
    let Some(op) = op(request) else { return error(501, "NotImplemented") };
    let mut state = state.lock().unwrap();
    state.requests.push(op);
    let fault = state.faults.iter().position(|(of, _)| *of == op);
    let fault = fault.and_then(|at| state.faults.remove(at)).map(|(_, fault)| fault);
    match fault {
        Some(Fault::Refuse(status, code)) => error(status, code),
        Some(Fault::Silence) => error(SILENCE, ""),
        Some(Fault::KeepAnd(status, code)) => {
            state.act(op, request, None);
            error(status, code)
        }
        Some(fault @ (Fault::CutAt(at) | Fault::HangAt(at))) => {
            let answer = state.act(op, request, None);
            Answer { cut: Some((at, matches!(fault, Fault::HangAt(_)))), ..answer }
        }
        fault => state.act(op, request, fault),
    }
}

impl State {
    fn act(&mut self, op: Op, request: &Request, fault: Option<Fault>) -> Answer {
        let key = request.key.clone();
        let upload = request.query.get("uploadId").cloned().unwrap_or_default();
        let body = match fault {
            Some(Fault::Shorten(to)) => request.body.slice(..to),
            _ => request.body.clone(),
        };
        match op {
            Op::Put | Op::PutPart if let Some(refused) = refused(request) => refused,
            Op::Put => {
                let sha256 = asked_checksum(request).map(|_| checksum(&request.body));
                if !matches!(fault, Some(Fault::Lose)) {
                    self.objects.insert(key, Object { bytes: body, sha256 });
                }
                ok(vec![("etag", "\"whole\"".into())], Bytes::new())
            }
            Op::Head => match self.objects.get(&key) {
                None => Answer { body: Bytes::new(), ..error(404, "") },
                Some(object) => {
                    let mut headers = vec![("content-length", object.bytes.len().to_string())];
                    headers.extend(object.sha256.clone().map(|sha256| ("x-amz-checksum-sha256", sha256)));
                    ok(headers, Bytes::new())
                }
            },
            Op::Get => match self.objects.get(&key) {
                None => error(404, "NoSuchKey"),
                Some(object) => {
                    let etag = etag(object);
                    if request.headers.get("if-match").is_some_and(|asked| *asked != etag)
                        && !self.ignores_if_match
                    {
                        return error(412, "PreconditionFailed");
                    }
                    let mut answer = get(object, request.headers.get("range"), fault);
                    answer.headers.push(("etag", etag));
                    answer
                }
            },
            Op::Delete => {
                self.objects.remove(&key);
                Answer { status: 204, ..ok(vec![], Bytes::new()) }
            }
            Op::List => {
                let prefix = request.query.get("prefix").cloned().unwrap_or_default();
                let found = self.objects.keys().filter(|key| key.starts_with(&prefix));
                let found: String =
                    found.map(|key| format!("<Contents><Key>{key}</Key></Contents>")).collect();
                xml(format!("<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"))
            }
            Op::CreateMultipart => {
                self.next_upload += 1;
                let id = format!("upload-{}", self.next_upload);
                self.uploads.insert(id.clone(), (key, BTreeMap::new()));
                xml(format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ))
            }
            Op::PutPart => match self.uploads.get_mut(&upload) {
                None => error(404, "NoSuchUpload"),
                Some((_, parts)) => {
                    let number = request.query["partNumber"].parse().unwrap();
                    let etag = format!("\"part-{number}-{}\"", body.len());
                    parts.insert(number, body);
                    ok(vec![("etag", etag)], Bytes::new())
                }
            },
            Op::Complete => match self.uploads.remove(&upload) {
                None => error(404, "NoSuchUpload"),
                Some((_, parts)) => {
                    let asked = std::str::from_utf8(&body).unwrap();
                    let named = |(number, bytes): (&u32, &Bytes)| {
                        asked.contains(&format!("<PartNumber>{number}</PartNumber>"))
                            && asked.contains(&format!("part-{number}-{}", bytes.len()))
                    };
                    if asked.matches("<Part>").count() != parts.len() || !parts.iter().all(named) {
                        self.uploads.insert(upload, (key, parts));
                        return error(400, "InvalidPart");
                    }
                    let bytes = parts.values().flatten().copied().collect::<Vec<u8>>().into();
                    self.objects.insert(key, Object { bytes, sha256: None });
                    xml("<CompleteMultipartUploadResult></CompleteMultipartUploadResult>".into())
                }
            },
            Op::Abort => match self.uploads.remove(&upload) {
                None => error(404, "NoSuchUpload"),
                Some(_) => Answer { status: 204, ..ok(vec![], Bytes::new()) },
            },
            Op::ListParts => match self.uploads.get(&upload) {
                None => error(404, "NoSuchUpload"),
                Some((_, parts)) => {
                    // Each was sent thrice: like SeaweedFS it lists every sending, in no order.
                    let part = |(number, bytes): (&u32, &Bytes)| {
                        let sent = |second: u32, size: usize| {
                            format!(
                                "<Part><PartNumber>{number}</PartNumber><Size>{size}</Size>\
                                 <LastModified>2026-01-01T00:00:0{second}Z</LastModified></Part>"
                            )
                        };
                        format!("{}{}{}", sent(1, 1), sent(3, bytes.len()), sent(2, usize::MAX >> 1))
                    };
                    let parts: String = parts.iter().map(part).collect();
                    xml(format!("<ListPartsResult><IsTruncated>false</IsTruncated>{parts}</ListPartsResult>"))
                }
            },
            Op::ListMultiparts => {
                let upload = |(id, (key, _)): (&String, &(String, _))| {
                    format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>")
                };
                let uploads: String = self.uploads.iter().map(upload).collect();
                xml(format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>"))
            }
        }
    }
}

fn get(object: &Object, range: Option<&String>, fault: Option<Fault>) -> Answer {
    let total = object.bytes.len();
    let range = range.filter(|_| !matches!(fault, Some(Fault::WholeForRange)));
    let Some((first, last)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return ok(vec![], object.bytes.clone());
    };
    let (first, last) =
        (first.parse::<usize>().unwrap(), last.parse().unwrap_or(usize::MAX).min(total.max(1) - 1));
    if first >= total {
        return error(416, "InvalidRange");
    }
    let status = if matches!(fault, Some(Fault::OkForRange)) { 200 } else { 206 };
    let headers = vec![("content-range", format!("bytes {first}-{last}/{total}"))];
    Answer { status, ..ok(headers, object.bytes.slice(first..=last)) }
}

fn etag(object: &Object) -> String {
    format!("\"{}\"", &checksum(&object.bytes)[..16])
}

/// As a server that enforces what it is told of the body.
fn refused(request: &Request) -> Option<Answer> {
    let payload = request.headers.get("x-amz-content-sha256").filter(|hash| hash.len() == 64);
    let hash: String = sha256(&request.body).iter().map(|byte| format!("{byte:02x}")).collect();
    if payload.is_some_and(|payload| *payload != hash) {
        return Some(error(400, "XAmzContentSHA256Mismatch"));
    }
    (asked_checksum(request)? != checksum(&request.body)).then(|| error(400, "BadDigest"))
}

fn asked_checksum(request: &Request) -> Option<String> {
    let query = request.query.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-amz-checksum-sha256"));
    request.headers.get("x-amz-checksum-sha256").or(query.map(|(_, value)| value)).cloned()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

fn checksum(bytes: &[u8]) -> String {
    BASE64.encode(sha256(bytes))
}

fn ok(headers: Vec<(&'static str, String)>, body: Bytes) -> Answer {
    Answer { status: 200, headers, body, cut: None }
}

fn xml(body: String) -> Answer {
    ok(vec![("content-type", "application/xml".into())], body.into())
}

fn error(status: u16, code: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code><Message>as ordered</Message></Error>");
    Answer { status, ..xml(body) }
}
