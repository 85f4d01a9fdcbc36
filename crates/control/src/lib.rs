//! The control plane: what the mesh is made of, who may be what, and who needs to know.
//!
//! Operators apply documents; what they mean together is checked, kept with a revision, compiled to resources and sent to
//! the proxies whose identity needs them. Proxies come with a join token once, and with their certificate ever after. The
//! control plane never speaks MCP and is on the path of no call: while it is away, everything goes on as it was.
//!
//! Modules may use only those above them in this list; `cargo xtask tidy` checks it.
// tidy: module order begins
pub mod limits;
pub mod seal;
pub mod store;
pub mod alarms;
pub mod ca;
pub mod issuance;
pub mod registry;
pub mod tokens;
pub mod denials;
pub mod keys;
pub mod own;
pub mod compile;
pub mod endpoints;
pub mod listen;
pub mod distribute;
pub mod enrol;
pub mod shapes;
pub mod services;
pub mod plane;
pub mod api;
pub mod probe;
pub mod assembly;
// tidy: module order ends

pub use assembly::{Addresses, Control, ControlParts, Running, StartError};
pub use plane::{MadeToken, Plane, PlaneError};
pub use registry::{Applied, ApplyError, Outcome, Terms};
