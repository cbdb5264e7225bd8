//! gzip, in both directions: request bodies are inflated within a bound, large listings deflated once.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use http::{HeaderMap, header};

/// Inflates a stream piece by piece, so that what comes out can be counted before more goes in.
pub(crate) struct Inflater(GzDecoder<Vec<u8>>);

/// Deflate makes at most 1032 bytes of one, so a piece becomes 4 MiB at worst.
const PIECE: usize = 4096;

impl Inflater {
    pub(crate) fn new() -> Inflater {
        Inflater(GzDecoder::new(Vec::new()))
    }

    /// Takes a piece from the front of `input` and returns what it inflates to, which may be nothing yet.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> io::Result<Bytes> {
        let mut piece = input.split_to(input.len().min(PIECE));
        while !piece.is_empty() {
            let taken = self.0.write(&piece)?;
            if taken == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "data after the end of the gzip stream",
                ));
            }
            bytes::Buf::advance(&mut piece, taken);
        }
        // Inflated bytes are passed on with the next piece, or here.
        self.0.flush()?;
        Ok(std::mem::take(self.0.get_mut()).into())
    }

    /// What is left after the last piece. Fails if the stream was cut short or its checksum is wrong.
    pub(crate) fn finish(&mut self) -> io::Result<Bytes> {
        self.0.try_finish()?;
        Ok(std::mem::take(self.0.get_mut()).into())
    }
}

/// In one go; for whole listings of refs, of which hashes are the most and compress little.
pub(crate) fn compress(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map(Bytes::from)
        .expect("because memory takes all writes")
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

    fn inflate(mut input: Bytes) -> io::Result<Vec<u8>> {
        let mut inflater = Inflater::new();
        let mut out = Vec::new();
        while !input.is_empty() {
            out.extend_from_slice(&inflater.next(&mut input)?);
        }
        out.extend_from_slice(&inflater.finish()?);
        Ok(out)
    }

    #[test]
    fn what_was_deflated_is_inflated() {
        for len in [0, 1, 5000, 1_000_000] {
            let bytes: Vec<u8> = (0..len).map(|at: usize| (at * at / 7) as u8).collect();
            assert!(inflate(compress(&bytes)).unwrap() == bytes, "{len}");
        }
    }

    #[test]
    fn broken_streams_are_errors() {
        let whole = compress(&[7; 100_000]);
        for cut in [1, 9, whole.len() / 2, whole.len() - 1] {
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
    fn a_bomb_comes_out_in_pieces_that_can_be_counted() {
        let mut bomb = compress(&vec![0; 64 << 20]);
        let mut inflater = Inflater::new();
        let mut most = 0;
        while !bomb.is_empty() {
            most = most.max(inflater.next(&mut bomb).unwrap().len());
        }
        assert!(most <= PIECE * 1032 + 64 * 1024, "{most}");
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
