//! Logs: to stderr, as text on a terminal and JSON otherwise.
//!
//! Nothing is filtered out of messages here: secrets are types that do not print themselves
//! ([`auth::TokenSecret`]), and headers are never logged.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

#[derive(Debug, thiserror::Error)]
#[error("log.level '{level}': {source}")]
pub struct LogLevelError {
    level: String,
    source: ParseError,
}

/// For the whole process; a second call changes nothing.
pub fn start(log: &Log) -> Result<(), LogLevelError> {
    let filter = EnvFilter::builder()
        .parse(&log.level)
        .map_err(|source| LogLevelError { level: log.level.clone(), source })?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // An error means that a logger is set already: by a test in the same process.
    let _ = if json {
        logger.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        logger.with_ansi(io::stderr().is_terminal()).try_init()
    };
    Ok(())
}
