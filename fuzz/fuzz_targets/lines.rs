//! Fuzzes `meshgate_fuzz::lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::lines(input));
