//! Under which address clients reach this server.

use http::{HeaderMap, header};

use crate::config::Config;

/// `scheme://host[:port]`: `server.public_url`, else what the request was sent to. A proxy says by `X-Forwarded-Proto`
/// that its clients come by https.
pub(crate) fn base_url(config: &Config, headers: &HeaderMap) -> String {
    if let Some(url) = &config.server.public_url {
        return url.as_str().to_owned();
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // Of several proxies, the first in the list is the one that the client met.
    let first = text("x-forwarded-proto").and_then(|list| list.split(',').next()).map(str::trim);
    let scheme =
        if first.is_some_and(|proto| proto.eq_ignore_ascii_case("https")) { "https" } else { "http" };
    let listen = config.server.listen.to_string();
    let host = text(header::HOST.as_str()).filter(|host| is_host(host)).unwrap_or(&listen);
    format!("{scheme}://{host}")
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
        config.server.public_url = Some("https://public".parse().unwrap());
        assert_eq!(url(&config, &[("host", "hub")]), "https://public");
    }
}
