//! The listener: accepts connections up to a bound, serves requests on them, and drains them when told to stop.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Node;
use crate::address;
use crate::git::Builds;
use crate::http::{self, Connection, Files, Phase, Timeouts};
use crate::metrics::Metrics;
use crate::route::{BodyLimit, Origin};
use crate::spool::{self, Spool};
use crate::staging::{self, Staging};

/// What the requests of a process share.
pub(crate) struct Server {
    pub node: Arc<Node>,
    pub spool: Spool,
    /// Bodies of pushes.
    pub staging: Staging,
    /// Bodies of fetches, which anybody may send: apart, so that they do not keep pushes out.
    pub fetch_bodies: Staging,
    pub metrics: Metrics,
    /// Turns for answers to fetches.
    pub builds: Builds,
    /// Turns for listings of refs: these are over soon, and do not wait for long clones.
    pub listings: Builds,
    pub protocol: git_protocol::Limits,
    /// Of Git LFS.
    pub wire: lfs::wire::Limits,
    /// Of this process; clients that trace sessions note it and tell theirs, which the log of pushes shows.
    pub session_id: String,
    /// Pushes that run, and uploads that have all their bytes; they outlive their connections.
    pub pushes: TaskTracker,
    pub draining: AtomicBool,
    connections: TaskTracker,
    stop: Stop,
}

/// Commands before a pack, which limits of their own bound more narrowly.
const COMMANDS_BYTES: u64 = 64 << 20;
/// The head of a request. Tokens and host names are short.
const HEAD_BYTES: usize = 64 << 10;
/// A document of the Hub's API: a thousand files to be looked at, each with a sample, are the largest.
const HUB_BYTES: u64 = 16 << 20;
const MEMORY_PER_BODY: usize = 1 << 20;
const MEMORY_OF_BODIES: u64 = 64 << 20;
/// Nearly all requests of a fetch are smaller.
const MEMORY_PER_FETCH_BODY: usize = 64 << 10;
/// At a time. One of a million refs takes some 80 MB until it is in the spool.
const LISTINGS_MAX: usize = 4;
/// After the deadline of draining, for connections to notice that they are cut off.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(1);
/// Out of file descriptors, most likely: that passes.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Serves `listener`, and `server.metrics_listen` if it is configured, until `shutdown`. Then lets requests under way
/// end, up to `server.drain_timeout`.
pub async fn serve(
    node: Arc<Node>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let operator = match node.config.server.metrics_listen {
        Some(address) => {
            let listener = TcpListener::bind(address).await;
            Some(listener.map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot listen on {address} (server.metrics_listen): {error}"),
                )
            })?)
        }
        None => None,
    };
    let drain_timeout = node.config.server.drain_timeout.duration();
    let origin = if operator.is_some() { Origin::Public } else { Origin::Whole };
    let server = Arc::new(Server::new(node));
    let mut listeners = vec![tokio::spawn(accept(Arc::clone(&server), listener, origin))];
    if let Some(operator) = operator {
        listeners.push(tokio::spawn(accept(Arc::clone(&server), operator, Origin::Operator)));
    }
    let forgetting = tokio::spawn(forget_purged(Arc::clone(&server)));
    shutdown.await;
    forgetting.abort();
    server.draining.store(true, Ordering::Relaxed);
    server.stop.gently.cancel();
    for listener in listeners {
        listener.await.map_err(io::Error::other)?;
    }
    server.drain(drain_timeout).await;
    Ok(())
}

/// How connections are told.
#[derive(Default)]
struct Stop {
    /// No further request.
    gently: CancellationToken,
    /// Now.
    at_once: CancellationToken,
}

impl Server {
    fn new(node: Arc<Node>) -> Server {
        let (storage, limits) = (&node.config.storage, &node.config.limits);
        let spool = spool::Limits {
            memory_per_answer: MEMORY_PER_BODY,
            under_way_max: storage.spool_max.bytes(),
            kept_memory_max: storage.response_cache_memory.bytes(),
            kept_disk_max: storage.response_cache.bytes(),
        };
        let staging = staging::Limits {
            memory_per_body: MEMORY_PER_BODY,
            memory_max: MEMORY_OF_BODIES,
            bytes_max: storage.staging_max.bytes(),
            // Who pushes is known.
            bytes_for_small: 0,
        };
        let fetch_bodies = staging::Limits {
            memory_per_body: MEMORY_PER_FETCH_BODY,
            memory_max: MEMORY_OF_BODIES,
            bytes_max: storage.fetch_bodies_max.bytes(),
            bytes_for_small: storage.fetch_bodies_max.bytes() / 4,
        };
        let cpus = std::thread::available_parallelism().map_or(2, usize::from);
        let running = if limits.cold_builds == 0 { cpus } else { limits.cold_builds };
        Server {
            spool: Spool::new(node.disk.clone(), node.free.clone(), spool),
            staging: Staging::new(node.disk.clone(), node.free.clone(), staging),
            fetch_bodies: Staging::new(node.disk.clone(), node.free.clone(), fetch_bodies),
            metrics: Metrics::new(),
            builds: Builds::new(running, limits.cold_builds_waiting),
            listings: Builds::new(running.min(LISTINGS_MAX), limits.cold_builds_waiting),
            protocol: node.config.protocol_limits(),
            wire: node.config.wire_limits(),
            session_id: ulid::Ulid::new().to_string().to_ascii_lowercase(),
            pushes: TaskTracker::new(),
            draining: AtomicBool::new(false),
            connections: TaskTracker::new(),
            stop: Stop::default(),
            node,
        }
    }

    pub(crate) fn body_max(&self, limit: BodyLimit) -> u64 {
        let limits = &self.node.config.limits;
        match limit {
            BodyLimit::None => 0,
            BodyLimit::Fetch => limits.request_inflated.bytes(),
            BodyLimit::Lfs => self.wire.body_bytes as u64,
            BodyLimit::Object => u64::MAX,
            BodyLimit::Hub => HUB_BYTES,
            BodyLimit::Commit => limits.commit_bytes.bytes(),
            BodyLimit::Shard => self.node.objects.xet().config().shard.bytes as u64,
            BodyLimit::Push => limits.pack_bytes.bytes().saturating_add(COMMANDS_BYTES),
        }
    }

    async fn drain(&self, within: Duration) {
        self.connections.close();
        self.pushes.close();
        let ended = async {
            self.connections.wait().await;
            self.pushes.wait().await;
        };
        if tokio::time::timeout(within, ended).await.is_ok() {
            return;
        }
        let (connections, pushes) = (self.connections.len(), self.pushes.len());
        tracing::warn!(connections, pushes, "requests under way are cut off");
        self.stop.at_once.cancel();
        let _ = tokio::time::timeout(CUT_OFF_WITHIN, self.connections.wait()).await;
    }
}

/// After a purge no answer from before it is kept. (The want check comes before the cache, so none is given out either.)
async fn forget_purged(server: Arc<Server>) {
    loop {
        server.node.answers_dropped.notified().await;
        server.spool.clear();
    }
}

async fn accept(server: Arc<Server>, listener: TcpListener, origin: Origin) {
    // Each listener has its own bound, so that crowds at the public one do not lock the operator out.
    let permits = Arc::new(Semaphore::new(server.node.config.server.max_connections.get()));
    let stopped = server.stop.gently.clone();
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _) = listener.accept().await?;
            Ok::<_, io::Error>((permit, stream))
        };
        let accepted = tokio::select! {
            () = stopped.cancelled() => return,
            accepted = next => accepted,
        };
        match accepted {
            Ok((permit, stream)) => {
                server.connections.spawn(connection(Arc::clone(&server), stream, origin, permit));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream, origin: Origin, _permit: OwnedSemaphorePermit) {
    let _open = Open::new(&server.metrics.connections);
    // Answers are written in whole; waiting for more to send only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let configured = &server.node.config.server;
    let timeouts = Timeouts {
        head: configured.header_timeout.duration(),
        idle: configured.idle_timeout.duration(),
        write: configured.write_timeout.duration(),
    };
    let (phase, files) = (Phase::new(), Arc::<Files>::default());
    // A socket that has no peer any more brings no request either.
    let peer = stream.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let is_proxy = configured.trusted_proxies.iter().any(|network| network.contains(peer));
    let io = TokioIo::new(Connection::new(stream, timeouts, Arc::clone(&phase), Arc::clone(&files)));
    let service = service_fn(|mut request: ::http::Request<Incoming>| {
        if !is_proxy {
            address::forget_proxies(request.headers_mut());
        }
        let client = address::client(peer, request.headers());
        request.extensions_mut().insert(client);
        http::handle(Arc::clone(&server), Arc::clone(&phase), Arc::clone(&files), origin, request)
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            // A client may end its side after the last request.
            .half_close(true)
            .max_buf_size(HEAD_BYTES)
            // `http::Files` relies on it.
            .writev(true)
            // The socket has deadlines of its own, which tell waiting for a request from waiting for its end.
            .header_read_timeout(None)
            .serve_connection(io, service)
    );
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = server.stop.at_once.cancelled() => break Ok(()),
            () = server.stop.gently.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        // The client's doing, nearly always: it left, or sent what is no HTTP.
        tracing::debug!(%error, "connection ended");
    }
}

/// Counted while it lives.
struct Open<'a>(&'a Gauge);

impl<'a> Open<'a> {
    fn new(gauge: &'a Gauge) -> Open<'a> {
        gauge.inc();
        Open(gauge)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
