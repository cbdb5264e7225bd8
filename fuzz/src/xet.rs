//! What must hold for any bytes that a Xet client sends. Shared by the fuzz targets and by the test that replays their
//! corpora.

use xet::hash::chunk_hash;
use xet::shard::{self, Shard};
use xet::xorb::{Compression, Decoder, Limits, Reader, Writer, XorbError};
use xet::{Hash, Index};

/// The first byte says in what pieces the rest comes. However that is, it is the same xorb, whose chunks decode to
/// what was hashed, or the same error, which can be told to the client.
pub fn xet_xorb(data: &[u8]) {
    let Some((&piece, body)) = data.split_first() else { return };
    let whole = read(body, body.len().max(1), &Hash::ZERO);
    assert_eq!(read(body, usize::from(piece).max(1), &Hash::ZERO), whole);
    let error = whole.expect_err("because no chunks are named by zeros");
    told(&error.to_string());
    let XorbError::Mismatch { found, .. } = error else { return };
    let index = read(body, usize::MAX, &found).expect("because that is its name");
    assert_eq!(Index::parse(index.as_bytes()).as_ref(), Ok(&index));

    let (mut input, rest) = body.split_at(index.serialized_len() as usize);
    assert!(rest.is_empty() || rest.starts_with(b"XETBLOB"));
    let (mut decoder, mut raw) = (Decoder::default(), Vec::new());
    let mut writer = Writer::new(Limits::default());
    for chunk in index.iter(0..index.chunks()).expect("because these are all") {
        let start = raw.len();
        assert_eq!(decoder.next_chunk(&mut input, &mut raw), Ok(Some(chunk.raw_len as usize)));
        assert_eq!(chunk_hash(&raw[start..]), chunk.hash);
        assert_eq!(writer.push(&raw[start..], Compression::Smallest), Ok(()));
    }
    assert_eq!(decoder.finish(), Ok(index.chunks()));
    assert_eq!(raw.len(), index.raw_len() as usize);
    let (written, written_index) = writer.finish().expect("because there are chunks");
    assert_eq!(read(&written, usize::MAX, &found), Ok(written_index));
}

/// A shard within small limits, which says the same if it is written again, or an error that can be told to the client.
pub fn xet_shard(data: &[u8]) {
    if let Err(error) = Index::parse(data) {
        told(&error.to_string());
    }
    let limits = shard::Limits { bytes: 4096, chunks: 64 };
    let shard = match Shard::parse(data, &limits) {
        Ok(shard) => shard,
        Err(error) => return told(&error.to_string()),
    };
    let mut writer = shard::Writer::default();
    for file in shard.files() {
        let terms: Vec<shard::Term> = file.terms().collect();
        assert!(terms.iter().all(|term| term.chunk_start < term.chunk_end && term.chunk_end <= 64));
        let verification: Option<Vec<Hash>> = file.verification().map(Iterator::collect);
        writer.push_file(&file.hash, &terms, verification.as_deref(), file.sha256());
    }
    for xorb in shard.xorbs() {
        assert!(xorb.chunks().len() <= 64);
        writer.push_xorb(&xorb.hash, xorb.bytes_on_disk, xorb.chunks());
    }
    let written = writer.finish();
    assert!(written.len() <= data.len());
    let again = Shard::parse(&written, &limits).expect("because we wrote it");
    assert!(again.files().map(|file| file.hash).eq(shard.files().map(|file| file.hash)));
    assert!(again.files().flat_map(|file| file.terms()).eq(shard.files().flat_map(|file| file.terms())));
    assert!(again.files().map(|file| file.sha256()).eq(shard.files().map(|file| file.sha256())));
    assert!(again.xorbs().flat_map(|xorb| xorb.chunks()).eq(shard.xorbs().flat_map(|xorb| xorb.chunks())));
}

fn read(body: &[u8], piece: usize, expected: &Hash) -> Result<Index, XorbError> {
    let mut reader = Reader::new(Limits { footer_bytes: 4096, ..Limits::default() });
    for piece in body.chunks(piece) {
        reader.push(piece)?;
    }
    reader.finish(expected)
}

/// Messages are short and print on one line.
fn told(message: &str) {
    assert!(message.len() < 1024 && !message.chars().any(char::is_control), "{message:?}");
}
