//! The ladder of admission: a request that is wrong in two ways hears of the first of them, whichever the two are.
//!
//! A client that contradicts itself in several ways must get one answer, always the same, or two proxies in a row would
//! disagree about what it did. So every pair of rungs is tried over a socket.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;

use common::{META, Post, RunningGateway, compiled, documents, mesh};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_testkit::ScriptedServer;
use meshgate_testkit::raw::{RawAnswer, exchange};

const OK: &str = r#"{"resultType":"complete","content":[]}"#;
const TOOL: &str = r#"{"name":"strict","inputSchema":{"type":"object","required":["region"],"properties":{"region":{"type":"string","x-mcp-header":"Region"},"count":{"type":"integer"}}}}"#;
/// Larger than a body may be here.
const LARGE: usize = 3 << 10;
const BODY: usize = 2 << 10;

/// What can be wrong with a request, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rung {
    Host,
    Origin,
    Verb,
    Size,
    ContentType,
    Accept,
    Proof,
    Path,
    Parse,
    Envelope,
    Meta,
    Repeated,
    Mirror,
    Version,
    Method,
    Rate,
    Name,
    Param,
    Arguments,
}

use Rung::{
    Accept, Arguments, ContentType, Envelope, Host, Meta, Method, Mirror, Name, Origin, Param, Parse, Path, Proof,
    Rate, Repeated, Size, Verb, Version,
};

/// Each rung with its status and its JSON-RPC code.
const LADDER: [(Rung, u16, i64); 19] = [
    (Host, 400, -33004),
    (Origin, 403, -33003),
    (Verb, 405, -33006),
    (Size, 413, -33009),
    (ContentType, 415, -33008),
    (Accept, 406, -33007),
    (Proof, 401, -33001),
    (Path, 404, -33005),
    (Parse, 400, -32700),
    (Envelope, 400, -32600),
    (Meta, 400, -32602),
    (Repeated, 400, -32020),
    (Mirror, 400, -32020),
    (Version, 400, -32022),
    (Method, 404, -32601),
    (Rate, 429, -33012),
    (Name, 200, -32602),
    (Param, 400, -32020),
    // What is wrong with the arguments is a result of the tool, not an error of the protocol.
    (Arguments, 200, 0),
];

/// A request that is wrong in these ways and in no other.
fn request(wrong: &[Rung]) -> Post {
    let is = |rung: Rung| wrong.contains(&rung);
    let method = if is(Method) { "ping" } else { "tools/call" };
    let name = if is(Name) { "missing" } else { "strict" };
    let count = if is(Arguments) { r#""many""# } else { "1" };
    let version = if is(Version) { "2027-01-01" } else { "2026-07-28" };
    let meta = match (is(Meta), is(Version)) {
        (true, _) => r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#.to_owned(),
        (false, true) => META.replace("2026-07-28", version),
        (false, false) => META.to_owned(),
    };
    let jsonrpc = if is(Envelope) { "" } else { r#""jsonrpc":"2.0","# };
    let mut body = format!(
        r#"{{{jsonrpc}"id":1,"method":"{method}","params":{{"name":"{name}","arguments":{{"region":"eu","count":{count}}},{meta}}}}}"#
    );
    if is(Parse) {
        body.truncate(body.len() - 1);
    }
    if is(Size) {
        body.push_str(&" ".repeat(LARGE - body.len()));
    }
    let mut post = Post::legacy(&body)
        .and("mcp-protocol-version", version)
        .and("mcp-method", if is(Mirror) { "tools/list" } else { method })
        .and("mcp-name", name)
        .and("mcp-param-region", if is(Param) { "us" } else { "eu" });
    if is(Repeated) {
        post = post.and("mcp-name", name);
    }
    if is(Rate) {
        post = post.token("mg_hasty").at("/views/counted/mcp");
    }
    if is(Path) {
        post = post.at("/views/nothing/mcp");
    }
    if is(Proof) {
        post = post.without("authorization");
    }
    if is(Accept) {
        post = post.with("accept", "application/json");
    }
    if is(ContentType) {
        post = post.with("content-type", "text/plain");
    }
    if is(Verb) {
        post = post.verb("GET");
    }
    if is(Origin) {
        post = post.and("origin", "https://evil.example");
    }
    if is(Host) {
        post = post.host("evil.example");
    }
    post
}

fn code(answer: &RawAnswer) -> i64 {
    answer.json()["error"]["code"].as_i64().unwrap_or_default()
}

async fn gateway(server: &ScriptedServer) -> RunningGateway {
    // `hasty` has one call a second, and has always made it; everybody else calls a view without rates.
    let documents = documents(&[
        "kind: Mesh\nmetadata: {name: m}\nspec: {limits: {body: 2KiB, callsPerSecond: 1, callBurst: 1, unauthenticatedPerSecond: 10000}}",
        "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only}], liftLimits: true}",
        "kind: View\nmetadata: {name: counted}\nspec: {servers: [{name: only}]}",
        "kind: Application\nmetadata: {name: local}\nspec: {views: ['*'], tokens: [{environment: ANOTHER_UNUSED_VARIABLE}]}",
        "kind: Application\nmetadata: {name: hasty}\nspec: {views: [counted], tokens: [{environment: UNUSED_TOKEN_VARIABLE}]}",
    ]);
    let mut snapshot = compiled(&mesh(&[("only", &server.url())], &documents));
    assert!(snapshot.add_token("hasty", token_digest("mg_hasty")));
    RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await
}

#[tokio::test]
async fn of_two_things_that_are_wrong_the_first_of_the_ladder_is_answered() {
    let server = ScriptedServer::modern()
        .tool_as("strict", TOOL, |_| meshgate_testkit::Answer::result(OK))
        .start()
        .await;
    let gateway = gateway(&server).await;
    for (index, (first, status, expected)) in LADDER.into_iter().enumerate() {
        for (second, ..) in LADDER.into_iter().skip(index) {
            let post = request(&[first, second]);
            let mut heard = None;
            // Who is over a rate is so for a moment only, so that it is tried again when the moment was missed.
            for _ in 0..10 {
                let hasty = request(&[Rate]).to(&gateway).await;
                assert!([200, 429].contains(&hasty.status));
                tokio::task::yield_now().await;
                let answer = post.to(&gateway).await;
                heard = Some((answer.status, code(&answer), answer.text().to_owned()));
                if (answer.status, code(&answer)) == (status, expected) || (first != Rate && second != Rate) {
                    break;
                }
            }
            let (heard_status, heard_code, text) = heard.unwrap();
            assert_eq!(
                (heard_status, heard_code),
                (status, expected),
                "{first:?} and {second:?}: {text}"
            );
        }
    }
    let reached = server.received("tools/call");
    assert!(
        reached
            .iter()
            .all(|call| call.json()["params"]["arguments"]["count"] == 1)
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_is_too_large_before_and_after_proof_wherever_its_length_is_said() {
    let server = ScriptedServer::modern().tool("strict", OK).start().await;
    let gateway = gateway(&server).await;
    for (size, taken) in [(BODY - 1, true), (BODY, true), (BODY + 1, false)] {
        for (chunked, token, status) in [
            (false, true, 413),
            (true, true, 413),
            (false, false, 413),
            (true, false, 401),
        ] {
            let mut post = request(&[Method]);
            post.body.extend(vec![b' '; size - post.body.len()]);
            if !token {
                post = post.without("authorization");
            }
            let expected = match (taken, token) {
                (true, true) => 404,
                (true, false) => 401,
                (false, _) => status,
            };
            let answer = exchange(gateway.address, &post.bytes(gateway.address, chunked)).await;
            assert_eq!(answer.status, expected, "{size} {chunked} {token}: {}", answer.text());
        }
    }
    gateway.stop().await;
}
