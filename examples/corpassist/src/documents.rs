//! The document repository: strategies, plans, reviews, notes and policies, to search, to summarise and to read.
//!
//! Each tool answers in two forms, a text for people and data for programs. Each document is also a resource,
//! `doc://corp/<id>`, for clients that would rather attach a document than call a tool.

pub mod seed;
pub mod store;
pub mod summary;

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::tool::schema_for_output;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResult, Implementation, ListResourceTemplatesResult, ListResourcesResult, PaginatedRequestParams,
    ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource, ResourceContents,
    ResourceTemplate, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::store::{Document, Store};
use crate::serve::{Era, answer, refusal};

const SCHEME: &str = "doc://corp/";
const MIME_TYPE: &str = "text/markdown";
const LIMIT_DEFAULT: u32 = 5;
const LIMIT_MAX: u32 = 50;
const SENTENCES_DEFAULT: u32 = 4;
const SENTENCES_MAX: u32 = 20;
/// Resources in one page of a list.
const PAGE: u32 = 100;

/// The server. Clones share the database.
#[derive(Clone)]
pub struct Documents {
    store: Arc<Mutex<Store>>,
    era: Era,
    tool_router: ToolRouter<Self>,
}

/// What to search for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Search {
    /// Words to search for; documents that have more of them come first
    query: String,
    /// How many documents to find at most
    #[schemars(range(min = 1, max = 50))]
    limit: Option<u32>,
}

/// What to summarise.
#[derive(Debug, Deserialize, JsonSchema)]
struct Summarize {
    /// The id of the document, as the search shows it
    id: String,
    /// How many sentences the summary has
    #[schemars(range(min = 1, max = 20))]
    sentences: Option<u32>,
}

/// What to read.
#[derive(Debug, Deserialize, JsonSchema)]
struct Read {
    /// The id of the document, as the search shows it
    id: String,
}

/// The documents that a search found, the best one first.
#[derive(Debug, Serialize, JsonSchema)]
struct Found {
    documents: Vec<Hit>,
}

/// A document that was found.
#[derive(Debug, Serialize, JsonSchema)]
struct Hit {
    /// The id, for the other tools
    id: String,
    title: String,
    kind: String,
    author: String,
    date: String,
    /// Where the document can be read as a resource
    uri: String,
    /// The part of the text that fits
    excerpt: String,
}

/// A document's own most telling sentences.
#[derive(Debug, Serialize, JsonSchema)]
struct Summary {
    id: String,
    title: String,
    author: String,
    date: String,
    /// Where the document can be read as a resource
    uri: String,
    /// Sentences of the document, word for word and in its order
    sentences: Vec<String>,
}

/// A whole document.
#[derive(Debug, Serialize, JsonSchema)]
struct Whole {
    id: String,
    title: String,
    kind: String,
    author: String,
    date: String,
    /// Where the document can be read as a resource
    uri: String,
    text: String,
}

impl Documents {
    /// A server over an open repository.
    pub fn new(store: Store, era: Era) -> Self {
        Self {
            store: Arc::new(Mutex::new(store)),
            era,
            tool_router: Self::tool_router(),
        }
    }
}

#[tool_router]
impl Documents {
    #[tool(
        title = "Search documents",
        description = "Full-text search in the company's documents: strategies, plans, reviews, meeting and workshop \
                       notes, decision records, risk registers and policies. Finds ids, titles, authors and excerpts.",
        output_schema = schema_for_output::<Found>(),
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    fn search_documents(&self, Parameters(search): Parameters<Search>) -> CallToolResult {
        let limit = search.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
        match self.store.lock().search(&search.query, limit) {
            Ok(hits) => {
                let lines: Vec<String> = hits.iter().map(|hit| format!("{} ({})", hit.title, hit.id)).collect();
                let text = match lines.len() {
                    0 => format!("No document has any of the words `{}`.", search.query),
                    _ => lines.join("\n"),
                };
                let documents = hits.into_iter().map(Hit::from).collect();
                answer(text, &Found { documents })
            }
            Err(error) => away(&error),
        }
    }

    #[tool(
        title = "Summarize a document",
        description = "Summary of one document in a few sentences, taken word for word from its text.",
        output_schema = schema_for_output::<Summary>(),
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    fn summarize_document(&self, Parameters(asked): Parameters<Summarize>) -> CallToolResult {
        let count = asked.sentences.unwrap_or(SENTENCES_DEFAULT).clamp(1, SENTENCES_MAX);
        self.with(&asked.id, |document| {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let sentences = summary::summary(&document.title, &document.body, count);
            let text = sentences.join(" ");
            let summary = Summary {
                uri: uri(&document.id),
                sentences: sentences.into_iter().map(str::to_owned).collect(),
                id: document.id.clone(),
                title: document.title.clone(),
                author: document.author.clone(),
                date: document.date.clone(),
            };
            answer(text, &summary)
        })
    }

    #[tool(
        title = "Read a document",
        description = "The whole text of one document.",
        output_schema = schema_for_output::<Whole>(),
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    fn read_document(&self, Parameters(asked): Parameters<Read>) -> CallToolResult {
        self.with(&asked.id, |document| {
            answer(document.body.clone(), &Whole::from(document.clone()))
        })
    }
}

impl Documents {
    /// Answers from one document, or says that there is none.
    fn with(&self, id: &str, answered: impl FnOnce(&Document) -> CallToolResult) -> CallToolResult {
        match self.store.lock().read(id) {
            Ok(Some(document)) => answered(&document),
            Ok(None) => refusal(format!("there is no document `{id}`; search for it to see its id")),
            Err(error) => away(&error),
        }
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Documents {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("corpassist-documents", env!("CARGO_PKG_VERSION")))
            .with_instructions("Search for a document first; the other tools take the id that the search shows.")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.era.versions()
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let after = request.and_then(|request| request.cursor).unwrap_or_default();
        let documents = self.store.lock().list(&after, PAGE).map_err(internal)?;
        let full = u32::try_from(documents.len()) == Ok(PAGE);
        Ok(ListResourcesResult {
            next_cursor: documents.last().filter(|_| full).map(|document| document.id.clone()),
            resources: documents.iter().map(resource).collect(),
            ..Default::default()
        })
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new(format!("{SCHEME}{{id}}"), "document")
            .with_title("A document by its id")
            .with_mime_type(MIME_TYPE);
        Ok(ListResourceTemplatesResult {
            resource_templates: vec![template],
            ..Default::default()
        })
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let id = request.uri.strip_prefix(SCHEME).unwrap_or_default();
        let document = self.store.lock().read(id).map_err(internal)?.ok_or_else(|| {
            let why = format!("resource `{}` not found", request.uri);
            ErrorData::resource_not_found(why, Some(serde_json::json!({"uri": request.uri})))
        })?;
        let contents = ResourceContents::TextResourceContents {
            uri: request.uri,
            mime_type: Some(MIME_TYPE.into()),
            text: format!("# {}\n\n{}", document.title, document.body),
            meta: None,
        };
        Ok(ReadResourceResult::new(vec![contents]).into())
    }
}

impl From<Document> for Hit {
    fn from(document: Document) -> Self {
        Self {
            uri: uri(&document.id),
            id: document.id,
            title: document.title,
            kind: document.kind,
            author: document.author,
            date: document.date,
            excerpt: document.body,
        }
    }
}

impl From<Document> for Whole {
    fn from(document: Document) -> Self {
        Self {
            uri: uri(&document.id),
            id: document.id,
            title: document.title,
            kind: document.kind,
            author: document.author,
            date: document.date,
            text: document.body,
        }
    }
}

fn resource(document: &Document) -> Resource {
    Resource::new(uri(&document.id), &document.id)
        .with_title(&document.title)
        .with_mime_type(MIME_TYPE)
}

fn uri(id: &str) -> String {
    format!("{SCHEME}{id}")
}

fn away(error: &rusqlite::Error) -> CallToolResult {
    refusal(format!("the document database cannot be read: {error}"))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn internal(error: rusqlite::Error) -> ErrorData {
    ErrorData::internal_error(format!("the document database cannot be read: {error}"), None)
}
