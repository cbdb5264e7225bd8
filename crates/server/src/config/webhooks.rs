//! `[webhooks]`

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::network::Network;
use super::units::Span;

/// `[webhooks]`: where users may have the hub tell of what happens, and how it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// Targets may be at private addresses: of this machine, of networks such as 10.0.0.0/8 and fc00::/7. If off, a user
    /// cannot reach through the hub what only the hub can reach. Link-local addresses (169.254.169.254, where clouds keep
    /// credentials) and the hub itself are refused either way.
    pub allow_private: bool,
    /// Those alone that may be called though they are private: `["10.1.0.0/16", "ci.corp"]`, networks by address, and
    /// hosts by the name that stands in the url, wherever that leads.
    pub allow: Vec<Allowed>,
    /// For one attempt, from the look at the target's name to its answer.
    pub timeout: Span,
    /// Deliveries under way at the same time, a quarter of them of one user. Of one webhook it is one at a time.
    pub concurrency: NonZeroUsize,
    /// How long deliveries that ended can be looked at and sent again; the last 200 of each webhook, at most.
    pub log: Span,
}

/// A network, or a host by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Allowed {
    Network(Network),
    /// In lower case.
    Host(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither an IP address, nor a network such as 10.0.0.0/8, nor the name of a host")]
pub struct AllowedError(String);

impl Allowed {
    /// `host` as it stands in the url, in lower case.
    pub fn covers(&self, host: &str, address: IpAddr) -> bool {
        match self {
            Allowed::Network(network) => network.contains(address),
            Allowed::Host(name) => name == host,
        }
    }
}

impl Default for Webhooks {
    fn default() -> Self {
        Webhooks {
            allow_private: false,
            allow: Vec::new(),
            timeout: Span::seconds(15),
            concurrency: NonZeroUsize::new(16).expect("because it is not 0"),
            log: Span::days(30),
        }
    }
}

impl FromStr for Allowed {
    type Err = AllowedError;

    fn from_str(text: &str) -> Result<Allowed, AllowedError> {
        if let Ok(network) = text.parse() {
            return Ok(Allowed::Network(network));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // What ends in a number was meant to be an address.
        let ends_in_number =
            text.rsplit('.').next().is_some_and(|end| end.bytes().all(|byte| byte.is_ascii_digit()));
        match !text.is_empty() && text.len() <= 253 && text.bytes().all(is_name) && !ends_in_number {
            true => Ok(Allowed::Host(text.to_ascii_lowercase())),
            false => Err(AllowedError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Allowed {
    type Error = AllowedError;

    fn try_from(text: String) -> Result<Allowed, AllowedError> {
        text.parse()
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Network(network) => f.write_str(&String::from(*network)),
            Allowed::Host(name) => f.write_str(name),
        }
    }
}

impl From<Allowed> for String {
    fn from(allowed: Allowed) -> String {
        allowed.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_names() {
        let allowed = |text: &str| text.parse::<Allowed>();
        assert!(allowed("10.0.0.0/8").unwrap().covers("x", "10.1.1.1".parse().unwrap()));
        assert!(allowed("CI.corp").unwrap().covers("ci.corp", "10.1.1.1".parse().unwrap()));
        assert!(!allowed("ci.corp").unwrap().covers("x.ci.corp", "10.1.1.1".parse().unwrap()));
        for bad in ["", "10.0.0/8", "10.0.0", "ci.corp/x", "http://ci", "a b", "*.corp"] {
            assert!(allowed(bad).is_err(), "{bad}");
        }
        assert_eq!(allowed("fd00::/8").unwrap().to_string(), "fd00::/8");
    }
}
