//! A legacy server as a model: it runs what the arguments of a call tell it to, asks in the middle, and checks that every
//! answer is one to its own question by the caller of its own call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::book::Book;
use crate::chance::Chance;
use crate::plan::{Plant, ServerPlan};

/// Where messages of a server go.
pub(crate) type Out = mpsc::UnboundedSender<Value>;

/// What all processes and sessions of one server share.
pub(crate) struct Server {
    pub(crate) plan: ServerPlan,
    pub(crate) book: Book,
    pub(crate) plant: Option<Plant>,
    pub(crate) chance: Mutex<Chance>,
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
    count: AtomicU64,
    /// An answer that is kept until there is another to exchange it with; a planted fault.
    kept: Mutex<Option<(Arc<Session>, Value)>>,
    /// Calls before which a page was wanted.
    pages: Mutex<BTreeSet<String>>,
}

impl Server {
    pub(crate) fn new(plan: ServerPlan, book: Book, plant: Option<Plant>, chance: Chance) -> Arc<Self> {
        Arc::new(Self {
            plan,
            book,
            plant,
            chance: Mutex::new(chance),
            sessions: Mutex::default(),
            count: AtomicU64::new(0),
            kept: Mutex::default(),
            pages: Mutex::default(),
        })
    }

    /// Opens a session, or starts a process.
    pub(crate) fn open(self: &Arc<Self>) -> Arc<Session> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session {
            name: format!("{}/{number}", self.plan.name),
            server: Arc::clone(self),
            waiting: Mutex::default(),
            calls: Mutex::default(),
            aside: Mutex::default(),
            over: CancellationToken::new(),
            next: AtomicU64::new(0),
        });
        self.sessions.lock().insert(session.name.clone(), Arc::clone(&session));
        self.book.opened(&session.name);
        session
    }

    pub(crate) fn session(&self, name: &str) -> Option<Arc<Session>> {
        self.sessions.lock().get(name).cloned()
    }

    /// Whether a call is the first of its key, before which a page has to be opened. Only the newest revision has those.
    fn wants_page(&self, key: &str) -> bool {
        self.plan.revision == "2025-11-25" && self.pages.lock().insert(key.to_owned())
    }

    /// Everything that runs dies, or every session is forgotten.
    pub(crate) fn lose_everything(&self) {
        let sessions: Vec<_> = self.sessions.lock().values().cloned().collect();
        for session in sessions {
            session.end();
        }
    }
}

/// One process, or one session over HTTP.
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) server: Arc<Server>,
    waiting: Mutex<BTreeMap<String, oneshot::Sender<Value>>>,
    calls: Mutex<BTreeMap<String, CancellationToken>>,
    /// Where messages go that belong to no call, where there is such a way.
    pub(crate) aside: Mutex<Option<Out>>,
    /// Fires when it has died or was forgotten.
    pub(crate) over: CancellationToken,
    next: AtomicU64,
}

impl Session {
    /// It dies, or is forgotten.
    pub(crate) fn end(&self) {
        self.server.sessions.lock().remove(&self.name);
        self.over.cancel();
        self.waiting.lock().clear();
        *self.aside.lock() = None;
        self.server.book.closed(&self.name);
    }

    /// Takes one message of the gateway; what it says to it goes to `out`.
    pub(crate) fn receive(self: &Arc<Self>, message: Value, out: &Out) {
        if message.get("method").is_none() {
            return self.take_answer(message);
        }
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        let Some(id) = message.get("id").cloned() else {
            if method == "notifications/cancelled" {
                self.cancel(&message["params"]["requestId"].to_string());
            }
            return;
        };
        match method.as_str() {
            "initialize" => answer(out, &id, &self.hello()),
            "ping" | "logging/setLevel" => answer(out, &id, &json!({})),
            "tools/list" => answer(out, &id, &tools()),
            "tools/call" => self.call(id, &message["params"], out),
            _ => {
                let error = json!({"code": -32601, "message": "no such method"});
                drop(out.send(json!({"jsonrpc": "2.0", "id": id, "error": error})));
            }
        }
    }

    fn hello(&self) -> Value {
        json!({
            "protocolVersion": self.server.plan.revision,
            "capabilities": {"tools": {}, "logging": {}},
            "serverInfo": {"name": self.server.plan.name, "version": "1"}
        })
    }

    fn call(self: &Arc<Self>, id: Value, params: &Value, out: &Out) {
        let key = params["arguments"]["key"].as_str().unwrap_or("?").to_owned();
        let steps = params["arguments"]["steps"].as_array().cloned().unwrap_or_default();
        if steps.first().is_some_and(|step| step["page"] == json!(true)) && self.server.wants_page(&key) {
            return self.page_first(&id, &key, out);
        }
        self.server.book.executed(&self.name, &key);
        if self.server.plant == Some(Plant::Twice) && self.server.chance.lock().percent(20) {
            self.server.book.executed(&self.name, &key);
        }
        let cancelled = self.over.child_token();
        self.calls.lock().insert(id.to_string(), cancelled.clone());
        let run = Run {
            session: Arc::clone(self),
            by: params["arguments"]["by"].as_str().unwrap_or("?").to_owned(),
            token: params["_meta"]["progressToken"].clone(),
            out: out.clone(),
            key: key.clone(),
        };
        let session = Arc::clone(self);
        // Calls that wait for the same thing are woken in an order that is nobody's choice; what they do from here on
        // lies apart, so that it is the same every time.
        let pause = self.server.chance.lock().of(&key).millis(100);
        tokio::spawn(async move {
            let work = async {
                tokio::time::sleep(pause).await;
                run.steps(&steps).await
            };
            let Some(refused) = cancelled.run_until_cancelled(work).await else {
                session.server.book.note(&session.name, format!("gives up {key}"));
                session.server.book.cancelled(&session.name, &key);
                return;
            };
            session.calls.lock().remove(&id.to_string());
            let text = if refused { "refused " } else { "done " };
            let content = json!([{"type": "text", "text": format!("{text}{key}")}]);
            session.server.book.note(&session.name, format!("ends {key}"));
            answer(&run.out, &id, &json!({"content": content, "isError": refused}));
        });
    }

    /// Wants a page opened before the call, which does not run.
    fn page_first(&self, id: &Value, key: &str, out: &Out) {
        self.server
            .book
            .note(&self.name, format!("wants a page opened before {key}"));
        self.server.book.count("pages");
        let page =
            json!({"mode": "url", "elicitationId": format!("page-{key}"), "url": "https://page.sim/", "message": key});
        let error = json!({"code": -32042, "message": "open a page first", "data": {"elicitations": [page]}});
        drop(out.send(json!({"jsonrpc": "2.0", "id": id, "error": error})));
    }

    fn cancel(&self, id: &str) {
        if let Some(call) = self.calls.lock().remove(id) {
            call.cancel();
        }
    }

    /// Something that came back for a question.
    fn take_answer(self: &Arc<Self>, message: Value) {
        match self.server.plant {
            Some(Plant::Lose) if self.server.chance.lock().percent(20) => return,
            Some(Plant::Swap) => {
                let kept = self.server.kept.lock().take();
                let Some((other, mut kept)) = kept else {
                    *self.server.kept.lock() = Some((Arc::clone(self), message));
                    return;
                };
                let mut message = message;
                let (ours, theirs) = (message["id"].take(), kept["id"].take());
                message["id"] = theirs;
                kept["id"] = ours;
                other.settle(message);
                return self.settle(kept);
            }
            _ => {}
        }
        self.settle(message);
    }

    fn settle(&self, message: Value) {
        let id = message["id"].as_str().unwrap_or_default().to_owned();
        if self.over.is_cancelled() || !self.server.book.answered(&self.name, &id) {
            return;
        }
        if let Some(waiting) = self.waiting.lock().remove(&id) {
            drop(waiting.send(message));
        }
    }
}

/// One call that runs.
struct Run {
    session: Arc<Session>,
    key: String,
    by: String,
    token: Value,
    out: Out,
}

impl Run {
    /// Does what it was told; whether it was refused an answer on the way.
    async fn steps(&self, steps: &[Value]) -> bool {
        let mut refused = false;
        for step in steps {
            if let Some(ms) = step["wait"].as_u64() {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            } else if let Some(kinds) = step["ask"].as_array() {
                refused |= self.ask_all(kinds, step["apart"].as_u64().unwrap_or(0)).await;
            } else if let Some(count) = step["progress"].as_u64() {
                self.progress(count);
            } else if let Some(kind) = step["aside"].as_str() {
                refused |= self.ask_aside(kind).await;
            } else if step["log"] == json!(true) {
                let params = json!({"level": "info", "data": self.key});
                drop(
                    self.out
                        .send(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params})),
                );
            } else if step["die"] == json!(true) {
                self.session.end();
                std::future::pending::<()>().await;
            }
        }
        refused
    }

    fn progress(&self, count: u64) {
        if self.token.is_null() {
            return;
        }
        for step in 1..=count {
            let params = json!({"progressToken": self.token, "progress": step});
            drop(
                self.out
                    .send(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})),
            );
        }
    }

    /// Asks several questions, the next before the last is answered.
    async fn ask_all(&self, kinds: &[Value], apart: u64) -> bool {
        let mut open = Vec::new();
        for kind in kinds.iter().filter_map(Value::as_str) {
            open.push(self.ask(kind, &self.out));
            tokio::time::sleep(Duration::from_millis(apart)).await;
        }
        let mut refused = false;
        for (kind, answer) in open {
            refused |= self.read(&kind, answer.await.ok());
        }
        refused
    }

    /// Asks on a way that belongs to no call, where there is one.
    async fn ask_aside(&self, kind: &str) -> bool {
        let aside = self.session.aside.lock().clone();
        let (kind, answer) = self.ask(kind, &aside.unwrap_or_else(|| self.out.clone()));
        self.read(&kind, answer.await.ok())
    }

    fn ask(&self, kind: &str, out: &Out) -> (String, oneshot::Receiver<Value>) {
        let session = &self.session;
        let older = session.server.plan.revision != "2025-11-25";
        let kind = if kind == "url" && older { "elicitation" } else { kind };
        let id = format!("{}-q{}", session.name, session.next.fetch_add(1, Ordering::Relaxed));
        let mut key = self.key.clone();
        if session.server.plant == Some(Plant::Stray) {
            key.push('x');
        }
        let (method, params) = match kind {
            "sampling" => (
                "sampling/createMessage",
                json!({"messages": [{"role": "user", "content": {"type": "text", "text": key}}], "maxTokens": 9}),
            ),
            "roots" => ("roots/list", json!({})),
            "url" => (
                "elicitation/create",
                json!({"mode": "url", "elicitationId": id, "url": "https://page.sim/", "message": key}),
            ),
            _ => (
                "elicitation/create",
                json!({"message": key, "requestedSchema": {"type": "object", "properties": {"key": {"type": "string"}, "by": {"type": "string"}}}}),
            ),
        };
        let (answer, answered) = oneshot::channel();
        session.waiting.lock().insert(id.clone(), answer);
        session.server.book.asked(&session.name, &id, &self.key, kind);
        if out
            .send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .is_err()
        {
            session.server.book.moot(&session.name);
        }
        (kind.to_owned(), answered)
    }

    /// Checks an answer; whether it was none.
    fn read(&self, kind: &str, answer: Option<Value>) -> bool {
        let book = &self.session.server.book;
        let Some(result) = answer.as_ref().and_then(|answer| answer.get("result")) else {
            book.note(&self.session.name, format!("is refused {kind} for {}", self.key));
            return true;
        };
        let said = match kind {
            "sampling" => result["content"]["text"].as_str().map(str::to_owned),
            "roots" => result["roots"][0]["uri"]
                .as_str()
                .and_then(|uri| Some(uri.strip_prefix("file:///")?.replace('/', " "))),
            // A page that was opened says nothing but that.
            "url" if result["action"] == "accept" => Some(format!("{} {}", self.by, self.key)),
            _ if result["action"] == "accept" => Some(format!(
                "{} {}",
                result["content"]["by"].as_str().unwrap_or("?"),
                result["content"]["key"].as_str().unwrap_or("?")
            )),
            _ => None,
        };
        let Some(said) = said else {
            book.note(&self.session.name, format!("hears no to {kind} for {}", self.key));
            return true;
        };
        book.note(&self.session.name, format!("hears `{said}` to {kind} for {}", self.key));
        book.count("answers");
        if said != format!("{} {}", self.by, self.key) {
            let (by, key) = (&self.by, &self.key);
            book.wrong(format!("an answer of `{said}` reached {key} of {by}"));
        }
        false
    }
}

fn answer(out: &Out, id: &Value, result: &Value) {
    // A gateway that is gone is its own affair.
    drop(out.send(json!({"jsonrpc": "2.0", "id": id, "result": result})));
}

fn tools() -> Value {
    json!({"tools": [{"name": "work", "inputSchema": {"type": "object"}}]})
}
