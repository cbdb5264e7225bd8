//! `granary doctor`: is this place fit to run in, and what is in force.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use database::Clock;
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Size};
use crate::datadir::database_path;
use crate::error::chain;
use crate::node::Node;
use crate::operations::timestamp;
use crate::place;

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// All settings in force, defaults included, as TOML.
    pub settings: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub about: String,
    pub verdict: Verdict,
    pub says: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Good,
    /// Works, but look at it.
    Warning,
    Bad,
}

/// Before the capabilities that a bucket has.
const MARK: &str = "yes ";
const EXAMINE_WITHIN: Duration = Duration::from_secs(60);

/// Of a directory that is open: by the server, or by this command. A bucket is tried.
pub async fn of_node(node: &Node) -> Report {
    let mut report = of_directory(node.data_dir().path(), &node.config);
    let schema =
        format!("version {}, SQLite {}", node.database.schema_version(), node.database.sqlite_version());
    report.good("schema", schema);
    report.clock_offset(node.clock().offset_ms());
    report.large_objects(node).await;
    report
}

/// What can be said without opening the database; also when that fails.
pub fn of_directory(data_dir: &Path, config: &Config) -> Report {
    let mut report = Report { settings: toml::to_string(config).unwrap_or_default(), ..Report::default() };
    report.good("version", format!("granary {}", env!("CARGO_PKG_VERSION")));
    report.directory(data_dir);
    report.file_system(data_dir, config.storage.min_free);
    report.clock(data_dir);
    report.open_files(config.server.max_connections.get());
    report.reachable(config);
    report
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict != Verdict::Bad)
    }

    pub fn good(&mut self, about: &str, says: impl Into<String>) {
        self.add(about, Verdict::Good, says);
    }

    pub fn warn(&mut self, about: &str, says: impl Into<String>) {
        self.add(about, Verdict::Warning, says);
    }

    pub fn bad(&mut self, about: &str, says: impl Into<String>) {
        self.add(about, Verdict::Bad, says);
    }

    fn add(&mut self, about: &str, verdict: Verdict, says: impl Into<String>) {
        self.findings.push(Finding { about: about.to_owned(), verdict, says: says.into() });
    }

    fn directory(&mut self, data_dir: &Path) {
        let about = "data directory";
        let path = data_dir.display();
        match fs::metadata(data_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.bad(about, format!("{path} does not exist; `granary serve` creates it"));
            }
            Err(error) => self.bad(about, format!("{path}: {error}")),
            Ok(metadata) if !metadata.is_dir() => self.bad(about, format!("{path} is not a directory")),
            Ok(metadata) => match metadata.permissions().mode() & 0o777 {
                0o700 => self.good(about, format!("{path}")),
                mode => {
                    self.warn(about, format!("{path} is open to others (mode {mode:o}); chmod 700 closes it"))
                }
            },
        }
    }

    fn file_system(&mut self, data_dir: &Path, min_free: Size) {
        let Ok(stat) = rustix::fs::statfs(data_dir) else { return };
        match stat.f_type as u64 & 0xffff_ffff {
            0x0102_1994 => self.warn("file system", "tmpfs: everything is lost at the next reboot"),
            0x794c_7630 => {
                self.warn("file system", "overlayfs: in a container, put the data directory on a volume");
            }
            0xef53 => self.good("file system", "ext4"),
            0x5846_5342 => self.good("file system", "xfs"),
            0x9123_683e => self.good("file system", "btrfs"),
            0x2fc1_2fc1 => self.good("file system", "zfs"),
            other => self.good("file system", format!("type {other:#x}")),
        }
        let Ok(stat) = rustix::fs::statvfs(data_dir) else { return };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let says = format!("{} MiB; writes are refused below {min_free} (storage.min_free)", free >> 20);
        if free < min_free.bytes() {
            self.bad("free space", says);
        } else if free < min_free.bytes().saturating_mul(2) {
            self.warn("free space", says);
        } else {
            self.good("free space", says);
        }
    }

    async fn large_objects(&mut self, node: &Node) {
        let about = "large objects";
        let store = node.objects.store();
        self.good(about, store.describe());
        let examined = tokio::time::timeout(EXAMINE_WITHIN, place::examine(&node.objects)).await;
        match examined {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(capabilities))) => {
                for line in capabilities.to_string().lines() {
                    self.add("bucket", verdict(line), &line[MARK.len()..]);
                }
            }
            Ok(Err(error)) => self.bad("bucket", chain(&error)),
            Err(_) => self.bad("bucket", format!("no answer within {} s", EXAMINE_WITHIN.as_secs())),
        }
    }

    /// A clock that went back makes what is old look new: retention and expiry count from it.
    fn clock(&mut self, data_dir: &Path) {
        /// Before this program was written.
        const PAST_MS: i64 = 1_767_225_600_000;
        const SLACK_MS: i64 = 5000;
        let now_ms = Clock::default().now_ms();
        let database = database_path(data_dir);
        let written = [database.with_extension("db-wal"), database];
        let last_ms = written.iter().filter_map(|path| modified_ms(path)).max().unwrap_or_default();
        if now_ms < PAST_MS {
            self.bad("clock", format!("{} is long past; set it, or let NTP do so", timestamp(now_ms)));
        } else if last_ms - now_ms > SLACK_MS {
            let says = format!("the last write is {} s ahead of it: it went back", (last_ms - now_ms) / 1000);
            self.bad("clock", says);
        } else {
            self.good("clock", timestamp(now_ms));
        }
    }

    fn clock_offset(&mut self, offset_ms: i64) {
        if offset_ms != 0 {
            let says =
                format!("moved by {} s (`granary debug clock`) until the next restart", offset_ms / 1000);
            self.warn("debug clock", says);
        }
    }

    /// Each connection takes one descriptor, its answer perhaps another.
    fn open_files(&mut self, connections: usize) {
        let limit = getrlimit(Resource::Nofile).maximum;
        let needed = 2 * connections as u64 + 256;
        let says = |limit: &str| format!("{limit} allowed, up to {needed} needed (server.max_connections)");
        match limit {
            Some(limit) if limit < needed => self.warn("open files", says(&limit.to_string())),
            Some(limit) => self.good("open files", says(&limit.to_string())),
            None => self.good("open files", says("any number")),
        }
    }

    fn reachable(&mut self, config: &Config) {
        let listen = config.server.listen;
        match &config.server.public_url {
            Some(url) => self.good("address", format!("{url}, listening on {listen}")),
            None if listen.ip().is_loopback() => {
                self.good("address", format!("{listen}: reachable from this machine only"));
            }
            None => self.warn("address", format!("{listen}; set server.public_url to what clients use")),
        }
    }
}

/// Of a line about a bucket. What it does not enforce, Granary does by other means; but a wrong clock it cannot mend, nor
/// a bucket that is open to everybody.
fn verdict(line: &str) -> Verdict {
    match line.strip_prefix("no  ").and_then(|says| says.split_once(':')) {
        Some(("OPEN FOR WRITING", _)) => Verdict::Bad,
        Some(("open for reading" | "clock", _)) => Verdict::Warning,
        _ => Verdict::Good,
    }
}

fn modified_ms(path: &Path) -> Option<i64> {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    let since_epoch = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since_epoch.as_millis()).ok()
}

/// Without a newline at its end.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = match finding.verdict {
                Verdict::Good => "ok  ",
                Verdict::Warning => "WARN",
                Verdict::Bad => "BAD ",
            };
            writeln!(f, "{mark} {}: {}", finding.about, finding.says)?;
        }
        write!(f, "\nSettings in force:\n\n{}", self.settings.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use storage::Capabilities;

    use super::*;

    #[test]
    fn an_open_bucket_is_bad_and_a_weak_one_is_not() {
        let verdicts = |capabilities: &Capabilities| {
            capabilities.to_string().lines().map(super::verdict).collect::<Vec<_>>()
        };
        let weak = Capabilities { clock_skew_s: 100, ..Capabilities::default() };
        assert_eq!(verdicts(&weak), [&[Verdict::Good; 9][..], &[Verdict::Warning]].concat());
        let open = Capabilities { open_to_write: true, open_to_read: true, ..Capabilities::default() };
        let last = [Verdict::Bad, Verdict::Warning, Verdict::Good];
        assert_eq!(verdicts(&open), [&[Verdict::Good; 9][..], &last].concat());
    }

    fn verdict(report: &Report, about: &str) -> Option<Verdict> {
        report.findings.iter().find(|finding| finding.about == about).map(|finding| finding.verdict)
    }

    #[test]
    fn a_missing_directory_is_bad_and_an_open_one_suspicious() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let report = of_directory(&path, &Config::default());
        assert!(!report.is_good());
        assert_eq!(verdict(&report, "data directory"), Some(Verdict::Bad));

        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let report = of_directory(&path, &Config::default());
        assert_eq!(verdict(&report, "data directory"), Some(Verdict::Warning));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(verdict(&of_directory(&path, &Config::default()), "data directory"), Some(Verdict::Good));
    }

    #[test]
    fn too_little_space_is_bad() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.storage.min_free = Size(i64::MAX as u64);
        assert_eq!(verdict(&of_directory(directory.path(), &config), "free space"), Some(Verdict::Bad));
    }

    #[test]
    fn a_clock_that_went_back_is_bad() {
        let directory = tempfile::tempdir().unwrap();
        let database = fs::File::create(database_path(directory.path())).unwrap();
        assert_eq!(
            verdict(&of_directory(directory.path(), &Config::default()), "clock"),
            Some(Verdict::Good)
        );
        let in_an_hour = Duration::from_millis(Clock::default().now_ms() as u64 + 3_600_000);
        database.set_modified(SystemTime::UNIX_EPOCH + in_an_hour).unwrap();
        assert_eq!(verdict(&of_directory(directory.path(), &Config::default()), "clock"), Some(Verdict::Bad));
    }
}
