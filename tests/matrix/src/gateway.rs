//! The gateway under test: the program that people run, with a mesh file of ten servers.

use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Failure, merged::VIEW};

const START_MAX: Duration = Duration::from_secs(30);
const END_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// How one server is reached.
pub(crate) enum Way {
    /// The command and its arguments.
    Stdio(Vec<String>),
    /// The endpoint.
    Http(String),
}

/// A running gateway. It ends with this value.
pub(crate) struct Gateway {
    pub(crate) authority: String,
    child: Child,
}

impl Gateway {
    /// Starts the program and waits until it takes connections.
    pub(crate) fn start(
        program: &Path,
        scratch: &Path,
        servers: &[(String, Way)],
        is_mesh: bool,
    ) -> Result<Self, Failure> {
        let cannot = |e: std::io::Error| format!("cannot prepare the gateway: {e}");
        fs::create_dir_all(scratch).map_err(cannot)?;
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let authority = free.map_err(cannot)?.to_string();
        let file = scratch.join("mesh.yaml");
        fs::write(&file, mesh(&authority, servers)).map_err(cannot)?;
        let log = File::create(scratch.join("gateway.log")).map_err(cannot)?;
        let meshed = [
            "--mesh",
            "--control-address",
            "127.0.0.1:0",
            "--api-address",
            "127.0.0.1:0",
        ];
        let child = Command::new(program)
            .arg("up")
            .arg(&file)
            .arg("--state")
            .arg(scratch.join("state"))
            .args(is_mesh.then_some(meshed).into_iter().flatten())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(cannot)?)
            .stderr(log)
            .spawn()
            .map_err(|e| format!("cannot start `{}`: {e}", program.display()))?;
        let mut gateway = Self { authority, child };
        gateway.until("it takes connections", |authority| {
            TcpStream::connect(authority).is_ok()
        })?;
        Ok(gateway)
    }

    /// Waits for something that only asking can tell.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> Result<(), Failure> {
        let start = Instant::now();
        while start.elapsed() < START_MAX {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!(
                    "the gateway ended with {status} before {what}; see gateway.log"
                ));
            }
            if holds(&self.authority) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("no sign that {what}; see gateway.log"))
    }
}

impl Drop for Gateway {
    /// Asks with SIGTERM first, so that it can end its own children.
    fn drop(&mut self) {
        let _asked = Command::new("kill")
            .arg("-TERM")
            .arg(self.child.id().to_string())
            .status();
        let start = Instant::now();
        while start.elapsed() < END_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Ten servers, each in a view of its own and all in one, for callers without a token.
fn mesh(authority: &str, servers: &[(String, Way)]) -> String {
    let head = |kind: &str, name: &str| {
        format!("apiVersion: meshgate.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n")
    };
    let mut documents = vec![
        head("Mesh", "matrix") + "  accessLog: \"off\"\n",
        head("Gateway", "main") + &format!("  listeners:\n    - address: {authority}\n"),
    ];
    for (name, way) in servers {
        let reached = match way {
            Way::Stdio(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                let (command, arguments) = quoted
                    .split_first()
                    .map_or((String::new(), String::new()), |(first, rest)| {
                        (first.clone(), rest.join(", "))
                    });
                format!("  stdio:\n    command: {command}\n    args: [{arguments}]\n")
            }
            Way::Http(url) => format!("  http:\n    url: {url}\n"),
        };
        let questions = "  questions:\n    sampling: allow\n    roots: allow\n";
        documents.push(head("Server", name) + &reached + questions);
        documents.push(
            head("View", name) + &format!("  servers:\n    - name: {name}\n  anonymous: true\n  liftLimits: true\n"),
        );
    }
    let all: String = servers
        .iter()
        .map(|(name, _)| format!("    - name: {name}\n"))
        .collect();
    documents.push(head("View", VIEW) + &format!("  servers:\n{all}  anonymous: true\n  liftLimits: true\n"));
    documents.join("---\n")
}
