//! A mesh whose parts are processes of their own, and what an operator does to it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use meshgate_testkit::StdioServer;

use super::mesh::{adder, json, mesh_of};
use super::{Ended, Place};

/// A part that runs; it ends with the test.
struct Part {
    child: Child,
    said: Receiver<String>,
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Part {
    fn start(place: &Place, state: &str, args: &[&str]) -> Self {
        let mut command = place.command(args);
        command.env("MESHGATE_STATE", place.path().join(state));
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (say, said) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self { child, said }
    }

    /// The rest of the line that begins with `part`.
    fn hear(&self, part: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        let mut heard = Vec::new();
        while let Ok(line) = self.said.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Some((_, rest)) = line.split_once(part) {
                return rest.trim().to_owned();
            }
            heard.push(line);
        }
        panic!("never heard `{part}`, only:\n{}", heard.join("\n"));
    }
}

/// A control plane, a gateway `edge` and a sidecar of `ledger`.
struct Mesh {
    place: Place,
    server: StdioServer,
    text: String,
    _control: Part,
    parts: Vec<Part>,
}

impl Mesh {
    fn start() -> Self {
        let place = Place::new();
        let server = adder();
        let control = Part::start(
            &place,
            "state",
            &["control", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"],
        );
        let address = control.hear("proxies ");
        let stdio = mesh_of(&[("ledger", &server)]);
        let text = format!(
            "{}spec: {{sidecar: {{version: v1}}}}\n",
            stdio.rsplit_once("spec:").unwrap().0
        );
        let text = text.replace("accessLog: {file: records.jsonl}", "accessLog: off");
        place.file("mesh.yaml", &text);
        let applied = place.run(&["apply", "-f", "mesh.yaml"]);
        assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
        let token = |name: &str, args: &[&str]| {
            let made = place.run(&[&["join-token"], args].concat());
            assert_eq!(made.code, 0, "{}", made.err);
            place.file(name, &made.out);
        };
        token("edge.join", &["--gateway", "edge"]);
        token("ledger.join", &["--server", "ledger"]);
        let joins = |file| {
            [
                "--control",
                &address,
                "--mesh-listen",
                "127.0.0.1:0",
                "--join-token-file",
                file,
            ]
        };
        let gateway = [&["gateway", "--name", "edge"], &joins("edge.join")[..]].concat();
        let command: Vec<&str> = std::iter::once(server.command.as_str())
            .chain(server.args.iter().map(String::as_str))
            .collect();
        let sidecar = [
            &["sidecar", "--server", "ledger"],
            &joins("ledger.join")[..],
            &["--"],
            &command,
        ]
        .concat();
        let parts = vec![
            Part::start(&place, "gateway", &gateway),
            Part::start(&place, "sidecar", &sidecar),
        ];
        let mesh = Self {
            place,
            server,
            text,
            _control: control,
            parts,
        };
        mesh.place.until(&["status", "-o", "json"], |ended| {
            let status = json(ended);
            let proxies = status["controlPlane"]["proxies"].as_array().unwrap();
            proxies.len() == 2
                && proxies
                    .iter()
                    .all(|proxy| proxy["current"] == true && proxy["state"] == "up")
        });
        mesh
    }
}

const VIEW: &str =
    "apiVersion: meshgate.dev/v1alpha1\nkind: View\nmetadata: {name: extra}\nspec: {servers: [{name: ledger}]}\n";

#[test]
fn a_change_that_is_waited_for_is_served_by_all_when_the_command_ends_and_a_stranger_is_never_one_of_them() {
    let mesh = Mesh::start();
    let place = &mesh.place;
    place.file("view.yaml", VIEW);
    let dry = place.run(&["apply", "-f", "view.yaml", "--dry-run"]);
    assert!(
        dry.code == 3 && dry.out.contains("+ View/extra"),
        "{}{}",
        dry.out,
        dry.err
    );
    assert_eq!(place.run(&["diff", "view.yaml"]).code, 3);
    let applied = place.run(&["apply", "-f", "view.yaml", "--wait"]);
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    assert!(applied.out.contains("2 of 2 part(s) serve it"), "{}", applied.out);
    let status = json(&place.run(&["status", "-o", "json"]));
    let newest = &status["controlPlane"]["revision"];
    for proxy in status["controlPlane"]["proxies"].as_array().unwrap() {
        assert_eq!(&proxy["revision"], newest, "{proxy}");
    }
    let again = place.run(&["apply", "-f", "view.yaml"]);
    assert!(again.code == 0 && again.out.contains("nothing to do"), "{}", again.out);
    let stale = place.run(&["delete", "view", "extra", "--if-revision", "1"]);
    assert_eq!(stale.code, 1, "{}{}", stale.out, stale.err);
    assert_eq!(place.run(&["delete", "view", "extra"]).code, 0);
    assert_eq!(place.run(&["check"]).code, 0);
    let _ = (&mesh.server, &mesh.text);
}

#[test]
fn a_bad_file_is_refused_at_its_line_with_a_remedy_and_changes_nothing() {
    let mesh = Mesh::start();
    let place = &mesh.place;
    let revision = || json(&place.run(&["status", "-o", "json"]))["controlPlane"]["revision"].clone();
    let before = revision();
    place.file("bad.yaml", &VIEW.replace("servers:", "severs:"));
    let refused = place.run(&["apply", "-f", "bad.yaml"]);
    assert_eq!(refused.code, 1, "{}{}", refused.out, refused.err);
    for part in ["MG0003", "bad.yaml:4", "severs", "refused: revision"] {
        assert!(refused.out.contains(part), "`{part}` is missing in\n{}", refused.out);
    }
    place.file("lost.yaml", &VIEW.replace("ledger", "nobody"));
    let refused = place.run(&["apply", "-f", "lost.yaml"]);
    assert!(
        refused.code == 1
            && refused.out.contains("MG0403")
            && refused.out.contains("lost.yaml:4")
            && refused.out.contains("help:"),
        "{}",
        refused.out
    );
    assert_eq!(revision(), before);
}

#[test]
fn an_api_with_a_certificate_is_asked_by_name_from_anywhere_and_from_its_own_directory() {
    let place = Place::new();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let issued = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = place.file("api.crt", &issued.cert.pem());
    place.file("api.key", &issued.signing_key.serialize_pem());
    let control = Part::start(
        &place,
        "state",
        &[
            "control",
            "--listen",
            "127.0.0.1:0",
            "--api",
            "0.0.0.0:0",
            "--api-certificate",
            "api.crt",
            "--api-key",
            "api.key",
        ],
    );
    let port = control.hear("operators ").rsplit_once(':').unwrap().1.to_owned();
    place.file(
        "view.yaml",
        &mesh_of(&[]).replace("accessLog: {file: records.jsonl}", "accessLog: off"),
    );
    // From its own directory, and from elsewhere with its address and its token.
    let here = ["apply", "-f", "view.yaml", "--control-ca", "api.crt"];
    let applied = place.run(&here);
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    let url = format!("https://localhost:{port}");
    let token = place.state().join("control/operator-token");
    let elsewhere = |ca: Option<&std::path::Path>, url: &str| {
        let mut command = place.command(&["get", "Mesh", "-o", "json", "--control", url]);
        command.env("MESHGATE_STATE", place.path().join("elsewhere"));
        command.env("MESHGATE_OPERATOR_TOKEN_FILE", &token);
        if let Some(ca) = ca {
            command.env("MESHGATE_API_CA", ca);
        }
        Ended::from(command.output().unwrap())
    };
    let got = elsewhere(Some(&certificate), &url);
    assert_eq!(json(&got)[0]["document"]["metadata"]["name"], "test", "{}", got.err);
    let doubted = elsewhere(None, &url);
    assert!(
        doubted.code == 69 && doubted.err.contains("is not believed here") && doubted.err.contains("--control-ca"),
        "{}",
        doubted.err
    );
    let plain = elsewhere(Some(&certificate), &format!("http://localhost:{port}"));
    assert_eq!(plain.code, 69, "{}", plain.err);
}

#[test]
fn a_sidecar_that_is_gone_is_found_by_the_check() {
    let mut mesh = Mesh::start();
    assert_eq!(mesh.place.run(&["check"]).code, 0);
    drop(mesh.parts.pop());
    let found = mesh.place.until(&["check"], |ended| ended.code == 1);
    assert!(
        found.out.contains("MG2301") && found.out.contains("help:"),
        "{}",
        found.out
    );
}
