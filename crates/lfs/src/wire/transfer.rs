//! What a client says after its bytes are sent: that all parts are there, or that the object is in the bucket.
//!
//! These bodies come with any content type: Hugging Face's client sends plain JSON.

use database::Sha256;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Limits;
use super::json::{self, NotElements};

/// `{"oid", "parts": [{"partNumber", "etag"}]}`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    pub sha256: Sha256,
    /// Number and entity tag (as the PUT of the part answered it) of each, by number, which none shares.
    pub parts: Vec<(u32, String)>,
}

/// `{"oid", "size"}`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verify {
    pub sha256: Sha256,
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the request has {bytes} bytes, more than the {max} that are taken")]
    TooLarge { bytes: usize, max: usize },
    #[error("the request is not a JSON object: {0}")]
    NotJson(String),
    #[error("the oid is not a SHA-256 of 64 lower-case hexadecimal digits")]
    Oid,
    #[error("the size is not a whole number from 0 to 9223372036854775807")]
    Size,
    #[error("the parts are not an array of at least one {{\"partNumber\", \"etag\"}}")]
    Parts,
    #[error("the request names more than {max} parts")]
    TooManyParts { max: usize },
    #[error("part {0} is named twice")]
    PartTwice(u32),
}

/// Buckets use about 40.
const ETAG_BYTES_MAX: usize = 1024;

#[derive(Deserialize)]
struct RawBody<'a> {
    #[serde(borrow, default)]
    oid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    parts: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawPart<'a> {
    #[serde(borrow, rename = "partNumber")]
    number: &'a RawValue,
    #[serde(borrow)]
    etag: &'a RawValue,
}

impl Complete {
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Complete, Malformed> {
        let raw = read(body, limits)?;
        let sha256 = oid(&raw)?;
        let elements = match raw.parts.map(|parts| json::elements(parts, limits.parts)) {
            Some(Ok(elements)) if !elements.is_empty() => elements,
            Some(Err(NotElements::TooMany)) => return Err(Malformed::TooManyParts { max: limits.parts }),
            Some(Ok(_) | Err(NotElements::NotArray)) | None => return Err(Malformed::Parts),
        };
        let parts = elements.into_iter().map(|element| part(element, limits));
        let mut parts = parts.collect::<Option<Vec<_>>>().ok_or(Malformed::Parts)?;
        parts.sort_unstable_by_key(|&(number, _)| number);
        match parts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(Malformed::PartTwice(pair[0].0)),
            None => Ok(Complete { sha256, parts }),
        }
    }
}

impl Verify {
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Verify, Malformed> {
        let raw = read(body, limits)?;
        let size = raw.size.and_then(json::size).ok_or(Malformed::Size);
        Ok(Verify { sha256: oid(&raw)?, size: size? })
    }
}

impl Malformed {
    /// The body has more than is read, rather than something else.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Malformed::TooLarge { .. } | Malformed::TooManyParts { .. })
    }
}

fn read<'a>(body: &'a [u8], limits: &Limits) -> Result<RawBody<'a>, Malformed> {
    if body.len() > limits.body_bytes {
        return Err(Malformed::TooLarge { bytes: body.len(), max: limits.body_bytes });
    }
    json::object(body).map_err(Malformed::NotJson)
}

fn oid(raw: &RawBody<'_>) -> Result<Sha256, Malformed> {
    raw.oid.and_then(json::text).and_then(|oid| oid.parse().ok()).ok_or(Malformed::Oid)
}

fn part(element: &RawValue, limits: &Limits) -> Option<(u32, String)> {
    let raw: RawPart<'_> = json::object(element.get().as_bytes()).ok()?;
    let number = u32::try_from(json::size(raw.number)?).ok()?;
    let etag = json::text(raw.etag)?;
    let etag_is_sound =
        (1..=ETAG_BYTES_MAX).contains(&etag.len()) && etag.bytes().all(|byte| byte.is_ascii_graphic());
    let number_is_sound = number >= 1 && number as usize <= limits.parts;
    (number_is_sound && etag_is_sound).then(|| (number, etag.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    fn complete(parts: &str) -> Result<Vec<(u32, String)>, Malformed> {
        let body = format!(r#"{{"oid":"{OID}","parts":{parts}}}"#);
        Complete::parse(body.as_bytes(), &Limits { parts: 3, ..Limits::default() }).map(|read| read.parts)
    }

    #[test]
    fn parts_are_put_in_order() {
        let parts = r#"[{"partNumber":2,"etag":"\"b\""},{"partNumber":1,"etag":"a","size":5}]"#;
        assert_eq!(complete(parts), Ok(vec![(1, "a".into()), (2, "\"b\"".into())]));
    }

    #[test]
    fn parts_that_make_no_sense() {
        let one =
            |number: &str, etag: &str| complete(&format!(r#"[{{"partNumber":{number},"etag":{etag}}}]"#));
        assert!(one("1", "\"a\"").is_ok());
        assert!(one("3", "\"a\"").is_ok());
        let long = |bytes| format!("\"{}\"", "e".repeat(bytes));
        assert!(one("1", &long(ETAG_BYTES_MAX)).is_ok());
        for (number, etag) in [
            ("0", "\"a\""),
            ("4", "\"a\""),
            ("-1", "\"a\""),
            ("1.0", "\"a\""),
            ("\"1\"", "\"a\""),
            ("4294967297", "\"a\""),
            ("1", "null"),
            ("1", "\"\""),
            ("1", "\"a b\""),
            ("1", "\"a\\u0000\""),
            ("1", "\"ä\""),
            ("1", &long(ETAG_BYTES_MAX + 1)),
        ] {
            assert_eq!(one(number, etag), Err(Malformed::Parts), "{number} {etag}");
        }
        for parts in ["[]", "null", "{}", "[null]", "[[1,\"a\"]]", "[{\"partNumber\":1}]"] {
            assert_eq!(complete(parts), Err(Malformed::Parts), "{parts}");
        }
        let twice =
            r#"[{"partNumber":1,"etag":"a"},{"partNumber":2,"etag":"b"},{"partNumber":1,"etag":"c"}]"#;
        assert_eq!(complete(twice), Err(Malformed::PartTwice(1)));
    }

    #[test]
    fn parts_are_bounded() {
        let many = |count| {
            let parts = (1..=count).map(|number| format!(r#"{{"partNumber":{number},"etag":"e"}}"#));
            complete(&format!("[{}]", parts.collect::<Vec<_>>().join(",")))
        };
        assert_eq!(many(3).map(|parts| parts.len()), Ok(3));
        assert_eq!(many(4), Err(Malformed::TooManyParts { max: 3 }));
    }

    #[test]
    fn verify_names_an_object() {
        let verify = |body: &str| Verify::parse(body.as_bytes(), &Limits::default());
        let sha256 = OID.parse().unwrap();
        assert_eq!(
            verify(&format!(r#" {{"size":7,"oid":"{OID}","more":[]}}"#)),
            Ok(Verify { sha256, size: 7 })
        );
        assert_eq!(verify(&format!(r#"{{"size":7,"oid":"{}"}}"#, OID.to_uppercase())), Err(Malformed::Oid));
        assert_eq!(verify(r#"{"size":7}"#), Err(Malformed::Oid));
        assert_eq!(verify(&format!(r#"{{"oid":"{OID}"}}"#)), Err(Malformed::Size));
        assert_eq!(verify(&format!(r#"{{"oid":"{OID}","size":-1}}"#)), Err(Malformed::Size));
        for other in ["", " ", "[]", "null", "{", "oid=1", "{\"oid\":1,\"oid\":2}"] {
            assert!(matches!(verify(other), Err(Malformed::NotJson(_))), "{other}");
        }
    }

    #[test]
    fn bodies_are_bounded() {
        let body = format!(r#"{{"oid":"{OID}","size":7}}"#);
        let limits = |body_bytes| Limits { body_bytes, ..Limits::default() };
        assert!(Verify::parse(body.as_bytes(), &limits(body.len())).is_ok());
        let refused = Verify::parse(body.as_bytes(), &limits(body.len() - 1));
        assert_eq!(refused, Err(Malformed::TooLarge { bytes: body.len(), max: body.len() - 1 }));
    }
}
