//! What stands behind the question mark, and forms, which look the same.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::error::Error;

/// Names and values, in order. Arrays come as repeated names, with or without `[]` behind them.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// More than any client sends.
const PAIRS_MAX: usize = 10_000;

impl Query {
    /// What cannot be read as text is refused.
    pub(crate) fn parse(text: &str) -> Result<Query, Error> {
        let malformed = Error::BadRequest("a parameter of the address is not text");
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == PAIRS_MAX {
                return Err(Error::BadRequest("there are too many parameters"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decode(name), decode(value)) {
                (Some(name), Some(value)) => {
                    pairs.push((name.trim_end_matches("[]").to_owned(), value.into_owned()));
                }
                _ => return Err(malformed),
            }
        }
        Ok(Query(pairs))
    }

    /// The first of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(crate) fn all<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        let named = move |(known, _): &&(String, String)| known == name;
        self.0.iter().filter(named).map(|(_, value)| value.as_str())
    }

    /// Set, and not to something that means no.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value, "false" | "False" | "0"))
    }

    /// As [`Query::number`], of those that are bounded anyway.
    pub(crate) fn limit(&self) -> Result<Option<u32>, Error> {
        Ok(self.number("limit")?.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)))
    }

    /// All pairs, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<usize>, Error> {
        let number = self.get(name).filter(|text| !text.is_empty()).map(str::parse).transpose();
        number.map_err(|_| Error::BadRequest("a parameter of the address is not a number"))
    }
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    match text.contains('+') {
        false => percent_decode(text.as_bytes()).decode_utf8().ok(),
        true => {
            let spaced = text.replace('+', " ");
            Some(Cow::Owned(percent_decode(spaced.as_bytes()).decode_utf8().ok()?.into_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        let query = Query::parse("a=1&b=x%20y+z&expand[]=p&expand%5B%5D=q&expand=r&c&d=false&n=7").unwrap();
        assert_eq!((query.get("a"), query.get("b"), query.get("x")), (Some("1"), Some("x y z"), None));
        assert_eq!(query.all("expand").collect::<Vec<_>>(), ["p", "q", "r"]);
        assert!(query.is("c") && query.is("a") && !query.is("d") && !query.is("x"));
        assert_eq!(query.number("n").unwrap(), Some(7));
        assert!(query.number("b").is_err() && Query::parse("a=%ff").is_err());
        assert!(Query::parse(&"a&".repeat(PAIRS_MAX + 1)).is_err());
    }
}
