//! Collects findings, each with the document and the place it is about.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::finding::{Finding, codes};
use crate::parse::Document;
use crate::parse::tree::Step;

pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(warnings: Vec<Finding>) -> Self {
        Self { findings: warnings }
    }

    pub(super) fn error(
        &mut self,
        at: (&Document, &[Step<'_>]),
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let finding = Finding::error(code, &at.0.source, message);
        self.push(at, finding.remedy(remedy));
    }

    pub(super) fn warn(
        &mut self,
        at: (&Document, &[Step<'_>]),
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let finding = Finding::warning(code, &at.0.source, message);
        self.push(at, finding.remedy(remedy));
    }

    fn push(&mut self, (document, path): (&Document, &[Step<'_>]), mut finding: Finding) {
        finding.document = Some(document.title());
        finding.path = document.path(path);
        finding.span = Some(document.tree.span_of(path));
        self.findings.push(finding);
    }

    pub(super) fn no_server(&mut self, source: Option<&Arc<str>>) {
        let source = source.cloned().unwrap_or_else(|| "".into());
        let finding = Finding::warning(
            codes::NO_SERVER,
            &source,
            "the configuration has no server, so every list is empty",
        );
        self.findings.push(finding.remedy("add a document of kind `Server`"));
    }

    pub(super) fn too_many_children(&mut self, source: Option<&Arc<str>>, children: usize, most: usize) {
        let source = source.cloned().unwrap_or_else(|| "".into());
        let message = format!("{children} servers run as children, and the limit `children` is {most}");
        let finding = Finding::error(codes::RANGE, &source, message);
        self.findings
            .push(finding.remedy("raise `limits.children` of the mesh, or reach some of the servers over HTTP"));
    }

    /// A file the document names, from the directory the document is in.
    pub(super) fn file(&mut self, at: (&Document, &[Step<'_>]), path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() {
            self.error(at, codes::FORM, "the path of the file is empty", "name a file");
        } else if path.starts_with("~") || path.to_string_lossy().starts_with('~') {
            let message = format!("`{}` begins with `~`, which no shell expands here", path.display());
            self.error(
                at,
                codes::PATH_HOME,
                message,
                "write the path from `/`, or relative to this file",
            );
        }
        at.0.resolve(path)
    }
}
