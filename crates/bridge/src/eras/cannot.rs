//! What cannot be carried: with which code and words it is refused, to whom, and what can be done about it.
//!
//! The words say what was missing on which side, because the one who reads them sees one peer and knows nothing of the
//! other. Where a name belongs into them stands `{}`.

use std::borrow::Cow;

use meshgate_mcp::codes;

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The client, in the answer to its call.
    Client,
    /// The server, in the answer to its question; its call goes on.
    Server,
    /// Nobody: it has no answer.
    Nobody,
}

/// Something that cannot be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cannot {
    /// What it is, for the reference page.
    pub what: &'static str,
    /// Why it is impossible.
    pub why: &'static str,
    /// Who is told.
    pub told: Told,
    /// The JSON-RPC code; none where it is no error on the wire.
    pub code: Option<i64>,
    /// The words, with `{}` for each name; empty where nobody is told.
    pub words: &'static str,
    /// What can be done.
    pub remedy: &'static str,
}

impl Cannot {
    /// The words, with the names filled in from first to last.
    pub fn say(&self, names: &[&str]) -> Cow<'static, str> {
        if names.is_empty() {
            return Cow::Borrowed(self.words);
        }
        let mut names = names.iter();
        let mut parts = self.words.split("{}");
        let mut said = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            said.push_str(names.next().copied().unwrap_or("{}"));
            said.push_str(part);
        }
        Cow::Owned(said)
    }

    /// The code; the general one of whoever answers where the row has none.
    pub const fn code(&self) -> i64 {
        match self.code {
            Some(code) => code,
            None => codes::INTERNAL_ERROR,
        }
    }

    /// The part of the words that is the same for all names: the longest between two of them.
    pub fn constant(&self) -> &'static str {
        self.words.split("{}").max_by_key(|part| part.len()).unwrap_or_default()
    }
}

/// Declares them once, as constants and as the list of the reference page.
macro_rules! cannot {
    ($($name:ident = $what:literal, $told:ident, $code:expr, $words:literal, why $why:literal, remedy $remedy:literal;)*) => {
        $(
            #[doc = $what]
            pub const $name: Cannot = Cannot {
                what: $what,
                why: $why,
                told: Told::$told,
                code: $code,
                words: $words,
                remedy: $remedy,
            };
        )*
        /// Every one, in the order of the page.
        pub const ALL: &[&Cannot] = &[$(&$name),*];
    };
}

cannot! {
    QUESTION = "a question of a legacy server that the client cannot be asked", Server, Some(codes::METHOD_NOT_FOUND),
        "`{}` is not available: this client declared no such capability",
        why "a client is asked only what it declared for this call; one that declared nothing shares its session with others",
        remedy "declare the capability on the request, or call a tool that asks nothing";
    UNKNOWN_TO_SERVER = "a question that the server's own revision does not have", Server, Some(codes::METHOD_NOT_FOUND),
        "`{}` is not available: this client declared no such capability",
        why "elicitation came with 2025-06-18 and its pages with 2025-11-25; an older server is never told that the client can",
        remedy "run a newer release of the server";
    UNDECLARED = "a question of a modern server that the client did not declare", Client, Some(codes::MISSING_CAPABILITY),
        "the server needs `{}`, which this client did not declare",
        why "the client's revision, or the client, does not have that question (a legacy client gets the code -32602, its \
            revision has no other)",
        remedy "use a newer client, or call a tool that does not ask";
    UNSPELLABLE = "a question of a modern server that the client's revision has no words for", Client, Some(codes::INTERNAL_ERROR),
        "the server asks with {}, and revision {} of this client has no words for it",
        why "fields of a form that take several choices came with 2025-11-25; what is only said differently (titles of \
            choices, several blocks of one message, sound) is said the older way, and `includeContext` is left out where \
            the client did not declare `sampling.context`",
        remedy "use a newer client";
    URL_IN_WORDS = "a page to open, for a client without that mode", Client, None,
        "{}\nThis client cannot open the page by itself. Ask the user to open {} and, when it is done, call this again.",
        why "elicitation by URL came with 2025-11-25; an older client has no word for it, so its model is told in words \
            (a tool result with `isError`; an error for prompts and resources)",
        remedy "do what the words say, or use a newer client";
    NO_SUCH_METHOD = "a method of the other era", Client, Some(codes::METHOD_NOT_FOUND),
        "method `{}` is not served here",
        why "`ping`, `logging/setLevel`, `resources/subscribe`, `initialize` and the tasks of 2025-11-25 do not exist in 2026-07-28",
        remedy "use `_meta` logLevel and `subscriptions/listen` in 2026-07-28; the session's own methods before";
    NO_CAPABILITY = "a method whose capability the server does not offer", Client, Some(codes::METHOD_NOT_FOUND),
        "method `{}` needs the capability `{}`, which this server does not offer",
        why "the server's handshake did not offer it",
        remedy "call what `server/discover` or `initialize` offers";
    NO_SESSION_METHOD = "a method that a session does not carry", Client, Some(codes::METHOD_NOT_FOUND),
        "method `{}` is not offered in a session",
        why "the tasks of 2025-11-25 are another protocol than those of later revisions, and what only 2026-07-28 has means \
            nothing in a session",
        remedy "call the tool without `task`";
    LOG_LEVEL = "a log level that does not exist", Client, Some(codes::INVALID_PARAMS),
        "_meta `{}` must be one of debug, info, notice, warning, error, critical, alert, emergency",
        why "a legacy server would refuse the level for everybody who shares its session",
        remedy "use one of the eight names";
    NOT_ASKED = "an answer to a question that nobody asked", Client, Some(codes::INVALID_PARAMS),
        "`{}` answers a question that this server did not ask: call again without it",
        why "a retry without the state of a parked call could only run the call a second time",
        remedy "call again without it";
    NO_RESULT_TYPE = "a result of a type that the client's revision does not have", Client, Some(codes::INTERNAL_ERROR),
        "the server answered with a `{}` result, which this client's protocol revision does not have",
        why "only 2026-07-28 has result types; a legacy client would take it for an empty answer",
        remedy "use a client of 2026-07-28";
    UNPLACED = "input that a server wants where the protocol has no place for it", Client, Some(codes::INTERNAL_ERROR),
        "the server asked for input where the protocol has no place for it",
        why "only `tools/call`, `prompts/get` and `resources/read` may ask",
        remedy "tell the server's author";
    URL_REQUIRED = "a page that a legacy server wants opened before it runs the call (`-32042`), for a client without that mode",
        Client, Some(codes::MISSING_CAPABILITY),
        "the server wants its user to open a URL before this call, and this client declared no `elicitation.url`: the call did not run",
        why "2026-07-28 has no such error; a client that declared the mode is asked by `input_required` instead",
        remedy "declare `elicitation.url`";
    UNSOLICITED = "a question of a legacy server that belongs to no call", Server, Some(codes::METHOD_NOT_FOUND),
        "`{}` is not available: this client declared no such capability",
        why "2026-07-28 has no request from server to client; a question travels only in the answer to `tools/call`, \
            `prompts/get` or `resources/read`",
        remedy "ask in the middle of one of these three";
    GIVEN_UP = "the answer to a question of a legacy server, from a client that never gave one", Server,
        Some(codes::INTERNAL_ERROR), "the client gave no answer: its call was given up",
        why "a parked call waits for a while and within limits; an elicitation is answered `cancel`, sampling and roots with \
            this error, and then the server's call is cancelled",
        remedy "retry with `inputResponses` while the call waits";
    SEVERAL_BLOCKS = "a model's answer of several blocks, for a server before 2025-11-25", Server,
        Some(codes::INTERNAL_ERROR),
        "the client answered with several blocks of content, which this revision has no place for",
        why "sampling had one block of content until tools came to it",
        remedy "answer with one block";
    PARKED_GONE = "going on with a call that does not wait any more", Client, Some(codes::INVALID_PARAMS),
        "{}; it may have run, and is not made a second time: call again without `requestState`",
        why "the waiting call lives in one process beside its server; when that process or the time to wait has ended, \
            nobody can know what the server has done",
        remedy "ask whether the call ran; call again only if it may run twice";
    CLIENT_TASKS = "tasks that the client hosts (2025-11-25)", Nobody, None, "",
        why "2026-07-28 has no request that a client could answer later; `tasks` is taken out of a client's capabilities",
        remedy "answer the question while the call is open";
    CORE_TASKS = "`task` in a `tools/call` (2025-11-25)", Nobody, None, "",
        why "these tasks are another protocol than the extension of 2026-07-28; the member is taken out and the call \
            runs as a plain one",
        remedy "wait for the answer";
    RESUME = "resuming the stream of a modern call", Nobody, None, "",
        why "2026-07-28 has no event ids: a broken stream is a lost and cancelled call, `Last-Event-ID` is ignored",
        remedy "call again, if the tool is safe to run twice";
    LOG_OWNER = "whose a log message is, on a session that several calls share", Nobody, None, "",
        why "nothing in `notifications/message` says which request it is about; it is dropped unless one is in flight",
        remedy "`_meta` logLevel with a server of 2026-07-28";
    STREAMLESS = "anything for a legacy client that holds no stream", Nobody, None, "",
        why "a server's message can reach a legacy client only on the stream of a call or on its GET stream",
        remedy "open the GET stream";
    BATCH = "several messages in one array", Client, Some(codes::INVALID_REQUEST),
        "batches are not part of this session's protocol revision; send one message in each request",
        why "only 2025-03-26 has batches",
        remedy "send one message in each request";
}
