//! Fuzzes `meshgate_fuzz::sync`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::sync(input));
