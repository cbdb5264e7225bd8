//! Under which address clients reach this server.

use std::net::IpAddr;

use http::{HeaderMap, header};

use crate::config::Config;

const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client(pub IpAddr);

/// The one that the proxy in front of us met, if there is one: it is the last in the list, what stands before is hearsay.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap) -> Client {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back();
    let last = last.and_then(|list| list.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    Client(last.unwrap_or(peer))
}

/// `scheme://host[:port]`: `server.public_url`, else what a proxy says it was asked for, else what the request was sent
/// to.
pub(crate) fn base_url(config: &Config, headers: &HeaderMap) -> String {
    if let Some(url) = &config.server.public_url {
        return url.as_str().to_owned();
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // Of several proxies, the first in the list is the one that the client met.
    let first = |name| text(name).and_then(|list| list.split(',').next()).map(str::trim);
    let is_https = first(FORWARDED_PROTO).is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    let scheme = if is_https { "https" } else { "http" };
    let listen = config.server.listen.to_string();
    let named = first(FORWARDED_HOST).filter(|host| is_host(host));
    let host = named.or_else(|| text(header::HOST.as_str()).filter(|host| is_host(host))).unwrap_or(&listen);
    format!("{scheme}://{host}")
}

/// Of a request that came from no proxy.
pub(crate) fn forget_proxies(headers: &mut HeaderMap) {
    headers.remove(FORWARDED_PROTO);
    headers.remove(FORWARDED_HOST);
    headers.remove(FORWARDED_FOR);
}

/// What may stand in a page or an address as it is: a name or address and a port.
fn is_host(host: &str) -> bool {
    let characters = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !host.is_empty() && host.len() <= 255 && host.bytes().all(characters)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn where_a_request_came_from() {
        let (peer, mut headers) = ("10.0.0.1".parse().unwrap(), HeaderMap::new());
        assert_eq!(client(peer, &headers), Client(peer));
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("1.1.1.1, 192.0.2.7"));
        assert_eq!(client(peer, &headers), Client("192.0.2.7".parse().unwrap()));
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("unknown"));
        assert_eq!(client(peer, &headers), Client(peer));
    }

    #[test]
    fn hosts_that_may_stand_in_a_page() {
        for good in ["hub", "hub.example.org:8080", "127.0.0.1:80", "[::1]:8080"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "<script>", "a b", "a/b", "a\"b", "hub'", "é", &"a".repeat(256)] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        let url = |config: &Config, headers: &[(&'static str, &'static str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
                .collect();
            base_url(config, &headers)
        };
        let mut config = Config::default();
        assert_eq!(url(&config, &[]), "http://127.0.0.1:8080");
        assert_eq!(url(&config, &[("host", "hub:1")]), "http://hub:1");
        assert_eq!(url(&config, &[("host", "hub/x")]), "http://127.0.0.1:8080");
        assert_eq!(url(&config, &[("host", "hub"), ("x-forwarded-proto", "https")]), "https://hub");
        assert_eq!(url(&config, &[("host", "hub"), ("x-forwarded-proto", "HTTPS, http")]), "https://hub");
        assert_eq!(url(&config, &[("host", "hub"), ("x-forwarded-proto", "ftp")]), "http://hub");
        let proxied =
            [("host", "inner:8080"), ("x-forwarded-host", "hub.example, x"), ("x-forwarded-proto", "https")];
        assert_eq!(url(&config, &proxied), "https://hub.example");
        assert_eq!(url(&config, &[("host", "hub"), ("x-forwarded-host", "<b>")]), "http://hub");
        config.server.public_url = Some("https://public".parse().unwrap());
        assert_eq!(url(&config, &[("host", "hub")]), "https://public");
    }
}
