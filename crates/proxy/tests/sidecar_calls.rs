//! A sidecar's mesh port as a gateway uses it: calls in the server's own words, decided again, answered as the server did.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::inside::{Ask, GATEWAY, RunningSidecar, Told, authority, caller, id, local};
use common::parked::{FORM, asks_once};
use common::{META, UNHURRIED, compiled, documents, mesh, mesh_with};
use meshgate_identity::context;
use meshgate_proxy::supervise::SupervisorProgram;
use meshgate_testkit::{Answer, ScriptedServer, Step};
use serde_json::{Value, json};

const HI: &str =
    r#"{"resultType":"complete","content":[{"type":"text","text":"hi"}],"n":123456789012345678901234567890}"#;

fn names(result: &Value, member: &str, key: &str) -> Vec<String> {
    let items = result[member].as_array().unwrap().iter();
    items.map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

/// The JSON-RPC requests of calls that have reached a server.
fn calls(server: &ScriptedServer) -> usize {
    let asked = [
        "server/discover",
        "tools/list",
        "subscriptions/listen",
        "initialize",
        "",
    ];
    let reached = server.recorded().into_iter();
    reached.filter(|r| !asked.contains(&r.method().as_str())).count()
}

#[tokio::test]
async fn a_call_of_a_gateway_reaches_the_server_and_its_answer_comes_back_as_it_was() {
    let server = ScriptedServer::modern().tool("echo", HI).start().await;
    let sidecar = RunningSidecar::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let gateway = sidecar.gateway().await;
    let answer = gateway.call("tools/call", r#""name":"echo","arguments":{"x":1}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!answer.headers.contains_key("meshgate-refused"));
    let result = answer.result();
    assert_eq!(result["content"][0]["text"], "hi");
    assert!(
        answer.text().contains("123456789012345678901234567890"),
        "{}",
        answer.text()
    );
    assert!(
        result.get("_meta").is_none(),
        "it stays under the server's own name: {result}"
    );
    assert_eq!(answer.json()["id"], 7);
    let reached = server.recorded();
    let call = reached.iter().find(|r| r.method() == "tools/call").unwrap();
    assert_eq!(call.json()["params"]["arguments"], json!({"x": 1}));
    assert!(
        call.header("txn-token").is_none(),
        "what a gateway says of a caller stays in the mesh"
    );
}

#[tokio::test]
async fn a_server_on_a_socket_of_the_file_system_is_called_like_any_other() {
    let server = ScriptedServer::modern().tool("echo", HI).start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sock");
    let socket = tokio::net::UnixListener::bind(&path).unwrap();
    let address = server.address();
    // What comes to the socket goes to the scripted server as it is.
    let passing = tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((mut here, _)) = socket.accept().await {
            open.spawn(async move {
                let mut there = tokio::net::TcpStream::connect(address).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
    let url = format!("unix:{}", path.display());
    let sidecar = RunningSidecar::start(&mesh(&[("only", &url)], UNHURRIED)).await;
    let gateway = sidecar.gateway().await;
    let answer = gateway.call("tools/call", r#""name":"echo","arguments":{}"#).await;
    assert_eq!(answer.result()["content"][0]["text"], "hi");
    let call = server
        .recorded()
        .into_iter()
        .find(|r| r.method() == "tools/call")
        .unwrap();
    assert_eq!((&*call.path, call.header("host")), ("/mcp", Some("localhost")));
    passing.abort();
}

#[tokio::test]
async fn a_gateway_that_asks_while_the_server_starts_hears_its_first_answer_and_no_call_is_guessed_at() {
    let list =
        r#"{"jsonrpc":"2.0","id":$ID,"result":{"tools":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"}}"#;
    let server = ScriptedServer::modern()
        .on("tools/list", move |_| {
            Answer::stream([Step::Until("go".to_owned()), Step::message(list)])
        })
        .start()
        .await;
    let snapshot = compiled(&mesh(&[("only", &server.url())], UNHURRIED));
    let named = [id(GATEWAY)].into_iter().collect();
    let (sidecar, _) = RunningSidecar::begin(&snapshot, authority(), named, SupervisorProgram::default());
    let gateway = sidecar.gateway().await;
    let early = gateway
        .call("tools/call", r#""name":"echo","arguments":{}"#)
        .await
        .json();
    let refusal = &early["error"]["data"]["dev.meshgate/refusal"];
    assert_eq!(
        (&refusal["reason"], &refusal["executed"]),
        (&json!("server_away"), &json!("no"))
    );
    let go = async {
        let headers = [("content-type", "application/json")];
        meshgate_testkit::raw::post(
            server.address(),
            "/mcp",
            &headers,
            br#"{"jsonrpc":"2.0","method":"go"}"#,
        )
        .await
    };
    let (discover, _) = tokio::join!(gateway.call_as(&context::Caller::Gateway, "server/discover", ""), go);
    assert_eq!(discover.result()["capabilities"]["tools"]["listChanged"], true);
}

#[tokio::test]
async fn a_gateway_sees_the_whole_server_as_it_is_and_calls_for_itself_nothing() {
    let server = ScriptedServer::modern()
        .capabilities(r#"{"tools":{"listChanged":true},"prompts":{},"experimental":{"x":{}}}"#)
        .on("prompts/list", |_| {
            Answer::result(r#"{"prompts":[{"name":"p"}],"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#)
        })
        .tool("shown", HI)
        .tool("hidden", HI)
        .start()
        .await;
    let view = "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only, tools: {hide: [hidden]}}]}";
    let sidecar = RunningSidecar::start(&mesh(&[("only", &server.url())], view)).await;
    let gateway = sidecar.gateway().await;
    let own = context::Caller::Gateway;
    let discover = gateway.call_as(&own, "server/discover", "").await.result();
    assert_eq!(discover["capabilities"]["experimental"], json!({"x": {}}));
    assert_eq!(
        discover["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "scripted"
    );
    let tools = gateway.call_as(&own, "tools/list", "").await.result();
    assert_eq!(names(&tools, "tools", "name"), ["hidden", "shown"]);
    let prompts = gateway.call_as(&own, "prompts/list", "").await.result();
    assert_eq!(names(&prompts, "prompts", "name"), ["p"]);
    let before = calls(&server);
    for (method, params) in [
        ("tools/call", r#""name":"shown""#),
        ("prompts/get", r#""name":"p""#),
        ("tasks/get", r#""taskId":"t""#),
        ("x/unknown", ""),
    ] {
        let answer = gateway.call_as(&own, method, params).await;
        answer.refused(method, "forbidden", "mesh/own");
    }
    assert_eq!(calls(&server), before);
    let shown = gateway.call("tools/list", "").await.result();
    assert_eq!(
        names(&shown, "tools", "name"),
        ["shown"],
        "a caller's list is decided here again"
    );
}

#[tokio::test]
async fn a102_d24_a_gateway_that_decides_nothing_still_gets_a_refusal_and_the_server_hears_nothing() {
    let server = ScriptedServer::modern()
        .tool("shown", HI)
        .tool("hidden", HI)
        .start()
        .await;
    let more = documents(&[
        "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only, tools: {hide: [hidden], rename: {shown: seen}}}]}",
        "kind: View\nmetadata: {name: empty}\nspec: {servers: []}",
        "kind: View\nmetadata: {name: narrow}\nspec: {servers: [{name: only, tools: {allow: []}}]}",
        "kind: Application\nmetadata: {name: local}\nspec: {views: [default, empty, narrow], tokens: [{environment: UNSET_1}]}",
        "kind: Application\nmetadata: {name: other}\nspec: {views: [narrow, empty], tokens: [{environment: UNSET_2}]}",
        "kind: Application\nmetadata: {name: nobody}\nspec: {views: [], tokens: [{environment: UNSET_3}]}",
    ]);
    let sidecar = RunningSidecar::start(&mesh(&[("only", &server.url())], &more)).await;
    let gateway = sidecar.gateway().await;
    let call = |who: context::Caller, tool: &'static str| {
        let gateway = &gateway;
        async move {
            let params = format!(r#""name":"{tool}","arguments":{{}}"#);
            gateway.call_as(&who, "tools/call", &params).await
        }
    };
    assert_eq!(call(local(), "shown").await.result()["content"][0]["text"], "hi");
    let before = calls(&server);
    // Tools: the one that is hidden, the one that there is none of, and the name of the view instead of the server's.
    let unknown = |answer: &Told| answer.json()["error"]["message"].as_str().unwrap().to_owned();
    for tool in ["hidden", "missing", "seen"] {
        let answer = call(local(), tool).await;
        answer.refused(tool, "invalid_params", "");
        assert_eq!(unknown(&answer), format!("unknown tool: {tool}"));
    }
    call(caller("other", "narrow"), "shown")
        .await
        .refused("narrow", "invalid_params", "");
    // Applications and views: what is unknown, what does not show the server and what is forbidden look the same.
    let mut told = Vec::new();
    for (application, view) in [
        ("stranger", "default"),
        ("local", "missing"),
        ("local", "empty"),
        ("other", "default"),
        ("other", "empty"),
        ("nobody", "default"),
        ("local", "../default"),
        ("local", "default/"),
        ("Local", "default"),
        ("(anonymous)", "default"),
    ] {
        let answer = call(caller(application, view), "shown").await;
        answer.refused(&format!("{application} at {view}"), "forbidden", "mesh/view");
        assert_eq!(answer.status, 403);
        told.push(answer.json()["error"].clone());
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(calls(&server), before, "nothing has reached the server");
}

#[tokio::test]
async fn states_and_task_ids_pass_as_their_server_made_them() {
    let asks = r#"{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}}},"requestState":"st\u0061te-of-the-server"}"#;
    let task = r#"{"resultType":"task","taskId":"task-1","status":"working","ttlMs":null,"pollIntervalMs":10}"#;
    let server = ScriptedServer::modern()
        .capabilities(r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#)
        .tool_as(
            "ask",
            r#"{"name":"ask","inputSchema":{"type":"object"}}"#,
            move |call| {
                Answer::result(if call.text().contains("inputResponses") {
                    HI
                } else {
                    asks
                })
            },
        )
        .tool("long", task)
        .on("tasks/get", |_| {
            Answer::result(r#"{"resultType":"complete","taskId":"task-1","status":"completed"}"#)
        })
        .start()
        .await;
    let sidecar = RunningSidecar::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let gateway = sidecar.gateway().await;
    let can = META.replace(
        r#"clientCapabilities":{}"#,
        r#"clientCapabilities":{"elicitation":{"form":{}},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
    );
    let first = gateway
        .call("tools/call", &format!(r#""name":"ask","arguments":{{}},{can}"#))
        .await;
    assert!(
        first.text().contains(r#""requestState":"st\u0061te-of-the-server""#),
        "{}",
        first.text()
    );
    let again = format!(
        r#""name":"ask","arguments":{{}},"requestState":"st\u0061te-of-the-server","inputResponses":{{"a":{{"action":"accept","content":{{}}}}}},{can}"#
    );
    assert_eq!(
        gateway.call("tools/call", &again).await.result()["content"][0]["text"],
        "hi"
    );
    let retry = server
        .recorded()
        .into_iter()
        .rfind(|r| r.method() == "tools/call")
        .unwrap();
    assert!(
        retry.text().contains(r#""requestState":"st\u0061te-of-the-server""#),
        "{}",
        retry.text()
    );
    let stateless = format!(r#""name":"ask","arguments":{{}},"inputResponses":{{}},{can}"#);
    assert_eq!(
        gateway.call("tools/call", &stateless).await.result()["content"][0]["text"],
        "hi"
    );
    let long = gateway
        .call("tools/call", &format!(r#""name":"long","arguments":{{}},{can}"#))
        .await;
    assert_eq!(long.result()["taskId"], "task-1");
    let got = gateway.call("tasks/get", &format!(r#""taskId":"task-1",{can}"#)).await;
    assert_eq!(got.result()["status"], "completed");
}

#[tokio::test]
async fn a_legacy_server_that_asks_is_parked_beside_it_and_only_its_caller_goes_on() {
    let server = asks_once("elicitation/create", FORM).start().await;
    let sidecar = RunningSidecar::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let gateway = sidecar.gateway().await;
    let ann = |groups: &[&str]| context::Caller::Application {
        application: "local".to_owned(),
        user: Some("ann".to_owned()),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        scopes: Vec::new(),
        view: "default".to_owned(),
    };
    let ask = |who: context::Caller, more: String| {
        let gateway = &gateway;
        async move {
            let params = common::parked::call(r#"{"elicitation":{"form":{}}}"#, &more);
            gateway.call_as(&who, "tools/call", &params).await
        }
    };
    let asked = ask(ann(&["finance"]), String::new()).await;
    let asked = asked.json()["result"].clone();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let key = asked["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let more = format!(
        r#","requestState":{},"inputResponses":{{"{key}":{{"action":"accept","content":{{}}}}}}"#,
        asked["requestState"]
    );
    let stranger = ask(local(), more.clone()).await.json();
    let refusal = &stranger["error"]["data"]["dev.meshgate/refusal"];
    assert_eq!(
        (&refusal["reason"], &refusal["executed"]),
        (&json!("parked_call_gone"), &json!("unknown"))
    );
    // The same person, whose groups have changed meanwhile.
    let done = ask(ann(&[]), more).await.json();
    assert_eq!(done["result"]["content"][0]["text"], "done", "{done}");
}

#[tokio::test]
async fn arguments_are_checked_here_and_what_breaks_the_schema_does_not_reach_the_server() {
    let definition =
        r#"{"name":"strict","inputSchema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}"#;
    let server = ScriptedServer::modern()
        .tool_as("strict", definition, |_| Answer::result(HI))
        .start()
        .await;
    let yaml = mesh_with(
        "",
        &[("only", &server.url(), ", validation: {arguments: enforce}")],
        UNHURRIED,
    );
    let sidecar = RunningSidecar::start(&yaml).await;
    let gateway = sidecar.gateway().await;
    let wrong = gateway
        .call("tools/call", r#""name":"strict","arguments":{"n":"x"}"#)
        .await;
    assert_eq!(wrong.result()["isError"], true);
    assert!(wrong.result().get("_meta").is_none(), "the gateway puts its name on it");
    assert_eq!(calls(&server), 0);
    let right = gateway
        .call("tools/call", r#""name":"strict","arguments":{"n":1}"#)
        .await;
    assert_eq!(right.result()["content"][0]["text"], "hi");
}

#[tokio::test]
async fn what_a_sidecar_refuses_no_server_can_say() {
    let forged = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32001,"message":"no","data":{"dev.meshgate/refusal":{"by":"sidecar","reason":"forbidden","executed":"no"},"dev.meshgate\/refusal":{"by":"gateway"},"kept":1}}}"#;
    let server = ScriptedServer::modern()
        .tool_as(
            "forge",
            r#"{"name":"forge","inputSchema":{"type":"object"}}"#,
            move |_| Answer::json(forged).header("meshgate-refused", "1"),
        )
        .tool_as("breaks", r#"{"name":"breaks","inputSchema":{"type":"object"}}"#, |_| {
            let notice =
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#;
            Answer::stream([Step::message(notice)])
        })
        .start()
        .await;
    let sidecar = RunningSidecar::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let gateway = sidecar.gateway().await;
    let answer = gateway.call("tools/call", r#""name":"forge","arguments":{}"#).await;
    assert!(!answer.headers.contains_key("meshgate-refused"));
    assert_eq!(answer.json()["error"]["data"], json!({"kept": 1}));
    let meta = META.replace(r#""_meta":{"#, r#""_meta":{"progressToken":"p","#);
    let broken = gateway
        .call("tools/call", &format!(r#""name":"breaks","arguments":{{}},{meta}"#))
        .await;
    let events: Vec<_> = broken
        .text()
        .lines()
        .filter_map(|l| l.strip_prefix("event: ").map(str::to_owned))
        .collect();
    assert_eq!(events, ["message", "refused"], "{}", broken.text());
    let refusal = &broken.json()["error"]["data"]["dev.meshgate/refusal"];
    assert_eq!(
        (&refusal["by"], &refusal["executed"]),
        (&json!("server"), &json!("unknown"))
    );
}

#[tokio::test]
async fn a_sidecar_has_one_path_one_verb_and_no_legacy_face() {
    let server = ScriptedServer::modern().tool("echo", HI).start().await;
    let sidecar = RunningSidecar::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let gateway = sidecar.gateway().await;
    let context = gateway.context(&local());
    let sound = Ask::new("7", "tools/call", r#""name":"echo","arguments":{}"#).context(&context);
    let bent = |bend: &dyn Fn(&mut Ask)| {
        let mut ask = sound.clone();
        bend(&mut ask);
        ask
    };
    let legacy = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"}}"#;
    for (case, ask, reason, status) in [
        ("path", bent(&|a| a.path = "/"), "not_found", 404),
        ("view", bent(&|a| a.path = "/views/default/mcp"), "not_found", 404),
        ("query", bent(&|a| a.path = "/mcp?x=1"), "not_found", 404),
        ("get", bent(&|a| a.verb = "GET"), "method_not_allowed", 405),
        ("delete", bent(&|a| a.verb = "DELETE"), "method_not_allowed", 405),
        ("legacy", bent(&|a| a.body = legacy.to_vec()), "invalid_meta", 400),
        (
            "batch",
            bent(&|a| a.body = [b"[", &a.body[..], b"]"].concat()),
            "invalid_request",
            400,
        ),
        ("no json", bent(&|a| a.body = b"{".to_vec()), "parse", 400),
        (
            "response",
            bent(&|a| a.body = br#"{"jsonrpc":"2.0","id":7,"result":{}}"#.to_vec()),
            "invalid_request",
            400,
        ),
        (
            "two names",
            sound.clone().and("mcp-name", "echo"),
            "header_mismatch",
            400,
        ),
        ("underscore", sound.clone().and("x_user", "a"), "invalid_request", 400),
    ] {
        let answer = gateway.send(ask).await.unwrap();
        assert_eq!(answer.status, status, "{case}: {}", answer.text());
        let refusal = answer.json()["error"]["data"]["dev.meshgate/refusal"].clone();
        assert_eq!(
            (&refusal["by"], &refusal["reason"]),
            (&json!("sidecar"), &json!(reason)),
            "{case}"
        );
    }
    assert_eq!(calls(&server), 0);
    assert_eq!(gateway.send(sound).await.unwrap().result()["content"][0]["text"], "hi");
}

#[tokio::test]
async fn a_record_says_which_hop_who_both_ends_are_and_goes_on_with_the_trace() {
    let server = ScriptedServer::modern().tool("echo", HI).start().await;
    let sidecar = RunningSidecar::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let gateway = sidecar.gateway().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let meta = META.replace(
        r#""_meta":{"#,
        &format!(r#""_meta":{{"traceparent":"00-{trace}-b7ad6b7169203331-01","#),
    );
    let person = context::Caller::Application {
        application: "local".to_owned(),
        user: Some("ann".to_owned()),
        groups: Vec::new(),
        scopes: Vec::new(),
        view: "default".to_owned(),
    };
    let answer = gateway
        .call_as(
            &person,
            "tools/call",
            &format!(r#""name":"echo","arguments":{{}},{meta}"#),
        )
        .await;
    assert_eq!(answer.status, 200);
    gateway.call_as(&caller("stranger", "default"), "tools/list", "").await;
    let lines = sidecar.lines(2).await;
    let call = &lines[0];
    assert_eq!(
        [
            &call["hop"],
            &call["identity"],
            &call["peerIdentity"],
            &call["traceId"],
            &call["user"]
        ],
        [
            "sidecar",
            "spiffe://test.mesh/server/only/v1",
            "spiffe://test.mesh/gateway/main",
            trace,
            "ann"
        ]
    );
    assert_eq!(
        (&call["view"], &call["application"]),
        (&json!("default"), &json!("local"))
    );
    assert_eq!(
        (&call["tool"], &call["summary"], &call["revision"]),
        (&json!("echo"), &json!("ok"), &json!(0))
    );
    let refused = &lines[1];
    assert_eq!(
        (&refused["refusedBy"], &refused["rule"], &refused["peerIdentity"]),
        (
            &json!("sidecar"),
            &json!("mesh/view"),
            &json!("spiffe://test.mesh/gateway/main")
        )
    );
}
