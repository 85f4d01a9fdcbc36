//! The methods of MCP as a table: what each one addresses, who sends it, and in which era.

use crate::revision::Era;

/// A method of any revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the method its table row names")]
pub enum Method {
    Discover,
    ToolsList,
    ToolsCall,
    ResourcesList,
    TemplatesList,
    ResourcesRead,
    PromptsList,
    PromptsGet,
    Complete,
    Listen,
    TasksGet,
    TasksUpdate,
    TasksCancel,
    Initialize,
    Ping,
    SetLevel,
    Subscribe,
    Unsubscribe,
    LegacyTasksList,
    LegacyTasksResult,
    SamplingCreate,
    ElicitationCreate,
    RootsList,
    Initialized,
    Cancelled,
    Progress,
    LogMessage,
    ToolsChanged,
    PromptsChanged,
    ResourcesChanged,
    ResourceUpdated,
    RootsChanged,
    ElicitationComplete,
    SubscriptionAck,
    TaskStatus,
    LegacyTaskStatus,
    /// A method that is not in the table.
    Other,
}

/// What a request addresses, and so what `Mcp-Name` mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Nothing.
    None,
    /// `params.name`.
    Name,
    /// `params.uri`.
    Uri,
    /// `params.taskId`.
    TaskId,
}

impl Target {
    /// The member of `params` that holds the target.
    pub fn member(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Name => Some("name"),
            Self::Uri => Some("uri"),
            Self::TaskId => Some("taskId"),
        }
    }
}

/// In which eras a method exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Eras {
    /// Legacy only.
    Legacy,
    /// Modern only.
    Modern,
    /// Both.
    Both,
}

impl Eras {
    /// Whether the method exists in `era`.
    pub fn has(self, era: Era) -> bool {
        match self {
            Self::Legacy => era == Era::Legacy,
            Self::Modern => era == Era::Modern,
            Self::Both => true,
        }
    }
}

/// Who sends a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The client.
    Client,
    /// The server. In the modern era such requests travel inside of `inputRequests`.
    Server,
    /// Both.
    Both,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodRow {
    /// The name on the wire; empty for `Other`.
    pub name: &'static str,
    /// Where it exists.
    pub eras: Eras,
    /// Who sends it.
    pub sender: Sender,
    /// Whether it is a notification, so that it has no answer.
    pub notification: bool,
    /// What it addresses, in `params`; mirrored in `Mcp-Name` by the modern era.
    pub target: Target,
    /// Whether complete results carry `ttlMs` and `cacheScope`.
    pub cacheable: bool,
    /// Whether the result may be `input_required`.
    pub rounds: bool,
    /// The capability that whoever answers must have declared.
    pub capability: Option<&'static str>,
}

const fn request(name: &'static str, eras: Eras, sender: Sender, capability: Option<&'static str>) -> MethodRow {
    MethodRow {
        name,
        eras,
        sender,
        notification: false,
        target: Target::None,
        cacheable: false,
        rounds: false,
        capability,
    }
}

const fn notification(name: &'static str, eras: Eras, sender: Sender, capability: Option<&'static str>) -> MethodRow {
    MethodRow {
        notification: true,
        ..request(name, eras, sender, capability)
    }
}

impl MethodRow {
    const fn target(self, target: Target) -> Self {
        Self { target, ..self }
    }

    const fn cacheable(self) -> Self {
        Self {
            cacheable: true,
            ..self
        }
    }

    const fn rounds(self) -> Self {
        Self { rounds: true, ..self }
    }
}

const TASKS: Option<&str> = Some("extensions/io.modelcontextprotocol/tasks");

use Eras::{Both, Legacy, Modern};
use Sender::{Client, Server};

/// Every method with its row. The order is that of the enum, which a test checks.
static TABLE: [(Method, MethodRow); 37] = [
    (
        Method::Discover,
        request("server/discover", Modern, Client, None).cacheable(),
    ),
    (
        Method::ToolsList,
        request("tools/list", Both, Client, Some("tools")).cacheable(),
    ),
    (
        Method::ToolsCall,
        request("tools/call", Both, Client, Some("tools"))
            .target(Target::Name)
            .rounds(),
    ),
    (
        Method::ResourcesList,
        request("resources/list", Both, Client, Some("resources")).cacheable(),
    ),
    (
        Method::TemplatesList,
        request("resources/templates/list", Both, Client, Some("resources")).cacheable(),
    ),
    (
        Method::ResourcesRead,
        request("resources/read", Both, Client, Some("resources"))
            .target(Target::Uri)
            .cacheable()
            .rounds(),
    ),
    (
        Method::PromptsList,
        request("prompts/list", Both, Client, Some("prompts")).cacheable(),
    ),
    (
        Method::PromptsGet,
        request("prompts/get", Both, Client, Some("prompts"))
            .target(Target::Name)
            .rounds(),
    ),
    (
        Method::Complete,
        request("completion/complete", Both, Client, Some("completions")),
    ),
    (Method::Listen, request("subscriptions/listen", Modern, Client, None)),
    (
        Method::TasksGet,
        request("tasks/get", Both, Client, TASKS).target(Target::TaskId),
    ),
    (
        Method::TasksUpdate,
        request("tasks/update", Modern, Client, TASKS).target(Target::TaskId),
    ),
    (
        Method::TasksCancel,
        request("tasks/cancel", Both, Client, TASKS).target(Target::TaskId),
    ),
    (Method::Initialize, request("initialize", Legacy, Client, None)),
    (Method::Ping, request("ping", Legacy, Sender::Both, None)),
    (
        Method::SetLevel,
        request("logging/setLevel", Legacy, Client, Some("logging")),
    ),
    (
        Method::Subscribe,
        request("resources/subscribe", Legacy, Client, Some("resources")).target(Target::Uri),
    ),
    (
        Method::Unsubscribe,
        request("resources/unsubscribe", Legacy, Client, Some("resources")).target(Target::Uri),
    ),
    (
        Method::LegacyTasksList,
        request("tasks/list", Legacy, Sender::Both, Some("tasks")),
    ),
    (
        Method::LegacyTasksResult,
        request("tasks/result", Legacy, Sender::Both, Some("tasks")).target(Target::TaskId),
    ),
    (
        Method::SamplingCreate,
        request("sampling/createMessage", Both, Server, Some("sampling")),
    ),
    (
        Method::ElicitationCreate,
        request("elicitation/create", Both, Server, Some("elicitation")),
    ),
    (Method::RootsList, request("roots/list", Both, Server, Some("roots"))),
    (
        Method::Initialized,
        notification("notifications/initialized", Legacy, Client, None),
    ),
    (
        Method::Cancelled,
        notification("notifications/cancelled", Both, Sender::Both, None),
    ),
    (
        Method::Progress,
        notification("notifications/progress", Both, Sender::Both, None),
    ),
    (
        Method::LogMessage,
        notification("notifications/message", Both, Server, Some("logging")),
    ),
    (
        Method::ToolsChanged,
        notification("notifications/tools/list_changed", Both, Server, Some("tools")),
    ),
    (
        Method::PromptsChanged,
        notification("notifications/prompts/list_changed", Both, Server, Some("prompts")),
    ),
    (
        Method::ResourcesChanged,
        notification("notifications/resources/list_changed", Both, Server, Some("resources")),
    ),
    (
        Method::ResourceUpdated,
        notification("notifications/resources/updated", Both, Server, Some("resources")).target(Target::Uri),
    ),
    (
        Method::RootsChanged,
        notification("notifications/roots/list_changed", Legacy, Client, Some("roots")),
    ),
    (
        Method::ElicitationComplete,
        notification("notifications/elicitation/complete", Legacy, Server, None),
    ),
    (
        Method::SubscriptionAck,
        notification("notifications/subscriptions/acknowledged", Modern, Server, None),
    ),
    (
        Method::TaskStatus,
        notification("notifications/tasks", Modern, Server, TASKS),
    ),
    (
        Method::LegacyTaskStatus,
        notification("notifications/tasks/status", Legacy, Sender::Both, Some("tasks")),
    ),
    (Method::Other, request("", Both, Sender::Both, None)),
];

static UNKNOWN: MethodRow = request("", Both, Sender::Both, None);

impl Method {
    /// The method of that name; `Other` when the table does not have it.
    pub fn parse(name: &str) -> Self {
        // Nearly every request; and a response has no method.
        match name {
            "tools/call" => return Self::ToolsCall,
            "" => return Self::Other,
            _ => {}
        }
        TABLE
            .iter()
            .find(|(_, row)| row.name == name)
            .map_or(Self::Other, |(method, _)| *method)
    }

    /// The name on the wire; empty for `Other`.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// What the table says about it.
    pub fn row(self) -> &'static MethodRow {
        TABLE.get(self as usize).map_or(&UNKNOWN, |(_, row)| row)
    }

    /// Every method of the table, `Other` last.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(method, _)| *method)
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_the_enum() {
        for (index, (method, _)) in TABLE.iter().enumerate() {
            assert_eq!(*method as usize, index, "{method:?}");
        }
    }

    #[test]
    fn every_name_is_parsed_back_and_unknown_names_are_other() {
        for method in Method::all() {
            assert_eq!(Method::parse(method.as_str()), method);
        }
        for name in ["", "tools/Call", "tools/call ", "rpc.discover", "notifications/unknown"] {
            assert_eq!(Method::parse(name), Method::Other, "{name}");
        }
    }

    #[test]
    fn only_three_methods_have_input_rounds_and_only_six_are_cacheable() {
        let rounds: Vec<_> = Method::all().filter(|method| method.row().rounds).collect();
        assert_eq!(rounds, [Method::ToolsCall, Method::ResourcesRead, Method::PromptsGet]);
        assert_eq!(Method::all().filter(|method| method.row().cacheable).count(), 6);
    }

    #[test]
    fn notifications_are_those_whose_name_says_so() {
        for method in Method::all() {
            assert_eq!(
                method.row().notification,
                method.as_str().starts_with("notifications/"),
                "{method:?}"
            );
        }
    }
}
