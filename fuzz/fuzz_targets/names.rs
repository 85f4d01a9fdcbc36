//! Fuzzes `meshgate_fuzz::names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::names(input));
