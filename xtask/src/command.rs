//! Running other programs: with their output kept, and never left behind.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{Failure, place::Place};

/// How many lines of a failed program's output a person is shown.
const TAIL_LINES: usize = 40;

/// How long a program that is not needed any more may take to end.
const DROP_MAX: Duration = Duration::from_secs(5);

/// A program to run, with what every program here needs.
pub(crate) fn program(place: &Place, name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(place.root()).stdin(Stdio::null());
    // What was built, then what was installed, then what the machine has.
    let mut path = vec![place.release(), place.tools().join("bin")];
    path.extend(["conformance", "interop", "interop-more"].map(|set| place.npm(set).join("node_modules/.bin")));
    path.extend(["interop", "interop-more", "interop-old"].map(|set| place.venv(set).join("bin")));
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    if let Ok(path) = std::env::join_paths(path) {
        command.env("PATH", path);
    }
    command
}

/// `cargo` with these arguments.
pub(crate) fn cargo(place: &Place, arguments: &[&str]) -> Command {
    let mut command = program(place, "cargo");
    command.args(arguments);
    // Set by the cargo that started us for our package only; a nested cargo must not inherit it.
    for name in [
        "CARGO_MANIFEST_DIR",
        "CARGO_PKG_NAME",
        "CARGO_PKG_VERSION",
        "RUSTFLAGS_XTASK",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs to the end with the output in a log; a failure carries the tail of it.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<(), Failure> {
    let (out, err) = open_log(log)?;
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdout(out)
        .stderr(err)
        .status()
        .map_err(|e| format!("cannot start `{name}`: {e}; is it installed?"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{name}` ended with {status}\n{}", tail(log)))
    }
}

/// Runs to the end and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| format!("cannot start `{name}`: {e}; is it installed?"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "`{name}` ended with {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    // A gateway's access records say what callers did, not what it died of.
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(r#""kind":"call""#)).collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    let shown: Vec<String> = lines.iter().skip(skipped).map(|line| format!("    {line}")).collect();
    shown.join("\n")
}

/// A program that runs beside us and ends with us.
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Result<Self, Failure> {
        let (out, err) = open_log(&log)?;
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|e| format!("cannot start `{name}`: {e}"))?;
        Ok(Self { name, child, log })
    }

    /// Waits until `ready` holds, and fails early when the program has ended.
    pub(crate) fn wait_until(&mut self, what: &str, limit: Duration, ready: impl Fn() -> bool) -> Result<(), Failure> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!(
                    "`{}` ended with {status} before {what}\n{}",
                    self.name,
                    tail(&self.log)
                ));
            }
            if ready() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!(
            "`{}`: no sign of {what} within {} s\n{}",
            self.name,
            limit.as_secs(),
            tail(&self.log)
        ))
    }

    /// Waits for the end. A program that takes longer is ended with this value.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("`{}` did not end within {} s", self.name, limit.as_secs()))
    }

    /// Sends a signal, unless the program has ended already, and waits for the end.
    pub(crate) fn end(&mut self, signal: &str, limit: Duration) -> Result<ExitStatus, Failure> {
        let start = Instant::now();
        let mut sent = false;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            if !sent {
                let _ = Command::new("kill")
                    .arg(signal)
                    .arg(self.child.id().to_string())
                    .status();
                sent = true;
            }
            if start.elapsed() > limit {
                return Err(format!("`{}` did not end within {} s", self.name, limit.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where what it writes is kept.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// What the program has written so far.
    pub(crate) fn written(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    /// Asks with SIGTERM first, so that a gateway can end its own children.
    fn drop(&mut self) {
        if self.end("-TERM", DROP_MAX).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn open_log(log: &Path) -> Result<(File, File), Failure> {
    let failure = |e: std::io::Error| format!("cannot write {}: {e}", log.display());
    if let Some(parent) = log.parent() {
        fs::create_dir_all(parent).map_err(failure)?;
    }
    let out = File::create(log).map_err(failure)?;
    let err = out.try_clone().map_err(failure)?;
    Ok((out, err))
}
