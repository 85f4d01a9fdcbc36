//! `gateway`: every target in turn, round after round, and then the table.
//!
//! Rounds are interleaved (A B C, A B C) so that whatever else the machine does meets all of them alike.

use std::{collections::BTreeMap, path::PathBuf};

use clap::builder::PossibleValuesParser;

use crate::{
    Failure, awake,
    fill::Words,
    goals,
    machine::Machine,
    measure::{Bench, Plan, Sample, empty, free_port},
    neighbour::{self, Turns},
    pki,
    place::{Cores, Place, found, on_path, upstream},
    report::{self, Report},
    running::{Core, Running},
    set::Set,
    target::{self, Target},
    upstream::Ports,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Some seconds only, this gateway and the floor, no sessions: shows that the bench works, measures nothing
    #[arg(long)]
    pub(crate) short: bool,
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
    /// Only beside servers that misbehave like this, separated by commas; prints the table and writes no page
    #[arg(long, requires = "neighbours", value_delimiter = ',', value_parser = PossibleValuesParser::new(neighbour::BAD))]
    beside: Vec<String>,
    /// Put target, generator and upstream before everything else on the machine (`chrt -r`; needs the right to)
    #[arg(long)]
    pub(crate) realtime: bool,
    /// Where the results go [default: bench/results]
    #[arg(long)]
    pub(crate) results: Option<PathBuf>,
    /// The gateway to measure [default: `meshgate` beside this program]
    #[arg(long)]
    pub(crate) meshgate: Option<PathBuf>,
}

/// Measures, prints the table, writes it down.
pub(crate) fn run(options: &Options, set: &'static Set) -> Result<(), Failure> {
    let place = Place::find(options.results.as_deref(), options.meshgate.as_deref())?;
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
        return neighbours(&place, &benches, rounds, machine, cores, options);
    }
    let pace = pace(&benches, set)?;
    let samples = measure(&benches, rounds, pace, options.short)?;
    machine.look_again();
    let beside = machine.clone();
    let report = Report::new(set, &targets, &samples, skipped, (machine, &plan), (rounds, pace));
    println!("{}", report.table());
    if options.short {
        if benches.iter().any(|bench| bench.target.neighbours) {
            neighbours(&place, &benches, rounds, beside, cores, options)?;
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

/// The one rate at which all are measured: half of what one of them can do.
fn pace(benches: &[Bench<'_>], set: &Set) -> Result<Option<u32>, Failure> {
    let of = set
        .pace
        .and_then(|name| benches.iter().find(|bench| bench.target.name == name));
    let Some(bench) = of else { return Ok(None) };
    let rate = (bench.capacity()? / 2.0) as u32;
    eprintln!(
        "one rate for all: {rate} calls/s, half of what {} can do",
        bench.target.name
    );
    Ok(Some(rate.max(1)))
}

fn measure<'a>(
    benches: &[Bench<'a>],
    rounds: u32,
    pace: Option<u32>,
    strict: bool,
) -> Result<BTreeMap<&'a str, Vec<Sample>>, Failure> {
    let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for round in 1..=rounds {
        for bench in benches {
            let name = bench.target.name.as_str();
            match bench.round(pace) {
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

/// What calls notice of a server that misbehaves beside theirs: prints it, and writes it down where all of it was measured.
fn neighbours(
    place: &Place,
    benches: &[Bench<'_>],
    rounds: u32,
    mut machine: Machine,
    cores: Cores,
    options: &Options,
) -> Result<(), Failure> {
    let calm = Core {
        realtime: false,
        ..cores.other
    };
    let (_apart, ports) = upstream(place, calm)?;
    let _awake = awake::keep(&place.ourselves, [cores.target, cores.other])?;
    for bench in benches.iter().filter(|bench| bench.target.neighbours) {
        let mut turns = Turns::beside(&options.beside);
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
        if !options.short && options.beside.is_empty() {
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

/// A target with everything it needs.
pub(crate) fn bench<'a>(
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
