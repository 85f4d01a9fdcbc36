//! `traces`: one call is one trace over every hop, told to a receiver of OTLP that nobody here wrote.

use std::time::Duration;

use serde_json::Value;

use crate::{Failure, command, command::Running, gateway::Gateway, http, place::Place, setup, steps::Steps};

const MESH: &str = "tests/traces/mesh.yaml";
const RECEIVER: &str = "tests/traces/receiver.py";
/// What the committed file has in the place of the receiver's address, and of the ledger.
const ADDRESS: &str = "http://127.0.0.1:4317";
const LEDGER: &str = "/srv/ledger.txt";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const START_MAX: Duration = Duration::from_secs(60);
const ARRIVE_MAX: Duration = Duration::from_secs(20);
const SERVER: u64 = 2;
const CLIENT: u64 = 3;

pub(crate) fn run(place: &Place) -> Result<(), Failure> {
    setup::venv(place, "traces", "traces/requirements.txt")?;
    let scratch = place.scratch("traces")?;
    let ledger = scratch.join("ledger.txt").to_string_lossy().into_owned();
    let mut receiver = Receiver::start(place, 0, "first")?;
    let address = format!("http://127.0.0.1:{}", receiver.port);
    let mut mesh = Gateway::start(place, "traces", MESH, &[(ADDRESS, &address), (LEDGER, &ledger)])?;
    let token = mesh.token()?;
    mesh.wait_for_tools("/mcp", Some(&token), &["append"])?;
    let authority = mesh.authority().to_owned();
    let mut steps = Steps::default();
    steps.run("a call is one trace over both hops", || {
        call(&authority, &token, "first", Some(&format!("00-{TRACE}-{CALLER}-01")))?;
        receiver.wait_for(4, TRACE)?;
        one_trace(&receiver.spans(TRACE))
    });
    steps.run("what its caller does not keep is not sent", || {
        let unkept = "1af7651916cd43dd8448eb211c80319c";
        call(&authority, &token, "unkept", Some(&format!("00-{unkept}-{CALLER}-00")))?;
        let kept = "2af7651916cd43dd8448eb211c80319c";
        call(&authority, &token, "kept", Some(&format!("00-{kept}-{CALLER}-01")))?;
        receiver.wait_for(4, kept)?;
        match receiver.spans(unkept).len() {
            0 => Ok(()),
            sent => Err(format!("{sent} spans of it were sent")),
        }
    });
    let port = receiver.port;
    drop(receiver);
    steps.run("a receiver that is away costs no call", || {
        (0..12).try_for_each(|n| call(&authority, &token, &format!("away-{n}"), None))
    });
    steps.run("spans arrive again once it is back", || {
        let mut receiver = Receiver::start(place, port, "again")?;
        let back = "3af7651916cd43dd8448eb211c80319c";
        let mut last = String::new();
        // The connection comes back in its own time; each try is a trace of its own.
        for attempt in 0..20_u8 {
            let trace = format!("{attempt:02x}{}", back.get(2..).unwrap_or_default());
            call(
                &authority,
                &token,
                &format!("back-{attempt}"),
                Some(&format!("00-{trace}-{CALLER}-01")),
            )?;
            match receiver.wait_for(4, &trace) {
                Ok(()) => return Ok(()),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    });
    mesh.end("-TERM")?;
    steps.finish()
}

fn call(authority: &str, token: &str, key: &str, traceparent: Option<&str>) -> Result<(), Failure> {
    let arguments = format!(r#"{{"key":"{key}"}}"#);
    let answer = http::call_tool_traced(authority, "/mcp", Some(token), "append", &arguments, traceparent);
    if answer.starts_with("HTTP/1.1 200") && answer.contains(key) && !answer.contains(r#""isError":true"#) {
        return Ok(());
    }
    Err(format!("`append` of `{key}` was answered with: {answer}"))
}

/// Each hop's span under the one before it, with what each must say.
fn one_trace(spans: &[Value]) -> Result<(), Failure> {
    let mut parent = CALLER.to_owned();
    for (hop, kind) in [
        ("gateway", SERVER),
        ("gateway", CLIENT),
        ("sidecar", SERVER),
        ("sidecar", CLIENT),
    ] {
        let at = |span: &&Value| span["parent"] == *parent && span["kind"] == kind;
        let what = format!(
            "the {} span of the {hop}",
            if kind == SERVER { "server" } else { "client" }
        );
        let span = spans
            .iter()
            .find(at)
            .ok_or_else(|| format!("{what} is not under `{parent}`: {spans:#?}"))?;
        let attributes = &span["attributes"];
        let wanted = [
            ("service", span["service"] == "meshgate"),
            ("name", span["name"] == "tools/call append"),
            ("mcp.method.name", attributes["mcp.method.name"] == "tools/call"),
            ("gen_ai.tool.name", attributes["gen_ai.tool.name"] == "append"),
            ("jsonrpc.request.id", attributes["jsonrpc.request.id"].is_string()),
            ("meshgate.application", attributes["meshgate.application"] == "local"),
            ("meshgate.server", attributes["meshgate.server"] == "ledger"),
            ("meshgate.hop", attributes["meshgate.hop"] == *hop),
            (
                "meshgate.identity",
                attributes["meshgate.identity"]
                    .as_str()
                    .is_some_and(|id| id.starts_with("spiffe://traces.mesh/")),
            ),
            ("meshgate.snapshot", attributes["meshgate.snapshot"].is_u64()),
            ("status", span["status"] == 0),
            (
                "a time that is more than none",
                span["nanoseconds"].as_u64().is_some_and(|n| n > 0),
            ),
        ];
        if let Some((missing, _)) = wanted.iter().find(|(_, holds)| !holds) {
            return Err(format!("{what} lacks {missing}: {span:#}"));
        }
        parent = span["span"].as_str().unwrap_or_default().to_owned();
    }
    Ok(())
}

/// The receiver. It ends with this value.
struct Receiver {
    port: u16,
    running: Running,
}

impl Receiver {
    fn start(place: &Place, port: u16, name: &str) -> Result<Self, Failure> {
        let mut command = command::program(place, place.venv("traces").join("bin/python"));
        command.arg(place.root().join(RECEIVER)).arg(port.to_string());
        let log = place.log(&format!("traces-receiver-{name}"));
        let mut running = Running::start(&mut command, log.clone())?;
        let ready = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("port"));
        running.wait_until("its port", START_MAX, ready)?;
        let first = running.written();
        let first: Value = serde_json::from_str(first.lines().next().unwrap_or_default())
            .map_err(|e| format!("the receiver said `{first}`: {e}"))?;
        let port = first
            .get("port")
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok());
        Ok(Self {
            port: port.ok_or("the receiver has no port")?,
            running,
        })
    }

    fn wait_for(&mut self, count: usize, trace: &str) -> Result<(), Failure> {
        let log = self.running.log().to_owned();
        let arrived = || of_trace(&std::fs::read_to_string(&log).unwrap_or_default(), trace).len() >= count;
        self.running
            .wait_until(&format!("{count} spans of trace {trace}"), ARRIVE_MAX, arrived)
    }

    fn spans(&self, trace: &str) -> Vec<Value> {
        of_trace(&self.running.written(), trace)
    }
}

fn of_trace(text: &str, trace: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|span| span["trace"] == *trace).collect()
}
