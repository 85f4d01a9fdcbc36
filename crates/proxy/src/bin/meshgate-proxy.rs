//! The binary that stands next to servers: a gateway or a sidecar, and nothing that could sign, store or administer.

fn main() {}
