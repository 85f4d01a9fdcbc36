//! CorpAssist: what a company's assistant and two of its MCP servers look like behind Meshgate.
//!
//! The example has three programs. `corpassist-documents` and `corpassist-projects` are ordinary MCP servers on the
//! official Rust SDK, each with a database of its own; they know nothing of each other and nothing of a gateway.
//! `corpassist` is the application: it knows one address and one token, and finds out the rest from the catalogue that it
//! is shown there.
//!
//! Read it in this order: [`company`] (the invented facts), [`documents`] and [`projects`] (the servers), [`serve`] (how
//! a server is reached), [`assistant`] (the application).

pub mod assistant;
pub mod company;
pub mod documents;
pub mod projects;
pub mod serve;
