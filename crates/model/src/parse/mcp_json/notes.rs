//! What is noted about one entry, each note with the place it is about.

use std::ops::Range;
use std::sync::Arc;

use crate::Severity;
use crate::finding::{Finding, codes};
use crate::parse::tree::{Key, Node, Shape, Step, written};

use super::roots::OwnedStep;

/// The notes of one entry.
pub(super) struct Notes<'a> {
    pub(super) source: &'a Arc<str>,
    pub(super) path: &'a [OwnedStep],
    pub(super) key: &'a Key,
    pub(super) node: &'a Node,
    pub(super) findings: Vec<Finding>,
}

impl Notes<'_> {
    pub(super) fn is_broken(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    pub(super) fn fail(&mut self, code: &'static str, at: &[Step<'_>], message: &str, remedy: &str) {
        let finding = Finding::error(code, self.source, message);
        self.push(finding.remedy(remedy), at);
    }

    pub(super) fn warn(&mut self, code: &'static str, at: &[Step<'_>], message: &str, remedy: &str) {
        let finding = Finding::warning(code, self.source, message);
        self.push(finding.remedy(remedy), at);
    }

    fn push(&mut self, mut finding: Finding, at: &[Step<'_>]) {
        let mut steps: Vec<Step<'_>> = self.path.iter().map(OwnedStep::step).collect();
        steps.extend_from_slice(at);
        finding.document = Some(format!("Server/{}", self.key.text));
        finding.path = written(&steps);
        finding.span = Some(self.place(at));
        self.findings.push(finding);
    }

    fn place(&self, at: &[Step<'_>]) -> Range<usize> {
        match at {
            [] => self.key.span.clone(),
            [Step::Key(name)] if self.node.get(name).is_some_and(|node| node.scalar().is_none()) => self
                .node
                .member(name)
                .map_or_else(|| self.key.span.clone(), |(key, _)| key.span.clone()),
            _ => self.node.span_of(at),
        }
    }

    pub(super) fn text(&mut self, at: &[Step<'_>], value: &Node) -> Option<String> {
        let text = value.scalar().map(str::to_owned);
        if text.is_none() {
            self.fail(codes::FORM, at, "expected a text", "");
        }
        text
    }

    pub(super) fn texts(&mut self, at: &[Step<'_>], value: &Node) -> Vec<String> {
        let Shape::List(items) = &value.shape else {
            self.fail(codes::FORM, at, "expected a list of texts", "write `[\"…\", \"…\"]`");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let mut at = at.to_vec();
            at.push(Step::At(index));
            texts.extend(self.text(&at, item));
        }
        texts
    }

    pub(super) fn pairs(&mut self, at: &[Step<'_>], value: &Node) -> Vec<(String, String)> {
        let Shape::Map(members) = &value.shape else {
            self.fail(
                codes::FORM,
                at,
                "expected an object of texts",
                "write `{\"NAME\": \"…\"}`",
            );
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for (key, value) in members {
            let mut at = at.to_vec();
            at.push(Step::Key(&key.text));
            match value.scalar() {
                Some("null") => self.warn(codes::ENTRY_FIELD, &at, "the value is nothing and is left out", ""),
                _ => pairs.extend(self.text(&at, value).map(|text| (key.text.clone(), text))),
            }
        }
        pairs
    }
}
