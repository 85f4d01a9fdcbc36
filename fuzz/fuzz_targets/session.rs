//! Fuzzes `meshgate_fuzz::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::session(input));
