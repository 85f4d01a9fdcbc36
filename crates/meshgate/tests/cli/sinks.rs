//! What strangers and secrets leave in everything the gateway writes: its log, its records, its metrics, its status.

use super::Place;
use super::up::{Request, Up};

/// A mesh whose servers are away, given secrets in every way there is.
const MESH: &str = r#"
apiVersion: meshgate.dev/v1alpha1
kind: Mesh
metadata: {name: test}
spec: {accessLog: {file: access.jsonl}}
---
apiVersion: meshgate.dev/v1alpha1
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{address: "127.0.0.1:0"}]}
---
apiVersion: meshgate.dev/v1alpha1
kind: Server
metadata: {name: remote}
spec:
  http:
    url: "http://127.0.0.1:9/mcp"
    headers: {authorization: {fromFile: secret.txt, prefix: "Bearer "}}
---
apiVersion: meshgate.dev/v1alpha1
kind: Server
metadata: {name: local}
spec:
  stdio:
    command: "false"
    env: {API_KEY: {fromFile: secret.txt}}
"#;

/// A gateway that writes everything it can, and all of it once it has ended.
struct Watched(Up);

impl Watched {
    fn start() -> Self {
        let place = Place::new();
        place.file("mesh.yaml", MESH);
        place.file("secret.txt", "CANARY-in-a-file\n");
        Self(Up::start_with(place, &[("MESHGATE_LOG", "trace")]))
    }

    fn everything(mut self) -> String {
        let mut all = self.0.place.run(&["status", "-o", "json"]).out;
        all.push_str(&self.0.place.run(&["tools"]).out);
        all.push_str(self.0.admin("/metrics").split_once("\r\n\r\n").unwrap().1);
        self.0.signal("-TERM");
        assert_eq!(self.0.end(), 0);
        all.extend(self.0.said.iter().map(|line| line + "\n"));
        all.push_str(&std::fs::read_to_string(self.0.place.path().join("access.jsonl")).unwrap());
        all
    }
}

/// A secret in every place where a caller can put one.
fn calls_with_secrets(token: Option<&str>) -> Vec<Request<'_>> {
    let plain = Request {
        method: "tools/list",
        token,
        ..Request::default()
    };
    let uri = "https://user:CANARY-in-a-uri@host/a?token=CANARY-in-a-query#CANARY";
    vec![
        Request {
            method: "tools/call",
            params: r#""name":"remote__x","arguments":{"key":"CANARY-in-an-argument"},"#,
            name: Some("remote__x"),
            ..plain
        },
        Request {
            method: "resources/read",
            params: r#""uri":"https://user:CANARY-in-a-uri@host/a?token=CANARY-in-a-query#CANARY","#,
            name: Some(uri),
            ..plain
        },
        Request {
            token: Some("CANARY-in-a-token"),
            ..plain
        },
        Request {
            token: Some("CANARY in a token"),
            ..plain
        },
        Request {
            query: "?key=CANARY-in-a-query",
            ..plain
        },
        Request {
            headers: "X-Api-Key: CANARY-in-a-header\r\n",
            ..plain
        },
        Request {
            headers: "Cookie: a=CANARY-in-a-cookie\r\n",
            ..plain
        },
        Request {
            headers: "traceparent: CANARY-in-a-trace\r\n",
            ..plain
        },
        Request {
            headers: "Origin: http://CANARY.example\r\n",
            ..plain
        },
        Request {
            params: r#""cursor":"CANARY-in-a-cursor","#,
            ..plain
        },
    ]
}

#[test]
fn d36_no_secret_reaches_anything_that_is_written() {
    let watched = Watched::start();
    let token = watched.0.token();
    for request in calls_with_secrets(Some(&token)) {
        assert!(watched.0.call(&request).starts_with("HTTP/1.1 "));
    }
    watched
        .0
        .ask("GET /mcp?CANARY HTTP/1.1\r\nHost: CANARY.example\r\nX: CANARY\r\nConnection: close\r\n\r\n");
    watched.0.ask("CANARY NONSENSE\r\n\r\n");
    let all = watched.everything();
    let leaks: Vec<&str> = all
        .lines()
        .filter(|line| line.contains("CANARY") || line.contains(&token))
        .collect();
    assert_eq!(leaks, Vec::<&str>::new());
    assert!(
        all.lines().filter(|line| line.contains(r#""kind":"call""#)).count() >= 10,
        "{all}"
    );
}

#[test]
fn d37_no_stranger_writes_a_line_of_ours() {
    let watched = Watched::start();
    let token = watched.0.token();
    let token = Some(token.as_str());
    let evil = r#"x\n{\"kind\":\"call\",\"summary\":\"FORGED\"}\r\u001b[2J\u2028\u0085\u202e"#;
    let sentinel = "=?base64?eAp7ImtpbmQiOiJjYWxsIiwic3VtbWFyeSI6IkZPUkdFRCJ9?=";
    let (call, read) = (
        format!(r#""name":"{evil}","arguments":{{}},"#),
        format!(r#""uri":"file:///{evil}","#),
    );
    for request in [
        Request {
            method: evil,
            token,
            ..Request::default()
        },
        Request {
            method: "tools/call",
            params: &call,
            name: Some(sentinel),
            token,
            ..Request::default()
        },
        Request {
            method: "tools/call",
            params: &call,
            token,
            ..Request::default()
        },
        Request {
            method: "resources/read",
            params: &read,
            name: Some(sentinel),
            token,
            ..Request::default()
        },
        Request {
            method: "prompts/get",
            params: &call,
            name: Some("x"),
            token,
            ..Request::default()
        },
    ] {
        watched.0.call(&request);
    }
    let all = watched.everything();
    let obeyed = |c| matches!(c, '\x1b' | '\r' | '\u{2028}' | '\u{85}' | '\u{202e}');
    let commands: Vec<&str> = all.split('\n').filter(|line| line.chars().any(obeyed)).collect();
    assert_eq!(commands, Vec::<&str>::new());
    let forged: Vec<&str> = all
        .lines()
        .filter(|line| line.starts_with(r#"{"kind":"call""#))
        .collect();
    assert_eq!(forged, Vec::<&str>::new());
}
