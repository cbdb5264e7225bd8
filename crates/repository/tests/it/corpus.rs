//! Runs the fuzz target of this crate over its corpus.

#[path = "../../../../fuzz/src/objects.rs"]
mod objects;

use std::path::Path;

#[test]
fn object_checks() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/object_checks");
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let data = std::fs::read(entry.unwrap().path()).unwrap();
        objects::object_checks(&data);
        // What a fuzzer would try first.
        for at in 0..data.len().min(1024) {
            let mut changed = data.clone();
            changed[at] ^= 1 << (at % 8);
            objects::object_checks(&changed);
            objects::object_checks(&data[..at]);
        }
        count += 1;
    }
    assert!(count > 0, "no corpus in {}", dir.display());
}
