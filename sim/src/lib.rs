//! Worlds that are wholly determined by a number: the real gateway between modelled clients and servers.
//!
//! What breaks an era bridge is not a message but an order of events: a server that dies between a question and its
//! answer, a client that repeats itself, a limit that ends a call in the same moment as its result. A test names one such
//! order; a seed here stands for one of as many as there are numbers. Time stands still while anything can run, so a world
//! of half an hour takes milliseconds, and the same seed tells the same story again.
//!
//! [`plan`] says what will be tried, [`world`] lets it happen, [`book`] writes down what really happened and judges it.

#![allow(
    clippy::indexing_slicing,
    reason = "reading a member of a JSON value that has none gives null"
)]

mod book;
mod chance;
mod client;
mod legacy;
mod pipes;
mod plan;
mod server;
mod web;
mod wire;
mod world;

pub use plan::Plant;
pub use world::{Outcome, run};
