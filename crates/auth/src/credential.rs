//! The `Authorization` header of a request.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::TokenSecret;

/// What a client presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Anonymous,
    Token(TokenSecret),
}

/// The header is there but says nothing we understand. Like a wrong token it is answered by 401, never by treating the
/// client as anonymous: it meant to be somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedHeader {
    #[error("the Authorization header is neither 'Basic' nor 'Bearer'")]
    Scheme,
    #[error("the Authorization header is not valid 'Basic' base64 of 'user:token'")]
    Basic,
}

/// Clients differ on padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Credential {
    /// Reads the value of `Authorization`.
    ///
    /// `Basic` (git): the password is the token, whatever the user name; with an empty password (`https://TOKEN@host/`,
    /// or a token typed at the `Username` prompt) the user name is the token. `Bearer`: the rest is the token.
    pub fn from_header(value: Option<&str>) -> Result<Credential, MalformedHeader> {
        let Some(value) = value else { return Ok(Credential::Anonymous) };
        let (scheme, rest) = value.trim().split_once(' ').ok_or(MalformedHeader::Scheme)?;
        let rest = rest.trim();
        let token = if scheme.eq_ignore_ascii_case("bearer") {
            rest.to_owned()
        } else if scheme.eq_ignore_ascii_case("basic") {
            basic(rest).ok_or(MalformedHeader::Basic)?
        } else {
            return Err(MalformedHeader::Scheme);
        };
        Ok(Credential::Token(TokenSecret::presented(token)))
    }
}

fn basic(encoded: &str) -> Option<String> {
    let decoded = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(if password.is_empty() { user } else { password }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let encode = |text: &str| BASE64.encode(text);
        let basic = |text: &str| format!("Basic {}", encode(text));
        let cases = [
            (basic("anyone:hf_x"), Ok("hf_x")),
            (basic(":hf_x"), Ok("hf_x")),
            (basic("hf_x:"), Ok("hf_x")),
            (basic("u:with:colons"), Ok("with:colons")),
            (format!("basic {}", encode("u:hf_x").trim_end_matches('=')), Ok("hf_x")),
            ("Bearer hf_x".into(), Ok("hf_x")),
            ("bearer  hf_x ".into(), Ok("hf_x")),
            (basic(":"), Ok("")),
            (basic("no colon"), Err(MalformedHeader::Basic)),
            ("Basic %%%".into(), Err(MalformedHeader::Basic)),
            (format!("Basic {}", BASE64.encode([0xff, b':', 0xff])), Err(MalformedHeader::Basic)),
            ("Bearer".into(), Err(MalformedHeader::Scheme)),
            ("Digest username=x".into(), Err(MalformedHeader::Scheme)),
            ("".into(), Err(MalformedHeader::Scheme)),
        ];
        for (header, expected) in cases {
            let expected = expected.map(|token| Credential::Token(TokenSecret::presented(token.to_owned())));
            assert_eq!(Credential::from_header(Some(&header)), expected, "{header}");
        }
        assert_eq!(Credential::from_header(None), Ok(Credential::Anonymous));
    }
}
