//! Fuzzes `meshgate_fuzz::cursor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::cursor(input));
