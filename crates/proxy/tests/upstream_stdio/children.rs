//! The children: well-behaved ones, and every other kind.

use std::io::{BufRead as _, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

pub(super) fn main(what: &str, rest: &[&str]) -> ExitCode {
    match what {
        "echo" => serve(|_, _| {}),
        "noise" => noise(),
        "greet" => {
            println!("Welcome to the server!\nlistening on stdio\n\x1b[32mready\x1b[0m");
            serve(|_, _| {})
        }
        "habit" => serve(|_, _| println!("DEBUG: handled a request")),
        "huge" => huge(rest),
        "chatter" => chatter(),
        "strays" => strays(),
        "legacy" => legacy(),
        "exit" => ExitCode::from(rest[0].parse::<u8>().unwrap()),
        "die-on-call" => serve(|_, request| {
            if request["method"] == "tools/call" {
                std::process::exit(7);
            }
        }),
        "orphans" => orphans(rest[0]),
        "stubborn" => stubborn(rest[0]),
        "forks" => forks(rest[0]),
        "line-ends" => line_ends(),
        "sleep" => sleep(),
        "bad" => crate::bad::main(rest[0]),
        other => {
            eprintln!("no such child: {other}");
            ExitCode::FAILURE
        }
    }
}

/// A modern server: answers everything with what it got, `progress` with notifications first, `never` not at all.
fn serve(mut before: impl FnMut(u64, &Value)) -> ExitCode {
    let mut count = 0;
    for line in std::io::stdin().lock().lines() {
        let Ok(request) = serde_json::from_str::<Value>(&line.unwrap()) else {
            continue;
        };
        before(count, &request);
        count += 1;
        if request.get("id").is_none() {
            eprintln!("notified: {request}");
            continue;
        }
        answer(&request);
    }
    ExitCode::SUCCESS
}

pub(super) fn answer(request: &Value) {
    let id = &request["id"];
    let method = request["method"].as_str().unwrap_or_default();
    match method {
        "server/discover" => say(&json!({"jsonrpc": "2.0", "id": id, "result": {
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}})),
        "never" => {}
        "tools/list" => say(&json!({"jsonrpc": "2.0", "id": id, "result": {
            "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
            "tools": [{"name": "t", "inputSchema": {"type": "object"}}]}})),
        "progress" | "progress-as-text" => {
            let token = if method == "progress" {
                id.clone()
            } else {
                json!(id.to_string())
            };
            for n in 1..=3 {
                let params = json!({"progressToken": token, "progress": n});
                say(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
            }
            say(&json!({"jsonrpc": "2.0", "id": id, "result": {"method": method}}));
        }
        "environment" => {
            let all: serde_json::Map<String, Value> =
                std::env::vars().map(|(name, value)| (name, json!(value))).collect();
            let fds: Vec<_> = std::fs::read_dir("/proc/self/fd")
                .unwrap()
                .map(|fd| fd.unwrap().file_name().into_string().unwrap())
                .collect();
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
            say(&json!({"jsonrpc": "2.0", "id": id, "result": {
                "environment": all, "fds": fds, "status": status, "limits": limits,
                "args": std::env::args().collect::<Vec<_>>()}}));
        }
        _ => say(&json!({"jsonrpc": "2.0", "id": id, "result": {"method": method, "params": request["params"]}})),
    }
}

pub(super) fn say(message: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}").unwrap();
    out.flush().unwrap();
}

/// Ten lines that are no message for every line read.
fn noise() -> ExitCode {
    serve(|count, _| {
        if count > 0 {
            for _ in 0..10 {
                println!("this is not JSON \u{2028}\0");
            }
        }
    })
}

/// A line of that many bytes before the answer, written without a newline for a long time.
fn huge(rest: &[&str]) -> ExitCode {
    let bytes: usize = rest[0].parse().unwrap();
    serve(|_, _| {
        let mut out = std::io::stdout().lock();
        let piece = vec![b'x'; 1 << 20];
        let mut left = bytes;
        while left > 0 {
            let now = left.min(piece.len());
            out.write_all(&piece[..now]).unwrap();
            left -= now;
        }
        out.write_all(b"\n").unwrap();
    })
}

/// 64 MiB of standard error before each answer.
fn chatter() -> ExitCode {
    serve(|_, _| {
        let line = format!(
            "{} \x1b[31m{}\n",
            "noise".repeat(100),
            std::env::var("API_TOKEN").unwrap_or_default()
        );
        let piece = line.repeat(2000);
        let mut err = std::io::stderr().lock();
        for _ in 0..(64 << 20) / piece.len() {
            err.write_all(piece.as_bytes()).unwrap();
        }
    })
}

/// Answers that nobody asked for, around each one that somebody did.
fn strays() -> ExitCode {
    serve(|_, request| {
        let id = request["id"].as_u64().unwrap_or_default();
        for other in (0..2000).filter(|other| *other != id) {
            say(&json!({"jsonrpc": "2.0", "id": other + 1_000_000, "result": {"stolen": true}}));
        }
        say(&json!({"jsonrpc": "2.0", "id": id.to_string(), "result": {"twin": true}}));
        say(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": -1, "message": "nobody's"}}));
        say(&json!({"jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage", "params": {}}));
        say(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}));
        println!("{}", json!({"jsonrpc": "2.0", "id": id, "result": {"first": true}}));
    })
}

/// Ends its lines in CRLF and separates words by everything that somewhere ends a line.
fn line_ends() -> ExitCode {
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let id = &request["id"];
        print!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"text\":\"a\u{2028}b\u{2029}c\u{85}d\"}}}}\r\n");
        std::io::stdout().flush().unwrap();
    }
    ExitCode::SUCCESS
}

/// A server of 2025-11-25 that knows nothing newer.
fn legacy() -> ExitCode {
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let id = &request["id"];
        match request["method"].as_str().unwrap_or_default() {
            "initialize" => say(&json!({"jsonrpc": "2.0", "id": id, "result": {
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "old", "version": "1"}}})),
            "tools/call" => say(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}})),
            _ if id.is_null() => {}
            _ => say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "unknown"}})),
        }
    }
    ExitCode::SUCCESS
}

/// Starts every kind of process that likes to outlive its parent, writes their ids down, and serves.
fn orphans(record: &str) -> ExitCode {
    let me = std::env::current_exe().unwrap();
    let mut pids = vec![std::process::id()];
    // A plain child, one in its own session, one forked twice, one that ignores every polite signal.
    pids.push(
        Command::new(&me)
            .args(["child", "sleep"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
            .id(),
    );
    let shell = |script: &str| {
        let out = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap().trim().parse::<u32>().unwrap()
    };
    pids.push(shell("setsid sleep 1000 >/dev/null 2>&1 & echo $!"));
    pids.push(shell("(setsid setsid sh -c 'trap \"\" TERM INT HUP; sleep 1000 & echo $$; wait; sleep 1000' 2>/dev/null & ) | head -1"));
    pids.push(shell(
        "(sh -c 'trap \"\" TERM HUP INT; while :; do sleep 1; done' >/dev/null 2>&1 & echo $!)",
    ));
    write_pids(record, &pids);
    serve(|_, _| {})
}

/// A hundred processes, half of them in sessions of their own.
fn forks(record: &str) -> ExitCode {
    let start = |n: u32| {
        let (program, args): (_, &[&str]) = if n.is_multiple_of(2) {
            ("sleep", &["1000"])
        } else {
            ("setsid", &["sleep", "1000"])
        };
        Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
            .id()
    };
    let pids: Vec<u32> = (0..100).map(start).collect();
    write_pids(record, &pids);
    serve(|_, _| {})
}

/// Ignores the end of its input and every polite signal.
fn stubborn(record: &str) -> ExitCode {
    for signal in [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, std::sync::Arc::<std::sync::atomic::AtomicBool>::default()).unwrap();
    }
    write_pids(record, &[std::process::id()]);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn sleep() -> ExitCode {
    std::thread::sleep(Duration::from_secs(1000));
    ExitCode::SUCCESS
}

fn write_pids(record: &str, pids: &[u32]) {
    let text: Vec<_> = pids.iter().map(u32::to_string).collect();
    std::fs::write(format!("{record}.part"), text.join("\n")).unwrap();
    std::fs::rename(format!("{record}.part"), record).unwrap();
}
