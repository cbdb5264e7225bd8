//! Runs the fuzz targets of this crate over their corpora.

#[path = "../../../../fuzz/src/xet.rs"]
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
            for changed in [data[at] ^ 1 << (at % 8), 0, 1, 0x80, 0xff] {
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
fn xet_xorb() {
    replay("xet_xorb", checks::xet_xorb);
}

#[test]
fn xet_shard() {
    replay("xet_shard", checks::xet_shard);
}
