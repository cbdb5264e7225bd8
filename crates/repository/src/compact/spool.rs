//! Holds the deltas that a search has found until the pack is written: in memory, then in a file.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use storage::TempFile;

use super::Context;

const MEMORY_MAX: usize = 16 << 20;

pub(super) struct Spool<'a> {
    context: &'a Context<'a>,
    memory: Vec<u8>,
    file: Option<TempFile>,
    /// Length of the file; the memory goes on from here.
    spilled: u64,
}

/// What one [`Spool::push`] has put away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    at: u64,
    length: usize,
}

impl<'a> Spool<'a> {
    pub fn new(context: &'a Context<'a>) -> Spool<'a> {
        Spool { context, memory: Vec::new(), file: None, spilled: 0 }
    }

    pub fn push(&mut self, bytes: &[u8]) -> io::Result<Piece> {
        if !self.memory.is_empty() && self.memory.len() + bytes.len() > MEMORY_MAX {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert((self.context.temp_file)()?),
            };
            file.write_all(&self.memory)?;
            self.spilled += self.memory.len() as u64;
            self.memory.clear();
        }
        let at = self.spilled + self.memory.len() as u64;
        self.memory.extend_from_slice(bytes);
        Ok(Piece { at, length: bytes.len() })
    }

    /// Replaces the content of `out` by the piece.
    pub fn read(&self, piece: Piece, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        match (piece.at.checked_sub(self.spilled), &self.file) {
            (None, Some(file)) => {
                out.resize(piece.length, 0);
                file.as_file().read_exact_at(out, piece.at)
            }
            (at, _) => {
                let at = at.unwrap_or(0) as usize;
                let bytes = self.memory.get(at..at + piece.length);
                out.extend_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_from_memory_and_file() {
        let temp_file = || tempfile::NamedTempFile::new();
        let context = Context { temp_file: &temp_file, keepgoing: &|| true };
        let mut spool = Spool::new(&context);
        let piece = |i: usize| vec![i as u8; MEMORY_MAX / 3 + i];
        let pieces: Vec<_> = (0..8).map(|i| spool.push(&piece(i)).unwrap()).collect();
        let mut out = Vec::new();
        for (i, at) in pieces.into_iter().enumerate() {
            spool.read(at, &mut out).unwrap();
            assert!(out == piece(i));
        }
    }
}
