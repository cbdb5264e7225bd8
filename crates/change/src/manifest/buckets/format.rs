//! What the journal of a bucket says, and under which name.
//!
//! Lines of JSON, the [`Head`] and then each [`FileLine`] in the order of paths, and a last line that seals them: the CRC-32 of
//! all before it in hexadecimal, and the number of files. Written and read line by line.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use database::{BucketFile, BucketHead, BucketId, BucketLine, Visibility, XetHash};
use serde::{Deserialize, Serialize};
use xet::{Hash, Recipe};

use super::super::ManifestError;
use super::super::format::DELETED;

const FORMAT: u32 = 1;
/// Of a line, in bytes. A file has at most as many terms as fit into a shard, which is far less.
const LINE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    format: u32,
    pub(super) version: i64,
    pub(super) path: String,
    /// The namespace is an organisation's.
    pub(super) org: bool,
    pub(super) public: bool,
}

/// A file at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileLine {
    pub(super) path: String,
    /// In bytes.
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mtime_ms: Option<i64>,
    pub(super) uploaded_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    hash: String,
    /// At the first path of a file that is not empty: of each term the xorb, its first chunk, and the one behind the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<Vec<(String, u32, u32)>>,
}

impl From<BucketHead> for Head {
    fn from(head: BucketHead) -> Head {
        let BucketHead { version, path, of_org, visibility } = head;
        let public = visibility == Visibility::Public;
        Head { format: FORMAT, version, path: path.to_string(), org: of_org, public }
    }
}

impl From<BucketLine> for FileLine {
    fn from(line: BucketLine) -> FileLine {
        let BucketFile { path, hash, size, mtime_ms, uploaded_ms, content_type, .. } = line.file;
        let term = |(xorb, start, end): (XetHash, u32, u32)| (Hash::from(xorb).to_string(), start, end);
        let terms = line.terms.map(|terms| terms.into_iter().map(term).collect());
        let hash = Hash::from(hash).to_string();
        FileLine { path, size, mtime_ms, uploaded_ms, content_type, hash, terms }
    }
}

impl FileLine {
    /// `None` if it is none: a seal keeps out what time does to bytes, but not what people do.
    pub(super) fn hash(&self) -> Option<Hash> {
        self.hash.parse().ok()
    }

    /// `None` where nothing says what it is made of: it is empty, or a line before says it.
    pub(super) fn recipe(&self) -> Option<Recipe> {
        let term = |(xorb, start, end): &(String, u32, u32)| Some((xorb.parse().ok()?, *start, *end));
        let terms = self.terms.as_ref()?.iter().map(term).collect::<Option<_>>()?;
        Some(Recipe { hash: self.hash()?, terms })
    }
}

/// A journal that is being written.
pub(super) struct Writer<W> {
    out: W,
    pub(super) version: i64,
    crc32: crc32fast::Hasher,
    files: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(out: W, head: &Head) -> Result<Writer<W>, ManifestError> {
        let crc32 = crc32fast::Hasher::new();
        let mut writer = Writer { out, version: head.version, crc32, files: 0 };
        writer.line(head)?;
        Ok(writer)
    }

    pub(super) fn file(&mut self, file: &FileLine) -> Result<(), ManifestError> {
        self.files += 1;
        self.line(file)
    }

    pub(super) fn finish(mut self) -> Result<W, ManifestError> {
        writeln!(self.out, "{:08x} {}", self.crc32.finalize(), self.files)?;
        Ok(self.out)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), ManifestError> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.crc32.update(&bytes);
        Ok(self.out.write_all(&bytes)?)
    }
}

/// The files of a journal. What is wrong with it may come out only at its end.
pub(super) struct Lines<R> {
    input: R,
    crc32: crc32fast::Hasher,
    files: u64,
    /// The line that comes next, with its newline; the last one is the seal.
    ahead: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn begin(input: R) -> Result<(Head, Lines<R>), String> {
        let crc32 = crc32fast::Hasher::new();
        let mut lines = Lines { input, crc32, files: 0, ahead: Vec::new() };
        lines.ahead = lines.read_line()?.ok_or("it is empty")?;
        let head: Head = lines.take_line()?.ok_or("it is cut short")?;
        match head.format {
            FORMAT => Ok((head, lines)),
            other => Err(format!("format {other} is not known")),
        }
    }

    /// `None` once all of them were read, and proved to be what was written.
    pub(super) fn next(&mut self) -> Result<Option<FileLine>, String> {
        let line = self.take_line()?;
        self.files += u64::from(line.is_some());
        Ok(line)
    }

    /// All that are left; how many there are.
    pub(super) fn read_to_end(mut self) -> Result<u64, String> {
        while self.next()?.is_some() {}
        Ok(self.files)
    }

    fn take_line<T: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<T>, String> {
        let Some(next) = self.read_line()? else {
            let seal = format!("{:08x} {}\n", self.crc32.clone().finalize(), self.files);
            return match self.ahead == seal.as_bytes() {
                true => Ok(None),
                false => Err("its checksum does not match".to_owned()),
            };
        };
        let line = std::mem::replace(&mut self.ahead, next);
        self.crc32.update(&line);
        serde_json::from_slice(&line).map(Some).map_err(|error| error.to_string())
    }

    fn read_line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        let mut bounded = self.input.by_ref().take(LINE_BYTES_MAX);
        match bounded.read_until(b'\n', &mut line).map_err(|error| error.to_string())? {
            0 => Ok(None),
            _ if line.last() == Some(&b'\n') => Ok(Some(line)),
            _ => Err("it is cut short".to_owned()),
        }
    }
}

pub(super) fn directory(bucket: BucketId) -> String {
    format!("manifests/{}/{}", super::DIRECTORY, bucket.0)
}

/// The version that a file tells of.
pub(super) fn parse_file_name(name: &str) -> Option<i64> {
    name.parse().ok()
}

/// The newest file in a bucket's directory, and the version that it tells of. `None` if there is nothing to tell, or the bucket
/// was deleted.
pub(super) fn newest(directory: &Path) -> std::io::Result<Option<(i64, PathBuf)>> {
    if directory.join(DELETED).exists() {
        return Ok(None);
    }
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut newest: Option<(i64, PathBuf)> = None;
    for entry in entries {
        let entry = entry?;
        let version = entry.file_name().to_str().and_then(parse_file_name);
        let Some(version) = version else { continue };
        if newest.as_ref().is_none_or(|(known, _)| version > *known) {
            newest = Some((version, entry.path()));
        }
    }
    Ok(newest)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn written() -> (Head, Vec<FileLine>, Vec<u8>) {
        let head =
            Head { format: FORMAT, version: 7, path: "ada/files".to_owned(), org: false, public: true };
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        let file = |path: &str, hash: &str, terms| FileLine {
            path: path.to_owned(),
            size: 9,
            mtime_ms: Some(-1),
            uploaded_ms: 12,
            content_type: Some("text/plain".to_owned()),
            hash: hash.to_owned(),
            terms,
        };
        let empty = FileLine {
            size: 0,
            mtime_ms: None,
            content_type: None,
            ..file("a\nb \"é\"", &"0".repeat(64), None)
        };
        let files = vec![empty, file("c", &one, Some(vec![(two, 0, 3)])), file("d/e", &one, None)];
        let mut writer = Writer::begin(Vec::new(), &head).unwrap();
        files.iter().for_each(|file| writer.file(file).unwrap());
        let bytes = writer.finish().unwrap();
        (head, files, bytes)
    }

    fn read(bytes: &[u8]) -> Result<u64, String> {
        Lines::begin(bytes)?.1.read_to_end()
    }

    #[test]
    fn what_is_written_is_read() {
        let (head, files, bytes) = written();
        let (found, mut lines) = Lines::begin(&bytes[..]).unwrap();
        assert_eq!(found, head);
        for file in &files {
            assert_eq!(lines.next().unwrap().as_ref(), Some(file));
        }
        assert_eq!(lines.next(), Ok(None));
        assert_eq!(files[1].recipe().unwrap().terms.len(), 1);
        assert_eq!((files[0].recipe(), files[2].recipe()), (None, None));
        let none = Writer::begin(Vec::new(), &head).unwrap().finish().unwrap();
        assert_eq!(read(&none), Ok(0));
    }

    #[test]
    fn every_flipped_bit_is_found_and_every_cut() {
        let (_, _, bytes) = written();
        assert_eq!(read(&bytes), Ok(3));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert!(read(&bad).is_err(), "bit {bit} of byte {at}");
            }
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
        for more in ["\n", "x", "{}\n"] {
            assert!(read(&[&bytes, more.as_bytes()].concat()).is_err(), "{more:?} behind it");
        }
    }

    #[test]
    fn another_format_is_not_guessed_at() {
        let head = Head { format: 2, ..written().0 };
        let bytes = Writer::begin(Vec::new(), &head).unwrap().finish().unwrap();
        assert_eq!(read(&bytes).unwrap_err(), "format 2 is not known");
    }
}
