//! `parked`: very many calls whose legacy servers have asked something, each waiting for its client's answer.
//!
//! Such a call holds a session of its own at its server, the exchange that the server has not ended, and what the gateway
//! must know to go on. The figure is what that weighs together, in resident memory of the gateway, for as many calls as
//! the limits per caller and per server let wait; nothing is lifted but the rates.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use memchr::memmem;

use crate::{
    Failure,
    connection::{connect, exchange},
    listens::raise_files,
    machine::Machine,
    measure::{first_line, free_port},
    process::Usage,
    report,
    running::Running,
    upstream::Ports,
};

const KIB: u64 = 1024;
/// What a parked call may cost, from the goals.
const PARKED_BYTES_MAX: u64 = 32 * KIB;
/// Calls of one caller that may be parked at one server, and callers that fill a server with them.
const OF_EACH_CALLER: usize = 16;
const CALLERS: usize = 8;
const SERVERS: usize = 10;
/// A call of each caller at each server comes first: what it leaves behind for good is no cost of the others.
const FIRST: usize = 1;
const PATIENCE: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Two servers instead of ten, and no page: shows that it works
    #[arg(long)]
    short: bool,
    /// Where the page goes [default: bench/results]
    #[arg(long)]
    results: Option<PathBuf>,
    /// The gateway to measure [default: `meshgate` beside this program]
    #[arg(long)]
    meshgate: Option<PathBuf>,
}

/// Parks the calls, prints what one weighs, and fails where it is too much.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    raise_files()?;
    let servers = if options.short { 2 } else { SERVERS };
    let tree = env::current_dir().map_err(|e| format!("no current directory: {e}"))?;
    let mut machine = Machine::look(&tree, false);
    let (_upstream, ports) = upstream()?;
    let (gateway, address) = gateway(options, ports.asking.get(..servers).ok_or("too few servers")?)?;
    ready(address, servers)?;
    park(address, servers, FIRST)?;
    std::thread::sleep(SETTLE);
    let before = Usage::of(gateway.id())?.rss;
    park(address, servers, OF_EACH_CALLER - FIRST)?;
    std::thread::sleep(SETTLE);
    let after = Usage::of(gateway.id())?.rss;
    machine.look_again();
    let parked = (servers * CALLERS * (OF_EACH_CALLER - FIRST)) as u64;
    let each = after.saturating_sub(before) / parked;
    let page = page(parked, (before, after, each), &machine);
    println!("{page}");
    if !options.short {
        let results = options.results.clone().unwrap_or_else(|| tree.join("bench/results"));
        report::write_page(&results, &format!("parked-{}", machine.date), &page)?;
    }
    if each > PARKED_BYTES_MAX {
        return Err(format!(
            "a parked call costs {each} bytes, more than {PARKED_BYTES_MAX}"
        ));
    }
    Ok(())
}

fn page(parked: u64, (before, after, each): (u64, u64, u64), machine: &Machine) -> String {
    let kib = |bytes: u64| bytes as f64 / KIB as f64;
    format!(
        "# {parked} parked calls\n\nModern clients have called legacy servers that asked something in the middle of the call. Each call waits for its answer on a session of its own, with its exchange open at the server.\n\n| | |\n|---|---|\n| resident before, MiB | {:.1} |\n| with all parked, MiB | {:.1} |\n| **per parked call, KiB** (goal: at most {}) | **{:.1}** |\n\n{}, {} cores of {}, load before {} and after {}, commit {}.\n",
        kib(before) / 1024.0,
        kib(after) / 1024.0,
        PARKED_BYTES_MAX / KIB,
        kib(each),
        machine.kernel,
        machine.cores,
        machine.processor,
        machine.load_before,
        machine.load_after,
        machine.commit
    )
}

/// Servers that ask.
fn upstream() -> Result<(Running, Ports), Failure> {
    let ourselves = env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let mut command = Command::new(ourselves);
    command
        .args(["upstream", "--servers", &SERVERS.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut running = Running::start(command, "the upstream")?;
    let line = first_line(&mut running)?;
    let ports = serde_json::from_str(&line).map_err(|e| format!("the upstream said `{line}`: {e}"))?;
    Ok((running, ports))
}

fn gateway(options: &Options, servers: &[u16]) -> Result<(Running, SocketAddr), Failure> {
    let port = free_port()?;
    let directory = env::temp_dir().join(format!("meshgate-parked-{}", std::process::id()));
    let failure = |e: std::io::Error| format!("cannot write {}: {e}", directory.display());
    fs::create_dir_all(&directory).map_err(failure)?;
    fs::write(directory.join("mesh.yaml"), mesh(port, servers)).map_err(failure)?;
    let beside = env::current_exe()
        .map_err(|e| format!("cannot find this program: {e}"))?
        .with_file_name("meshgate");
    let mut command = Command::new(options.meshgate.clone().unwrap_or(beside));
    command
        .args(["up", "mesh.yaml", "--state", "state"])
        .current_dir(&directory)
        .stdin(Stdio::null())
        .envs((0..CALLERS).map(|n| (format!("TOKEN_{n}"), token(n))));
    let log: &Path = &directory.join("meshgate.log");
    let running = Running::logged(command, "meshgate", log)?;
    Ok((running, SocketAddr::from(([127, 0, 0, 1], port))))
}

/// Waits until a call of every server is parked.
fn ready(address: SocketAddr, servers: usize) -> Result<(), Failure> {
    let began = Instant::now();
    for server in 0..servers {
        loop {
            match connect(address).and_then(|mut socket| call(&mut socket, address, 0, server)) {
                Ok(()) => break,
                Err(failure) if began.elapsed() > PATIENCE => return Err(failure),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
    Ok(())
}

/// So many calls of each caller at each server; callers at the same time, because each call takes the time in which a
/// server may ask more.
fn park(address: SocketAddr, servers: usize, of_each: usize) -> Result<(), Failure> {
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            std::thread::spawn(move || {
                let mut socket = connect(address)?;
                // The first one has parked a call at each server already, to see that they are there.
                let of_each = if of_each == FIRST && caller == 0 { 0 } else { of_each };
                for server in (0..of_each).flat_map(|_| 0..servers) {
                    call(&mut socket, address, caller, server)?;
                }
                Ok(())
            })
        })
        .collect();
    callers
        .into_iter()
        .try_for_each(|caller| caller.join().map_err(|_| "a caller broke off".to_owned())?)
}

/// One call, which must come back with a question and nothing else.
fn call(socket: &mut std::net::TcpStream, address: SocketAddr, caller: usize, server: usize) -> Result<(), Failure> {
    let name = format!("s{server}__echo");
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1.0.0"}},"io.modelcontextprotocol/clientCapabilities":{{"elicitation":{{"form":{{}}}}}}}},"name":"{name}","arguments":{{"text":"any"}}}}}}"#
    );
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nauthorization: Bearer {}\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {name}\r\ncontent-length: {}\r\n\r\n",
        token(caller),
        body.len()
    );
    let (_, answer) = exchange(socket, &[head.into_bytes(), body.into_bytes()].concat())?;
    let has = |what: &str| memmem::find(&answer, what.as_bytes()).is_some();
    if has("\"input_required\"") && has("\"requestState\"") && has("elicitation/create") {
        return Ok(());
    }
    Err(format!("not parked: {}", String::from_utf8_lossy(&answer)))
}

fn token(caller: usize) -> String {
    format!("mg_parked-{caller:06}-of-the-bench")
}

/// One view of servers of an older revision, for a few applications.
fn mesh(port: u16, servers: &[u16]) -> String {
    let head = "---\napiVersion: meshgate.dev/v1alpha1\n";
    let mut yaml = format!(
        "{head}kind: Mesh\nmetadata: {{name: bench}}\nspec: {{limits: {{drain: 1s}}}}\n{head}kind: Gateway\nmetadata: {{name: bench}}\nspec: {{listeners: [{{address: '127.0.0.1:{port}'}}]}}\n"
    );
    let mut names = Vec::new();
    for (n, port) in servers.iter().enumerate() {
        yaml.push_str(&format!(
            "{head}kind: Server\nmetadata: {{name: s{n}}}\nspec: {{http: {{url: 'http://127.0.0.1:{port}/mcp'}}}}\n"
        ));
        names.push(format!("{{name: s{n}}}"));
    }
    yaml.push_str(&format!(
        "{head}kind: View\nmetadata: {{name: default}}\nspec: {{servers: [{}], liftLimits: true}}\n",
        names.join(", ")
    ));
    for n in 0..CALLERS {
        yaml.push_str(&format!(
            "{head}kind: Application\nmetadata: {{name: a{n}}}\nspec: {{views: [default], tokens: [{{environment: TOKEN_{n}}}]}}\n"
        ));
    }
    yaml
}
