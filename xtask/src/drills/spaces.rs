//! Machines of their own, as far as the network goes: namespaces that reach each other over one bridge.
//!
//! On one loopback a part could reach what it should not, and nobody would notice. Here each part has an address of its own, and
//! what it is not told it cannot find.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Found,
    scene::{Scene, Stage, TOKEN, mesh_at, quietly},
};
use crate::{
    Failure,
    command::{self, Running},
};

/// The machines: each with the last number of its address.
const MACHINES: [(&str, u8); 5] = [
    ("control", 1),
    ("gateway", 2),
    ("documents", 3),
    ("projects", 4),
    ("caller", 5),
];
const BRIDGE_SPACE: &str = "switch";
/// Where the server listens that its sidecar does not start.
const LISTENING: &str = "127.0.0.1:9000";
/// Where a sidecar listens unless it is told.
const SIDECAR_PORT: u16 = 7320;
/// The host name of the gateway, as the caller knows it.
const EDGE: &str = "mcp.corp.test";
const READY_MAX: Duration = Duration::from_secs(60);

/// Namespaces and the bridge between them; they go with this.
pub(super) struct Spaces {
    tag: String,
}

impl Spaces {
    /// Makes them. Their names hold the number of this process, so that two runs do not meet.
    pub(super) fn new() -> Result<Self, Failure> {
        let spaces = Self {
            tag: format!("mg{}", std::process::id()),
        };
        let switch = spaces.space(BRIDGE_SPACE);
        quietly("ip", &["netns", "add", &switch])?;
        quietly("ip", &["-n", &switch, "link", "add", "br0", "type", "bridge"])?;
        quietly("ip", &["-n", &switch, "link", "set", "br0", "up"])?;
        for (name, number) in MACHINES {
            let (space, cable) = (spaces.space(name), format!("v{number}"));
            quietly("ip", &["netns", "add", &space])?;
            quietly(
                "ip",
                &[
                    "-n", &switch, "link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &space,
                ],
            )?;
            quietly("ip", &["-n", &switch, "link", "set", &cable, "master", "br0", "up"])?;
            quietly(
                "ip",
                &[
                    "-n",
                    &space,
                    "addr",
                    "add",
                    &format!("{}/24", address(name)),
                    "dev",
                    "eth0",
                ],
            )?;
            quietly("ip", &["-n", &space, "link", "set", "eth0", "up"])?;
            quietly("ip", &["-n", &space, "link", "set", "lo", "up"])?;
        }
        Ok(spaces)
    }

    fn space(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// The same program on one of these machines.
    pub(super) fn on(&self, machine: &str, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside
            .args(["netns", "exec", &self.space(machine)])
            .arg(command.get_program())
            .args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            inside.current_dir(directory);
        }
        inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inside.stdin(std::process::Stdio::null());
        inside
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        let machines = MACHINES.iter().map(|(name, _)| *name).chain([BRIDGE_SPACE]);
        for name in machines {
            // What cannot be removed is gone with the machine.
            let _ = quietly("ip", &["netns", "delete", &self.space(name)]);
        }
    }
}

/// The address of a machine.
fn address(machine: &str) -> String {
    let number = MACHINES
        .iter()
        .find(|(name, _)| *name == machine)
        .map_or(0, |(_, number)| *number);
    format!("10.77.0.{number}")
}

/// One run: who is started where.
struct Run<'a> {
    stage: &'a Stage<'a>,
    spaces: &'a Spaces,
    scene: Scene<'a>,
    running: Vec<Running>,
}

/// The drill: five machines, and a caller on the fifth.
pub(super) fn drill(stage: &Stage<'_>, spaces: &Spaces) -> Found {
    let mut run = Run {
        stage,
        spaces,
        scene: Scene::new(stage)?,
        running: Vec::new(),
    };
    run.certificate()?;
    run.control()?;
    run.post(
        "/v1/apply",
        &json!({ "sources": [{ "name": "/etc/mesh.yaml", "text": run.mesh() }] }),
    )?;
    let own = stage.programs.join("corpassist-documents").display().to_string();
    let started = ["--", &own, "--database", "documents.sqlite", "--era", "modern"];
    run.sidecar("documents", &started)?;
    // The other one is there already when its sidecar comes, and listens.
    let mut listening = run.scene.program("corpassist-projects")?;
    listening.args(["--database", "projects.sqlite", "--era", "legacy", "--http", LISTENING]);
    run.start("projects", &listening)?;
    run.sidecar("projects", &["--upstream", &format!("http://{LISTENING}/mcp")])?;
    run.part("gateway", "gateway/main", &["gateway", "--name", "main"], &[])?;
    let answer = run.called()?;
    let tries = a103_a_server_has_no_door_for_another_machine(&run)?;
    let mut curl = Command::new("curl");
    curl.args([
        "-s",
        "-m",
        "3",
        &format!("http://{}:7311/v1/status", address("control")),
    ]);
    if command::output(&mut spaces.on("caller", &curl)).is_ok() {
        return Err("the admin API answers another machine".into());
    }
    Ok(format!(
        "the caller at {} was answered over five addresses: {answer}; {tries} ways from other machines to the servers \
         themselves and past the certificates of their sidecars led nowhere",
        address("caller")
    ))
}

/// How often a sidecar is asked by one that it refuses: one of two answers was lost when they were sent too soon.
const ASKED_TIMES: usize = 12;

/// What machines that are not a server's can reach of it: the port of its sidecar alone, and that answers no part of the
/// mesh that is no gateway, and nobody else. How many ways were tried.
fn a103_a_server_has_no_door_for_another_machine(run: &Run<'_>) -> Result<usize, Failure> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#;
    let ask = |from: &str, url: &str, more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "-m", "5", "-H", "Content-Type: application/json"])
            .args(["-H", "Accept: application/json, text/event-stream", "--data", body])
            .args(more)
            .arg(url);
        command::output(&mut run.spaces.on(from, &curl))
    };
    // Where the server is, it answers; so what is refused elsewhere is refused for being elsewhere.
    let own = format!("http://{LISTENING}/mcp");
    ask("projects", &own, &[]).map_err(|why| format!("the server does not answer on its own machine: {why}"))?;
    // So does the sidecar to a gateway, which shows that it is not this client that is refused.
    let proof = |part: &str| run.scene.folder.join(part).join("svid.pem").display().to_string();
    let door = format!("https://{}:{SIDECAR_PORT}/mcp", address("projects"));
    // Many times, because what it says is lost on this client when its stream ends while it is still sending.
    for _ in 0..ASKED_TIMES {
        ask("gateway", &door, &["--cert", &proof("gateway")])
            .map_err(|why| format!("the sidecar does not answer its gateway: {why}"))?;
    }
    let port = LISTENING.rsplit(':').next().unwrap_or_default();
    let mut tries = 0;
    for server in ["documents", "projects"] {
        let doors = beyond_loopback(run.spaces, server)?;
        if doors.len() != 1 || !doors.iter().all(|door| door.ends_with(&format!(":{SIDECAR_PORT}"))) {
            return Err(format!(
                "the machine of {server} listens beyond its loopback at {doors:?}"
            ));
        }
        let at = address(server);
        for (from, _) in MACHINES.iter().filter(|(from, _)| *from != server) {
            let stolen = proof("documents");
            for (url, more) in [
                (format!("http://{at}:{port}/mcp"), &[][..]),
                (own.clone(), &[]),
                (format!("http://{at}:{SIDECAR_PORT}/mcp"), &[]),
                (format!("https://{at}:{SIDECAR_PORT}/mcp"), &[]),
                (format!("https://{at}:{SIDECAR_PORT}/mcp"), &["--cert", &stolen]),
            ] {
                // Its own loopback is where the server of `projects` is, and of nobody else.
                if *from == "projects" && url == own {
                    continue;
                }
                if let Ok(answer) = ask(from, &url, more) {
                    return Err(format!("{url} {more:?} answers {from}: {answer}"));
                }
                tries += 1;
            }
        }
    }
    Ok(tries)
}

/// What listens on a machine where others reach it.
fn beyond_loopback(spaces: &Spaces, machine: &str) -> Result<Vec<String>, Failure> {
    let mut sockets = Command::new("ss");
    sockets.args(["-Hltn"]);
    let text = command::output(&mut spaces.on(machine, &sockets))?;
    let local = text.lines().filter_map(|line| line.split_whitespace().nth(3));
    let local = local.filter(|at| !at.starts_with("127.") && !at.starts_with("[::1]"));
    Ok(local.map(str::to_owned).collect())
}

/// Makes a certificate of the edge with its key, in this folder: where the two are.
pub(super) fn edge_certificate(folder: &Path) -> Result<(String, String), Failure> {
    let file = |name: &str| folder.join(name).display().to_string();
    let name = format!("subjectAltName=DNS:{EDGE}");
    let (key, certificate) = (file("edge.key"), file("edge.pem"));
    let about = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ];
    let mut words = about.to_vec();
    words.extend([
        "-subj",
        "/CN=edge",
        "-addext",
        &name,
        "-keyout",
        &key,
        "-out",
        &certificate,
    ]);
    quietly("openssl", &words)?;
    Ok((certificate, key))
}

impl Run<'_> {
    /// A sidecar on the machine of its server, and how it reaches that.
    fn sidecar(&mut self, server: &str, reach: &[&str]) -> Result<(), Failure> {
        self.part(
            server,
            &format!("server/{server}/v1"),
            &["sidecar", "--server", server],
            reach,
        )
    }

    /// A certificate of the edge, for a name that only the caller resolves.
    fn certificate(&self) -> Result<(), Failure> {
        edge_certificate(&self.scene.folder).map(drop)
    }

    fn mesh(&self) -> String {
        let file = |name: &str| self.scene.folder.join(name).display().to_string();
        let listener = format!(
            "{{address: \"{}:7300\", hosts: [\"{EDGE}:7300\"], tls: {{certificate: \"{}\", key: \"{}\"}}}}",
            address("gateway"),
            file("edge.pem"),
            file("edge.key")
        );
        mesh_at("36h", &listener, None)
    }

    fn start(&mut self, machine: &str, command: &Command) -> Result<(), Failure> {
        let number = self.running.len();
        let log = self.stage.place.log(&format!("{}-{number}-{machine}", self.stage.name));
        self.running
            .push(Running::start(&mut self.spaces.on(machine, command), log)?);
        Ok(())
    }

    fn control(&mut self) -> Result<(), Failure> {
        let mut command = self.scene.program("meshgate")?;
        command.args(["--state", "control", "control", "--trust-domain", "corpassist.mesh"]);
        command.args(["--listen", &format!("{}:7310", address("control"))]);
        self.start("control", &command)?;
        self.wait("the control plane", |run| run.ask("GET", "/v1/status", "").is_ok())
    }

    /// Starts a part on its machine, with a token made on the control plane's. It listens where it likes and says so itself.
    fn part(&mut self, machine: &str, part: &str, words: &[&str], server: &[&str]) -> Result<(), Failure> {
        let made = self.post("/v1/join-tokens", &json!({ "part": part }))?;
        let token = made
            .get("token")
            .and_then(Value::as_str)
            .ok_or("there is no token in the answer")?;
        let file = self.scene.folder.join(format!("{machine}.join"));
        std::fs::write(&file, token).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        let mut command = self.scene.program("meshgate-proxy")?;
        command.args(["--state", machine]).args(words);
        command.args(["--control", &format!("{}:7310", address("control"))]);
        command.arg("--join-token-file").arg(file).args(server);
        self.start(machine, &command)
    }

    /// Asks the API on the control plane's own machine.
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value, Failure> {
        let token = std::fs::read_to_string(self.scene.folder.join("control/control/operator-token"));
        let token = token.map_err(|e| format!("cannot read the operator token: {e}"))?;
        let mut curl = Command::new("curl");
        curl.args(["-sf", "-m", "20", "-X", method, "-H", "Content-Type: application/json"]);
        curl.args(["-H", &format!("Authorization: Bearer {}", token.trim()), "--data", body]);
        curl.arg(format!("http://127.0.0.1:7311{path}"));
        let text = command::output(&mut self.spaces.on("control", &curl))?;
        serde_json::from_str(&text).map_err(|e| format!("{path}: {e}: {text}"))
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask("POST", path, &body.to_string())
    }

    /// Waits until a call from the caller's machine has a result of each server.
    fn called(&mut self) -> Found {
        let calls = [
            ("documents__search_documents", r#"{"query":"titan"}"#),
            ("projects__list_projects", "{}"),
        ];
        self.wait("a result of each server", |run| {
            calls.iter().all(|(tool, arguments)| run.call(tool, arguments).is_ok())
        })?;
        Ok(calls.map(|(tool, _)| tool).join(", "))
    }

    fn call(&self, tool: &str, arguments: &str) -> Result<(), Failure> {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        );
        let mut curl = Command::new("curl");
        curl.args([
            "-sf",
            "-m",
            "20",
            "--resolve",
            &format!("{EDGE}:7300:{}", address("gateway")),
        ]);
        curl.arg("--cacert").arg(self.scene.folder.join("edge.pem"));
        for header in [
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            "MCP-Protocol-Version: 2026-07-28",
            "Mcp-Method: tools/call",
            &format!("Mcp-Name: {tool}"),
            &format!("Authorization: Bearer {TOKEN}"),
        ] {
            curl.args(["-H", header]);
        }
        curl.args(["--data", &body, &format!("https://{EDGE}:7300/mcp")]);
        let text = command::output(&mut self.spaces.on("caller", &curl))?;
        let good = text.contains("\"result\"") && !text.contains("\"isError\":true");
        if good { Ok(()) } else { Err(text) }
    }

    fn wait(&self, what: &str, ready: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        let start = Instant::now();
        while start.elapsed() < READY_MAX {
            if ready(self) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let logs: Vec<String> = self.running.iter().map(|part| command::tail(part.log())).collect();
        Err(format!(
            "no sign of {what} within {} s\n{}",
            READY_MAX.as_secs(),
            logs.join("\n--\n")
        ))
    }
}
