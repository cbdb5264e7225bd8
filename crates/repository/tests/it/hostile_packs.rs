//! Packs that are damaged, or that were made to do damage.

use bytes::Bytes;
use database::Oid;
use repository::Kind;
use repository::ingest::{IngestError, Limits};

use crate::support::*;

/// A little of everything: whole objects, both kinds of deltas, a tag.
fn small_pack() -> Bytes {
    let file = blob("the quick brown fox jumps over the lazy dog, again and again\n");
    let mut pack = RawPack::new();
    let base = pack.whole(&file);
    pack.ofs_delta(base, &delta(&file.1, 30, b"and falls"));
    pack.ref_delta(id(&file), &delta(&file.1, 20, b"barks"));
    let folder = tree(&[("100644", b"f", id(&file))]);
    pack.whole(&folder);
    let commit = commit(id(&folder), &[]);
    pack.whole(&commit);
    pack.whole(&(Kind::Tag, format!("object {}\ntype commit\ntag t\n\n", id(&commit)).into_bytes()));
    pack.finish()
}

fn refused(pack: &Bytes) -> String {
    try_ingest(pack, &empty(), &Limits::default()).unwrap_err().to_string()
}

#[test]
fn truncated_anywhere() {
    let pack = small_pack();
    assert_eq!(ingested(&pack, &empty()).objects(), 6);
    for length in 0..pack.len() {
        refused(&pack.slice(..length));
        // The same with a trailer that fits, unless that is the pack itself.
        if length != pack.len() - 20 {
            refused(&sealed(pack[..length].to_vec()));
        }
    }
    let mut longer = pack.to_vec();
    longer.push(0);
    refused(&longer.into());
}

#[test]
fn any_flipped_bit() {
    let pack = small_pack();
    for at in 0..pack.len() {
        for bit in 0..8 {
            let mut flipped = pack.to_vec();
            flipped[at] ^= 1 << bit;
            refused(&flipped.into());
        }
    }
}

/// With the checksum made to fit: nothing panics, and what is taken is a sound pack.
#[test]
fn any_flipped_bit_with_a_fitting_checksum() {
    let pack = small_pack();
    let mut taken = 0;
    for at in 0..pack.len() - 20 {
        for bit in 0..8 {
            let mut flipped = pack[..pack.len() - 20].to_vec();
            flipped[at] ^= 1 << bit;
            if let Ok(ingested) = try_ingest(&sealed(flipped), &empty(), &Limits::default()) {
                assert_eq!(ingested.pack().verify(None), Vec::<String>::new());
                taken += 1;
            }
        }
    }
    assert!(taken < pack.len(), "most damage shows: {taken}");
}

#[test]
fn headers_that_are_none() {
    assert_eq!(refused(&Bytes::from_static(b"")), "the pack is cut short");
    assert_eq!(refused(&Bytes::from_static(b"PACK")), "the pack is cut short");
    assert_eq!(refused(&Bytes::from_static(b"<html>")), "not a pack file");
    assert_eq!(refused(&sealed(b"JUNK\0\0\0\x02\0\0\0\0".to_vec())), "not a pack file");
    assert_eq!(refused(&sealed(b"PACK\0\0\0\x04\0\0\0\0".to_vec())), "pack version 4 is not supported");
    assert_eq!(refused(&sealed(b"PACK\0\0\0\x02\0\0\0\x01".to_vec())), "the pack is cut short");
    let error = refused(&sealed(b"PACK\0\0\0\x02\xff\xff\xff\xff".to_vec()));
    assert!(error.starts_with("the pack has 4294967295 objects, more than the 20000000"), "{error}");
    assert_eq!(
        refused(&sealed(b"PACK\0\0\0\x02\0\0\0\0more".to_vec())),
        "there is garbage behind the end of the pack"
    );
}

#[test]
fn deltas_that_lead_nowhere() {
    let (a, b) = (blob("object a"), blob("object b"));
    // Both are deltas on each other.
    let mut cycle = RawPack::new();
    cycle.ref_delta(id(&b), &delta(&b.1, 7, b"a"));
    cycle.ref_delta(id(&a), &delta(&a.1, 7, b"b"));
    assert_eq!(refused(&cycle.finish()), "pack has 2 unresolved deltas");

    let mut missing = RawPack::new();
    let offset = missing.ref_delta(Oid([5; 20]), &delta(&a.1, 7, b"x"));
    missing.ofs_delta(offset, &delta(&a.1, 7, b"y"));
    assert_eq!(refused(&missing.finish()), "pack has 2 unresolved deltas");

    // Into the middle of an entry.
    let mut askew = RawPack::new();
    let offset = askew.whole(&a);
    askew.ofs_delta(offset + 1, &delta(&a.1, 7, b"y"));
    assert_eq!(refused(&askew.finish()), "pack has 1 unresolved deltas");

    let mut wrong_base = RawPack::new();
    let offset = wrong_base.whole(&a);
    wrong_base.ofs_delta(offset, &delta(b"longer than the base", 7, b"y"));
    assert!(refused(&wrong_base.finish()).contains("bad delta"));
}

#[test]
fn an_object_twice() {
    let a = blob("object a");
    let mut whole = RawPack::new();
    whole.whole(&a);
    whole.whole(&a);
    let pack = whole.finish();
    assert_eq!(refused(&pack), format!("object {} occurs twice in the pack", id(&a)));
    assert!(Git::init().index_pack(&pack).is_err(), "git --strict refuses it too");

    let mut by_delta = RawPack::new();
    let offset = by_delta.whole(&a);
    by_delta.ofs_delta(offset, &delta(&a.1, 8, b""));
    assert!(refused(&by_delta.finish()).contains("twice"));
}

/// A redundant copy of a base that is here already, behind the delta that needs it.
#[test]
fn a_base_that_is_in_the_pack_and_in_the_snapshot() {
    let a = blob("object a");
    let base = snapshot(vec![craft_pack(std::slice::from_ref(&a)).into()]);
    let mut pack = RawPack::new();
    pack.ref_delta(id(&a), &delta(&a.1, 7, b"b"));
    pack.whole(&a);
    let ingested = ingested(&pack.finish(), &base);
    assert_eq!(ingested.objects(), 2, "the pack's own copy is used");
    assert_eq!(ingested.external_edges, []);
}

#[test]
fn sizes_that_lie() {
    let error = |pack: RawPack| refused(&pack.finish());
    let mut huge = RawPack::new();
    huge.entry(1, u64::MAX, &[], b"x");
    assert!(error(huge).contains("more than"));
    let mut huge_blob = RawPack::new();
    huge_blob.entry(3, u64::MAX, &[], b"x");
    assert!(error(huge_blob).contains("more than"), "counted as work before it is inflated");
    for size in [0, 3, 5, 1 << 25] {
        let mut lying = RawPack::new();
        lying.entry(3, size, &[], b"four");
        assert!(error(lying).contains("bad object at offset 12"), "{size}");
    }
}

#[test]
fn a_delta_bomb_is_stopped_by_its_announced_size() {
    let base = blob(vec![7; 1 << 16]);
    let copies = |times: usize| {
        let mut instructions = Vec::new();
        for mut size in [base.1.len(), times * base.1.len()] {
            while size > 0x7f {
                instructions.push(size as u8 | 0x80);
                size >>= 7;
            }
            instructions.push(size as u8);
        }
        instructions.extend(vec![0x80; times]);
        instructions
    };
    let pack = |times| {
        let mut pack = RawPack::new();
        let offset = pack.whole(&base);
        pack.ofs_delta(offset, &copies(times));
        pack.finish()
    };
    let limits = Limits { object_bytes: 1 << 20, ..Limits::default() };
    assert!(try_ingest(&pack(16), &empty(), &limits).is_ok());
    let error = try_ingest(&pack(17), &empty(), &limits).unwrap_err();
    assert!(matches!(error, IngestError::ObjectTooLarge { size: 1_114_112, max: 1_048_576, .. }), "{error}");
}

#[test]
fn all_the_work_is_bounded() {
    let base = blob(vec![7; 10_000]);
    let mut pack = RawPack::new();
    let offset = pack.whole(&base);
    let mut work = 10_000 * 2;
    for n in 0..20u8 {
        let delta = delta(&base.1, 9_000, &[n]);
        work += 9_001 + 2 * delta.len() as u64;
        pack.ofs_delta(offset, &delta);
    }
    let pack = pack.finish();
    let limits = |inflated_bytes_total| Limits { inflated_bytes_total, ..Limits::default() };
    assert!(try_ingest(&pack, &empty(), &limits(work)).is_ok());
    let error = try_ingest(&pack, &empty(), &limits(work - 1)).unwrap_err();
    assert!(matches!(error, IngestError::TooMuchWork { .. }), "{error}");
}

#[test]
fn chains_are_as_long_as_git_makes_them() {
    let chain = |length: u32| {
        let mut pack = RawPack::new();
        let mut content = blob("0000 is the start");
        let mut offset = pack.whole(&content);
        for n in 1..=length {
            let next = format!("0000 is no{n}");
            offset = pack.ofs_delta(offset, &delta(&content.1, 8, &next.as_bytes()[8..]));
            content.1 = next.into_bytes();
        }
        (pack.finish(), content)
    };
    let (pack, last) = chain(4095);
    let ingested = ingested(&pack, &empty());
    let mut data = Vec::new();
    ingested.overlay(&empty()).read(&id(&last), &mut data).unwrap();
    assert_eq!(data, last.1);
    let error = try_ingest(&chain(4096).0, &empty(), &Limits::default()).unwrap_err();
    assert!(matches!(error, IngestError::TooDeep { .. }), "{error}");
}

#[test]
fn limits_hold_at_their_bound() {
    let (pack, _) = craft(&[blob("one"), blob("three"), blob(vec![1; 5000])]);
    let length = pack.len() as u64;
    let check = |limits: &dyn Fn(u64) -> Limits, bound: u64| {
        assert!(try_ingest(&pack, &empty(), &limits(bound)).is_ok());
        try_ingest(&pack, &empty(), &limits(bound - 1)).unwrap_err().to_string()
    };
    let error = check(&|pack_bytes| Limits { pack_bytes, ..Limits::default() }, length);
    assert!(error.starts_with(&format!("the pack has {length} bytes, more than")), "{error}");
    let error = check(&|objects| Limits { objects: objects as u32, ..Limits::default() }, 3);
    assert!(error.starts_with("the pack has 3 objects, more than the 2"), "{error}");
    let error = check(&|object_bytes| Limits { object_bytes, ..Limits::default() }, 5000);
    assert!(error.contains("has 5000 bytes, more than the 4999"), "{error}");
}

/// Commits, trees and tags have bounds of their own, whether they come whole or as deltas.
#[test]
fn each_kind_has_its_bound() {
    let file = blob("x");
    let entries: Vec<_> = (0..9).map(|n| [b'a' + n]).collect();
    let entries: Vec<_> = entries.iter().map(|name| ("100644", &name[..], id(&file))).collect();
    let folder = tree(&entries);
    let first = commit(id(&folder), &[]);
    let tag = (Kind::Tag, format!("object {}\ntype commit\ntag t\n\n", id(&first)).into_bytes());
    let whole = |with: &[&(Kind, Vec<u8>)]| {
        let mut pack = RawPack::new();
        for object in [&file, &folder, &first].iter().chain(with) {
            pack.whole(object);
        }
        pack.finish()
    };
    let bound = |pack: &Bytes, name: &str, limits: &dyn Fn(u64) -> Limits, max: usize| {
        let max = max as u64;
        try_ingest(pack, &empty(), &limits(max)).unwrap();
        let error = try_ingest(pack, &empty(), &limits(max - 1)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the {name} at offset ")), "{error}");
        assert!(error.ends_with(&format!("has {max} bytes, more than the {} allowed", max - 1)), "{error}");
    };
    let trees = |tree_bytes| Limits { tree_bytes, ..Limits::default() };
    let commits = |commit_and_tag_bytes| Limits { commit_and_tag_bytes, ..Limits::default() };
    bound(&whole(&[]), "tree", &trees, folder.1.len());
    bound(&whole(&[]), "commit", &commits, first.1.len());
    assert!(tag.1.len() < first.1.len());
    let mut long_tag = tag;
    long_tag.1.extend([b'x'; 200]);
    bound(&whole(&[&long_tag]), "tag", &commits, long_tag.1.len());

    // The one that is made is larger than the one it is made of.
    let as_delta = |object: &(Kind, Vec<u8>), delta: &[u8]| {
        let mut pack = RawPack::new();
        for object in [&file, &folder, &first] {
            pack.whole(object);
        }
        pack.ref_delta(id(object), delta);
        pack.finish()
    };
    let longer = as_delta(&first, &delta(&first.1, first.1.len(), b"y\n"));
    bound(&longer, "commit", &commits, first.1.len() + 2);
    let entry = [b"100644 z\0", &id(&file).0[..]].concat();
    let wider = as_delta(&folder, &delta(&folder.1, folder.1.len(), &entry));
    bound(&wider, "tree", &trees, folder.1.len() + entry.len());
    let limits = Limits { tree_bytes: 1, commit_and_tag_bytes: 1, ..Limits::default() };
    try_ingest(&craft(&[blob("longer")]).0, &empty(), &limits).unwrap();
}

/// Ten bytes of header say what a delta makes; nothing of that size is allocated for a tree.
#[test]
fn a_delta_is_measured_before_it_is_applied() {
    let folder = tree(&[("100644", b"f", id(&blob("x")))]);
    let mut pack = RawPack::new();
    let offset = pack.whole(&folder);
    // Inserts only: larger than any tree may be.
    let inserts = [&[folder.1.len() as u8, 0x80, 0x80, 0x80, 0x28], &[1; 2 << 20][..]].concat();
    pack.ofs_delta(offset, &inserts);
    let pack = pack.finish();
    let error = try_ingest(&pack, &empty(), &Limits::default()).unwrap_err();
    let max = Limits::default().tree_bytes;
    assert!(
        matches!(error, IngestError::ObjectTooLarge { kind: Some(Kind::Tree), size: 0x500_0000, max: m, .. } if m == max),
        "{error}"
    );
    let limits = Limits { tree_bytes: 1 << 20, ..Limits::default() };
    let error = try_ingest(&pack, &empty(), &limits).unwrap_err().to_string();
    assert!(error.starts_with("the delta at offset "), "{error}");
}

#[test]
fn a_base_that_is_too_large_asks_for_a_whole_object() {
    let entries: Vec<_> = (0..9).map(|n| [b'a' + n]).collect();
    let entries: Vec<_> = entries.iter().map(|name| ("100644", &name[..], id(&blob("x")))).collect();
    let stored = tree(&entries);
    let base = snapshot(vec![craft_pack(&[blob("x"), stored.clone()]).into()]);
    let smaller = (Kind::Tree, stored.1[..stored.1.len() - 29].to_vec());
    let mut pack = RawPack::new();
    pack.ref_delta(id(&stored), &delta(&stored.1, smaller.1.len(), b""));
    let pack = pack.finish();
    let limits = |tree_bytes| Limits { tree_bytes, ..Limits::default() };
    try_ingest(&pack, &base, &limits(stored.1.len() as u64)).unwrap();
    let error = try_ingest(&pack, &base, &limits(stored.1.len() as u64 - 1)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("the tree {}, which", id(&stored))), "{error}");
    assert!(error.ends_with("push with --no-thin"), "{error}");
    try_ingest(&craft(&[smaller]).0, &base, &limits(stored.1.len() as u64 - 1)).unwrap();
}

/// A tree of so many entries; `oid` gives the nth blob.
fn wide_tree(entries: u32, mut oid: impl FnMut(u32) -> Oid) -> (Kind, Vec<u8>) {
    let mut data = Vec::new();
    for n in 0..entries {
        data.extend(format!("100644 {n:07}\0").bytes().chain(oid(n).0));
    }
    (Kind::Tree, data)
}

/// A delta makes a large tree of a few bytes, so a small pack can name many objects which exist nowhere.
#[test]
fn many_missing_edges_are_refused_before_they_fill_the_memory() {
    let mut noise = Noise(11);
    let tree = wide_tree(200_000, |_| Oid::from_slice(&noise.bytes(20)).unwrap());
    let error = try_ingest(&craft(&[tree]).0, &empty(), &Limits::default()).unwrap_err();
    assert!(matches!(error, IngestError::Missing { total, .. } if total < 20_000), "{error}");
}

#[test]
fn many_edges_into_the_snapshot_are_fine() {
    let blobs: Vec<_> = (0..20_000).map(|n| blob(format!("{n}"))).collect();
    let base = snapshot(vec![craft_pack(&blobs).into()]);
    let tree = wide_tree(20_000, |n| id(&blobs[n as usize]));
    assert_eq!(ingested(&craft(&[tree]).0, &base).external_edges.len(), 20_000);
}
