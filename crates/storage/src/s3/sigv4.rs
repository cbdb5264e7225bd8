//! The arithmetic of AWS Signature Version 4: times, scopes, keys. What is signed is the business of `signer`.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>

use aws_lc_rs::{digest, hmac};
use aws_smithy_types::date_time::{DateTime, Format};

/// What a signature is good for: one day of signing times, one region.
pub(super) struct SigningKey {
    /// `20261124/eu-west-1/s3/aws4_request`
    scope: String,
    key: hmac::Key,
}

impl SigningKey {
    /// `day`: `20261124`.
    pub(super) fn new(secret_key: &str, day: &str, region: &str) -> SigningKey {
        let mac =
            |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
        let of_day = mac(format!("AWS4{secret_key}").as_bytes(), day);
        let of_region = mac(of_day.as_ref(), region);
        let of_service = mac(of_region.as_ref(), "s3");
        let key = mac(of_service.as_ref(), "aws4_request");
        SigningKey {
            scope: format!("{day}/{region}/s3/aws4_request"),
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
        }
    }

    pub(super) fn scope(&self) -> &str {
        &self.scope
    }

    pub(super) fn is_of(&self, day: &str) -> bool {
        self.scope.starts_with(day)
    }

    /// Appends the signature of a canonical request, as hex.
    pub(super) fn sign(&self, time: &str, canonical: &str, into: &mut String) {
        let mut text = String::with_capacity(160);
        text.extend(["AWS4-HMAC-SHA256\n", time, "\n", &self.scope, "\n"]);
        append_hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref(), &mut text);
        append_hex(hmac::sign(&self.key, text.as_bytes()).as_ref(), into);
    }
}

/// `20261124T171824Z`, of seconds since the epoch.
pub(super) fn time_text(seconds: i64) -> String {
    let text = DateTime::from_secs(seconds).fmt(Format::DateTime).unwrap_or_default();
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

pub(super) fn append_hex(bytes: &[u8], into: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        into.push(char::from(DIGITS[usize::from(byte >> 4)]));
        into.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Amazon's documentation (see the head of this file).
    #[test]
    fn the_documented_example() {
        let time = time_text(1_369_353_600);
        assert_eq!(time, "20130524T000000Z");
        let key = SigningKey::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &time[..8], "us-east-1");
        assert_eq!(key.scope(), "20130524/us-east-1/s3/aws4_request");
        assert!(key.is_of("20130524") && !key.is_of("20130525"));
        let canonical = "GET\n/test.txt\n\
            X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F\
            aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\n\
            host:examplebucket.s3.amazonaws.com\n\nhost\nUNSIGNED-PAYLOAD";
        let mut signature = String::new();
        key.sign(&time, canonical, &mut signature);
        assert_eq!(signature, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    }
}
