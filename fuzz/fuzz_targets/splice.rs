//! Fuzzes `meshgate_fuzz::splice`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::splice(input));
