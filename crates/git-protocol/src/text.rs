//! Bytes from a request inside messages: bounded, printable, valid UTF-8.

/// How much of a request's line a message repeats, in bytes.
const QUOTE_MAX: usize = 256;

/// `bytes` as text for a message: at most 256 bytes of it, control characters as `?`.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(QUOTE_MAX)];
    let mut text: String =
        String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if cut.len() < bytes.len() {
        text.push('…');
    }
    text
}

/// The longest prefix of `text` that has at most `bytes_max` bytes.
pub(crate) fn clip(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_bounds_and_cleans() {
        assert_eq!(quote(b"a\x1b[31m\0b\xff"), "a?[31m?b\u{fffd}");
        let long = quote(&[b'x'; 300]);
        assert!(long.starts_with("xxx") && long.ends_with('…') && long.len() == 256 + '…'.len_utf8());
        assert_eq!(clip("aé", 2), "a");
        assert_eq!(clip("aé", 3), "aé");
    }
}
