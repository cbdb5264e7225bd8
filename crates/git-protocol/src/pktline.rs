//! pkt-lines: four hexadecimal digits of length (which count themselves), then the payload; lengths 0, 1 and 2 are
//! the special packets. <https://git-scm.com/docs/protocol-common>

/// Payload bytes of the longest packet.
pub const PAYLOAD_MAX: usize = 65516;

/// What special packets look like on the wire.
pub const FLUSH: &[u8; 4] = b"0000";
pub const DELIM: &[u8; 4] = b"0001";
pub const RESPONSE_END: &[u8; 4] = b"0002";

/// One packet of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The payload as sent, final line feed included.
    Data(&'a [u8]),
    Flush,
    Delim,
    ResponseEnd,
}

/// Why bytes are not pkt-lines. The texts are git's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error("protocol error: bad line length character: {0}")]
    LengthDigits(String),
    #[error("protocol error: bad line length {0}")]
    Length(u16),
    /// The bytes end within a packet or where one must follow.
    #[error("the remote end hung up unexpectedly")]
    Truncated,
}

/// The packets of a byte slice. Ends at the end of the slice or after the first error.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> Packets<'a> {
    pub fn new(bytes: &'a [u8]) -> Packets<'a> {
        Packets { rest: bytes, failed: false }
    }

    /// What no packet was read from yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next packet where one must follow: the end of the slice is [`PacketError::Truncated`].
    pub fn expect_next(&mut self) -> Result<Packet<'a>, PacketError> {
        self.next().unwrap_or(Err(PacketError::Truncated))
    }

    fn split(&mut self) -> Result<Packet<'a>, PacketError> {
        let (digits, rest) = self.rest.split_first_chunk::<4>().ok_or(PacketError::Truncated)?;
        let packet = match length(digits)? {
            0 => Packet::Flush,
            1 => Packet::Delim,
            2 => Packet::ResponseEnd,
            3 => return Err(PacketError::Length(3)),
            len if usize::from(len) > PAYLOAD_MAX + 4 => return Err(PacketError::Length(len)),
            len => {
                let (payload, rest) =
                    rest.split_at_checked(usize::from(len) - 4).ok_or(PacketError::Truncated)?;
                self.rest = rest;
                return Ok(Packet::Data(payload));
            }
        };
        self.rest = rest;
        Ok(packet)
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let packet = self.split();
        self.failed = packet.is_err();
        Some(packet)
    }
}

/// A payload as a line: without its one final line feed.
pub fn line(payload: &[u8]) -> &[u8] {
    payload.strip_suffix(b"\n").unwrap_or(payload)
}

/// Appends `payload` as one packet; as several if it is longer than [`PAYLOAD_MAX`], so that framing never breaks.
pub fn data(out: &mut Vec<u8>, payload: &[u8]) {
    let mut rest = payload;
    loop {
        let (chunk, after) = rest.split_at(rest.len().min(PAYLOAD_MAX));
        out.extend_from_slice(&header(chunk.len()));
        out.extend_from_slice(chunk);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
}

/// Appends `text` and a line feed as one packet.
pub fn text(out: &mut Vec<u8>, text: &str) {
    let start = begin(out);
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
    end(out, start);
}

/// Appends the packet by which a server ends a request that it cannot answer; git prints `remote error: <message>`.
pub fn error(out: &mut Vec<u8>, message: &str) {
    let start = begin(out);
    out.extend_from_slice(b"ERR ");
    out.extend_from_slice(crate::text::clip(message, PAYLOAD_MAX - 4).as_bytes());
    end(out, start);
}

/// The complete body that refuses a request.
pub fn error_body(message: &str) -> bytes::Bytes {
    let mut out = Vec::with_capacity(message.len() + 8);
    error(&mut out, message);
    out.into()
}

/// Reserves the length of a packet; the caller appends the payload and then calls [`end`].
pub(crate) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(b"0000");
    start
}

/// Fills in the length of the packet begun at `start`. A payload over [`PAYLOAD_MAX`] is cut: no line that this server
/// builds from bounded input gets there.
pub(crate) fn end(out: &mut Vec<u8>, start: usize) {
    out.truncate(start + 4 + PAYLOAD_MAX);
    let digits = header(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&digits);
}

/// The length digits of a packet with `payload_len` ≤ [`PAYLOAD_MAX`] bytes.
pub(crate) fn header(payload_len: usize) -> [u8; 4] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let len = payload_len + 4;
    [12, 8, 4, 0].map(|shift| DIGITS[len >> shift & 15])
}

fn length(digits: &[u8; 4]) -> Result<u16, PacketError> {
    let mut value = 0;
    for &digit in digits {
        let digit = char::from(digit)
            .to_digit(16)
            .ok_or_else(|| PacketError::LengthDigits(crate::text::quote(digits)))?;
        value = value << 4 | digit as u16;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(bytes: &[u8]) -> Vec<Result<Packet<'_>, PacketError>> {
        Packets::new(bytes).collect()
    }

    #[test]
    fn packets_of_every_kind() {
        let mut out = Vec::new();
        text(&mut out, "hi");
        out.extend(FLUSH);
        out.extend(DELIM);
        out.extend(RESPONSE_END);
        data(&mut out, b"");
        data(&mut out, b"x");
        error(&mut out, "no");
        assert_eq!(out, b"0007hi\n00000001000200040005x000aERR no");
        use Packet::{Data, Delim, Flush, ResponseEnd};
        let expected = [Data(b"hi\n"), Flush, Delim, ResponseEnd, Data(b""), Data(b"x"), Data(b"ERR no")];
        assert_eq!(packets(&out), expected.map(Ok));
        assert_eq!(line(b"hi\n"), b"hi");
        assert_eq!(line(b"hi\n\n"), b"hi\n");
        assert_eq!(packets(b"000Ahello\n"), [Ok(Data(b"hello\n"))]);
    }

    #[test]
    fn malformed_lengths() {
        let text = |bytes| packets(bytes).pop().unwrap().unwrap_err().to_string();
        assert_eq!(text(b"00zzhello"), "protocol error: bad line length character: 00zz");
        assert_eq!(text(b"0003"), "protocol error: bad line length 3");
        assert_eq!(text(b"fff1"), "protocol error: bad line length 65521");
        assert_eq!(text(b"ffff"), "protocol error: bad line length 65535");
        for cut in [&b"0"[..], b"000", b"0005", b"0006a", b"fff0"] {
            assert_eq!(text(cut), "the remote end hung up unexpectedly");
        }
        assert_eq!(packets(b"00000003ignored").len(), 2, "nothing follows an error");
        assert_eq!(Packets::new(b"").expect_next(), Err(PacketError::Truncated));
    }

    #[test]
    fn the_longest_packet_and_one_more() {
        let payload = vec![b'x'; PAYLOAD_MAX];
        let mut out = Vec::new();
        data(&mut out, &payload);
        assert_eq!(&out[..4], b"fff0");
        assert_eq!(packets(&out), [Ok(Packet::Data(&payload))]);
        out.clear();
        data(&mut out, &[&payload[..], b"y"].concat());
        assert_eq!(packets(&out), [Ok(Packet::Data(&payload)), Ok(Packet::Data(b"y"))]);
        out.clear();
        error(&mut out, &"é".repeat(PAYLOAD_MAX));
        assert!(matches!(packets(&out)[..], [Ok(Packet::Data(text))] if std::str::from_utf8(text).is_ok()));
    }
}
