//! A server of one repository over HTTP, as small as it can be, so that real git can talk to this crate.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use database::{Oid, RefRow, Repo};
use git_protocol::receive_pack::{self, Commands, Parsed, Report};
use git_protocol::sideband::{Band, frame_header};
use git_protocol::upload_pack::{self, Request, Verbatim};
use git_protocol::{AdvertiseOptions, Limits, Service, Version};
use repository::{Snapshot, ingest};

pub struct Hub {
    pub url: String,
    state: Arc<State>,
}

struct State {
    snapshot: Mutex<Arc<Snapshot>>,
    verbatim: AtomicUsize,
    pushes: Mutex<Vec<Commands>>,
}

impl Hub {
    pub fn new(snapshot: Snapshot) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/acme/model", listener.local_addr().unwrap());
        let state = State {
            snapshot: Mutex::new(Arc::new(snapshot)),
            verbatim: AtomicUsize::new(0),
            pushes: Mutex::new(Vec::new()),
        };
        let state = Arc::new(state);
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&served);
                std::thread::spawn(move || serve(&state, stream));
            }
        });
        Hub { url, state }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.state.snapshot()
    }

    pub fn replace(&self, snapshot: Snapshot) {
        *self.state.snapshot.lock().unwrap() = Arc::new(snapshot);
    }

    /// How many fetches were answered by a whole pack.
    pub fn verbatim(&self) -> usize {
        self.state.verbatim.load(Ordering::SeqCst)
    }

    /// What the last push asked for.
    pub fn last_push(&self) -> Commands {
        self.state.pushes.lock().unwrap().last().cloned().unwrap()
    }
}

impl State {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.lock().unwrap())
    }

    fn upload_pack(&self, version: Version, body: &[u8]) -> Vec<u8> {
        let (snapshot, limits) = (self.snapshot(), Limits::default());
        let fetch = match upload_pack::parse(version, body, &limits) {
            Ok(Request::LsRefs(request)) => return upload_pack::ls_refs(&snapshot, &request).to_vec(),
            Ok(Request::Fetch(fetch)) => fetch,
            Err(error) => return git_protocol::pktline::error_body(&error.to_string()).to_vec(),
        };
        if fetch.check_wants(&snapshot).is_ok()
            && let Some(verbatim) = upload_pack::verbatim(&snapshot, &fetch)
        {
            self.verbatim.fetch_add(1, Ordering::SeqCst);
            return framed(&verbatim);
        }
        let mut out = Vec::new();
        let _ = upload_pack::answer(&snapshot, &fetch, &limits, &mut out, &Instant::now);
        out
    }

    fn receive_pack(&self, body: &[u8]) -> Vec<u8> {
        let (commands, consumed) = match receive_pack::parse_commands(body, &Limits::default()) {
            Ok(Parsed::Complete { commands, consumed }) => (commands, consumed),
            Ok(Parsed::Incomplete) => panic!("cut short"),
            Err(error) => return receive_pack::fatal(&error.capabilities, &error.to_string()).to_vec(),
        };
        if commands.updates.is_empty() {
            return Vec::new();
        }
        let report = self.push(&commands, &body[consumed..]);
        self.pushes.lock().unwrap().push(commands.clone());
        report.encode(&commands.capabilities).to_vec()
    }

    fn push(&self, commands: &Commands, pack: &[u8]) -> Report {
        let base = self.snapshot();
        let mut packs = base.packs().to_vec();
        if commands.expects_pack() {
            let out = || Err(std::io::Error::other("the packs of these tests are small"));
            let pack = bytes::Bytes::copy_from_slice(pack);
            match ingest::ingest(pack, &base, &ingest::Limits::default(), out, &|| true) {
                Ok(ingested) => packs.push(Arc::clone(ingested.pack())),
                Err(error) => return Report::unpack_failed(commands, error.to_string()),
            }
        }
        let repo = Repo { generation: base.generation() + 1, ..base.repo().clone() };
        let merged = Snapshot::from_packs(repo.clone(), Vec::new(), packs.clone());
        let mut refs: Vec<RefRow> = base.refs().to_vec();
        let mut results = Vec::new();
        for update in &commands.updates {
            let current = refs.iter().position(|row| row.name == update.name);
            let old = current.map_or(Oid::NULL, |at| refs[at].oid);
            let result = match update.problem {
                Some(problem) => Err(problem.to_string()),
                None if update.name == "refs/heads/protected" => Err("protected branch".to_owned()),
                None if old != update.old => Err("fetch first".to_owned()),
                None => Ok(None),
            };
            if result.is_ok() {
                current.map(|at| refs.remove(at));
                if !update.new.is_null() {
                    let peeled = merged.peel(&update.new).ok().filter(|peeled| *peeled != update.new);
                    refs.push(RefRow { name: update.name.clone(), oid: update.new, peeled });
                }
            }
            results.push((update.name.clone(), result));
        }
        let all = results.iter().all(|(_, result)| result.is_ok());
        if commands.capabilities.atomic && !all {
            let fail = |result: Result<_, String>| result.and(Err("atomic push failed".to_owned()));
            let results = results.into_iter().map(|(name, result)| (name, fail(result))).collect();
            return Report { unpack: Ok(()), refs: results, messages: Vec::new() };
        }
        *self.snapshot.lock().unwrap() = Arc::new(Snapshot::from_packs(repo, refs, packs));
        Report { unpack: Ok(()), refs: results, messages: vec!["welcome".to_owned()] }
    }
}

fn framed(verbatim: &Verbatim) -> Vec<u8> {
    let mut out = verbatim.preamble.to_vec();
    let pack = verbatim.pack.pack_bytes();
    for chunk in pack.chunks(verbatim.framing.payload_max().unwrap_or(usize::MAX)) {
        if verbatim.framing.payload_max().is_some() {
            out.extend(frame_header(Band::Data, chunk.len()));
        }
        out.extend_from_slice(chunk);
    }
    out.extend_from_slice(verbatim.trailer);
    out
}

fn serve(state: &State, stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut gzip, mut chunked, mut protocol) = (0, false, false, None);
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match &name.to_ascii_lowercase()[..] {
            "content-length" => length = value.parse().unwrap(),
            "content-encoding" => gzip = value.contains("gzip"),
            "transfer-encoding" => chunked = true,
            "git-protocol" => protocol = Some(value.as_bytes().to_vec()),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let len = u64::from_str_radix(line.trim(), 16).unwrap();
            Read::by_ref(&mut reader).take(len).read_to_end(&mut body).unwrap();
            reader.read_line(&mut line).unwrap();
            if len == 0 {
                break;
            }
        }
    } else {
        Read::by_ref(&mut reader).take(length).read_to_end(&mut body).unwrap();
    }
    if gzip {
        let mut inflated = Vec::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut inflated).unwrap();
        body = inflated;
    }
    let version = Version::from_header(protocol.as_deref());
    let (content_type, answer) = match target.rsplit('/').next().unwrap_or_default() {
        "git-upload-pack" => (Service::UploadPack.result_type(), state.upload_pack(version, &body)),
        "git-receive-pack" => (Service::ReceivePack.result_type(), state.receive_pack(&body)),
        refs => {
            let service = Service::from_name(refs.split_once("service=").unwrap().1).unwrap();
            let options = AdvertiseOptions { agent: "granary/test", session_id: Some("s1") };
            let answer = git_protocol::advertise(service, version, &state.snapshot(), &options);
            (service.advertisement_type(), answer.to_vec())
        }
    };
    let length = answer.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let mut stream = stream;
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer));
}
