//! Fuzzes `meshgate_fuzz::sse_out`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::sse_out(input));
