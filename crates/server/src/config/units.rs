//! Sizes (`10MiB`) and durations (`30s`) as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A number of bytes. Written `512`, `64KiB`, `10 MiB`, `1GB` …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A length of time in whole milliseconds. Written `250ms`, `30s`, `5m`, `1h`, `14d`; the unit is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("'{0}' is not a size; write 512, 64KiB, 10MiB, 1GiB …")]
    Size(String),
    #[error("'{0}' is not a length of time; write 250ms, 30s, 5m, 1h, 14d …")]
    Span(String),
}

/// Largest first, so that printing finds the shortest form.
const SIZES: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
];

const SPANS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Size {
    pub const fn kib(n: u64) -> Size {
        Size(n << 10)
    }

    pub const fn mib(n: u64) -> Size {
        Size(n << 20)
    }

    pub const fn gib(n: u64) -> Size {
        Size(n << 30)
    }

    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Span {
    pub const fn seconds(n: u64) -> Span {
        Span { ms: n * 1000 }
    }

    pub const fn hours(n: u64) -> Span {
        Span::seconds(n * 3600)
    }

    pub const fn days(n: u64) -> Span {
        Span::hours(n * 24)
    }

    /// As the shared clock counts. Never negative: parsing bounds it.
    pub fn ms(self) -> i64 {
        self.ms as i64
    }

    pub fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text).ok_or_else(|| UnitError::Size(text.to_owned()))?;
        let named = SIZES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let factor = match unit {
            "" | "B" | "b" => Some(1),
            _ => named.map(|(_, factor)| factor),
        };
        let bytes = factor.and_then(|factor| number.checked_mul(factor));
        // TOML's integers, SQLite's too, are signed.
        bytes
            .filter(|&bytes| bytes <= i64::MAX as u64)
            .map(Size)
            .ok_or_else(|| UnitError::Size(text.to_owned()))
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        const LONGEST_MS: u64 = 1000 * 366 * 86_400_000;
        let parse = || {
            let (number, unit) = split(text)?;
            let (_, factor) = SPANS.into_iter().find(|(name, _)| *name == unit)?;
            number.checked_mul(factor).filter(|&ms| ms <= LONGEST_MS)
        };
        parse().map(|ms| Span { ms }).ok_or_else(|| UnitError::Span(text.to_owned()))
    }
}

/// The digits and what follows them; `_` may group digits, a space may stand before the unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.replace('_', "").parse().ok()?, unit.trim_start()))
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZES.into_iter().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SPANS.into_iter().find(|(_, factor)| self.ms != 0 && self.ms.is_multiple_of(*factor));
        let (unit, factor) = exact.unwrap_or(("s", 1000));
        write!(f, "{}{unit}", self.ms / factor)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 65536, \"64KiB\" or \"10MiB\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size is not negative"))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Bytes)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Time;
        impl Visitor<'_> for Time {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as \"30s\" or \"14d\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64KiB", 65536),
            ("64 kib", 65536),
            ("10MiB", 10 << 20),
            ("1_000KB", 1_000_000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "MiB", "-1", "1.5GiB", "10 M", "10XB", "99999999999TiB", "9223372036854775808"] {
            assert_eq!(bad.parse::<Size>(), Err(UnitError::Size(bad.into())));
        }
    }

    #[test]
    fn spans() {
        for (text, ms) in
            [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("14d", 1_209_600_000)]
        {
            assert_eq!(text.parse::<Span>().unwrap().ms(), ms, "{text}");
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for bad in ["", "30", "s", "-5s", "1y", "1.5h", "400000d"] {
            assert_eq!(bad.parse::<Span>(), Err(UnitError::Span(bad.into())));
        }
    }

    #[test]
    fn printed_sizes_parse_to_themselves() {
        for size in [Size(0), Size(1), Size(1025), Size::kib(3), Size::mib(10), Size::gib(1), Size(2_000_000)]
        {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert_eq!(Size::mib(10).to_string(), "10MiB");
        assert_eq!(Span::seconds(0).to_string().parse(), Ok(Span::seconds(0)));
    }
}
