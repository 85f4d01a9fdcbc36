//! A gateway or a fixture started for a verb, on ports that nobody else has.
//!
//! The mesh files of the tests are committed as a person would write them, with fixed addresses and program names. What
//! differs from run to run is replaced in a copy, so that two runs on one machine do not meet.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use crate::{
    Failure,
    command::{self, Running},
    http,
    place::Place,
};

/// The address that the committed mesh files listen on.
const GATEWAY_ADDRESS: &str = "127.0.0.1:7391";
const START_MAX: Duration = Duration::from_secs(60);
const END_MAX: Duration = Duration::from_secs(40);

/// A running `meshgate up`. It ends with this value.
pub(crate) struct Gateway {
    authority: String,
    state: PathBuf,
    running: Running,
    runs: Runs,
}

/// What `up` runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Runs {
    /// A gateway that reaches its servers by itself.
    #[default]
    Alone,
    /// A mesh: a control plane, a gateway, and a sidecar beside each server.
    Mesh,
}

impl Runs {
    /// From the flag of a verb.
    pub(crate) fn meshed(flag: bool) -> Self {
        if flag { Self::Mesh } else { Self::Alone }
    }

    /// What tells the runs of one from those of the other, in names of logs and rows.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Alone => "",
            Self::Mesh => "mesh-",
        }
    }
}

impl Gateway {
    /// Starts a committed mesh file with some of its texts replaced.
    pub(crate) fn start(place: &Place, name: &str, mesh: &str, replacements: &[(&str, &str)]) -> Result<Self, Failure> {
        Self::start_as(Runs::Alone, place, name, mesh, replacements)
    }

    /// The same as a mesh, or not.
    pub(crate) fn start_as(
        runs: Runs,
        place: &Place,
        name: &str,
        mesh: &str,
        replacements: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let scratch = place.scratch(&format!("{name}-gateway"))?;
        let authority = format!("127.0.0.1:{}", http::free_port()?);
        let committed = place.root().join(mesh);
        let text = fs::read_to_string(&committed).map_err(|e| format!("cannot read {}: {e}", committed.display()))?;
        let text = replacements
            .iter()
            .fold(text, |text, (from, to)| text.replace(from, to));
        let file = scratch.join("mesh.yaml");
        fs::write(&file, text.replace(GATEWAY_ADDRESS, &authority))
            .map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        let state = scratch.join("state");
        let running = up(place, runs, &scratch, &place.log(&format!("{name}-gateway")))?;
        Ok(Self {
            authority,
            state,
            running,
            runs,
        })
    }

    /// Starts another in the place of one that has ended: the same file, address and state.
    pub(crate) fn start_again(&mut self, place: &Place, name: &str) -> Result<(), Failure> {
        let scratch = self.state.parent().unwrap_or(&self.state);
        self.running = up(place, self.runs, scratch, &place.log(&format!("{name}-gateway-again")))?;
        Ok(())
    }

    /// Waits until a list at this path shows all these texts.
    pub(crate) fn wait_for_tools(&mut self, path: &str, token: Option<&str>, names: &[&str]) -> Result<(), Failure> {
        let authority = self.authority.clone();
        let shown = || {
            let list = http::list_tools(&authority, path, token);
            names.iter().all(|name| list.contains(name))
        };
        self.running
            .wait_until(&format!("tools {}", names.join(", ")), START_MAX, shown)
    }

    /// Waits until every server has been tried once, whatever came of it. In a mesh each is reached by its sidecar.
    pub(crate) fn wait_for_servers(&mut self, place: &Place) -> Result<(), Failure> {
        let state = self.state.clone();
        // A mesh that has just begun has a status, and no servers in it yet.
        let reach = match self.runs {
            Runs::Alone => r#""reach": ""#,
            Runs::Mesh => r#""reach": "sidecar""#,
        };
        let tried =
            || status(place, &state).is_ok_and(|text| text.contains(reach) && !text.contains(r#""state": "starting""#));
        self.running.wait_until("a try at every server", START_MAX, tried)
    }

    /// What `meshgate status -o json` says.
    pub(crate) fn status(&self, place: &Place) -> Result<String, Failure> {
        status(place, &self.state)
    }

    /// The token that the first start generated.
    pub(crate) fn token(&mut self) -> Result<String, Failure> {
        let file = self.state.join("token");
        self.running
            .wait_until("its token file", START_MAX, || file.is_file())?;
        let text = fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Ends it and removes what it wrote, where many run one after the other. Its log stays.
    pub(crate) fn forget(mut self) -> Result<(), Failure> {
        self.end("-TERM")?;
        let scratch = self.state.parent().unwrap_or(&self.state);
        fs::remove_dir_all(scratch).map_err(|e| format!("cannot remove {}: {e}", scratch.display()))
    }

    /// Its address and port.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(&mut self, signal: &str) -> Result<ExitStatus, Failure> {
        self.running.end(signal, END_MAX)
    }

    /// Where a path of it is.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority)
    }
}

/// Runs `meshgate up` with the file and the state of this folder.
fn up(place: &Place, runs: Runs, scratch: &Path, log: &Path) -> Result<Running, Failure> {
    let mut command = command::program(place, place.program("meshgate")?);
    command
        .arg("up")
        .arg(scratch.join("mesh.yaml"))
        .arg("--state")
        .arg(scratch.join("state"));
    if runs == Runs::Mesh {
        command.args([
            "--mesh",
            "--control-address",
            "127.0.0.1:0",
            "--api-address",
            "127.0.0.1:0",
        ]);
    }
    Running::start(&mut command, log.to_owned())
}

fn status(place: &Place, state: &Path) -> Result<String, Failure> {
    let mut status = command::program(place, place.program("meshgate")?);
    status.arg("status").arg("--state").arg(state).args(["-o", "json"]);
    command::output(&mut status)
}

/// The conformance server over HTTP. It ends with this value.
pub(crate) struct Fixture {
    url: String,
    _running: Running,
}

impl Fixture {
    pub(crate) fn start(place: &Place, era: &str) -> Result<Self, Failure> {
        let mut command = command::program(place, place.program("fixture-conformance")?);
        command.args(["--era", era, "--http", "127.0.0.1:0"]);
        let mut running = Running::start(&mut command, place.log("fixture-conformance"))?;
        let log = place.log("fixture-conformance");
        let written = || fs::read_to_string(&log).is_ok_and(|text| text.contains("/mcp\n"));
        running.wait_until("its address", START_MAX, written)?;
        let url = running.written().lines().next().unwrap_or_default().to_owned();
        Ok(Self { url, _running: running })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}
