#![no_main]

#[path = "../src/objects.rs"]
mod objects;

libfuzzer_sys::fuzz_target!(|data: &[u8]| objects::object_checks(data));
