//! The project tracker: which projects there are, who leads them, and who works on them.

pub mod store;

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::tool::schema_for_output;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResult, Implementation, ProtocolVersion, ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::store::{Entry, LEAD, Member, Store};
use crate::serve::{Era, answer, refusal};

/// The server. Clones share the database.
#[derive(Clone)]
pub struct Projects {
    store: Arc<Mutex<Store>>,
    era: Era,
    tool_router: ToolRouter<Self>,
}

/// Which project.
#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// The name of the project
    name: String,
}

/// Which projects.
#[derive(Debug, Deserialize, JsonSchema)]
struct Listed {
    /// Only projects with this status
    status: Option<Status>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Status {
    Active,
    Paused,
    Closed,
}

/// Projects by name.
#[derive(Debug, Serialize, JsonSchema)]
struct List {
    projects: Vec<Known>,
}

/// A project.
#[derive(Debug, Serialize, JsonSchema)]
struct Known {
    name: String,
    status: String,
    /// The day it started
    start: String,
    goal: String,
    budget: String,
    site: String,
}

/// Who leads a project.
#[derive(Debug, Serialize, JsonSchema)]
struct Led {
    project: String,
    lead: Contact,
}

/// Who works on a project, the lead first.
#[derive(Debug, Serialize, JsonSchema)]
struct Team {
    project: String,
    people: Vec<Contact>,
}

/// Somebody, and how to write to them.
#[derive(Debug, Serialize, JsonSchema)]
struct Contact {
    name: String,
    title: String,
    /// What the person does in the project
    role: String,
    mail: String,
}

impl Projects {
    /// A server over an open tracker.
    pub fn new(store: Store, era: Era) -> Self {
        Self {
            store: Arc::new(Mutex::new(store)),
            era,
            tool_router: Self::tool_router(),
        }
    }
}

#[tool_router]
impl Projects {
    #[tool(
        title = "Find a project",
        description = "Facts about one project: status, start date, goal, budget and site.",
        output_schema = schema_for_output::<Known>(),
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    fn find_project(&self, Parameters(named): Parameters<Named>) -> CallToolResult {
        self.with(&named.name, |entry| {
            let text = format!(
                "Project {} is {}; it started on {} in {} with a budget of {}. Goal: {}.",
                entry.name, entry.status, entry.start, entry.site, entry.budget, entry.goal
            );
            answer(text, &Known::from(entry))
        })
    }

    #[tool(
        title = "List projects",
        description = "The names of all projects, or of those that are active, paused or closed.",
        output_schema = schema_for_output::<List>(),
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    fn list_projects(&self, Parameters(listed): Parameters<Listed>) -> CallToolResult {
        let status = listed.status.map(|status| match status {
            Status::Active => "active",
            Status::Paused => "paused",
            Status::Closed => "closed",
        });
        match self.store.lock().list(status) {
            Ok(entries) => {
                let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
                let text = format!("{} projects: {}", names.len(), names.join(", "));
                let projects = entries.into_iter().map(Known::from).collect();
                answer(text, &List { projects })
            }
            Err(error) => away(&error),
        }
    }

    #[tool(
        title = "Who leads a project",
        description = "The person who leads a project: name, title and mail address.",
        output_schema = schema_for_output::<Led>(),
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    fn get_project_lead(&self, Parameters(named): Parameters<Named>) -> CallToolResult {
        self.with_members(&named.name, |entry, members| {
            let Some(lead) = members.into_iter().find(|member| member.role == LEAD) else {
                return refusal(format!("Project {} has no lead at the moment", entry.name));
            };
            let text = format!(
                "{}, {}, leads Project {} ({})",
                lead.person, lead.title, entry.name, lead.mail
            );
            let led = Led {
                project: entry.name,
                lead: lead.into(),
            };
            answer(text, &led)
        })
    }

    #[tool(
        title = "The team of a project",
        description = "The team: all people who work on a project, with their roles and mail addresses.",
        output_schema = schema_for_output::<Team>(),
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    fn list_project_members(&self, Parameters(named): Parameters<Named>) -> CallToolResult {
        self.with_members(&named.name, |entry, members| {
            let lines: Vec<String> = members
                .iter()
                .map(|member| format!("{} ({}), {}, {}", member.person, member.role, member.title, member.mail))
                .collect();
            let team = Team {
                project: entry.name,
                people: members.into_iter().map(Contact::from).collect(),
            };
            answer(lines.join("\n"), &team)
        })
    }
}

impl Projects {
    /// Answers about one project, or says that there is none.
    fn with(&self, name: &str, answered: impl FnOnce(Entry) -> CallToolResult) -> CallToolResult {
        let found = self.store.lock().find(name);
        match found {
            Ok(Some(entry)) => answered(entry),
            Ok(None) => refusal(format!(
                "there is no project `{name}`; list the projects to see their names"
            )),
            Err(error) => away(&error),
        }
    }

    /// Answers about the people of one project.
    fn with_members(&self, name: &str, answered: impl FnOnce(Entry, Vec<Member>) -> CallToolResult) -> CallToolResult {
        self.with(name, |entry| {
            let members = self.store.lock().members(&entry.name);
            match members {
                Ok(members) => answered(entry, members),
                Err(error) => away(&error),
            }
        })
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Projects {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("corpassist-projects", env!("CARGO_PKG_VERSION")))
            .with_instructions("The project tracker: projects, who leads them and who works on them.")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.era.versions()
    }
}

impl From<Entry> for Known {
    fn from(entry: Entry) -> Self {
        Self {
            name: entry.name,
            status: entry.status,
            start: entry.start,
            goal: entry.goal,
            budget: entry.budget,
            site: entry.site,
        }
    }
}

impl From<Member> for Contact {
    fn from(member: Member) -> Self {
        Self {
            name: member.person,
            title: member.title,
            role: member.role,
            mail: member.mail,
        }
    }
}

fn away(error: &rusqlite::Error) -> CallToolResult {
    refusal(format!("the project database cannot be read: {error}"))
}
