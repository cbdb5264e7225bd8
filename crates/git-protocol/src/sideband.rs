//! Side bands: the pack, progress and errors over one stream, as packets whose payload begins with the band's number.

use std::io::{self, Write};

use crate::pktline;

/// An empty packet on the data band: says "still working" and is ignored by every client.
pub const KEEPALIVE: &[u8; 5] = b"0005\x01";

/// What a side-band packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Band {
    /// The pack, or the report of a push.
    Data = 1,
    /// Shown as `remote: …`.
    Progress = 2,
    /// Shown as `remote: error: …`, and ends the request.
    Error = 3,
}

/// How a stream is cut into packets; which one the client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// No side band: bare bytes, nothing but the pack.
    Raw,
    /// `side-band`: packets of at most 1000 bytes.
    Small,
    /// `side-band-64k` and protocol v2: packets of at most 65520 bytes.
    Large,
}

impl Framing {
    /// Data bytes in a full packet; `None` if bytes are not framed.
    pub fn payload_max(self) -> Option<usize> {
        match self {
            Framing::Raw => None,
            Framing::Small => Some(1000 - 5),
            Framing::Large => Some(65520 - 5),
        }
    }
}

/// The five bytes before `payload_len` bytes on `band`; at most [`Framing::payload_max`] of them.
pub fn frame_header(band: Band, payload_len: usize) -> [u8; 5] {
    let [a, b, c, d] = pktline::header(payload_len + 1);
    [a, b, c, d, band as u8]
}

/// Appends `text` on `band`, in as many packets as it needs. Nothing is written for [`Framing::Raw`].
pub fn append(out: &mut Vec<u8>, framing: Framing, band: Band, bytes: &[u8]) {
    let Some(max) = framing.payload_max() else { return };
    for chunk in bytes.chunks(max) {
        out.extend_from_slice(&frame_header(band, chunk.len()));
        out.extend_from_slice(chunk);
    }
}

/// Frames what is written to it on the data band, in packets as long as the client allows.
pub struct Sideband<W> {
    out: W,
    framing: Framing,
    /// Data that does not fill a packet yet.
    pending: Vec<u8>,
}

impl<W: Write> Sideband<W> {
    pub fn new(out: W, framing: Framing) -> Sideband<W> {
        Sideband { out, framing, pending: Vec::new() }
    }

    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// Text for the user's terminal; ends in `\n`, or in `\r` where the next one replaces it.
    pub fn progress(&mut self, text: &str) -> io::Result<()> {
        self.other_band(Band::Progress, text)
    }

    /// Says why the stream ends early. The client takes it as the end.
    pub fn error(&mut self, text: &str) -> io::Result<()> {
        self.other_band(Band::Error, text)
    }

    /// Lets the client hear from us: pending data if there is some, else an empty packet.
    pub fn keepalive(&mut self) -> io::Result<()> {
        match self.framing {
            Framing::Raw => Ok(()),
            _ if self.pending.is_empty() => self.out.write_all(KEEPALIVE),
            _ => self.write_pending(),
        }
    }

    /// Writes what is pending and the flush packet that ends the stream.
    pub fn finish(mut self) -> io::Result<()> {
        self.write_pending()?;
        if self.framing != Framing::Raw {
            self.out.write_all(pktline::FLUSH)?;
        }
        self.out.flush()
    }

    fn other_band(&mut self, band: Band, text: &str) -> io::Result<()> {
        self.write_pending()?;
        let mut packets = Vec::with_capacity(text.len() + 5);
        append(&mut packets, self.framing, band, text.as_bytes());
        self.out.write_all(&packets)
    }

    fn write_pending(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.out.write_all(&frame_header(Band::Data, self.pending.len()))?;
            self.out.write_all(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }
}

impl<W: Write> Write for Sideband<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(max) = self.framing.payload_max() else { return self.out.write(bytes) };
        let mut rest = bytes;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(max - self.pending.len()));
            if chunk.len() == max {
                // A full packet needs no copy.
                self.out.write_all(&frame_header(Band::Data, max))?;
                self.out.write_all(chunk)?;
            } else {
                self.pending.extend_from_slice(chunk);
                if self.pending.len() == max {
                    self.write_pending()?;
                }
            }
            rest = after;
        }
        Ok(bytes.len())
    }

    /// Passes on what is pending, as a short packet.
    fn flush(&mut self) -> io::Result<()> {
        self.write_pending()?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pktline::{Packet, Packets};

    fn framed(framing: Framing, writes: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sideband = Sideband::new(&mut out, framing);
        let mut count = 0usize;
        for &len in writes {
            let bytes: Vec<u8> = (count..count + len).map(|n| n as u8).collect();
            count += len;
            sideband.write_all(&bytes).unwrap();
        }
        sideband.finish().unwrap();
        out
    }

    #[test]
    fn packets_are_full_whatever_the_writes() {
        for framing in [Framing::Small, Framing::Large] {
            let max = framing.payload_max().unwrap();
            for writes in
                [vec![3 * max + 7], vec![1, max, max, max, 6], vec![max - 1, 1, 2 * max + 7], vec![1; max]]
            {
                let out = framed(framing, &writes);
                let total: usize = writes.iter().sum();
                let mut data = Vec::new();
                let mut lens = Vec::new();
                let mut packets: Vec<_> = Packets::new(&out).map(Result::unwrap).collect();
                assert_eq!(packets.pop(), Some(Packet::Flush));
                for packet in packets {
                    let Packet::Data([1, payload @ ..]) = packet else { panic!("{packet:?}") };
                    data.extend_from_slice(payload);
                    lens.push(payload.len());
                }
                assert!(data.iter().enumerate().all(|(i, &byte)| byte == i as u8) && data.len() == total);
                assert!(lens[..lens.len() - 1].iter().all(|&len| len == max), "{lens:?}");
            }
        }
        assert_eq!(framed(Framing::Raw, &[3, 2]), [0, 1, 2, 3, 4]);
        assert_eq!(framed(Framing::Large, &[]), b"0000");
    }

    #[test]
    fn bands_keep_their_order() {
        let mut out = Vec::new();
        let mut sideband = Sideband::new(&mut out, Framing::Large);
        sideband.keepalive().unwrap();
        sideband.write_all(b"ab").unwrap();
        sideband.progress("Total 1\n").unwrap();
        sideband.write_all(b"c").unwrap();
        sideband.keepalive().unwrap();
        sideband.error("out of luck").unwrap();
        sideband.finish().unwrap();
        assert_eq!(out, b"0005\x010007\x01ab000d\x02Total 1\n0006\x01c0010\x03out of luck0000");
    }
}
