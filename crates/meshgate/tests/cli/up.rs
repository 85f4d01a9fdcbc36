//! A gateway that runs, and requests to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::Place;

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A modern request, as bytes on the wire.
#[derive(Clone, Copy, Default)]
pub(crate) struct Request<'a> {
    /// JSON string of the method, without quotes.
    pub(crate) method: &'a str,
    /// Members of `params` beside `_meta`, each followed by a comma.
    pub(crate) params: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
    /// More header lines, each with its line end.
    pub(crate) headers: &'a str,
    pub(crate) query: &'a str,
}

impl Request<'_> {
    fn bytes(&self, host: &str) -> String {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{}","params":{{{}{META}}}}}"#,
            self.method, self.params
        );
        let method = self.method.split('\\').next().unwrap_or_default();
        let name = self
            .name
            .map(|name| format!("Mcp-Name: {name}\r\n"))
            .unwrap_or_default();
        let token = self
            .token
            .map(|token| format!("Authorization: Bearer {token}\r\n"))
            .unwrap_or_default();
        format!(
            "POST /mcp{} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n\
             {name}{token}{}Content-Length: {}\r\n\r\n{body}",
            self.query,
            self.headers,
            body.len()
        )
    }
}

pub(crate) struct Up {
    pub(crate) place: Place,
    pub(crate) child: Child,
    pub(crate) said: std::sync::mpsc::Receiver<String>,
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Up {
    pub(crate) fn start(text: &str) -> Self {
        let place = Place::new();
        place.file("mesh.yaml", text);
        Self::start_in(place)
    }

    pub(crate) fn start_in(place: Place) -> Self {
        Self::start_with(place, &[])
    }

    /// With other arguments.
    pub(crate) fn start_args(place: Place, args: &[&str]) -> Self {
        let command = place.command(args);
        Self::start_as(place, command)
    }

    pub(crate) fn start_with(place: Place, variables: &[(&str, &str)]) -> Self {
        let mut command = place.command(&["up"]);
        command.envs(variables.iter().copied());
        Self::start_as(place, command)
    }

    /// Starts with a command that begins otherwise.
    pub(crate) fn start_as(place: Place, mut command: std::process::Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let (said, lines) = std::sync::mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| said.send(line))
        });
        let up = Self {
            place,
            child,
            said: lines,
        };
        up.hear("/mcp");
        up
    }

    /// Starts again where this one ran, which has ended.
    pub(crate) fn again(mut self, args: &[&str]) -> Self {
        let place = std::mem::replace(&mut self.place, Place::new());
        Self::start_args(place, args)
    }

    /// Waits for a line on standard error that holds `part`.
    pub(crate) fn hear(&self, part: &str) -> String {
        let mut heard = Vec::new();
        let until = Instant::now() + Duration::from_secs(20);
        while let Ok(line) = self.said.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(part) {
                return line;
            }
            heard.push(line);
        }
        panic!("never heard `{part}`, only:\n{}", heard.join("\n"));
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let ended = self.place.run(&["status", "-o", "json"]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        serde_json::from_str(&ended.out).unwrap()
    }

    /// The status once it is as wanted.
    pub(crate) fn status_until(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < until, "the status never became as wanted: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            std::process::Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// The exit code, within ten seconds.
    pub(crate) fn end(&mut self) -> i32 {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "the gateway did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn ask(&self, request: &str) -> String {
        let status = self.status();
        let address = status["listeners"][0]["address"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream
            .write_all(request.replace("@host@", &address).as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// What the gateway answers to a request.
    pub(crate) fn call(&self, request: &Request<'_>) -> String {
        self.ask(&request.bytes("@host@"))
    }

    /// What the admin socket answers.
    pub(crate) fn admin(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(self.place.state().join("admin.sock")).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The token of local callers.
    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.place.state().join("token"))
            .unwrap()
            .trim()
            .to_owned()
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.place.state().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    }
}
