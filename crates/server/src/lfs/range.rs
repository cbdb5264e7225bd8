//! Which bytes of an object are asked for: RFC 9110, sections 13 and 14, for content that never changes.

use std::ops::Range;

use http::{HeaderMap, header};

/// What a request for an object of some size gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it (200).
    Whole,
    /// Some of it (206).
    Part(Range<u64>),
    /// None of it, since there is nothing there (416).
    Nothing,
    /// None of it, since the client has it (304).
    Unmodified,
}

impl Asked {
    /// `etag` is the strong one of the object.
    pub(crate) fn of(headers: &HeaderMap, etag: &str, size: u64) -> Asked {
        if headers.get_all(header::IF_NONE_MATCH).iter().any(|value| lists(value.as_bytes(), etag)) {
            return Asked::Unmodified;
        }
        // A date, or the tag of something else: what the client has a part of is not this.
        if headers.get(header::IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
            return Asked::Whole;
        }
        let mut values = headers.get_all(header::RANGE).iter();
        match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
            (Some(range), None) => parse(range, size),
            _ => Asked::Whole,
        }
    }
}

/// The one range of `bytes=…`. Several, of another unit, or malformed ones may be ignored, and are.
fn parse(text: &str, size: u64) -> Asked {
    let Some((unit, range)) = text.split_once('=') else { return Asked::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Asked::Whole;
    }
    let Some((first, last)) = range.trim().split_once('-') else { return Asked::Whole };
    let range = match (number(first), number(last)) {
        (Some(Some(first)), Some(Some(last))) if first <= last => first..last.saturating_add(1).min(size),
        (Some(Some(first)), Some(None)) => first..size,
        (Some(None), Some(Some(suffix))) => size.saturating_sub(suffix)..size,
        _ => return Asked::Whole,
    };
    if range.is_empty() { Asked::Nothing } else { Asked::Part(range) }
}

/// `None` if it is no number; `Some(None)` if there is nothing. Numbers beyond all sizes are as large as can be.
fn number(digits: &str) -> Option<Option<u64>> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((!digits.is_empty()).then(|| digits.parse().unwrap_or(u64::MAX)))
}

/// Whether a list of tags holds `etag`, weak or not, or is `*`.
fn lists(value: &[u8], etag: &str) -> bool {
    let Ok(value) = std::str::from_utf8(value) else { return false };
    let tags = value.split(',').map(str::trim);
    tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag)).any(|tag| tag == "*" || tag == etag)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const ETAG: &str = "\"aa\"";

    fn asked(headers: &[(HeaderName, &'static str)], size: u64) -> Asked {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        Asked::of(&map, ETAG, size)
    }

    #[test]
    fn ranges() {
        let table = [
            ("bytes=0-0", 10, Asked::Part(0..1)),
            ("bytes=0-9", 10, Asked::Part(0..10)),
            ("bytes=3-4", 10, Asked::Part(3..5)),
            ("bytes=3-", 10, Asked::Part(3..10)),
            ("bytes=9-99", 10, Asked::Part(9..10)),
            ("bytes=-3", 10, Asked::Part(7..10)),
            ("bytes=-99", 10, Asked::Part(0..10)),
            ("Bytes= 3-4 ", 10, Asked::Part(3..5)),
            // As git-lfs goes on, beyond 32 bits.
            ("bytes=4294967296-5368709120", 5_368_709_121, Asked::Part(4_294_967_296..5_368_709_121)),
            ("bytes=0-18446744073709551615", 10, Asked::Part(0..10)),
            ("bytes=0-99999999999999999999999", 10, Asked::Part(0..10)),
            // Beyond the end.
            ("bytes=10-", 10, Asked::Nothing),
            ("bytes=10-12", 10, Asked::Nothing),
            ("bytes=99999999999999999999999-", 10, Asked::Nothing),
            ("bytes=-0", 10, Asked::Nothing),
            ("bytes=0-", 0, Asked::Nothing),
            // Ignored.
            ("bytes=4-3", 10, Asked::Whole),
            ("bytes=0-1,3-4", 10, Asked::Whole),
            ("bytes=-", 10, Asked::Whole),
            ("bytes=a-b", 10, Asked::Whole),
            ("bytes=+1-2", 10, Asked::Whole),
            ("bytes=-1-2", 10, Asked::Whole),
            ("bytes 0-1", 10, Asked::Whole),
            ("lines=0-1", 10, Asked::Whole),
            ("", 10, Asked::Whole),
        ];
        for (range, size, expected) in table {
            assert_eq!(asked(&[(header::RANGE, range)], size), expected, "{range} of {size}");
        }
        let twice = [(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=3-4")];
        assert_eq!(asked(&twice, 10), Asked::Whole);
        assert_eq!(asked(&[], 10), Asked::Whole);
    }

    #[test]
    fn conditions() {
        let range = (header::RANGE, "bytes=3-");
        for (if_range, expected) in [
            (ETAG, Asked::Part(3..10)),
            ("\"bb\"", Asked::Whole),
            ("W/\"aa\"", Asked::Whole),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Asked::Whole),
        ] {
            assert_eq!(asked(&[range.clone(), (header::IF_RANGE, if_range)], 10), expected, "{if_range}");
        }
        for (tags, unmodified) in
            [(ETAG, true), ("*", true), ("\"bb\", W/\"aa\"", true), ("\"bb\"", false), ("aa", false)]
        {
            let got = asked(&[range.clone(), (header::IF_NONE_MATCH, tags)], 10);
            assert_eq!(got == Asked::Unmodified, unmodified, "{tags}");
        }
    }
}
