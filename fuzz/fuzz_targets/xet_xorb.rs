#![no_main]

#[expect(dead_code, reason = "each target runs one of the checks")]
#[path = "../src/xet.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::xet_xorb(data));
