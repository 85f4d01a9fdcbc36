//! Fuzzes `meshgate_fuzz::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::state(input));
