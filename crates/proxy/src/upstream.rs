//! The way to a server.

pub mod http;
pub mod limits;
pub mod stdio;
