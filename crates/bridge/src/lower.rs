//! Modern answers for legacy clients.
