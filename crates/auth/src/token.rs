//! Access tokens: how they look, where they come from, and what of them is stored (a SHA-256, nothing else).

use std::fmt;

use database::{CreateError, Database, TokenId, TokenRole, UserId};
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A token in the clear. Does not print itself by `Debug`; [`TokenSecret::expose`] is the way to show it to its owner.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenSecret(String);

#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
    #[error(transparent)]
    Create(#[from] CreateError),
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("a token is {IMPORTED_BYTES_MIN} to {IMPORTED_BYTES_MAX} visible ASCII characters")]
    Form,
    #[error("this token exists already")]
    Exists,
    #[error(transparent)]
    Create(CreateError),
}

/// Shorter ones can be guessed.
pub const IMPORTED_BYTES_MIN: usize = 16;
/// Longer ones do not fit into the headers that clients send.
pub const IMPORTED_BYTES_MAX: usize = 1024;

impl TokenSecret {
    /// `hf_` and 40 alphanumerics (238 bits) from the operating system. llama.cpp drops the authorization of tokens
    /// that are not `hf_` and at least 34 alphanumerics.
    pub fn generate() -> Result<TokenSecret, IssueError> {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        const DIGITS: usize = 40;
        let mut token = String::with_capacity(3 + DIGITS);
        token.push_str("hf_");
        while token.len() < 3 + DIGITS {
            let mut random = [0; 64];
            SysRng.try_fill_bytes(&mut random).map_err(|error| IssueError::Random(error.to_string()))?;
            // 248 is the largest multiple of 62 in a byte: what lies above would favour the first letters.
            let fair = random.into_iter().filter(|&byte| byte < 248);
            token.extend(
                fair.map(|byte| char::from(ALPHABET[usize::from(byte) % 62])).take(3 + DIGITS - token.len()),
            );
        }
        Ok(TokenSecret(token))
    }

    /// What a client presented. Of any form: only its hash decides.
    pub fn presented(token: String) -> TokenSecret {
        TokenSecret(token)
    }

    /// The token itself, for its owner's eyes; never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What rows hold. Unsalted: a token has the entropy that a password lacks, and it is looked up by this.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

/// Makes a new token of `user`. The only time that its text is known.
pub async fn issue(
    database: &Database,
    user: UserId,
    name: String,
    role: TokenRole,
) -> Result<(TokenId, TokenSecret), IssueError> {
    let secret = TokenSecret::generate()?;
    let id = database.create_token(user, name, role, secret.sha256()).await?;
    Ok((id, secret))
}

/// Accepts a token made elsewhere, so that clients keep theirs when they move here.
pub async fn import(
    database: &Database,
    user: UserId,
    name: String,
    role: TokenRole,
    secret: &TokenSecret,
) -> Result<TokenId, ImportError> {
    let token = secret.expose().as_bytes();
    if !(IMPORTED_BYTES_MIN..=IMPORTED_BYTES_MAX).contains(&token.len())
        || !token.iter().all(u8::is_ascii_graphic)
    {
        return Err(ImportError::Form);
    }
    database.create_token(user, name, role, secret.sha256()).await.map_err(|error| match error {
        CreateError::Taken => ImportError::Exists,
        other => ImportError::Create(other),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn generated_tokens_have_the_form_that_clients_check() {
        let mut seen = HashSet::new();
        for _ in 0..200 {
            let token = TokenSecret::generate().unwrap();
            let digits = token.expose().strip_prefix("hf_").unwrap();
            assert_eq!(digits.len(), 40);
            assert!(digits.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert!(seen.insert(token.expose().to_owned()));
        }
    }

    #[test]
    fn debug_output_hides_the_token() {
        let token = TokenSecret::presented("hf_secret".into());
        assert_eq!(format!("{token:?}"), "TokenSecret(…)");
    }

    #[test]
    fn stored_form_is_plain_sha256() {
        let hash = TokenSecret::presented("abc".into()).sha256();
        assert_eq!(hash[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
