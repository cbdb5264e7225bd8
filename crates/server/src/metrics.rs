//! What a scraper reads at `/metrics`, in the OpenMetrics text format.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::{spool, webhooks};

/// What requests and pushes count as they go. What can be read when asked is a [`Reading`].
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    received: Family<Route, Counter>,
    sent: Family<Route, Counter>,
    pushes: Family<Push, Counter>,
    /// Requests whose response is not at its end.
    pub in_flight: Gauge,
    pub connections: Gauge,
    /// Fetches whose answer had to be computed.
    pub cold_builds: Counter,
    /// Those that wait for their turn.
    pub cold_builds_waiting: Gauge,
    /// Clones answered by one stored pack as it is.
    pub verbatim: Counter,
    pub refs_moved: Counter,
}

/// How a push ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PushResult {
    /// Every ref moved.
    Accepted,
    /// Some or all did not, which the client was told.
    Rejected,
    /// The server's fault, or the right was revoked.
    Failed,
}

/// Values read at the moment of the scrape.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub spool: spool::Stats,
    /// Of pushes.
    pub staging_bytes: u64,
    pub fetch_bodies_bytes: u64,
    /// `None` if the database cannot be read.
    pub database: Option<database::Stats>,
    /// Of the file system of the data directory.
    pub disk_free_bytes: Option<u64>,
    pub lfs: Lfs,
    pub webhooks: Webhooks,
}

/// Large objects since the start. What goes between clients and a bucket is not seen.
#[derive(Clone, Debug, Default)]
pub struct Lfs {
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub read_back_bytes: u64,
    pub objects_published: u64,
    pub objects_corrupt: u64,
    pub wholes_made: u64,
    /// By operation.
    pub presigned: [(&'static str, u64); 3],
}

/// Since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Webhooks {
    pub delivered: u64,
    pub failed: u64,
    pub given_up: u64,
    pub withheld: u64,
    pub suspended: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Push {
    result: &'static str,
}

/// From cached answers to clones of large repositories, in seconds.
const DURATIONS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0];

impl Metrics {
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("granary");
        let requests = Family::default();
        let durations: Family<Route, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATIONS));
        let (received, sent, pushes) = (Family::default(), Family::default(), Family::default());
        let (in_flight, connections, cold_builds_waiting) =
            (Gauge::default(), Gauge::default(), Gauge::default());
        let (cold_builds, verbatim, refs_moved) =
            (Counter::<u64, AtomicU64>::default(), Counter::default(), Counter::default());
        let r = &mut registry;
        r.register("http_requests", "Requests answered", requests.clone());
        r.register_with_unit(
            "http_request_duration",
            "From the end of the headers to the end of the response",
            Unit::Seconds,
            durations.clone(),
        );
        r.register_with_unit("http_received", "Request bodies", Unit::Bytes, received.clone());
        r.register_with_unit("http_sent", "Response bodies", Unit::Bytes, sent.clone());
        r.register("http_requests_in_flight", "Requests under way", in_flight.clone());
        r.register("http_connections", "Open connections", connections.clone());
        r.register("fetch_cold_builds", "Fetch answers computed", cold_builds.clone());
        r.register(
            "fetch_cold_builds_waiting",
            "Fetches waiting to be computed",
            cold_builds_waiting.clone(),
        );
        r.register("fetch_verbatim", "Clones answered by a stored pack as it is", verbatim.clone());
        r.register("pushes", "Pushes", pushes.clone());
        r.register("refs_moved", "Refs created, moved or deleted by pushes", refs_moved.clone());
        Metrics {
            registry,
            requests,
            durations,
            received,
            sent,
            pushes,
            in_flight,
            connections,
            cold_builds,
            cold_builds_waiting,
            verbatim,
            refs_moved,
        }
    }

    /// A request has ended, well or not.
    pub(crate) fn request(&self, ended: &Ended) {
        let route = Route { route: ended.route };
        let request = Request { route: ended.route, method: ended.method, status: ended.status };
        self.requests.get_or_create(&request).inc();
        self.durations.get_or_create(&route).observe(ended.duration.as_secs_f64());
        if ended.received > 0 {
            self.received.get_or_create(&route).inc_by(ended.received);
        }
        self.sent.get_or_create(&route).inc_by(ended.sent);
    }

    pub fn push(&self, result: PushResult) {
        let result = match result {
            PushResult::Accepted => "accepted",
            PushResult::Rejected => "rejected",
            PushResult::Failed => "failed",
        };
        self.pushes.get_or_create(&Push { result }).inc();
    }

    /// The whole page.
    pub fn render(&self, reading: &Reading) -> Result<String, fmt::Error> {
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
        let mut moment = Registry::with_prefix("granary");
        reading.register(&mut moment);
        // Each registry ends its text with the mark of the end, which a page has once.
        page.truncate(page.len() - page.strip_suffix(END).map_or(0, |_| END.len()));
        encode(&mut page, &moment)?;
        Ok(page)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

/// One request, for the counters.
#[derive(Debug)]
pub(crate) struct Ended {
    pub route: &'static str,
    pub method: &'static str,
    pub status: u16,
    pub duration: Duration,
    pub received: u64,
    pub sent: u64,
}

const END: &str = "# EOF\n";

impl Reading {
    fn register(&self, registry: &mut Registry) {
        let process = Process::read();
        let spool = self.spool;
        gauge(registry, "spool_bytes", "Fetch answers under way or kept", spool.held_bytes);
        gauge(registry, "cache_memory_bytes", "Fetch answers kept in memory", spool.kept_memory_bytes);
        gauge(registry, "cache_disk_bytes", "Fetch answers kept on disk", spool.kept_disk_bytes);
        counter(registry, "cache_hits", "Answers found in the cache", spool.hits as f64);
        counter(
            registry,
            "cache_misses",
            "Answers looked for in the cache and not found",
            spool.misses as f64,
        );
        gauge(registry, "staging_bytes", "Request bodies of pushes under way", self.staging_bytes);
        let fetches = self.fetch_bodies_bytes;
        gauge(registry, "fetch_bodies_bytes", "Request bodies of fetches under way", fetches);
        if let Some(free) = self.disk_free_bytes {
            gauge(registry, "disk_free_bytes", "Free in the data directory's file system", free);
        }
        if let Some(rows) = self.database {
            gauge(registry, "users", "User accounts", rows.users);
            gauge(registry, "repositories", "Live repositories", rows.repos);
            gauge(registry, "refs", "Refs of live repositories", rows.refs);
            gauge(registry, "packs", "Packs of live repositories", rows.packs);
            gauge(registry, "pack_bytes", "Size of these packs", rows.bytes);
            gauge(registry, "lfs_objects", "Large objects, each once", rows.objects);
            gauge(registry, "lfs_objects_bytes", "Size of large objects", rows.objects_bytes);
            gauge(registry, "webhook_waiting", "Deliveries of webhooks that wait", rows.webhooks_waiting);
            gauge(registry, "lfs_uploads_open", "Batches that may still bring something", rows.uploads_open);
        }
        self.lfs.register(registry);
        self.webhooks.register(registry);
        gauge(
            registry,
            "process_resident_bytes",
            "Resident memory, mapped files included",
            process.resident_bytes,
        );
        gauge(
            registry,
            "process_resident_anon_bytes",
            "Resident memory without mapped files",
            process.anon_bytes,
        );
        counter(registry, "process_cpu_seconds", "CPU time of user and system", process.cpu_seconds);
    }
}

impl Lfs {
    pub fn new(counters: &lfs::Counters) -> Lfs {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Lfs {
            bytes_in: read(&counters.bytes_in),
            bytes_out: read(&counters.bytes_out),
            read_back_bytes: read(&counters.read_back_bytes),
            objects_published: read(&counters.objects_published),
            objects_corrupt: read(&counters.objects_corrupt),
            wholes_made: read(&counters.wholes_made),
            presigned: [
                ("download", read(&counters.presigned_download)),
                ("upload", read(&counters.presigned_upload)),
                ("part", read(&counters.presigned_part)),
            ],
        }
    }

    fn register(&self, registry: &mut Registry) {
        for (name, help, value) in [
            ("lfs_bytes_in", "Object bytes received", self.bytes_in),
            ("lfs_bytes_out", "Object bytes asked for from this server itself", self.bytes_out),
            ("lfs_read_back_bytes", "Bytes read from storage to prove them", self.read_back_bytes),
            ("lfs_objects_published", "Objects that became readable", self.objects_published),
            ("lfs_objects_corrupt", "Objects whose bytes proved to be others", self.objects_corrupt),
            ("xet_wholes", "Files in chunks that were stored as one object besides", self.wholes_made),
        ] {
            counter(registry, name, help, value as f64);
        }
        let presigned: Family<Operation, Counter> = Family::default();
        for (operation, count) in self.presigned.into_iter().filter(|(operation, _)| !operation.is_empty()) {
            presigned.get_or_create(&Operation { operation }).inc_by(count);
        }
        registry.register("lfs_presigned", "URLs of the bucket handed out", presigned);
    }
}

impl Webhooks {
    pub fn new(counters: &webhooks::Counters) -> Webhooks {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Webhooks {
            delivered: read(&counters.delivered),
            failed: read(&counters.failed),
            given_up: read(&counters.given_up),
            withheld: read(&counters.withheld),
            suspended: read(&counters.suspended),
        }
    }

    fn register(&self, registry: &mut Registry) {
        for (name, help, value) in [
            ("webhook_delivered", "Deliveries that webhooks took", self.delivered),
            ("webhook_failed", "Attempts to deliver to webhooks that failed", self.failed),
            ("webhook_given_up", "Deliveries to webhooks that were given up", self.given_up),
            (
                "webhook_withheld",
                "Events that the webhook's owner may not see, or that are gone",
                self.withheld,
            ),
            ("webhook_suspended", "Webhooks suspended after failures", self.suspended),
        ] {
            counter(registry, name, help, value as f64);
        }
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    registry.register_collector(Box::new(Value {
        name: name.to_owned(),
        help: help.to_owned(),
        metric: ConstGauge::new(value),
    }));
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: f64) {
    registry.register_collector(Box::new(Value {
        name: name.to_owned(),
        help: help.to_owned(),
        metric: ConstCounter::new(value),
    }));
}

/// A metric whose value is known already.
struct Value<M> {
    name: String,
    help: String,
    metric: M,
}

impl<M> fmt::Debug for Value<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<M: EncodeMetric + Send + Sync + 'static> prometheus_client::collector::Collector for Value<M> {
    fn encode(&self, mut encoder: prometheus_client::encoding::DescriptorEncoder<'_>) -> fmt::Result {
        let metric = encoder.encode_descriptor(&self.name, &self.help, None, self.metric.metric_type())?;
        self.metric.encode(metric)
    }
}

/// What the kernel says of this process; zeros where there is no /proc.
#[derive(Debug, Default)]
struct Process {
    resident_bytes: u64,
    anon_bytes: u64,
    cpu_seconds: f64,
}

impl Process {
    fn read() -> Process {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let bytes = |key| kib(key).unwrap_or(0) * 1024;
        Process { resident_bytes: bytes("VmRSS:"), anon_bytes: bytes("RssAnon:"), cpu_seconds: cpu_seconds() }
    }
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_what_was_counted_and_what_is_read() {
        let metrics = Metrics::new();
        let duration = Duration::from_millis(3);
        metrics.request(&Ended {
            route: "git.upload-pack",
            method: "POST",
            status: 200,
            duration,
            received: 10,
            sent: 2000,
        });
        metrics.push(PushResult::Accepted);
        metrics.in_flight.inc();
        let counters = lfs::Counters::default();
        counters.bytes_in.store(5 << 40, Ordering::Relaxed);
        counters.presigned_part.store(3, Ordering::Relaxed);
        let sent = webhooks::Counters::default();
        sent.delivered.store(12, Ordering::Relaxed);
        let (lfs, webhooks) = (Lfs::new(&counters), Webhooks::new(&sent));
        let reading = Reading { staging_bytes: 77, lfs, webhooks, ..Reading::default() };
        let page = metrics.render(&reading).unwrap();
        for line in [
            "granary_http_requests_total{route=\"git.upload-pack\",method=\"POST\",status=\"200\"} 1",
            "granary_http_request_duration_seconds_bucket{le=\"0.005\",route=\"git.upload-pack\"} 1",
            "granary_http_received_bytes_total{route=\"git.upload-pack\"} 10",
            "granary_http_sent_bytes_total{route=\"git.upload-pack\"} 2000",
            "granary_http_requests_in_flight 1",
            "granary_pushes_total{result=\"accepted\"} 1",
            "granary_staging_bytes 77",
            "granary_lfs_bytes_in_total 5497558138880.0",
            "granary_lfs_presigned_total{operation=\"part\"} 3",
            "granary_webhook_delivered_total 12.0",
        ] {
            assert!(page.lines().any(|got| got == line), "{line} is not in\n{page}");
        }
        assert_eq!(page.matches(END).count(), 1);
        assert!(page.ends_with(END));
        let rss = page.lines().find_map(|line| line.strip_prefix("granary_process_resident_bytes "));
        assert!(rss.unwrap().parse::<u64>().unwrap() > 1 << 20);
        assert!(!page.contains("granary_users"), "the database was not read");
    }
}
