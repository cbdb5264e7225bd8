//! Where a new pack blob is written to: memory while it is small, a file once it is not.

use std::fmt;
use std::io::{self, BufWriter, Write};

use bytes::Bytes;
use storage::TempFile;

/// A pack blob up to this size lives in its row.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Large packs are written in pieces of this size.
const BUFFER_BYTES: usize = 256 * 1024;

/// A pack blob that is written but not durable.
pub enum Blob {
    /// At most [`INLINE_BYTES_MAX`]: goes into the row.
    Inline(Bytes),
    /// Not fsynced.
    File(TempFile),
}

impl Blob {
    /// The bytes; a file is mapped.
    pub fn bytes(&self) -> io::Result<Bytes> {
        match self {
            Blob::Inline(bytes) => Ok(bytes.clone()),
            Blob::File(file) => storage::map_file(file.as_file()),
        }
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blob::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Blob::File(file) => f.debug_tuple("File").field(&file.path()).finish(),
        }
    }
}

/// Makes a [`Blob`] of what is written; `open` is called when it gets too large for memory.
pub(crate) struct BlobWriter<F> {
    memory: Vec<u8>,
    file: Option<BufWriter<TempFile>>,
    open: Option<F>,
}

impl<F: FnOnce() -> io::Result<TempFile>> BlobWriter<F> {
    pub(crate) fn new(open: F) -> BlobWriter<F> {
        BlobWriter { memory: Vec::new(), file: None, open: Some(open) }
    }

    /// So many `bytes` are going to be written: memory is not filled in vain.
    pub(crate) fn expect(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > INLINE_BYTES_MAX as u64 { self.spill() } else { Ok(()) }
    }

    pub(crate) fn finish(self) -> io::Result<Blob> {
        match self.file {
            None => Ok(Blob::Inline(self.memory.into())),
            Some(file) => Ok(Blob::File(file.into_inner().map_err(io::IntoInnerError::into_error)?)),
        }
    }

    fn spill(&mut self) -> io::Result<()> {
        if let Some(open) = self.open.take() {
            let mut file = BufWriter::with_capacity(BUFFER_BYTES, open()?);
            file.write_all(&std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        Ok(())
    }
}

impl<F: FnOnce() -> io::Result<TempFile>> Write for BlobWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.memory.len() + bytes.len() > INLINE_BYTES_MAX {
            self.spill()?;
        }
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => self.memory.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}
