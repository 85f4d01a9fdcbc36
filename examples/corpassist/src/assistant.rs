//! The assistant: from a question to one answer, over one endpoint.
//!
//! It reads the catalogue, takes the question apart, chooses a tool for each part, and asks for all parts at once. What a
//! tool finds may call for a second one: a search finds documents, and somebody has to say in a few sentences what the
//! best of them holds. Nothing is made up: a part that no tool can answer is reported as such.

mod catalogue;
mod choose;
mod endpoint;
mod question;
mod record;
pub mod show;
mod trace;
mod words;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

pub use self::catalogue::{Parameter, Tool};
pub use self::choose::{Choice, Chooser};
pub use self::endpoint::{Answered, Endpoint, REVISION, Trouble};
pub use self::question::{Part, Question};
pub use self::trace::Trace;

/// Where Meshgate says which servers are missing from a list.
const AWAY: &str = "dev.meshgate/serversAway";
/// Pages of a catalogue that are read.
const PAGES_MAX: usize = 100;

/// What came of a question.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The question.
    pub question: Question,
    /// How many tools there were to choose from.
    pub tools: usize,
    /// Servers that are away and whose tools could not be chosen.
    pub away: Vec<String>,
    /// How long reading the catalogue took.
    pub catalogue: Duration,
    /// The answers to the parts of the question, in its order.
    pub parts: Vec<Answering>,
}

/// What came of one part of a question.
#[derive(Clone, Debug)]
pub struct Answering {
    /// The part.
    pub part: Part,
    /// The requests that were made for it.
    pub steps: Vec<Step>,
    /// The answer, or why there is none.
    pub outcome: Result<Found, String>,
}

/// A text, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The text.
    pub text: String,
    /// Title, author, date and address of what the text is from, where it is from something.
    pub source: Option<String>,
}

/// A request that was made, and the way it took.
#[derive(Clone, Debug)]
pub struct Step {
    /// The tool, its arguments, and why it was chosen.
    pub choice: Choice,
    /// The program that answered, as the result's `_meta` says (`corpassist-projects 0.1.0`).
    pub program: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// The span that was sent along.
    pub span: String,
}

impl Answer {
    /// Whether every part has an answer.
    pub fn is_complete(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| part.outcome.is_ok())
    }
}

/// Answers a question.
pub async fn ask(endpoint: Arc<Endpoint>, text: &str) -> Result<Answer, Trouble> {
    let question = Arc::new(Question::read(text));
    let (tools, away, catalogue) = catalogue(&endpoint).await?;
    let chooser = Arc::new(Chooser::new(tools));
    let mut asked = JoinSet::new();
    for (at, part) in question.parts.iter().cloned().enumerate() {
        let (endpoint, chooser, question) = (endpoint.clone(), chooser.clone(), question.clone());
        asked.spawn(async move { (at, answer(&endpoint, &chooser, &question, part).await) });
    }
    let mut parts = Vec::new();
    while let Some(answered) = asked.join_next().await {
        let answered = answered.map_err(|error| Trouble::Refused(format!("a part of the question failed: {error}")))?;
        parts.push(answered);
    }
    parts.sort_by_key(|(at, _)| *at);
    Ok(Answer {
        question: Question::clone(&question),
        tools: chooser.len(),
        away,
        catalogue,
        parts: parts.into_iter().map(|(_, part)| part).collect(),
    })
}

/// The tools that the endpoint shows now, the servers that are away, and how long that took.
async fn catalogue(endpoint: &Endpoint) -> Result<(Vec<Tool>, Vec<String>, Duration), Trouble> {
    let (mut tools, mut away, mut took) = (Vec::new(), Vec::new(), Duration::ZERO);
    let mut params = Map::new();
    for _ in 0..PAGES_MAX {
        let page = endpoint.request("tools/list", None, params).await?;
        took += page.took;
        let entries = page.result.get("tools").and_then(Value::as_array);
        tools.extend(entries.into_iter().flatten().filter_map(Tool::read));
        let missing = page
            .result
            .get("_meta")
            .and_then(|meta| meta.get(AWAY))
            .and_then(Value::as_array);
        away = missing
            .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or(away);
        let Some(cursor) = page.result.get("nextCursor").and_then(Value::as_str) else {
            break;
        };
        params = Map::from_iter([("cursor".to_owned(), Value::from(cursor))]);
    }
    Ok((tools, away, took))
}

async fn answer(endpoint: &Endpoint, chooser: &Chooser, question: &Question, part: Part) -> Answering {
    let mut steps = Vec::new();
    let outcome = found(endpoint, chooser, question, &part, &mut steps).await;
    Answering { part, steps, outcome }
}

/// Asks one tool, and where its answer is a list of records another one about the best of them.
async fn found(
    endpoint: &Endpoint,
    chooser: &Chooser,
    question: &Question,
    part: &Part,
    steps: &mut Vec<Step>,
) -> Result<Found, String> {
    let first = chooser
        .first(question, part)
        .ok_or_else(|| "no tool of the catalogue fits this part of the question".to_owned())?;
    let result = call(endpoint, &first, steps).await?;
    let subject = question.subject.as_deref();
    let plain = Found {
        text: record::text(&result),
        source: None,
    };
    let about = subject.map(|subject| record::is_about(&result, subject));
    let nothing = || {
        let what = subject.map_or_else(|| part.stems.join(", "), str::to_owned);
        Err(format!("`{}` found nothing about {what}", first.tool.name))
    };
    let Some(records) = record::list(&result) else {
        return if about == Some(false) { nothing() } else { Ok(plain) };
    };
    let Some(best) = record::best(records, subject, &part.stems) else {
        // No record is about the subject, but all of them together may be: the people of one project.
        return if about == Some(true) { Ok(plain) } else { nothing() };
    };
    let Some(second) = chooser.second(&first, best) else {
        return Ok(plain);
    };
    let source = record::source(best);
    let result = call(endpoint, &second, steps).await?;
    Ok(Found {
        text: record::text(&result),
        source,
    })
}

/// Calls a tool and notes the way; a result that says that the tool failed is no result.
async fn call(endpoint: &Endpoint, choice: &Choice, steps: &mut Vec<Step>) -> Result<Map<String, Value>, String> {
    let name = choice.tool.name.as_str();
    let params = Map::from_iter([
        ("name".to_owned(), json!(name)),
        ("arguments".to_owned(), Value::Object(choice.arguments.clone())),
    ]);
    let answered = endpoint
        .request("tools/call", Some(name), params)
        .await
        .map_err(|trouble| format!("`{name}`: {trouble}"))?;
    steps.push(Step {
        choice: choice.clone(),
        program: record::program(&answered.result),
        took: answered.took,
        span: answered.span,
    });
    match answered.result.get("isError").and_then(Value::as_bool) {
        Some(true) => Err(format!("`{name}` says: {}", record::text(&answered.result))),
        _ => Ok(answered.result),
    }
}
