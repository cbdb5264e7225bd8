//! Runs the fuzz targets of this crate over their corpora.

#[path = "../../../../fuzz/src/lfs.rs"]
mod checks;

use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let data = std::fs::read(entry.unwrap().path()).unwrap();
        check(&data);
        // What a fuzzer would try first.
        for at in 0..data.len().min(2048) {
            for changed in [data[at] ^ 1 << (at % 8), b'"', b'0', b'}', 0] {
                let mut changed_data = data.clone();
                changed_data[at] = changed;
                check(&changed_data);
            }
            check(&data[..at]);
            check(&[&data[..at], &data[at + 1..]].concat());
        }
        count += 1;
    }
    assert!(count > 0, "no corpus in {}", dir.display());
}

#[test]
fn lfs_batch() {
    replay("lfs_batch", checks::lfs_batch);
}

#[test]
fn lfs_transfer() {
    replay("lfs_transfer", checks::lfs_transfer);
}

#[test]
fn lfs_locks() {
    replay("lfs_locks", checks::lfs_locks);
}
