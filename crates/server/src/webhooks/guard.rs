//! Which addresses a webhook may be sent to. Whoever makes webhooks chooses where this server connects to, from within its
//! own network: so a name is resolved here, every address behind it is judged, and the connection goes to one that was.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use http::Uri;

use crate::config::{Allowed, Config};

/// Where a webhook goes, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub is_tls: bool,
    /// In lower case, an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    /// `host[:port]`, as it was written.
    pub authority: String,
    /// From the path on.
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the url of a webhook is http://HOST[:PORT]/… or https://…")]
    Form,
    #[error("the url of a webhook names no user or password: give a secret, which is sent in a header")]
    Userinfo,
    #[error(
        "the webhook's target {host} is at {what}, which this hub does not call; its administrator can allow that by \
         webhooks.allow or webhooks.allow_private"
    )]
    Private { host: String, what: &'static str },
    #[error("the webhook's target {host} is at {what}, where nobody is called")]
    Never { host: String, what: &'static str },
    #[error("the webhook's target {0} is this hub itself")]
    Own(String),
    #[error("the webhook's target {0} is not found: its name has no address")]
    Unknown(String),
}

/// What is refused and what is not.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    allow_private: bool,
    allow: Vec<Allowed>,
    /// Where this server listens.
    own: Vec<SocketAddr>,
    /// How others reach it: host and port.
    own_name: Option<(String, u16)>,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Target, Refused> {
        let uri: Uri = url.parse().map_err(|_| Refused::Form)?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(Refused::Form),
        };
        let authority = uri.authority().ok_or(Refused::Form)?;
        if authority.as_str().contains('@') {
            return Err(Refused::Userinfo);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        // A port that is no number is none to `http`, and one after a colon alone is empty.
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(0) => return Err(Refused::Form),
            Some(port) => port,
            None if has_port => return Err(Refused::Form),
            None if is_tls => 443,
            None => 80,
        };
        if host.is_empty() || url.contains('#') {
            return Err(Refused::Form);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Target { is_tls, host, port, authority: authority.as_str().to_owned(), path })
    }
}

impl Guard {
    pub(crate) fn new(config: &Config) -> Guard {
        let own = std::iter::once(config.server.listen).chain(config.server.metrics_listen).collect();
        let own_name = config.server.public_url.as_ref();
        let own_name =
            own_name.and_then(|url| Target::parse(url.as_str()).ok()).map(|own| (own.host, own.port));
        Guard {
            allow_private: config.webhooks.allow_private,
            allow: config.webhooks.allow.clone(),
            own,
            own_name,
        }
    }

    /// The addresses to connect to, in order: every one that the name has, and each of them allowed.
    pub(crate) async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, Refused> {
        let unknown = || Refused::Unknown(target.host.clone());
        let found = match target.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, target.port)],
            // What only looks like an address, such as 0x7f.1, is what the resolver makes of it, and judged like any other.
            Err(_) => {
                let name = (target.host.as_str(), target.port);
                tokio::net::lookup_host(name).await.map_err(|_| unknown())?.take(ADDRESSES_MAX).collect()
            }
        };
        if found.is_empty() {
            return Err(unknown());
        }
        for address in &found {
            self.judge(&target.host, *address)?;
        }
        Ok(found)
    }

    /// `host` is the name that this is the address of.
    fn judge(&self, host: &str, address: SocketAddr) -> Result<(), Refused> {
        let ip = address.ip().to_canonical();
        let named_own =
            self.own_name.as_ref().is_some_and(|(own, port)| own == host && *port == address.port());
        if named_own || self.own.iter().any(|own| is_at(*own, ip, address.port())) {
            return Err(Refused::Own(host.to_owned()));
        }
        let allowed = self.allow.iter().any(|allowed| allowed.covers(host, ip));
        let host = host.to_owned();
        match class(ip) {
            Class::Never(what) => Err(Refused::Never { host, what }),
            Class::Public => Ok(()),
            _ if allowed => Ok(()),
            Class::Private(_) if self.allow_private => Ok(()),
            Class::Private(what) | Class::Local(what) => Err(Refused::Private { host, what }),
        }
    }
}

/// Of one name.
const ADDRESSES_MAX: usize = 16;

/// Whether a connection to this address would reach the listener.
fn is_at(listener: SocketAddr, ip: IpAddr, port: u16) -> bool {
    let listens = listener.ip().to_canonical();
    // The machine's own addresses are those that can be bound.
    let here = || listens.is_unspecified() && UdpSocket::bind((ip, 0)).is_ok();
    listener.port() == port && (listens == ip || here())
}

/// What an address is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Public,
    /// Of this machine or its network: `allow_private`, or a line of `allow`.
    Private(&'static str),
    /// Where clouds keep the credentials of machines: a line of `allow` only.
    Local(&'static str),
    /// No single machine.
    Never(&'static str),
}

const PRIVATE: Class = Class::Private("a private address");
const LOOPBACK: Class = Class::Private("an address of the hub's own machine");
const RESERVED: Class = Class::Private("an address that is reserved");
const LINK_LOCAL: Class = Class::Local("a link-local address");
const UNSPECIFIED: Class = Class::Never("no address");
const MULTICAST: Class = Class::Never("a multicast address");

fn class(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    }
}

/// By the registry of special addresses (RFC 6890 and what followed).
fn class_v4(ip: Ipv4Addr) -> Class {
    match ip.octets() {
        [0, ..] => UNSPECIFIED,
        [127, ..] => LOOPBACK,
        [169, 254, ..] => LINK_LOCAL,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => PRIVATE,
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            RESERVED
        }
        [224..=239, ..] | [255, 255, 255, 255] => MULTICAST,
        [240..=255, ..] => RESERVED,
        _ => Class::Public,
    }
}

/// Where an IPv4 address is within, that one counts too.
fn class_v6(ip: Ipv6Addr) -> Class {
    let segments = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let [_, b, c, _, e, f, g, h] = segments;
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => UNSPECIFIED,
        [0, 0, 0, 0, 0, 0, 0, 1] => LOOPBACK,
        // Compatible, mapped, translated: all stand for one of IPv4.
        [0, 0, 0, 0, 0 | 0xffff, 0 | 0xffff, ..] => class_v4(v4(g, h)),
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => class_v4(v4(g, h)),
        [0xff00..=0xffff, ..] => MULTICAST,
        [0xfe80..=0xfebf, ..] => LINK_LOCAL,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => PRIVATE,
        // 6to4.
        [0x2002, ..] => class_v4(v4(b, c)),
        // Teredo, whose clients have their address inverted; the rest of 2001::/23; documentation.
        [0x2001, 0, ..] => most_private(class_v4(v4(!g, !h)), RESERVED),
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => RESERVED,
        // ISATAP.
        [0x2000..=0x3fff, ..] if (e & !0x200, f) == (0, 0x5efe) => class_v4(v4(g, h)),
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => RESERVED,
    }
}

fn most_private(one: Class, other: Class) -> Class {
    match one {
        Class::Public | Class::Private(_) => other,
        worse => worse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn urls() {
        let target = Target::parse("https://CI.example:8443/hook?x=1").unwrap();
        assert_eq!((target.is_tls, target.host.as_str(), target.port), (true, "ci.example", 8443));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("CI.example:8443", "/hook?x=1"));
        let target = Target::parse("http://[2001:db8::1]").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("2001:db8::1", 80, "/"));
        assert_eq!(Target::parse("https://a").unwrap().port, 443);
        for bad in [
            "",
            "ci",
            "/hook",
            "ftp://ci/",
            "file:///etc/passwd",
            "gopher://ci",
            "http://",
            "http:///x",
            "http://ci:0/",
            "http://ci:99999/",
            "http://ci:x/",
            "http://ci:/",
            "http://ci /",
            "http://ci/#x",
            "javascript:alert(1)",
            "http://ci/\r\nX: 1",
            "unix:/run/control.sock",
            "//ci/x",
        ] {
            assert_eq!(Target::parse(bad), Err(Refused::Form), "{bad:?}");
        }
        assert_eq!(Target::parse("http://u:p@ci/"), Err(Refused::Userinfo));
        assert_eq!(Target::parse("http://safe.example@127.0.0.1/"), Err(Refused::Userinfo));
    }

    #[test]
    fn classes_of_addresses() {
        for (address, expected) in [
            ("8.8.8.8", Class::Public),
            ("1.1.1.1", Class::Public),
            ("172.15.0.1", Class::Public),
            ("172.32.0.1", Class::Public),
            ("100.63.0.1", Class::Public),
            ("2606:4700::1111", Class::Public),
            ("2a00:1450:4001:80b::200e", Class::Public),
            ("0.0.0.0", UNSPECIFIED),
            ("0.1.2.3", UNSPECIFIED),
            ("127.0.0.1", LOOPBACK),
            ("127.255.255.254", LOOPBACK),
            ("10.0.0.1", PRIVATE),
            ("172.16.0.1", PRIVATE),
            ("172.31.255.255", PRIVATE),
            ("192.168.1.1", PRIVATE),
            ("100.64.0.1", PRIVATE),
            ("100.127.255.255", PRIVATE),
            ("169.254.169.254", LINK_LOCAL),
            ("169.254.0.1", LINK_LOCAL),
            ("192.0.0.8", RESERVED),
            ("192.0.2.1", RESERVED),
            ("192.88.99.1", RESERVED),
            ("198.18.0.1", RESERVED),
            ("198.51.100.7", RESERVED),
            ("203.0.113.9", RESERVED),
            ("240.0.0.1", RESERVED),
            ("224.0.0.1", MULTICAST),
            ("239.255.255.255", MULTICAST),
            ("255.255.255.255", MULTICAST),
            ("::", UNSPECIFIED),
            ("::1", LOOPBACK),
            ("::ffff:127.0.0.1", LOOPBACK),
            ("::ffff:10.0.0.1", PRIVATE),
            ("::ffff:169.254.169.254", LINK_LOCAL),
            ("::ffff:8.8.8.8", Class::Public),
            ("::127.0.0.1", LOOPBACK),
            ("::ffff:0:127.0.0.1", LOOPBACK),
            ("64:ff9b::127.0.0.1", LOOPBACK),
            ("64:ff9b::169.254.169.254", LINK_LOCAL),
            ("64:ff9b::8.8.8.8", Class::Public),
            ("64:ff9b:1::8.8.8.8", RESERVED),
            ("2002:7f00:1::", LOOPBACK),
            ("2002:a9fe:a9fe::1", LINK_LOCAL),
            ("2002:a00:1::", PRIVATE),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", RESERVED),
            ("2001:0:4136:e378:8000:63bf:5601:5601", LINK_LOCAL),
            ("2001:db8::1", RESERVED),
            ("2001:10::1", RESERVED),
            ("3fff::1", RESERVED),
            ("fc00::1", PRIVATE),
            ("fd00:ec2::254", PRIVATE),
            ("fec0::1", PRIVATE),
            ("fe80::1", LINK_LOCAL),
            ("ff02::1", MULTICAST),
            ("100::1", RESERVED),
            ("5f00::1", RESERVED),
            ("2606:4700::5efe:7f00:1", LOOPBACK),
            ("2606:4700::200:5efe:a00:1", PRIVATE),
        ] {
            assert_eq!(class(ip(address).to_canonical()), expected, "{address}");
            assert_eq!(class(ip(address)), expected, "{address} as it is written");
        }
    }

    fn guard(allow_private: bool, allow: &[&str]) -> Guard {
        let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
        let own = vec!["127.0.0.1:8080".parse().unwrap(), "0.0.0.0:9090".parse().unwrap()];
        Guard { allow_private, allow, own, own_name: Some(("hub.example".to_owned(), 443)) }
    }

    fn judged(guard: &Guard, host: &str, address: &str) -> Result<(), Refused> {
        guard.judge(host, address.parse().unwrap())
    }

    #[test]
    fn what_is_allowed() {
        let (strict, open) = (guard(false, &[]), guard(true, &[]));
        let listed = guard(false, &["10.1.0.0/16", "ci.corp", "169.254.7.7"]);
        assert_eq!(judged(&strict, "x", "8.8.8.8:80"), Ok(()));
        for address in ["10.1.2.3:80", "127.0.0.1:80", "[fd00::1]:80", "[::ffff:10.1.2.3]:80"] {
            assert!(matches!(judged(&strict, "x", address), Err(Refused::Private { .. })), "{address}");
            assert_eq!(judged(&open, "x", address), Ok(()), "{address}");
        }
        for address in ["169.254.169.254:80", "[fe80::1]:80", "[::ffff:169.254.169.254]:80"] {
            assert!(matches!(judged(&open, "x", address), Err(Refused::Private { .. })), "{address}");
        }
        for address in ["0.0.0.0:80", "224.0.0.1:80", "[ff02::1]:80", "[::]:80"] {
            assert!(matches!(judged(&open, "ci.corp", address), Err(Refused::Never { .. })), "{address}");
            assert!(matches!(judged(&listed, "ci.corp", address), Err(Refused::Never { .. })), "{address}");
        }
        assert_eq!(judged(&listed, "x", "10.1.2.3:80"), Ok(()));
        assert_eq!(judged(&listed, "x", "[::ffff:10.1.2.3]:80"), Ok(()));
        assert!(judged(&listed, "x", "10.2.2.3:80").is_err());
        assert_eq!(judged(&listed, "ci.corp", "192.168.0.9:80"), Ok(()));
        assert!(judged(&listed, "other.corp", "192.168.0.9:80").is_err());
        assert_eq!(judged(&listed, "x", "169.254.7.7:80"), Ok(()));
        let text = judged(&strict, "ci", "10.1.2.3:80").unwrap_err().to_string();
        assert!(text.contains("webhooks.allow_private") && !text.contains("10.1.2.3"), "{text}");
    }

    #[test]
    fn never_itself() {
        let open = guard(true, &["127.0.0.0/8"]);
        for address in ["127.0.0.1:8080", "[::ffff:127.0.0.1]:8080", "127.0.0.1:9090", "127.0.0.9:9090"] {
            assert!(matches!(judged(&open, "x", address), Err(Refused::Own(_))), "{address}");
        }
        assert!(matches!(judged(&open, "hub.example", "8.8.8.8:443"), Err(Refused::Own(_))));
        assert_eq!(judged(&open, "x", "127.0.0.1:8081"), Ok(()));
        assert_eq!(judged(&open, "x", "8.8.8.8:9090"), Ok(()), "another machine's port");
    }

    #[tokio::test]
    async fn names_are_judged_by_their_addresses() {
        let resolve = async |url: &str| guard(false, &[]).resolve(&Target::parse(url).unwrap()).await;
        assert!(matches!(resolve("http://localhost/").await, Err(Refused::Private { .. })));
        assert!(matches!(resolve("http://127.1/").await, Err(Refused::Private { .. } | Refused::Unknown(_))));
        assert!(matches!(
            resolve("http://0x7f000001/").await,
            Err(Refused::Private { .. } | Refused::Unknown(_))
        ));
        assert!(matches!(resolve("http://[::ffff:7f00:1]/").await, Err(Refused::Private { .. })));
        assert!(matches!(resolve("http://nothing.invalid/").await, Err(Refused::Unknown(_))));
        assert_eq!(resolve("http://8.8.8.8:81/").await.unwrap(), ["8.8.8.8:81".parse().unwrap()]);
    }
}
