//! The whole run: servers, gateway, cells side by side for the servers, one after the other for each of them.
//!
//! A session of a server is shared, so two clients of one server would hear of each other's changes. Ten servers at a
//! time are parallel enough.

use std::{path::PathBuf, sync::Arc, time::Instant};

use meshgate_bridge::eras::{Carriage, Feature, Link};
use meshgate_mcp::{REVISIONS, Revision};
use serde_json::json;

use crate::{
    Failure,
    cells::Scene,
    client::{Client, Wish},
    gateway::{Gateway, Way},
    merged::{FEATURES, Merged},
    page,
    server::{self, Peer},
    witness::{Notes, Witness},
};

/// The revisions, where they live for as long as the program.
static TABLE: [Revision; 5] = REVISIONS;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The gateway's program
    #[arg(long)]
    meshgate: PathBuf,
    /// A directory for the mesh file, the gateway's state and its log
    #[arg(long)]
    scratch: PathBuf,
    /// Where the page is written
    #[arg(long)]
    page: Option<PathBuf>,
    /// Only the servers whose name contains this, such as `2025-11-25-stdio`; no page is written
    #[arg(long)]
    only: Option<String>,
    /// Through a gateway and a sidecar beside each server
    #[arg(long)]
    mesh: bool,
}

/// One cell and what came of it.
pub(crate) struct Cell {
    pub(crate) feature: Feature,
    pub(crate) client: &'static Revision,
    pub(crate) server: &'static Revision,
    pub(crate) link: Link,
    pub(crate) listed: Option<Carriage>,
    pub(crate) outcome: Result<(), Failure>,
}

/// One feature of one client with all servers behind one address.
pub(crate) struct Try {
    pub(crate) feature: Feature,
    pub(crate) client: &'static Revision,
    pub(crate) outcome: Result<(), Failure>,
}

/// A server and who it is.
struct Seat {
    name: String,
    revision: &'static Revision,
    link: Link,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let start = Instant::now();
    let witness = Arc::new(Witness::default());
    let seats: Vec<Seat> = TABLE
        .iter()
        .flat_map(|revision| [Link::Stdio, Link::Http].map(|link| (revision, link)))
        .map(|(revision, link)| Seat {
            name: format!("v{}-{}", revision.name, link.name().to_lowercase()),
            revision,
            link,
        })
        .filter(|seat| options.only.as_ref().is_none_or(|only| seat.name.contains(only)))
        .collect();
    let servers = ways(&seats, &witness)?;
    let mut gateway = Gateway::start(&options.meshgate, &options.scratch, &servers, options.mesh)?;
    for seat in &seats {
        gateway.until(&format!("{} is there", seat.name), |authority| {
            is_there(authority, &seat.name)
        })?;
    }
    let authority = gateway.authority.clone();
    let cells: Vec<Cell> = std::thread::scope(|scope| {
        let running: Vec<_> = seats
            .iter()
            .map(|seat| {
                scope.spawn(|| {
                    TABLE
                        .iter()
                        .flat_map(|client| pair(&witness, &authority, seat, client))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        running
            .into_iter()
            .filter_map(|one| one.join().ok())
            .flatten()
            .collect()
    });
    let names: Vec<String> = seats.iter().map(|seat| seat.name.clone()).collect();
    let tries: Vec<Try> = TABLE
        .iter()
        .flat_map(|client| merged(&witness, &authority, &names, client))
        .collect();
    drop(gateway);
    report(
        options,
        &cells,
        &tries,
        seats.len() * TABLE.len() * Feature::ALL.len(),
        start,
    )
}

/// Starts the servers over HTTP and says how each one is reached.
fn ways(seats: &[Seat], witness: &Arc<Witness>) -> Result<Vec<(String, Way)>, Failure> {
    let address = witness.listen()?;
    let program = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let program = program.to_string_lossy().into_owned();
    let way = |seat: &Seat| {
        let revision = seat.revision.name.to_owned();
        Ok((
            seat.name.clone(),
            match seat.link {
                Link::Http => {
                    let notes = Notes::Here(Arc::clone(witness));
                    Way::Http(server::http::serve(Peer::new(seat.name.clone(), revision, notes))?)
                }
                Link::Stdio => Way::Stdio(
                    [
                        &program,
                        "serve",
                        "--name",
                        &seat.name,
                        "--revision",
                        &revision,
                        "--witness",
                        &address,
                    ]
                    .map(str::to_owned)
                    .to_vec(),
                ),
            },
        ))
    };
    seats.iter().map(way).collect()
}

/// Whether the gateway has read the server's catalogue.
fn is_there(authority: &str, server: &str) -> bool {
    let list = Client::open(TABLE[4].name, authority, &format!("/views/{server}/mcp"), false)
        .and_then(|client| client.call("tools/list", &json!({}), &Wish::none()));
    list.is_ok_and(|list| list.answer.to_string().contains("\"echo\""))
}

/// The fifteen cells of one pair.
fn pair(witness: &Arc<Witness>, authority: &str, seat: &Seat, client: &'static Revision) -> Vec<Cell> {
    let scene = Scene::open(witness, authority, &seat.name, (client, seat.revision, seat.link));
    let cells = Feature::ALL
        .into_iter()
        .map(|feature| Cell {
            feature,
            client,
            server: seat.revision,
            link: seat.link,
            listed: scene.as_ref().ok().map(|scene| scene.listed(feature)),
            outcome: match &scene {
                Ok(scene) => scene.cell(feature),
                Err(failure) => Err(format!("the clients cannot be opened: {failure}")),
            },
        })
        .collect();
    if let Ok(scene) = scene {
        // What it leaves behind ends with the gateway.
        let _left = scene.close();
    }
    cells
}

/// One client at the view of all servers.
fn merged(witness: &Arc<Witness>, authority: &str, servers: &[String], client: &'static Revision) -> Vec<Try> {
    let view = Merged::open(witness, authority, servers, client);
    let tries = FEATURES.into_iter().map(|feature| Try {
        feature,
        client,
        outcome: match &view {
            Ok(view) => view.try_all(feature),
            Err(failure) => Err(format!("the clients cannot be opened: {failure}")),
        },
    });
    tries.collect()
}

fn report(options: &Options, cells: &[Cell], tries: &[Try], wanted: usize, start: Instant) -> Result<(), Failure> {
    let page = page::markdown(cells, tries, options.mesh);
    println!("{page}");
    for cell in cells {
        if let Err(failure) = &cell.outcome {
            eprintln!(
                "{} client, {} server over {}, {}:\n    {failure}\n",
                cell.client.name,
                cell.server.name,
                cell.link.name(),
                cell.feature.name()
            );
        }
    }
    let failed = cells.iter().filter(|cell| cell.outcome.is_err()).count();
    println!(
        "{} cells, {failed} failed, {:.1} s",
        cells.len(),
        start.elapsed().as_secs_f64()
    );
    if cells.len() != wanted {
        return Err(format!("{} cells of {wanted} ran", cells.len()));
    }
    if failed > 0 {
        return Err(format!("{failed} cells failed"));
    }
    if let (Some(file), None) = (&options.page, &options.only) {
        std::fs::write(file, page).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    }
    Ok(())
}
