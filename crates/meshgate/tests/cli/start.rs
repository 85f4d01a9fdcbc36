//! Starts that are refused, and what they say. Nothing is bound and nothing is run in any of them.

use std::os::unix::fs::PermissionsExt as _;

use super::{Ended, Place, away_mesh, mesh};

const APPLICATION: &str = "---\napiVersion: meshgate.dev/v1alpha1\nkind: Application\nmetadata: {name: assistant}\n\
    spec: {views: [\"*\"], tokens: [{file: token.txt}]}\n";
const GOOD_TOKEN: &str = "mg_0123456789abcdefghijklmnopqrstuvwxyz0123456";

fn refused(place: &Place, text: &str, code: i32, part: &str) -> Ended {
    place.file("mesh.yaml", text);
    let ended = place.run(&["up"]);
    assert_eq!(ended.code, code, "{}", ended.err);
    assert!(ended.err.contains(part), "`{part}` is missing in\n{}", ended.err);
    ended
}

#[test]
fn without_a_file_the_start_explains_what_to_write() {
    let ended = Place::new().run(&["up"]);
    assert_eq!(ended.code, 64);
    assert!(ended.err.contains("there is no `mesh.yaml` and no `mcp.json`") && ended.err.contains("mcpServers"));
}

#[test]
fn a160_an_open_address_without_tls_is_refused() {
    for address in ["0.0.0.0:0", "\"[::]:0\"", "192.0.2.1:7300", "\"[::ffff:0.0.0.0]:0\""] {
        let listener = format!("address: {address}");
        refused(&Place::new(), &mesh(&listener, ""), 64, "MG0202");
    }
}

#[test]
fn a160_an_open_address_with_tls_and_nobody_who_could_prove_themselves_is_refused() {
    let listener = "{address: \"0.0.0.0:0\", hosts: [mesh.example], tls: {certificate: a.pem, key: b.pem}}";
    refused(&Place::new(), &mesh(listener, ""), 64, "MG0203");
}

#[test]
fn a160_an_anonymous_view_beyond_loopback_is_refused() {
    let listener = "{address: \"0.0.0.0:0\", hosts: [mesh.example], tls: {certificate: a.pem, key: b.pem}}";
    let view = "---\napiVersion: meshgate.dev/v1alpha1\nkind: View\nmetadata: {name: open}\n\
        spec: {servers: [{name: ledger}], anonymous: true}\n";
    refused(
        &Place::new(),
        &mesh(listener, &format!("{view}{APPLICATION}")),
        64,
        "MG0405",
    );
}

#[test]
fn a160_an_empty_list_of_listeners_never_means_every_address() {
    refused(
        &Place::new(),
        &away_mesh().replace("\n    - address: 127.0.0.1:0", " []"),
        64,
        "MG0201",
    );
}

#[test]
fn certificates_that_cannot_be_used_stop_the_start_by_name() {
    let place = Place::new();
    place.file("token.txt", GOOD_TOKEN);
    let listener = "{address: \"127.0.0.1:0\", tls: {certificate: a.pem, key: b.pem}}";
    refused(&place, &mesh(listener, APPLICATION), 64, "a.pem");
    place.file("a.pem", "no certificate");
    place.file("b.pem", "CANARY");
    let ended = refused(&place, &mesh(listener, APPLICATION), 64, "holds no certificate");
    assert!(!ended.err.contains("CANARY"));
}

#[test]
fn a_token_that_is_missing_or_weak_stops_the_start() {
    let place = Place::new();
    refused(&place, &mesh("address: 127.0.0.1:0", APPLICATION), 64, "token.txt");
    place.file("token.txt", "CANARY");
    let ended = refused(&place, &mesh("address: 127.0.0.1:0", APPLICATION), 64, "too short");
    assert!(!ended.err.contains("CANARY"));
}

#[test]
fn two_applications_with_one_token_are_refused() {
    let place = Place::new();
    place.file("token.txt", GOOD_TOKEN);
    place.file("other.txt", GOOD_TOKEN);
    let other = APPLICATION
        .replace("assistant", "robot")
        .replace("token.txt", "other.txt");
    let ended = refused(
        &place,
        &mesh("address: 127.0.0.1:0", &format!("{APPLICATION}{other}")),
        64,
        "also proves",
    );
    assert!(!ended.err.contains(GOOD_TOKEN));
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&Place::new(), &mesh(&format!("address: {address}"), ""), 71, &address);
}

#[test]
fn a_state_directory_that_others_may_enter_is_refused() {
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    std::fs::set_permissions(place.state(), std::fs::Permissions::from_mode(0o755)).unwrap();
    refused(&place, &away_mesh(), 73, "chmod 700");
}

#[test]
fn commands_that_ask_a_gateway_say_that_none_runs() {
    let place = Place::new();
    for args in [&["status"][..], &["tools"], &["call", "x"]] {
        let ended = place.run(args);
        assert_eq!(ended.code, 69, "{}", ended.err);
        assert!(
            ended.err.contains("no gateway is running") && ended.err.contains("meshgate up"),
            "{}",
            ended.err
        );
    }
}
