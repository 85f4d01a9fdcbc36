//! `meshgate import`: a mesh file from what other programs are configured with.
//!
//! It writes a file and starts nothing. Findings name a line and never show it: the files hold secrets, and terminals and
//! build logs are read by others.

mod output;
mod registry;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use meshgate_model::import::{self, Imported, Options};
use meshgate_model::{Finding, Surroundings};

use crate::cli::ImportArgs;
use crate::exit::{FAILED, Failure};
use crate::findings::named;
use crate::out;
use crate::source::Source;

/// Reads the files, writes the mesh file, and says what became of each entry.
pub(crate) fn run(args: &ImportArgs) -> Result<ExitCode, Failure> {
    if let Some(registry) = &args.registry {
        return registry::run(registry, args);
    }
    let target = output::Target::choose(args.output.as_deref(), "mesh.yaml", args.force)?;
    let sources = args
        .files
        .iter()
        .map(|file| Source::read(file))
        .collect::<Result<Vec<_>, _>>()?;
    let places = args
        .files
        .iter()
        .map(|file| directory(file, args.workspace.as_deref()))
        .collect::<Result<Vec<_>, _>>()?;
    let imported = imported(&sources, &places, args.inline_values);
    for finding in &imported.findings {
        out::note(&named(finding, text_of(&sources, finding)));
    }
    if imported.servers == 0 {
        return Err(Failure::new(FAILED, "no server was found, so nothing was written"));
    }
    target.write(&imported.text, args.inline_values)?;
    out::note(&summary(&target, &imported));
    Ok(if imported.lost == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn imported(sources: &[Source], places: &[PathBuf], inline_values: bool) -> Imported {
    let files: Vec<import::Source<'_>> = sources
        .iter()
        .zip(places)
        .map(|(source, directory)| import::Source {
            name: &source.name,
            directory,
            text: &source.text,
        })
        .collect();
    let workspace = places.first().map(|place| place.to_string_lossy().into_owned());
    let around = Surroundings {
        variable: &|name| std::env::var(name).ok(),
        workspace: workspace.as_deref(),
    };
    import::import(&files, &Options { inline_values, around })
}

/// The directory that a file is about; absolute, because the mesh file may be anywhere.
fn directory(file: &Path, workspace: Option<&Path>) -> Result<PathBuf, Failure> {
    let directory = workspace.map_or_else(|| meshgate_model::project_of(file), Path::to_owned);
    std::path::absolute(&directory).map_err(|cause| {
        let message = format!("directory `{}` cannot be found: {cause}", directory.display());
        Failure::new(FAILED, message)
    })
}

fn text_of<'a>(sources: &'a [Source], finding: &Finding) -> &'a str {
    let source = sources.iter().find(|source| source.name == *finding.source);
    source.map_or("", |source| source.text.as_str())
}

fn summary(target: &output::Target, imported: &Imported) -> String {
    let servers = match imported.servers {
        1 => "1 server".to_owned(),
        many => format!("{many} servers"),
    };
    let lost = match imported.lost {
        0 => String::new(),
        1 => "; 1 entry could not be carried over".to_owned(),
        many => format!("; {many} entries could not be carried over"),
    };
    match target.path() {
        Some(path) => {
            let path = path.display();
            format!("`{path}` has {servers}{lost}\nread it, then: meshgate check {path} && meshgate up {path}")
        }
        None => format!("{servers}{lost}"),
    }
}
