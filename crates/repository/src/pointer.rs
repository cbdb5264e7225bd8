//! The Git LFS pointer: a small text blob that stands for a large object. A fact about blobs, hence here.
//!
//! Reads what git-lfs itself reads when it looks for objects to fetch and to push, and writes the canonical form of
//! <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>. Where the specification is stricter than git-lfs,
//! git-lfs counts: a pointer that only the client sees is an object that nobody asks for before the clone fails.
//!
//! In one case git-lfs disagrees with itself: its smudge filter also takes a file of 1024 bytes and more whose first
//! 1024 are a pointer and white space, though no other part of it fetches or pushes the object. That is an ordinary
//! file here.

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
    let text = trim(blob)?;
    let mut extensions = Extensions::default();
    let mut fields = [None; 3];
    let mut seen = 0;
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        // Nothing stands behind `size`. Before it, extensions may stand anywhere.
        let field = fields.get_mut(seen)?;
        if !extensions.take(line)? {
            *field = Some(line);
            seen += 1;
        }
    }
    let [Some(version), Some(oid), Some(size)] = fields else { return None };
    let version = std::str::from_utf8(version.strip_prefix(b"version ")?).ok()?;
    if !VERSIONS.contains(&version) || !extensions.are_valid() {
        return None;
    }
    let sha256 = parse_sha256(oid.strip_prefix(b"oid sha256:")?)?;
    // As Go reads a number: one sign and leading zeros are fine.
    let size = std::str::from_utf8(size.strip_prefix(b"size ")?).ok()?.parse::<i64>().ok()?;
    Some(Target { sha256, size: u64::try_from(size).ok()? })
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

/// Without white space (Unicode's) around it. `None` if it cannot be a pointer by how it begins, which is so for nearly
/// every blob that is looked at. Need not be UTF-8: the name of an extension may hold any byte.
fn trim(blob: &[u8]) -> Option<&[u8]> {
    let head = blob.utf8_chunks().next()?.valid();
    let text = &blob[head.len() - head.trim_start().len()..];
    if !text.starts_with(b"version ") && !text.starts_with(b"ext-") {
        return None;
    }
    let tail = text.utf8_chunks().last()?;
    let white =
        if tail.invalid().is_empty() { tail.valid().len() - tail.valid().trim_end().len() } else { 0 };
    Some(&text[..text.len() - white])
}

/// The extensions of a pointer by their priority: the key of each, and whether its value is an oid. git-lfs keeps them
/// by key and looks at them last: of a key given twice the last value counts, of a priority there is but one key.
#[derive(Default)]
struct Extensions<'a>([Option<(&'a [u8], bool)>; 10]);

impl<'a> Extensions<'a> {
    /// `Some(false)` if the line is no extension, `None` if it is one that makes the blob an ordinary file.
    fn take(&mut self, line: &'a [u8]) -> Option<bool> {
        let Some(at) = line.iter().position(|&byte| byte == b' ') else { return Some(false) };
        let (key, value) = (&line[..at], &line[at + 1..]);
        // One digit, then a name of which only the first character matters.
        let [b'e', b'x', b't', b'-', priority @ b'0'..=b'9', b'-', first, ..] = key else {
            return Some(false);
        };
        if !first.is_ascii_alphanumeric() && *first != b'_' {
            return Some(false);
        }
        let slot = &mut self.0[usize::from(priority - b'0')];
        if slot.is_some_and(|(other, _)| other != key) {
            return None;
        }
        *slot = Some((key, value.strip_prefix(b"sha256:").and_then(parse_sha256).is_some()));
        Some(true)
    }

    fn are_valid(&self) -> bool {
        self.0.iter().flatten().all(|&(_, valid)| valid)
    }
}

/// Exactly 64 lower-case digits, as git-lfs demands.
fn parse_sha256(digits: &[u8]) -> Option<[u8; 32]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if digits.len() != 64 {
        return None;
    }
    let mut sha256 = [0; 32];
    for (byte, pair) in sha256.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    #[test]
    fn canonical_pointers_round_trip() {
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{SHA}\nsize 12345\n");
        let target = parse(text.as_bytes()).unwrap();
        assert_eq!(target.size, 12_345);
        assert_eq!(encode(&target), text);
    }
}
