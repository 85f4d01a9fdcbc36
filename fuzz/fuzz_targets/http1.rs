//! Fuzzes `meshgate_fuzz::http1`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::http1(input));
