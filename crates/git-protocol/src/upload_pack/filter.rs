//! Filter-specs of partial clones, as `git rev-list --filter=` takes them. Everything but the `sparse:` kinds.

use repository::Kind;
use repository::walk::Filter;

use super::FilterSpec;
use crate::Limits;
use crate::text::quote;

/// Why a filter-spec is refused. The texts are git's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("invalid filter-spec '{0}'")]
    Invalid(String),
    #[error("expected 'tree:<depth>'")]
    TreeDepth,
    #[error("'{0}' for 'object:type=<type>' is not a valid object type")]
    ObjectType(String),
    #[error("expected something after combine:")]
    EmptyCombine,
    #[error("must escape char in sub-filter-spec: '{0}'")]
    Unescaped(char),
    #[error("filter '{0}' not supported")]
    NotSupported(&'static str),
    #[error("tree filter allows max depth {max}, but got {depth}")]
    TooDeep { max: u64, depth: u64 },
    #[error("the filter-spec is longer than the {max} bytes that this server takes")]
    TooLong { max: usize },
    #[error("the filter combines more than the {max} filters that this server takes")]
    TooMany { max: usize },
}

pub(super) fn parse(spec: &[u8], limits: &Limits) -> Result<FilterSpec, FilterError> {
    if spec.len() > limits.filter_bytes_max {
        return Err(FilterError::TooLong { max: limits.filter_bytes_max });
    }
    let spec = std::str::from_utf8(spec).map_err(|_| FilterError::Invalid(quote(spec)))?;
    let filter = Parser { limits, count: 0 }.parse(spec)?;
    Ok(FilterSpec { filter, spec: spec.to_owned() })
}

struct Parser<'a> {
    limits: &'a Limits,
    /// Filters so far. It bounds the recursion too, since each level counts as one.
    count: usize,
}

impl Parser<'_> {
    fn parse(&mut self, spec: &str) -> Result<Filter, FilterError> {
        let max = self.limits.filter_combine_max;
        self.count += 1;
        if self.count > max {
            return Err(FilterError::TooMany { max });
        }
        let invalid = || FilterError::Invalid(quote(spec.as_bytes()));
        if spec == "blob:none" {
            return Ok(Filter::BlobNone);
        }
        if let Some(limit) = spec.strip_prefix("blob:limit=") {
            return magnitude(limit).map(Filter::BlobLimit).ok_or_else(invalid);
        }
        if let Some(depth) = spec.strip_prefix("tree:") {
            return self.tree(depth);
        }
        if let Some(name) = spec.strip_prefix("object:type=") {
            let kind = Kind::from_name(name.as_bytes());
            return kind
                .map(Filter::ObjectType)
                .ok_or_else(|| FilterError::ObjectType(quote(name.as_bytes())));
        }
        if let Some(members) = spec.strip_prefix("combine:") {
            return self.combine(members);
        }
        Err(match spec.split_once('=') {
            Some(("sparse:oid", _)) => FilterError::NotSupported("sparse:oid"),
            Some(("sparse:path", _)) => FilterError::NotSupported("sparse:path"),
            _ => invalid(),
        })
    }

    fn tree(&self, depth: &str) -> Result<Filter, FilterError> {
        let depth = magnitude(depth).ok_or(FilterError::TreeDepth)?;
        let max = self.limits.filter_tree_depth_max;
        if depth > max { Err(FilterError::TooDeep { max, depth }) } else { Ok(Filter::TreeDepth(depth)) }
    }

    /// `combine:<spec>+<spec>…`, each member URL-encoded.
    fn combine(&mut self, members: &str) -> Result<Filter, FilterError> {
        if members.is_empty() {
            return Err(FilterError::EmptyCombine);
        }
        if let Some(c) = members.chars().find(|&c| c <= ' ' || "~`!@#$^&*()[]{}\\;'\",<>?".contains(c)) {
            return Err(FilterError::Unescaped(if c.is_control() { '?' } else { c }));
        }
        let members = members.split('+').filter(|member| !member.is_empty());
        let members = members.map(|member| self.parse(&decode(member)?)).collect::<Result<_, _>>()?;
        Ok(Filter::Combine(members))
    }
}

fn decode(text: &str) -> Result<String, FilterError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = Some(after).filter(|_| first == b'%').and_then(|after| after.split_first_chunk::<2>());
        let byte = escaped.and_then(|(digits, after)| Some((hex_byte(digits)?, after)));
        // As in git, a percent sign that starts no escape stands for itself.
        let (byte, after) = byte.unwrap_or((first, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| FilterError::Invalid(quote(text.as_bytes())))
}

fn hex_byte(digits: &[u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? << 4 | low?).ok()
}

/// A number with git's suffixes `k`, `m` and `g`.
fn magnitude(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        b'g' | b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str) -> Result<Filter, String> {
        let limits = Limits { filter_combine_max: 4, filter_tree_depth_max: 10, ..Limits::default() };
        parse(spec.as_bytes(), &limits).map(|parsed| parsed.filter).map_err(|error| error.to_string())
    }

    #[test]
    fn specs() {
        let combined = Filter::Combine(vec![Filter::BlobNone, Filter::TreeDepth(3)]);
        let good = [
            ("blob:none", Filter::BlobNone),
            ("blob:limit=0", Filter::BlobLimit(0)),
            ("blob:limit=12k", Filter::BlobLimit(12 << 10)),
            ("blob:limit=1G", Filter::BlobLimit(1 << 30)),
            ("tree:0", Filter::TreeDepth(0)),
            ("tree:10", Filter::TreeDepth(10)),
            ("object:type=tag", Filter::ObjectType(Kind::Tag)),
            ("combine:blob:none+tree:3", combined.clone()),
            ("combine:blob%3anone+tree:3", combined.clone()),
            ("combine:combine%3Ablob:none%2Btree:3", Filter::Combine(vec![combined])),
        ];
        for (spec, filter) in good {
            assert_eq!(check(spec), Ok(filter), "{spec}");
        }
    }

    #[test]
    fn refusals_in_gits_words() {
        let bad = [
            ("", "invalid filter-spec ''"),
            ("foo", "invalid filter-spec 'foo'"),
            ("blob:none ", "invalid filter-spec 'blob:none '"),
            ("blob:limit=", "invalid filter-spec 'blob:limit='"),
            ("blob:limit=-1", "invalid filter-spec 'blob:limit=-1'"),
            ("blob:limit=k", "invalid filter-spec 'blob:limit=k'"),
            ("blob:limit=99999999999999999999", "invalid filter-spec 'blob:limit=99999999999999999999'"),
            ("blob:limit=18446744073709551615k", "invalid filter-spec 'blob:limit=18446744073709551615k'"),
            ("tree:x", "expected 'tree:<depth>'"),
            ("tree:11", "tree filter allows max depth 10, but got 11"),
            ("object:type=tree2", "'tree2' for 'object:type=<type>' is not a valid object type"),
            ("sparse:oid=main:f", "filter 'sparse:oid' not supported"),
            ("sparse:path=f", "filter 'sparse:path' not supported"),
            ("combine:", "expected something after combine:"),
            ("combine:a b", "must escape char in sub-filter-spec: ' '"),
            ("combine:%ff", "invalid filter-spec '%ff'"),
            (
                "combine:tree:1+tree:1+tree:1+tree:1",
                "the filter combines more than the 4 filters that this server takes",
            ),
        ];
        for (spec, text) in bad {
            assert_eq!(check(spec), Err(text.to_owned()), "{spec}");
        }
        assert!(check("combine:tree:1+tree:1+tree:1").is_ok(), "exactly the bound");
        let limits = Limits { filter_bytes_max: 9, ..Limits::default() };
        assert!(parse(b"blob:none", &limits).is_ok());
        assert_eq!(parse(b"tree:00000", &limits), Err(FilterError::TooLong { max: 9 }));
        assert!(parse(b"blob:\xff", &limits).is_err());
    }
}
