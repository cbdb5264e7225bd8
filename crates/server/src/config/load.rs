//! Reading it: defaults, then the file, then the environment.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::Config;

/// Says which source is wrong, and why.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{variable} is not GRANARY__SECTION__KEY")]
    VariableName { variable: String },
    #[error("{variable}: {reason}")]
    Variable { variable: String, reason: String },
}

const PREFIX: &str = "GRANARY__";

/// The variables of this process that override keys, sorted by name.
pub fn environment() -> Vec<(String, OsString)> {
    let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut ours: Vec<_> = named.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    ours
}

/// `environment` as from [`environment`]. A variable's value is read as TOML where it is a number, a boolean, a quoted
/// string or a list, and as text otherwise; an empty one counts as not set.
pub fn load(file: Option<&Path>, environment: &[(String, OsString)]) -> Result<Config, ConfigError> {
    let mut table = match file {
        None => Table::new(),
        Some(path) => read(path)?,
    };
    for (variable, value) in environment {
        if value.is_empty() {
            continue;
        }
        let reject = |reason: String| ConfigError::Variable { variable: variable.clone(), reason };
        let (section, key) = key_of(variable)?;
        let value = value.to_str().ok_or_else(|| reject("not UTF-8".to_owned()))?;
        let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        let section = section.as_table_mut().ok_or_else(|| reject("not a section".to_owned()))?;
        section.insert(key, value_of(value));
        // One by one, so that an error names the variable that caused it.
        parse(&table).map_err(|error| reject(error.message().to_owned()))?;
    }
    parse(&table).map_err(|error| {
        let path = file.map(Path::to_owned).unwrap_or_default();
        ConfigError::File { path, source: Box::new(error) }
    })
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let wrong = |source| ConfigError::File { path: path.to_owned(), source: Box::new(source) };
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    // Read from the text, an error shows the line.
    let config: Config = toml::from_str(&text).map_err(wrong)?;
    let mut table: Table = toml::from_str(&text).map_err(wrong)?;
    let storage = &config.storage;
    for (key, given) in
        [("data_dir", Some(&storage.data_dir)), ("s3_secret_key_file", storage.s3_secret_key_file.as_ref())]
    {
        let value = table.get_mut("storage").and_then(|storage| storage.get_mut(key));
        if let (Some(value), Some(given), Some(directory)) = (value, given, path.parent()) {
            *value = Value::String(directory.join(given).to_string_lossy().into_owned());
        }
    }
    Ok(table)
}

fn parse(table: &Table) -> Result<Config, toml::de::Error> {
    Config::deserialize(Value::Table(table.clone()))
}

/// `GRANARY__SECTION__KEY` → `("section", "key")`.
fn key_of(variable: &str) -> Result<(String, String), ConfigError> {
    let parts: Vec<&str> = variable.strip_prefix(PREFIX).unwrap_or_default().split("__").collect();
    match parts.as_slice() {
        [section, key] if !section.is_empty() && !key.is_empty() => {
            Ok((section.to_ascii_lowercase(), key.to_ascii_lowercase()))
        }
        _ => Err(ConfigError::VariableName { variable: variable.to_owned() }),
    }
}

fn value_of(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok().filter(|table| table.len() == 1);
    let parsed = parsed.and_then(|mut table| table.remove("value"));
    match parsed {
        Some(Value::Datetime(_) | Value::Table(_)) | None => Value::String(text.to_owned()),
        Some(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DefaultVisibility, LogFormat, Size, Span};

    fn from_env(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        load(None, &variables)
    }

    fn from_file(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("granary.toml");
        std::fs::write(&path, text).unwrap();
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        let mut config = load(Some(&path), &variables)?;
        if let Ok(relative) = config.storage.data_dir.strip_prefix(directory.path()) {
            config.storage.data_dir = Path::new("DIR").join(relative);
        }
        Ok(config)
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(from_env(&[]).unwrap(), Config::default());
        assert_eq!(from_file("", &[]).unwrap(), Config::default());
    }

    #[test]
    fn the_defaults_survive_being_written_and_read() {
        let text = toml::to_string(&Config::default()).unwrap();
        let config = from_file(&text, &[]).unwrap();
        assert_eq!(config.limits, Config::default().limits);
        assert_eq!(config.storage.data_dir, Path::new("DIR/granary-data"));
    }

    #[test]
    fn every_key_can_be_overridden_by_a_variable() {
        let Value::Table(sections) = Value::try_from(Config::default()).unwrap() else { panic!("a table") };
        let optional = [
            ("server", "public_url", "http://hub"),
            ("server", "metrics_listen", "[::1]:9"),
            ("storage", "url", "s3://bucket/prefix"),
            ("storage", "s3_endpoint", "http://127.0.0.1:8333"),
            ("storage", "s3_public_endpoint", "https://s3.example"),
            ("storage", "s3_path_style", "true"),
            ("storage", "s3_access_key", "key"),
            ("storage", "s3_secret_key", "secret"),
            ("storage", "s3_secret_key_file", "/run/secret"),
            ("storage", "s3_session_token", "token"),
            ("lfs", "quota", "10TiB"),
        ];
        let mut keys = 0;
        for (section, values) in &sections {
            for (key, value) in values.as_table().unwrap() {
                let name = format!("GRANARY__{}__{}", section.to_uppercase(), key.to_uppercase());
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let config =
                    from_env(&[(&name, &text)]).unwrap_or_else(|error| panic!("{name}={text}: {error}"));
                assert_eq!(config, Config::default(), "{name}={text}");
                keys += 1;
            }
        }
        for (section, key, text) in optional {
            let name = format!("GRANARY__{}__{}", section.to_uppercase(), key.to_uppercase());
            assert_ne!(from_env(&[(&name, text)]).unwrap(), Config::default());
        }
        assert!(keys > 30, "{keys} keys");
    }

    #[test]
    fn variables_win_over_the_file() {
        let text = "[limits]\nblob_bytes = '1MiB'\nrefs = 10\n\
                    [storage]\ndata_dir = 'data'\ns3_secret_key_file = '/run/key'\n";
        let variables = [
            ("GRANARY__LIMITS__BLOB_BYTES", "2MiB"),
            ("GRANARY__SERVER__LISTEN", "0.0.0.0:9000"),
            ("GRANARY__MAINTENANCE__SUPERSEDED", "5m"),
            ("GRANARY__AUTH__ANONYMOUS_READ", "false"),
            ("GRANARY__REPOS__DEFAULT_VISIBILITY", "public"),
            ("GRANARY__LOG__FORMAT", "json"),
            ("GRANARY__SERVER__METRICS_LISTEN", ""),
        ];
        let config = from_file(text, &variables).unwrap();
        assert_eq!(config.limits.blob_bytes, Size::mib(2));
        assert_eq!(config.limits.refs, 10);
        assert_eq!(config.server.listen.port(), 9000);
        assert_eq!(config.server.metrics_listen, None);
        assert_eq!(config.maintenance.superseded, Span::seconds(300));
        assert!(!config.auth.anonymous_read);
        assert_eq!(config.repos.default_visibility, DefaultVisibility::Public);
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(config.storage.data_dir, Path::new("DIR/data"));
        assert_eq!(config.storage.s3_secret_key_file.as_deref(), Some(Path::new("/run/key")));
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_errors_that_name_their_source() {
        for (text, expected) in [
            ("[limits]\nblobs = 1\n", "unknown field `blobs`"),
            ("[limit]\n", "unknown field `limit`"),
            ("[limits]\nblob_bytes = 'ten'\n", "'ten' is not a size"),
            ("[server]\nheader_timeout = 30\n", "a length of time such as"),
            ("[server]\nmax_connections = 0\n", "nonzero"),
            ("[storage]\nurl = '/nas'\n", "'/nas' is no place for large objects"),
            ("[limits\n", "granary.toml"),
        ] {
            let error = from_file(text, &[]).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("granary.toml"), "{error}");
        }
        for (name, value, expected) in [
            ("GRANARY__LIMITS__BLOBS", "1", "GRANARY__LIMITS__BLOBS: unknown field `blobs`"),
            ("GRANARY__NOWHERE__X", "1", "GRANARY__NOWHERE__X: unknown field `nowhere`"),
            ("GRANARY__LIMITS", "1", "GRANARY__LIMITS is not GRANARY__SECTION__KEY"),
            ("GRANARY__LIMITS__REFS__X", "1", "is not GRANARY__SECTION__KEY"),
            ("GRANARY__LIMITS__REFS", "many", "GRANARY__LIMITS__REFS: invalid type"),
            ("GRANARY__SERVER__LISTEN", "8080", "GRANARY__SERVER__LISTEN: "),
        ] {
            let error = from_env(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert!(matches!(load(Some(Path::new("/nowhere/granary.toml")), &[]), Err(ConfigError::Read { .. })));
    }
}
