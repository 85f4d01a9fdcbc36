//! Variables in the texts of an entry, in the spellings of the programs that write such files.
//!
//! A value of the environment or a header can be read from elsewhere when the gateway starts its server, so a variable at
//! its end stays a reference. A command, an argument or a URL is text in a mesh file; there a variable is replaced by what
//! the surroundings say, and a secret never is: every process of the machine may read another's arguments.

use std::path::PathBuf;

use crate::kinds::{Value, ValueFrom};

/// What a reader may know of the machine it reads on. The library looks nowhere by itself.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The variables of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The directory of the project that a file belongs to.
    pub workspace: Option<&'a str>,
}

impl Surroundings<'_> {
    /// Nothing is known.
    pub const NONE: Surroundings<'static> = Surroundings {
        variable: &|_| None,
        workspace: None,
    };
}

/// A value that an editor asks the user for.
#[derive(Clone, Debug, Default)]
pub(super) struct Input {
    pub(super) id: String,
    pub(super) secret: bool,
    pub(super) default: Option<String>,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// A variable of the environment, and its value where it is not set.
    Variable(String, Option<String>),
    File(String),
    Input(String),
    Workspace,
    Unknown(String),
}

/// Takes a text apart.
pub(super) fn parts(text: &str) -> Vec<Part> {
    if let Some(name) = text.strip_prefix('$').filter(|name| is_upper_name(name)) {
        return vec![Part::Variable(name.to_owned(), None)];
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, tail) = match after.strip_prefix('{').and_then(|after| after.split_once("}}")) {
            Some((inner, tail)) => (inner, tail),
            None => match after.split_once('}') {
                Some(split) => split,
                None => break,
            },
        };
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(part(inner.trim()));
        rest = tail;
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    parts
}

fn part(inner: &str) -> Part {
    let variable = |text: &str| {
        let (name, default) = match text.split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (text, None),
        };
        if is_name(name) {
            Part::Variable(name.to_owned(), default)
        } else {
            Part::Unknown(inner.to_owned())
        }
    };
    match inner.split_once(':') {
        _ if inner == "workspaceFolder" => Part::Workspace,
        _ if inner == "userHome" => Part::Variable("HOME".to_owned(), None),
        _ if inner == "/" || inner == "pathSeparator" => Part::Text("/".to_owned()),
        Some(("env", name)) => variable(name),
        Some(("input", id)) => Part::Input(id.to_owned()),
        Some(("file", path)) if !path.is_empty() => Part::File(path.to_owned()),
        _ => match inner.strip_prefix("secrets.").or(inner.strip_prefix("inputs.")) {
            Some(name) => variable(name.rsplit('/').next().unwrap_or(name)),
            None => variable(inner),
        },
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_upper_name(name: &str) -> bool {
    is_name(name)
        && name.len() > 1
        && !name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// The name of a variable that stands for something an editor asks for.
pub(super) fn variable_of(id: &str) -> String {
    let name: String = id
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    let name = name.trim_matches('_');
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("INPUT_{name}")
    } else {
        name.to_owned()
    }
}

/// A value with at most one reference, at its end. `Err` where one stands elsewhere, or is none this program knows.
pub(super) fn value(text: &str, inputs: &[Input], around: &Surroundings<'_>) -> Result<Value, ()> {
    let mut before = String::new();
    let mut reference: Option<ValueFrom> = None;
    for part in parts(text) {
        if reference.is_some() {
            return Err(());
        }
        let from = |from_environment, default| {
            Some(ValueFrom {
                from_environment: Some(from_environment),
                default,
                ..ValueFrom::default()
            })
        };
        match part {
            Part::Text(text) => before.push_str(&text),
            Part::Workspace => before.push_str(around.workspace.ok_or(())?),
            Part::Variable(name, default) => reference = from(name, default),
            Part::File(path) => {
                reference = Some(ValueFrom {
                    from_file: Some(PathBuf::from(path)),
                    ..ValueFrom::default()
                });
            }
            Part::Input(id) => match inputs.iter().find(|input| input.id == id) {
                Some(input) if !input.secret && input.default.is_some() => {
                    reference = from(variable_of(&id), input.default.clone());
                }
                _ => reference = from(variable_of(&id), None),
            },
            Part::Unknown(_) => return Err(()),
        }
    }
    Ok(match reference {
        None => Value::Literal(before),
        Some(from) => Value::From(ValueFrom { prefix: before, ..from }),
    })
}

/// What became of a text that cannot hold references.
pub(super) enum Replaced {
    /// As it is, and the variables that were replaced.
    Text(String, Vec<String>),
    /// Why not.
    Refused(String),
}

/// Replaces what stands in a command, an argument, a directory or a URL. `own` names the variables that the server
/// itself gets: those it can replace by itself, so they stay.
pub(super) fn replaced(text: &str, own: &[&str], inputs: &[Input], around: &Surroundings<'_>) -> Replaced {
    let mut out = String::new();
    let mut names = Vec::new();
    let secret = |name: &str| {
        Replaced::Refused(format!(
            "`{name}` seems to be a secret, and every process of the machine can read another's arguments"
        ))
    };
    for part in parts(text) {
        match part {
            Part::Text(text) => out.push_str(&text),
            Part::Variable(name, _) if own.contains(&name.as_str()) => out.push_str(&format!("${{{name}}}")),
            Part::Variable(name, _) if crate::secret::may_be_secret(&name) => return secret(&name),
            Part::Variable(name, default) => match (around.variable)(&name).or(default) {
                Some(value) => {
                    out.push_str(&value);
                    names.push(name);
                }
                None => return Replaced::Refused(format!("the variable `{name}` is not set here")),
            },
            Part::Workspace => match around.workspace {
                Some(directory) => out.push_str(directory),
                None => return Replaced::Refused("the directory of the project is not known here".to_owned()),
            },
            Part::Input(id) => match inputs.iter().find(|input| input.id == id) {
                Some(input) if input.secret => return secret(&id),
                Some(Input {
                    default: Some(text), ..
                }) => {
                    out.push_str(text);
                    names.push(id);
                }
                _ => return Replaced::Refused(format!("nobody is asked for the input `{id}` here")),
            },
            Part::File(path) => return secret(&path),
            Part::Unknown(inner) => {
                return Replaced::Refused(format!("`${{{inner}}}` is no variable this program knows"));
            }
        }
    }
    Replaced::Text(out, names)
}
