//! The drills themselves.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Found,
    load::Load,
    scene::{Scene, Stage, TOKEN, field, mesh},
    spaces,
};
use crate::{Failure, command};

/// Where gateways listen unless they are told.
const LISTENER: &str = "127.0.0.1:0";
/// The default life of a certificate.
const LIFE: &str = "36h";
/// How long something that goes by itself may take on a small machine.
const BY_ITSELF_MAX: Duration = Duration::from_secs(90);

pub(super) fn apart(stage: &Stage<'_>) -> Found {
    let mut scene = Scene::new(stage)?;
    scene.control()?;
    scene.apply(&mesh(LIFE, LISTENER, None))?;
    scene.sidecar("d1", "documents")?;
    scene.sidecar("p1", "projects")?;
    scene.gateway("g1")?;
    scene.ready("g1")?;
    let authority = scene.authority("g1")?;
    let answer = assist(&scene, &authority)?;
    let eras: Vec<String> = scene
        .proxies()
        .iter()
        .map(|proxy| field(proxy, "era").to_owned())
        .collect();
    if !eras.contains(&"modern".to_owned()) || !eras.contains(&"legacy".to_owned()) {
        return Err(format!("the control plane was not told both eras: {eras:?}"));
    }
    Ok(format!("4 processes and 2 servers; CorpAssist: \"{answer}\""))
}

/// Lets CorpAssist answer its question, and says what it found out.
fn assist(scene: &Scene<'_>, authority: &str) -> Found {
    let mut command = scene.program("corpassist")?;
    command
        .env("MESHGATE_URL", format!("http://{authority}/mcp"))
        .env("MESHGATE_TOKEN", TOKEN);
    let said = command::output(&mut command)?;
    let line = said.lines().find(|line| line.contains("leads Project Titan"));
    line.map(|line| line.trim().to_owned())
        .ok_or(format!("CorpAssist did not find its answer:\n{said}"))
}

pub(super) fn without_control(stage: &Stage<'_>) -> Found {
    let mut scene = Scene::new(stage)?;
    scene.whole(&mesh(LIFE, LISTENER, None))?;
    let gateways = [scene.authority("g1")?, scene.authority("g2")?];
    let load = Load::start(&gateways);
    sleep(Duration::from_secs(1));
    scene.kill("control")?;
    sleep(Duration::from_secs(1));
    let began = Instant::now();
    for (name, server) in [
        ("d1", "documents"),
        ("d2", "documents"),
        ("p1", "projects"),
        ("p2", "projects"),
    ] {
        scene.stop(name)?;
        scene.sidecar(name, server)?;
        serves(&mut scene, name)?;
        // The gateways try an endpoint that was away again by themselves.
        sleep(Duration::from_secs(3));
    }
    for (number, name) in [(1, "g1"), (2, "g2")] {
        load.take_out(number);
        scene.stop(name)?;
        scene.gateway(name)?;
        scene.ready(name)?;
        load.take_out(0);
    }
    let took = began.elapsed().as_secs();
    sleep(Duration::from_secs(1));
    let calls = load.end()?;
    let again = Load::start(&gateways);
    scene.control()?;
    scene.wait("all proxies at the control plane again", BY_ITSELF_MAX, |scene| {
        scene
            .proxies()
            .iter()
            .filter(|proxy| proxy.get("connected") == Some(&Value::Bool(true)))
            .count()
            == 6
    })?;
    sleep(Duration::from_secs(2));
    let more = again.end()?;
    Ok(format!(
        "4 sidecars and 2 gateways restarted in {took} s without a control plane: {calls} calls, 0 failed; it came back, 6 \
         proxies followed it again: {more} calls, 0 failed"
    ))
}

/// Waits until a part that was started again serves, by its own word.
fn serves(scene: &mut Scene<'_>, name: &str) -> Result<(), Failure> {
    let name = name.to_owned();
    scene.wait(&format!("`{name}` from its disk"), BY_ITSELF_MAX, |scene| {
        scene.log(&name).contains("started from disk") && scene.log(&name).contains("server is up")
    })
}

pub(super) fn day_without_control(stage: &Stage<'_>) -> Found {
    let mut scene = Scene::with_clock(stage)?;
    scene.whole(&mesh(LIFE, LISTENER, None))?;
    let gateways = [scene.authority("g1")?, scene.authority("g2")?];
    scene.kill("control")?;
    let load = Load::start(&gateways);
    sleep(Duration::from_secs(1));
    scene.move_clock("+23h")?;
    sleep(Duration::from_secs(2));
    scene.move_clock("+85800")?;
    sleep(Duration::from_secs(3));
    scene.stop("d1")?;
    scene.sidecar("d1", "documents")?;
    serves(&mut scene, "d1")?;
    sleep(Duration::from_secs(3));
    load.take_out(1);
    scene.stop("g1")?;
    scene.gateway("g1")?;
    scene.ready("g1")?;
    load.take_out(0);
    sleep(Duration::from_secs(1));
    let calls = load.end()?;
    let status = scene.status("g1")?;
    let member = status.get("member").cloned().unwrap_or_default();
    if member.get("connected") != Some(&Value::Bool(false)) {
        return Err(format!(
            "the gateway does not say that the control plane is away: {member}"
        ));
    }
    Ok(format!(
        "{calls} calls across the jump and a restart of a sidecar and a gateway, 0 failed; alarm of the certificate: {}",
        if field(&member, "certificateAlarm").is_empty() {
            "none"
        } else {
            field(&member, "certificateAlarm")
        }
    ))
}

pub(super) fn slept(stage: &Stage<'_>) -> Found {
    let mut scene = Scene::with_clock(stage)?;
    scene.whole(&mesh(LIFE, LISTENER, None))?;
    let before = ends(&scene);
    scene.move_clock("+48h")?;
    let began = Instant::now();
    scene.wait("six new certificates", BY_ITSELF_MAX, |scene| {
        let now = scene.proxies();
        now.iter()
            .filter(|proxy| proxy.get("connected") == Some(&Value::Bool(true)))
            .count()
            == 6
            && now
                .iter()
                .all(|proxy| field_u64(proxy, "certificateEndsMs") > after_sleep(&before))
    })?;
    let gateways = [scene.authority("g1")?, scene.authority("g2")?];
    scene.ready("g1")?;
    scene.ready("g2")?;
    let took = began.elapsed().as_secs_f64();
    let load = Load::start(&gateways);
    sleep(Duration::from_secs(3));
    let calls = load.end()?;
    Ok(format!(
        "all 6 had certificates again after {took:.1} s, and {calls} calls had results, 0 failed"
    ))
}

/// When the certificates end, in milliseconds since 1970.
fn ends(scene: &Scene<'_>) -> Vec<u64> {
    scene
        .proxies()
        .iter()
        .map(|proxy| field_u64(proxy, "certificateEndsMs"))
        .collect()
}

/// The last of them.
fn after_sleep(before: &[u64]) -> u64 {
    before.iter().copied().max().unwrap_or_default()
}

fn field_u64(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

pub(super) fn rotations(stage: &Stage<'_>) -> Found {
    let mut scene = Scene::new(stage)?;
    scene.whole(&mesh("6s", LISTENER, None))?;
    let gateways = [scene.authority("g1")?, scene.authority("g2")?];
    // The certificates of the start are those of the first mesh file; from now on each is good for six seconds.
    let issued = issuances(&scene)?;
    let load = Load::start(&gateways);
    sleep(stage.under_load / 3);
    scene.api("POST", "/v1/key-ring/rotate", None)?;
    sleep(stage.under_load / 3);
    scene.api("POST", "/v1/certificates/rotate-root", None)?;
    scene.wait("the end of the root's rotation", BY_ITSELF_MAX, |scene| {
        let answer = scene.api("GET", "/v1/certificates", None).unwrap_or_default();
        answer.get("rotation").is_none_or(Value::is_null)
    })?;
    sleep(stage.under_load / 3);
    let calls = load.end()?;
    let signed = issuances(&scene)?.saturating_sub(issued);
    if signed < 6 {
        return Err(format!("only {signed} certificates were signed"));
    }
    Ok(format!(
        "{signed} certificates signed, one root and one key ring replaced: {calls} calls, 0 failed"
    ))
}

/// How many certificates have been signed.
fn issuances(scene: &Scene<'_>) -> Result<usize, Failure> {
    let answer = scene.api("GET", "/v1/issuances/verify", None)?;
    let entries = answer.get("entries").or(answer.get("length")).and_then(Value::as_u64);
    let entries = entries.ok_or(format!("the issuance log says nothing of its length: {answer}"))?;
    usize::try_from(entries).map_err(|e| e.to_string())
}

pub(super) fn refused_resource(stage: &Stage<'_>) -> Found {
    let mut scene = Scene::new(stage)?;
    scene.whole(&mesh(LIFE, LISTENER, None))?;
    let gateways = [scene.authority("g1")?, scene.authority("g2")?];
    let load = Load::start(&gateways);
    // The control plane has no way to know that this file is not on the gateways' machines.
    scene.apply(&mesh(LIFE, LISTENER, Some("{file: /no/such/token}")))?;
    scene.wait("two gateways that refuse", BY_ITSELF_MAX, |scene| {
        refusing(scene).len() == 2
    })?;
    let why = refusing(&scene).first().cloned().unwrap_or_default();
    if !why.contains("assist") {
        return Err(format!("the refusal does not name the resource: {why}"));
    }
    let told = scene.status("g1")?;
    let told = told
        .get("member")
        .map(|member| field(member, "refused").to_owned())
        .unwrap_or_default();
    if told.is_empty() {
        return Err("the gateway's own status does not say what it refuses".into());
    }
    sleep(Duration::from_secs(1));
    scene.apply(&mesh(LIFE, LISTENER, None))?;
    scene.wait("gateways that refuse nothing", BY_ITSELF_MAX, |scene| {
        refusing(scene).is_empty()
    })?;
    let calls = load.end()?;
    Ok(format!(
        "both gateways refused \"{why}\"; {calls} calls meanwhile, 0 failed; repaired, it was taken"
    ))
}

/// What proxies refuse.
fn refusing(scene: &Scene<'_>) -> Vec<String> {
    let proxies = scene.proxies();
    let refused = proxies.iter().map(|proxy| field(proxy, "refuses").to_owned());
    refused.filter(|why| !why.is_empty()).collect()
}

pub(super) fn five_networks(stage: &Stage<'_>) -> Found {
    let spaces = match spaces::Spaces::new() {
        Ok(spaces) => spaces,
        Err(why) => return Ok(format!("NOT RUN: networks of their own are not permitted here ({why})")),
    };
    spaces::drill(stage, &spaces)
}
