//! Packs as git sends them.

use std::cell::Cell;

use database::Oid;
use repository::ingest::{IngestError, Limits, ingest};
use repository::{Kind, Snapshot};

use crate::support::*;

fn check(git: &Git, options: &[&str]) {
    let pack = git.pack(options, "--all\n");
    let ingested = ingested(&pack, &empty());
    assert_eq!(ingested.pack().pack_bytes(), pack, "a complete pack is kept byte by byte");
    assert_eq!(ingested.external_edges, []);
    let snapshot = ingested.overlay(&empty());
    assert_same_objects(git, &snapshot, ingested.pack());
    assert_eq!(ingested.pack().verify(None), Vec::<String>::new());
    Git::init().index_pack(&pack).unwrap();
}

#[test]
fn takes_what_git_packs() {
    let git = Git::with_history(80);
    check(&git, &["--delta-base-offset"]);
    check(&git, &["--no-reuse-delta", "--window=20", "--depth=200"]);
    check(&git, &["--window=0"]);
    check(&git, &["--delta-base-offset", "--compression=0"]);
}

#[test]
fn large_blobs_and_files() {
    let git = Git::init();
    let mut noise = Noise(3);
    let mut data = noise.bytes(3 << 20);
    git.write("large", &data);
    git.commit("one");
    data.splice(1000..2000, *b"changed");
    git.write("large", &data);
    git.write("empty", "");
    git.commit("two");
    check(&git, &["--delta-base-offset"]);
    let ingested = ingested(&git.pack(&[], "--all\n"), &empty());
    assert!(matches!(ingested.blob, repository::pack::Blob::File(_)));
}

#[test]
fn bases_that_do_not_fit_in_memory_are_made_again() {
    let git = Git::with_history(60);
    let pack = git.pack(&["--delta-base-offset", "--depth=40", "--window=30"], "--all\n");
    let roomy = ingested(&pack, &empty());
    for memory_bytes in [0, 20_000] {
        let limits = Limits { memory_bytes, ..Limits::default() };
        let tight = try_ingest(&pack, &empty(), &limits).unwrap();
        assert_eq!(blob_of(&tight), blob_of(&roomy));
    }
}

#[test]
fn completes_thin_packs() {
    let git = Git::with_history(30);
    let old = git.oid("HEAD~3");
    let base = snapshot(vec![
        ingested(&git.pack(&["--delta-base-offset"], &format!("{old}\n")), &empty()).pack().clone(),
    ]);
    for options in [&["--thin", "--delta-base-offset"][..], &["--thin"]] {
        let pack = git.pack(options, &format!("HEAD\n^{old}\n"));
        let bare = Git::init();
        assert!(bare.index_pack(&pack).is_err(), "the pack is thin");

        let ingested = ingested(&pack, &base);
        let new = ingested.pack();
        let received = u64::from(u32::from_be_bytes(pack[8..12].try_into().unwrap()));
        assert!(ingested.objects() > received, "bases were added");
        assert_eq!(new.verify(None), Vec::<String>::new(), "self-contained");
        assert_same_objects(&git, &snapshot(vec![new.clone()]), new);
        bare.index_pack(&base.packs()[0].pack_bytes()).unwrap();
        bare.index_pack(&new.pack_bytes()).unwrap();

        let edge = |oid: Oid, kind: Kind| ingested.external_edges.binary_search(&(oid, kind)).is_ok();
        assert!(edge(old, Kind::Commit));
        assert!(ingested.external_edges.iter().all(|(oid, kind)| base.kind(oid) == Some(*kind)));
        assert!(
            ingested.external_edges.iter().any(|(oid, _)| new.find(oid).is_some()),
            "copied bases are relied upon"
        );
    }
}

#[test]
fn a_thin_pack_without_its_base_is_refused() {
    let git = Git::with_history(10);
    let pack = git.pack(&["--thin"], "HEAD\n^HEAD~3\n");
    let error = try_ingest(&pack, &empty(), &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("unresolved deltas"), "{error}");
}

#[test]
fn version_3_is_stored_as_version_2() {
    let git = Git::with_history(3);
    let pack = git.pack(&[], "--all\n");
    let mut three = pack[..pack.len() - 20].to_vec();
    three[7] = 3;
    assert_eq!(ingested(&sealed(three), &empty()).pack().pack_bytes(), pack);
}

#[test]
fn an_empty_pack_is_a_pack() {
    let ingested = ingested(&RawPack::new().finish(), &empty());
    assert_eq!(ingested.objects(), 0);
    assert_eq!(ingested.pack().verify(None), Vec::<String>::new());
    let repository::pack::Blob::Inline(blob) = &ingested.blob else { panic!("it is small") };
    assert!(blob.len() < 100);
}

#[test]
fn tips_are_found_in_the_new_pack_and_in_the_snapshot() {
    let git = Git::with_history(2);
    let old = git.oid("HEAD~1");
    let base = ingested(&git.pack(&[], &format!("{old}\n")), &empty()).overlay(&empty());
    let new = ingested(&git.pack(&[], &format!("--all\n^{old}\n")), &base);
    let tag = git.oid("v2");
    assert_eq!(new.tip_kind(&base, &tag), Some(Kind::Tag));
    assert_eq!(new.tip_kind(&base, &old), Some(Kind::Commit));
    assert_eq!(new.kind_of(&old), None);
    assert_eq!(new.tip_kind(&base, &Oid([1; 20])), None);
    assert_eq!(new.peel(&base, &tag), Ok(git.oid("HEAD")));
}

#[test]
fn pointers_are_recorded() {
    let git = Git::with_history(5);
    git.write("not-one", pointer_text(1).replace("version", "Version"));
    git.commit("more");
    let pack = ingested(&git.pack(&["--delta-base-offset"], "--all\n"), &empty()).pack().clone();
    let mut sizes: Vec<u64> = pack.pointers().map(|pointer| pointer.size).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 1, 2, 3, 4]);
    for pointer in pack.pointers() {
        assert_eq!(pointer.sha256, [0xab; 32]);
        assert_eq!(id(&blob(pointer_text(pointer.size as u32))), pointer.blob);
    }
}

#[test]
fn missing_objects_are_named() {
    let git = Git::with_history(3);
    let pack = git.pack(&[], "HEAD\n^HEAD~1\n");
    let error = try_ingest(&pack, &empty(), &Limits::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("missing necessary objects: "), "{text}");
    assert!(matches!(error, IngestError::Missing { total, .. } if total > 3), "{text}");
    let (pack, _) = craft(&[commit(git.oid("HEAD^{tree}"), &[])]);
    let text = try_ingest(&pack, &empty(), &Limits::default()).unwrap_err().to_string();
    assert_eq!(text, format!("missing necessary objects: {}", git.oid("HEAD^{tree}")));
}

#[test]
fn an_edge_must_lead_to_the_right_kind() {
    let file = blob("file");
    let folder = tree(&[("100644", b"f", id(&file))]);
    let wrong = |objects: &[(Kind, Vec<u8>)], base: &Snapshot| {
        let error = try_ingest(&craft(objects).0, base, &Limits::default()).unwrap_err();
        assert!(matches!(error, IngestError::WrongKind { .. }), "{error}");
        error.to_string()
    };
    let as_tree = tree(&[("40000", b"d", id(&file))]);
    let text = wrong(&[file.clone(), as_tree.clone()], &empty());
    assert_eq!(text, format!("object {} is a blob, but is referred to as a tree", id(&file)));
    wrong(&[file.clone(), folder.clone(), tree(&[("120000", b"l", id(&folder))])], &empty());
    wrong(&[file.clone(), folder.clone(), commit(id(&folder), &[id(&folder)])], &empty());
    wrong(&[file.clone(), commit(id(&file), &[])], &empty());
    let tag = format!("object {}\ntype commit\ntag t\n\n", id(&file)).into_bytes();
    wrong(&[file.clone(), (Kind::Tag, tag)], &empty());
    // Also when the object is there already.
    let base = snapshot(vec![craft_pack(&[file.clone(), folder.clone()]).into()]);
    wrong(&[as_tree], &base);
    wrong(&[tree(&[("100644", b"x", id(&folder))])], &base);
    // Submodules live elsewhere.
    let gitlink = tree(&[("160000", b"sub", Oid([9; 20])), ("100644", b"z", id(&file))]);
    assert_eq!(ingested(&craft(&[gitlink]).0, &base).external_edges, [(id(&file), Kind::Blob)]);
}

#[test]
fn large_files_are_refused_by_name() {
    let git = Git::init();
    git.write("data/train/weights.bin", vec![7; 2001]);
    git.write("other.bin", vec![8; 3001]);
    git.write("fine.bin", vec![9; 2000]);
    git.commit("x");
    let pack = git.pack(&[], "--all\n");
    let limits = |blob_bytes| Limits { blob_bytes, ..Limits::default() };
    let error = try_ingest(&pack, &empty(), &limits(2000)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, IngestError::BlobTooLarge { max: 2000, others: 1, .. }), "{text}");
    assert!(text.contains("git lfs migrate import --everything --include=\""), "{text}");
    assert!(
        text.contains("'data/train/weights.bin' has 2001") || text.contains("'other.bin' has 3001"),
        "{text}"
    );
    assert!(try_ingest(&pack, &empty(), &limits(3001)).is_ok());
    assert!(try_ingest(&pack, &empty(), &limits(3000)).is_err());
    // What is here already may come again.
    let base = ingested(&pack, &empty()).overlay(&empty());
    assert!(try_ingest(&pack, &base, &limits(10)).is_ok());
    // Larger than what is inflated in one piece.
    let (pack, oids) = craft(&[blob(vec![1; 1_100_000])]);
    let text = try_ingest(&pack, &empty(), &limits(1_099_999)).unwrap_err().to_string();
    assert!(text.starts_with(&format!("blob {} has 1100000 bytes", oids[0])), "{text}");
    assert!(try_ingest(&pack, &empty(), &limits(1_100_000)).is_ok());
}

#[test]
fn stops_when_told() {
    let git = Git::with_history(60);
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() < 2
    };
    let result =
        ingest(git.pack(&[], "--all\n"), &empty(), &Limits::default(), tempfile::NamedTempFile::new, &stop);
    assert!(matches!(result, Err(IngestError::Interrupted)));
}
