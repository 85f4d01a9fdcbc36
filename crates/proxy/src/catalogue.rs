//! What the servers offer, and what each view makes of it.
//!
//! Catalogues are read in the background, each server by itself and with its own deadline, so that no list a client
//! asks for waits for a server, and one that is away harms nobody. From them every view is built once per change: the
//! list that is shown and the table that calls are resolved by come from the same pass over the same items, which is
//! what makes *list = call* hold. A call loads one [`Routing`] and sees nothing else until its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use bytes::Bytes;
use meshgate_mcp::headers::ParamHeader;
use meshgate_model::{Server, Snapshot, View};

use crate::upstream::Upstream;
use crate::validate::Schema;

mod build;
mod follow;
mod instructions;
mod kept;
mod leaving;
mod own;
mod read;
mod serve;
mod shown;
mod sync;

pub use build::{gateway_identity, wrapped};
pub use kept::Applied;
pub use read::{drain_reply, internal_request};
#[cfg(feature = "fuzzing")]
pub use serve::reread_cursor;
pub use serve::{ListCursor, page};
pub use shown::Shown;
pub use sync::{Catalogues, ListEvent, ServerState};

/// The four lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools/list`.
    Tools,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
    /// `prompts/list`.
    Prompts,
}

impl ListKind {
    /// All four, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Resources, Self::Templates, Self::Prompts];

    /// The method that lists it.
    pub fn method(self) -> meshgate_mcp::Method {
        match self {
            Self::Tools => meshgate_mcp::Method::ToolsList,
            Self::Resources => meshgate_mcp::Method::ResourcesList,
            Self::Templates => meshgate_mcp::Method::TemplatesList,
            Self::Prompts => meshgate_mcp::Method::PromptsList,
        }
    }

    /// The member of the result that holds the items.
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Prompts => "prompts",
        }
    }

    /// The member of an item that names it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }
}

/// One item of a list as its server sent it.
#[derive(Clone, Debug)]
pub struct Item {
    /// Name, URI or template, decoded.
    pub key: Arc<str>,
    /// The item's bytes.
    pub raw: Bytes,
    /// For tools: what calls are checked against, compiled once.
    pub facts: Option<Arc<ToolFacts>>,
}

/// What a tool's definition says about its calls.
#[derive(Debug, Default)]
pub struct ToolFacts {
    /// Arguments that HTTP mirrors in `Mcp-Param-*`.
    pub param_headers: Vec<ParamHeader>,
    /// `inputSchema`; `None` when checking is off.
    pub input: Option<Schema>,
    /// `outputSchema`.
    pub output: Option<Schema>,
    /// Whether it says that it changes nothing. It is the server's own word: good for counting, not for trusting.
    pub reads_only: bool,
    /// Calls whose arguments did not match and were let through, since this definition was read.
    pub mismatches: AtomicU64,
}

/// What one server offers.
#[derive(Clone, Debug)]
pub struct ServerCatalogue {
    /// Its `server/discover` result, an object.
    pub discover: Bytes,
    /// Which capabilities it advertised.
    pub capabilities: Capabilities,
    /// Its instructions.
    pub instructions: Option<Arc<str>>,
    /// Its lists, by [`ListKind`].
    pub lists: [ServerList; 4],
}

/// One list of a server, all pages.
#[derive(Clone, Debug, Default)]
pub struct ServerList {
    /// The items, in the server's order.
    pub items: Vec<Item>,
    /// Members of the first page's result that are not the items, the cursor or ours to set, as `"key":value`, raw.
    pub extra: Vec<Bytes>,
    /// Members of the first page's `_meta` but the server's identity, as `"key":value`, raw.
    pub extra_meta: Vec<Bytes>,
    /// What views have made of the items.
    pub shown: Shown,
}

/// The capabilities that matter to routing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `tools`.
    pub tools: bool,
    /// `prompts`.
    pub prompts: bool,
    /// `resources`.
    pub resources: bool,
    /// `resources.subscribe`.
    pub subscribe: bool,
    /// `completions`.
    pub completions: bool,
    /// `logging`.
    pub logging: bool,
    /// `extensions` with `io.modelcontextprotocol/tasks`.
    pub tasks: bool,
    /// Any `listChanged`.
    pub list_changed: [bool; 3],
}

/// Where an exposed tool leads.
#[derive(Clone, Debug)]
pub struct ToolEntry {
    /// Index into [`ViewState::servers`].
    pub server: usize,
    /// The server's own name of it.
    pub original: Arc<str>,
    /// What its calls are checked against.
    pub facts: Arc<ToolFacts>,
}

/// A server as a view sees it.
#[derive(Clone)]
pub struct ServerInView {
    /// Its configuration.
    pub server: Arc<Server>,
    /// The way to it.
    pub upstream: Arc<Upstream>,
    /// Its catalogue; `None` while it has never answered.
    pub catalogue: Option<Arc<ServerCatalogue>>,
    /// Whether it is away now.
    pub away: bool,
}

/// One list as a view shows it.
#[derive(Clone, Debug, Default)]
pub struct ViewList {
    /// The items' bytes in order.
    pub items: Vec<Bytes>,
    /// Members of the result beside the items, ready to be written.
    pub tail: Vec<u8>,
    /// The whole result when one page holds it.
    pub whole: Option<Bytes>,
    /// Equal for equal lists.
    pub digest: u64,
}

/// A view with everything that calls through it need.
pub struct ViewState {
    /// Its configuration.
    pub view: Arc<View>,
    /// Whether names are prefixed or URIs wrapped: the view is not simply its one server.
    pub merged: bool,
    /// Its servers.
    pub servers: Vec<ServerInView>,
    /// Exposed tool name → where it leads.
    pub tools: HashMap<Arc<str>, ToolEntry>,
    /// Exposed prompt name → server and its own name.
    pub prompts: HashMap<Arc<str>, (usize, Arc<str>)>,
    /// The lists, by [`ListKind`].
    pub lists: [ViewList; 4],
    /// The result of `server/discover`.
    pub discover: Bytes,
    /// The capabilities object that is shown, raw.
    pub capabilities_raw: Bytes,
    /// The instructions that are shown.
    pub instructions: Option<Arc<str>>,
    /// The union of what its servers offer.
    pub capabilities: Capabilities,
    /// Whether a server of it shows single callers something else than everybody.
    pub own_lists: bool,
    /// Whether every server of it tolerates duplicate members in arguments, or some do.
    pub tolerates_duplicates: bool,
}

impl ViewState {
    /// The index of the server that bears an alias.
    pub fn by_alias(&self, alias: &str) -> Option<usize> {
        self.servers.iter().position(|s| &*s.server.alias == alias)
    }

    /// One of its lists.
    pub fn list(&self, kind: ListKind) -> &ViewList {
        let [tools, resources, templates, prompts] = &self.lists;
        match kind {
            ListKind::Tools => tools,
            ListKind::Resources => resources,
            ListKind::Templates => templates,
            ListKind::Prompts => prompts,
        }
    }
}

/// Everything a call routes by, immutable: the configuration's snapshot and the views built on it.
pub struct Routing {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    /// Views by path.
    pub views: HashMap<Arc<str>, Arc<ViewState>>,
    /// Counts every change of configuration or catalogue.
    pub revision: u64,
}

impl Routing {
    /// Its own count, and the revision of the configuration that it was made of.
    pub fn revisions(&self) -> (u64, u64) {
        (self.revision, self.snapshot.revision)
    }
}

/// The current routing, loaded once per call.
pub type CurrentRouting = ArcSwap<Routing>;
