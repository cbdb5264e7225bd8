//! Deltas against real git: it makes objects of ours, we make objects of its.

use database::PackKind;
use repository::pack::{BlobBuilder, EntryHeader, EntrySource, entry};
use repository::{Kind, delta, object};

use crate::histories::{self, Dice, accepted_by_git, pack_from};

/// An object and, unless it is stored whole, a delta and the base that make it.
type Row = (Vec<u8>, Option<(Vec<u8>, Vec<u8>)>);

/// A family of objects, each an edit of one before it.
fn family(dice: &mut Dice) -> Vec<Vec<u8>> {
    let length = dice.roll(70_000);
    // Few different bytes make repetitions.
    let sides = [2, 4, 20, 256][dice.roll(4)];
    let mut family: Vec<Vec<u8>> = vec![(0..length).map(|_| dice.roll(sides) as u8).collect()];
    for nth in 0..6_u8 {
        let mut object = family[dice.roll(family.len())].clone();
        for _ in 0..dice.roll(8) {
            let start = dice.roll(object.len() + 1);
            let end = (start + dice.roll(300)).min(object.len());
            match dice.roll(4) {
                0 => drop(object.drain(start..end)),
                1 => object.extend_from_within(start..end),
                _ => drop(object.splice(start..end, dice.bytes(end - start))),
            }
        }
        // No two are equal.
        object.push(nth);
        family.push(object);
    }
    family
}

#[test]
fn git_makes_the_objects_of_our_deltas() {
    let mut dice = Dice::new(11);
    let mut rows: Vec<Row> = Vec::new();
    for nth in 0..40_u64 {
        let mut family = family(&mut dice);
        family[0].extend(nth.to_be_bytes());
        let index = delta::Index::new(&family[0]);
        for target in &family[1..] {
            let mut delta = Vec::new();
            assert!(index.encode(target, usize::MAX, &mut delta));
            let mut made = Vec::new();
            delta::apply(&family[0], &delta, &mut made, target.len() as u64).unwrap();
            assert!(made == *target);
            rows.push((target.clone(), Some((delta, family[0].clone()))));
        }
        rows.push((family[0].clone(), None));
    }
    rows.sort();
    rows.dedup_by(|a, b| a.0 == b.0);

    let mut blob = Vec::new();
    let mut builder = BlobBuilder::new(&mut blob, rows.len() as u32).unwrap();
    for (object, made_of) in &rows {
        let oid = object::hash(Kind::Blob, object);
        let Some((delta, base)) = made_of else {
            builder.whole(oid, Kind::Blob, object).unwrap();
            continue;
        };
        let mut compressed = Vec::new();
        entry::deflate(delta, &mut compressed).unwrap();
        let header = EntryHeader::RefDelta { base: object::hash(Kind::Blob, base) };
        let source = EntrySource { header, inflated_size: delta.len() as u64, compressed: &compressed };
        builder.raw(oid, Kind::Blob, object.len() as u64, source).unwrap();
    }
    builder.finish().unwrap();
    let git = accepted_by_git(&pack_from(blob.into(), PackKind::Receive, false, 1));
    let names = git.run(&["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
    let mut expected: Vec<_> = rows.iter().map(|row| object::hash(Kind::Blob, &row.0).to_string()).collect();
    expected.sort();
    assert_eq!(names.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn we_make_the_objects_of_gits_deltas() {
    let git = histories::text(60);
    let pack = git.blob(&git.pack(&["--no-reuse-delta", "--delta-base-offset"]), PackKind::Receive, 1);
    let s = git.snapshot([pack]);
    let pack = &s.packs()[0];
    let deltas = (0..pack.objects()).filter(|&index| histories::is_delta(pack, index)).count();
    assert!(deltas > 50);
    let mut data = Vec::new();
    for index in 0..pack.objects() {
        let oid = pack.oid(index);
        let kind = s.read(&oid, &mut data).unwrap();
        assert_eq!(object::hash(kind, &data), oid);
    }
}

/// Bytes from anywhere give an object or an error.
#[test]
fn noise_does_no_harm() {
    let mut dice = Dice::new(12);
    let base = dice.bytes(300);
    let mut out = Vec::new();
    for _ in 0..200_000 {
        let length = dice.roll(24);
        let mut delta = vec![0xac, 0x02, dice.roll(128) as u8];
        delta.extend(dice.bytes(length));
        let _ = delta::apply(&base, &delta, &mut out, 1 << 20);
        let start = dice.roll(3);
        let _ = delta::apply(&base, &delta[start..], &mut out, 1 << 20);
        assert!(out.capacity() <= 1 << 20);
    }
}
