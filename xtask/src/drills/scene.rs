//! The mesh of one drill: its processes, their folders, addresses and clock.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Failure,
    command::{self, Running},
    http,
    place::Place,
};

/// What a call proves itself with; the mesh file has its digest.
pub(super) const TOKEN: &str = "corpassist-token-0123456789";
/// SHA-256 of it.
const TOKEN_SHA256: &str = "7417e96eb71d10ce35f2fcbfa1d628a06c57fcd22190692c368c5ab7308ab7f9";
const START_MAX: Duration = Duration::from_secs(60);
const END_MAX: Duration = Duration::from_secs(30);
const READY_MAX: Duration = Duration::from_secs(60);
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// Where drills run.
pub(super) struct Stage<'a> {
    pub(super) place: &'a Place,
    pub(super) programs: PathBuf,
    pub(super) name: String,
    /// How long calls are made where that is the point.
    pub(super) under_load: Duration,
    /// As long as it takes to believe it.
    pub(super) long: bool,
    /// Whether reports are wanted.
    pub(super) writes: bool,
}

/// The mesh of one drill. Its processes end with it.
pub(super) struct Scene<'a> {
    stage: &'a Stage<'a>,
    pub(super) folder: PathBuf,
    parts: BTreeMap<String, Running>,
    ports: BTreeMap<String, u16>,
    clock: Option<(PathBuf, PathBuf)>,
    starts: usize,
}

impl<'a> Scene<'a> {
    pub(super) fn new(stage: &'a Stage<'a>) -> Result<Self, Failure> {
        Ok(Self {
            folder: stage.place.scratch(&stage.name)?,
            stage,
            parts: BTreeMap::new(),
            ports: BTreeMap::new(),
            clock: None,
            starts: 0,
        })
    }

    /// One whose processes see a clock that can be moved.
    pub(super) fn with_clock(stage: &'a Stage<'a>) -> Result<Self, Failure> {
        let library = FAKETIME.iter().map(PathBuf::from).find(|path| path.is_file());
        let library = library.ok_or("libfaketime is not installed; `cargo xtask setup` installs it")?;
        let mut scene = Self::new(stage)?;
        let file = scene.folder.join("clock");
        scene.clock = Some((library, file));
        scene.move_clock("+0")?;
        Ok(scene)
    }

    /// Moves the clock of every process, those that run too.
    pub(super) fn move_clock(&self, by: &str) -> Result<(), Failure> {
        let Some((_, file)) = &self.clock else {
            return Err("this mesh has the clock of the machine".into());
        };
        let staged = file.with_extension("new");
        fs::write(&staged, format!("{by}\n"))
            .and_then(|()| fs::rename(&staged, file))
            .map_err(|e| format!("cannot move the clock: {e}"))
    }

    /// The port of a part, the same at every start of it.
    pub(super) fn port(&mut self, of: &str) -> Result<u16, Failure> {
        if let Some(port) = self.ports.get(of) {
            return Ok(*port);
        }
        let port = http::free_port()?;
        self.ports.insert(of.to_owned(), port);
        Ok(port)
    }

    pub(super) fn program(&self, name: &str) -> Result<Command, Failure> {
        let path = self.stage.programs.join(name);
        if !path.is_file() {
            return Err(format!(
                "`{name}` is not built; run `cargo build --release --workspace` first"
            ));
        }
        let mut command = command::program(self.stage.place, path);
        command.current_dir(&self.folder).env("MESHGATE_LOG", "info");
        if let Some((library, file)) = &self.clock {
            // The file is looked at for every question, and what waits waits by the machine's clock.
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", file)
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
        }
        Ok(command)
    }

    fn start(&mut self, name: &str, mut command: Command) -> Result<(), Failure> {
        self.starts += 1;
        let log = self
            .stage
            .place
            .log(&format!("{}-{:02}-{name}", self.stage.name, self.starts));
        self.parts.insert(name.to_owned(), Running::start(&mut command, log)?);
        Ok(())
    }

    /// What a part has written to its log.
    pub(super) fn log(&self, name: &str) -> String {
        self.parts.get(name).map(Running::written).unwrap_or_default()
    }

    /// The control plane; returns when it answers.
    pub(super) fn control(&mut self) -> Result<(), Failure> {
        let (sync, api) = (self.port("control")?, self.port("api")?);
        let mut command = self.program("meshgate")?;
        command
            .args(["--state", "control", "control", "--trust-domain", "corpassist.mesh"])
            .args([
                "--listen",
                &format!("127.0.0.1:{sync}"),
                "--api",
                &format!("127.0.0.1:{api}"),
            ]);
        self.start("control", command)?;
        self.wait("the control plane", START_MAX, |scene| {
            scene.api("GET", "/v1/status", None).is_ok()
        })
    }

    /// Applies a mesh file; it must be taken.
    pub(super) fn apply(&self, text: &str) -> Result<(), Failure> {
        let file = self.folder.join("mesh.yaml").display().to_string();
        let body = json!({ "sources": [{ "name": file, "text": text }], "replace": true, "allowShrink": true });
        let answer = self.api("POST", "/v1/apply", Some(&body))?;
        match answer.get("outcome").and_then(Value::as_str) {
            Some("applied" | "unchanged") => Ok(()),
            _ => Err(format!("the mesh file was not taken: {answer}")),
        }
    }

    /// A question to the control plane's API.
    pub(super) fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let port = self.ports.get("api").copied().unwrap_or_default();
        let token = fs::read_to_string(self.folder.join("control/control/operator-token"))
            .map_err(|e| format!("cannot read the operator token: {e}"))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let (status, text) = http::json(method, &format!("127.0.0.1:{port}"), path, token.trim(), &body)?;
        if (200..300).contains(&status) {
            Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
        } else {
            Err(format!("{method} {path}: {status} {text}"))
        }
    }

    /// A join token for a part, in a file.
    fn join(&self, name: &str, part: &str) -> Result<PathBuf, Failure> {
        let answer = self.api("POST", "/v1/join-tokens", Some(&json!({ "part": part })))?;
        let token = answer
            .get("token")
            .and_then(Value::as_str)
            .ok_or("there is no token in the answer")?;
        let file = self.folder.join(format!("{name}.join"));
        fs::write(&file, token).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        Ok(file)
    }

    /// A gateway of the name `main`, as a replica of this name; it joins at its first start.
    pub(super) fn gateway(&mut self, name: &str) -> Result<(), Failure> {
        let (listen, mesh, sync) = (
            self.port(name)?,
            self.port(&format!("{name}-mesh"))?,
            self.port("control")?,
        );
        let mut command = self.program("meshgate")?;
        command.args(["--state", name, "gateway", "--name", "main", "--workers", "1"]);
        command.args([
            "--control",
            &format!("127.0.0.1:{sync}"),
            "--listen",
            &format!("127.0.0.1:{listen}"),
        ]);
        command.args(["--mesh-listen", &format!("127.0.0.1:{mesh}")]);
        self.joining(&mut command, name, "gateway/main")?;
        self.start(name, command)
    }

    /// A sidecar beside one of CorpAssist's servers.
    pub(super) fn sidecar(&mut self, name: &str, server: &str) -> Result<(), Failure> {
        let era = if server == "documents" { "modern" } else { "legacy" };
        let database = format!("{name}.sqlite");
        let arguments = ["--database", &database, "--era", era];
        self.sidecar_with(name, server, &format!("corpassist-{server}"), &arguments)
    }

    /// A sidecar beside a program of ours, which it starts.
    pub(super) fn sidecar_with(
        &mut self,
        name: &str,
        server: &str,
        program: &str,
        arguments: &[&str],
    ) -> Result<(), Failure> {
        let (mesh, sync) = (self.port(name)?, self.port("control")?);
        let mut command = self.program("meshgate-proxy")?;
        command.args(["--state", name, "sidecar", "--server", server, "--workers", "1"]);
        command.args([
            "--control",
            &format!("127.0.0.1:{sync}"),
            "--mesh-listen",
            &format!("127.0.0.1:{mesh}"),
        ]);
        self.joining(&mut command, name, &format!("server/{server}/v1"))?;
        command.arg("--").arg(self.stage.programs.join(program)).args(arguments);
        self.start(name, command)
    }

    /// Gives a part that has not joined a token to do so.
    fn joining(&self, command: &mut Command, name: &str, part: &str) -> Result<(), Failure> {
        if !self.folder.join(name).join("svid.pem").is_file() {
            let file = self.join(name, part)?;
            command.arg("--join-token-file").arg(file);
        }
        Ok(())
    }

    /// Two replicas of the gateway and two sidecars of each server, with a control plane that knows this mesh file.
    pub(super) fn whole(&mut self, mesh: &str) -> Result<(), Failure> {
        self.control()?;
        self.apply(mesh)?;
        for (name, server) in [
            ("d1", "documents"),
            ("d2", "documents"),
            ("p1", "projects"),
            ("p2", "projects"),
        ] {
            self.sidecar(name, server)?;
        }
        self.gateway("g1")?;
        self.gateway("g2")?;
        self.ready("g1")?;
        self.ready("g2")?;
        self.all_up(6)
    }

    /// Waits until so many proxies say that they are up.
    pub(super) fn all_up(&mut self, count: usize) -> Result<(), Failure> {
        self.wait("every proxy that is up", READY_MAX, |scene| {
            let up = scene.proxies();
            up.iter().filter(|proxy| field(proxy, "state") == "up").count() == count
        })
    }

    /// Waits until a gateway shows the tools of both servers.
    pub(super) fn ready(&mut self, gateway: &str) -> Result<(), Failure> {
        self.ready_with(gateway, &["documents__search_documents", "projects__list_projects"])
    }

    /// Waits until a gateway shows these tools.
    pub(super) fn ready_with(&mut self, gateway: &str, tools: &[&str]) -> Result<(), Failure> {
        let authority = self.authority(gateway)?;
        self.wait(&format!("tools at {gateway}"), READY_MAX, |_| {
            let list = http::list_tools(&authority, "/mcp", Some(TOKEN));
            tools.iter().all(|tool| list.contains(tool))
        })
    }

    pub(super) fn authority(&mut self, gateway: &str) -> Result<String, Failure> {
        Ok(format!("127.0.0.1:{}", self.port(gateway)?))
    }

    /// The proxies, as the control plane sees them.
    pub(super) fn proxies(&self) -> Vec<Value> {
        let status = self.api("GET", "/v1/status", None).unwrap_or_default();
        status
            .get("proxies")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    }

    /// Waits until something holds; fails early when a part has ended.
    pub(super) fn wait(&mut self, what: &str, limit: Duration, ready: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if ready(self) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let logs: Vec<String> = self
            .parts
            .iter()
            .map(|(name, part)| format!("  {name}:\n{}", command::tail(part.log())))
            .collect();
        Err(format!(
            "no sign of {what} within {} s\n{}",
            limit.as_secs(),
            logs.join("\n")
        ))
    }

    /// Ends a part in peace.
    pub(super) fn stop(&mut self, name: &str) -> Result<(), Failure> {
        self.end(name, "-TERM")
    }

    /// Ends a part at once.
    pub(super) fn kill(&mut self, name: &str) -> Result<(), Failure> {
        self.end(name, "-KILL")
    }

    fn end(&mut self, name: &str, signal: &str) -> Result<(), Failure> {
        match self.parts.remove(name) {
            Some(mut part) => part.end(signal, END_MAX).map(drop),
            None => Ok(()),
        }
    }

    /// What `meshgate status` says of a part.
    pub(super) fn status(&self, name: &str) -> Result<Value, Failure> {
        let mut command = self.program("meshgate")?;
        command.args(["--state", name, "status", "-o", "json"]);
        let text = command::output(&mut command)?;
        serde_json::from_str(&text).map_err(|e| format!("the status of {name} is no JSON: {e}"))
    }
}

/// A text in an object.
pub(super) fn field<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// CorpAssist's mesh. `life` is that of certificates; `tokens` how the assistant proves itself.
pub(super) fn mesh(life: &str, listener: &str, tokens: Option<&str>) -> String {
    mesh_at(life, &format!("{{address: \"{listener}\"}}"), tokens)
}

/// The same with a listener that says more than its address.
pub(super) fn mesh_at(life: &str, listener: &str, tokens: Option<&str>) -> String {
    let servers = ["documents", "projects"].map(|name| document("Server", name, "{sidecar: {}}"));
    let view = document("View", "default", "{servers: [{name: documents}, {name: projects}]}");
    format!("{}{}{view}", around(life, listener, tokens), servers.concat())
}

/// The mesh of one server, whose tools keep their names.
pub(super) fn mesh_of_one(server: &str) -> String {
    let around = around("36h", "{address: \"127.0.0.1:0\"}", None);
    format!("{around}{}", document("Server", server, "{sidecar: {}}"))
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!("---\napiVersion: meshgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// What is the same whatever the servers are.
fn around(life: &str, listener: &str, tokens: Option<&str>) -> String {
    let own = format!("{{sha256: {TOKEN_SHA256}}}");
    let limits = "{callsPerSecond: 100000, callBurst: 100000, writesPerSecond: 100000, writeBurst: 100000}";
    [
        document(
            "Mesh",
            "corpassist",
            &format!("{{accessLog: off, certificates: {{life: {life}}}, limits: {limits}}}"),
        ),
        document("Gateway", "main", &format!("{{listeners: [{listener}]}}")),
        document(
            "Application",
            "assist",
            &format!(
                "{{tokens: [{}], views: [\"*\"]}}",
                tokens.map_or(own.clone(), |more| format!("{own}, {more}"))
            ),
        ),
    ]
    .concat()
}

/// Runs a program of the machine, whose output is of no interest.
pub(super) fn quietly(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    command::output(Command::new(program).args(arguments)).map(drop)
}
