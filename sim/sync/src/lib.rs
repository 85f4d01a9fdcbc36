//! Ten thousand proxies and their control plane, in one thread and on a clock of their own.
//!
//! What breaks distribution at scale is a crowd: all streams lost in one moment, a change that concerns everybody, proxies
//! that read slowly while others leave. Real processes for that are a machine room; the state machines of both ends are
//! pure, so here each proxy is a real client, the control plane the real server, and only sockets, clocks and processors
//! are modelled. Every message is counted in the bytes that it has.
//!
//! [`plan`] says what is tried, [`world`] lets it happen, [`book`] writes down what was seen and judges it.

#![allow(
    clippy::indexing_slicing,
    reason = "proxies are numbered from nothing to how many there are"
)]

mod book;
mod chance;
mod plan;
mod plane;
mod proxy;
mod report;
mod wire;
mod world;

pub use book::{Book, Spread};
pub use plan::{Plan, Plant};
pub use report::page;
pub use world::run;
