//! A gateway that runs: what it makes, what it answers, and how it ends. Its one server is away throughout.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::up::{Request, Up};
use super::{Place, away_mesh, mesh};

#[test]
fn a_first_start_makes_a_private_state_directory_and_a_second_owner_is_refused() {
    let up = Up::start(&away_mesh());
    for (name, mode) in [
        ("", 0o700),
        ("token", 0o600),
        ("key-ring", 0o600),
        ("lock", 0o600),
        ("admin.sock", 0o600),
    ] {
        assert_eq!(up.mode(name), mode, "{name:?}");
    }
    let second = up.place.run(&["up"]);
    assert_eq!(second.code, 75, "{}", second.err);
    assert!(
        second.err.contains(&format!("process ({})", up.child.id())),
        "{}",
        second.err
    );
}

#[test]
fn d36_nothing_a_start_says_holds_the_token() {
    let mut up = Up::start(&away_mesh());
    let token = up.token();
    assert!(token.starts_with("mg_"));
    let line = up.hear("token");
    assert!(line.contains("made just now") && !line.contains(token.trim()), "{line}");
    let answer = up.call(&Request {
        method: "tools/list",
        token: Some(token.trim()),
        ..Request::default()
    });
    assert!(!answer.starts_with("HTTP/1.1 401"), "{answer}");
    up.signal("-TERM");
    up.end();
    let rest: Vec<_> = up.said.iter().collect();
    assert!(!rest.join("\n").contains(token.trim()));
    let command = std::fs::read(format!("/proc/{}/cmdline", std::process::id())).unwrap();
    assert!(!String::from_utf8_lossy(&command).contains(token.trim()));
}

#[test]
fn a160_loopback_asks_for_the_token_too() {
    let up = Up::start(&away_mesh());
    for token in [None, Some("mg_wrong"), Some("")] {
        let answer = up.call(&Request {
            method: "tools/list",
            token,
            ..Request::default()
        });
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(
            answer.to_ascii_lowercase().contains("www-authenticate: bearer"),
            "{answer}"
        );
    }
}

#[test]
fn a_server_that_is_away_harms_nobody_and_is_named() {
    let up = Up::start(&away_mesh());
    up.hear("server is away");
    let status = up.status_until(|status| status["servers"][0]["state"] == "away");
    assert_eq!(status["servers"][0]["name"], "ledger");
    assert!(status["servers"][0]["why"].is_string(), "{status}");
    let tools = up.place.run(&["tools"]);
    assert!(
        tools.code == 0 && tools.out.contains("away, so their tools are missing: ledger"),
        "{}",
        tools.out
    );
    let call = up.place.run(&["call", "append"]);
    assert!(call.code == 1 && call.err.contains("are away"), "{}", call.err);
    let text = up.place.run(&["status"]);
    assert!(text.out.contains(" ledger  away "), "{}", text.out);
}

#[test]
fn the_admin_socket_gives_metrics_and_probes() {
    let up = Up::start(&away_mesh());
    let ask = |path: &str| up.admin(path);
    assert!(ask("/healthz").starts_with("HTTP/1.1 200"));
    assert!(ask("/readyz").starts_with("HTTP/1.1 200"));
    let metrics = ask("/metrics");
    assert!(
        metrics.contains("meshgate_server_up{server=\"ledger\"} 0") && metrics.contains("# EOF"),
        "{metrics}"
    );
}

#[test]
fn a_signal_drains_and_ends_with_success() {
    for name in ["-TERM", "-INT"] {
        let mut up = Up::start(&away_mesh());
        up.signal(name);
        assert_eq!(up.end(), 0, "{name}");
        assert!(!up.place.state().join("admin.sock").exists());
    }
}

#[test]
fn after_a_sigkill_the_next_start_finds_everything_free() {
    let mut up = Up::start(&away_mesh());
    let token = std::fs::read(up.place.state().join("token")).unwrap();
    up.signal("-KILL");
    up.end();
    let place = std::mem::replace(&mut up.place, Place::new());
    let again = Up::start_in(place);
    assert_eq!(std::fs::read(again.place.state().join("token")).unwrap(), token);
    assert_eq!(again.status()["mesh"], "test");
}

#[test]
fn a_scrape_address_is_said_and_answers_metrics_only() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let text = away_mesh().replace(
        "spec: {accessLog: off}",
        &format!("spec: {{accessLog: off, admin: {{address: \"{free}\"}}}}"),
    );
    let up = Up::start(&text);
    up.hear(&format!("http://{free}/metrics"));
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(free).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {free}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/metrics").starts_with("HTTP/1.1 200"));
    assert!(ask("/status").starts_with("HTTP/1.1 404"));
}

#[test]
fn an_access_log_file_gets_one_line_per_call() {
    let text = away_mesh().replace("{accessLog: off}", "{accessLog: {file: access.jsonl}}");
    let mut up = Up::start(&text);
    let token = up.token();
    up.call(&Request {
        method: "tools/list",
        token: Some(token.trim()),
        ..Request::default()
    });
    up.call(&Request {
        method: "tools/list",
        ..Request::default()
    });
    up.signal("-TERM");
    assert_eq!(up.end(), 0);
    let log = std::fs::read_to_string(up.place.path().join("access.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert_eq!(
        (&lines[0]["application"], &lines[0]["method"]),
        (&"local".into(), &"tools/list".into()),
        "{log}"
    );
    assert_eq!(
        (&lines[1]["httpStatus"], &lines[1]["reason"]),
        (&401.into(), &"unauthenticated".into()),
        "{log}"
    );
    assert!(!log.contains(token.trim()));
}

#[test]
fn a_listener_with_tls_serves_tls_and_says_https() {
    let place = Place::new();
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    place.file("cert.pem", &issued.cert.pem());
    place.file("key.pem", &issued.signing_key.serialize_pem());
    let listener = "{address: \"127.0.0.1:0\", tls: {certificate: cert.pem, key: key.pem}}";
    place.file("mesh.yaml", &mesh(listener, ""));
    let up = Up::start_in(place);
    let status = up.status();
    assert!(
        status["listeners"][0]["url"]
            .as_str()
            .unwrap()
            .starts_with("https://127.0.0.1:")
    );
    let plain = up.ask("GET / HTTP/1.1\r\nHost: @host@\r\n\r\n");
    assert!(!plain.starts_with("HTTP/1.1 200"), "{plain}");
    let call = up.place.run(&["call", "append"]);
    assert_ne!(call.code, 0);
}
