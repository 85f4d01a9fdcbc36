//! The state of a parked call, bent, borrowed, used again and outlived: the call that waits is gone on with by its own
//! caller's own retry, once, and by nothing else; and it is never made a second time.
//!
//! The server counts calls and answers. Each state has a control that is taken.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "common/bent.rs"]
mod bent;
mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bent::bends;
use common::{Post, RunningGateway, compiled, documents, mesh};
use meshgate_identity::{KeyRing, Purpose, token_digest};
use meshgate_testkit::raw::RawAnswer;
use meshgate_testkit::{Answer, Recorded, ScriptedServer, Step};
use serde_json::{Value, json};

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}"#;
const FORM: &str = r#"{"message":"who?","requestedSchema":{"type":"object","properties":{}}}"#;
const BOUND: &[u8] = b"default\0local\0tools/call\0ask\0{\"a\":1}";

/// A legacy server whose tools and prompt ask once, each time under another id.
async fn server() -> ScriptedServer {
    let count = Arc::new(AtomicU64::new(0));
    let asks = move |_: &Recorded| {
        let id = format!("q{}q", count.fetch_add(1, Ordering::Relaxed));
        let question = format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"elicitation/create","params":{FORM}}}"#);
        let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":"done"}],"messages":[]}}"#;
        Answer::stream([
            Step::message(question),
            Step::Until(format!(r#""id":"{id}","#)),
            Step::message(done),
        ])
    };
    ScriptedServer::legacy("2025-11-25")
        .capabilities(r#"{"tools":{},"prompts":{}}"#)
        .tool_as("ask", r#"{"name":"ask","inputSchema":{"type":"object"}}"#, asks.clone())
        .tool_as(
            "twin",
            r#"{"name":"twin","inputSchema":{"type":"object"}}"#,
            asks.clone(),
        )
        .on("prompts/list", |_| Answer::result(r#"{"prompts":[{"name":"ask"}]}"#))
        .on("prompts/get", asks)
        .start()
        .await
}

struct Scene {
    alpha: ScriptedServer,
    beta: ScriptedServer,
    gateway: RunningGateway,
    keys: Arc<KeyRing>,
}

/// What a client holds while its call waits.
#[derive(Clone)]
struct Parked {
    key: String,
    state: String,
}

impl Scene {
    async fn open() -> Self {
        Self::with(server().await, server().await, ring(&[7])).await
    }

    async fn with(alpha: ScriptedServer, beta: ScriptedServer, keys: KeyRing) -> Self {
        let view = |name: &str| {
            format!(
                "kind: View\nmetadata: {{name: {name}}}\nspec: {{servers: [{{name: alpha}}, {{name: beta}}], liftLimits: true}}"
            )
        };
        let application = |name: &str, variable: &str| {
            format!(
                "kind: Application\nmetadata: {{name: {name}}}\nspec: {{views: ['*'], tokens: [{{environment: {variable}}}]}}"
            )
        };
        let more = [
            view("default"),
            view("twin"),
            application("local", "NOT_SET"),
            application("other", "NOT_SET_EITHER"),
        ];
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let servers = [("alpha", alpha.url()), ("beta", beta.url())];
        let servers: Vec<_> = servers.iter().map(|(name, url)| (*name, url.as_str())).collect();
        let mut snapshot = compiled(&mesh(&servers, &documents(&more)));
        assert!(snapshot.add_token("other", token_digest("mg_other")));
        let keys = Arc::new(keys);
        let gateway = RunningGateway::start_snapshot(snapshot, keys.clone()).await;
        Self {
            alpha,
            beta,
            gateway,
            keys,
        }
    }

    async fn send(&self, post: Post) -> RawAnswer {
        post.to(&self.gateway).await
    }

    async fn park(&self) -> Parked {
        let asked = last(&self.send(call("alpha__ask", "")).await);
        assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
        let keys = asked["result"]["inputRequests"].as_object().unwrap();
        Parked {
            key: keys.keys().next().unwrap().clone(),
            state: asked["result"]["requestState"].as_str().unwrap().to_owned(),
        }
    }

    /// Calls and answers that reached the servers.
    fn reached(&self) -> (usize, usize) {
        let both = [&self.alpha, &self.beta];
        let of = |server: &&ScriptedServer, method: &str| server.received(method).len();
        let calls = both.iter().map(|s| of(s, "tools/call") + of(s, "prompts/get")).sum();
        let answers = both.iter().flat_map(|s| s.recorded()).filter(Recorded::is_response);
        (calls, answers.count())
    }

    /// Goes on with the call, which is the control of every case.
    async fn goes_on(&self, parked: &Parked) {
        let (calls, answers) = self.reached();
        let done = last(&self.send(parked.retry()).await);
        assert_eq!(done["result"]["content"][0]["text"], "done", "{done}");
        assert_eq!(self.reached(), (calls, answers + 1));
    }
}

impl Parked {
    fn members(&self) -> String {
        format!(
            r#""inputResponses":{{"{}":{{"action":"accept","content":{{}}}}}},"requestState":"{}","#,
            self.key, self.state
        )
    }

    fn retry(&self) -> Post {
        call("alpha__ask", &self.members())
    }

    fn under(&self, state: &str) -> Self {
        Self {
            state: state.to_owned(),
            ..self.clone()
        }
    }
}

fn ring(keys: &[u8]) -> KeyRing {
    let first = KeyRing::generate(&mut |bytes| bytes.fill(keys[0]));
    keys[1..]
        .iter()
        .fold(first, |ring, with| ring.rotate(&mut |bytes| bytes.fill(*with)))
}

fn call_with(tool: &str, arguments: &str, more: &str) -> Post {
    Post::modern(
        "1",
        "tools/call",
        &format!(r#""name":"{tool}","arguments":{arguments},{more}{META}"#),
    )
}

fn call(tool: &str, more: &str) -> Post {
    call_with(tool, r#"{"a":1}"#, more)
}

fn last(answer: &RawAnswer) -> Value {
    let messages = answer.messages();
    serde_json::from_str(messages.last().unwrap_or_else(|| panic!("{}", answer.text()))).unwrap()
}

/// The words of a refusal that says this of the execution.
fn refused(case: &str, answer: &RawAnswer, executed: &str) -> String {
    let json = last(answer);
    assert_eq!(json["error"]["code"], -32602, "{case}: {json}");
    let refusal = &json["error"]["data"]["dev.meshgate/refusal"];
    assert_eq!(refusal["executed"], executed, "{case}: {json}");
    let gone = executed == "unknown";
    assert_eq!(refusal["reason"] == "parked_call_gone", gone, "{case}: {json}");
    json["error"].to_string()
}

#[tokio::test]
async fn d17_a070_no_bent_state_goes_on_with_a_parked_call() {
    let scene = Scene::open().await;
    let parked = scene.park().await;
    let reached = scene.reached();
    let mut words = BTreeSet::new();
    for (kind, states) in bends(&parked.state) {
        for state in states {
            let answer = scene.send(parked.under(&state).retry()).await;
            words.insert(refused(kind, &answer, "no"));
        }
    }
    assert_eq!(words.len(), 1, "{words:?}");
    assert_eq!(scene.reached(), reached, "nothing reached a server");
    scene.goes_on(&parked).await;
    scene.gateway.stop().await;
}

#[tokio::test]
async fn d17_a070_a_parked_call_is_gone_on_with_by_its_own_retry_alone() {
    let scene = Scene::open().await;
    let (parked, neighbour) = (scene.park().await, scene.park().await);
    let foreign = Scene::with(server().await, server().await, ring(&[66])).await;
    let members = parked.members();
    let prompt = format!(r#""name":"alpha__ask",{members}{META}"#);
    let without = format!(r#""inputResponses":{{"{}":{{"action":"accept"}}}},"#, parked.key);
    let as_json = |state: Value| format!(r#""inputResponses":{{}},"requestState":{state},"#);
    let cases: Vec<(&str, Post)> = vec![
        ("another caller", parked.retry().token("mg_other")),
        ("another view", parked.retry().at("/views/twin/mcp")),
        ("another tool", call("alpha__twin", &members)),
        ("another server", call("beta__ask", &members)),
        (
            "another method, of the same name",
            Post::modern("1", "prompts/get", &prompt),
        ),
        ("another argument", call_with("alpha__ask", r#"{"a":2}"#, &members)),
        (
            "one argument more",
            call_with("alpha__ask", r#"{"a":1,"b":1}"#, &members),
        ),
        ("no argument", call_with("alpha__ask", "{}", &members)),
        (
            "a parked call of another gateway",
            parked.under(&foreign.park().await.state).retry(),
        ),
        ("answers without a state", call("alpha__ask", &without)),
        ("empty", parked.under("").retry()),
        ("a number", call("alpha__ask", &as_json(json!(7)))),
        ("null", call("alpha__ask", &as_json(Value::Null))),
        (
            "an object",
            call("alpha__ask", &as_json(json!({"state": parked.state}))),
        ),
    ];
    let reached = scene.reached();
    let mut words = BTreeSet::new();
    for (case, post) in cases {
        words.insert(refused(case, &scene.send(post).await, "no"));
    }
    assert_eq!(words.len(), 1, "{words:?}");
    assert_eq!(scene.reached(), reached, "nothing reached a server");
    // Under the state of another call of the same caller, the answer is to a question that was not asked there.
    assert_ne!(neighbour.key, parked.key);
    let asked_again = last(&scene.send(parked.under(&neighbour.state).retry()).await);
    assert_eq!(asked_again["result"]["resultType"], "input_required", "{asked_again}");
    assert_eq!(scene.reached(), reached, "nothing reached a server");
    scene.goes_on(&parked).await;
    foreign.gateway.stop().await;
    scene.gateway.stop().await;
}

#[tokio::test]
async fn d17_a070_what_a_state_of_a_parked_call_says_inside_is_believed_of_this_process_only() {
    let scene = Scene::open().await;
    let parked = scene.park().await;
    let plain = scene.keys.open(Purpose::RequestState, BOUND, &parked.state).unwrap();
    let seal = |plain: &[u8]| scene.keys.seal(Purpose::RequestState, BOUND, plain).unwrap();
    let head = 11 + "alpha".len() + 8;
    let inner = std::str::from_utf8(&plain[head..]).unwrap().to_owned();
    let saying = |inner: &str| seal(&[&plain[..head], inner.as_bytes()].concat());
    let changed = |at: usize| {
        let mut bytes = inner.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).unwrap()
    };
    let reached = scene.reached();
    let mut expired = plain.clone();
    expired[..8].copy_from_slice(&1_u64.to_be_bytes());
    refused(
        "expired",
        &scene.send(parked.under(&seal(&expired)).retry()).await,
        "no",
    );
    for (case, inner) in [
        ("another process", changed(0)),
        ("another call", changed(inner.len() - 1)),
        ("nothing", String::new()),
        ("no name of a call", "the server's own".to_owned()),
        ("in other letters", inner.to_uppercase() + " "),
        ("shortened", inner[..inner.len() - 1].to_owned()),
        ("lengthened", format!("{inner}0")),
    ] {
        let answer = scene.send(parked.under(&saying(&inner)).retry()).await;
        refused(case, &answer, "unknown");
    }
    assert_eq!(scene.reached(), reached, "nothing reached a server");
    scene.goes_on(&parked.under(&saying(&inner))).await;
    scene.gateway.stop().await;
}

#[tokio::test]
async fn a070_a_parked_call_is_gone_on_with_once() {
    let scene = Scene::open().await;
    let parked = scene.park().await;
    scene.goes_on(&parked).await;
    let reached = scene.reached();
    for _ in 0..3 {
        refused("again", &scene.send(parked.retry()).await, "unknown");
    }
    assert_eq!(scene.reached(), reached);

    let parked = scene.park().await;
    let (calls, answers) = scene.reached();
    let both = tokio::join!(scene.send(parked.retry()), scene.send(parked.retry()));
    let (done, gone): (Vec<Value>, Vec<Value>) = [last(&both.0), last(&both.1)]
        .into_iter()
        .partition(|answer| answer.get("result").is_some());
    assert_eq!((done.len(), gone.len()), (1, 1), "{done:?} {gone:?}");
    let refusal = &gone[0]["error"]["data"]["dev.meshgate/refusal"];
    assert_eq!(
        (&refusal["reason"], &refusal["executed"]),
        (&json!("parked_call_gone"), &json!("unknown"))
    );
    assert_eq!(scene.reached(), (calls, answers + 1));
    scene.gateway.stop().await;
}

#[tokio::test]
async fn a070_a_parked_call_ends_with_its_process_and_is_not_made_again() {
    let scene = Scene::open().await;
    let parked = scene.park().await;
    let Scene {
        mut alpha,
        mut beta,
        gateway,
        ..
    } = scene;
    gateway.stop().await;
    for (case, keys, executed) in [
        ("the same keys", vec![7], "unknown"),
        ("the next key", vec![7, 8], "unknown"),
        ("the key after that", vec![7, 8, 9], "no"),
    ] {
        let later = Scene::with(alpha, beta, ring(&keys)).await;
        // The end of the first process was told to the server; nothing that a retry does adds to it.
        let (calls, answers) = later.reached();
        for _ in 0..2 {
            refused(case, &later.send(parked.retry()).await, executed);
        }
        assert_eq!(later.reached(), (calls, answers), "{case}");
        assert_eq!(
            (calls, answers),
            (1, 1),
            "the question was answered when its gateway ended"
        );
        later.gateway.stop().await;
        (alpha, beta) = (later.alpha, later.beta);
    }
    let answer = alpha.recorded().into_iter().find(Recorded::is_response).unwrap().json();
    assert_eq!(answer["result"]["action"], "cancel", "{answer}");
}
