//! `questions` of a `Server`: what it may ask, with hosts that are hosts.

use super::report::Report;
use crate::finding::codes;
use crate::kinds::{Permission, QuestionsSpec};
use crate::parse::Document;
use crate::parse::tree::{Step, steps};
use crate::snapshot::{Questions, is_host};

pub(super) fn compile(document: &Document, spec: &QuestionsSpec, report: &mut Report) -> Questions {
    let standard = Questions::default();
    let allowed = |written: Option<Permission>, standard| written.map_or(standard, |it| it == Permission::Allow);
    for (index, host) in spec.hosts.iter().flatten().enumerate() {
        if !is_host(host) {
            let at = steps!["spec", "questions", "hosts"];
            let at: Vec<Step<'_>> = at.iter().copied().chain([Step::At(index)]).collect();
            report.error(
                (document, &at),
                codes::QUESTION_HOST,
                format!("`{host}` is not the name of a host"),
                "write a name of DNS alone, such as `login.example.com`, and an internationalized one in its `xn--` form",
            );
        }
    }
    Questions {
        elicitation: allowed(spec.elicitation, standard.elicitation),
        hosts: spec
            .hosts
            .as_ref()
            .map(|hosts| hosts.iter().map(|host| host.as_str().into()).collect()),
        sampling: allowed(spec.sampling, standard.sampling),
        roots: allowed(spec.roots, standard.roots),
    }
}
