//! Fuzzes `meshgate_fuzz::mcp_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meshgate_fuzz::mcp_json(input));
