//! Compaction and garbage collection, judged by real git.

use std::collections::BTreeSet;
use std::sync::Arc;

use database::{Oid, PackId, PackKind, RefRow};
use repository::compact::{
    CompactError, Context, Level, NewPack, Options, Plan, Policy, Trigger, closure, collect, compact,
    garbage, plan,
};
use repository::pack::Blob;
use repository::pack::{BlobBuilder, EntryHeader, EntrySource, entry};
use repository::pointer::Pointer;
use repository::{Kind, Pack, Snapshot, delta, object};
use tempfile::NamedTempFile;

use crate::histories::{self, Dice, Git, accepted_by_git, deepest, is_delta, pack_from};

const CONTEXT: Context<'_> = Context { temp_file: &NamedTempFile::new, keepgoing: &|| true };

fn open(new: &NewPack, kind: PackKind, generation: i64) -> Pack {
    let blob = match &new.blob {
        Blob::Inline(bytes) => bytes.clone(),
        Blob::File(file) => std::fs::read(file.path()).unwrap().into(),
    };
    assert_eq!(blob.len() as u64, new.bytes);
    let pack = pack_from(blob, kind, new.closure, generation);
    assert_eq!(pack.objects(), new.objects);
    pack
}

fn everything(s: &Snapshot, level: Level) -> Plan {
    Plan { packs: s.packs().iter().map(|pack| pack.id()).collect(), level, whole: true }
}

fn run(s: &Snapshot, plan: &Plan) -> Vec<Pack> {
    let done = compact(s, plan, &Options::default(), &CONTEXT).unwrap();
    assert_eq!(done.superseded, plan.packs);
    done.packs.iter().map(|pack| open(pack, PackKind::Compact, s.generation() + 1)).collect()
}

fn oids<'a>(packs: impl IntoIterator<Item = &'a Pack>) -> BTreeSet<Oid> {
    packs.into_iter().flat_map(|pack| (0..pack.objects()).map(|index| pack.oid(index))).collect()
}

fn all_oids(s: &Snapshot) -> BTreeSet<Oid> {
    oids(s.packs().iter().map(|pack| &**pack))
}

/// One exact pack that git accepts, with no deep chains: the pack.
fn check_whole(git: &Git, s: &Snapshot, level: Level) -> Pack {
    let packs = run(s, &everything(s, level));
    assert_eq!(packs.len(), 1);
    assert!(packs[0].is_closure());
    assert_eq!(oids(&packs), all_oids(s));
    let copy = accepted_by_git(&packs[0]);
    assert_eq!(copy.run(&["rev-parse", &git.run(&["rev-parse", "main^{tree}"])]).len(), 40);
    assert!(deepest(&copy) <= 32, "{}", deepest(&copy));
    packs.into_iter().next().unwrap()
}

/// Compares with the best that git does. From pushed packs, and from one in which nothing is a delta.
fn check_size(git: &Git, steps: usize) {
    check_size_of(git, git.pushes(steps));
    check_size_of(git, [git.blob(&git.pack(&["--window=0", "--no-reuse-delta"]), PackKind::Receive, 1)]);
}

fn check_size_of(git: &Git, packs: impl IntoIterator<Item = Pack>) {
    let s = git.snapshot(packs);
    let before: usize = s.packs().iter().map(|pack| pack.pack_bytes().len()).sum();
    let ours = check_whole(git, &s, Level::Repack).pack_bytes().len();
    let best = git.pack(&["--no-reuse-delta", "--delta-base-offset", "--threads=1"]).len();
    let ratio = ours as f64 / best as f64;
    assert!(ratio <= 1.3, "{before} -> {ours} bytes, git needs {best}: {ratio:.2}");
}

#[test]
fn text_packs_as_git_packs() {
    check_size(&histories::text(120), 12);
}

#[test]
fn binaries_pack_as_git_packs() {
    check_size(&histories::binary(30), 10);
}

#[test]
fn small_files_pack_as_git_packs() {
    check_size(&histories::small_files(20), 10);
}

#[test]
fn packages_pack_as_git_packs() {
    check_size(&histories::packages(20), 10);
}

#[test]
fn wide_trees_pack_as_git_packs() {
    let git = histories::wide_tree(200);
    check_size_of(&git, git.pushes(12));
    // As long a chain from nothing takes as long again.
    let git = histories::wide_tree(60);
    check_size_of(&git, [git.blob(&git.pack(&["--window=0", "--no-reuse-delta"]), PackKind::Receive, 1)]);
}

/// Commits over HTTP: each brings a pack of three objects whose tree is a delta on the tree before it.
#[test]
fn a_line_in_a_wide_tree_costs_little() {
    let mut names: Vec<(String, Oid)> = (0..10_000)
        .map(|nth| (format!("file-{nth:05}.txt"), object::hash(Kind::Blob, format!("{nth}\n").as_bytes())))
        .collect();
    let tree = |names: &[(String, Oid)]| -> Vec<u8> {
        names
            .iter()
            .flat_map(|(name, oid)| [format!("100644 {name}\0").as_bytes(), &oid.0].concat())
            .collect()
    };
    let blobs = (0..10_000).map(|nth| (Kind::Blob, format!("{nth}\n").into_bytes()));
    let mut data = tree(&names);
    let mut packs = vec![pack_of(PackKind::Receive, 1, blobs.chain([(Kind::Tree, data.clone())]))];
    let (mut parent, mut dice) = (None, Dice::new(6));
    for nth in 0..60 {
        let line = format!("changed {nth}\n").into_bytes();
        names[dice.roll(10_000)].1 = object::hash(Kind::Blob, &line);
        let old = std::mem::replace(&mut data, tree(&names));
        let delta = delta::delta_entry(&old, &data).unwrap();
        let commit = commit_of(object::hash(Kind::Tree, &data), parent, nth);
        parent = Some(object::hash(Kind::Commit, &commit));

        let mut blob = Vec::new();
        let mut builder = BlobBuilder::new(&mut blob, 3).unwrap();
        builder.whole(parent.unwrap(), Kind::Commit, &commit).unwrap();
        builder.whole(object::hash(Kind::Blob, &line), Kind::Blob, &line).unwrap();
        let mut compressed = Vec::new();
        entry::deflate(&delta, &mut compressed).unwrap();
        let header = EntryHeader::RefDelta { base: object::hash(Kind::Tree, &old) };
        let source = EntrySource { header, inflated_size: delta.len() as u64, compressed: &compressed };
        builder.raw(object::hash(Kind::Tree, &data), Kind::Tree, data.len() as u64, source).unwrap();
        builder.finish().unwrap();
        assert!(blob.len() <= 2048, "{} bytes", blob.len());
        packs.push(pack_from(blob.into(), PackKind::Api, false, nth + 2));
    }
    let s = snapshot_of(parent, packs);
    for level in [Level::Concatenate, Level::Repack] {
        let packs = run(&s, &everything(&s, level));
        assert_eq!(packs.len(), 2, "the first tree has no commit");
        let copy = accepted_by_git(&packs[0]);
        assert!(deepest(&copy) <= 32);
        copy.run(&["fsck", "--full", "--strict", "--no-dangling"]);
        let wholes =
            (0..packs[0].objects()).filter(|&i| packs[0].kind_of(i) == Kind::Tree && !is_delta(&packs[0], i));
        assert!(wholes.count() <= if level == Level::Repack { 1 } else { 2 });
        // A tree is more than 200 KB, since ids do not compress.
        assert!(packs[0].pack_bytes().len() < 1 << 20);
    }
}

#[test]
fn concatenating_copies_deltas_and_drops_copies() {
    let git = histories::text(60);
    let s = git.snapshot(git.pushes(20));
    let stored = s.packs().iter().map(|pack| pack.objects()).sum::<u32>();
    let pack = check_whole(&git, &s, Level::Concatenate);
    assert!(pack.objects() < stored, "thin packs were completed with copies");
    let deltas = (0..pack.objects()).filter(|&index| is_delta(&pack, index)).count();
    assert!(deltas > pack.objects() as usize / 3, "{deltas} of {}", pack.objects());
}

#[test]
fn a_repack_of_a_repack_copies() {
    let git = histories::packages(10);
    let first = check_whole(&git, &git.snapshot(git.pushes(5)), Level::Repack);
    let bytes = first.pack_bytes();
    let s = git.snapshot([first]);
    let second = check_whole(&git, &s, Level::Repack);
    assert_eq!(second.pack_bytes(), bytes);
}

#[test]
fn a_part_of_the_packs_becomes_one_that_stands_alone() {
    let git = histories::text(40);
    let s = git.snapshot(git.pushes(8));
    let some: Vec<PackId> = s.packs()[..4].iter().map(|pack| pack.id()).collect();
    let packs = run(&s, &Plan { packs: some, level: Level::Repack, whole: false });
    assert_eq!((packs.len(), packs[0].is_closure()), (1, false));
    assert_eq!(oids(&packs), oids(s.packs()[..4].iter().map(|pack| &**pack)));
    let problems = packs[0].verify(None);
    assert!(problems.is_empty(), "{problems:?}");

    let gone = Plan { packs: vec![PackId::new()], level: Level::Repack, whole: false };
    let error = compact(&s, &gone, &Options::default(), &CONTEXT).unwrap_err();
    assert!(matches!(error, CompactError::PackGone));
}

#[test]
fn what_no_ref_reaches_gets_a_pack_of_its_own_and_goes_with_the_next_collection() {
    let git = histories::text(40);
    let packs = git.pushes(8);
    let all = oids(&packs);
    let old = git.run(&["rev-parse", "main"]);
    git.run(&["update-ref", "refs/heads/main", "main~10"]);
    let reachable = git.run(&["rev-list", "--objects", "--no-object-names", "main"]).lines().count();
    let s = git.snapshot(packs);

    let packs = run(&s, &everything(&s, Level::Repack));
    assert_eq!(packs.iter().map(Pack::is_closure).collect::<Vec<_>>(), [true, false]);
    assert_eq!(packs[0].objects() as usize, reachable);
    assert_eq!(oids(&packs), all);
    for pack in &packs {
        assert!(pack.verify(None).is_empty());
    }

    let dropped = all.len() as u64 - reachable as u64;
    let (done, dropping) = collect(&s, &[], &Options::default(), &CONTEXT).unwrap();
    assert_eq!(garbage(&s, &[]).unwrap().0, dropping);
    assert_eq!(dropping.objects, dropped);
    assert!(dropping.bytes > 0);
    assert_eq!((done.packs.len(), done.superseded.len()), (1, 8));
    let kept = open(&done.packs[0], PackKind::Gc, 9);
    assert!(kept.is_closure());
    accepted_by_git(&kept).run(&["fsck", "--full", "--strict", "--no-dangling"]);

    // A recent value of the ref keeps what it reaches; one that is long gone does not matter.
    let roots = [old.parse().unwrap(), Oid([7; 20])];
    let (done, dropping) = collect(&s, &roots, &Options::default(), &CONTEXT).unwrap();
    assert_eq!(dropping.objects, 0);
    assert_eq!(done.packs.iter().map(|pack| pack.closure).collect::<Vec<_>>(), [true, false]);
    assert_eq!(done.packs.iter().map(|pack| pack.objects as usize).sum::<usize>(), all.len());
}

#[test]
fn a_repository_without_refs_is_all_garbage() {
    let git = histories::text(3);
    let packs = git.pushes(1);
    git.run(&["update-ref", "-d", "refs/heads/main"]);
    let s = git.snapshot(packs);
    let (done, dropped) = collect(&s, &[], &Options::default(), &CONTEXT).unwrap();
    assert!(done.packs.is_empty());
    assert_eq!(dropped.objects, u64::from(s.packs()[0].objects()));
    assert_eq!(plan(&s, Trigger::Idle, &Policy::default()), None, "there is no closure to make");
}

/// A pack of kind `Api` with one blob, as a delta on one that is elsewhere.
fn crossed(target: &[u8], base: &[u8], generation: i64) -> Pack {
    let delta = delta::delta_entry(base, target).unwrap();
    let mut compressed = Vec::new();
    entry::deflate(&delta, &mut compressed).unwrap();
    let header = EntryHeader::RefDelta { base: object::hash(Kind::Blob, base) };
    let source = EntrySource { header, inflated_size: delta.len() as u64, compressed: &compressed };
    let mut blob = Vec::new();
    let mut builder = BlobBuilder::new(&mut blob, 1).unwrap();
    builder.raw(object::hash(Kind::Blob, target), Kind::Blob, target.len() as u64, source).unwrap();
    builder.finish().unwrap();
    pack_from(blob.into(), PackKind::Api, false, generation)
}

#[test]
fn a_closure_shares_the_packs_that_are_in_it_and_need_no_other() {
    let a = Dice::new(1).bytes(100_000);
    let (b, c, secret) = (
        [a.clone(), Dice::new(2).bytes(80_000)].concat(),
        Dice::new(3).bytes(100_000),
        Dice::new(4).bytes(9),
    );
    let files = [("a", &a), ("b", &b), ("c", &c)];
    let tree: Vec<u8> = files
        .iter()
        .flat_map(|(name, data)| {
            [format!("100644 {name}\0").as_bytes(), &object::hash(Kind::Blob, data).0].concat()
        })
        .collect();
    let commit = commit_of(object::hash(Kind::Tree, &tree), None, 1);
    let (main, blob) = (object::hash(Kind::Commit, &commit), |data: &Vec<u8>| (Kind::Blob, data.clone()));
    let history = [(Kind::Tree, tree), (Kind::Commit, commit)];
    let check = |packs: Vec<Pack>, shared: &[usize], rest: u32| {
        let ids: Vec<PackId> = packs.iter().map(Pack::id).collect();
        let s = snapshot_of(Some(main), packs);
        let found = closure(&s, &Options::default(), &CONTEXT).unwrap();
        let mut expected: Vec<_> = shared.iter().map(|&at| ids[at]).collect();
        let mut actual: Vec<_> = found.shared.iter().map(|pack| pack.id()).collect();
        expected.sort();
        actual.sort();
        assert_eq!(actual, expected);
        let made = found.rest.map(|new| open(&new, PackKind::Receive, 1));
        assert_eq!(made.as_ref().map_or(0, Pack::objects), rest);
        assert!(made.as_ref().is_none_or(|made| made.is_closure() == shared.is_empty()));
        // All of it, nothing else, and each pack can be read alone.
        let packs: Vec<&Pack> = found.shared.iter().map(|pack| &**pack).chain(made.as_ref()).collect();
        assert!(packs.iter().all(|pack| pack.verify(None).is_empty()));
        let reached = [&a, &b, &c].map(|data| object::hash(Kind::Blob, data));
        let expected =
            reached.into_iter().chain(history.iter().map(|(kind, data)| object::hash(*kind, data)));
        assert_eq!(oids(packs), expected.collect());
    };
    let receive = |generation, blobs: &[&Vec<u8>]| {
        pack_of(PackKind::Receive, generation, blobs.iter().map(|data| blob(data)))
    };
    let last = || pack_of(PackKind::Receive, 9, history.clone());
    // The second one has its base elsewhere, the third is small and goes into the rest.
    check(vec![receive(1, &[&a, &c]), crossed(&b, &a, 2), last()], &[0], 3);
    check(vec![receive(1, &[&a, &c]), receive(2, &[&b]), last()], &[0, 1], 2);
    // What is in both is in both.
    check(vec![receive(1, &[&a, &c]), receive(2, &[&b, &c]), last()], &[0, 1], 2);
    // One object too many, and nothing of the pack is shared.
    check(vec![receive(1, &[&a, &c, &secret]), receive(2, &[&b]), last()], &[1], 4);
    check(vec![receive(1, &[&a, &b, &c, &secret]), last()], &[], 5);
    let all: Vec<_> = [&a, &b, &c].into_iter().map(blob).chain(history.clone()).collect();
    check(vec![pack_of(PackKind::Receive, 1, all)], &[0], 0);
    // Nothing is reached.
    let nothing = closure(&snapshot_of(None, vec![last()]), &Options::default(), &CONTEXT).unwrap();
    assert!(nothing.shared.is_empty() && nothing.rest.is_none());
}

/// Two objects that are deltas on each other, in different packs of kind `Api`.
#[test]
fn circles_through_packs_are_cut() {
    let (a, b) = (Dice::new(1).bytes(5000), [Dice::new(1).bytes(5000), b"more".to_vec()].concat());
    // `b` whole is what makes both readable. It is the newest copy, so the circle would be chosen.
    let whole = pack_of(PackKind::Receive, 9, [(Kind::Blob, b.clone())]);
    let s = snapshot_of(None, vec![crossed(&a, &b, 1), crossed(&b, &a, 2), whole]);
    let packs = run(&s, &Plan { whole: false, ..everything(&s, Level::Repack) });
    assert_eq!(packs[0].objects(), 2);
    assert!(packs[0].verify(None).is_empty());
}

#[test]
fn pointers_stay_known() {
    let pointer = |nth: u8| Pointer { blob: object::hash(Kind::Blob, &[nth]), sha256: [nth; 32], size: 7 };
    let pack = |numbers: &[u8], generation| {
        let mut blob = Vec::new();
        let mut builder = BlobBuilder::new(&mut blob, numbers.len() as u32).unwrap();
        for &nth in numbers {
            builder.whole(object::hash(Kind::Blob, &[nth]), Kind::Blob, &[nth]).unwrap();
            builder.pointer(pointer(nth));
        }
        builder.finish().unwrap();
        pack_from(blob.into(), PackKind::Receive, false, generation)
    };
    let s = snapshot_of(None, vec![pack(&[1, 2], 1), pack(&[2, 3], 2)]);
    let packs = run(&s, &Plan { whole: false, ..everything(&s, Level::Repack) });
    let mut expected = [1, 2, 3].map(pointer);
    expected.sort();
    assert_eq!(packs[0].pointers().collect::<Vec<_>>(), expected);
}

#[test]
fn damage_is_not_copied() {
    let git = histories::text(5);
    let pack = git.pushes(1).remove(0);
    let mut blob = pack.blob().to_vec();
    let entry_end = pack.offset_of(0) as usize + pack.entry(0).unwrap().entry_len as usize;
    blob[entry_end - 1] ^= 1;
    let s = git.snapshot([pack_from(blob.into(), PackKind::Receive, false, 1)]);
    let error = compact(
        &s,
        &Plan { whole: false, ..everything(&s, Level::Concatenate) },
        &Options::default(),
        &CONTEXT,
    );
    assert!(matches!(error, Err(CompactError::Entry { oid, .. }) if oid == s.packs()[0].oid(0)));
}

#[test]
fn work_can_be_stopped() {
    let git = histories::text(5);
    let s = git.snapshot(git.pushes(2));
    for level in [Level::Concatenate, Level::Repack] {
        let context = Context { keepgoing: &|| false, ..CONTEXT };
        let error = compact(&s, &everything(&s, level), &Options::default(), &context).unwrap_err();
        assert!(matches!(error, CompactError::Interrupted), "{error}");
    }
}

#[test]
fn plans_end() {
    let git = histories::text(40);
    let s = git.snapshot(git.pushes(40));
    assert_eq!(s.packs().len(), 40);
    let policy = Policy::default();
    let all = everything(&s, Level::Repack);
    assert_eq!(plan(&s, Trigger::Idle, &policy).as_ref(), Some(&all));
    let busy = plan(&s, Trigger::Busy, &policy).expect("32 packs do not wait");
    assert!(!busy.whole, "what is made whole while pushes go on is made whole again soon");
    let few = git.snapshot(git.pushes(31));
    assert_eq!(plan(&few, Trigger::Busy, &policy), None);

    // The generation of a compacted repository is the one its new pack was added in.
    let settled = git.snapshot(run(&s, &all));
    assert_eq!(plan(&settled, Trigger::Idle, &policy), None);
    let moved = Snapshot::from_packs(histories::repo(99), git.refs(), settled.packs().to_vec());
    assert!(plan(&moved, Trigger::Idle, &policy).is_some(), "refs that moved since may reach less");

    // A large repository: only as many packs as restore the series.
    let policy = Policy { whole_bytes: 0, ..policy };
    let plan = plan(&s, Trigger::Idle, &policy).unwrap();
    assert!(!plan.whole && plan.packs.len() > 1);
    let merged = run(&s, &plan);
    let rest = s.packs().iter().filter(|pack| !plan.packs.contains(&pack.id())).map(|pack| (**pack).clone());
    let mut sizes: Vec<_> = rest.chain(merged).map(|pack| pack.blob().len()).collect();
    sizes.sort_unstable();
    assert!(sizes.len() < 8, "{sizes:?}");
}

fn pack_of(kind: PackKind, generation: i64, objects: impl IntoIterator<Item = (Kind, Vec<u8>)>) -> Pack {
    let objects: Vec<_> = objects.into_iter().collect();
    let mut blob = Vec::new();
    let mut builder = BlobBuilder::new(&mut blob, objects.len() as u32).unwrap();
    for (kind, data) in &objects {
        builder.whole(object::hash(*kind, data), *kind, data).unwrap();
    }
    builder.finish().unwrap();
    pack_from(blob.into(), kind, false, generation)
}

fn commit_of(tree: Oid, parent: Option<Oid>, nth: i64) -> Vec<u8> {
    let parent = parent.map_or_else(String::new, |parent| format!("parent {parent}\n"));
    let who = format!("A U Thor <author@example.com> {} +0000", 1_700_000_000 + nth);
    format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\nchange {nth}\n").into_bytes()
}

fn snapshot_of(main: Option<Oid>, packs: Vec<Pack>) -> Snapshot {
    let refs = main.map(|oid| RefRow { name: "refs/heads/main".into(), oid, peeled: None });
    let packs = packs.into_iter().map(Arc::new).collect();
    Snapshot::from_packs(histories::repo(100), refs.into_iter().collect(), packs)
}
