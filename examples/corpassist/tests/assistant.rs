//! The assistant with a real server: the programs as they are, without a gateway between them.
//!
//! To an application a gateway is an MCP server like any other, so the assistant can be pointed at one server alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A server over HTTP with a new database. It ends with the value.
struct Server {
    child: Child,
    url: String,
    database: PathBuf,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start(program: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("database.sqlite");
        let mut child = Command::new(program)
            .arg("--database")
            .arg(&database)
            .args(["--http", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        Self {
            child,
            url: url.trim().to_owned(),
            database,
            _directory: directory,
        }
    }

    fn projects() -> Self {
        Self::start(env!("CARGO_BIN_EXE_corpassist-projects"))
    }

    fn documents() -> Self {
        Self::start(env!("CARGO_BIN_EXE_corpassist-documents"))
    }

    /// Asks, and gives the exit code and the answer.
    fn ask(&self, question: &str) -> (i32, Value) {
        ask(&self.url, question)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(url: &str, question: &str) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_corpassist"))
        .args(["--json", "--url", url, "--ask", question])
        .env_remove("MESHGATE_TOKEN")
        .output()
        .unwrap();
    let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), answer)
}

fn change(database: &Path, sql: &str) {
    let changed = rusqlite::Connection::open(database).unwrap().execute(sql, []).unwrap();
    assert_eq!(changed, 1, "{sql}");
}

#[test]
fn a_changed_database_changes_the_answer() {
    let server = Server::projects();
    let question = "Who leads Project Titan?";
    let (code, before) = server.ask(question);
    assert_eq!(code, 0, "{before:#}");
    assert!(
        before["parts"][0]["answer"]
            .as_str()
            .unwrap()
            .contains("Amara Okonjo-Bell")
    );

    change(
        &server.database,
        "UPDATE members SET person = 'Wendeline Starck', title = 'Interim Director', mail = 'w.starck@example.com' \
         WHERE project = 'Titan' AND role = 'lead'",
    );
    let (_, after) = server.ask(question);
    assert_eq!(
        after["parts"][0]["answer"],
        "Wendeline Starck, Interim Director, leads Project Titan (w.starck@example.com)"
    );
}

#[test]
fn a_changed_document_changes_the_search_and_the_summary() {
    let server = Server::documents();
    change(
        &server.database,
        "UPDATE documents SET body = 'The strategy of Project Titan is to wait for rain.' WHERE id = 'titan-q1-strategy'",
    );
    let (code, answer) = server.ask("What is the Q1 strategy of Project Titan?");
    assert_eq!(code, 0, "{answer:#}");
    let part = &answer["parts"][0];
    assert_eq!(part["answer"], "The strategy of Project Titan is to wait for rain.");
    assert!(
        part["source"]
            .as_str()
            .unwrap()
            .contains("doc://corp/titan-q1-strategy")
    );
    let tools: Vec<&Value> = part["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["tool"])
        .collect();
    assert_eq!(tools, ["search_documents", "summarize_document"]);
}

#[test]
fn every_project_has_a_strategy_and_a_lead() {
    let (documents, projects) = (Server::documents(), Server::projects());
    for project in ["Borealis", "Aurora", "Solstice"] {
        let (code, answer) = documents.ask(&format!("What is the Q1 strategy of Project {project}?"));
        assert_eq!(code, 0, "{answer:#}");
        let source = answer["parts"][0]["source"].as_str().unwrap();
        assert!(
            source.starts_with(&format!("Project {project}: Q1 strategy")),
            "{source}"
        );
        let (code, answer) = projects.ask(&format!("who leads {project}?"));
        assert_eq!(code, 0, "{answer:#}");
    }
}

#[test]
fn an_unknown_project_is_said_to_be_unknown() {
    for server in [Server::documents(), Server::projects()] {
        let (code, answer) = server.ask("What is the strategy of Project Xylophone, and who leads it?");
        assert_eq!(code, 1);
        assert_eq!(answer["complete"], false);
        for part in answer["parts"].as_array().unwrap() {
            assert_eq!(part["answer"], Value::Null, "{answer:#}");
            assert!(!part["noAnswer"].as_str().unwrap().is_empty());
        }
    }
}

#[test]
fn a_list_about_one_project_is_an_answer_as_a_whole() {
    let (code, answer) = Server::projects().ask("Who works on Project Titan?");
    assert_eq!(code, 0, "{answer:#}");
    assert_eq!(answer["parts"][0]["steps"][0]["tool"], "list_project_members");
    assert_eq!(answer["parts"][0]["answer"].as_str().unwrap().lines().count(), 4);
}

#[test]
fn a_question_without_a_name_has_an_answer_too() {
    let (code, answer) = Server::projects().ask("Which projects are paused?");
    assert_eq!(
        (code, &answer["parts"][0]["answer"]),
        (0, &"2 projects: Onyx, Quasar".into())
    );
    let (code, answer) = Server::documents().ask("What does the travel policy say?");
    assert_eq!(code, 0);
    assert!(
        answer["parts"][0]["source"]
            .as_str()
            .unwrap()
            .starts_with("Travel policy")
    );
}

#[test]
fn what_no_tool_can_answer_is_said_to_have_no_answer() {
    let (code, answer) = Server::projects().ask("How tall is the Matterhorn?");
    assert_eq!(code, 1);
    assert_eq!(answer["complete"], false);
}

#[test]
fn every_request_carries_its_span_in_one_trace() {
    let (_, answer) = Server::documents().ask("What is the Q1 strategy of Project Titan?");
    let steps = answer["parts"][0]["steps"].as_array().unwrap();
    assert_eq!(steps[0]["traceId"], steps[1]["traceId"]);
    assert_ne!(steps[0]["spanId"], steps[1]["spanId"]);
    assert_eq!(steps[0]["traceId"].as_str().unwrap().len(), 32);
}

#[test]
fn an_endpoint_that_is_not_there_has_its_own_exit_code() {
    for url in ["http://127.0.0.1:1/mcp", "https://127.0.0.1:1/mcp", "no url"] {
        assert_eq!(ask(url, "Who leads Project Titan?").0, 69, "{url}");
    }
}
