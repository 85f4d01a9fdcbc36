//! `up` as a mesh: every part in one process, real mTLS in between, and the file as the source of truth.

use std::time::{Duration, Instant};

use meshgate_testkit::{StdioScript, StdioServer};
use serde_json::Value;

use super::up::Up;
use super::{Ended, Place};

pub(crate) const UP: [&str; 6] = [
    "up",
    "--mesh",
    "--control-address",
    "127.0.0.1:0",
    "--api-address",
    "127.0.0.1:0",
];
const TOOL: &str = r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[{"name":"add","description":"Adds.","inputSchema":{"type":"object"}}]}"#;
const SUM: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"forty-two"}]}"#;

/// A server that adds.
pub(crate) fn adder() -> StdioServer {
    StdioScript::modern(r#"{"tools":{}}"#)
        .result("tools/list", TOOL)
        .result("tools/call add", SUM)
        .write()
}

/// A mesh file with a server of that name for each program, and the records of both hops in `records.jsonl`.
pub(crate) fn mesh_of(servers: &[(&str, &StdioServer)]) -> String {
    let mut text = "apiVersion: meshgate.dev/v1alpha1\nkind: Mesh\nmetadata: {name: test}\nspec: {accessLog: {file: records.jsonl}}\n---\n\
        apiVersion: meshgate.dev/v1alpha1\nkind: Gateway\nmetadata: {name: edge}\nspec: {listeners: [{address: \"127.0.0.1:0\"}]}\n"
        .to_owned();
    for (name, server) in servers {
        let args = serde_json::to_string(&server.args).unwrap();
        text.push_str(&format!(
            "---\napiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {{name: {name}}}\nspec: {{stdio: {{command: {}, args: {args}}}}}\n",
            server.command
        ));
    }
    text
}

/// A mesh that runs.
pub(crate) fn up(text: &str) -> Up {
    let place = Place::new();
    place.file("mesh.yaml", text);
    Up::start_args(place, &UP)
}

pub(crate) fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{}{}", ended.out, ended.err))
}

/// Runs a command until it ends as wanted.
pub(crate) fn until(up: &Up, args: &[&str], wanted: impl Fn(&Ended) -> bool) -> Ended {
    up.place.until(args, wanted)
}

/// The proxies of the mesh, once all are up and serve the newest revision.
pub(crate) fn proxies(up: &Up) -> Vec<Value> {
    let settled = |ended: &Ended| {
        let status = json(ended);
        let proxies = status["controlPlane"]["proxies"].as_array().unwrap();
        proxies
            .iter()
            .all(|proxy| proxy["current"] == true && proxy["state"] == "up")
    };
    let status = json(&until(up, &["status", "-o", "json"], settled));
    // What a sidecar has read reaches the gateway's lists a moment later.
    until(up, &["tools"], |ended| ended.out.contains("add"));
    status["controlPlane"]["proxies"].as_array().unwrap().clone()
}

#[test]
fn a_call_passes_two_hops_and_both_tell_of_it_with_one_trace() {
    let server = adder();
    let up = up(&mesh_of(&[("ledger", &server)]));
    let proxies = proxies(&up);
    let names: Vec<&str> = proxies
        .iter()
        .map(|proxy| proxy["identity"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["spiffe://test.mesh/gateway/edge", "spiffe://test.mesh/server/ledger/v1"]
    );
    let called = up.place.run(&["call", "add"]);
    assert_eq!((called.code, called.out.trim()), (0, "forty-two"), "{}", called.err);

    let records = up.place.path().join("records.jsonl");
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&records).unwrap_or_default();
        let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
        records.filter(|record: &Value| record["tool"] == "add").collect()
    };
    let latest = Instant::now() + Duration::from_secs(10);
    while lines().len() < 2 {
        assert!(Instant::now() < latest, "only {:?}", lines());
        std::thread::sleep(Duration::from_millis(50));
    }
    let lines = lines();
    let of = |hop: &str| lines.iter().find(|record| record["hop"] == hop).unwrap();
    let (gateway, sidecar) = (of("gateway"), of("sidecar"));
    assert_eq!(gateway["traceId"], sidecar["traceId"]);
    assert_eq!(gateway["identity"], names[0]);
    assert_eq!(sidecar["identity"], names[1]);
    assert_eq!(sidecar["peerIdentity"], names[0]);
    assert_eq!(server.received("tools/call").len(), 1, "it ran once");
}

#[test]
fn the_gateway_tells_how_each_sidecar_is_and_everyone_what_it_counts() {
    let server = adder();
    let up = up(&mesh_of(&[("ledger", &server)]));
    proxies(&up);
    assert_eq!(up.place.run(&["call", "add"]).code, 0);
    let status = up.status();
    let endpoints = &status["servers"][0]["endpoints"];
    let address = status["controlPlane"]["proxies"][1]["address"].as_str().unwrap();
    assert_eq!(endpoints.as_array().unwrap().len(), 1, "{endpoints}");
    assert_eq!(
        (
            &endpoints[0]["state"],
            &endpoints[0]["version"],
            &endpoints[0]["address"]
        ),
        (&"up".into(), &"v1".into(), &address.into())
    );
    assert_eq!(endpoints[0]["connections"], 1, "{endpoints}");
    let shown = up.place.run(&["status"]).out;
    assert!(shown.contains("ENDPOINT") && shown.contains(address), "{shown}");
    // What passed two hops is counted at each, and told apart.
    let latest = Instant::now() + Duration::from_secs(10);
    let calls = loop {
        let metrics = up.admin("/metrics");
        let calls = |line: &&str| line.starts_with("meshgate_calls_total") && line.contains("target=\"add\"");
        let calls: Vec<String> = metrics.lines().filter(calls).map(str::to_owned).collect();
        assert_eq!(metrics.matches("# TYPE meshgate_calls counter").count(), 1);
        assert!(metrics.trim_end().ends_with("# EOF"), "{metrics}");
        if calls.len() == 2 {
            break calls;
        }
        assert!(Instant::now() < latest, "{calls:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let of_sidecar = calls.iter().filter(|line| line.contains("{sidecar=\"ledger/v1\","));
    assert_eq!(of_sidecar.count(), 1, "{calls:?}");
}

#[test]
fn a_state_directory_may_lie_deep_and_a_server_have_the_longest_name() {
    let server = adder();
    let place = Place::with_state(&format!("{}/{}", "deep".repeat(40), "deeper".repeat(20)));
    let name = "l".repeat(63);
    let text = mesh_of(&[(&name, &server)]).replace("spec: {stdio:", "spec: {alias: ledger, stdio:");
    place.file("mesh.yaml", &text);
    let mut up = Up::start_args(place, &UP);
    proxies(&up);
    assert_eq!(up.status()["servers"][0]["name"], name);
    assert_eq!(up.place.run(&["call", "add"]).code, 0);
    up.signal("-TERM");
    assert_eq!(up.end(), 0);
    assert!(!up.place.state().join("admin.sock").exists());
}

#[test]
fn a_new_server_in_the_file_gets_a_sidecar_and_the_answer_says_who_serves_it() {
    let (first, second) = (adder(), adder());
    let up = up(&mesh_of(&[("ledger", &first)]));
    proxies(&up);
    up.place
        .file("mesh.yaml", &mesh_of(&[("ledger", &first), ("other", &second)]));
    let reloaded = json(&until(&up, &["reload", "-o", "json"], |ended| {
        json(ended)["outcome"] != "refused"
    }));
    assert!(
        matches!(reloaded["outcome"].as_str(), Some("applied" | "unchanged")),
        "{reloaded}"
    );
    let all = proxies(&up);
    assert_eq!(all.len(), 3, "{all:?}");
    let tools = until(&up, &["tools"], |ended| ended.out.contains("other__add"));
    assert!(tools.out.contains("ledger__add"), "{}", tools.out);
    up.place.file("mesh.yaml", &mesh_of(&[("ledger", &first)]));
    until(&up, &["tools"], |ended| !ended.out.contains("other"));
}

#[test]
fn a_bad_file_is_refused_with_its_place_and_the_mesh_serves_on() {
    let server = adder();
    let text = mesh_of(&[("ledger", &server)]);
    let up = up(&text);
    let before = proxies(&up);
    up.place.file("mesh.yaml", &text.replace("stdio:", "stdoi:"));
    let refused = until(&up, &["reload"], |ended| ended.code == 1);
    assert!(
        refused.out.contains("MG0003") && refused.out.contains("mesh.yaml:") && refused.out.contains("help:"),
        "{}",
        refused.out
    );
    assert_eq!(proxies(&up)[0]["revision"], before[0]["revision"]);
    assert_eq!(up.place.run(&["call", "add"]).code, 0);
}

#[test]
fn a_restart_needs_no_token_and_keeps_every_identity() {
    let server = adder();
    let place = Place::new();
    place.file("mesh.yaml", &mesh_of(&[("ledger", &server)]));
    let mut first = Up::start_args(place, &UP);
    proxies(&first);
    first.signal("-TERM");
    assert_eq!(first.end(), 0);
    let serial = |up: &Up| std::fs::read(up.place.state().join("gateway/svid.pem")).unwrap();
    let before = serial(&first);
    let again = first.again(&UP);
    proxies(&again);
    assert_eq!(serial(&again), before, "the certificate is the one of before");
    assert_eq!(again.place.run(&["call", "add"]).code, 0);
}

#[test]
fn without_a_sidecar_there_is_no_mesh() {
    let up = Up::start(&super::away_mesh());
    assert!(up.status()["controlPlane"].is_null());
    assert!(!up.place.state().join("control").exists());
    let ended = up.place.run(&["get"]);
    assert_eq!(ended.code, 69, "{}", ended.err);
    assert!(
        ended.err.contains("no control plane has run") && ended.err.contains("meshgate up --mesh"),
        "{}",
        ended.err
    );
}
