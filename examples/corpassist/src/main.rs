//! examples/corpassist
fn main() {}
