//! The page of the command line, from the parser that reads it.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use super::cell;
use crate::exit;

const HEAD: &str = "# Command line

<!-- Generated from the program. Regenerate: `cargo xtask codegen`. -->
";

/// The page, as the text of its file.
pub(super) fn markdown(mut command: Command) -> String {
    command.build();
    let mut page = HEAD.to_owned();
    let _ = write!(page, "\n{}\n\n", sentence(&command));
    page.push_str("| command | |\n|---|---|\n");
    let commands = commands(&command);
    for (name, sub) in &commands {
        let anchor = name.replace(' ', "-");
        let _ = writeln!(page, "| [`{name}`](#meshgate-{anchor}) | {} |", cell(&sentence(sub)));
    }
    page.push_str("\nOptions of every command:\n");
    table(&mut page, command.get_arguments().filter(|arg| arg.is_global_set()));
    for (name, sub) in &commands {
        let _ = write!(page, "\n## `meshgate {name}`\n\n{}\n", sentence(sub));
        let _ = write!(page, "\n```\n{}\n```\n", usage(sub));
        if let Some(after) = sub.get_after_help() {
            let _ = write!(page, "\n```\n{after}\n```\n");
        }
        table(&mut page, sub.get_arguments().filter(|arg| !arg.is_global_set()));
    }
    page.push_str("\n## Exit codes\n\n| code | |\n|---|---|\n");
    for line in exit::HELP.lines().skip(1) {
        if let Some((code, meaning)) = line.trim().split_once(' ') {
            let _ = writeln!(page, "| {code} | {} |", cell(meaning));
        }
    }
    page
}

/// Every command that people type, with the words it is typed in; one that only groups others is not one.
fn commands(command: &Command) -> Vec<(String, &Command)> {
    let shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let mut all = Vec::new();
    for sub in command.get_subcommands().filter(shown) {
        let name = sub.get_name().to_owned();
        let below = commands(sub);
        if below.is_empty() {
            all.push((name, sub));
        } else {
            all.extend(below.into_iter().map(|(rest, sub)| (format!("{name} {rest}"), sub)));
        }
    }
    all
}

fn sentence(command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about());
    full_stop(
        about
            .map(|text| text.to_string().replace('\n', " "))
            .unwrap_or_default(),
    )
}

/// The parser takes the full stop off what it shows alone; here another sentence may follow.
fn full_stop(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with(['.', ':', '?']) {
        text.push('.');
    }
    text
}

fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage: ").replace("\n       ", "\n")
}

fn table<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let hidden = |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_action(), ArgAction::Help | ArgAction::Version);
    let rows: Vec<String> = args.filter(hidden).map(row).collect();
    if !rows.is_empty() {
        let _ = write!(page, "\n| | |\n|---|---|\n{}", rows.concat());
    }
}

fn row(arg: &Arg) -> String {
    let value = arg
        .get_value_names()
        .filter(|_| arg.get_action().takes_values())
        .map(|names| {
            names
                .iter()
                .map(|name| format!("<{name}>"))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    names.extend(arg.get_short().map(|short| format!("-{short}")));
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    let name = match names.is_empty() {
        true => value.clone(),
        false => format!("{} {value}", names.join(", ")),
    };
    let help = arg.get_long_help().or(arg.get_help());
    let mut text = full_stop(help.map(ToString::to_string).unwrap_or_default());
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() && arg.get_action().takes_values() {
        let _ = write!(text, " One of {}.", values.join(", "));
    }
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        let _ = write!(text, " Default: {}.", defaults.join(", "));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " Also from the variable `{}`.", variable.to_string_lossy());
    }
    if arg.is_required_set() {
        text.push_str(" Required.");
    }
    if matches!(arg.get_action(), ArgAction::Append) {
        text.push_str(" May be given several times.");
    }
    format!("| `{}` | {} |\n", cell(&name), cell(&text))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_and_option_that_help_shows_is_on_the_page() {
        let page = markdown(Cli::command());
        let command = Cli::command();
        let commands = commands(&command);
        assert!(commands.iter().any(|(name, _)| name == "cert show"), "{commands:?}");
        for (name, sub) in &commands {
            assert!(page.contains(&format!("\n## `meshgate {name}`\n")), "{name}");
            for long in sub
                .get_arguments()
                .filter_map(Arg::get_long)
                .filter(|long| *long != "help")
            {
                assert!(page.contains(&format!("--{long}")), "{name} --{long}");
            }
        }
        assert!(
            page.contains("| 64 | the configuration is refused; nothing was started |"),
            "{page}"
        );
        assert!(!page.contains("meshgate reference"), "it is no command for people");
    }
}
