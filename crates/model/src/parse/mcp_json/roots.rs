//! Where the servers are in a file of another program: every program has its own word for them.

use crate::parse::tree::{Key, Node, Shape, Step};

use super::variables::Input;

/// One step of a path, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnedStep {
    Key(String),
    At(usize),
}

impl OwnedStep {
    pub(crate) fn step(&self) -> Step<'_> {
        match self {
            Self::Key(key) => Step::Key(key),
            Self::At(index) => Step::At(*index),
        }
    }
}

/// The objects that hold servers, by their path from the top of the file.
const ROOTS: [&[&str]; 6] = [
    &["mcpServers"],
    &["servers"],
    &["mcp", "servers"],
    &["mcp.servers"],
    &["context_servers"],
    &["mcp_servers"],
];

/// An entry of the file.
pub(super) struct Found<'a> {
    pub(super) path: Vec<OwnedStep>,
    pub(super) key: Key,
    pub(super) node: &'a Node,
}

/// What holds the servers, or is in their place.
pub(super) enum Holder<'a> {
    Entries(Vec<Found<'a>>),
    /// Something else, under this key.
    Wrong(&'static [&'static str], Key),
    Missing,
}

fn member<'a>(root: &'a Node, path: &[&str]) -> Option<&'a (Key, Node)> {
    let (last, before) = path.split_last()?;
    let mut here = root;
    for name in before {
        here = here.get(name)?;
    }
    here.member(last)
}

/// Whether a file has one of them, and is no document of ours.
pub(super) fn holds(root: &Node) -> bool {
    root.get("apiVersion").is_none() && ROOTS.iter().any(|path| member(root, path).is_some())
}

/// All entries of the file.
pub(super) fn entries(root: &Node) -> Holder<'_> {
    let mut all = Vec::new();
    let mut any = false;
    for path in ROOTS {
        let Some((key, holder)) = member(root, path) else {
            continue;
        };
        any = true;
        let steps: Vec<OwnedStep> = path.iter().map(|name| OwnedStep::Key((*name).to_owned())).collect();
        let at = |step: OwnedStep| steps.iter().cloned().chain([step]).collect();
        match &holder.shape {
            Shape::Map(members) => all.extend(members.iter().map(|(key, node)| Found {
                path: at(OwnedStep::Key(key.text.clone())),
                key: key.clone(),
                node,
            })),
            // A list of entries that name themselves.
            Shape::List(items) if items.iter().all(|item| matches!(item.shape, Shape::Map(_))) => {
                for (index, node) in items.iter().enumerate() {
                    let text = node.get("name").and_then(Node::scalar).unwrap_or_default().to_owned();
                    let span = node.span_of(&[Step::Key("name")]);
                    all.push(Found {
                        path: at(OwnedStep::At(index)),
                        key: Key { text, span },
                        node,
                    });
                }
            }
            _ => return Holder::Wrong(path, key.clone()),
        }
    }
    if any { Holder::Entries(all) } else { Holder::Missing }
}

/// What an editor asks its user for, beside the servers.
pub(super) fn inputs(root: &Node) -> Vec<Input> {
    let beside = [Some(root), root.get("mcp")];
    let lists = beside.into_iter().flatten().filter_map(|node| node.get("inputs"));
    let items = lists.flat_map(|node| match &node.shape {
        Shape::List(items) => items.as_slice(),
        _ => &[],
    });
    items
        .map(|item| Input {
            id: item.get("id").and_then(Node::scalar).unwrap_or_default().to_owned(),
            secret: item.get("password").and_then(Node::scalar) == Some("true"),
            default: item.get("default").and_then(Node::scalar).map(str::to_owned),
        })
        .collect()
}
