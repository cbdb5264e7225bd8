//! A bucket in memory, just enough of the protocol, that misbehaves on order. It checks no signatures.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use database::{Clock, Sha256};
use storage::{Capabilities, ObjectStore, S3Config, S3Credentials};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone)]
pub struct Double {
    state: Arc<Mutex<State>>,
    /// Reads of objects wait while it says so.
    pub reads_held: watch::Sender<bool>,
    /// So do writes of whole objects.
    pub puts_held: watch::Sender<bool>,
    /// So do deletions of whole objects.
    pub deletes_held: watch::Sender<bool>,
    /// So do questions after them.
    pub heads_held: watch::Sender<bool>,
    address: String,
}

#[derive(Default)]
pub struct State {
    pub objects: BTreeMap<String, Vec<u8>>,
    /// What HEAD shows as the SHA-256 of an object.
    pub checksums: HashMap<String, Sha256>,
    /// By id: the key, and the parts.
    pub multiparts: BTreeMap<String, (String, BTreeMap<u32, Vec<u8>>)>,
    /// Everything is answered by this status.
    pub failing: Option<u16>,
    /// The key that cannot be deleted.
    pub undeletable: Option<String>,
    /// Uploads in parts are not listed.
    pub lists_refused: Option<u16>,
    /// `METHOD name?query` of each request.
    pub log: Vec<String>,
    created: u32,
}

struct Asked {
    method: String,
    key: String,
    query: HashMap<String, String>,
    header: HashMap<String, String>,
    body: Vec<u8>,
}

struct Told {
    status: u16,
    header: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Double {
    pub async fn start() -> Double {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let [reads_held, puts_held, deletes_held, heads_held] = [false; 4].map(watch::Sender::new);
        let double =
            Double { state: Arc::default(), reads_held, puts_held, deletes_held, heads_held, address };
        let serving = double.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().connection(stream));
            }
        });
        double
    }

    pub async fn store(&self, clock: &Clock, capabilities: Capabilities) -> ObjectStore {
        let credentials = S3Credentials::Static {
            access_key: "access".into(),
            secret_key: "secret".into(),
            session_token: None,
        };
        let config = S3Config {
            bucket: "bucket".into(),
            prefix: String::new(),
            region: "us-east-1".into(),
            endpoint: Some(self.address.clone()),
            public_endpoint: None,
            path_style: true,
            credentials,
            part_buffers: 4,
            part_size: 5 << 20,
            timeout: Duration::from_secs(10),
            clock: clock.clone(),
        };
        let store = ObjectStore::s3(config).await.unwrap();
        store.bucket().unwrap().set_capabilities(capabilities);
        store
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// As a client does by a presigned URL: only the path counts.
    pub fn put(&self, href: &str, bytes: &[u8], shows_checksum: bool) {
        let key = self.key_of(href);
        let mut state = self.state();
        state.objects.insert(key.clone(), bytes.to_vec());
        if shows_checksum {
            state.checksums.insert(key, crate::support::sha(bytes));
        }
    }

    pub fn put_part(&self, href: &str, bytes: &[u8]) -> String {
        let query = href.split_once('?').unwrap().1;
        let query = parse_query(query);
        let number: u32 = query["partNumber"].parse().unwrap();
        let mut state = self.state();
        let (_, parts) = state.multiparts.get_mut(&query["uploadId"]).unwrap();
        parts.insert(number, bytes.to_vec());
        format!("\"etag-{number}\"")
    }

    pub fn key_of(&self, href: &str) -> String {
        let path = href.split('?').next().unwrap();
        path.strip_prefix(&format!("{}/bucket/", self.address)).unwrap().to_owned()
    }

    async fn connection(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(asked) = read(&mut stream).await {
            let held = match asked.method.as_str() {
                "GET" => Some(&self.reads_held),
                "PUT" => Some(&self.puts_held),
                "DELETE" => Some(&self.deletes_held),
                "HEAD" => Some(&self.heads_held),
                _ => None,
            };
            if let Some(held) = held
                && asked.key.starts_with("objects/")
                && asked.query.is_empty_of_uploads()
            {
                held.subscribe().wait_for(|held| !held).await.unwrap();
            }
            let told = self.answer(&asked);
            let mut head = format!("HTTP/1.1 {} X\r\nconnection: keep-alive\r\n", told.status);
            for (name, value) in &told.header {
                write!(head, "{name}: {value}\r\n").unwrap();
            }
            if !told.header.iter().any(|(name, _)| *name == "content-length") {
                write!(head, "content-length: {}\r\n", told.body.len()).unwrap();
            }
            head.push_str("\r\n");
            let body = if asked.method == "HEAD" { &[][..] } else { &told.body };
            if stream.write_all(&[head.as_bytes(), body].concat()).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, asked: &Asked) -> Told {
        let mut state = self.state();
        let mut line = format!("{} {}", asked.method, asked.key);
        for name in ["uploads", "uploadId", "partNumber"] {
            if asked.query.contains_key(name) {
                write!(line, " {name}").unwrap();
            }
        }
        state.log.push(line);
        if let Some(status) = state.failing {
            return Told { status, header: vec![], body: b"<Error><Code>SlowDown</Code></Error>".to_vec() };
        }
        let key = asked.key.clone();
        let upload = asked.query.get("uploadId").cloned();
        match (asked.method.as_str(), upload) {
            ("POST", None) => {
                state.created += 1;
                let id = format!("upload-{}", state.created);
                state.multiparts.insert(id.clone(), (key.clone(), BTreeMap::new()));
                xml(format!(
                    "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>{key}</Key>\
                     <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ))
            }
            ("POST", Some(id)) => match state.multiparts.remove(&id) {
                None => no_such_upload(),
                Some((key, parts)) => {
                    state.objects.insert(key, parts.into_values().flatten().collect());
                    xml("<CompleteMultipartUploadResult/>".into())
                }
            },
            ("PUT", Some(id)) => match state.multiparts.get_mut(&id) {
                None => no_such_upload(),
                Some((_, parts)) => {
                    let number = asked.query["partNumber"].parse().unwrap();
                    parts.insert(number, asked.body.clone());
                    Told { status: 200, header: vec![("etag", format!("\"etag-{number}\""))], body: vec![] }
                }
            },
            ("GET", Some(id)) => match state.multiparts.get(&id) {
                None => no_such_upload(),
                Some((_, parts)) => {
                    let part = |(number, bytes): (&u32, &Vec<u8>)| {
                        let size = bytes.len();
                        format!("<Part><PartNumber>{number}</PartNumber><Size>{size}</Size></Part>")
                    };
                    let parts: String = parts.iter().map(part).collect();
                    xml(format!("<ListPartsResult><IsTruncated>false</IsTruncated>{parts}</ListPartsResult>"))
                }
            },
            ("DELETE", Some(id)) => match state.multiparts.remove(&id) {
                None => no_such_upload(),
                Some(_) => Told { status: 204, header: vec![], body: vec![] },
            },
            ("PUT", None) => {
                state.objects.insert(key, asked.body.clone());
                Told { status: 200, header: vec![("etag", "\"e\"".into())], body: vec![] }
            }
            ("DELETE", None) if state.undeletable.as_ref() == Some(&key) => Told {
                status: 403,
                header: vec![],
                body: b"<Error><Code>AccessDenied</Code></Error>".to_vec(),
            },
            ("DELETE", None) => {
                state.objects.remove(&key);
                Told { status: 204, header: vec![], body: vec![] }
            }
            ("GET", None) if asked.query.contains_key("uploads") && state.lists_refused.is_some() => {
                let status = state.lists_refused.unwrap();
                Told {
                    status,
                    header: vec![],
                    body: b"<Error><Code>MethodNotAllowed</Code></Error>".to_vec(),
                }
            }
            ("GET", None) if asked.query.contains_key("uploads") => {
                let prefix = asked.query.get("prefix").cloned().unwrap_or_default();
                let of_prefix = state.multiparts.iter().filter(|(_, (key, _))| key.starts_with(&prefix));
                let upload = |(id, (key, _)): (&String, &(String, _))| {
                    format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>")
                };
                let uploads: String = of_prefix.map(upload).collect();
                xml(format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>"))
            }
            ("GET" | "HEAD", None) => match state.objects.get(&key) {
                None => not_found(),
                Some(bytes) => {
                    let mut told = get(bytes, asked.header.get("range"));
                    if let Some(sha256) = state.checksums.get(&key) {
                        told.header.push(("x-amz-checksum-sha256", BASE64.encode(sha256.0)));
                        told.header.push(("x-amz-checksum-type", "FULL_OBJECT".into()));
                    }
                    told
                }
            },
            _ => Told { status: 405, header: vec![], body: vec![] },
        }
    }
}

trait Uploads {
    fn is_empty_of_uploads(&self) -> bool;
}

impl Uploads for HashMap<String, String> {
    fn is_empty_of_uploads(&self) -> bool {
        !self.contains_key("uploads") && !self.contains_key("uploadId")
    }
}

fn get(bytes: &[u8], range: Option<&String>) -> Told {
    let header = vec![("content-length", bytes.len().to_string()), ("etag", "\"e\"".into())];
    let Some((start, end)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return Told { status: 200, header, body: bytes.to_vec() };
    };
    let start: usize = start.parse().unwrap();
    let end = end.parse::<usize>().map_or(bytes.len(), |end| (end + 1).min(bytes.len()));
    let header = vec![
        ("content-length", (end - start).to_string()),
        ("content-range", format!("bytes {start}-{}/{}", end - 1, bytes.len())),
    ];
    Told { status: 206, header, body: bytes[start..end].to_vec() }
}

fn xml(body: String) -> Told {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}");
    Told { status: 200, header: vec![("content-type", "application/xml".into())], body: body.into_bytes() }
}

fn no_such_upload() -> Told {
    Told { status: 404, ..xml("<Error><Code>NoSuchUpload</Code></Error>".into()) }
}

fn not_found() -> Told {
    Told { status: 404, ..xml("<Error><Code>NoSuchKey</Code></Error>".into()) }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut header = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        header.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if header.contains_key("expect") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    }
    let mut body = vec![0; header.get("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let key = path.strip_prefix("/bucket").unwrap_or(path).trim_start_matches('/').to_owned();
    Some(Asked { method, key, query: parse_query(query), header, body })
}

fn parse_query(query: &str) -> HashMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.replace("%2F", "/"))
    };
    pairs.map(pair).collect()
}
