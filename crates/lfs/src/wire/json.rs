//! Reading JSON that may hold anything, a value at a time, and writing it into one buffer.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A string; `None` for any other value, and for escapes that are no Unicode.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    match serde_json::from_str::<&str>(raw.get()) {
        Ok(text) => Some(Cow::Borrowed(text)),
        Err(_) => serde_json::from_str::<String>(raw.get()).ok().map(Cow::Owned),
    }
}

/// A whole number as git-lfs can hold it (`int64`), written without sign, fraction or exponent.
pub(super) fn size(raw: &RawValue) -> Option<u64> {
    let digits = raw.get();
    let size = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    (size <= i64::MAX as u64).then_some(size)
}

/// The fields of a JSON object, for a message if it is none.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    // A struct may also be read from an array, which no client means.
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(body).map_err(|error| error.to_string()),
        Some(_) => Err("it does not begin with '{'".to_owned()),
        None => Err("it is empty".to_owned()),
    }
}

/// `{"name"}` of a ref; `None` for whatever else clients send, of which there is much, and for names of more than `max`
/// bytes: a ref only says where an object is meant to go.
pub(super) fn ref_name(raw: &RawValue, max: usize) -> Option<String> {
    #[derive(Deserialize)]
    struct Ref<'a> {
        #[serde(borrow, default)]
        name: Option<&'a RawValue>,
    }
    let name = object::<Ref<'_>>(raw.get().as_bytes()).ok()?.name.and_then(text)?;
    (!name.is_empty() && name.len() <= max).then(|| name.into_owned())
}

/// At most `max` bytes of it, whole characters.
pub(super) fn short(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].to_owned()
}

/// What is not an array of at most the number asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotElements {
    TooMany,
    /// Of another type.
    NotArray,
}

/// The elements of an array, unread. Stops keeping them beyond `max`, so that a body of brackets and commas costs no
/// more than its bytes.
pub(super) fn elements(raw: &RawValue, max: usize) -> Result<Vec<&RawValue>, NotElements> {
    struct Elements(usize);

    impl<'de> DeserializeSeed<'de> for Elements {
        type Value = Option<Vec<&'de RawValue>>;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_seq(self)
        }
    }

    impl<'de> Visitor<'de> for Elements {
        type Value = Option<Vec<&'de RawValue>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut kept = Vec::new();
            while let Some(element) = seq.next_element::<&RawValue>()? {
                if kept.len() == self.0 {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(None);
                }
                kept.push(element);
            }
            Ok(Some(kept))
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    match Elements(max).deserialize(&mut deserializer) {
        Ok(Some(elements)) => Ok(elements),
        Ok(None) => Err(NotElements::TooMany),
        Err(_) => Err(NotElements::NotArray),
    }
}

pub(super) fn encode(value: &impl Serialize, capacity: usize) -> Vec<u8> {
    let mut json = Vec::with_capacity(capacity);
    serde_json::to_writer(&mut json, value)
        .expect("because memory takes every byte and every key is a string");
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn strings_are_borrowed_where_they_can_be() {
        assert!(matches!(text(raw(r#""abc""#)), Some(Cow::Borrowed("abc"))));
        assert_eq!(text(raw(r#""\u0061\n""#)).as_deref(), Some("a\n"));
        for other in [r#""\ud800""#, "1", "null", "[]", "{}"] {
            assert_eq!(text(raw(other)), None, "{other}");
        }
    }

    #[test]
    fn sizes_are_whole_and_fit() {
        assert_eq!(size(raw("0")), Some(0));
        assert_eq!(size(raw("9223372036854775807")), Some(i64::MAX as u64));
        for other in [
            "9223372036854775808",
            "99999999999999999999",
            "-0",
            "-5",
            "1.0",
            "1e3",
            "1e999",
            "\"1\"",
            "null",
        ] {
            assert_eq!(size(raw(other)), None, "{other}");
        }
    }

    #[test]
    fn refs_are_named_or_not() {
        let name = |json| ref_name(raw(json), 10);
        assert_eq!(name(r#"{"name":"refs/heads"}"#).as_deref(), Some("refs/heads"));
        assert_eq!(name(r#"{"extra":[],"name":"main"}"#).as_deref(), Some("main"));
        for other in [
            r#"{"name":"refs/heads/"}"#,
            r#"{"name":""}"#,
            r#"{"name":1}"#,
            "{}",
            "null",
            "\"main\"",
            r#"["main"]"#,
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }

    #[test]
    fn cuts_are_between_characters() {
        assert_eq!(short("aä", 3), "aä");
        assert_eq!(short("aä", 2), "a");
        assert_eq!(short("", 0), "");
    }

    #[test]
    fn elements_are_bounded() {
        let count = |json| elements(raw(json), 2).map(|found| found.len());
        assert_eq!(count("[]"), Ok(0));
        assert_eq!(count("[1, [2, 3]]"), Ok(2));
        assert_eq!(count("[1,2,3]"), Err(NotElements::TooMany));
        assert_eq!(count("{}"), Err(NotElements::NotArray));
        assert_eq!(count("\"[]\""), Err(NotElements::NotArray));
        assert_eq!(count("null"), Err(NotElements::NotArray));
    }
}
