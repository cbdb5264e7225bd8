//! Times as the Hub writes them.

use lfs::wire::time::Instant;

/// `2026-11-27T08:00:00.000Z`, of milliseconds since the epoch.
pub(crate) fn iso(ms: i64) -> String {
    let seconds = Instant(ms).to_string();
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), ms.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_the_millisecond() {
        assert_eq!(iso(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
    }
}
