//! Each rule, as two pieces of JSON side by side.

mod answer;
mod handshake;
mod listen;
mod notice;
mod rounds;
mod spelling;
mod stamp;

use meshgate_mcp::{LATEST_LEGACY, Message, Method, Revision, Rules, scan};

use super::Mint;

fn read(src: &str) -> Message {
    *scan(src.as_bytes(), &Rules::SERVER).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn revision(name: &str) -> &'static Revision {
    Revision::find(name).unwrap()
}

fn method(src: &str) -> Method {
    let msg = read(src);
    Method::parse(&msg.method.unwrap().str(src.as_bytes()).unwrap())
}

/// Ids that a test can write down.
#[derive(Default)]
struct Counted(u32);

impl Mint for Counted {
    fn question(&mut self) -> String {
        self.0 += 1;
        format!("home-{}", self.0)
    }

    fn elicitation(&mut self) -> String {
        format!("elicitation-{}", self.0)
    }
}

const NEWEST: &Revision = LATEST_LEGACY;
