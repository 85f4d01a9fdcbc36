//! Opens sessions and streams and holds them, so that somebody can look at what they cost the target.
//!
//! It speaks in turns: one line when the sessions are open, and after a line from outside the same for the streams.

use std::io::BufRead;

use crate::{
    Failure,
    connection::{connect, exchange},
    requests::Peer,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    peer: Peer,
    /// Sessions, each on a connection of its own
    #[arg(long, default_value_t = 2000)]
    sessions: usize,
    /// Streams of the first sessions, each on a connection of its own
    #[arg(long, default_value_t = 1000)]
    streams: usize,
}

/// Runs until the other side has sent its last line.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let peer = &options.peer;
    let mut turns = std::io::stdin().lock().lines();
    let mut sockets = Vec::new();
    let mut sessions = Vec::new();
    for _ in 0..options.sessions {
        let mut socket = connect(peer.address)?;
        let (head, body) = exchange(&mut socket, &peer.initialize())?;
        let Some(session) = head.session else {
            return Err(format!("no session: {}", String::from_utf8_lossy(&body)));
        };
        exchange(&mut socket, &peer.initialized(&session))?;
        sessions.push(session);
        sockets.push(socket);
    }
    println!("sessions {}", sessions.len());
    if turns.next().is_none() {
        return Ok(());
    }
    let mut open = 0;
    for session in sessions.iter().take(options.streams) {
        let mut socket = connect(peer.address)?;
        let (head, _) = exchange(&mut socket, &peer.listen(session))?;
        if head.status != 200 || !head.streamed {
            println!("refused {}", head.status);
            break;
        }
        open += 1;
        sockets.push(socket);
    }
    println!("streams {open}");
    turns.next();
    drop(sockets);
    Ok(())
}
