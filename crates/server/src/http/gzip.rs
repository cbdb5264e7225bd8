//! gzip, in both directions: request bodies are inflated within a bound, large listings deflated once.

use std::io::{self, BufRead, Read, Write};

use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, header};

/// Inflates a stream into room that the caller has for it, so that nothing comes out that was not counted before.
pub(crate) struct Inflater(GzDecoder<Input>);

/// What was received and not inflated yet.
struct Input {
    deflated: Bytes,
    ended: bool,
}

impl Inflater {
    pub(crate) fn new() -> Inflater {
        Inflater(GzDecoder::new(Input { deflated: Bytes::new(), ended: false }))
    }

    /// All input was used, and more is to come.
    pub(crate) fn is_hungry(&self) -> bool {
        let Input { deflated, ended } = self.0.get_ref();
        deflated.is_empty() && !ended
    }

    /// The next input, when [`Inflater::is_hungry`]; `None` at its end.
    pub(crate) fn feed(&mut self, deflated: Option<Bytes>) {
        *self.0.get_mut() = Input { ended: deflated.is_none(), deflated: deflated.unwrap_or_default() };
    }

    /// Fills the start of `out`, which is not empty, and returns how many bytes: 0 if there is no input for more. `None`
    /// after the end of a whole stream. Fails if it is no such stream, was cut short, or something comes after it.
    pub(crate) fn next(&mut self, out: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0.read(out) {
            Ok(0) if !self.0.get_ref().deflated.is_empty() => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "data after the end of the gzip stream"))
            }
            Ok(0) => Ok(None),
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.deflated.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.deflated)
    }

    fn consume(&mut self, count: usize) {
        self.deflated.advance(count);
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.len().min(out.len());
        self.deflated.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

/// Deflates what is written into it on its way to `out`; for listings of refs, of which hashes are the most and
/// compress little.
pub(crate) fn compressor<W: Write>(out: W) -> GzEncoder<W> {
    GzEncoder::new(out, Compression::fast())
}

/// Whether the client takes gzip: it is named, or `*` is, with a weight that is not 0.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| ["gzip", "x-gzip", "*"].iter().any(|g| g.eq_ignore_ascii_case(name)));
        named && !parts.any(|part| matches!(part.strip_prefix("q=").map(str::parse::<f32>), Some(Ok(0.0))))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn compress(bytes: &[u8]) -> Bytes {
        let mut compressor = compressor(Vec::new());
        compressor.write_all(bytes).unwrap();
        compressor.finish().unwrap().into()
    }

    /// As a body that arrives in pieces of `step` bytes.
    fn inflate(mut input: Bytes, step: usize) -> io::Result<Vec<u8>> {
        let mut inflater = Inflater::new();
        let mut out = Vec::new();
        let mut room = [0; 1000];
        loop {
            if inflater.is_hungry() {
                let piece = (!input.is_empty()).then(|| input.split_to(step.min(input.len())));
                inflater.feed(piece);
            }
            match inflater.next(&mut room)? {
                Some(count) => out.extend_from_slice(&room[..count]),
                None if input.is_empty() => return Ok(out),
                None => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    #[test]
    fn what_was_deflated_is_inflated() {
        for len in [0, 1, 5000, 1_000_000] {
            let bytes: Vec<u8> = (0..len).map(|at: usize| (at * at / 7) as u8).collect();
            for step in [1, 7, 4096, usize::MAX] {
                assert!(inflate(compress(&bytes), step).unwrap() == bytes, "{len} by {step}");
            }
        }
    }

    #[test]
    fn broken_streams_are_errors() {
        let inflate = |input| inflate(input, 100);
        let whole = compress(&[7; 100_000]);
        for cut in [0, 1, 9, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
            assert!(inflate(whole.slice(..cut)).is_err(), "cut at {cut}");
        }
        let mut wrong_checksum = whole.to_vec();
        let at = wrong_checksum.len() - 6;
        wrong_checksum[at] ^= 1;
        assert!(inflate(wrong_checksum.into()).is_err());
        assert!(inflate(Bytes::from_static(b"0032want ...")).is_err());
        let trailing = [&whole[..], b"more"].concat();
        assert!(inflate(trailing.into()).is_err());
    }

    #[test]
    fn a_bomb_comes_out_only_as_far_as_there_is_room() {
        let mut inflater = Inflater::new();
        inflater.feed(Some(compress(&vec![0; 64 << 20])));
        let mut room = vec![1; 65_536];
        for _ in 0..3 {
            let count = inflater.next(&mut room).unwrap().unwrap();
            assert!((1..=room.len()).contains(&count));
        }
        assert!(!inflater.is_hungry(), "the rest is as it came");
    }

    #[test]
    fn who_takes_gzip() {
        for (value, takes) in [
            ("gzip", true),
            ("deflate, gzip, br, zstd", true),
            ("x-gzip;q=0.5", true),
            ("*", true),
            ("GZIP", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, br", false),
            ("identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), takes, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
