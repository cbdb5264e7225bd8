//! `[lfs]`, and where large objects lie.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::units::Size;

/// `[lfs]`: Git LFS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lfs {
    /// Larger objects are uploaded in parts by clients that can (Hugging Face's agent: `hf lfs-enable-largefiles .`).
    pub multipart_from: Size,
    /// The least size of these parts; 5 MiB at least. They grow with the object, of which there are up to 10,000.
    pub part_size: Size,
    /// Objects in one batch request; those beyond it are answered 413.
    pub batch_objects: NonZeroUsize,
    /// One object.
    pub object_bytes: Size,
    /// Uploads through this server at the same time; those beyond it are answered 429.
    pub uploads: NonZeroUsize,
    /// Bytes of objects in all repositories of a user together. `granary quota` sets another for one of them. Absent: no
    /// limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Size>,
    /// Locks in one repository.
    pub locks: u64,
}

/// Where large objects lie, if not in the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageUrl {
    /// `file:/nas/granary`: another directory, which may be on a network file system.
    Directory(PathBuf),
    /// `s3://bucket[/prefix]`; the prefix without slashes around it, perhaps empty.
    Bucket { bucket: String, prefix: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{url}' is no place for large objects: {why}; write file:/an/absolute/path or s3://BUCKET[/PREFIX]")]
pub struct StorageUrlError {
    url: String,
    why: &'static str,
}

/// Text that is neither printed nor logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A secret that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{key} and {key}_file are both given; keep one of them")]
    Twice { key: &'static str },
    #[error("cannot read {path} ({key}_file): {source}")]
    File { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path} ({key}_file) is empty")]
    Empty { key: &'static str, path: PathBuf },
}

impl Default for Lfs {
    fn default() -> Self {
        let nonzero = |n| NonZeroUsize::new(n).expect("because defaults are not 0");
        Lfs {
            multipart_from: Size::mib(64),
            part_size: Size::mib(16),
            batch_objects: nonzero(5000),
            object_bytes: Size(5 << 40),
            uploads: nonzero(512),
            quota: None,
            locks: 100_000,
        }
    }
}

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Given as `key`, or in a file named by `key_file`; perhaps not at all.
    pub fn given(
        key: &'static str,
        value: Option<&Secret>,
        file: Option<&Path>,
    ) -> Result<Option<Secret>, SecretError> {
        let Some(path) = file else { return Ok(value.cloned()) };
        if value.is_some() {
            return Err(SecretError::Twice { key });
        }
        let path = || path.to_owned();
        let text = std::fs::read_to_string(path()).map_err(|source| SecretError::File {
            key,
            path: path(),
            source,
        })?;
        match text.trim() {
            "" => Err(SecretError::Empty { key, path: path() }),
            text => Ok(Some(Secret(text.to_owned()))),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(not shown)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

impl FromStr for StorageUrl {
    type Err = StorageUrlError;

    fn from_str(url: &str) -> Result<Self, StorageUrlError> {
        let wrong = |why| StorageUrlError { url: url.to_owned(), why };
        if let Some(path) = url.strip_prefix("file:") {
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            if !path.starts_with('/') || path.starts_with("//") {
                return Err(wrong("the path is not absolute"));
            }
            return Ok(StorageUrl::Directory(PathBuf::from(path)));
        }
        let Some(place) = url.strip_prefix("s3://") else { return Err(wrong("it is neither file: nor s3:")) };
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !(3..=255).contains(&bucket.len()) || !bucket.bytes().all(in_name) {
            return Err(wrong("that is no name of a bucket"));
        }
        let prefix = prefix.trim_matches('/');
        let segments = || prefix.split('/');
        let in_prefix = |byte: u8| in_name(byte) || byte == b'/';
        if !prefix.is_empty()
            && (!prefix.bytes().all(in_prefix) || segments().any(|s| matches!(s, "" | "." | "..")))
        {
            return Err(wrong(
                "a prefix has letters, digits, '.', '-' and '_', in parts separated by single slashes",
            ));
        }
        Ok(StorageUrl::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageUrl::Directory(path) => write!(f, "file:{}", path.display()),
            StorageUrl::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            StorageUrl::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl Serialize for StorageUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StorageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_for_large_objects() {
        for (text, url) in [
            ("file:/nas/granary", "file:/nas/granary"),
            ("file:///nas/granary", "file:/nas/granary"),
            ("s3://bucket", "s3://bucket"),
            ("s3://my-bucket.x/", "s3://my-bucket.x"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ] {
            assert_eq!(text.parse::<StorageUrl>().unwrap().to_string(), url, "{text}");
        }
        for bad in [
            "",
            "/nas/granary",
            "file:nas",
            "file://nas/granary",
            "s3://",
            "s3://ab",
            "s3:bucket",
            "s3://bu cket",
            "s3://bucket/a//b",
            "s3://bucket/../b",
            "s3://bucket/a b",
            "http://bucket",
        ] {
            let error = bad.parse::<StorageUrl>().unwrap_err().to_string();
            assert!(error.contains("write file:/"), "{bad}: {error}");
        }
    }

    #[test]
    fn secrets_come_from_one_place_and_do_not_show() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let secret = Secret("hush".to_owned());
        std::fs::write(&file, "from file\n").unwrap();
        let given = |value, file| Secret::given("storage.s3_secret_key", value, file);
        assert_eq!(given(None, None).unwrap(), None);
        assert_eq!(given(Some(&secret), None).unwrap().unwrap().expose(), "hush");
        assert_eq!(given(None, Some(&file)).unwrap().unwrap().expose(), "from file");
        let twice = given(Some(&secret), Some(&file)).unwrap_err().to_string();
        assert!(twice.starts_with("storage.s3_secret_key and storage.s3_secret_key_file"), "{twice}");
        std::fs::write(&file, "\n").unwrap();
        assert!(matches!(given(None, Some(&file)), Err(SecretError::Empty { .. })));
        assert!(matches!(given(None, Some(directory.path())), Err(SecretError::File { .. })));
        let shown = format!("{secret:?} {}", toml::Value::try_from(&secret).unwrap());
        assert!(!shown.contains("hush"), "{shown}");
    }
}
