//! Logs: to stderr, as text on a terminal and JSON otherwise.
//!
//! Nothing is filtered out of messages here: secrets are types that do not print themselves ([`auth::TokenSecret`]),
//! and neither headers nor queries are logged. The AWS SDK does log both when it traces, so it is kept from that.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};
use crate::log_line::Lines;

#[derive(Debug, thiserror::Error)]
#[error("log.level '{level}': {source}")]
pub struct LogLevelError {
    level: String,
    source: ParseError,
}

/// These would write signatures into the log at `debug` or `trace`.
const TALKATIVE: [&str; 6] = [
    "aws_config=info",
    "aws_runtime=info",
    "aws_sdk_s3=info",
    "aws_sigv4=info",
    "aws_smithy_http_client=info",
    "aws_smithy_runtime=info",
];

/// For the whole process; a second call changes nothing.
pub fn start(log: &Log) -> Result<(), LogLevelError> {
    let filter = EnvFilter::builder()
        .parse(&log.level)
        .map_err(|source| LogLevelError { level: log.level.clone(), source })?;
    let talkative = TALKATIVE.into_iter().filter_map(|directive| directive.parse().ok());
    let filter = talkative.fold(filter, EnvFilter::add_directive);
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // An error means that a logger is set already: by a test in the same process.
    let _ = if json {
        logger.json().event_format(Lines::new()).try_init()
    } else {
        logger.with_ansi(io::stderr().is_terminal()).try_init()
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::Directive;

    use super::*;

    #[test]
    fn what_is_to_be_quiet_is_named_as_a_filter_understands() {
        for directive in TALKATIVE {
            assert!(directive.parse::<Directive>().is_ok(), "{directive}");
        }
    }
}
