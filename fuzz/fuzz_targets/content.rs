//! Fuzzes `meshgate_fuzz::content`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::content(input));
