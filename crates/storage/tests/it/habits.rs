//! A bucket in this process that enforces everything, but for one habit. It believes requests of the SDK and checks
//! those that come with a presigned URL.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest;
use aws_sigv4::http_request::SignableBody;
use aws_smithy_types::date_time::{DateTime, Format};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use database::{Clock, Sha256};
use storage::{S3Config, S3Credentials};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::signing::{Parts, signature};

/// Each has been seen at a server that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    None,
    IgnoresChecksumHeader,
    IgnoresChecksumInUrl,
    IgnoresPayloadHash,
    IgnoresCrc64,
    CopiesEncodings,
    CopiesNothing,
    StoresWhatItRefuses,
    ObeysUnsignedHeaders,
    ChecksNoSignature,
    /// Of what is read.
    ServesAnybody,
    /// A signature for one key is good for others.
    TakesOtherKeys,
    /// As long as there is one.
    TakesAnySignature,
    ShowsEncodings,
    DecodesWhatItServes,
    AnswersEndlessly,
    AnswersRangesWhole,
    TakesLateParts,
    KnowsNoParts,
    HidesChecksums,
    KeepsWhatIsDeleted,
    RefusesSignedUrls,
    IsAnHourAhead,
}

#[derive(Clone)]
pub struct FakeBucket {
    habit: Habit,
    config: S3Config,
    objects: Arc<Mutex<BTreeMap<String, Object>>>,
    parts: Arc<Mutex<Vec<u8>>>,
}

#[derive(Clone)]
struct Object {
    bytes: Vec<u8>,
    checksum: Option<String>,
    /// The `Content-Encoding` it came with, which nobody signs.
    encoding: Option<String>,
}

struct Request {
    method: String,
    /// Path and query.
    target: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Answer(u16, Vec<(&'static str, String)>, Vec<u8>);

impl FakeBucket {
    pub async fn start(habit: Habit) -> FakeBucket {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = S3Config {
            bucket: "models".into(),
            prefix: "a prefix".into(),
            region: "eu-west-1".into(),
            endpoint: Some(format!("http://{}", listener.local_addr().unwrap())),
            public_endpoint: None,
            path_style: true,
            credentials: S3Credentials::Static {
                access_key: "access".into(),
                secret_key: "secret".into(),
                session_token: None,
            },
            part_buffers: 1,
            part_size: 8 << 20,
            timeout: Duration::from_secs(10),
            clock: Clock::default(),
        };
        let bucket = FakeBucket { habit, config, objects: Arc::default(), parts: Arc::default() };
        let served = bucket.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        bucket
    }

    pub fn config(&self) -> S3Config {
        self.config.clone()
    }

    pub fn objects(&self) -> usize {
        self.objects.lock().unwrap().len()
    }

    /// One request a connection.
    async fn serve(self, mut stream: TcpStream) {
        let Some(request) = Request::read(&mut stream).await else { return };
        let Answer(status, headers, body) = self.answer(&request);
        let ahead_s = if self.habit == Habit::IsAnHourAhead { 3600 } else { 0 };
        let now = UNIX_EPOCH + Duration::from_millis(Clock::default().now_ms().unsigned_abs());
        let date = DateTime::from(now + Duration::from_secs(ahead_s)).fmt(Format::HttpDate).unwrap();
        let mut head = format!("HTTP/1.1 {status} -\r\nconnection: close\r\ndate: {date}\r\n");
        if !headers.iter().any(|(name, _)| *name == "content-length") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let _ = stream.write_all(&[head.into_bytes(), body].concat()).await;
    }

    fn answer(&self, request: &Request) -> Answer {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let is_presigned = query.contains("X-Amz-Signature=");
        let url = format!("http://{}{}", request.headers["host"], request.target);
        if is_presigned && (self.habit == Habit::RefusesSignedUrls || !self.is_signed(request, &url)) {
            return error(403, "SignatureDoesNotMatch");
        }
        if !is_presigned && !request.headers.contains_key("authorization") && !self.is_open(request) {
            return error(403, "AccessDenied");
        }
        match request.method.as_str() {
            _ if self.habit == Habit::KnowsNoParts && (query.contains("upload")) => {
                error(501, "NotImplemented")
            }
            "POST" if query.starts_with("uploads") => {
                let body =
                    "<InitiateMultipartUploadResult><UploadId>U1</UploadId></InitiateMultipartUploadResult>";
                Answer(200, Vec::new(), body.into())
            }
            "POST" => {
                let bytes = self.parts.lock().unwrap().clone();
                self.store(path, bytes, None);
                Answer(200, Vec::new(), b"<CompleteMultipartUploadResult/>".to_vec())
            }
            "PUT" if query.contains("partNumber=") => self.put_part(path, request),
            "PUT" => self.put(path, query, request, is_presigned),
            "DELETE" if query.contains("uploadId=") => error(404, "NoSuchUpload"),
            "DELETE" => {
                if self.habit != Habit::KeepsWhatIsDeleted {
                    self.objects.lock().unwrap().remove(path);
                }
                Answer(204, Vec::new(), Vec::new())
            }
            _ => self.get(path, request),
        }
    }

    fn get(&self, path: &str, request: &Request) -> Answer {
        let Some(object) = self.objects.lock().unwrap().get(path).cloned() else {
            return error(404, "NoSuchKey");
        };
        if request.method == "HEAD" {
            let mut headers = vec![("content-length", object.bytes.len().to_string())];
            headers.extend(object.checksum.map(|checksum| ("x-amz-checksum-sha256", checksum)));
            return Answer(200, headers, Vec::new());
        }
        let range =
            request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        match range {
            Some((from, to)) => {
                let range = from.parse::<usize>().unwrap()..=to.parse().unwrap();
                let status = if self.habit == Habit::AnswersRangesWhole { 200 } else { 206 };
                let encoding = object.encoding.map(|encoding| ("content-encoding", encoding));
                Answer(status, encoding.into_iter().collect(), object.bytes[range].to_vec())
            }
            None => self.whole(request, object),
        }
    }

    fn whole(&self, request: &Request, object: Object) -> Answer {
        let encoding = match self.habit {
            Habit::ShowsEncodings => object.encoding,
            Habit::DecodesWhatItServes if object.encoding.is_some() => {
                return Answer(200, Vec::new(), b"decoded".to_vec());
            }
            _ if request.target.contains("response-content-encoding=identity") => Some("identity".to_owned()),
            _ => object.encoding,
        };
        let body = match self.habit {
            Habit::AnswersEndlessly => vec![b'x'; 20 << 20],
            _ => object.bytes,
        };
        Answer(200, encoding.map(|encoding| ("content-encoding", encoding)).into_iter().collect(), body)
    }

    fn is_open(&self, request: &Request) -> bool {
        match self.habit {
            Habit::ChecksNoSignature => true,
            Habit::ServesAnybody => request.method == "GET",
            _ => false,
        }
    }

    fn put_part(&self, path: &str, request: &Request) -> Answer {
        let is_over = self.objects.lock().unwrap().contains_key(path);
        if is_over && self.habit != Habit::TakesLateParts {
            return error(404, "NoSuchUpload");
        }
        *self.parts.lock().unwrap() = request.body.clone();
        Answer(200, vec![("etag", "\"part\"".into())], Vec::new())
    }

    fn put(&self, path: &str, query: &str, request: &Request, is_presigned: bool) -> Answer {
        if let Some(source) = request.headers.get("x-amz-copy-source") {
            if self.habit == Habit::CopiesNothing {
                return error(501, "NotImplemented");
            }
            let object = self.objects.lock().unwrap()[&format!("/{source}")].clone();
            self.store(path, object.bytes, None);
            if self.habit == Habit::CopiesEncodings {
                self.objects.lock().unwrap().get_mut(path).unwrap().encoding = object.encoding;
            }
            return Answer(200, Vec::new(), b"<CopyObjectResult/>".to_vec());
        }
        let hash = Sha256::from_slice(digest::digest(&digest::SHA256, &request.body).as_ref()).unwrap();
        let checksum = BASE64.encode(hash.0);
        let escaped = checksum.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let in_url =
            |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let by_header = request.headers.get("x-amz-checksum-sha256").filter(|_| is_presigned);
        let crc64 = BASE64.encode(crc64(&request.body).to_be_bytes());
        let by_crc64 = request.headers.get("x-amz-checksum-crc64nvme");
        let refuses = (self.habit != Habit::IgnoresCrc64 && by_crc64.is_some_and(|of| *of != crc64))
            || (self.habit != Habit::IgnoresChecksumHeader && by_header.is_some_and(|of| *of != checksum))
            || (self.habit != Habit::IgnoresChecksumInUrl
                && in_url("X-Amz-Checksum-Sha256").is_some_and(|of| of != escaped))
            || (self.habit != Habit::IgnoresPayloadHash
                && in_url("X-Amz-Content-Sha256").is_some_and(|of| of != hash.to_string()));
        if !refuses || self.habit == Habit::StoresWhatItRefuses {
            let is_shown = by_header.is_some() || in_url("X-Amz-Checksum-Sha256").is_some();
            self.store(path, request.body.clone(), Some(checksum).filter(|_| is_shown));
            let encoding = request.headers.get("content-encoding").cloned();
            self.objects.lock().unwrap().get_mut(path).unwrap().encoding = encoding;
        }
        if refuses {
            error(400, "BadDigest")
        } else {
            Answer(200, vec![("etag", "\"e\"".into())], Vec::new())
        }
    }

    fn store(&self, path: &str, bytes: Vec<u8>, checksum: Option<String>) {
        let checksum = checksum.filter(|_| self.habit != Habit::HidesChecksums);
        let object = Object { bytes, checksum, encoding: None };
        self.objects.lock().unwrap().insert(path.to_owned(), object);
    }

    /// As Amazon sees it: the signature is right, and no header of its own is unsigned.
    fn is_signed(&self, request: &Request, url: &str) -> bool {
        if self.habit == Habit::ServesAnybody && request.method == "GET" {
            return true;
        }
        if self.habit == Habit::TakesAnySignature {
            return true;
        }
        if self.habit == Habit::TakesOtherKeys
            && self.is_signed_for(request, &url.replacen('?', "-other?", 1))
        {
            return true;
        }
        self.is_signed_for(request, url)
    }

    fn is_signed_for(&self, request: &Request, url: &str) -> bool {
        if self.habit == Habit::ChecksNoSignature {
            return !request.headers.contains_key("x-amz-copy-source");
        }
        let url = Parts::of(url);
        let signed: Vec<_> = url.query["X-Amz-SignedHeaders"].split("%3B").collect();
        let is_strange = |name: &String| name.starts_with("x-amz-") && !signed.contains(&name.as_str());
        if self.habit != Habit::ObeysUnsignedHeaders && request.headers.keys().any(is_strange) {
            return false;
        }
        let mut headers = Vec::new();
        for name in signed.iter().filter(|name| **name != "host") {
            match request.headers.get(*name) {
                Some(value) => headers.push((*name, value.as_str())),
                None => return false,
            }
        }
        let payload = url.query.get("X-Amz-Content-Sha256");
        let body =
            payload.map_or(SignableBody::UnsignedPayload, |hash| SignableBody::Precomputed((*hash).into()));
        url.query["X-Amz-Signature"] == signature(&self.config, &request.method, &url, &headers, body)
    }
}

impl Request {
    async fn read(stream: &mut TcpStream) -> Option<Request> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let mut body = bytes.split_off(head + 4);
        let text = String::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_lowercase(), value.trim().to_owned()))
        };
        let headers: BTreeMap<_, _> = lines.map_while(header).collect();
        let length: usize = headers.get("content-length").map_or(Some(0), |length| length.parse().ok())?;
        while body.len() < length {
            if stream.read_buf(&mut body).await.ok()? == 0 {
                return None;
            }
        }
        Some(Request { method, target, headers, body })
    }
}

/// CRC-64/NVME.
fn crc64(bytes: &[u8]) -> u64 {
    let bit = |crc: u64, _| (crc >> 1) ^ if crc & 1 == 1 { 0x9a6c_9329_ac4b_c9b5 } else { 0 };
    !bytes.iter().fold(u64::MAX, |crc, byte| (0..8).fold(crc ^ u64::from(*byte), bit))
}

fn error(status: u16, code: &str) -> Answer {
    Answer(status, Vec::new(), format!("<Error><Code>{code}</Code><Message>No.</Message></Error>").into())
}
