//! Files back, whole and in ranges, by the hub and by clients.

use std::ops::Range;

use database::Repo;
use xet::xorb::{Compression, Decoder};
use xet::{ReconstructError, Reconstruction};

use crate::store::{Hub, Made, hub, made, read};
use crate::support::{Random, make};

/// As a client makes it of what it is told.
async fn fetched(hub: &Hub, plan: &Reconstruction) -> Vec<u8> {
    let addresses = hub.cas.addresses("http://hub/x").await.unwrap();
    let mut bytes = Vec::new();
    for term in &plan.terms {
        let fetch = plan
            .fetches
            .iter()
            .find(|fetch| xet::Hash::from(fetch.xorb.hash) == term.xorb_hash)
            .expect("because each term has its xorb");
        let within = |range: &&xet::FetchRange| {
            range.chunks.start <= term.chunks.start && term.chunks.end <= range.chunks.end
        };
        let range = fetch.ranges.iter().find(within).expect("because each term is in a range");
        let url = addresses.of(&fetch.xorb, &range.bytes);
        let local = hub.cas.open_address(url.strip_prefix("http://hub/x/").unwrap()).await.unwrap();
        let mut reader = local.reader(range.bytes.clone()).await.unwrap().unwrap();
        let mut packed = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            packed.extend_from_slice(&piece);
        }
        assert_eq!(packed.len() as u64, local.len());
        let (mut decoder, mut input, mut chunks) = (Decoder::default(), &packed[..], Vec::new());
        loop {
            let mut raw = Vec::new();
            if decoder.next_chunk(&mut input, &mut raw).unwrap().is_none() {
                break;
            }
            chunks.push(raw);
        }
        assert_eq!(decoder.finish().unwrap(), range.chunks.end - range.chunks.start);
        let skip = (term.chunks.start - range.chunks.start) as usize;
        let content = chunks[skip..][..term.chunks.len()].concat();
        assert_eq!(content.len(), term.unpacked_length as usize);
        bytes.extend_from_slice(&content);
    }
    let start = usize::try_from(plan.offset_into_first_range).unwrap();
    bytes[start..][..(plan.range.end - plan.range.start) as usize].to_vec()
}

async fn check(hub: &Hub, repo: &Repo, made: &Made, range: Range<u64>) {
    let expected = &made.content[range.start as usize..range.end.min(made.size()) as usize];
    let plan = hub.cas.reconstruct(&hub.reader(repo), &made.hash, Some(range.clone())).await.unwrap();
    assert!(fetched(hub, &plan).await == expected, "{range:?} by a client");
    assert!(u64::from(plan.terms[0].unpacked_length) > plan.offset_into_first_range);
    let file = hub.db.xet_file_of(repo.id, &made.hash.into()).unwrap().unwrap();
    let stream = hub.cas.stream(&file, range.start..range.end.min(made.size())).await.unwrap();
    assert!(read(stream).await == expected, "{range:?} by the hub");
}

#[tokio::test]
async fn every_range_is_what_it_is_of_the_file() {
    let hub = hub().await;
    for (kind, compression) in
        [("text", Compression::Lz4), ("floats", Compression::Bg4Lz4), ("random", Compression::None)]
    {
        let mut made = made(&make(kind, 11, 2_500_000), 9, compression);
        made.split_term(1);
        hub.upload(&hub.repo, &made).await;
        let size = made.size();
        let mut edges = vec![0, 1, size - 1, size];
        let mut at = 0u64;
        for term in &made.terms {
            at += u64::from(term.raw_bytes);
            edges.extend([at - 1, at, at + 1]);
        }
        edges.retain(|edge| *edge <= size);
        edges.sort_unstable();
        edges.dedup();
        for pair in edges.windows(2) {
            check(&hub, &hub.repo, &made, pair[0]..pair[1]).await;
        }
        let mut random = Random(7);
        for _ in 0..40 {
            let start = random.next() % size;
            check(&hub, &hub.repo, &made, start..start + 1 + random.next() % (size - start)).await;
        }
        for range in [0..size, 0..u64::MAX, size - 1..u64::MAX, 0..1, size / 2..size] {
            check(&hub, &hub.repo, &made, range).await;
        }
    }
    hub.assert_sound();
}

#[tokio::test]
async fn chunks_that_lie_together_are_fetched_together() {
    let hub = hub().await;
    let mut made = made(&make("random", 12, 2_000_000), 100, Compression::None);
    for _ in 0..4 {
        made.split_term(0);
    }
    hub.upload(&hub.repo, &made).await;
    let plan = hub.cas.reconstruct(&hub.reader(&hub.repo), &made.hash, None).await.unwrap();
    assert_eq!((plan.terms.len(), plan.fetches.len(), plan.fetches[0].ranges.len()), (5, 1, 1));
    let range = &plan.fetches[0].ranges[0];
    assert_eq!((*range.bytes.start(), *range.bytes.end() + 1), (0, made.xorbs[0].1.len() as u64));
    assert_eq!(plan.offset_into_first_range, 0);
    assert_eq!(fetched(&hub, &plan).await, made.content);
}

#[tokio::test]
async fn a_file_of_zeros_names_one_chunk_again_and_again() {
    let hub = hub().await;
    let mut zeros = made(&vec![0; 128 * 1024], 20, Compression::Smallest);
    let mut tree = xet::merkle::Tree::default();
    let chunk = xet::hash::chunk_hash(&zeros.content);
    (0..500).for_each(|_| tree.push(chunk, 128 * 1024));
    zeros.hash = tree.file_hash();
    zeros.terms = vec![zeros.terms[0]; 500];
    zeros.verification = vec![zeros.verification[0]; 500];
    zeros.content = vec![0; 500 * 128 * 1024];
    hub.upload(&hub.repo, &zeros).await;
    let plan = hub.cas.reconstruct(&hub.reader(&hub.repo), &zeros.hash, None).await.unwrap();
    assert_eq!((plan.terms.len(), plan.fetches[0].ranges.len()), (500, 1));
    assert!(hub.read(&hub.repo, &zeros).await.unwrap() == zeros.content);
    check(&hub, &hub.repo, &zeros, 131_000..400_000).await;
}

#[tokio::test]
async fn a_file_is_there_only_for_who_has_it_and_only_as_long_as_it_is() {
    let hub = hub().await;
    let made = made(&make("text", 13, 600_000), 20, Compression::Lz4);
    let registered = hub.upload(&hub.repo, &made).await;
    let size = made.size();
    for range in [size..size + 1, size + 5..u64::MAX, 5..5] {
        let beyond = hub.cas.reconstruct(&hub.reader(&hub.repo), &made.hash, Some(range)).await;
        assert!(matches!(beyond, Err(ReconstructError::Beyond { size: said }) if said == size));
    }
    assert_eq!(hub.cas.file_size(&hub.reader(&hub.repo), &made.hash).unwrap(), size);
    for repo in [&hub.fork, &hub.secret] {
        let missing = hub.cas.reconstruct(&hub.reader(repo), &made.hash, None).await;
        assert!(matches!(missing, Err(ReconstructError::NotFound)));
        assert!(matches!(hub.cas.file_size(&hub.reader(repo), &made.hash), Err(ReconstructError::NotFound)));
    }
    assert!(hub.db.remove_link(hub.repo.id, registered.sha256).await.unwrap());
    let removed = hub.cas.reconstruct(&hub.reader(&hub.repo), &made.hash, None).await;
    assert!(matches!(removed, Err(ReconstructError::NotFound)));
    hub.assert_sound();
}

#[tokio::test]
async fn bytes_that_rot_are_an_error_and_fsck_says_which() {
    let hub = hub().await;
    let made = made(&make("text", 14, 1_500_000), 10, Compression::Lz4);
    hub.upload(&hub.repo, &made).await;
    assert_eq!(hub.findings().await, [""; 0]);
    let xorb = hub.db.xorb(&made.xorbs[1].0.into()).unwrap().unwrap();
    let path = hub.directory.path().join(xorb.storage_key());
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[8] ^= 0xff;
    std::fs::write(&path, &bad).unwrap();
    let file = hub.db.xet_file_of(hub.repo.id, &made.hash.into()).unwrap().unwrap();
    let mut stream = hub.cas.stream(&file, 0..file.size).await.unwrap();
    let mut read = 0;
    let failed = loop {
        match stream.next().await {
            Ok(Some(piece)) => read += piece.len() as u64,
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(failed && read < file.size && stream.next().await.is_err(), "it never ends as if it were whole");
    let found = hub.findings().await;
    assert!(found.len() == 1 && found[0].contains(&xorb.storage_key()), "{found:?}");
    std::fs::remove_file(&path).unwrap();
    assert!(hub.findings().await[0].ends_with("its bytes are gone"));
    std::fs::write(&path, &good).unwrap();
    std::fs::write(hub.directory.path().join(xorb.index_key()), b"XETINDEX").unwrap();
    assert!(hub.findings().await[0].contains("index"), "{:?}", hub.findings().await);
}
