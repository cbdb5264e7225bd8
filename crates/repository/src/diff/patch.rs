//! The differences of two trees as text.

use std::sync::Arc;

use database::Oid;

use super::{Change, Changes, lines};
use crate::tree::Found;
use crate::{Kind, ReadError, Snapshot};

/// Bounds of a patch. Beyond each of them a line says what is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a file's content: a larger one is only named.
    pub file_bytes_max: u64,
    /// Of the old and the new file together: what they cost in memory.
    pub file_lines_max: usize,
    /// Of both, between the first and the last difference: what they cost in time, which grows faster than they do.
    pub file_lines_compared_max: usize,
    pub files_max: usize,
    /// Of the whole text; the file that goes beyond it is the last one.
    pub bytes_max: u64,
    /// Entries of trees that are looked at.
    pub entries_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file_bytes_max: 10 << 20,
            file_lines_max: 1_000_000,
            file_lines_compared_max: 50_000,
            files_max: 100_000,
            bytes_max: 256 << 20,
            entries_max: 10_000_000,
        }
    }
}

/// What `git diff --full-index --no-renames` prints, made piece by piece. (Of lines that are all alike, others than git's may
/// be shown as the ones that are gone.)
pub struct Patch {
    changes: Changes,
    limits: Limits,
    files: usize,
    bytes: u64,
    is_done: bool,
}

/// So much of a file is looked at, as by git.
const BINARY_BYTES: usize = 8000;

impl Patch {
    /// `None` is the empty tree.
    pub fn new(
        snapshot: Arc<Snapshot>,
        old: Option<Oid>,
        new: Option<Oid>,
        limits: Limits,
    ) -> Result<Patch, ReadError> {
        let changes = Changes::new(snapshot, old, new)?;
        Ok(Patch { changes, limits, files: 0, bytes: 0, is_done: false })
    }

    /// Appends at least `bytes` of what follows, always up to the end of a file; less only at the end of all. False if
    /// that is reached.
    pub fn write(&mut self, bytes: usize, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        let start = out.len();
        while !self.is_done && out.len() - start < bytes {
            let before = out.len();
            self.write_next(out)?;
            self.bytes += (out.len() - before) as u64;
        }
        Ok(!self.is_done)
    }

    fn write_next(&mut self, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let Some(change) = self.changes.next(self.limits.entries_max)? else {
            self.is_done = true;
            if self.changes.entries() > self.limits.entries_max {
                out.extend_from_slice(b"The rest is left out: these trees are too large to be compared.\n");
            }
            return Ok(());
        };
        if self.files == self.limits.files_max || self.bytes > self.limits.bytes_max {
            self.is_done = true;
            let reason = match self.files == self.limits.files_max {
                true => format!("more than {} files differ", self.limits.files_max),
                false => format!("this is longer than {} bytes", self.limits.bytes_max),
            };
            out.extend_from_slice(format!("The rest is left out: {reason}.\n").as_bytes());
            return Ok(());
        }
        self.files += 1;
        match (change.old, change.new) {
            // A file that becomes a symbolic link, say, is another one.
            (Some(old), Some(new)) if (old.mode ^ new.mode) & 0o170000 != 0 => {
                let path = change.path;
                self.write_file(&Change { path: path.clone(), old: Some(old), new: None }, out)?;
                self.write_file(&Change { path, old: None, new: Some(new) }, out)
            }
            _ => self.write_file(&change, out),
        }
    }

    fn write_file(&self, change: &Change, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let Change { path, old, new } = change;
        let (a, b) = (quoted(b"a/", path), quoted(b"b/", path));
        out.extend_from_slice(&[b"diff --git ", &a[..], b" ", &b, b"\n"].concat());
        match (old, new) {
            (None, Some(new)) => line(out, format_args!("new file mode {:06o}", new.mode)),
            (Some(old), None) => line(out, format_args!("deleted file mode {:06o}", old.mode)),
            (Some(old), Some(new)) if old.mode != new.mode => {
                line(out, format_args!("old mode {:06o}", old.mode));
                line(out, format_args!("new mode {:06o}", new.mode));
            }
            _ => {}
        }
        let oid = |found: &Option<Found>| found.map_or(Oid::NULL, |found| found.oid);
        if oid(old) == oid(new) {
            return Ok(());
        }
        match (old, new) {
            (Some(old), Some(new)) if old.mode == new.mode => {
                line(out, format_args!("index {}..{} {:06o}", old.oid, new.oid, new.mode));
            }
            _ => line(out, format_args!("index {}..{}", oid(old), oid(new))),
        }
        let nothing: &[u8] = b"/dev/null";
        let a = if old.is_some() { &a[..] } else { nothing };
        let b = if new.is_some() { &b[..] } else { nothing };
        let contents = (self.content(old)?, self.content(new)?);
        let (Some(before), Some(after)) = contents else {
            out.extend_from_slice(&[b"Files ", a, b" and ", b, b" are too large to be compared\n"].concat());
            return Ok(());
        };
        if is_binary(&before) || is_binary(&after) {
            out.extend_from_slice(&[b"Binary files ", a, b" and ", b, b" differ\n"].concat());
            return Ok(());
        }
        if before.is_empty() && after.is_empty() {
            return Ok(());
        }
        if lines_of(&before) + lines_of(&after) > self.limits.file_lines_max
            || compared(&before, &after) > self.limits.file_lines_compared_max
        {
            out.extend_from_slice(
                &[b"Files ", a, b" and ", b, b" have too many lines to be compared\n"].concat(),
            );
            return Ok(());
        }
        // A name with a space would not be told from a date behind it.
        let tab = |name: &[u8]| if name.contains(&b' ') { "\t" } else { "" };
        out.extend_from_slice(&[b"--- ", a, tab(a).as_bytes(), b"\n"].concat());
        out.extend_from_slice(&[b"+++ ", b, tab(b).as_bytes(), b"\n"].concat());
        lines::write(&before, &after, out);
        Ok(())
    }

    /// `None` if it is too large.
    fn content(&self, found: &Option<Found>) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(found) = found else { return Ok(Some(Vec::new())) };
        if !found.is_blob() {
            return Ok(Some(format!("Subproject commit {}\n", found.oid).into_bytes()));
        }
        let snapshot = self.changes.snapshot();
        let size = snapshot.size(&found.oid).ok_or(ReadError::Missing(found.oid))?;
        if size > self.limits.file_bytes_max {
            return Ok(None);
        }
        let mut content = Vec::new();
        snapshot.read_as(&found.oid, Kind::Blob, &mut content)?;
        Ok(Some(content))
    }
}

fn line(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.extend_from_slice(text.to_string().as_bytes());
    out.push(b'\n');
}

fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(BINARY_BYTES)].contains(&0)
}

/// Lines without those that both begin with, and those that both end with. What was only added costs nothing.
fn compared(a: &[u8], b: &[u8]) -> usize {
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[start..], &b[start..]);
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
    if a.is_empty() || b.is_empty() { 0 } else { lines_of(a) + lines_of(b) }
}

fn lines_of(content: &[u8]) -> usize {
    content.iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// As git writes a path: in quotes and as C would, if there is anything unusual in it.
fn quoted(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    let is_plain = |&byte: &u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if path.iter().all(is_plain) {
        return [prefix, path].concat();
    }
    let mut text = vec![b'"'];
    text.extend_from_slice(prefix);
    for byte in path {
        let escape = match byte {
            0x07 => b'a',
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0b => b'v',
            0x0c => b'f',
            b'\r' => b'r',
            b'"' | b'\\' => *byte,
            byte if is_plain(byte) => {
                text.push(*byte);
                continue;
            }
            byte => {
                text.extend_from_slice(format!("\\{byte:03o}").as_bytes());
                continue;
            }
        };
        text.extend_from_slice(&[b'\\', escape]);
    }
    text.push(b'"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_names_are_quoted() {
        assert_eq!(quoted(b"a/", b"plain name"), b"a/plain name");
        assert_eq!(quoted(b"a/", "ä\t\"\x01".as_bytes()), br#""a/\303\244\t\"\001""#);
    }
}
