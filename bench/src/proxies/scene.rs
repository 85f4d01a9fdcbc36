//! A mesh of whole processes, joined as operators join them: a control plane, gateways and sidecars.
//!
//! Nothing is set up behind their backs: the mesh file goes in through the admin API, each part gets a join token from
//! there, and what it knows it is told by its control plane.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use meshgate_identity::{Identity, stored::Stored, token_digest};
use serde_json::{Value, json};

use super::api::Api;
use crate::{
    Failure,
    measure::{empty, free_port},
    place::{Cores, Place},
    running::{Core, Running, tail},
};

/// What an application proves itself with here; the mesh file has its digest.
pub(super) const TOKEN: &str = "bench-application-0123456789abcdef";
pub(super) const APPLICATION: &str = "bench";
pub(super) const VIEW: &str = "default";
pub(super) const DOMAIN: &str = "bench.mesh";
const READY_MAX: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// How many of what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) servers: usize,
    /// Sidecars of each server.
    pub(super) sidecars: usize,
    pub(super) gateways: usize,
    /// Where access records go, as a mesh file says it.
    pub(super) records: &'static str,
}

impl Size {
    pub(super) fn proxies(self) -> usize {
        self.servers * self.sidecars + self.gateways
    }
}

/// Which part a proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Called by applications.
    Gateway,
    /// Called by gateways, beside the server of this number.
    Sidecar(usize),
}

/// One proxy process.
pub(super) struct Proxy {
    pub(super) role: Role,
    /// Where it is called.
    pub(super) address: SocketAddr,
    pub(super) running: Running,
}

/// The whole of it. Its processes end with it.
pub(super) struct Scene {
    folder: PathBuf,
    program: PathBuf,
    core: Core,
    sync: u16,
    pub(super) api: Api,
    pub(super) control: Running,
    pub(super) proxies: Vec<Proxy>,
    /// Who a gateway is that calls sidecars whatever its configuration says.
    pub(super) probe: Arc<Identity>,
}

impl Scene {
    /// Starts it and waits until every proxy says that it is up.
    pub(super) fn start(place: &Place, cores: Cores, servers: &[u16], size: Size) -> Result<Self, Failure> {
        let folder = place.scratch.join("mesh-of-processes");
        empty(&folder)?;
        let (sync, api) = (free_port()?, free_port()?);
        let arguments = [
            "--state=control",
            "control",
            &format!("--trust-domain={DOMAIN}"),
            &format!("--listen=127.0.0.1:{sync}"),
            &format!("--api=127.0.0.1:{api}"),
        ];
        let mut control = part(&folder, cores.target, &place.meshgate, "control", &arguments)?;
        let token = folder.join("control/control/operator-token");
        let start = Instant::now();
        let api = loop {
            let door = Api::open(([127, 0, 0, 1], api).into(), &token);
            match door.and_then(|door| door.ask("GET", "/v1/status", None).map(|_| door)) {
                Ok(door) => break door,
                Err(why) => patience(start, "the control plane", &why, &folder.join("control.log"))?,
            }
            control.is_alive()?;
        };
        api.apply(&mesh_file(size), true)?;
        let program = place.meshgate.with_file_name("meshgate-proxy");
        let core = cores.target;
        let probe = enrolled(&folder, &program, (cores.other, sync), &api)?;
        let mut scene = Self {
            folder,
            program,
            core,
            sync,
            api,
            control,
            proxies: Vec::new(),
            probe,
        };
        for (server, port) in servers.iter().enumerate().take(size.servers) {
            for instance in 0..size.sidecars {
                scene.sidecar(server, *port, instance)?;
            }
        }
        for number in 0..size.gateways {
            scene.gateway(number)?;
        }
        scene.all_up()?;
        Ok(scene)
    }

    fn sidecar(&mut self, server: usize, port: u16, instance: usize) -> Result<(), Failure> {
        let address = free_address()?;
        let own = [
            "sidecar".to_owned(),
            format!("--server=s{server}"),
            format!("--upstream=http://127.0.0.1:{port}/mcp"),
            format!("--mesh-listen={address}"),
        ];
        let name = format!("s{server}-{instance}");
        self.proxy(
            &name,
            &format!("server/s{server}/v1"),
            &own,
            (Role::Sidecar(server), address),
        )
    }

    fn gateway(&mut self, number: usize) -> Result<(), Failure> {
        let address = free_address()?;
        let own = [
            "gateway".to_owned(),
            "--name=main".to_owned(),
            format!("--listen={address}"),
            format!("--mesh-listen={}", free_address()?),
        ];
        self.proxy(&format!("g{number}"), "gateway/main", &own, (Role::Gateway, address))
    }

    fn proxy(
        &mut self,
        name: &str,
        id: &str,
        own: &[String],
        (role, address): (Role, SocketAddr),
    ) -> Result<(), Failure> {
        let arguments = joining(&self.folder, name, id, own, (self.sync, &self.api))?;
        let running = part(&self.folder, self.core, &self.program, name, &arguments)?;
        self.proxies.push(Proxy { role, address, running });
        Ok(())
    }

    fn all_up(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            let up = self.api.proxies()?.iter().filter(|state| *state == "up").count();
            if up == self.proxies.len() {
                return Ok(());
            }
            self.are_alive()?;
            let why = format!("{up} of {}", self.proxies.len());
            patience(start, "all proxies", &why, &self.folder.join("s0-0.log"))?;
        }
    }

    /// An error when one has ended.
    pub(super) fn are_alive(&mut self) -> Result<(), Failure> {
        self.control.is_alive()?;
        self.proxies.iter_mut().try_for_each(|proxy| proxy.running.is_alive())
    }
}

/// Joins as one more gateway, once, and ends: what stays is its identity, which calls sidecars as any gateway does and asks
/// nobody's leave.
fn enrolled(folder: &Path, program: &Path, (core, sync): (Core, u16), api: &Api) -> Result<Arc<Identity>, Failure> {
    let name = "probe";
    let own = [
        "gateway".to_owned(),
        format!("--name={name}"),
        format!("--listen={}", free_address()?),
        format!("--mesh-listen={}", free_address()?),
    ];
    let arguments = joining(folder, name, "gateway/probe", &own, (sync, api))?;
    let mut running = part(folder, core, program, name, &arguments)?;
    let start = Instant::now();
    while !api.proxies()?.iter().any(|state| state == "up") {
        running.is_alive()?;
        patience(
            start,
            "the gateway that probes",
            "it is not up",
            &folder.join("probe.log"),
        )?;
    }
    drop(running);
    let stored = Stored::at(folder.join(name));
    let svid = stored.svid().map_err(|e| e.to_string())?.ok_or("no certificate")?;
    let bundle = stored.bundle().map_err(|e| e.to_string())?.ok_or("no trust bundle")?;
    Ok(Arc::new(Identity::new(svid, bundle).map_err(|e| e.to_string())?))
}

/// The arguments of a part that joins with a token of its own.
fn joining(
    folder: &Path,
    name: &str,
    id: &str,
    own: &[String],
    (sync, api): (u16, &Api),
) -> Result<Vec<String>, Failure> {
    let token = folder.join(format!("{name}.join"));
    let made = api.ask("POST", "/v1/join-tokens", Some(&json!({ "part": id })))?;
    let text = made
        .get("token")
        .and_then(Value::as_str)
        .ok_or("no token in the answer")?;
    fs::write(&token, text).map_err(|e| format!("cannot write {}: {e}", token.display()))?;
    let mut arguments = vec![format!("--state={name}")];
    arguments.extend_from_slice(own);
    arguments.push(format!("--control=127.0.0.1:{sync}"));
    arguments.push(format!("--join-token-file={}", token.display()));
    Ok(arguments)
}

fn part(
    folder: &Path,
    core: Core,
    program: &Path,
    name: &str,
    arguments: &[impl AsRef<str>],
) -> Result<Running, Failure> {
    let arguments: Vec<String> = arguments.iter().map(|word| word.as_ref().to_owned()).collect();
    let mut command = core.command(program, &arguments);
    command.current_dir(folder);
    Running::logged(command, name, &folder.join(format!("{name}.log")))
}

/// A pause, or an error when there have been enough.
fn patience(start: Instant, what: &str, why: &str, log: &Path) -> Result<(), Failure> {
    if start.elapsed() > READY_MAX {
        return Err(format!("no sign of {what} ({why})\n{}", tail(log)));
    }
    std::thread::sleep(LOOK);
    Ok(())
}

fn free_address() -> Result<SocketAddr, Failure> {
    free_port().map(|port| ([127, 0, 0, 1], port).into())
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!("---\napiVersion: meshgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// The view that everybody calls through, with `echo` or without it.
pub(super) fn view(size: Size, shown: bool) -> String {
    let tools = if shown { "" } else { ", tools: {hide: [echo]}" };
    let servers: Vec<String> = (0..size.servers).map(|n| format!("{{name: s{n}{tools}}}")).collect();
    document(
        "View",
        VIEW,
        &format!(
            "{{servers: [{}], naming: prefixed, liftLimits: true}}",
            servers.join(", ")
        ),
    )
}

/// The application that calls, which may use that view or not.
pub(super) fn application(may: bool) -> String {
    let views = if may {
        format!("[{VIEW}, other]")
    } else {
        "[other]".to_owned()
    };
    let digest: String = token_digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
    document(
        "Application",
        APPLICATION,
        &format!("{{tokens: [{{sha256: {digest}}}], views: {views}}}"),
    )
}

fn mesh_file(size: Size) -> String {
    let limits = "{callsPerSecond: 100000, callBurst: 100000, writesPerSecond: 100000, writeBurst: 100000}";
    let gateway = "{listeners: [{address: \"127.0.0.1:0\"}]}";
    let mut text = [
        document(
            "Mesh",
            "bench",
            &format!("{{accessLog: {}, limits: {limits}}}", size.records),
        ),
        document("Gateway", "main", gateway),
        document("Gateway", "probe", gateway),
        view(size, true),
        document("View", "other", "{servers: [{name: s0}]}"),
        application(true),
    ]
    .concat();
    for number in 0..size.servers {
        text.push_str(&document("Server", &format!("s{number}"), "{sidecar: {}}"));
    }
    text
}
