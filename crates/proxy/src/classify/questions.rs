//! What a server asks in the middle of a call: whether it may, whether the client can be asked, and the state that brings
//! the answers back.
//!
//! A question that nobody can answer would only come back as a failed call later, so it is refused whole and by name.

use bytes::Bytes;
use meshgate_bridge::eras::cannot;
use meshgate_mcp::{Method, Object, Splice, json, lookup};

use super::Reshape;
use crate::refusal::{Executed, Reason, Refusal};
use crate::resolve::seal_state;

impl Reshape {
    /// Refuses questions that the client has not said it can answer, and seals the state of the others.
    pub(super) fn questions(&self, body: &Bytes, result: &Object, splice: &mut Splice<'_>) -> Result<(), Refusal> {
        if let Some(requests) = result
            .get(body, "inputRequests")
            .and_then(|r| Object::read(body, r.span))
        {
            for request in &requests.members {
                let method = lookup(body, request.value.span, &["method"])
                    .and_then(|m| m.str(body))
                    .unwrap_or_default();
                let param = |name: &str| lookup(body, request.value.span, &["params", name]);
                let mode = param("mode").and_then(|m| m.str(body));
                let page = param("url").and_then(|url| url.str(body)).unwrap_or_default();
                self.check_allowed(&method, mode.as_deref(), &page)?;
                // Beside the server nobody knows whether the client is a legacy one: the gateway does, and looks again.
                let may_be_lowered = self.lowered.is_some() || self.keys.is_none();
                if may_be_lowered && mode.as_deref() == Some("url") {
                    continue;
                }
                self.check_capability(&method, mode.as_deref(), param("tools").is_some())?;
            }
        }
        // Between two parts of a mesh a state is the server's own: it is sealed where it leaves for a client.
        let Some(keys) = &self.keys else { return Ok(()) };
        let inner = result
            .get(body, "requestState")
            .and_then(|s| s.str(body))
            .map(std::borrow::Cow::into_owned);
        let sealed = seal_state(
            &self.view,
            &self.call,
            &self.destination,
            &self.caller,
            keys,
            (self.now)(),
            (inner, self.owner),
        )?;
        match result.get(body, "requestState") {
            Some(theirs) => splice.replace(theirs.span, json::quote(&sealed)),
            None => splice.insert(result, "requestState", json::quote(&sealed)),
        }
        Ok(())
    }

    /// Refuses what the operator does not let this server ask. It was not told that the client could answer, so only a
    /// page's address is left to a server that keeps to the protocol.
    fn check_allowed(&self, method: &str, mode: Option<&str>, page: &str) -> Result<(), Refusal> {
        let Some(server) = self.view.servers.get(self.destination.server) else {
            return Ok(());
        };
        let questions = &server.server.questions;
        let denied = match (Method::parse(method), mode) {
            (Method::ElicitationCreate, Some("url")) => questions.page(page).err(),
            (Method::ElicitationCreate, _) => (!questions.elicitation).then_some("`questions.elicitation` denies it"),
            (Method::SamplingCreate, _) => (!questions.sampling).then_some("`questions.sampling` denies it"),
            (Method::RootsList, _) => (!questions.roots).then_some("`questions.roots` denies it"),
            _ => None,
        };
        let Some(why) = denied else { return Ok(()) };
        let what = match (Method::parse(method), mode) {
            (Method::ElicitationCreate, Some("url")) => "a page that nobody may be sent to",
            (Method::ElicitationCreate, _) => "input from a person",
            (Method::SamplingCreate, _) => "the application's model",
            _ => "the application's folders",
        };
        let message = format!(
            "the server `{}` asks for {what}: {why}; the operator may allow it for this server",
            server.server.name
        );
        let refusal = Refusal {
            executed: Executed::Unknown,
            ..Refusal::new(Reason::Forbidden, message)
        };
        Err(refusal.rule("questions"))
    }

    fn check_capability(&self, method: &str, mode: Option<&str>, with_tools: bool) -> Result<(), Refusal> {
        let path: &[&str] = match (Method::parse(method), mode) {
            (Method::ElicitationCreate, Some("url")) => &["elicitation", "url"],
            (Method::ElicitationCreate, _) => &["elicitation", "form"],
            (Method::SamplingCreate, _) if with_tools => &["sampling", "tools"],
            (Method::SamplingCreate, _) => &["sampling"],
            (Method::RootsList, _) => &["roots"],
            _ => &[],
        };
        let has = |path: &[&str]| self.declared(path);
        // A client that says nothing of the kinds of elicitation has the first one that there was.
        let form = path == ["elicitation", "form"];
        let first_kind = form && has(&["elicitation"]) && !has(&["elicitation", "url"]);
        if !path.is_empty() && has(path) || first_kind {
            return Ok(());
        }
        let required = match path {
            [outer, _] if form && !has(&["elicitation"]) => {
                format!("{{\"requiredCapabilities\":{{\"{outer}\":{{}}}}}}")
            }
            [outer, inner] => format!("{{\"requiredCapabilities\":{{\"{outer}\":{{\"{inner}\":{{}}}}}}}}"),
            [only] => format!("{{\"requiredCapabilities\":{{\"{only}\":{{}}}}}}"),
            _ => "{\"requiredCapabilities\":{}}".to_owned(),
        };
        Err(Refusal::server(
            Reason::MissingCapability,
            Executed::Unknown,
            cannot::UNDECLARED.say(&[&path.join(".")]),
        )
        .data(required.into_bytes()))
    }
}
