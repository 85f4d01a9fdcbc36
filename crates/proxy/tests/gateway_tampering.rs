//! Whatever is done to a sealed text, and wherever it is carried, it opens nothing, reaches nobody, and all refusals of one
//! kind of text sound the same: who tries learns nothing.
//!
//! The servers count what reaches them. Each text has a control: unbent, and in its place, it is taken.
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
use std::time::{SystemTime, UNIX_EPOCH};

use bent::bends;
use common::{LegacyClient, Post, RunningGateway, compiled, documents, mesh};
use meshgate_identity::{KeyRing, Purpose, token_digest};
use meshgate_testkit::raw::RawAnswer;
use meshgate_testkit::{Answer, ScriptedServer};
use serde_json::{Value, json};

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;
const ASK: &str = r#"{"resultType":"input_required","inputRequests":{"who":{"method":"roots/list"}},"requestState":"the server's own"}"#;
const TASK: &str = r#"{"resultType":"task","taskId":"7","status":"working","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:00Z","ttlMs":null}"#;
/// What the servers are asked on behalf of callers.
const CALLS: [&str; 5] = [
    "tools/call",
    "prompts/get",
    "resources/read",
    "tasks/get",
    "tasks/cancel",
];

/// A server whose tools, prompt and resource ask first.
async fn server() -> ScriptedServer {
    let asks = |request: &meshgate_testkit::Recorded| {
        if request.json()["params"].get("inputResponses").is_some() {
            Answer::result(r#"{"resultType":"complete","content":[],"messages":[],"contents":[]}"#)
        } else {
            Answer::result(ASK)
        }
    };
    let resources: Vec<Value> = (0..1200)
        .map(|n| json!({"uri": format!("file:///{n}"), "name": "r"}))
        .collect();
    let list = format!(
        r#"{{"resultType":"complete","resources":{},"ttlMs":0,"cacheScope":"public"}}"#,
        Value::Array(resources)
    );
    let prompts = r#"{"resultType":"complete","prompts":[{"name":"ask"}],"ttlMs":0,"cacheScope":"public"}"#;
    ScriptedServer::modern()
        .capabilities(r#"{"tools":{},"prompts":{},"resources":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#)
        .tool_as("ask", r#"{"name":"ask","inputSchema":{"type":"object"}}"#, asks)
        .tool_as("twin", r#"{"name":"twin","inputSchema":{"type":"object"}}"#, asks)
        .tool_as("work", r#"{"name":"work","inputSchema":{"type":"object"}}"#, |_| {
            Answer::result(TASK)
        })
        .on("prompts/list", move |_| Answer::result(prompts))
        .on("prompts/get", asks)
        .on("resources/list", move |_| Answer::result(&list))
        .on("resources/templates/list", |_| {
            Answer::result(r#"{"resultType":"complete","resourceTemplates":[],"ttlMs":0,"cacheScope":"public"}"#)
        })
        .on("resources/read", asks)
        .on("tasks/get", |_| Answer::result(TASK))
        .start()
        .await
}

struct Scene {
    alpha: ScriptedServer,
    beta: ScriptedServer,
    gateway: RunningGateway,
    keys: Arc<KeyRing>,
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
        let mut snapshot = compiled(&mesh(
            &[("alpha", &alpha.url()), ("beta", &beta.url())],
            &documents(&more),
        ));
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

    /// How often the servers were called.
    fn reached(&self) -> usize {
        let of = |server: &ScriptedServer| -> usize { CALLS.iter().map(|call| server.received(call).len()).sum() };
        of(&self.alpha) + of(&self.beta)
    }

    async fn send(&self, post: Post) -> RawAnswer {
        post.to(&self.gateway).await
    }

    async fn state(&self) -> String {
        let asked = self.send(call("alpha__ask", "")).await.json();
        asked["result"]["requestState"]
            .as_str()
            .unwrap_or_else(|| panic!("{asked}"))
            .to_owned()
    }

    async fn cursor(&self) -> String {
        let list = self.send(Post::modern("1", "resources/list", "")).await.json();
        list["result"]["nextCursor"]
            .as_str()
            .unwrap_or_else(|| panic!("{list}"))
            .to_owned()
    }

    async fn task(&self) -> String {
        let begun = self.send(call("alpha__work", "")).await.json();
        begun["result"]["taskId"]
            .as_str()
            .unwrap_or_else(|| panic!("{begun}"))
            .to_owned()
    }

    async fn session(&self) -> LegacyClient {
        LegacyClient::open(&self.gateway, "2025-11-25", r#"{"roots":{}}"#).await
    }
}

fn ring(keys: &[u8]) -> KeyRing {
    let first = KeyRing::generate(&mut |bytes| bytes.fill(keys[0]));
    keys[1..]
        .iter()
        .fold(first, |ring, with| ring.rotate(&mut |bytes| bytes.fill(*with)))
}

fn call(tool: &str, more: &str) -> Post {
    Post::modern(
        "1",
        "tools/call",
        &format!(r#""name":"{tool}","arguments":{{"a":1,"b":[2]}},{more}{META}"#),
    )
}

fn answers(state: &str) -> String {
    format!(r#""inputResponses":{{"who":{{"roots":[]}}}},"requestState":{state},"#)
}

fn retry(state: &str) -> Post {
    call("alpha__ask", &answers(&format!("\"{state}\"")))
}

fn retry_with(arguments: &str, state: &str) -> Post {
    let more = answers(&format!("\"{state}\""));
    Post::modern(
        "1",
        "tools/call",
        &format!(r#""name":"alpha__ask","arguments":{arguments},{more}{META}"#),
    )
}

/// A refusal before anything reached a server; its words.
fn refused(case: &str, answer: &RawAnswer) -> String {
    let json = answer.json();
    assert_eq!(json["error"]["code"], -32602, "{case}: {}", answer.text());
    let refusal = &json["error"]["data"]["dev.meshgate/refusal"];
    assert_eq!(refusal["executed"], "no", "{case}: {json}");
    json["error"].to_string()
}

#[tokio::test]
async fn d17_a070_no_bent_state_opens_and_all_of_them_sound_the_same() {
    let scene = Scene::open().await;
    let state = scene.state().await;
    let reached = scene.reached();
    let mut words = BTreeSet::new();
    for (kind, states) in bends(&state) {
        assert!(!states.is_empty(), "{kind}");
        for state in states {
            words.insert(refused(kind, &scene.send(retry(&state)).await));
        }
    }
    assert_eq!(words.len(), 1, "{words:?}");
    assert_eq!(scene.reached(), reached, "nothing reached a server");
    let taken = scene.send(retry(&state)).await.json();
    assert_eq!(taken["result"]["resultType"], "complete", "{taken}");
    scene.gateway.stop().await;
}

#[tokio::test]
async fn d17_a070_a_state_is_good_for_its_own_call_and_nothing_else() {
    let scene = Scene::open().await;
    let state = scene.state().await;
    let more = answers(&format!("\"{state}\""));
    let (cursor, task, session) = (scene.cursor().await, scene.task().await, scene.session().await);
    let foreign = Scene::with(server().await, server().await, ring(&[66])).await;
    let foreign_state = foreign.state().await;
    let reached = scene.reached();
    let prompt = format!(r#""name":"alpha__ask",{more}{META}"#);
    let uri = scene.send(Post::modern("1", "resources/list", "")).await.json()["result"]["resources"][0]["uri"].clone();
    let resource = format!(r#""uri":{uri},{more}{META}"#);
    let twice = format!(r#"{more}"requestState":"{state}","#);
    let cases: Vec<(&str, Post)> = vec![
        ("another caller", retry(&state).token("mg_other")),
        ("another view", retry(&state).at("/views/twin/mcp")),
        ("another tool", call("alpha__twin", &more)),
        ("another server", call("beta__ask", &more)),
        (
            "another method, of the same name",
            Post::modern("1", "prompts/get", &prompt),
        ),
        ("another method", Post::modern("1", "resources/read", &resource)),
        ("an argument changed", retry_with(r#"{"a":2,"b":[2]}"#, &state)),
        ("an argument within changed", retry_with(r#"{"a":1,"b":[3]}"#, &state)),
        ("an argument more", retry_with(r#"{"a":1,"b":[2],"c":3}"#, &state)),
        ("an argument less", retry_with(r#"{"a":1}"#, &state)),
        (
            "an argument of another type",
            retry_with(r#"{"a":"1","b":[2]}"#, &state),
        ),
        ("no arguments", retry_with("{}", &state)),
        ("a cursor as a state", retry(&cursor)),
        ("a task id as a state", retry(&task)),
        ("a session id as a state", retry(&session.session)),
        ("the server's own state", retry("the server's own")),
        ("a state of another gateway", retry(&foreign_state)),
        (
            "no state",
            call("alpha__ask", r#""inputResponses":{"who":{"roots":[]}},"#),
        ),
        ("empty", retry("")),
        ("a number", call("alpha__ask", &answers("7"))),
        ("null", call("alpha__ask", &answers("null"))),
        (
            "an object",
            call("alpha__ask", &answers(&format!("{{\"state\":\"{state}\"}}"))),
        ),
        ("a list", call("alpha__ask", &answers(&format!("[\"{state}\"]")))),
    ];
    let mut words = BTreeSet::new();
    for (case, post) in cases {
        words.insert(refused(case, &scene.send(post).await));
    }
    assert_eq!(words.len(), 1, "{words:?}");
    let doubled = scene.send(call("alpha__ask", &twice)).await.json();
    assert!(doubled.get("error").is_some(), "the same member twice: {doubled}");
    // A modern server keeps its own books: the state is its own, and so is what it makes of a second retry.
    assert_eq!(scene.reached(), reached, "nothing reached a server");
    for _ in 0..2 {
        let taken = scene.send(retry(&state)).await.json();
        assert_eq!(taken["result"]["resultType"], "complete", "{taken}");
    }
    foreign.gateway.stop().await;
    scene.gateway.stop().await;
}

#[tokio::test]
async fn d17_a070_a_state_ends_with_its_time_and_with_its_key() {
    let scene = Scene::open().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // As the gateway makes it, with a time of our choice.
    let sealed = |expires: u64, server: &str| {
        let mut plain = expires.to_be_bytes().to_vec();
        plain.extend([1, 1, u8::try_from(server.len()).unwrap()]);
        plain.extend(server.as_bytes());
        plain.extend(b"the server's own");
        let bound = b"default\0local\0tools/call\0ask\0{\"a\":1,\"b\":[2]}";
        scene.keys.seal(Purpose::RequestState, bound, &plain).unwrap()
    };
    let taken = scene.send(retry(&sealed(now + 60, "alpha"))).await.json();
    assert_eq!(taken["result"]["resultType"], "complete", "{taken}");
    let reached = scene.reached();
    for (case, state) in [
        ("a second ago", sealed(now - 1, "alpha")),
        ("long ago", sealed(0, "alpha")),
        ("another server's within", sealed(now + 60, "beta")),
        ("no server's within", sealed(now + 60, "")),
    ] {
        refused(case, &scene.send(retry(&state)).await);
    }
    assert_eq!(scene.reached(), reached);
    let state = scene.state().await;
    let Scene {
        mut alpha,
        mut beta,
        gateway,
        ..
    } = scene;
    gateway.stop().await;
    for (case, keys, opens) in [
        ("the next key", vec![7, 8], true),
        ("the key after that", vec![7, 8, 9], false),
        ("no key of them", vec![10, 11], false),
    ] {
        let later = Scene::with(alpha, beta, ring(&keys)).await;
        let reached = later.reached();
        let answer = later.send(retry(&state)).await;
        if opens {
            assert_eq!(answer.json()["result"]["resultType"], "complete", "{case}");
        } else {
            refused(case, &answer);
        }
        assert_eq!(later.reached(), reached + usize::from(opens), "{case}");
        later.gateway.stop().await;
        (alpha, beta) = (later.alpha, later.beta);
    }
}

#[tokio::test]
async fn d18_a071_no_bent_or_borrowed_cursor_opens_and_all_of_them_sound_the_same() {
    let scene = Scene::open().await;
    let (cursor, state, task) = (scene.cursor().await, scene.state().await, scene.task().await);
    let session = scene.session().await;
    let foreign = Scene::with(server().await, server().await, ring(&[66])).await;
    let list = |method: &str, cursor: &str| Post::modern("1", method, &format!(r#""cursor":"{cursor}""#));
    let mut cases: Vec<(&str, Post)> = vec![
        ("another caller", list("resources/list", &cursor).token("mg_other")),
        ("another view", list("resources/list", &cursor).at("/views/twin/mcp")),
        ("another list", list("tools/list", &cursor)),
        ("another list of resources", list("resources/templates/list", &cursor)),
        ("a state as a cursor", list("resources/list", &state)),
        ("a task id as a cursor", list("resources/list", &task)),
        ("a session id as a cursor", list("resources/list", &session.session)),
        (
            "a cursor of another gateway",
            list("resources/list", &foreign.cursor().await),
        ),
        ("a page's number", list("resources/list", "2")),
    ];
    for (kind, cursors) in bends(&cursor) {
        cases.extend(cursors.iter().map(|cursor| (kind, list("resources/list", cursor))));
    }
    let asked = |server: &ScriptedServer| server.received("resources/list").len();
    let before = (asked(&scene.alpha), asked(&scene.beta), scene.reached());
    let mut words = BTreeSet::new();
    for (case, post) in cases {
        words.insert(refused(case, &scene.send(post).await));
    }
    assert_eq!(words.len(), 1, "{words:?}");
    assert_eq!((asked(&scene.alpha), asked(&scene.beta), scene.reached()), before);
    let taken = scene.send(list("resources/list", &cursor)).await.json();
    assert_eq!(
        taken["result"]["resources"].as_array().map(Vec::len),
        Some(1000),
        "{taken}"
    );
    foreign.gateway.stop().await;
    scene.gateway.stop().await;
}

#[tokio::test]
async fn d22_a082_no_bent_or_borrowed_session_id_opens_and_all_of_them_sound_the_same() {
    let scene = Scene::open().await;
    let (cursor, state, task) = (scene.cursor().await, scene.state().await, scene.task().await);
    let client = scene.session().await;
    let foreign = Scene::with(server().await, server().await, ring(&[66])).await;
    // The same keys in another process: the id opens there, and leads to a home that is not there.
    let second = Scene::with(server().await, server().await, ring(&[7])).await;
    let of = |session: &str| {
        let mut other = client.clone();
        session.clone_into(&mut other.session);
        other.request("1", "tools/call", r#""name":"alpha__work","arguments":{}"#)
    };
    let own = of(&client.session);
    let mut cases: Vec<(&str, Post)> = vec![
        ("another caller", own.clone().token("mg_other")),
        ("another view", own.clone().at("/views/twin/mcp")),
        ("a state as a session id", of(&state)),
        ("a cursor as a session id", of(&cursor)),
        ("a task id as a session id", of(&task)),
        ("a session of another gateway", of(&foreign.session().await.session)),
        (
            "a session of a process that is gone",
            of(&second.session().await.session),
        ),
    ];
    second.gateway.stop().await;
    for (kind, sessions) in bends(&client.session) {
        // What no header can carry, or no server reads, is refused below.
        let carried = sessions
            .iter()
            .filter(|id| (1..4_000).contains(&id.len()) && !id.contains(['\\', ' ']));
        cases.extend(carried.map(|session| (kind, of(session))));
    }
    let reached = scene.reached();
    let mut words = BTreeSet::new();
    for (case, post) in cases {
        let answer = scene.send(post).await;
        assert_eq!(answer.status, 404, "{case}: {}", answer.text());
        words.insert(answer.json()["error"].to_string());
    }
    assert_eq!(words.len(), 1, "{words:?}");
    assert_eq!(scene.reached(), reached, "nothing reached a server");
    let taken = scene.send(own).await;
    assert_eq!((taken.status, scene.reached()), (200, reached + 1), "{}", taken.text());
    foreign.gateway.stop().await;
    scene.gateway.stop().await;
}
