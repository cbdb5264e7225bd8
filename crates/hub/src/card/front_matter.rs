//! Where the metadata block of a README begins and ends.
//!
//! The rule is the one regular expression that the hub and `huggingface_hub` (`repocard.REGEX_YAML_BLOCK`) share:
//! `^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))`. Three things follow that surprise: the
//! opening line takes no trailing blanks, the closing one does, and `---` right after the opening closes nothing.

use super::{CardError, METADATA_BYTES_MAX};

/// The metadata block of a README.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub yaml: &'a str,
    /// How many lines of the README stand above `yaml`.
    pub lines_above: usize,
    /// What follows the closing line, in whatever encoding it may be.
    pub body: &'a [u8],
}

/// The YAML between the leading `---` lines, without either of them; none if there is no such block, if it is larger
/// than [`METADATA_BYTES_MAX`], or if it is not UTF-8.
pub fn front_matter(readme: &[u8]) -> Option<&str> {
    find(readme).ok().flatten().map(|block| block.yaml)
}

pub(super) fn find(readme: &[u8]) -> Result<Option<Block<'_>>, CardError> {
    let Some(start) = opening(readme) else { return Ok(None) };
    let Some((length, end)) = closing(&readme[start..]) else { return Ok(None) };
    if length > METADATA_BYTES_MAX {
        return Err(CardError::TooLarge);
    }
    let yaml = std::str::from_utf8(&readme[start..start + length]).map_err(|_| CardError::NotUtf8)?;
    let lines_above = line_breaks(&readme[..start]);
    Ok(Some(Block { yaml, lines_above, body: &readme[start + end..] }))
}

/// The offset after `\s*---` and its line break. JavaScript's `\s` includes the byte order mark.
fn opening(readme: &[u8]) -> Option<usize> {
    let head = readme.utf8_chunks().next()?.valid();
    let text = head.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let dashes_end = head.len() - text.len() + 3;
    let after = text.strip_prefix("---")?;
    Some(dashes_end + line_break(after.as_bytes())?)
}

/// The length of the block, and the offset after its closing line.
fn closing(text: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while at < text.len() {
        let Some(width) = line_break(&text[at..]) else {
            at += 1;
            continue;
        };
        if let Some(rest) = text[at + width..].strip_prefix(b"---") {
            let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let end = text.len() - rest.len() + blanks;
            match &rest[blanks..] {
                [] => return Some((at, end)),
                [b'\n', ..] => return Some((at, end + 1)),
                [b'\r', b'\n', ..] => return Some((at, end + 2)),
                _ => {}
            }
        }
        at += width;
    }
    None
}

/// The width of the line break that `text` begins with.
fn line_break(text: &[u8]) -> Option<usize> {
    match text {
        [b'\r', b'\n', ..] => Some(2),
        [b'\r' | b'\n', ..] => Some(1),
        _ => None,
    }
}

fn line_breaks(text: &[u8]) -> usize {
    let mut count = 0;
    for (at, byte) in text.iter().enumerate() {
        let lone_return = *byte == b'\r' && text.get(at + 1) != Some(&b'\n');
        count += usize::from(*byte == b'\n' || lone_return);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_clients_regular_expression_reads() {
        for (readme, expected) in [
            ("---\na: 1\n---\nbody", Some("a: 1")),
            ("---\r\na: 1\r\n---\r\nbody", Some("a: 1")),
            ("---\ra: 1\r---", Some("a: 1")),
            ("\u{feff}---\na: 1\n---\n", Some("a: 1")),
            ("\n \t\n---\na: 1\n---\n", Some("a: 1")),
            ("---\na: 1\n--- \t\nbody", Some("a: 1")),
            ("---\na: 1\n---", Some("a: 1")),
            ("---\n\n---\n", Some("")),
            ("---\na: 1\n---b\n---\n", Some("a: 1\n---b")),
            ("---\n---\ntext\n---\n", Some("---\ntext")),
            ("---\n\u{e9}: \u{1f600}\n---\n", Some("\u{e9}: \u{1f600}")),
            ("--- \na: 1\n---\n", None),
            ("---\n---\n", None),
            ("---\na: 1\n", None),
            ("---\na: 1\n---\rbody", None),
            ("# Title\n---\na: 1\n---\n", None),
            ("----\na: 1\n---\n", None),
            ("", None),
            ("---", None),
        ] {
            assert_eq!(front_matter(readme.as_bytes()), expected, "{readme:?}");
        }
    }

    #[test]
    fn tells_the_block_from_the_body() {
        let block = find(b"\n---\r\na: 1\n---\n\xff\xfe").unwrap().unwrap();
        assert_eq!(block, Block { yaml: "a: 1", lines_above: 2, body: b"\xff\xfe" });
        assert_eq!(find(b"---\na: \xff\n---\n"), Err(CardError::NotUtf8));
    }

    #[test]
    fn refuses_a_block_over_the_limit_only() {
        let readme = |length: usize| format!("---\n{}\n---\n", "x".repeat(length));
        let at_limit = readme(METADATA_BYTES_MAX);
        assert_eq!(front_matter(at_limit.as_bytes()).map(str::len), Some(METADATA_BYTES_MAX));
        assert_eq!(find(readme(METADATA_BYTES_MAX + 1).as_bytes()), Err(CardError::TooLarge));
        let no_end = format!("---\n{}", "x\n".repeat(METADATA_BYTES_MAX));
        assert_eq!(find(no_end.as_bytes()), Ok(None));
    }
}
