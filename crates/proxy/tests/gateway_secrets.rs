//! D-36 and D-37 over the whole gateway: a secret goes where it belongs and nowhere else.
//!
//! Twenty random secrets are put wherever a caller or a server can put one. Then everything that left the gateway is
//! searched: log events at their chattiest, access records, metrics, what each server was told, what other callers got.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use common::{LegacyClient, Post, RunningGateway, Sink, TOKEN, compiled, documents, mesh_with};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_testkit::raw::RawAnswer;
use meshgate_testkit::{Answer, ScriptedServer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Everything that is logged in this process, as one text; names of fields and spans included.
static LOG: OnceLock<Sink> = OnceLock::new();

struct Everything;

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {field}={value}");
    }
}

fn say(words: Words) {
    let _ = std::io::Write::write_all(&mut LOG.get().unwrap().clone(), (words.0 + "\n").as_bytes());
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut words = Words(span.metadata().name().to_owned());
        span.record(&mut words);
        say(words);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut words = Words(String::new());
        values.record(&mut words);
        say(words);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words(event.metadata().target().to_owned());
        event.record(&mut words);
        say(words);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn log() -> Sink {
    LOG.get_or_init(|| {
        tracing::subscriber::set_global_default(Everything).unwrap();
        Sink::default()
    })
    .clone()
}

/// A secret that nobody has ever written before, and that says where it was put.
fn secret(place: &str) -> String {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).unwrap();
    let random: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("canary-{place}-{random}")
}

const APPLICATIONS: [&str; 2] = [
    "kind: Application\nmetadata: {name: local}\nspec: {views: ['*'], tokens: [{environment: UNUSED_TOKEN_VARIABLE}]}",
    "kind: Application\nmetadata: {name: other}\nspec: {views: ['*'], tokens: [{environment: ANOTHER_UNUSED_VARIABLE}]}",
];

struct Scene {
    docs: ScriptedServer,
    work: ScriptedServer,
    gateway: RunningGateway,
    /// Secrets of the callers' hop: no server may see them.
    hop: Vec<String>,
    /// Secrets of a call: its server may see them.
    call: Vec<String>,
    /// Secrets of the server `docs`: its caller may see those in answers.
    said: Vec<String>,
    /// Secrets between the gateway and `docs`: nobody else may see them.
    own: Vec<String>,
}

async fn scene() -> Scene {
    log();
    let said: Vec<String> = ["error", "error-data", "result", "structured", "page", "challenge"]
        .map(secret)
        .to_vec();
    let own: Vec<String> = ["credential", "api-key", "server-url"].map(secret).to_vec();
    let schema = r#"{"name":"NAME","inputSchema":{"type":"object","properties":{"n":{"type":"integer"}}},"outputSchema":{"type":"object","properties":{"n":{"type":"integer"}}}}"#;
    let named = |name: &str| schema.replace("NAME", name);
    let [error, data, result, structured, page, challenge] = &said[..] else {
        panic!()
    };
    let failing = format!(
        r#"{{"jsonrpc":"2.0","id":$ID,"error":{{"code":-32050,"message":"{error}","data":{{"x":"{data}"}}}}}}"#
    );
    let telling = format!(
        r#"{{"resultType":"complete","content":[{{"type":"text","text":"{result}"}}],"structuredContent":{{"n":"{structured}"}}}}"#
    );
    let broken = format!("<html>{page}</html>");
    let header = format!("Bearer realm=\"{challenge}\"");
    let docs = ScriptedServer::modern()
        .tool_as("fail", &named("fail"), move |_| Answer::json(failing.clone()))
        .tool_as("tell", &named("tell"), move |_| Answer::result(&telling))
        .tool_as("break", &named("break"), move |_| {
            Answer::whole(500, broken.clone()).header("content-type", "text/html")
        })
        .tool_as("deny", &named("deny"), move |_| {
            Answer::whole(401, "").header("www-authenticate", &header)
        })
        .start()
        .await;
    let work = ScriptedServer::legacy("2025-06-18")
        .tool("list", r#"{"content":[]}"#)
        .start()
        .await;
    let [credential, key, in_url] = &own[..] else { panic!() };
    let yaml = mesh_with(
        "",
        &[("work", &work.url(), "")],
        &documents(&[
            APPLICATIONS[0],
            APPLICATIONS[1],
            &format!(
                "kind: Server\nmetadata: {{name: docs}}\nspec: {{http: {{url: '{}?key={in_url}', headers: {{authorization: 'Bearer {credential}', x-api-key: '{key}'}}}}, validation: {{arguments: warn}}}}",
                docs.url()
            ),
            &format!(
                "kind: Server\nmetadata: {{name: away}}\nspec: {{http: {{url: 'http://127.0.0.1:9/mcp?key={in_url}'}}}}"
            ),
        ]),
    );
    let mut snapshot = compiled(&yaml);
    assert!(snapshot.add_token("other", token_digest("mg_other")));
    let gateway = RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await;
    Scene {
        docs,
        work,
        gateway,
        hop: vec![TOKEN.to_owned(), "mg_other".to_owned()],
        call: Vec::new(),
        said,
        own,
    }
}

impl Scene {
    fn hop(&mut self, place: &str) -> String {
        let secret = secret(place);
        self.hop.push(secret.clone());
        secret
    }

    fn call(&mut self, place: &str) -> String {
        let secret = secret(place);
        self.call.push(secret.clone());
        secret
    }

    /// A call that carries a secret in every place where a caller can put one.
    fn laden(&mut self, tool: &str) -> Post {
        let (id, progress, baggage) = (self.hop("id"), self.hop("progress"), self.hop("baggage"));
        let (argument, key, meta, client) = (
            self.call("argument"),
            self.call("key"),
            self.call("meta"),
            self.call("client"),
        );
        let params = format!(
            r#""name":"{tool}","arguments":{{"n":"{argument}","{key}":1}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{{"name":"{client}","version":"1"}},"com.example/k":"{meta}","progressToken":"{progress}","baggage":"k={baggage}"}}"#
        );
        let query = self.hop("query");
        let mut post = Post::modern(&format!("\"{id}\""), "tools/call", &params).at(&format!("/mcp?key={query}"));
        for name in [
            "x-secret",
            "cookie",
            "proxy-authorization",
            "mcp-param-nobody",
            "mcp-session-id",
            "user-agent",
            "baggage",
            "traceparent",
            "forwarded",
        ] {
            let value = self.hop(name);
            post = post.and(name, &value);
        }
        post
    }

    fn told(&self) -> Vec<(&'static str, String)> {
        let whole = |server: &ScriptedServer| {
            let requests = server.recorded().into_iter();
            requests
                .map(|r| format!("{} {:?} {}", r.path, r.headers, r.text()))
                .collect::<String>()
        };
        vec![("docs", whole(&self.docs)), ("work", whole(&self.work))]
    }
}

fn hold_none<'a>(place: &str, text: &str, secrets: impl IntoIterator<Item = &'a String>) {
    for secret in secrets {
        assert!(!text.contains(secret.as_str()), "{place} holds {secret}: {text}");
    }
}

#[tokio::test]
async fn d36_a_secret_goes_where_it_belongs_and_nowhere_else() {
    let mut scene = scene().await;
    let mut answers: Vec<RawAnswer> = Vec::new();
    for tool in [
        "docs__fail",
        "docs__tell",
        "docs__break",
        "docs__deny",
        "work__list",
        "nobody__knows",
    ] {
        answers.push(scene.laden(tool).to(&scene.gateway).await);
    }
    // The same through a session, whose id is a secret as well.
    let client = LegacyClient::open(&scene.gateway, "2025-06-18", "{}").await;
    scene.hop.push(client.session.clone());
    let argument = scene.call("legacy-argument");
    for tool in ["docs__fail", "docs__tell", "docs__break", "docs__deny", "work__list"] {
        let params = format!(r#""name":"{tool}","arguments":{{"n":"{argument}"}}"#);
        answers.push(client.request("1", "tools/call", &params).to(&scene.gateway).await);
    }
    let stranger = scene.hop("wrong-token");
    answers.push(scene.laden("docs__tell").token(&stranger).to(&scene.gateway).await);
    let uri = scene.call("uri");
    let read = Post::modern(
        "1",
        "resources/read",
        &format!(r#""uri":"https://user:{uri}@host/a?token={uri}#{uri}""#),
    );
    answers.push(read.to(&scene.gateway).await);
    let broken = scene.call("broken-json");
    answers.push(
        Post::modern("1", "tools/call", "")
            .body(format!("{{\"{broken}\":"))
            .to(&scene.gateway)
            .await,
    );
    let calls = answers.len() + 2;
    assert!(scene.hop.len() + scene.call.len() >= 20);

    // What the server's words are: for its caller alone, and only what is in its messages.
    assert!(answers[0].text().contains(&scene.said[0]), "{}", answers[0].text());
    assert!(answers[1].text().contains(&scene.said[2]), "{}", answers[1].text());
    for answer in &answers {
        let text = format!("{:?} {}", answer.headers, answer.text());
        hold_none("an answer", &text, &scene.own);
        hold_none("an answer", &text, &scene.said[4..]);
        hold_none("an answer", &text, [TOKEN.to_owned()].iter());
    }
    // Other callers.
    for (method, params) in [
        ("tools/list", ""),
        ("server/discover", ""),
        ("tools/call", r#""name":"work__list""#),
        ("tools/call", r#""name":"nobody__knows""#),
        ("tools/call", r#""name":"docs__break""#),
    ] {
        let answer = Post::modern("1", method, params)
            .token("mg_other")
            .to(&scene.gateway)
            .await;
        let text = format!("{:?} {}", answer.headers, answer.text());
        let all = scene.hop.iter().chain(&scene.call).chain(&scene.said).chain(&scene.own);
        hold_none("another caller's answer", &text, all);
    }
    // The servers.
    for (server, told) in scene.told() {
        hold_none(server, &told, &scene.hop);
        if server == "work" {
            hold_none(server, &told, scene.own.iter().chain(&scene.said));
        }
    }
    assert!(
        scene.told()[0].1.contains(&scene.own[0]),
        "its own server gets the credential"
    );

    let records = scene.gateway.written(calls + 5).await;
    let metrics = scene.gateway.metrics.encode();
    let all: Vec<&String> = scene
        .hop
        .iter()
        .chain(&scene.call)
        .chain(&scene.said)
        .chain(&scene.own)
        .collect();
    hold_none("a record", &records, all.iter().copied());
    hold_none("a figure", &metrics, all.iter().copied());
    assert!(records.lines().count() >= calls, "{records}");
    assert!(metrics.contains("docs"), "{metrics}");
    scene.gateway.stop().await;
    let logged = log().text();
    for said in [
        "server is away",
        "arguments do not match",
        "structured result does not match",
    ] {
        assert!(logged.contains(said), "the log was not listened to: {said}");
    }
    let leaks: Vec<&str> = logged
        .lines()
        .filter(|line| all.iter().any(|secret| line.contains(secret.as_str())))
        .collect();
    assert_eq!(leaks, Vec::<&str>::new());
}

#[tokio::test]
async fn d37_words_of_a_caller_cannot_forge_a_record() {
    let scene = scene().await;
    let evil = r#"x\n{\"kind\":\"call\",\"summary\":\"FORGED\"}\r\u001b[2J\u2028\u0085\u202e\u0007"#;
    let decoded: String = serde_json::from_str(&format!("\"{evil}\"")).unwrap();
    let sentinel = meshgate_mcp::headers::encode(&decoded).into_owned();
    let tool = format!(r#""name":"{evil}","arguments":{{}}"#);
    let uri = format!(r#""uri":"{evil}""#);
    let posts = [
        Post::modern("1", evil, "").with("mcp-method", &sentinel),
        Post::modern("1", "tools/call", &tool).with("mcp-name", &sentinel),
        Post::modern("1", "resources/read", &uri).with("mcp-name", &sentinel),
        Post::modern("1", "prompts/get", &tool).with("mcp-name", &sentinel),
        Post::modern("1", "tools/list", "").and("traceparent", "00-\tforged-01"),
        Post::modern(&format!("\"{evil}\""), "tools/list", ""),
        Post::legacy(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{evil}"}}"#)),
    ];
    let count = posts.len();
    for post in posts {
        let answer = post.to(&scene.gateway).await;
        assert!(!answer.headers.iter().any(|(_, value)| value.contains("FORGED")));
    }
    let written = scene.gateway.written(count).await;
    assert_eq!(written.lines().count(), count, "{written}");
    let commands = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}'));
    assert!(!written.contains(commands), "{written:?}");
    for line in written.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_ne!(record["summary"], "FORGED");
        assert_eq!(record["application"], "local");
    }
    scene.gateway.stop().await;
}
