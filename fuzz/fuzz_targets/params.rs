//! Fuzzes `meshgate_fuzz::params`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::params(input));
