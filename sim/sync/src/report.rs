//! The page of a run.

use std::fmt::Write as _;
use std::time::Duration;

use crate::book::{Book, Phase, Spread};
use crate::plan::Plan;

/// What was measured, for people who read it later.
pub fn page(plan: &Plan, book: &Book) -> String {
    let mut page = format!(
        "# Distribution to {} simulated proxies\n\n\
         `cargo xtask sim sync --proxies {} --servers {} --gateways {} --seed {}`: {} sidecars of {} servers and {} replicas of a\n\
         gateway, each a real client state machine, and the real server state machine. Modelled: one core (a handshake 1 ms, a\n\
         change 100 µs and 1 ns a byte), a card of 1 Gbit/s, wires of 0.2 to 3 ms, 2 to 12 ms to compile a change. Times are of\n\
         that model; bytes are those of the messages, before TLS.\n\n",
        plan.proxies,
        plan.proxies,
        plan.servers,
        plan.gateways,
        plan.seed,
        plan.proxies - plan.gateways,
        plan.servers,
        plan.gateways
    );
    page.push_str(
        "| phase | in force: p50 | p99 | last | streams opened: p50 | last | most in 1 s | told later | changes sent | whole | refused | bytes down | up |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for phase in &book.phases {
        row(&mut page, phase);
    }
    // Others use the machine, too: of the time that passed, this process had a part.
    let processor = book.processor.unwrap_or(book.took);
    let had = processor.as_secs_f64() / book.took.as_secs_f64().max(0.001);
    let spent = book.spent.as_secs_f64() * had.min(1.0);
    let _ = write!(
        page,
        "\n{} events of {} s, played in {:.0} s of one processor. The server's part of that was {:.1} s for {} changes, {:.0} µs\n\
         each with its signature, its beats and all that was only looked at.\n\nStory {:016x}, {}.\n",
        book.events,
        book.seconds,
        processor.as_secs_f64(),
        spent,
        book.pushes,
        spent * 1e6 / f64::from(u32::try_from(book.pushes.max(1)).unwrap_or(u32::MAX)),
        book.story,
        if book.findings.is_empty() {
            "nothing wrong"
        } else {
            "WRONG"
        }
    );
    for finding in &book.findings {
        let _ = writeln!(page, "- {finding}");
    }
    page
}

fn row(page: &mut String, phase: &Phase) {
    let of = |spread: &Spread, percent| spread.percentile(percent).map_or_else(|| "–".to_owned(), time);
    let _ = writeln!(
        page,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        phase.name,
        of(&phase.in_force, 50),
        of(&phase.in_force, 99),
        of(&phase.in_force, 100),
        of(&phase.opened, 50),
        of(&phase.opened, 100),
        phase.opened_in_a_second(),
        phase.later,
        phase.pushes,
        phase.whole,
        phase.refused,
        bytes(phase.bytes_down),
        bytes(phase.bytes_up),
    );
}

fn time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} KB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
