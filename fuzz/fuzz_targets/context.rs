//! Fuzzes `meshgate_fuzz::context`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::context(input));
