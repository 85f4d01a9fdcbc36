//! The bytes are sacred, all the way and in every kind of message: what a decoder would lose or rewrite comes out on the
//! other side as it went in, for clients and servers of both eras.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{LegacyClient, Post, RunningGateway, UNHURRIED, mesh};
use meshgate_testkit::{Answer, Recorded, Script, ScriptedServer, Step};

/// Everything a decoder would lose or rewrite: order, spelling, long and odd numbers, unknown members.
const ODD: &str = r#"{"z":123456789012345678901234567890,"a":-0,"f":1.0,"e":1e2,"d":0.10000000000000000555,"Ünï":"\u00e9\/","n":null,"__proto__":{"x":[[],{}]},"s":"\ud83d\ude00"}"#;
const CAPABILITIES: &str = r#"{"tools":{},"prompts":{},"resources":{},"completions":{},"logging":{}}"#;
const MERGED: &str =
    "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only}, {name: beside}], liftLimits: true}";

fn server(modern: bool) -> Script {
    let script = if modern {
        ScriptedServer::modern()
    } else {
        ScriptedServer::legacy("2025-11-25")
    };
    script.capabilities(CAPABILITIES)
}

/// Members of a result, with those that its era asks for.
fn result(modern: bool, members: &str) -> Answer {
    let more = if modern {
        r#","resultType":"complete","ttlMs":0,"cacheScope":"private""#
    } else {
        ""
    };
    Answer::result(&format!("{{{members}{more}}}"))
}

/// Lists whose items say more than anybody knows; `ITEM` ends each of them.
fn lists(modern: bool, script: Script) -> Script {
    let item = format!(r#""later":{ODD},"_meta":{{"com.example/k":{ODD}}}}}"#);
    let on = |script: Script, method: &str, members: String| {
        let answer = result(modern, &members);
        script.on(method, move |_| answer.clone())
    };
    let script = on(
        script,
        "tools/list",
        format!(r#""tools":[{{"inputSchema":{{"type":"object","x-later":{ODD}}},"name":"odd",{item}]"#),
    );
    let script = on(
        script,
        "prompts/list",
        format!(r#""prompts":[{{"arguments":[{ODD}],"name":"odd",{item}]"#),
    );
    let script = on(
        script,
        "resources/list",
        format!(r#""resources":[{{"size":1.0,"uri":"file:///odd","name":"odd",{item}]"#),
    );
    on(
        script,
        "resources/templates/list",
        format!(r#""resourceTemplates":[{{"uriTemplate":"file:///{{odd}}","name":"odd",{item}]"#),
    )
}

/// The server of the test, and one beside it for the merged view.
async fn before(script: Script, view: &str) -> (ScriptedServer, ScriptedServer, RunningGateway) {
    let (server, beside) = (script.start().await, ScriptedServer::modern().start().await);
    let servers = [("only", server.url()), ("beside", beside.url())];
    let servers: Vec<(&str, &str)> = servers.iter().map(|(name, url)| (*name, url.as_str())).collect();
    let gateway = RunningGateway::start(&mesh(&servers, view)).await;
    (server, beside, gateway)
}

const LISTS: [(&str, &str); 4] = [
    (
        "tools/list",
        r#"{"inputSchema":{"type":"object","x-later":ODD},"name":"NAME","later":ODD,"_meta":{"com.example/k":ODD"#,
    ),
    (
        "prompts/list",
        r#"{"arguments":[ODD],"name":"NAME","later":ODD,"_meta":{"com.example/k":ODD"#,
    ),
    (
        "resources/list",
        r#"{"size":1.0,"uri":"URI","name":"odd","later":ODD,"_meta":{"com.example/k":ODD"#,
    ),
    (
        "resources/templates/list",
        r#"{"uriTemplate":"TEMPLATE","name":"odd","later":ODD,"_meta":{"com.example/k":ODD"#,
    ),
];

#[tokio::test]
async fn items_of_lists_are_shown_as_their_server_wrote_them() {
    let wrapped = meshgate_model::naming::wrap_uri("only", "file:///odd");
    let template = meshgate_model::naming::wrap_template("only", "file:///{odd}");
    for (modern, view) in [(true, UNHURRIED), (false, UNHURRIED), (true, MERGED), (false, MERGED)] {
        let merged = view == MERGED;
        let (_server, _beside, gateway) = before(lists(modern, server(modern)), view).await;
        let client = LegacyClient::open(&gateway, "2025-11-25", "{}").await;
        for (method, item) in LISTS {
            let expected = if merged {
                item.replace("NAME", "only__odd")
                    .replace("URI", &wrapped)
                    .replace("TEMPLATE", &template)
            } else {
                item.replace("NAME", "odd")
                    .replace("URI", "file:///odd")
                    .replace("TEMPLATE", "file:///{odd}")
            };
            let expected = expected.replace("ODD", ODD);
            // One server's items end as they ended; a merged view adds whose they are.
            let expected = if merged { expected } else { expected + "}}" };
            for answer in [
                Post::modern("1", method, "").to(&gateway).await,
                client.request("1", method, "").to(&gateway).await,
            ] {
                assert!(
                    answer.text().contains(&expected),
                    "{method} {modern} {merged}:\n{expected}\n{}",
                    answer.text()
                );
            }
        }
        gateway.stop().await;
    }
}

/// The request as the server got it, and the answer as the client got it.
async fn exchanged(server: &ScriptedServer, gateway: &RunningGateway, post: Post) -> (String, String) {
    let method = post.body.windows(10).position(|w| w == b"\"method\":\"").unwrap() + 10;
    let rest = String::from_utf8_lossy(&post.body[method..]).into_owned();
    let method = rest.split('"').next().unwrap();
    let before = server.received(method).len();
    let answer = post.to(gateway).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    (
        server.received(method)[before].text().to_owned(),
        answer.text().to_owned(),
    )
}

#[tokio::test]
async fn requests_and_results_of_every_method_keep_what_nobody_here_knows() {
    let params = format!(r#""later":{ODD},"_meta":{{"com.example/k":{ODD}"#);
    for modern in [true, false] {
        let said = format!(r#""later":{ODD},"_meta":{{"com.example/k":{ODD}}}"#);
        let mut script = lists(modern, server(modern));
        let results = [
            (
                "tools/call",
                r#""content":[{"type":"hologram","beam":ODD}],"structuredContent":ODD"#,
            ),
            (
                "prompts/get",
                r#""messages":[{"role":"user","content":{"type":"text","text":"\u0041","beam":ODD}}]"#,
            ),
            (
                "resources/read",
                r#""contents":[{"uri":"file:///odd","text":"\u0041","beam":ODD}]"#,
            ),
            ("completion/complete", r#""completion":{"values":[],"beam":ODD}"#),
        ]
        .map(|(method, members)| (method, members.replace("ODD", ODD)));
        for (method, members) in &results {
            let answer = result(modern, &format!("{members},{said}"));
            script = script.on(method, move |_| answer.clone());
        }
        let (server, _beside, gateway) = before(script, UNHURRIED).await;
        let client = LegacyClient::open(&gateway, "2025-11-25", "{}").await;
        let wanted = [
            r#""arguments":ODD,"name":"odd""#,
            r#""name":"odd","arguments":{"a":"\u0041"}"#,
            r#""uri":"file:///odd""#,
            r#""argument":{"name":"a","value":"\u0041","more":ODD},"ref":{"type":"ref/prompt","name":"odd","more":ODD}"#,
        ]
        .map(|wanted| wanted.replace("ODD", ODD));
        for ((method, result), wanted) in results.iter().zip(&wanted) {
            let stamp = r#","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
            let posts = [
                Post::modern("1", method, &format!("{wanted},{params}{stamp}")),
                client.request("1", method, &format!("{wanted},{params}}}")),
            ];
            for post in posts {
                let (sent, got) = exchanged(&server, &gateway, post).await;
                assert!(
                    sent.contains(&format!("{wanted},{params}")),
                    "{method} {modern}: {sent}"
                );
                assert!(got.contains(result.as_str()), "{method} {modern}: {got}");
                assert!(got.contains(&said[..said.len() - 1]), "{method} {modern}: {got}");
            }
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn errors_progress_and_logs_keep_what_nobody_here_knows() {
    for modern in [true, false] {
        let steps = |_: &Recorded| {
            Answer::stream([
                Step::message(format!(
                    r#"{{"later":{ODD},"method":"notifications/progress","params":{{"progress":1.0,"progressToken":$TOKEN,"more":{ODD}}},"jsonrpc":"2.0"}}"#
                )),
                Step::message(format!(
                    r#"{{"method":"notifications/message","params":{{"level":"info","data":{ODD},"more":{ODD}}},"jsonrpc":"2.0"}}"#
                )),
                Step::message(format!(
                    r#"{{"error":{{"data":{ODD},"code":-32050,"message":"\u0041","more":{ODD}}},"later":{ODD},"id":$ID,"jsonrpc":"2.0"}}"#
                )),
            ])
        };
        let script = server(modern).tool_as("odd", r#"{"name":"odd","inputSchema":{"type":"object"}}"#, steps);
        let (_server, _beside, gateway) = before(script, UNHURRIED).await;
        let client = LegacyClient::open(&gateway, "2025-11-25", "{}").await;
        let level = client
            .request("1", "logging/setLevel", r#""level":"debug""#)
            .to(&gateway)
            .await;
        assert_eq!(level.status, 200);
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"debug","progressToken":7}"#;
        for post in [
            Post::modern("\"\\u0041\"", "tools/call", &format!(r#""name":"odd",{meta}"#)),
            client.request(
                "\"\\u0041\"",
                "tools/call",
                r#""name":"odd","_meta":{"progressToken":7}"#,
            ),
        ] {
            let answer = post.to(&gateway).await;
            let messages: Vec<String> = answer.messages().into_iter().filter(|m| !m.is_empty()).collect();
            let expected = [
                format!(
                    r#"{{"later":{ODD},"method":"notifications/progress","params":{{"progress":1.0,"progressToken":7,"more":{ODD}}},"jsonrpc":"2.0"}}"#
                ),
                format!(
                    r#"{{"method":"notifications/message","params":{{"level":"info","data":{ODD},"more":{ODD}}},"jsonrpc":"2.0"}}"#
                ),
                format!(
                    r#"{{"error":{{"data":{ODD},"code":-32050,"message":"\u0041","more":{ODD}}},"later":{ODD},"id":"\u0041","jsonrpc":"2.0"}}"#
                ),
            ];
            assert_eq!(messages, expected, "{modern}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn questions_and_answers_keep_what_nobody_here_knows() {
    let ask = format!(
        r#"{{"resultType":"input_required","requestState":"s","inputRequests":{{"w\u0068o":{{"params":{{"message":"\u0041","requestedSchema":{ODD},"more":{ODD}}},"method":"elicitation/create"}}}}}}"#
    );
    let script = server(true).tool_as(
        "odd",
        r#"{"name":"odd","inputSchema":{"type":"object"}}"#,
        move |request| {
            let retried = request.text().contains("inputResponses");
            Answer::result(if retried {
                r#"{"resultType":"complete","content":[]}"#
            } else {
                &ask
            })
        },
    );
    let (server, _beside, gateway) = before(script, UNHURRIED).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", r#"{"elicitation":{}}"#).await;
    let mut connection = client
        .request("1", "tools/call", r#""name":"odd""#)
        .open(&gateway)
        .await;
    connection.head().await.unwrap();
    let question = loop {
        let data = connection.next_event().await.unwrap();
        if !data.is_empty() {
            break data;
        }
    };
    let params = format!(r#""params":{{"message":"\u0041","requestedSchema":{ODD},"more":{ODD}}}"#);
    assert!(question.contains(&params), "{question}");
    let id = serde_json::from_str::<serde_json::Value>(&question).unwrap()["id"].clone();
    let content = format!(r#"{{"content":{ODD},"action":"accept","more":{ODD}}}"#);
    client
        .answer(&gateway, &serde_json::json!({ "id": id }), &content)
        .await;
    while connection.next_event().await.is_some() {}
    let retried = server
        .recorded()
        .into_iter()
        .find(|r| r.text().contains("inputResponses"))
        .unwrap();
    assert!(
        retried.text().contains(&format!(r#""w\u0068o":{content}"#)),
        "{}",
        retried.text()
    );
    gateway.stop().await;
}
