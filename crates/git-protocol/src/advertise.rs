//! The answer to `GET info/refs`: what the server can do, and in v0 and v1 the refs.

use bytes::Bytes;
use database::{Oid, RefRow};
use repository::Snapshot;

use crate::{Service, Version, pktline};

/// What an advertisement says beside the refs.
#[derive(Clone, Copy, Debug)]
pub struct AdvertiseOptions<'a> {
    /// Name and version without spaces, such as `granary/1.2`.
    pub agent: &'a str,
    /// Ties the requests of one client run together in traces of both sides. No spaces.
    pub session_id: Option<&'a str>,
}

/// Refs of pull requests.
pub(crate) const PULL_REQUESTS: &str = "refs/pr/";
const CONVERTED: &str = "refs/convert/";

const UPLOAD_PACK: &str = "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not \
     deepen-relative no-progress include-tag multi_ack_detailed allow-tip-sha1-in-want \
     allow-reachable-sha1-in-want no-done";
const RECEIVE_PACK: &str =
    "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options";

/// The complete body of `GET info/refs?service=…`.
///
/// v2 of upload-pack names capabilities only. v0 and v1 show the refs:
/// * upload-pack hides `refs/pr/*`, so that a plain clone does not fetch every pull request;
/// * receive-pack shows `refs/pr/*`, since a client can only move a ref whose old value it was told, and hides
///   `refs/convert/*`, which nobody pushes. Of a mirror it shows everything: a ref it did not show, `git push
///   --mirror` would try to create again each time. In other repositories `--mirror` and `--prune` may ask for the
///   deletion of a pull request's ref; policy refuses that ref alone.
///
/// There is no v2 of pushing: receive-pack answers a v2 client in v0, yet without the `# service=` line, as
/// `git http-backend` does.
pub fn advertise(
    service: Service,
    version: Version,
    snapshot: &Snapshot,
    options: &AdvertiseOptions<'_>,
) -> Bytes {
    let mut out = Vec::with_capacity(512 + snapshot.refs().len() * 64);
    if version != Version::V2 {
        pktline::text(&mut out, &format!("# service={}", service.name()));
        out.extend_from_slice(pktline::FLUSH);
    }
    match (service, version) {
        (Service::UploadPack, Version::V2) => capabilities_v2(&mut out, options),
        (_, Version::V1) => {
            pktline::text(&mut out, "version 1");
            refs(&mut out, service, snapshot, options);
        }
        _ => refs(&mut out, service, snapshot, options),
    }
    out.extend_from_slice(pktline::FLUSH);
    out.into()
}

fn capabilities_v2(out: &mut Vec<u8>, options: &AdvertiseOptions<'_>) {
    pktline::text(out, "version 2");
    pktline::text(out, &format!("agent={}", options.agent));
    for line in [
        "ls-refs=unborn",
        "fetch=shallow wait-for-done filter ref-in-want",
        "server-option",
        "object-format=sha1",
    ] {
        pktline::text(out, line);
    }
    if let Some(id) = options.session_id {
        pktline::text(out, &format!("session-id={id}"));
    }
}

fn refs(out: &mut Vec<u8>, service: Service, snapshot: &Snapshot, options: &AdvertiseOptions<'_>) {
    let fetching = service == Service::UploadPack;
    let head = snapshot.head_target().filter(|_| fetching);
    let mut lines =
        Lines { out, capabilities: Some(capabilities_v0(service, snapshot, options)), peel: fetching };
    if let Some(target) = head {
        lines.show("HEAD", target);
    }
    let mirror = snapshot.repo().mirror;
    let shown = |name: &str| match service {
        Service::UploadPack => !name.starts_with(PULL_REQUESTS),
        Service::ReceivePack => mirror || !name.starts_with(CONVERTED),
    };
    for row in snapshot.refs().iter().filter(|row| shown(&row.name)) {
        lines.show(&row.name, row);
    }
    lines.finish();
}

fn capabilities_v0(service: Service, snapshot: &Snapshot, options: &AdvertiseOptions<'_>) -> String {
    let mut list = match service {
        Service::UploadPack => UPLOAD_PACK.to_owned(),
        Service::ReceivePack => RECEIVE_PACK.to_owned(),
    };
    if service == Service::UploadPack {
        if let Some(target) = snapshot.head_target() {
            list += &format!(" symref=HEAD:{}", target.name);
        }
        list += " filter";
    }
    if let Some(id) = options.session_id {
        list += &format!(" session-id={id}");
    }
    list + &format!(" object-format=sha1 agent={}", options.agent)
}

/// Ref lines, of which the first carries the capabilities.
struct Lines<'a> {
    out: &'a mut Vec<u8>,
    capabilities: Option<String>,
    peel: bool,
}

impl Lines<'_> {
    fn show(&mut self, name: &str, row: &RefRow) {
        self.line(row.oid, name, "");
        if let Some(peeled) = row.peeled.filter(|_| self.peel) {
            self.line(peeled, name, "^{}");
        }
    }

    /// A repository without refs still has to say what it can do.
    fn finish(mut self) {
        if self.capabilities.is_some() {
            self.line(Oid::NULL, "capabilities", "^{}");
        }
    }

    fn line(&mut self, oid: Oid, name: &str, suffix: &str) {
        let start = pktline::begin(self.out);
        self.out.extend_from_slice(&oid.to_hex());
        self.out.push(b' ');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        if let Some(capabilities) = self.capabilities.take() {
            self.out.push(0);
            self.out.extend_from_slice(capabilities.as_bytes());
        }
        self.out.push(b'\n');
        pktline::end(self.out, start);
    }
}
