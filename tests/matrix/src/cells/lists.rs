//! Lists in pages, and what is heard when they change.

use meshgate_bridge::eras::{Feature, Link};
use serde_json::{Value, json};

use super::{NOTE, Scene, expect, holds};
use crate::{
    Failure,
    client::Wish,
    server::{PROMPTS, PROMPTS_ON_PAGE},
};

/// A change that an earlier client made may still be told to this one.
const CHANGES_MAX: usize = 5;

impl Scene {
    /// The server gives three pages, the gateway reads them all and gives its own.
    pub(super) fn pagination(&self) -> Result<(), Failure> {
        let mut names = Vec::new();
        let mut pages = 0;
        let mut params = json!({});
        loop {
            let page = self.plain.call("prompts/list", &params, &Wish::none())?;
            self.marked(&page)?;
            let prompts = page
                .result()?
                .get("prompts")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            names.extend(
                prompts
                    .iter()
                    .filter_map(|one| one.get("name").cloned())
                    .map(|name| name.to_string()),
            );
            pages += 1;
            match page.result()?.get("nextCursor") {
                Some(cursor) => params = json!({"cursor": cursor}),
                None => break,
            }
        }
        expect("pages", &pages, &2)?;
        expect("prompts", &names.len(), &(PROMPTS + 2))?;
        names.sort();
        names.dedup();
        expect("prompts, each once", &names.len(), &(PROMPTS + 2))?;
        for page in 1..=PROMPTS / PROMPTS_ON_PAGE {
            let cursor = format!("from-{}", page * PROMPTS_ON_PAGE);
            self.saw(0, "prompts/list", &json!({"cursor": cursor}))?;
        }
        let since = self.witness.now();
        let forged = json!({"cursor": "from-401"});
        let exchange = self.plain.call("prompts/list", &forged, &Wish::none())?;
        expect(
            "the code of a cursor that the gateway never gave",
            &exchange.error()?.0,
            &-32602,
        )?;
        self.runs(since, &self.plain, "echo", "after-a-cursor")?;
        let arrived = self.witness.seen(&self.server, since, &|note| {
            note.is("prompts/list") && note.message("/params/cursor") == Some(&json!("from-401"))
        });
        holds("the forged cursor came to the server", arrived.is_empty(), &arrived)?;
        self.agrees(Feature::Pagination, false)
    }

    pub(super) fn list_changed(&self) -> Result<(), Failure> {
        let word = self.word(Feature::ListChanged);
        self.listened("toolsListChanged", &json!(true))?;
        let since = self.witness.now();
        let exchange = self.tool(&self.plain, "grow", &json!({"word": word}), &Wish::none())?;
        expect("the answer", &exchange.text()?, &format!("grown {word}").as_str())?;
        let grown = json!(format!("grown-{word}"));
        for _ in 0..CHANGES_MAX {
            self.changes.wait("notifications/tools/list_changed")?;
            let list = self.plain.call("tools/list", &json!({}), &Wish::none())?;
            let tools = list
                .result()?
                .get("tools")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            if tools.iter().any(|tool| tool.get("name") == Some(&grown)) {
                self.saw(since, "tools/list", &json!({}))?;
                return self.agrees(Feature::ListChanged, false);
            }
        }
        Err(format!("the list changed {CHANGES_MAX} times and never showed {grown}"))
    }

    pub(super) fn resource_updates(&self) -> Result<(), Failure> {
        let word = self.word(Feature::ResourceUpdates);
        if self.server_revision.is_modern() {
            self.listened("resourceSubscriptions", &json!([NOTE]))?;
        } else {
            self.listened("", &Value::Null)?;
            self.saw(0, "resources/subscribe", &json!({"uri": NOTE}))?;
        }
        let exchange = self.tool(&self.plain, "touch", &json!({"word": word}), &Wish::none())?;
        expect("the answer", &exchange.text()?, &format!("touched {word}").as_str())?;
        let update = self.changes.wait("notifications/resources/updated")?;
        expect("the resource", &update.pointer("/params/uri"), &Some(&json!(NOTE)))?;
        let tag = update.pointer("/params/_meta/io.modelcontextprotocol~1subscriptionId");
        expect("the id of the listen", &tag.is_some(), &self.plain.is_modern())?;
        self.agrees(Feature::ResourceUpdates, false)
    }

    /// Waits until the gateway hears what the server has to say between calls.
    fn listened(&self, flag: &str, value: &Value) -> Result<(), Failure> {
        if !self.server_revision.is_modern() && self.link == Link::Stdio {
            return Ok(());
        }
        let attached = |note: &crate::witness::Note| {
            let filter = note.saw.get("filter");
            note.saw.get("event") == Some(&json!("attached"))
                && (flag.is_empty()
                    || !self.server_revision.is_modern()
                    || filter.and_then(|f| f.get(flag)) == Some(value))
        };
        let what = format!("somebody who listens for {flag}");
        self.witness.wait(&self.server, 0, &what, &attached).map(drop)
    }
}
