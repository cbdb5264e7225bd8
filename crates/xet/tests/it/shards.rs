//! Shards as clients send them, as we answer with, and as they must not be.

use xet::hash::{chunk_hash, keyed};
use xet::shard::{Chunk, DedupAnswer, Limits, Shard, ShardError, Term, Writer};
use xet::{Hash, xorb};

use crate::support::{data, make, read};

fn parse(bytes: &[u8]) -> Result<Shard<'_>, ShardError> {
    Shard::parse(bytes, &Limits::default())
}

/// Written again, which keeps all that is read.
fn rewritten(shard: &Shard<'_>) -> Vec<u8> {
    let mut writer = Writer::default();
    for file in shard.files() {
        let terms: Vec<Term> = file.terms().collect();
        let verification: Option<Vec<Hash>> = file.verification().map(Iterator::collect);
        writer.push_file(&file.hash, &terms, verification.as_deref(), file.sha256());
    }
    for xorb in shard.xorbs() {
        writer.push_xorb(&xorb.hash, xorb.bytes_on_disk, xorb.chunks());
    }
    writer.finish()
}

/// As hf_xet 1.8.0 sent it, after the xorb of the same name.
#[test]
fn a_shard_of_the_client() {
    let bytes = data("client.shard");
    let shard = parse(&bytes).unwrap();
    let [xorb] = shard.xorbs().collect::<Vec<_>>().try_into().ok().unwrap();
    let index = read(&data("client.xorb"), 4096, xorb::Limits::default(), &xorb.hash).unwrap();
    assert_eq!((xorb.raw_bytes, xorb.bytes_on_disk), (index.raw_len(), 0));
    let chunks = index.iter(0..index.chunks()).unwrap();
    assert!(chunks.map(|c| (c.hash, c.raw_start, c.raw_len)).eq(xorb.chunks().map(|c| (
        c.hash,
        c.raw_start,
        c.raw_len
    ))));
    let mut sizes = Vec::new();
    for file in shard.files() {
        let [term] = file.terms().collect::<Vec<_>>().try_into().unwrap();
        let chunks = term.chunk_start..term.chunk_end;
        assert_eq!(term.xorb_hash, xorb.hash);
        let raw = index.raw_range(chunks.clone()).unwrap();
        assert_eq!(term.raw_bytes, raw.end - raw.start);
        let proof: Vec<_> = file.verification().unwrap().collect();
        assert_eq!(proof, [index.range_hash(chunks.clone()).unwrap()]);
        let chunks = index.iter(chunks).unwrap().map(|chunk| (chunk.hash, u64::from(chunk.raw_len)));
        assert_eq!(xet::merkle::file_hash(chunks), file.hash);
        sizes.push((term.raw_bytes, Hash::from_sha256(file.sha256().unwrap()).to_string()));
    }
    sizes.sort();
    // The digests are those of `sha256sum`.
    let expected = [
        (5000, "dd3a432454c1065b515e6ba93eb82e2f546a82abf2707b8e664c8fdcd2eb4dd7"),
        (12_000, "903bde6a8080d6796c03522b3e17c7a10560ebce253f5c86c65674ac6d16cef1"),
        (30_001, "536acfe3cda00a061b76c087857df01498ba7c1c1d611a4140919093c083a4bd"),
        (140_000, "5ddf0bd1fcbedb5422fab270707e94e3eb8c402ef9bafa8c3cb5b35a03dfaf6e"),
    ];
    assert_eq!(sizes, expected.map(|(len, sha256)| (len, sha256.to_owned())));
    assert_eq!(rewritten(&shard), bytes);
}

/// Byte by byte what a codec says that the client was seen to take.
#[test]
fn an_answer_is_keyed() {
    let xorb = data("frames.xorb");
    let expected = "99b9a89ff5e38c5cb9f1fb30a0625258c02c1181f7f056909bfdae3818a8531e".parse().unwrap();
    let index = read(&xorb, 4096, xorb::Limits::default(), &expected).unwrap();
    let key = std::array::from_fn(|at| at as u8);
    let mut answer = DedupAnswer::new(key);
    answer.push_xorb(&index);
    let bytes = answer.bytes();
    let answer = answer.finish(1_900_000_000, 2_000_000_000);
    assert_eq!(answer.len(), bytes);
    assert_eq!(answer, data("answer.shard"));
    let shard = parse(&answer).unwrap();
    assert_eq!(shard.files().count(), 0);
    let [read] = shard.xorbs().collect::<Vec<_>>().try_into().ok().unwrap();
    assert_eq!((read.hash, read.raw_bytes), (expected, index.raw_len()));
    assert_eq!(read.bytes_on_disk, index.serialized_len());
    let repeats = chunk_hash(&make("repeats", 300, 131_072));
    assert_eq!(read.chunks().next().map(|chunk| chunk.hash), Some(keyed(&repeats, &key)));
}

fn hash(number: u32) -> Hash {
    chunk_hash(&number.to_le_bytes())
}

fn term(chunk_start: u32, chunk_end: u32) -> Term {
    Term { xorb_hash: hash(100), raw_bytes: 10, chunk_start, chunk_end }
}

fn chunk(number: u32) -> Chunk {
    Chunk { hash: hash(number), raw_start: number * 5, raw_len: 5, flags: Chunk::IS_DEDUP_KEY * (number % 2) }
}

/// Four files with all the records that they may or may not have, and two xorbs.
fn shard() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.push_file(&hash(1), &[term(0, 2), term(1, 3)], Some(&[hash(7), hash(8)]), Some([9; 32]));
    writer.push_file(&hash(2), &[term(0, 8192)], None, Some([10; 32]));
    writer.push_file(&hash(3), &[term(8191, 8192)], Some(&[hash(11)]), None);
    writer.push_file(&Hash::ZERO, &[], None, None);
    writer.push_xorb(&hash(100), 77, (0..3).map(chunk));
    writer.push_xorb(&hash(101), 78, (0..0).map(chunk));
    writer.finish()
}

#[test]
fn every_record_is_read() {
    let bytes = shard();
    let shard = parse(&bytes).unwrap();
    let files: Vec<_> = shard.files().collect();
    let shapes = files.iter().map(|file| {
        (file.terms().len(), file.verification().map(|hashes| hashes.len()), file.sha256().map(|sha| sha[0]))
    });
    let expected = [(2, Some(2), Some(9)), (1, None, Some(10)), (1, Some(1), None), (0, None, None)];
    assert!(shapes.eq(expected));
    assert!(files[0].terms().eq([term(0, 2), term(1, 3)]));
    let xorbs: Vec<_> = shard.xorbs().collect();
    assert_eq!((xorbs.len(), xorbs[0].raw_bytes, xorbs[0].bytes_on_disk), (2, 15, 77));
    assert!(xorbs[0].chunks().eq((0..3).map(chunk)));
    assert_eq!(xorbs[1].chunks().len(), 0);
    assert_eq!(rewritten(&shard), bytes);
}

/// Some clients announce a footer and send none, some send one, with tables.
#[test]
fn what_follows_is_not_read() {
    let mut bytes = shard();
    bytes[40..48].copy_from_slice(&200u64.to_le_bytes());
    assert_eq!(rewritten(&parse(&bytes).unwrap()), shard());
    for more in [1, 47, 48, 200, 1000] {
        let longer = [bytes.clone(), vec![0xff; more]].concat();
        assert_eq!(rewritten(&parse(&longer).unwrap()), shard());
    }
}

/// Where the list of files ends, and where the whole does.
fn ends() -> (usize, usize) {
    (48 * (1 + 6 + 3 + 3 + 1 + 1), 48 * (1 + 6 + 3 + 3 + 1 + 1 + 4 + 1 + 1))
}

#[test]
fn shards_that_end_early() {
    let bytes = shard();
    let (files, all) = ends();
    assert_eq!(bytes.len(), all);
    for end in 0..all {
        let expected = match end {
            0..48 => ShardError::Tag,
            _ if end < files => ShardError::FilesTruncated,
            _ => ShardError::XorbsTruncated,
        };
        assert_eq!(parse(&bytes[..end]).err(), Some(expected), "{end}");
    }
}

#[test]
fn shards_that_make_no_sense() {
    let with = |at: usize, number: u32| {
        let mut bytes = shard();
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        parse(&bytes).err()
    };
    for at in 0..8 {
        assert_eq!(with(4 * at, 0), Some(ShardError::Tag), "{at}");
    }
    assert_eq!(with(32, 1), Some(ShardError::Version(1)));
    assert_eq!(with(36, 1), Some(ShardError::Version(2 + (1 << 32))));
    // The first file, and its first term.
    let (file, first, second) = (48, 96, 144);
    for flags in [1, 0x2000_0000, 0xc000_0001] {
        assert_eq!(with(file + 32, flags), Some(ShardError::FileFlags { file: hash(1), flags }));
    }
    // All of the memory there is, if a count were believed.
    assert_eq!(with(file + 36, u32::MAX), Some(ShardError::FilesTruncated));
    let refused = |term, start, end| ShardError::Term { file: hash(1), term, start, end, max: 8192 };
    assert_eq!(with(first + 40, 2), Some(refused(0, 2, 2)));
    assert_eq!(with(second + 40, u32::MAX), Some(refused(1, u32::MAX, 3)));
    assert_eq!(with(second + 44, 8193), Some(refused(1, 1, 8193)));
    let xorb = ends().0;
    let refused = |chunks| ShardError::TooManyChunks { xorb: hash(100), chunks, max: 8192 };
    assert_eq!(with(xorb + 36, 8193), Some(refused(8193)));
    assert_eq!(with(xorb + 36, u32::MAX), Some(refused(u32::MAX)));
    assert_eq!(with(xorb + 36, 8192), Some(ShardError::XorbsTruncated));
    let message = ShardError::FileFlags { file: Hash::ZERO, flags: 1 }.to_string();
    assert_eq!(message, format!("file {} has flags that are not known: 0x00000001", Hash::ZERO));
}

#[test]
fn shards_are_bounded() {
    let bytes = shard();
    let limits = |max| Limits { bytes: max, ..Limits::default() };
    assert!(Shard::parse(&bytes, &limits(bytes.len())).is_ok());
    let refused = Shard::parse(&bytes, &limits(bytes.len() - 1)).unwrap_err();
    assert_eq!(refused, ShardError::TooLarge { bytes: bytes.len(), max: bytes.len() - 1 });
    assert!(refused.is_too_large());

    let mut writer = Writer::default();
    writer.push_xorb(&hash(1), 0, (0..8192).map(chunk));
    assert!(parse(&writer.finish()).is_ok());
    assert_eq!(Limits::default().bytes, 64 * 1024 * 1024);
}
