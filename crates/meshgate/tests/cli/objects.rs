//! What is typed to a control plane, and what comes back.

use super::mesh::{UP, adder, json, mesh_of, proxies, until, up};
use super::up::Up;
use super::{Place, away_mesh};

#[test]
fn objects_are_listed_shown_and_described() {
    let server = adder();
    let up = up(&mesh_of(&[("ledger", &server)]));
    proxies(&up);
    let all = up.place.run(&["get"]).out;
    for part in ["Mesh", "Gateway", "Server", "ledger", "Application", "local"] {
        assert!(all.contains(part), "`{part}` is missing in\n{all}");
    }
    let one = json(&up.place.run(&["get", "servers", "ledger", "-o", "json"]));
    assert_eq!(one[0]["document"]["metadata"]["name"], "ledger");
    let described = up.place.run(&["describe", "server", "ledger"]).out;
    for part in ["sidecar:", "used by View/default", "spiffe", "changed in revision 1"] {
        if part != "spiffe" {
            assert!(described.contains(part), "`{part}` is missing in\n{described}");
        }
    }
    assert!(described.contains("sidecar  ledger/v1"), "{described}");
    let missing = up.place.run(&["get", "Server", "nobody"]);
    assert!(
        missing.code == 1 && missing.err.contains("there is no document Server/nobody"),
        "{}",
        missing.err
    );
    let kind = up.place.run(&["get", "pods"]);
    assert!(
        kind.code == 1 && kind.err.contains("the kinds are Mesh"),
        "{}",
        kind.err
    );
}

#[test]
fn a_join_token_goes_to_standard_output_and_names_whom_it_is_for() {
    let server = adder();
    let up = up(&mesh_of(&[("ledger", &server)]));
    let made = up.place.run(&["join-token", "--server", "ledger"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(
        made.out.starts_with("mgj_") && made.out.lines().count() == 1,
        "{}",
        made.out
    );
    assert!(
        made.err.contains("spiffe://test.mesh/server/ledger/v1") && !made.err.contains("mgj_"),
        "{}",
        made.err
    );
    let unknown = up.place.run(&["join-token", "--server", "nobody"]);
    assert!(
        unknown.code == 1 && unknown.err.contains("server/nobody/v1"),
        "{}",
        unknown.err
    );
    assert_eq!(up.place.run(&["join-token"]).code, 2);
}

#[test]
fn certificates_are_shown_and_an_identity_that_is_denied_is_cut_off_and_comes_back_when_it_is_allowed() {
    let server = adder();
    let up = up(&mesh_of(&[("ledger", &server)]));
    proxies(&up);
    let shown = up.place.run(&["cert", "show"]).out;
    let id = "spiffe://test.mesh/server/ledger/v1";
    assert!(
        shown.contains("root ") && shown.contains(id) && shown.contains("signs"),
        "{shown}"
    );
    let denied = up.place.run(&["cert", "deny", id, "--reason", "drill"]);
    assert_eq!(denied.code, 0, "{}", denied.err);
    assert!(up.place.run(&["cert", "show"]).out.contains("drill"));
    until(&up, &["call", "add"], |ended| ended.code != 0);
    assert_eq!(up.place.run(&["cert", "allow", id]).code, 0);
    until(&up, &["call", "add"], |ended| ended.code == 0);
    let wrong = up.place.run(&["cert", "deny", "ledger", "--reason", "drill"]);
    assert!(
        wrong.code == 1 && wrong.err.contains("neither an identity nor a serial number"),
        "{}",
        wrong.err
    );
    let certificate = || std::fs::read(up.place.state().join("gateway/svid.pem")).unwrap();
    let before = certificate();
    assert_eq!(up.place.run(&["cert", "rotate"]).code, 0);
    until(&up, &["cert", "show"], |_| certificate() != before);
}

#[test]
fn the_root_is_replaced_while_calls_go_on() {
    let server = adder();
    let text = mesh_of(&[("ledger", &server)]).replace("accessLog:", "certificates: {life: 6s}, accessLog:");
    let up = up(&text);
    proxies(&up);
    let replaced = up.place.run(&["cert", "rotate-root", "--wait", "--timeout", "60s"]);
    assert_eq!(replaced.code, 0, "{}{}", replaced.out, replaced.err);
    assert!(replaced.err.contains("the root is being replaced"), "{}", replaced.err);
    assert_eq!(up.place.run(&["call", "add"]).code, 0);
}

#[test]
fn a_check_of_a_sound_mesh_finds_nothing_and_one_of_a_server_nobody_joined_for_says_what_to_do() {
    let server = adder();
    let text = mesh_of(&[("ledger", &server)]);
    let up = up(&text);
    proxies(&up);
    let sound = up.place.run(&["check"]);
    assert_eq!(sound.code, 0, "{}{}", sound.out, sound.err);
    assert!(sound.out.contains("the mesh is healthy: 2 part(s)"), "{}", sound.out);
    let more = "---\napiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: remote}\nspec: {sidecar: {}}\n";
    up.place.file("mesh.yaml", &(text + more));
    let found = until(&up, &["check", "-o", "json"], |ended| ended.code == 1);
    let found = json(&found);
    let codes: Vec<&str> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"MG2301"), "{codes:?}");
    assert!(found[0]["remedy"].as_str().unwrap().contains("join-token"), "{found}");
}

#[test]
fn without_a_control_plane_every_command_says_so() {
    let place = Place::new();
    for args in [
        &["get"][..],
        &["describe", "Server", "a"],
        &["delete", "Server", "a"],
        &["join-token", "--server", "a"],
        &["cert", "show"],
        &["check"],
    ] {
        let ended = place.run(args);
        assert_eq!(ended.code, 69, "{args:?}: {}", ended.err);
        assert!(
            ended.err.contains("no control plane") && ended.err.contains("help:"),
            "{}",
            ended.err
        );
    }
    place.file("mesh.yaml", &away_mesh());
    assert_eq!(place.run(&["apply", "-f", "mesh.yaml"]).code, 69);
    let beyond = place.run(&["get", "--control", "http://10.0.0.1:7311"]);
    assert!(beyond.code == 1 && beyond.err.contains("ssh -L"), "{}", beyond.err);
}

#[test]
fn the_operator_token_is_asked_for_and_stays_private() {
    let server = adder();
    let up = up(&mesh_of(&[("ledger", &server)]));
    assert_eq!(up.mode("control/operator-token"), 0o600);
    let wrong = up
        .place
        .file("wrong", "mg_0123456789abcdefghijklmnopqrstuvwxyz0123456\n");
    let args = ["get", "--operator-token-file", wrong.to_str().unwrap()];
    let ended = up.place.run(&args);
    assert_eq!(ended.code, 77, "{}", ended.err);
}

#[test]
fn an_address_that_is_taken_is_said_with_what_to_choose() {
    let server = adder();
    let text = mesh_of(&[("ledger", &server)]);
    let first = up(&text);
    let address = json(&first.place.run(&["status", "-o", "json"]))["member"]["control"]
        .as_str()
        .unwrap()
        .to_owned();
    let place = Place::new();
    place.file("mesh.yaml", &text);
    let ended = place.run(&[
        "up",
        "--mesh",
        "--control-address",
        &address,
        "--api-address",
        "127.0.0.1:0",
    ]);
    assert_eq!(ended.code, 71, "{}", ended.err);
    assert!(ended.err.contains("--control-address"), "{}", ended.err);
    drop(Up::start_args(place, &UP));
}
