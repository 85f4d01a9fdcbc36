//! The contract as code, written by `cargo xtask codegen` from `proto/`.

include!("proto/meshgate.v1.rs");
