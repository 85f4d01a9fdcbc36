//! Fuzzes `meshgate_fuzz::certificate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::certificate(input));
