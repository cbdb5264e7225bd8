//! What must hold for any object, delta or pack that arrives. Shared by the fuzz target and by the test that replays
//! its corpus.

use bytes::Bytes;
use database::{Repo, RepoId, RepoState, Visibility};
use repository::{Kind, Snapshot, delta, fsck, ingest, object, pointer};

/// The first byte chooses: 1 to 4 an object of that kind, 5 a delta (one byte length of the base, base, delta), 6 a pack.
pub fn object_checks(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    match choice {
        1..=4 => {
            if let Some(kind) = Kind::from_number(choice) {
                one_object(kind, data);
            }
        }
        5 => one_delta(data),
        6 => one_pack(data),
        _ => {}
    }
}

fn one_object(kind: Kind, data: &[u8]) {
    let accepted = fsck::check(kind, &object::hash(kind, data), data).is_ok();
    // What is accepted must be readable: everything behind the door relies on it.
    match kind {
        Kind::Commit => assert!(!accepted || object::parse_commit(data).is_ok()),
        Kind::Tag => assert!(!accepted || object::parse_tag(data).is_ok()),
        Kind::Tree => assert!(!accepted || object::tree_entries(data).all(|entry| entry.is_ok())),
        Kind::Blob => {
            let _ = pointer::parse(data);
        }
    }
}

fn one_delta(data: &[u8]) {
    const RESULT_MAX: u64 = 1 << 20;
    let Some((&len, data)) = data.split_first() else { return };
    let Some((base, delta)) = data.split_at_checked(usize::from(len)) else { return };
    let mut result = Vec::new();
    if delta::apply(base, delta, &mut result, RESULT_MAX).is_ok() {
        assert_eq!(delta::sizes(delta).ok(), Some((base.len() as u64, result.len() as u64)));
        assert!(result.len() as u64 <= RESULT_MAX);
    }
}

/// A pack that is taken opens, verifies, and holds what its header says.
fn one_pack(data: &[u8]) {
    let limits = ingest::Limits {
        pack_bytes: 1 << 20,
        objects: 1000,
        object_bytes: 1 << 20,
        blob_bytes: 1 << 20,
        memory_bytes: 1 << 20,
        inflated_bytes_total: 8 << 20,
        ..ingest::Limits::default()
    };
    let out = || Err(std::io::Error::other("small packs stay in memory"));
    let base = empty();
    if let Ok(ingested) = ingest::ingest(Bytes::copy_from_slice(data), &base, &limits, out, &|| true) {
        let overlay = ingested.overlay(&base);
        assert_eq!(ingested.pack().verify(Some(&overlay)), Vec::<String>::new());
    }
}

fn empty() -> Snapshot {
    let repo = Repo {
        id: RepoId(1),
        path: "a/b".parse().expect("because it is a name"),
        visibility: Visibility::Private,
        state: RepoState::Live,
        head_ref: "refs/heads/main".to_owned(),
        generation: 0,
        gc_epoch: 0,
        acl_version: 0,
        mirror: false,
        blob_bytes_max: None,
        lfs_incomplete: false,
        gating: database::Gating::Off,
        creator: None,
        created_ms: 0,
    };
    Snapshot::from_packs(repo, Vec::new(), Vec::new())
}
