//! Where a new pack is written to: memory while it is small, a file once it is not.

use std::io::{self, BufWriter, Write};

use bytes::Bytes;
use storage::TempFile;

use crate::ingest::INLINE_BYTES_MAX;

/// A pack blob that is written but not durable: `Inline` up to [`INLINE_BYTES_MAX`].
#[derive(Debug)]
pub enum Blob {
    Inline(Bytes),
    File(TempFile),
}

pub(super) struct BlobWriter<'a> {
    temp_file: &'a dyn Fn() -> io::Result<TempFile>,
    memory: Vec<u8>,
    file: Option<BufWriter<TempFile>>,
}

impl<'a> BlobWriter<'a> {
    pub fn new(temp_file: &'a dyn Fn() -> io::Result<TempFile>) -> BlobWriter<'a> {
        BlobWriter { temp_file, memory: Vec::new(), file: None }
    }

    pub fn finish(self) -> io::Result<Blob> {
        match self.file {
            None => Ok(Blob::Inline(self.memory.into())),
            Some(file) => Ok(Blob::File(file.into_inner().map_err(io::IntoInnerError::into_error)?)),
        }
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            return file.write(bytes);
        }
        if self.memory.len() + bytes.len() <= INLINE_BYTES_MAX {
            self.memory.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let mut file = BufWriter::with_capacity(1 << 18, (self.temp_file)()?);
        file.write_all(&std::mem::take(&mut self.memory))?;
        self.file.insert(file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}
