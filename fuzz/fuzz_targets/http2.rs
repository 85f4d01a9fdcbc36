//! Fuzzes `meshgate_fuzz::http2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::http2(input));
