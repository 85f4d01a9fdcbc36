//! What one caller may cost the others: how often it calls, how many calls and streams are open at once.
//!
//! Every limit counts before any work is done, refuses with what the client can do about it, and costs a call no lock
//! that another call can hold for long.

mod rate;
mod room;

pub use rate::{Counted, Rate, Share};
pub use room::{Place, Room, Seat, Seats};
