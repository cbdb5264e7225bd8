//! Runs the fuzz targets of this crate over their corpora.

#[path = "../../../../fuzz/src/wire.rs"]
mod wire;

use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let data = std::fs::read(entry.unwrap().path()).unwrap();
        check(&data);
        // What a fuzzer would try first.
        for at in 0..data.len().min(2048) {
            let mut changed = data.clone();
            changed[at] ^= 1 << (at % 8);
            check(&changed);
            check(&data[..at]);
        }
        count += 1;
    }
    assert!(count > 0, "no corpus in {}", dir.display());
}

#[test]
fn pkt_line() {
    replay("pkt_line", wire::pkt_line);
}

#[test]
fn v2_commands() {
    replay("v2_commands", wire::v2_commands);
}

#[test]
fn receive_pack_commands() {
    replay("receive_pack_commands", wire::receive_pack_commands);
}
