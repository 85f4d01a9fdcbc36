//! What only whole processes show: how long a change takes until every proxy enforces it, and what each weighs when idle.
//!
//! Twenty proxies of one mesh run beside one control plane, each a process as operators start it, all on the core of the
//! targets; who asks them and the servers behind them have the other one. It is the hard case: in a real mesh each would have
//! a machine of its own to take a change over on.

mod api;
mod change;
mod line;
mod page;
pub(crate) mod rehearse;
mod scene;

use std::time::Duration;

use self::{
    page::{Page, Weighed},
    scene::{Role, Scene, Size},
};
use crate::{
    Failure, gateway,
    machine::Machine,
    measure::Plan,
    place::{Cores, Place, upstream},
    process::Weight,
    report,
    running::Running,
    set, target,
};

/// Nine servers with two sidecars each, and two gateways.
const WHOLE: Size = Size {
    servers: 9,
    sidecars: 2,
    gateways: 2,
    records: "off",
};
/// Enough to see that it works.
const SHORT: Size = Size {
    servers: 2,
    sidecars: 2,
    gateways: 1,
    records: "off",
};
/// Changes of a short run: each kind twice.
const SHORT_CHANGES: u32 = 8;
/// What is freed late is not held against anybody.
const SETTLE: Duration = Duration::from_secs(1);
/// Proxies of others, beside ours.
const OTHERS: [&str; 2] = ["envoy", "nginx"];

/// Measures, prints, writes it into the page of the mesh; a short run only shows that it works.
pub(crate) fn run(options: &gateway::Options, changes: u32) -> Result<(), Failure> {
    let place = Place::find(options.results.as_deref(), options.meshgate.as_deref())?;
    let mut machine = Machine::look(&place.tree, options.realtime);
    let cores = Cores::of(&machine, options.realtime);
    let (size, changes) = if options.short {
        (SHORT, SHORT_CHANGES)
    } else {
        (WHOLE, changes)
    };
    let (server, ports) = upstream(&place, cores.other)?;
    let mut scene = Scene::start(&place, cores, &ports.servers, size)?;
    // Each has answered a call of its own before it is weighed.
    change::run(&mut scene, size, cores.other, 0)?;
    std::thread::sleep(SETTLE);
    let idle = weighed(&scene)?;
    let found = change::run(&mut scene, size, cores.other, changes)?;
    scene.are_alive()?;
    if options.short {
        println!(
            "{} changes were enforced by each of {} proxies; a short run measures nothing",
            changes,
            size.proxies()
        );
        return Ok(());
    }
    std::thread::sleep(SETTLE);
    let later = weighed(&scene)?;
    drop(scene);
    let others = others(&place, cores, (&server, &ports))?;
    machine.look_again();
    let page = Page::new(&machine, size, &found, [idle, later], others);
    println!("{}", page.text());
    let (head, name) = (
        format!("# {}, {}\n", set::MESH.title, machine.date),
        format!("{}-{}", set::MESH.page, machine.date),
    );
    let figures = format!("{}-proxies-{}.json", set::MESH.page, machine.date);
    let text = format!("{}\nFigures in [JSON]({figures}).\n", page.text());
    report::write_section(&place.results, (&name, &head), (page::TITLE, &text), (&figures, &page))
}

/// What each of our processes weighs.
fn weighed(scene: &Scene) -> Result<Vec<Weighed>, Failure> {
    let of = |wanted: fn(Role) -> bool| {
        let proxies = scene.proxies.iter().filter(|proxy| wanted(proxy.role));
        proxies
            .map(|proxy| Weight::of(proxy.running.id()))
            .collect::<Result<Vec<_>, _>>()
    };
    let sidecars = of(|role| role != Role::Gateway)?;
    let gateways = of(|role| role == Role::Gateway)?;
    let control = vec![Weight::of(scene.control.id())?];
    Ok(vec![
        Weighed::of(page::SIDECAR, &sidecars),
        Weighed::of(page::GATEWAY, &gateways),
        Weighed::of("control plane", &control),
    ])
}

/// What proxies of others weigh after their first answered call, before one server and without TLS.
fn others(
    place: &Place,
    cores: Cores,
    (server, ports): (&Running, &crate::upstream::Ports),
) -> Result<Vec<Weighed>, Failure> {
    let set = &set::HOP;
    let names: Vec<String> = OTHERS.iter().map(|name| (*name).to_owned()).collect();
    let plan = Plan::default();
    let mut all = Vec::new();
    for target in target::all(&place.tree.join("bench").join(set.directory), &names, set.floor)? {
        let weighed = gateway::bench(place, &target, (&plan, set), ports, server, cores).and_then(|bench| {
            bench.prepare()?;
            let (running, ..) = bench.start()?;
            std::thread::sleep(SETTLE);
            Weight::of(running.id())
        });
        match weighed {
            Ok(weight) => all.push(Weighed::of(&target.name, &[weight])),
            Err(why) => eprintln!("{} is left out: {why}", target.name),
        }
    }
    Ok(all)
}
