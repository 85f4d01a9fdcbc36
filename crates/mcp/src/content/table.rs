//! The table of places.
//!
//! A place says what stands at a value: a URI, an object with places in it, an array of a place, and so on. Below each
//! method, the constants read like the schema of its message with everything left out that holds no URI.

use super::{Direction, UriKind};
use crate::method::Method;

/// What stands at a value.
pub(super) enum Place {
    /// Nothing to replace.
    Nothing,
    /// A URI.
    Uri(UriKind),
    /// An object with places at some members.
    Members(&'static [(&'static str, Place)]),
    /// An array whose elements are all such places.
    Each(&'static Place),
    /// A map whose values are all such places.
    Values(&'static Place),
    /// An object that is one of several, told apart by a member.
    Switch(&'static str, &'static [(&'static str, Place)]),
    /// A content block or an array of them. Blocks can hold blocks, so the walker counts the depth.
    Blocks,
}

use Place::{Blocks, Each, Members, Nothing, Switch, Uri, Values};

const RESOURCE: Place = Uri(UriKind::Resource);

/// A member `uri`: resources, resource links, embedded contents.
static WITH_URI: Place = Members(&[("uri", RESOURCE)]);

/// One content block.
pub(super) static BLOCK: Place = Switch(
    "type",
    &[
        ("resource_link", Members(&[("uri", RESOURCE)])),
        ("resource", Members(&[("resource", Members(&[("uri", RESOURCE)]))])),
        ("tool_result", Members(&[("content", Blocks)])),
    ],
);

/// A message of a prompt or of a sampling request.
static MESSAGE: Place = Members(&[("content", Blocks)]);

/// A tool of a list. The user interface is named in one of two forms.
static TOOL: Place = Members(&[(
    "_meta",
    Members(&[
        ("ui", Members(&[("resourceUri", Uri(UriKind::Ui))])),
        (crate::meta::UI_RESOURCE_URI, Uri(UriKind::Ui)),
    ]),
)]);

static TEMPLATE: Place = Members(&[("uriTemplate", Uri(UriKind::Template))]);

/// A question inside of `inputRequests`.
static INPUT_REQUEST: Place = Switch(
    "method",
    &[(
        "sampling/createMessage",
        Members(&[("params", Members(&[("messages", Each(&MESSAGE))]))]),
    )],
);

/// An answer inside of `inputResponses`: that of sampling has content, the others do not. The content of an
/// elicitation is an object without `type`, so it is no block.
static INPUT_RESPONSE: Place = Members(&[("content", Blocks)]);

const INPUT_REQUESTS: (&str, Place) = ("inputRequests", Values(&INPUT_REQUEST));
const INPUT_RESPONSES: (&str, Place) = ("inputResponses", Values(&INPUT_RESPONSE));

/// A task, as `tasks/get` and `notifications/tasks` carry it.
static TASK: Place = Members(&[
    ("result", Members(&[("content", Blocks)])),
    ("error", Members(&[("data", Members(&[("uri", RESOURCE)]))])),
    INPUT_REQUESTS,
]);

static SUBSCRIPTIONS: Place = Members(&[(
    "notifications",
    Members(&[("resourceSubscriptions", Each(&RESOURCE_PLACE))]),
)]);
static RESOURCE_PLACE: Place = RESOURCE;
static NOTHING: Place = Nothing;

/// `params` of a request or notification.
pub(super) fn params(method: Method, dir: Direction) -> &'static Place {
    match (dir, method) {
        (Direction::ToServer, Method::ResourcesRead) => {
            static PARAMS: Place = Members(&[("uri", RESOURCE), INPUT_RESPONSES]);
            &PARAMS
        }
        (Direction::ToServer, Method::Subscribe | Method::Unsubscribe)
        | (Direction::ToClient, Method::ResourceUpdated) => &WITH_URI,
        (Direction::ToServer, Method::Complete) => {
            static PARAMS: Place = Members(&[("ref", Members(&[("uri", Uri(UriKind::Template))]))]);
            &PARAMS
        }
        (Direction::ToServer, Method::Listen) | (Direction::ToClient, Method::SubscriptionAck) => &SUBSCRIPTIONS,
        (Direction::ToServer, Method::ToolsCall | Method::PromptsGet | Method::TasksUpdate) => {
            static PARAMS: Place = Members(&[INPUT_RESPONSES]);
            &PARAMS
        }
        (Direction::ToClient, Method::SamplingCreate) => {
            static PARAMS: Place = Members(&[("messages", Each(&MESSAGE))]);
            &PARAMS
        }
        (Direction::ToClient, Method::TaskStatus) => &TASK,
        _ => &NOTHING,
    }
}

/// `result` of the answer to a method.
pub(super) fn result(method: Method, dir: Direction) -> &'static Place {
    match (dir, method) {
        (Direction::ToClient, Method::ToolsList) => {
            static RESULT: Place = Members(&[("tools", Each(&TOOL))]);
            &RESULT
        }
        (Direction::ToClient, Method::ResourcesList) => {
            static RESULT: Place = Members(&[("resources", Each(&WITH_URI))]);
            &RESULT
        }
        (Direction::ToClient, Method::TemplatesList) => {
            static RESULT: Place = Members(&[("resourceTemplates", Each(&TEMPLATE))]);
            &RESULT
        }
        (Direction::ToClient, Method::ResourcesRead) => {
            static RESULT: Place = Members(&[("contents", Each(&WITH_URI)), INPUT_REQUESTS]);
            &RESULT
        }
        (Direction::ToClient, Method::ToolsCall | Method::LegacyTasksResult) => {
            static RESULT: Place = Members(&[("content", Blocks), INPUT_REQUESTS]);
            &RESULT
        }
        (Direction::ToClient, Method::PromptsGet) => {
            static RESULT: Place = Members(&[("messages", Each(&MESSAGE)), INPUT_REQUESTS]);
            &RESULT
        }
        (Direction::ToClient, Method::TasksGet) => &TASK,
        (Direction::ToServer, Method::SamplingCreate) => {
            static RESULT: Place = Members(&[("content", Blocks)]);
            &RESULT
        }
        _ => &NOTHING,
    }
}

/// `error` of any answer.
pub(super) fn error(dir: Direction) -> &'static Place {
    static ERROR: Place = Members(&[("data", Members(&[("uri", RESOURCE)]))]);
    match dir {
        Direction::ToClient => &ERROR,
        Direction::ToServer => &NOTHING,
    }
}
