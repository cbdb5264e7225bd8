//! Packs as written for clients, read by git.

use std::io::{self, Write};
use std::sync::Arc;

use database::{Oid, PackId, PackKind};
use repository::pack::{BlobBuilder, EntryHeader, EntrySource, entry};
use repository::walk::{Interrupted, Query, Selection, WalkLimits, select};
use repository::write::{PackOptions, PackStats, WriteError, write_pack};
use repository::{Kind, Pack, Snapshot, delta, object};

use crate::histories::{self, Dice, Git};
use crate::walk::{History, Packs};

const OPTIONS: [PackOptions; 4] = [
    PackOptions { ofs_delta: true, thin: false },
    PackOptions { ofs_delta: false, thin: false },
    PackOptions { ofs_delta: true, thin: true },
    PackOptions { ofs_delta: false, thin: true },
];

fn write(s: &Snapshot, selection: &Selection, options: PackOptions) -> (Vec<u8>, PackStats) {
    let mut pack = Vec::new();
    let stats = write_pack(s, selection, &options, &mut pack, &mut |_| Ok(())).unwrap();
    assert_eq!(stats.bytes, pack.len() as u64);
    assert_eq!(stats.objects as usize, selection.entries().len());
    (pack, stats)
}

fn selection(s: &Snapshot, query: &Query) -> Selection {
    select(s, query, &WalkLimits::default(), &mut |_| Ok(())).unwrap()
}

/// A client that has these objects, made by git.
fn client(history: &History, haves: &[Oid]) -> Git {
    let git = Git::init();
    let revisions = haves.iter().fold(String::new(), |text, oid| text + &format!("{oid}\n"));
    let pack = history.git.pipe(&["pack-objects", "--revs", "--stdout", "--quiet"], revisions.as_bytes());
    git.pipe(&["index-pack", "--stdin"], &pack);
    git
}

#[test]
fn clones_pass_gits_checks() {
    for (seed, packs) in [(60, Packs::One), (61, Packs::Overlapping), (62, Packs::Pushed)] {
        let history = History::random(seed, 60, 0, packs);
        for options in OPTIONS {
            let wants = history.tips.iter().chain(&history.tags).copied().collect();
            let selection = selection(&history.s, &Query { wants, thin: options.thin, ..Query::default() });
            let (pack, stats) = write(&history.s, &selection, options);
            let git = Git::init();
            git.pipe(&["index-pack", "--stdin", "--strict"], &pack);
            for (nth, oid) in history.tips.iter().chain(&history.tags).enumerate() {
                git.run(&["update-ref", &format!("refs/x/{nth}"), &oid.to_string()]);
            }
            git.run(&["fsck", "--full", "--strict"]);
            assert!(stats.deltas > 0);
            if packs == Packs::One {
                assert_eq!(stats.reused, stats.objects, "all entries of one complete pack can be copied");
            }
        }
    }
}

#[test]
fn fetches_complete_what_the_client_has() {
    for seed in 65..71 {
        let packs = [Packs::One, Packs::Overlapping, Packs::Pushed][seed as usize % 3];
        let history = History::random(seed, 60, (seed % 2) as usize * 500, packs);
        let mut dice = Dice::new(seed);
        for options in OPTIONS.iter().cycle().take(12) {
            let (wants, haves) = (history.some(&mut dice, 2), history.some(&mut dice, 2));
            let query =
                Query { wants: wants.clone(), haves: haves.clone(), thin: options.thin, ..Query::default() };
            let (pack, _) = write(&history.s, &selection(&history.s, &query), *options);
            let git = client(&history, &haves);
            let fix = if options.thin { "--fix-thin" } else { "--strict" };
            git.pipe(&["index-pack", "--stdin", fix], &pack);
            for (nth, oid) in wants.iter().chain(&haves).enumerate() {
                git.run(&["update-ref", &format!("refs/x/{nth}"), &oid.to_string()]);
            }
            git.run(&["fsck", "--full", "--strict"]);
        }
    }
}

#[test]
fn a_small_change_of_a_large_tree_is_a_small_thin_pack() {
    let history = histories::wide_tree(2);
    // Each version stored whole, as two pushes that found no delta.
    let s = history.snapshot([history.blob(&history.pack(&["--window=0"]), PackKind::Receive, 1)]);
    let tip = |name: &str| history.run(&["rev-parse", name]).parse().unwrap();
    let query =
        Query { wants: vec![tip("main")], haves: vec![tip("main~1")], thin: true, ..Query::default() };
    let selection = selection(&s, &query);
    assert_eq!(selection.entries().len(), 3);
    let (thin, stats) = write(&s, &selection, PackOptions { ofs_delta: true, thin: true });
    assert!(thin.len() < 500, "{} bytes", thin.len());
    assert_eq!(stats.deltas, 1);
    let (whole, _) = write(&s, &selection, PackOptions { ofs_delta: true, thin: false });
    assert!(whole.len() > 100_000);
    let git = Git::init();
    git.pipe(&["index-pack", "--stdin"], &history.pack(&[]));
    git.pipe(&["index-pack", "--stdin", "--fix-thin"], &thin);
}

/// Two versions of a text, each a delta on the other, in packs that complete each other to a circle.
#[test]
fn deltas_of_different_packs_that_form_a_circle_are_broken_up() {
    let lines = |last: &str| (0..200).map(|n| format!("line {n}\n")).collect::<String>() + last;
    let (x, y) = (lines("x").into_bytes(), lines("y").into_bytes());
    let (x_oid, y_oid) = (object::hash(Kind::Blob, &x), object::hash(Kind::Blob, &y));
    let on = |base: &[u8], target: &[u8]| {
        let delta = delta::delta_entry(base, target).unwrap();
        let mut compressed = Vec::new();
        entry::deflate(&delta, &mut compressed).unwrap();
        (delta.len() as u64, compressed)
    };
    let mut newer = Vec::new();
    let mut builder = BlobBuilder::new(&mut newer, 1).unwrap();
    let (inflated_size, compressed) = on(&y, &x);
    let header = EntryHeader::RefDelta { base: y_oid };
    let source = EntrySource { header, inflated_size, compressed: &compressed };
    builder.raw(x_oid, Kind::Blob, x.len() as u64, source).unwrap();
    builder.finish().unwrap();

    let mut older = Vec::new();
    let mut builder = BlobBuilder::new(&mut older, 2).unwrap();
    let base_offset = builder.whole(x_oid, Kind::Blob, &x).unwrap();
    let (inflated_size, compressed) = on(&x, &y);
    let source =
        EntrySource { header: EntryHeader::OfsDelta { base_offset }, inflated_size, compressed: &compressed };
    builder.raw(y_oid, Kind::Blob, y.len() as u64, source).unwrap();
    builder.finish().unwrap();

    let newer = Pack::from_blob(PackId::new(), PackKind::Api, false, 2, newer.into()).unwrap();
    let older = Pack::from_blob(PackId::new(), PackKind::Receive, false, 1, older.into()).unwrap();
    let s = Snapshot::from_packs(histories::repo(2), vec![], vec![Arc::new(newer), Arc::new(older)]);
    for wants in [vec![x_oid, y_oid], vec![y_oid, x_oid], vec![x_oid], vec![y_oid]] {
        for options in OPTIONS {
            let (pack, stats) =
                write(&s, &selection(&s, &Query { wants: wants.clone(), ..Query::default() }), options);
            assert_eq!(stats.deltas as usize, wants.len() - 1);
            let git = Git::init();
            git.pipe(&["index-pack", "--stdin"], &pack);
            for oid in &wants {
                let content = git.pipe(&["cat-file", "blob", &oid.to_string()], b"");
                assert_eq!(object::hash(Kind::Blob, &content), *oid);
            }
        }
    }
}

#[test]
fn nothing_to_send_is_an_empty_pack() {
    let history = History::random(75, 8, 0, Packs::One);
    let query = Query { wants: history.tips.clone(), haves: history.tips.clone(), ..Query::default() };
    let (pack, stats) = write(&history.s, &selection(&history.s, &query), OPTIONS[0]);
    assert_eq!((pack.len(), stats.objects), (32, 0));
    Git::init().pipe(&["index-pack", "--stdin"], &pack);
}

#[test]
fn damage_on_the_disk_does_not_travel() {
    let history = History::random(76, 20, 0, Packs::One);
    let pack = &history.s.packs()[0];
    let nth = pack.in_pack_order(pack.objects() / 2);
    let (start, length) = (pack.offset_of(nth) as usize, pack.entry(nth).unwrap().entry_len as usize);
    let mut blob = pack.blob().to_vec();
    blob[start + length - 3] ^= 1;
    let damaged = Pack::from_blob(PackId::new(), PackKind::Receive, false, 1, blob.into()).unwrap();
    let oid = damaged.oid(nth);
    let s = Snapshot::from_packs(histories::repo(1), vec![], vec![Arc::new(damaged)]);
    let whole = selection(&history.s, &Query { wants: history.tips.clone(), ..Query::default() });
    let error = write_pack(&s, &whole, &OPTIONS[0], &mut Vec::new(), &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, WriteError::Damaged(damaged) if damaged == oid), "{error:?}");
}

#[test]
fn a_receiver_that_fails_or_a_caller_that_leaves_ends_the_writing() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let history = History::random(77, 120, 0, Packs::One);
    let selection = selection(&history.s, &Query { wants: history.tips.clone(), ..Query::default() });
    let error = write_pack(&history.s, &selection, &OPTIONS[0], &mut Full, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, WriteError::Io(error) if error.kind() == io::ErrorKind::StorageFull));
    let stop = &mut |_| Err(Interrupted);
    let error = write_pack(&history.s, &selection, &OPTIONS[0], &mut Vec::new(), stop).unwrap_err();
    assert!(matches!(error, WriteError::Interrupted(_)));
}
