//! Fills an empty repository with documents that are worth reading, the same ones every time.
//!
//! A template is a text file: one sentence a line, with several ways to say it. Which way a document takes is decided by
//! its own id, so documents of one kind differ, and a document never changes because another one was added.

use std::hash::Hasher as _;

use super::store::Document;
use crate::company::{self, Person, Project};

const POLICIES: &str = include_str!("../../data/policies.txt");
const TITAN: &str = include_str!("../../data/titan-q1-strategy.txt");
/// Between two ways to say a sentence.
const OR: &str = " || ";

/// A kind of document that every project has.
struct Template {
    /// The end of its id.
    slug: &'static str,
    /// What kind of document it is.
    kind: &'static str,
    /// The end of its title.
    title: &'static str,
    /// The quarter it is about.
    quarter: &'static str,
    date: &'static str,
    text: &'static str,
}

const TEMPLATES: &[Template] = &[
    Template {
        slug: "q1-strategy",
        kind: "strategy",
        title: "Q1 strategy",
        quarter: "Q1 2026",
        date: "2026-01-08",
        text: include_str!("../../data/templates/strategy.txt"),
    },
    Template {
        slug: "q2-strategy",
        kind: "strategy",
        title: "Q2 strategy (draft)",
        quarter: "Q2 2026",
        date: "2026-02-26",
        text: include_str!("../../data/templates/strategy.txt"),
    },
    Template {
        slug: "delivery-plan",
        kind: "plan",
        title: "delivery plan",
        quarter: "Q1 2026",
        date: "2026-01-15",
        text: include_str!("../../data/templates/plan.txt"),
    },
    Template {
        slug: "q4-review",
        kind: "review",
        title: "Q4 review",
        quarter: "Q4 2025",
        date: "2025-12-18",
        text: include_str!("../../data/templates/review.txt"),
    },
    Template {
        slug: "meeting-notes",
        kind: "notes",
        title: "meeting notes of 20 January",
        quarter: "Q1 2026",
        date: "2026-01-20",
        text: include_str!("../../data/templates/notes.txt"),
    },
    Template {
        slug: "workshop-notes",
        kind: "notes",
        title: "workshop notes",
        quarter: "Q4 2025",
        date: "2025-11-27",
        text: include_str!("../../data/templates/workshop.txt"),
    },
    Template {
        slug: "risk-register",
        kind: "risks",
        title: "risk register",
        quarter: "Q1 2026",
        date: "2026-02-02",
        text: include_str!("../../data/templates/risks.txt"),
    },
    Template {
        slug: "decision-record",
        kind: "decision",
        title: "decision record",
        quarter: "Q1 2026",
        date: "2026-01-29",
        text: include_str!("../../data/templates/decision.txt"),
    },
];

/// Every document of the company.
pub fn documents() -> Vec<Document> {
    let of_projects = company::projects().flat_map(|project| {
        TEMPLATES
            .iter()
            .map(move |template| of_project(&project, template))
            .collect::<Vec<_>>()
    });
    of_projects.chain(policies()).collect()
}

fn of_project(project: &Project, template: &Template) -> Document {
    let id = format!("{}-{}", project.name.to_lowercase(), template.slug);
    let body = match id.as_str() {
        "titan-q1-strategy" => TITAN.to_owned(),
        _ => written(project, template, &mut Choice::of(&id)),
    };
    Document {
        title: format!("Project {}: {}", project.name, template.title),
        kind: template.kind.to_owned(),
        author: project.lead.name.to_owned(),
        date: template.date.to_owned(),
        body,
        id,
    }
}

fn policies() -> impl Iterator<Item = Document> {
    POLICIES.split("## ").filter_map(|policy| {
        let (heading, body) = policy.split_once('\n')?;
        let [title, author, date] = *heading.split('|').map(str::trim).collect::<Vec<_>>() else {
            return None;
        };
        Some(Document {
            id: title.to_lowercase().replace(' ', "-"),
            title: title.to_owned(),
            kind: "policy".to_owned(),
            author: author.to_owned(),
            date: date.to_owned(),
            body: body.trim_end().to_owned() + "\n",
        })
    })
}

/// One document of a template: sentences that stand together become a paragraph, headings keep their line.
fn written(project: &Project, template: &Template, choice: &mut Choice) -> String {
    let mut body = String::new();
    for line in template.text.lines() {
        match line {
            "" => body.push_str("\n\n"),
            heading if heading.starts_with("# ") => {
                body.push_str(heading);
                body.push('\n');
            }
            sentences => {
                if !body.is_empty() && !body.ends_with('\n') {
                    body.push(' ');
                }
                let ways: Vec<&str> = sentences.split(OR).collect();
                let way = ways.get(choice.below(ways.len())).copied().unwrap_or_default();
                body.push_str(&filled(way, project, template, choice));
            }
        }
    }
    body.push('\n');
    body
}

/// The sentence with the project's facts in the places of `{…}`; a `^` after the name wants a capital letter.
fn filled(sentence: &str, project: &Project, template: &Template, choice: &mut Choice) -> String {
    let mut out = String::new();
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        out.push_str(before);
        let fact = fact(name.trim_end_matches('^'), project, template, choice);
        if name.ends_with('^') {
            out.push_str(&capital(&fact));
        } else {
            out.push_str(&fact);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn fact(name: &str, project: &Project, template: &Template, choice: &mut Choice) -> String {
    let team = project.team();
    let member = |i: usize| team.get(i).map(|person: &Person| person.name).unwrap_or_default();
    let fact = match name {
        "project" => project.name,
        "lead" => project.lead.name,
        "engineer" => member(0),
        "analyst" => member(1),
        "budget" => project.budget,
        "product" => project.product,
        "customer" => project.customer,
        "measure" => project.measure,
        "from" => project.from,
        "to" => project.to,
        "step1" => project.step1,
        "step2" => project.step2,
        "risk" => project.risk,
        "partner" => project.partner,
        "site" => project.site,
        "quarter" => template.quarter,
        "count" => return (11 + choice.below(15)).to_string(),
        "steps" => return (5 + choice.below(9)).to_string(),
        _ => "",
    };
    fact.to_owned()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// Choices that follow from a document's id and from nothing else (SplitMix64).
struct Choice(u64);

impl Choice {
    fn of(id: &str) -> Self {
        let mut hash = Fnv::default();
        hash.write(id.as_bytes());
        Self(hash.finish())
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % end.max(1) as u64).unwrap_or_default()
    }
}

/// FNV-1a: the standard library promises no hash that stays the same from one release to the next.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
}
