//! Fuzzes `meshgate_fuzz::mesh`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::mesh(input));
