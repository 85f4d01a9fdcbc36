//! Which tool is chosen: always from the catalogue at hand, never by a name that the assistant knows.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use corpassist::assistant::{Chooser, Question, Tool};
use serde_json::{Map, Value, json};

/// A catalogue as the gateway shows it.
fn catalogue() -> Vec<Value> {
    let tool = |server: &str, name: &str, description: &str, schema: Value| {
        json!({
            "name": format!("{server}__{name}"),
            "description": description,
            "inputSchema": schema,
            "_meta": {"dev.meshgate/server": server},
        })
    };
    let takes = |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
    vec![
        tool(
            "documents",
            "search_documents",
            "Full-text search in strategies, plans and policies.",
            takes("query"),
        ),
        tool(
            "documents",
            "read_document",
            "The whole text of one document.",
            takes("id"),
        ),
        tool(
            "documents",
            "summarize_document",
            "Summary of one document in a few sentences.",
            takes("id"),
        ),
        tool(
            "projects",
            "find_project",
            "Facts about one project: status, budget and site.",
            takes("name"),
        ),
        tool(
            "projects",
            "get_project_lead",
            "The person who leads a project: name and mail address.",
            takes("name"),
        ),
        tool(
            "projects",
            "list_projects",
            "The names of all projects, or of those that are active, paused or closed.",
            json!({"type": "object", "properties": {"status": {"anyOf": [{"enum": ["active", "paused"]}, {"type": "null"}]}}}),
        ),
        tool(
            "weather",
            "get_forecast",
            "The weather of tomorrow at a place.",
            takes("place"),
        ),
        tool("mail", "send_mail", "Sends a mail to a person.", takes("to")),
    ]
}

fn chooser(catalogue: &[Value]) -> Chooser {
    Chooser::new(catalogue.iter().filter_map(Tool::read).collect())
}

/// The tool chosen for each part of a question.
fn chosen(catalogue: &[Value], question: &str) -> Vec<String> {
    let question = Question::read(question);
    let chooser = chooser(catalogue);
    let parts = question.parts.iter().map(|part| chooser.first(&question, part));
    parts
        .map(|choice| choice.map_or_else(String::new, |choice| choice.tool.name))
        .collect()
}

#[test]
fn each_part_of_a_question_gets_the_tool_that_fits() {
    let catalogue = catalogue();
    for (question, tools) in [
        (
            "What is the Q1 strategy of Project Titan, and who leads it?",
            vec!["documents__search_documents", "projects__get_project_lead"],
        ),
        (
            "Who leads Project Aurora, and what does its plan say?",
            vec!["projects__get_project_lead", "documents__search_documents"],
        ),
        (
            "What is the budget of Project Meridian?",
            vec!["projects__find_project"],
        ),
        ("Which projects are paused?", vec!["projects__list_projects"]),
        ("What does the travel policy say?", vec!["documents__search_documents"]),
        ("How tall is the Matterhorn?", vec![""]),
    ] {
        assert_eq!(chosen(&catalogue, question), tools, "{question}");
    }
}

#[test]
fn a_renamed_tool_is_still_found_by_its_description() {
    let mut catalogue = catalogue();
    catalogue[0]["name"] = "archive__x17".into();
    catalogue[4]["name"] = "hr__lookup".into();
    assert_eq!(
        chosen(
            &catalogue,
            "What is the Q1 strategy of Project Titan, and who leads it?"
        ),
        ["archive__x17", "hr__lookup"]
    );
}

#[test]
fn a_tool_that_is_gone_is_not_chosen() {
    let mut catalogue = catalogue();
    catalogue.retain(|tool| tool["_meta"]["dev.meshgate/server"] != "documents");
    let tools = chosen(&catalogue, "What does the travel policy say?");
    assert!(tools.iter().all(|tool| !tool.starts_with("documents")), "{tools:?}");
}

#[test]
fn a_tool_whose_arguments_nobody_can_give_is_not_chosen() {
    let mut catalogue = catalogue();
    catalogue[4]["inputSchema"]["required"] = json!(["name", "secret"]);
    catalogue[4]["inputSchema"]["properties"]["secret"] = json!({"type": "string"});
    let tools = chosen(&catalogue, "Who leads Project Titan?");
    assert_ne!(tools, ["projects__get_project_lead"]);
}

#[test]
fn what_a_search_found_leads_to_a_summary_of_the_same_server() {
    let mut catalogue = catalogue();
    catalogue.push(json!({
        "name": "news__summary",
        "description": "Summary in a few sentences: a short summary.",
        "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        "_meta": {"dev.meshgate/server": "news"},
    }));
    let question = Question::read("What is the strategy of Project Titan?");
    let chooser = chooser(&catalogue);
    let first = chooser.first(&question, &question.parts[0]).unwrap();
    let record = Map::from_iter([
        ("id".to_owned(), json!("titan-q1-strategy")),
        ("title".to_owned(), json!("x")),
    ]);
    let second = chooser.second(&first, &record).unwrap();
    assert_eq!(second.tool.name, "documents__summarize_document");
    assert_eq!(second.arguments["id"], "titan-q1-strategy");
    assert_eq!(chooser.second(&first, &Map::new()), None);
}

#[test]
fn the_arguments_come_from_the_question() {
    let chooser = chooser(&catalogue());
    let first = |text: &str| {
        let question = Question::read(text);
        chooser.first(&question, &question.parts[0]).unwrap().arguments
    };
    assert_eq!(first("Who leads Project Titan?")["name"], "Titan");
    assert_eq!(
        first("What is the strategy of Project Titan?")["query"],
        "Titan strategy"
    );
    assert_eq!(first("Which projects are paused?")["status"], "paused");
}
