//! A gateway that is out of file descriptors: it pauses, keeps what it has and its operator, burns nothing, and recovers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::up::Up;
use super::{Place, away_mesh};

const FILES: usize = 256;
/// What is kept for everything but clients: a quarter of so few.
const KEPT: usize = FILES / 4;

fn address(up: &Up) -> String {
    up.status()["listeners"][0]["address"].as_str().unwrap().to_owned()
}

/// A request on a connection that stays open; the status of its answer, or nothing in two seconds.
fn asks(stream: &mut TcpStream, address: &str) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    write!(stream, "GET /mcp HTTP/1.1\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).ok().filter(|read| *read > 0)?;
    Some(String::from_utf8_lossy(&answer[9..read.min(12)]).into_owned())
}

/// Processor time of a process so far, in hundredths of a second.
fn processor_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn a_gateway_out_of_descriptors_pauses_without_burning_and_recovers() {
    let place = Place::new();
    place.file("mesh.yaml", &away_mesh());
    let limit = format!("--nofile={FILES}:{FILES}");
    let command = place.command_through(&["prlimit", &limit], &["up"]);
    let up = Up::start_as(place, command);
    let pid = up.child.id();
    let address = address(&up);
    let mut old = TcpStream::connect(&address).unwrap();
    assert_eq!(asks(&mut old, &address).as_deref(), Some("405"));

    let crowd: Vec<TcpStream> = (0..FILES + 50).map(|_| TcpStream::connect(&address).unwrap()).collect();
    up.hear("nearly out of file descriptors");
    let (begun, before) = (Instant::now(), processor_time(pid));
    let mut late = TcpStream::connect(&address).unwrap();
    assert_eq!(asks(&mut late, &address), None, "who comes now waits");
    assert!(
        files(pid) <= FILES - KEPT + 8,
        "{} of {FILES} files are open",
        files(pid)
    );
    assert!(
        up.admin("/healthz").starts_with("HTTP/1.1 200"),
        "the operator is answered"
    );
    assert_eq!(
        asks(&mut old, &address).as_deref(),
        Some("405"),
        "who was there is served"
    );
    let share = 100 * (processor_time(pid) - before) / u64::try_from(begun.elapsed().as_millis() / 10).unwrap();
    assert!(share <= 20, "{share} % of a processor");

    drop(crowd);
    let until = Instant::now() + Duration::from_secs(8);
    loop {
        let mut new = TcpStream::connect(&address).unwrap();
        if asks(&mut new, &address).as_deref() == Some("405") {
            break;
        }
        assert!(Instant::now() < until, "nobody is served again");
    }
}
