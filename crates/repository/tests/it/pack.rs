//! The pack blob: written, read, damaged.

use bytes::Bytes;
use database::{Oid, PackId, PackKind};
use repository::pack::{BlobBuilder, EntryHeader, EntrySource, PackError};
use repository::pointer::Pointer;
use repository::{Kind, Pack, object};

use crate::support::*;

fn open(blob: impl Into<Bytes>) -> Result<Pack, PackError> {
    Pack::from_blob(PackId::new(), PackKind::Receive, false, 1, blob.into())
}

fn blobs(count: u32) -> Vec<(Kind, Vec<u8>)> {
    (0..count).map(|n| blob(format!("content {n}"))).collect()
}

#[test]
fn round_trips_with_and_without_fanout() {
    for count in [0, 1, 3, 255, 256, 257, 3000] {
        let objects = blobs(count);
        let pack = craft_pack(&objects);
        assert_eq!(pack.objects(), count);
        for (nth, object) in (0..).zip(&objects) {
            let index = pack.find(&id(object)).unwrap();
            assert_eq!(pack.oid(index), id(object));
            assert_eq!((pack.kind_of(index), pack.size_of(index)), (Kind::Blob, object.1.len() as u64));
            assert_eq!(pack.in_pack_order(nth), index);
            assert_eq!(pack.index_at_offset(pack.offset_of(index)), Some(index));
            let entry = pack.entry(index).unwrap();
            assert_eq!(
                (entry.header, entry.inflated_size),
                (EntryHeader::Whole(Kind::Blob), object.1.len() as u64)
            );
            let bytes = &pack.pack_bytes()[pack.offset_of(index) as usize..][..entry.entry_len as usize];
            assert_eq!(crc32fast::hash(bytes), pack.crc32_of(index));
        }
        for missing in [Oid::NULL, Oid([0xff; 20]), object::hash(Kind::Blob, b"missing")] {
            assert_eq!(pack.find(&missing), None);
        }
        assert_eq!(pack.index_at_offset(13), None);
        assert_eq!(pack.verify(None), Vec::<String>::new());
        Git::init().index_pack(&pack.pack_bytes()).unwrap();
    }
}

#[test]
fn the_sidecar_of_a_small_pack_is_small() {
    let pack = craft_pack(&blobs(3));
    assert!(pack.blob().len() - pack.pack_bytes().len() < 200);
}

#[test]
fn offsets_and_sums_are_those_of_gits_index() {
    let git = Git::with_history(20);
    let pack = git.pack(&["--delta-base-offset"], "--all\n");
    let ours = ingested(&pack, &empty()).pack().clone();
    std::fs::write(git.path().join("x.pack"), &pack).unwrap();
    git.run(&["index-pack", "x.pack"]);
    let index = std::fs::read(git.path().join("x.idx")).unwrap();
    let lines = String::from_utf8(git.run_with(&["show-index"], &index)).unwrap();
    let expected: Vec<String> = (0..ours.objects())
        .map(|i| format!("{} {} ({:08x})", ours.offset_of(i), ours.oid(i), ours.crc32_of(i)))
        .collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn entries_are_copied_with_new_headers() {
    let git = Git::with_history(30);
    let source = ingested(&git.pack(&[], "--all\n"), &empty()).pack().clone();
    let mut blob = Vec::new();
    let mut builder = BlobBuilder::new(&mut blob, source.objects()).unwrap();
    let mut offsets = vec![None; source.objects() as usize];
    // Bases first.
    let mut open: Vec<u32> = (0..source.objects()).collect();
    while !open.is_empty() {
        open.retain(|&index| {
            let entry = source.entry(index).unwrap();
            let base = match entry.header {
                EntryHeader::Whole(_) => None,
                EntryHeader::OfsDelta { base_offset } => source.index_at_offset(base_offset),
                EntryHeader::RefDelta { base } => source.find(&base),
            };
            let header = match base.map(|base| offsets[base as usize]) {
                None => entry.header,
                Some(Some(base_offset)) => EntryHeader::OfsDelta { base_offset },
                Some(None) => return true,
            };
            let copied =
                EntrySource { header, inflated_size: entry.inflated_size, compressed: entry.compressed };
            let (oid, kind, size) = (source.oid(index), source.kind_of(index), source.size_of(index));
            offsets[index as usize] = Some(builder.raw(oid, kind, size, copied).unwrap());
            false
        });
    }
    source.pointers().for_each(|pointer| builder.pointer(pointer));
    let built = builder.finish().unwrap();
    assert_eq!((built.objects, built.bytes), (source.objects(), blob.len() as u64));
    let copy = self::open(blob).unwrap();
    assert_eq!(copy.pack_bytes().len() as u64, built.pack_len);
    assert_eq!(copy.verify(None), Vec::<String>::new());
    assert!(copy.pointers().eq(source.pointers()) && copy.pointers().len() == 30);
    Git::init().index_pack(&copy.pack_bytes()).unwrap();
}

#[test]
fn the_builder_refuses_what_would_be_corrupt() {
    let object = blob("x");
    let mut short = BlobBuilder::new(Vec::new(), 2).unwrap();
    short.whole(id(&object), object.0, &object.1).unwrap();
    assert!(short.finish().is_err(), "fewer objects than announced");
    let mut twice = BlobBuilder::new(Vec::new(), 2).unwrap();
    twice.whole(id(&object), object.0, &object.1).unwrap();
    twice.whole(id(&object), object.0, &object.1).unwrap();
    assert!(twice.finish().is_err(), "an object twice");
    let mut forward = BlobBuilder::new(Vec::new(), 1).unwrap();
    let header = EntryHeader::OfsDelta { base_offset: forward.offset() };
    let source = EntrySource { header, inflated_size: 1, compressed: b"" };
    assert!(forward.raw(id(&object), Kind::Blob, 1, source).is_err(), "a base that does not stand before");
}

#[test]
fn damage_is_found_and_never_panics() {
    let pointer = Pointer { blob: Oid::NULL, sha256: [3; 32], size: 9 };
    let text = blob(repository::pointer::encode(&repository::pointer::Target { sha256: [3; 32], size: 9 }));
    let mut bytes = Vec::new();
    let mut builder = BlobBuilder::new(&mut bytes, 4).unwrap();
    for object in blobs(3).iter().chain([&text]) {
        builder.whole(id(object), object.0, &object.1).unwrap();
    }
    builder.pointer(Pointer { blob: id(&text), ..pointer });
    builder.finish().unwrap();
    assert_eq!(open(bytes.clone()).unwrap().verify(None), Vec::<String>::new());
    for at in 0..bytes.len() {
        assert!(open(bytes[..at].to_vec()).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(pack) = open(damaged) {
                assert_ne!(pack.verify(None), Vec::<String>::new(), "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn a_wrong_list_of_pointers_is_found() {
    let text = blob(pointer_text(7));
    let build = |pointers: &[Pointer]| {
        let mut bytes = Vec::new();
        let mut builder = BlobBuilder::new(&mut bytes, 1).unwrap();
        builder.whole(id(&text), text.0, &text.1).unwrap();
        pointers.iter().for_each(|pointer| builder.pointer(*pointer));
        builder.finish().unwrap();
        open(bytes).unwrap().verify(None).len()
    };
    let right = Pointer { blob: id(&text), sha256: [0xab; 32], size: 7 };
    assert_eq!(build(&[right]), 0);
    assert_eq!(build(&[]), 1);
    assert_eq!(build(&[Pointer { size: 8, ..right }]), 1);
    assert_eq!(build(&[right, Pointer { blob: Oid([0xff; 20]), ..right }]), 1);
}
