//! `gateway`: every target in turn, round after round, and then the table.
//!
//! Rounds are interleaved (A B C, A B C) so that whatever else the machine does meets all of them alike.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Failure, awake,
    fill::Words,
    goals,
    machine::Machine,
    measure::{Bench, Plan, Sample, empty, first_line, free_port},
    neighbour::{self, Turns},
    pki,
    report::{self, Report},
    running::{Core, Running},
    set::Set,
    target::{self, Program, Target},
    upstream::Ports,
};

const SERVERS: usize = 10;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Some seconds only, this gateway and the floor, no sessions: shows that the bench works, measures nothing
    #[arg(long)]
    short: bool,
    /// Names of targets, separated by commas; all of `bench/targets` without it
    #[arg(long, value_delimiter = ',')]
    targets: Vec<String>,
    /// How often each target is measured [default: 3; with --neighbours 6]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds of each load [default: 4; with --neighbours 0.5]
    #[arg(long)]
    seconds: Option<f64>,
    /// Instead of all that: what calls notice of a server that misbehaves beside theirs
    #[arg(long)]
    neighbours: bool,
    /// Put target, generator and upstream before everything else on the machine (`chrt -r`; needs the right to)
    #[arg(long)]
    realtime: bool,
    /// Where the results go [default: bench/results]
    #[arg(long)]
    results: Option<PathBuf>,
    /// The gateway to measure [default: `meshgate` beside this program]
    #[arg(long)]
    meshgate: Option<PathBuf>,
}

/// Measures, prints the table, writes it down.
pub(crate) fn run(options: &Options, set: &'static Set) -> Result<(), Failure> {
    let place = Place::find(options)?;
    let mut machine = Machine::look(&place.tree, options.realtime);
    let plan = plan(options, set.certificates);
    let named = if options.short && options.targets.is_empty() {
        set.short.iter().map(|name| (*name).to_owned()).collect()
    } else {
        options.targets.clone()
    };
    let mut targets = target::all(&place.tree.join("bench").join(set.directory), &named, set.floor)?;
    targets.retain(|target| target.neighbours || !options.neighbours);
    let cores = Cores::of(&machine, options.realtime);
    let (upstream, ports) = upstream(&place, cores.other)?;
    let rounds = match (options.short, options.rounds) {
        (true, _) => 1,
        (false, Some(rounds)) => rounds,
        (false, None) => {
            if options.neighbours {
                6
            } else {
                3
            }
        }
    };
    let mut skipped = BTreeMap::new();
    let mut benches = Vec::new();
    for target in &targets {
        match bench(&place, target, (&plan, set), &ports, &upstream, cores) {
            Ok(bench) => match bench.prepare().and_then(|()| bench.rehearse()) {
                Ok(()) => benches.push(bench),
                Err(failure) if options.short => return Err(failure),
                Err(failure) => skip(target, failure, &mut skipped),
            },
            Err(missing) => skip(target, missing, &mut skipped),
        }
    }
    if options.neighbours {
        return neighbours(&place, &benches, rounds, machine, cores, options.short);
    }
    let samples = measure(&benches, rounds, options.short)?;
    machine.look_again();
    let beside = machine.clone();
    let report = Report::new(set, &targets, &samples, skipped, (machine, &plan), rounds);
    println!("{}", report.table());
    if options.short {
        if benches.iter().any(|bench| bench.target.neighbours) {
            neighbours(&place, &benches, rounds, beside, cores, true)?;
        }
        println!(
            "{} targets answered without an error; a short run measures nothing",
            samples.len()
        );
        return Ok(());
    }
    println!("{}", goals::table(&report));
    report::write(&report, &place.results)
}

fn measure<'a>(benches: &[Bench<'a>], rounds: u32, strict: bool) -> Result<BTreeMap<&'a str, Vec<Sample>>, Failure> {
    let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for round in 1..=rounds {
        for bench in benches {
            let name = bench.target.name.as_str();
            match bench.round() {
                Ok(sample) => {
                    let calls = sample.get("echo_calls").copied().unwrap_or_default();
                    eprintln!("round {round} of {rounds}: {name}: {calls:.0} calls/s");
                    samples.entry(name).or_default().push(sample);
                }
                Err(failure) if strict => return Err(format!("{name}: {failure}")),
                // A target that fails in one round keeps the others; the table says how many rounds it has.
                Err(failure) => eprintln!("round {round} of {rounds}: {name}: {failure}"),
            }
        }
    }
    if samples.is_empty() {
        return Err("no target could be measured".to_owned());
    }
    Ok(samples)
}

/// What calls notice of a server that misbehaves beside theirs: prints it, and writes it down unless it is short.
fn neighbours(
    place: &Place,
    benches: &[Bench<'_>],
    rounds: u32,
    mut machine: Machine,
    cores: Cores,
    short: bool,
) -> Result<(), Failure> {
    let calm = Core {
        realtime: false,
        ..cores.other
    };
    let (_apart, ports) = upstream(place, calm)?;
    let _awake = awake::keep(&place.ourselves, [cores.target, cores.other])?;
    for bench in benches.iter().filter(|bench| bench.target.neighbours) {
        let mut turns = Turns::default();
        for round in 1..=rounds {
            bench.neighbours(&ports, &mut turns)?;
            eprintln!("round {round} of {rounds}: neighbours of {}", bench.target.name);
        }
        machine.look_again();
        let page = neighbour::Page {
            machine: &machine,
            plan: bench.plan,
            rounds,
            target: &bench.target.name,
            found: &turns.compared(),
        };
        println!("{}", page.table());
        if !short {
            let name = format!("neighbours-{}", machine.date);
            report::write_page(&place.results, &name, &page.text())?;
        }
    }
    Ok(())
}

fn skip(target: &Target, reason: Failure, skipped: &mut BTreeMap<String, String>) {
    eprintln!("{} is left out: {reason}", target.name);
    skipped.insert(target.name.clone(), reason);
}

fn plan(options: &Options, half: bool) -> Plan {
    if options.short {
        return Plan {
            seconds: 0.3,
            warm_seconds: 0.1,
            connections: 8,
            rate: 200,
            sessions: 50,
            streams: 20,
            turns: 2,
            half,
        };
    }
    Plan {
        seconds: options.seconds.unwrap_or(if options.neighbours { 0.5 } else { 4.0 }),
        warm_seconds: 1.0,
        connections: 32,
        rate: 2000,
        sessions: 2000,
        streams: 1000,
        turns: 8,
        half,
    }
}

/// The target on one core, everybody else on another.
#[derive(Clone, Copy)]
struct Cores {
    target: Core,
    other: Core,
}

impl Cores {
    fn of(machine: &Machine, realtime: bool) -> Self {
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
struct Place {
    tree: PathBuf,
    cache: PathBuf,
    scratch: PathBuf,
    results: PathBuf,
    ourselves: PathBuf,
    meshgate: PathBuf,
}

impl Place {
    fn find(options: &Options) -> Result<Self, Failure> {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR"))
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
            results: options.results.clone().unwrap_or_else(|| tree.join("bench/results")),
            meshgate: options
                .meshgate
                .clone()
                .unwrap_or_else(|| ourselves.with_file_name("meshgate")),
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
fn upstream(place: &Place, core: Core) -> Result<(Running, Ports), Failure> {
    let arguments = ["upstream".to_owned(), format!("--servers={SERVERS}")];
    let mut command = core.command(&place.ourselves, &arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running::start(command, "the upstream")?;
    let line = first_line(&mut running)?;
    let ports: Ports = serde_json::from_str(&line).map_err(|e| format!("the upstream said `{line}`: {e}"))?;
    Ok((running, ports))
}

fn bench<'a>(
    place: &Place,
    target: &'a Target,
    (plan, set): (&'a Plan, &Set),
    ports: &'a Ports,
    upstream: &Running,
    cores: Cores,
) -> Result<Bench<'a>, Failure> {
    let directory = place.scratch.join(&target.name);
    empty(&directory)?;
    let port = free_port()?;
    let mut words = Words {
        servers: ports.servers.clone(),
        legacy: ports.legacy.clone(),
        ..Words::default()
    };
    words.words.insert("wide", ports.wide.to_string());
    words
        .words
        .insert("bench", place.ourselves.to_string_lossy().into_owned());
    words.words.insert("port", port.to_string());
    words
        .words
        .insert("directory", directory.to_string_lossy().into_owned());
    if set.certificates {
        pki::write(&directory)?;
        words.words.insert("inner", free_port()?.to_string());
    }
    let first = target.command.first().map(String::as_str).unwrap_or_default();
    let program = match (&target.program, first) {
        (Some(program), "@together@") => {
            let found = found(place, program)?.to_string_lossy().into_owned();
            words.words.insert("program", found);
            place.ourselves.clone()
        }
        (Some(program), _) => found(place, program)?,
        (None, "@floor@") => place.ourselves.clone(),
        (None, "@meshgate@") => place.meshgate.clone(),
        (None, name) => on_path(name).ok_or_else(|| format!("`{name}` is not on the path"))?,
    };
    if !program.is_file() {
        return Err(format!("{} is not there; build it with --release", program.display()));
    }
    Ok(Bench {
        target,
        program,
        ourselves: place.ourselves.clone(),
        words,
        directory,
        port,
        plan,
        upstream: upstream.id(),
        ports,
        target_core: cores.target,
        other_core: cores.other,
    })
}

/// A program of somebody else: from the path, or installed from PyPI into an environment of its own.
fn found(place: &Place, program: &Program) -> Result<PathBuf, Failure> {
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

fn on_path(name: &str) -> Option<PathBuf> {
    let mut directories: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    // Servers are installed where a person's path does not always look.
    directories.push("/usr/sbin".into());
    directories
        .into_iter()
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
