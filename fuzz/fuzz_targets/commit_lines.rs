#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hub::commit_lines::fuzz(data));
