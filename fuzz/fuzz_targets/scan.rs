//! Fuzzes `meshgate_fuzz::scan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::scan(input));
