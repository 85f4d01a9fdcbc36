//! How configuration travels from the control plane to proxies: the contract on the wire, and both ends of it.
//!
//! The state machines here have no sockets, clocks or entropy of their own; whoever drives them brings those.
