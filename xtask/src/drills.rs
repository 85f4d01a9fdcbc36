//! `mesh drills`: a mesh of whole processes, and what operators fear done to it.
//!
//! Each part is a process of its own: control plane, gateways, sidecars with CorpAssist's two servers. What one process can
//! show is shown in the tests of its crate; here is what needs several: a control plane that is killed, clocks that jump, hosts
//! that sleep, keys that rotate while callers call, parts that cannot see each other but through the network. Every call that is
//! made is counted, and a drill fails with the first answer that is not a result.

use std::{fs, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use crate::{Failure, place::Place, steps::Steps};

mod cases;
mod doors;
mod ledgers;
mod load;
mod scene;
mod spaces;

const REPORT: &str = "tests/mesh/results/drills.md";

/// What is done with a mesh.
#[derive(Subcommand)]
pub(crate) enum What {
    /// Kill, move clocks, rotate and refuse, with each part as its own process
    Drills(Options),
}

/// How the drills are run.
#[derive(Args, Clone, Default)]
pub(crate) struct Options {
    /// Only drills whose name holds this
    #[arg(long)]
    only: Option<String>,
    /// Where the programs are [default: what was built for release]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// As long as it takes to believe it: rotations under load for a minute and more
    #[arg(long)]
    long: bool,
    /// Write what came of it to tests/mesh/results
    #[arg(long)]
    write: bool,
}

/// What a drill found out, in one line for the report.
type Found = Result<String, Failure>;
type Case = fn(&scene::Stage<'_>) -> Found;

const CASES: &[(&str, Case)] = &[
    ("each part is its own process, and CorpAssist answers", cases::apart),
    (
        "the control plane is killed, every proxy restarts meanwhile: no call fails",
        cases::without_control,
    ),
    (
        "clocks at +23 h 50 min with the control plane away: nothing expires, proxies start from disk",
        cases::day_without_control,
    ),
    ("hosts that slept for 48 h enrol again by themselves", cases::slept),
    (
        "certificates every 2 s, a new root and a new key ring under load: no call fails",
        cases::rotations,
    ),
    (
        "a bad resource is refused by name, and what was served is served on",
        cases::refused_resource,
    ),
    (
        "one of two instances is killed under load: only what was there is lost, and says so",
        ledgers::killed_instance,
    ),
    (
        "a gateway is killed between question and answer, then the owner: no call runs twice",
        ledgers::killed_between,
    ),
    ("one legacy session is served by two gateways", ledgers::one_session),
    (
        "testssl looks at every door",
        doors::a108_another_program_finds_nothing_below_tls_1_3_inside_and_1_2_at_the_edge,
    ),
    ("five machines: each part in a network of its own", cases::five_networks),
];

/// Runs what was asked for.
pub(crate) fn run(place: &Place, what: &What) -> Result<(), Failure> {
    let What::Drills(options) = what;
    drills(place, options)
}

/// The drills that every test run has.
pub(crate) fn short(place: &Place) -> Result<(), Failure> {
    drills(place, &Options::default())
}

fn drills(place: &Place, options: &Options) -> Result<(), Failure> {
    let programs = options.programs.clone().unwrap_or_else(|| place.release());
    let mut steps = Steps::default();
    let mut rows = Vec::new();
    for (number, (name, case)) in CASES.iter().enumerate() {
        if options.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let stage = scene::Stage {
            place,
            programs: programs.clone(),
            name: format!("drill-{number}"),
            under_load: Duration::from_secs(if options.long { 90 } else { 12 }),
            long: options.long,
            writes: options.write,
        };
        steps.run(name, || {
            let outcome = case(&stage);
            // A report that left out what failed would say that all is well.
            let found = match &outcome {
                Ok(found) => found.clone(),
                Err(why) => format!("FAILED: {}", why.lines().next().unwrap_or_default()),
            };
            println!("{found}");
            rows.push(format!("| {name} | {found} |"));
            outcome.map(drop)
        });
    }
    // What only some drills found is no report of all.
    if options.write && options.only.is_none() {
        let text = format!(
            "# Drills of a mesh of whole processes\n\n<!-- Written by `cargo xtask mesh drills --write`. -->\n\nEach part is a \
             process of its own; \"calls\" are made without a pause by four callers, to any gateway that listens, and each must be \
             answered with a result.\n\n| drill | what came of it |\n|---|---|\n{}\n",
            rows.join("\n")
        );
        let path = place.root().join(REPORT);
        fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    steps.finish()
}
