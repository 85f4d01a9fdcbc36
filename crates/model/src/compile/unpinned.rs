//! Packages that a command fetches and runs without saying which version.
//!
//! What such a command runs changes under the operator's feet, at the next start, with whatever was published last. It
//! is a warning, because everybody starts that way.

/// The index and text of the argument that names a package without a version.
pub(super) fn package<'a>(command: &str, args: &'a [String]) -> Option<(usize, &'a str)> {
    let program = command.rsplit(['/', '\\']).next().unwrap_or(command);
    match program
        .strip_suffix(".cmd")
        .or_else(|| program.strip_suffix(".exe"))
        .unwrap_or(program)
    {
        "npx" | "bunx" => node(args, 0),
        "npm" if matches!(args.first().map(String::as_str), Some("exec" | "x")) => node(args, 1),
        "pnpm" | "yarn" if args.first().is_some_and(|first| first == "dlx") => node(args, 1),
        "uvx" => python(args, 0),
        "uv" if matches!(args, [a, b, ..] if a == "tool" && b == "run") => python(args, 2),
        "pipx" if args.first().is_some_and(|first| first == "run") => python(args, 1),
        _ => None,
    }
}

/// The argument after one of the options, or the first that is no option; with its index.
fn named<'a>(args: &'a [String], from: usize, naming: &[&str], with_value: &[&str]) -> Option<(usize, &'a str)> {
    let mut first = None;
    let mut rest = args.iter().enumerate().skip(from);
    while let Some((index, argument)) = rest.next() {
        if let Some((option, value)) = argument.split_once('=')
            && naming.contains(&option)
        {
            return Some((index, value));
        }
        if naming.contains(&argument.as_str()) {
            return rest.next().map(|(index, value)| (index, value.as_str()));
        }
        if with_value.contains(&argument.as_str()) {
            rest.next();
        } else if !argument.starts_with('-') {
            first = Some((index, argument.as_str()));
            break;
        }
    }
    first
}

fn node(args: &[String], from: usize) -> Option<(usize, &str)> {
    let (index, package) = named(
        args,
        from,
        &["-p", "--package"],
        &["-c", "--call", "--prefix", "-w", "--workspace"],
    )?;
    let unscoped = package.strip_prefix('@').unwrap_or(package);
    (!is_place(package)
        && !unscoped
            .split_once('@')
            .is_some_and(|(_, version)| says_version(version)))
    .then_some((index, package))
}

fn python(args: &[String], from: usize) -> Option<(usize, &str)> {
    let with_value = [
        "--with",
        "--with-editable",
        "--python",
        "-p",
        "--index",
        "--index-url",
        "--default-index",
        "--extra-index-url",
        "--directory",
    ];
    let (index, package) = named(args, from, &["--from", "--spec"], &with_value)?;
    let version = package
        .split_once("==")
        .or_else(|| package.split_once('@'))
        .map(|(_, version)| version.trim());
    (!is_place(package) && !version.is_some_and(says_version)).then_some((index, package))
}

/// A version says a number; `latest` and `next` say none.
fn says_version(version: &str) -> bool {
    version.starts_with(|c: char| c.is_ascii_digit())
}

/// A directory, an archive or a repository: pinned or not, it is no package of a registry.
fn is_place(package: &str) -> bool {
    package.starts_with(['.', '/']) || package.contains("://") || package.contains("git+")
}
