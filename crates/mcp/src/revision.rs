//! The revisions of MCP as data.
//!
//! Code asks a revision what it has and never which one it is, so that the next revision is one more row here and not
//! one more `if` everywhere.

/// The two families of revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Era {
    /// Up to 2025-11-25: handshake, sessions, requests from server to client.
    Legacy,
    /// From 2026-07-28: every request stands alone.
    Modern,
}

/// What one revision has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The date that names it on the wire.
    pub name: &'static str,
    /// Its family.
    pub era: Era,
    /// HTTP by one stream and a separate POST address (2024-11-05), instead of Streamable HTTP.
    pub http_sse_transport: bool,
    /// Streamable HTTP: one address.
    pub streamable_http: bool,
    /// Several messages in one array.
    pub batching: bool,
    /// `MCP-Protocol-Version` on every request after the handshake.
    pub version_header: bool,
    /// `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*` mirror the body.
    pub mirrored_headers: bool,
    /// `Mcp-Session-Id`, GET streams, DELETE.
    pub sessions: bool,
    /// Streams can be resumed by `Last-Event-ID`.
    pub resumable: bool,
    /// A server may open a stream with an empty event that carries an id, and drop it for polling.
    pub sse_priming: bool,
    /// Requests from server to client.
    pub server_requests: bool,
    /// A closed stream cancels the call.
    pub disconnect_cancels: bool,
    /// Questions travel in results (`input_required`) and answers in the next request.
    pub input_rounds: bool,
    /// `resultType` in every result.
    pub result_type: bool,
    /// `ttlMs` and `cacheScope` on lists, reads and discovery.
    pub cache_hints: bool,
    /// `subscriptions/listen` instead of subscribe and unsolicited notifications.
    pub listen: bool,
    /// `notifications/progress` may carry `message`.
    pub progress_message: bool,
    /// Elicitation by form.
    pub elicitation_form: bool,
    /// Elicitation by URL.
    pub elicitation_url: bool,
    /// Fields of a form may take several choices, and choices may have titles.
    pub elicitation_choices: bool,
    /// Sampling with tools.
    pub sampling_tools: bool,
    /// `structuredContent` and `outputSchema`.
    pub structured_content: bool,
    /// `structuredContent` may be any JSON, `outputSchema` any schema; before, objects only.
    pub structured_any: bool,
    /// Content blocks of type `resource_link`.
    pub resource_link: bool,
    /// Content blocks of type `audio`.
    pub audio: bool,
    /// Servers declare the capability `completions`.
    pub completions_capability: bool,
    /// `completion/complete` carries `context`.
    pub completion_context: bool,
    /// `annotations` on tools.
    pub tool_annotations: bool,
    /// `title` on tools, prompts and resources.
    pub title: bool,
    /// `icons` on tools, prompts, resources and implementations.
    pub icons: bool,
    /// Experimental tasks in the core protocol.
    pub core_tasks: bool,
    /// `extensions` in capabilities.
    pub extensions: bool,
    /// A wrong `Origin` is answered 403 by the specification itself.
    pub origin_forbidden: bool,
    /// Invalid tool arguments are a tool result with `isError`, not a protocol error.
    pub argument_errors_in_result: bool,
    /// The code for a resource that does not exist.
    pub resource_not_found: i64,
}

const V2024_11_05: Revision = Revision {
    name: "2024-11-05",
    era: Era::Legacy,
    http_sse_transport: true,
    streamable_http: false,
    batching: false,
    version_header: false,
    mirrored_headers: false,
    sessions: false,
    resumable: false,
    sse_priming: false,
    server_requests: true,
    disconnect_cancels: false,
    input_rounds: false,
    result_type: false,
    cache_hints: false,
    listen: false,
    progress_message: false,
    elicitation_form: false,
    elicitation_url: false,
    elicitation_choices: false,
    sampling_tools: false,
    structured_content: false,
    structured_any: false,
    resource_link: false,
    audio: false,
    completions_capability: false,
    completion_context: false,
    tool_annotations: false,
    title: false,
    icons: false,
    core_tasks: false,
    extensions: false,
    origin_forbidden: false,
    argument_errors_in_result: false,
    resource_not_found: crate::codes::RESOURCE_NOT_FOUND_LEGACY,
};

const V2025_03_26: Revision = Revision {
    name: "2025-03-26",
    http_sse_transport: false,
    streamable_http: true,
    batching: true,
    sessions: true,
    resumable: true,
    progress_message: true,
    audio: true,
    completions_capability: true,
    tool_annotations: true,
    ..V2024_11_05
};

const V2025_06_18: Revision = Revision {
    name: "2025-06-18",
    batching: false,
    version_header: true,
    elicitation_form: true,
    structured_content: true,
    resource_link: true,
    completion_context: true,
    title: true,
    ..V2025_03_26
};

const V2025_11_25: Revision = Revision {
    name: "2025-11-25",
    sse_priming: true,
    elicitation_url: true,
    elicitation_choices: true,
    sampling_tools: true,
    icons: true,
    core_tasks: true,
    origin_forbidden: true,
    argument_errors_in_result: true,
    ..V2025_06_18
};

const V2026_07_28: Revision = Revision {
    name: "2026-07-28",
    era: Era::Modern,
    mirrored_headers: true,
    sessions: false,
    resumable: false,
    sse_priming: false,
    server_requests: false,
    disconnect_cancels: true,
    input_rounds: true,
    result_type: true,
    cache_hints: true,
    listen: true,
    structured_any: true,
    core_tasks: false,
    extensions: true,
    resource_not_found: crate::codes::INVALID_PARAMS,
    ..V2025_11_25
};

/// Every revision, oldest first.
pub const REVISIONS: [Revision; 5] = [V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28];

static TABLE: [Revision; 5] = REVISIONS;

/// The revision that everything inside of the mesh speaks.
pub const MODERN: &Revision = &V2026_07_28;

/// The revision that legacy servers are asked for first.
pub const LATEST_LEGACY: &Revision = &V2025_11_25;

impl Revision {
    /// The revision of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|revision| revision.name == name)
    }

    /// The names of the revisions of one era, newest first.
    pub fn names(era: Era) -> impl Iterator<Item = &'static str> {
        TABLE
            .iter()
            .rev()
            .filter(move |revision| revision.era == era)
            .map(|revision| revision.name)
    }

    /// Whether it is of the modern era.
    pub fn is_modern(&self) -> bool {
        self.era == Era::Modern
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_revision_is_found_by_its_name_and_no_other_is() {
        for revision in &REVISIONS {
            assert_eq!(Revision::find(revision.name).unwrap(), revision);
        }
        for name in ["", "2024-11-5", "2026-07-28 ", "latest", "2025-11-26"] {
            assert!(Revision::find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn batching_belongs_to_one_revision_only() {
        let names: Vec<_> = REVISIONS
            .iter()
            .filter(|revision| revision.batching)
            .map(|revision| revision.name)
            .collect();
        assert_eq!(names, ["2025-03-26"]);
    }

    #[test]
    fn legacy_names_come_newest_first() {
        let names: Vec<_> = Revision::names(Era::Legacy).collect();
        assert_eq!(names, ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]);
        assert_eq!(Revision::names(Era::Modern).collect::<Vec<_>>(), [MODERN.name]);
    }
}
