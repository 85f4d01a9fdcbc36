//! What the gateway answers by itself: discover, lists, subscriptions, and methods that nobody of the view offers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use meshgate_bridge::Capabilities;
use meshgate_mcp::{Era, Method, Sender, message, meta};
use meshgate_telemetry::Hop;

use super::{CallContext, Core, PAGE_ITEMS, unix_now};
use crate::authenticate;
use crate::authorize::Standing;
use crate::call::{Answered, Caller, Told};
use crate::catalogue::{ListKind, ViewState, page};
use crate::classify::LONG_BYTES_MIN;
use crate::listen_hub;
use crate::refusal::{Executed, Reason, Refusal};
use crate::resolve::{self, Call};

/// When to ask again for a server that is away.
const AWAY_RETRY: Duration = Duration::from_secs(1);

/// How long a gateway is made to wait for a server that is starting. It gives up after twice as long.
const STARTING_MAX: Duration = Duration::from_secs(5);

/// A response of our own around a result object, which is shared and not copied when it is long.
fn whole(call: &Call, body: &Bytes) -> Answered {
    if body.len() < LONG_BYTES_MIN {
        return Answered::One(Told::Result(result(call, body)));
    }
    let head = message::result_head(&call.id());
    Answered::One(Told::Pieces(vec![
        Bytes::from(head),
        body.clone(),
        Bytes::from_static(message::RESULT_TAIL),
    ]))
}

/// A response of our own around a result object.
pub(super) fn result(call: &Call, result: &[u8]) -> Bytes {
    Bytes::from(message::result(&call.id(), result))
}

impl Core {
    /// Puts what the caller itself is shown in the place of what everybody is, for whatever is looked up by name.
    pub(super) async fn use_own_lists(&self, context: &mut Arc<CallContext>, call: &Call) {
        let by_name = matches!(
            call.method,
            Method::ToolsList
                | Method::ResourcesList
                | Method::TemplatesList
                | Method::PromptsList
                | Method::ToolsCall
                | Method::PromptsGet
        );
        let declared = call.message.meta_value(&call.body, meta::CLIENT_CAPABILITIES);
        let can = declared.map_or(Capabilities::NONE, |declared| {
            Capabilities::read(&call.body, declared.span)
        });
        if !by_name {
            return;
        }
        let view = self.catalogues.shown_to(&context.view, &context.caller, can).await;
        // The call has not begun, so nobody else holds its context.
        if let Some(context) = Arc::get_mut(context) {
            context.view = view;
        }
    }

    /// What the gateway answers by itself: discover, lists, subscriptions, and methods nobody of the view offers.
    pub(super) async fn own_answer(&self, context: &CallContext, call: &Call) -> Result<Option<Answered>, Refusal> {
        let view = &context.view;
        if self.hop == Hop::Sidecar
            && let Some(answered) = self.as_its_server(view, call).await?
        {
            return Ok(Some(answered));
        }
        offered(view, call)?;
        let kind = match call.method {
            Method::Discover => return Ok(Some(whole(call, &view.discover))),
            Method::Listen => {
                return Box::pin(self.subscribed(context, call)).await.map(Some);
            }
            Method::ToolsList => ListKind::Tools,
            Method::ResourcesList => ListKind::Resources,
            Method::TemplatesList => ListKind::Templates,
            Method::PromptsList => ListKind::Prompts,
            _ => return Ok(None),
        };
        let cursor =
            match call.param("cursor") {
                None => None,
                Some(cursor) => Some(cursor.str(&call.body).ok_or_else(|| {
                    Refusal::new(Reason::InvalidParams, "`cursor` must be a string").rule("view/cursor")
                })?),
            };
        let body = page(
            view,
            kind,
            cursor.as_deref(),
            &context.caller,
            self.keys.as_deref(),
            PAGE_ITEMS,
            unix_now(),
        )?;
        Ok(Some(whole(call, &body)))
    }

    /// What a sidecar says in its server's place: what it is, in its own words. While the server is away there is nothing to
    /// say of it, and before it has been read nobody knows what it has.
    async fn as_its_server(&self, view: &ViewState, call: &Call) -> Result<Option<Answered>, Refusal> {
        let server = view.servers.first();
        if call.method == Method::Discover
            && let Some(server) = server
            && server.catalogue.is_none()
            && let Some(discover) = self.first_answer(&server.server.name).await
        {
            return Ok(Some(whole(call, &discover)));
        }
        let catalogue = server.and_then(|server| server.catalogue.as_ref());
        let told = matches!(
            call.method,
            Method::Discover | Method::ToolsList | Method::ResourcesList | Method::TemplatesList | Method::PromptsList
        );
        let away = server.is_none_or(|server| told && server.away);
        match catalogue.filter(|_| !away) {
            Some(catalogue) if call.method == Method::Discover => Ok(Some(whole(call, &catalogue.discover))),
            Some(_) => Ok(None),
            None => Err(self.away(server.map(|server| &*server.server.name))),
        }
    }

    /// What a server says that is only just starting: a gateway that is told to come again comes later than it is there.
    async fn first_answer(&self, server: &str) -> Option<Bytes> {
        self.catalogues.asked_all(STARTING_MAX).await;
        let (catalogue, away) = self.catalogues.server_state(server);
        catalogue
            .filter(|_| away.is_none())
            .map(|catalogue| catalogue.discover.clone())
    }

    fn away(&self, server: Option<&str>) -> Refusal {
        let why = server.and_then(|name| self.catalogues.server_state(name).1);
        let why = match (server, why) {
            (None, _) => "the sidecar has no server in its configuration".to_owned(),
            (Some(_), Some((why, _))) => why,
            (Some(_), None) => "server is starting".to_owned(),
        };
        Refusal::server(Reason::ServerAway, Executed::No, why).retry(AWAY_RETRY)
    }

    /// A subscription, on a seat of its caller unless it belongs to a session.
    async fn subscribed(&self, context: &CallContext, call: &Call) -> Result<Answered, Refusal> {
        let view = &context.view;
        let lifted = view.view.limits_lifted || context.mirrored.is_none();
        let seat = self.streams.take(context.caller.binding(), lifted)?;
        let caller = &context.caller;
        let token = context.mirrored.as_ref().and_then(authenticate::presented);
        let mut standing = Standing::new(&self.catalogues, view, caller, token);
        if listen_hub::names_resources(call) {
            standing = standing.hearing(view);
        }
        let until = (self.drain.clone(), standing.lost());
        let telling = self.hub.listen(view, call, caller, lifted, until).await?;
        Ok(Answered::Stream(Box::pin(telling.inspect(move |_| {
            let _held = &seat;
        }))))
    }
}

/// A gateway asks for itself what a server has, and calls for others only.
pub(super) fn on_behalf_of_a_caller(caller: &Caller) -> Result<(), Refusal> {
    if !caller.is_gateway() {
        return Ok(());
    }
    let text = "a gateway calls on behalf of a caller; for itself it may discover, list and listen";
    Err(Refusal::new(Reason::Forbidden, text).rule("mesh/own"))
}

/// Whether somebody of the view offers a method.
pub(super) fn offered(view: &ViewState, call: &Call) -> Result<(), Refusal> {
    let offers = |capability: &str| match capability {
        "tools" => view.capabilities.tools,
        "prompts" => view.capabilities.prompts,
        "resources" => view.capabilities.resources,
        "completions" => view.capabilities.completions,
        _ => true,
    };
    let row = call.method.row();
    let served = row.eras.has(Era::Modern) && !row.notification && row.sender != Sender::Server;
    // What nobody knows may be an extension's, but not a known method in other letters: a server that reads it as one
    // would be called past everything that is checked for it.
    let known = if call.method == Method::Other {
        !resembles_known(&call.method_name())
    } else {
        served
    };
    if !known || row.capability.is_some_and(|c| !offers(c)) {
        return Err(resolve::method_not_found(&call.method_name()));
    }
    Ok(())
}

/// Whether a name is that of a known method but for case and space.
fn resembles_known(name: &str) -> bool {
    let name = name.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    Method::all().any(|method| !method.as_str().is_empty() && method.as_str().eq_ignore_ascii_case(name))
}
