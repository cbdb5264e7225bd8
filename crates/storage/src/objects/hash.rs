//! SHA-256 as the bytes go by.

use aws_lc_rs::digest;
use database::Sha256;

/// By the library that does TLS, which uses the CPU's instructions for it.
#[derive(Clone)]
pub(crate) struct Hasher(digest::Context);

impl Hasher {
    pub(crate) fn new() -> Hasher {
        Hasher(digest::Context::new(&digest::SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Sha256 {
        let digest = self.0.finish();
        Sha256(digest.as_ref().try_into().expect("because SHA-256 has 32 bytes"))
    }

    pub(crate) fn of(bytes: &[u8]) -> Sha256 {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }
}
