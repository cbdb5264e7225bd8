//! A server in this process, and clients that speak bytes, so that nothing a client might do is hidden by a library.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use auth::TokenSecret;
use database::{NewRepo, TokenRole, UserId, Visibility};
use server::config::Config;
use server::datadir::DataDir;
use server::node::Node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Ann owns the public `ann/Model` and the private `ann/secret`; Bob owns nothing.
pub struct Hub {
    pub node: Arc<Node>,
    pub address: SocketAddr,
    pub ann: String,
    pub bob: String,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    directory: tempfile::TempDir,
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    received: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Hub {
    pub async fn start(configure: impl FnOnce(&mut Config)) -> Hub {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.storage.min_free = server::config::Size(0);
        configure(&mut config);
        let data_dir = DataDir::create(&directory.path().join("data")).unwrap();
        let node = Node::open(config, data_dir).await.unwrap();
        let ann = user(&node, "ann").await;
        let bob = user(&node, "bob").await;
        for (path, visibility) in [("ann/Model", Visibility::Public), ("ann/secret", Visibility::Private)] {
            let path = path.parse().unwrap();
            let new =
                NewRepo { path, visibility, mirror: false, blob_bytes_max: None, lfs_incomplete: false };
            node.database.create_repo(new).await.unwrap();
        }
        Hub::serving(node, ann, bob, directory).await
    }

    /// As it is after a restore from `backup`: another server, with the same users.
    pub async fn restored(&self, backup: &Path) -> Hub {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::create(&directory.path().join("data")).unwrap();
        change::restore(backup, data_dir.path(), None).await.unwrap();
        let node = Node::open(self.node.config.clone(), data_dir).await.unwrap();
        Hub::serving(node, self.ann.clone(), self.bob.clone(), directory).await
    }

    async fn serving(node: Arc<Node>, ann: String, bob: String, directory: tempfile::TempDir) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = server::serve::serve(Arc::clone(&node), listener, stop.clone().cancelled_owned());
        let serving = tokio::spawn(served);
        Hub { node, address, ann, bob, stop, serving, directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), received: Vec::new() }
    }

    /// One request on a connection of its own. `head` is the request line and headers but `Host`.
    pub async fn ask(&self, head: &str, body: &[u8]) -> Response {
        let mut client = self.connect().await;
        client.send(head, body).await;
        client.response().await
    }

    /// The value of a metric that has no labels, or whose labels are in `name`.
    pub async fn metric(&self, name: &str) -> f64 {
        let page = self.ask("GET /metrics HTTP/1.1", b"").await.text();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Asks it to stop, without waiting.
    pub fn begin_to_stop(&self) {
        self.stop.cancel();
    }

    pub async fn stopped(self) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
        self.node.close().await;
    }
}

/// The header line by which git presents a token.
pub fn basic(token: &str) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("git:{token}"));
    format!("Authorization: Basic {encoded}")
}

impl Client {
    /// Adds `Host`, and `Content-Length` where there is a body and nothing else says how long it is.
    pub async fn send(&mut self, head: &str, body: &[u8]) {
        let mut request = format!("{head}\r\nHost: hub.test\r\n");
        if !body.is_empty() && !head.to_lowercase().contains("transfer-encoding") {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        self.raw(&[request.as_bytes(), body].concat()).await;
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub async fn response(&mut self) -> Response {
        self.try_response().await.expect("a response before the end of the connection")
    }

    /// The answer to a HEAD, which has no body whatever it says.
    pub async fn head(&mut self) -> Response {
        self.try_head().await.expect("a response before the end of the connection")
    }

    /// `None` if the connection ended without (the rest of) a response.
    pub async fn try_response(&mut self) -> Option<Response> {
        let mut response = self.try_head().await?;
        if matches!(response.status, 100 | 304) {
            return Some(response);
        }
        response.body = match response.header("content-length") {
            Some(len) => self.take(len.parse().unwrap()).await?,
            None if response.header("transfer-encoding") == Some("chunked") => self.chunks().await?,
            None => Vec::new(),
        };
        Some(response)
    }

    async fn try_head(&mut self) -> Option<Response> {
        let head_len = loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.receive().await?;
        };
        let head: Vec<u8> = self.received.drain(..head_len).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Some(Response { status, headers, body: Vec::new() })
    }

    /// True once the server has closed the connection and all was read.
    pub async fn is_closed(&mut self) -> bool {
        self.received.is_empty() && self.receive().await.is_none()
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line_len = loop {
                if let Some(at) = self.received.windows(2).position(|window| window == b"\r\n") {
                    break at;
                }
                self.receive().await?;
            };
            let line = self.take(line_len + 2).await?;
            let len = usize::from_str_radix(std::str::from_utf8(&line[..line_len]).unwrap(), 16).unwrap();
            body.extend_from_slice(&self.take(len + 2).await?[..len]);
            if len == 0 {
                return Some(body);
            }
        }
    }

    async fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        while self.received.len() < len {
            self.receive().await?;
        }
        Some(self.received.drain(..len).collect())
    }

    async fn receive(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// All that a client sees, but for what differs between any two requests.
    pub fn comparable(mut self) -> Response {
        self.headers.retain(|(name, _)| name != "date" && name != "x-request-id");
        self
    }
}

async fn user(node: &Node, name: &str) -> String {
    create(node, name, false).await
}

/// One more user, who may do everything.
pub async fn administrator(node: &Node, name: &str) -> String {
    create(node, name, true).await
}

async fn create(node: &Node, name: &str, admin: bool) -> String {
    let user: UserId = node.database.create_user(name.parse().unwrap(), admin).await.unwrap().id;
    let (_, secret): (_, TokenSecret) =
        auth::issue(&node.database, user, "test".to_owned(), TokenRole::Write).await.unwrap();
    secret.expose().to_owned()
}
