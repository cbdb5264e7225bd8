//! Names that some file system takes for `.git` or `.gitmodules`: HFS+ ignores certain code points, NTFS ignores
//! trailing dots and spaces, has alternate data streams (`:`), and knows files by short names too.
//!
//! The same as git's `is_hfs_dotgit` and `is_ntfs_dotgit`, with two differences from gix-validate: malformed UTF-8 ends
//! a name, and so does a backslash.

/// Whether checking out a file of this name could write into `.git`.
pub fn is_dotgit(name: &[u8]) -> bool {
    if is_innocent(name) {
        return false;
    }
    is_hfs_name(name, "git") || name.split(|&byte| byte == b'\\').any(is_ntfs_dotgit)
}

/// Whether git would read a file of this name as `.gitmodules`.
pub fn is_gitmodules(name: &[u8]) -> bool {
    if is_innocent(name) {
        return false;
    }
    is_hfs_name(name, "gitmodules") || name.split(|&byte| byte == b'\\').any(is_ntfs_gitmodules)
}

/// Nearly all names: they start with nothing suspicious, and hold no backslash behind which a second name starts.
fn is_innocent(name: &[u8]) -> bool {
    let suspicious = matches!(name.first(), Some(b'.' | b'~' | b'g' | b'G' | 0xe2 | 0xef));
    !suspicious && !name.contains(&b'\\')
}

/// Whether HFS+ takes `name` for a dot and `needle`.
fn is_hfs_name(name: &[u8], needle: &str) -> bool {
    let valid = name.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let is_character = |c: &char| u32::from(*c) & 0xfffe != 0xfffe;
    let mut seen = valid.chars().take_while(is_character).filter(|c| !is_ignored_by_hfs(*c));
    seen.next() == Some('.')
        && needle.chars().all(|expected| seen.next().is_some_and(|c| c.eq_ignore_ascii_case(&expected)))
        && seen.next().is_none()
}

fn is_ignored_by_hfs(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

fn is_ntfs_dotgit(name: &[u8]) -> bool {
    let rest = strip_prefix_ignore_case(name, b".git").or_else(|| strip_prefix_ignore_case(name, b"git~1"));
    rest.is_some_and(is_ignored_by_ntfs)
}

fn is_ntfs_gitmodules(name: &[u8]) -> bool {
    let long = strip_prefix_ignore_case(name, b".gitmodules");
    // The short names of the first four files that start alike.
    let short = || match strip_prefix_ignore_case(name, b"gitmod~")? {
        [b'1'..=b'4', rest @ ..] => Some(rest),
        _ => None,
    };
    long.or_else(short).or_else(|| strip_hashed_short_name(name)).is_some_and(is_ignored_by_ntfs)
}

/// From the fifth file that starts alike, NTFS hashes: up to six letters of `gi7eba`, `~`, digits; eight in all.
fn strip_hashed_short_name(name: &[u8]) -> Option<&[u8]> {
    let (short, rest) = name.split_at_checked(8)?;
    let tilde = short.iter().position(|&byte| byte == b'~')?;
    let (letters, digits) = (&short[..tilde], &short[tilde + 1..]);
    let is_hash = b"gi7eba".get(..tilde).is_some_and(|prefix| prefix.eq_ignore_ascii_case(letters));
    let is_number =
        digits.first().is_some_and(|&digit| digit != b'0') && digits.iter().all(u8::is_ascii_digit);
    (is_hash && is_number).then_some(rest)
}

fn is_ignored_by_ntfs(rest: &[u8]) -> bool {
    match rest.iter().find(|&&byte| byte != b' ' && byte != b'.') {
        None => true,
        Some(&byte) => byte == b':',
    }
}

fn strip_prefix_ignore_case<'a>(name: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_reach_dotgit() {
        for name in [
            ".git",
            ".GIT",
            ".giT",
            "git~1",
            "GIT~1",
            ".git ",
            ".git.",
            ".git . .",
            ".git:",
            ".git::$INDEX_ALLOCATION",
            "git~1 .",
            "\u{200c}.git",
            ".g\u{200d}it",
            ".git\u{feff}",
            ".git\\x",
            "a\\.git",
            "a\\git~1\\b",
            "\\.git",
        ] {
            assert!(is_dotgit(name.as_bytes()), "{name:?}");
        }
        assert!(is_dotgit(b".git\xff"), "malformed UTF-8 ends the name");
        for name in [
            ".gitx",
            ".gi",
            "git",
            "git~2",
            "git~10",
            "x.git",
            ".git x",
            "..git",
            ".git\u{e9}",
            "\u{e9}.git",
            ".gi\u{fffd}t",
            "a\\b",
            ".gitmodules",
            ".gitignore",
            "",
            "\u{200b}.git",
        ] {
            assert!(!is_dotgit(name.as_bytes()), "{name:?}");
        }
    }

    #[test]
    fn names_that_are_gitmodules() {
        for name in [
            ".gitmodules",
            ".GitModules",
            ".gitmodules ",
            ".gitmodules.",
            ".gitmodules:x",
            "gitmod~1",
            "GITMOD~4",
            "gi7eba~1",
            "GI7EBA~9",
            "gi7eb~10",
            "gi7e~123",
            "~1000000",
            "gi7eba~1 .",
            ".git\u{200e}modules",
            "a\\.gitmodules",
        ] {
            assert!(is_gitmodules(name.as_bytes()), "{name:?}");
        }
        for name in [
            ".gitmodule",
            ".gitmodulesx",
            "gitmod~5",
            "gitmod~0",
            "gi7eba~0",
            "gi7ebax~1",
            "gi7eba",
            "xi7eba~1",
        ] {
            assert!(!is_gitmodules(name.as_bytes()), "{name:?}");
        }
    }
}
