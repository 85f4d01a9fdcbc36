//! Machines of their own, as far as the network goes: namespaces that reach each other over one bridge.
//!
//! On one loopback a part could reach what it should not, and nobody would notice. Here each part has an address of its own, and
//! what it is not told it cannot find.

use std::{
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
    for server in ["documents", "projects"] {
        let era = if server == "documents" { "modern" } else { "legacy" };
        let own = stage
            .programs
            .join(format!("corpassist-{server}"))
            .display()
            .to_string();
        let database = format!("{server}.sqlite");
        let command = ["--", &own, "--database", &database, "--era", era];
        run.part(
            server,
            &format!("server/{server}/v1"),
            &["sidecar", "--server", server],
            &command,
        )?;
    }
    run.part("gateway", "gateway/main", &["gateway", "--name", "main"], &[])?;
    let answer = run.called()?;
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
        "the caller at {} was answered over five addresses: {answer}",
        address("caller")
    ))
}

impl Run<'_> {
    /// A certificate of the edge, for a name that only the caller resolves.
    fn certificate(&self) -> Result<(), Failure> {
        let file = |name: &str| self.scene.folder.join(name).display().to_string();
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
        quietly("openssl", &words)
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
        let log = self.stage.place.log(&format!("{}-{machine}", self.stage.name));
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
