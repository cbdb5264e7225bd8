//! What can go wrong with a store of large objects, by what the caller can do about it.

use std::error::Error;
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("nothing is stored under this key")]
    NotFound,
    /// No space, or no quota, at the store.
    #[error("the object store is full")]
    Full,
    /// Down, slow or failing: worth another try later.
    #[error("the object store is unavailable: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The bucket says no, and will until somebody changes its policy, our credentials or the configuration.
    #[error("the bucket refuses: {0}")]
    Refused(String),
    /// What a client says it sent to the bucket in parts is not what is there.
    #[error("the parts do not make up an object: {0}")]
    InvalidParts(String),
    /// More bytes were written than announced.
    #[error("more than the {size} bytes announced")]
    TooLong { size: u64 },
    /// What is stored is shorter than what was asked for.
    #[error("the stored object ends {missing} bytes early")]
    Truncated { missing: u64 },
    #[error("object store: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> StoreError {
        match error.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
            _ => StoreError::Io(error),
        }
    }
}

impl From<rustix::io::Errno> for StoreError {
    fn from(errno: rustix::io::Errno) -> StoreError {
        io::Error::from(errno).into()
    }
}

impl StoreError {
    pub(crate) fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
        StoreError::Unavailable(source.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_disk_are_told_apart_by_what_can_be_done() {
        let of = |errno: rustix::io::Errno| StoreError::from(errno);
        assert!(matches!(of(rustix::io::Errno::NOENT), StoreError::NotFound));
        assert!(matches!(of(rustix::io::Errno::NOSPC), StoreError::Full));
        assert!(matches!(of(rustix::io::Errno::DQUOT), StoreError::Full));
        assert!(matches!(of(rustix::io::Errno::IO), StoreError::Io(_)));
    }
}
