//! One mesh of whole processes from its start through calls and a change to its end, and nothing measured: for whoever
//! watches the processes meanwhile, as `cargo xtask layout` does to learn which functions run.

use std::{path::PathBuf, thread, time::Duration};

use super::{
    change,
    scene::{Role, Scene, Size, TOKEN},
};
use crate::{
    Failure,
    connection::{connect, exchange},
    load,
    machine::Machine,
    place::{Cores, Place, upstream},
    requests::{Peer, Protocol, Workload},
};

/// One of each.
const SIZE: Size = Size {
    servers: 1,
    sidecars: 1,
    gateways: 1,
    records: "stderr",
};
/// Each kind of change once.
const CHANGES: u32 = 4;
/// What is idle does what it does now and then.
const IDLE: Duration = Duration::from_secs(20);
/// So many calls are under way at once.
const CONNECTIONS: u64 = 8;
/// Calls of 1 MiB are so many times fewer: they take long under a tool that counts.
const LARGE_LESS: u64 = 8;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The gateway to run, with `meshgate-proxy` beside it [default: `meshgate` beside this program]
    #[arg(long)]
    meshgate: Option<PathBuf>,
    /// Calls of each kind, at least
    #[arg(long, default_value_t = 400)]
    calls: u64,
}

/// Runs it; a wrong answer is a failure.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let place = Place::find(None, options.meshgate.as_deref())?;
    let cores = Cores::of(&Machine::look(&place.tree, false), false);
    let (_server, ports) = upstream(&place, cores.other)?;
    let mut scene = Scene::start(&place, cores, &ports.servers, SIZE)?;
    change::run(&mut scene, SIZE, cores.other, CHANGES)?;
    let gateway = scene.proxies.iter().find(|proxy| proxy.role == Role::Gateway);
    let mut peer = Peer {
        address: gateway.ok_or("no gateway was started")?.address,
        path: "/mcp".to_owned(),
        token: Some(TOKEN.to_owned()),
        protocol: Protocol::Modern,
        server: 0,
    };
    for workload in [Workload::Echo, Workload::Blob, Workload::List] {
        calls(&peer, workload, options.calls)?;
    }
    calls(&peer, Workload::Mib, options.calls / LARGE_LESS)?;
    peer.protocol = Protocol::Session;
    calls(&peer, Workload::Echo, options.calls)?;
    thread::sleep(IDLE);
    scene.are_alive()
}

/// So many calls of one kind, on connections of their own at the same time. They are told by their status: a list of one
/// server is shorter than those that are measured.
fn calls(peer: &Peer, workload: Workload, calls: u64) -> Result<(), Failure> {
    // Each caller has a session of its own: they all use the same id, which may run once in a session.
    let one = || -> Result<(), Failure> {
        let session = match peer.protocol {
            Protocol::Modern => None,
            Protocol::Session => Some(load::session(peer)?),
        };
        let request = peer.request(workload, session.as_deref())?;
        let mut socket = connect(peer.address)?;
        for _ in 0..calls / CONNECTIONS {
            let (head, body) = exchange(&mut socket, &request.bytes)?;
            if head.status != 200 {
                let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
                return Err(format!("{}: {} {text}", workload.name(), head.status));
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(one)).collect();
        callers
            .into_iter()
            .try_for_each(|caller| caller.join().map_err(|_| "a caller broke".to_owned())?)
    })
}
