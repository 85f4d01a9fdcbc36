//! Where everything stands in a source.
//!
//! Deserialising throws positions away, and what a file says is often wrong only in the light of another document, long
//! after it was read. So the source is kept beside the values as a tree of spans, and a finding names a path whose span
//! is looked up. Aliases are not followed: an alias is where the operator has to look.

use std::ops::Range;

use serde_saphyr::granit_parser::{Event, Parser, ScanError, Span};

use crate::limits;

/// A value in a source and where it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) shape: Shape,
}

/// What a value is, as far as positions need it.
#[derive(Clone, Debug, Default)]
pub(crate) enum Shape {
    /// An alias, or nothing.
    #[default]
    Other,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A member's key and where it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Range<usize>,
}

/// One step of a path into a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    At(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl<'a> From<&'a String> for Step<'a> {
    fn from(key: &'a String) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Self::At(index)
    }
}

/// A path from its steps: `steps!["spec", "listeners", 0, "address"]`.
macro_rules! steps {
    ($($step:expr),* $(,)?) => { &[$($crate::parse::tree::Step::from($step)),*][..] };
}
pub(crate) use steps;

/// A path as people read it: `spec.listeners[0].address`.
pub(crate) fn written(path: &[Step<'_>]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::At(index) => out.push_str(&format!("[{index}]")),
            Step::Key(key) if key.contains(['.', '[', ' ']) => out.push_str(&format!("[\"{key}\"]")),
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
        }
    }
    out
}

impl Node {
    /// A member of a mapping.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.member(name).map(|(_, node)| node)
    }

    /// A member of a mapping, with its key.
    pub(crate) fn member(&self, name: &str) -> Option<&(Key, Node)> {
        let Shape::Map(members) = &self.shape else { return None };
        members.iter().find(|(key, _)| key.text == name)
    }

    /// The text of a scalar.
    pub(crate) fn scalar(&self) -> Option<&str> {
        if let Shape::Scalar(text) = &self.shape {
            Some(text)
        } else {
            None
        }
    }

    /// Where a path stands: the value it names, or the nearest value around it that the source has. A member that is
    /// a collection is pointed at by its key, because a whole block underlined says nothing.
    pub(crate) fn span_of(&self, path: &[Step<'_>]) -> Range<usize> {
        let mut here = self;
        let mut span = self.heading();
        for step in path {
            match (&here.shape, step) {
                (Shape::Map(_), Step::Key(name)) => {
                    let Some((key, node)) = here.member(name) else {
                        return span;
                    };
                    here = node;
                    span = if matches!(node.shape, Shape::Scalar(_) | Shape::Other) && !node.span.is_empty() {
                        node.span.clone()
                    } else {
                        key.span.clone()
                    };
                }
                (Shape::List(items), Step::At(index)) => {
                    let Some(node) = items.get(*index) else { return span };
                    here = node;
                    span = node.heading();
                }
                _ => return span,
            }
        }
        span
    }

    /// The first thing in a value that is worth pointing at.
    fn heading(&self) -> Range<usize> {
        match &self.shape {
            Shape::Map(members) => members
                .first()
                .map_or_else(|| self.span.clone(), |(key, _)| key.span.clone()),
            Shape::List(items) => items.first().map_or_else(|| self.span.clone(), Self::heading),
            Shape::Scalar(_) | Shape::Other => self.span.clone(),
        }
    }

    /// The innermost mapping whose inside holds the offset: its path, and where its own key stands.
    pub(crate) fn holder_at(&self, offset: usize) -> (String, Range<usize>) {
        let mut steps: Vec<Step<'_>> = Vec::new();
        let mut found = (String::new(), self.heading());
        let mut here = self;
        let inside = |node: &Node| (node.span.start..node.span.end.max(node.span.start + 1)).contains(&offset);
        loop {
            let (step, node) = match &here.shape {
                Shape::Map(members) => match members.iter().find(|(_, node)| inside(node)) {
                    Some((key, node)) => (Step::Key(&key.text), node),
                    None => return found,
                },
                Shape::List(items) => match items.iter().enumerate().find(|(_, node)| inside(node)) {
                    Some((index, node)) => (Step::At(index), node),
                    None => return found,
                },
                Shape::Scalar(_) | Shape::Other => return found,
            };
            steps.push(step);
            here = node;
            if matches!(here.shape, Shape::Map(_)) {
                found = (written(&steps), self.span_of(&steps));
            }
        }
    }

    /// The path of the innermost member or item whose key or value holds the offset.
    pub(crate) fn path_at(&self, offset: usize) -> String {
        let mut steps: Vec<Step<'_>> = Vec::new();
        let mut here = self;
        loop {
            let next = match &here.shape {
                Shape::Map(members) => members
                    .iter()
                    .find(|(key, node)| (key.span.start..node.span.end.max(key.span.end)).contains(&offset))
                    .map(|(key, node)| (Step::Key(&key.text), node)),
                Shape::List(items) => items
                    .iter()
                    .enumerate()
                    .find(|(_, node)| (node.span.start..node.span.end.max(node.span.start + 1)).contains(&offset))
                    .map(|(index, node)| (Step::At(index), node)),
                Shape::Scalar(_) | Shape::Other => None,
            };
            let Some((step, node)) = next else {
                return written(&steps);
            };
            steps.push(step);
            here = node;
        }
    }
}

/// One document of a source: its values, and the text from the start of its first line to its end.
pub(crate) struct Piece {
    pub(crate) root: Node,
    pub(crate) text: Range<usize>,
}

/// Why a source has no tree.
pub(crate) enum TreeError {
    Syntax(ScanError),
    TooDeep(Range<usize>),
    TooMany(Range<usize>),
}

/// A collection that is being read: what it has so far, and the key that waits for its value.
struct Open {
    node: Node,
    key: Option<Key>,
}

/// Reads a source of one or more YAML documents. Empty documents are left out.
pub(crate) fn read(text: &str) -> Result<Vec<Piece>, TreeError> {
    let mut pieces = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, at) = event.map_err(TreeError::Syntax)?;
        let span = bytes(&at);
        let node = match event {
            Event::MappingStart(..) => {
                open.push(Open {
                    node: Node {
                        span,
                        shape: Shape::Map(Vec::new()),
                    },
                    key: None,
                });
                None
            }
            Event::SequenceStart(..) => {
                open.push(Open {
                    node: Node {
                        span,
                        shape: Shape::List(Vec::new()),
                    },
                    key: None,
                });
                None
            }
            Event::MappingEnd | Event::SequenceEnd => open.pop().map(|mut done| {
                done.node.span.end = end_of(&done.node, span.end, text);
                done.node
            }),
            Event::Scalar(value, ..) => Some(Node {
                span,
                shape: Shape::Scalar(value.into_owned()),
            }),
            Event::Alias(_) => Some(Node {
                span,
                shape: Shape::Other,
            }),
            Event::DocumentEnd => {
                if let Some(root) = root.take() {
                    let start = text
                        .get(..root.span.start)
                        .and_then(|before| before.rfind('\n'))
                        .map_or(0, |nl| nl + 1);
                    let end = span.start.max(root.span.end).min(text.len());
                    pieces.push(Piece { root, text: start..end });
                    if pieces.len() > limits::DOCUMENTS {
                        return Err(TreeError::TooMany(span));
                    }
                }
                None
            }
            _ => None,
        };
        if open.len() > limits::SOURCE_DEPTH {
            return Err(TreeError::TooDeep(bytes(&at)));
        }
        if let Some(node) = node {
            place(&mut open, &mut root, node);
        }
    }
    Ok(pieces)
}

fn bytes(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or_default()
}

/// Where a collection ends: after its last value, or at its bracket.
fn end_of(node: &Node, closing: usize, text: &str) -> usize {
    let bracketed = text
        .as_bytes()
        .get(node.span.start)
        .is_some_and(|b| matches!(b, b'{' | b'['));
    let last = match &node.shape {
        Shape::Map(members) => members.last().map(|(key, value)| value.span.end.max(key.span.end)),
        Shape::List(items) => items.last().map(|value| value.span.end),
        Shape::Scalar(_) | Shape::Other => None,
    };
    if bracketed { closing } else { last.unwrap_or(closing) }
}

/// Puts a finished value where it belongs: a key, a member, an item or the document itself.
fn place(open: &mut [Open], root: &mut Option<Node>, node: Node) {
    let Some(parent) = open.last_mut() else {
        *root = Some(node);
        return;
    };
    match &mut parent.node.shape {
        Shape::List(items) => items.push(node),
        Shape::Map(members) => match parent.key.take() {
            Some(key) => members.push((key, node)),
            None => {
                let Node { span, shape } = node;
                let text = if let Shape::Scalar(text) = shape {
                    text
                } else {
                    String::new()
                };
                parent.key = Some(Key { text, span });
            }
        },
        Shape::Scalar(_) | Shape::Other => {}
    }
}
