//! The handshake with a legacy server, and what it settles for the life of the session.
//!
//! The newest legacy revision is offered with *empty* client capabilities where one session serves every caller: nothing may
//! be promised there that only some of them can do. A session of one caller declares what that caller can. From the `InitializeResult` the answer to `server/discover` is made
//! once; callers get those bytes.

use std::borrow::Cow;

use meshgate_mcp::{
    Envelope, Era, LATEST_LEGACY, MODERN, Message, Object, Revision, Rules, Span, Splice, codes, elements, lookup,
    message, meta, scan,
};

use crate::Capabilities;

/// The opening exchange: one `initialize`, or two when the server names an older revision in its refusal.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    offer: &'static Revision,
    can: Capabilities,
    repeated: bool,
}

/// Where an answer to `initialize` leads.
#[derive(Debug)]
pub enum Settled {
    /// Both speak one revision; the server waits for [`super::INITIALIZED`].
    Session(Box<Session>),
    /// The server refused the offer and named an older revision: send [`Handshake::request`] again.
    Again,
}

/// Why no session came about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The answer is not a JSON-RPC response to `initialize`.
    #[error("the answer to initialize is not a valid response: {0}")]
    Malformed(Cow<'static, str>),
    /// The server answered with an error.
    #[error("the server refused initialize with {code}: {message}")]
    Refused {
        /// The JSON-RPC code.
        code: i64,
        /// The server's own words.
        message: String,
    },
    /// The server speaks a revision that nobody here knows.
    #[error("the server speaks protocol version `{0}`, which is not one of the known revisions")]
    UnknownRevision(String),
    /// The server is a modern one: probe it again with `server/discover`.
    #[error("the server answered initialize as a modern server does: use server/discover")]
    Modern,
}

impl Default for Handshake {
    fn default() -> Self {
        Self {
            offer: LATEST_LEGACY,
            can: Capabilities::NONE,
            repeated: false,
        }
    }
}

impl Handshake {
    /// The handshake of one caller's own session, with a server that has spoken `revision` before: what the caller can be
    /// asked is declared as that revision spells it.
    pub fn own(revision: &'static Revision, can: Capabilities) -> Self {
        Self {
            offer: revision,
            can,
            repeated: false,
        }
    }

    /// The `initialize` request to send.
    pub fn request(&self, id: u64) -> Vec<u8> {
        let params = format!(
            r#"{{"protocolVersion":"{}","capabilities":{},"clientInfo":{{"name":"meshgate","version":"{}"}}}}"#,
            self.offer.name,
            self.can.to_legacy(self.offer),
            env!("CARGO_PKG_VERSION")
        );
        message::request(id.to_string().as_bytes(), "initialize", params.as_bytes())
    }

    /// Reads the server's answer to [`Handshake::request`].
    pub fn settle(&mut self, src: &[u8]) -> Result<Settled, HandshakeError> {
        let answer = scan(src, &Rules::SERVER).map_err(|error| HandshakeError::Malformed(error.to_string().into()))?;
        match answer.envelope {
            Envelope::Result => Session::of(src, &answer).map(|session| Settled::Session(Box::new(session))),
            Envelope::Error => self.refused(src, &answer),
            Envelope::Request | Envelope::Notification => {
                Err(HandshakeError::Malformed("it is a request or a notification".into()))
            }
        }
    }

    fn refused(&mut self, src: &[u8], answer: &Message) -> Result<Settled, HandshakeError> {
        let at = |path: &[&str]| lookup(src, answer.root.span, path);
        let code = at(&["error", "code"])
            .and_then(|code| code.i64(src))
            .unwrap_or(codes::INTERNAL_ERROR);
        if code == codes::UNSUPPORTED_VERSION {
            return Err(HandshakeError::Modern);
        }
        let older = at(&["error", "data", "supported"]).and_then(|list| {
            elements(src, list.span)
                .filter_map(|name| Revision::find(&name.str(src)?))
                .filter(|revision| revision.era == Era::Legacy && revision.name < self.offer.name)
                .max_by_key(|revision| revision.name)
        });
        if let (Some(older), false) = (older, self.repeated) {
            *self = Self {
                offer: older,
                repeated: true,
                ..*self
            };
            return Ok(Settled::Again);
        }
        let message = at(&["error", "message"])
            .and_then(|text| Some(text.str(src)?.into_owned()))
            .unwrap_or_default();
        Err(HandshakeError::Refused { code, message })
    }
}

/// What the server offers, by its capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// `tools/*`.
    pub tools: bool,
    /// `notifications/tools/list_changed`.
    pub tools_changed: bool,
    /// `prompts/*`.
    pub prompts: bool,
    /// `notifications/prompts/list_changed`.
    pub prompts_changed: bool,
    /// `resources/*`.
    pub resources: bool,
    /// `notifications/resources/list_changed`.
    pub resources_changed: bool,
    /// `resources/subscribe`.
    pub subscribe: bool,
    /// `completion/complete`; before 2025-03-26 it needs no capability.
    pub completions: bool,
    /// `logging/setLevel`.
    pub logging: bool,
}

impl Offered {
    fn of(src: &[u8], capabilities: Option<Span>, revision: &Revision) -> Self {
        let has = |path: &[&str]| capabilities.and_then(|span| lookup(src, span, path)).is_some();
        let flag = |path: &[&str]| {
            capabilities
                .and_then(|span| lookup(src, span, path))
                .and_then(|value| value.bool(src))
                .unwrap_or(false)
        };
        let (prompts, resources) = (has(&["prompts"]), has(&["resources"]));
        Self {
            tools: has(&["tools"]),
            tools_changed: flag(&["tools", "listChanged"]),
            prompts,
            prompts_changed: flag(&["prompts", "listChanged"]),
            resources,
            resources_changed: flag(&["resources", "listChanged"]),
            subscribe: flag(&["resources", "subscribe"]),
            completions: has(&["completions"]) || (!revision.completions_capability && (prompts || resources)),
            logging: has(&["logging"]),
        }
    }

    /// Whether the capability that a method belongs to is offered.
    pub fn has(&self, capability: &str) -> bool {
        match capability {
            "tools" => self.tools,
            "prompts" => self.prompts,
            "resources" => self.resources,
            "completions" => self.completions,
            "logging" => self.logging,
            _ => false,
        }
    }
}

/// What the handshake settled.
#[derive(Clone, Debug)]
pub struct Session {
    /// The revision both sides speak.
    pub revision: &'static Revision,
    /// What the server offers.
    pub offered: Offered,
    discover: Vec<u8>,
}

impl Session {
    /// The whole answer to a modern `server/discover` with that id.
    pub fn discover(&self, id: u64) -> Vec<u8> {
        message::result(id.to_string().as_bytes(), &self.discover)
    }

    /// The result of [`Session::discover`] alone.
    pub fn discover_result(&self) -> &[u8] {
        &self.discover
    }

    fn of(src: &[u8], answer: &Message) -> Result<Self, HandshakeError> {
        let Some(result) = &answer.body else {
            return Err(HandshakeError::Malformed("result must be an object".into()));
        };
        let version = result
            .get(src, "protocolVersion")
            .and_then(|value| value.str(src))
            .ok_or(HandshakeError::Malformed(
                "result.protocolVersion must be a string".into(),
            ))?;
        let revision = Revision::find(&version).ok_or_else(|| HandshakeError::UnknownRevision(version.to_string()))?;
        if revision.era != Era::Legacy {
            return Err(HandshakeError::Modern);
        }
        let capabilities = result.get(src, "capabilities").map(|value| value.span);
        let offered = Offered::of(src, capabilities, revision);
        let discover = discover(result.span.of(src), &offered)
            .ok_or(HandshakeError::Malformed("result must be an object".into()))?;
        Ok(Self {
            revision,
            offered,
            discover,
        })
    }
}

/// Makes a `DiscoverResult` of an `InitializeResult`: what only a handshake needs goes, what discovery adds comes, all
/// else stays as the server wrote it.
fn discover(src: &[u8], offered: &Offered) -> Option<Vec<u8>> {
    let result = whole(src)?;
    let mut splice = Splice::new(src);
    for gone in ["protocolVersion", "serverInfo"] {
        splice.remove_named(&result, gone);
    }
    splice.set(&result, "capabilities", capabilities(src, &result, offered));
    splice.set(&result, "resultType", &b"\"complete\""[..]);
    splice.set(
        &result,
        "supportedVersions",
        format!("[\"{}\"]", MODERN.name).into_bytes(),
    );
    splice.set(&result, "ttlMs", &b"0"[..]);
    splice.set(&result, "cacheScope", &b"\"private\""[..]);
    if let Some(info) = result.get(src, "serverInfo") {
        let info = info.raw(src);
        match result.get(src, "_meta").and_then(|value| Object::read(src, value.span)) {
            Some(meta) => splice.set(&meta, meta::SERVER_INFO, info),
            None => {
                let fresh = [b"{\"", meta::SERVER_INFO.as_bytes(), b"\":", info, b"}"].concat();
                splice.set(&result, "_meta", fresh);
            }
        }
    }
    Some(splice.finish())
}

/// The capabilities as a modern server would declare them: the tasks of 2025-11-25 are another protocol than today's,
/// and completion, which the first revision has without saying so, is said.
fn capabilities(src: &[u8], result: &Object, offered: &Offered) -> Vec<u8> {
    let declared = result
        .get(src, "capabilities")
        .map_or(&b"{}"[..], |value| value.raw(src));
    let Some(object) = whole(declared) else {
        return b"{}".to_vec();
    };
    let mut splice = Splice::new(declared);
    splice.remove_named(&object, "tasks");
    if offered.completions && object.find(declared, "completions").is_none() {
        splice.insert(&object, "completions", &b"{}"[..]);
    }
    splice.finish()
}

fn whole(src: &[u8]) -> Option<Object> {
    Object::read(
        src,
        Span {
            start: 0,
            end: u32::try_from(src.len()).ok()?,
        },
    )
}
