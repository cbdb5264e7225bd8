//! The Git LFS pointer: a small text blob that stands for a large object. A fact about blobs, hence here.
//!
//! Reads what git-lfs itself reads (its `pointer.go`: blobs of less than 1024 bytes; `version`, extensions, `oid`,
//! `size` in this order) and writes the canonical form of <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>.

use database::Oid;

/// A blob of this size or more is never a pointer.
pub const POINTER_BYTES_MAX: u64 = 1024;

/// An LFS pointer found in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    /// The blob that holds the pointer.
    pub blob: Oid,
    /// The large object: its SHA-256 and its size in bytes.
    pub sha256: [u8; 32],
    pub size: u64,
}

/// The large object a blob points at, if the blob is a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub sha256: [u8; 32],
    pub size: u64,
}

/// Versions that git-lfs takes for its own.
const VERSIONS: [&str; 3] =
    ["https://git-lfs.github.com/spec/v1", "http://git-media.io/v/2", "https://hawser.github.com/spec/v1"];

/// `None` if `blob` is an ordinary file. The empty blob, a pointer to nothing for git-lfs, is an ordinary file here.
pub fn parse(blob: &[u8]) -> Option<Target> {
    if blob.len() as u64 >= POINTER_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(blob).ok()?.trim();
    // Blank lines and extensions may stand anywhere before `size`.
    let mut lines = text.lines().filter(|line| !line.is_empty() && !is_extension(line));
    if !VERSIONS.contains(&lines.next()?.strip_prefix("version ")?) {
        return None;
    }
    let sha256 = parse_sha256(lines.next()?.strip_prefix("oid sha256:")?)?;
    let size = lines.next()?.strip_prefix("size ")?.parse::<i64>().ok()?;
    let size = u64::try_from(size).ok()?;
    lines.next().is_none().then_some(Target { sha256, size })
}

/// The canonical pointer, as git-lfs writes it.
pub fn encode(target: &Target) -> String {
    use std::fmt::Write;
    let mut text = String::from("version https://git-lfs.github.com/spec/v1\noid sha256:");
    for byte in target.sha256 {
        write!(text, "{byte:02x}").expect("because writing to a string cannot fail");
    }
    writeln!(text, "\nsize {}", target.size).expect("because writing to a string cannot fail");
    text
}

/// `ext-<one digit>-<name> sha256:<64 digits>`.
fn is_extension(line: &str) -> bool {
    let parse = || {
        let (key, value) = line.strip_prefix("ext-")?.split_once(' ')?;
        let (priority, name) = key.split_once('-')?;
        parse_sha256(value.strip_prefix("sha256:")?)?;
        let name_is_word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (priority.len() == 1 && priority.as_bytes()[0].is_ascii_digit() && name_is_word).then_some(())
    };
    parse().is_some()
}

/// Exactly 64 lower-case digits, as git-lfs demands.
fn parse_sha256(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes();
    if digits.len() != 64 || !digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut sha256 = [0; 32];
    for (byte, pair) in sha256.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    fn size_of(text: &str) -> Option<u64> {
        parse(text.as_bytes()).map(|target| target.size)
    }

    #[test]
    fn canonical_pointers_round_trip() {
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{SHA}\nsize 12345\n");
        let target = parse(text.as_bytes()).unwrap();
        assert_eq!(target.size, 12_345);
        assert_eq!(encode(&target), text);
    }

    #[test]
    fn reads_what_git_lfs_reads() {
        let v1 = "version https://git-lfs.github.com/spec/v1";
        assert_eq!(size_of(&format!("{v1}\noid sha256:{SHA}\nsize 0")), Some(0), "no final line feed");
        assert_eq!(size_of(&format!("{v1}\r\noid sha256:{SHA}\r\nsize 7\r\n")), Some(7), "CRLF");
        assert_eq!(size_of(&format!("{v1}\next-0-foo sha256:{SHA}\noid sha256:{SHA}\nsize 7\n")), Some(7));
        assert_eq!(
            size_of(&format!("version https://hawser.github.com/spec/v1\noid sha256:{SHA}\nsize 7\n")),
            Some(7)
        );
    }

    #[test]
    fn the_rest_are_ordinary_files() {
        let v1 = "version https://git-lfs.github.com/spec/v1";
        for text in [
            String::new(),
            "weights".into(),
            format!("{v1}\n"),
            format!("version 3\noid sha256:{SHA}\nsize 7\n"),
            format!("{v1}\noid sha1:{SHA}\nsize 7\n"),
            format!("{v1}\noid sha256:{}\nsize 7\n", SHA.to_uppercase()),
            format!("{v1}\noid sha256:{SHA}\nsize -7\n"),
            format!("{v1}\noid sha256:{SHA}\nsize \n"),
            format!("{v1}\noid sha256:{SHA}\nsize 99999999999999999999\n"),
            format!("{v1}\nsize 7\noid sha256:{SHA}\n"),
            format!("{v1}\noid sha256:{SHA}\nsize 7\nmore 1\n"),
            format!("{v1}\next-0- sha256:{SHA}\noid sha256:{SHA}\nsize 7\n"),
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_bound_is_1024_bytes() {
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{SHA}\nsize 7\n");
        let padded = |length: usize| format!("{text}{}", "\n".repeat(length - text.len()));
        assert_eq!(size_of(&padded(1023)), Some(7));
        assert_eq!(size_of(&padded(1024)), None);
    }
}
