//! `meshgate import --registry URL`: proposals from an MCP registry.
//!
//! What comes from there was written by strangers. It becomes a file of comments, and never anything that runs.

use std::process::ExitCode;

use meshgate_model::import::{self, Page};

use super::output;
use crate::cli::ImportArgs;
use crate::client::{self, encoded};
use crate::exit::{FAILED, Failure, UNAVAILABLE};
use crate::fetch::{self, Pinned, System, Target};
use crate::findings::named;
use crate::out;

/// Pages that are asked for, whatever a registry says there is more.
const PAGES_MAX: usize = 20;
/// Entries of one page.
const PAGE_ENTRIES: u16 = 100;

/// Asks, writes the proposals, and says which entries have none.
pub(super) fn run(registry: &str, args: &ImportArgs) -> Result<ExitCode, Failure> {
    let target = output::Target::choose(args.output.as_deref(), "proposals.yaml", args.force)?;
    let from = Target::parse(registry).map_err(|why| {
        Failure::new(FAILED, format!("`{registry}` cannot be a registry: {why}"))
            .remedy("write it as `https://host[:port][/path]`")
    })?;
    let roots = match &args.registry_ca {
        Some(file) => fetch::roots_in(file).map_err(|why| Failure::new(FAILED, why))?,
        None => fetch::public_roots(),
    };
    let host = from.host().to_owned();
    let pages = client::block_on(async {
        let pinned = Pinned::new(from, &System, roots, args.allow_private_registry)
            .await
            .map_err(|why| {
                let failure = Failure::new(UNAVAILABLE, why);
                if args.allow_private_registry {
                    failure
                } else {
                    failure.remedy("a company's own registry needs `--allow-private-registry`")
                }
            })?;
        pages(&pinned, args).await.map_err(|why| Failure::new(UNAVAILABLE, why))
    })?;
    let proposals = import::proposals(&host, &pages);
    for finding in &proposals.findings {
        out::note(&named(finding, ""));
    }
    if proposals.count == 0 {
        return Err(Failure::new(
            FAILED,
            format!("`{host}` has no server that can be proposed"),
        ));
    }
    target.write(&proposals.text, false)?;
    let place = target
        .path()
        .map_or_else(String::new, |path| format!("`{}`: ", path.display()));
    out::note(&format!(
        "{place}{} proposal(s); nothing runs until you accept one: the file says how",
        proposals.count
    ));
    Ok(ExitCode::SUCCESS)
}

/// Asks page by page, until there are enough entries or no more.
async fn pages(pinned: &Pinned, args: &ImportArgs) -> Result<Vec<Page>, String> {
    if let Some(name) = &args.name {
        let path = format!("/v0.1/servers/{}/versions/{}", encoded(name), encoded(&args.version));
        return Ok(vec![import::page(&pinned.json(&path).await?)?]);
    }
    let mut pages: Vec<Page> = Vec::new();
    let mut wanted = usize::from(args.max);
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let limit = wanted.min(usize::from(PAGE_ENTRIES));
        let mut path = format!("/v0.1/servers?version=latest&limit={limit}");
        if let Some(word) = &args.search {
            path.push_str(&format!("&search={}", encoded(word)));
        }
        if let Some(cursor) = &cursor {
            path.push_str(&format!("&cursor={}", encoded(cursor)));
        }
        let mut page = import::page(&pinned.json(&path).await?)?;
        page.truncate(wanted);
        wanted -= page.len();
        let next = page
            .next
            .clone()
            .filter(|next| !page.is_empty() && cursor.as_ref() != Some(next));
        pages.push(page);
        cursor = next;
        if wanted == 0 || cursor.is_none() {
            break;
        }
    }
    Ok(pages)
}
