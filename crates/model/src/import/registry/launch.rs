//! What a package of a registry is started with, and with what not.

use std::collections::BTreeMap;

use super::entry::{Argument, Input, Named, Package};
use crate::import::secrets;
use crate::kinds::{StdioSpec, Value, ValueFrom};
use crate::secret::may_be_secret;

/// Variables that make a program load or run something else than itself, or tell it who it is.
const LAUNCHING: [&str; 16] = [
    "PATH",
    "HOME",
    "SHELL",
    "IFS",
    "ENV",
    "BASH_ENV",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "PERL5OPT",
    "PERL5LIB",
    "RUBYOPT",
    "RUBYLIB",
    "JAVA_TOOL_OPTIONS",
];
/// Beginnings of names of such variables.
const LAUNCHING_PREFIXES: [&str; 9] = [
    "LD_",
    "DYLD_",
    "NPM_CONFIG_",
    "NPM_",
    "UV_",
    "PIP_",
    "DOCKER_",
    "DOTNET_",
    "COR_",
];
/// What stands for a value that only the operator knows.
const FILL_IN: &str = "FILL-IN-";
/// Longest value of an entry that is taken over, in bytes.
const VALUE_BYTES_MAX: usize = 1024;

/// Why something cannot be proposed.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: String,
    pub(super) remedy: String,
}

impl Refused {
    pub(super) fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

/// What an entry asks of the operator, gathered while its proposal is made.
pub(super) struct Asked {
    server: String,
    /// For the person who reads the proposal.
    pub(super) remarks: Vec<String>,
    /// What the entry asks for and does not get.
    pub(super) left_out: Vec<String>,
}

impl Asked {
    pub(super) fn new(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            remarks: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// A text with its `{variables}` filled in.
    pub(super) fn filled(
        &mut self,
        what: &str,
        template: &str,
        variables: &BTreeMap<String, Input>,
    ) -> Result<String, Refused> {
        let mut out = template.to_owned();
        for (name, input) in variables {
            let hole = format!("{{{name}}}");
            if !out.contains(&hole) {
                continue;
            }
            if input.is_secret {
                return Err(Refused::new(
                    format!("{what} takes the secret `{name}`, and none can be read from elsewhere there"),
                    "ask its publisher for a header or a variable in its place",
                ));
            }
            let value = self.known(name, input);
            out = out.replace(&hole, &value);
        }
        fits(what, out)
    }

    /// The value of an input that is no secret: its own, its default, or a place to fill in.
    fn known(&mut self, name: &str, input: &Input) -> String {
        if let Some(value) = input
            .value
            .as_ref()
            .or(input.default.as_ref())
            .filter(|value| !value.is_empty())
        {
            if input.value.is_none() {
                self.remarks.push(format!(
                    "`{name}` has its default: {}{}",
                    input.description,
                    choices(input)
                ));
            }
            return value.clone();
        }
        let place: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        let place = format!("{FILL_IN}{}", place.trim_matches('-'));
        self.remarks
            .push(format!("fill in `{place}`: {}{}", input.description, choices(input)));
        place
    }

    /// A header of an endpoint; `None` for an optional one that nothing is known of.
    pub(super) fn header(&mut self, header: &Named) -> Result<Option<Value>, Refused> {
        let variable = secrets::variable_of(&self.server, &header.name);
        self.value(&format!("the header `{}`", header.name), header, &variable)
    }

    fn value(&mut self, what: &str, named: &Named, variable: &str) -> Result<Option<Value>, Refused> {
        let input = &named.input;
        let secrets: Vec<&String> = named
            .variables
            .iter()
            .filter(|(_, v)| v.is_secret)
            .map(|(n, _)| n)
            .collect();
        let said = format!("{}{}", input.description, choices(input));
        match (&input.value, secrets.as_slice()) {
            // Some text and one secret at its end: `Bearer {token}`.
            (Some(template), [secret]) => {
                let hole = format!("{{{secret}}}");
                let Some(prefix) = template
                    .strip_suffix(&hole)
                    .filter(|prefix| !prefix.contains(['{', '}']))
                else {
                    self.left_out
                        .push(format!("{what}, whose secret stands before other text: {said}"));
                    return Ok(None);
                };
                let variable = secrets::variable_of(&self.server, secret);
                self.remarks
                    .push(format!("set the variable `{variable}` for {what}: {said}"));
                Ok(Some(from_environment(&variable, prefix)))
            }
            (Some(_), [_, ..]) => {
                self.left_out
                    .push(format!("{what}, which takes several secrets: {said}"));
                Ok(None)
            }
            (Some(template), []) => self
                .filled(what, template, &named.variables)
                .map(Value::Literal)
                .map(Some),
            (None, _) if input.is_secret || (may_be_secret(&named.name) && input.default.is_none()) => {
                let need = if input.is_required {
                    "set"
                } else {
                    "set, or remove it here,"
                };
                self.remarks
                    .push(format!("{need} the variable `{variable}` for {what}: {said}"));
                Ok(Some(from_environment(variable, "")))
            }
            (None, _) if input.is_required || input.default.is_some() => {
                let value = self.known(&named.name, input);
                fits(what, value).map(Value::Literal).map(Some)
            }
            (None, _) => {
                self.remarks.push(format!("optional: {what}: {said}"));
                Ok(None)
            }
        }
    }

    fn environment(&mut self, named: &[Named]) -> Result<BTreeMap<String, Value>, Refused> {
        let mut out = BTreeMap::new();
        for variable in named {
            let name = &variable.name;
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !plain || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                self.left_out.push("a variable whose name is none".to_owned());
            } else if launches(name) {
                self.left_out
                    .push(format!("the variable `{name}`, which changes what is started"));
            } else if let Some(value) = self.value(&format!("the variable `{name}`"), variable, name)? {
                out.insert(name.clone(), value);
            }
        }
        Ok(out)
    }

    /// The arguments that the package documents for itself.
    fn arguments(&mut self, arguments: &[Argument]) -> Result<Vec<String>, Refused> {
        let mut out = Vec::new();
        for argument in arguments {
            let named = argument.kind == "named";
            let label = if named { &argument.name } else { &argument.value_hint };
            let label = if label.is_empty() { "argument" } else { label };
            let input = &argument.input;
            let what = format!("the argument `{label}`");
            if input.is_secret {
                return Err(Refused::new(
                    format!("{what} is a secret, and every process of the machine can read another's arguments"),
                    "ask its publisher for a variable in its place",
                ));
            }
            let value = match &input.value {
                Some(template) => Some(self.filled(&what, template, &argument.variables)?),
                None if input.is_required || input.default.is_some() => Some(fits(&what, self.known(label, input))?),
                None if named && input.choices.is_empty() && input.description.is_empty() => None,
                None => {
                    self.remarks
                        .push(format!("optional: {what}: {}{}", input.description, choices(input)));
                    continue;
                }
            };
            match (named, value) {
                (false, Some(value)) => out.push(value),
                (false, None) => {}
                (true, None) => out.push(fits(&what, argument.name.clone())?),
                (true, Some(value)) if argument.name.starts_with("--") => {
                    out.push(format!("{}={value}", argument.name))
                }
                (true, Some(value)) => out.extend([argument.name.clone(), value]),
            }
        }
        Ok(out)
    }
}

/// The program that a package is started with.
pub(super) fn package(package: &Package, asked: &mut Asked) -> Result<StdioSpec, Refused> {
    if package.transport.kind != "stdio" {
        return Err(Refused::new(
            format!("it is spoken to over `{}`", package.transport.kind),
            "start it yourself and write `http: {url: …}`",
        ));
    }
    if let Some(base) = &package.registry_base_url {
        asked.remarks.push(format!(
            "published at {base}; the runner takes it from where it is set up to"
        ));
    }
    let env = asked.environment(&package.environment_variables)?;
    let own = asked.arguments(&package.package_arguments)?;
    let id = package.identifier.as_str();
    let (command, expected, mut args) = match package.registry_type.as_str() {
        "npm" => {
            let pinned = format!("{}@{}", name(id, is_npm)?, version(package)?);
            ("npx", "npx", vec!["-y".to_owned(), pinned])
        }
        "pypi" => {
            let pinned = format!("{}=={}", name(id, is_plain)?, version(package)?);
            ("uvx", "uvx", vec![pinned])
        }
        "nuget" => {
            let pinned = format!("{}@{}", name(id, is_plain)?, version(package)?);
            ("dnx", "dnx", vec![pinned, "--yes".to_owned(), "--".to_owned()])
        }
        "oci" => {
            let mut args: Vec<String> = ["run", "-i", "--rm"].map(str::to_owned).to_vec();
            args.extend(env.keys().flat_map(|name| ["-e".to_owned(), name.clone()]));
            args.push(image(package, asked)?);
            ("docker", "docker", args)
        }
        other => {
            return Err(Refused::new(
                format!("packages of the kind `{other}` are not started from here"),
                "install it and write `stdio: {command: …}`",
            ));
        }
    };
    if let Some(hint) = package.runtime_hint.as_deref().filter(|hint| *hint != expected) {
        asked.left_out.push(format!("the runner `{hint}`; `{command}` is used"));
    }
    for argument in &package.runtime_arguments {
        let value = argument
            .input
            .value
            .as_deref()
            .or(argument.input.default.as_deref())
            .unwrap_or_default();
        // `npx -y` is written already.
        if !(command == "npx" && (argument.name == "-y" || value == "-y")) {
            let text = format!("{} {value}", argument.name);
            asked.left_out.push(format!(
                "the argument `{}` for `{command}`: {}",
                text.trim(),
                argument.input.description
            ));
        }
    }
    args.extend(own);
    Ok(StdioSpec {
        command: command.to_owned(),
        args,
        env,
        cwd: None,
    })
}

fn name(id: &str, grammar: fn(&str) -> bool) -> Result<&str, Refused> {
    if grammar(id) {
        Ok(id)
    } else {
        Err(Refused::new(
            "its identifier is not the name of a package",
            "look it up by hand",
        ))
    }
}

/// The exact version.
fn version(package: &Package) -> Result<&str, Refused> {
    let version = package.version.as_deref().unwrap_or_default();
    let plain = version
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'_' | b'!'));
    let ranged = version.split('.').any(|part| part == "x" || part == "X");
    if plain && !ranged && version.starts_with(|c: char| c.is_ascii_digit()) && version.len() <= 100 {
        Ok(version)
    } else {
        Err(Refused::new(
            "it names no exact version",
            "choose one, and write `stdio: {command: …}`",
        ))
    }
}

/// An image with its tag or digest.
fn image(package: &Package, asked: &mut Asked) -> Result<String, Refused> {
    let id = package.identifier.as_str();
    let (rest, digest) = match id.split_once("@sha256:") {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (id, None),
    };
    let (path, tag) = match rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, package.version.as_deref().filter(|_| digest.is_none())),
    };
    let is_path = |path: &str| {
        path.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && path
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"./_-:".contains(&b))
    };
    let is_tag = |tag: &str| {
        tag != "latest"
            && (1..=128).contains(&tag.len())
            && tag.starts_with(|c: char| c.is_ascii_alphanumeric())
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let is_digest = |digest: &str| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_path(path) || tag.is_some_and(|tag| !is_tag(tag)) || digest.is_some_and(|digest| !is_digest(digest)) {
        return Err(Refused::new(
            "its identifier is not an image with a tag or digest",
            "look it up by hand",
        ));
    }
    match (tag, digest) {
        (_, Some(_)) => Ok(id.to_owned()),
        (Some(tag), None) => {
            asked
                .remarks
                .push(format!("the tag `{tag}` can be moved; `@sha256:…` in its place cannot"));
            Ok(format!("{path}:{tag}"))
        }
        (None, None) => Err(Refused::new(
            "its image has neither tag nor digest",
            "choose one by hand",
        )),
    }
}

fn is_npm(id: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    id.len() <= 214
        && match id.strip_prefix('@') {
            Some(scoped) => scoped
                .split_once('/')
                .is_some_and(|(scope, name)| part(scope) && part(name)),
            None => part(id),
        }
}

fn is_plain(id: &str) -> bool {
    id.len() <= 200
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

fn launches(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    LAUNCHING.contains(&upper.as_str()) || LAUNCHING_PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
}

fn fits(what: &str, value: String) -> Result<String, Refused> {
    if value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control) {
        let why = format!("{what} is longer than {VALUE_BYTES_MAX} bytes or holds control characters");
        return Err(Refused::new(why, "look it up by hand"));
    }
    Ok(value)
}

fn choices(input: &Input) -> String {
    match input.choices.as_slice() {
        [] => String::new(),
        some => format!(" (one of {})", some.join(", ")),
    }
}

fn from_environment(name: &str, prefix: &str) -> Value {
    Value::From(ValueFrom {
        from_environment: Some(name.to_owned()),
        prefix: prefix.to_owned(),
        ..ValueFrom::default()
    })
}
