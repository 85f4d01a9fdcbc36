//! crates/meshgate
fn main() {}
