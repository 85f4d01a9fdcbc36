//! Every door of a mesh, as a program sees it that knows nothing of this project and looks for what is wrong with TLS.
//!
//! Our own tests ask the doors what we thought of; testssl.sh asks what a decade of weaknesses has taught. The short form
//! asks which versions are spoken; the long one asks everything and writes down what each door answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    thread,
};

use serde_json::Value;

use super::{
    Found,
    scene::{Scene, Stage, mesh_at},
    spaces::edge_certificate,
};
use crate::{
    Failure,
    command::{self, run_logged},
};

const REPORT: &str = "tests/mesh/results/tls.md";
const SHORT: &[&str] = &["-p"];
/// Versions, what the door is by default and prefers, forward secrecy, every weakness with a name, and tolerance.
const LONG: &[&str] = &["-p", "-S", "-P", "-f", "-U", "-g"];
const VERSIONS: [&str; 6] = ["SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3"];

/// What testssl.sh would not have in a public web server, and is meant here.
const MEANT: &[(&str, &str)] = &[
    (
        "cert_trust",
        "the names in these certificates are SPIFFE IDs, and the edge's was made for this run",
    ),
    (
        "cert_chain_of_trust",
        "the authority is the mesh's own, and no browser knows it",
    ),
    (
        "cert_expirationStatus",
        "certificates live for a day and a half and are renewed after a third of it",
    ),
    ("cert_notAfter", "the same"),
    (
        "cert_revocation",
        "who is denied is pushed to every part within seconds, and nobody has to ask for it",
    ),
    (
        "cipher_order",
        "every suite that is offered has forward secrecy and authenticates what it encrypts; the client knows which its machine is fast at",
    ),
];

/// A door, and who is behind it.
struct Door {
    what: &'static str,
    port: u16,
    inside: bool,
}

/// What was found out about one door, by the names that testssl.sh gives: how bad, and in its words.
type Answers = BTreeMap<String, (String, String)>;

/// Looks at the edge and at the three doors inside.
pub(super) fn a108_another_program_finds_nothing_below_tls_1_3_inside_and_1_2_at_the_edge(stage: &Stage<'_>) -> Found {
    let mut scene = Scene::new(stage)?;
    let port = scene.port("g1")?;
    let (certificate, key) = edge_certificate(&scene.folder)?;
    let listener =
        format!("{{address: \"127.0.0.1:{port}\", tls: {{certificate: \"{certificate}\", key: \"{key}\"}}}}");
    scene.control()?;
    scene.apply(&mesh_at("36h", &listener, None))?;
    scene.sidecar("d1", "documents")?;
    scene.gateway("g1")?;
    scene.all_up(2)?;
    let mut door = |what, of: &str, inside| -> Result<Door, Failure> {
        let port = scene.port(of)?;
        Ok(Door { what, port, inside })
    };
    let doors = [
        door("the edge of a gateway", "g1", false)?,
        door("the mesh port of a sidecar", "d1", true)?,
        door("the mesh port of a gateway", "g1-mesh", true)?,
        door("the control plane's port for parts", "control", true)?,
    ];
    let questions = if stage.long { LONG } else { SHORT };
    let asked: Vec<_> = thread::scope(|scope| {
        let each = doors
            .iter()
            .map(|door| scope.spawn(|| look(stage, &scene.folder, door, questions)));
        let each: Vec<_> = each.collect();
        each.into_iter()
            .map(|look| look.join().unwrap_or_else(|_| Err("a look has panicked".into())))
            .collect()
    });
    let mut all = Vec::new();
    for (door, answers) in doors.iter().zip(asked) {
        let answers = answers?;
        judge(door, &answers)?;
        all.push(answers);
    }
    if stage.long && stage.writes {
        let path = stage.place.root().join(REPORT);
        fs::write(&path, report(&doors, &all)).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    Ok(format!(
        "testssl.sh asked {} doors {} questions: TLS 1.3 alone inside, 1.2 and 1.3 at the edge{}",
        doors.len(),
        all.iter().map(BTreeMap::len).sum::<usize>(),
        if stage.long {
            ", none of the weaknesses it knows"
        } else {
            ""
        }
    ))
}

/// What testssl.sh says about one door.
fn look(stage: &Stage<'_>, folder: &Path, door: &Door, questions: &[&str]) -> Result<Answers, Failure> {
    let file = folder.join(format!("{}.json", door.port));
    let mut testssl = command::program(stage.place, "testssl");
    testssl.args([
        "--quiet",
        "--warnings",
        "off",
        "--color",
        "0",
        "--nodns",
        "none",
        "--ip",
        "127.0.0.1",
    ]);
    testssl
        .arg("--jsonfile")
        .arg(&file)
        .args(questions)
        .arg(format!("127.0.0.1:{}", door.port));
    // Its exit code counts what it does not like; what it found is in the file.
    let ended = run_logged(&mut testssl, &stage.place.log(&format!("{}-{}", stage.name, door.port)));
    let Ok(text) = fs::read_to_string(&file) else {
        ended?;
        return Err(format!("testssl.sh wrote nothing about {}", door.what));
    };
    let found: Vec<Value> = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    let field = |one: &Value, name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let each = found
        .iter()
        .map(|one| (field(one, "id"), (field(one, "severity"), field(one, "finding"))));
    Ok(each.collect())
}

/// Whether a door is as it must be.
fn judge(door: &Door, answers: &Answers) -> Result<(), Failure> {
    for version in VERSIONS {
        let said = answers.get(version).map(|(_, said)| said.as_str());
        let said = said.ok_or(format!("{}: nothing is said of {version}", door.what))?;
        let wanted = version == "TLS1_3" || (version == "TLS1_2" && !door.inside);
        if said.starts_with("offered") != wanted {
            return Err(format!("{}: {version} is {said}", door.what));
        }
    }
    let bad = answers.iter().find(|(id, (severity, _))| {
        let bad = ["LOW", "MEDIUM", "HIGH", "CRITICAL"].contains(&severity.as_str());
        bad && reason(id).is_none()
    });
    match bad {
        None => Ok(()),
        Some((id, (severity, said))) => Err(format!("{}: {id} is {severity}: {said}", door.what)),
    }
}

/// Why what testssl.sh does not like is meant here.
fn reason(id: &str) -> Option<&'static str> {
    // It numbers what it says of each of several certificates.
    let id = id.split(' ').next().unwrap_or(id);
    MEANT.iter().find(|(meant, _)| *meant == id).map(|(_, reason)| *reason)
}

fn report(doors: &[Door], all: &[Answers]) -> String {
    let version = command::output(Command::new("testssl").arg("--version")).unwrap_or_default();
    // Its banner is coloured; the version is the first word of figures and points.
    let mut words = version.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
    let version = words.find(|word| word.split('.').count() == 3 && word.starts_with(|c: char| c.is_ascii_digit()));
    let questions: BTreeSet<&str> = all.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
    let lasting = questions
        .into_iter()
        .filter(|id| !ABOUT_THE_RUN.contains(&id.split(' ').next().unwrap_or(id)));
    let said = |answers: &Answers, id: &str| answers.get(id).map_or("–".to_owned(), |(_, said)| said.clone());
    let row = |id: &str, said: Vec<String>| {
        let said: Vec<_> = said.iter().map(|said| said.trim().replace('|', "\\|")).collect();
        format!("| {id} | {} |\n", said.join(" | "))
    };
    let mut text = format!(
        "# The doors of a mesh, as testssl.sh sees them\n\n<!-- Written by `cargo xtask mesh drills --only testssl --long --write`. -->\n\n\
         testssl.sh {} asked each door {}. Inside, it has no certificate, as nobody has who is no part of the\nmesh: it sees \
         the handshake and gets no further.\n\n",
        version.unwrap_or("of this machine"),
        LONG.join(" "),
    );
    text.push_str(&row(
        "question",
        doors.iter().map(|door| door.what.to_owned()).collect(),
    ));
    text.push_str(&row("---", vec!["---".to_owned(); doors.len()]));
    for id in lasting {
        text.push_str(&row(id, all.iter().map(|answers| said(answers, id)).collect()));
    }
    text.push_str("\nWhat it does not like and is meant:\n\n");
    for (id, reason) in MEANT {
        text.push_str(&format!("- `{id}`: {reason}\n"));
    }
    text
}

/// What differs from run to run, and says nothing about a door.
const ABOUT_THE_RUN: &[&str] = &[
    "engine_problem",
    "scanTime",
    "service",
    "optimal_proto",
    "clientAuth",
    "TLS_timestamp",
    "HTTP_clock_skew",
    "cert",
    "cert_caIssuers",
    "cert_serialNumber",
    "cert_serialNumberLen",
    "cert_fingerprintSHA1",
    "cert_fingerprintSHA256",
    "cert_notBefore",
    "cert_notAfter",
    "cert_validityPeriod",
];
