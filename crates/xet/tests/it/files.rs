//! Where files are cut and how they are named, by the client's own word.

use std::time::{Duration, Instant};

use xet::chunker::Chunker;
use xet::hash::{chunk_hash, range_hash};
use xet::merkle::{Tree, xorb_hash};
use xet::{Hash, merkle};

use crate::support::{Random, make, table};

/// Hash and length of each chunk, from pieces of random sizes up to `piece_max`.
fn chunks(bytes: &[u8], piece_max: u64) -> Vec<(Hash, u64)> {
    let (mut chunker, mut random, mut rest) = (Chunker::default(), Random(piece_max), bytes);
    let mut chunks = Vec::new();
    let mut chunk = |content: &[u8]| chunks.push((chunk_hash(content), content.len() as u64));
    while !rest.is_empty() {
        let piece;
        let len = 1 + (random.next() % piece_max) as usize;
        (piece, rest) = rest.split_at(len.min(rest.len()));
        chunker.push(piece, &mut chunk);
    }
    chunker.finish(chunk);
    chunks
}

#[test]
fn files_are_cut_and_named_as_clients_do() {
    let vectors = table("files.txt");
    assert!(vectors.len() > 60);
    for (key, values) in vectors {
        let [kind, seed, len] = key.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let bytes = make(kind, seed.parse().unwrap(), len.parse().unwrap());
        let [count, file_hash, xorb_hash, range_hash] = values.try_into().unwrap();
        let whole = chunks(&bytes, u64::MAX);
        assert_eq!(whole.len(), count.parse::<usize>().unwrap(), "{key}");
        let tree = Tree::from_iter(whole.iter().copied());
        assert_eq!(tree.clone().file_hash().to_string(), file_hash, "{key}");
        assert_eq!(tree.xorb_hash().to_string(), xorb_hash, "{key}");
        let hashes: Vec<[u8; 32]> = whole.iter().map(|(hash, _)| *hash.as_bytes()).collect();
        assert_eq!(self::range_hash(&hashes).to_string(), range_hash, "{key}");
        for piece_max in [100, 10_000, 1_000_000] {
            assert_eq!(chunks(&bytes, piece_max), whole, "{key} in pieces of up to {piece_max}");
        }
    }
}

fn numbered(count: u32) -> impl Iterator<Item = (Hash, u64)> {
    (0..count).map(|number| (chunk_hash(&number.to_le_bytes()), u64::from(number % 100_000) + 1))
}

#[test]
fn trees_are_grouped_as_clients_do() {
    for (count, values) in table("trees.txt") {
        let [xorb_hash, file_hash] = values.try_into().unwrap();
        let count = count.parse().unwrap();
        assert_eq!(self::xorb_hash(numbered(count)).to_string(), xorb_hash, "{count}");
        assert_eq!(merkle::file_hash(numbered(count)).to_string(), file_hash, "{count}");
    }
}

/// Of the Internet-Draft draft-denis-xet, appendix C.
#[test]
fn the_published_hashes() {
    let hash = chunk_hash(b"Hello World!");
    assert_eq!(hash.to_string(), "d8d408e608fb9ca213b9909a65d86d725f2de4d8d540324be8a363e7a6e228cb");
    assert_eq!(
        xorb_hash([(hash, 12), (hash, 12)]).to_string(),
        "b0482dcf03ae602ed601f4ca6f763b214d8bb541d3d85a0704994a4730815069"
    );
    assert_eq!(
        range_hash(&[*hash.as_bytes()]).to_string(),
        "89cb63458e98cb4c75be6b50a5a7b7234b82f05d5348e6925fb71aaf5dc3862b"
    );
}

/// A shard of 64 MiB names about 1.3 million chunks.
#[test]
fn large_trees_take_little_time() {
    let chunks: Vec<_> = numbered(1_300_000).collect();
    let started = Instant::now();
    merkle::file_hash(chunks);
    let taken = started.elapsed();
    // Ten times what it takes, for busy machines.
    assert!(taken < Duration::from_secs(2), "{taken:?}");
}
