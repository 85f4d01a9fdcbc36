//! A scripted MCP server as a child process.
//!
//! The child is a small Python program, because what a supervisor and a pipe do to a server can only be shown by a real
//! process. It writes every line it reads to a record and says what its script says.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// What the child will say: for each JSON-RPC method, or `method name` for one tool, prompt or resource, its steps.
#[derive(Clone, Debug)]
pub struct StdioScript {
    steps: serde_json::Map<String, Value>,
}

/// A script on disk, and the record of what the child read.
pub struct StdioServer {
    /// The program to run.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    record: PathBuf,
    _folder: TempDir,
}

impl StdioScript {
    /// A legacy server of that revision with these capabilities.
    pub fn legacy(revision: &str, capabilities: &str) -> Self {
        let initialize = format!(
            r#"{{"protocolVersion":"{revision}","capabilities":{capabilities},"serverInfo":{{"name":"scripted","version":"1"}}}}"#
        );
        let mut script = Self {
            steps: serde_json::Map::new(),
        }
        .result("initialize", &initialize);
        for method in [
            "ping",
            "logging/setLevel",
            "resources/subscribe",
            "resources/unsubscribe",
        ] {
            script = script.result(method, "{}");
        }
        script
    }

    /// A modern server with these capabilities.
    pub fn modern(capabilities: &str) -> Self {
        let discover = format!(
            r#"{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{capabilities},"ttlMs":0,"cacheScope":"private"}}"#
        );
        Self {
            steps: serde_json::Map::new(),
        }
        .result("server/discover", &discover)
    }

    /// Answers a method with a result.
    #[must_use]
    pub fn result(self, method: &str, result: &str) -> Self {
        self.say(method, &[&format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#)])
    }

    /// Answers a method with these lines.
    #[must_use]
    pub fn say(self, method: &str, lines: &[&str]) -> Self {
        self.steps(method, lines.iter().map(|line| json!(line)).collect())
    }

    /// Answers a method with these steps: see [`StdioScript::wait`], [`StdioScript::until`], [`StdioScript::exit`].
    #[must_use]
    pub fn steps(mut self, method: &str, steps: Vec<Value>) -> Self {
        self.steps.insert(method.to_owned(), Value::Array(steps));
        self
    }

    /// A step that waits.
    pub fn wait(time: Duration) -> Value {
        json!({ "wait_ms": u64::try_from(time.as_millis()).expect("a short time") })
    }

    /// A step that waits until a line with this text has been read.
    pub fn until(text: &str) -> Value {
        json!({ "until": text })
    }

    /// A step that ends the process.
    pub fn exit(code: u8) -> Value {
        json!({ "exit": code })
    }

    /// Writes the script down.
    pub fn write(self) -> StdioServer {
        let folder = TempDir::new().expect("a folder");
        let (program, script) = (folder.path().join("server.py"), folder.path().join("script.json"));
        let record = folder.path().join("record");
        std::fs::write(&program, include_str!("stdio_server.py")).expect("written");
        std::fs::write(&script, Value::Object(self.steps).to_string()).expect("written");
        let args = [&program, &script, &record]
            .map(|path| path.to_str().expect("UTF-8").to_owned())
            .to_vec();
        StdioServer {
            command: "python3".to_owned(),
            args,
            record,
            _folder: folder,
        }
    }
}

impl StdioServer {
    /// Every line the child has read, byte for byte.
    pub fn recorded(&self) -> Vec<String> {
        let record = std::fs::read_to_string(&self.record).unwrap_or_default();
        record.lines().map(str::to_owned).collect()
    }

    /// The lines with that JSON-RPC method.
    pub fn received(&self, method: &str) -> Vec<String> {
        let has = |line: &String| serde_json::from_str::<Value>(line).is_ok_and(|line| line["method"] == method);
        self.recorded().into_iter().filter(has).collect()
    }

    /// Waits until `count` lines with that method were read, at most five seconds; answers those that were.
    pub async fn wait_for(&self, method: &str, count: usize) -> Vec<String> {
        for _ in 0..250 {
            if self.received(method).len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.received(method)
    }
}
