//! Which tool answers which part of a question: decided from the catalogue that the endpoint shows now.
//!
//! No tool is known by name. A tool counts by the words that its name, its description and its parameters share with what
//! is asked; a word counts more the fewer tools have it. A tool is considered only if everything it requires can be
//! given: from the question for a first step, from what a first step found for a second one.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::catalogue::{Parameter, Tool};
use super::question::{Part, Question};
use super::words::{related, stem, stems, words};

/// A word in the name of a tool, in its description, in its parameters.
const NAME: f64 = 2.0;
const DESCRIPTION: f64 = 1.5;
const PARAMETERS: f64 = 0.5;
/// A word of the question itself, against one that only means the same.
const SAID: f64 = 2.0;
const MEANT: f64 = 1.0;
/// What an answer of a few sentences needs, whatever was asked.
const IN_SHORT: &[&str] = &["summary", "sentence", "short"];
/// Parameters that take what is searched for, and parameters that take what something is called.
const QUERIES: &[&str] = &["query", "search", "question", "keyword", "text", "word"];
const NAMES: &[&str] = &["name", "project", "subject", "topic"];

/// A tool that was chosen, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The tool.
    pub tool: Tool,
    /// What to give it.
    pub arguments: Map<String, Value>,
    /// How well it fits.
    pub score: f64,
    /// The tool's words that decided, the weightiest first.
    pub because: Vec<String>,
}

/// The stems of a tool's words, each with the weight of its place and the word as it stands there.
type Weighed = HashMap<String, (f64, String)>;

/// A catalogue that is ready for questions.
#[derive(Clone, Debug)]
pub struct Chooser {
    tools: Vec<(Tool, Weighed)>,
    rarity: HashMap<String, f64>,
}

impl Chooser {
    /// Weighs the words of a catalogue.
    pub fn new(catalogue: Vec<Tool>) -> Self {
        let tools: Vec<_> = catalogue
            .into_iter()
            .map(|tool| {
                let words = weighed(&tool);
                (tool, words)
            })
            .collect();
        let mut having: HashMap<String, f64> = HashMap::new();
        for word in tools.iter().flat_map(|(_, words)| words.keys()) {
            *having.entry(word.clone()).or_default() += 1.0;
        }
        let all: f64 = tools.iter().map(|_| 1.0).sum();
        let rarity = having
            .into_iter()
            .map(|(word, having)| (word, (1.0 + all / having).ln()))
            .collect();
        Self { tools, rarity }
    }

    /// How many tools there are.
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// The tool that answers a part of a question, or begins to.
    pub fn first(&self, question: &Question, part: &Part) -> Option<Choice> {
        let wanted = wanted(&part.stems, &[]);
        self.best(&wanted, |tool| given_by_question(tool, question, part))
    }

    /// The tool that makes a short answer out of something that `first` found: of the same server, with everything it
    /// requires in what was found.
    pub fn second(&self, first: &Choice, found: &Map<String, Value>) -> Option<Choice> {
        self.best(&wanted(&[], IN_SHORT), |tool| {
            let another = tool.name != first.tool.name && tool.server == first.tool.server;
            another.then(|| given_by_record(tool, found)).flatten()
        })
    }

    fn best(
        &self,
        wanted: &HashMap<String, f64>,
        given: impl Fn(&Tool) -> Option<Map<String, Value>>,
    ) -> Option<Choice> {
        let scored = self.tools.iter().filter_map(|(tool, words)| {
            let mut shared: Vec<(&str, f64)> = wanted
                .iter()
                .filter_map(|(stem, wanted)| {
                    let (weight, word) = words.get(stem)?;
                    Some((word.as_str(), wanted * weight * self.rarity.get(stem)?))
                })
                .collect();
            if shared.is_empty() {
                return None;
            }
            shared.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
            Some(Choice {
                arguments: given(tool)?,
                tool: tool.clone(),
                score: shared.iter().map(|(_, weight)| weight).sum(),
                because: shared.into_iter().map(|(word, _)| word.to_owned()).collect(),
            })
        });
        // Of two that fit equally well the first in the catalogue is taken, so that the choice does not change by itself.
        scored.reduce(|best, next| if next.score > best.score { next } else { best })
    }
}

/// The words to look for, with their weights.
fn wanted(said: &[String], meant: &[&'static str]) -> HashMap<String, f64> {
    let mut wanted = HashMap::new();
    let meant = meant.iter().copied().chain(said.iter().flat_map(|word| related(word)));
    for word in meant {
        wanted.insert(stem(word), MEANT);
    }
    for word in said {
        wanted.insert(word.clone(), SAID);
    }
    wanted
}

/// The words of a tool. One that stands in several places counts where it weighs most.
fn weighed(tool: &Tool) -> Weighed {
    let parameters = tool.parameters.iter().flat_map(|p| {
        let values = p.values.iter().map(String::as_str);
        values.chain([p.name.as_str(), p.description.as_str()])
    });
    let places = parameters
        .map(|text| (text, PARAMETERS))
        .chain([(tool.description.as_str(), DESCRIPTION), (tool.own_name(), NAME)]);
    let mut weighed = Weighed::new();
    for (text, weight) in places {
        for word in words(text) {
            weighed.insert(stem(&word), (weight, word));
        }
    }
    weighed
}

/// The arguments of a tool, as far as the question gives them; nothing if something required is missing.
fn given_by_question(tool: &Tool, question: &Question, part: &Part) -> Option<Map<String, Value>> {
    let mut arguments = Map::new();
    for parameter in tool.required() {
        arguments.insert(parameter.name.clone(), from_question(parameter, question, part)?.into());
    }
    for parameter in &tool.parameters {
        if let Some(value) = parameter.values.iter().find(|value| part.stems.contains(&stem(value))) {
            arguments.insert(parameter.name.clone(), value.clone().into());
        }
    }
    Some(arguments)
}

fn from_question(parameter: &Parameter, question: &Question, part: &Part) -> Option<String> {
    if !parameter.text {
        return None;
    }
    let words = stems(&parameter.name);
    let is = |kinds: &[&str]| words.iter().any(|word| kinds.contains(&word.as_str()));
    if is(QUERIES) {
        let subject = question.subject.iter().map(String::as_str);
        let words: Vec<&str> = subject.chain(part.stems.iter().map(String::as_str)).collect();
        return Some(words.join(" "));
    }
    // The word "project" is small in a question, and says everything in the name of a parameter.
    let names = is(NAMES) || parameter.name.to_lowercase().contains("project");
    names.then(|| question.subject.clone()).flatten()
}

/// The arguments of a tool, all from one record that was found.
fn given_by_record(tool: &Tool, record: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut arguments = Map::new();
    for parameter in tool.required() {
        arguments.insert(parameter.name.clone(), record.get(&parameter.name)?.clone());
    }
    (!arguments.is_empty()).then_some(arguments)
}
