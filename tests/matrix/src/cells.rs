//! The cells: for each feature, what a client of one revision does with a server of another, looked at from both ends.
//!
//! What has to be seen is worked out here from what the two revisions say, by hand. The table of the bridge
//! ([`meshgate_bridge::eras`]) is held against it: what it lists as refused must be refused with its code and its words,
//! and where it lists a loss something must really be missing.

mod calls;
mod lists;
mod questions;
mod streams;

use std::sync::Arc;

use meshgate_bridge::eras::{Carriage, Feature, Link, carriage};
use meshgate_mcp::Revision;
use serde_json::{Value, json};

use crate::{
    Failure,
    client::{Changes, Client, Exchange, Wish},
    witness::{Note, Witness},
};

/// The resource that every server has.
pub(crate) const NOTE: &str = "note://first";

/// One client at one server.
pub(crate) struct Scene {
    pub(crate) client_revision: &'static Revision,
    pub(crate) server_revision: &'static Revision,
    pub(crate) link: Link,
    /// The server's name.
    pub(crate) server: String,
    pub(crate) witness: Arc<Witness>,
    /// Declares nothing, so that it shares its server's session with others.
    pub(crate) plain: Client,
    /// Declares everything that its revision has.
    pub(crate) able: Client,
    pub(crate) changes: Changes,
}

impl Scene {
    /// Opens both clients at a view of that server alone.
    pub(crate) fn open(
        witness: &Arc<Witness>,
        authority: &str,
        server: &str,
        pair: (&'static Revision, &'static Revision, Link),
    ) -> Result<Self, Failure> {
        let path = format!("/views/{server}/mcp");
        let plain = Client::open(pair.0.name, authority, &path, false)?;
        let able = Client::open(pair.0.name, authority, &path, true)?;
        let changes = plain.changes(NOTE)?;
        Ok(Self {
            client_revision: pair.0,
            server_revision: pair.1,
            link: pair.2,
            server: server.to_owned(),
            witness: Arc::clone(witness),
            plain,
            able,
            changes,
        })
    }

    /// Runs one cell.
    pub(crate) fn cell(&self, feature: Feature) -> Result<(), Failure> {
        match feature {
            Feature::Tools => self.tools(),
            Feature::Resources => self.resources(),
            Feature::Templates => self.templates(),
            Feature::Prompts => self.prompts(),
            Feature::Completion => self.completion(),
            Feature::ElicitationForm => self.question(feature, "form"),
            Feature::ElicitationUrl => self.question(feature, "url").and_then(|()| self.visit()),
            Feature::Sampling => self.question(feature, "sampling"),
            Feature::Roots => self.question(feature, "roots").and_then(|()| self.several()),
            Feature::Progress => self.progress(),
            Feature::Logging => self.logging(),
            Feature::Cancel => self.cancel(),
            Feature::ListChanged => self.list_changed(),
            Feature::ResourceUpdates => self.resource_updates(),
            Feature::Pagination => self.pagination(),
        }
    }

    /// Ends the sessions.
    pub(crate) fn close(self) -> Result<(), Failure> {
        self.plain.close()?;
        self.able.close()
    }

    /// What the table says.
    pub(crate) fn listed(&self, feature: Feature) -> Carriage {
        carriage(feature, self.client_revision, self.server_revision, self.link)
    }

    /// Something was missing, or nothing was: the table must say the same.
    fn agrees(&self, feature: Feature, is_lossy: bool) -> Result<(), Failure> {
        match (self.listed(feature), is_lossy) {
            (Carriage::Carried, false) | (Carriage::WithLoss(_), true) => Ok(()),
            (listed, _) => Err(format!("the table says {listed:?}, and a loss was seen: {is_lossy}")),
        }
    }

    /// A word that no other cell of this server has.
    fn word(&self, feature: Feature) -> String {
        let number = Feature::ALL.iter().position(|one| *one == feature).unwrap_or_default();
        format!("w{number}-{}", self.client_revision.name)
    }

    /// Calls a tool with a word.
    fn tool(&self, client: &Client, name: &str, arguments: &Value, wish: &Wish<'_>) -> Result<Exchange, Failure> {
        let exchange = client.call("tools/call", &json!({"name": name, "arguments": arguments}), wish)?;
        self.marked(&exchange)?;
        Ok(exchange)
    }

    /// A result says that it is complete exactly where the client's revision has that.
    fn marked(&self, exchange: &Exchange) -> Result<(), Failure> {
        let Some(result) = exchange.answer.get("result") else {
            return Ok(());
        };
        let wanted = self.plain.is_modern().then(|| json!("complete"));
        expect("resultType", &result.get("resultType").cloned(), &wanted)
    }

    /// Waits until the server has seen a request of this method with these parameters, and looks that it has the marks
    /// of the server's era and none of the other.
    fn saw(&self, since: usize, method: &str, wanted: &Value) -> Result<Note, Failure> {
        let what = format!("{method} {wanted}");
        let note = self.witness.wait(&self.server, since, &what, &|note| {
            note.is(method)
                && wanted
                    .as_object()
                    .into_iter()
                    .flatten()
                    .all(|(name, value)| note.message(&format!("/params/{name}")) == Some(value))
        })?;
        let version = note.message("/params/_meta/io.modelcontextprotocol~1protocolVersion");
        let stamped = self
            .server_revision
            .is_modern()
            .then(|| json!(self.server_revision.name));
        expect("the request's own protocol version", &version.cloned(), &stamped)?;
        Ok(note)
    }

    /// The calls of a tool with this word that the server has seen.
    fn runs(&self, since: usize, client: &Client, tool: &str, word: &str) -> Result<Vec<Note>, Failure> {
        self.passed(since, client, word, &|note| {
            note.is("tools/call")
                && note.message("/params/name") == Some(&json!(tool))
                && note.message("/params/arguments/word") == Some(&json!(word))
        })
    }

    /// What the server has seen that fits, after another call has passed through behind it.
    fn passed(
        &self,
        since: usize,
        client: &Client,
        word: &str,
        fits: &dyn Fn(&Note) -> bool,
    ) -> Result<Vec<Note>, Failure> {
        let behind = format!("behind-{word}");
        self.tool(client, "echo", &json!({"word": behind}), &Wish::none())?;
        self.saw(since, "tools/call", &json!({"arguments": {"word": behind}}))?;
        Ok(self.witness.seen(&self.server, since, fits))
    }
}

/// Both are the same, or a failure that shows them.
pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, wanted: &T) -> Result<(), Failure> {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{what}: got {got:?}, expected {wanted:?}"))
    }
}

/// It holds, or a failure that shows what was there.
pub(crate) fn holds(what: &str, holds: bool, saw: &dyn std::fmt::Debug) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(format!("{what}; saw {saw:?}"))
    }
}
