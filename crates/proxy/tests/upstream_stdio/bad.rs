//! Children that serve well until a tool is called, and then misbehave in one way each.
#![allow(clippy::exit, reason = "a child that dies is what these are for")]

use std::io::{BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::{Value, json};

use super::children::{answer, say};

/// Serves; `what` decides what a call of a tool brings about.
pub(super) fn main(what: &str) -> ExitCode {
    if what == "loops" {
        return ExitCode::from(3);
    }
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if request.get("id").is_none() {
            eprintln!("notified: {request}");
            continue;
        }
        if request["method"] == "tools/call" {
            misbehave(what, &request);
        } else {
            answer(&request);
        }
    }
    ExitCode::SUCCESS
}

fn misbehave(what: &str, request: &Value) {
    let id = &request["id"];
    let result = |text: &str| json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", "content": [], "said": text}});
    match what {
        "dies" => std::process::exit(7),
        "is-killed" => signal_itself("-KILL"),
        "stops" => signal_itself("-STOP"),
        "hangs" => {}
        "naps" => {
            std::thread::sleep(Duration::from_millis(100));
            say(&result("rested"));
        }
        "ticks" => {
            let token = &request["params"]["_meta"]["progressToken"];
            for n in 0.. {
                let params = json!({"progressToken": token, "progress": n});
                say(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        "babbles" => (0..1000).for_each(|_| println!("this is no message")),
        "garbles" => raw(b"\x1b[31mred\x1b[0m\nnull\n\"text\"\n\xff\xfe\xfa\n{\"jsonrpc\":\"2.0\"}\n\0\0\0\n"),
        "draws-a-line" => {
            let piece = vec![b'x'; 1 << 20];
            (0..64).for_each(|_| raw(&piece));
        }
        "trickles" => result("slowly").to_string().bytes().for_each(|byte| {
            raw(&[byte]);
            std::thread::sleep(Duration::from_secs(1));
        }),
        "floods" => loop {
            say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
            let params = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": id}});
            say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": params}));
        },
        "sprays" => (0..100_000)
            .for_each(|other: u64| raw(format!("{{\"jsonrpc\":\"2.0\",\"id\":{other},\"result\":{{}}}}\n").as_bytes())),
        "answers-twice" => {
            say(&json!({"jsonrpc": "2.0", "id": id.to_string(), "result": {"said": "twin"}}));
            say(&result("first"));
            say(&result("second"));
            say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": 1, "message": "third"}}));
        }
        "answers-both" => {
            say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": 1, "message": "both"}, "result": {}}));
            say(&result("second"));
        }
        "asks" => (0..1000)
            .for_each(|n| say(&json!({"jsonrpc": "2.0", "id": n, "method": "sampling/createMessage", "params": {}}))),
        "shouts" => {
            let line = [b"shout ".repeat(1000), b"\n".to_vec()].concat();
            let mut err = std::io::stderr().lock();
            (0..(64 << 20) / line.len()).for_each(|_| err.write_all(&line).unwrap());
            say(&result("after a flood"));
        }
        "stops-halfway" => raw(result("half").to_string().split_at(20).0.as_bytes()),
        "falls-silent" => {
            // The input is closed, too, because the next program would read the rest of it otherwise.
            let error = Command::new("sh").args(["-c", "exec <&- >&-; sleep 1000"]).exec();
            panic!("{error}");
        }
        "counts" => {
            let token = &request["params"]["_meta"]["progressToken"];
            for n in 0..100_000 {
                raw(format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{token},\"progress\":{n}}}}}\n").as_bytes());
            }
            say(&result("counted"));
        }
        other => panic!("no such misbehaviour: {other}"),
    }
}

fn signal_itself(signal: &str) {
    let me = std::process::id().to_string();
    let _ = Command::new("kill").args([signal, &me]).status();
}

/// Writes bytes as they are; whoever reads them may have gone.
fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
